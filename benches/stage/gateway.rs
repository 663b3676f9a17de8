//! The program under test as a process of its own, on its own processor.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::output::Output;
use super::place::{Core, on};
use super::site::{Site, TOKEN, VARIABLE};
use super::{Metrics, Result};

const START: Duration = Duration::from_secs(20);

/// A running gateway; killed when dropped.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) output: Arc<Output>,
}

impl Gateway {
    /// Starts it with the site's configuration and waits until it listens.
    pub(crate) fn start(site: &Site) -> Result<Self> {
        Self::start_as(Command::new(env!("CARGO_BIN_EXE_countersign")), site, START)
    }

    /// The same with a command line of one's own: a program, or one that runs another.
    pub(crate) fn start_as(mut command: Command, site: &Site, patience: Duration) -> Result<Self> {
        command
            .arg("run")
            .arg("-c")
            .arg(site.file())
            .stdin(Stdio::null());
        Self::spawn(command, patience)
    }

    /// Starts it on a socket that is open already, handed over the way systemd does it (`man 3 sd_listen_fds`):
    /// descriptor 3, with the number of the process that it is meant for.
    pub(crate) fn activated(site: &Site, socket: &TcpListener) -> Result<Self> {
        // Only the new process knows its number, and its descriptors can only be arranged from inside: so a shell
        // does both, and becomes the gateway.
        let mut command = Command::new("/bin/sh");
        let arranged =
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=public exec \"$@\" 3<&0 0</dev/null";
        command
            .args([
                "-c",
                arranged,
                "sh",
                env!("CARGO_BIN_EXE_countersign"),
                "run",
                "-c",
            ])
            .arg(site.file())
            .stdin(Stdio::from(OwnedFd::from(socket.try_clone()?)));
        Self::spawn(command, START)
    }

    fn spawn(mut command: Command, patience: Duration) -> Result<Self> {
        on(Core::Gateway)?;
        let spawned = command
            .env(VARIABLE, TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        on(Core::Load)?;
        let mut process = spawned?;
        let access = process.stdout.take().ok_or("no access log")?;
        let log = process.stderr.take().ok_or("no log")?;
        let (output, lines) = Output::watch(access, log);
        match addresses(&lines, patience) {
            Ok((address, admin)) => Ok(Self {
                process,
                address,
                admin,
                output,
            }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(format!("{error}\n{}", output.last()).into())
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn metrics(&self) -> Result<Metrics> {
        Metrics::read(self.admin)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        send(self.id(), signal)
    }

    /// Tells it to stop and waits for its end.
    pub(crate) fn stop(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let start = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait()? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                return Err("the gateway did not stop in time".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a signal to a process that we started.
pub(crate) fn send(process: u32, signal: Signal) -> Result<()> {
    let process = Pid::from_raw(i32::try_from(process)?).ok_or("no process")?;
    Ok(kill_process(process, signal)?)
}

/// Where it listens, as it says itself.
fn addresses(lines: &Receiver<String>, patience: Duration) -> Result<(SocketAddr, SocketAddr)> {
    let (start, mut listening) = (Instant::now(), None);
    loop {
        let line = match lines.recv_timeout(patience.saturating_sub(start.elapsed())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err("the gateway did not start in time".into());
            }
            Err(RecvTimeoutError::Disconnected) => return Err("the gateway did not start".into()),
        };
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else {
            continue;
        };
        // Where a field stands is up to the log's format.
        let field = |name: &str| {
            line[name]
                .as_str()
                .or_else(|| line["fields"][name].as_str())
        };
        let address = || {
            field("address")
                .ok_or("no address")?
                .parse()
                .map_err(|_| "no address")
        };
        match field("message") {
            Some("listening") => listening = Some(address()?),
            Some("admin listening") => return Ok((listening.ok_or("no listener")?, address()?)),
            _ => {}
        }
    }
}
