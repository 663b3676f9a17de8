//! A PROXY header is read to the byte, however it arrives, and names what stands in it.

#![no_main]

use std::net::{IpAddr, SocketAddr};

use countersign::server::fuzzing::proxy_header;
use libfuzzer_sys::fuzz_target;

/// Signature, command, family and length of version 2, and the most that may follow.
const LONGEST: usize = 16 + 2048;

fuzz_target!(|input: (u8, &[u8])| {
    let (piece, bytes) = input;
    let whole = proxy_header(bytes, usize::MAX);
    assert_eq!(
        whole,
        proxy_header(bytes, usize::from(piece)),
        "depends on how it arrives"
    );
    let Some((named, length)) = whole else { return };
    assert!(length <= LONGEST);
    let header = &bytes[..length];
    assert_eq!(
        proxy_header(header, usize::MAX),
        Some((named, length)),
        "depends on what follows"
    );
    for cut in 0..length {
        assert_eq!(
            proxy_header(&header[..cut], usize::MAX),
            None,
            "{cut} bytes of it are no header"
        );
    }
    if let Some(address) = named {
        assert_eq!(reference(header), Some(address));
    }
});

/// The address by the words of the specification (HAProxy's, sections 2.1 and 2.2), read plainly.
fn reference(header: &[u8]) -> Option<SocketAddr> {
    if header.starts_with(b"PROXY ") {
        let line = std::str::from_utf8(header).ok()?.strip_suffix("\r\n")?;
        let words: Vec<&str> = line.split(' ').collect();
        let [_, family, source, target, port, _] = words[..] else {
            return None;
        };
        let (source, target): (IpAddr, IpAddr) = (source.parse().ok()?, target.parse().ok()?);
        let v4 = family == "TCP4";
        let family = (v4 || family == "TCP6") && source.is_ipv4() == v4 && target.is_ipv4() == v4;
        return family.then(|| port.parse().ok().map(|port| SocketAddr::new(source, port)))?;
    }
    let rest = header.get(16..)?;
    assert_eq!(header[12], 0x21, "only a proxied connection has an address");
    match header[13] {
        0x11 => {
            let source: [u8; 4] = rest.get(..4)?.try_into().ok()?;
            let port = u16::from_be_bytes(rest.get(8..10)?.try_into().ok()?);
            Some(SocketAddr::from((source, port)))
        }
        0x21 => {
            let source: [u8; 16] = rest.get(..16)?.try_into().ok()?;
            let port = u16::from_be_bytes(rest.get(32..34)?.try_into().ok()?);
            Some(SocketAddr::from((source, port)))
        }
        _ => None,
    }
}
