//! Nothing that a sender or a backend wrote shows anywhere but where it was sent: markers in every place they can
//! write to, every way a request can end, the real program at level trace, and then a search of all it said.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{
    Answer, Backend, Connection, Http2, Message, Nobody, PATIENCE, Recorded, Reply, tls_config,
};

/// What all markers begin with. The search is for this, so even a part of one is found.
const STEM: &str = "kanarie7";
/// The right token; long enough to be accepted as one.
const TOKEN: &str = "kanarie7righttoken0123456789";
const WRONG: &str = "kanarie7wrongtoken0123456789";
/// Right, but from another time.
const EXPIRED: &str = "kanarie7expiredtoken012345";
const CHALLENGE: &str = "kanarie7challenge";
const AUDIT_KEY: &str = "kanarie7auditkey0123456789";

/// All ways in which bytes may be written down, as a search in text in lower case can find them.
fn disguises(bytes: &[u8]) -> Vec<String> {
    let each =
        |form: &dyn Fn(u8) -> String| bytes.iter().map(|byte| form(*byte)).collect::<Vec<_>>();
    vec![
        String::from_utf8_lossy(bytes).to_lowercase(),
        each(&|byte| format!("{byte:02x}")).concat(),
        each(&|byte| format!("%{byte:02x}")).concat(),
        each(&|byte| format!("\\x{byte:02x}")).concat(),
        each(&|byte| byte.to_string()).join(", "),
        each(&|byte| byte.to_string()).join(","),
    ]
}

/// Base64 in both alphabets, wherever in a longer text the bytes may stand. Its case matters.
fn base64(bytes: &[u8]) -> Vec<String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut forms = Vec::new();
    for (special, shift) in [
        (b"+/", 0),
        (b"+/", 1),
        (b"+/", 2),
        (b"-_", 0),
        (b"-_", 1),
        (b"-_", 2),
    ] {
        let bits: Vec<bool> = vec![0; shift]
            .iter()
            .chain(bytes)
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
            .collect();
        // Sextets that bytes in front or behind would change are left out.
        let whole = bits.chunks_exact(6).skip((shift * 8).div_ceil(6));
        let text = whole.map(|sextet| {
            let value = sextet
                .iter()
                .fold(0, |value, bit| value << 1 | usize::from(*bit));
            char::from(*LETTERS.get(value).unwrap_or_else(|| &special[value - 62]))
        });
        forms.push(text.collect());
    }
    forms
}

/// Every marker, or part of one, in `text`.
fn find(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let lower = text.to_lowercase();
    let mut needles = disguises(STEM.as_bytes());
    for token in [TOKEN, WRONG, EXPIRED] {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(token);
        needles.extend(disguises(&digest[..8]));
        if let Some(found) = base64(&digest).into_iter().find(|form| text.contains(form)) {
            return Some(found);
        }
    }
    let found = needles.into_iter().find(|needle| lower.contains(needle));
    found.or_else(|| {
        base64(STEM.as_bytes())
            .into_iter()
            .find(|form| text.contains(form))
    })
}

#[test]
fn the_search_finds_a_marker_in_every_disguise() {
    let digest = <sha2::Sha256 as sha2::Digest>::digest(TOKEN);
    let hex = digest.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02X}").unwrap();
        hex
    });
    let hidden = [
        "x kanarie7 y",
        "KANARIE7",
        "Kanarie7Wrong",
        "6b616E6172696537",
        "%6B%61%6e%61%72%69%65%37",
        "[107, 97, 110, 97, 114, 105, 101, 55]",
        // "kanarie7", "-kanarie7" and "--kanarie7", each with something behind it
        "a2FuYXJpZTd4",
        "LWthbmFyaWU3eHg",
        "LS1rYW5hcmllN3g",
        hex.as_str(),
    ];
    for text in hidden {
        assert!(find(text.as_bytes()).is_some(), "{text}");
    }
    assert_eq!(
        find(b"an honest line, and kanarie without its number"),
        None
    );
}

/// The program as its users run it.
struct Program {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<Vec<u8>>>,
    folder: tempfile::TempDir,
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .args(arguments)
        .arg("-c")
        .arg(folder.join("gateway.yaml"))
        .env("REDOX_TOKEN", TOKEN)
        .env("SSL_CERT_FILE", folder.join("trusted.pem"))
        .env_remove("SSL_CERT_DIR")
        .env("RUST_LOG", "trace")
        .env("RUST_BACKTRACE", "full");
    command
}

/// Collects a stream while it comes.
fn collect(stream: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let collected = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&collected);
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream
            .read_until(b'\n', &mut line)
            .is_ok_and(|read| read > 0)
        {
            sink.lock().unwrap().append(&mut line);
        }
    });
    collected
}

/// Waits for what a condition gives.
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Program {
    fn start(format: &str, backend: SocketAddr, nobody: &Nobody, garbage: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trusted = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("trusted.pem"), trusted.cert.pem()).unwrap();
        std::fs::write(folder.path().join("old"), EXPIRED).unwrap();
        std::fs::write(folder.path().join("key"), AUDIT_KEY).unwrap();
        let file = configuration(format, backend, nobody, garbage, folder.path());
        std::fs::write(folder.path().join("gateway.yaml"), file).unwrap();
        let mut child = command(folder.path(), &["run"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = collect(child.stdout.take().unwrap());
        let errors = collect(child.stderr.take().unwrap());
        Self {
            child,
            output,
            errors,
            folder,
        }
    }

    /// TLS, plain, admin.
    fn addresses(&self) -> [SocketAddr; 3] {
        wait_for("three addresses", || {
            let text = String::from_utf8(self.errors.lock().unwrap().clone()).unwrap();
            let lines = text.lines().filter(|line| line.contains("listening"));
            let addresses = lines.filter_map(|line| {
                let from = line.find("127.0.0.1:")?;
                let rest = &line[from..];
                let end = rest[10..].find(|c: char| !c.is_ascii_digit());
                rest[..end.map_or(rest.len(), |end| end + 10)].parse().ok()
            });
            let addresses: Vec<SocketAddr> = addresses.collect();
            addresses.try_into().ok()
        })
    }

    /// What another command says about the same file.
    fn said(&self, arguments: &[&str]) -> Vec<u8> {
        let output = command(self.folder.path(), arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(!output.stdout.is_empty() || !output.stderr.is_empty());
        [output.stdout, output.stderr].concat()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(
    format: &str,
    backend: SocketAddr,
    nobody: &Nobody,
    garbage: SocketAddr,
    folder: &Path,
) -> String {
    let folder = folder.display();
    let mut file = format!(
        "listeners:\n- {{ name: public, address: \"127.0.0.1:0\", tls: {{ self_signed: [localhost] }} }}\n\
         - {{ name: plain, address: \"127.0.0.1:0\", insecure_plaintext: true }}\n\
         admin: {{ address: \"127.0.0.1:0\" }}\nworkers: 1\nlog: {{ level: trace, format: {format} }}\n\
         audit: {{ file: \"{folder}/audit.jsonl\", key: {{ file: \"{folder}/key\" }} }}\n\
         limits: {{ body: 8KiB, header_bytes: 4KiB }}\n\
         timeouts: {{ response: 3s }}\nroutes:\n"
    );
    let routes = [
        ("/redox/*", format!("http://{backend}"), ""),
        ("/closed", nobody.url(), ""),
        ("/tls", format!("https://{garbage}"), ""),
        ("/silent", format!("http://{backend}"), "on_reject: close, "),
        (
            "/maintenance",
            format!("http://{backend}"),
            "maintenance: true, ",
        ),
    ];
    for (path, url, more) in routes {
        writeln!(
            file,
            "- {{ {more}path: \"{path}\", upstream: {{ url: \"{url}\" }}, verify: {{ scheme: redox, tokens: \
             [{{ id: current, env: REDOX_TOKEN }}, {{ id: old, file: \"{folder}/old\", not_after: 2020-01-01T00:00:00Z }}], \
             authorization_bearer: true }} }}"
        )
        .unwrap();
    }
    file
}

/// What the backend says; its own markers all over it.
fn behaviour(request: &Recorded) -> Reply {
    const FIELDS: &str = "X-Kanarie7name: kanarie7value\r\nSet-Cookie: kanarie7cookie\r\n";
    let path = request.target.split('?').next().unwrap();
    let text = match path {
        "/redox/reset" => return Reply::Reset,
        "/redox/hang" => return Reply::Hang,
        "/redox/redirect" => format!(
            "HTTP/1.1 302 kanarie7reason\r\nLocation: /kanarie7\r\n{FIELDS}Content-Length: 8\r\n\r\nkanarie7"
        ),
        "/redox/garbage" => "kanarie7 garbage\r\nkanarie7\r\n\r\n".to_owned(),
        "/redox/half-head" => "HTTP/1.1 200 OK\r\nX-Kanarie7".to_owned(),
        "/redox/bad-field" => "HTTP/1.1 200 OK\r\nX kanarie7: kanarie7\r\n\r\n".to_owned(),
        "/redox/bad-length" => "HTTP/1.1 200 OK\r\nContent-Length: kanarie7\r\n\r\n".to_owned(),
        "/redox/half-body" => {
            format!("HTTP/1.1 200 OK\r\n{FIELDS}Content-Length: 99\r\n\r\nkanarie7")
        }
        "/redox/bad-chunk" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nkanarie7\r\n".to_owned()
        }
        "/redox/odd" => {
            format!("HTTP/1.1 599 kanarie7reason\r\n{FIELDS}Content-Length: 8\r\n\r\nkanarie7")
        }
        _ => format!(
            "HTTP/1.1 200 kanarie7reason\r\n{FIELDS}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n8;kanarie7\r\nkanarie7\r\n0\r\nX-Kanarie7: kanarie7\r\n\r\n"
        ),
    };
    Reply::RawAndClose(text.into_bytes())
}

/// A message with markers in all places that do not change what becomes of it.
fn marked(target: &str) -> Message {
    let mut message = Message::post(r#"{"Meta":{"kanarie7key":"kanarie7body"}}"#)
        .target(&format!("{target}?kanarie7query=kanarie7"));
    for name in [
        "x-kanarie7name",
        "content-type",
        "user-agent",
        "cookie",
        "referer",
        "x-forwarded-for",
        "x-request-id",
        "traceparent",
    ] {
        message = message.header(name, "kanarie7value");
    }
    message
}

/// A message with the right token.
fn good(path: &str) -> Message {
    marked(path).header("verification-token", TOKEN)
}

/// Messages of all outcomes, with the status of each; 0 where the connection ends in silence.
fn messages() -> Vec<(u16, Message)> {
    [forwarded(), challenges(), refused()].concat()
}

fn forwarded() -> Vec<(u16, Message)> {
    vec![
        (200, good("/redox/kanarie7path")),
        (
            200,
            marked("/redox/a").header("authorization", format!("Bearer {TOKEN}")),
        ),
        (200, good("/redox/a").unknown_length()),
        (599, good("/redox/odd")),
        (502, good("/redox/reset")),
        (504, good("/redox/hang")),
        (502, good("/redox/redirect")),
        (502, good("/redox/garbage")),
        (502, good("/redox/half-head")),
        (502, good("/redox/bad-field")),
        (502, good("/redox/bad-length")),
        (502, good("/closed")),
        (502, good("/tls")),
        (503, good("/maintenance")),
        (0, marked("/silent")),
        (0, marked("/silent").header("verification-token", WRONG)),
    ]
}

fn challenges() -> Vec<(u16, Message)> {
    let body = |text: String| Message {
        body: text.into_bytes(),
        ..marked("/redox/a")
    };
    let challenge = |token: &str, value: &str| {
        body(format!(
            r#"{{"verification-token":"{token}","challenge":"{value}"}}"#
        ))
    };
    let get = |query: String| Message {
        method: "GET".to_owned(),
        body: Vec::new(),
        ..marked("/redox/a").target(&format!("/redox/a?{query}"))
    };
    vec![
        (200, challenge(TOKEN, CHALLENGE)),
        (401, challenge(WRONG, CHALLENGE)),
        (401, challenge(EXPIRED, CHALLENGE)),
        (400, challenge(TOKEN, "kanarie7<>")),
        (
            200,
            get(format!("challenge={CHALLENGE}&verification-token={TOKEN}")),
        ),
        (
            401,
            get(format!("challenge={CHALLENGE}&verification-token={WRONG}")),
        ),
        (
            400,
            get(format!("challenge=kanarie7%00&verification-token={TOKEN}")),
        ),
    ]
}

fn refused() -> Vec<(u16, Message)> {
    vec![
        (
            401,
            marked("/redox/a").target(&format!("/redox/a?verification-token={TOKEN}")),
        ),
        (401, marked("/redox/a").header("verification-token", WRONG)),
        (
            401,
            marked("/redox/a").header("verification-token", EXPIRED),
        ),
        (401, good("/redox/a").header("verification-token", WRONG)),
        (
            401,
            good("/redox/a").header("authorization", format!("Bearer {WRONG}")),
        ),
        (400, marked("/redox/a").header("verification_token", TOKEN)),
        (404, good("/kanarie7path")),
        (400, good("/redox/../kanarie7path")),
        (417, good("/redox/a").header("expect", "kanarie7")),
        (
            405,
            Message {
                method: "KANARIE7METHOD".to_owned(),
                ..good("/redox/a")
            },
        ),
        (
            413,
            Message {
                body: STEM.repeat(1100).into_bytes(),
                ..good("/redox/a")
            },
        ),
        (
            431,
            good("/redox/a").header("x-kanarie7large", STEM.repeat(600)),
        ),
        (
            400,
            good("/redox/a").header("host", "kanarie7host@kanarie7"),
        ),
    ]
}

/// What only bytes of one's own can say.
fn raw_requests() -> Vec<String> {
    let head = format!(
        "POST /redox/a?kanarie7 HTTP/1.1\r\nHost: kanarie7host\r\nverification-token: {TOKEN}\r\n"
    );
    vec![
        format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n8;kanarie7=kanarie7\r\nkanarie7\r\n0\r\nX-Kanarie7: kanarie7\r\n\r\n"
        ),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nkanarie7\r\n"),
        format!("{head}Transfer-Encoding: kanarie7\r\n\r\n"),
        format!("{head}Content-Length: kanarie7\r\n\r\n"),
        format!("{head}X kanarie7: kanarie7\r\n\r\n"),
        format!("{head}X-Kanarie7: kanarie7\0\r\n\r\n"),
        format!("{head}Content-Length: 99\r\n\r\nkanarie7"),
        "kanarie7\r\n\r\n".to_owned(),
        "KANARIE7 kanarie7 kanarie7/1.1\r\n\r\n".to_owned(),
        "POST http://kanarie7:kanarie7@kanarie7/redox/a HTTP/1.1\r\nHost: kanarie7\r\n\r\n"
            .to_owned(),
        "POST /redox/kanarie7<> HTTP/1.1\r\nHost: kanarie7\r\n\r\n".to_owned(),
        "GET /kanarie7 HTTP/1.1\r\nHost: kanarie7host:kanarie7\r\n\r\n".to_owned(),
        "POST /redox/kanarie7".to_owned(),
    ]
}

/// An answer of our own: everything but what the backend sent. The answer to a good challenge is its value.
fn check_own(answer: &Answer, name: &str) {
    let fields = answer
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"));
    let mut text = fields.collect::<String>().into_bytes();
    if answer.status != 200 {
        text.extend_from_slice(&answer.body);
    }
    assert_eq!(find(&text), None, "in {answer:?} to {name}");
}

/// Sends everything there is; gives how many requests were told of.
fn play([tls, plain, _]: [SocketAddr; 3]) -> usize {
    let mut count = 0;
    let mut check = |status: u16, answer: Option<Answer>, message: &Message| {
        count += 1;
        let name = format!("{} {}", message.method, message.target);
        let answer = match answer {
            None if status == 0 => return,
            answer => answer.unwrap_or_else(|| panic!("{name}: no answer")),
        };
        assert_eq!(answer.status, status, "{name}");
        if answer.value("x-kanarie7name").is_none() {
            check_own(&answer, &name);
        }
    };
    for (status, message) in messages() {
        let name = "kanarie7sni.example.org";
        let mut connection = Connection::tls_with(tls, &tls_config(&[b"http/1.1"]), name);
        check(status, message.over_http1(&mut connection), &message);
    }
    let mut http2 = Http2::connect(tls);
    for (status, message) in messages() {
        check(status, message.over_http2(&mut http2), &message);
    }
    for target in ["/redox/half-body", "/redox/bad-chunk"] {
        let message = good(target);
        Connection::plain(plain).send(message.bytes()).rest();
        assert_eq!(message.over_http2(&mut http2), None);
        count += 2;
    }
    for request in raw_requests() {
        let mut connection = Connection::plain(plain);
        let rest = connection.send(&request).finish_sending().rest();
        if !rest.starts_with(b"HTTP/1.1 200") {
            assert_eq!(find(&rest), None, "in the answer to {request:?}");
        }
    }
    // Not TLS at all, and a name that is none.
    for bytes in [
        &b"kanarie7kanarie7kanarie7\r\n\r\n"[..],
        b"\x16\x03\x01\x00\x10kanarie7kanarie7",
    ] {
        let rest = Connection::plain(tls).send(bytes).finish_sending().rest();
        assert_eq!(find(&rest), None);
    }
    count
}

/// All that the admin listener tells.
fn admin(address: SocketAddr) -> Vec<u8> {
    let mut all = Vec::new();
    for (target, host) in [
        ("/metrics", "kanarie7"),
        ("/healthz", "kanarie7"),
        ("/readyz", "kanarie7"),
        ("/status", "localhost"),
        ("/status.json?kanarie7", "localhost"),
        ("/status", "kanarie7"),
        ("/kanarie7?kanarie7", "kanarie7"),
        ("kanarie7", "kanarie7"),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream.read_to_end(&mut all).unwrap();
    }
    all
}

/// A server that answers whatever comes with the same text.
fn garbage() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"kanarie7 kanarie7\r\n"));
        }
    });
    address
}

fn hunt(format: &str) {
    let backend = Backend::with(behaviour);
    let nobody = Nobody::new();
    let program = Program::start(format, backend.address(), &nobody, garbage());
    let addresses = program.addresses();
    let count = play(addresses);
    assert!(
        backend
            .requests()
            .iter()
            .any(|request| find(&request.body).is_some()),
        "nothing was planted"
    );
    let lines = |output: &[u8]| output.iter().filter(|byte| **byte == b'\n').count();
    wait_for("an access line for each request", || {
        (lines(&program.output.lock().unwrap()) >= count).then_some(())
    });
    let trail = program.folder.path().join("audit.jsonl");
    let trail = || std::fs::read(&trail).unwrap();
    wait_for("an audit record for each request", || {
        (lines(&trail()) >= count).then_some(())
    });
    let told = admin(addresses[2]);
    let told_text = String::from_utf8_lossy(&told);
    for shown in ["upstream_reset", "token_mismatch", "\"decisions\":["] {
        assert!(
            told_text.contains(shown),
            "the status page does not tell of {shown}"
        );
    }
    let output = program.output.lock().unwrap().clone();
    let errors = program.errors.lock().unwrap().clone();
    let said = [
        ("the access log", output),
        ("the log", errors),
        ("the audit trail", trail()),
        ("the admin listener", told),
        ("config show", program.said(&["config", "show"])),
        ("check", program.said(&["check"])),
        (
            "check in JSON",
            program.said(&["check", "--format", "json"]),
        ),
    ];
    for (place, text) in said {
        if let Some(found) = find(&text) {
            panic!("{found} in {place}:\n{}", String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn no_marker_shows_in_json() {
    hunt("json");
}

#[test]
fn no_marker_shows_in_text() {
    hunt("text");
}
