//! One request, to be sent over either protocol in the same words.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};

use super::{Answer, Connection, Gateway, Http2, TOKEN};

/// How many bytes a chunk or data frame of a body without length has, so that there are several.
const PIECE: usize = 1000;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body's length is announced.
    pub(crate) known_length: bool,
}

impl Message {
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            known_length: true,
        }
    }

    /// A POST to `/redox`.
    pub(crate) fn post(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::new("POST", "/redox")
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn token(self) -> Self {
        self.header("verification-token", TOKEN)
    }

    pub(crate) fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    pub(crate) fn unknown_length(mut self) -> Self {
        self.known_length = false;
        self
    }

    /// The bytes of the request in HTTP/1.1.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{} {} HTTP/1.1\r\nHost: localhost\r\n",
            self.method, self.target
        )
        .into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        if self.known_length {
            if !self.body.is_empty() || self.method == "POST" {
                let line = format!("Content-Length: {}\r\n", self.body.len());
                bytes.extend_from_slice(line.as_bytes());
            }
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&self.body);
            return bytes;
        }
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in self.body.chunks(PIECE) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(&[piece, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// Sends it on this connection; `None` where that ends without an answer. Interim answers are passed over.
    pub(crate) fn over_http1(&self, connection: &mut Connection) -> Option<Answer> {
        connection.send(self.bytes());
        if self.method == "HEAD" {
            return connection.any_head();
        }
        loop {
            let answer = connection.any_answer()?;
            if answer.status >= 200 {
                return Some(answer);
            }
        }
    }

    /// Sends it on this connection; `None` where its stream ends without an answer.
    pub(crate) fn over_http2(&self, connection: &mut Http2) -> Option<Answer> {
        let uri = format!("https://localhost{}", self.target);
        let mut request = http::Request::builder()
            .method(self.method.as_str())
            .uri(uri);
        for (name, value) in &self.headers {
            request = request.header(name, &value[..]);
        }
        let body = if self.known_length {
            Full::new(Bytes::from(self.body.clone())).boxed()
        } else {
            let pieces = self.body.chunks(PIECE).map(Bytes::copy_from_slice);
            Pieces(pieces.collect()).boxed()
        };
        connection.send(request.body(body).unwrap()).ok()
    }

    /// Sends it on a connection of its own.
    pub(crate) fn over(&self, protocol: Protocol, gateway: &Gateway) -> Option<Answer> {
        match protocol {
            Protocol::Http1 => self.over_http1(&mut gateway.connect()),
            Protocol::Http2 => self.over_http2(&mut gateway.connect_http2()),
        }
    }
}

/// What a request travels by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 over TLS.
    Http1,
    /// HTTP/2 over TLS.
    Http2,
}

impl Protocol {
    pub(crate) const BOTH: [Self; 2] = [Self::Http1, Self::Http2];
}

/// A body that does not tell its length.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}
