//! The border of HTTP/1.1: a strict reading of every byte before hyper sees it.
//!
//! hyper is lenient where a gateway must not be: bare line feeds, several or odd lengths, codings other than
//! `chunked`, fragments, a missing `Host`. [`guard::Guard`] sits between socket and hyper, follows the framing of
//! every message (RFC 9112) and passes on, unchanged, only what has exactly one reading. It keeps no copy
//! of what arrives in one piece.

mod chunked;
mod guard;
mod head;

pub(super) use guard::Guard;
pub(super) use head::MOST_HEADERS;
