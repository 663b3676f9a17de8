//! What the workers have counted of one thing, added up.

use std::sync::Arc;

use super::cell::{Bounds, Counter, Gauge, Histogram, Observed};
use super::configured::{ConfiguredRoute, ConfiguredUpstream, TokenState};
use super::route::{ExchangeBlock, RouteBlock, RouteParts};
use super::shape::Shape;
use super::upstream::{EndpointBlock, UpstreamBlock, UpstreamParts};
use super::worker::WorkerBlocks;

/// A route in all workers.
pub(super) struct RouteView<'v> {
    pub(super) shape: &'v Shape,
    pub(super) name: &'v str,
    /// Nothing for requests without a route.
    pub(super) known: Option<&'v ConfiguredRoute>,
    blocks: Vec<Arc<RouteBlock>>,
    exchanges: Vec<Arc<ExchangeBlock>>,
    parts: Vec<RouteParts>,
}

impl<'v> RouteView<'v> {
    pub(super) fn new(
        shape: &'v Shape,
        known: &'v ConfiguredRoute,
        workers: &[Arc<WorkerBlocks>],
    ) -> Self {
        Self {
            known: Some(known),
            ..Self::named(shape, &known.name, Some(&known.upstream), workers)
        }
    }

    /// A route of which the name is known, with this upstream or with any.
    pub(super) fn named(
        shape: &'v Shape,
        name: &'v str,
        upstream: Option<&str>,
        workers: &[Arc<WorkerBlocks>],
    ) -> Self {
        let parts = workers.iter();
        let parts = parts.filter_map(|worker| worker.planned().routes.get(name).cloned());
        let parts: Vec<RouteParts> = parts.collect();
        let exchanges = parts.iter();
        let exchanges =
            exchanges.filter(|parts| upstream.is_none_or(|upstream| *parts.upstream == *upstream));
        Self {
            shape,
            name,
            known: None,
            blocks: parts.iter().map(|parts| Arc::clone(&parts.block)).collect(),
            exchanges: exchanges.map(|parts| Arc::clone(&parts.exchange)).collect(),
            parts,
        }
    }

    pub(super) fn unrouted(shape: &'v Shape, workers: &[Arc<WorkerBlocks>]) -> Self {
        let blocks = workers.iter().map(|worker| Arc::clone(&worker.unrouted));
        Self {
            shape,
            name: UNROUTED,
            known: None,
            blocks: blocks.collect(),
            exchanges: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// The sum of the counters at a position of a list.
    pub(super) fn sum(&self, list: impl Fn(&RouteBlock) -> &[Counter], position: usize) -> u64 {
        let blocks = self.blocks.iter();
        let counters = blocks.filter_map(|block| list(block).get(position));
        counters.map(Counter::get).sum()
    }

    pub(super) fn exchange_sum(
        &self,
        list: impl Fn(&ExchangeBlock) -> &[Counter],
        position: usize,
    ) -> u64 {
        let blocks = self.exchanges.iter();
        let counters = blocks.filter_map(|block| list(block).get(position));
        counters.map(Counter::get).sum()
    }

    pub(super) fn total(&self, counter: impl Fn(&RouteBlock) -> &Counter) -> u64 {
        self.blocks.iter().map(|block| counter(block).get()).sum()
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.blocks.iter().map(|block| block.in_flight.get()).sum()
    }

    pub(super) fn last_accepted(&self) -> u64 {
        let times = self.blocks.iter().map(|block| block.last_accepted.get());
        times.max().unwrap_or(0)
    }

    pub(super) fn histogram<const N: usize>(
        &self,
        bounds: &'static Bounds<N>,
        histogram: impl Fn(&RouteBlock) -> Option<&Histogram<N>>,
    ) -> Observed<N> {
        let mut observed = Observed::none(bounds);
        for block in &self.blocks {
            if let Some(histogram) = histogram(block) {
                observed.add(histogram);
            }
        }
        observed
    }

    /// Uses of a token in a state, or in any.
    pub(super) fn token_uses(&self, id: &str, state: Option<TokenState>) -> u64 {
        let tokens = self.parts.iter().flat_map(|parts| &parts.tokens);
        let own = tokens.filter(|token| *token.id == *id);
        let own = own.filter(|token| state.is_none_or(|state| token.state == state));
        own.map(|token| token.uses.get()).sum()
    }
}

/// What stands for a route where there is none.
pub(super) const UNROUTED: &str = "none";

/// An upstream in all workers.
pub(super) struct UpstreamView<'v> {
    pub(super) known: &'v ConfiguredUpstream,
    parts: Vec<UpstreamParts>,
}

impl<'v> UpstreamView<'v> {
    pub(super) fn new(known: &'v ConfiguredUpstream, workers: &[Arc<WorkerBlocks>]) -> Self {
        let parts = workers.iter();
        let parts = parts.filter_map(|worker| worker.planned().upstreams.get(&known.name).cloned());
        Self {
            known,
            parts: parts.collect(),
        }
    }

    pub(super) fn gauge(&self, gauge: impl Fn(&UpstreamBlock) -> &Gauge) -> u64 {
        let parts = self.parts.iter();
        parts.map(|parts| gauge(&parts.block).get()).sum()
    }

    pub(super) fn retries(&self) -> u64 {
        let parts = self.parts.iter();
        parts.map(|parts| parts.block.retries.get()).sum()
    }

    pub(super) fn connects(&self, bounds: &'static Bounds<13>) -> Observed<13> {
        let mut observed = Observed::none(bounds);
        for parts in &self.parts {
            observed.add(&parts.block.connects);
        }
        observed
    }

    pub(super) fn passed_over(&self, endpoint: &str) -> u64 {
        let blocks = self.endpoint(endpoint);
        blocks.map(|block| block.passed_over.get()).sum()
    }

    pub(super) fn up(&self, endpoint: &str) -> Option<bool> {
        self.endpoint(endpoint).find_map(|block| block.up())
    }

    fn endpoint(&self, name: &str) -> impl Iterator<Item = &EndpointBlock> {
        let blocks = self.parts.iter().filter_map(|parts| parts.known(name));
        blocks.map(AsRef::as_ref)
    }
}
