//! The gateway of this project before a probe: right, in each way that it can be set up, and its backend is left alone.

use std::path::Path;
use std::process::{Command, Stdio};

use countersign::probe::{Group, Probe, Report, Target, Verdict, run};
use rustls_pki_types::CertificateDer;

use super::certificates::shown;
use super::flaw::Flaw;
use super::tables::compare_whole;
use super::{check_form, probe, step, with};
use crate::support::{Backend, Environment, Gateway, Place, Program, Reply, TOKEN, text};

/// With its limit on failures as it is by default.
const LIMIT: &str = "failed_verifications: { rate: 30/min, burst: 60 }";

/// A folder with a certificate of an authority's; and the authority.
fn place() -> (Place, CertificateDer<'static>) {
    let (place, shown) = (Place::new(""), shown(Flaw::None));
    place.write("certificate.pem", &shown.chain_pem);
    place.write("key.pem", &shown.key_pem);
    place.write("ca.pem", &shown.authority_pem);
    (place, shown.authority)
}

fn configuration(backend: &Backend, place: &Place, route: &str) -> String {
    let files = format!(
        "{{ certificate: {}, key: {} }}",
        place.path("certificate.pem").display(),
        place.path("key.pem").display()
    );
    let text = text(&format!("http://{}", backend.address()), LIMIT, route);
    text.replace("{ self_signed: [localhost] }", &files)
}

/// What is said of a gateway with this in its route, and the bodies that its backend saw.
fn real(route: &str, sample: bool) -> (Report, Vec<Vec<u8>>) {
    let (place, authority) = place();
    let backend = Backend::with(|_| Reply::Ok("stored"));
    let text = configuration(&backend, &place, route);
    let gateway = Gateway::from_text(&text, &Environment::default());
    let report = run(&Probe {
        sample,
        ..probe(gateway.tls_address(), authority)
    });
    check_form(&report);
    drop(gateway.finish());
    let requests = backend.requests();
    if !sample {
        assert_eq!(backend.connections(), 0, "{route}");
    }
    let bodies = requests.into_iter().map(|request| request.body);
    (report, bodies.collect())
}

/// A `verify` with more in it.
fn verify(more: &str) -> String {
    format!("verify: {{ scheme: redox, tokens: [{{ id: a, env: REDOX_TOKEN }}], {more} }}")
}

#[test]
fn it_is_right_in_any_way_it_is_set_up_and_its_backend_sees_nothing() {
    for route in [
        String::new(),
        "on_reject: close".to_owned(),
        verify("reply: json"),
        verify("authorization_bearer: true"),
    ] {
        let (report, bodies) = real(&route, false);
        assert!(report.is_right(), "{route}\n{}", report.text(false));
        assert_eq!(with(&report, Verdict::Skipped), ["sample"].into());
        assert_eq!(with(&report, Verdict::Warning), [].into(), "{route}");
        assert_eq!(with(&report, Verdict::Unclear), [].into(), "{route}");
        assert_eq!(bodies, Vec::<Vec<u8>>::new(), "{route}");
        if route.is_empty() {
            compare_whole("right", &report);
        }
    }
}

#[test]
fn where_it_answers_no_challenge_that_is_wrong_and_nothing_else() {
    let (report, bodies) = real(&verify("challenge: off"), false);
    let answers = [
        "challenge-post",
        "challenge-post-spaced",
        "challenge-get",
        "challenge-get-header",
        "connection-after",
    ];
    assert_eq!(with(&report, Verdict::Wrong), answers.into());
    assert_eq!(bodies, Vec::<Vec<u8>>::new());
}

#[test]
fn in_maintenance_only_the_sample_is_wrong() {
    let (report, bodies) = real("maintenance: true", true);
    assert_eq!(with(&report, Verdict::Wrong), ["sample"].into());
    assert_eq!(step(&report, "sample").seen, "503");
    assert_eq!(bodies, Vec::<Vec<u8>>::new());
}

#[test]
fn it_forwards_the_sample_and_nothing_else() {
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
    let of_tls = report.steps.iter().filter(|step| step.group == Group::Tls);
    assert_eq!(of_tls.count(), 1);
    assert_eq!(backend.connections(), 0);
}

/// Both as their users start them: two processes, and nothing between them but the network.
#[test]
fn one_process_probes_another() {
    let (place, _) = place();
    let backend = Backend::with(|_| Reply::Ok("stored"));
    place.write("gateway.yaml", &configuration(&backend, &place, ""));
    place.write("token", &format!("{TOKEN}\n"));
    let program = Program::start(&mut place.command());
    let port = program.tls.port();
    let probe = |more: &[&str]| {
        let output = Command::new(Path::new(env!("CARGO_BIN_EXE_countersign")))
            .args(["probe", &format!("https://localhost:{port}/redox")])
            .args(["--token-file", "token", "--ca", "ca.pem"])
            .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
            .args(more)
            .current_dir(place.path(""))
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("CANARY"), "{text}");
        assert_eq!(
            (output.status.code(), &*output.stderr),
            (Some(0), &b""[..]),
            "{text}"
        );
    };
    probe(&[]);
    assert_eq!(backend.connections(), 0);
    // Within the same minute: what is refused for failures before it is refused still.
    probe(&["--send-sample", "--format", "json"]);
    assert_eq!(backend.requests().len(), 1);
    program.signal("-TERM");
    assert_eq!(program.end(), Some(0));
}
