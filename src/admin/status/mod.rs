//! The status page, and the same as JSON: is it working, since when, and what came last. Read-only, without a script.
//!
//! A page costs the requests nothing: it is built on the thread of the admin listener from counters, the plan in force
//! and the last decisions, none of which makes a worker wait. Its size is bounded whatever the configuration: of many
//! routes those are shown that need attention or have the most traffic.
//!
//! Nothing on it was written by a sender, and nothing is a secret. What an operator wrote is escaped.

mod draw;
mod facts;
mod minutes;
mod moment;
mod numbers;
mod page;
mod picture;
mod runbook;
mod sparkline;
mod state;
mod style;
mod tables;
mod verdict;
mod words;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::facts::{
    AuditFacts, CertificateFacts, EndpointFacts, Facts, ListenerFacts, Overview, ReloadFacts,
    RouteFacts, Seconds, TokenFacts, UpstreamFacts,
};
use self::minutes::Minutes;
use self::moment::Moment;
use self::picture::Picture;
pub(super) use self::style::content_security_policy;
use crate::telemetry::{Decisions, Metrics};

/// How often the counters are looked at for the last hour.
const SAMPLE_EVERY: Duration = Duration::from_secs(60);

/// What the status page is made from.
pub struct Status {
    overview: Arc<dyn Overview>,
    metrics: Metrics,
    decisions: Decisions,
    minutes: Mutex<Minutes>,
}

impl Status {
    /// A page about these.
    pub fn new(overview: Arc<dyn Overview>, metrics: Metrics, decisions: Decisions) -> Self {
        Self {
            overview,
            metrics,
            decisions,
            minutes: Mutex::default(),
        }
    }

    /// Looks at the counters once a minute, for as long as it is polled.
    pub(super) async fn sample(&self) {
        let mut ticks = tokio::time::interval(SAMPLE_EVERY);
        loop {
            ticks.tick().await;
            drop(self.look(&self.overview.facts()));
        }
    }

    /// The page. `draining`: the program was told to stop.
    pub(super) fn html(&self, draining: bool) -> String {
        page::render(&self.picture(draining))
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// None in practice: every value has a form in JSON.
    pub(super) fn json(&self, draining: bool) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec(&self.picture(draining))?;
        text.push(b'\n');
        Ok(text)
    }

    fn picture(&self, draining: bool) -> Picture {
        let facts = self.overview.facts();
        let minutes = self.look(&facts);
        draw::Draw {
            metrics: &self.metrics,
            minutes: &minutes,
            minute: minute(&facts),
            now: Moment::new(facts.now),
            draining,
        }
        .picture(facts, self.decisions.latest())
    }

    /// Brings the last hour up to this moment.
    fn look(&self, facts: &Facts) -> MutexGuard<'_, Minutes> {
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = minute(facts);
        let unrouted = Arc::from(numbers::UNROUTED);
        let names = facts.routes.iter().map(|route| &route.name);
        for name in names.clone().chain([&unrouted]) {
            minutes.note(name, minute, numbers::counted(&self.metrics, name));
        }
        let known: HashSet<&str> = names
            .map(AsRef::as_ref)
            .chain([numbers::UNROUTED])
            .collect();
        minutes.keep(|name| known.contains(name));
        minutes
    }
}

fn minute(facts: &Facts) -> u64 {
    Moment::new(facts.now).seconds() / SAMPLE_EVERY.as_secs()
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::telemetry::{ConfiguredListener, Decision, Labels};

    const HOSTILE: &str = "</style></td><script>alert(\"1\")</script>&amp;'<b-hostile x=\"";
    const LABELS: Labels = Labels {
        outcomes: &["forwarded", "challenge", "rejected", "error"],
        reasons: &["token_missing"],
        challenge_methods: &["get"],
        challenge_results: &["answered"],
        upstream_errors: &["refused"],
        codes: &["200"],
        upstream_codes: &["200"],
        tls_versions: &["TLSv1.3"],
        tls_failures: &["io"],
        connection_ends: &["peer"],
        proxy_faults: &["closed"],
    };

    /// Every text of it is hostile, though the configuration would not let most of them through.
    struct Hostile(SystemTime);

    impl Overview for Hostile {
        fn facts(&self) -> Facts {
            let name: Arc<str> = HOSTILE.into();
            Facts {
                now: self.0,
                tls_provider: HOSTILE,
                started: 0,
                configuration: name.clone(),
                loaded: 0,
                audit: AuditFacts::Refusing,
                reload: Some(ReloadFacts {
                    at: 0,
                    trigger: HOSTILE.to_owned(),
                    taken_up: false,
                    findings: vec![HOSTILE.to_owned(); 30],
                    settings: vec![HOSTILE.to_owned()],
                }),
                listeners: vec![ListenerFacts {
                    name: name.clone(),
                    address: ([127, 0, 0, 1], 1).into(),
                    tls: true,
                    limit: 1,
                }],
                routes: vec![RouteFacts {
                    name: name.clone(),
                    pattern: HOSTILE.to_owned(),
                    upstream: name.clone(),
                    maintenance: true,
                    tokens: vec![TokenFacts {
                        id: name.clone(),
                        last_used: Some(1),
                        not_after: Some(u64::MAX),
                    }],
                }],
                certificates: vec![CertificateFacts {
                    name: name.clone(),
                    listener: name.clone(),
                    names: vec![HOSTILE.into()],
                    serial: HOSTILE.into(),
                    not_before: 0,
                    not_after: 1,
                }],
                upstreams: vec![UpstreamFacts {
                    name: name.clone(),
                    endpoints: vec![EndpointFacts {
                        name,
                        up: Some(false),
                        passed_over: Some(Duration::from_secs(3)),
                    }],
                    last_error: Some((HOSTILE, 1)),
                    limit: Some(1),
                }],
            }
        }
    }

    #[test]
    fn no_text_can_leave_its_place() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        let listener = ConfiguredListener {
            name: HOSTILE.into(),
            limit: 1,
        };
        let metrics = Metrics::new(LABELS, vec![listener]);
        let _worker = metrics.worker();
        let decisions = Decisions::default();
        decisions.ring().write(Decision {
            time: now,
            duration: Duration::from_millis(1),
            ended: std::time::Instant::now(),
            request_id: HOSTILE.to_owned(),
            listener: HOSTILE.into(),
            route: HOSTILE.into(),
            outcome: HOSTILE,
            reason: Some(HOSTILE),
            token_id: Some(HOSTILE.into()),
            status: None,
        });
        let status = Status::new(Arc::new(Hostile(now)), metrics, decisions);
        let page = status.html(false);
        let body = page.split_once("</head>").unwrap().1;
        let body = body.trim_end_matches("</html>");
        let document = roxmltree::Document::parse(body).unwrap();
        let elements = document.descendants().filter(roxmltree::Node::is_element);
        for element in elements {
            let name = element.tag_name().name();
            assert!(!["script", "style", "b-hostile"].contains(&name), "{name}");
        }
        let texts: String = document
            .descendants()
            .filter_map(|node| node.text())
            .collect();
        // As often as it was put in, whole; lists are cut at 20.
        assert!(texts.matches(HOSTILE).count() > 35, "{texts}");
        assert!(!page.split_once("</head>").unwrap().0.contains("alert("));
        let json: serde_json::Value = serde_json::from_slice(&status.json(true).unwrap()).unwrap();
        assert_eq!(json["decisions"][0]["request_id"], HOSTILE);
        assert_eq!(
            json["configuration"]["last_reload"]["findings"]["left_out"],
            10
        );
    }
}
