//! Tests of countersign from outside.

#![cfg(test)]

mod canary;
mod forwarding;
mod properties;
mod cli;
mod documents;
mod forwarding;
mod fuzz_seeds;
mod house;
mod observability;
mod scheme;
mod scheme_properties;
mod support;
mod tls;
mod vectors;
mod vectors_on_the_wire;
mod verdicts;
