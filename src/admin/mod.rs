//! The admin listener: metrics, health and status, read-only, on an address of its own.
//!
//! `/healthz` says that the process answers at all. `/readyz` says whether it wants traffic: no longer, from the
//! moment it was told to stop. Neither asks an upstream, because a backend that is down is no reason to take the
//! gateway out of service: it has to tell the sender to wait. An audit trail that cannot be written is one where
//! the configuration says that nothing may happen without it.
//!
//! `/status` and `/status.json` are for people with a browser, and so they are careful whom a browser asks for: see
//! `hosts`. Connections are bounded in number and in life.

mod hosts;
mod scrape;
mod status;
mod thread;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use self::hosts::Hosts;
use self::scrape::ScrapeBody;
pub use self::status::{
    AuditFacts, CertificateFacts, EndpointFacts, Facts, ListenerFacts, Overview, ReloadFacts,
    RouteFacts, Seconds, Status, TokenFacts, UpstreamFacts,
};
pub use self::thread::AdminThread;
use crate::server::Stop;
use crate::telemetry::{AuditState, Metrics};

/// Longest wait for a request, which is the longest an idle connection lives as well.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after a failed accept, so that a lack of descriptors does not make the loop spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections open at once; further ones wait in the kernel's queue. Prometheus, probes and some browsers need a
/// dozen.
pub const CONNECTION_LIMIT: usize = 256;
/// When no more is read of a head that is not whole, and no further piece of an answer made, in bytes. It may have come
/// to twice as much by then. hyper's own 400 KiB would be 100 MiB for all connections together.
const BUFFER: usize = 32 * 1024;
/// How long a connection goes on before it is told to end, so that those who wait get their turn.
const LIFE: Duration = Duration::from_secs(300);

const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the admin listener tells.
#[derive(Clone)]
pub struct Admin {
    /// All counters.
    pub metrics: Metrics,
    /// How far stopping has come.
    pub stop: watch::Receiver<Stop>,
    /// Whether the audit trail can be written, where there is one.
    pub audit: Option<AuditState>,
    /// The status page, where it is served.
    pub page: Option<Arc<Page>>,
}

/// The status page, and the names by which it may be asked for.
pub struct Page {
    status: Status,
    hosts: Hosts,
}

impl Page {
    /// `hosts` are in lower case, without ports; addresses of this machine and `localhost` need not be among them.
    pub fn new(status: Status, hosts: Vec<Box<str>>) -> Self {
        Self {
            status,
            hosts: Hosts::new(hosts),
        }
    }
}

/// Opens the admin socket.
///
/// # Errors
/// When the address cannot be had.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    adopt(std::net::TcpListener::bind(address)?)
}

/// Takes a socket that is open already.
///
/// # Errors
/// When the kernel refuses.
pub fn adopt(listener: std::net::TcpListener) -> io::Result<std::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Admin {
    /// Serves until dropped. Runs inside a tokio runtime with a local task set.
    ///
    /// # Errors
    /// When the runtime cannot take the socket.
    pub async fn serve(self, listener: std::net::TcpListener) -> io::Result<Infallible> {
        let listener = TcpListener::from_std(listener)?;
        if let Some(page) = self.page.clone() {
            tokio::task::spawn_local(async move { page.status.sample().await });
        }
        let room = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        loop {
            // Nobody closes it.
            let place = Arc::clone(&room).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = self.clone().connection(stream);
                    tokio::task::spawn_local(async move {
                        let _place = place;
                        connection.await;
                    });
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot accept admin connections, pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let Ok(own) = stream.local_addr() else {
            return;
        };
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.respond(&request, own.ip());
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = match timeout(LIFE, connection.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                connection.as_mut().graceful_shutdown();
                timeout(PATIENCE, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "admin connection broke off");
        }
    }

    /// The answer, counted.
    fn respond(
        &self,
        request: &Request<Incoming>,
        own: IpAddr,
    ) -> Response<Either<Full<Bytes>, ScrapeBody>> {
        let path = request.uri().path();
        let answer = self.answer(request, own);
        let status = answer.status();
        self.metrics.admin_answered(path, status.as_u16());
        if path != "/metrics" || status != StatusCode::OK {
            return answer.map(Either::Left);
        }
        let stopping = *self.stop.borrow() != Stop::Not;
        self.metrics.state(self.not_ready().is_none(), stopping);
        answer.map(|_| Either::Right(ScrapeBody::new(self.metrics.scrape())))
    }

    /// Why no traffic is wanted, if so.
    fn not_ready(&self) -> Option<&'static str> {
        if self.audit.as_ref().is_some_and(AuditState::refuses) {
            return Some("audit failing\n");
        }
        (*self.stop.borrow() != Stop::Not).then_some("draining\n")
    }

    fn answer(&self, request: &Request<Incoming>, own: IpAddr) -> Response<Full<Bytes>> {
        let method = request.method();
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            // What it says comes while it is read.
            "/metrics" => answer(StatusCode::OK, METRICS_TYPE, Bytes::new()),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.not_ready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            path @ ("/status" | "/status.json") => match &self.page {
                Some(page) => self.status(page, path, request, own),
                None => text(StatusCode::NOT_FOUND, STATUS_OFF),
            },
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }

    fn status(
        &self,
        page: &Page,
        path: &str,
        request: &Request<Incoming>,
        own: IpAddr,
    ) -> Response<Full<Bytes>> {
        if !page.hosts.allow(request.uri(), request.headers(), own) {
            return text(StatusCode::MISDIRECTED_REQUEST, WRONG_HOST);
        }
        let draining = *self.stop.borrow() != Stop::Not;
        if path == "/status" {
            return html(page.status.html(draining));
        }
        match page.status.json(draining) {
            Ok(body) => answer(StatusCode::OK, "application/json", body.into()),
            Err(error) => {
                tracing::error!(%error, "cannot write the status as JSON");
                let what = "cannot write the status as JSON\n";
                text(StatusCode::INTERNAL_SERVER_ERROR, what)
            }
        }
    }
}

const STATUS_OFF: &str = "not found: the status page is not served on this address; `admin.status: true` in the configuration changes that\n";
const WRONG_HOST: &str = "the Host header names neither localhost, nor this address, nor one of `admin.hosts` in the configuration\n";

fn html(page: String) -> Response<Full<Bytes>> {
    let mut response = answer(StatusCode::OK, "text/html; charset=utf-8", page.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, status::content_security_policy());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    answer(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(body.as_bytes()),
    )
}

fn answer(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
