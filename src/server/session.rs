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

    /// Works through ciphertext, [`Session::partial`] first; `deliver` gets the plaintext piece by piece.
    ///
    /// # Errors
    /// What is wrong with it. An alert is among what the session has to say, and that was its last word.
    pub(super) fn decrypt(
        &mut self,
        all: &mut [u8],
        mut deliver: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
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
        } else if !rest.is_empty() {
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
    /// Where the session has failed, or its keys are used up.
    pub(super) fn encrypt(
        &mut self,
        data: Option<&[u8]>,
        out: &mut Vec<u8>,
        filled: usize,
    ) -> Result<usize, Error> {
        if self.peer == PeerSide::Failed {
            return Err(Error::HandshakeNotComplete);
        }
        let mut at = filled;
        loop {
            let state = self.tls.process_tls_records(&mut self.partial).state;
            match state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return fill(out, at, |room| match data {
                        Some(data) => traffic.encrypt(data, room),
                        None => traffic.queue_close_notify(room),
                    });
                }
                // What the session has to say by itself goes first.
                ConnectionState::EncodeTlsData(data) => {
                    out.truncate(at);
                    encode(data, out)?;
                    at = out.len();
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.peer = PeerSide::Closed,
                _ => return Err(Error::HandshakeNotComplete),
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
