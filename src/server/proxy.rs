//! The PROXY protocol, versions 1 and 2: what a load balancer says of the connection it passes on.
//!
//! Not a byte behind the header is read: the first 15 are in every header of either version, and from there on the
//! header itself says where it ends. Nothing is guessed: whatever does not begin like a header is none.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// `PROXY UNKNOWN\r\n`, the shortest header there is.
const SHORTEST: usize = 15;
/// The specification's bound for a line of version 1, its end included.
const LONGEST_V1: usize = 107;
/// Signature, command, family and length of version 2.
const FIXED_V2: usize = 16;
/// Addresses and extensions of version 2. Load balancers send some hundred bytes; 65535 would be possible.
const LONGEST_REST_V2: usize = 2048;
/// The command of version 2 with which a load balancer speaks for itself, such as in a health check.
const LOCAL: u8 = 0x20;

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// The peer left first.
    Closed,
    /// Something else than a header.
    Malformed,
    /// A header over its cap.
    TooLong,
}

impl HeaderFault {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
        }
    }
}

/// Reads a header and nothing behind it; `None` where it names no address, so that the peer speaks for itself.
///
/// # Errors
/// [`HeaderFault`]; the connection is of no use then.
pub(super) async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> Result<Option<SocketAddr>, HeaderFault> {
    let mut header = Vec::with_capacity(LONGEST_V1);
    while header.len() < SHORTEST {
        more(stream, &mut header, SHORTEST).await?;
        // At once, so that a peer who speaks something else does not wait for the deadline.
        if !begins(&header, SIGNATURE_V1) && !begins(&header, SIGNATURE_V2) {
            return Err(HeaderFault::Malformed);
        }
    }
    if header.starts_with(SIGNATURE_V1) {
        // Byte by byte, because only the line's end tells where what follows begins: once for each connection.
        while !header.ends_with(b"\n") {
            let one_more = header.len() + 1;
            if one_more > LONGEST_V1 {
                return Err(HeaderFault::TooLong);
            }
            more(stream, &mut header, one_more).await?;
        }
    } else {
        fill(stream, &mut header, FIXED_V2).await?;
        let rest = match header.get(FIXED_V2 - 2..) {
            Some([high, low]) => usize::from(u16::from_be_bytes([*high, *low])),
            _ => return Err(HeaderFault::Malformed),
        };
        if rest > LONGEST_REST_V2 {
            return Err(HeaderFault::TooLong);
        }
        fill(stream, &mut header, FIXED_V2 + rest).await?;
    }
    parse(&header)
}

/// What a whole header says.
///
/// # Errors
/// [`HeaderFault::Malformed`].
pub(super) fn parse(header: &[u8]) -> Result<Option<SocketAddr>, HeaderFault> {
    if header.starts_with(SIGNATURE_V1) {
        let rest = header.get(SIGNATURE_V1.len()..).unwrap_or_default();
        let unknown = rest.starts_with(b"UNKNOWN\r") || rest.starts_with(b"UNKNOWN ");
        // The parser takes what Rust takes for a number, and any word that begins with UNKNOWN.
        if rest.contains(&b'+') || (rest.starts_with(b"UNKNOWN") && !unknown) {
            return Err(HeaderFault::Malformed);
        }
    } else if header.get(SIGNATURE_V2.len()) == Some(&LOCAL) && header.starts_with(SIGNATURE_V2) {
        // The rest of it means nothing, not even its family (§2.2).
        return Ok(None);
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (parsed, length) =
        ProxyHeader::parse(header, config).map_err(|_| HeaderFault::Malformed)?;
    if length != header.len() {
        return Err(HeaderFault::Malformed);
    }
    match parsed.proxied_address() {
        None => Ok(None),
        Some(named) if named.protocol == Protocol::Stream => Ok(Some(named.source)),
        Some(_) => Err(HeaderFault::Malformed),
    }
}

/// Whether these bytes, or as many of them as there are, are the start of a signature.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(one, other)| one == other)
}

async fn fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    header: &mut Vec<u8>,
    length: usize,
) -> Result<(), HeaderFault> {
    while header.len() < length {
        more(stream, header, length).await?;
    }
    Ok(())
}

/// Reads what has come, up to this length of the whole.
async fn more<S: AsyncRead + Unpin>(
    stream: &mut S,
    header: &mut Vec<u8>,
    length: usize,
) -> Result<(), HeaderFault> {
    let room = u64::try_from(length.saturating_sub(header.len())).unwrap_or(0);
    match stream.take(room).read_buf(header).await {
        Ok(0) | Err(_) => Err(HeaderFault::Closed),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE_V2, &[command, family], &length, rest].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 1, 0x1f, 0x90, 1, 0xbb];

    fn v6() -> [u8; 36] {
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        v6[15] = 1;
        v6[33] = 7;
        v6
    }

    type Case = (
        &'static str,
        Vec<u8>,
        Result<Option<&'static str>, HeaderFault>,
    );

    #[expect(clippy::too_many_lines, reason = "a table")]
    fn cases() -> Vec<Case> {
        use HeaderFault::{Closed, Malformed, TooLong};
        let line = |text: &str| text.as_bytes().to_vec();
        let named = Ok(Some("192.0.2.1:8080"));
        let tlvs = |length: usize| [&V4[..], &vec![0xee; length]].concat();
        let mut no_length = v2(0x21, 0x11, &V4);
        no_length.truncate(14);
        vec![
            (
                "v1",
                line("PROXY TCP4 192.0.2.1 198.51.100.1 8080 443\r\n"),
                named,
            ),
            (
                "v1 of IPv6",
                line("PROXY TCP6 2001:db8::1 ::1 7 443\r\n"),
                Ok(Some("[2001:db8::1]:7")),
            ),
            ("v1 unknown", line("PROXY UNKNOWN\r\n"), Ok(None)),
            (
                "v1 unknown, more",
                line("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n"),
                Ok(None),
            ),
            (
                "v1 unknown, glued",
                line("PROXY UNKNOWNX\r\n"),
                Err(Malformed),
            ),
            (
                "v1 of the other family",
                line("PROXY TCP4 2001:db8::1 ::1 7 443\r\n"),
                Err(Malformed),
            ),
            (
                "v1 of UDP",
                line("PROXY UDP4 192.0.2.1 198.51.100.1 8080 443\r\n"),
                Err(Malformed),
            ),
            (
                "v1 with a sign",
                line("PROXY TCP4 192.0.2.1 198.51.100.1 +8080 443\r\n"),
                Err(Malformed),
            ),
            (
                "v1 with a large port",
                line("PROXY TCP4 192.0.2.1 198.51.100.1 65536 443\r\n"),
                Err(Malformed),
            ),
            (
                "v1 without ports",
                line("PROXY TCP4 192.0.2.1 198.51.100.1\r\n"),
                Err(Malformed),
            ),
            (
                "v1 with two spaces",
                line("PROXY  TCP4 192.0.2.1 198.51.100.1 1 2\r\n"),
                Err(Malformed),
            ),
            (
                "v1 with more behind",
                line("PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n"),
                Err(Malformed),
            ),
            (
                "v1 with a bare line feed",
                line("PROXY TCP4 192.0.2.1 198.51.100.1 1 2\n"),
                Err(Malformed),
            ),
            (
                "v1 in small letters",
                line("proxy TCP4 192.0.2.1 198.51.100.1 1 2\r\n"),
                Err(Malformed),
            ),
            (
                "v1 of 107 bytes",
                line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(91))),
                Ok(None),
            ),
            (
                "v1 of 108 bytes",
                line(&format!("PROXY UNKNOWN {}\r\n", "x".repeat(92))),
                Err(TooLong),
            ),
            ("v1 cut off", line("PROXY TCP4 192.0.2.1"), Err(Closed)),
            ("v2", v2(0x21, 0x11, &V4), named),
            (
                "v2 of IPv6",
                v2(0x21, 0x21, &v6()),
                Ok(Some("[2001:db8::1]:7")),
            ),
            ("v2 with extensions", v2(0x21, 0x11, &tlvs(300)), named),
            (
                "v2 at its cap",
                v2(0x21, 0x11, &tlvs(LONGEST_REST_V2 - V4.len())),
                named,
            ),
            (
                "v2 over its cap",
                v2(0x21, 0x11, &tlvs(LONGEST_REST_V2 - V4.len() + 1)),
                Err(TooLong),
            ),
            ("v2 for itself", v2(0x20, 0, &[]), Ok(None)),
            (
                "v2 for itself, with an address",
                v2(0x20, 0x11, &V4),
                Ok(None),
            ),
            (
                "v2 for itself, with nonsense",
                v2(0x20, 0xff, &[1, 2, 3]),
                Ok(None),
            ),
            ("v2 without a family", v2(0x21, 0, &[]), Ok(None)),
            ("v2 of a Unix socket", v2(0x21, 0x31, &[0; 216]), Ok(None)),
            ("v2 of UDP", v2(0x21, 0x12, &V4), Err(Malformed)),
            ("v2 of another command", v2(0x22, 0x11, &V4), Err(Malformed)),
            ("v2 of version 1", v2(0x11, 0x11, &V4), Err(Malformed)),
            ("v2 of version 3", v2(0x31, 0x11, &V4), Err(Malformed)),
            ("v2 of another family", v2(0x21, 0x41, &V4), Err(Malformed)),
            (
                "v2 too short for its family",
                v2(0x21, 0x21, &V4),
                Err(Malformed),
            ),
            ("v2 cut off in its length", no_length, Err(Closed)),
            (
                "v2 cut off",
                v2(0x21, 0x11, &V4)[..20].to_vec(),
                Err(Closed),
            ),
            ("TLS", line("\x16\x03\x01\x02"), Err(Malformed)),
            ("HTTP", line("POST /redox HTTP/1.1\r\n"), Err(Malformed)),
            ("nothing", Vec::new(), Err(Closed)),
        ]
    }

    #[tokio::test]
    async fn reads_headers_and_not_a_byte_more() {
        for (name, header, expected) in cases() {
            let expected = expected.map(|named| named.map(|text| text.parse().unwrap()));
            let behind: &[u8] = if expected.is_ok() {
                b"\x16\x03\x01"
            } else {
                b""
            };
            let mut whole: &[u8] = &[&header, behind].concat();
            assert_eq!(read(&mut whole).await, expected, "{name}");
            assert!(expected.is_err() || whole == behind, "{name}");
            // Byte by byte.
            let (mut near, mut far) = tokio::io::duplex(1);
            let bytes = header.clone();
            let sending = tokio::spawn(async move {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut near, &bytes).await;
            });
            assert_eq!(read(&mut far).await, expected, "{name}");
            drop(far);
            sending.await.unwrap();
        }
    }
}
