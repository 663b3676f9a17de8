//! The demo's sender: one request, one connection, as Redox has been seen to do it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName};

/// Longest answer that it reads.
const ANSWER_CAP: u64 = 64 * 1024;

/// See the module.
pub(super) struct Sender {
    gateway: SocketAddr,
    tls: Arc<ClientConfig>,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

impl Sender {
    /// A sender that trusts this certificate and no other.
    pub(super) fn new(gateway: SocketAddr, certificate: CertificateDer<'static>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            gateway,
            tls: Arc::new(tls),
        })
    }

    /// Sends a request; `head` is its request line and fields, without `Host` and `Content-Length`.
    pub(super) fn send(
        &self,
        line: &str,
        fields: &str,
        body: &str,
        announced: u64,
    ) -> Result<Answer> {
        let socket = TcpStream::connect(self.gateway)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let session =
            ClientConnection::new(Arc::clone(&self.tls), ServerName::try_from("localhost")?)?;
        let mut stream = StreamOwned::new(session, socket);
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\napplication-name: RedoxEngine\r\n\
             content-type: application/json\r\nconnection: close\r\n{fields}content-length: {announced}\r\n\r\n"
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        stream.flush()?;
        let mut answer = Vec::new();
        // A connection that ends without a TLS goodbye after the answer has still brought the answer.
        let read = stream.take(ANSWER_CAP).read_to_end(&mut answer);
        if answer.is_empty() {
            read?;
        }
        parse(&String::from_utf8_lossy(&answer))
    }
}

fn parse(answer: &str) -> Result<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no whole answer")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        "(chunked)"
    } else {
        body.trim_end()
    };
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}
