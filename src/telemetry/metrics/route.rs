//! What one worker counts of a route.
//!
//! All of it is one block, and two small ones that a reload may exchange: what belongs to the upstream that the route
//! has, and what belongs to each token. A route takes about 2 KiB for each worker.

use std::sync::Arc;
use std::time::Duration;

use super::cell::{BODIES, Counter, DURATIONS, Gauge, Histogram};
use super::codes::Codes;
use super::configured::TokenState;
use super::shape::Shape;

/// Who says to send: `redox` and `other`.
pub(super) const SENDERS: [&str; 2] = ["redox", "other"];

/// The numbers of one route in one worker. Lists are in the order of [`super::Labels`].
pub(super) struct RouteBlock {
    /// By listener and outcome.
    pub(super) requests: Box<[Counter]>,
    pub(super) responses: Box<[Counter]>,
    /// By reason and sender.
    pub(super) rejected: Box<[Counter]>,
    /// By method and result.
    pub(super) challenges: Box<[Counter]>,
    /// By outcome.
    pub(super) durations: Box<[Histogram<14>]>,
    pub(super) upstream_response: Histogram<14>,
    pub(super) bodies: Histogram<9>,
    pub(super) received: Counter,
    pub(super) sent: Counter,
    pub(super) in_flight: Gauge,
    pub(super) last_accepted: Gauge,
}

/// What belongs to a route together with its upstream.
pub(super) struct ExchangeBlock {
    pub(super) responses: Box<[Counter]>,
    pub(super) errors: Box<[Counter]>,
}

/// Uses of one token in one state.
#[derive(Clone)]
pub(super) struct TokenUses {
    pub(super) id: Arc<str>,
    pub(super) state: TokenState,
    pub(super) uses: Arc<Counter>,
}

/// The blocks of a route as they are now.
#[derive(Clone)]
pub(super) struct RouteParts {
    pub(super) block: Arc<RouteBlock>,
    pub(super) upstream: Arc<str>,
    pub(super) exchange: Arc<ExchangeBlock>,
    /// In configured order.
    pub(super) tokens: Vec<TokenUses>,
}

pub(super) fn list<T: Default>(length: usize) -> Box<[T]> {
    std::iter::repeat_with(T::default).take(length).collect()
}

impl RouteBlock {
    pub(super) fn new(shape: &Shape) -> Self {
        let labels = shape.labels;
        let challenges = labels.challenge_methods.len() * labels.challenge_results.len();
        Self {
            requests: list(shape.listeners.len() * labels.outcomes.len()),
            responses: list(labels.codes.len()),
            rejected: list(labels.reasons.len() * SENDERS.len()),
            challenges: list(challenges),
            durations: list(labels.outcomes.len()),
            upstream_response: Histogram::default(),
            bodies: Histogram::default(),
            received: Counter::default(),
            sent: Counter::default(),
            in_flight: Gauge::default(),
            last_accepted: Gauge::default(),
        }
    }
}

impl ExchangeBlock {
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            responses: list(shape.labels.upstream_codes.len()),
            errors: list(shape.labels.upstream_errors.len()),
        }
    }
}

/// The counters of one route in one worker; positions are those of [`super::Labels`]. Not to be shared between threads.
pub struct RouteMetrics {
    shape: Arc<Shape>,
    block: Arc<RouteBlock>,
    exchange: Option<Arc<ExchangeBlock>>,
    tokens: Vec<Arc<Counter>>,
}

impl RouteMetrics {
    pub(super) fn new(shape: &Arc<Shape>, parts: &RouteParts) -> Self {
        let tokens = parts.tokens.iter().map(|token| Arc::clone(&token.uses));
        Self {
            shape: Arc::clone(shape),
            block: Arc::clone(&parts.block),
            exchange: Some(Arc::clone(&parts.exchange)),
            tokens: tokens.collect(),
        }
    }

    pub(super) fn unrouted(shape: &Arc<Shape>, block: &Arc<RouteBlock>) -> Self {
        Self {
            shape: Arc::clone(shape),
            block: Arc::clone(block),
            exchange: None,
            tokens: Vec::new(),
        }
    }

    /// A request on this listener ended this way, and took so long.
    pub fn request(&self, listener: usize, outcome: usize, duration: Duration) {
        let outcomes = self.shape.labels.outcomes.len();
        inc(self.block.requests.get(listener * outcomes + outcome));
        if let Some(histogram) = self.block.durations.get(outcome) {
            histogram.observe_time(&DURATIONS, duration);
        }
    }

    /// A request that has ended brought and took so many bytes of bodies.
    pub fn bytes(&self, received: u64, sent: u64) {
        self.block.received.add(received);
        self.block.sent.add(sent);
    }

    /// A request was forwarded whole, with a body of so many bytes.
    pub fn body(&self, bytes: u64) {
        self.block.bodies.observe(&BODIES, bytes);
    }

    /// An answer with this status was given.
    pub fn response(&self, status: u16) {
        count_status(&self.block.responses, &self.shape.codes, status);
    }

    /// A request was refused; `redox`: it says that it comes from there.
    pub fn rejected(&self, reason: usize, redox: bool) {
        let position = reason
            .checked_mul(SENDERS.len())
            .and_then(|first| self.block.rejected.get(first + usize::from(!redox)));
        inc(position);
    }

    /// A challenge was dealt with.
    pub fn challenge(&self, method: usize, result: usize) {
        let results = self.shape.labels.challenge_results.len();
        inc(self.block.challenges.get(method * results + result));
    }

    /// A token let something through at this time, in seconds since 1970.
    pub fn token_used(&self, token: usize, at: u64) {
        if let Some(uses) = self.tokens.get(token) {
            uses.inc();
        }
        self.block.last_accepted.set(at);
    }

    /// A verified request is in flight from now on.
    pub fn began(&self) {
        self.block.in_flight.inc();
    }

    /// It no longer is.
    pub fn ended(&self) {
        self.block.in_flight.dec();
    }

    /// The upstream answered with this status, so long after it was asked.
    pub fn upstream_response(&self, status: u16, after: Duration) {
        if let Some(exchange) = &self.exchange {
            count_status(&exchange.responses, &self.shape.upstream_codes, status);
        }
        let histogram = &self.block.upstream_response;
        histogram.observe_time(&DURATIONS, after);
    }

    /// An exchange with the upstream failed.
    pub fn upstream_error(&self, kind: usize) {
        let exchange = self.exchange.as_ref();
        inc(exchange.and_then(|exchange| exchange.errors.get(kind)));
    }
}

fn count_status(counters: &[Counter], codes: &Codes, status: u16) {
    let position = codes.position(status);
    inc(position.and_then(|position| counters.get(position)));
}

pub(super) fn inc(counter: Option<&Counter>) {
    if let Some(counter) = counter {
        counter.inc();
    }
}
