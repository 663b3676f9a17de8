//! An HTTP/1.1 message that comes in pieces, read for as little as we need to know.
//!
//! Serves both ends: the backend reads requests with it, the generator answers. It trusts what it reads: nobody here is
//! hostile, and whatever is odd makes the run void.

use memchr::memmem;

use crate::Result;

/// So much of a body is kept; answers are short.
const KEPT: usize = 128;

/// A message that is being read.
#[derive(Default)]
pub(crate) struct Message {
    state: State,
    /// The head as far as it is here, when it comes in pieces; the line of a chunk's size after that.
    pieces: Vec<u8>,
    /// Of an answer; of a request it means nothing.
    pub(crate) status: u16,
    /// The other end closes after it.
    pub(crate) closes: bool,
    /// The first bytes of the body.
    pub(crate) body: Vec<u8>,
    /// Bytes in the whole body.
    pub(crate) length: u64,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Head,
    Length(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailer,
}

impl Message {
    /// Takes bytes up to the end of the message: how many, and whether it is whole.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(usize, bool)> {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.state {
                State::Length(0) => return Ok((used, true)),
                _ if rest.is_empty() => return Ok((used, false)),
                State::Head => used += self.head(rest)?,
                State::Length(left) => {
                    let taken = self.take(rest, left);
                    used += taken;
                    self.state = State::Length(left - taken as u64);
                }
                State::Chunk(left) => {
                    let taken = self.take(rest, left);
                    used += taken;
                    let left = left - taken as u64;
                    self.state = if left == 0 {
                        State::ChunkEnd
                    } else {
                        State::Chunk(left)
                    };
                }
                State::ChunkSize | State::ChunkEnd | State::Trailer => {
                    used += self.line(rest)?;
                }
            }
        }
    }

    /// Ready for the next message.
    pub(crate) fn clear(&mut self) {
        self.state = State::Head;
        self.pieces.clear();
        self.body.clear();
        self.length = 0;
        self.closes = false;
    }

    fn take(&mut self, bytes: &[u8], left: u64) -> usize {
        let taken = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let wanted = KEPT.saturating_sub(self.body.len()).min(taken);
        self.body.extend_from_slice(&bytes[..wanted]);
        self.length += taken as u64;
        taken
    }

    fn head(&mut self, bytes: &[u8]) -> Result<usize> {
        // Nearly always the whole head is here: no copy then.
        if self.pieces.is_empty() {
            let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
                self.pieces.extend_from_slice(bytes);
                return Ok(bytes.len());
            };
            self.understand(&bytes[..end + 2])?;
            return Ok(end + 4);
        }
        let before = self.pieces.len();
        self.pieces.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let Some(end) = memmem::find(&self.pieces[from..], b"\r\n\r\n") else {
            return Ok(bytes.len());
        };
        let pieces = std::mem::take(&mut self.pieces);
        self.understand(&pieces[..from + end + 2])?;
        Ok(from + end + 4 - before)
    }

    fn understand(&mut self, head: &[u8]) -> Result<()> {
        self.status = status(head);
        self.state = State::Length(0);
        let mut lines = head.split(|byte| *byte == b'\n').skip(1);
        while let Some([line @ .., b'\r']) = lines.next() {
            self.field(line)?;
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<()> {
        let Some(colon) = memchr::memchr(b':', line) else {
            return Ok(());
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.state = State::Length(std::str::from_utf8(value)?.parse()?);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.state = State::ChunkSize;
        } else if name.eq_ignore_ascii_case(b"connection") {
            self.closes = value.eq_ignore_ascii_case(b"close");
        }
        Ok(())
    }

    /// A line between chunks.
    fn line(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(end) = memchr::memchr(b'\n', bytes) else {
            self.pieces.extend_from_slice(bytes);
            return Ok(bytes.len());
        };
        self.pieces.extend_from_slice(&bytes[..end]);
        let line = std::mem::take(&mut self.pieces);
        let line = std::str::from_utf8(line.trim_ascii())?;
        self.state = match self.state {
            State::ChunkEnd => State::ChunkSize,
            State::Trailer if line.is_empty() => State::Length(0),
            State::Trailer => State::Trailer,
            _ => match u64::from_str_radix(line.split(';').next().unwrap_or(line), 16)? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
        };
        Ok(end + 1)
    }
}

/// `HTTP/1.1 200 OK`: the three digits; 0 where there are none.
fn status(head: &[u8]) -> u16 {
    let digits = head
        .get(9..12)
        .and_then(|text| std::str::from_utf8(text).ok());
    digits.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] =
        b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhelloHTTP";
    const CHUNKED: &[u8] =
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\nPOST";

    /// Feeds pieces of one size; tells what was left over at the end.
    fn read(message: &mut Message, bytes: &[u8], piece: usize) -> usize {
        let mut used = 0;
        for piece in bytes.chunks(piece) {
            let (taken, whole) = message.feed(piece).expect("a good message");
            used += taken;
            if whole {
                return bytes.len() - used;
            }
            assert_eq!(taken, piece.len());
        }
        panic!("the message did not end");
    }

    #[test]
    fn a_message_with_a_length_ends_with_it_however_it_is_split() {
        for piece in 1..PLAIN.len() {
            let mut message = Message::default();
            assert_eq!(read(&mut message, PLAIN, piece), 4, "{piece}");
            assert_eq!((message.status, message.closes), (401, true));
            assert_eq!(
                (message.body.as_slice(), message.length),
                (&b"hello"[..], 5)
            );
        }
    }

    #[test]
    fn a_chunked_message_ends_with_its_last_chunk_however_it_is_split() {
        for piece in 1..CHUNKED.len() {
            let mut message = Message::default();
            assert_eq!(read(&mut message, CHUNKED, piece), 4, "{piece}");
            assert_eq!(message.body, b"abcde");
        }
    }

    #[test]
    fn a_message_without_a_length_has_no_body() {
        let mut message = Message::default();
        assert_eq!(
            message.feed(b"GET / HTTP/1.1\r\n\r\n").expect("good"),
            (18, true)
        );
    }
}
