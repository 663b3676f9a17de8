//! Peers that are not there, or do not come to an end: a probe does, in the time that it promises.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use countersign::probe::{Probe, Report, Step, Target, Verdict, run};
use rustls_pki_types::CertificateDer;

use super::flaw::Flaw;
use super::model::Model;
use super::{check_form, probe, step, with};
use crate::support::Nobody;

/// So short that a test can wait for it.
const TIMEOUT: Duration = Duration::from_millis(200);
/// What a busy machine may take beyond what is promised.
const LENIENCE: Duration = Duration::from_secs(5);

fn report(url: &str, address: SocketAddr) -> Report {
    let report = run(&Probe {
        target: Target::new(url, None).unwrap(),
        timeout: TIMEOUT,
        ..probe(address, CertificateDer::from(Vec::new()))
    });
    check_form(&report);
    assert!(!report.is_right());
    assert!(
        report.duration < TIMEOUT * 6 + LENIENCE,
        "{:?}",
        report.duration
    );
    report
}

#[test]
fn where_nobody_listens_the_rest_is_skipped() {
    let nobody = Nobody::new();
    let report = run(&probe(
        nobody.address(),
        Model::with(Flaw::None).authority.clone(),
    ));
    check_form(&report);
    assert_eq!(with(&report, Verdict::Wrong), ["tcp"].into());
    assert_eq!(step(&report, "tcp").seen, "refused");
    let others: Vec<&Step> = report.steps.iter().skip(2).collect();
    assert!(others.len() > 50);
    assert!(others.iter().all(|step| step.verdict == Verdict::Skipped));
}

#[test]
fn a_gateway_that_says_nothing_costs_no_more_time_than_promised() {
    // It accepts, in the kernel's queue, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let plain = report(&format!("http://{address}/redox"), address);
    assert_eq!(step(&plain, "challenge-post").seen, "no answer in time");
    assert_eq!(step(&plain, "sample").verdict, Verdict::Skipped);
    tells_that_time_is_up(&plain);
    let tls = report(&format!("https://{address}/redox"), address);
    assert_eq!(step(&tls, "tls-handshake").seen, "no answer in time");
    assert_eq!(with(&tls, Verdict::Wrong), ["tls-handshake"].into());
}

/// What was not tried for want of time is not right, and one step says so.
fn tells_that_time_is_up(report: &Report) {
    let late: Vec<&Step> = report
        .steps
        .iter()
        .filter(|step| step.seen == "out of time")
        .collect();
    let (first, others) = late.split_first().unwrap();
    assert_eq!(first.verdict, Verdict::Wrong);
    assert!(first.advice.as_ref().unwrap().contains("--timeout"));
    assert!(others.iter().all(|step| step.verdict == Verdict::Skipped));
}

/// Serves each connection on a thread of its own, until the test has ended.
fn serve(each: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || each(socket));
        }
    });
    address
}

#[test]
fn an_answer_that_never_ends_is_cut_off() {
    let address = serve(|mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 401 x\r\nContent-Type: text/plain\r\n\r\n");
        // A byte at a time, so that no single wait is long.
        while socket.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let report = report(&format!("http://{address}/redox"), address);
    assert_eq!(step(&report, "challenge-post").verdict, Verdict::Wrong);
    tells_that_time_is_up(&report);
}

#[test]
fn interim_answers_without_end_are_no_answer() {
    let address = serve(|mut socket| {
        while socket
            .write_all(b"HTTP/1.1 102 x\r\n\r\n")
            .and_then(|()| socket.flush())
            .is_ok()
        {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let report = report(&format!("http://{address}/redox"), address);
    // On a busy machine not even the first of them may come in time.
    let seen = &*step(&report, "challenge-post").seen;
    assert!(
        ["not HTTP, or cut off", "no answer in time"].contains(&seen),
        "{seen}"
    );
}

#[test]
fn who_takes_a_long_header_a_little_at_a_time_does_not_hold_a_probe_up() {
    let address = serve(|mut socket| {
        let mut bytes = [0; 64];
        while socket.read(&mut bytes).is_ok_and(|count| count > 0) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    report(&format!("http://{address}/redox"), address);
}
