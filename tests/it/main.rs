//! Tests of countersign from outside.

#![cfg(test)]
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on is a test that fails"
)]

mod audit;
mod audit_attacks;
mod audit_damage;
mod audit_steps;
mod canary;
mod cli;
mod config;
mod deadlines;
mod differential;
mod documents;
mod drain;
mod floods;
mod forwarding;
mod framing;
mod framing_http2;
mod fuzz_seeds;
mod guessing;
mod healthcheck;
mod house;
mod idle;
mod life;
mod limits;
mod observability;
mod probe;
mod properties;
mod proxy_protocol;
mod reload;
mod replacement;
mod scheme;
mod scheme_properties;
mod sources;
mod status;
mod support;
mod tls;
mod upstream;
mod upstream_care;
mod upstream_faults;
mod vectors;
mod vectors_on_the_wire;
mod verdicts;
