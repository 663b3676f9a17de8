//! Who sends: the address a request is taken to come from, and whether it was encrypted on its way there.
//!
//! The other end of the connection is known; what `X-Forwarded-For` says is a claim. Each entry of it was written
//! by the hop to its right, so it is read from the right, and believed as long as its writer is a trusted proxy.
//! The first address that is not one is the client. Whatever cannot be read ends the walk at the hop before it:
//! the nearest one that somebody trusted vouched for, never something that the sender wrote.
//!
//! Not here: removing the fields on the way to the upstream (`headers`).

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use super::headers::{X_FORWARDED_FOR, X_FORWARDED_PROTO};
use crate::server::Peer;

/// Most entries of `X-Forwarded-For` that are looked at; chains of real proxies have two or three.
const HOP_LIMIT: usize = 16;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address; an IPv4 address mapped into IPv6 is an IPv4 address.
    pub(super) address: IpAddr,
    /// Whether it spoke TLS, to us or to the proxy that says so.
    pub(super) tls: bool,
}

impl Client {
    /// The other end of the connection, and nobody else.
    pub(super) fn direct(peer: Peer) -> Self {
        Self {
            address: peer.address.ip().to_canonical(),
            tls: peer.tls,
        }
    }

    /// The client that `peer` speaks for where it is a trusted proxy, else `peer` itself.
    pub(super) fn behind(trusted: &[IpNet], peer: Peer, headers: &HeaderMap) -> Self {
        let direct = Self::direct(peer);
        if !contains(trusted, direct.address) {
            return direct;
        }
        Self {
            address: walk(trusted, direct.address, headers),
            tls: forwarded_tls(headers).unwrap_or(direct.tls),
        }
    }
}

/// Whether one of these networks has this address.
pub(super) fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

fn walk(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    // All lines are one list (RFC 9110 §5.3), whose right end is that of the last line.
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    let mut nearest = peer;
    for entry in entries.take(HOP_LIMIT) {
        let Some(address) = parse(entry) else { break };
        nearest = address;
        if !contains(trusted, address) {
            break;
        }
    }
    nearest
}

/// An address, with a port and in brackets where its writer adds them.
fn parse(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bare = |text: &str| text.parse::<IpAddr>().ok();
    let bracketed = || bare(text.strip_prefix('[')?.strip_suffix(']')?).filter(IpAddr::is_ipv6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = bare(text).or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

/// What the one `X-Forwarded-Proto` says; several contradict each other or come from somebody before the proxy.
fn forwarded_tls(headers: &HeaderMap) -> Option<bool> {
    let mut lines = headers.get_all(X_FORWARDED_PROTO).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let is = |word: &[u8]| line.as_bytes().eq_ignore_ascii_case(word);
    if is(b"https") {
        Some(true)
    } else {
        is(b"http").then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Client {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let peer = Peer {
            listener: 0,
            address: SocketAddr::new(peer.parse().unwrap(), 1),
            socket: SocketAddr::new(peer.parse().unwrap(), 1),
            tls: false,
        };
        Client::behind(&trusted, peer, &map)
    }

    #[test]
    fn nobody_but_a_trusted_proxy_names_a_client() {
        const NAME: &str = "x-forwarded-for";
        let long = format!("192.0.2.66{}", ", 10.0.0.2".repeat(HOP_LIMIT));
        let chain = format!("192.0.2.66{}", ", 10.0.0.2".repeat(HOP_LIMIT - 1));
        let hundred = ["192.0.2.9"; 100].join(",");
        // Peer, lines, client.
        let cases: &[(&str, &[&str], &str)] = &[
            ("192.0.2.1", &["10.0.0.1"], "192.0.2.1"),
            ("192.0.2.1", &["192.0.2.9"], "192.0.2.1"),
            ("11.0.0.1", &["192.0.2.9"], "11.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.9"], "192.0.2.9"),
            ("::ffff:10.0.0.1", &["192.0.2.9"], "192.0.2.9"),
            ("::ffff:192.0.2.1", &["192.0.2.9"], "192.0.2.1"),
            // What stands further left was written by the client itself.
            ("10.0.0.1", &["127.0.0.1, 192.0.2.9"], "192.0.2.9"),
            ("10.0.0.1", &["10.0.0.5,192.0.2.9"], "192.0.2.9"),
            ("10.0.0.1", &["127.0.0.1", "192.0.2.9"], "192.0.2.9"),
            (
                "10.0.0.1",
                &["127.0.0.1,192.0.2.9", "10.0.0.2"],
                "192.0.2.9",
            ),
            (
                "10.0.0.1",
                &["192.0.2.9, 10.0.0.3,\t10.0.0.2 "],
                "192.0.2.9",
            ),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Ports and brackets, as some load balancers write them.
            ("10.0.0.1", &["192.0.2.9:567"], "192.0.2.9"),
            ("10.0.0.1", &["[2001:db8::1]:8"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1, fd12::7"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:192.0.2.9"], "192.0.2.9"),
            ("10.0.0.1", &["192.0.2.9, ::ffff:10.0.0.2"], "192.0.2.9"),
            // What cannot be read ends the walk at the hop before it.
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.9,"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.9", ""], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.9, _hidden, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["192.0.2.9 192.0.2.8"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.9:99999"], "10.0.0.1"),
            ("10.0.0.1", &["192.0.2.09"], "10.0.0.1"),
            ("10.0.0.1", &["[192.0.2.9]"], "10.0.0.1"),
            ("10.0.0.1", &["\"192.0.2.9\""], "10.0.0.1"),
            ("10.0.0.1", &["3232235777"], "10.0.0.1"),
            ("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1"),
            // The walk has an end.
            ("10.0.0.1", &[&chain], "192.0.2.66"),
            ("10.0.0.1", &[&long], "10.0.0.2"),
            ("10.0.0.1", &[&hundred], "192.0.2.9"),
        ];
        for (peer, lines, expected) in cases {
            let headers: Vec<_> = lines.iter().map(|line| (NAME, *line)).collect();
            let found = client(peer, &headers).address;
            assert_eq!(found.to_string(), *expected, "{peer} {lines:?}");
        }
        let twin = client("10.0.0.1", &[("x_forwarded_for", "192.0.2.9")]);
        assert_eq!(twin.address.to_string(), "10.0.0.1");
    }

    #[test]
    fn only_one_clear_word_of_a_trusted_proxy_says_tls() {
        let cases: &[(&str, &[&str], bool)] = &[
            ("10.0.0.1", &["https"], true),
            ("10.0.0.1", &["HTTPS"], true),
            ("10.0.0.1", &["http"], false),
            ("10.0.0.1", &[], false),
            ("10.0.0.1", &["https", "https"], false),
            ("10.0.0.1", &["https,http"], false),
            ("10.0.0.1", &["wss"], false),
            ("192.0.2.1", &["https"], false),
        ];
        for (peer, lines, expected) in cases {
            let headers: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-proto", *line))
                .collect();
            assert_eq!(client(peer, &headers).tls, *expected, "{peer} {lines:?}");
        }
    }

    /// What the sender writes in front of what the proxy adds, in whatever spelling, changes nothing.
    #[test]
    fn no_spelling_of_a_sender_outdoes_the_proxy() {
        use proptest::prelude::*;
        let piece = prop_oneof![
            Just("10.0.0.7"),
            Just("fd00::1"),
            Just("192.0.2.66"),
            Just("[2001:db8::66]:443"),
            Just("::ffff:10.0.0.9"),
            Just("unknown"),
            Just(","),
            Just(" "),
            Just("\t"),
            Just("\""),
            Just(";"),
            Just("%00"),
            Just("10.0.0.7:"),
            Just("0x0a.1"),
        ];
        let line = proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat());
        let lines = proptest::collection::vec(line, 0..4);
        let real = prop_oneof![
            Just("203.0.113.5"),
            Just("2001:db8::5"),
            Just("172.16.0.1:99")
        ];
        let spoof = (lines, real, any::<bool>(), 0..3_usize);
        proptest!(|((mut lines, real, same_line, hops) in spoof)| {
            match lines.last_mut().filter(|_| same_line) {
                // As nginx and HAProxy add it, and as load balancers of the clouds do.
                Some(last) => { last.push_str(", "); last.push_str(real); }
                None => lines.push(real.to_owned()),
            }
            for _ in 0..hops {
                lines.push("10.1.1.1".to_owned());
            }
            let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", line.as_str())).collect();
            let expected = parse(real.as_bytes()).unwrap();
            prop_assert_eq!(client("10.0.0.1", &headers).address, expected);
        });
    }
}
