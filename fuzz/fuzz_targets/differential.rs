//! What passes the border of HTTP/1.1 is read by Node's old parser as we read it: method, target, fields, body, message
//! boundary for boundary.

#![no_main]

use countersign::server::ServerLimits;
use countersign::server::fuzzing::{limits, pass};
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/support/readings.rs"]
mod readings;

const LIMITS: ServerLimits = limits(16 * 1024, 100);

fuzz_target!(|bytes: &[u8]| {
    readings::compare(&pass(bytes, usize::MAX, &LIMITS).bytes);
});
