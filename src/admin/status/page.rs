//! The page: verdict first, then routes, what is behind them, and what came last.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::moment::{Moment, span};
use super::picture::{Configuration, Picture, Program, Reload};
use super::sparkline::sum;
use super::state::{Level, Verdict};
use super::style::STYLE;
use super::tables;
use super::words::{ago, count, stamp};

/// How often a browser asks again, in seconds.
const REFRESH: u32 = 15;

/// The whole document.
pub(super) fn render(picture: &Picture) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                title { (picture.verdict.level.label()) " · countersign" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                meta http-equiv="refresh" content=(REFRESH);
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(picture))
                main {
                    (figures(picture))
                    (tables::routes(picture))
                    (tables::upstreams(picture))
                    (tables::tokens(picture))
                    div.columns {
                        (tables::certificates(picture))
                        (tables::listeners(picture))
                    }
                    (about(&picture.program, &picture.configuration, picture.time))
                    (tables::decisions(picture))
                }
                footer {
                    "The same as data: " code { "/status.json" } ". What each number means: " code { "docs/status.md" }
                    ". All times are UTC; counts begin with the process."
                }
            }
        }
    };
    page.into_string()
}

fn header(picture: &Picture) -> Markup {
    let program = &picture.program;
    let verdict = &picture.verdict;
    html! {
        header class={ "verdict " (verdict.level.label()) } {
            h1 { (verdict.text) }
            p {
                "countersign " (program.version) " · " (program.state) " · up " (span(program.uptime_s))
                " · seen " (stamp(picture.time)) " UTC, again every " (REFRESH) " s"
            }
            (notices(verdict))
        }
    }
}

fn notices(verdict: &Verdict) -> Markup {
    html! {
        @if !verdict.notices.is_empty() {
            ul.notices {
                @for notice in &verdict.notices {
                    li {
                        span class={ "state " (level_class(notice.level)) } { (notice.level.label()) }
                        " · " b { (notice.about) } ": " (notice.text)
                        @if let Some(page) = notice.runbook {
                            span.quiet { " · runbook " (page.name()) }
                        }
                    }
                }
                @if verdict.notices_left_out > 0 {
                    li.quiet { (verdict.notices_left_out) " more are left out here" }
                }
            }
        }
    }
}

fn level_class(level: Level) -> &'static str {
    match level {
        Level::Ok => "good",
        Level::Attention => "warn",
        Level::Failing => "bad",
    }
}

fn figures(picture: &Picture) -> Markup {
    let routes = &picture.routes.shown;
    let hours = || routes.iter().map(|route| &route.last_hour);
    let accepted: u64 = hours().map(|hour| sum(&hour.accepted)).sum();
    let refused: u64 = hours().map(|hour| sum(&hour.refused)).sum();
    let failed: u64 = hours().map(|hour| sum(&hour.failed)).sum();
    let refused = refused + sum(&picture.unrouted.last_hour.refused);
    let in_flight: u64 = routes.iter().map(|route| route.in_flight).sum();
    let listeners = &picture.listeners.shown;
    let open: u64 = (listeners.iter())
        .map(|listener| listener.connections_open)
        .sum();
    let last = routes.iter().filter_map(|route| route.last_accepted_age_s);
    let figures = [
        ("accepted in the last hour", count(accepted)),
        ("refused in the last hour", count(refused)),
        ("failed in the last hour", count(failed)),
        (
            "last verified",
            last.min()
                .map_or("never".to_owned(), |age| format!("{} ago", span(age))),
        ),
        ("in flight now", count(in_flight)),
        ("connections open", count(open)),
    ];
    html! {
        dl.figures {
            @for (name, value) in figures {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

fn about(program: &Program, configuration: &Configuration, now: Moment) -> Markup {
    html! {
        section {
            h2 { "Program and configuration" }
            dl.facts {
                dt { "version" } dd { (program.version) ", revision " code { (program.revision) } ", for " (program.target) }
                dt { "TLS" } dd { "rustls with " (program.tls_provider) }
                dt { "started" } dd { (ago(program.started, now)) }
                dt { "configuration" }
                dd { code { (configuration.hash) } ", in force since " (stamp(configuration.loaded)) }
                dt { "last reload" }
                dd {
                    @match &configuration.last_reload {
                        None => { span.quiet { "none since the start" } }
                        Some(reload) => { (self::reload(reload, now)) }
                    }
                }
            }
        }
    }
}

fn reload(reload: &Reload, now: Moment) -> Markup {
    let (class, words) = if reload.taken_up {
        ("state good", "taken up")
    } else {
        ("state bad", "not taken up")
    };
    html! {
        span class=(class) { (words) }
        @if !reload.taken_up { "; the configuration before it stays in force" }
        ", by " (reload.trigger) ", " (ago(reload.time, now))
        @if !reload.settings.shown.is_empty() {
            ul {
                @for setting in &reload.settings.shown {
                    li { code { (setting) } " changed, which only a restart takes up" }
                }
                (left_out(reload.settings.left_out))
            }
        }
        @if !reload.findings.shown.is_empty() {
            ul {
                @for finding in &reload.findings.shown { li { (finding) } }
                (left_out(reload.findings.left_out))
            }
        }
    }
}

fn left_out(more: usize) -> Markup {
    html! { @if more > 0 { li.quiet { (more) " more are left out here" } } }
}
