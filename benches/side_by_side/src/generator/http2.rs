//! Load over HTTP/2: some connections, each with as many requests at a time as it has streams.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustls::ClientConfig;

use super::frames::{self, Frame, kind};
use super::link::Link;
use super::poll::Poll;
use super::tally::Tally;
use super::{Course, Order, judge, tls};
use crate::Result;
use crate::requests::{self, Request, TOKEN};
use crate::scenario::Offer;

/// RFC 9113 §6.9.2.
const FIRST_WINDOW: u32 = 65_535;

/// The load and how it goes on.
pub(super) struct Http2 {
    poll: Arc<OwnedFd>,
    proxy: SocketAddr,
    settings: Arc<ClientConfig>,
    message: Message,
    streams: usize,
    connections: Vec<Option<Connection>>,
    tally: Tally,
    stopped: bool,
}

/// The one request that all streams send.
struct Message {
    request: Request,
    block: Vec<u8>,
    body: Vec<u8>,
}

struct Connection {
    link: Link,
    next: u32,
    asked: Vec<Asked>,
    /// Bytes that the proxy lets us send.
    window: u32,
    /// Streams that wait for that.
    stalled: usize,
    /// Bytes of answers since we last gave room for more.
    received: u32,
    /// The proxy wants no more streams here.
    leaving: bool,
    input: Vec<u8>,
    output: Vec<u8>,
}

struct Asked {
    stream: u32,
    at: Instant,
    status: u16,
    body: Vec<u8>,
}

impl Http2 {
    pub(super) fn new(
        poll: &Poll,
        order: &Order,
        requests: Vec<Request>,
        connections: usize,
        streams: usize,
    ) -> Result<Self> {
        let request = requests.into_iter().next().ok_or("no request")?;
        let body = requests::body(order.scenario.body);
        let message = Message {
            block: frames::block(&requests::path(order.scenario.size), TOKEN, body.len())?,
            body,
            request,
        };
        Ok(Self {
            poll: Arc::clone(&poll.descriptor),
            proxy: order.proxy,
            settings: tls::settings(Offer::Full, b"h2")?,
            message,
            streams,
            connections: (0..connections).map(|_| None).collect(),
            tally: Tally::default(),
            stopped: false,
        })
    }

    fn open(&mut self, at: usize) -> Result<()> {
        let settings = Arc::clone(&self.settings);
        let link = Link::open(&self.poll, at as u64, self.proxy, settings)?;
        let mut connection = Connection::new(link);
        for _ in 0..self.streams {
            connection.ask(&self.message, &mut self.tally)?;
        }
        connection.send(&self.poll)?;
        self.connections[at] = Some(connection);
        Ok(())
    }
}

impl Course for Http2 {
    fn begin(&mut self, _: Instant) -> Result<()> {
        (0..self.connections.len()).try_for_each(|at| self.open(at))
    }

    fn ready(&mut self, id: u64, writable: bool) -> Result<()> {
        let at = usize::try_from(id)?;
        let Some(connection) = &mut self.connections[at] else {
            return Ok(());
        };
        if writable {
            connection.link.flush(&self.poll)?;
        }
        let incoming = connection.link.receive(&self.poll, &mut connection.input)?;
        let answered = connection.read(&self.message, &mut self.tally)?;
        if !self.stopped && !connection.leaving {
            for _ in 0..answered + std::mem::take(&mut connection.stalled) {
                connection.ask(&self.message, &mut self.tally)?;
            }
        }
        connection.send(&self.poll)?;
        let over = connection.leaving && connection.asked.is_empty();
        if incoming.closed && !connection.asked.is_empty() {
            return Err("the connection ended before the answer".into());
        }
        if incoming.closed || over {
            self.connections[at] = None;
            self.tally.closed_by_proxy += 1;
            if !self.stopped {
                self.open(at)?;
            }
        }
        Ok(())
    }

    fn tick(&mut self, _: Instant) -> Result<Option<Instant>> {
        Ok(None)
    }

    fn stop(&mut self, _: Instant) {
        self.stopped = true;
    }

    fn is_quiet(&self) -> bool {
        let mut open = self.connections.iter().flatten();
        open.all(|connection| connection.asked.is_empty())
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }
}

impl Connection {
    fn new(link: Link) -> Self {
        Self {
            link,
            next: 1,
            asked: Vec::new(),
            window: FIRST_WINDOW,
            stalled: 0,
            received: 0,
            leaving: false,
            input: Vec::new(),
            output: frames::opening(),
        }
    }

    /// One more request, or one more that waits for room.
    fn ask(&mut self, message: &Message, tally: &mut Tally) -> Result<()> {
        let length = u32::try_from(message.body.len())?;
        let Some(left) = self.window.checked_sub(length) else {
            self.stalled += 1;
            return Ok(());
        };
        self.window = left;
        frames::request(self.next, &message.block, &message.body, &mut self.output);
        let at = Instant::now();
        self.asked.push(Asked {
            stream: self.next,
            at,
            status: 0,
            body: Vec::new(),
        });
        self.next += 2;
        tally.sent(&message.request, at);
        Ok(())
    }

    fn send(&mut self, poll: &OwnedFd) -> Result<()> {
        if !self.output.is_empty() {
            self.link.push(&self.output)?;
            self.output.clear();
            self.link.flush(poll)?;
        }
        Ok(())
    }

    /// Takes all whole frames; tells how many requests were answered.
    fn read(&mut self, message: &Message, tally: &mut Tally) -> Result<usize> {
        let (input, mut used, mut answered) = (std::mem::take(&mut self.input), 0, 0);
        if !input.is_empty() && !self.link.speaks(b"h2") {
            return Err("the proxy did not choose HTTP/2".into());
        }
        while let Some((frame, length)) = Frame::first(&input[used..]) {
            used += length;
            if self.take(&frame)? {
                self.answered(frame.stream, message, tally)?;
                answered += 1;
            }
        }
        self.input = input;
        self.input.drain(..used);
        Ok(answered)
    }

    /// Takes one frame; true when it ends an answer.
    fn take(&mut self, frame: &Frame<'_>) -> Result<bool> {
        let content = frame.content();
        match frame.kind {
            kind::HEADERS => self.stream(frame)?.status = frames::status(content),
            kind::DATA => {
                self.stream(frame)?.body.extend_from_slice(content);
                self.give_room(u32::try_from(content.len())?);
            }
            kind::SETTINGS | kind::PING if !frame.is_acknowledgement() => {
                self.output.extend(frame.acknowledged());
            }
            kind::WINDOW_UPDATE if frame.stream == 0 => {
                self.window = self.window.saturating_add(frame.number());
            }
            // After its end a stream may still be reset, without meaning.
            kind::RST_STREAM if self.stream(frame).is_ok() => {
                return Err(format!("a stream was reset: {}", frame.number()).into());
            }
            kind::GOAWAY if frame.number() == 0 => self.leaving = true,
            kind::GOAWAY => return Err(format!("GOAWAY {}", frame.number()).into()),
            _ => {}
        }
        Ok(matches!(frame.kind, kind::HEADERS | kind::DATA) && frame.ends_stream())
    }

    fn give_room(&mut self, taken: u32) {
        self.received += taken;
        if self.received > frames::ROOM / 2 {
            self.received = 0;
            self.output.extend(frames::window_update());
        }
    }

    fn stream(&mut self, frame: &Frame<'_>) -> Result<&mut Asked> {
        let mut asked = self.asked.iter_mut();
        asked
            .find(|asked| asked.stream == frame.stream)
            .ok_or_else(|| "a frame of no stream of ours".into())
    }

    fn answered(&mut self, stream: u32, message: &Message, tally: &mut Tally) -> Result<()> {
        let at = self.asked.iter().position(|asked| asked.stream == stream);
        let asked = self.asked.swap_remove(at.ok_or("an answer to nothing")?);
        judge(&message.request, asked.status, &asked.body)?;
        tally.answered(asked.at, Instant::now());
        Ok(())
    }
}
