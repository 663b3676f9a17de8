//! The sender's side: literal bytes out, literal bytes back, over TLS or not; and an ordinary HTTP/2 client.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// Fields that an answer of the gateway's own may have. Anything else would be news to a sender.
const OWN_FIELDS: [&str; 11] = [
    "content-type",
    "content-length",
    "cache-control",
    "x-content-type-options",
    "x-request-id",
    "date",
    "connection",
    "allow",
    "retry-after",
    "www-authenticate",
    "transfer-encoding",
];

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Checks what holds for every answer of the gateway's own.
    pub(crate) fn is_own(&self) -> &Self {
        for (name, _) in &self.headers {
            assert!(
                OWN_FIELDS.contains(&&*name.to_ascii_lowercase()),
                "{name} in {self:?}"
            );
        }
        assert_eq!(self.value("cache-control"), Some("no-store"));
        assert_eq!(self.value("x-content-type-options"), Some("nosniff"));
        assert_eq!(
            self.value("x-request-id").map(str::len),
            Some(24),
            "{self:?}"
        );
        assert!(!(300..400).contains(&self.status));
        self
    }
}

trait Stream: Read + Write {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// TLS that reads what has come even where nothing can be written any more, as a client does that was refused in
/// the middle of its body.
struct Tls(StreamOwned<ClientConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let StreamOwned { conn, sock } = &mut self.0;
        loop {
            match conn.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => conn.read_tls(sock)?,
                end => return end,
            };
            conn.process_new_packets().map_err(std::io::Error::other)?;
        }
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Stream for Tls {
    fn socket(&self) -> &TcpStream {
        &self.0.sock
    }
}

/// A connection that says what it is told to, byte for byte.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    read: Vec<u8>,
    reset: bool,
}

impl Connection {
    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self {
            stream: Box::new(socket(address)),
            read: Vec::new(),
            reset: false,
        }
    }

    /// From this address of the loopback network.
    pub(crate) fn plain_from(source: &str, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let source = SocketAddr::new(source.parse().unwrap(), 0);
        socket.bind(&source.into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Self {
            stream: Box::new(bounded(socket.into())),
            read: Vec::new(),
            reset: false,
        }
    }

    pub(crate) fn tls(address: SocketAddr) -> Self {
        Self::tls_with(address, &tls_config(&[b"http/1.1"]), "localhost")
    }

    pub(crate) fn tls_with(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut socket = socket(address);
        let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
        session.complete_io(&mut socket).unwrap();
        Self {
            stream: Box::new(Tls(StreamOwned::new(session, socket))),
            read: Vec::new(),
            reset: false,
        }
    }

    /// Says this first, then speaks TLS or not: the first bytes of TLS come in the same segment.
    pub(crate) fn behind(address: SocketAddr, first: &[u8], tls: bool) -> std::io::Result<Self> {
        let mut socket = socket(address);
        let mut bytes = first.to_vec();
        let stream: Box<dyn Stream> = if tls {
            let name = ServerName::try_from("localhost").unwrap();
            let mut session = ClientConnection::new(tls_config(&[b"http/1.1"]), name).unwrap();
            session.write_tls(&mut bytes)?;
            socket.write_all(&bytes)?;
            session.complete_io(&mut socket)?;
            Box::new(Tls(StreamOwned::new(session, socket)))
        } else {
            socket.write_all(&bytes)?;
            Box::new(socket)
        };
        Ok(Self {
            stream,
            read: Vec::new(),
            reset: false,
        })
    }

    /// Sends bytes. A peer that has stopped reading is no failure: its answer tells why.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self
            .stream
            .write_all(bytes.as_ref())
            .and_then(|()| self.stream.flush());
        self
    }

    /// Sends a POST to `/redox` with these header lines and this body, with its length.
    pub(crate) fn post(&mut self, headers: &str, body: &[u8]) -> &mut Self {
        let length = body.len();
        let head = format!(
            "POST /redox HTTP/1.1\r\nHost: ehr.example.org\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        self.send([head.as_bytes(), body].concat())
    }

    /// Ends our side of the connection, not the other.
    pub(crate) fn finish_sending(&mut self) -> &mut Self {
        self.stream
            .socket()
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        self
    }

    /// Sets the connection back to the other side without a word.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(self.stream.socket())
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }

    /// Reads one answer; interim ones are passed over.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            let answer = self
                .any_answer()
                .expect("an answer, not the end of the connection");
            if answer.status >= 200 {
                return answer;
            }
        }
    }

    /// Reads one answer, interim or not; `None` at the end of the connection.
    pub(crate) fn any_answer(&mut self) -> Option<Answer> {
        let mut answer = self.any_head()?;
        answer.body = self.body(&answer);
        Some(answer)
    }

    /// Reads one answer without its body, as one to `HEAD` is; `None` at the end of the connection.
    pub(crate) fn any_head(&mut self) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self
                .read
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break self.read.drain(..end + 4).collect::<Vec<u8>>();
            }
            if self.fill() == 0 {
                assert!(
                    self.read.is_empty(),
                    "half a head: {}",
                    self.read.escape_ascii()
                );
                return None;
            }
        };
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status_line = lines.next().unwrap();
        assert!(status_line.starts_with("HTTP/1."), "{status_line}");
        let status = status_line[9..12].parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap_or((line, "")));
        let headers = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Some(Answer {
            status,
            headers,
            body: Vec::new(),
        })
    }

    fn body(&mut self, answer: &Answer) -> Vec<u8> {
        if answer.status < 200 || answer.status == 204 || answer.status == 304 {
            return Vec::new();
        }
        if answer.value("transfer-encoding").is_some() {
            return self.chunks();
        }
        match answer.value("content-length") {
            Some(length) => self.exactly(length.parse().unwrap()),
            None => self.rest(),
        }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(end) = self.read.windows(2).position(|window| window == b"\r\n") {
                    break end;
                }
                assert_ne!(self.fill(), 0, "chunked body broke off");
            };
            let line: Vec<u8> = self.read.drain(..end + 2).collect();
            let length =
                usize::from_str_radix(std::str::from_utf8(&line[..end]).unwrap(), 16).unwrap();
            let chunk = self.exactly(length + 2);
            if length == 0 {
                return body;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }

    fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.read.len() < length {
            assert_ne!(
                self.fill(),
                0,
                "body broke off at {} of {length}",
                self.read.len()
            );
        }
        self.read.drain(..length).collect()
    }

    /// Everything until the other side ends the connection, in whatever way it does.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        while self.fill() > 0 {}
        std::mem::take(&mut self.read)
    }

    /// Reads this many bytes; `None` where the connection ends before.
    pub(crate) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.read.len() < length {
            if self.fill() == 0 {
                return None;
            }
        }
        Some(self.read.drain(..length).collect())
    }

    /// Whether the other side has reset the connection, as far as reading has shown.
    pub(crate) fn was_reset(&self) -> bool {
        self.reset
    }

    /// Whether the other side has ended the connection; waits for it to do so or to say something.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.read.is_empty() && self.fill() == 0
    }

    fn fill(&mut self) -> usize {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.read.extend_from_slice(&bytes[..count]);
                count
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
                ) =>
            {
                self.reset |= error.kind() == ErrorKind::ConnectionReset;
                0
            }
            Err(error) => panic!("nothing came: {error}"),
        }
    }
}

fn socket(address: SocketAddr) -> TcpStream {
    bounded(TcpStream::connect(address).unwrap())
}

/// No wait on it is longer than [`PATIENCE`].
fn bounded(socket: TcpStream) -> TcpStream {
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A client that takes any certificate: what the gateway presents is tested elsewhere.
pub(crate) fn tls_config(protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// An ordinary HTTP/2 client.
pub(crate) struct Http2 {
    runtime: tokio::runtime::Runtime,
    sender: hyper::client::conn::http2::SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
}

impl Http2 {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let sender = runtime.block_on(async {
            let socket = tokio::net::TcpStream::connect(address).await.unwrap();
            socket.set_nodelay(true).unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let connector = tokio_rustls::TlsConnector::from(tls_config(&[b"h2"]));
            let stream = connector.connect(name, socket).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let handshake =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// Sends a request whole and reads its answer whole.
    pub(crate) fn request(
        &mut self,
        request: http::Request<Vec<u8>>,
    ) -> Result<Answer, hyper::Error> {
        self.send(request.map(|body| Full::new(Bytes::from(body)).boxed()))
    }

    /// The same with any body.
    pub(crate) fn send(
        &mut self,
        request: http::Request<BoxBody<Bytes, std::convert::Infallible>>,
    ) -> Result<Answer, hyper::Error> {
        self.runtime.block_on(async {
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes().to_vec();
            let headers = head.headers.iter();
            let headers =
                headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
            Ok(Answer {
                status: head.status.as_u16(),
                headers: headers.collect(),
                body,
            })
        })
    }
}

/// A POST to `/redox` over HTTP/2.
pub(crate) fn http2_post(headers: &[(&str, &str)], body: &[u8]) -> http::Request<Vec<u8>> {
    let mut request = http::Request::post("https://localhost/redox");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.to_vec()).unwrap()
}
