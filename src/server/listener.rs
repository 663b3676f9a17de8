//! Listening sockets, and an accept loop that neither spins nor dies.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::drain::Drain;

/// Connections the kernel keeps for us; capped by `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether the peer still exists. Below the 350 s after which load balancers
/// forget a connection.
const KEEPALIVE_PROBES: Duration = Duration::from_secs(60);
/// Pause after an accept that failed for want of resources. Without one the loop would spin until something
/// closes; with one, what is open lives on and what is new waits in the kernel's queue.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens one socket per worker on the same address, and tells the address (port 0 has become a real one).
pub(super) fn open(
    address: SocketAddr,
    workers: usize,
) -> io::Result<(Vec<std::net::TcpListener>, SocketAddr)> {
    check_free(address)?;
    let first = open_one(address)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(open_one(address)?);
    }
    Ok((sockets, address))
}

/// Makes sockets that were handed in ready to be served by so many workers: all of them are kept, and where they are
/// fewer than the workers some are shared.
pub(super) fn adopt(
    sockets: Vec<std::net::TcpListener>,
    workers: usize,
) -> io::Result<Vec<std::net::TcpListener>> {
    let mut all = Vec::new();
    for socket in &sockets {
        // Whoever opened it may have other habits.
        set_options(&SockRef::from(socket))?;
    }
    for number in 0..workers.max(sockets.len()) {
        if let Some(socket) = sockets.get(number % sockets.len().max(1)) {
            all.push(socket.try_clone()?);
        }
    }
    Ok(all)
}

/// `SO_REUSEPORT` would let a second process of the same user take part of the traffic without a word.
fn check_free(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Past connections in TIME_WAIT are no reason to refuse.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))
}

fn open_one(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    set_options(&socket)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn set_options(socket: &Socket) -> io::Result<()> {
    // Accepted sockets inherit both, which saves system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_PROBES))?;
    socket.set_nonblocking(true)
}

/// Hands out connections, never errors.
pub(super) struct Listener {
    socket: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener {
    /// # Errors
    /// When the runtime cannot take the socket.
    pub(super) fn new(socket: std::net::TcpListener, places: Arc<Semaphore>) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::from_std(socket)?,
            places,
        })
    }

    /// The next connection, once there is room for it; its room is held until the permit is dropped. Nothing once the doors
    /// are closed.
    pub(super) async fn accept(
        &self,
        drain: &Drain,
    ) -> Option<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
        loop {
            let accepted = tokio::select! {
                biased;
                () = drain.doors_closed() => return None,
                accepted = self.socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    // After accepting, not before: a worker that only waits must not hold a place that another's
                    // connection could have. Whoever waits here when the doors close is let in all the same: he has left
                    // the kernel's queue, from which a next process would have taken him.
                    let room = tokio::select! {
                        biased;
                        // Fails only when the semaphore is closed, which nobody does.
                        room = Arc::clone(&self.places).acquire_owned() => room.ok(),
                        () = drain.doors_closed() => None,
                    };
                    return Some((stream, address, room));
                }
                // The peer left while it waited: its business, not ours.
                Err(error) if is_peers_fault(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections, pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
