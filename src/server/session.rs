//! A TLS session that owns no socket, no buffer, and no clock: rustls' unbuffered server side, behind what a socket needs
//! of it.
//!
//! It works in place on memory that is lent to it. What it keeps between two calls is half a record, and what it has to
//! say by itself: its side of the handshake, tickets, changes of keys, alerts. All that is known here about the
//! interface of rustls is known nowhere else.

use std::sync::Arc;

use rustls::server::{ServerConfig, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus,
};
use rustls::{CommonState, Error, ProtocolVersion};

/// How the peer's side stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerSide {
    /// More may come.
    Open,
    /// It said that it is done.
    Closed,
    /// It was wrong, and nothing is said to it any more.
    Failed,
}

/// See the module.
pub(super) struct Session {
    tls: UnbufferedServerConnection,
    /// Ciphertext that is not whole yet.
    partial: Vec<u8>,
    /// What has to be said beside answers.
    own: Vec<u8>,
    peer: PeerSide,
    /// Whether our side has said good-bye.
    gone: bool,
}

impl Session {
    /// A session that has not begun to shake hands.
    ///
    /// # Errors
    /// What rustls does not like about `config`.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            partial: Vec::new(),
            own: Vec::new(),
            peer: PeerSide::Open,
            gone: false,
        })
    }

    /// What has been agreed on.
    pub(super) fn agreed(&self) -> &CommonState {
        &self.tls
    }

    pub(super) fn peer_side(&self) -> PeerSide {
        self.peer
    }

    /// Half a record that has to stand before what is read next.
    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Hands over what the session has to say by itself.
    pub(super) fn take_own(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.own)
    }

    /// Whether what it has to say by itself can wait for an answer to go along with: a ticket of TLS 1.3 can.
    pub(super) fn can_wait(&self) -> bool {
        !self.tls.is_handshaking() && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Works through ciphertext, [`Session::partial`] first; `deliver` gets the plaintext piece by piece. Behind our
    /// good-bye it gets what comes as it is, for whoever counts it while it is thrown away.
    ///
    /// # Errors
    /// What is wrong with it. An alert is among what the session has to say, and that was its last word.
    pub(super) fn decrypt(
        &mut self,
        all: &mut [u8],
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        // rustls has one last word, and would have another for what it is shown behind it.
        if self.peer == PeerSide::Failed {
            return Err(Error::HandshakeNotComplete);
        }
        if self.gone {
            self.partial = Vec::new();
            deliver(all);
            return Ok(());
        }
        let mut used = 0;
        let result = loop {
            let rest = all.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(rest);
            used += discard;
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        deliver(record.payload);
                        used += record.discard;
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.own)?,
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer = PeerSide::Closed,
                Ok(
                    ConnectionState::WriteTraffic(_)
                    | ConnectionState::BlockedHandshake
                    | ConnectionState::Closed,
                ) => break Ok(()),
                // Early data can be played again by anybody, and is off in every configuration.
                Ok(_) => break Err(Error::General("unexpected early data".into())),
                Err(error) => break Err(error),
            }
        };
        self.partial = Vec::new();
        let rest = all.get_mut(used..).unwrap_or_default();
        if result.is_err() {
            self.peer = PeerSide::Failed;
            self.last_words(rest)?;
        } else if self.peer == PeerSide::Open && !rest.is_empty() {
            self.partial = rest.to_vec();
        }
        result
    }

    /// The alert that rustls has for a fault.
    fn last_words(&mut self, rest: &mut [u8]) -> Result<(), Error> {
        // Asked only while there is something: it would look at `rest` again, and find the fault once more.
        while self.tls.wants_write() {
            match self.tls.process_tls_records(rest).state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.own)?,
                _ => break,
            }
        }
        Ok(())
    }

    /// Encrypts `data`, or says good-bye where there is none, behind the first `filled` bytes of `out`. Gives how many
    /// bytes are filled then; what comes behind them means nothing.
    ///
    /// # Errors
    /// Where the session has failed or said good-bye, or its keys are used up.
    pub(super) fn encrypt(
        &mut self,
        data: Option<&[u8]>,
        out: &mut Vec<u8>,
        filled: usize,
    ) -> Result<usize, Error> {
        if self.peer == PeerSide::Failed || self.gone {
            return Err(Error::HandshakeNotComplete);
        }
        let mut at = filled;
        loop {
            match self.tls.process_tls_records(&mut self.partial).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    self.gone |= data.is_none();
                    return fill(out, at, |room| match data {
                        Some(data) => traffic.encrypt(data, room),
                        None => traffic.queue_close_notify(room),
                    });
                }
                // What the session has to say by itself goes first.
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    out.truncate(at);
                    encode(data, out)?;
                    at = out.len();
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer = PeerSide::Closed,
                Ok(_) => return Err(Error::HandshakeNotComplete),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Has `write` write behind the first `filled` bytes, with as much room as it wants.
fn fill(
    out: &mut Vec<u8>,
    filled: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<usize, Error> {
    loop {
        match write(out.get_mut(filled..).unwrap_or_default()) {
            Ok(written) => return Ok(filled + written),
            Err(EncryptError::InsufficientSize(size)) => {
                out.resize(filled + size.required_size, 0);
            }
            Err(EncryptError::EncryptExhausted) => return Err(Error::EncryptError),
        }
    }
}

/// Writes what a session has to say by itself behind all of `out`.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) -> Result<(), Error> {
    let start = out.len();
    loop {
        match data.encode(out.get_mut(start..).unwrap_or_default()) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(EncodeError::InsufficientSize(size)) => out.resize(start + size.required_size, 0),
            Err(error @ EncodeError::AlreadyEncoded) => {
                return Err(Error::General(error.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use rustls::client::{ClientConfig, ClientConnection};
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::server::ServerSessionMemoryCache;
    use rustls::version::{TLS12, TLS13};
    use rustls::{AlertDescription, RootCertStore, SupportedProtocolVersion};
    use rustls_pki_types::PrivateKeyDer;

    use super::super::tls::{CipherPreference, Identity, MinimumVersion, ServerTls, certified_key};
    use super::*;

    const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    /// What may be held of a record that is not whole: the largest there is.
    const RECORD: usize = 5 + 16 * 1024 + 2048;
    /// Most that is asked of a server at once in these tests.
    const PIECE: usize = 32 * 1024;

    /// What the session has to say is an alert, as far as it can be read from outside.
    fn is_alert(record: &[u8]) -> bool {
        // Under TLS 1.3 all that is encrypted looks like data.
        matches!(record.first(), Some(21 | 23)) && record.len() < 64
    }

    fn configs(version: &'static SupportedProtocolVersion) -> (ServerConfig, ClientConfig) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = ServerTls {
            identities: vec![Identity {
                names: Vec::new(),
                key: certified_key(vec![certificate.clone()], key).unwrap(),
            }],
            minimum_version: MinimumVersion::Tls12,
            cipher_preference: CipherPreference::Aes128,
        };
        let server = tls.build().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(default_provider().into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        (ServerConfig::clone(&server), client)
    }

    /// A session, and an ordinary client for it.
    struct Pair {
        client: ClientConnection,
        server: Session,
        /// What the server has been told, in plaintext.
        told: Vec<u8>,
        /// What the client has.
        heard: Vec<u8>,
    }

    impl Pair {
        fn new(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Self {
            let name = "a.test".try_into().unwrap();
            let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
            client.set_buffer_limit(None);
            Self {
                client,
                server: Session::new(Arc::clone(server)).unwrap(),
                told: Vec::new(),
                heard: Vec::new(),
            }
        }

        fn of(version: &'static SupportedProtocolVersion) -> Self {
            let (server, client) = configs(version);
            Self::new(&server.into(), &client.into())
        }

        fn in_touch(version: &'static SupportedProtocolVersion) -> Self {
            let mut pair = Self::of(version);
            pair.shake(usize::MAX);
            pair
        }

        /// All ciphertext that the client has ready.
        fn said(&mut self) -> Vec<u8> {
            let mut said = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut said).unwrap();
            }
            said
        }

        /// The same, once it has this to say.
        fn says(&mut self, data: &[u8]) -> Vec<u8> {
            self.client.writer().write_all(data).unwrap();
            self.said()
        }

        /// Gives ciphertext to the server as a socket does.
        fn give(&mut self, piece: &[u8]) -> Result<(), Error> {
            let mut all = [self.server.partial(), piece].concat();
            let told = &mut self.told;
            let result = self
                .server
                .decrypt(&mut all, |plain| told.extend_from_slice(plain));
            assert!(self.server.partial().len() <= RECORD);
            result
        }

        /// Gives ciphertext to the client.
        fn hear(&mut self, mut ciphertext: &[u8]) -> Result<(), Error> {
            while !ciphertext.is_empty() {
                self.client.read_tls(&mut ciphertext).unwrap();
                let state = self.client.process_new_packets()?;
                let start = self.heard.len();
                self.heard
                    .resize(start + state.plaintext_bytes_to_read(), 0);
                let room = &mut self.heard[start..];
                self.client.reader().read_exact(room).unwrap();
            }
            Ok(())
        }

        fn encrypted(&mut self, data: Option<&[u8]>) -> Result<Vec<u8>, Error> {
            let mut out = Vec::new();
            let filled = self.server.encrypt(data, &mut out, 0)?;
            out.truncate(filled);
            Ok(out)
        }

        /// Lets both sides talk until neither has anything to say; the server reads in pieces of this size. Gives what
        /// the server had to say last.
        fn shake(&mut self, size: usize) -> Vec<u8> {
            let mut last = Vec::new();
            while self.client.wants_write() {
                for piece in self.said().chunks(size) {
                    self.give(piece).unwrap();
                }
                last = self.server.take_own();
                self.hear(&last).unwrap();
            }
            assert!(!self.server.agreed().is_handshaking() && !self.client.is_handshaking());
            last
        }

        /// Checks that data goes both ways.
        fn still_talks(&mut self) {
            self.told.clear();
            self.heard.clear();
            let said = self.says(b"still there?");
            self.give(&said).unwrap();
            let answer = self.encrypted(Some(b"yes")).unwrap();
            self.hear(&answer).unwrap();
            assert_eq!(
                (&self.told[..], &self.heard[..]),
                (&b"still there?"[..], &b"yes"[..])
            );
        }

        /// Checks that the session has failed for good, and gives its last words.
        fn is_over(&mut self) -> Vec<u8> {
            assert_eq!(self.server.peer_side(), PeerSide::Failed);
            let last = self.server.take_own();
            let told = self.told.len();
            for more in [
                &b""[..],
                b"\x16\x03\x01\x00\x01\x01",
                b"GET / HTTP/1.1\r\n",
                &[0; 99],
            ] {
                assert!(self.give(more).is_err());
                assert!(self.encrypted(Some(b"x")).is_err() && self.encrypted(None).is_err());
            }
            assert_eq!(
                (self.told.len(), self.server.take_own()),
                (told, Vec::new())
            );
            assert!(self.server.partial().is_empty());
            last
        }
    }

    #[test]
    fn shakes_hands_however_it_is_cut() {
        for version in VERSIONS {
            for size in [usize::MAX, 1, 2, 7, 1000] {
                let mut pair = Pair::of(version);
                pair.shake(size);
                assert_eq!(
                    pair.server.agreed().protocol_version(),
                    Some(version.version)
                );
                assert_eq!(pair.server.peer_side(), PeerSide::Open);
                assert!(pair.server.partial().is_empty() && pair.told.is_empty());
                pair.still_talks();
            }
        }
    }

    #[test]
    fn a_ticket_can_wait_and_the_end_of_a_handshake_cannot() {
        for (version, waits) in [(&TLS12, false), (&TLS13, true)] {
            let (server, client) = configs(version);
            let (server, client) = (Arc::new(server), Arc::new(client));
            let mut pair = Pair::new(&server, &client);
            assert!(!pair.server.can_wait());
            let said = pair.said();
            pair.give(&said).unwrap();
            assert!(!pair.server.can_wait(), "a handshake does not wait");
            let own = pair.server.take_own();
            pair.hear(&own).unwrap();
            pair.shake(usize::MAX);
            assert_eq!(pair.server.can_wait(), waits);
            // And it is one that is good for the next time.
            let mut again = Pair::new(&server, &client);
            let last = again.shake(usize::MAX);
            let kind = again.server.agreed().handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Resumed));
            // Where the client has the last word of a handshake, a ticket is what is left.
            assert_eq!(!last.is_empty(), waits);
        }
    }

    /// A ticket that has waited goes before what is encrypted behind it, and neither is lost.
    #[test]
    fn a_ticket_goes_along_with_an_answer() {
        let (server, client) = configs(&TLS13);
        let (server, client) = (Arc::new(server), Arc::new(client));
        let mut pair = Pair::new(&server, &client);
        let said = pair.said();
        pair.give(&said).unwrap();
        let own = pair.server.take_own();
        pair.hear(&own).unwrap();
        let said = pair.says(b"a request");
        pair.give(&said).unwrap();
        let mut out = pair.server.take_own();
        let ticket = out.len();
        assert!(ticket > 0);
        let filled = pair
            .server
            .encrypt(Some(b"answer"), &mut out, ticket)
            .unwrap();
        pair.hear(&out[..filled]).unwrap();
        assert_eq!(
            (&pair.told[..], &pair.heard[..]),
            (&b"a request"[..], &b"answer"[..])
        );
        assert_eq!(pair.client.tls13_tickets_received(), 1);
    }

    #[test]
    fn what_stands_before_an_answer_stays_and_what_is_behind_it_means_nothing() {
        for version in VERSIONS {
            let mut pair = Pair::in_touch(version);
            let mut out = vec![b'x'; 100_000];
            let filled = pair.server.encrypt(Some(b"answer"), &mut out, 7).unwrap();
            assert!(filled < 7 + 100 && out[..7] == [b'x'; 7]);
            pair.hear(&out[7..filled]).unwrap();
            // More is filled than there is: no reason to panic.
            let filled = pair.server.encrypt(Some(b"s"), &mut Vec::new(), 3).unwrap();
            assert!(filled > 3);
            assert_eq!(pair.heard, b"answer");
        }
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        (any::<u8>(), 0..100_000_usize).prop_map(|(first, length)| {
            let bytes = (0..=250_u8).cycle().skip(usize::from(first));
            bytes.take(length).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn everything_arrives_once_and_in_order(
            new in any::<bool>(),
            messages in vec((pieces(), pieces()), 1..4),
            cuts in vec(1..9000_usize, 1..20),
        ) {
            let mut pair = Pair::in_touch(VERSIONS[usize::from(new)]);
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            let mut cuts = cuts.iter().cycle();
            for (question, answer) in &messages {
                asked.extend_from_slice(question);
                answered.extend_from_slice(answer);
                let said = pair.says(question);
                let mut rest = said.as_slice();
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                    pair.give(now).unwrap();
                    rest = later;
                }
                prop_assert!(pair.server.partial().is_empty() && pair.server.take_own().is_empty());
                for piece in answer.chunks(PIECE) {
                    let ciphertext = pair.encrypted(Some(piece)).unwrap();
                    prop_assert!(ciphertext.len() <= piece.len() + 200);
                    pair.hear(&ciphertext).unwrap();
                }
            }
            prop_assert!(pair.told == asked && pair.heard == answered);
        }

        /// The first message, in as many records as somebody likes to make of it.
        #[test]
        fn a_hello_may_come_in_crumbs(
            new in any::<bool>(),
            crumbs in vec(1..600_usize, 1..10),
            cuts in vec(1..700_usize, 1..10),
        ) {
            let mut pair = Pair::of(VERSIONS[usize::from(new)]);
            let said = pair.said();
            let mut message = &said[5..];
            let mut records = Vec::new();
            for crumb in crumbs.iter().cycle() {
                let (now, later) = message.split_at(message.len().min(*crumb));
                let length = u16::try_from(now.len()).unwrap().to_be_bytes();
                records.extend([&[22, 3, 1], &length[..], now].concat());
                message = later;
                if message.is_empty() {
                    break;
                }
            }
            let mut rest = records.as_slice();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                pair.give(now).unwrap();
                // Asked too early, it says no, and is none the worse for it.
                prop_assert!(pair.encrypted(Some(b"x")).is_err());
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            let own = pair.server.take_own();
            pair.hear(&own).unwrap();
            pair.shake(usize::MAX);
            pair.still_talks();
        }

        #[test]
        fn one_wrong_bit_gives_no_wrong_byte(
            new in any::<bool>(),
            // 0 to 2: the flight that is hurt.
            flight in 0..3_usize,
            place in any::<prop::sample::Index>(),
            bit in 0..8_u32,
            size in 1..3000_usize,
        ) {
            let mut pair = Pair::of(VERSIONS[usize::from(new)]);
            let message = [b'm'; 20_000];
            for number in 0..3 {
                let mut said = if number == 2 {
                    pair.shake(usize::MAX);
                    pair.says(&message)
                } else {
                    pair.said()
                };
                if number == flight && !said.is_empty() {
                    let at = place.index(said.len());
                    said[at] ^= 1 << bit;
                }
                let mut result = Ok(());
                for piece in said.chunks(size) {
                    result = result.and_then(|()| pair.give(piece));
                }
                prop_assert!(message.starts_with(&pair.told));
                if number == flight {
                    // Some bits mean nothing, such as those of a record's version; and some make a record longer
                    // than what has come.
                    if result.is_err() {
                        pair.is_over();
                    }
                    break;
                }
                prop_assert_eq!(result, Ok(()));
                let own = pair.server.take_own();
                pair.hear(&own).unwrap();
            }
        }

        #[test]
        fn nothing_panics(
            new in any::<bool>(),
            in_touch in any::<bool>(),
            garbage in vec(prop_oneof![
                vec(any::<u8>(), 0..40),
                // Records of every kind, with anything in them.
                (20..25_u8, vec(any::<u8>(), 0..40), 0..3_usize).prop_map(|(kind, content, short)| {
                    let length = u8::try_from(content.len()).unwrap();
                    let record = [&[kind, 3, 3, 0, length][..], &content].concat();
                    record[..record.len() - short.min(record.len())].to_vec()
                }),
            ], 1..8),
        ) {
            let mut pair = Pair::of(VERSIONS[usize::from(new)]);
            if in_touch {
                pair.shake(usize::MAX);
            }
            for piece in &garbage {
                let _ = pair.give(piece);
                let _ = pair.server.take_own();
                let _ = pair.encrypted(Some(b"x"));
            }
            let _ = pair.encrypted(None);
            for piece in &garbage {
                let _ = pair.give(piece);
            }
        }
    }

    /// Many at once are answered once; and too many without data in between are too many.
    #[test]
    fn changes_of_keys_cost_little() {
        let mut pair = Pair::in_touch(&TLS13);
        for _ in 0..20 {
            for _ in 0..32 {
                pair.client.refresh_traffic_keys().unwrap();
                let said = pair.said();
                let (first, second) = said.split_at(said.len() / 2);
                pair.give(first).unwrap();
                pair.give(second).unwrap();
                assert!(pair.server.partial().is_empty());
                assert_eq!(pair.server.take_own(), b"");
            }
            let ciphertext = pair.encrypted(Some(b"yes")).unwrap();
            assert!(ciphertext.len() < 100, "{}", ciphertext.len());
            pair.hear(&ciphertext).unwrap();
            pair.still_talks();
        }
        // Ours as well, in between.
        pair.client.refresh_traffic_keys().unwrap();
        let said = pair.says(b"under new keys");
        pair.give(&said).unwrap();
        pair.still_talks();
        for number in 0..33 {
            pair.client.refresh_traffic_keys().unwrap();
            let said = pair.said();
            assert_eq!(pair.give(&said).is_ok(), number < 32);
        }
        pair.is_over();
    }

    #[test]
    fn garbage_is_told_so_once() {
        let record = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
        let claims: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            &[0; 64],
            &[0xff; 64],
            &record,
            b"\x16\x03\x01\xff\xff\x01",
            b"\x16\x03\x01\x00\x04\x05\x00\x00\x00",
        ];
        for version in VERSIONS {
            for claim in claims {
                let mut pair = Pair::of(version);
                assert!(pair.give(claim).is_err());
                assert!(is_alert(&pair.is_over()), "{}", claim.escape_ascii());

                let mut pair = Pair::of(version);
                let said = pair.said();
                pair.give(&said).unwrap();
                let own = pair.server.take_own();
                pair.hear(&own).unwrap();
                // In place of what has to come now.
                assert!(pair.give(claim).is_err());
                assert!(is_alert(&pair.is_over()), "{}", claim.escape_ascii());
            }
        }
    }

    #[test]
    fn what_came_before_garbage_is_delivered() {
        for version in VERSIONS {
            for size in [usize::MAX, 1] {
                let mut pair = Pair::in_touch(version);
                let mut said = pair.says(b"good");
                said.extend_from_slice(&[23, 3, 3, 0, 40]);
                said.extend_from_slice(&[7; 40]);
                let mut results = Vec::new();
                for piece in said.chunks(size) {
                    results.push(pair.give(piece));
                }
                assert_eq!(results.pop(), Some(Err(Error::DecryptError)));
                assert_eq!(results.iter().find(|result| result.is_err()), None);
                assert_eq!(pair.told, b"good");
                let last = pair.is_over();
                let alert = Error::AlertReceived(AlertDescription::BadRecordMac);
                assert_eq!(pair.hear(&last), Err(alert));
            }
        }
    }

    /// The largest that a message of a handshake can be said to be.
    #[test]
    fn nobody_waits_for_a_message_of_16_megabytes() {
        let mut pair = Pair::of(&TLS13);
        let record = [
            &[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..],
            &[0; 0x4000 - 4],
        ]
        .concat();
        let mut given = 0;
        while pair.server.peer_side() == PeerSide::Open {
            assert!(given < RECORD, "{given}");
            let _ = pair.give(&record);
            given += record.len();
        }
        pair.is_over();
    }

    #[test]
    fn records_without_anything_in_them_end_it() {
        for kind in [20, 21, 22, 23, 24, 99] {
            let mut pair = Pair::of(&TLS13);
            let empty = [kind, 3, 3, 0, 0];
            let failed = (0..100).position(|_| pair.give(&empty).is_err());
            assert!(failed.is_some(), "{kind}");
            pair.is_over();
        }
    }

    #[test]
    fn both_sides_say_good_bye() {
        for version in VERSIONS {
            let mut pair = Pair::in_touch(version);
            pair.client.send_close_notify();
            let said = pair.said();
            pair.give(&said).unwrap();
            assert_eq!(pair.server.peer_side(), PeerSide::Closed);
            // Half of the connection is still there.
            let answer = pair.encrypted(Some(b"late")).unwrap();
            pair.hear(&answer).unwrap();
            let farewell = pair.encrypted(None).unwrap();
            pair.hear(&farewell).unwrap();
            assert_eq!(pair.heard, b"late");
            assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
            assert!(pair.server.take_own().is_empty());
            assert!(pair.encrypted(None).is_err() && pair.encrypted(Some(b"x")).is_err());
        }
    }

    #[test]
    fn nothing_behind_a_good_bye_is_delivered_or_kept() {
        for version in VERSIONS {
            for size in [usize::MAX, 1, 100] {
                let mut pair = Pair::in_touch(version);
                let mut said = pair.says(b"before");
                pair.client.send_close_notify();
                said.extend(pair.said());
                said.extend(pair.says(b"behind"));
                said.extend([0x17; 3000]);
                for piece in said.chunks(size) {
                    pair.give(piece).unwrap();
                }
                assert_eq!(pair.told, b"before");
                assert_eq!(pair.server.peer_side(), PeerSide::Closed);
                assert!(pair.server.partial().is_empty());
                let answer = pair.encrypted(Some(b"late")).unwrap();
                pair.hear(&answer).unwrap();
                assert_eq!(pair.heard, b"late");
            }
        }
    }

    /// rustls counts a good-bye among the fatal alerts of which there must not be two.
    #[test]
    fn garbage_behind_our_good_bye_is_counted_and_not_looked_at() {
        for version in VERSIONS {
            let mut pair = Pair::in_touch(version);
            let said = pair.says(b"cut in two");
            let (first, second) = said.split_at(9);
            pair.give(first).unwrap();
            let farewell = pair.encrypted(None).unwrap();
            pair.hear(&farewell).unwrap();
            assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
            let garbage = [23, 3, 3, 0, 2, 1, 1];
            for piece in [second, &garbage, &garbage] {
                pair.give(piece).unwrap();
            }
            assert_eq!(pair.told.len(), said.len() + 2 * garbage.len());
            assert!(pair.encrypted(Some(b"x")).is_err());
            assert!(pair.server.take_own().is_empty() && pair.server.partial().is_empty());
        }
    }

    /// From a client that has been promised by somebody else that it is accepted.
    #[test]
    fn early_data_never_arrives() {
        let (strict, mut client) = configs(&TLS13);
        client.enable_early_data = true;
        let client = Arc::new(client);
        // Remembers sessions, as tickets never take early data.
        let mut generous = strict;
        generous.ticketer = ServerConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&generous.cert_resolver))
            .ticketer;
        generous.session_storage = ServerSessionMemoryCache::new(16);
        let mut strict = generous.clone();
        generous.max_early_data_size = 16_000;
        strict.max_early_data_size = 0;
        let (generous, strict) = (Arc::new(generous), Arc::new(strict));
        for (config, accepts) in [(&generous, true), (&strict, false)] {
            Pair::new(&generous, &client).shake(usize::MAX);
            let mut pair = Pair::new(config, &client);
            let mut early = pair.client.early_data().expect("a promise");
            early.write_all(b"early").unwrap();
            let said = pair.said();
            let result = said.chunks(50).try_for_each(|piece| pair.give(piece));
            if accepts {
                // No configuration of ours is like that.
                assert_eq!(result, Err(Error::General("unexpected early data".into())));
                pair.is_over();
            } else {
                assert_eq!(result, Ok(()));
                let own = pair.server.take_own();
                pair.hear(&own).unwrap();
                assert!(!pair.client.is_early_data_accepted());
                pair.shake(usize::MAX);
                pair.still_talks();
            }
            assert!(!pair.told.windows(5).any(|told| told == b"early"));
        }
    }
}
