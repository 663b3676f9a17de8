//! Requests as bytes, so that they can be wrong in every way.

use std::fmt::Write as _;

use super::Target;

/// What every request here says of itself.
const AGENT: &str = concat!("countersign-probe/", env!("CARGO_PKG_VERSION"));

/// A request in the making.
pub(super) struct Request<'t> {
    target: &'t Target,
    method: &'static str,
    path: String,
    fields: String,
    body: Option<String>,
    keeps: bool,
}

impl<'t> Request<'t> {
    pub(super) fn new(target: &'t Target, method: &'static str) -> Self {
        Self {
            target,
            method,
            path: target.path().to_owned(),
            fields: String::new(),
            body: None,
            keeps: false,
        }
    }

    /// Another path than the target's.
    pub(super) fn path(mut self, path: String) -> Self {
        self.path = path;
        self
    }

    /// With a query after the path.
    pub(super) fn query(mut self, query: &str) -> Self {
        self.path = format!("{}?{query}", self.path);
        self
    }

    /// One more field line, as it is.
    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.fields, "{name}: {value}\r\n");
        self
    }

    /// A body in JSON, with its length before it.
    pub(super) fn json(self, body: String) -> Self {
        let length = body.len().to_string();
        let mut request = self.field("content-type", "application/json");
        request = request.field("content-length", &length);
        request.body = Some(body);
        request
    }

    /// A body as it is; its framing is up to the fields.
    pub(super) fn body(mut self, body: String) -> Self {
        self.body = Some(body);
        self
    }

    /// The connection stays open.
    pub(super) fn keeps(mut self) -> Self {
        self.keeps = true;
        self
    }

    pub(super) fn bytes(self) -> Vec<u8> {
        let connection = if self.keeps { "keep-alive" } else { "close" };
        let (method, path, fields) = (self.method, self.path, self.fields);
        let host = self.target.authority();
        let body = self.body.unwrap_or_default();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: {AGENT}\r\napplication-name: RedoxEngine\r\n\
             connection: {connection}\r\n{fields}\r\n{body}"
        )
        .into_bytes()
    }
}

/// A text inside a JSON string. Tokens may have quotes and backslashes; nothing else here needs care.
pub(super) fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A text inside a query.
pub(super) fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
