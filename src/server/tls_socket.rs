//! A socket with TLS that weighs little while nothing is on its way.
//!
//! Memory to read, decrypt and encrypt in is one [`Scratch`] for all connections of a worker, lent for the length of one
//! call: plaintext is copied once, into the reader's own buffer, and answers go to the kernel in one call. Only what is
//! left over is kept with the connection: plaintext the reader had no room for, ciphertext the kernel did not take.
//!
//! A session ticket of TLS 1.3 waits for the first answer and goes along with it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use rustls::server::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::session::{PeerSide, Session};
use super::socket::Readable;

/// Largest piece of plaintext that is encrypted at once; what the kernel does not take of it stays with the
/// connection.
const WRITE_LIMIT: usize = 32 * 1024;
/// Room for ciphertext: the largest piece that hyper reads at once, and half a record before it.
const INCOMING: usize = 96 * 1024;
/// Least number of bytes that is asked of the kernel.
const LEAST_READ: usize = 4 * 1024;
/// What records add to the plaintext that fits into the reader's buffer, more or less.
const OVERHEAD: usize = 256;

/// Memory that all connections of a worker work in.
pub(super) struct Scratch {
    incoming: RefCell<Vec<u8>>,
    /// Never shrinks: it is zeroed once, and not for each record.
    outgoing: RefCell<Vec<u8>>,
    gathered: RefCell<Vec<u8>>,
}

impl Scratch {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self {
            incoming: RefCell::new(vec![0; INCOMING]),
            outgoing: RefCell::default(),
            gathered: RefCell::default(),
        })
    }
}

/// See the module.
pub(super) struct TlsSocket {
    socket: TcpStream,
    session: Session,
    scratch: Rc<Scratch>,
    /// Plaintext that no reader has taken yet; the first `taken` bytes are gone.
    plain: Vec<u8>,
    taken: usize,
    /// Ciphertext that has to go out; the first `sent` bytes have.
    out: Vec<u8>,
    sent: usize,
    /// Whether what has to go out may not wait for the next answer.
    due: bool,
    /// The peer went without a word, which may be somebody else's doing.
    cut_off: bool,
}

impl TlsSocket {
    /// A socket on which nobody has begun to shake hands.
    ///
    /// # Errors
    /// What rustls does not like about `config`.
    pub(super) fn new(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        scratch: Rc<Scratch>,
    ) -> io::Result<Self> {
        Ok(Self {
            socket,
            session: Session::new(config).map_err(invalid)?,
            scratch,
            plain: Vec::new(),
            taken: 0,
            out: Vec::new(),
            sent: 0,
            due: false,
            cut_off: false,
        })
    }

    /// What has been agreed on.
    pub(super) fn agreed(&self) -> &CommonState {
        self.session.agreed()
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Takes one step of the handshake with what has come, and tells whether there was something to say to it. What
    /// the kernel does not take of that at once waits for a flush.
    ///
    /// # Errors
    /// The socket's, and what rustls finds wrong; the peer has been told, if its socket took it.
    pub(super) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let said = ready!(self.poll_receive(cx, &mut ReadBuf::new(&mut [])))?;
        // A peer may have said everything, and good-bye, along with the last of its handshake.
        let over = self.cut_off || self.session.peer_side() != PeerSide::Open;
        if over && self.agreed().is_handshaking() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(said))
    }

    /// Reads once, and decrypts into `out` as far as there is room; tells whether the session has something to say to it.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let scratch = Rc::clone(&self.scratch);
        let mut incoming = scratch.incoming.borrow_mut();
        let partial = self.session.partial();
        let kept = partial.len();
        let wanted = (out.remaining() + OVERHEAD).max(LEAST_READ);
        if incoming.len() < kept + LEAST_READ {
            let error = io::Error::new(io::ErrorKind::InvalidData, "handshake message too large");
            return Poll::Ready(Err(error));
        }
        let (before, room) = incoming.split_at_mut(kept);
        before.copy_from_slice(partial);
        let room = room.split_at_mut(wanted.min(room.len())).0;
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        let fresh = read.filled().len();
        if fresh == 0 {
            self.cut_off = true;
            return Poll::Ready(Ok(false));
        }
        let all = incoming.get_mut(..kept + fresh).unwrap_or_default();
        let decrypted = self.session.decrypt(all, |plain| {
            let (now, later) = plain.split_at(plain.len().min(out.remaining()));
            out.put_slice(now);
            self.plain.extend_from_slice(later);
        });
        let own = self.session.take_own();
        let said = !own.is_empty();
        if said {
            self.out.extend_from_slice(&own);
            self.due |= !self.session.can_wait() || decrypted.is_err();
        }
        if self.due {
            // What the kernel does not take now, whoever writes or flushes next sends on.
            let _ = self.poll_send(cx)?;
        }
        Poll::Ready(decrypted.map(|()| said).map_err(invalid))
    }

    /// Sends what has to go out.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.out = Vec::new();
        self.sent = 0;
        self.due = false;
        Poll::Ready(Ok(()))
    }

    /// What of `out` is still to be sent, and nothing in its place.
    fn take_unsent(&mut self, outgoing: &mut Vec<u8>) -> usize {
        let unsent = self.out.get(self.sent..).unwrap_or_default();
        if unsent.is_empty() {
            return 0;
        }
        let length = unsent.len();
        if outgoing.len() < length {
            outgoing.resize(length, 0);
        }
        if let Some(start) = outgoing.get_mut(..length) {
            start.copy_from_slice(unsent);
        }
        self.out = Vec::new();
        self.sent = 0;
        length
    }

    /// Hands plaintext that is waiting to the reader.
    fn give_plain(&mut self, out: &mut ReadBuf<'_>) {
        let rest = self.plain.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(out.remaining());
        out.put_slice(rest.get(..length).unwrap_or_default());
        self.taken += length;
        if self.taken == self.plain.len() {
            self.plain = Vec::new();
            self.taken = 0;
        }
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = out.filled().len();
        loop {
            if !this.plain.is_empty() {
                this.give_plain(out);
                return Poll::Ready(Ok(()));
            }
            match this.session.peer_side() {
                PeerSide::Closed => return Poll::Ready(Ok(())),
                PeerSide::Failed => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                PeerSide::Open if this.cut_off => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                PeerSide::Open => {}
            }
            ready!(this.poll_receive(cx, out))?;
            if out.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.due {
            ready!(this.poll_send(cx))?;
        }
        let bytes = bytes.get(..WRITE_LIMIT).unwrap_or(bytes);
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let scratch = Rc::clone(&this.scratch);
        let mut outgoing = scratch.outgoing.borrow_mut();
        let before = this.take_unsent(&mut outgoing);
        let filled = this
            .session
            .encrypt(Some(bytes), &mut outgoing, before)
            .map_err(invalid)?;
        let all = outgoing.get(..filled).unwrap_or_default();
        let sent = match Pin::new(&mut this.socket).poll_write(cx, all) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        if let Some(unsent) = all.get(sent..).filter(|unsent| !unsent.is_empty()) {
            this.out = unsent.to_vec();
            this.due = true;
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        let (first, second) = (filled.next(), filled.next());
        let Some(first) = first else {
            return Poll::Ready(Ok(0));
        };
        if second.is_none() || first.len() >= WRITE_LIMIT {
            return self.poll_write(cx, first);
        }
        // One record and one call for head and body.
        let scratch = Rc::clone(&self.scratch);
        let mut gathered = scratch.gathered.borrow_mut();
        gathered.clear();
        for slice in slices {
            let room = WRITE_LIMIT.saturating_sub(gathered.len());
            gathered.extend_from_slice(slice.get(..room).unwrap_or(slice));
        }
        self.poll_write(cx, &gathered)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.due {
            this.poll_send(cx)
        } else {
            Poll::Ready(Ok(()))
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = this.out.len();
        // A session that has failed, or said good-bye, has nothing more to say.
        let filled = (this.session)
            .encrypt(None, &mut this.out, before)
            .unwrap_or(before);
        this.out.truncate(filled);
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

impl Readable for TlsSocket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let open = !self.cut_off && self.session.peer_side() == PeerSide::Open;
        if open && self.plain.is_empty() {
            self.socket.poll_readable(cx)
        } else {
            Poll::Ready(())
        }
    }
}

/// As whoever tells handshake failures apart expects it.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::io::{IoSlice, Read, Write};
    use std::time::Duration;

    use proptest::prelude::*;
    use rustls::client::ClientConnection;
    use rustls_pki_types::PrivateKeyDer;
    use socket2::SockRef;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::tls::{
        CipherPreference, Identity, MinimumVersion, ServerTls, certified_key, client_config,
    };
    use super::*;

    /// Longest wait for anything. Only ever reached by a test that fails.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// What a piece of plaintext and a ticket before it may weigh more on the wire.
    const MORE: usize = 1024;

    fn run<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { tokio::time::timeout(PATIENCE, test).await.unwrap() })
    }

    /// Polls once.
    async fn once<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        poll_fn(|cx| Poll::Ready(poll(cx))).await
    }

    /// Bytes that are recognised, wherever they turn up.
    fn pattern(first: u8, length: usize) -> Vec<u8> {
        let bytes = (0..=250_u8).cycle().skip(usize::from(first));
        bytes.take(length).collect()
    }

    /// An ordinary client whose ciphertext the tests may hold in their hands.
    struct Client {
        tls: ClientConnection,
        socket: TcpStream,
        heard: Vec<u8>,
    }

    impl Client {
        /// The ciphertext of it.
        fn says(&mut self, data: &[u8]) -> Vec<u8> {
            self.tls.writer().write_all(data).unwrap();
            let mut said = Vec::new();
            while self.tls.wants_write() {
                self.tls.write_tls(&mut said).unwrap();
            }
            said
        }

        async fn send(&mut self, data: &[u8]) {
            let said = self.says(data);
            self.socket.write_all(&said).await.unwrap();
        }

        /// Takes ciphertext in.
        fn hear(&mut self, mut ciphertext: &[u8]) {
            while !ciphertext.is_empty() {
                self.tls.read_tls(&mut ciphertext).unwrap();
                let state = self.tls.process_new_packets().unwrap();
                let start = self.heard.len();
                self.heard
                    .resize(start + state.plaintext_bytes_to_read(), 0);
                let room = &mut self.heard[start..];
                self.tls.reader().read_exact(room).unwrap();
            }
        }

        /// Reads once; `false` at the end of the stream.
        async fn listen(&mut self) -> bool {
            let mut bytes = vec![0; 16 * 1024];
            let count = self.socket.read(&mut bytes).await.unwrap();
            self.hear(&bytes[..count]);
            count > 0
        }

        async fn hears(&mut self, length: usize) {
            while self.heard.len() < length {
                assert!(self.listen().await, "broke off");
            }
        }

        fn has_been_left(&mut self) -> bool {
            self.tls.process_new_packets().unwrap().peer_has_closed()
        }
    }

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let client = client.unwrap();
        client.set_nodelay(true).unwrap();
        let server = listener.accept().await.unwrap().0;
        server.set_nodelay(true).unwrap();
        (server, client)
    }

    async fn strangers(scratch: &Rc<Scratch>) -> (TlsSocket, Client) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let chain = vec![params.self_signed(&key).unwrap().der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let tls = ServerTls {
            identities: vec![Identity {
                names: Vec::new(),
                key: certified_key(chain.clone(), key).unwrap(),
            }],
            minimum_version: MinimumVersion::Tls12,
            cipher_preference: CipherPreference::Aes128,
        };
        let client = client_config(chain, None).unwrap();
        let mut client = ClientConnection::new(client, "a.test".try_into().unwrap()).unwrap();
        client.set_buffer_limit(None);
        let (server, socket) = connected().await;
        let server = TlsSocket::new(server, tls.build().unwrap(), Rc::clone(scratch)).unwrap();
        let client = Client {
            tls: client,
            socket,
            heard: Vec::new(),
        };
        (server, client)
    }

    /// As the entrance does it.
    async fn enter(server: &mut TlsSocket) -> io::Result<()> {
        while server.agreed().is_handshaking() {
            poll_fn(|cx| server.poll_step(cx)).await?;
            server.flush().await?;
        }
        Ok(())
    }

    /// A server and a client that have shaken hands.
    async fn pair(scratch: &Rc<Scratch>) -> (TlsSocket, Client) {
        let (mut server, mut client) = strangers(scratch).await;
        let shaking = async {
            while client.tls.is_handshaking() {
                client.send(b"").await;
                assert!(client.listen().await);
            }
            client.send(b"").await;
        };
        let (entered, ()) = tokio::join!(enter(&mut server), shaking);
        entered.unwrap();
        (server, client)
    }

    /// Has the kernel hold little between the two, and no less than a segment of the loopback interface.
    fn narrow(server: &TlsSocket, client: &Client) {
        let sender = SockRef::from(&server.socket);
        sender.set_send_buffer_size(16 * 1024).unwrap();
        let receiver = SockRef::from(&client.socket);
        receiver.set_recv_buffer_size(100_000).unwrap();
    }

    /// Writes until there is no room, and gives how much was taken.
    async fn fill_up(server: &mut TlsSocket, data: &[u8]) -> usize {
        let mut written = 0;
        loop {
            let rest = &data[written..];
            let taken = once(|cx| Pin::new(&mut *server).poll_write(cx, rest)).await;
            assert!(server.out.len() - server.sent <= WRITE_LIMIT + MORE);
            match taken {
                Poll::Ready(taken) => written += taken.unwrap(),
                Poll::Pending => return written,
            }
            assert!(written < data.len(), "there is room for everything");
        }
    }

    #[test]
    fn a_reader_that_stops_costs_one_piece_and_loses_nothing() {
        run(async {
            let (mut server, mut client) = pair(&Scratch::new()).await;
            narrow(&server, &client);
            let data = pattern(0, 3_000_000);
            let written = fill_up(&mut server, &data).await;
            let again = once(|cx| Pin::new(&mut server).poll_write(cx, b"x")).await;
            assert!(again.is_pending());
            assert!(
                once(|cx| Pin::new(&mut server).poll_flush(cx))
                    .await
                    .is_pending()
            );
            let sending = async {
                server.write_all(&data[written..]).await.unwrap();
                server.flush().await.unwrap();
            };
            tokio::join!(sending, client.hears(data.len()));
            assert!(client.heard == data);
            assert_eq!((server.out.capacity(), server.due), (0, false));
        });
    }

    #[test]
    fn what_is_left_over_goes_out_before_a_good_bye() {
        run(async {
            let (mut server, mut client) = pair(&Scratch::new()).await;
            narrow(&server, &client);
            let data = pattern(9, 3_000_000);
            let written = fill_up(&mut server, &data).await;
            let listening = async { while client.listen().await {} };
            let (left, ()) = tokio::join!(server.shutdown(), listening);
            left.unwrap();
            assert!(client.heard == data[..written]);
            assert!(client.has_been_left());
        });
    }

    #[test]
    fn says_good_bye_then_ends_its_side_and_still_reads() {
        run(async {
            let (mut server, mut client) = pair(&Scratch::new()).await;
            server.write_all(b"answer").await.unwrap();
            server.shutdown().await.unwrap();
            while client.listen().await {}
            assert_eq!(client.heard, b"answer");
            assert!(client.has_been_left());
            // Once is enough, and whoever lingers may be shown anything.
            server.shutdown().await.unwrap();
            client.send(b"more of a body that nobody wants").await;
            client.socket.write_all(&[23, 3, 3, 0, 1, 1]).await.unwrap();
            client.socket.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let end = server.read_to_end(&mut rest).await;
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert!(rest.len() > 32 + 6);
        });
    }

    #[test]
    fn writes_slices_in_their_order() {
        run(async {
            let (mut server, mut client) = pair(&Scratch::new()).await;
            let lengths: [&[usize]; 7] = [
                &[],
                &[0, 0],
                &[5],
                &[0, 300, 0, 70, 1],
                &[WRITE_LIMIT - 1, 2, 3],
                &[10, 3 * WRITE_LIMIT + 5, 0, 1],
                &[2 * WRITE_LIMIT, 7],
            ];
            let mut expected = Vec::new();
            for (number, lengths) in lengths.iter().enumerate() {
                let first = u8::try_from(number * 30).unwrap();
                let pieces: Vec<_> = lengths.iter().map(|it| pattern(first, *it)).collect();
                let mut slices: Vec<_> = pieces.iter().map(|it| IoSlice::new(it)).collect();
                let mut slices = &mut slices[..];
                let mut left: usize = lengths.iter().sum();
                expected.extend(pieces.concat());
                while left > 0 {
                    let taken = server.write_vectored(slices).await.unwrap();
                    assert!(taken > 0 && taken <= WRITE_LIMIT);
                    IoSlice::advance_slices(&mut slices, taken);
                    left -= taken;
                    client.hears(expected.len() - left).await;
                }
                assert_eq!(server.write_vectored(slices).await.unwrap(), 0);
            }
            assert!(client.heard == expected);
        });
    }

    #[test]
    fn head_and_body_are_one_record_and_a_ticket_goes_along() {
        run(async {
            let (mut server, mut client) = pair(&Scratch::new()).await;
            assert!(!server.out.is_empty() && !server.due, "a ticket waits");
            for tickets in [1, 0] {
                let slices = [IoSlice::new(b"head"), IoSlice::new(b"body")];
                assert_eq!(server.write_vectored(&slices).await.unwrap(), 8);
                assert!(server.out.is_empty());
                let mut bytes = vec![0; 4096];
                let count = client.socket.read(&mut bytes).await.unwrap();
                let mut records = 0;
                let mut rest = &bytes[..count];
                while let [_, _, _, high, low, content @ ..] = rest {
                    rest = &content[usize::from(u16::from_be_bytes([*high, *low]))..];
                    records += 1;
                }
                assert_eq!(records, tickets + 1);
                client.hear(&bytes[..count]);
            }
            assert_eq!(client.tls.tls13_tickets_received(), 1);
            assert_eq!(client.heard, b"headbodyheadbody");
        });
    }

    #[test]
    fn a_small_buffer_gets_everything() {
        run(async {
            let (mut server, mut client) = pair(&Scratch::new()).await;
            let data = pattern(3, 100_000);
            let said = client.says(&data);
            let reading = async {
                let mut read = Vec::new();
                let mut buffer = [0; 13];
                while read.len() < data.len() {
                    let room = &mut buffer[..1 + read.len() % 13];
                    let count = server.read(room).await.unwrap();
                    assert!(count > 0);
                    read.extend_from_slice(&room[..count]);
                    assert!(server.plain.len() <= INCOMING);
                }
                read
            };
            let (sent, read) = tokio::join!(client.socket.write_all(&said), reading);
            sent.unwrap();
            assert!(read == data);
            assert_eq!(server.plain.capacity(), 0);
            assert!(server.session.partial().is_empty());
        });
    }

    #[test]
    fn an_end_without_a_word_is_no_end() {
        run(async {
            for cut in [0, 1, 9] {
                let (mut server, mut client) = pair(&Scratch::new()).await;
                client.send(b"half of a body").await;
                let more = client.says(b"the other");
                client.socket.write_all(&more[..cut]).await.unwrap();
                client.socket.shutdown().await.unwrap();
                let mut read = Vec::new();
                for _ in 0..2 {
                    let end = server.read_to_end(&mut read).await;
                    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
                    assert!(once(|cx| server.poll_readable(cx)).await.is_ready());
                }
                assert_eq!(read, b"half of a body");
                // What is said to it is another matter.
                server.write_all(b"answer").await.unwrap();
                client.hears(6).await;
            }
        });
    }

    #[test]
    fn a_good_bye_is_an_end() {
        run(async {
            let (mut server, mut client) = pair(&Scratch::new()).await;
            assert!(once(|cx| server.poll_readable(cx)).await.is_pending());
            client.tls.send_close_notify();
            client.send(b"").await;
            poll_fn(|cx| server.poll_readable(cx)).await;
            for _ in 0..2 {
                assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
                assert!(once(|cx| server.poll_readable(cx)).await.is_ready());
            }
        });
    }

    /// The last of a handshake, a whole request and a good-bye may come in one segment.
    #[test]
    fn everything_at_once_is_not_too_much() {
        run(async {
            let (mut server, mut client) = strangers(&Scratch::new()).await;
            client.send(b"").await;
            assert!(poll_fn(|cx| server.poll_step(cx)).await.unwrap());
            server.flush().await.unwrap();
            while client.tls.is_handshaking() {
                assert!(client.listen().await);
            }
            let mut said = client.says(b"a request");
            client.tls.send_close_notify();
            said.extend(client.says(b""));
            client.socket.write_all(&said).await.unwrap();
            enter(&mut server).await.unwrap();
            assert!(once(|cx| server.poll_readable(cx)).await.is_ready());
            let mut read = Vec::new();
            server.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, b"a request");
            server.write_all(b"answer").await.unwrap();
            client.hears(6).await;
        });
    }

    #[test]
    fn who_speaks_no_tls_is_told_so() {
        run(async {
            let (mut server, mut client) = strangers(&Scratch::new()).await;
            client
                .socket
                .write_all(b"GET / HTTP/1.1\r\n\r\n")
                .await
                .unwrap();
            let fault = enter(&mut server).await.unwrap_err();
            assert_eq!(fault.kind(), io::ErrorKind::InvalidData);
            for _ in 0..2 {
                assert!(server.read(&mut [0; 9]).await.is_err());
                assert!(server.write(b"x").await.is_err());
            }
            server.shutdown().await.unwrap();
            let mut said = Vec::new();
            client.socket.read_to_end(&mut said).await.unwrap();
            assert_eq!(said[..6], [21, 3, 3, 0, 2, 2], "a fatal alert");
            assert_eq!(said.len(), 7);
        });
    }

    /// One message of a handshake in records of one byte each: small to whoever counts messages, large on the wire.
    #[test]
    fn a_handshake_in_crumbs_has_a_bound() {
        run(async {
            let (mut server, mut client) = strangers(&Scratch::new()).await;
            let crumb = [22, 3, 1, 0, 1, 0];
            let mut said = vec![22, 3, 1, 0, 4, 1, 0, 0xff, 0];
            said.extend(crumb.iter().cycle().take(crumb.len() * 0xff00));
            let entering = async {
                let fault = enter(&mut server).await.unwrap_err();
                assert_eq!(fault.kind(), io::ErrorKind::InvalidData);
                assert!(server.session.partial().len() <= INCOMING);
                drop(server);
            };
            // That it is not read to its end is the point.
            let (_, ()) = tokio::join!(client.socket.write_all(&said), entering);
        });
    }

    /// Bytes that tell whose they are and, nearly, where they belong.
    fn numbered(whose: u8, from: usize, length: usize) -> Vec<u8> {
        let bytes = (whose..whose + 47).cycle().skip(from % 47);
        bytes.take(length).collect()
    }

    /// What is done to one of two connections that share their memory.
    #[derive(Clone, Debug)]
    enum Act {
        /// The server writes so much, as far as there is room.
        Write(usize),
        /// It reads into a buffer of this size, if there is anything.
        Read(usize),
        /// The client has so much more to say.
        Say(usize),
        /// It sends so many bytes of ciphertext.
        Send(usize),
        /// It reads once, if there is anything.
        Listen,
    }

    /// One of the two, and what has gone over it.
    struct Half {
        server: TlsSocket,
        client: Client,
        first: u8,
        ciphertext: Vec<u8>,
        asked: Vec<u8>,
        read: Vec<u8>,
        answered: Vec<u8>,
    }

    impl Half {
        async fn new(scratch: &Rc<Scratch>, first: u8) -> Self {
            let (server, client) = pair(scratch).await;
            narrow(&server, &client);
            Self {
                server,
                client,
                first,
                ciphertext: Vec::new(),
                asked: Vec::new(),
                read: Vec::new(),
                answered: Vec::new(),
            }
        }

        async fn act(&mut self, act: &Act) {
            match *act {
                Act::Write(length) => {
                    let data = numbered(self.first, self.answered.len(), length);
                    let taken = once(|cx| Pin::new(&mut self.server).poll_write(cx, &data)).await;
                    if let Poll::Ready(taken) = taken {
                        self.answered.extend(&data[..taken.unwrap()]);
                    }
                    assert!(self.server.out.len() - self.server.sent <= WRITE_LIMIT + MORE);
                }
                Act::Read(length) => {
                    let mut room = vec![0; length];
                    let mut room = ReadBuf::new(&mut room);
                    let read = once(|cx| Pin::new(&mut self.server).poll_read(cx, &mut room));
                    if let Poll::Ready(read) = read.await {
                        read.unwrap();
                        self.read.extend(room.filled());
                    }
                }
                Act::Say(length) => {
                    let data = numbered(self.first + 50, self.asked.len(), length);
                    self.ciphertext.extend(self.client.says(&data));
                    self.asked.extend(data);
                }
                Act::Send(length) => {
                    let length = length.min(self.ciphertext.len());
                    let piece = &self.ciphertext[..length];
                    if let Ok(sent) = self.client.socket.try_write(piece) {
                        self.ciphertext.drain(..sent);
                    }
                }
                Act::Listen => {
                    let mut bytes = vec![0; 16 * 1024];
                    if let Ok(count) = self.client.socket.try_read(&mut bytes) {
                        self.client.hear(&bytes[..count]);
                    }
                }
            }
        }

        /// Lets everything arrive, and looks at it.
        async fn settle(&mut self) {
            let mut rest = vec![0; self.asked.len() - self.read.len()];
            let Self { server, client, .. } = self;
            let sending = client.socket.write_all(&self.ciphertext);
            let (sent, read) = tokio::join!(sending, server.read_exact(&mut rest));
            sent.unwrap();
            read.unwrap();
            self.read.extend(rest);
            let (flushed, ()) = tokio::join!(server.flush(), client.hears(self.answered.len()));
            flushed.unwrap();
            assert!(self.client.heard == self.answered && self.read == self.asked);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn connections_that_share_memory_never_see_each_others_bytes(
            acts in proptest::collection::vec((any::<bool>(), prop_oneof![
                (0..40_000_usize).prop_map(Act::Write),
                (1..20_000_usize).prop_map(Act::Read),
                (1..20_000_usize).prop_map(Act::Say),
                (1..3000_usize).prop_map(Act::Send),
                Just(Act::Listen),
            ]), 1..80),
        ) {
            run(async {
                let scratch = Scratch::new();
                let mut first = Half::new(&scratch, 0).await;
                let mut second = Half::new(&scratch, 100).await;
                for (which, act) in &acts {
                    let half = if *which { &mut first } else { &mut second };
                    half.act(act).await;
                    // So that the runtime hears of what the kernel has.
                    tokio::task::yield_now().await;
                }
                first.settle().await;
                second.settle().await;
            });
        }
    }
}
