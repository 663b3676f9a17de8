//! A TLS connection to the proxy that never blocks.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::tls;
use crate::Result;

/// An open connection.
pub(super) struct Link {
    socket: TcpStream,
    tls: ClientConnection,
    /// What is still to be encrypted, and from where on.
    outgoing: Option<(Arc<[u8]>, usize)>,
    /// Epoll tells when it can be written to.
    watched: bool,
    id: u64,
}

/// What one read gave.
pub(super) struct Incoming {
    /// The connection is over.
    pub(super) closed: bool,
}

impl Link {
    /// Begins to connect, and registers with epoll under `id`.
    pub(super) fn open(
        poll: &OwnedFd,
        id: u64,
        address: SocketAddr,
        settings: Arc<ClientConfig>,
    ) -> Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &address) {
            // On the loopback interface the answer is here before the first write all the same.
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        epoll::add(poll, &socket, EventData::new_u64(id), EventFlags::IN)?;
        Ok(Self {
            socket: socket.into(),
            tls: ClientConnection::new(settings, tls::name())?,
            outgoing: None,
            watched: false,
            id,
        })
    }

    /// Sends, now or as soon as the handshake and the peer allow.
    pub(super) fn send(&mut self, poll: &OwnedFd, bytes: &Arc<[u8]>) -> Result<()> {
        debug_assert!(self.outgoing.is_none(), "one request at a time");
        self.outgoing = Some((Arc::clone(bytes), 0));
        self.flush(poll)
    }

    /// Encrypts a little, to be sent with the next [`Self::flush`].
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        // rustls keeps 64 KiB that the kernel does not take: more than all streams of a connection have on their way.
        Ok(self.tls.writer().write_all(bytes)?)
    }

    /// Whether all that was given is with the kernel.
    pub(super) fn is_flushed(&self) -> bool {
        self.outgoing.is_none() && !self.tls.wants_write()
    }

    /// Encrypts and writes what the kernel takes; watches for more room only where there is not enough.
    pub(super) fn flush(&mut self, poll: &OwnedFd) -> Result<()> {
        let blocked = loop {
            self.encrypt()?;
            if !self.tls.wants_write() {
                break false;
            }
            match self.tls.write_tls(&mut &self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if not_yet(&error) => break true,
                Err(error) => return Err(error.into()),
            }
        };
        if blocked != self.watched {
            let out = if blocked {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            epoll::modify(
                poll,
                &self.socket,
                EventData::new_u64(self.id),
                EventFlags::IN | out,
            )?;
            self.watched = blocked;
        }
        Ok(())
    }

    fn encrypt(&mut self) -> io::Result<()> {
        let Some((bytes, from)) = &mut self.outgoing else {
            return Ok(());
        };
        // During the handshake rustls keeps the first 64 KiB, and sends them with its own last message.
        *from += self.tls.writer().write(&bytes[*from..])?;
        if *from == bytes.len() {
            self.outgoing = None;
        }
        Ok(())
    }

    /// Reads once, and appends what was decrypted.
    pub(super) fn receive(&mut self, poll: &OwnedFd, plain: &mut Vec<u8>) -> Result<Incoming> {
        let mut closed = match self.tls.read_tls(&mut &self.socket) {
            Ok(length) => length == 0,
            Err(error) if not_yet(&error) => return Ok(Incoming { closed: false }),
            Err(error) => return Err(error.into()),
        };
        let state = self.tls.process_new_packets()?;
        closed |= state.peer_has_closed();
        let length = state.plaintext_bytes_to_read();
        if length > 0 {
            let start = plain.len();
            plain.resize(start + length, 0);
            self.tls.reader().read_exact(&mut plain[start..])?;
        }
        if !closed && (self.outgoing.is_some() || self.tls.wants_write()) {
            self.flush(poll)?;
        }
        Ok(Incoming { closed })
    }

    /// Sends nothing more, and says so, as senders do that have their last answer; the proxy's end is still to come.
    pub(super) fn end(&mut self, poll: &OwnedFd) -> Result<()> {
        self.tls.send_close_notify();
        self.flush(poll)?;
        Ok(self.socket.shutdown(Shutdown::Write)?)
    }

    /// Whether it began with a ticket; `None` before the handshake is over.
    pub(super) fn resumed(&self) -> Option<bool> {
        self.tls
            .handshake_kind()
            .map(|kind| kind == HandshakeKind::Resumed)
    }

    /// Whether the proxy chose this protocol.
    pub(super) fn speaks(&self, protocol: &[u8]) -> bool {
        self.tls.alpn_protocol() == Some(protocol)
    }
}

/// The socket is not connected yet, or cannot take or give more now.
fn not_yet(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}
