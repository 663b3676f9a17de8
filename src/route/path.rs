//! Which paths have one reading only.
//!
//! Routes compare paths byte for byte, and the upstream gets those bytes. That is safe only for paths that no
//! upstream normalises into something else, so everything with a second reading is refused: the gap between
//! what a proxy matched and what a backend served is the commonest bypass of its kind.

use std::fmt;

/// What gives a path a second reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// A byte that a path cannot hold unescaped (RFC 3986 §3.3), among them controls, spaces and non-ASCII.
    Character,
    /// `.` or `..` as a segment, plain or escaped (RFC 3986 §5.2.4).
    DotSegment,
    /// `//`: some servers merge slashes, others do not.
    EmptySegment,
    /// A percent sign without two hexadecimal digits.
    BadEscape,
    /// An escaped slash, backslash, percent sign, semicolon, question mark, number sign or control character.
    HiddenDelimiter,
    /// `;`: servlet containers cut segments there.
    Parameter,
    /// Escapes that are not UTF-8: over-long forms of dots and slashes among them.
    Encoding,
    /// Escapes of a character that becomes a delimiter where text is folded to a smaller alphabet: by Unicode's
    /// compatibility forms, or by the best-fit tables of Windows.
    Lookalike,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Character => "characters that need escaping",
            Self::DotSegment => "segments . and ..",
            Self::EmptySegment => "empty segments (//)",
            Self::BadEscape => "broken percent escapes",
            Self::HiddenDelimiter => {
                "escaped delimiters (%2f, %5c, %25, %3b, %3f, %23, %00 and the like)"
            }
            Self::Parameter => "semicolons",
            Self::Encoding => "percent escapes that are not UTF-8",
            Self::Lookalike => "characters that some servers turn into dots or slashes",
        })
    }
}

/// Passes a path that every server reads alike.
///
/// # Errors
/// The first thing that gives it another reading.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let Some(segments) = path.strip_prefix('/') else {
        return Err(PathError::Character);
    };
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_some() {
            return Err(PathError::EmptySegment);
        }
        check_segment(segment)?;
    }
    Ok(())
}

fn check_segment(segment: &str) -> Result<(), PathError> {
    let mut bytes = segment.bytes();
    let mut decoded = Vec::with_capacity(segment.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => unescape(bytes.next(), bytes.next())?,
            b';' => return Err(PathError::Parameter),
            _ if is_path_byte(byte) => byte,
            _ => return Err(PathError::Character),
        });
    }
    // Judged as it reads once escapes are gone: that is how a server would walk it.
    match std::str::from_utf8(&decoded) {
        Ok("." | "..") => Err(PathError::DotSegment),
        Ok(text) if text.chars().any(is_lookalike) => Err(PathError::Lookalike),
        Ok(_) => Ok(()),
        Err(_) => Err(PathError::Encoding),
    }
}

/// What folds to `.`, `/`, `\`, `;`, `%`, `?` or `#`, or to a control or to nothing.
fn is_lookalike(char: char) -> bool {
    matches!(
        char,
        // C1 controls, the soft hyphen (CVE-2024-4577), yen and won signs (backslashes of Shift_JIS and EUC-KR),
        // the Greek question mark.
        '\u{80}'..='\u{9f}' | '\u{a5}' | '\u{ad}' | '\u{20a9}' | '\u{37e}'
        // Zero-width and direction marks, leaders, line and paragraph separators.
        | '\u{200b}'..='\u{200f}' | '\u{2024}'..='\u{202e}'
        // Slashes under other names, and letters around one.
        | '\u{2044}' | '\u{2100}' | '\u{2101}' | '\u{2105}' | '\u{2106}'
        | '\u{2215}' | '\u{2216}' | '\u{29f5}' | '\u{29f8}' | '\u{29f9}'
        // Small and full-width forms of ASCII, the byte order mark.
        | '\u{fe50}'..='\u{fe6b}' | '\u{feff}' | '\u{ff01}'..='\u{ff5e}'
    )
}

/// The byte that an escape stands for, unless it stands for one that would delimit something.
fn unescape(high: Option<u8>, low: Option<u8>) -> Result<u8, PathError> {
    let (high, low) = hex(high).zip(hex(low)).ok_or(PathError::BadEscape)?;
    let byte = (high << 4) | low;
    if matches!(byte, b'/' | b'\\' | b'%' | b';' | b'?' | b'#' | 0x7f) || byte < 0x20 {
        return Err(PathError::HiddenDelimiter);
    }
    Ok(byte)
}

/// `pchar` of RFC 3986 §3.3, less the percent sign and the semicolon, which are dealt with apart.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@".contains(&byte)
}

fn hex(byte: Option<u8>) -> Option<u8> {
    match byte? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        letter @ b'a'..=b'f' => Some(letter - b'a' + 10),
        letter @ b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_only_paths_with_one_reading() {
        let cases = [
            ("/", Ok(())),
            ("/redox", Ok(())),
            ("/redox/", Ok(())),
            ("/fhir/R4/Patient/1@a:b", Ok(())),
            ("/caf%C3%A9", Ok(())),
            ("/a%20b", Ok(())),
            ("/...", Ok(())),
            ("/.well-known/x", Ok(())),
            ("/a..b", Ok(())),
            ("", Err(PathError::Character)),
            ("*", Err(PathError::Character)),
            ("redox", Err(PathError::Character)),
            ("//redox", Err(PathError::EmptySegment)),
            ("/a//b", Err(PathError::EmptySegment)),
            ("/a//", Err(PathError::EmptySegment)),
            ("/.", Err(PathError::DotSegment)),
            ("/a/..", Err(PathError::DotSegment)),
            ("/a/../b", Err(PathError::DotSegment)),
            ("/%2e%2E/b", Err(PathError::DotSegment)),
            ("/.%2e/b", Err(PathError::DotSegment)),
            ("/a%2fb", Err(PathError::HiddenDelimiter)),
            ("/a%5Cb", Err(PathError::HiddenDelimiter)),
            ("/a%00", Err(PathError::HiddenDelimiter)),
            ("/a%0d%0a", Err(PathError::HiddenDelimiter)),
            ("/%252e%252e", Err(PathError::HiddenDelimiter)),
            ("/a%3bb", Err(PathError::HiddenDelimiter)),
            ("/a%7f", Err(PathError::HiddenDelimiter)),
            ("/a%3fb", Err(PathError::HiddenDelimiter)),
            ("/a%23b", Err(PathError::HiddenDelimiter)),
            ("/%ef%bc%8e%ef%bc%8e/b", Err(PathError::Lookalike)),
            ("/a%ef%bc%8fb", Err(PathError::Lookalike)),
            ("/a%c2%85b", Err(PathError::Lookalike)),
            ("/%e6%bc%a2%e5%ad%97", Ok(())),
            ("/%u002f", Err(PathError::BadEscape)),
            ("/$everything/a%7Cb", Ok(())),
            ("/..;/b", Err(PathError::Parameter)),
            ("/a;jsessionid=1", Err(PathError::Parameter)),
            ("/a\\b", Err(PathError::Character)),
            ("/a b", Err(PathError::Character)),
            ("/caf\u{e9}", Err(PathError::Character)),
            ("/a\u{0}", Err(PathError::Character)),
            ("/a?b", Err(PathError::Character)),
            ("/a#b", Err(PathError::Character)),
            ("/%c0%ae%c0%ae/x", Err(PathError::Encoding)),
            ("/a%ff", Err(PathError::Encoding)),
            ("/a%", Err(PathError::BadEscape)),
            ("/a%2", Err(PathError::BadEscape)),
            ("/a%zz", Err(PathError::BadEscape)),
        ];
        for (path, expected) in cases {
            assert_eq!(check_path(path), expected, "{path:?}");
        }
    }
}
