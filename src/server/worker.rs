//! Workers: one thread, one runtime, one listening socket per address each.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Semaphore, mpsc, watch};

use super::connection::Service;
use super::drain::{Drain, reached};
use super::listener::{Listener, open};
use super::{ConnectionEvent, Handler, ListenerSpec, Peer, ServerLimits, Stop};
use crate::clock::Timers;

/// What a worker's handler is made from.
pub struct WorkerContext {
    /// Position of the worker, from 0.
    pub index: usize,
    /// The worker's timers.
    pub timers: Timers,
}

/// Listening, not serving yet.
pub struct Bound {
    listeners: Vec<BoundListener>,
    limits: ServerLimits,
    workers: usize,
}

struct BoundListener {
    spec: ListenerSpec,
    address: SocketAddr,
    sockets: Vec<std::net::TcpListener>,
    room: Arc<Semaphore>,
}

/// Opens all listening sockets.
///
/// # Errors
/// The address that could not be opened, and why.
pub fn bind(
    listeners: Vec<ListenerSpec>,
    limits: ServerLimits,
    workers: usize,
) -> Result<Bound, (SocketAddr, io::Error)> {
    let workers = workers.max(1);
    let mut bound = Vec::with_capacity(listeners.len());
    for spec in listeners {
        let (sockets, address) =
            open(spec.address, workers).map_err(|error| (spec.address, error))?;
        let room = Arc::new(Semaphore::new(
            spec.max_connections.clamp(1, Semaphore::MAX_PERMITS),
        ));
        bound.push(BoundListener {
            spec,
            address,
            sockets,
            room,
        });
    }
    Ok(Bound {
        listeners: bound,
        limits,
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
    /// its runtime.
    ///
    /// # Errors
    /// When a thread, a runtime or a handler cannot be had; workers already started stop at once.
    pub fn spawn<H: Handler>(
        self,
        make: impl Fn(WorkerContext) -> Option<Rc<H>> + Send + Sync + 'static,
    ) -> io::Result<Running> {
        let make = Arc::new(make);
        let (stop, signal) = watch::channel(Stop::Not);
        let (end, ends) = mpsc::unbounded_channel();
        let (ready, started) = std::sync::mpsc::channel();
        let mut threads = Vec::with_capacity(self.workers);
        for (index, sockets) in shares(self.listeners, self.workers).into_iter().enumerate() {
            let (make, signal, limits) = (Arc::clone(&make), signal.clone(), self.limits);
            let (end, ready) = (End(end.clone()), ready.clone());
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || {
                let _end = end;
                // A local runtime cannot change threads, so it is made where it runs.
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())?;
                let made = runtime.block_on(work(index, sockets, limits, signal, ready, &*make));
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
            threads,
            ends,
        })
    }
}

/// What one worker listens on.
struct Share {
    spec: ListenerSpec,
    socket: std::net::TcpListener,
    room: Arc<Semaphore>,
}

fn shares(listeners: Vec<BoundListener>, workers: usize) -> Vec<Vec<Share>> {
    let mut shares: Vec<Vec<Share>> = std::iter::repeat_with(Vec::new).take(workers).collect();
    for listener in listeners {
        for (share, socket) in shares.iter_mut().zip(listener.sockets) {
            let (spec, room) = (listener.spec.clone(), Arc::clone(&listener.room));
            share.push(Share { spec, socket, room });
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

/// Serving.
pub struct Running {
    stop: watch::Sender<Stop>,
    threads: Vec<JoinHandle<io::Result<()>>>,
    ends: mpsc::UnboundedReceiver<()>,
}

impl Running {
    /// Stops gently or at once; never takes back what was said before.
    pub fn stop(&self, stop: Stop) {
        self.stop.send_if_modified(|current| {
            let further = stop > *current;
            if further {
                *current = stop;
            }
            further
        });
    }

    /// Tells others how far stopping has come.
    pub fn signal(&self) -> watch::Receiver<Stop> {
        self.stop.subscribe()
    }

    /// Completes when a worker has ended, on its own or because it was told; `false` when none was left.
    ///
    /// # Cancel safety
    /// Safe: no end is lost.
    pub async fn worker_ended(&mut self) -> bool {
        self.ends.recv().await.is_some()
    }

    /// Waits for the workers to end; `false` if one of them failed to start or panicked.
    pub fn join(self) -> bool {
        // All of them are waited for, also after one that failed.
        let ends: Vec<_> = self.threads.into_iter().map(JoinHandle::join).collect();
        ends.iter().all(|end| matches!(end, Ok(Ok(()))))
    }
}

async fn work<H: Handler>(
    index: usize,
    shares: Vec<Share>,
    limits: ServerLimits,
    mut signal: watch::Receiver<Stop>,
    ready: std::sync::mpsc::Sender<()>,
    make: &(impl Fn(WorkerContext) -> Option<Rc<H>> + Send + Sync),
) -> Option<()> {
    let timers = Timers::new();
    let turning = timers.clone();
    tokio::task::spawn_local(async move { turning.run().await });
    let handler = make(WorkerContext {
        index,
        timers: timers.clone(),
    })?;
    let drain = Drain::new();
    let service = Rc::new(Service {
        handler,
        timers,
        limits,
        drain: drain.clone(),
    });
    let mut accepting = Vec::new();
    for (position, share) in shares.into_iter().enumerate() {
        accepting.push(tokio::task::spawn_local(accept(
            position,
            share,
            Rc::clone(&service),
        )));
    }
    // Nobody listens where another worker has failed to start; then the signal to stop follows.
    let _ = ready.send(());
    drop(ready);
    reached(&mut signal, Stop::Drain).await;
    accepting.iter().for_each(tokio::task::JoinHandle::abort);
    for task in accepting {
        // Waits until the socket is closed, so that from here on nobody new comes in.
        let _ = task.await;
    }
    drain.begin();
    service.handler.draining();
    tokio::select! {
        () = drain.empty() => return Some(()),
        () = reached(&mut signal, Stop::Now) => {}
        () = tokio::time::sleep(limits.drain) => tracing::warn!("drain timed out, cutting connections"),
    }
    service.handler.cutting();
    Some(())
}

async fn accept<H: Handler>(position: usize, share: Share, service: Rc<Service<H>>) {
    let listener = match Listener::new(share.socket, share.room) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = %share.spec.name, %error, "cannot listen");
            return;
        }
    };
    loop {
        let (stream, address, room) = listener.accept().await;
        let service = Rc::clone(&service);
        let tls = share.spec.tls.clone();
        let hold = service.drain.hold();
        tokio::task::spawn_local(async move {
            let peer = Peer {
                listener: position,
                address,
                tls: tls.is_some(),
            };
            let open = Open::new(&*service.handler, position);
            service.serve(stream, tls.as_ref(), peer).await;
            drop((open, hold, room));
        });
    }
}

/// Notes the end of a connection however it ends.
struct Open<'h, H: Handler> {
    handler: &'h H,
    listener: usize,
}

impl<'h, H: Handler> Open<'h, H> {
    fn new(handler: &'h H, listener: usize) -> Self {
        handler.note(listener, ConnectionEvent::Opened);
        Self { handler, listener }
    }
}

impl<H: Handler> Drop for Open<'_, H> {
    fn drop(&mut self) {
        self.handler.note(self.listener, ConnectionEvent::Closed);
    }
}
