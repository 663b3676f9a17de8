//! Follows a chunked body without changing it (RFC 9112 §7.1).
//!
//! Stricter than most: sizes are hexadecimal digits and nothing else, every line ends in CRLF, extensions and
//! trailers are bounded. Everything looser has been used to make two servers disagree on where a body ends.

use crate::server::Fault;

/// Most bytes of chunk extensions in one body; no sender we know writes any.
const EXTENSION_CAP: usize = 1024;
/// Most digits of a chunk size, leading zeros included: what 64 bits hold.
const SIZE_DIGITS: u8 = 16;
/// Most bytes of a trailer section.
const TRAILER_CAP: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    SizeStart,
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    Trailer,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

/// Where in a chunked body we are.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    remaining: u64,
    digits: u8,
    extension: usize,
    trailer: usize,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            state: State::SizeStart,
            remaining: 0,
            digits: 0,
            extension: 0,
            trailer: 0,
        }
    }

    /// Whether the body is complete.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Follows the body through `bytes` and gives how many of them belong to it.
    ///
    /// # Errors
    /// [`Fault::Malformed`] at the first byte that does not fit.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        while self.state != State::Done {
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(byte) = rest.first() else { break };
            if self.state == State::Data {
                let available = u64::try_from(rest.len()).unwrap_or(u64::MAX);
                let taken = self.remaining.min(available);
                self.remaining -= taken;
                at += usize::try_from(taken).map_err(|_| Fault::Malformed)?;
                if self.remaining == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            self.state = self.next(*byte)?;
            at += 1;
        }
        Ok(at)
    }

    fn next(&mut self, byte: u8) -> Result<State, Fault> {
        let next = match (self.state, byte) {
            (State::SizeStart, _) => {
                self.remaining = 0;
                self.digits = 0;
                self.digit(byte)?
            }
            (State::Size, b'\r') | (State::Extension, b'\r') => State::SizeLineFeed,
            (State::Size, b';') => State::Extension,
            (State::Size, _) => self.digit(byte)?,
            (State::Extension, _) => {
                count(&mut self.extension, byte, EXTENSION_CAP)?;
                State::Extension
            }
            (State::SizeLineFeed, b'\n') if self.remaining == 0 => State::TrailerStart,
            (State::SizeLineFeed, b'\n') => State::Data,
            (State::DataReturn, b'\r') => State::DataLineFeed,
            (State::DataLineFeed, b'\n') => State::SizeStart,
            (State::TrailerStart, b'\r') => State::LastLineFeed,
            (State::Trailer, b'\r') => State::TrailerLineFeed,
            // A line without a name would be the head of a next request to whoever knows no trailers.
            (State::TrailerName, b':') => State::Trailer,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                count(&mut self.trailer, byte, TRAILER_CAP)?;
                State::TrailerName
            }
            (State::Trailer, _) => {
                count(&mut self.trailer, byte, TRAILER_CAP)?;
                State::Trailer
            }
            (State::TrailerLineFeed, b'\n') => State::TrailerStart,
            (State::LastLineFeed, b'\n') => State::Done,
            (
                State::SizeLineFeed
                | State::DataReturn
                | State::DataLineFeed
                | State::TrailerStart
                | State::TrailerName
                | State::TrailerLineFeed
                | State::LastLineFeed
                | State::Data
                | State::Done,
                _,
            ) => return Err(Fault::Malformed),
        };
        Ok(next)
    }

    fn digit(&mut self, byte: u8) -> Result<State, Fault> {
        let digit = char::from(byte).to_digit(16).ok_or(Fault::Malformed)?;
        self.digits += 1;
        if self.digits > SIZE_DIGITS {
            return Err(Fault::Malformed);
        }
        self.remaining = (self.remaining << 4) | u64::from(digit);
        Ok(State::Size)
    }
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Counts a byte of an extension or trailer, which may hold anything but controls.
fn count(counter: &mut usize, byte: u8, cap: usize) -> Result<(), Fault> {
    *counter += 1;
    let control = (byte < b' ' && byte != b'\t') || byte == 0x7f;
    if control || *counter > cap {
        Err(Fault::Malformed)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(body: &[u8]) -> Result<usize, Fault> {
        let mut chunked = Chunked::new();
        let taken = chunked.follow(body)?;
        if chunked.is_done() {
            Ok(taken)
        } else {
            Ok(usize::MAX)
        }
    }

    #[test]
    fn follows_a_body_to_its_last_byte() {
        let cases: &[&[u8]] = &[
            b"0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n06\r\n world\r\n000\r\n\r\n",
            b"A;name=value\r\n0123456789\r\n0\r\n\r\n",
            b"1\r\nx\r\n0\r\nTrailer: value\r\nOther: caf\xe9\r\n\r\n",
        ];
        for body in cases {
            assert_eq!(whole(body), Ok(body.len()), "{}", body.escape_ascii());
            let followed = [*body, b"POST / HTTP/1.1\r\n"].concat();
            assert_eq!(whole(&followed), Ok(body.len()), "{}", body.escape_ascii());
            let mut byte_by_byte = Chunked::new();
            for byte in body.chunks(1) {
                assert_eq!(byte_by_byte.follow(byte), Ok(1));
            }
            assert!(byte_by_byte.is_done());
        }
    }

    #[test]
    fn refuses_what_others_read_differently() {
        let cases: &[&[u8]] = &[
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1 \r\nx",
            b"1\nx\r\n",
            b"1\r\nxy\r\n",
            b"1\r\nx\n0\r\n\r\n",
            b"1\r\nx\r0",
            b"10000000000000000\r\n",
            b"00000000000000001\r\n",
            b"1;a\nb\r\n",
            b"1;a\0\r\n",
            b"0\r\n\n",
            b"0\n\r\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\n\rx",
            b"0\r\nPOST / HTTP/1.1\r\n\r\n",
            b"0\r\n: y\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nX\r\n\r\n",
        ];
        for body in cases {
            assert_eq!(
                whole(body),
                Err(Fault::Malformed),
                "{}",
                body.escape_ascii()
            );
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let extension = [b"1;".as_slice(), &b"a".repeat(EXTENSION_CAP + 1)].concat();
        let trailer = [b"0\r\n".as_slice(), &b"a".repeat(TRAILER_CAP + 1)].concat();
        for body in [extension, trailer] {
            assert_eq!(whole(&body), Err(Fault::Malformed));
            assert_eq!(whole(&body[..body.len() - 1]), Ok(usize::MAX));
        }
    }

    /// A reading of the same grammar that has all of the body before it and goes line by line; how long the body is, or
    /// nothing where it is not whole or broken.
    fn plainly(mut body: &[u8]) -> Option<usize> {
        let whole = body.len();
        fn line<'b>(body: &mut &'b [u8]) -> Option<&'b [u8]> {
            let end = body.windows(2).position(|pair| pair == b"\r\n")?;
            let line = &body[..end];
            *body = &body[end + 2..];
            let controls = line
                .iter()
                .any(|byte| byte.is_ascii_control() && *byte != b'\t');
            (!controls).then_some(line)
        }
        loop {
            let size = line(&mut body)?;
            let size = size.split(|byte| *byte == b';').next()?;
            let valid = (1..=16).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
            let size = std::str::from_utf8(size).ok().filter(|_| valid)?;
            let size = usize::try_from(u64::from_str_radix(size, 16).ok()?).ok()?;
            if size == 0 {
                break;
            }
            body = body.get(size..)?.strip_prefix(b"\r\n")?;
        }
        loop {
            let trailer = line(&mut body)?;
            if trailer.is_empty() {
                return Some(whole - body.len());
            }
            let name = trailer.split(|byte| *byte == b':').next()?;
            let named = !name.is_empty() && name.len() < trailer.len();
            if !named || !name.iter().all(|byte| is_token(*byte)) {
                return None;
            }
        }
    }

    #[test]
    fn reads_as_a_plain_reading_does_however_it_is_cut() {
        use proptest::prelude::*;
        let piece = prop_oneof![
            3 => Just(&b"\r\n"[..]),
            2 => Just(&b"0\r\n\r\n"[..]),
            2 => Just(&b"3\r\nabc\r\n"[..]),
            1 => Just(&b"0A;x=y\r\n0123456789\r\n"[..]),
            1 => Just(&b"0\r\nA: b\r\n"[..]),
            1 => Just(&b"\r"[..]),
            1 => Just(&b"\n"[..]),
            1 => Just(&b"0"[..]),
            1 => Just(&b"1"[..]),
            1 => Just(&b"f"[..]),
            1 => Just(&b":"[..]),
            1 => Just(&b";"[..]),
            1 => Just(&b" "[..]),
            1 => Just(&b"\xff"[..]),
            1 => Just(&b"FFFFFFFFFFFFFFFF"[..]),
        ];
        let body = proptest::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat());
        let config = ProptestConfig::with_cases(4096);
        proptest!(config, |(body in body, cut in 1..9_usize)| {
            let mut chunked = Chunked::new();
            let mut taken: Result<usize, Fault> = Ok(0);
            for piece in body.chunks(cut) {
                taken = taken.and_then(|taken| Ok(taken + chunked.follow(piece)?));
            }
            let read = taken.ok().filter(|_| chunked.is_done());
            prop_assert_eq!(read, plainly(&body));
        });
    }
}
