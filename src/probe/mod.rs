//! Plays the sender against a live gateway from outside, well and badly, and tells what came of each.
//!
//! It must be able to judge any gateway, so it knows none: it speaks TLS and HTTP/1.1 of its own and imports nothing
//! of the rooms that serve. Not here: arguments, files and variables (`cli/probe`).
//!
//! What always holds:
//!
//! * What a right gateway would forward is sent only when [`Probe::sample`] is set, and once.
//! * The token goes only to a peer whose certificate is trusted and has the right name. Until then, and for every
//!   connection after, checks that hold the token or anything near it are skipped.
//! * Neither the token, nor a challenge, nor a word that the peer wrote is in a [`Report`]; names out of its
//!   certificate are, and they are public.
//! * Every wait has an end, the whole has one, and an answer is read up to a cap.

mod answer;
mod authority;
mod check;
mod judge;
mod link;
mod old_tls;
mod plan;
mod play;
mod report;
mod request;
mod table;
mod target;
mod tls;
mod token;
mod values;
mod way_in;

use std::time::{Duration, Instant};

use rustls_pki_types::CertificateDer;

pub use report::{Group, Report, Step, Verdict};
pub use target::{Resolve, Target};
pub use token::{Token, Unfit};
pub use values::Seed;

/// How many times [`Probe::timeout`] the whole may take.
const WHOLE: u32 = 6;

/// One probe: whom, with what, and how long.
#[derive(Debug)]
pub struct Probe {
    /// The gateway.
    pub target: Target,
    /// The token that it should accept.
    pub token: Token,
    /// Certificates of the authorities that a public client would trust. Empty only where nothing is to be trusted.
    pub roots: Vec<CertificateDer<'static>>,
    /// The time, in seconds since 1970: certificates are judged by it.
    pub now: u64,
    /// Random, and never used twice: challenges and wrong tokens come from it.
    pub seed: Seed,
    /// Longest wait for the name, for a connection, for a handshake and for an answer; each. The whole takes at
    /// most six times as long.
    pub timeout: Duration,
    /// Whether to send one synthetic message that a right gateway forwards.
    pub sample: bool,
}

/// Runs all checks, in order as far as one needs another, and tells what came of them.
#[must_use]
pub fn run(probe: &Probe) -> Report {
    let begun = Instant::now();
    let limits = link::Limits {
        timeout: probe.timeout,
        end: begun + probe.timeout * WHOLE,
    };
    let mut values = values::Values::new(&probe.seed);
    let way = way_in::explore(probe, limits, &mut values);
    let plan = plan::plan(&probe.target, &probe.token, probe.sample, &mut values);
    let mut steps = way.steps;
    steps.extend(play::play(plan, &probe.token, way.door.as_ref(), limits));
    Report {
        url: probe.target.url().to_owned(),
        address: way.address,
        duration: begun.elapsed(),
        steps,
    }
}
