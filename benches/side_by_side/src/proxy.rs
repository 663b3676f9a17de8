//! The proxies: how each is started on the proxy's processor, and how it is ended.
//!
//! Each cell has a fresh process: nothing of another scenario is in its caches, its memory or its log.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::configuration::{self, Setting};
use crate::options::Options;
use crate::place::{Core, Cores};
use crate::process;
use crate::requests::TOKEN;

/// Slow machines and 10,000 routes.
const START: Duration = Duration::from_secs(60);
/// An empty process has settled when in so much time it takes next to no processor time.
const SETTLE: Duration = Duration::from_millis(200);
const SETTLED: u64 = 4_000_000;

/// One of those that are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Countersign,
    Nginx,
    Haproxy,
    Caddy,
    Envoy,
    Pingora,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Countersign,
        Self::Nginx,
        Self::Haproxy,
        Self::Caddy,
        Self::Envoy,
        Self::Pingora,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Countersign => "countersign",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
            Self::Envoy => "envoy",
            Self::Pingora => "pingora",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the machine's distribution built it, with its own OpenSSL or Go.
    pub(crate) fn is_distribution_build(self) -> bool {
        matches!(self, Self::Nginx | Self::Haproxy | Self::Caddy)
    }

    /// The file that its access lines go to, in its folder.
    fn access_log(self) -> &'static str {
        match self {
            Self::Countersign | Self::Haproxy => "stdout",
            Self::Nginx | Self::Caddy | Self::Envoy | Self::Pingora => "access.log",
        }
    }

    /// Whether it has written access lines; the last ones may still be in its buffer.
    pub(crate) fn has_logged(self, folder: &Path) -> bool {
        let file = std::fs::metadata(folder.join(self.access_log()));
        file.is_ok_and(|file| file.len() > 0)
    }

    /// The program, if it is there.
    pub(crate) fn program(self, options: &Options) -> Option<PathBuf> {
        match self {
            Self::Countersign => Some(options.countersign.clone()),
            Self::Nginx => found("nginx"),
            Self::Haproxy => found("haproxy"),
            Self::Caddy => found("caddy"),
            Self::Envoy => options.envoy.clone(),
            Self::Pingora => options.pingora.clone(),
        }
        .filter(|program| program.is_file())
        // It is started from another folder than the one that the command line was written in.
        .and_then(|program| std::path::absolute(program).ok())
    }

    fn command(self, program: &Path, folder: &Path, setting: &Setting) -> Command {
        let mut command = Command::new(program);
        let file = folder.join(configuration::file_name(self));
        match self {
            Self::Countersign => command.arg("run").arg("-c").arg(file),
            Self::Nginx => command.arg("-p").arg(folder).arg("-c").arg(file),
            // In the foreground.
            Self::Haproxy => command.arg("-db").arg("-f").arg(file),
            Self::Caddy => command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(file)
                .env("GOMAXPROCS", "1")
                .env("HOME", folder),
            Self::Envoy => command
                .args([
                    "--concurrency",
                    "1",
                    "--disable-hot-restart",
                    "-l",
                    "error",
                    "-c",
                ])
                .arg(file),
            Self::Pingora => command
                .args([setting.listen.to_string(), setting.backend.to_string()])
                .args([folder.join("certificate.pem"), folder.join("key.pem")])
                .arg(TOKEN)
                .args(setting.has_log().then(|| folder.join("access.log"))),
        };
        command
            .env("SIDE_BY_SIDE_TOKEN", TOKEN)
            .env("T", TOKEN)
            .current_dir(folder);
        command
    }
}

/// Debian puts servers where a user's `PATH` may not look.
fn found(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A proxy that runs; ended when dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    process: Child,
    /// What the empty process had in memory.
    pub(crate) empty: u64,
}

impl Proxy {
    /// Starts it in a folder with the certificate in it, and waits until it listens and has settled.
    pub(crate) fn start(
        kind: Kind,
        program: &Path,
        folder: &Path,
        cores: Cores,
        setting: &Setting,
    ) -> Result<Self> {
        configuration::write(kind, folder, setting)?;
        // Some append to what they find.
        let _ = std::fs::remove_file(folder.join("access.log"));
        let mut command = kind.command(program, folder, setting);
        command
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("stdout"))?)
            .stderr(File::create(folder.join("stderr"))?);
        cores.enter(Core::Proxy)?;
        let spawned = command.spawn();
        cores.enter(Core::Load)?;
        let mut proxy = Self {
            address: setting.listen,
            process: spawned?,
            empty: 0,
        };
        match proxy.settle() {
            Ok(()) => Ok(proxy),
            Err(error) => Err(format!("{error}: {}", said(folder)).into()),
        }
    }

    fn settle(&mut self) -> Result<()> {
        let start = Instant::now();
        while !process::listens(self.address.port())? {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("did not start ({status})").into());
            }
            if start.elapsed() > START {
                return Err("does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Some listen before they are done with a large configuration; that is not to be counted as requests.
        let mut before = 0;
        loop {
            std::thread::sleep(SETTLE);
            let now = process::processor_time(&self.processes())?;
            if now - before < SETTLED {
                break;
            }
            if start.elapsed() > START {
                return Err("does not settle".into());
            }
            before = now;
        }
        self.empty = process::proportional(&self.processes())?;
        Ok(())
    }

    /// The process and its descendants.
    pub(crate) fn processes(&self) -> Vec<u32> {
        process::tree(self.process.id())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // All of them at once: nothing is in flight any more, and workers must not outlive their master.
        for process in self.processes() {
            if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                let _ = kill_process(process, Signal::KILL);
            }
        }
        let _ = self.process.wait();
    }
}

/// The last words.
fn said(folder: &Path) -> String {
    let text = ["stderr", "stdout"].map(|name| std::fs::read_to_string(folder.join(name)));
    let text: String = text.into_iter().flatten().collect();
    let lines: Vec<&str> = text.lines().rev().take(8).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
