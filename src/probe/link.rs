//! A connection of the sender's: bytes out, bytes back, each wait with an end.
//!
//! Blocking sockets on purpose: a probe has a handful of connections at a time, each on a thread of its own.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, ClientConnection};
use rustls_pki_types::ServerName;

/// Plain bytes handed to TLS at a time: a record.
const PIECE: usize = 16 * 1024;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// One wait.
    pub(super) timeout: Duration,
    /// All of it.
    pub(super) end: Instant,
}

impl Limits {
    /// When a wait that begins now has to end.
    pub(super) fn deadline(self) -> Instant {
        (Instant::now() + self.timeout).min(self.end)
    }

    /// Whether there is no time left.
    pub(super) fn are_used_up(self) -> bool {
        Instant::now() >= self.end
    }
}

/// See the module.
pub(super) struct Link {
    socket: TcpStream,
    tls: Option<ClientConnection>,
    deadline: Instant,
}

impl Link {
    /// Connects; without TLS.
    pub(super) fn connect(address: SocketAddr, deadline: Instant) -> Result<Self> {
        let socket = TcpStream::connect_timeout(&address, left(deadline)?)?;
        socket.set_nodelay(true)?;
        Ok(Self {
            socket,
            tls: None,
            deadline,
        })
    }

    /// Shakes hands.
    pub(super) fn secure(
        mut self,
        config: &Arc<ClientConfig>,
        name: &ServerName<'static>,
    ) -> Result<Self> {
        let mut tls =
            ClientConnection::new(Arc::clone(config), name.clone()).map_err(Error::other)?;
        while tls.is_handshaking() {
            self.flush(&mut tls)?;
            if tls.is_handshaking() && tls.wants_read() {
                self.fill(&mut tls)?;
            }
        }
        self.flush(&mut tls)?;
        self.tls = Some(tls);
        Ok(self)
    }

    /// What was agreed on, with TLS.
    pub(super) fn tls(&self) -> Option<&ClientConnection> {
        self.tls.as_ref()
    }

    /// Gives what follows another deadline.
    pub(super) fn until(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Sends all of it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(mut tls) = self.tls.take() else {
            return self.send_plain(bytes);
        };
        let mut sent = Ok(());
        for piece in bytes.chunks(PIECE) {
            sent = tls
                .writer()
                .write_all(piece)
                .and_then(|()| self.flush(&mut tls));
            if sent.is_err() {
                break;
            }
        }
        self.tls = Some(tls);
        sent
    }

    /// Piece by piece, since a peer that takes a little at a time would never be late by a limit on each write.
    fn send_plain(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            self.socket.set_write_timeout(Some(left(self.deadline)?))?;
            let sent = unbroken(|| self.socket.write(bytes))?;
            if sent == 0 {
                return Err(ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads some bytes; zero at the end, however it came about.
    ///
    /// # Errors
    /// Only for a wait that was too long.
    pub(super) fn receive(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let received = match self.tls.take() {
            None => self.receive_plain(bytes),
            Some(mut tls) => {
                let received = self.receive_tls(&mut tls, bytes);
                self.tls = Some(tls);
                received
            }
        };
        received.or_else(|error| {
            if is_timeout(&error) {
                Err(error)
            } else {
                Ok(0)
            }
        })
    }

    fn receive_plain(&mut self, bytes: &mut [u8]) -> Result<usize> {
        self.socket.set_read_timeout(Some(left(self.deadline)?))?;
        unbroken(|| self.socket.read(bytes))
    }

    /// Reads what has come, also where nothing can be sent any more: a refusal may be on its way.
    fn receive_tls(&mut self, tls: &mut ClientConnection, bytes: &mut [u8]) -> Result<usize> {
        loop {
            match tls.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.fill(tls)?,
                end => return end,
            }
        }
    }

    fn fill(&mut self, tls: &mut ClientConnection) -> Result<()> {
        self.socket.set_read_timeout(Some(left(self.deadline)?))?;
        if unbroken(|| tls.read_tls(&mut self.socket))? == 0 && tls.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let processed = tls.process_new_packets();
        if processed.is_err() {
            // The peer should learn why, but it is told only if that costs nothing.
            let _ = self.flush(tls);
        }
        processed.map(|_| ()).map_err(Error::other)
    }

    fn flush(&mut self, tls: &mut ClientConnection) -> Result<()> {
        while tls.wants_write() {
            self.socket.set_write_timeout(Some(left(self.deadline)?))?;
            unbroken(|| tls.write_tls(&mut self.socket))?;
        }
        Ok(())
    }
}

/// Whether a wait was too long.
pub(super) fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

/// Again, where this process was stopped and continued meanwhile: waits with a limit are broken off by that, `signal(7)`.
fn unbroken<T>(mut wait: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match wait() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            end => return end,
        }
    }
}

/// Never zero, which sockets take for no limit.
fn left(deadline: Instant) -> Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}
