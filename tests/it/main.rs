//! Tests of countersign from outside.

#![cfg(test)]

mod forwarding;
mod scheme;
mod scheme_properties;
mod support;
mod vectors;
