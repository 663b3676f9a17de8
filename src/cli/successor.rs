//! Replacing the program without refusing a connection, where no service manager holds the sockets.
//!
//! The successor is the program as it is on disk by now, started with the same arguments. It inherits the listening
//! sockets, and a pipe to say on that it serves. Only then does this process drain; if the successor ends before, all
//! stays as it was, and so it does where the successor takes too long.

use std::io::{PipeReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::time::Duration;

use command_fds::{CommandFdExt as _, FdMapping};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Where the number of the pipe stands.
const READY: &str = "COUNTERSIGN_READY_FD";
/// The first descriptor after standard input, output and error; the same as systemd's.
const FIRST: i32 = 3;

/// Longest time until it serves: it reads files and looks up names first, as this process did.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that was started to go on in our place.
pub(super) struct Successor {
    child: Child,
    deadline: Instant,
    ready: oneshot::Receiver<bool>,
}

impl Successor {
    /// Starts it, with these sockets.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(sockets: Vec<TcpListener>) -> std::io::Result<Self> {
        let mut arguments = std::env::args_os();
        // Not the executable of this process: that one may have been replaced, which is the point.
        let program = arguments
            .next()
            .ok_or_else(|| std::io::Error::other("the name of the program is not known"))?;
        let (reader, writer) = std::io::pipe()?;
        let count = sockets.len();
        let descriptors = sockets.into_iter().map(OwnedFd::from);
        let descriptors = descriptors.chain([OwnedFd::from(writer)]);
        let mappings = (FIRST..)
            .zip(descriptors)
            .map(|(child_fd, parent_fd)| FdMapping {
                parent_fd,
                child_fd,
            });
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("LISTEN_FDS", count.to_string())
            // Its process number is not known before it runs, and an absent one is any.
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDNAMES")
            .env(
                READY,
                (i32::try_from(count).unwrap_or(0) + FIRST).to_string(),
            )
            .fd_mappings(mappings.collect())
            .map_err(std::io::Error::other)?;
        let child = command.spawn()?;
        // Our own end of what the child writes to goes, so that its end is the end of the pipe.
        drop(command);
        let (told, ready) = oneshot::channel();
        let thread = std::thread::Builder::new().name("successor".to_owned());
        thread.spawn(move || {
            // Nobody listens where nobody waits any more.
            let _ = told.send(said_ready(reader));
        })?;
        Ok(Self {
            child,
            deadline: Instant::now() + PATIENCE,
            ready,
        })
    }

    /// Its process number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Completes when it serves.
    ///
    /// # Errors
    /// When it has ended before it could, or has taken too long.
    ///
    /// # Cancel safety
    /// Safe, until it has completed.
    pub(super) async fn ready(&mut self) -> Result<(), &'static str> {
        match timeout_at(self.deadline, &mut self.ready).await {
            Ok(Ok(true)) => Ok(()),
            Ok(_) => Err("ended before it could serve"),
            Err(_) => Err("did not serve within two minutes"),
        }
    }

    /// Ends what has ended or is stuck, and clears away what it leaves behind.
    pub(super) fn give_up(mut self) {
        let _ = self.child.kill();
        // A process that waits for a dead disk does not end at once even so. Where no thread can be had, its entry stays
        // in the table of processes.
        let thread = std::thread::Builder::new().name("successor".to_owned());
        let _ = thread.spawn(move || self.child.wait());
    }
}

fn said_ready(mut pipe: PipeReader) -> bool {
    let mut byte = [0];
    pipe.read_exact(&mut byte).is_ok()
}

/// Tells the process we are to take over from, if there is one, that we serve.
pub(super) fn tell_predecessor() {
    let Some(number) = std::env::var_os(READY).and_then(|text| text.into_string().ok()) else {
        return;
    };
    let Ok(number) = number.parse::<u32>() else {
        return;
    };
    let pipe = std::fs::File::options()
        .write(true)
        .open(format!("/proc/self/fd/{number}"));
    if let Err(error) = pipe.and_then(|mut pipe| pipe.write_all(&[1])) {
        tracing::error!(%error, "the process before this one cannot be told to stop");
    }
}
