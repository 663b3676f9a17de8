//! Places for HTTP/1.1 connections: each has at most one connection, and that at most one request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustls::ClientConfig;

use super::link::Link;
use super::poll::Poll;
use super::tally::Tally;
use super::{judge, tls};
use crate::Result;
use crate::message::Message;
use crate::requests::Request;
use crate::scenario::Offer;

/// All places, and what they share.
pub(super) struct Lanes {
    poll: Arc<OwnedFd>,
    proxy: SocketAddr,
    requests: Vec<Request>,
    lanes: Vec<Lane>,
    /// Decrypted bytes of the answer at hand.
    plain: Vec<u8>,
    pub(super) tally: Tally,
}

struct Lane {
    settings: Arc<ClientConfig>,
    link: Option<Link>,
    message: Message,
    asked: Option<Asked>,
    /// Which request comes next.
    turn: usize,
    /// The connection has had an answer already.
    used: bool,
}

#[derive(Clone, Copy)]
struct Asked {
    at: Instant,
    request: usize,
}

/// What became of a place.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) answered: bool,
    pub(super) closed: bool,
}

impl Lanes {
    pub(super) fn new(
        poll: &Poll,
        proxy: SocketAddr,
        requests: Vec<Request>,
        offer: Offer,
        count: usize,
    ) -> Result<Self> {
        let shared = tls::settings(offer, b"http/1.1")?;
        let settings = |_| match offer {
            // Tickets of its own: each connection resumes the one before it in the same place.
            Offer::Resumed => tls::settings(offer, b"http/1.1"),
            Offer::Full | Offer::Aes128 => Ok(Arc::clone(&shared)),
        };
        let settings: Result<Vec<_>> = (0..count).map(settings).collect();
        Ok(Self {
            poll: Arc::clone(&poll.descriptor),
            proxy,
            requests,
            lanes: settings?.into_iter().enumerate().map(Lane::new).collect(),
            plain: Vec::new(),
            tally: Tally::default(),
        })
    }

    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.lanes.iter().all(|lane| lane.asked.is_none())
    }

    /// Whether no connection is open.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.iter().all(|lane| lane.link.is_none())
    }

    /// Sends the place's next request, on a new connection if it has none; it counts from `at` on.
    pub(super) fn ask(&mut self, lane: usize, at: Instant) -> Result<()> {
        let id = lane as u64;
        let lane = &mut self.lanes[lane];
        let asked = Asked {
            at,
            request: lane.turn % self.requests.len(),
        };
        lane.turn += 1;
        lane.asked = Some(asked);
        let request = &self.requests[asked.request];
        self.tally.sent(request, at);
        if lane.link.is_none() {
            let settings = Arc::clone(&lane.settings);
            lane.link = Some(Link::open(&self.poll, id, self.proxy, settings)?);
            lane.used = false;
        }
        let link = lane.link.as_mut().ok_or("no connection")?;
        link.send(&self.poll, &request.bytes)
    }

    /// Does what the place's connection is ready for.
    pub(super) fn ready(&mut self, lane: usize, writable: bool) -> Result<Progress> {
        let lane = &mut self.lanes[lane];
        let Some(link) = &mut lane.link else {
            return Ok(Progress::default());
        };
        if writable {
            link.flush(&self.poll)?;
        }
        self.plain.clear();
        let closed = match link.receive(&self.poll, &mut self.plain) {
            Ok(incoming) => incoming.closed,
            // After the answer a reset is no worse than an end: nothing is lost.
            Err(_) if lane.asked.is_none() => true,
            Err(error) => return Err(error),
        };
        let answered = lane.take(&self.plain)?;
        if answered {
            let last = lane.answered(&self.requests, &mut self.tally)?;
            if let (true, false, Some(link)) = (last, closed, &mut lane.link) {
                // The proxy may be faster and have ended it already; then this fails, and nothing is lost.
                let _ = link.end(&self.poll);
            }
        }
        if closed {
            lane.close(&mut self.tally)?;
        }
        Ok(Progress { answered, closed })
    }

    /// Forgets the place's answer; true if its connection can carry another request.
    pub(super) fn reusable(&mut self, lane: usize) -> bool {
        let lane = &mut self.lanes[lane];
        !lane.forget() && lane.link.is_some()
    }
}

impl Lane {
    fn new((at, settings): (usize, Arc<ClientConfig>)) -> Self {
        Self {
            settings,
            link: None,
            message: Message::default(),
            asked: None,
            // So that of requests that take turns, each kind is on its way at any time.
            turn: at,
            used: false,
        }
    }

    /// Reads decrypted bytes; true at the end of the answer.
    fn take(&mut self, plain: &[u8]) -> Result<bool> {
        if plain.is_empty() {
            return Ok(false);
        }
        if self.asked.is_none() {
            return Err("an answer to nothing".into());
        }
        match self.message.feed(plain)? {
            (used, true) if used < plain.len() => Err("more than an answer".into()),
            (_, whole) => Ok(whole),
        }
    }

    /// Judges the answer; true if it is the last one of the connection.
    fn answered(&mut self, requests: &[Request], tally: &mut Tally) -> Result<bool> {
        let asked = self.asked.take().ok_or("an answer to nothing")?;
        let request = &requests[asked.request];
        judge(request, self.message.status, &self.message.body)?;
        let now = Instant::now();
        tally.answered(asked.at, now);
        if let Some(link) = &self.link
            && !self.used
        {
            self.used = true;
            tally.began(link.resumed(), now);
        }
        if !self.link.as_ref().is_some_and(Link::is_flushed) {
            return Err("an answer before the request was sent".into());
        }
        Ok(request.closes || self.message.closes)
    }

    fn close(&mut self, tally: &mut Tally) -> Result<()> {
        if self.asked.is_some() {
            return Err("the connection ended before the answer".into());
        }
        self.link = None;
        self.message.clear();
        tally.closed_by_proxy += 1;
        Ok(())
    }

    /// Whether the proxy will close after the answer at hand; forgets the answer.
    fn forget(&mut self) -> bool {
        let closes = self.message.closes;
        self.message.clear();
        closes
    }
}
