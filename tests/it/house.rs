//! The rules of the house, held against the source itself.
//!
//! Which room may import which is in `src/lib.rs`, for people; here is the same table, for the build. The checker
//! reads text, so it is checked as well: each rule has a planted violation that it must find.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What each room may import. A path in place of a room means: this and nothing else of it.
const MAY_IMPORT: [(&str, &[&str]); 10] = [
    ("verify", &[]),
    ("route", &[]),
    ("telemetry", &[]),
    ("clock", &["verify::UnixTime"]),
    ("server", &["clock"]),
    (
        "gateway",
        &["clock", "route", "server", "telemetry", "verify"],
    ),
    ("admin", &["server", "telemetry"]),
    ("probe", &[]),
    ("config", &["gateway", "route", "server", "verify"]),
    (
        "cli",
        &[
            "admin",
            "clock",
            "config",
            "gateway",
            "probe",
            "route",
            "server",
            "telemetry",
            "verify",
        ],
    ),
];

/// What rooms without I/O, clock, async and logging must not touch.
const IMPURE: [&str; 13] = [
    "tokio",
    "hyper",
    "tracing",
    "std::env",
    "std::fs",
    "std::io",
    "std::process",
    "std::thread",
    "std::time",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
];
const PURE_ROOMS: [&str; 2] = ["route", "verify"];

/// Most code lines in a file, without comments and its test module.
const FILE_LINES: usize = 400;
/// Most code lines in the body of a function.
const FUNCTION_LINES: usize = 75;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "common", "helper", "helpers", "misc", "types", "util", "utils", "tools",
];

/// A file of `src`, or a planted one.
struct File {
    /// Below `src`, with slashes.
    path: String,
    text: String,
}

/// A piece of code; comments leave none, a literal is one.
struct Token {
    text: String,
    line: usize,
    last_line: usize,
}

/// A path that the code mentions, from the root of its crate.
struct Mention {
    path: Vec<String>,
    /// What it is called here, for a `use`.
    name: Option<String>,
    line: usize,
    /// `pub use`: a door, not a need.
    reexport: bool,
}

#[test]
fn the_house_is_in_order() {
    let problems = check(&sources());
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_room_is_known() {
    let found: BTreeSet<String> = sources()
        .iter()
        .filter_map(|file| Some(file.path.split_once('/')?.0.to_owned()))
        .collect();
    let known = MAY_IMPORT.map(|(room, _)| room.to_owned());
    assert_eq!(found, BTreeSet::from(known));
}

#[test]
fn the_map_in_the_crate_documentation_is_this_table() {
    let text = fs::read_to_string(source_folder().join("lib.rs")).unwrap();
    for (room, allowed) in MAY_IMPORT {
        let row = text
            .lines()
            .find(|line| line.starts_with(&format!("//! | [`{room}`] |")));
        let cell = row
            .and_then(|row| row.trim_end_matches('|').rsplit('|').next())
            .unwrap();
        let named: BTreeSet<&str> = cell.split('`').skip(1).step_by(2).collect();
        let expected: BTreeSet<&str> = match (room, allowed) {
            ("cli", _) => BTreeSet::new(),
            (_, ["verify::UnixTime"]) => BTreeSet::from(["verify", "verify::UnixTime"]),
            (_, rooms) => rooms.iter().copied().collect(),
        };
        assert_eq!(named, expected, "{room}: {cell}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn planted_violations_are_found() {
    let long_file = format!("//! x\n{}", "static A: u8 = 0;\n".repeat(FILE_LINES + 1));
    let long_function = format!(
        "//! x\nfn f() {{\n{}}}\n",
        "    g();\n".repeat(FUNCTION_LINES + 1)
    );
    let cases: &[(&str, &str, &str, &str)] = &[
        (
            "use",
            "verify/a.rs",
            "//! x\nuse crate::gateway::Plan;\n",
            "verify/a.rs:2: verify must not import gateway::Plan",
        ),
        (
            "group",
            "server/a.rs",
            "//! x\nuse crate::{clock::Timers, config::load};\n",
            "server must not import config::load",
        ),
        (
            "nested group",
            "server/a.rs",
            "//! x\nuse crate::{gateway::{plan::{self}}};\n",
            "server must not import gateway::plan",
        ),
        (
            "in an expression",
            "route/a.rs",
            "//! x\nfn f() { crate::clock::wall(); }\n",
            "route must not import clock::wall",
        ),
        (
            "in a type",
            "telemetry/a.rs",
            "//! x\nfn f(_: Vec<crate::server::Peer>) {}\n",
            "telemetry must not import server::Peer",
        ),
        (
            "by super",
            "verify/a/b.rs",
            "//! x\nuse super::super::super::route::Table;\n",
            "verify must not import route::Table",
        ),
        (
            "more than UnixTime",
            "clock/a.rs",
            "//! x\nuse crate::verify::{Permit, UnixTime};\n",
            "clock must not import verify::Permit",
        ),
        (
            "whole room",
            "clock/a.rs",
            "//! x\nuse crate::verify;\n",
            "clock must not import verify",
        ),
        (
            "renamed",
            "gateway/a.rs",
            "//! x\nuse crate::config as c;\n",
            "gateway must not import config",
        ),
        (
            "star",
            "admin/a.rs",
            "//! x\nuse crate::gateway::*;\n",
            "admin must not import gateway",
        ),
        (
            "impure",
            "verify/a.rs",
            "//! x\nuse std::{fmt, time::{Duration, Instant}};\n",
            "verify is pure and must not use std::time::",
        ),
        (
            "impure call",
            "route/a.rs",
            "//! x\nfn f() { tokio::spawn(g()); }\n",
            "route is pure and must not use tokio::spawn",
        ),
        (
            "unsafe",
            "server/a.rs",
            "//! x\nfn f() { unsafe { g() } }\n",
            "server/a.rs:2: unsafe",
        ),
        (
            "todo",
            "server/a.rs",
            "//! x\nfn f() { todo!() }\n",
            "todo!",
        ),
        (
            "unimplemented",
            "server/a.rs",
            "//! x\nfn f() { unimplemented!(\"later\") }\n",
            "unimplemented!",
        ),
        (
            "no header",
            "server/a.rs",
            "fn f() {}\n",
            "begin with a `//!` header",
        ),
        ("empty name", "server/utils.rs", "//! x\n", "says nothing"),
        (
            "empty room name",
            "server/helpers/mod.rs",
            "//! x\n",
            "says nothing",
        ),
        ("long file", "server/a.rs", &long_file, "401 code lines"),
        (
            "long function",
            "server/a.rs",
            &long_function,
            "f has 76 code lines",
        ),
    ];
    for (name, path, text, expected) in cases {
        let problems = check(&[file(path, text)]);
        assert!(
            problems.iter().any(|problem| problem.contains(expected)),
            "{name}: {problems:?}"
        );
    }
}

#[test]
fn what_only_looks_like_a_violation_is_left_alone() {
    let cases = [
        (
            "comment",
            "verify/a.rs",
            "//! crate::gateway::x\n// use crate::gateway::Plan; todo!()\n/* unsafe /* crate::cli */ */\n",
        ),
        (
            "string",
            "verify/a.rs",
            "//! x\nconst A: &str = \"crate::gateway::Plan unsafe \\\" todo!()\";\n",
        ),
        (
            "raw string",
            "verify/a.rs",
            "//! x\nconst A: &str = r#\"\" use crate::cli::x; \"#;\n",
        ),
        (
            "character",
            "verify/a.rs",
            "//! x\nconst A: char = '\"'; const B: char = '\\''; fn f<'a>(_: &'a str) {}\n",
        ),
        (
            "visibility",
            "verify/a.rs",
            "//! x\npub(in crate::verify) fn f() {}\n",
        ),
        (
            "own room",
            "verify/a.rs",
            "//! x\nuse crate::verify::UnixTime;\n",
        ),
        (
            "root constant",
            "telemetry/a.rs",
            "//! x\nconst A: &str = crate::REVISION;\n",
        ),
        (
            "test module",
            "verify/a.rs",
            "//! x\nfn f() {}\n#[cfg(test)]\nmod tests {\n    use crate::gateway::Plan;\n    fn g() { std::fs::read(\"x\"); }\n}\n",
        ),
        (
            "like a room",
            "verify/a.rs",
            "//! x\nmod gateway_names;\nuse gateway_names::X;\n",
        ),
    ];
    for (name, path, text) in cases {
        let problems = check(&[file(path, text)]);
        assert_eq!(problems, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn circles_inside_a_room_are_found() {
    let circle = [
        file(
            "server/mod.rs",
            "//! x\nmod a;\nmod b;\nmod c;\npub use b::B;\n",
        ),
        file("server/a.rs", "//! x\nuse super::B;\n"),
        file("server/b.rs", "//! x\nuse super::c::C;\n"),
        file("server/c.rs", "//! x\nfn f() { crate::server::a::g(); }\n"),
    ];
    let problems = check(&circle);
    assert_eq!(
        problems,
        ["files import each other in a circle: server/a.rs server/b.rs server/c.rs"]
    );
    let line = [
        file(
            "server/mod.rs",
            "//! x\nmod a;\nmod b;\npub use a::A;\npub use b::B;\n",
        ),
        file("server/a.rs", "//! x\nuse super::B;\n"),
        file("server/b.rs", "//! x\n"),
    ];
    assert_eq!(check(&line), Vec::<String>::new());
}

fn file(path: &str, text: &str) -> File {
    File {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn source_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file below `src`.
fn sources() -> Vec<File> {
    let root = source_folder();
    let (mut folders, mut files) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let below = path.strip_prefix(&root).unwrap();
                files.push(file(&below.to_str().unwrap().replace('\\', "/"), &text));
            }
        }
    }
    assert!(files.len() > 40, "only {} files found", files.len());
    files.sort_by(|one, other| one.path.cmp(&other.path));
    files
}

/// All that is out of order, one line each.
fn check(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut mentions = BTreeMap::new();
    for file in files {
        let tokens = without_tests(tokens(&file.text));
        check_name(file, &mut problems);
        check_words(file, &tokens, &mut problems);
        check_length(file, &tokens, &mut problems);
        let mentioned = mentioned(file, &tokens);
        check_rooms(file, &mentioned, &mut problems);
        mentions.insert(file.path.as_str(), mentioned);
    }
    check_circles(&mentions, &mut problems);
    problems
}

fn check_name(file: &File, problems: &mut Vec<String>) {
    let path = &file.path;
    for part in path.trim_end_matches(".rs").split('/') {
        if EMPTY_NAMES.contains(&part) {
            problems.push(format!(
                "{path}: the name {part} says nothing about what is in it"
            ));
        }
    }
    if !file.text.starts_with("//! ") {
        problems.push(format!("{path}: a file has to begin with a `//!` header"));
    }
}

fn check_words(file: &File, tokens: &[Token], problems: &mut Vec<String>) {
    for (at, token) in tokens.iter().enumerate() {
        let place = format!("{}:{}", file.path, token.line);
        let macro_call = text(tokens, at + 1) == "!";
        match token.text.as_str() {
            "unsafe" => problems.push(format!("{place}: unsafe")),
            "todo" | "unimplemented" if macro_call => {
                problems.push(format!("{place}: {}!", token.text));
            }
            _ => {}
        }
    }
}

fn check_length(file: &File, tokens: &[Token], problems: &mut Vec<String>) {
    let path = &file.path;
    let lines = code_lines(tokens);
    if lines > FILE_LINES {
        problems.push(format!(
            "{path}: {lines} code lines, more than {FILE_LINES}"
        ));
    }
    for at in 0..tokens.len() {
        if text(tokens, at) != "fn" || !is_word(text(tokens, at + 1)) {
            continue;
        }
        let name = text(tokens, at + 1);
        let Some(open) = (at..tokens.len()).find(|at| matches!(text(tokens, *at), "{" | ";"))
        else {
            continue;
        };
        if text(tokens, open) == ";" {
            continue;
        }
        let close = matching(tokens, open);
        let (first, last) = (tokens[open].line, tokens[close].line);
        let inside = tokens[open..close]
            .iter()
            .filter(|token| token.line > first && token.line < last);
        let lines = lines_of(inside);
        if lines > FUNCTION_LINES {
            problems.push(format!(
                "{path}:{first}: {name} has {lines} code lines, more than {FUNCTION_LINES}"
            ));
        }
    }
}

fn check_rooms(file: &File, mentions: &[Mention], problems: &mut Vec<String>) {
    let Some((room, _)) = file.path.split_once('/') else {
        return;
    };
    let allowed = MAY_IMPORT
        .iter()
        .find(|(known, _)| *known == room)
        .map_or(&[][..], |(_, allowed)| allowed);
    let is_room = |name: &String| MAY_IMPORT.iter().any(|(known, _)| known == name);
    for mention in mentions {
        let path = mention.path.join("::");
        let place = format!("{}:{}", file.path, mention.line);
        let within = |whole: &&str| path == **whole || path.starts_with(&format!("{whole}::"));
        if let Some(inside) = path.strip_prefix("crate::") {
            let other = &mention.path[1];
            let open =
                |allowed: &&str| inside == *allowed || inside.starts_with(&format!("{allowed}::"));
            if is_room(other) && other != room && !allowed.iter().any(open) {
                problems.push(format!("{place}: {room} must not import {inside}"));
            }
        } else if PURE_ROOMS.contains(&room) && IMPURE.iter().any(within) {
            problems.push(format!("{place}: {room} is pure and must not use {path}"));
        }
    }
}

/// Follows imports from file to file, through re-exports, and reports every circle that is not a known one.
fn check_circles(mentions: &BTreeMap<&str, Vec<Mention>>, problems: &mut Vec<String>) {
    let modules: BTreeMap<String, &str> = mentions
        .keys()
        .map(|path| (module(path).join("::"), *path))
        .collect();
    let doors: BTreeMap<String, String> = mentions
        .iter()
        .flat_map(|(path, mentions)| {
            let module = module(path).join("::");
            mentions.iter().filter_map(move |mention| {
                let name = mention.name.as_ref()?;
                Some((format!("{module}::{name}"), mention.path.join("::")))
            })
        })
        .collect();
    let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (path, mentions) in mentions {
        for mention in mentions.iter().filter(|mention| !mention.reexport) {
            let Some(target) = home(&mention.path.join("::"), &modules, &doors) else {
                continue;
            };
            let above = module(path).starts_with(&module(target));
            if !above && room(target) == room(path) {
                needs.entry(path).or_default().insert(target);
            }
        }
    }
    let reach: BTreeMap<&str, BTreeSet<&str>> = needs
        .keys()
        .map(|from| (*from, reachable(from, &needs)))
        .collect();
    let mut told = BTreeSet::new();
    for (from, reached) in &reach {
        if !reached.contains(from) || told.contains(from) {
            continue;
        }
        let back = |other: &&&str| reach.get(**other).is_some_and(|there| there.contains(from));
        let circle: Vec<&str> = reached.iter().filter(back).copied().collect();
        told.extend(circle.iter().copied());
        problems.push(format!(
            "files import each other in a circle: {}",
            circle.join(" ")
        ));
    }
}

/// The file in which a path is defined.
fn home<'f>(
    path: &str,
    modules: &BTreeMap<String, &'f str>,
    doors: &BTreeMap<String, String>,
) -> Option<&'f str> {
    let mut path = path.to_owned();
    // Longer chains of re-exports than this do not exist; a circle of them would not compile.
    for _ in 0..8 {
        let parts: Vec<&str> = path.split("::").collect();
        let through = (1..=parts.len()).find_map(|length| {
            let (head, rest) = parts.split_at(length);
            let target = doors.get(&head.join("::"))?;
            // `use super::x;` inside x's sibling names the module itself: no way on.
            (*target != head.join("::")).then(|| [&[target.as_str()], rest].concat().join("::"))
        });
        match through {
            Some(next) => path = next,
            None => break,
        }
    }
    let parts: Vec<&str> = path.split("::").collect();
    (1..=parts.len())
        .rev()
        .find_map(|length| modules.get(&parts[..length].join("::")).copied())
}

fn reachable<'f>(from: &'f str, needs: &BTreeMap<&'f str, BTreeSet<&'f str>>) -> BTreeSet<&'f str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![from];
    while let Some(file) = open.pop() {
        for next in needs.get(file).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(next);
            }
        }
    }
    reached
}

fn room(path: &str) -> Option<&str> {
    path.split_once('/').map(|(room, _)| room)
}

/// `config/compile/mod.rs` is `crate::config::compile`.
fn module(path: &str) -> Vec<String> {
    let mut parts = vec!["crate".to_owned()];
    parts.extend(path.trim_end_matches(".rs").split('/').map(str::to_owned));
    if parts
        .last()
        .is_some_and(|last| last == "mod" || last == "lib")
    {
        parts.pop();
    }
    parts
}

/// Every path in the code: those in `use` and those in passing.
fn mentioned(file: &File, tokens: &[Token]) -> Vec<Mention> {
    let module = module(&file.path);
    let children: BTreeSet<&str> = (0..tokens.len())
        .filter(|at| text(tokens, *at) == "mod" && text(tokens, at + 2) == ";")
        .map(|at| text(tokens, at + 1))
        .collect();
    let mut mentions = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let first = text(tokens, at);
        let begins = first == "use"
            || (is_word(first)
                && text(tokens, at + 1) == "::"
                && !matches!(before(tokens, at), "::" | "." | "in"));
        if !begins {
            at += 1;
            continue;
        }
        let import = first == "use";
        let reexport = import && matches!(before(tokens, at), "pub" | ")");
        let mut paths = Vec::new();
        let start = if import { at + 1 } else { at };
        at = tree(tokens, start, &[], &mut paths).max(at + 1);
        for (path, alias) in paths {
            let name = alias.or_else(|| path.last().cloned());
            let Some(path) = absolute(path, &module, &children) else {
                continue;
            };
            mentions.push(Mention {
                path,
                name: name.filter(|_| import),
                line: tokens[start].line,
                reexport,
            });
        }
    }
    mentions
}

/// Reads a path or a tree of paths from `at`, and gives where it ends.
fn tree(
    tokens: &[Token],
    mut at: usize,
    prefix: &[String],
    paths: &mut Vec<(Vec<String>, Option<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    loop {
        match text(tokens, at) {
            "{" => {
                at += 1;
                while at < tokens.len() && text(tokens, at) != "}" {
                    at = tree(tokens, at, &path, paths).max(at + 1);
                    if text(tokens, at) == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "*" => {
                paths.push((path, None));
                return at + 1;
            }
            "self" if !path.is_empty() => at += 1,
            word if is_word(word) => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => {
                paths.push((path, None));
                return at;
            }
        }
        match text(tokens, at) {
            "::" => at += 1,
            "as" => {
                paths.push((path, Some(text(tokens, at + 1).to_owned())));
                return at + 2;
            }
            _ => {
                paths.push((path, None));
                return at;
            }
        }
    }
}

/// From the root of a crate, ours being `crate`; `None` for names that are not paths to anything here.
fn absolute(
    path: Vec<String>,
    module: &[String],
    children: &BTreeSet<&str>,
) -> Option<Vec<String>> {
    let first = path.first()?.clone();
    match first.as_str() {
        "crate" if path.len() > 1 => Some(path),
        "crate" => None,
        "self" => Some([module, &path[1..]].concat()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            let base = module.get(..module.len().checked_sub(ups)?)?;
            Some([base, &path[ups..]].concat()).filter(|path| path.len() > 1)
        }
        child if children.contains(child) => Some([module, &path[..]].concat()),
        _ => Some(path),
    }
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}

fn before(tokens: &[Token], at: usize) -> &str {
    at.checked_sub(1).map_or("", |at| text(tokens, at))
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The position of the brace that closes the one at `open`.
fn matching(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" if depth == 1 => return at,
            "}" => depth -= 1,
            _ => {}
        }
    }
    panic!("a brace without its other half");
}

fn code_lines(tokens: &[Token]) -> usize {
    lines_of(tokens.iter())
}

fn lines_of<'t>(tokens: impl Iterator<Item = &'t Token>) -> usize {
    let lines: BTreeSet<usize> = tokens
        .flat_map(|token| token.line..=token.last_line)
        .collect();
    lines.len()
}

/// Leaves out every module that is compiled for tests only.
fn without_tests(tokens: Vec<Token>) -> Vec<Token> {
    const MARK: [&str; 8] = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let mut kept = Vec::new();
    let mut skipped_to = 0;
    for at in 0..tokens.len() {
        if at < skipped_to {
            continue;
        }
        let marked = MARK
            .iter()
            .zip(at..)
            .all(|(mark, at)| text(&tokens, at) == *mark);
        if marked {
            let open = at + MARK.len() + 1;
            skipped_to = match text(&tokens, open) {
                "{" => matching(&tokens, open) + 1,
                _ => open + 1,
            };
            continue;
        }
        kept.push(at);
    }
    let mut tokens: Vec<Option<Token>> = tokens.into_iter().map(Some).collect();
    kept.into_iter()
        .filter_map(|at| tokens[at].take())
        .collect()
}

/// Cuts source text into words, `::`, single signs and literals; comments vanish.
fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let (end, keep) = piece(&chars, at);
        let first_line = line;
        line += chars[start..end]
            .iter()
            .filter(|char| **char == '\n')
            .count();
        if keep {
            tokens.push(Token {
                text: chars[start..end].iter().collect(),
                line: first_line,
                last_line: line,
            });
        }
        at = end;
    }
    tokens
}

/// Where the piece that begins at `at` ends, and whether it is code.
fn piece(chars: &[char], at: usize) -> (usize, bool) {
    let ahead = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let word = |char: char| char.is_alphanumeric() || char == '_';
    let run = |from: usize, fits: &dyn Fn(char) -> bool| {
        (from..chars.len())
            .find(|at| !fits(chars[*at]))
            .unwrap_or(chars.len())
    };
    match (ahead(0), ahead(1)) {
        ('/', '/') => (run(at, &|char| char != '\n'), false),
        ('/', '*') => (block_comment(chars, at), false),
        (':', ':') => (at + 2, true),
        ('"', _) => (quoted(chars, at, '"'), true),
        // A character, unless it is a lifetime.
        ('\'', '\\') => (quoted(chars, at, '\''), true),
        ('\'', _) if ahead(2) == '\'' => (at + 3, true),
        (first, _) if first.is_whitespace() => (run(at, &char::is_whitespace), false),
        (first, _) if word(first) => {
            let end = run(at, &word);
            let prefix: String = chars[at..end].iter().collect();
            let hashes = run(end, &|char| char == '#') - end;
            let quote = chars.get(end + hashes) == Some(&'"');
            match prefix.as_str() {
                "r" | "br" | "cr" if quote => (raw(chars, end + hashes + 1, hashes), true),
                "b" | "c" if quote && hashes == 0 => (quoted(chars, end, '"'), true),
                "b" if chars.get(end) == Some(&'\'') => (quoted(chars, end, '\''), true),
                _ => (end, true),
            }
        }
        _ => (at + 1, true),
    }
}

fn block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0_usize, start);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// The end of a literal whose opening quote is at `open`.
fn quoted(chars: &[char], open: usize, quote: char) -> usize {
    let mut at = open + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw(chars: &[char], start: usize, hashes: usize) -> usize {
    let closes = |at: &usize| {
        chars[*at] == '"'
            && chars
                .get(at + 1..at + 1 + hashes)
                .is_some_and(|tail| tail.iter().all(|char| *char == '#'))
    };
    (start..chars.len())
        .find(closes)
        .map_or(chars.len(), |at| at + 1 + hashes)
}
