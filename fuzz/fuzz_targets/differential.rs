//! What passes the border of HTTP/1.1 is read by Node's old parser as we read it: method, target, fields, body, message
//! boundary for boundary.

#![no_main]

use std::time::Duration;

use countersign::server::ServerLimits;
use countersign::server::fuzzing::pass;
use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/support/readings.rs"]
mod readings;

const LIMITS: ServerLimits = ServerLimits {
    header_bytes: 16 * 1024,
    header_count: 100,
    tls_handshake: Duration::ZERO,
    request_head: Duration::ZERO,
    keep_alive: Duration::ZERO,
    send_stall: Duration::ZERO,
    drain: Duration::ZERO,
    preserve_header_case: false,
};

fuzz_target!(|bytes: &[u8]| {
    readings::compare(&pass(bytes, usize::MAX, &LIMITS).bytes);
});
