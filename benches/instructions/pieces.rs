//! Pieces of the way of a request, each alone, many times, in a process of their own under callgrind.
//!
//! Counted is only what happens in `counted_calls`: neither the start of the process nor what a piece needs first.

use std::hint::black_box;
use std::path::Path;

use countersign::gateway::fuzzing::cross;
use countersign::route::{Pattern, Table};
use countersign::server::fuzzing::{limits, pass};
use countersign::verify::{
    BodyLength, ChallengePolicy, Head, Redox, ReplyFormat, Scheme, Step, Token, TokenSet, UnixTime,
    Verdict,
};
use http::request::Parts;

use crate::callgrind;
use crate::exchanges::body;
use crate::stage::{Result, TOKEN};

/// Before the name of a piece, where this program is to run it.
pub(crate) const FLAG: &str = "--piece";

/// In no other name of the program, whichever way names are mangled.
const COUNTED: &str = "*counted_calls*";
const NOW: UnixTime = UnixTime(1_800_000_000);
const CHALLENGE_CAP: usize = 4096;

/// A head as Redox sends it.
const FIELDS: [(&str, &str); 9] = [
    ("host", "gateway.example.org"),
    ("user-agent", "Redox/1.0"),
    ("accept", "application/json"),
    ("accept-encoding", "gzip, deflate, br"),
    ("content-type", "application/json"),
    ("content-length", "2048"),
    ("verification-token", TOKEN),
    ("x-request-id", "5f0c2a7e-8d4b-4c1e-9a6f-3b7d2e1c0f9a"),
    ("connection", "keep-alive"),
];

/// One piece.
pub(crate) struct Piece {
    pub(crate) name: &'static str,
    /// How often it is called.
    calls: u64,
    /// How many operations each call is.
    operations: u64,
    /// Prepares, and calls [`play`].
    play: fn(calls: u64, operations: u64) -> Result<()>,
}

pub(crate) const PIECES: [Piece; 7] = [
    Piece {
        name: "verdict, 1 token",
        calls: 1000,
        operations: 1,
        play: |calls, _| verdict(calls, 1, None),
    },
    Piece {
        name: "verdict, 1000 tokens",
        calls: 100,
        operations: 1,
        play: |calls, _| verdict(calls, 1000, None),
    },
    Piece {
        name: "verdict, 1 token, body of 2 KiB",
        calls: 1000,
        operations: 1,
        play: |calls, _| verdict(calls, 1, Some(body())),
    },
    Piece {
        name: "route look-up, 1 route",
        calls: 10_000,
        operations: 1,
        play: |calls, _| look_up(calls, 1),
    },
    Piece {
        name: "route look-up, 10000 routes",
        calls: 10_000,
        operations: 1,
        play: |calls, _| look_up(calls, 10_000),
    },
    Piece {
        name: "head towards the upstream",
        calls: 1000,
        operations: 1,
        play: |calls, _| towards_upstream(calls),
    },
    Piece {
        // Many on one connection, so that what a connection needs does not count.
        name: "request at the border, without its body",
        calls: 20,
        operations: 200,
        play: border,
    },
];

impl Piece {
    /// Instructions for one operation.
    pub(crate) fn count(&self, folder: &Path) -> Result<u64> {
        let out = callgrind::file(folder, self.name, self.calls);
        let ended = callgrind::command(&out)
            .arg("--collect-atstart=no")
            .arg(format!("--toggle-collect={COUNTED}"))
            .arg(std::env::current_exe()?)
            .args([FLAG, self.name])
            .status()?;
        if !ended.success() {
            return Err(format!("{}: {ended}", self.name).into());
        }
        Ok(callgrind::instructions(&out)? / (self.calls * self.operations))
    }
}

/// Runs the piece of this name.
pub(crate) fn run(name: &str) -> Result<()> {
    let piece = PIECES.iter().find(|piece| piece.name == name);
    let piece = piece.ok_or_else(|| format!("no piece {name}"))?;
    (piece.play)(piece.calls, piece.operations)
}

/// What callgrind counts.
#[inline(never)]
fn counted_calls(calls: u64, piece: &mut dyn FnMut()) {
    for _ in 0..calls {
        piece();
    }
}

/// The first call is not counted: it does what is only done once.
fn play(calls: u64, mut piece: impl FnMut()) {
    piece();
    counted_calls(calls, &mut piece);
}

/// The verdict on a good POST; with a body only where it is one that could be a challenge.
fn verdict(calls: u64, tokens: usize, body: Option<Vec<u8>>) -> Result<()> {
    let others = (1..tokens).map(|number| {
        let value = format!("token-{number:08}-0123456789abcdef");
        Token::from_value("other", value.as_bytes(), None)
    });
    let own = Token::from_value("own", TOKEN.as_bytes(), None);
    let tokens = TokenSet::new(others.chain([own]).collect()).map_err(|error| error.to_string())?;
    let challenge = ChallengePolicy::Answer {
        reply: ReplyFormat::Text,
        body_cap: CHALLENGE_CAP,
    };
    let scheme = Scheme::Redox(Redox::new(tokens, challenge, false));
    let parts = head()?;
    let length = body.as_ref().map_or(CHALLENGE_CAP + 1, Vec::len);
    let (mut forwarded, length) = (0, BodyLength::Exact(u64::try_from(length)?));
    play(calls, || {
        let head = Head {
            method: &parts.method,
            query: None,
            headers: &parts.headers,
            body: length,
        };
        let verdict = match (scheme.begin(black_box(&head), NOW), &body) {
            (Step::Decided(verdict), _) => verdict,
            (Step::NeedBody(pending), Some(body)) => pending.finish(black_box(body), NOW),
            (Step::NeedBody(pending), None) => pending.overflow(),
        };
        forwarded += u64::from(matches!(verdict, Verdict::Forward(_)));
    });
    expect(forwarded, calls + 1)
}

/// Every route in turn, so that no single place of the table counts.
fn look_up(calls: u64, routes: usize) -> Result<()> {
    let paths: Vec<String> = (0..routes)
        .map(|number| format!("/redox/{number:05}"))
        .collect();
    let patterns: Vec<Pattern> = paths
        .iter()
        .map(|path| Pattern::parse(None, path))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| error.to_string())?;
    let table = Table::build(&patterns).map_err(|_| "routes that hide each other")?;
    let (mut found, mut next) = (0, paths.iter().cycle());
    play(calls, || {
        let path = next.next().map_or("", String::as_str);
        let route = table.find(Some("gateway.example.org"), black_box(path));
        found += u64::from(route.is_some());
    });
    expect(found, calls + 1)
}

/// Reading, cleaning and writing of a head, and the end of the sender's.
fn towards_upstream(calls: u64) -> Result<()> {
    let mut heads = (0..=calls)
        .map(|_| head())
        .collect::<Result<Vec<Parts>>>()?;
    let mut written = 0;
    play(calls, || {
        let bytes = heads.pop().and_then(|head| cross(head, true));
        written += u64::from(black_box(bytes).is_some());
    });
    expect(written, calls + 1)
}

/// Requests one after the other on one connection.
fn border(calls: u64, requests: u64) -> Result<()> {
    let mut request = b"POST /redox HTTP/1.1\r\n".to_vec();
    for (name, value) in FIELDS {
        // A body costs next to nothing here, and would only make the rest harder to see.
        let value = if name == "content-length" { "2" } else { value };
        request.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n{}");
    let bytes = request.repeat(usize::try_from(requests)?);
    let (limits, mut whole) = (limits(16 * 1024, 100), 0);
    play(calls, || {
        let passed = pass(black_box(&bytes), request.len(), &limits);
        whole += u64::from(!passed.fault && passed.bytes.len() == bytes.len());
    });
    expect(whole, calls + 1)
}

/// A piece that did something else tells nothing.
fn expect(done: u64, expected: u64) -> Result<()> {
    if done == expected {
        Ok(())
    } else {
        Err(format!("{done} of {expected} came out as they should").into())
    }
}

fn head() -> Result<Parts> {
    let mut builder = http::Request::builder().method("POST").uri("/redox");
    for (name, value) in FIELDS {
        builder = builder.header(name, value);
    }
    Ok(builder.body(())?.into_parts().0)
}
