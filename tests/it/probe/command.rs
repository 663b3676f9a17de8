//! The command as its user meets it: exit codes, streams, and what is never printed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign::probe::{Group, Report, Step, Verdict};
use serde_json::Value;
use tempfile::TempDir;

use super::flaw::Flaw;
use super::model::Model;
use crate::support::TOKEN;

struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn end(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ended = Ended {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    };
    for text in [&ended.out, &ended.err] {
        assert!(!text.contains("CANARY"), "{text}");
    }
    ended
}

/// The command, with the token in a variable and with nothing else of the environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command
        .env_clear()
        .env("THE_TOKEN", TOKEN)
        .arg("probe")
        .args(arguments);
    command
}

/// A gateway, and a folder with what a user has.
struct Place {
    model: Model,
    folder: TempDir,
}

impl Place {
    fn new(flaw: Flaw) -> Self {
        let place = Self {
            model: Model::with(flaw),
            folder: tempfile::tempdir().unwrap(),
        };
        place.write("ca.pem", &place.model.authority_pem);
        place
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/redox", self.model.address.port())
    }

    /// Probes it, with more arguments.
    fn probe(&self, more: &[&str]) -> Ended {
        let resolve = format!("localhost:{}:127.0.0.1", self.model.address.port());
        let mut command = command(&[&self.url(), "--ca", "ca.pem", "--resolve", &resolve]);
        end(command.args(more).current_dir(self.folder.path()))
    }
}

#[test]
fn right_is_0_and_wrong_is_1_in_both_forms() {
    for (flaw, code, word) in [(Flaw::None, 0, "right"), (Flaw::AnyCasePasses, 1, "WRONG")] {
        let place = Place::new(flaw);
        let ended = place.probe(&["--token-env", "THE_TOKEN"]);
        assert_eq!((ended.code, &*ended.err), (Some(code), ""), "{}", ended.out);
        let last = ended.out.lines().last().unwrap();
        assert!(last.starts_with(&format!("{word}: ")), "{last}");
        assert!(
            !ended.out.contains('\u{1b}'),
            "colour outside of a terminal"
        );
        let ended = place.probe(&["--token-env", "THE_TOKEN", "--format", "json"]);
        assert_eq!((ended.code, &*ended.err), (Some(code), ""));
        let report: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!(report["right"], code == 0);
        assert_eq!(report["counts"]["wrong"], code);
        assert_eq!(
            (&report["schema"], &report["url"]),
            (&1.into(), &place.url().into())
        );
    }
}

#[test]
fn the_form_for_programs_stays_as_it_is_documented() {
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    let place = Place::new(Flaw::AnyCasePasses);
    let ended = place.probe(&["--token-env", "THE_TOKEN", "--format", "json"]);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        keys(&report),
        [
            "address",
            "counts",
            "duration_s",
            "right",
            "schema",
            "steps",
            "url"
        ]
    );
    assert_eq!(
        keys(&report["counts"]),
        ["info", "ok", "skipped", "unclear", "warning", "wrong"]
    );
    let steps = report["steps"].as_array().unwrap();
    for step in steps {
        let expected = [
            "advice",
            "expected",
            "group",
            "id",
            "latency_s",
            "seen",
            "sent",
            "verdict",
        ];
        assert_eq!(keys(step), expected);
    }
    let wrong = steps
        .iter()
        .find(|step| step["verdict"] == "wrong")
        .unwrap();
    assert_eq!(
        (&wrong["id"], &wrong["group"]),
        (&"token-case".into(), &"token".into())
    );
    assert!(wrong["latency_s"].is_f64() && wrong["advice"].is_string());
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/probe.md")).unwrap();
    for key in keys(&report)
        .iter()
        .chain(&keys(&steps[0]))
        .chain(&keys(&report["counts"]))
    {
        assert!(
            document.contains(&format!("`{key}`")),
            "{key} is not explained"
        );
    }
}

#[test]
fn a_token_file_may_end_with_one_line_end() {
    let place = Place::new(Flaw::None);
    for ending in ["", "\n", "\r\n"] {
        place.write("token", &format!("{TOKEN}{ending}"));
        let ended = place.probe(&["--token-file", "token"]);
        assert_eq!(ended.code, Some(0), "{ending:?}: {}", ended.out);
    }
}

#[test]
fn the_sample_goes_only_with_its_argument() {
    let place = Place::new(Flaw::None);
    assert_eq!(place.probe(&["--token-env", "THE_TOKEN"]).code, Some(0));
    assert_eq!(place.model.forwarded().len(), 0);
    assert_eq!(
        place
            .probe(&["--token-env", "THE_TOKEN", "--send-sample"])
            .code,
        Some(0)
    );
    assert_eq!(place.model.forwarded().len(), 1);
}

#[test]
fn what_keeps_a_probe_from_beginning_is_2_and_told() {
    let place = Place::new(Flaw::None);
    place.write("empty", "");
    place.write("two-lines", &format!("{TOKEN}\n{TOKEN}\n"));
    place.write("blank", &format!("{TOKEN} \n"));
    place.write("control", &format!("{TOKEN}\u{7}\n"));
    place.write("large", &"CANARY".repeat(1000));
    std::fs::write(place.folder.path().join("binary"), [0xff, 0xfe]).unwrap();
    for (arguments, part) in [
        (
            &["--token-env", "UNSET"][..],
            "environment variable `UNSET` is not set",
        ),
        // The token itself where its name belongs: it may not be repeated to whoever reads the output.
        (&["--token-env", TOKEN], "wants the name of the variable"),
        (&["--token-file", "absent"], "cannot read absent"),
        (&["--token-file", "empty"], "the token in empty is empty"),
        (
            &["--token-file", "two-lines"],
            "the token in two-lines has white space",
        ),
        (&["--token-file", "blank"], "has white space"),
        (&["--token-file", "control"], "has a control character"),
        (&["--token-file", "large"], "larger than"),
        (&["--token-file", "binary"], "is not UTF-8"),
        (&["--token-file", "."], "cannot read"),
    ] {
        let ended = place.probe(arguments);
        assert_eq!((ended.code, &*ended.out), (Some(2), ""), "{arguments:?}");
        assert!(
            ended.err.starts_with("error: ") && ended.err.contains("\n  help: "),
            "{}",
            ended.err
        );
        assert!(ended.err.contains(part), "{part} not in {}", ended.err);
        assert!(!ended.err.contains(TOKEN), "{}", ended.err);
    }
    assert_eq!(place.model.forwarded().len(), 0);
    assert!(!place.model.saw_token());
}

#[test]
fn urls_and_authorities_that_are_none_are_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let holds = format!("https://localhost/{TOKEN}");
    for (arguments, part) in [
        (
            &["ehr.example.org/redox"][..],
            "does not begin with https://",
        ),
        (
            &["http://ehr.example.org/redox"],
            "is http:// to another machine",
        ),
        (&["https://ehr.example.org/redox?a=b"], "has a query"),
        (
            &[
                "https://a.example.org/",
                "--resolve",
                "b.example.org:443:127.0.0.1",
            ],
            "than --resolve",
        ),
        (
            &["https://localhost/", "--ca", "absent.pem"],
            "cannot read absent.pem",
        ),
        (
            &["https://localhost/", "--ca", "empty.pem"],
            "no certificate in PEM",
        ),
        (&[&holds], "the URL holds the token"),
    ] {
        let ended = end(command(arguments)
            .args(["--token-env", "THE_TOKEN"])
            .current_dir(folder.path()));
        assert_eq!((ended.code, &*ended.out), (Some(2), ""), "{arguments:?}");
        assert!(
            ended.err.contains(part) && ended.err.contains("help: "),
            "{part} not in {}",
            ended.err
        );
    }
}

#[test]
fn arguments_that_are_not_understood_are_2() {
    for arguments in [
        &[][..],
        &["https://localhost/"],
        &["https://localhost/", "--token", "a"],
        &["https://localhost/", "--token=CANARY"],
        &[
            "https://localhost/",
            "--token-env",
            "A",
            "--token-file",
            "b",
        ],
        &["https://localhost/", "--token-env", "A", "--format", "xml"],
        &["https://localhost/", "--token-env", "A", "--timeout", "0"],
        &[
            "https://localhost/",
            "--token-env",
            "A",
            "--resolve",
            "localhost",
        ],
    ] {
        let ended = end(&mut command(arguments));
        assert_eq!((ended.code, &*ended.out), (Some(2), ""), "{arguments:?}");
        assert!(
            ended.err.contains("Usage: ") || ended.err.contains("--help"),
            "{}",
            ended.err
        );
    }
}

/// What `docs` and `README.md` tell people to type is understood.
#[test]
fn commands_in_the_documents_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = 0;
    for file in ["docs/probe.md", "README.md"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for line in text.lines() {
            let Some((_, typed)) = line.trim_start().split_once("countersign probe https://")
            else {
                continue;
            };
            let typed = typed.split(['>', '|', '`']).next().unwrap();
            let url = format!("https://{typed}");
            let arguments: Vec<&str> = url.split_whitespace().collect();
            let ended = end(command(&arguments).arg("--help"));
            assert_eq!(ended.code, Some(0), "{file}: {line}\n{}", ended.err);
            found += 1;
        }
    }
    assert!(found >= 2);
    // Help does not hide what is not understood.
    let ended = end(command(&["https://localhost/", "--token-fiel", "a"]).arg("--help"));
    assert_eq!(ended.code, Some(2));
}

fn told(id: &'static str, verdict: Verdict, seen: &str, advice: Option<&str>) -> Step {
    Step {
        id,
        group: Group::Challenge,
        sent: "POST challenge, wrong token",
        expected: "refused",
        seen: seen.to_owned(),
        verdict,
        latency: Some(Duration::from_millis(12)),
        advice: advice.map(str::to_owned),
    }
}

/// Fixed values, so that the text is always the same.
fn example() -> Report {
    let advice = "whoever asks gets the challenge answered, so verification proves nothing: compare the token first";
    Report {
        url: "https://ehr.example.org/redox".to_owned(),
        address: Some("192.0.2.7:443".parse().unwrap()),
        duration: Duration::from_millis(1234),
        steps: vec![
            Step {
                group: Group::Connection,
                latency: None,
                ..told("dns", Verdict::Info, "given", None)
            },
            told("one", Verdict::Ok, "401", None),
            told(
                "challenge-post-wrong",
                Verdict::Wrong,
                "200, the value",
                Some(advice),
            ),
            Step {
                group: Group::Sample,
                latency: None,
                ..told("sample", Verdict::Skipped, "without --send-sample", None)
            },
        ],
    }
}

#[test]
fn the_table_is_made_for_reading() {
    insta::assert_snapshot!(example().text(false), @r"
    https://ehr.example.org/redox at 192.0.2.7:443
             connection                                expected         seen
    info     POST challenge, wrong token               refused          given
             challenges
    ok       POST challenge, wrong token               refused          401                        12 ms
    wrong    POST challenge, wrong token               refused          200, the value             12 ms
             challenge-post-wrong: whoever asks gets the challenge answered, so verification proves
             nothing: compare the token first
             sample
    skipped  POST challenge, wrong token               refused          without --send-sample

    WRONG: 4 steps in 1.2 s: 1 ok, 1 wrong, 1 info, 1 skipped
    ");
}

#[test]
fn colour_paints_the_verdict_alone() {
    let (plain, painted) = (example().text(false), example().text(true));
    assert!(painted.contains("\u{1b}[1;31mwrong  \u{1b}[0m  POST"));
    let mut stripped = painted;
    for code in [
        "\u{1b}[0m",
        "\u{1b}[1;31m",
        "\u{1b}[32m",
        "\u{1b}[36m",
        "\u{1b}[2m",
    ] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}
