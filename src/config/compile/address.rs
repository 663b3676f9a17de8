//! Addresses: reading them, and which of them are public or the same.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::context::Context;

/// An address to listen on.
pub(super) fn parse(context: &mut Context<'_>, path: &str, text: &str) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let found = format!("the address {}", context.shown(path));
    let help = match text.rsplit_once(':') {
        Some(("", port)) if port.parse::<u16>().is_ok() => {
            format!("write 0.0.0.0:{port} for every address of this machine")
        }
        Some((host, port)) if port.parse::<u16>().is_ok() && host == "localhost" => {
            format!("write 127.0.0.1:{port}")
        }
        Some((host, port)) if port.parse::<u16>().is_ok() && host.contains(':') => {
            "an IPv6 address stands in brackets: [::]:8443".to_owned()
        }
        Some((host, port)) if host.parse::<IpAddr>().is_ok() => {
            format!(
                "the port is a number from 1 to 65535, not `{}`",
                port.escape_debug()
            )
        }
        Some(_) => "a name cannot be listened on; write the IP address it stands for".to_owned(),
        None if text.parse::<IpAddr>().is_ok() => "add the port: 0.0.0.0:8443".to_owned(),
        None => "for every address of this machine: 0.0.0.0:8443".to_owned(),
    };
    context.error_help(
        path,
        found,
        "an IP address and a port, such as 0.0.0.0:8443",
        help,
    );
    None
}

/// Whether only one of two addresses can be listened on. Port 0 takes any free port.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let family = a.is_ipv4() == b.is_ipv4();
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && family && (any || a.ip() == b.ip())
}

/// Whether connections to `target` arrive at `listener`.
pub(super) fn reaches(target: SocketAddr, listener: SocketAddr) -> bool {
    let same_port = target.port() == listener.port();
    let own = target.ip().is_loopback() || target.ip().is_unspecified();
    same_port && (target.ip() == listener.ip() || (own && listener.ip().is_unspecified()))
}

/// Whether an address is reached from this machine or a private network only. `0.0.0.0` is not: it stands for
/// every address of the machine.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [first, second, ..] = address.octets();
            // RFC 6598: shared address space behind carrier and cloud NAT.
            let shared = first == 100 && (64..128).contains(&second);
            address.is_loopback() || address.is_private() || address.is_link_local() || shared
        }
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_private(IpAddr::V4(mapped)),
            None => is_private_v6(address),
        },
    }
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_private_addresses() {
        let cases = [
            ("127.0.0.1", true),
            ("10.1.2.3", true),
            ("172.16.0.1", true),
            ("192.168.0.1", true),
            ("169.254.1.1", true),
            ("100.64.0.1", true),
            ("100.128.0.1", false),
            ("0.0.0.0", false),
            ("203.0.113.1", false),
            ("::1", true),
            ("fd00::1", true),
            ("fe80::1", true),
            ("::ffff:10.0.0.1", true),
            ("2001:db8::1", false),
            ("::", false),
        ];
        for (address, expected) in cases {
            assert_eq!(is_private(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn knows_addresses_that_collide() {
        let cases = [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("10.0.0.1:1", "127.0.0.1:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("[::]:1", "0.0.0.0:1", false),
            ("[::]:1", "[::1]:1", true),
        ];
        for (a, b, expected) in cases {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(
                (collide(a, b), collide(b, a)),
                (expected, expected),
                "{a} {b}"
            );
        }
    }
}
