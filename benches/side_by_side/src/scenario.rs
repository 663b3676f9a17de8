//! What is measured: the list of scenarios, as data.

/// The size of an ordinary message; Redox's own examples have 0.4 to 16 kB.
const MESSAGE: usize = 2048;

/// One thing that is measured.
pub(crate) struct Scenario {
    /// As `only=` takes it.
    pub(crate) name: &'static str,
    /// As the table explains it.
    pub(crate) title: &'static str,
    pub(crate) load: Load,
    pub(crate) requests: Requests,
    /// Bytes in each body.
    pub(crate) body: usize,
    pub(crate) size: Size,
}

/// How requests come.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Load {
    /// On connections that stay open, each with one request at a time.
    Closed { connections: usize },
    /// Each on a connection of its own; so many at once.
    Fresh { at_once: usize, offer: Offer },
    /// Over HTTP/2.
    Http2 { connections: usize, streams: usize },
    /// At a fixed rate, whatever the answers do.
    Open { share: f64, connections: usize },
    /// One on each connection, and then nothing.
    Idle { connections: usize },
}

/// What the sender offers in its ClientHello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Offer {
    /// All suites, AES-256 first as OpenSSL and Node have it, and no ticket.
    Full,
    /// Only `TLS_AES_128_GCM_SHA256`, so that nobody can choose; no ticket.
    Aes128,
    /// The ticket of the connection before.
    Resumed,
}

/// Which requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Requests {
    Good,
    Bad,
    /// Good and bad in turn.
    Mixed,
    /// The challenge of the sender, which only countersign answers without a script.
    Challenge,
}

/// How large the configuration is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    /// One route with one token.
    One,
    /// So many routes; requests go to the last one.
    Routes(usize),
    /// So many tokens on the route; requests have the last one.
    Tokens(usize),
}

impl Scenario {
    /// Why only countersign plays in it, if so.
    pub(crate) fn only_countersign(&self) -> Option<&'static str> {
        match (self.requests, self.size) {
            (Requests::Challenge, _) => Some("cannot (needs a script)"),
            (_, Size::Routes(_) | Size::Tokens(_)) => Some("not measured"),
            (Requests::Good | Requests::Bad | Requests::Mixed, Size::One) => None,
        }
    }

    /// Whether it is about memory, and time means nothing.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.load, Load::Idle { .. })
    }
}

const KEPT: Load = Load::Closed { connections: 32 };

const fn fresh(offer: Offer) -> Load {
    Load::Fresh { at_once: 16, offer }
}

const fn row(
    name: &'static str,
    title: &'static str,
    load: Load,
    requests: Requests,
    body: usize,
) -> Scenario {
    Scenario {
        name,
        title,
        load,
        requests,
        body,
        size: Size::One,
    }
}

const fn sized(name: &'static str, title: &'static str, size: Size) -> Scenario {
    Scenario {
        size,
        ..row(name, title, KEPT, Requests::Good, MESSAGE)
    }
}

/// All of them, in the order in which they are measured and shown.
pub(crate) const SCENARIOS: &[Scenario] = &[
    row(
        "keepalive",
        "2 KiB POST on 32 open connections",
        KEPT,
        Requests::Good,
        MESSAGE,
    ),
    row(
        "handshake_full",
        "a new TLS 1.3 connection for each POST, suites in the sender's usual order",
        fresh(Offer::Full),
        Requests::Good,
        MESSAGE,
    ),
    row(
        "handshake_full_aes128",
        "the same, sender offers only AES-128-GCM",
        fresh(Offer::Aes128),
        Requests::Good,
        MESSAGE,
    ),
    row(
        "handshake_resumed",
        "a new TLS 1.3 connection for each POST, resumed by ticket",
        fresh(Offer::Resumed),
        Requests::Good,
        MESSAGE,
    ),
    row(
        "reject_keepalive",
        "wrong token on 32 open connections",
        KEPT,
        Requests::Bad,
        MESSAGE,
    ),
    row(
        "reject_new",
        "wrong token, a new connection each",
        fresh(Offer::Full),
        Requests::Bad,
        MESSAGE,
    ),
    row(
        "mixed",
        "good and wrong tokens in turn on 32 open connections",
        KEPT,
        Requests::Mixed,
        MESSAGE,
    ),
    row(
        "http2",
        "2 KiB POST over HTTP/2, 4 connections with 8 streams each",
        Load::Http2 {
            connections: 4,
            streams: 8,
        },
        Requests::Good,
        MESSAGE,
    ),
    row(
        "body_64k",
        "64 KiB POST on 16 open connections",
        Load::Closed { connections: 16 },
        Requests::Good,
        64 * 1024,
    ),
    row(
        "body_1m",
        "1 MiB POST on 8 open connections",
        Load::Closed { connections: 8 },
        Requests::Good,
        1024 * 1024,
    ),
    row(
        "challenge",
        "challenge by POST on 32 open connections",
        KEPT,
        Requests::Challenge,
        0,
    ),
    row(
        "rate_quarter",
        "fixed rate, a quarter of the best proxy's capacity",
        Load::Open {
            share: 0.25,
            connections: 64,
        },
        Requests::Good,
        MESSAGE,
    ),
    row(
        "rate_half",
        "fixed rate, half of the best proxy's capacity",
        Load::Open {
            share: 0.5,
            connections: 64,
        },
        Requests::Good,
        MESSAGE,
    ),
    row(
        "idle_1000",
        "1,000 idle TLS connections after a POST each",
        Load::Idle { connections: 1000 },
        Requests::Good,
        MESSAGE,
    ),
    row(
        "idle_10000",
        "9,900 idle TLS connections after a POST each",
        // Not 10,000: of 20,000 descriptors countersign keeps half for connections to backends.
        Load::Idle { connections: 9900 },
        Requests::Good,
        MESSAGE,
    ),
    sized("routes_100", "the last of 100 routes", Size::Routes(100)),
    sized(
        "routes_10000",
        "the last of 9,900 routes",
        // Not 10,000: countersign takes no configuration of more than a mebibyte, and a route has 105 bytes.
        Size::Routes(9900),
    ),
    sized(
        "tokens_10",
        "the last of 10 tokens of the route",
        Size::Tokens(10),
    ),
    sized(
        "tokens_1000",
        "the last of 1,000 tokens of the route",
        Size::Tokens(1000),
    ),
];
