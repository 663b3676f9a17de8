//! The gateway under test: the same rooms, wired by the same code as in `countersign run`.
//!
//! When it goes, it is stopped and looked at: no canary in the access log or the metrics, and as many access
//! lines as requests were counted.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use countersign::cli::serve::{Serving, Start, start};
use countersign::config::{self, Unusable};
use countersign::server::Stop;
use countersign::telemetry::Format;
use countersign::verify::UnixTime;
use rustls_pki_types::CertificateDer;
use serde_json::Value;

use super::sender::Connection;
use super::{Backend, CHALLENGE, Http2, OLD_TOKEN, PATIENCE, TOKEN};

/// The time at which configurations are read: real, because the gateway's clock is.
#[expect(
    clippy::disallowed_methods,
    reason = "the gateway under test reads the same clock"
)]
pub(crate) fn now() -> UnixTime {
    let now = std::time::SystemTime::now();
    UnixTime(now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs())
}

/// A machine with two secrets and a trust store of the test's choice.
#[derive(Default)]
pub(crate) struct Environment {
    pub(crate) trust: Vec<CertificateDer<'static>>,
}

impl config::Environment for Environment {
    fn variable(&self, name: &str) -> Result<String, Unusable> {
        match name {
            "REDOX_TOKEN" => Ok(TOKEN.to_owned()),
            "REDOX_TOKEN_OLD" => Ok(OLD_TOKEN.to_owned()),
            _ => Err(Unusable::Unset),
        }
    }

    fn resolve(&self, host: &str) -> Vec<IpAddr> {
        if host == "localhost" {
            vec![IpAddr::from([127, 0, 0, 1])]
        } else {
            Vec::new()
        }
    }

    fn trust_roots(&self) -> Vec<CertificateDer<'static>> {
        self.trust.clone()
    }

    fn processors(&self) -> usize {
        1
    }
}

/// Collects what is written to the access log.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// See the module.
pub(crate) struct Gateway {
    serving: Option<Serving>,
    log: Collected,
    addresses: Vec<SocketAddr>,
    admin: SocketAddr,
}

/// What a gateway left behind.
pub(crate) struct Story {
    pub(crate) metrics: String,
    pub(crate) lines: Vec<Value>,
}

impl Gateway {
    /// One route `/redox` in front of `backend`.
    pub(crate) fn before(backend: &Backend) -> Self {
        Self::with(backend, "", "")
    }

    /// The same, with more lines at the top level of the file and in the route.
    pub(crate) fn with(backend: &Backend, top: &str, route: &str) -> Self {
        let url = format!("http://{}", backend.address());
        Self::towards(&url, top, route)
    }

    /// The same, towards any upstream.
    pub(crate) fn towards(url: &str, top: &str, route: &str) -> Self {
        Self::from_text(&text(url, top, route), &Environment::default())
    }

    /// The same with more lines at the top level, and room for so many connections on the plain listener.
    pub(crate) fn with_room(backend: &Backend, top: &str, connections: usize) -> Self {
        let plain = "insecure_plaintext: true";
        let limited = format!("{plain}\n    max_connections: {connections}");
        let text = text(&format!("http://{}", backend.address()), top, "");
        Self::from_text(&text.replace(plain, &limited), &Environment::default())
    }

    /// From a whole file. The first listener is TLS, the second plain.
    pub(crate) fn from_text(text: &str, environment: &Environment) -> Self {
        Self::adjusted(text, environment, |_| {})
    }

    /// The same, with changes to what no file can set.
    pub(crate) fn adjusted(
        text: &str,
        environment: &Environment,
        adjust: impl FnOnce(&mut config::Compiled),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, text).unwrap();
        let report = config::load(&file, environment, now());
        let mut compiled = report
            .compiled
            .unwrap_or_else(|| panic!("{:?}", report.findings));
        adjust(&mut compiled);
        let log = Collected::default();
        let serving = start(
            compiled,
            Start {
                access: Some((Box::new(log.clone()), Format::Json)),
                ..Start::default()
            },
        )
        .unwrap();
        let addresses = serving.addresses().to_vec();
        let admin = serving.admin_address().unwrap();
        Self {
            serving: Some(serving),
            log,
            addresses,
            admin,
        }
    }

    fn serving(&self) -> &Serving {
        self.serving.as_ref().unwrap()
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn tls_address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn plain_address(&self) -> SocketAddr {
        self.addresses[1]
    }

    /// Of the listener at this position.
    pub(crate) fn address(&self, position: usize) -> SocketAddr {
        self.addresses[position]
    }

    /// HTTP/1.1 over TLS.
    pub(crate) fn connect(&self) -> Connection {
        Connection::tls(self.tls_address())
    }

    /// HTTP/1.1 without TLS.
    pub(crate) fn connect_plain(&self) -> Connection {
        Connection::plain(self.plain_address())
    }

    /// HTTP/2 over TLS.
    pub(crate) fn connect_http2(&self) -> Http2 {
        Http2::connect(self.tls_address())
    }

    pub(crate) fn stop(&self, stop: Stop) {
        self.serving().stop(stop);
    }

    /// Takes up another configuration.
    pub(crate) fn reload(&mut self, text: &str) -> Result<(), Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, text).unwrap();
        let report = config::load(&file, &Environment::default(), now());
        let serving = self.serving.as_mut().unwrap();
        let compiled = report
            .compiled
            .unwrap_or_else(|| panic!("{:?}", report.findings));
        serving.reload(compiled, "signal")
    }

    /// Offers a configuration that is not valid.
    pub(crate) fn offer_invalid(&mut self, text: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.yaml");
        std::fs::write(&file, text).unwrap();
        let report = config::load(&file, &Environment::default(), now());
        assert!(report.compiled.is_none(), "it is valid");
        self.serving().reload_failed("signal", &report.findings);
    }

    pub(crate) fn metrics(&self) -> String {
        String::from_utf8(self.serving().metrics().render().unwrap()).unwrap()
    }

    /// Waits until the metrics hold this line: counters move when an answer has gone out, which its reader may
    /// see a moment earlier.
    pub(crate) fn wait_for_metric(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.metrics().lines().any(|other| other == line) {
            assert!(
                Instant::now() < deadline,
                "{line} did not come, but\n{}",
                self.metrics()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Drains, waits for the end and tells what happened.
    pub(crate) fn finish(mut self) -> Story {
        let story = self.end(Stop::Drain).expect("ended once");
        story.check();
        story
    }

    fn end(&mut self, stop: Stop) -> Option<Story> {
        let serving = self.serving.take()?;
        let metrics = serving.metrics().clone();
        serving.stop(stop);
        assert!(serving.join(), "a worker failed");
        let metrics = String::from_utf8(metrics.render().unwrap()).unwrap();
        let log = String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap();
        let lines = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        Some(Story { metrics, lines })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Some(story) = self.end(Stop::Now) {
            story.check();
        }
    }
}

/// A configuration file with both listeners and one route.
pub(crate) fn text(url: &str, top: &str, route: &str) -> String {
    let indent = |text: &str| {
        text.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    let tokens = if route.contains("verify:") {
        ""
    } else {
        "    verify: { scheme: redox, tokens: [{ id: current, env: REDOX_TOKEN }, { id: previous, env: REDOX_TOKEN_OLD }] }\n"
    };
    let upstream = if route.contains("upstream:") {
        String::new()
    } else {
        format!("    upstream: {{ url: \"{url}\" }}\n")
    };
    let path = if route.contains("path:") {
        "name: redox"
    } else {
        "path: /redox\n    name: redox"
    };
    let workers = if top.contains("workers:") {
        ""
    } else {
        "workers: 1\n"
    };
    // Tests refuse more than an address may have refused; the limit has tests of its own.
    let failures = if top.contains("failed_verifications:") {
        ""
    } else {
        "failed_verifications: off\n"
    };
    format!(
        "listeners:\n  - name: public\n    address: 127.0.0.1:0\n    tls: {{ self_signed: [localhost] }}\n\
         \x20 - name: plain\n    address: 127.0.0.1:0\n    insecure_plaintext: true\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n{workers}{failures}{top}\n\
         routes:\n  - {path}\n{tokens}{upstream}{}",
        indent(route)
    )
}

impl Story {
    /// The invariants of every gateway, whatever was done to it.
    fn check(&self) {
        let lines: Vec<String> = self.lines.iter().map(Value::to_string).collect();
        for text in lines.iter().chain([&self.metrics]) {
            for canary in [TOKEN, OLD_TOKEN, CHALLENGE, "CANARY"] {
                assert!(!text.contains(canary), "{canary} in {text}");
            }
        }
        let counted = self.sum("countersign_requests_total{");
        assert_eq!(
            counted,
            self.lines.len() as f64,
            "requests counted and lines logged differ: {lines:#?}"
        );
    }

    /// The sum of all series that begin like this.
    pub(crate) fn sum(&self, prefix: &str) -> f64 {
        let values = self.metrics.lines().filter(|line| line.starts_with(prefix));
        values
            .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
            .sum()
    }

    /// The value of one series.
    pub(crate) fn value(&self, series: &str) -> f64 {
        let line = self.metrics.lines().find(|line| {
            line.rsplit_once(' ')
                .is_some_and(|(name, _)| name == series)
        });
        line.unwrap_or_else(|| panic!("no {series} in\n{}", self.metrics))
            .rsplit_once(' ')
            .unwrap()
            .1
            .parse()
            .unwrap()
    }

    /// The only line.
    pub(crate) fn only_line(&self) -> &Value {
        assert_eq!(self.lines.len(), 1, "{:#?}", self.lines);
        &self.lines[0]
    }

    /// Outcome and reason of every line, in order.
    pub(crate) fn outcomes(&self) -> Vec<(&str, &str)> {
        self.lines
            .iter()
            .map(|line| (field(line, "outcome"), field(line, "reason")))
            .collect()
    }
}

fn field<'l>(line: &'l Value, key: &str) -> &'l str {
    line.get(key).and_then(Value::as_str).unwrap_or("")
}
