//! Connections to the gateway, from any address of this machine, and ordinary requests on them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::site::{Site, TOKEN};
use super::{Gateway, Result};

/// Where good senders come from.
pub(crate) const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The version of HTTP that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alpn {
    Http1,
    Http2,
}

pub(crate) type Http1 = http1::SendRequest<Full<Bytes>>;
pub(crate) type Http2 = http2::SendRequest<Full<Bytes>>;

/// A gateway, seen by its clients. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    http1: TlsConnector,
    http2: TlsConnector,
}

impl Target {
    pub(crate) fn new(site: &Site, gateway: &Gateway) -> Result<Self> {
        Self::at(site, gateway.address)
    }

    pub(crate) fn at(site: &Site, address: SocketAddr) -> Result<Self> {
        let connector = |protocol: &str| -> Result<TlsConnector> {
            let mut config = client_config(&site.root)?;
            config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            address,
            http1: connector("http/1.1")?,
            http2: connector("h2")?,
        })
    }

    /// Whether a new connection may resume the session of an earlier one, from here on.
    pub(crate) fn resuming(mut self, may: bool) -> Self {
        for connector in [&mut self.http1, &mut self.http2] {
            let mut config = ClientConfig::clone(connector.config());
            config.resumption = if may {
                Resumption::default()
            } else {
                Resumption::disabled()
            };
            *connector = TlsConnector::from(Arc::new(config));
        }
        self
    }

    pub(crate) async fn tcp(&self, source: Ipv4Addr) -> Result<TcpStream> {
        self.tcp_with(source, None).await
    }

    /// With a receive buffer of this many bytes.
    pub(crate) async fn tcp_with(
        &self,
        source: Ipv4Addr,
        receive: Option<u32>,
    ) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.set_nodelay(true)?;
        if source != HOME {
            socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        }
        Ok(socket.connect(self.address).await?)
    }

    pub(crate) async fn tls(&self, source: Ipv4Addr, alpn: Alpn) -> Result<TlsStream<TcpStream>> {
        let stream = self.tcp(source).await?;
        self.handshake(stream, alpn).await
    }

    pub(crate) async fn handshake(
        &self,
        stream: TcpStream,
        alpn: Alpn,
    ) -> Result<TlsStream<TcpStream>> {
        let connector = match alpn {
            Alpn::Http1 => &self.http1,
            Alpn::Http2 => &self.http2,
        };
        Ok(connector
            .connect(ServerName::try_from("localhost")?, stream)
            .await?)
    }

    pub(crate) async fn http1(&self, source: Ipv4Addr) -> Result<Http1> {
        let stream = self.tls(source, Alpn::Http1).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its end shows in the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    pub(crate) async fn http2(&self, source: Ipv4Addr) -> Result<Http2> {
        let stream = self.tls(source, Alpn::Http2).await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }
}

fn client_config(root: &CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A request with this token.
pub(crate) fn post(alpn: Alpn, path: &str, token: &str, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = http::Method::POST;
    let json = http::HeaderValue::from_static("application/json");
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, json);
    if let Ok(token) = http::HeaderValue::from_str(token) {
        request.headers_mut().insert("verification-token", token);
    }
    // HTTP/2 has the host in the target, HTTP/1.1 in a field.
    let target = match alpn {
        Alpn::Http1 => {
            let host = http::HeaderValue::from_static("localhost");
            request.headers_mut().insert(http::header::HOST, host);
            path.to_owned()
        }
        Alpn::Http2 => format!("https://localhost{path}"),
    };
    if let Ok(target) = target.parse() {
        *request.uri_mut() = target;
    }
    request
}

/// A good message with a number of its own.
pub(crate) fn message(alpn: Alpn, path: &str, number: u64, length: usize) -> Request<Full<Bytes>> {
    let mut body = format!("{{\"Meta\":{{\"CANARY\":{number}}},\"filling\":\"").into_bytes();
    body.resize(length.max(body.len()), b'.');
    body.extend_from_slice(b"\"}");
    let mut request = post(alpn, path, TOKEN, body.into());
    request
        .headers_mut()
        .insert("x-message-number", number.into());
    request
}

/// Status and body of an answer that has come whole.
pub(crate) async fn exchange(response: Response<Incoming>) -> Result<(u16, Bytes)> {
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes()))
}
