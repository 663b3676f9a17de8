//! A fast backend in a thread of its own: reads a message, remembers its number, answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::Result;

/// Lives as long as the program.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    whole: AtomicU64,
    numbers: Mutex<Vec<u64>>,
}

impl Backend {
    /// Answers every message with this many bytes.
    pub(crate) fn start(answer: usize) -> Result<Self> {
        let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let seen = Arc::new(Seen::default());
        let (for_thread, answer) = (Arc::clone(&seen), Bytes::from(vec![b'x'; answer]));
        std::thread::spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(accept(socket, &for_thread, &answer))
        });
        Ok(Self { address, seen })
    }

    /// Messages that have come whole.
    pub(crate) fn whole(&self) -> u64 {
        self.seen.whole.load(Ordering::SeqCst)
    }

    /// The numbers of those that had one, in order of arrival.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let numbers = self.seen.numbers.lock();
        numbers.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(socket: std::net::TcpListener, seen: &Arc<Seen>, answer: &Bytes) -> Result<()> {
    let listener = tokio::net::TcpListener::from_std(socket)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (seen, answer) = (Arc::clone(seen), answer.clone());
        let service = service_fn(move |request| take(request, Arc::clone(&seen), answer.clone()));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A connection that breaks off is the business of whoever plays.
        tokio::spawn(connection);
    }
}

async fn take(
    request: Request<Incoming>,
    seen: Arc<Seen>,
    answer: Bytes,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let number = request.headers().get("x-message-number");
    let number = number.and_then(|value| value.to_str().ok()?.parse().ok());
    let mut body = request.into_body();
    while let Some(piece) = body.frame().await {
        if piece.is_err() {
            return Ok(Response::new(Full::new(Bytes::new())));
        }
    }
    seen.whole.fetch_add(1, Ordering::SeqCst);
    if let Some(number) = number {
        let mut numbers = seen.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.push(number);
    }
    Ok(Response::new(Full::new(answer)))
}
