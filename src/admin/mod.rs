//! The admin listener: metrics and health, read-only, on an address of its own.
//!
//! `/healthz` says that the process answers at all. `/readyz` says whether it wants traffic: no longer, from the
//! moment it was told to stop. Neither asks an upstream, because a backend that is down is no reason to take the
//! gateway out of service: it has to tell the sender to wait. An audit trail that cannot be written is one where
//! the configuration says that nothing may happen without it.

mod scrape;
mod thread;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::scrape::ScrapeBody;
pub use self::thread::AdminThread;
use crate::server::Stop;
use crate::telemetry::{AuditState, Metrics};

/// Longest wait for a request, which is the longest an idle connection lives as well.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after a failed accept, so that a lack of descriptors does not make the loop spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

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
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::task::spawn_local(self.clone().connection(stream))),
                Err(error) => {
                    tracing::debug!(%error, "cannot accept admin connections, pausing");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.respond(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "admin connection broke off");
        }
    }

    /// The answer, counted.
    fn respond(&self, request: &Request<Incoming>) -> Response<Either<Full<Bytes>, ScrapeBody>> {
        let path = request.uri().path();
        let answer = self.answer(request.method(), path);
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

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if *method != Method::GET && *method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            // What it says comes while it is read.
            "/metrics" => answer(StatusCode::OK, METRICS_TYPE, Bytes::new()),
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.not_ready() {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
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
