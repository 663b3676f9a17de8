//! Seeds for the fuzz targets: the vectors, in the form in which each target reads its input.
//!
//! Written to the folder that `COUNTERSIGN_SEEDS` names, as `.ci/run` does before it fuzzes; without it to a folder
//! that goes again, so that a vector which makes no seed shows early.

use std::fs;
use std::path::PathBuf;

use http::Method;

use crate::vectors::{self, Length, Vector};

/// Headers of the PROXY protocol, of both versions.
const PROXY_HEADERS: [&[u8]; 4] = [
    b"PROXY TCP4 192.0.2.1 198.51.100.1 8080 443\r\n",
    b"PROXY TCP6 2001:db8::1 ::1 7 443\r\nPOST",
    b"PROXY UNKNOWN\r\n",
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\x1f\x90\x01\xbb",
];

#[test]
fn every_target_gets_its_seeds() {
    let scratch = tempfile::tempdir().unwrap();
    let wanted = std::env::var_os("COUNTERSIGN_SEEDS").map(PathBuf::from);
    let corpus = wanted.unwrap_or_else(|| scratch.path().to_owned());
    let seed = |target: &str, name: &str, parts: &[&[u8]]| {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), parts.concat()).unwrap();
    };
    for (name, vector) in vectors::all() {
        let body = vector.body_bytes();
        // Longer ones are slow to mutate and say nothing more.
        if body.len() > 8192 {
            continue;
        }
        for (choice, header) in ["none", "right", "wrong", "expired"].iter().enumerate() {
            let choice = [u8::try_from(choice).unwrap()];
            let seed_name = format!("{name}-{header}");
            if vector.method() == Method::POST {
                let announced = [u8::from(vector.request.length == Length::Exact)];
                seed("challenge_body", &seed_name, &[&choice, &announced, &body]);
            } else if let Some(query) = &vector.request.query {
                seed("challenge_query", &seed_name, &[&choice, query.as_bytes()]);
            }
        }
        seed("border", &name, &[&[7], &on_the_wire(&vector, &body)]);
    }
    for (number, bytes) in crate::framing::every_request().iter().enumerate() {
        seed("border", &format!("http1-{number}"), &[&[7], bytes]);
        seed("differential", &number.to_string(), &[bytes]);
    }
    for (number, head) in crate::framing_http2::every_head().iter().enumerate() {
        seed("crossing", &number.to_string(), &[head]);
    }
    for (number, path) in [
        "/",
        "/redox",
        "/fhir/R4/Patient/1",
        "/caf%C3%A9",
        "/a%20b/",
        "/%2e%2e/a",
        "/a//b",
    ]
    .iter()
    .enumerate()
    {
        seed("path", &number.to_string(), &[path.as_bytes()]);
    }
    for (number, header) in PROXY_HEADERS.iter().enumerate() {
        seed("proxy_header", &number.to_string(), &[&[3], header]);
    }
    for (name, text) in crate::documents::configurations() {
        seed("config_text", &name, &[text.as_bytes()]);
    }
    for (number, damage) in crate::audit_steps::all().iter().enumerate() {
        let steps = damage.steps.as_flattened();
        seed("audit_trail", &number.to_string(), &[steps]);
    }
    for target in [
        "audit_trail",
        "border",
        "challenge_body",
        "challenge_query",
        "config_text",
        "crossing",
        "differential",
        "path",
        "proxy_header",
    ] {
        assert!(
            fs::read_dir(corpus.join(target)).unwrap().count() > 2,
            "{target}"
        );
    }
}

/// The request as HTTP/1.1.
fn on_the_wire(vector: &Vector, body: &[u8]) -> Vec<u8> {
    let query = vector.request.query.as_ref();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let mut bytes =
        format!("{} /redox{query} HTTP/1.1\r\nHost: a\r\n", vector.method()).into_bytes();
    for (name, value) in vector.header_lines() {
        bytes.extend([name.as_bytes(), b": ", &value, b"\r\n"].concat());
    }
    match vector.request.length {
        Length::Exact => {
            bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).into_bytes());
            bytes.extend(body);
        }
        Length::Unknown => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(16) {
                bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                bytes.extend([chunk, b"\r\n"].concat());
            }
            bytes.extend(b"0\r\n\r\n");
        }
    }
    bytes
}
