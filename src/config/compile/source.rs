//! Settings about where requests come from: networks, and how often an address may fail.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::config::context::Context;
use crate::config::document::FailureSetting;
use crate::config::value::RATE;
use crate::gateway::plan::FailureLimit;

/// Most failures in a row that can be set; far more than anybody needs, and no sum of them overflows.
const BURST_LIMIT: u64 = 1_000_000;
/// Most failures in the time that a rate is for.
const RATE_LIMIT: u64 = 1_000_000;

/// The proxies that are trusted. What cannot be read stands as nothing; its finding stops the rest.
pub(super) fn trusted_proxies(context: &mut Context<'_>, setting: &[String]) -> Vec<IpNet> {
    let path = "trusted_proxies";
    let networks = networks(context, path, setting);
    for (index, network) in &networks {
        if network.prefix_len() == 0 {
            let path = format!("{path}[{index}]");
            let found = format!("every address as a trusted proxy: {}", context.shown(&path));
            let help =
                "whoever sends can then choose the address that is logged, limited and allowed";
            context.warn_help(&path, found, "the addresses of the load balancers", help);
        }
    }
    networks.into_iter().map(|(_, network)| network).collect()
}

/// The networks that may send to a route.
pub(super) fn allow(
    context: &mut Context<'_>,
    path: &str,
    setting: Option<&[String]>,
) -> Option<Vec<IpNet>> {
    let setting = setting?;
    if setting.is_empty() && !context.lost(path) {
        let help = "take `allow` out where every address may send";
        context.error_help(path, "no networks", "at least one network", help);
    }
    let networks = networks(context, path, setting);
    Some(networks.into_iter().map(|(_, network)| network).collect())
}

/// Each network that can be read, with its position.
fn networks(context: &mut Context<'_>, path: &str, setting: &[String]) -> Vec<(usize, IpNet)> {
    let mut networks = Vec::with_capacity(setting.len());
    for (index, text) in setting.iter().enumerate() {
        if let Some(network) = network(text) {
            networks.push((index, network));
        } else {
            let path = format!("{path}[{index}]");
            let found = format!("the network {}", context.shown(&path));
            context.error(&path, found, "a network such as 10.0.0.0/8, or an address");
        }
    }
    networks
}

/// A network or a single address. One of IPv4 addresses mapped into IPv6 becomes the IPv4 network that it is,
/// because addresses are compared in that form.
fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().ok()?,
    };
    let mapped = match network {
        IpNet::V6(network) => network
            .addr()
            .to_ipv4_mapped()
            .zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    match mapped {
        Some((address, length)) => Ipv4Net::new(address, length).ok().map(IpNet::V4),
        None => Some(network),
    }
}

/// The limit on failures; `None` where it is turned off, or cannot be read.
pub(super) fn failures(
    context: &mut Context<'_>,
    setting: &FailureSetting,
) -> Option<FailureLimit> {
    let FailureSetting::On(setting) = setting else {
        return None;
    };
    let burst = setting.burst;
    if !(1..=BURST_LIMIT).contains(&burst) {
        let path = "failed_verifications.burst";
        let found = format!("the number {}", context.shown(path));
        let help = "`failed_verifications: off` turns the limit off";
        context.error_help(path, found, format!("1 to {BURST_LIMIT}"), help);
    }
    let path = "failed_verifications.rate";
    let Some((number, time)) = setting.rate.rate() else {
        let found = format!("the rate {}", context.shown(path));
        context.error(path, found, RATE);
        return None;
    };
    if number > RATE_LIMIT {
        let found = format!("the rate {}", context.shown(path));
        context.error(path, found, format!("at most {RATE_LIMIT} in that time"));
    }
    Some(FailureLimit {
        step: step(number, time),
        burst: u32::try_from(burst).unwrap_or(u32::MAX),
    })
}

fn step(number: u64, time: Duration) -> Duration {
    time / u32::try_from(number).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_networks_and_addresses() {
        let cases = [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("10.1.2.3/8", Some("10.1.2.3/8")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("::1", Some("::1/128")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("::ffff:10.0.0.1", Some("10.0.0.1/32")),
            ("::/0", Some("::/0")),
            ("10.0.0.0/33", None),
            ("10.0.0", None),
            ("proxy.example.org", None),
            ("10.0.0.1:80", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let found = network(text).map(|network| network.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_step() {
        let second = Duration::from_secs(1);
        assert_eq!(step(30, second * 60), second * 2);
        assert_eq!(step(1, second), second);
        assert!(!step(RATE_LIMIT, second).is_zero());
    }
}
