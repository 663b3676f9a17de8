//! A backend that does everything wrong, one thing at a time: the sender, the log, the metrics and the backend have to
//! tell the same story, and the next request has to find everything in order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Answer, Backend, End, FAULTS, Fault, Gateway, Message, Protocol, Reply};

/// A body of several chunks.
const BODY: &[u8] = &[b'x'; 2500];

/// The faults in which something waits need a gateway that does not for long.
const SHORT: &str = "timeouts: { response: 2s, connect: 1s }";

fn message(known_length: bool) -> Message {
    let message = Message::post(BODY).token();
    if known_length {
        message
    } else {
        message.unknown_length()
    }
}

/// What the sender got: an answer, or the beginning of one.
fn send(message: &Message, protocol: Protocol, gateway: &Gateway) -> Result<Answer, Vec<u8>> {
    match protocol {
        Protocol::Http2 => message
            .over_http2(&mut gateway.connect_http2())
            .ok_or_else(Vec::new),
        Protocol::Http1 => {
            let mut connection = gateway.connect();
            let message = message.clone().header("connection", "close");
            connection.send(message.bytes());
            let received = connection.rest();
            parse(&received).ok_or(received)
        }
    }
}

/// A whole answer, read strictly; `None` for anything less.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?[9..12].parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: body.to_vec(),
    };
    if answer.value("transfer-encoding").is_some() {
        answer.body = chunks(body)?;
    } else if let Some(length) = answer.value("content-length") {
        let length: usize = length.parse().unwrap();
        if body.len() != length {
            return None;
        }
    } else {
        assert!(status == 204, "no end of its own: {head}");
    }
    Some(answer)
}

fn chunks(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        body = &body[end + 2..];
        whole.extend_from_slice(body.get(..length)?);
        body = body.get(length..)?.strip_prefix(b"\r\n")?;
        if length == 0 {
            assert!(body.is_empty(), "bytes behind an answer");
            return Some(whole);
        }
    }
}

fn play(fault: &'static Fault, protocol: Protocol, known_length: bool) {
    let done = AtomicBool::new(false);
    let behave = move |_: &_| {
        if done.swap(true, Ordering::SeqCst) {
            Reply::Ok("received")
        } else {
            fault.reply()
        }
    };
    let backend = if fault.early {
        Backend::early(behave)
    } else {
        Backend::with(behave)
    };
    let waits = matches!(
        fault.end,
        End::Failed(_, "timeout") | End::Broken("timeout")
    );
    let alone = format!(
        "upstream: {{ url: \"http://{}\", keep_alive: off }}",
        backend.address()
    );
    let route = if fault.ends_behind_the_answer() {
        &alone
    } else {
        ""
    };
    let gateway = Gateway::with(&backend, if waits { SHORT } else { "" }, route);
    let first = send(&message(known_length), protocol, &gateway);
    let second = send(&message(known_length), protocol, &gateway).expect("the next one is fine");
    assert_eq!((second.status, second.text()), (200, "received"));
    let requests = backend.requests();
    if !fault.early {
        assert_eq!(requests.len(), 2, "one delivery for each request");
    }
    for request in &requests[..requests.len().min(1)] {
        assert!(fault.early || request.complaint.is_none(), "{request:?}");
    }
    let story = gateway.finish();
    let (outcome, kind) = match fault.end {
        End::Whole(status, text) => {
            let answer = first.expect("a whole answer");
            assert_eq!((answer.status, answer.text()), (status, text));
            ("forwarded", None)
        }
        End::Failed(status, kind) => {
            let answer = first.expect("an answer of the gateway's own");
            assert_eq!(answer.is_own().status, status);
            ("error", Some(kind))
        }
        End::Broken(kind) => {
            let received = first.expect_err("a broken answer must not look whole");
            if protocol == Protocol::Http1 {
                assert!(received.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
            ("error", Some(kind))
        }
    };
    let reason = kind.map_or(String::new(), |kind| format!("upstream_{kind}"));
    let outcomes = story.outcomes();
    assert_eq!(outcomes, [(outcome, &*reason), ("forwarded", "")]);
    let errors = story.sum("countersign_upstream_errors_total{");
    assert_eq!(errors, f64::from(u8::from(kind.is_some())));
    if let Some(kind) = kind {
        let series = format!("countersign_upstream_errors_total{{kind=\"{kind}\",route=\"redox\",");
        assert_eq!(story.sum(&series), 1.0);
    }
}

fn play_all(protocol: Protocol, known_length: bool) {
    let failed: Vec<&str> = std::thread::scope(|scope| {
        // Side by side, because some of them wait for a timeout.
        let plays = FAULTS.chunks(8).map(|faults| {
            scope.spawn(move || {
                let fails = |fault: &&'static Fault| {
                    let play = || play(fault, protocol, known_length);
                    catch_unwind(AssertUnwindSafe(play)).is_err()
                };
                faults
                    .iter()
                    .filter(fails)
                    .map(|fault| fault.name)
                    .collect::<Vec<_>>()
            })
        });
        let plays: Vec<_> = plays.collect();
        plays
            .into_iter()
            .flat_map(|play| play.join().unwrap())
            .collect()
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_fault_over_http_1_with_a_length() {
    play_all(Protocol::Http1, true);
}

#[test]
fn every_fault_over_http_1_in_chunks() {
    play_all(Protocol::Http1, false);
}

#[test]
fn every_fault_over_http_2_with_a_length() {
    play_all(Protocol::Http2, true);
}

#[test]
fn every_fault_over_http_2_without_one() {
    play_all(Protocol::Http2, false);
}
