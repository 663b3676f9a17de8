//! Many large messages at once: does memory stay flat, and does every byte arrive?
//!
//! Starts the real program with one worker per processor, before a backend that hashes what it gets, and sends
//! 200 bodies of 40 MB at the same time over TLS, half of them chunked. Prints the resident memory of the gateway
//! idle and at its peak. Fails if the peak is more than 64 MiB above idle or if any digest differs.
//!
//! `cargo bench --bench large_bodies`; `-- 20 4` sends 20 bodies of 4 MB.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};

const TOKEN: &str = "bench-token-0123456789abcdef";
const ALLOWED_GROWTH: u64 = 64 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("a long measurement, not a test: cargo bench --bench large_bodies");
        return ExitCode::SUCCESS;
    }
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<bool> {
    let mut numbers = std::env::args().filter_map(|argument| argument.parse::<usize>().ok());
    let (count, megabytes) = (numbers.next().unwrap_or(200), numbers.next().unwrap_or(40));
    let folder = tempfile::tempdir()?;
    let certificate = write_certificate(folder.path())?;
    let digests = Arc::new(Mutex::new(Vec::new()));
    let backend = start_backend(Arc::clone(&digests))?;
    let gateway = Gateway::start(folder.path(), backend)?;
    send_one(gateway.address, &certificate, 0, 1_000_000)?;
    digests.lock().map_err(|_| "poisoned")?.clear();
    let idle = gateway.resident()?;

    let watching = Arc::new(AtomicBool::new(true));
    let watch = gateway.watch_peak(&watching);
    let expected = send_all(gateway.address, &certificate, count, megabytes * 1_000_000)?;
    watching.store(false, Ordering::SeqCst);
    let peak = watch.join().map_err(|_| "the watcher panicked")??;

    let mut got = digests.lock().map_err(|_| "poisoned")?.clone();
    got.sort_unstable();
    let arrived = got == expected;
    let growth = peak.saturating_sub(idle);
    println!("{count} bodies of {megabytes} MB at once");
    println!(
        "resident memory: idle {} KiB, peak {} KiB, growth {} KiB",
        idle / 1024,
        peak / 1024,
        growth / 1024
    );
    println!("every digest right: {arrived}");
    Ok(arrived && growth < ALLOWED_GROWTH)
}

fn write_certificate(folder: &Path) -> Result<CertificateDer<'static>> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(folder.join("certificate.pem"), made.cert.pem())?;
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(made.cert.der().clone())
}

/// The program under test.
struct Gateway {
    process: Child,
    address: SocketAddr,
}

impl Gateway {
    fn start(folder: &Path, backend: SocketAddr) -> Result<Self> {
        let file = folder.join("gateway.yaml");
        let text = format!(
            "listeners:\n  - address: 127.0.0.1:0\n    tls: {{ certificate: certificate.pem, key: key.pem }}\n\
             admin: off\nlog: {{ format: json }}\nroutes:\n  - path: /redox\n    \
             verify: {{ scheme: redox, tokens: [{{ id: bench, env: BENCH_TOKEN }}] }}\n    \
             upstream: {{ url: \"http://{backend}\" }}\n"
        );
        std::fs::write(&file, text)?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["run", "-c"])
            .arg(&file)
            .env("BENCH_TOKEN", TOKEN)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = process.stderr.take().ok_or("no log")?;
        let mut lines = BufReader::new(log).lines();
        let listening = lines
            .by_ref()
            .map_while(std::io::Result::ok)
            .find(|line| line.contains("\"listening\""));
        let line: serde_json::Value = serde_json::from_str(&listening.ok_or("it did not start")?)?;
        let address = line["address"].as_str().ok_or("no address")?.parse()?;
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, address })
    }

    fn resident(&self) -> Result<u64> {
        resident(self.process.id())
    }

    fn watch_peak(&self, watching: &Arc<AtomicBool>) -> std::thread::JoinHandle<Result<u64>> {
        let (watching, process) = (Arc::clone(watching), self.process.id());
        std::thread::spawn(move || {
            let mut peak = 0;
            while watching.load(Ordering::SeqCst) {
                peak = peak.max(resident(process)?);
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(peak)
        })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Resident bytes of a process (`man 5 proc`, `VmRSS`).
fn resident(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn start_backend(digests: Arc<Mutex<Vec<[u8; 32]>>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let digests = Arc::clone(&digests);
            std::thread::spawn(move || serve(stream, &digests));
        }
    });
    Ok(address)
}

fn serve(mut stream: TcpStream, digests: &Mutex<Vec<[u8; 32]>>) -> Option<()> {
    let mut reader = BufReader::with_capacity(PIECE, stream.try_clone().ok()?);
    loop {
        let mut length = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse::<u64>().ok();
            }
        }
        let digest = match length {
            Some(length) => hash(&mut (&mut reader).take(length))?,
            None => hash_chunks(&mut reader)?,
        };
        digests.lock().ok()?.push(digest);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .ok()?;
    }
}

fn hash(reader: &mut impl Read) -> Option<[u8; 32]> {
    let mut digest = Sha256::new();
    hash_into(reader, &mut digest)?;
    Some(digest.finalize().into())
}

fn hash_into(reader: &mut impl Read, digest: &mut Sha256) -> Option<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match reader.read(&mut piece).ok()? {
            0 => return Some(()),
            length => digest.update(&piece[..length]),
        }
    }
}

fn hash_chunks(reader: &mut impl BufRead) -> Option<[u8; 32]> {
    let mut digest = Sha256::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = u64::from_str_radix(line.trim_end(), 16).ok()?;
        hash_into(&mut reader.take(length), &mut digest)?;
        let mut end = [0; 2];
        reader.read_exact(&mut end).ok()?;
        if length == 0 {
            return Some(digest.finalize().into());
        }
    }
}

/// Sends all bodies at the same time and gives their digests, sorted.
fn send_all(
    gateway: SocketAddr,
    certificate: &CertificateDer<'static>,
    count: usize,
    length: usize,
) -> Result<Vec<[u8; 32]>> {
    let together = Arc::new(Barrier::new(count));
    let done = Arc::new(AtomicUsize::new(0));
    let senders: Vec<_> = (0..count)
        .map(|number| {
            let (together, certificate) = (Arc::clone(&together), certificate.clone());
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                together.wait();
                let digest = send_one(gateway, &certificate, number, length)?;
                done.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(digest)
            })
        })
        .collect();
    let mut digests = Vec::new();
    for sender in senders {
        digests.push(sender.join().map_err(|_| "a sender panicked")??);
    }
    digests.sort_unstable();
    Ok(digests)
}

fn send_one(
    gateway: SocketAddr,
    certificate: &CertificateDer<'static>,
    number: usize,
    length: usize,
) -> Result<[u8; 32]> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(session, TcpStream::connect(gateway)?);
    let chunked = number % 2 == 1;
    let framing = if chunked {
        "transfer-encoding: chunked".to_owned()
    } else {
        format!("content-length: {length}")
    };
    write!(
        stream,
        "POST /redox HTTP/1.1\r\nhost: localhost\r\nverification-token: {TOKEN}\r\n{framing}\r\n\r\n"
    )?;
    // Every body differs, so that none can stand in for another.
    let piece: Vec<u8> = (0..PIECE)
        .map(|at| u8::try_from((at * 31 + number) % 251).unwrap_or(0))
        .collect();
    let mut digest = Sha256::new();
    let mut left = length;
    while left > 0 {
        let part = &piece[..left.min(PIECE)];
        if chunked {
            write!(stream, "{:x}\r\n", part.len())?;
        }
        stream.write_all(part)?;
        if chunked {
            stream.write_all(b"\r\n")?;
        }
        digest.update(part);
        left -= part.len();
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n")?;
    }
    stream.flush()?;
    let mut status = String::new();
    BufReader::new(&mut stream).read_line(&mut status)?;
    if !status.starts_with("HTTP/1.1 200") {
        return Err(format!("body {number}: {status}").into());
    }
    Ok(digest.finalize().into())
}
