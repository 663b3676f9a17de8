//! An hour of mixed traffic with a reload every few seconds: is everything the same at the end?
//!
//! Good messages over HTTP/1.1 and HTTP/2, large ones, challenges, wrong tokens, the hostile requests of
//! `tests/vectors/http1`, senders that vanish in the middle, slow ones. The load is moderate: it is meant to run
//! beside other work. At the end the gateway's counters, its access lines and what the clients know must agree, and
//! memory and descriptors must be where they were after the warm-up.
//!
//! `cargo bench --bench soak`; `-- --quick`, or `-- minutes=10 rate=40 reload_seconds=5`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

#[allow(dead_code, unused_imports, reason = "no program uses all of it")]
#[path = "../stage/mod.rs"]
mod stage;
mod traffic;

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use stage::{
    Backend, Gateway, Promises, Result, Scale, Site, Target, configuration, mib, open_descriptors,
    resident, route, wait_until,
};
use traffic::{Told, Traffic, hostile};

const PATIENCE: Duration = Duration::from_secs(30);
/// By how much memory may differ between the end of the warm-up and the end.
const ALLOWED_GROWTH: u64 = 16 * 1024 * 1024;
/// And descriptors, for connections that are open at the moment of counting.
const ALLOWED_DESCRIPTORS: usize = 64;

fn main() -> ExitCode {
    stage::play("soak", show)
}

#[expect(clippy::too_many_lines, reason = "the play, from beginning to end")]
fn show(scale: &Scale, promises: &mut Promises) -> Result<()> {
    let minutes = scale.number("minutes", 60, 0);
    let length = if minutes == 0 {
        Duration::from_secs(15)
    } else {
        Duration::from_secs(60 * minutes)
    };
    let (rate, pause) = (
        scale.number("rate", 40, 40),
        scale.seconds("reload_seconds", 5, 2),
    );
    let (site, backend) = (Site::new()?, Backend::start(200)?);
    // Small enough for slow ones to meet their deadlines within a short play.
    let top = "timeouts: { tls_handshake: 5s, request_head: 5s, request_body_idle: 5s }";
    let tls = "certificate: certificate.pem, key: key.pem";
    let routes = route("play", backend.address, "") + &route("redox", backend.address, "");
    let text = configuration("127.0.0.1:0", tls, top, &routes);
    site.write("gateway.yaml", &text)?;
    let gateway = Gateway::start(&site)?;
    let traffic = Traffic::start(Target::new(&site, &gateway)?, rate, hostile()?)?;

    let start = Instant::now();
    let warm_up = (length / 6).min(Duration::from_secs(300));
    let (first, mut warm) = (resident(gateway.id())?, None);
    let mut samples = vec![];
    let (mut reloads, mut sampled) = (0_u64, start);
    while start.elapsed() < length {
        std::thread::sleep(pause);
        // Two good ones, then a bad one. What watches files may have been quicker, which does no harm.
        let broken = reloads % 3 == 2;
        site.write(
            "gateway.yaml",
            &if broken {
                text.replace("routes:", "ruotes:")
            } else {
                text.clone()
            },
        )?;
        gateway.signal(Signal::HUP)?;
        reloads += 1;
        if warm.is_none() && start.elapsed() >= warm_up {
            warm = Some((resident(gateway.id())?, open_descriptors(gateway.id())?));
        }
        if sampled.elapsed() >= Duration::from_secs(300) {
            sampled = Instant::now();
            samples.push(resident(gateway.id())?);
        }
    }
    site.write("gateway.yaml", &text)?;
    let (told, panicked) = traffic.stop()?;
    wait_until("the last request", PATIENCE, || {
        let open = gateway.metrics()?.sum("countersign_connections_open", &[]);
        Ok(open == Some(0.0))
    })?;
    let (last, descriptors) = (resident(gateway.id())?, open_descriptors(gateway.id())?);
    let warm = warm.unwrap_or((first, descriptors));

    println!(
        "{:.0} s, {reloads} reloads asked for; the backend got {} whole messages",
        start.elapsed().as_secs_f64(),
        backend.whole()
    );
    let metrics = gateway.metrics()?;
    let mut both = true;
    for result in ["success", "failure"] {
        let label = format!("result=\"{result}\"");
        let count = metrics.sum("countersign_config_reloads_total", &[&label]);
        both &= count.is_some_and(|count| count > 0.0);
        println!(
            "  reloads counted, {result}: {}",
            count.map_or("no such metric".to_owned(), |count| count.to_string())
        );
    }
    print!(
        "memory, MiB: {:.1} at first, {:.1} after the warm-up, then",
        mib(first),
        mib(warm.0)
    );
    samples
        .iter()
        .for_each(|bytes| print!(" {:.1}", mib(*bytes)));
    println!(
        ", {:.1} at last; descriptors {} after the warm-up, {descriptors} at last",
        mib(last),
        warm.1
    );
    told.print();
    promises.that(both, "good and bad reloads, and each counted");
    judge(&gateway, &told, promises)?;
    promises.that(
        last <= warm.0 + ALLOWED_GROWTH,
        "memory flat: no more than 16 MiB above the warm-up",
    );
    promises.that(
        descriptors <= warm.1 + ALLOWED_DESCRIPTORS,
        "descriptors flat",
    );
    promises.that(!panicked, "the traffic itself went on to the end");
    Ok(())
}

fn judge(gateway: &Gateway, told: &Told, promises: &mut Promises) -> Result<()> {
    let metrics = gateway.metrics()?;
    let mut counted = Vec::new();
    for (outcome, count) in metrics.by("countersign_requests_total", "outcome") {
        println!("  {outcome}: {count}");
        counted.push((outcome, count));
    }
    let total = metrics
        .sum("countersign_requests_total", &[])
        .unwrap_or(0.0);
    let lines = || {
        gateway
            .output
            .access_lines
            .load(Ordering::SeqCst)
            .to_string()
    };
    let equal = wait_until(
        "access lines",
        PATIENCE,
        || Ok(lines() == total.to_string()),
    );
    println!("requests counted {total}, access lines {}", lines());
    promises.that(equal.is_ok(), "as many access lines as requests");
    let outcome = |name: &str| {
        let found = counted.iter().find(|(known, _)| known == name);
        found.map_or(0.0, |(_, count)| *count)
    };
    // Hostile requests, vanishing and slow senders end in whatever they end in; the others are known.
    let known =
        |count: &AtomicU64| u32::try_from(count.load(Ordering::SeqCst)).map_or(f64::NAN, f64::from);
    promises.that(
        outcome("forwarded") >= known(&told.good) + known(&told.large),
        "every good message counted as forwarded",
    );
    promises.that(
        (outcome("challenge") - known(&told.challenges)).abs() < 0.5,
        "challenges counted as often as they were answered",
    );
    promises.that(
        outcome("rejected") >= known(&told.refused),
        "every refusal counted",
    );
    promises.that(
        told.failed.load(Ordering::SeqCst) == 0,
        "no good message, challenge or refusal with another answer",
    );
    gateway.output.judge(promises);
    Ok(())
}
