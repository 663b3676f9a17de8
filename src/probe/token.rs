//! The token, and what looks like it.
//!
//! Not here: where it comes from. Its value is in no `Debug` and no error.

use std::fmt;

use super::request::escaped;
use super::values::Values;

/// A token that can be sent in a header field and in JSON as it is.
pub struct Token(String);

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// There is nothing in it.
    Empty,
    /// It has white space in it, or around it.
    WhiteSpace,
    /// It has a control character.
    Control,
    /// It has characters outside ASCII.
    NotAscii,
}

impl fmt::Display for Unfit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "is empty",
            Self::WhiteSpace => "has white space",
            Self::Control => "has a control character",
            Self::NotAscii => "has characters outside ASCII",
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl Token {
    /// Takes a token as it is; nothing is trimmed.
    ///
    /// # Errors
    /// [`Unfit`] for a text that no sender could use.
    pub fn new(text: String) -> Result<Self, Unfit> {
        if text.is_empty() {
            Err(Unfit::Empty)
        } else if text.contains(char::is_whitespace) {
            Err(Unfit::WhiteSpace)
        } else if text.contains(char::is_control) {
            Err(Unfit::Control)
        } else if !text.is_ascii() {
            Err(Unfit::NotAscii)
        } else {
            Ok(Self(text))
        }
    }

    /// Whether a text has it inside, as it is or as it is written in a query.
    #[must_use]
    pub fn is_in(&self, text: &[u8]) -> bool {
        [&self.0, &escaped(&self.0)]
            .iter()
            .any(|form| memchr::memmem::find(text, form.as_bytes()).is_some())
    }

    pub(super) fn value(&self) -> &str {
        &self.0
    }

    /// Another one, of the same length.
    pub(super) fn other(&self, values: &mut Values) -> String {
        let mut other = String::new();
        while other.len() < self.0.len() {
            other.push_str(&values.hex());
        }
        other.truncate(self.0.len());
        if other == self.0 {
            changed_end(&other)
        } else {
            other
        }
    }

    /// The same but for its last character.
    pub(super) fn with_another_end(&self) -> String {
        changed_end(&self.0)
    }

    /// All but its last character; `None` where nothing would be left.
    pub(super) fn shortened(&self) -> Option<&str> {
        let (at, _) = self.0.char_indices().next_back()?;
        self.0.get(..at).filter(|shorter| !shorter.is_empty())
    }

    /// Its first eight characters; `None` where that is all of it.
    pub(super) fn beginning(&self) -> Option<&str> {
        self.0.get(..8).filter(|beginning| *beginning != self.0)
    }

    /// With small letters for capitals and the other way round; `None` where it has no letters.
    pub(super) fn in_other_case(&self) -> Option<String> {
        let turned: String = self.0.chars().map(turned).collect();
        (turned != self.0).then_some(turned)
    }
}

fn turned(letter: char) -> char {
    if letter.is_ascii_lowercase() {
        letter.to_ascii_uppercase()
    } else {
        letter.to_ascii_lowercase()
    }
}

/// Letters become digits, so that it differs in any case.
fn changed_end(text: &str) -> String {
    let mut text = text.to_owned();
    let last = text.pop();
    text.push(if last == Some('0') { '1' } else { '0' });
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Seed;

    fn token(text: &str) -> Token {
        Token::new(text.to_owned()).unwrap()
    }

    #[test]
    fn what_no_sender_could_use_is_no_token() {
        for (text, unfit) in [
            ("", Unfit::Empty),
            ("   ", Unfit::WhiteSpace),
            ("half and half", Unfit::WhiteSpace),
            ("end\n", Unfit::WhiteSpace),
            ("a\u{7}b", Unfit::Control),
            ("schlüssel", Unfit::NotAscii),
        ] {
            assert_eq!(Token::new(text.to_owned()).unwrap_err(), unfit, "{text:?}");
        }
        assert!(Token::new("a-fair_t0ken.~+/=".to_owned()).is_ok());
    }

    #[test]
    fn nothing_that_looks_like_it_is_it() {
        for text in [
            "a",
            "0",
            "CANARY-t0ken-6fd1e0c2b7a94d53",
            "12345678",
            "00000000000000000",
        ] {
            let token = token(text);
            let mut values = Values::new(&Seed([7; 32]));
            let other = token.other(&mut values);
            assert_eq!(other.len(), text.len());
            let mut alike = vec![other, token.with_another_end()];
            alike.extend(token.shortened().map(str::to_owned));
            alike.extend(token.beginning().map(str::to_owned));
            alike.extend(token.in_other_case());
            assert!(
                alike.iter().all(|alike| alike != text && !alike.is_empty()),
                "{alike:?}"
            );
        }
        assert_eq!(token("aB1").in_other_case().unwrap(), "Ab1");
        assert_eq!(token("12").in_other_case(), None);
        assert_eq!(token("a").shortened(), None);
        assert_eq!(token("12345678").beginning(), None);
        assert_eq!(token("123456789").beginning(), Some("12345678"));
    }

    #[test]
    fn it_is_found_in_both_of_its_forms() {
        let token = token("half-a=t0ken");
        assert!(token.is_in(b"<p>half-a=t0ken</p>"));
        assert!(token.is_in(b"Location: /login?to=half%2Da%3Dt0ken"));
        assert!(!token.is_in(b"half-a=t0kem half"));
    }

    #[test]
    fn its_value_is_not_shown() {
        assert_eq!(format!("{:?}", token("CANARY")), "Token(…)");
    }
}
