//! Tests of countersign from outside.

#![cfg(test)]

mod scheme;
mod scheme_properties;
mod vectors;
