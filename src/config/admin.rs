//! Where the admin listener is, for whoever asks a running gateway how it is.
//!
//! Reads the configuration file and nothing that it names. Mistakes elsewhere in the file do not count: a gateway goes
//! on with what it has when a change is not valid, and so must the question whether it is well.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;

use super::compile;
use super::context::Context;
use super::diagnostic::{Finding, Findings};
use super::document::AdminSetting;
use super::places::Places;
use super::tree::Kind;
use super::{Environment, Report, interpolate, report, shape, source, text};
use crate::verify::UnixTime;

/// The one part of the document that counts here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    admin: AdminSetting,
}

/// The address of the admin listener; `None` where it is turned off.
///
/// # Errors
/// The report, where that cannot be told.
pub fn admin_address(
    path: &Path,
    env: &dyn Environment,
) -> Result<Option<SocketAddr>, Box<Report>> {
    let mut findings = Findings::default();
    let text = text(path, &mut findings);
    let address = (text.as_deref()).and_then(|text| address(text, env, &mut findings));
    address.ok_or_else(|| {
        let text = text.unwrap_or_default();
        let findings = findings.finish(&path.display().to_string(), &text);
        Box::new(report(findings, None, vec![path.to_owned()]))
    })
}

/// The outer `None`: it could not be read; a finding says why.
#[expect(
    clippy::option_option,
    reason = "unreadable and turned off are two things"
)]
fn address(
    text: &str,
    env: &dyn Environment,
    findings: &mut Findings,
) -> Option<Option<SocketAddr>> {
    let mut root = source::parse(text, findings)?;
    // In the whole tree, since only that tells which variables are secret.
    interpolate::interpolate(&mut root, env, findings);
    findings.keep_about("admin");
    if !findings.is_empty() {
        return None;
    }
    let places = Places::new(&root);
    if let Kind::Map(entries) = &mut root.kind {
        entries.retain(|entry| entry.key == "admin");
    }
    let Ok(Part { admin }) = serde_yaml::from_value(shape::value(&root)) else {
        let found = "something that is no admin listener";
        let expected = "`off`, or an `address`";
        findings.add(Finding::error(&places.at("admin"), found, expected));
        return None;
    };
    let mut context = Context {
        places: &places,
        findings,
        env,
        // What an address means depends on neither time nor folder.
        now: UnixTime(0),
        base: Path::new(""),
        files: RefCell::default(),
    };
    match admin {
        AdminSetting::Off(_) => Some(None),
        AdminSetting::On(admin) => compile::admin_address(&mut context, &admin, &[]).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::Fake;

    fn told(text: &str) -> Result<Option<SocketAddr>, String> {
        let mut findings = Findings::default();
        let env = Fake::with(&[
            ("PORT", "9191"),
            ("REDOX_TOKEN", "t0ken-that-is-secret-91b4"),
        ]);
        address(text, &env, &mut findings).ok_or_else(|| {
            let findings = findings.finish("gateway.yaml", text);
            findings.iter().map(Finding::text).collect()
        })
    }

    #[test]
    fn tells_the_address_whatever_else_is_wrong() {
        let cases = [
            ("log: {}", Some("127.0.0.1:9090")),
            ("admin: {}", Some("127.0.0.1:9090")),
            ("admin: off", None),
            ("admin: { address: \"0.0.0.0:9000\" }", Some("0.0.0.0:9000")),
            ("admin: { address: \"[::1]:9000\" }", Some("[::1]:9000")),
            (
                "admin: { address: \"127.0.0.1:${PORT}\" }",
                Some("127.0.0.1:9191"),
            ),
            (
                "admin: off\nrutes: []\nlog: 7\nlimits: { body: \"${UNSET}\" }",
                None,
            ),
            (
                "listeners: [{ address: nonsense, address: again }]\nadmin: { address: \"127.0.0.1:1\" }",
                Some("127.0.0.1:1"),
            ),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|address| address.parse().unwrap());
            assert_eq!(told(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_a_finding() {
        let cases = [
            ("admin: { address: localhost:9090 }", "write 127.0.0.1:9090"),
            ("admin: { address: \"127.0.0.1:${UNSET}\" }", "`UNSET`"),
            ("admin: { adress: \"127.0.0.1:1\" }", "no admin listener"),
            ("admin: on", "no admin listener"),
            ("", "an empty file"),
            ("admin: { address: [", "gateway.yaml:"),
            (
                "admin: { address: \"${REDOX_TOKEN}\" }\nroutes: [{ verify: { tokens: [{ env: REDOX_TOKEN }] } }]",
                "admin.address",
            ),
        ];
        for (text, part) in cases {
            let said = told(text).unwrap_err();
            assert!(said.contains(part), "{text}:\n{said}");
            assert!(!said.contains("that-is-secret"), "{said}");
        }
    }
}
