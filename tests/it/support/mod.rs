//! What the tests are made of: a gateway in this process, a backend that records, a sender that writes bytes.
//!
//! Everything runs on real sockets of the loopback interface, on ports the kernel chose. Every wait has a bound,
//! and none of them is a pause that hopes for the best.

mod backend;
mod exchange;
mod faults;
pub(crate) mod frames;
mod gateway;
mod nobody;
mod program;
pub(crate) mod readings;
mod sender;

pub(crate) use backend::{Backend, Recorded, Reply, Step};
pub(crate) use exchange::{Message, Protocol};
pub(crate) use faults::{End, FAULTS, Fault};
pub(crate) use gateway::{Environment, Gateway, Story, now, text};
pub(crate) use nobody::Nobody;
pub(crate) use program::{Left, Place, Program};
pub(crate) use sender::{Answer, Connection, Http2, http2_post, tls_config};

use std::time::Duration;

/// Longest wait for anything. Only ever reached by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The token of every route in the tests; long enough to be found wherever it does not belong.
pub(crate) const TOKEN: &str = "CANARY-t0ken-6fd1e0c2b7a94d53";
/// A second valid token.
pub(crate) const OLD_TOKEN: &str = "CANARY-0ld-t0ken-55aa0917c3";
/// A challenge value.
pub(crate) const CHALLENGE: &str = "CANARY-challenge-0b7c2e4a";
