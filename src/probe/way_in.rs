//! The way to the gateway: its name, its port, its TLS and its certificate, each a step of the report.
//!
//! Nothing secret is sent here. What is found decides whether the rest is played at all, and whether the token may be
//! shown to the peer.

mod certificate;

use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;

use super::answer::Outcome;
use super::link::{Limits, Link, is_timeout};
use super::old_tls;
use super::report::{Group, Step, Verdict};
use super::tls::{Client, Demand};
use super::values::Values;
use super::{Probe, Target};

/// Addresses of a name that are tried, in order.
const ADDRESSES: usize = 4;

/// What was found.
pub(super) struct Way {
    pub(super) steps: Vec<Step>,
    pub(super) address: Option<SocketAddr>,
    /// `None` where nobody can be talked to.
    pub(super) door: Option<Door>,
}

/// How to get a connection.
pub(super) struct Door {
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// Whether the token may be sent. If not, why not.
    pub(super) trust: Result<(), &'static str>,
}

impl Door {
    /// A connection, ready for a request.
    pub(super) fn open(&self, limits: Limits) -> Result<Link, Outcome> {
        let deadline = limits.deadline();
        let link = Link::connect(self.address, deadline).map_err(|error| unreached(&error))?;
        match &self.tls {
            None => Ok(link),
            Some((config, name)) => link.secure(config, name).map_err(|error| unreached(&error)),
        }
    }
}

fn unreached(error: &Error) -> Outcome {
    Outcome::Unreached(words(error))
}

/// Looks at everything that comes before HTTP.
pub(super) fn explore(probe: &Probe, limits: Limits, values: &mut Values) -> Way {
    let (mut steps, addresses) = look_up(&probe.target, limits);
    let (step, address) = connect(&addresses, limits);
    steps.extend(step);
    let door = address.and_then(|address| {
        if probe.target.is_tls() {
            greet(probe, address, limits, values, &mut steps)
        } else {
            steps.push(Step {
                seen: "http://".to_owned(),
                verdict: Verdict::Info,
                advice: Some(
                    "nothing is said about TLS; senders outside of a test want https://".to_owned(),
                ),
                ..step_of("tls", Group::Tls, "TLS", "not checked")
            });
            Some(Door {
                address,
                tls: None,
                trust: Ok(()),
            })
        }
    });
    Way {
        steps,
        address,
        door,
    }
}

/// A step that is right, without what was seen.
fn step_of(id: &'static str, group: Group, sent: &'static str, expected: &'static str) -> Step {
    Step {
        id,
        group,
        sent,
        expected,
        seen: String::new(),
        verdict: Verdict::Ok,
        latency: None,
        advice: None,
    }
}

fn look_up(target: &Target, limits: Limits) -> (Vec<Step>, Vec<SocketAddr>) {
    let mut step = step_of("dns", Group::Connection, "the host name", "an address");
    if let Some(address) = target.address() {
        "given".clone_into(&mut step.seen);
        step.verdict = Verdict::Info;
        return (vec![step], vec![address]);
    }
    let begun = Instant::now();
    let (sender, receiver) = channel();
    let (host, port) = (target.host().to_owned(), target.port());
    // The machine's resolver has no deadline of its own; a thread that it holds ends with the program.
    std::thread::spawn(move || {
        let found = (&*host, port).to_socket_addrs();
        let found: Vec<SocketAddr> =
            found.map_or_else(|_| Vec::new(), |found| found.take(ADDRESSES).collect());
        // Whoever asked may have given up.
        let _ = sender.send(found);
    });
    let found = receiver.recv_timeout(limits.deadline().saturating_duration_since(begun));
    step.latency = Some(begun.elapsed());
    let addresses = match found {
        // `localhost` is a name like any other; without TLS it has to be this machine.
        Ok(found) if !(target.is_tls() || found.iter().all(|found| found.ip().is_loopback())) => {
            "another machine".clone_into(&mut step.seen);
            step.advice =
                Some("http:// would show the token to everyone between; use https://".to_owned());
            Vec::new()
        }
        Ok(found) if found.is_empty() => {
            "none".clone_into(&mut step.seen);
            step.advice = Some(
                "the name has no address here; compare it with the public DNS entry".to_owned(),
            );
            found
        }
        Ok(found) => {
            let ending = if found.len() == 1 { "" } else { "es" };
            step.seen = format!("{} address{ending}", found.len());
            found
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            "no answer in time".clone_into(&mut step.seen);
            step.advice = Some("the resolver of this machine does not answer".to_owned());
            Vec::new()
        }
    };
    if addresses.is_empty() {
        step.verdict = Verdict::Wrong;
    }
    (vec![step], addresses)
}

/// Takes the first address that accepts.
fn connect(addresses: &[SocketAddr], limits: Limits) -> (Option<Step>, Option<SocketAddr>) {
    let mut step = step_of("tcp", Group::Connection, "TCP connection", "accepted");
    let mut failures = Vec::new();
    for address in addresses {
        let begun = Instant::now();
        match Link::connect(*address, limits.deadline()) {
            Ok(_) => {
                step.latency = Some(begun.elapsed());
                "accepted".clone_into(&mut step.seen);
                if !failures.is_empty() {
                    step.verdict = Verdict::Warning;
                    step.advice = Some(format!(
                        "only at {address}; not at {}: some senders will not try another address",
                        failures.join(", ")
                    ));
                }
                return (Some(step), Some(*address));
            }
            Err(error) => {
                words(&error).clone_into(&mut step.seen);
                failures.push(address.to_string());
            }
        }
    }
    step.verdict = Verdict::Wrong;
    step.advice = Some(format!(
        "nothing accepts connections at {}; is the gateway running, and does the firewall let the port through?",
        failures.join(", ")
    ));
    ((!failures.is_empty()).then_some(step), None)
}

/// What a handshake tells.
fn greet(
    probe: &Probe,
    address: SocketAddr,
    limits: Limits,
    values: &mut Values,
    steps: &mut Vec<Step>,
) -> Option<Door> {
    let name = ServerName::try_from(probe.target.host()).ok()?.to_owned();
    let client = Client::new(&probe.roots, probe.now);
    let (config, witness) =
        client.config(&[&TLS13, &TLS12], &[b"h2", b"http/1.1"], Demand::Nothing)?;
    let begun = Instant::now();
    let greeted =
        Link::connect(address, limits.deadline()).and_then(|link| link.secure(&config, &name));
    let latency = begun.elapsed();
    let mut shake = step_of(
        "tls-handshake",
        Group::Tls,
        "greeting in TLS 1.3 and 1.2",
        "agreed",
    );
    shake.latency = Some(latency);
    let link = match greeted {
        Ok(link) => link,
        Err(error) => {
            words(&error).clone_into(&mut shake.seen);
            shake.verdict = Verdict::Wrong;
            shake.advice = Some(
                "no TLS session; is it TLS that listens at this port, in 1.2 or 1.3, with a certificate for this host and \
                 ciphers that are not withdrawn?"
                    .to_owned(),
            );
            steps.push(shake);
            return None;
        }
    };
    shake.seen = agreed(&link);
    steps.push(shake);
    steps.push(version(
        "tls-1.3",
        &TLS13,
        "TLS 1.3 alone",
        address,
        &client,
        &name,
        limits,
    )?);
    steps.push(version(
        "tls-1.2",
        &TLS12,
        "TLS 1.2 alone",
        address,
        &client,
        &name,
        limits,
    )?);
    steps.push(old_version(probe.target.host(), address, values, limits));
    steps.push(protocol(&link));
    let shown = client.authorities().judge(&witness.seen(), &name);
    steps.extend(certificate::steps(shown.as_ref(), probe.now));
    let trust = match shown {
        Some(shown) if shown.is_trusted() => Ok(()),
        _ => Err("certificate not trusted"),
    };
    let demand = if trust.is_ok() {
        Demand::Trust
    } else {
        Demand::Nothing
    };
    let (config, _) = client.config(&[&TLS13, &TLS12], &[b"http/1.1"], demand)?;
    Some(Door {
        address,
        tls: Some((config, name)),
        trust,
    })
}

fn agreed(link: &Link) -> String {
    let session = link.tls();
    let version = session.and_then(|tls| tls.protocol_version());
    let suite = session.and_then(|tls| tls.negotiated_cipher_suite());
    let version = match version {
        Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
        _ => "1.2",
    };
    let suite = suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite()));
    // The names begin with the version and, in 1.2, with the key exchange.
    let suite = suite.rsplit("_WITH_").next().unwrap_or_default();
    let suite = suite.trim_start_matches("TLS13_");
    // The hash is no choice of anybody's.
    let suite = suite
        .rsplit_once("_SHA")
        .map_or(suite, |(cipher, _)| cipher);
    format!("{version} {suite}")
}

fn version(
    id: &'static str,
    version: &'static SupportedProtocolVersion,
    sent: &'static str,
    address: SocketAddr,
    client: &Client,
    name: &ServerName<'static>,
    limits: Limits,
) -> Option<Step> {
    let (config, _) = client.config(&[version], &[b"http/1.1"], Demand::Nothing)?;
    let begun = Instant::now();
    let greeted =
        Link::connect(address, limits.deadline()).and_then(|link| link.secure(&config, name));
    let mut step = step_of(id, Group::Tls, sent, "agreed");
    step.latency = Some(begun.elapsed());
    match greeted {
        Ok(_) => "agreed".clone_into(&mut step.seen),
        Err(error) => {
            words(&error).clone_into(&mut step.seen);
            step.verdict = Verdict::Info;
            step.advice =
                Some("senders have to speak the other version; Redox speaks both".to_owned());
        }
    }
    Some(step)
}

fn old_version(host: &str, address: SocketAddr, values: &mut Values, limits: Limits) -> Step {
    let name = host.parse::<std::net::IpAddr>().is_err().then_some(host);
    let hello = old_tls::hello(name, &values.bytes());
    let begun = Instant::now();
    let link = Link::connect(address, limits.deadline());
    let mut step = step_of("tls-old", Group::Tls, "TLS 1.1 alone", "refused");
    let mut link = match link {
        Ok(link) => link,
        Err(error) => {
            step.seen = format!("{} (TCP)", words(&error));
            step.verdict = Verdict::Wrong;
            step.advice = Some(
                "there was no connection for this step; limits on connections, or a gateway that restarts?".to_owned(),
            );
            return step;
        }
    };
    let answer = answer_to(&hello, &mut link);
    step.latency = Some(begun.elapsed());
    match answer {
        Ok(answer) if old_tls::is_agreed(&answer) => {
            "agreed".clone_into(&mut step.seen);
            step.verdict = Verdict::Wrong;
            step.advice = Some(
                "TLS 1.0 and 1.1 are broken and withdrawn (RFC 8996); allow 1.2 and 1.3 only"
                    .to_owned(),
            );
        }
        Err(error) if is_timeout(&error) => {
            "no answer in time".clone_into(&mut step.seen);
            step.verdict = Verdict::Info;
        }
        Ok(_) | Err(_) => "refused".clone_into(&mut step.seen),
    }
    step
}

/// The first bytes of it, or fewer where it ends before.
fn answer_to(hello: &[u8], link: &mut Link) -> Result<Vec<u8>, Error> {
    // A peer that refuses while it is still being greeted has refused.
    let _ = link.send(hello);
    let mut answer = Vec::new();
    while !old_tls::is_telling(&answer) {
        let mut bytes = [0; 64];
        match link.receive(&mut bytes)? {
            0 => break,
            count => answer.extend(bytes.iter().take(count)),
        }
    }
    Ok(answer)
}

fn protocol(link: &Link) -> Step {
    let chosen = link.tls().and_then(|tls| tls.alpn_protocol());
    let seen = match chosen {
        Some(b"h2") => "HTTP/2",
        Some(b"http/1.1") => "HTTP/1.1",
        Some(_) => "another",
        None => "none chosen",
    };
    Step {
        seen: seen.to_owned(),
        verdict: Verdict::Info,
        ..step_of("alpn", Group::Tls, "offer of HTTP/2 and HTTP/1.1", "either")
    }
}

/// Why there is no connection.
fn words(error: &Error) -> &'static str {
    let of_tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match of_tls {
        Some(rustls::Error::InvalidMessage(_)) => return "not TLS",
        Some(rustls::Error::AlertReceived(_)) => return "refused by an alert",
        Some(rustls::Error::InvalidCertificate(_)) => return "another certificate",
        Some(_) => return "TLS failed",
        None => {}
    }
    if is_timeout(error) {
        return "no answer in time";
    }
    if error.kind() == ErrorKind::ConnectionRefused {
        "refused"
    } else if matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe
    ) {
        "closed"
    } else {
        "no way there"
    }
}

/// Whole days.
fn days(time: Duration) -> u64 {
    time.as_secs() / (24 * 3600)
}
