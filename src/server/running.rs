//! A server that runs: what may be told to it from outside, and how it ends.

use std::io;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use super::{Settings, Stop};

/// Serving.
pub struct Running {
    pub(super) stop: watch::Sender<Stop>,
    pub(super) settings: watch::Sender<Arc<Settings>>,
    pub(super) threads: Vec<JoinHandle<io::Result<()>>>,
    pub(super) ends: mpsc::UnboundedReceiver<()>,
    /// A second hold on every listening socket, for a successor. Let go when the drain begins: as long as anybody
    /// holds a socket, the kernel takes connections for it.
    pub(super) sockets: Mutex<Vec<TcpListener>>,
    pub(super) beats: Vec<Arc<AtomicU64>>,
}

impl Running {
    /// Stops gently or at once; never takes back what was said before.
    pub fn stop(&self, stop: Stop) {
        if stop >= Stop::Drain {
            self.held().clear();
        }
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

    /// The settings that new connections begin with.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Puts settings into force for connections that begin from now on. They have the same listeners, at the same
    /// addresses, as those before.
    pub fn replace_settings(&self, settings: Settings) {
        self.settings.send_replace(Arc::new(settings));
    }

    /// The listening sockets, for a successor to go on with; none once the drain has begun.
    ///
    /// # Errors
    /// When descriptors run short.
    pub fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.held().iter().map(TcpListener::try_clone).collect()
    }

    /// How often each worker has shown that it still turns; only where it was told to.
    pub fn beats(&self) -> Vec<u64> {
        let beats = self.beats.iter();
        beats.map(|beat| beat.load(Ordering::Relaxed)).collect()
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

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<TcpListener>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
