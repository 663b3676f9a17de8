//! What is tried, in order.
//!
//! A right gateway forwards nothing of it but the sample. A broken one may, so whatever could get through says that it
//! is a probe and holds no message; and methods that change things are tried only after those that do not were refused.

mod challenges;
mod http;
mod messages;
mod paths;

use super::check::{Check, Expect};
use super::report::Group;
use super::request::Request;
use super::values::Values;
use super::{Target, Token};

/// The name of the field that holds the token.
const FIELD: &str = "verification-token";
/// The body of whatever is to be refused.
const SYNTHETIC: &str =
    r#"{"probe":"synthetic text of countersign probe, not a message, to be refused"}"#;
/// The body of the sample: about nobody.
const SAMPLE: &str = r#"{"Meta":{"DataModel":"PatientAdmin","EventType":"Arrival","Test":true,"Source":{"Name":"countersign probe"}},"Patient":{"Identifiers":[]},"Note":"synthetic sample of countersign probe, about nobody"}"#;

/// See the module.
pub(super) struct Plan {
    /// In any order.
    pub(super) checks: Vec<Check>,
    /// Only when every check of the group [`Group::Method`] before was refused: they would do harm where they
    /// get through.
    pub(super) guarded: Vec<Check>,
    /// Last, and only when it is asked for.
    pub(super) sample: Result<Check, &'static str>,
}

/// Plans a probe.
pub(super) fn plan(target: &Target, token: &Token, sample: bool, values: &mut Values) -> Plan {
    let mut checks = challenges::right(target, token, values);
    checks.extend(challenges::wrong(target, token, values));
    checks.extend(messages::tokens(target, token, values));
    checks.extend(messages::places(target, token, values));
    checks.extend(paths::paths(target, token, values));
    checks.extend(http::borders(target, token, values));
    checks.extend(http::methods(target, token, &["GET", "HEAD", "OPTIONS"]));
    Plan {
        checks,
        guarded: http::methods(target, token, &["PUT", "PATCH", "DELETE"]),
        sample: if sample {
            Ok(sample_of(target, token))
        } else {
            Err("without --send-sample")
        },
    }
}

fn sample_of(target: &Target, token: &Token) -> Check {
    let request = Request::new(target, "POST")
        .field(FIELD, token.value())
        .json(SAMPLE.to_owned());
    Check::new(
        SAMPLE_ID,
        Group::Sample,
        SAMPLE_SENT,
        Expect::Accepted,
        request.bytes(),
        "the message with the right token did not get through; look at the gateway's log and at the backend",
    )
    .secret()
}

/// The sample's name.
pub(super) const SAMPLE_ID: &str = "sample";
/// The sample in words.
pub(super) const SAMPLE_SENT: &str = "one synthetic message, right token";
