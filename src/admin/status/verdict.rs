//! Is it working? What an operator should look at, and the answer in one sentence.
//!
//! A rule of thumb for the first glance, not an alert: alerts are made of metrics, with rules of their own.

use super::facts::AuditFacts;
use super::moment::span;
use super::picture::{Certificate, Configuration, Endpoint, Route, TokenState, Upstream};
use super::runbook::Runbook;
use super::state::{Level, Notice, RouteState, Verdict};

/// Days before its end from which a certificate or token is worth a word.
const SOON: u64 = 14;
/// Most notices.
const NOTICE_LIMIT: usize = 50;

/// What the verdict is made of.
pub(super) struct Evidence<'p> {
    pub(super) draining: bool,
    pub(super) audit: AuditFacts,
    pub(super) configuration: &'p Configuration,
    /// All routes by state; more than are shown.
    pub(super) states: &'p [RouteState],
    pub(super) routes: &'p [Route],
    pub(super) upstreams: &'p [Upstream],
    pub(super) certificates: &'p [Certificate],
}

impl Evidence<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        let mut notices: Vec<Notice> = self.program().collect();
        notices.extend(self.routes.iter().flat_map(of_route));
        notices.extend(self.upstreams.iter().flat_map(of_upstream));
        notices.extend(self.certificates.iter().filter_map(of_certificate));
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
        let level = notices.iter().map(|notice| notice.level).max();
        let level = level.unwrap_or(Level::Ok);
        let text = self.sentence(level, notices.len());
        let notices_left_out = notices.len().saturating_sub(NOTICE_LIMIT);
        notices.truncate(NOTICE_LIMIT);
        Verdict {
            level,
            text,
            notices,
            notices_left_out,
        }
    }

    fn sentence(&self, level: Level, notices: usize) -> String {
        let (all, failing) = (self.states.len(), self.count(RouteState::Failing));
        let routes = if all == 1 { "route" } else { "routes" };
        match level {
            _ if self.draining => "Draining: told to stop, requests in flight finish".to_owned(),
            Level::Failing if failing == all || self.audit == AuditFacts::Refusing => {
                "Not working: nothing gets through".to_owned()
            }
            Level::Failing if failing > 0 => {
                let verb = if failing == 1 { "fails" } else { "fail" };
                format!("Partly working: {failing} of {all} {routes} {verb}")
            }
            Level::Failing => "Not working for some senders".to_owned(),
            Level::Attention if notices == 1 => "Working, with one thing to look at".to_owned(),
            Level::Attention => format!("Working, with {notices} things to look at"),
            Level::Ok if self.count(RouteState::Quiet) == all => {
                format!("Ready: nothing has come to {all} {routes} in the last hour")
            }
            Level::Ok => format!("Working: nothing fails on {all} {routes}"),
        }
    }

    fn count(&self, state: RouteState) -> usize {
        self.states.iter().filter(|other| **other == state).count()
    }

    fn program(&self) -> impl Iterator<Item = Notice> {
        let drain = self.draining.then(|| {
            let text = "no longer ready, and no new work is taken";
            notice(Level::Attention, "the program", text, None)
        });
        let refused = self.configuration.last_reload.as_ref();
        let refused = refused.filter(|reload| !reload.taken_up).map(|_| {
            let text = "the last one offered was not taken up; the one before it stays in force";
            let page = Some(Runbook::RELOAD);
            notice(Level::Attention, "the configuration", text, page)
        });
        let audit = of_audit(self.audit);
        drain.into_iter().chain(audit).chain(refused)
    }
}

fn of_audit(audit: AuditFacts) -> Option<Notice> {
    let (level, text) = match audit {
        AuditFacts::Off | AuditFacts::Written => return None,
        AuditFacts::Failing => (
            Level::Attention,
            "it cannot be written, and messages go on without it",
        ),
        AuditFacts::Refusing => (
            Level::Failing,
            "it cannot be written, and without it nothing is let through",
        ),
    };
    Some(notice(level, "the audit trail", text, Some(Runbook::AUDIT)))
}

fn notice(
    level: Level,
    about: impl Into<String>,
    text: impl Into<String>,
    runbook: Option<Runbook>,
) -> Notice {
    Notice {
        level,
        about: about.into(),
        text: text.into(),
        runbook,
    }
}

fn of_route(route: &Route) -> Vec<Notice> {
    let about = format!("route {}", route.name);
    let state = of_state(route).map(|(level, text, page)| notice(level, &about, text, page));
    let mut notices: Vec<Notice> = state.into_iter().collect();
    let good = |state| state != TokenState::Expired;
    let tokens = &route.tokens.shown;
    let page = Some(Runbook::TOKEN);
    if route.tokens.left_out == 0 && !tokens.iter().any(|token| good(token.state)) {
        let text = "every token has expired, so nobody can get through";
        notices.push(notice(Level::Failing, about, text, page));
        return notices;
    }
    for token in tokens {
        if let Some(days) = token.days_left.filter(|days| *days < SOON)
            && good(token.state)
        {
            let text = format!("token {} expires in {}", token.id, days_text(days));
            notices.push(notice(Level::Attention, &about, text, page));
        }
    }
    notices
}

fn of_state(route: &Route) -> Option<(Level, String, Option<Runbook>)> {
    let attention = |text: &str, page| Some((Level::Attention, text.to_owned(), page));
    match route.state {
        RouteState::Failing => Some((Level::Failing, failing(route), Some(Runbook::FAILING))),
        RouteState::Unsteady => {
            attention("some of its last requests failed", Some(Runbook::UNSTEADY))
        }
        RouteState::Refusing => attention(
            "all of its last requests were refused: is the sender's token the right one?",
            Some(Runbook::REFUSING),
        ),
        RouteState::Maintenance => attention("in maintenance: senders are told to come back", None),
        RouteState::Working | RouteState::Quiet => None,
    }
}

fn failing(route: &Route) -> String {
    let kinds = route.upstream_errors_by_kind.iter();
    let errors = kinds.chain(&route.upstream_errors_by_code);
    let most = errors.max_by_key(|(_, count)| **count);
    let why = most.map(|(error, _)| format!("; its upstream's most frequent error is {error}"));
    format!(
        "its last requests failed, and none got through{}",
        why.unwrap_or_default()
    )
}

fn of_upstream(upstream: &Upstream) -> Vec<Notice> {
    let bad = |endpoint: &&Endpoint| endpoint.state.is_bad();
    let endpoints = upstream.endpoints.iter().filter(bad);
    let told = |endpoint: &Endpoint| {
        let about = format!("upstream {}", endpoint.name);
        let text = match endpoint.passed_over_for_s {
            Some(seconds) => format!("accepts no connections; passed over for {}", span(seconds)),
            None => "health checks have taken it out".to_owned(),
        };
        notice(Level::Attention, about, text, Some(Runbook::FAILING))
    };
    endpoints.map(told).collect()
}

fn of_certificate(certificate: &Certificate) -> Option<Notice> {
    let (level, text) = match u64::try_from(certificate.days_left) {
        Err(_) => (
            Level::Failing,
            "it has expired: senders that check it do not connect".to_owned(),
        ),
        Ok(days) if days < SOON => (
            Level::Attention,
            format!("it expires in {}", days_text(days)),
        ),
        Ok(_) => return None,
    };
    let about = format!("certificate {}", certificate.name);
    Some(notice(level, about, text, Some(Runbook::CERTIFICATE)))
}

fn days_text(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
