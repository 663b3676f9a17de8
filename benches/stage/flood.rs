//! Wrong tokens at full speed, over kept or over new connections, from one address or from many.
//!
//! The threads of a flood stand back behind those that measure, and do not look at answers beyond their status.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions};

use super::{Alpn, Result, Target, be_nice, post};

const WRONG: &str = "CANARY-wrong-0123456789abcdef";
/// Connections at once.
const WIDTH: u8 = 24;
/// Requests in flight on one connection of HTTP/2.
const STREAMS: usize = 32;
/// Requests in one write.
const PIPELINED: usize = 16;
/// Pause after a connection that did not come about, so that a flood which is kept out does not become a loop of
/// its own that only heats this side.
const PAUSE: Duration = Duration::from_millis(2);

/// How a flood floods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) alpn: Alpn,
    /// A new connection for each request.
    pub(crate) anew: bool,
    /// From 24 addresses instead of the one that good senders use.
    pub(crate) many: bool,
}

/// A running flood.
pub(crate) struct Flood {
    going: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl Flood {
    pub(crate) fn start(target: &Target, style: Style) -> Self {
        let (going, answers) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (for_thread, counted) = (Arc::clone(&going), Arc::clone(&answers));
        let target = target.clone();
        let thread = std::thread::spawn(move || {
            be_nice();
            let mut builder = Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(LocalOptions::default())?;
            runtime.block_on(async {
                for number in 0..WIDTH {
                    let source = if style.many {
                        Ipv4Addr::new(127, 0, 2, number + 1)
                    } else {
                        super::HOME
                    };
                    let (target, counted) = (target.clone(), Arc::clone(&counted));
                    tokio::task::spawn_local(async move {
                        loop {
                            // However it ends, there is a next one.
                            if once(&target, style, source, &counted).await.is_err() {
                                tokio::time::sleep(PAUSE).await;
                            }
                        }
                    });
                }
                while for_thread.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            Ok(())
        });
        Self {
            going,
            answers,
            thread,
        }
    }

    /// Ends it; answers that came.
    pub(crate) fn stop(self) -> Result<u64> {
        self.going.store(false, Ordering::SeqCst);
        self.thread.join().map_err(|_| "the flood panicked")??;
        Ok(self.answers.load(Ordering::SeqCst))
    }
}

/// One connection from beginning to end.
async fn once(
    target: &Target,
    style: Style,
    source: Ipv4Addr,
    counted: &Arc<AtomicU64>,
) -> Result<()> {
    match (style.alpn, style.anew) {
        (Alpn::Http1, true) => {
            let mut sender = target.http1(source).await?;
            sender.send_request(wrong(Alpn::Http1)).await?;
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        (Alpn::Http2, true) => {
            let mut sender = target.http2(source).await?;
            sender.send_request(wrong(Alpn::Http2)).await?;
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
        (Alpn::Http1, false) => pipeline(target, source, counted).await,
        (Alpn::Http2, false) => multiplex(target, source, counted).await,
    }
}

fn wrong(alpn: Alpn) -> http::Request<http_body_util::Full<Bytes>> {
    post(alpn, "/play", WRONG, Bytes::from_static(b"{\"CANARY\":1}"))
}

async fn pipeline(target: &Target, source: Ipv4Addr, counted: &AtomicU64) -> Result<()> {
    let request = format!(
        "POST /play HTTP/1.1\r\nHost: localhost\r\nverification-token: {WRONG}\r\nContent-Length: 12\r\n\r\n{{\"CANARY\":1}}"
    );
    let batch = request.repeat(PIPELINED).into_bytes();
    let stream = target.tls(source, Alpn::Http1).await?;
    let (mut read, mut write) = tokio::io::split(stream);
    let writing = async {
        loop {
            write.write_all(&batch).await?;
        }
    };
    let reading = async {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = read.read(&mut piece).await?;
            if length == 0 {
                return Ok(());
            }
            let answers = memchr::memmem::find_iter(&piece[..length], b"HTTP/1.1 4").count();
            counted.fetch_add(u64::try_from(answers)?, Ordering::SeqCst);
        }
    };
    tokio::select! {
        ended = writing => ended,
        ended = reading => ended,
    }
}

async fn multiplex(target: &Target, source: Ipv4Addr, counted: &Arc<AtomicU64>) -> Result<()> {
    let sender = target.http2(source).await?;
    let streams = (0..STREAMS).map(|_| {
        let (mut sender, counted) = (sender.clone(), Arc::clone(counted));
        tokio::task::spawn_local(async move {
            while sender.ready().await.is_ok()
                && sender.send_request(wrong(Alpn::Http2)).await.is_ok()
            {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        stream.await?;
    }
    Ok(())
}
