//! The program as its operator meets it: exit codes, what goes to which stream, and what is never printed.
//!
//! The real binary, with an environment of its own. What is for people is on standard error, what is for programs
//! on standard output.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{PATIENCE, TOKEN};

/// What the program left behind.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn end(command: &mut Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn run(arguments: &[&str]) -> Ended {
    end(program().args(arguments))
}

/// Succeeded with something on standard output and nothing on standard error.
fn printed(arguments: &[&str]) -> String {
    let ended = run(arguments);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (Some(0), ""),
        "{arguments:?}"
    );
    assert!(!ended.out.is_empty(), "{arguments:?}");
    ended.out
}

/// A folder with a `gateway.yaml` whose token comes from `source`, such as `env: REDOX_TOKEN`.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new(source: &str) -> Self {
        Self::listening("127.0.0.1:0".parse().unwrap(), source)
    }

    fn listening(address: SocketAddr, source: &str) -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        place.write(
            "gateway.yaml",
            &format!(
                "listeners:\n  - address: {address}\n    tls: {{ self_signed: [localhost] }}\n\
                 admin: {{ address: \"127.0.0.1:0\" }}\nworkers: 1\n\
                 routes:\n  - path: /redox\n    \
                 verify: {{ scheme: redox, tokens: [{{ id: autumn, {source} }}] }}\n    \
                 upstream: {{ url: \"http://127.0.0.1:9\" }}\n"
            ),
        );
        place
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str], token: Option<&str>) -> Ended {
        let mut command = self.program(arguments);
        if let Some(token) = token {
            command.env("REDOX_TOKEN", token);
        }
        end(&mut command)
    }
}

#[test]
fn version_tells_number_revision_target_and_tls() {
    let text = printed(&["--version"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], concat!("countersign ", env!("CARGO_PKG_VERSION")));
    assert_eq!(lines[1], format!("revision: {}", countersign::REVISION));
    assert_eq!(lines[2], format!("target: {}", countersign::TARGET));
    let provider = countersign::server::tls::PROVIDER;
    assert_eq!(lines[3..], [format!("tls: rustls with {provider}")]);
    assert_eq!(printed(&["-V"]), format!("{}\n", lines[0]));
}

#[test]
fn what_is_not_understood_ends_with_2_and_an_empty_standard_output() {
    let cases: &[&[&str]] = &[
        &[],
        &["nonsense"],
        &["run", "--nonsense"],
        &["run", "a", "b"],
        &["check", "--format", "xml"],
        &["check", "-c"],
        &["token"],
        &["token", "old"],
        &["config"],
        &["completions"],
        &["completions", "ed"],
    ];
    for case in cases {
        let ended = run(case);
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{case:?}");
        assert!(
            ended.err.contains("Usage: ") || ended.err.contains("--help"),
            "{case:?}"
        );
    }
    insta::assert_snapshot!(run(&["chekc"]).err, @"
    error: unrecognized subcommand 'chekc'

      tip: a similar subcommand exists: 'check'

    Usage: countersign <COMMAND>

    For more information, try '--help'.
    ");
}

#[test]
fn help_is_data() {
    for arguments in [&["--help"][..], &["help", "run"], &["check", "--help"]] {
        assert!(printed(arguments).contains("Usage: countersign"));
    }
}

#[test]
fn tokens_are_fresh_and_long_enough() {
    let (one, other) = (printed(&["token", "new"]), printed(&["token", "new"]));
    assert_ne!(one, other);
    for token in [one, other] {
        let token = token.strip_suffix('\n').unwrap();
        // Hexadecimal: four bits each.
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(token.len() * 4 >= 256, "{} characters", token.len());
    }
}

#[test]
fn check_says_valid_to_people_and_to_programs() {
    let place = Place::new("env: REDOX_TOKEN");
    let ended = place.run(&["check"], Some(TOKEN));
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), ""));
    assert_eq!(ended.err, "gateway.yaml is valid\n");
    let ended = place.run(&["check", "--format", "json"], Some(TOKEN));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(
        (&report["valid"], &report["errors"]),
        (&true.into(), &0.into())
    );
}

#[test]
fn check_names_the_place_of_every_mistake() {
    let place = Place::new("env: REDOX_TOKEN");
    place.write(
        "other.yaml",
        "listeners:\n  - adress: 127.0.0.1:0\n    tls: { self_signed: [localhost] }\n\
         routes:\n  - path: redox\n    verify: { scheme: redox, tokens: [{ id: a, env: UNSET }] }\n    \
         upstream: { url: \"http://127.0.0.1:9\" }\n",
    );
    let ended = place.run(&["check", "-c", "other.yaml"], None);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    for part in [
        "other.yaml:2:5: error:",
        "`adress`",
        "`address`",
        "other.yaml:5:",
        "is not valid",
    ] {
        assert!(ended.err.contains(part), "{part} not in\n{}", ended.err);
    }
    let ended = place.run(&["check", "-c", "other.yaml", "--format", "json"], None);
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""));
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["errors"], findings.len());
    for key in [
        "severity", "file", "line", "column", "path", "found", "expected", "hint",
    ] {
        assert!(
            findings.iter().all(|finding| finding.get(key).is_some()),
            "{key}"
        );
    }
}

#[test]
fn warnings_count_only_when_told_to() {
    let place = Place::new("file: token");
    place.write("token", TOKEN);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.folder.path().join("token"), open).unwrap();
    let ended = place.run(&["check"], None);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(
        ended
            .err
            .contains("gateway.yaml is valid: 0 errors, 1 warning")
    );
    let ended = place.run(&["check", "--strict"], None);
    assert_eq!(ended.code, Some(1));
    assert!(
        ended
            .err
            .contains("gateway.yaml is not valid: 0 errors, 1 warning")
    );
}

#[test]
fn a_missing_file_is_a_finding_as_well() {
    let place = Place::new("env: REDOX_TOKEN");
    for command in ["run", "check"] {
        let ended = place.run(&[command, "-c", "absent.yaml"], None);
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{command}");
        assert!(
            ended.err.starts_with("absent.yaml:1:1: error: "),
            "{}",
            ended.err
        );
    }
}

#[test]
fn config_show_masks_every_secret() {
    let place = Place::new("env: REDOX_TOKEN }, { id: spring, file: token");
    place.write("token", "CANARY-second-t0ken-91b4\n");
    let ended = place.run(&["config", "show"], Some(TOKEN));
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(
        ended.out.contains("response: 110s"),
        "defaults are filled in"
    );
    assert!(ended.out.contains("autumn") && ended.out.contains("spring"));
    assert!(!ended.out.contains("CANARY"), "{}", ended.out);
    let ended = place.run(&["config", "show"], None);
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
}

#[test]
fn the_schema_is_json() {
    let schema: Value = serde_json::from_str(&printed(&["config", "schema"])).unwrap();
    for key in ["listeners", "admin", "log", "limits", "timeouts", "routes"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
}

#[test]
fn shells_and_man_get_their_pages() {
    for (shell, part) in [
        ("bash", "complete -F _countersign"),
        ("zsh", "#compdef countersign"),
        ("fish", "complete -c countersign"),
    ] {
        let script = printed(&["completions", shell]);
        assert!(script.contains(part) && script.contains("check"), "{shell}");
    }
    let page = printed(&["man"]);
    let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
    let expected = concat!("\"countersign ", env!("CARGO_PKG_VERSION"), "\"");
    assert!(title.contains(expected), "{title}");
    assert!(page.contains("completions"));
}

#[test]
fn the_demo_plays_every_scene_right() {
    let ended = run(&["demo", "--once"]);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (Some(0), ""),
        "{}",
        ended.out
    );
    let scenes: Vec<&str> = ended
        .out
        .lines()
        .filter(|line| line.contains(" -> "))
        .collect();
    assert!(scenes.len() >= 15);
    assert!(
        scenes.iter().all(|scene| scene.starts_with("ok ")),
        "{}",
        ended.out
    );
    let count = scenes.len();
    assert!(
        ended
            .out
            .contains(&format!("{count} of {count} verdicts right"))
    );
}

/// Name, the token, and a part of what is said about it.
const BAD_TOKENS: [(&str, Option<&str>, &str); 11] = [
    ("unset", None, "is not set"),
    ("empty", Some(""), "is empty"),
    ("blank", Some("                    "), "is blank"),
    ("short", Some("CANARYa81f3c95d"), "too short"),
    ("placeholder", Some("changeme"), "placeholder"),
    (
        "angle brackets",
        Some("<CANARY-verification-token>"),
        "placeholder",
    ),
    (
        "variable unexpanded",
        Some("${CANARY_VERIFICATION_TOKEN}"),
        "placeholder",
    ),
    ("only a line break", Some("\n"), "is blank"),
    (
        "white space inside",
        Some("CANARY-t0ken 6fd1e0c2b7"),
        "white space",
    ),
    (
        "line break at the end",
        Some("CANARY-t0ken-6fd1e0c2b7\n"),
        "white space",
    ),
    (
        "control character",
        Some("CANARY-t0ken-6fd1\u{1b}e0c2b7"),
        "characters",
    ),
];

#[test]
fn no_secret_no_service() {
    // Taken, so that a program that got as far as opening its port would say so.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (name, token, reason) in BAD_TOKENS {
        let place = Place::listening(address, "env: REDOX_TOKEN");
        refuses(&place.run(&["run"], token), name, token, reason);
        refuses(&place.run(&["check"], token), name, token, reason);
        // In a file one line break at the end is no part of the token.
        let in_file = match (name, token) {
            ("line break at the end", _) | (_, None) => continue,
            ("only a line break", _) => ("is empty", token),
            _ => (reason, token),
        };
        let place = Place::listening(address, "file: secret");
        place.write("secret", in_file.1.unwrap());
        refuses(&place.run(&["run"], None), name, token, in_file.0);
    }
    for (name, source, reason) in [
        ("no file", "file: absent", "cannot be read"),
        ("a folder", "file: .", "cannot be read"),
        ("no credentials", "credential: redox", "redox"),
    ] {
        let place = Place::listening(address, source);
        refuses(&place.run(&["run"], None), name, None, reason);
    }
}

fn refuses(ended: &Ended, name: &str, token: Option<&str>, reason: &str) {
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(1), ""),
        "{name}: {}",
        ended.err
    );
    for part in [reason, "gateway.yaml:", "autumn", "route `redox`"] {
        assert!(
            ended.err.contains(part),
            "{name}: {part} not in\n{}",
            ended.err
        );
    }
    assert!(
        !ended.err.contains("cannot listen"),
        "{name}: {}",
        ended.err
    );
    assert!(!ended.err.contains("CANARY"), "{name}: {}", ended.err);
    if let Some(token) = token.filter(|token| !token.trim().is_empty()) {
        assert!(!ended.err.contains(token), "{name}: {}", ended.err);
    }
}

#[test]
fn an_address_in_use_is_named_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let place = Place::listening(address, "env: REDOX_TOKEN");
    let ended = place.run(&["run"], Some(TOKEN));
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""));
    assert!(
        ended
            .err
            .contains(&format!("error: cannot listen on {address}: ")),
        "{}",
        ended.err
    );
    assert!(
        ended.err.contains("  help: another process listens there"),
        "{}",
        ended.err
    );
}

#[test]
fn it_serves_until_told_to_stop() {
    let place = Place::new("env: REDOX_TOKEN");
    let mut command = place.program(&["run"]);
    command.env("REDOX_TOKEN", TOKEN);
    let mut served = Served::start(&mut command);
    let admin = served.address("admin listening");
    assert!(get(admin, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(get(admin, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(get(admin, "/metrics").contains("countersign_build_info{"));
    served.signal("HUP");
    served.wait_for("configuration reloaded");
    served.signal("TERM");
    let ended = served.end();
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), ""),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("stopped"));
}

#[test]
fn colour_is_for_terminals_that_want_it() {
    // Neither stream is a terminal here, so there is no colour with and without NO_COLOR, in any format.
    for no_color in [None, Some("1")] {
        let place = Place::new("env: REDOX_TOKEN");
        let text = std::fs::read_to_string(place.folder.path().join("gateway.yaml")).unwrap();
        place.write("gateway.yaml", &format!("log: {{ format: text }}\n{text}"));
        let mut command = place.program(&["run"]);
        command.env("REDOX_TOKEN", TOKEN);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let mut served = Served::start(&mut command);
        served.wait_for("listening");
        served.signal("INT");
        let ended = served.end();
        assert_eq!(ended.code, Some(0));
        assert!(!ended.err.contains('\u{1b}') && !ended.out.contains('\u{1b}'));
    }
    let ended = end(program().arg("nonsense").env("CLICOLOR_FORCE", "1"));
    assert!(!ended.err.contains('\u{1b}'), "{:?}", ended.err);
}

/// A running program, ended with the test.
struct Served {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    read: String,
}

impl Served {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        Self {
            child,
            errors,
            read: String::new(),
        }
    }

    /// Reads standard error up to a line with this in it.
    fn wait_for(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.errors.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "ended without {part}:\n{}", self.read);
            self.read.push_str(&line);
            if line.contains(part) {
                return line;
            }
        }
    }

    fn address(&mut self, message: &str) -> SocketAddr {
        let line = self.wait_for(message);
        let line: Value = serde_json::from_str(&line).unwrap();
        line["address"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: &str) {
        // A builtin of every shell; the standard library cannot send signals.
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(
            Command::new("/bin/sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
    }

    fn end(mut self) -> Ended {
        self.errors.read_to_string(&mut self.read).unwrap();
        let mut out = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        Ended {
            code: self.child.wait().unwrap().code(),
            out,
            err: std::mem::take(&mut self.read),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_relative_path_begins_at_the_configuration() {
    let place = Place::new("file: token");
    place.write("token", &format!("{TOKEN}\n"));
    let file = place.folder.path().join("gateway.yaml");
    let ended = end(program()
        .arg("check")
        .arg("-c")
        .arg(&file)
        .current_dir(Path::new("/")));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
}
