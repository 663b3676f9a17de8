//! A body that is a challenge is never forwarded; nothing is forwarded without a right header; and what is
//! answered is the challenge value of a body whose own token is right. serde_json's own tree is the judge.

#![no_main]

use countersign::verify::Verdict;
use countersign_fuzz::{BODY_CAP, Header, is_harmless, is_valid, judge};
use http::Method;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (choice, announced, body) = input;
    let header = Header::from_byte(choice);
    let tree = tree(body);
    match judge(&Method::POST, header, None, body, announced) {
        Verdict::Forward(permit) => {
            assert_eq!(header, Header::Right);
            assert_eq!(permit.token(), 0);
            let challenge = body.len() <= BODY_CAP && tree.as_ref().is_some_and(is_challenge);
            assert!(!challenge, "a challenge was forwarded");
        }
        Verdict::Answer(reply) => {
            assert!(matches!(header, Header::None | Header::Right));
            assert!(body.len() <= BODY_CAP);
            let value = reply.into_body();
            assert!(is_harmless(&value), "{value:?}");
            // The tree gives up on what it cannot hold, such as half a surrogate pair; ours passes over it.
            if let Some(tree) = tree {
                assert!(is_challenge(&tree));
                assert_eq!(tree["challenge"], Value::String(value));
                let token = tree["verification-token"].as_str().expect("a token");
                assert!(is_valid(token.as_bytes()));
            }
        }
        Verdict::Refuse(_) => {
            let message = tree.as_ref().is_none_or(|tree| !is_challenge(tree));
            let refused_message = header == Header::Right && message && tree.is_some();
            assert!(
                !refused_message,
                "a message with the right token was refused"
            );
        }
    }
});

fn tree(body: &[u8]) -> Option<Value> {
    let body = String::from_utf8_lossy(body);
    let body = body.strip_prefix('\u{feff}').unwrap_or(&body);
    serde_json::from_str(body).ok()
}

fn is_challenge(tree: &Value) -> bool {
    let has = |key| tree.get(key).is_some();
    has("verification-token") && has("challenge") && !has("Meta") && !has("resourceType")
}
