//! A greeting in TLS 1.1, to see whether anybody answers it.
//!
//! rustls speaks nothing that old, and no more than the first bytes of the answer are needed, so they are written
//! and read here. No key is agreed on, and nothing is sent after the greeting.

/// TLS 1.1 on the wire.
const TLS_1_1: [u8; 2] = [3, 2];
/// ECDHE and RSA with AES-CBC, and 3DES: what servers of that time had.
const SUITES: [u8; 14] = [
    0xc0, 0x14, 0xc0, 0x13, 0xc0, 0x0a, 0xc0, 0x09, 0x00, 0x35, 0x00, 0x2f, 0x00, 0x0a,
];
/// P-256, P-384, P-521.
const CURVES: [u8; 6] = [0, 23, 0, 24, 0, 25];
/// Bytes of an answer that tell its version: record head, message head, version.
const TELLING: usize = 11;
/// Bytes of an answer that are looked at, at most.
const ENOUGH: usize = 256;

/// The greeting; `name` is left out for hosts that are addresses.
pub(super) fn hello(name: Option<&str>, random: &[u8; 32]) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(name) = name {
        // RFC 6066 §3: a list with one entry of type host_name.
        let entry = [&[0][..], &sized(name.as_bytes())].concat();
        extensions.extend(extension(0, &sized(&entry)));
    }
    extensions.extend(extension(10, &sized(&CURVES)));
    extensions.extend(extension(11, &[1, 0]));
    let body = [
        &TLS_1_1[..],
        random,
        &[0],
        &sized(&SUITES),
        &[1, 0],
        &sized(&extensions),
    ]
    .concat();
    let message = [&[1, 0][..], &sized(&body)].concat();
    // RFC 5246 appendix E.1: the record of a first greeting says TLS 1.0.
    [&[22, 3, 1][..], &sized(&message)].concat()
}

/// Whether the beginning of an answer is a `ServerHello` in TLS 1.1 or older.
pub(super) fn is_agreed(answer: &[u8]) -> bool {
    match after_warnings(answer) {
        [22, 3, _, _, _, 2, _, _, _, 3, version, ..] => *version <= 2,
        _ => false,
    }
}

/// Whether no more of an answer has to be read to know that.
pub(super) fn is_telling(answer: &[u8]) -> bool {
    after_warnings(answer).len() >= TELLING || answer.len() >= ENOUGH
}

/// A server may warn that it does not know the name (RFC 6066 §3), and go on.
fn after_warnings(mut answer: &[u8]) -> &[u8] {
    while let [21, 3, _, 0, 2, 1, _, rest @ ..] = answer {
        answer = rest;
    }
    answer
}

fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &sized(body)].concat()
}

/// With its length before it, in two bytes. Nothing here is longer than a host name.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_is_one_that_is_understood() {
        let hello = hello(Some("ehr.example.org"), &[7; 32]);
        // Read by a parser that is not ours; a greeting it could not read would be another error.
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut &hello[..]).unwrap();
        match acceptor.accept() {
            Ok(Some(accepted)) => assert_eq!(
                accepted.client_hello().server_name(),
                Some("ehr.example.org")
            ),
            Ok(None) => panic!("the greeting is not whole"),
            Err((error, _)) => assert!(
                matches!(error, rustls::Error::PeerIncompatible(_)),
                "{error:?}"
            ),
        }
    }

    #[test]
    fn only_an_old_hello_is_agreement() {
        let answer = |record: u8, message: u8, version: u8| {
            [record, 3, 1, 0, 80, message, 0, 0, 76, 3, version]
        };
        assert!(is_agreed(&answer(22, 2, 2)));
        assert!(is_agreed(&answer(22, 2, 1)));
        assert!(!is_agreed(&answer(22, 2, 3)));
        assert!(!is_agreed(&answer(21, 2, 2)));
        assert!(!is_agreed(&answer(22, 11, 2)));
        assert!(!is_agreed(&[21, 3, 2, 0, 2, 2, 70]));
        assert!(!is_agreed(b"HTTP/1.1 400 Bad Request\r\n"));
        // A warning that it does not know the name, and then it agrees.
        let warning = [21, 3, 2, 0, 2, 1, 112];
        let warned = [&warning[..], &answer(22, 2, 2)].concat();
        assert!(is_agreed(&warned) && is_telling(&warned));
        assert!(!is_telling(&warned[..11]));
        assert!(is_telling(&warning.repeat(ENOUGH)));
        assert!(!is_agreed(&[]));
    }
}
