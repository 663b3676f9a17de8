//! A worker: one thread, one runtime, a listening socket of its own for each address.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::connection::Service;
use super::drain::{Drain, reached};
use super::entrance::{Door, Room, Turn};
use super::listener::Listener;
use super::tls_socket::Scratch;
use super::{ConnectionEvent, Handler, Peer, Settings, Stop};
use crate::clock::Timers;

/// What a worker's handler is made from.
pub struct WorkerContext {
    /// Position of the worker, from 0.
    pub index: usize,
    /// The worker's timers.
    pub timers: Timers,
}

/// What one worker has to do.
pub(super) struct Work {
    pub(super) index: usize,
    pub(super) shares: Vec<Share>,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) signal: watch::Receiver<Stop>,
    /// How often to show a sign of life, and where.
    pub(super) heartbeat: Option<(Duration, Arc<AtomicU64>)>,
}

/// A socket that a worker accepts from.
pub(super) struct Share {
    /// Of the listener, in [`Settings::listeners`].
    pub(super) position: usize,
    pub(super) socket: TcpListener,
    pub(super) room: Room,
}

pub(super) async fn work<H: Handler>(
    work: Work,
    ready: std::sync::mpsc::Sender<()>,
    make: &(impl Fn(WorkerContext) -> Option<Rc<H>> + Send + Sync),
) -> Option<()> {
    let timers = Timers::new();
    let turning = timers.clone();
    tokio::task::spawn_local(async move { turning.run().await });
    if let Some((every, beat)) = work.heartbeat {
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(every).await;
                beat.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let handler = make(WorkerContext {
        index: work.index,
        timers: timers.clone(),
    })?;
    let drain = Drain::new();
    let services = Rc::new(Services::new(handler, timers, drain.clone(), work.settings));
    let mut accepting = Vec::new();
    for share in work.shares {
        let services = Rc::clone(&services);
        accepting.push(tokio::task::spawn_local(accept(share, services)));
    }
    // Nobody listens where another worker has failed to start; then the signal to stop follows.
    let _ = ready.send(());
    drop(ready);
    let mut signal = work.signal;
    reached(&mut signal, Stop::Leave).await;
    drain.leave();
    reached(&mut signal, Stop::Drain).await;
    drain.close_doors();
    for task in accepting {
        // Waits until the socket is closed, so that from here on nobody new comes in.
        let _ = task.await;
    }
    drain.begin();
    let (service, settings) = services.current();
    service.handler.draining();
    tokio::select! {
        () = drain.empty() => return Some(()),
        () = reached(&mut signal, Stop::Now) => {}
        () = tokio::time::sleep(settings.limits.drain) => tracing::warn!("drain timed out, cutting connections"),
    }
    service.handler.cutting();
    Some(())
}

/// The settings in force, as this worker uses them.
struct Services<H> {
    source: RefCell<watch::Receiver<Arc<Settings>>>,
    current: RefCell<(Rc<Service<H>>, Arc<Settings>)>,
}

impl<H: Handler> Services<H> {
    fn new(
        handler: Rc<H>,
        timers: Timers,
        drain: Drain,
        mut source: watch::Receiver<Arc<Settings>>,
    ) -> Self {
        let settings = Arc::clone(&source.borrow_and_update());
        let service = Rc::new(Service {
            handler,
            timers,
            limits: settings.limits,
            drain,
            turn: Rc::new(Turn::default()),
            scratch: Scratch::new(),
            awake: Rc::default(),
        });
        Self {
            source: RefCell::new(source),
            current: RefCell::new((service, settings)),
        }
    }

    /// Takes up new settings where there are some.
    fn current(&self) -> (Rc<Service<H>>, Arc<Settings>) {
        let mut source = self.source.borrow_mut();
        let mut current = self.current.borrow_mut();
        // An error means that nobody will ever send others.
        if source.has_changed().unwrap_or(false) {
            let settings = Arc::clone(&source.borrow_and_update());
            let service = Rc::new(current.0.with(settings.limits));
            *current = (service, settings);
        }
        current.clone()
    }
}

async fn accept<H: Handler>(share: Share, services: Rc<Services<H>>) {
    let position = share.position;
    let listener = match Listener::new(share.socket, Arc::clone(&share.room.places)) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(listener = position, %error, "cannot listen");
            return;
        }
    };
    let drain = services.current().0.drain.clone();
    while let Some((stream, address, place)) = listener.accept(&drain).await {
        let (service, settings) = services.current();
        let room = share.room.clone();
        let hold = service.drain.hold();
        tokio::task::spawn_local(async move {
            let Some(spec) = settings.listeners.get(position) else {
                return;
            };
            let peer = Peer {
                listener: position,
                address,
                socket: address,
                tls: spec.tls.is_some(),
            };
            let door = Door { spec, room: &room };
            let mut open = Open::new(&*service.handler, position);
            open.end = service.serve(stream, door, peer).await;
            drop((open, hold, place));
        });
        // A rush of new connections takes turns with the requests of those that are in.
        tokio::task::yield_now().await;
    }
}

/// Notes the end of a connection however it ends.
struct Open<'h, H: Handler> {
    handler: &'h H,
    listener: usize,
    end: &'static str,
}

impl<'h, H: Handler> Open<'h, H> {
    fn new(handler: &'h H, listener: usize) -> Self {
        handler.note(listener, ConnectionEvent::Opened);
        Self {
            handler,
            listener,
            end: "cut",
        }
    }
}

impl<H: Handler> Drop for Open<'_, H> {
    fn drop(&mut self) {
        let event = ConnectionEvent::Closed(self.end);
        self.handler.note(self.listener, event);
    }
}
