//! Routes: names, patterns, verification.

use super::limits;
use super::limits::{General, RouteLimits};
use super::listener::Listeners;
use super::source;
use super::upstream::Upstreams;
use crate::config::certificate::covers;
use crate::config::context::Context;
use crate::config::diagnostic::quoted;
use crate::config::document::{Document, Route, Verify};
use crate::config::label::{default_names, label_problem};
use crate::config::secret;
use crate::config::words::{Challenge, OnReject, Reply, SchemeName};
use crate::gateway::plan::{OnReject as PlanOnReject, Plan, RoutePlan};
use crate::gateway::{Room, TokenUses};
use crate::route::{Conflict, Pattern, PatternError, Table};
use crate::verify::{ChallengePolicy, Redox, ReplyFormat, Scheme};

/// Compiles all routes; `None` where one of them cannot be.
pub(super) fn compile(
    context: &mut Context<'_>,
    document: &Document,
    general: &General,
    listeners: &Listeners,
) -> Option<Plan> {
    let routes = document.routes.as_deref().unwrap_or_default();
    if routes.is_empty() && context.has("routes") && !context.lost("routes") {
        context.error("routes", "no routes", "at least one route");
    }
    let names = default_names(routes);
    let mut upstreams = Upstreams::new(&listeners.addresses);
    let mut patterns = Vec::new();
    let mut plans = Vec::new();
    for (index, (route, name)) in routes.iter().zip(&names).enumerate() {
        let path = format!("routes[{index}]");
        check_name(context, &path, routes, index, &names);
        let pattern = pattern(context, &path, route);
        if let Some(pattern) = &pattern {
            warn_uncovered_host(context, &path, pattern, listeners);
        }
        let allow = source::allow(context, &format!("{path}.allow"), route.allow.as_deref());
        let limits = limits::of_route(context, &path, route, general);
        let scheme = route.verify.as_ref().and_then(|verify| {
            let name = shown_name(context, &path, name);
            let path = format!("{path}.verify");
            scheme(context, &path, verify, &name, &limits, route)
        });
        let upstream = route.upstream.as_ref().and_then(|upstream| {
            upstreams.add(
                context,
                &format!("{path}.upstream"),
                upstream,
                pattern.as_ref(),
            )
        });
        patterns.push((index, pattern.clone()));
        let (Some(pattern), Some(scheme), Some((upstream, forwarding))) =
            (pattern, scheme, upstream)
        else {
            continue;
        };
        let tokens = scheme.tokens().iter().len();
        plans.push(RoutePlan {
            name: name.as_str().into(),
            pattern,
            allow,
            token_uses: TokenUses::new(tokens),
            scheme,
            upstream,
            forwarding,
            body_cap: limits.body,
            room: Room::new(limits.requests),
            timeouts: limits.timeouts,
            on_reject: match route.on_reject {
                OnReject::Respond => PlanOnReject::Respond,
                OnReject::Close => PlanOnReject::Close,
            },
            maintenance: route.maintenance,
        });
    }
    let trusted_proxies = source::trusted_proxies(context, &document.trusted_proxies);
    let failed_verifications = source::failures(context, &document.failed_verifications);
    let table = table(context, &patterns)?;
    let complete = plans.len() == routes.len() && !routes.is_empty();
    complete.then(|| Plan {
        table,
        routes: plans,
        upstreams: upstreams.into_plans(),
        trusted_proxies,
        failed_verifications,
    })
}

fn check_name(
    context: &mut Context<'_>,
    path: &str,
    routes: &[Route],
    index: usize,
    names: &[String],
) {
    let (Some(route), Some(name)) = (routes.get(index), names.get(index)) else {
        return;
    };
    let name_path = format!("{path}.name");
    if route.name.is_some()
        && let Some(problem) = label_problem(name)
    {
        let found = format!("the name {}", context.shown(&name_path));
        context.error(&name_path, found, problem);
    }
    let first = names
        .iter()
        .position(|other| other == name)
        .filter(|first| *first < index);
    let Some((first, other)) = first.and_then(|first| Some((first, routes.get(first)?))) else {
        return;
    };
    let line = context.line(&format!("routes[{first}].name"));
    if route.name.is_some() {
        let found = format!(
            "a second route with the name {}; the first is in line {line}",
            context.shown(&name_path)
        );
        context.error(&name_path, found, "a name of its own for each route");
    } else if (&route.path, &route.host) != (&other.path, &other.host) {
        // Two routes for the same requests are reported as that.
        let name = shown_name(context, path, name);
        let found = format!("a route without a name, for which `{name}` is taken in line {line}");
        let help = "give it a `name`";
        context.error_help(path, found, "a name of its own for each route", help);
    }
}

/// A route's name as findings show it: as the file has it, never as the environment completes it.
fn shown_name(context: &Context<'_>, path: &str, name: &str) -> String {
    let raw = ["name", "path", "host"].map(|key| context.shown(&format!("{path}.{key}")));
    match raw.iter().find(|raw| raw.contains("${")) {
        Some(raw) => raw.trim_matches('`').to_owned(),
        None => name.to_owned(),
    }
}

/// `None` where it cannot be read.
fn pattern(context: &mut Context<'_>, path: &str, route: &Route) -> Option<Pattern> {
    let text = route.path.as_deref()?;
    let host = route.host.as_deref();
    // Each by itself, so that both are reported.
    let parsed = host.map(|host| Pattern::parse(Some(host), "/"));
    if let Some(Err(error)) = parsed {
        report(context, &format!("{path}.host"), "host", error);
    }
    if let Err(error) = Pattern::parse(None, text) {
        report(context, &format!("{path}.path"), "path", error);
    }
    Pattern::parse(host, text).ok()
}

fn report(context: &mut Context<'_>, path: &str, noun: &str, error: PatternError) {
    let found = format!("the {noun} {}", context.shown(path));
    context.error(path, found, error.to_string());
}

fn warn_uncovered_host(
    context: &mut Context<'_>,
    path: &str,
    pattern: &Pattern,
    listeners: &Listeners,
) {
    let (Some(host), Some(names)) = (pattern.host(), &listeners.names) else {
        return;
    };
    let address = host
        .trim_matches(['[', ']'])
        .parse::<std::net::IpAddr>()
        .is_ok();
    if address || names.is_empty() || covers(names, host) {
        return;
    }
    let path = format!("{path}.host");
    let found = format!("no certificate for the host {}", context.shown(&path));
    let expected = format!("one of the names in the certificates: {}", names.join(", "));
    let help = "a sender that checks certificates will not send anything to this host";
    context.warn_help(&path, found, expected, help);
}

fn scheme(
    context: &mut Context<'_>,
    path: &str,
    verify: &Verify,
    name: &str,
    limits: &RouteLimits,
    route: &Route,
) -> Option<Scheme> {
    let tokens = verify.tokens.as_deref();
    let tokens =
        tokens.and_then(|tokens| secret::tokens(context, name, &format!("{path}.tokens"), tokens));
    if verify.challenge == Challenge::Off {
        if verify.reply != Reply::Text {
            warn_without_effect(context, &format!("{path}.reply"));
        }
        if route.limits.challenge_body.is_some() {
            let path = path.trim_end_matches(".verify");
            warn_without_effect(context, &format!("{path}.limits.challenge_body"));
        }
    }
    let challenge = match verify.challenge {
        Challenge::Off => ChallengePolicy::Off,
        Challenge::Answer => ChallengePolicy::Answer {
            reply: match verify.reply {
                Reply::Text => ReplyFormat::Text,
                Reply::Json => ReplyFormat::Json,
            },
            body_cap: limits.challenge_body,
        },
    };
    match verify.scheme? {
        SchemeName::Redox => Some(Scheme::Redox(Redox::new(
            tokens?,
            challenge,
            verify.authorization_bearer,
        ))),
    }
}

fn warn_without_effect(context: &mut Context<'_>, path: &str) {
    if context.has(path) {
        let found = "a setting without effect, because of `challenge: off`";
        let help = "take one of the two out";
        context.warn_help(path, found, "only settings that have an effect", help);
    }
}

/// Looks for routes that can never win. Routes that could not be read stay out, and with them the table.
fn table(context: &mut Context<'_>, patterns: &[(usize, Option<Pattern>)]) -> Option<Table> {
    let read: Vec<(usize, Pattern)> = patterns
        .iter()
        .filter_map(|(index, pattern)| Some((*index, pattern.clone()?)))
        .collect();
    let only: Vec<Pattern> = read.iter().map(|(_, pattern)| pattern.clone()).collect();
    let route = |position: usize| read.get(position).map_or(0, |(index, _)| *index);
    match Table::build(&only) {
        Ok(table) => (read.len() == patterns.len()).then_some(table),
        Err(conflicts) => {
            for conflict in conflicts {
                report_conflict(
                    context,
                    &conflict,
                    route(conflict.route),
                    route(conflict.earlier),
                );
            }
            None
        }
    }
}

fn report_conflict(context: &mut Context<'_>, conflict: &Conflict, route: usize, earlier: usize) {
    let path = format!("routes[{route}].path");
    let first = format!("routes[{earlier}].path");
    let (own, other, line) = (
        context.shown(&path),
        context.shown(&first),
        context.line(&first),
    );
    if conflict.same {
        let found = format!("the same requests as the route in line {line}");
        let help = "several tokens for one route go into its `tokens`; several senders each get a path of their own";
        context.error_help(&path, found, "another path or host", help);
    } else {
        let found =
            format!("the path {own}, all of whose requests the route {other} in line {line} takes");
        let help = format!(
            "the first route that matches wins: move this one in front of {}",
            quoted(other.trim_matches('`'))
        );
        context.error_help(&path, found, "a route that can be reached", help);
    }
}
