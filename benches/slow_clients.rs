//! Ten thousand slow connections: do the good requests beside them notice?
//!
//! Equal parts of connections that say nothing, that stop within the handshake, that are idle after it, that send a
//! head at a byte a second, that let a body trickle, and that never read an answer. Whatever the gateway ends is
//! opened again at once, so that their number stays. Beside them pass 200 good requests a second, one in twenty on
//! a new connection. Their p99 must stay within 3 times what it is without the slow ones, measured in the same run,
//! and none may fail.
//!
//! `cargo bench --bench slow_clients`; `-- --quick`, or `-- connections=2000 rounds=3 seconds=10 rate=200`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

#[allow(dead_code, unused_imports, reason = "no program uses all of it")]
mod stage;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore};
use rustls_pki_types::ServerName;
use stage::{
    Alpn, Backend, Gateway, Promises, Result, Scale, Site, Spread, Steady, TOKEN, Target, be_nice,
    descriptors, message, mib, millis, open_descriptors, resident, route, wait_until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, LocalOptions};

const BEAT: Duration = Duration::from_secs(1);
/// Longest time for all slow connections to stand.
const GATHERING: Duration = Duration::from_secs(180);
/// Allowed p99, in multiples of the unloaded one.
const ALLOWED: f64 = 3.0;

fn main() -> ExitCode {
    stage::play("slow_clients", show)
}

fn show(scale: &Scale, promises: &mut Promises) -> Result<()> {
    let connections = scale.count("connections", 10_000, 600);
    let rate = scale.number("rate", 200, 200);
    let (rounds, length) = (
        scale.number("rounds", 5, 1),
        scale.seconds("seconds", 10, 3),
    );
    if u64::try_from(connections)? * 3 / 2 > descriptors() {
        return Err(format!("{} descriptors are too few", descriptors()).into());
    }
    let (site, backend, patient) = (Site::new()?, Backend::start(20)?, Backend::start(20)?);
    let routes = route("play", backend.address, "") + &route("slow", patient.address, "");
    site.configure("127.0.0.1:0", "", &routes)?;
    let gateway = Gateway::start(&site)?;
    let target = Target::new(&site, &gateway)?;
    let mut steady = Steady::new(target.clone(), 20)?;
    let mut measured = Measured::default();

    steady.round(rate, Duration::from_secs(2), || false, good)?;
    for _ in 0..rounds {
        measured.take(&mut steady, rate, length, false)?;
    }
    let idle = resident(gateway.id())?;
    let crowd = Crowd::gather(&site, &target, connections)?;
    let standing = || Ok(crowd.standing.load(Ordering::SeqCst) * 100 >= connections * 97);
    wait_until("slow connections", GATHERING, standing)?;
    let stood = crowd.standing.load(Ordering::SeqCst);
    let taken = resident(gateway.id())?;
    let open = gateway.metrics()?.sum("countersign_connections_open", &[]);
    for _ in 0..rounds {
        measured.take(&mut steady, rate, length, true)?;
    }
    let descriptors = open_descriptors(gateway.id())?;
    let reopened = crowd
        .opened
        .load(Ordering::SeqCst)
        .saturating_sub(u64::try_from(connections)?);
    let alive = crowd.standing.load(Ordering::SeqCst);
    crowd.leave()?;
    wait_until("connections closed", GATHERING, || {
        let open = gateway.metrics()?.sum("countersign_connections_open", &[]);
        Ok(open.is_some_and(|open| open < 100.0))
    })?;

    println!(
        "slow connections: {stood} of {connections} stood before the rounds, {alive} after; {reopened} ended by the gateway and opened again"
    );
    println!(
        "the gateway: {} connections open, {descriptors} descriptors",
        open.unwrap_or(0.0)
    );
    let growth = taken.saturating_sub(idle);
    println!(
        "its memory: {:.1} MiB before, {:.1} MiB with them, {:.1} KiB for each; {:.1} MiB when they have gone",
        mib(idle),
        mib(taken),
        mib(growth / u64::try_from(stood.max(1))?) * 1024.0,
        mib(resident(gateway.id())?)
    );
    measured.judge(promises);
    gateway.output.judge(promises);
    Ok(())
}

fn good(number: u64) -> http::Request<http_body_util::Full<bytes::Bytes>> {
    message(Alpn::Http1, "/play", number, 2000)
}

/// Latencies in milliseconds, round by round: without and with the slow ones.
#[derive(Default)]
struct Measured {
    kept: [Vec<f64>; 2],
    middle: [Vec<f64>; 2],
    fresh: [Vec<f64>; 2],
    lag: [Vec<f64>; 2],
    failures: Vec<(String, usize)>,
    requests: usize,
}

impl Measured {
    fn take(
        &mut self,
        steady: &mut Steady,
        rate: u64,
        length: Duration,
        loaded: bool,
    ) -> Result<()> {
        let round = steady.round(rate, length, || false, good)?;
        let at = usize::from(loaded);
        self.kept[at].push(millis(round.latency(false, 0.99)));
        self.middle[at].push(millis(round.latency(false, 0.5)));
        self.fresh[at].push(millis(round.latency(true, 0.5)));
        self.lag[at].push(millis(round.lag(0.99)));
        self.failures.extend(round.failures());
        self.requests += round.answers.len();
        Ok(())
    }

    fn judge(&self, promises: &mut Promises) {
        println!(
            "good requests: {}; milliseconds, median of the rounds (lowest to highest)",
            self.requests
        );
        let rows = [
            ("median, kept connection", &self.middle),
            ("p99, kept connection", &self.kept),
            ("median, new connection", &self.fresh),
            ("p99 of late sending", &self.lag),
        ];
        for (name, values) in rows {
            let [without, with] = values.each_ref().map(|values| Spread::of(values));
            println!(
                "  {name:24} without {without:24} with {with:24} ratio {:.2}",
                with.median / without.median
            );
        }
        let [without, with] = self.kept.each_ref().map(|values| Spread::of(values).median);
        promises.that(
            with <= without * ALLOWED,
            "p99 within 3 times its unloaded value",
        );
        promises.that(self.failures.is_empty(), "no good request failed");
        for (what, count) in &self.failures {
            println!("  {count} times {what}");
        }
    }
}

/// All slow connections, in a thread of their own.
struct Crowd {
    standing: Arc<AtomicUsize>,
    opened: Arc<AtomicU64>,
    going: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Crowd {
    fn gather(site: &Site, target: &Target, connections: usize) -> Result<Self> {
        let hello = half_a_hello(site)?;
        let (standing, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let going = Arc::new(AtomicBool::new(true));
        let shared = (
            Arc::clone(&standing),
            Arc::clone(&opened),
            Arc::clone(&going),
        );
        let target = target.clone();
        let thread = std::thread::spawn(move || {
            let (standing, opened, going) = shared;
            be_nice();
            let mut builder = Builder::new_current_thread();
            let runtime = builder.enable_all().build_local(LocalOptions::default())?;
            runtime.block_on(async {
                for number in 0..connections {
                    let slow = Slow {
                        target: target.clone(),
                        hello: Arc::clone(&hello),
                        number,
                        standing: Arc::clone(&standing),
                        opened: Arc::clone(&opened),
                    };
                    tokio::task::spawn_local(slow.stay());
                    // Not all at once: what is to be seen is how they are held, not how a wave of them comes in, which
                    // would come again with each deadline that they were given together.
                    if number % 2 == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                while going.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            });
            Ok(())
        });
        Ok(Self {
            standing,
            opened,
            going,
            thread,
        })
    }

    fn leave(self) -> Result<()> {
        self.going.store(false, Ordering::SeqCst);
        self.thread.join().map_err(|_| "the slow ones panicked")?
    }
}

/// The first half of a TLS handshake's first message.
fn half_a_hello(site: &Site) -> Result<Arc<Vec<u8>>> {
    let mut roots = RootCertStore::empty();
    roots.add(site.root.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut hello = Vec::new();
    session.write_tls(&mut hello)?;
    hello.truncate(hello.len() / 2);
    Ok(Arc::new(hello))
}

/// One slow client, which comes back when it is sent away.
struct Slow {
    target: Target,
    hello: Arc<Vec<u8>>,
    number: usize,
    standing: Arc<AtomicUsize>,
    opened: Arc<AtomicU64>,
}

/// Counts a connection for as long as it stands.
struct Standing<'a>(&'a AtomicUsize);

impl<'a> Standing<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slow {
    async fn stay(self) {
        loop {
            // However it ends, it begins again.
            let _ = self.once().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Many addresses, so that neither ports nor limits for one address are what is met.
    fn source(&self) -> Ipv4Addr {
        let part = u8::try_from(self.number % 250).unwrap_or(0);
        Ipv4Addr::new(127, 0, 1, part + 1)
    }

    async fn once(&self) -> Result<()> {
        let kind = self.number % 6;
        if kind == 5 {
            return self.never_read().await;
        }
        let mut stream = self.target.tcp(self.source()).await?;
        self.opened.fetch_add(1, Ordering::SeqCst);
        let mut byte = [0; 1];
        match kind {
            0 => {
                let _standing = Standing::new(&self.standing);
                stream.read_exact(&mut byte).await?;
            }
            1 => {
                stream.write_all(&self.hello).await?;
                let _standing = Standing::new(&self.standing);
                stream.read_exact(&mut byte).await?;
            }
            kind => {
                let alpn = if self.number.is_multiple_of(4) {
                    Alpn::Http2
                } else {
                    Alpn::Http1
                };
                let alpn = if kind == 2 { alpn } else { Alpn::Http1 };
                let stream = self.target.handshake(stream, alpn).await?;
                let _standing = Standing::new(&self.standing);
                let (mut read, mut write) = tokio::io::split(stream);
                let ended = async {
                    // Bytes of HTTP/2 come without being asked for; only the end counts.
                    let mut piece = [0; 256];
                    while read.read(&mut piece).await? != 0 {}
                    Ok::<_, std::io::Error>(())
                };
                let trickling = async {
                    match kind {
                        2 => std::future::pending::<()>().await,
                        3 => {
                            trickle(
                                &mut write,
                                b"POST /slow HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
                            )
                            .await?
                        }
                        _ => {
                            write.write_all(slow_body().as_bytes()).await?;
                            write.flush().await?;
                            trickle(&mut write, b"").await?;
                        }
                    }
                    Ok::<_, std::io::Error>(())
                };
                tokio::select! {
                    ended = ended => ended?,
                    sent = trickling => sent?,
                }
            }
        }
        Ok(())
    }

    /// Asks for refusals without end and never reads one, with as little room for them as the system allows.
    async fn never_read(&self) -> Result<()> {
        let stream = self.target.tcp_with(self.source(), Some(2048)).await?;
        self.opened.fetch_add(1, Ordering::SeqCst);
        let mut stream = self.target.handshake(stream, Alpn::Http1).await?;
        let _standing = Standing::new(&self.standing);
        let asked =
            "POST /play HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".repeat(20);
        loop {
            stream.write_all(asked.as_bytes()).await?;
            stream.flush().await?;
            tokio::time::sleep(BEAT).await;
        }
    }
}

fn slow_body() -> String {
    format!(
        "POST /slow HTTP/1.1\r\nHost: localhost\r\nverification-token: {TOKEN}\r\nContent-Length: 100000\r\n\r\n"
    )
}

/// A byte a second: these, and after them some that never end.
async fn trickle(write: &mut (impl AsyncWriteExt + Unpin), first: &[u8]) -> std::io::Result<()> {
    for byte in first.iter().chain(std::iter::repeat(&b'x')) {
        write.write_all(&[*byte]).await?;
        write.flush().await?;
        tokio::time::sleep(BEAT).await;
    }
    Ok(())
}
