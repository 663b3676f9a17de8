//! What makes a secret unfit, decided on its bytes alone.
//!
//! Not here: where it comes from.

/// Shortest secret that is accepted, in bytes.
const MINIMUM_LENGTH: usize = 16;
/// Words of texts that stand where a secret is to come.
const PLACEHOLDER_WORDS: [&str; 38] = [
    "a",
    "api",
    "auth",
    "change",
    "default",
    "demo",
    "dummy",
    "ehr",
    "example",
    "fixme",
    "foo",
    "bar",
    "here",
    "insert",
    "it",
    "key",
    "me",
    "my",
    "of",
    "password",
    "placeholder",
    "please",
    "production",
    "put",
    "real",
    "redox",
    "replace",
    "sample",
    "secret",
    "shared",
    "some",
    "test",
    "the",
    "this",
    "to",
    "todo",
    "token",
    "verification",
];
const FILLER_WORDS: [&str; 8] = [
    "with", "your", "webhook", "value", "pass", "word", "new", "now",
];

/// Which rule a secret breaks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Unset,
    File(String),
    TooLarge,
    Empty,
    Blank,
    Placeholder,
    WhiteSpace,
    Characters,
    TooShort,
}

impl Problem {
    /// What it is, what was expected, what to do.
    pub(super) fn words(&self) -> (String, &'static str, &'static str) {
        let fresh = "`countersign token new` makes a good one; set the same at the sender";
        let what = match self {
            Self::File(problem) => {
                let what = format!("cannot be read: {problem}");
                return (
                    what,
                    "a file that holds the token",
                    "a relative path begins at the directory of the configuration file; the service has to be allowed to read it",
                );
            }
            Self::Unset => {
                let help = "set it in the environment of the service; in a shell: export NAME=…";
                return ("is not set".into(), "a variable that holds the token", help);
            }
            Self::TooLarge => {
                return (
                    "is larger than 4 KiB".into(),
                    "a file that holds one token and nothing else",
                    fresh,
                );
            }
            Self::WhiteSpace => {
                let help = "look for a stray line break, space or tab; one line break at the end of a file is fine";
                return (
                    "holds white space".into(),
                    "a token without white space",
                    help,
                );
            }
            Self::Empty => "is empty",
            Self::Blank => "is blank",
            Self::Placeholder => "holds a placeholder",
            Self::Characters => "holds characters that no header can carry",
            Self::TooShort => "holds a secret that is too short",
        };
        (
            what.into(),
            "a random token of at least 16 visible characters",
            fresh,
        )
    }
}

/// The first rule that a secret breaks.
pub(super) fn problem(secret: &[u8]) -> Option<Problem> {
    if secret.is_empty() {
        return Some(Problem::Empty);
    }
    if secret.iter().all(u8::is_ascii_whitespace) {
        return Some(Problem::Blank);
    }
    if placeholder(secret) {
        return Some(Problem::Placeholder);
    }
    if secret.iter().any(u8::is_ascii_whitespace) {
        return Some(Problem::WhiteSpace);
    }
    // RFC 9110 §5.5: what a field value can carry on every path; other bytes arrive changed or not at all.
    if !secret.iter().all(u8::is_ascii_graphic) {
        return Some(Problem::Characters);
    }
    (secret.len() < MINIMUM_LENGTH).then_some(Problem::TooShort)
}

/// Whether this stands where a secret was to come, or is as easy to guess.
fn placeholder(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret).trim().to_ascii_lowercase();
    let wrapped = [
        ("<", ">"),
        ("${", "}"),
        ("{{", "}}"),
        ("[", "]"),
        ("%", "%"),
    ];
    let is_wrapped = wrapped
        .iter()
        .any(|(open, close)| text.starts_with(open) && text.ends_with(close));
    is_wrapped || is_pattern(text.as_bytes()) || only_placeholder_words(&text)
}

/// One piece of at most eight bytes over and over, or mostly a row such as `abcdef` or `123456`.
fn is_pattern(text: &[u8]) -> bool {
    let repeats = |period: usize| {
        text.len() >= 2 * period
            && text
                .iter()
                .zip(text.iter().skip(period))
                .all(|(a, b)| a == b)
    };
    let steps = text.iter().zip(text.iter().skip(1));
    let rising = steps.filter(|(a, b)| a.checked_add(1) == Some(**b)).count();
    (1..=8).any(repeats) || rising * 4 >= text.len() * 3
}

fn only_placeholder_words(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let mut words = text
        .split(|c: char| !c.is_ascii_alphabetic())
        .filter(|word| !word.is_empty())
        .peekable();
    let any = words.peek().is_some();
    any && digits <= 8 && words.all(|word| is_made_of_words(word, 8))
}

/// Whether a word is a row of at most `most` placeholder words, such as `yourtoken`.
fn is_made_of_words(text: &str, most: usize) -> bool {
    text.is_empty()
        || most > 0
            && PLACEHOLDER_WORDS
                .iter()
                .chain(&FILLER_WORDS)
                .filter_map(|word| text.strip_prefix(word))
                .any(|rest| is_made_of_words(rest, most - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_secret() {
        let cases: [(&[u8], Option<Problem>); 28] = [
            (b"", Some(Problem::Empty)),
            (b"  \t ", Some(Problem::Blank)),
            (b"changeme", Some(Problem::Placeholder)),
            (b"CHANGE-ME", Some(Problem::Placeholder)),
            (b"change-me-please-now", Some(Problem::Placeholder)),
            (b"<token>", Some(Problem::Placeholder)),
            (
                b"<your verification token here>",
                Some(Problem::Placeholder),
            ),
            (b"${REDOX_TOKEN}", Some(Problem::Placeholder)),
            (b"{{ .Values.token }}", Some(Problem::Placeholder)),
            (b"secret", Some(Problem::Placeholder)),
            (b"password", Some(Problem::Placeholder)),
            (b"password12345678", Some(Problem::Placeholder)),
            (b"your-token-here", Some(Problem::Placeholder)),
            (b"your-verification-token-here", Some(Problem::Placeholder)),
            (b"my-secret-token-12345", Some(Problem::Placeholder)),
            (b"replaceMeWithToken", Some(Problem::Placeholder)),
            (b"xxxxxxxxxxxxxxxxxxxxxxxx", Some(Problem::Placeholder)),
            (b"0000000000000000", Some(Problem::Placeholder)),
            (b"1234567812345678", Some(Problem::Placeholder)),
            (b"f47ac10b 58cc4372a567", Some(Problem::WhiteSpace)),
            (b"f47ac10b58cc4372a567\n", Some(Problem::WhiteSpace)),
            (b"f47ac10b58cc4372a567\x07", Some(Problem::Characters)),
            (b"f47ac10b58cc4372a567\xc3\xa9", Some(Problem::Characters)),
            (b"f47ac10b58cc437", Some(Problem::TooShort)),
            (b"f47ac10b58cc4372", None),
            (b"0123456789abcdef", Some(Problem::Placeholder)),
            (b"token-f47ac10b58cc4372", None),
            (b"correct-horse-battery-staple", None),
        ];
        for (secret, expected) in cases {
            assert_eq!(problem(secret), expected, "{}", secret.escape_ascii());
        }
    }
}
