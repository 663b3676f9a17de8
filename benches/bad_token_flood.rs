//! Wrong tokens as fast as a processor can send them: what do they cost, and do the good requests notice?
//!
//! Eight floods, one after the other: HTTP/1.1 and HTTP/2, kept and new connections, from one address (the same
//! that the good senders have) and from 24. Beside each pass 200 good requests a second. Their p99 must stay within
//! 3 times what it is without a flood, measured in the same run; none may fail; memory must stay bounded. Printed
//! for each flood is the gateway's processor time for one refusal, without what the good requests take.
//!
//! Then those from one address again, with `failed_verifications: off`: what a refusal costs at full speed, and what
//! the limit is worth. The p99 is printed there too, and promised nothing: flood, good senders, backend and gateway
//! share the processors.
//!
//! `cargo bench --bench bad_token_flood`; `-- --quick`, or `-- rounds=3 seconds=10 rate=200`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

#[allow(dead_code, unused_imports, reason = "no program uses all of it")]
mod stage;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use stage::{
    Alpn, Backend, Flood, Gateway, Promises, Result, Scale, Site, Spread, Steady, Style, Target,
    message, mib, millis, processor_time, resident, route,
};

const ALLOWED: f64 = 3.0;
/// By how much the gateway may grow, after whatever number of refusals.
const ALLOWED_GROWTH: u64 = 96 * 1024 * 1024;

fn main() -> ExitCode {
    stage::play("bad_token_flood", show)
}

fn show(scale: &Scale, promises: &mut Promises) -> Result<()> {
    println!("as configured by default:");
    flood_all(scale, promises, "", &styles(&[false, true]))?;
    println!("without a limit on failed verifications:");
    let off = "failed_verifications: off";
    flood_all(scale, promises, off, &styles(&[false]))
}

#[expect(clippy::too_many_lines, reason = "the play, from beginning to end")]
fn flood_all(
    scale: &Scale,
    promises: &mut Promises,
    settings: &str,
    styles: &[Style],
) -> Result<()> {
    let (rounds, length) = (
        scale.number("rounds", 3, 1),
        scale.seconds("seconds", 10, 2),
    );
    let rate = scale.number("rate", 200, 200);
    let (site, backend) = (Site::new()?, Backend::start(20)?);
    site.configure("127.0.0.1:0", settings, &route("play", backend.address, ""))?;
    let gateway = Gateway::start(&site)?;
    let target = Target::new(&site, &gateway)?;
    let mut steady = Steady::new(target.clone(), 20)?;
    let good = |number| message(Alpn::Http1, "/play", number, 2000);
    steady.round(rate, Duration::from_secs(2), || false, good)?;
    let before = resident(gateway.id())?;
    let peak = Peak::watch(gateway.id());

    println!(
        "{:34} {:>27} {:>27} {:>6} {:>10} {:>12} {:>9}",
        "flood", "p99 ms without", "p99 ms with", "ratio", "refused/s", "ns/refusal", "late p99"
    );
    let (mut worst, mut failures) = (0.0_f64, Vec::new());
    for &style in styles {
        let (mut without, mut with, mut cost, mut speed, mut late) =
            (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            let start = processor_time(gateway.id())?;
            let calm = steady.round(rate, length, || false, good)?;
            let calm_time = processor_time(gateway.id())?.saturating_sub(start);

            let flood = Flood::start(&target, style);
            let (refused, start, clock) = (
                refusals(&gateway)?,
                processor_time(gateway.id())?,
                Instant::now(),
            );
            let flooded = steady.round(rate, length, || false, good)?;
            let time = processor_time(gateway.id())?.saturating_sub(start);
            let refused = refusals(&gateway)? - refused;
            let elapsed = clock.elapsed().as_secs_f64();
            flood.stop()?;

            without.push(millis(calm.latency(false, 0.99)));
            with.push(millis(flooded.latency(false, 0.99)));
            late.push(millis(flooded.lag(0.99)));
            speed.push(refused / elapsed);
            let of_flood = time.saturating_sub(calm_time).as_secs_f64() * 1e9;
            cost.push(of_flood / refused.max(1.0));
            failures.extend(calm.failures());
            failures.extend(flooded.failures());
        }
        let ratio = Spread::of(&with).median / Spread::of(&without).median;
        worst = worst.max(ratio);
        println!(
            "{:34} {:>27} {:>27} {ratio:>6.2} {:>10.0} {:>12.0} {:>9.2}",
            name(style),
            Spread::of(&without),
            Spread::of(&with),
            Spread::of(&speed).median,
            Spread::of(&cost).median,
            Spread::of(&late).median
        );
    }
    let (peak, after) = (peak.end()?, resident(gateway.id())?);
    println!(
        "memory of the gateway: {:.1} MiB before, {:.1} MiB at the peak, {:.1} MiB after",
        mib(before),
        mib(peak),
        mib(after)
    );
    println!("refusals by reason:");
    for (reason, count) in gateway
        .metrics()?
        .by("countersign_rejected_requests_total", "reason")
    {
        if count > 0.0 {
            println!("  {reason}: {count}");
        }
    }
    for (what, count) in &failures {
        println!("  {count} times {what}");
    }
    if settings.is_empty() {
        promises.that(
            worst <= ALLOWED,
            "p99 within 3 times its unloaded value under every flood",
        );
    }
    promises.that(failures.is_empty(), "no good request refused or failed");
    promises.that(
        peak <= before + ALLOWED_GROWTH,
        "memory bounded: the peak no more than 96 MiB above the size before",
    );
    gateway.output.judge(promises);
    Ok(())
}

fn styles(many: &[bool]) -> Vec<Style> {
    let mut styles = Vec::new();
    for alpn in [Alpn::Http1, Alpn::Http2] {
        for anew in [false, true] {
            styles.extend(many.iter().map(|&many| Style { alpn, anew, many }));
        }
    }
    styles
}

fn name(style: Style) -> String {
    let version = match style.alpn {
        Alpn::Http1 => "HTTP/1.1",
        Alpn::Http2 => "HTTP/2",
    };
    let connections = if style.anew { "new" } else { "kept" };
    let sources = if style.many {
        "24 sources"
    } else {
        "one source"
    };
    format!("{version}, {connections} connections, {sources}")
}

fn refusals(gateway: &Gateway) -> Result<f64> {
    let metrics = gateway.metrics()?;
    let sum = metrics.sum("countersign_requests_total", &["outcome=\"rejected\""]);
    sum.ok_or_else(|| "no requests_total".into())
}

/// The most memory that the gateway had while this was watched.
struct Peak {
    going: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Peak {
    fn watch(process: u32) -> Self {
        let (going, bytes) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (for_thread, peak) = (Arc::clone(&going), Arc::clone(&bytes));
        let thread = std::thread::spawn(move || {
            while for_thread.load(Ordering::SeqCst) {
                peak.fetch_max(resident(process).unwrap_or(0), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self {
            going,
            bytes,
            thread,
        }
    }

    fn end(self) -> Result<u64> {
        self.going.store(false, Ordering::SeqCst);
        self.thread.join().map_err(|_| "the watcher panicked")?;
        Ok(self.bytes.load(Ordering::SeqCst))
    }
}
