//! How a sender spelled the names of its header fields, for upstreams that care.

use std::fmt;

use http::HeaderName;
use httparse::{EMPTY_HEADER, Request};

use super::http1::MOST_HEADERS;

/// The names in the head of a request over HTTP/1.1, as they were written and in that order. An extension of the
/// request, where [`super::ServerLimits::preserve_header_case`] asks for it.
#[derive(Clone)]
pub struct Spelling(Vec<Box<[u8]>>);

impl Spelling {
    /// Reads the names in a head that has been checked.
    pub fn read(head: &[u8]) -> Self {
        let mut headers = [EMPTY_HEADER; MOST_HEADERS];
        let mut request = Request::new(&mut headers);
        // What cannot be read has no names, and is no request either.
        let _ = request.parse(head);
        let names = request.headers.iter().map(|header| header.name.as_bytes());
        Self(
            names
                .filter(|name| !name.is_empty())
                .map(Box::from)
                .collect(),
        )
    }

    /// The spellings of one name, in the order of its fields.
    pub fn of(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        let name = name.as_str().as_bytes();
        let names = self.0.iter().map(|written| &**written);
        names.filter(move |written| written.eq_ignore_ascii_case(name))
    }
}

impl fmt::Debug for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} names", self.0.len())
    }
}
