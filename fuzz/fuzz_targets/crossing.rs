//! What HTTP/2 hands over is refused, or becomes exactly one head of HTTP/1.1 that the border passes unchanged.
//!
//! The input is a target, then name and value of each field, one a line; lines end in byte FF, which none of them needs.

#![no_main]

use countersign::gateway::fuzzing::cross;
use countersign::server::ServerLimits;
use countersign::server::fuzzing::{limits, pass};
use http::{HeaderName, HeaderValue, Request, Version};
use libfuzzer_sys::fuzz_target;

const LIMITS: ServerLimits = limits(16 * 1024, 100);

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0xff);
    let target = [b"https://localhost", parts.next().unwrap_or_default()].concat();
    let mut builder = Request::post(&target[..]).version(Version::HTTP_2);
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            builder = builder.header(name, value);
        }
    }
    let Ok(request) = builder.body(()) else {
        return;
    };
    if request.headers().len() > 50 || bytes.len() > 8192 {
        return;
    }
    let Some(head) = cross(request.into_parts().0, true) else {
        return;
    };
    let passed = pass(&head, usize::MAX, &LIMITS);
    assert!(!passed.fault && passed.bytes == head);
    assert_eq!(
        head.windows(4)
            .filter(|window| *window == b"\r\n\r\n")
            .count(),
        1
    );
});
