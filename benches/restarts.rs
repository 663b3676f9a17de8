//! Twenty restarts on one socket under load, as systemd does them: is any request lost?
//!
//! The program holds the listening socket and hands it to each gateway. A new one is started, then the old one is
//! told to stop. Two senders go on all the while: one connects anew for each request, one keeps its connections and,
//! like any HTTP client, connects again when one was closed between two requests. A connection that ends just while
//! the next request goes out is a race that HTTP has; it is counted apart, and such a request must not have been
//! delivered.
//!
//! `cargo bench --bench restarts`; `-- --quick`, or `-- restarts=5 rate=100`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

#[allow(dead_code, unused_imports, reason = "no program uses all of it")]
mod stage;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stage::{
    Alpn, Backend, Gateway, Heard, Promises, Result, Round, Scale, Site, Spread, Steady, Target,
    message, millis, route,
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Between two restarts, so that every gateway serves for a while.
const PAUSE: Duration = Duration::from_millis(700);
/// Numbers of the second sender's messages begin here.
const SECOND: u64 = 1_000_000_000;

fn main() -> ExitCode {
    stage::play("restarts", show)
}

#[expect(clippy::too_many_lines, reason = "the play, from beginning to end")]
fn show(scale: &Scale, promises: &mut Promises) -> Result<()> {
    let (restarts, rate) = (
        scale.count("restarts", 20, 3),
        scale.number("rate", 100, 100),
    );
    let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
    let (site, backend, address) = (Site::new()?, Backend::start(20)?, socket.local_addr()?);
    site.configure(
        &address.to_string(),
        "timeouts: { drain: 20s, response: 15s }",
        &route("play", backend.address, ""),
    )?;
    let mut gateway = Gateway::activated(&site, &socket)?;
    let target = Target::at(&site, address)?;
    let ended = Arc::new(AtomicBool::new(false));
    let load = |every: u64, offset: u64| {
        let (target, end) = (target.clone(), Arc::clone(&ended));
        std::thread::spawn(move || -> Result<Round> {
            let good = move |number| message(Alpn::Http1, "/play", offset + number, 2000);
            let stop = move || end.load(Ordering::SeqCst);
            Steady::new(target, every)?.round(rate, Duration::from_secs(24 * 3600), stop, good)
        })
    };
    let senders = [
        ("anew for each request", load(1, 0), 0),
        ("kept connections", load(0, SECOND), SECOND),
    ];

    let (mut starts, mut drains, mut unclean) = (Vec::new(), Vec::new(), Vec::new());
    let mut played = Ok(());
    for number in 0..restarts {
        std::thread::sleep(PAUSE);
        let start = Instant::now();
        let next = match Gateway::activated(&site, &socket) {
            Ok(next) => next,
            Err(error) => {
                played = Err(format!("restart {number}: {error}"));
                break;
            }
        };
        starts.push(millis(start.elapsed()));
        let mut old = std::mem::replace(&mut gateway, next);
        let start = Instant::now();
        match old.stop(PATIENCE) {
            Ok(status) if status.success() => drains.push(millis(start.elapsed())),
            Ok(status) => unclean.push(format!("{number}: {status}")),
            Err(error) => unclean.push(format!("{number}: {error}")),
        }
    }
    std::thread::sleep(PAUSE);
    ended.store(true, Ordering::SeqCst);
    let mut rounds = Vec::new();
    for (name, sender, offset) in senders {
        rounds.push((
            name,
            sender.join().map_err(|_| "a sender panicked")??,
            offset,
        ));
    }
    played?;

    println!(
        "{restarts} restarts; ms to start {}, ms to drain {}",
        Spread::of(&starts),
        Spread::of(&drains)
    );
    let mut delivered: BTreeMap<u64, usize> = BTreeMap::new();
    for number in backend.numbers() {
        *delivered.entry(number).or_insert(0) += 1;
    }
    let (mut failed, mut raced, mut raced_delivered, mut missing) = (0, 0, 0, 0);
    for (name, round, offset) in &rounds {
        println!("{name}: {} requests", round.answers.len());
        for (what, count) in round.failures() {
            println!("  {count} times {what}");
        }
        for answer in &round.answers {
            let there = delivered.contains_key(&(answer.number + offset));
            match answer.heard {
                Heard::Status(200) => missing += usize::from(!there),
                Heard::Raced => {
                    (raced, raced_delivered) = (raced + 1, raced_delivered + usize::from(there))
                }
                Heard::Status(_) | Heard::NoConnection(_) | Heard::Broken(_) => failed += 1,
            }
        }
    }
    println!("raced: {raced}");
    unclean.iter().for_each(|what| println!("  restart {what}"));
    promises.that(failed == 0, "no request failed");
    promises.that(
        raced_delivered == 0,
        "no request delivered whose sender had to send it again",
    );
    promises.that(missing == 0, "every 200 is at the backend");
    promises.that(
        delivered.values().all(|times| *times == 1),
        "nothing delivered twice",
    );
    promises.that(unclean.is_empty(), "every old gateway ended with 0 in time");
    Ok(())
}
