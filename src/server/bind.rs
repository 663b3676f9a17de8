//! From settings to a server that runs: sockets first, then the workers.
//!
//! A socket is opened here or handed in by whoever started the program (a service manager, or the process that this
//! one takes over from). Each one is served by at least one worker, because the kernel deals connections out over all
//! sockets of an address, whether or not anybody accepts from them.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};

use super::entrance::Room;
use super::listener::{adopt, open};
use super::running::Running;
use super::worker::{Share, Work, WorkerContext, work};
use super::{Handler, Settings, Stop};

/// Why a server cannot listen.
#[derive(Debug)]
pub enum BindError {
    /// An address could not be opened.
    Address(SocketAddr, io::Error),
    /// A socket was handed in that belongs to no listener. Connections to it would wait for ever.
    Unclaimed(SocketAddr),
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::Unclaimed(address) => {
                write!(
                    f,
                    "was handed a socket on {address}, an address that no listener has"
                )
            }
        }
    }
}

impl std::error::Error for BindError {}

/// Listening, not serving yet.
pub struct Bound {
    listeners: Vec<BoundListener>,
    settings: Settings,
    workers: usize,
}

struct BoundListener {
    address: SocketAddr,
    sockets: Vec<TcpListener>,
    room: Room,
}

/// Opens all listening sockets, or takes those of `inherited` that have the address.
///
/// # Errors
/// [`BindError`]; sockets opened so far are closed.
pub fn bind(
    settings: Settings,
    inherited: Vec<TcpListener>,
    workers: usize,
) -> Result<Bound, BindError> {
    let workers = workers.max(1);
    let mut inherited = inherited;
    let mut bound = Vec::with_capacity(settings.listeners.len());
    for spec in &settings.listeners {
        let fail = |error| BindError::Address(spec.address, error);
        let own = |socket: &mut TcpListener| {
            socket
                .local_addr()
                .is_ok_and(|address| address == spec.address)
        };
        let handed: Vec<TcpListener> = inherited.extract_if(.., own).collect();
        let (sockets, address) = if handed.is_empty() {
            open(spec.address, workers).map_err(fail)?
        } else {
            (adopt(handed, workers).map_err(fail)?, spec.address)
        };
        let room = Room::new(spec);
        bound.push(BoundListener {
            address,
            sockets,
            room,
        });
    }
    if let Some(address) = inherited
        .first()
        .and_then(|socket| socket.local_addr().ok())
    {
        return Err(BindError::Unclaimed(address));
    }
    Ok(Bound {
        listeners: bound,
        settings,
        workers,
    })
}

impl Bound {
    /// The addresses, in the order of the listeners.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .map(|listener| listener.address)
            .collect()
    }

    /// Starts the workers and waits until each has its handler. `make` runs once on each worker's thread, inside
    /// its runtime. With a `heartbeat`, each worker counts up as often as that.
    ///
    /// # Errors
    /// When a thread, a runtime or a handler cannot be had; workers already started stop at once.
    pub fn spawn<H: Handler>(
        self,
        heartbeat: Option<Duration>,
        make: impl Fn(WorkerContext) -> Option<Rc<H>> + Send + Sync + 'static,
    ) -> io::Result<Running> {
        let make = Arc::new(make);
        let (stop, signal) = watch::channel(Stop::Not);
        let (settings, current) = watch::channel(Arc::new(self.settings));
        let (end, ends) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::channel();
        let mut threads = Vec::with_capacity(self.workers);
        let mut beats = Vec::with_capacity(self.workers);
        let sockets = copies(&self.listeners)?;
        for (index, shares) in shares(self.listeners, self.workers).into_iter().enumerate() {
            let (make, end, ready) = (Arc::clone(&make), End(end.clone()), ready.clone());
            let beat = Arc::new(AtomicU64::new(0));
            beats.push(Arc::clone(&beat));
            let job = Work {
                index,
                shares,
                settings: current.clone(),
                signal: signal.clone(),
                heartbeat: heartbeat.map(|every| (every, beat)),
            };
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                let _end = end;
                // A local runtime cannot change threads, so it is made where it runs.
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())?;
                let made = runtime.block_on(work(job, ready, &*make));
                // A name look-up may still sit in a blocking thread; nothing waits for it any more.
                runtime.shutdown_background();
                made.ok_or_else(|| io::Error::other("no handler"))
            })?);
        }
        drop(ready);
        if started.iter().take(threads.len()).count() < threads.len() {
            return Err(io::Error::other("a worker did not start"));
        }
        Ok(Running {
            stop,
            settings,
            threads,
            ends,
            sockets: Mutex::new(sockets),
            beats,
        })
    }
}

fn copies(listeners: &[BoundListener]) -> io::Result<Vec<TcpListener>> {
    let mut copies: Vec<TcpListener> = Vec::new();
    for listener in listeners {
        for socket in &listener.sockets {
            copies.push(socket.try_clone()?);
        }
    }
    Ok(copies)
}

/// Deals the sockets out: each goes to one worker at least, and each worker gets one of each listener at least.
fn shares(listeners: Vec<BoundListener>, workers: usize) -> Vec<Vec<Share>> {
    let mut shares: Vec<Vec<Share>> = std::iter::repeat_with(Vec::new).take(workers).collect();
    for (position, listener) in listeners.into_iter().enumerate() {
        for (number, socket) in listener.sockets.into_iter().enumerate() {
            let room = listener.room.clone();
            if let Some(share) = shares.get_mut(number % workers) {
                share.push(Share {
                    position,
                    socket,
                    room,
                });
            }
        }
    }
    shares
}

/// Tells that a worker has ended, however it did.
struct End(mpsc::UnboundedSender<()>);

impl Drop for End {
    fn drop(&mut self) {
        // Nobody listens where nobody cares.
        let _ = self.0.send(());
    }
}
