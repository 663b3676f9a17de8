//! Tests of countersign from outside.

#![cfg(test)]

mod scheme;
mod vectors;
