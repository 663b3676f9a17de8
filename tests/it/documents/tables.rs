//! Tables of the documents that repeat what the code knows: reasons with their statuses, fields of the access line.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, SystemTime};

use countersign::gateway::{Refusal, Stop, UpstreamError};
use countersign::telemetry::{AccessEntry, AccessLog, AccessSink, Format};
use prometheus::IntCounter;

use super::markdown::{prose, rows, split_code};
use super::root;

/// Every reason with the status that the sender gets, `none` where there is nobody to tell.
fn reasons() -> BTreeMap<String, String> {
    let refusals = Refusal::ALL.iter().map(|refusal| Stop::Refused(*refusal));
    let failures = UpstreamError::ALL.iter().map(|error| Stop::Failed(*error));
    refusals
        .chain(failures)
        .chain([Stop::SenderLeft, Stop::Cut])
        .map(|stop| {
            let status = stop.status().map(|status| status.as_u16().to_string());
            let status = status.unwrap_or_else(|| "none".to_owned());
            (stop.reason().to_owned(), status)
        })
        .collect()
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// From a table whose first column has reasons and whose second one their statuses, in the same order or one for all.
fn told(text: &str, heading: &str) -> BTreeMap<String, String> {
    let mut told = BTreeMap::new();
    for row in rows(text, heading) {
        let names = split_code(&row[0]).0;
        let statuses: Vec<&str> = row[1].split(", ").collect();
        for (at, name) in names.into_iter().enumerate() {
            let status = statuses.get(at).or(statuses.last()).unwrap();
            let before = told.insert(name.clone(), (*status).to_owned());
            assert_eq!(before, None, "{name} is there twice");
        }
    }
    told
}

#[test]
fn the_verdict_reference_has_every_reason_with_its_status() {
    let text = page("docs/verdicts.md");
    assert_eq!(told(&text, "## At a glance"), reasons());
    let mut entries = BTreeMap::new();
    for entry in prose(&text).split("\n### ").skip(1) {
        let (heading, rest) = entry.split_once('\n').unwrap();
        let entry = rest.split("\n## ").next().unwrap();
        let name = heading.trim_matches('`').to_owned();
        for part in [
            "**Sent:**",
            "**Means:**",
            "**The sender:**",
            "**Who acts:**",
            "**Look first:**",
        ] {
            assert_eq!(entry.matches(part).count(), 1, "{name}: {part}");
        }
        let sent = entry.split_once("**Sent:** ").unwrap().1;
        let status = sent.split([',', '.', ' ', '\n']).next().unwrap();
        assert_eq!(
            entries.insert(name.clone(), status.to_owned()),
            None,
            "{name} twice"
        );
    }
    assert_eq!(entries, reasons());
}

#[test]
fn the_readme_has_every_reason_with_its_status() {
    let heading = "## How Redox verifies, and what you see";
    assert_eq!(told(&page("README.md"), heading), reasons());
}

/// Hands on what is written.
struct Kept(Sender<Vec<u8>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(std::io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The fields of an access line that has them all.
pub(super) fn access_fields() -> Vec<String> {
    let entry = AccessEntry {
        time: SystemTime::UNIX_EPOCH,
        request_id: "a",
        listener: "b",
        route: "c",
        outcome: "error",
        reason: Some("upstream_reset"),
        token_id: Some("d"),
        method: "POST",
        status: Some(502),
        received: 1,
        sent: 2,
        duration: Duration::from_secs(1),
        upstream_duration: Some(Duration::from_secs(1)),
        peer: SocketAddr::from(([192, 0, 2, 1], 4)),
        client: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        upstream: Some("e"),
    };
    let (sender, kept) = channel();
    let dropped = IntCounter::new("dropped", "dropped").unwrap();
    let (sink, writer) = AccessSink::start(Kept(sender), Format::Json, dropped).unwrap();
    let log = AccessLog::new(sink);
    log.write(&entry);
    drop(log);
    assert!(writer.join());
    let line: Vec<u8> = kept.iter().flatten().collect();
    let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_page_on_logs_has_every_field() {
    let told = |heading| -> Vec<String> {
        let rows = rows(&page("docs/logs.md"), heading);
        let mut names: Vec<String> = rows.iter().flat_map(|row| split_code(&row[0]).0).collect();
        names.sort();
        names
    };
    let mut known = access_fields();
    known.sort();
    assert_eq!(told("## Fields of an access line"), known);
    assert_eq!(told("## In the Elastic Common Schema"), known);
}
