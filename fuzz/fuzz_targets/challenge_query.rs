//! A GET is never forwarded, and answered only for exactly one challenge and, in query or header, a right token.

#![no_main]

use countersign::verify::Verdict;
use countersign_fuzz::{Header, is_harmless, is_valid, judge};
use http::Method;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

fuzz_target!(|input: (u8, &str)| {
    let (choice, query) = input;
    let header = Header::from_byte(choice);
    let verdict = judge(&Method::GET, header, Some(query), b"", true);
    let (challenges, tokens) = (
        values(query, b"challenge"),
        values(query, b"verification-token"),
    );
    match verdict {
        Verdict::Forward(_) => panic!("a GET was forwarded"),
        Verdict::Answer(reply) => {
            let value = reply.into_body();
            assert!(is_harmless(&value), "{value:?}");
            assert_eq!(challenges, [value.into_bytes()]);
            match &tokens[..] {
                [] => assert_eq!(header, Header::Right),
                [token] => {
                    assert!(is_valid(token) && header != Header::Wrong && header != Header::Expired)
                }
                _ => panic!("answered with two tokens"),
            }
        }
        Verdict::Refuse(rejection) => {
            assert_eq!(rejection.challenge.is_some(), !challenges.is_empty());
        }
    }
});

/// Every value of a key, decoded.
fn values(query: &str, key: &[u8]) -> Vec<Vec<u8>> {
    let decode = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, value)) => (decode(name), decode(value)),
        None => (decode(pair), Vec::new()),
    });
    pairs
        .filter(|(name, _)| name == key)
        .map(|(_, value)| value)
        .collect()
}
