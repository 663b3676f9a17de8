//! `countersign healthcheck`: asks a running gateway whether it wants traffic, for images that hold nothing else that
//! could ask.
//!
//! One GET of `/readyz` over plain HTTP, under one deadline. Neither secret nor certificate is read. Not here: asking
//! from outside as a sender would.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use http::Uri;

use super::check::say_findings;
use super::{ConfigFile, fail, print};
use crate::config::{self, Process};

/// Where an answer ends for us; ours has some 200 bytes.
const ANSWER_CAP: usize = 4 * 1024;
/// What is asked for.
const PATH: &str = "/readyz";

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub(super) struct HealthCheck {
    #[command(flatten)]
    config: ConfigFile,
    /// Ask here instead of at the admin address of the configuration; `/readyz` unless it has a path
    #[arg(long, value_name = "URL", conflicts_with = "file")]
    url: Option<Uri>,
    /// Seconds to wait for all of it
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Whom to ask, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    address: SocketAddr,
    /// As the `Host` field has it.
    host: String,
    path: String,
}

/// What went wrong, and what to do about it.
type Problem = (String, &'static str);

pub(super) fn healthcheck(arguments: &HealthCheck) -> ExitCode {
    let question = match &arguments.url {
        Some(url) => of_url(url),
        None => match of_configuration(&arguments.config.file) {
            Ok(question) => question,
            Err(failed) => return failed,
        },
    };
    let told = question.and_then(|question| {
        let status = ask(&question, Duration::from_secs(arguments.timeout))?;
        Ok((question, status))
    });
    match told {
        Ok((question, 200)) => print(&format!("{}: 200\n", question.shown())),
        Ok((question, 503)) => fail(
            &format!("{}: 503, not ready", question.shown()),
            "it is about to stop, and takes no new work",
        ),
        Ok((question, status)) => fail(
            &format!("{}: {status}, expected 200", question.shown()),
            "is this the admin address of a countersign?",
        ),
        Err((message, help)) => fail(&message, help),
    }
}

impl Question {
    fn shown(&self) -> String {
        format!("http://{}{}", self.host, self.path)
    }
}

/// The outer error has been told already.
fn of_configuration(file: &Path) -> Result<Result<Question, Problem>, ExitCode> {
    let address = config::admin_address(file, &Process).map_err(|report| {
        say_findings(&report);
        ExitCode::FAILURE
    })?;
    Ok(match address {
        Some(address) if address.port() == 0 => Err((
            format!("{}: the admin listener takes any free port", file.display()),
            "give its address: --url http://127.0.0.1:PORT",
        )),
        Some(address) => {
            let address = SocketAddr::new(reachable(address.ip()), address.port());
            Ok(Question {
                address,
                host: address.to_string(),
                path: PATH.to_owned(),
            })
        }
        None => Err((
            format!("{}: the admin listener is off", file.display()),
            "give it an address: admin: { address: 127.0.0.1:9090 }",
        )),
    })
}

/// Where something that listens here can be reached from here.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn of_url(url: &Uri) -> Result<Question, Problem> {
    let form = "expected http://HOST:PORT, such as http://127.0.0.1:9090";
    let Some(authority) = url
        .authority()
        .filter(|_| url.scheme_str() == Some("http") && !url.to_string().contains('@'))
    else {
        return Err(("the URL is not one to ask".to_owned(), form));
    };
    let port = url.port_u16().unwrap_or(80);
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let mut addresses = (bare, port)
        .to_socket_addrs()
        .map_err(|error| (format!("{host} has no address: {error}"), form))?;
    let address = addresses
        .next()
        .ok_or_else(|| (format!("{host} has no address"), form))?;
    Ok(Question {
        address,
        host: authority.to_string(),
        path: match url.path_and_query().map(ToString::to_string) {
            Some(path) if path != "/" => path,
            _ => PATH.to_owned(),
        },
    })
}

/// The status of the answer.
fn ask(question: &Question, within: Duration) -> Result<u16, Problem> {
    let deadline = Instant::now() + within;
    let failed = |what: &str, error: std::io::Error| {
        let late = matches!(
            error.kind(),
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock
        );
        let reason = if late {
            format!("not within {} s", within.as_secs())
        } else {
            error.to_string()
        };
        let message = format!("{}: {what}: {reason}", question.shown());
        (
            message,
            "is the gateway running, and is this its admin address?",
        )
    };
    let mut stream = TcpStream::connect_timeout(&question.address, within)
        .map_err(|error| failed("cannot connect", error))?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        question.path, question.host
    );
    let sent = remaining(deadline)
        .and_then(|left| stream.set_write_timeout(Some(left)))
        .and_then(|()| stream.write_all(request.as_bytes()));
    sent.map_err(|error| failed("cannot ask", error))?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        if let Some(status) = status(&answer) {
            return status.ok_or_else(|| {
                let message = format!("{}: the answer is not HTTP", question.shown());
                (message, "is this the admin address of a countersign?")
            });
        }
        // One deadline for all reads: an answer that comes byte by byte is none.
        let read = remaining(deadline)
            .and_then(|left| stream.set_read_timeout(Some(left)))
            .and_then(|()| stream.read(&mut piece));
        match read.map_err(|error| failed("no answer", error))? {
            0 => {
                return Err(failed(
                    "no answer",
                    std::io::ErrorKind::UnexpectedEof.into(),
                ));
            }
            length => answer.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }
}

/// The time that is left; an error when there is none.
fn remaining(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// The status in the first line; the outer `None` where that line has not come yet, the inner where it is no HTTP.
#[expect(clippy::option_option, reason = "not yet and never are two things")]
fn status(answer: &[u8]) -> Option<Option<u16>> {
    let Some(end) = answer.iter().position(|byte| *byte == b'\n') else {
        return (answer.len() > ANSWER_CAP).then_some(None);
    };
    let line = answer.get(..end).unwrap_or_default();
    let line = std::str::from_utf8(line).ok();
    Some(line.and_then(|line| {
        let mut words = line.split_ascii_whitespace();
        words.next()?.strip_prefix("HTTP/1.")?;
        let status = words.next().filter(|status| status.len() == 3)?;
        status.parse().ok()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status() {
        let cases: [(&[u8], Option<Option<u16>>); 7] = [
            (b"", None),
            (b"HTTP/1.1 200", None),
            (b"HTTP/1.1 200 OK\r\n", Some(Some(200))),
            (b"HTTP/1.0 503\n", Some(Some(503))),
            (b"SSH-2.0-x\r\n", Some(None)),
            (b"HTTP/1.1 2000 OK\r\n", Some(None)),
            (&[b'x'; ANSWER_CAP + 1], Some(None)),
        ];
        for (answer, expected) in cases {
            assert_eq!(status(answer), expected, "{:?}", answer.get(..20));
        }
    }

    #[test]
    fn reads_urls() {
        let asked = |url: &str| {
            of_url(&url.parse().unwrap())
                .map(|question| format!("{} {} {}", question.address, question.host, question.path))
        };
        let good = [
            (
                "http://127.0.0.1:9090",
                "127.0.0.1:9090 127.0.0.1:9090 /readyz",
            ),
            (
                "http://127.0.0.1:9090/",
                "127.0.0.1:9090 127.0.0.1:9090 /readyz",
            ),
            ("http://[::1]:9/healthz", "[::1]:9 [::1]:9 /healthz"),
            ("http://127.0.0.1/readyz", "127.0.0.1:80 127.0.0.1 /readyz"),
        ];
        for (url, expected) in good {
            assert_eq!(asked(url), Ok(expected.to_owned()), "{url}");
        }
        for url in [
            "https://127.0.0.1:9090",
            "/readyz",
            "127.0.0.1:9090",
            "http://a@127.0.0.1:1",
        ] {
            assert!(asked(url).is_err(), "{url}");
        }
    }

    #[test]
    fn every_address_of_the_machine_is_asked_at_its_own() {
        for (listens, asked) in [
            ("0.0.0.0", "127.0.0.1"),
            ("::", "::1"),
            ("10.1.2.3", "10.1.2.3"),
        ] {
            let (listens, asked): (IpAddr, IpAddr) =
                (listens.parse().unwrap(), asked.parse().unwrap());
            assert_eq!(reachable(listens), asked);
        }
    }
}
