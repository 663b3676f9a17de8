//! `countersign probe`: a right gateway is right, and each of many broken ones is caught by the step that is about it.
//!
//! The gateways are small servers over real TLS with exactly one flaw each; and the real one. With a flaw, the test
//! wants to see the steps named beside it wrong, and no other.

mod certificates;
mod command;
mod flaw;
mod judgement;
mod model;
mod real;
mod slow;
mod tables;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use countersign::probe::{Probe, Report, Resolve, Seed, Step, Target, Token, Verdict, run};
use rustls_pki_types::CertificateDer;

use self::flaw::{Caught, Flaw, RIGHT, flaws};
use self::model::Model;
use self::tables::Tables;
use crate::support::{PATIENCE, TOKEN, now};

/// A probe of `/redox` at `localhost`, found at this address.
fn probe(address: SocketAddr, authority: CertificateDer<'static>) -> Probe {
    let resolve: Resolve = format!("localhost:{}:{}", address.port(), address.ip())
        .parse()
        .unwrap();
    let url = format!("https://localhost:{}/redox", address.port());
    Probe {
        target: Target::new(&url, Some(&resolve)).unwrap(),
        token: Token::new(TOKEN.to_owned()).unwrap(),
        roots: vec![authority],
        now: now().0,
        seed: Seed(countersign_seed(address.port())),
        timeout: PATIENCE,
        sample: false,
    }
}

/// Another one for each test; the kernel gives ports.
fn countersign_seed(port: u16) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&port.to_be_bytes());
    seed
}

fn probe_model(flaw: Flaw) -> (Model, Report) {
    let model = Model::with(flaw);
    let mut probe = probe(model.address, model.authority.clone());
    if flaw == Flaw::HangsOnMissing {
        // This flaw takes all of it; the other steps have to do with it on a busy machine.
        probe.timeout = Duration::from_secs(5);
    }
    let report = run(&probe);
    check_form(&report);
    (model, report)
}

/// What holds for every report.
fn check_form(report: &Report) {
    for text in [report.text(false), report.json()] {
        assert!(!text.contains("CANARY"), "{text}");
    }
    for line in report.text(false).lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
    for step in &report.steps {
        let told = step.advice.is_some();
        assert!(
            told || !matches!(step.verdict, Verdict::Wrong | Verdict::Warning),
            "{step:?}"
        );
    }
    let names: BTreeSet<&str> = report.steps.iter().map(|step| step.id).collect();
    assert_eq!(names.len(), report.steps.len(), "a name is there twice");
}

fn with(report: &Report, verdict: Verdict) -> BTreeSet<&'static str> {
    let same = report.steps.iter().filter(|step| step.verdict == verdict);
    same.map(|step| step.id).collect()
}

fn step<'r>(report: &'r Report, id: &str) -> &'r Step {
    report.steps.iter().find(|step| step.id == id).unwrap()
}

#[test]
fn right_gateways_are_right_in_any_way_they_like() {
    for flaw in RIGHT {
        let (model, report) = probe_model(flaw);
        assert!(report.is_right(), "{flaw:?}\n{}", report.text(false));
        assert_eq!(model.forwarded().len(), 0, "{flaw:?}");
        // What a limit refuses says nothing, and a right gateway has no other reason to say nothing.
        let unclear = with(&report, Verdict::Unclear);
        assert_eq!(
            unclear.contains("token-wrong"),
            flaw == Flaw::LimitsFailures
        );
        assert!(
            unclear.is_empty() || flaw == Flaw::LimitsFailures,
            "{unclear:?}"
        );
        let skipped = BTreeSet::from(["sample"]);
        assert_eq!(with(&report, Verdict::Skipped), skipped, "{flaw:?}");
        let warned = if flaw == Flaw::EndsSoon {
            BTreeSet::from(["certificate-days"])
        } else {
            BTreeSet::new()
        };
        assert_eq!(with(&report, Verdict::Warning), warned, "{flaw:?}");
    }
}

#[test]
fn each_flaw_is_caught_by_the_step_that_is_about_it() {
    let (_model, right) = probe_model(Flaw::None);
    let mut tables = Tables::default();
    let refused = |fits: &dyn Fn(&Step) -> bool| -> BTreeSet<&str> {
        let steps = right
            .steps
            .iter()
            .filter(|step| step.expected == "refused" && step.id != "tls-old");
        steps
            .filter(|step| fits(step))
            .map(|step| step.id)
            .collect()
    };
    for (flaw, caught) in flaws() {
        let (model, report) = probe_model(flaw);
        let mut expected = match caught {
            Caught::By(steps) => steps.iter().copied().collect(),
            // After GET, HEAD and OPTIONS these are not tried.
            Caught::ByAllRefusals => {
                refused(&|step| !["method-put", "method-patch", "method-delete"].contains(&step.id))
            }
            Caught::ByRefusals401 => refused(&|step| step.seen == "401"),
        };
        if flaw == Flaw::CutsRefusals {
            expected.insert("connection-after");
        }
        assert!(!expected.is_empty());
        assert_eq!(
            with(&report, Verdict::Wrong),
            expected,
            "{flaw:?}\n{}",
            report.text(false)
        );
        assert!(!report.is_right());
        // A broken gateway may forward what it should have refused, and even then no message reaches a backend.
        for body in model.forwarded() {
            let body = String::from_utf8_lossy(&body).into_owned();
            assert!(!body.contains("Meta"), "{flaw:?}: {body}");
        }
        tables.add(&format!("{flaw:?}"), &report);
    }
    tables.compare("flaws");
}

#[test]
fn what_changes_things_is_not_tried_where_methods_get_through() {
    let (model, report) = probe_model(Flaw::AnyMethod);
    for id in ["method-put", "method-patch", "method-delete"] {
        assert_eq!(step(&report, id).verdict, Verdict::Skipped);
    }
    assert_eq!(model.forwarded().len(), 3);
}

#[test]
fn the_token_is_shown_only_to_whom_the_certificate_names() {
    for flaw in [
        Flaw::WrongName,
        Flaw::MissingIntermediate,
        Flaw::SelfSigned,
        Flaw::UnknownAuthority,
    ] {
        let (model, report) = probe_model(flaw);
        assert!(!model.saw_token(), "{flaw:?}");
        assert_eq!(
            step(&report, "challenge-post").seen,
            "certificate not trusted",
            "{flaw:?}"
        );
        // What needs no token is still looked at.
        assert_eq!(
            step(&report, "token-wrong").verdict,
            Verdict::Ok,
            "{flaw:?}"
        );
    }
    let (model, report) = probe_model(Flaw::Expired);
    assert!(model.saw_token());
    assert_eq!(step(&report, "challenge-post").verdict, Verdict::Ok);
}

#[test]
fn the_sample_is_sent_once_and_only_when_asked_for() {
    let model = Model::with(Flaw::None);
    let report = run(&Probe {
        sample: true,
        ..probe(model.address, model.authority.clone())
    });
    assert!(report.is_right(), "{}", report.text(false));
    assert_eq!(step(&report, "sample").verdict, Verdict::Ok);
    assert_eq!(model.forwarded().len(), 1);
}

#[test]
fn every_step_is_in_the_document() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/probe.md")).unwrap();
    let (_model, report) = probe_model(Flaw::None);
    let explained = |id: &str| {
        let mut rows = document.lines().filter(|line| line.starts_with("| `"));
        rows.any(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
            cells[0].contains(&format!("`{id}`")) && cells.len() == 3
        })
    };
    for step in &report.steps {
        assert!(explained(step.id), "{} is not explained", step.id);
    }
    assert!(explained("tls-old") && !explained("tls-older"));
    // The one that stands in for TLS.
    assert!(document.contains("One step `tls`"));
}
