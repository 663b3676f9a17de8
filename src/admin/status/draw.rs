//! From facts, counters and minutes to the picture.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::facts::{
    CertificateFacts, EndpointFacts, Facts, ListenerFacts, ReloadFacts, RouteFacts, TokenFacts,
    UpstreamFacts,
};
use super::minutes::{Hour, Minutes, sum};
use super::moment::Moment;
use super::numbers;
use super::picture::{
    Bounded, Certificate, Configuration, Decision, Endpoint, EndpointState, LastError, Listener,
    Picture, Program, Reload, Route, Token, TokenState, Unrouted, Upstream,
};
use super::state::RouteState;
use super::verdict::Evidence;
use crate::telemetry::{self, Metrics};

/// Most routes, and as many of everything else that a configuration may have many of.
pub(super) const LIST_LIMIT: usize = 100;
/// Most tokens of a route, endpoints of an upstream, names of a certificate, findings of a reload.
pub(super) const SHORT_LIST_LIMIT: usize = 20;
const DAY: u64 = 86_400;

/// What everything is seen from.
pub(super) struct Draw<'s> {
    pub(super) metrics: &'s Metrics,
    pub(super) minutes: &'s Minutes,
    /// Number of the minute that has begun.
    pub(super) minute: u64,
    pub(super) now: Moment,
    pub(super) draining: bool,
}

impl Draw<'_> {
    pub(super) fn picture(&self, facts: Facts, decisions: Vec<telemetry::Decision>) -> Picture {
        let program = self.program(&facts);
        let configuration = self.configuration(&facts);
        let (routes, states) = self.routes(facts.routes);
        let upstreams = self.upstreams(&facts.upstreams);
        let certificates = self.certificates(&facts.certificates);
        let evidence = Evidence {
            draining: self.draining,
            audit: facts.audit,
            configuration: &configuration,
            states: &states,
            routes: &routes.shown,
            upstreams: &upstreams.shown,
            certificates: &certificates.shown,
        };
        Picture {
            time: self.now,
            verdict: evidence.verdict(),
            program,
            configuration,
            listeners: self.listeners(&facts.listeners),
            routes,
            unrouted: self.unrouted(),
            upstreams,
            certificates,
            decisions: decisions.into_iter().map(decision).collect(),
        }
    }

    fn program(&self, facts: &Facts) -> Program {
        let started = Moment::at(facts.started);
        Program {
            version: env!("CARGO_PKG_VERSION"),
            revision: crate::REVISION,
            target: crate::TARGET,
            tls_provider: facts.tls_provider,
            started,
            uptime_s: self.now.since(started),
            state: if self.draining { "draining" } else { "ready" },
            audit: facts.audit,
        }
    }

    fn configuration(&self, facts: &Facts) -> Configuration {
        Configuration {
            hash: Arc::clone(&facts.configuration),
            loaded: Moment::at(facts.loaded),
            last_reload: facts.reload.as_ref().map(reload),
        }
    }

    fn listeners(&self, listeners: &[ListenerFacts]) -> Bounded<Listener> {
        let shown = listeners.iter().take(LIST_LIMIT).map(|listener| Listener {
            name: Arc::clone(&listener.name),
            address: listener.address,
            tls: listener.tls,
            connections_open: numbers::open(self.metrics, &listener.name),
            connections_limit: listener.limit,
        });
        Bounded {
            shown: shown.collect(),
            left_out: listeners.len().saturating_sub(LIST_LIMIT),
        }
    }

    /// Chosen by urgency and traffic, and then in configured order but for the urgent ones, so that a page that
    /// refreshes itself stays as it was. Also the states of all of them.
    fn routes(&self, routes: Vec<RouteFacts>) -> (Bounded<Route>, Vec<RouteState>) {
        let all = routes.len();
        let seen = routes.into_iter().enumerate().map(|(position, route)| {
            let hour = self.minutes.hour(&route.name, self.minute);
            let state = RouteState::of(&hour, route.maintenance);
            (state, sum(&hour).total(), position, route)
        });
        let mut seen: Vec<_> = seen.collect();
        let states = seen.iter().map(|(state, ..)| *state).collect();
        seen.sort_by_key(|(state, traffic, ..)| (*state, Reverse(*traffic)));
        seen.truncate(LIST_LIMIT);
        // Working and quiet ones change places too often.
        let urgency = |state: RouteState| state.min(RouteState::Working);
        seen.sort_by_key(|(state, _, position, _)| (urgency(*state), *position));
        let shown = seen.into_iter();
        let shown = shown.map(|(state, _, _, route)| self.route(route, state));
        let bounded = Bounded {
            shown: shown.collect(),
            left_out: all.saturating_sub(LIST_LIMIT),
        };
        (bounded, states)
    }

    fn route(&self, route: RouteFacts, state: RouteState) -> Route {
        let ids: Vec<Arc<str>> = (route.tokens.iter().take(SHORT_LIST_LIMIT))
            .map(|token| Arc::clone(&token.id))
            .collect();
        let numbers = numbers::of_route(self.metrics, &route.name, &ids);
        let hour: Hour = self.minutes.hour(&route.name, self.minute);
        let accepted = Some(numbers.last_accepted).filter(|at| *at > 0);
        let accepted = accepted.map(Moment::at);
        let tokens = route.tokens.iter().zip(&numbers.token_uses);
        let tokens = tokens.map(|(token, uses)| self.token(token, *uses));
        Route {
            tokens: Bounded {
                shown: tokens.collect(),
                left_out: route.tokens.len().saturating_sub(SHORT_LIST_LIMIT),
            },
            name: route.name,
            pattern: route.pattern,
            upstream: route.upstream,
            state,
            maintenance: route.maintenance,
            forwarded: numbers.forwarded,
            challenges: numbers.challenges,
            refused: numbers.refused,
            refused_by_reason: numbers.reasons.into_iter().collect(),
            errors: numbers.errors,
            upstream_errors_by_kind: numbers.kinds.into_iter().collect(),
            upstream_errors_by_code: numbers.codes.into_iter().collect(),
            last_accepted: accepted,
            last_accepted_age_s: accepted.map(|at| self.now.since(at)),
            in_flight: numbers.in_flight,
            duration_median_s: numbers.median,
            duration_p95_s: numbers.p95,
            last_hour: (&hour).into(),
        }
    }

    fn token(&self, token: &TokenFacts, uses: u64) -> Token {
        let end = token.not_after.map(Moment::at);
        let state = match end {
            None => TokenState::Active,
            Some(end) if self.now.seconds() > end.seconds() => TokenState::Expired,
            Some(_) => TokenState::Retiring,
        };
        Token {
            id: Arc::clone(&token.id),
            state,
            uses,
            last_used: token.last_used.map(Moment::at),
            not_after: end,
            days_left: end.map(|end| end.since(self.now) / DAY),
        }
    }

    fn unrouted(&self) -> Unrouted {
        let numbers = numbers::of_route(self.metrics, numbers::UNROUTED, &[]);
        let hour = self.minutes.hour(numbers::UNROUTED, self.minute);
        Unrouted {
            refused: numbers.refused,
            refused_by_reason: numbers.reasons.into_iter().collect(),
            errors: numbers.errors,
            last_hour: (&hour).into(),
        }
    }

    /// Those in trouble first, else in configured order.
    fn upstreams(&self, upstreams: &[UpstreamFacts]) -> Bounded<Upstream> {
        let bad = |endpoint: &EndpointFacts| endpoint_state(endpoint).is_bad();
        let upstreams = by_name(upstreams);
        let mut chosen: Vec<&UpstreamFacts> = upstreams.iter().collect();
        chosen.sort_by_key(|upstream| {
            let failed = upstream.last_error.map_or(0, |(_, at)| at);
            // To the minute: what fails all the time must not change places with each look.
            let failed = failed / 60;
            (!upstream.endpoints.iter().any(bad), Reverse(failed))
        });
        let shown = chosen.iter().take(LIST_LIMIT);
        Bounded {
            shown: shown.map(|upstream| self.upstream(upstream)).collect(),
            left_out: upstreams.len().saturating_sub(LIST_LIMIT),
        }
    }

    fn upstream(&self, upstream: &UpstreamFacts) -> Upstream {
        let names: Vec<Arc<str>> = (upstream.endpoints.iter())
            .map(|endpoint| Arc::clone(&endpoint.name))
            .collect();
        let totals = numbers::of_upstream(self.metrics, &upstream.name, &names);
        let endpoints = upstream.endpoints.iter().zip(totals.passed_over);
        let endpoints = endpoints.map(|(endpoint, passed_over)| Endpoint {
            name: Arc::clone(&endpoint.name),
            state: endpoint_state(endpoint),
            passed_over_for_s: endpoint.passed_over.map(|time| time.as_secs()),
            passed_over,
        });
        Upstream {
            name: Arc::clone(&upstream.name),
            endpoints: endpoints.take(SHORT_LIST_LIMIT).collect(),
            connections_active: totals.active,
            connections_idle: totals.idle,
            connections_limit: upstream.limit,
            waiting: totals.waiting,
            last_error: (upstream.last_error).map(|(kind, at)| LastError {
                kind,
                time: Moment::at(at),
            }),
        }
    }

    /// Those that end first come first.
    fn certificates(&self, certificates: &[CertificateFacts]) -> Bounded<Certificate> {
        let mut all: Vec<&CertificateFacts> = certificates.iter().collect();
        all.sort_by_key(|certificate| certificate.not_after);
        let shown = all.iter().take(LIST_LIMIT);
        let shown = shown.map(|certificate| Certificate {
            name: Arc::clone(&certificate.name),
            listener: Arc::clone(&certificate.listener),
            names: Bounded::new(certificate.names.clone(), SHORT_LIST_LIMIT),
            serial: certificate.serial.clone(),
            not_before: Moment::at(certificate.not_before),
            not_after: Moment::at(certificate.not_after),
            days_left: self.days_left(certificate.not_after),
        });
        Bounded {
            shown: shown.collect(),
            left_out: all.len().saturating_sub(LIST_LIMIT),
        }
    }

    /// Whole days; negative once it is over.
    fn days_left(&self, end: u64) -> i64 {
        let now = self.now.seconds();
        let days = |seconds: u64| i64::try_from(seconds / DAY).unwrap_or(i64::MAX);
        match end.checked_sub(now) {
            Some(left) => days(left),
            None => -1 - days(now.saturating_sub(end)),
        }
    }
}

fn reload(reload: &ReloadFacts) -> Reload {
    Reload {
        time: Moment::at(reload.at),
        trigger: reload.trigger.clone(),
        taken_up: reload.taken_up,
        findings: Bounded::new(reload.findings.clone(), SHORT_LIST_LIMIT),
        settings: Bounded::new(reload.settings.clone(), SHORT_LIST_LIMIT),
    }
}

/// Upstreams that are configured in different ways and have the same first address are one to the counters, and so
/// they are here.
fn by_name(upstreams: &[UpstreamFacts]) -> Vec<UpstreamFacts> {
    let mut merged: Vec<UpstreamFacts> = Vec::new();
    let mut positions: HashMap<&str, usize> = HashMap::new();
    for upstream in upstreams {
        let known = positions.get(&*upstream.name);
        let Some(known) = known.and_then(|position| merged.get_mut(*position)) else {
            positions.insert(&upstream.name, merged.len());
            merged.push(upstream.clone());
            continue;
        };
        for endpoint in &upstream.endpoints {
            let mut others = known.endpoints.iter_mut();
            match others.find(|other| other.name == endpoint.name) {
                Some(other) => {
                    other.up = [other.up, endpoint.up].into_iter().flatten().min();
                    other.passed_over = other.passed_over.max(endpoint.passed_over);
                }
                None => known.endpoints.push(endpoint.clone()),
            }
        }
        let later = |error: &Option<(&str, u64)>| error.map_or(0, |(_, at)| at);
        if later(&upstream.last_error) > later(&known.last_error) {
            known.last_error = upstream.last_error;
        }
        known.limit = known.limit.filter(|limit| Some(*limit) == upstream.limit);
    }
    merged
}

fn endpoint_state(endpoint: &EndpointFacts) -> EndpointState {
    match (endpoint.up, endpoint.passed_over) {
        (Some(false), _) => EndpointState::Out,
        (_, Some(_)) => EndpointState::PassedOver,
        (Some(true), None) => EndpointState::Up,
        (None, None) => EndpointState::Unknown,
    }
}

fn decision(decision: telemetry::Decision) -> Decision {
    Decision {
        time: Moment::new(decision.time),
        listener: decision.listener,
        route: decision.route,
        outcome: decision.outcome,
        reason: decision.reason,
        token_id: decision.token_id,
        status: decision.status,
        duration_s: decision.duration.as_secs_f64(),
        request_id: decision.request_id,
    }
}
