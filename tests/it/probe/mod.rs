//! `countersign probe`: a right gateway is right, and each of many broken ones is caught by the step that is about it.
//!
//! The gateways are small servers over real TLS with exactly one flaw each; and the real one. With a flaw, the test
//! wants to see the steps named beside it wrong, and no other.

mod certificates;
mod command;
mod flaw;
mod judgement;
mod model;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use countersign::probe::{Probe, Report, Resolve, Seed, Step, Target, Token, Verdict, run};
use rustls_pki_types::CertificateDer;

use self::flaw::{Caught, Flaw, RIGHT, flaws};
use self::model::Model;
use crate::support::{Backend, Environment, Gateway, PATIENCE, Place, Reply, TOKEN, now, text};

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
        probe.timeout = Duration::from_secs(2);
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
        assert_eq!(model.forwarded(), 0, "{flaw:?}");
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
        let (_model, report) = probe_model(flaw);
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
    }
}

#[test]
fn what_changes_things_is_not_tried_where_methods_get_through() {
    let (model, report) = probe_model(Flaw::AnyMethod);
    for id in ["method-put", "method-patch", "method-delete"] {
        assert_eq!(step(&report, id).verdict, Verdict::Skipped);
    }
    assert_eq!(model.forwarded(), 3);
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
    assert_eq!(model.forwarded(), 1);
}

/// The gateway of this project, with its limit on failures as it is by default, and a backend.
fn real(reply: &str, sample: bool) -> (Report, Vec<Vec<u8>>) {
    let place = Place::new("");
    let authority = place.write_certificate();
    let backend = Backend::with(|_| Reply::Ok("stored"));
    let files = format!(
        "{{ certificate: {}, key: {} }}",
        place.path("certificate.pem").display(),
        place.path("key.pem").display()
    );
    let limit = "failed_verifications: { rate: 30/min, burst: 60 }";
    let text = text(&format!("http://{}", backend.address()), limit, reply);
    let text = text.replace("{ self_signed: [localhost] }", &files);
    let gateway = Gateway::from_text(&text, &Environment::default());
    let report = run(&Probe {
        sample,
        ..probe(gateway.tls_address(), CertificateDer::from(authority))
    });
    check_form(&report);
    drop(gateway.finish());
    let bodies = backend
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    (report, bodies)
}

#[test]
fn the_real_gateway_is_right_and_its_backend_sees_nothing() {
    for reply in ["", "on_reject: close"] {
        let (report, bodies) = real(reply, false);
        assert!(report.is_right(), "{reply}\n{}", report.text(false));
        assert_eq!(with(&report, Verdict::Skipped), BTreeSet::from(["sample"]));
        assert_eq!(bodies, Vec::<Vec<u8>>::new(), "{reply}");
    }
}

#[test]
fn the_real_gateway_forwards_the_sample_and_nothing_else() {
    let (report, bodies) = real("", true);
    assert!(report.is_right(), "{}", report.text(false));
    assert_eq!(step(&report, "sample").seen, "200");
    assert_eq!(bodies.len(), 1);
    assert!(String::from_utf8_lossy(&bodies[0]).contains("synthetic sample"));
}

#[test]
fn plain_http_on_this_machine_is_probed_without_tls() {
    let backend = Backend::with(|_| Reply::Ok("stored"));
    let gateway = Gateway::before(&backend);
    let url = format!("http://{}/redox", gateway.plain_address());
    let report = run(&Probe {
        target: Target::new(&url, None).unwrap(),
        roots: Vec::new(),
        ..probe(gateway.plain_address(), CertificateDer::from(Vec::new()))
    });
    assert!(report.is_right(), "{}", report.text(false));
    assert_eq!(step(&report, "tls").verdict, Verdict::Info);
    assert_eq!(backend.requests().len(), 0);
}

#[test]
fn where_nobody_listens_the_rest_is_skipped() {
    // Bound, and gone again: nobody has the port.
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let report = run(&probe(address, Model::with(Flaw::None).authority.clone()));
    check_form(&report);
    assert_eq!(with(&report, Verdict::Wrong), BTreeSet::from(["tcp"]));
    assert_eq!(step(&report, "tcp").seen, "refused");
    let others: Vec<&Step> = report.steps.iter().skip(2).collect();
    assert!(others.len() > 50);
    assert!(others.iter().all(|step| step.verdict == Verdict::Skipped));
}

#[test]
fn a_gateway_that_says_nothing_costs_no_more_time_than_promised() {
    // It accepts, in the kernel's queue, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/redox", listener.local_addr().unwrap());
    let timeout = Duration::from_millis(200);
    let report = run(&Probe {
        target: Target::new(&url, None).unwrap(),
        timeout,
        ..probe(
            listener.local_addr().unwrap(),
            CertificateDer::from(Vec::new()),
        )
    });
    check_form(&report);
    assert_eq!(step(&report, "challenge-post").seen, "no answer in time");
    assert_eq!(step(&report, "sample").verdict, Verdict::Skipped);
    assert!(report.steps.iter().any(|step| step.seen == "out of time"));
    assert!(
        report.duration < timeout * 6 + Duration::from_secs(5),
        "{:?}",
        report.duration
    );
}

#[test]
fn every_step_is_in_the_document() {
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/probe.md")).unwrap();
    let (_model, report) = probe_model(Flaw::None);
    for step in &report.steps {
        assert!(
            document.contains(&format!("`{}`", step.id)),
            "{} is not explained",
            step.id
        );
    }
}

/// Prints what a probe says of each gateway here: `cargo test --test it probe::show -- --ignored --nocapture`.
#[test]
#[ignore = "prints for people"]
fn show_what_is_said_of_each_flaw() {
    for flaw in RIGHT
        .into_iter()
        .chain(flaws().into_iter().map(|(flaw, _)| flaw))
    {
        let (_model, report) = probe_model(flaw);
        println!("=== {flaw:?}\n{}", report.text(false));
    }
}
