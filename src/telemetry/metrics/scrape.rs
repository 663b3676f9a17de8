//! A scrape: the text of all metrics, made in slices.
//!
//! A slice is the work of a moment, and only the one that is being sent is in memory, however many routes there are. What
//! is configured does not change within a scrape; numbers do.

use prometheus::{Encoder, Result, TextEncoder};

use super::families::{ROUTE_FAMILIES, RouteFamily, UPSTREAM_FAMILIES, UpstreamFamily};
use super::samples::{Description, Samples};
use super::source::Source;
use super::standing::STANDING_FAMILIES;
use super::view::{RouteView, UpstreamView};

/// Routes or upstreams in a slice: some hundred samples, which take less than a millisecond.
const SLICE: usize = 16;

/// The text of all metrics in slices; see the module.
pub struct Scrape {
    source: Source,
    at: Place,
    /// Whether the family that has begun has its head.
    headed: bool,
}

/// What comes next: a position among the families of a kind, and one among the members of that family.
#[derive(Clone, Copy)]
enum Place {
    Routes(usize, usize),
    Upstreams(usize, usize),
    Standing,
    Process,
    End,
}

impl Scrape {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            at: Place::Routes(0, 0),
            headed: false,
        }
    }

    fn slice(&mut self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        match self.at {
            Place::Routes(family, from) => match ROUTE_FAMILIES.get(family) {
                Some(of) => {
                    let (samples, left) = self.routes(of, from);
                    self.write(&of.description, samples, &mut text)?;
                    self.at = match left {
                        true => Place::Routes(family, from + SLICE),
                        false => self.next_family(Place::Routes(family + 1, 0)),
                    };
                }
                None => self.at = Place::Upstreams(0, 0),
            },
            Place::Upstreams(family, from) => match UPSTREAM_FAMILIES.get(family) {
                Some(of) => {
                    let (samples, left) = self.upstreams(of, from);
                    self.write(&of.description, samples, &mut text)?;
                    self.at = match left {
                        true => Place::Upstreams(family, from + SLICE),
                        false => self.next_family(Place::Upstreams(family + 1, 0)),
                    };
                }
                None => self.at = Place::Standing,
            },
            Place::Standing => {
                for family in &STANDING_FAMILIES {
                    let mut samples = Samples::default();
                    (family.write)(&self.source, &mut samples);
                    self.headed = false;
                    self.write(&family.description, samples, &mut text)?;
                }
                self.at = Place::Process;
            }
            Place::Process => {
                let families = self.source.process.gather();
                TextEncoder::new().encode(&families, &mut text)?;
                self.at = Place::End;
            }
            Place::End => {}
        }
        Ok(text)
    }

    fn next_family(&mut self, place: Place) -> Place {
        self.headed = false;
        place
    }

    /// Samples of some routes, and whether there are more. Requests without a route come last.
    fn routes(&self, family: &RouteFamily, from: usize) -> (Samples, bool) {
        let source = &self.source;
        let mut samples = Samples::default();
        let routes = source.configured.routes.get(from..).unwrap_or_default();
        for route in routes.iter().take(SLICE) {
            let view = RouteView::new(&source.shape, route, &source.workers);
            (family.write)(&view, &mut samples);
        }
        let left = routes.len() > SLICE;
        if !left && family.unrouted {
            let view = RouteView::unrouted(&source.shape, &source.workers);
            (family.write)(&view, &mut samples);
        }
        (samples, left)
    }

    fn upstreams(&self, family: &UpstreamFamily, from: usize) -> (Samples, bool) {
        let source = &self.source;
        let mut samples = Samples::default();
        let upstreams = source.configured.upstreams.get(from..).unwrap_or_default();
        for upstream in upstreams.iter().take(SLICE) {
            let view = UpstreamView::new(upstream, &source.workers);
            (family.write)(&view, &mut samples);
        }
        (samples, upstreams.len() > SLICE)
    }

    fn write(&mut self, of: &Description, samples: Samples, text: &mut Vec<u8>) -> Result<()> {
        if samples.is_empty() {
            return Ok(());
        }
        of.encode(samples, !self.headed, text)?;
        self.headed = true;
        Ok(())
    }
}

impl Iterator for Scrape {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while !matches!(self.at, Place::End) {
            match self.slice() {
                Ok(text) if text.is_empty() => {}
                Ok(text) => return Some(Ok(text)),
                Err(error) => {
                    self.at = Place::End;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
