//! Keeps secrets that somebody wrote into the file out of the lines that findings show.
//!
//! Two nets, because either alone has holes: stretches that the tree of the file marks as hidden, and words that
//! look like secrets, which works for a file with broken syntax as well. A masked stretch becomes three stars,
//! whatever its length.

use super::mark::Mark;

const STARS: &str = "***";
/// From this length on a mixed word looks like a secret, in characters.
pub(super) const SECRET_LENGTH: usize = 16;
/// Keys whose value is hidden wherever they stand. All of them are refused by the check; this is for the case that
/// it does not get that far.
const SECRET_KEYS: [&str; 8] = [
    "token",
    "tokens",
    "secret",
    "password",
    "value",
    "verification-token",
    "verification_token",
    "sha256",
];

/// A line that may be printed.
pub(super) struct Masked {
    pub(super) text: String,
    /// For each character of the original where it stands now.
    positions: Vec<usize>,
}

impl Masked {
    /// Where a character of the original stands now, both counted from 0.
    pub(super) fn position(&self, original: usize) -> usize {
        let end = || self.text.trim_end().chars().count();
        self.positions.get(original).copied().unwrap_or_else(end)
    }
}

/// Masks one line. `number` is its number, from 1.
pub(super) fn line(line: &str, number: usize, hidden: &[Mark]) -> Masked {
    let chars: Vec<char> = line.chars().collect();
    let mut secret = vec![false; chars.len()];
    for (start, end) in hidden.iter().filter_map(|mark| stretch(mark, number)) {
        cover(&mut secret, start, end);
    }
    for (start, end) in words(&chars) {
        let word: String = chars.get(start..end).unwrap_or_default().iter().collect();
        if looks_secret(&word) {
            cover(&mut secret, start, end);
        }
    }
    if let Some((start, end)) = user_information(&chars) {
        cover(&mut secret, start, end);
    }
    if let Some(start) = after_secret_key(&chars) {
        cover(&mut secret, start, chars.len());
    }
    print(&chars, &secret)
}

/// Whether a word is more likely a secret than a name, a path or a variable.
pub(super) fn looks_secret(word: &str) -> bool {
    if word.chars().count() < SECRET_LENGTH
        || word.starts_with(['/', '-'])
        || word.contains(['.', ':', '$', ' '])
    {
        return false;
    }
    // Names are made of pieces that are each letters or digits; random text mixes them.
    word.split(['-', '_', '/', '=']).any(|piece| {
        let digit = piece.contains(|c: char| c.is_ascii_digit());
        let upper = piece.contains(|c: char| c.is_ascii_uppercase());
        let lower = piece.contains(|c: char| c.is_ascii_lowercase());
        let letters_and_digits = digit && (upper || lower) && piece.len() > 4;
        let mixed_case = upper && lower && piece.len() >= SECRET_LENGTH;
        let long_number = digit && piece.len() >= SECRET_LENGTH;
        letters_and_digits || mixed_case || long_number
    })
}

fn stretch(mark: &Mark, number: usize) -> Option<(usize, usize)> {
    if number < mark.line || number > mark.end_line {
        return None;
    }
    let start = if number == mark.line {
        mark.column.saturating_sub(1)
    } else {
        0
    };
    let end = if number == mark.end_line {
        mark.end_column.saturating_sub(1)
    } else {
        usize::MAX
    };
    Some((start, end))
}

fn cover(secret: &mut [bool], start: usize, end: usize) {
    let length = end.saturating_sub(start);
    for flag in secret.iter_mut().skip(start).take(length) {
        *flag = true;
    }
}

fn words(chars: &[char]) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut start = 0;
    for piece in chars.split(|c| !(c.is_ascii_alphanumeric() || "+/=_~-".contains(*c))) {
        words.push((start, start + piece.len()));
        start += piece.len() + 1;
    }
    words
}

/// What stands between `://` and `@`.
fn user_information(chars: &[char]) -> Option<(usize, usize)> {
    let scheme = chars
        .windows(3)
        .position(|window| window == [':', '/', '/'])?;
    let start = scheme + 3;
    let rest = chars.get(start..)?;
    let end = rest
        .iter()
        .position(|c| c.is_whitespace() || "/\"'".contains(*c));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    let at = authority.iter().rposition(|c| *c == '@')?;
    Some((start, start + at))
}

/// Where the value of the first secret key begins; nothing where that is a mapping, whose keys speak for themselves.
fn after_secret_key(chars: &[char]) -> Option<usize> {
    let text: String = chars.iter().collect();
    let mut search = 0;
    while let Some(colon) = text.get(search..).and_then(|rest| rest.find(": ")) {
        let colon = search + colon;
        let before = text.get(..colon)?.trim_end_matches(['"', '\'']);
        let key = before
            .rsplit([' ', '\t', '{', ',', '[', '"', '\''])
            .next()
            .unwrap_or_default();
        let after = text.get(colon + 2..)?;
        let structure = after
            .trim_start_matches([' ', '['])
            .starts_with(['{', '*', '&', ']']);
        let empty = after.trim().is_empty() || after.trim_start().starts_with('#');
        if SECRET_KEYS.contains(&key) && !structure && !empty {
            return Some(text.get(..colon + 2)?.chars().count());
        }
        search = colon + 2;
    }
    None
}

fn print(chars: &[char], secret: &[bool]) -> Masked {
    let mut text = String::new();
    let mut positions = Vec::with_capacity(chars.len());
    let mut length = 0;
    let mut masking = false;
    for (c, secret) in chars.iter().zip(secret) {
        if *secret {
            if !masking {
                text.push_str(STARS);
                length += STARS.len();
            }
            positions.push(length - STARS.len());
        } else {
            // A control character could move the cursor of a terminal; a tab would move the underline.
            text.push(if c.is_control() { ' ' } else { *c });
            positions.push(length);
            length += 1;
        }
        masking = *secret;
    }
    Masked { text, positions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_what_looks_like_a_secret() {
        let cases = [
            ("- token: hunter2", "- token: ***"),
            ("{ id: a, \"secret\": hunter2 }", "{ id: a, \"secret\": ***"),
            ("tokens: [{ id: a, env: B }]", "tokens: [{ id: a, env: B }]"),
            ("tokens: [hunter2]", "tokens: ***"),
            ("tokens: []", "tokens: []"),
            ("url: http://user:word@host/x", "url: http://***@host/x"),
            ("- 9f86d081884c7d659a2feaa0c55ad015", "- ***"),
            ("x: 6b1f2c3d-1111-4a5b-8c9d-0123456789ab", "x: ***"),
            (
                "env: REDOX_TOKEN_PRODUCTION_2026",
                "env: REDOX_TOKEN_PRODUCTION_2026",
            ),
            (
                "file: /run/secrets/redox-2026",
                "file: /run/secrets/redox-2026",
            ),
            ("authorization_bearer: false", "authorization_bearer: false"),
            (
                "url: http://ehr-backend-01.example.org",
                "url: http://ehr-backend-01.example.org",
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(line(given, 1, &[]).text, expected, "{given}");
        }
    }

    #[test]
    fn masks_hidden_stretches_over_several_lines() {
        let mark = Mark {
            line: 2,
            column: 4,
            end_line: 3,
            end_column: 3,
        };
        let shown: Vec<String> = ["ab cd", "ab cd", "ab cd", "ab cd"]
            .iter()
            .zip(1..)
            .map(|(text, number)| line(text, number, &[mark]).text)
            .collect();
        assert_eq!(shown, ["ab cd", "ab ***", "*** cd", "ab cd"]);
    }
}
