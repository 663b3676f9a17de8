//! The configuration files, made from the templates in `configurations/`.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::Result;
use crate::options::Log;
use crate::proxy::Kind;
use crate::requests::{self, TOKEN};
use crate::scenario::Size;

/// What a line of a template may end in.
const MARKS: [&str; 4] = ["# log=all", "# log=none", "# load=small", "# load=large"];

/// What is filled in.
pub(crate) struct Setting {
    pub(crate) listen: SocketAddr,
    pub(crate) backend: SocketAddr,
    pub(crate) log: Log,
    pub(crate) size: Size,
    /// Bytes in each body.
    pub(crate) body: usize,
}

impl Setting {
    /// The marks of the lines that stay.
    fn marks(&self) -> [&'static str; 2] {
        let large = self.body > 64 * 1024;
        [
            if self.has_log() {
                "# log=all"
            } else {
                "# log=none"
            },
            if large {
                "# load=large"
            } else {
                "# load=small"
            },
        ]
    }

    pub(crate) fn has_log(&self) -> bool {
        self.log == Log::All
    }
}

pub(crate) fn file_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Countersign => "countersign.yaml",
        Kind::Nginx => "nginx.conf",
        Kind::Haproxy => "haproxy.cfg",
        Kind::Caddy => "Caddyfile",
        Kind::Envoy => "envoy.yaml",
        Kind::Pingora => "arguments",
    }
}

fn template(kind: Kind) -> &'static str {
    match kind {
        Kind::Countersign => include_str!("../configurations/countersign.yaml"),
        Kind::Nginx => include_str!("../configurations/nginx.conf"),
        Kind::Haproxy => include_str!("../configurations/haproxy.cfg"),
        Kind::Caddy => include_str!("../configurations/Caddyfile"),
        Kind::Envoy => include_str!("../configurations/envoy.yaml"),
        // Its configuration is its source, `pingora/src/main.rs`.
        Kind::Pingora => "",
    }
}

/// Writes the file into the proxy's folder.
pub(crate) fn write(kind: Kind, folder: &Path, setting: &Setting) -> Result<()> {
    let text = fill(template(kind), folder, setting);
    Ok(std::fs::write(folder.join(file_name(kind)), text)?)
}

fn fill(template: &str, folder: &Path, setting: &Setting) -> String {
    let mut text = variant(template, setting.marks());
    for (name, value) in [
        ("@LISTEN@", setting.listen.to_string()),
        ("@PORT@", setting.listen.port().to_string()),
        ("@BACKEND@", setting.backend.to_string()),
        ("@BACKEND_PORT@", setting.backend.port().to_string()),
        ("@DIRECTORY@", folder.display().to_string()),
        ("@TOKEN@", TOKEN.to_owned()),
        ("@PATH@", requests::path(setting.size)),
        ("@TOKENS@\n", tokens(setting.size)),
        ("@ROUTES@\n", routes(setting)),
    ] {
        text = text.replace(name, &value);
    }
    text
}

/// The template's lines without those of other variants, and without the marks.
fn variant(template: &str, marks: [&str; 2]) -> String {
    let mut text = String::with_capacity(template.len());
    for line in template.lines() {
        let line = match MARKS.iter().find(|mark| line.ends_with(**mark)) {
            Some(mark) if marks.contains(mark) => line.trim_end_matches(mark).trim_end(),
            Some(_) => continue,
            None => line,
        };
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Tokens before the one that requests have, which is the last one then: known by digests that nothing has.
fn tokens(size: Size) -> String {
    let Size::Tokens(count) = size else {
        return String::new();
    };
    (1..count).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "    - {{ id: t{number}, sha256: \"{number:064x}\" }}");
        text
    })
}

/// Routes before the one that requests go to. All of them have to fit into the mebibyte and the 100,000 values that a
/// configuration may have, so they say no more than they must.
fn routes(setting: &Setting) -> String {
    let Size::Routes(count) = setting.size else {
        return String::new();
    };
    (0..count - 1).fold(String::new(), |mut text, number| {
        let (path, backend) = (requests::route(number), setting.backend);
        let _ = writeln!(
            text,
            "- {{path: {path},verify: {{scheme: redox,tokens: [{{id: a,env: T}}]}},upstream: {{url: http://{backend}}}}}"
        );
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(log: Log, size: Size, body: usize) -> Setting {
        Setting {
            listen: ([127, 0, 0, 1], 1001).into(),
            backend: ([127, 0, 0, 1], 1002).into(),
            log,
            size,
            body,
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for kind in Kind::ALL {
            for (log, size) in [(Log::All, Size::Routes(3)), (Log::None, Size::Tokens(3))] {
                let setting = setting(log, size, 0);
                let text = fill(template(kind), Path::new("/folder"), &setting);
                let is_setting = |line: &&str| !line.trim_start().starts_with('#');
                for line in text.lines().filter(is_setting) {
                    assert!(!line.contains("# log="), "{line}");
                    let mut marks = line.split('@').skip(1).step_by(2);
                    assert!(marks.all(|name| name != name.to_uppercase()), "{line}");
                }
            }
        }
    }

    #[test]
    fn a_variant_has_its_own_lines() {
        let template =
            "# log=… is a mark\na  # log=all\nb # log=none\nc # load=small\nd # load=large\n";
        for (log, body, expected) in [
            (Log::All, 2048, "# log=… is a mark\na\nc\n"),
            (Log::None, 1 << 20, "# log=… is a mark\nb\nd\n"),
        ] {
            let marks = setting(log, Size::One, body).marks();
            assert_eq!(variant(template, marks), expected);
        }
    }
}
