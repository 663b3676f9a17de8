//! The bytes that senders send, made once, and what has to come back.

use std::sync::Arc;

use crate::backend::ANSWER;
use crate::scenario::{Load, Requests, Scenario, Size};

/// The good token: 43 characters, as `countersign token new` makes them.
pub(crate) const TOKEN: &str = "Zq4Yt7Wm1Rk8Nc5Xe2Hb9Lj6Gd3Vs0Pa-Uf_Io7Ty4Q";
/// As long as the good one, and different only at its end: no proxy gets an easy refusal.
const WRONG: &str = "Zq4Yt7Wm1Rk8Nc5Xe2Hb9Lj6Gd3Vs0Pa-Uf_Io7Ty4X";
const CHALLENGE: &str = "6f1d4f0e-3c55-4a8e-9f8a-7d0c2c1f5b11";

/// A request and what it deserves.
pub(crate) struct Request {
    /// For HTTP/1.1: head and body. For HTTP/2: the body alone.
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) status: u16,
    /// What the answer has to be, where that matters.
    pub(crate) answer: Option<&'static [u8]>,
    /// The sender wants no other answer on the connection.
    pub(crate) closes: bool,
    /// Bytes of body that have to come to the backend; nothing may come where this is `None`.
    pub(crate) forwarded: Option<u64>,
}

/// The path that requests go to.
pub(crate) fn path(size: Size) -> String {
    match size {
        Size::Routes(count) => route(count - 1),
        Size::One | Size::Tokens(_) => "/redox".to_owned(),
    }
}

/// The path of one of many routes.
pub(crate) fn route(number: usize) -> String {
    format!("/{number}")
}

/// The requests of a scenario, sent in turn.
pub(crate) fn of(scenario: &Scenario) -> Vec<Request> {
    let closes = matches!(scenario.load, Load::Fresh { .. });
    let path = path(scenario.size);
    let good = || good(&path, closes, scenario.body);
    let bad = || bad(&path, closes, scenario.body);
    match scenario.requests {
        Requests::Good => vec![good()],
        Requests::Bad => vec![bad()],
        Requests::Mixed => vec![good(), bad()],
        Requests::Challenge => vec![challenge(&path)],
    }
}

/// A body of readable bytes, all of the same kind.
pub(crate) fn body(length: usize) -> Vec<u8> {
    let start = br#"{"Meta":{"DataModel":"Results","EventType":"New"},"Data":""#;
    let mut body = start[..start.len().min(length)].to_vec();
    body.resize(length, b'x');
    body
}

fn good(path: &str, closes: bool, length: usize) -> Request {
    Request {
        bytes: post(path, Some(TOKEN), closes, &body(length)),
        status: 200,
        answer: Some(ANSWER),
        closes,
        forwarded: Some(length as u64),
    }
}

fn bad(path: &str, closes: bool, length: usize) -> Request {
    Request {
        bytes: post(path, Some(WRONG), closes, &body(length)),
        status: 401,
        answer: None,
        closes,
        forwarded: None,
    }
}

fn challenge(path: &str) -> Request {
    let body = format!(r#"{{"verification-token":"{TOKEN}","challenge":"{CHALLENGE}"}}"#);
    Request {
        bytes: post(path, None, false, body.as_bytes()),
        status: 200,
        answer: Some(CHALLENGE.as_bytes()),
        closes: false,
        forwarded: None,
    }
}

/// The header fields are those that Redox documents.
fn post(path: &str, token: Option<&str>, closes: bool, body: &[u8]) -> Arc<[u8]> {
    let token = token.map_or_else(String::new, |token| {
        format!("verification-token: {token}\r\n")
    });
    let close = if closes { "Connection: close\r\n" } else { "" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\napplication-name: RedoxEngine\r\n\
         {token}Content-Length: {}\r\n{close}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_token_is_as_long_as_the_good_one() {
        assert_eq!(TOKEN.len(), WRONG.len());
        assert_ne!(TOKEN, WRONG);
    }

    #[test]
    fn a_body_has_its_length() {
        for length in [0, 10, 2048] {
            assert_eq!(body(length).len(), length);
        }
    }
}
