//! Reading Markdown as far as the tests of the documents need it: pages, blocks, headings, links, code in the text.

use std::fs;
use std::path::{Path, PathBuf};

/// One Markdown file.
pub(super) struct Page {
    /// From the root of the checkout, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

/// A fenced block.
pub(super) struct Block {
    /// What stands behind the opening fence.
    pub(super) mark: String,
    /// Line of the opening fence, from 1.
    pub(super) line: usize,
    pub(super) text: String,
}

/// Every Markdown file of the checkout, in order.
pub(super) fn pages(root: &Path) -> Vec<Page> {
    let mut files = Vec::new();
    collect(root, &mut files);
    files.sort();
    let page = |file: PathBuf| Page {
        path: file
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned(),
        text: fs::read_to_string(&file).unwrap(),
    };
    files.into_iter().map(page).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let name = name.to_str().unwrap();
        if entry.file_type().unwrap().is_dir() {
            // What is built, and what is not ours to show.
            if name != "target" && name != ".git" {
                collect(&entry.path(), files);
            }
        } else if name.ends_with(".md") {
            files.push(entry.path());
        }
    }
}

/// The length of the fence that a line is, and what stands behind it.
fn fence(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start();
    let length = line.len() - line.trim_start_matches('`').len();
    let rest = line[length..].trim();
    (length >= 3 && !rest.contains('`')).then_some((length, rest))
}

/// The fenced blocks of a page.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if let Some((length, mark)) = fence(line) {
            // In a list the block stands as deep as its fence.
            let depth = line.len() - line.trim_start().len();
            let inside = lines.by_ref().map(|(_, line)| line);
            let inside = inside.take_while(|line| {
                !fence(line).is_some_and(|(end, rest)| end >= length && rest.is_empty())
            });
            blocks.push(Block {
                mark: mark.to_owned(),
                line: number + 1,
                text: inside
                    .map(|line| format!("{}\n", line.get(depth..).unwrap_or_default()))
                    .collect(),
            });
        }
    }
    blocks
}

/// The lines outside of blocks.
pub(super) fn prose(text: &str) -> String {
    let mut prose = String::new();
    let mut open = None;
    for line in text.lines() {
        match (open, fence(line)) {
            (None, Some((length, _))) => open = Some(length),
            (Some(length), Some((end, ""))) if end >= length => open = None,
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
            (Some(_), _) => {}
        }
    }
    prose
}

/// The code in a text, and the text with nothing in its place.
pub(super) fn split_code(prose: &str) -> (Vec<String>, String) {
    let (mut code, mut rest) = (Vec::new(), String::new());
    let mut text = prose;
    while let Some(at) = text.find('`') {
        rest.push_str(&text[..at]);
        text = &text[at..];
        let length = text.len() - text.trim_start_matches('`').len();
        let (ticks, behind) = text.split_at(length);
        let paragraph = behind.find("\n\n").unwrap_or(behind.len());
        match closing(&behind[..paragraph], length) {
            Some(end) => {
                let words: Vec<&str> = behind[..end].split_whitespace().collect();
                code.push(words.join(" "));
                rest.push('\u{1}');
                text = &behind[end + length..];
            }
            None => {
                rest.push_str(ticks);
                text = behind;
            }
        }
    }
    rest.push_str(text);
    (code, rest)
}

/// Where a run of exactly so many backticks begins.
fn closing(text: &str, length: usize) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('`').map(|at| from + at) {
        let run = text[at..].len() - text[at..].trim_start_matches('`').len();
        if run == length {
            return Some(at);
        }
        from = at + run;
    }
    None
}

/// Targets of all links and pictures.
pub(super) fn links(text: &str) -> Vec<String> {
    let (_, text) = split_code(&prose(text));
    let mut links = Vec::new();
    for piece in text.split("](").skip(1) {
        let end = piece.find(')').unwrap_or(piece.len());
        links.push(piece[..end].trim_matches(['<', '>']).to_owned());
    }
    links
}

/// Anchors of all headings, made as GitHub makes them.
pub(super) fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for line in prose(text).lines() {
        let heading = line.trim_start_matches('#');
        if heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let letters = heading.trim().chars().filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            letter if letter.is_alphanumeric() => Some(letter),
            _ => None,
        });
        let anchor = letters.collect::<String>().to_lowercase();
        let before = anchors.iter().filter(|other| **other == anchor).count();
        anchors.push(match before {
            0 => anchor,
            number => format!("{anchor}-{number}"),
        });
    }
    anchors
}

/// The cells of every row of all tables below a heading, up to the next one; without headers and rulers.
pub(super) fn rows(text: &str, heading: &str) -> Vec<Vec<String>> {
    let text = prose(text);
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.starts_with('#'));
    let rows: Vec<Vec<String>> = lines
        .filter(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    let ruler = |row: &[String]| {
        row.iter()
            .all(|cell| cell.trim_matches(['-', '|', ' ']).is_empty())
    };
    let is_header = |at: usize| rows.get(at + 1).is_some_and(|next| ruler(next));
    (0..rows.len())
        .filter(|at| !is_header(*at) && !ruler(&rows[*at]))
        .map(|at| rows[at].clone())
        .collect()
}

#[test]
fn pieces_of_a_page_are_found() {
    let text = "1. x\n\n   ```yaml\n   a:\n     b: 1\n   ```\n";
    assert_eq!(blocks(text)[0].text, "a:\n  b: 1\n");
    let text = "# A `b` c\n\nsee [x](y.md#z) and `[no](link)`\n\n```sh\na # b\n```\n## A b c\n\
                ````text one\n```\n````\n| a | b |\n| --- | --- |\n| 1 | 2 |\n# end\n";
    let found: Vec<(String, usize, String)> = blocks(text)
        .into_iter()
        .map(|block| (block.mark, block.line, block.text))
        .collect();
    let expected = [
        ("sh".to_owned(), 5, "a # b\n".to_owned()),
        ("text one".to_owned(), 9, "```\n".to_owned()),
    ];
    assert_eq!(found, expected);
    assert_eq!(links(text), ["y.md#z"]);
    assert_eq!(anchors(text), ["a-b-c", "a-b-c-1", "end"]);
    assert_eq!(split_code(&prose(text)).0, ["b", "[no](link)"]);
    assert_eq!(rows(text, "## A b c"), [["1", "2"]]);
}
