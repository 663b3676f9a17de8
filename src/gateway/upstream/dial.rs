//! Making a connection: names, addresses, TLS.
//!
//! A name is looked up each time, so a change of addresses is noticed. Not here: which endpoint, and how often.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::super::plan::{Endpoint, EndpointHost};
use super::super::reason::UpstreamError;
use super::link::Stream;
use crate::clock::Timers;

/// Look-ups at the same time in one worker. The system's resolver holds a thread each, and a resolver that has
/// stopped answering must not collect threads.
const LOOKUPS: usize = 8;
/// Addresses of one name that are tried; more would make each one's share of the time too small.
const ADDRESSES: usize = 8;
/// A connection without an answer to probes for this long is dead.
const KEEPALIVE_PROBES: Duration = Duration::from_secs(30);

/// Makes the connections of one worker to one upstream.
pub(super) struct Dialler {
    timers: Timers,
    lookups: Arc<Semaphore>,
}

impl Dialler {
    pub(super) fn new(timers: Timers) -> Self {
        Self {
            timers,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }

    /// A connection to this endpoint, TLS included, within `patience`.
    ///
    /// # Errors
    /// What the last address failed with. Nothing of a request has been sent.
    pub(super) async fn dial(
        &self,
        endpoint: &Endpoint,
        patience: Duration,
    ) -> Result<Stream, UpstreamError> {
        let deadline = Instant::now() + patience;
        let too_late = self.timers.alarm(patience);
        let dialled = async {
            let addresses = self.addresses(endpoint).await?;
            let socket = self.reach(addresses, deadline).await?;
            set_options(&socket);
            let Some(tls) = &endpoint.tls else {
                return Ok(Stream::Plain(socket));
            };
            let connector = TlsConnector::from(Arc::clone(&tls.config));
            let connected = connector.connect(tls.server_name.clone(), socket).await;
            Ok(Stream::Tls(Box::new(
                connected.map_err(|_| UpstreamError::Tls)?,
            )))
        };
        tokio::select! {
            biased;
            dialled = dialled => dialled,
            () = too_late => Err(UpstreamError::ConnectTimeout),
        }
    }

    /// Tries the addresses in turn. Each has its share of the time that is left, so that one which swallows
    /// everything leaves enough for the others.
    async fn reach(
        &self,
        addresses: Vec<SocketAddr>,
        deadline: Instant,
    ) -> Result<TcpStream, UpstreamError> {
        let mut last = UpstreamError::Dns;
        let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
        for address in addresses {
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            let too_late = self.timers.alarm(share);
            tokio::select! {
                biased;
                connected = TcpStream::connect(address) => match connected {
                    Ok(socket) => return Ok(socket),
                    Err(_) => last = UpstreamError::Refused,
                },
                () = too_late => last = UpstreamError::ConnectTimeout,
            }
        }
        Err(last)
    }

    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, UpstreamError> {
        let port = endpoint.port;
        let name = match &endpoint.host {
            EndpointHost::Address(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            EndpointHost::Name(name) => name.clone(),
        };
        let turn = Arc::clone(&self.lookups).acquire_owned().await;
        let lookup = tokio::task::spawn_blocking(move || {
            // Held by the thread, which goes on when nobody waits for it any more.
            let _turn = turn;
            let found = (&*name, port).to_socket_addrs();
            found.map(|found| found.take(ADDRESSES).collect::<Vec<_>>())
        });
        let found: io::Result<Vec<SocketAddr>> = lookup.await.unwrap_or_else(|_| Ok(Vec::new()));
        found.map_err(|_| UpstreamError::Dns)
    }
}

/// None of these is needed for correctness, so a kernel that refuses one is not worth a failed request.
fn set_options(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let options = SockRef::from(socket);
    let _ = options.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_PROBES));
    let _ = options.set_tcp_user_timeout(Some(KEEPALIVE_PROBES));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address that neither accepts nor refuses: its queue is full. Holds what fills it.
    fn black_hole() -> (SocketAddr, socket2::Socket, Vec<std::net::TcpStream>) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let listener = listener.unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut filling = Vec::new();
        while let Ok(stream) =
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
        {
            filling.push(stream);
        }
        (address, listener, filling)
    }

    #[test]
    fn an_address_that_swallows_everything_leaves_time_for_the_next() {
        let (dead, _listener, _filling) = black_hole();
        let alive = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = alive.local_addr().map(|address| (address, alive)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let timers = Timers::new();
        let dialler = Dialler::new(timers.clone());
        let reach = |addresses: Vec<SocketAddr>| {
            let (timers, dialler) = (timers.clone(), &dialler);
            runtime.block_on(async move {
                let deadline = Instant::now() + Duration::from_secs(1);
                tokio::select! {
                    reached = dialler.reach(addresses, deadline) => reached.map(|_| Instant::now() < deadline),
                    () = timers.run() => unreachable!(),
                }
            })
        };
        assert_eq!(reach(vec![dead, alive.0]), Ok(true));
        assert_eq!(reach(vec![dead]), Err(UpstreamError::ConnectTimeout));
    }

    #[test]
    fn names_are_looked_up_and_those_without_address_are_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let dialler = Dialler::new(Timers::new());
        let look_up = |name: &str| {
            let endpoint = Endpoint {
                name: name.into(),
                host: EndpointHost::Name(name.into()),
                port: 80,
                tls: None,
                authority: http::HeaderValue::from_static("a"),
            };
            runtime.block_on(dialler.addresses(&endpoint))
        };
        assert!(
            look_up("localhost")
                .unwrap()
                .iter()
                .all(|a| a.ip().is_loopback())
        );
        assert_eq!(look_up("no such name"), Err(UpstreamError::Dns));
        assert_eq!(dialler.lookups.available_permits(), LOOKUPS);
    }
}
