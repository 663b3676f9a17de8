//! `countersign run` as a process of its own, killed when it goes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Connection, OLD_TOKEN, PATIENCE, TOKEN};

/// A folder with a configuration and what it names.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    /// With this `gateway.yaml`.
    pub(crate) fn new(configuration: &str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        place.write("gateway.yaml", configuration);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file as good tools do: beside, then moved.
    pub(crate) fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let beside = self.path("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    /// Writes a certificate for `localhost` and its key; the DER of the certificate.
    pub(crate) fn write_certificate(&self) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        self.write("key.pem", &made.signing_key.serialize_pem());
        self.write("certificate.pem", &made.cert.pem());
        made.cert.der().to_vec()
    }

    /// `countersign run` here, with the tests' tokens in its environment.
    pub(crate) fn command(&self) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_countersign")))
    }

    pub(crate) fn command_of(&self, program: &Path) -> Command {
        self.run(Command::new(program))
    }

    /// The same in a process in which a shell has done this before.
    pub(crate) fn command_after(&self, shell: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("{shell} && exec \"$0\" \"$@\"")])
            .arg(env!("CARGO_BIN_EXE_countersign"));
        self.run(command)
    }

    fn run(&self, mut command: Command) -> Command {
        command
            .arg("run")
            .current_dir(self.folder.path())
            .env("REDOX_TOKEN", TOKEN)
            .env("REDOX_TOKEN_OLD", OLD_TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// See the module.
pub(crate) struct Program {
    child: Child,
    pub(crate) tls: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Receiver<Value>,
}

impl Program {
    /// Starts it and waits until it listens on its two listeners and the admin address.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                // The test may have ended.
                let _ = sender.send(line);
            }
        });
        let mut program = Self {
            child,
            tls: SocketAddr::from(([0; 4], 0)),
            plain: SocketAddr::from(([0; 4], 0)),
            admin: SocketAddr::from(([0; 4], 0)),
            log,
        };
        let address = || {
            let line = program.line(|line| line["address"].is_string());
            line["address"].as_str().unwrap().parse().unwrap()
        };
        let (tls, plain, admin) = (address(), address(), address());
        (program.tls, program.plain, program.admin) = (tls, plain, admin);
        program
    }

    /// The next line of the log for which this is true.
    pub(crate) fn line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = self
            .log
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if wanted(&line) {
                return line;
            }
            seen.push(line);
        }
        panic!("no such line in {seen:#?}");
    }

    /// The next line of the log with this message.
    pub(crate) fn says(&self, message: &str) -> Value {
        self.line(|line| line["message"] == message)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.id());
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        let mut connection = Connection::plain(self.admin);
        connection.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        ));
        connection.answer()
    }

    /// The value of a series.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").text().to_owned();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}"))
            .parse()
            .unwrap()
    }

    /// Bytes of memory that it has had at most.
    pub(crate) fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.unwrap().trim().strip_suffix(" kB").unwrap();
        kilobytes.parse::<usize>().unwrap() * 1024
    }

    /// Its exit code; `None` where a signal ended it.
    pub(crate) fn end(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "still running");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that a program has left behind in its place; it ends with the test.
pub(crate) struct Left(u32);

impl Left {
    /// The one that this line of the log tells of.
    pub(crate) fn told_of(line: &Value) -> Self {
        Self(u32::try_from(line["process"].as_u64().unwrap()).unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(name, self.0);
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.signal("-KILL");
    }
}

/// Sends a signal to a process that the test started.
fn signal(name: &str, process: u32) {
    let sent = Command::new("kill")
        .args([name, &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}
