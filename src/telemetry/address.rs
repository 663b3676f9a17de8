//! Addresses as text. Every request writes its sender's several times, and the formatting machinery of the standard
//! library takes longer for one of IPv4 than reading a whole head.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

/// Writes an address as the standard library displays it.
pub fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (count, octet) in (0..).zip(address.octets()) {
                if count > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // Writing into memory does not fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// Writes an address with its port as the standard library displays it.
pub(super) fn write_peer(out: &mut Vec<u8>, peer: SocketAddr) {
    match peer {
        SocketAddr::V4(_) => {
            write_address(out, peer.ip());
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(peer.port()).as_bytes());
        }
        // Writing into memory does not fail.
        SocketAddr::V6(peer) => drop(write!(out, "{peer}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        let peers = [
            "0.0.0.0:0",
            "10.20.0.255:65535",
            "127.0.0.1:80",
            "[::1]:1",
            "[2001:db8::5]:443",
        ];
        for peer in peers {
            let peer: SocketAddr = peer.parse().unwrap();
            let (mut with_port, mut without) = (Vec::new(), Vec::new());
            write_peer(&mut with_port, peer);
            write_address(&mut without, peer.ip());
            assert_eq!(with_port, peer.to_string().into_bytes());
            assert_eq!(without, peer.ip().to_string().into_bytes());
        }
    }
}
