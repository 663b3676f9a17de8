//! A path that passes has one reading: decoding it, once or twice, changes neither its segments nor their number.

#![no_main]

use countersign::route::{Pattern, check_path};
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode;

fuzz_target!(|path: &str| {
    let passes = check_path(path).is_ok();
    // A route for a path that no request can have would be a trap.
    if !path.contains('*') && !path.contains(['?', '#']) {
        assert_eq!(Pattern::parse(None, path).is_ok(), passes, "{path:?}");
    }
    if !passes {
        return;
    }
    assert!(path.is_ascii() && path.starts_with('/'));
    let segments = path.split('/').count();
    let once: Vec<u8> = percent_decode(path.as_bytes()).collect();
    let twice: Vec<u8> = percent_decode(&once).collect();
    assert_eq!(
        once, twice,
        "{path:?} means something else when decoded again"
    );
    for decoded in [path.as_bytes(), &once] {
        let parts: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').collect();
        assert_eq!(parts.len(), segments, "{path:?} grows segments");
        for (at, part) in parts.iter().enumerate() {
            assert!(!matches!(*part, b"." | b".."), "{path:?} has a dot segment");
            let inner = at > 0 && at + 1 < parts.len();
            assert!(!inner || !part.is_empty(), "{path:?} has an empty segment");
            let odd = |byte: &u8| *byte < b' ' || matches!(byte, 0x7f | b'\\' | b';');
            assert!(!part.iter().any(odd), "{path:?} hides a delimiter");
        }
    }
});
