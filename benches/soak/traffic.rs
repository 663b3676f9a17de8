//! The mixed load of the soak: what is sent, and what its senders were told.
//!
//! Which request comes when depends on its number alone, so that every play has the same mixture.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions};

use super::stage::{Alpn, HOME, Http1, Http2, Result, TOKEN, Target, exchange, message, post};

/// What clients were told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) good: AtomicU64,
    pub(crate) large: AtomicU64,
    pub(crate) challenges: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) hostile: AtomicU64,
    pub(crate) vanished: AtomicU64,
    pub(crate) slow: AtomicU64,
    pub(crate) failed: AtomicU64,
    first_failure: std::sync::Mutex<Option<String>>,
}

impl Told {
    pub(crate) fn print(&self) {
        let kinds = [
            ("good messages", &self.good),
            ("large messages", &self.large),
            ("challenges", &self.challenges),
            ("wrong tokens", &self.refused),
            ("hostile requests", &self.hostile),
            ("senders vanished", &self.vanished),
            ("slow senders", &self.slow),
            ("with a wrong answer", &self.failed),
        ];
        for (name, count) in kinds {
            println!("  sent: {name}: {}", count.load(Ordering::SeqCst));
        }
        if let Ok(first) = self.first_failure.lock()
            && let Some(first) = first.as_ref()
        {
            println!("  the first wrong answer: {first}");
        }
    }
}

/// The requests of the vectors, as bytes.
pub(crate) fn hostile() -> Result<Vec<Vec<u8>>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/http1");
    let mut requests = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let cases: Vec<serde_yaml::Value> = serde_yaml::from_str(&std::fs::read_to_string(path)?)?;
        for case in cases {
            let text = |name: &str| case.get(name).and_then(serde_yaml::Value::as_str);
            let whole = text("request").map_or_else(
                || {
                    let line = text("line").unwrap_or("POST /redox HTTP/1.1");
                    let (lines, body) = (text("lines").unwrap_or(""), text("body").unwrap_or(""));
                    format!("{line}\r\nHost: localhost\r\nverification-token: <token>\r\n{lines}\r\n{body}")
                },
                str::to_owned,
            );
            let whole = whole.replace("<token>", TOKEN).replace("<scheme>", "https");
            // One character is one byte.
            requests.push(
                whole
                    .chars()
                    .filter_map(|char| u8::try_from(u32::from(char)).ok())
                    .collect(),
            );
        }
    }
    Ok(requests)
}

/// The load, in a thread of its own.
pub(crate) struct Traffic {
    going: Arc<AtomicBool>,
    told: Arc<Told>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Traffic {
    pub(crate) fn start(target: Target, rate: u64, hostile: Vec<Vec<u8>>) -> Result<Self> {
        let (going, told) = (Arc::new(AtomicBool::new(true)), Arc::new(Told::default()));
        let (for_thread, counts) = (Arc::clone(&going), Arc::clone(&told));
        let pace = Duration::from_secs(1) / u32::try_from(rate)?;
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())?;
            runtime.block_on(async {
                let player = Rc::new(Player {
                    target,
                    hostile,
                    told: counts,
                    http1: tokio::sync::Mutex::default(),
                    http2: tokio::sync::Mutex::default(),
                });
                let (mut number, mut tasks, mut ticks) =
                    (0, tokio::task::JoinSet::new(), tokio::time::interval(pace));
                while for_thread.load(Ordering::SeqCst) {
                    ticks.tick().await;
                    let player = Rc::clone(&player);
                    tasks.spawn_local(async move { player.one(number).await });
                    number += 1;
                    while tasks.try_join_next().is_some() {}
                }
                while let Some(ended) = tasks.join_next().await {
                    ended?;
                }
                Ok::<_, tokio::task::JoinError>(())
            })?;
            Ok(())
        });
        Ok(Self {
            going,
            told,
            thread,
        })
    }

    /// Ends it; whether it had ended by itself.
    pub(crate) fn stop(self) -> Result<(Arc<Told>, bool)> {
        let early = self.thread.is_finished();
        self.going.store(false, Ordering::SeqCst);
        self.thread.join().map_err(|_| "the traffic panicked")??;
        Ok((self.told, early))
    }
}

struct Player {
    target: Target,
    hostile: Vec<Vec<u8>>,
    told: Arc<Told>,
    http1: tokio::sync::Mutex<Option<Http1>>,
    http2: tokio::sync::Mutex<Option<Http2>>,
}

impl Player {
    async fn one(&self, number: u64) {
        let (told, body) = (&self.told, bytes::Bytes::from_static(b"{\"CANARY\":1}"));
        let challenge = format!(
            "{{\"verification-token\":\"{TOKEN}\",\"challenge\":\"CANARY-challenge-{number}\"}}"
        );
        let (count, played) = match number % 20 {
            0 => (&told.hostile, self.hostile(number).await),
            1 => (&told.vanished, self.vanish(number).await),
            2 if number % 100 == 2 => (&told.slow, self.slow().await),
            2 | 3 => (
                &told.refused,
                self.expect(
                    &[401, 429],
                    false,
                    post(
                        Alpn::Http1,
                        "/play?q=CANARY",
                        "CANARY-wrong-0123456789",
                        body,
                    ),
                )
                .await,
            ),
            4 => (
                &told.challenges,
                self.expect(
                    &[200],
                    false,
                    post(Alpn::Http1, "/play", TOKEN, challenge.into()),
                )
                .await,
            ),
            5 if number % 200 == 5 => (
                &told.large,
                self.expect(
                    &[200],
                    false,
                    message(Alpn::Http1, "/play", number, 10_000_000),
                )
                .await,
            ),
            kind if kind % 2 == 0 => (
                &told.good,
                self.expect(&[200], true, message(Alpn::Http2, "/play", number, 3000))
                    .await,
            ),
            _ => (
                &told.good,
                self.expect(&[200], false, message(Alpn::Http1, "/play", number, 3000))
                    .await,
            ),
        };
        match played {
            Ok(()) => _ = count.fetch_add(1, Ordering::SeqCst),
            Err(error) => {
                told.failed.fetch_add(1, Ordering::SeqCst);
                if let Ok(mut first) = told.first_failure.lock() {
                    first.get_or_insert(format!("{error} (request {number})"));
                }
            }
        }
    }

    async fn expect(
        &self,
        statuses: &[u16],
        http2: bool,
        request: http::Request<http_body_util::Full<bytes::Bytes>>,
    ) -> Result<()> {
        let response = if http2 {
            // One connection for all of them, and a new one when it has ended.
            let mut kept = self.http2.lock().await;
            let mut sender = match kept.take() {
                Some(sender) if sender.is_ready() => sender,
                _ => self.target.http2(HOME).await?,
            };
            *kept = Some(sender.clone());
            drop(kept);
            sender.send_request(request).await?
        } else {
            let kept = self.http1.lock().await.take();
            let mut sender = match kept {
                Some(sender) if sender.is_ready() => sender,
                _ => self.target.http1(HOME).await?,
            };
            let response = sender.send_request(request).await?;
            let (status, _) = exchange(response).await?;
            if sender.ready().await.is_ok() {
                *self.http1.lock().await = Some(sender);
            }
            return right(status, statuses);
        };
        let (status, _) = exchange(response).await?;
        right(status, statuses)
    }

    async fn hostile(&self, number: u64) -> Result<()> {
        let at = usize::try_from(number / 20)? % self.hostile.len().max(1);
        let mut stream = self.target.tls(HOME, Alpn::Http1).await?;
        // It may be ended while it is being sent, and may wait for more that never comes.
        let _ = stream.write_all(&self.hostile[at]).await;
        let mut piece = [0; 1024];
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut piece)).await;
        Ok(())
    }

    /// Goes away in the middle of a message, of a head, or before the answer.
    async fn vanish(&self, number: u64) -> Result<()> {
        let mut stream = self.target.tls(HOME, Alpn::Http1).await?;
        let whole = format!(
            "POST /play HTTP/1.1\r\nHost: localhost\r\nverification-token: {TOKEN}\r\nContent-Length: 50000\r\n\r\n{}",
            "x".repeat(50_000)
        );
        let part = match number / 20 % 3 {
            0 => 40,
            1 => 20_000,
            _ => whole.len(),
        };
        stream.write_all(&whole.as_bytes()[..part]).await?;
        stream.flush().await?;
        Ok(())
    }

    /// Sends a head at a byte a second until it is sent away.
    async fn slow(&self) -> Result<()> {
        let mut stream = self.target.tls(HOME, Alpn::Http1).await?;
        for byte in b"POST /play HTTP/1.1\r\nHost: localhost\r\nX-Slow: CANARY" {
            if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

fn right(status: u16, statuses: &[u16]) -> Result<()> {
    if statuses.contains(&status) {
        return Ok(());
    }
    Err(format!("{status} in place of {statuses:?}").into())
}
