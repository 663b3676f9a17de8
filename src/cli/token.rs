//! `countersign token`: secrets worth the name.

use std::process::ExitCode;

use clap::Subcommand;

use super::{fail, print};

/// Random bytes in a new token: 256 bits.
const TOKEN_BYTES: usize = 32;

/// Arguments of `token`.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Print a fresh random token of 256 bits
    New,
}

pub(super) fn token(arguments: &Token) -> ExitCode {
    match arguments {
        Token::New => match fresh() {
            Some(token) => print(&format!("{token}\n")),
            None => fail("no random numbers to be had from this machine", ""),
        },
    }
}

/// A new token. Letters and digits only: senders advise that, and nothing on the way can take them amiss.
pub(super) fn fresh() -> Option<String> {
    let mut bytes = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.len(), 2 * TOKEN_BYTES);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}
