//! The system behind the proxies: reads whole requests, gives each the same short answer, and counts.
//!
//! One thread that serves the whole run. What it counts is how a cell is judged: a request with a wrong token must not
//! come here, a good one must come whole, and nobody may hand the token on.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;

use memchr::memmem;
use rustix::event::epoll;

use crate::Result;
use crate::message::Message;

/// What it answers.
pub(crate) const ANSWER: &[u8] = b"stored";
const WHOLE_ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nstored";
/// A megabyte in few calls, so that the backend takes little of the processor that it shares with the generator.
const PIECE: usize = 256 * 1024;
const LISTENER: u64 = 0;

/// A running backend.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    /// Its thread.
    pub(crate) thread: i32,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    tokens: AtomicU64,
    connections: AtomicU64,
}

/// What has come so far.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Received {
    pub(crate) requests: u64,
    /// In bodies.
    pub(crate) bytes: u64,
    /// Connections whose first request had the token still in it.
    pub(crate) tokens: u64,
    /// Connections that proxies opened.
    pub(crate) connections: u64,
}

impl Backend {
    /// Starts it on the processor of the calling thread.
    pub(crate) fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        rustix::net::listen(&listener, 4096)?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let (for_thread, (tell, told)) = (Arc::clone(&counts), channel());
        std::thread::spawn(move || {
            let _ = tell.send(rustix::thread::gettid().as_raw_nonzero().get());
            if let Err(error) = serve(&listener, &for_thread) {
                eprintln!("the backend failed: {error}");
                std::process::exit(1);
            }
        });
        Ok(Self {
            address,
            thread: told.recv()?,
            counts,
        })
    }

    pub(crate) fn received(&self) -> Received {
        Received {
            requests: self.counts.requests.load(Ordering::SeqCst),
            bytes: self.counts.bytes.load(Ordering::SeqCst),
            tokens: self.counts.tokens.load(Ordering::SeqCst),
            connections: self.counts.connections.load(Ordering::SeqCst),
        }
    }
}

struct Connection {
    socket: TcpStream,
    message: Message,
    /// The first request has been looked through.
    known: bool,
}

fn serve(listener: &TcpListener, counts: &Counts) -> Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let readable = epoll::EventFlags::IN;
    epoll::add(
        &poll,
        listener,
        epoll::EventData::new_u64(LISTENER),
        readable,
    )?;
    let (mut connections, mut next) = (HashMap::new(), LISTENER);
    let mut events = Vec::with_capacity(256);
    let mut piece = vec![0; PIECE];
    loop {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    next += 1;
                    counts.connections.fetch_add(1, Ordering::SeqCst);
                    socket.set_nonblocking(true)?;
                    socket.set_nodelay(true)?;
                    epoll::add(&poll, &socket, epoll::EventData::new_u64(next), readable)?;
                    connections.insert(next, Connection::new(socket));
                }
            } else if let Some(connection) = connections.get_mut(&id)
                && !connection.read(&mut piece, counts)
            {
                connections.remove(&id);
            }
        }
    }
}

impl Connection {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            message: Message::default(),
            known: false,
        }
    }

    /// Reads what is there, once; false when the connection is over.
    fn read(&mut self, piece: &mut [u8], counts: &Counts) -> bool {
        match self.socket.read(piece) {
            Ok(0) => false,
            Ok(length) => self.take(&piece[..length], counts).is_ok(),
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    fn take(&mut self, mut bytes: &[u8], counts: &Counts) -> Result<()> {
        if !self.known {
            self.known = true;
            let has_token = memmem::find(bytes, crate::requests::TOKEN.as_bytes()).is_some();
            counts.tokens.fetch_add(has_token.into(), Ordering::SeqCst);
        }
        while !bytes.is_empty() {
            let (used, whole) = self.message.feed(bytes)?;
            bytes = &bytes[used..];
            if whole {
                counts.requests.fetch_add(1, Ordering::SeqCst);
                counts
                    .bytes
                    .fetch_add(self.message.length, Ordering::SeqCst);
                self.message.clear();
                self.socket.write_all(WHOLE_ANSWER)?;
            }
        }
        Ok(())
    }
}
