//! The admin listener: its address, and who sees the status page.

use std::net::SocketAddr;

use super::address;
use crate::config::context::Context;
use crate::config::document::{Admin, AdminSetting};
use crate::route::Pattern;

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminSpec {
    /// Where it listens; port 0 takes any free one.
    pub address: SocketAddr,
    /// Whether it serves the status page.
    pub status: bool,
    /// Names in lower case by which browsers may ask for that page, besides `localhost` and its own address.
    pub hosts: Vec<Box<str>>,
}

/// The outer `None`: it could not be read.
#[expect(
    clippy::option_option,
    reason = "unreadable and turned off are two things"
)]
pub(super) fn compile(
    context: &mut Context<'_>,
    setting: &AdminSetting,
    listeners: &[(String, SocketAddr)],
) -> Option<Option<AdminSpec>> {
    let AdminSetting::On(admin) = setting else {
        return Some(None);
    };
    let hosts = hosts(context, &admin.hosts);
    let address = own_address(context, admin, listeners)?;
    let status = admin.status.unwrap_or(address.ip().is_loopback());
    warn_public(context, address, status);
    if !status && !admin.hosts.is_empty() {
        let found = "a setting without effect, because the status page is not served";
        let help = "status: true serves it on an address that is not loopback";
        let expected = "only settings that have an effect";
        context.warn_help("admin.hosts", found, expected, help);
    }
    Some(Some(AdminSpec {
        address,
        status,
        hosts: hosts?,
    }))
}

/// The address, if it is one and no listener has it.
pub(in crate::config) fn own_address(
    context: &mut Context<'_>,
    admin: &Admin,
    listeners: &[(String, SocketAddr)],
) -> Option<SocketAddr> {
    let path = "admin.address";
    let address = address::parse(context, path, &admin.address)?;
    let Some((listener, _)) = listeners
        .iter()
        .find(|(_, other)| address::collide(*other, address))
    else {
        return Some(address);
    };
    let line = context.line(listener);
    let found = format!("the admin address {address} is taken by the listener in line {line}");
    let help = "metrics and status are not for the public; 127.0.0.1:9090 is the default";
    context.error_help(path, found, "an address of its own", help);
    None
}

/// Every address of a machine is what a container listens on, where others decide who reaches it; so that alone is no
/// reason to warn.
fn warn_public(context: &mut Context<'_>, address: SocketAddr, status: bool) {
    let what = match (address.ip().is_unspecified(), status) {
        (true, false) => return,
        (_, true) => "metrics and the status page",
        (false, false) => "metrics",
    };
    if address::is_private(address.ip()) {
        return;
    }
    let found =
        format!("{what} in plain HTTP on {address}, which is open to more than private networks");
    let help = "they name routes, upstreams and token ids to whoever asks; listen on loopback or one private address";
    context.warn_help(
        "admin.address",
        found,
        "loopback or a private address",
        help,
    );
}

fn hosts(context: &mut Context<'_>, hosts: &[String]) -> Option<Vec<Box<str>>> {
    let mut names = Some(Vec::new());
    for (index, host) in hosts.iter().enumerate() {
        match Pattern::parse(Some(host), "/") {
            Ok(pattern) => {
                let name = pattern.host().map(Box::from);
                names
                    .as_mut()
                    .into_iter()
                    .for_each(|names| names.extend(name.clone()));
            }
            Err(error) => {
                let path = format!("admin.hosts[{index}]");
                let found = format!("the host {}", context.shown(&path));
                context.error(&path, found, error.to_string());
                names = None;
            }
        }
    }
    names
}
