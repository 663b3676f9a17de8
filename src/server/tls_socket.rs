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
    closing: bool,
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
            closing: false,
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
        ready!(self.poll_receive(cx, &mut ReadBuf::new(&mut [])))?;
        if self.cut_off || self.session.peer_side() != PeerSide::Open {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        Poll::Ready(Ok(self.due))
    }

    /// Reads once, and decrypts into `out` as far as there is room.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
            return Poll::Ready(Ok(()));
        }
        let all = incoming.get_mut(..kept + fresh).unwrap_or_default();
        let decrypted = self.session.decrypt(all, |plain| {
            let (now, later) = plain.split_at(plain.len().min(out.remaining()));
            out.put_slice(now);
            self.plain.extend_from_slice(later);
        });
        let own = self.session.take_own();
        if !own.is_empty() {
            self.out.extend_from_slice(&own);
            self.due |= !self.session.can_wait() || decrypted.is_err();
        }
        if self.due {
            // What the kernel does not take now, whoever writes or flushes next sends on.
            let _ = self.poll_send(cx)?;
        }
        Poll::Ready(decrypted.map_err(invalid))
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
        if !this.closing {
            this.closing = true;
            let mut all = std::mem::take(&mut this.out);
            let before = all.len();
            // A session that has failed has said so already.
            let filled = this
                .session
                .encrypt(None, &mut all, before)
                .unwrap_or(before);
            all.truncate(filled);
            this.out = all;
        }
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
