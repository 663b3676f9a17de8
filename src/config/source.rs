//! The text of a configuration file as a tree that knows where each key and value stands.
//!
//! Anchors and aliases are expanded here, up to a number of nodes that no honest file reaches. Duplicate keys are
//! findings and dropped, so that the rest of the file can be checked.
//!
//! Not here: what the keys mean.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput, Tag};

use super::diagnostic::{At, Finding, Findings, quoted};
use super::mark::Mark;
use super::tree::{Entry, Item, Kind, Node, Scalar, hide, is_secret_section, item_path, key_path};

/// Largest file, in bytes.
pub(super) const FILE_CAP: usize = 1024 * 1024;
/// Most nodes after aliases are expanded: many times what a thousand routes need.
const NODE_LIMIT: usize = 100_000;
/// Deepest nesting; the configuration itself needs eight.
const DEPTH_LIMIT: usize = 32;

/// Reads the tree. `None` where nothing can be made of the text; the findings say why.
pub(super) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        text,
        anchors: HashMap::new(),
        nodes: 0,
        findings,
    };
    reader.document().ok()
}

/// Reading cannot go on; a finding says why.
struct Stop;

struct Reader<'t, 'f> {
    parser: Parser<'t, StrInput<'t>>,
    text: &'t str,
    /// Finished nodes by anchor; an alias to any other anchor is inside of what it names.
    anchors: HashMap<usize, Node>,
    nodes: usize,
    findings: &'f mut Findings,
}

impl<'t> Reader<'t, '_> {
    fn document(&mut self) -> Result<Node, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::StreamEnd => break,
                Event::DocumentStart(_) if root.is_none() => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span, "", 0)?);
                }
                Event::DocumentStart(_) => {
                    let finding = Finding::error(
                        &at(span, ""),
                        "a second document",
                        "one document in a file",
                    );
                    let hint =
                        "take out the line `---` or move what follows it to a file of its own";
                    self.findings.add(finding.help(hint));
                    if let Some(root) = &mut root {
                        // What seems to be missing may be in the other one.
                        root.lost = true;
                    }
                    break;
                }
                Event::Alias(_)
                | Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd => {}
            }
        }
        root.ok_or_else(|| {
            let at = At {
                mark: Mark::start(),
                path: String::new(),
            };
            let finding = Finding::error(&at, "an empty file", "`listeners` and `routes`");
            let hint = "the `gateway.yaml` that comes with countersign is a good beginning";
            self.findings.add(finding.help(hint));
            Stop
        })
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(error)) => {
                let mark = Mark::point(error.marker().line(), error.marker().col() + 1);
                self.syntax_error(mark, error.info());
                Err(Stop)
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn syntax_error(&mut self, mark: Mark, info: &str) {
        let (mark, hint) = self.explain(mark, info);
        let at = At {
            mark,
            path: String::new(),
        };
        let found = format!("the text is no YAML from here on: {}", info.to_lowercase());
        self.findings
            .add(Finding::error(&at, found, "well-formed YAML").help(hint));
    }

    /// Where the mistake more likely is, and what to do about it.
    fn explain(&self, mark: Mark, info: &str) -> (Mark, &'static str) {
        let lines = || (1..).zip(self.text.lines());
        // The parser sees a tab in front of a key as a part of the value in the line before it.
        let tab = lines()
            .skip(mark.line.saturating_sub(1))
            .take(2)
            .find(|(_, line)| line.trim_start_matches(' ').starts_with('\t'));
        if let Some((number, line)) = tab {
            let column = line.chars().take_while(|c| *c == ' ').count() + 1;
            let hint = "indent with spaces; YAML allows no tabs there";
            return (Mark::point(number, column), hint);
        }
        let line = lines().nth(mark.line.saturating_sub(1));
        let hint = if info.contains("anchor") {
            "an alias (`*name`) needs its anchor (`&name`) before it; text that begins with `*` or `&` needs quotes"
        } else if line.is_some_and(|(_, line)| line.contains("${")) {
            "between { } and [ ] a value with `${` needs quotes, or lines of its own"
        } else {
            "look at this line and the one before it: a missing quote, bracket or colon, or a wrong indent"
        };
        (mark, hint)
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<Node, Stop> {
        self.budget(1, span, path)?;
        if depth > DEPTH_LIMIT {
            let top = path.split(['.', '[']).next().unwrap_or_default();
            let finding = Finding::error(
                &at(span, top),
                format!("more than {DEPTH_LIMIT} levels inside each other"),
                "a file as flat as the documentation shows it",
            );
            self.findings.add(finding);
            return Err(Stop);
        }
        let (node, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, span, path),
            Event::Scalar(text, style, anchor, tag) => {
                let text_only = match style {
                    ScalarStyle::Plain => tag.as_deref().is_some_and(is_text),
                    ScalarStyle::SingleQuoted
                    | ScalarStyle::DoubleQuoted
                    | ScalarStyle::Literal
                    | ScalarStyle::Folded => true,
                };
                self.check_tag(tag.as_deref(), span, path);
                let kind = Kind::Scalar(Scalar::new(text.into_owned(), text_only));
                (Node::new(mark(span), kind), anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span, path);
                (self.list(span, path, depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), span, path);
                (self.map(span, path, depth)?, anchor)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => {
                self.syntax_error(mark(span), "a value is missing");
                return Err(Stop);
            }
        };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, span: Span, path: &str, depth: usize) -> Result<Node, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, item_span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node::new(mark(span), Kind::List(items)));
            }
            let index = items.len();
            let node = self.node(event, item_span, &item_path(path, index), depth + 1)?;
            items.push(Item { index, node });
        }
    }

    fn map(&mut self, span: Span, path: &str, depth: usize) -> Result<Node, Stop> {
        let mut entries: Vec<Entry> = Vec::new();
        // Looked up by hash: a file may hold a hundred thousand keys in one map.
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut lost = false;
        loop {
            let (event, key_span) = self.next()?;
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) => text.into_owned(),
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..) => {
                    self.complex_key(event, key_span, path, depth)?;
                    lost = true;
                    continue;
                }
            };
            let own_path = key_path(path, &key);
            let (event, value_span) = self.next()?;
            let node = self.node(event, value_span, &own_path, depth + 1)?;
            let key_at = at(key_span, &own_path);
            if let Some(line) = seen.get(&key) {
                self.findings.add(duplicate(&key_at, &key, *line));
                if is_secret_section(path) {
                    hide(&node, self.findings);
                }
            } else if key == "<<" {
                self.findings.add(merge(&at(key_span, path)));
                lost = true;
            } else {
                seen.insert(key.clone(), key_at.mark.line);
                let mark = key_at.mark;
                entries.push(Entry { key, mark, node });
            }
        }
        let mut node = Node::new(mark(span), Kind::Map(entries));
        node.lost = lost;
        Ok(node)
    }

    /// Passes over a key that is no scalar, and its value.
    fn complex_key(
        &mut self,
        key: Event<'t>,
        span: Span,
        path: &str,
        depth: usize,
    ) -> Result<(), Stop> {
        self.node(key, span, path, depth + 1)?;
        let found = "a key that is not a single word";
        let finding = Finding::error(&at(span, path), found, "a key and a colon");
        let hint = "text that begins with `{`, `[` or `*` needs quotes";
        self.findings.add(finding.help(hint));
        let (event, span) = self.next()?;
        self.node(event, span, path, depth + 1)?;
        Ok(())
    }

    fn alias(&mut self, anchor: usize, span: Span, path: &str) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&anchor) else {
            let found = "an alias inside of what it stands for";
            let finding = Finding::error(&at(span, path), found, "an anchor that ends before it");
            self.findings.add(finding);
            return Err(Stop);
        };
        let size = node.size(NODE_LIMIT + 1);
        let mut node = node.clone();
        self.budget(size, span, path)?;
        // What is wrong with this use of it is to be looked for here.
        node.mark = mark(span);
        Ok(node)
    }

    fn budget(&mut self, nodes: usize, span: Span, path: &str) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes <= NODE_LIMIT {
            return Ok(());
        }
        let finding = Finding::error(
            &at(span, path),
            format!("more than {NODE_LIMIT} values once aliases are replaced"),
            "a file without aliases of aliases",
        );
        self.findings.add(finding);
        Err(Stop)
    }

    fn check_tag(&mut self, tag: Option<&Tag>, span: Span, path: &str) {
        if tag.is_some_and(|tag| !tag.is_yaml_core_schema()) {
            let finding = Finding::error(&at(span, path), "a tag (`!…`)", "a value without a tag");
            self.findings
                .add(finding.help("text that begins with `!` needs quotes"));
        }
    }
}

fn is_text(tag: &Tag) -> bool {
    tag.is_yaml_core_schema() && tag.suffix == "str"
}

fn duplicate(at: &At, key: &str, first: usize) -> Finding {
    Finding::error(
        at,
        format!(
            "the key {} a second time; the first is in line {first}",
            quoted(key)
        ),
        "each key once",
    )
    .help("take one of the two out; only the first is looked at until then")
}

fn merge(at: &At) -> Finding {
    Finding::error(at, "a merge key (`<<`)", "keys written out").help(
        "merge keys are no part of YAML 1.2; an alias for a whole value works: `tokens: *tokens`",
    )
}

fn at(span: Span, path: &str) -> At {
    At {
        mark: mark(span),
        path: path.to_owned(),
    }
}

fn mark(span: Span) -> Mark {
    let line = span.start.line().max(1);
    let column = span.start.col() + 1;
    Mark {
        line,
        column,
        end_line: span.end.line().max(line),
        end_column: span.end.col() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let mut findings = Findings::default();
        parse(text, &mut findings);
        let list = findings.finish("f", text);
        list.iter()
            .map(|finding| format!("{}:{} {}", finding.line, finding.column, finding.found))
            .collect()
    }

    #[test]
    fn finds_what_stands_twice() {
        let cases = [
            (
                "a: 1\nb: 2\na: 3\n",
                "3:1 the key `a` a second time; the first is in line 1",
            ),
            (
                "x:\n  - {b: 1, b: 2}\n",
                "2:12 the key `b` a second time; the first is in line 2",
            ),
            ("a: 1\n---\nb: 2\n", "2:1 a second document"),
            (
                "a: &x {b: *x}\n",
                "1:11 an alias inside of what it stands for",
            ),
            ("", "1:1 an empty file"),
            ("a: &x {b: 1}\nc: {<<: *x}\n", "2:5 a merge key (`<<`)"),
            ("a: !odd 1\n", "1:4 a tag (`!…`)"),
            ("? [a]\n: 1\n", "1:3 a key that is not a single word"),
        ];
        for (text, expected) in cases {
            assert_eq!(findings(text), [expected], "{text}");
        }
    }

    #[test]
    fn stops_at_an_alias_bomb() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        let found = findings(&text);
        assert!(found[0].contains("once aliases are replaced"), "{found:?}");
    }

    #[test]
    fn stops_at_deep_nesting() {
        let text = "[".repeat(2_000);
        assert!(!findings(&text).is_empty());
    }
}
