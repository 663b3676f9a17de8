//! A backend that is killed, frozen, restarted and cut off in the middle, 500 times under load: does every sender
//! know what became of its message?
//!
//! The backend is this program once more, as a process of its own. It writes the number of a message to a file as
//! soon as it has read it whole, and answers afterwards. So: what the sender was told 200 must be in the file; what
//! is in the file and was not told 200 must have been told that it failed; and nothing may be there twice.
//!
//! `cargo bench --bench backend_faults`; `-- --quick`, or `-- faults=60 rate=100`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

#[allow(dead_code, unused_imports, reason = "no program uses all of it")]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;
use stage::{
    Alpn, Gateway, Heard, Promises, Result, Round, Scale, Site, Steady, Target, message, route,
    send, wait_until,
};

/// What is done to the backend, in turn.
const FAULTS: [&str; 6] = ["killed", "frozen", "restarted", "body", "head", "answer"];
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest messages are longer than what sockets hold, so that a cut meets them on their way.
const SIZES: [usize; 5] = [200, 2000, 30_000, 300_000, 3_000_000];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, address, record] = arguments.as_slice()
        && role == "as-backend"
    {
        return match serve(address, Path::new(record)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                println!("backend: {error}");
                ExitCode::FAILURE
            }
        };
    }
    stage::play("backend_faults", show)
}

fn show(scale: &Scale, promises: &mut Promises) -> Result<()> {
    let (faults, rate) = (
        scale.count("faults", 500, 18),
        scale.number("rate", 100, 100),
    );
    let site = Site::new()?;
    let record = site.path().join("delivered");
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut backend = Faulty::start(address, &record)?;
    site.configure(
        "127.0.0.1:0",
        "timeouts: { response: 2s, connect: 1s }",
        &route("play", address, ""),
    )?;
    let gateway = Gateway::start(&site)?;
    let (target, ended) = (
        Target::new(&site, &gateway)?,
        Arc::new(AtomicBool::new(false)),
    );
    let end = Arc::clone(&ended);
    let load = std::thread::spawn(move || -> Result<Round> {
        let good = |number: u64| {
            // One in twenty is of the largest size, so that the load stays what a processor can do.
            let size = if number.is_multiple_of(20) {
                4
            } else {
                usize::try_from(number % 4).unwrap_or(0)
            };
            message(Alpn::Http1, "/play", number, SIZES[size])
        };
        let stop = move || end.load(Ordering::SeqCst);
        Steady::new(target, 10)?.round(rate, Duration::from_secs(24 * 3600), stop, good)
    });
    let mut played = Ok(());
    for number in 0..faults {
        std::thread::sleep(Duration::from_millis(100));
        if let Err(error) = backend.suffer(FAULTS[number % FAULTS.len()], number) {
            played = Err(error);
            break;
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    ended.store(true, Ordering::SeqCst);
    let round = load.join().map_err(|_| "the load panicked")??;
    played?;
    judge(faults, &round, &record, promises)?;
    for (kind, count) in gateway
        .metrics()?
        .by("countersign_upstream_errors_total", "kind")
    {
        println!("  upstream_errors_total {kind}: {count}");
    }
    gateway.output.judge(promises);
    Ok(())
}

fn judge(faults: usize, round: &Round, record: &Path, promises: &mut Promises) -> Result<()> {
    let mut delivered: BTreeMap<u64, usize> = BTreeMap::new();
    for line in std::fs::read_to_string(record)?.lines() {
        *delivered.entry(line.parse()?).or_insert(0) += 1;
    }
    let told = |wanted: bool| -> BTreeSet<u64> {
        let answers = round.answers.iter();
        let answers = answers.filter(|answer| (answer.heard == Heard::Status(200)) == wanted);
        answers.map(|answer| answer.number).collect()
    };
    let (well, failed) = (told(true), told(false));
    let invented = well
        .iter()
        .filter(|number| !delivered.contains_key(number))
        .count();
    let twice = delivered.values().filter(|times| **times > 1).count();
    let unsure = failed
        .iter()
        .filter(|number| delivered.contains_key(number))
        .count();
    let unknown = delivered
        .keys()
        .filter(|number| !well.contains(number) && !failed.contains(number))
        .count();
    let whole: usize = delivered.values().sum();
    println!(
        "{faults} faults, {} messages: {} told 200, {} told that they failed, {whole} delivered, of which {unsure} were told that they failed",
        round.answers.len(),
        well.len(),
        failed.len()
    );
    for (what, count) in round.failures() {
        println!("  {count} times {what}");
    }
    promises.that(
        invented == 0,
        &format!("no 200 for a message that the backend lacks ({invented})"),
    );
    promises.that(twice == 0, &format!("nothing delivered twice ({twice})"));
    promises.that(
        unknown == 0 && whole == well.len() + unsure,
        "deliveries are those told 200, plus some of those told that they failed",
    );
    promises.that(
        !well.is_empty() && !failed.is_empty(),
        "there was something to see",
    );
    Ok(())
}

/// The backend's process, seen from here.
struct Faulty {
    process: Child,
    address: SocketAddr,
    record: std::path::PathBuf,
}

impl Faulty {
    fn start(address: SocketAddr, record: &Path) -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["as-backend", &address.to_string()])
            .arg(record)
            .stdin(Stdio::piped())
            .stdout(Stdio::inherit())
            .spawn()?;
        let up = wait_until("the backend", PATIENCE, || {
            Ok(TcpStream::connect(address).is_ok())
        });
        if let Err(error) = up {
            let _ = process.kill();
            return Err(error);
        }
        Ok(Self {
            process,
            address,
            record: record.to_owned(),
        })
    }

    fn suffer(&mut self, fault: &str, number: usize) -> Result<()> {
        match fault {
            "killed" | "restarted" => {
                let signal = if fault == "killed" {
                    Signal::KILL
                } else {
                    Signal::TERM
                };
                send(self.process.id(), signal)?;
                self.process.wait()?;
                // Now for a moment, now for longer than a gateway can hide.
                std::thread::sleep(Duration::from_millis(
                    if (number / FAULTS.len()).is_multiple_of(4) {
                        400
                    } else {
                        20
                    },
                ));
                *self = Self::start(self.address, &self.record)?;
            }
            "frozen" => {
                send(self.process.id(), Signal::STOP)?;
                // In one of four longer than the gateway waits for an answer.
                std::thread::sleep(Duration::from_millis(
                    if (number / FAULTS.len()).is_multiple_of(4) {
                        2500
                    } else {
                        200
                    },
                ));
                send(self.process.id(), Signal::CONT)?;
            }
            cut => {
                let orders = self.process.stdin.as_mut().ok_or("no way to the backend")?;
                writeln!(orders, "{cut}")?;
            }
        }
        Ok(())
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How many of the next messages are cut, for each place to cut.
#[derive(Default)]
struct Cuts {
    body: AtomicUsize,
    head: AtomicUsize,
    answer: AtomicUsize,
}

impl Cuts {
    fn take(count: &AtomicUsize) -> bool {
        let less = count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        less.is_ok()
    }
}

/// The backend's side: until it is killed.
fn serve(address: &str, record: &Path) -> Result<()> {
    let listener = listen(address.parse()?)?;
    let record = Arc::new(Mutex::new(
        File::options().create(true).append(true).open(record)?,
    ));
    let cuts = Arc::new(Cuts::default());
    let for_connections = Arc::clone(&cuts);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (record, cuts) = (Arc::clone(&record), Arc::clone(&for_connections));
            std::thread::spawn(move || talk(stream, &record, &cuts));
        }
    });
    for line in std::io::stdin().lines() {
        let count = match line?.as_str() {
            "body" => &cuts.body,
            "head" => &cuts.head,
            _ => &cuts.answer,
        };
        count.fetch_add(2, Ordering::SeqCst);
    }
    Ok(())
}

/// An address that a killed process had a moment ago.
fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn talk(stream: TcpStream, record: &Mutex<File>, cuts: &Cuts) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let (mut length, mut number) = (0, None);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse::<u64>()?,
                Some(("x-message-number", value)) => number = Some(value.trim().parse::<u64>()?),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        if Cuts::take(&cuts.body) {
            std::io::copy(&mut (&mut reader).take(length / 2), &mut std::io::sink())?;
            return Ok(());
        }
        if std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink())? != length {
            return Ok(());
        }
        if let Some(number) = number {
            // One call to the system: it is there whole or not at all, whenever the process is killed.
            let line = format!("{number}\n");
            record
                .lock()
                .map_err(|_| "poisoned")?
                .write_all(line.as_bytes())?;
        }
        if Cuts::take(&cuts.head) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le")?;
            return Ok(());
        }
        if Cuts::take(&cuts.answer) {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly a part")?;
            return Ok(());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nreceived")?;
    }
}
