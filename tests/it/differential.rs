//! What we pass on, another parser reads to the same messages: target, fields, body, boundary for boundary.

use countersign::gateway::fuzzing::cross;
use countersign::server::ServerLimits;
use countersign::server::fuzzing::{limits, pass};
use proptest::prelude::*;

use crate::framing::every_request;
use crate::support::readings::compare;

const LIMITS: ServerLimits = limits(16 * 1024, 100);

#[test]
fn node_reads_every_vector_that_passes_as_we_do() {
    let good = b"POST /redox HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    let mut compared = 0;
    for bytes in every_request() {
        for bytes in [
            bytes.clone(),
            [&good[..], &bytes].concat(),
            [&bytes, &good[..]].concat(),
        ] {
            compared += compare(&pass(&bytes, usize::MAX, &LIMITS).bytes);
        }
    }
    println!("{compared} messages read alike");
    assert!(compared > 300, "{compared}");
}

/// Text that is more often almost right than not.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[!-~]{0,20}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..20),
        "(content-length|transfer-encoding|host|connection|te|x-a|content_length|chunked|2|localhost|\\PC)"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// What HTTP/2 could hand over is refused, or becomes a head of HTTP/1.1 that our own border passes, with as many
    /// fields as were written.
    #[test]
    fn what_crosses_from_http2_is_one_head_of_http1(
        path in prop_oneof!["/[a-z%/.;0-9]{0,20}(\\?[!-~]{0,10})?", "[ -~]{0,20}"],
        fields in prop::collection::vec((text(), text()), 0..8),
    ) {
        let mut builder = http::Request::post(format!("https://localhost{path}")).version(http::Version::HTTP_2);
        for (name, value) in &fields {
            let name = http::HeaderName::from_bytes(name);
            let value = http::HeaderValue::from_bytes(value);
            if let (Ok(name), Ok(value)) = (name, value) {
                builder = builder.header(name, value);
            }
        }
        let Ok(request) = builder.body(()) else { return Ok(()) };
        let Some(head) = cross(request.into_parts().0, true) else { return Ok(()) };
        let passed = pass(&head, usize::MAX, &LIMITS);
        prop_assert!(!passed.fault && passed.bytes == head, "{}", head.escape_ascii());
        let ends = head.windows(4).filter(|window| *window == b"\r\n\r\n").count();
        prop_assert_eq!(ends, 1);
    }

    /// One byte of a vector changed, dropped or doubled.
    #[test]
    fn node_reads_what_is_left_of_a_damaged_vector_as_we_do(
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        how in 0..3,
    ) {
        let all = every_request();
        let mut bytes = which.get(&all).clone();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] = byte,
            1 => { bytes.remove(at); }
            _ => bytes.insert(at, byte),
        }
        compare(&pass(&bytes, usize::MAX, &LIMITS).bytes);
    }
}
