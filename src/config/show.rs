//! The effective configuration as YAML, for `config show`.
//!
//! Secrets cannot come out here: of a token only id, kind of source and end are written, and a user information in
//! an upstream URL has been refused before.

use std::net::SocketAddr;

use super::document::{Admin, AdminSetting, Document, Listener, Route};
use super::label::default_names;
use super::words::Challenge;

/// Fills in what is worked out at start, and writes it. Field defaults are in the document already.
pub(super) fn effective(mut document: Document, workers: usize) -> String {
    document.workers = u64::try_from(workers).ok();
    let names = document
        .routes
        .as_deref()
        .map(default_names)
        .unwrap_or_default();
    if let AdminSetting::On(admin) = &mut document.admin {
        fill_admin(admin);
    }
    for listener in document.listeners.iter_mut().flatten() {
        fill_listener(listener);
    }
    let limits = document.limits.clone();
    let timeouts = document.timeouts.clone();
    for (route, name) in document.routes.iter_mut().flatten().zip(names) {
        fill_route(route, name);
        route.limits.body.get_or_insert_with(|| limits.body.clone());
        route.limits.requests.get_or_insert(limits.requests);
        // Without challenges it has no effect, and what is shown is a good file again.
        if answers_challenges(route) {
            route
                .limits
                .challenge_body
                .get_or_insert_with(|| limits.challenge_body.clone());
        }
        let own = &mut route.timeouts;
        own.connect.get_or_insert_with(|| timeouts.connect.clone());
        own.response
            .get_or_insert_with(|| timeouts.response.clone());
        own.request_body_idle
            .get_or_insert_with(|| timeouts.request_body_idle.clone());
    }
    serde_yaml::to_string(&document).unwrap_or_default()
}

fn fill_listener(listener: &mut Listener) {
    if listener.name.is_none() {
        listener.name.clone_from(&listener.address);
    }
}

fn fill_admin(admin: &mut Admin) {
    let address = admin.address.parse::<SocketAddr>();
    let loopback = address.is_ok_and(|address| address.ip().is_loopback());
    admin.status.get_or_insert(loopback);
}

fn fill_route(route: &mut Route, name: String) {
    route.name.get_or_insert(name);
}

fn answers_challenges(route: &Route) -> bool {
    let challenge = route.verify.as_ref().map(|verify| verify.challenge);
    challenge.is_none_or(|challenge| challenge == Challenge::Answer)
}
