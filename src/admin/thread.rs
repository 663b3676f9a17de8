//! The admin listener on a thread of its own, so that it answers whatever the workers do.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;

use super::Admin;

/// The thread, until it is told to end.
pub struct AdminThread {
    socket: TcpListener,
    address: SocketAddr,
    end: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminThread {
    /// Serves on this socket from now on.
    ///
    /// # Errors
    /// When descriptors or threads run short.
    pub fn start(socket: TcpListener, admin: Admin) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let copy = socket.try_clone()?;
        let (end, ended) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name("admin".to_owned());
        let thread = thread.spawn(move || serve(socket, admin, ended))?;
        Ok(Self {
            socket: copy,
            address,
            end,
            thread,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Another handle to its socket, for a successor.
    ///
    /// # Errors
    /// When descriptors run short.
    pub fn socket(&self) -> io::Result<TcpListener> {
        self.socket.try_clone()
    }

    /// Ends it, and waits until it has.
    pub fn end(self) {
        let _ = self.end.send(());
        // A panic there has been reported by the panic itself.
        let _ = self.thread.join();
    }
}

fn serve(socket: TcpListener, admin: Admin, ended: oneshot::Receiver<()>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        // A scrape of many routes has something to do at every turn; others are to be heard at each.
        .event_interval(1)
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            tokio::select! {
                Err(error) = admin.serve(socket) => tracing::error!(%error, "admin listener failed"),
                _ = ended => {}
            }
        }),
        Err(error) => tracing::error!(%error, "no runtime for the admin listener"),
    }
}
