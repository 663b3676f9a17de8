//! HTTP/2 as far as a sender of small messages needs it (RFC 9113), written by hand so that it costs next to nothing.
//!
//! Header fields are sent as literals without indexing (RFC 7541 §6.2.2), and we let the proxy keep no table towards us,
//! so every block can be read on its own.

use crate::Result;

const CLIENT_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD: usize = 9;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Kinds of frames, RFC 9113 §6.
pub(super) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
}

/// A whole frame.
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame of the bytes, and how many it takes; `None` until it is whole.
    pub(super) fn first(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let &[a, b, c, kind, flags, s, t, u, v] = bytes.first_chunk::<FRAME_HEAD>()?;
        let end = FRAME_HEAD + u32::from_be_bytes([0, a, b, c]) as usize;
        let frame = Self {
            kind,
            flags,
            stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
            payload: bytes.get(FRAME_HEAD..end)?,
        };
        Some((frame, end))
    }

    pub(super) fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    pub(super) fn is_acknowledgement(&self) -> bool {
        self.flags & ACK != 0
    }

    /// What is between padding and priority.
    pub(super) fn content(&self) -> &'a [u8] {
        let (mut content, mut padding) = (self.payload, 0);
        if self.flags & PADDED != 0
            && let Some((length, rest)) = content.split_first()
        {
            (padding, content) = (usize::from(*length), rest);
        }
        if self.kind == kind::HEADERS && self.flags & PRIORITY != 0 {
            content = content.get(5..).unwrap_or_default();
        }
        &content[..content.len().saturating_sub(padding)]
    }

    /// The number in a WINDOW_UPDATE or RST_STREAM frame, or the second one of GOAWAY.
    pub(super) fn number(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        let bytes = self.payload.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// What makes an acknowledgement of SETTINGS or PING.
    pub(super) fn acknowledged(&self) -> Vec<u8> {
        let payload = if self.kind == kind::PING {
            self.payload
        } else {
            &[]
        };
        frame(self.kind, ACK, 0, payload)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = head(payload.len(), kind, flags, stream).to_vec();
    frame.extend_from_slice(payload);
    frame
}

fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; FRAME_HEAD] {
    let [_, _, _, _, _, a, b, c] = (length as u64).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    [a, b, c, kind, flags, s, t, u, v]
}

/// What a connection begins with: no table, no push, and more room for answers than they will ever need.
pub(super) fn opening() -> Vec<u8> {
    let settings = [
        [0, 1, 0, 0, 0, 0], // HEADER_TABLE_SIZE
        [0, 2, 0, 0, 0, 0], // ENABLE_PUSH
    ];
    let mut opening = CLIENT_PREFACE.to_vec();
    opening.extend(frame(kind::SETTINGS, 0, 0, settings.as_flattened()));
    opening.extend(window_update());
    opening
}

/// Room for so many more bytes of answers on a connection.
pub(super) const ROOM: u32 = 1 << 29;

pub(super) fn window_update() -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, 0, &ROOM.to_be_bytes())
}

/// The request on a stream; its body has to fit into one frame.
pub(super) fn request(stream: u32, block: &[u8], body: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&head(block.len(), kind::HEADERS, END_HEADERS, stream));
    into.extend_from_slice(block);
    into.extend_from_slice(&head(body.len(), kind::DATA, END_STREAM, stream));
    into.extend_from_slice(body);
}

/// The header block of a POST.
pub(super) fn block(path: &str, token: &str, length: usize) -> Result<Vec<u8>> {
    // From the static table: `:method: POST`, `:scheme: https`.
    let mut block = vec![0x83, 0x87];
    // Names by their place in the static table: 1, 4, 31 and 28, those above 14 in two bytes.
    block.push(0x01);
    text("localhost", &mut block)?;
    block.push(0x04);
    text(path, &mut block)?;
    block.extend([0x0f, 31 - 15]);
    text("application/json", &mut block)?;
    block.extend([0x0f, 28 - 15]);
    text(&length.to_string(), &mut block)?;
    for (name, value) in [
        ("application-name", "RedoxEngine"),
        ("verification-token", token),
    ] {
        block.push(0x00);
        text(name, &mut block)?;
        text(value, &mut block)?;
    }
    Ok(block)
}

/// Without Huffman coding.
fn text(text: &str, into: &mut Vec<u8>) -> Result<()> {
    let length = u8::try_from(text.len())?;
    if length >= 127 {
        return Err("longer than one byte can say".into());
    }
    into.push(length);
    into.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The status that a block begins with, as far as the static table has it; 0 for all others.
pub(super) fn status(mut block: &[u8]) -> u16 {
    // Updates of the table's size come first (RFC 7541 §6.3); their numbers may be longer than a byte.
    while let [first, rest @ ..] = block
        && first & 0xe0 == 0x20
    {
        block = rest;
        if first & 0x1f == 0x1f {
            let more = block.iter().take_while(|byte| *byte & 0x80 != 0).count();
            block = block.get(more + 1..).unwrap_or_default();
        }
    }
    match block.first() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_found_behind_updates_of_the_table() {
        for (block, expected) in [
            (&[0x88, 0x01][..], 200),
            (&[0x20, 0x88], 200),
            (&[0x3f, 0xe1, 0x1f, 0x88], 200),
            (&[0x20, 0x3f, 0x00, 0x8d], 404),
            (&[0x48, 0x03, b'4', b'0', b'1'], 0),
            (&[0x3f], 0),
            (&[], 0),
        ] {
            assert_eq!(status(block), expected, "{block:x?}");
        }
    }

    #[test]
    fn a_frame_is_read_when_it_is_whole() {
        let mut bytes = Vec::new();
        request(5, &[0x83], b"body", &mut bytes);
        let (frame, used) = Frame::first(&bytes).expect("whole");
        assert_eq!(
            (frame.kind, frame.stream, frame.content()),
            (kind::HEADERS, 5, &[0x83][..])
        );
        assert!(Frame::first(&bytes[used..bytes.len() - 1]).is_none());
        let (frame, _) = Frame::first(&bytes[used..]).expect("whole");
        assert_eq!((frame.ends_stream(), frame.content()), (true, &b"body"[..]));
    }

    #[test]
    fn padding_and_priority_are_no_content() {
        let bytes = frame(
            kind::HEADERS,
            PADDED | PRIORITY,
            1,
            &[2, 0, 0, 0, 0, 0, 0x88, 0, 0],
        );
        let (frame, _) = Frame::first(&bytes).expect("whole");
        assert_eq!(frame.content(), [0x88]);
    }

    #[test]
    fn numbers_are_read_where_they_stand() {
        let update = window_update();
        assert_eq!(Frame::first(&update).expect("whole").0.number(), ROOM);
        let away = frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 7]);
        assert_eq!(Frame::first(&away).expect("whole").0.number(), 7);
    }
}
