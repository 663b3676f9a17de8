//! The numbers of one worker, and the handles its requests use.
//!
//! A new plan keeps the numbers of every route, upstream and token that the old one had too. What it no longer has is
//! freed with the last request that began before.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cell::{Histogram, OVERHEADS};
use super::configured::{Configured, ConfiguredRoute};
use super::listener::ListenerMetrics;
use super::route::{ExchangeBlock, RouteBlock, RouteMetrics, RouteParts, TokenUses, list};
use super::shape::Shape;
use super::upstream::{UpstreamMetrics, UpstreamParts};

/// What one worker counts in and others read.
pub(super) struct WorkerBlocks {
    pub(super) listeners: Box<[ListenerMetrics]>,
    /// By outcome.
    pub(super) overheads: Box<[Histogram<9>]>,
    pub(super) unrouted: Arc<RouteBlock>,
    planned: Mutex<Planned>,
}

/// What a plan has names for.
#[derive(Default)]
pub(super) struct Planned {
    pub(super) routes: HashMap<Arc<str>, RouteParts>,
    pub(super) upstreams: HashMap<Arc<str>, UpstreamParts>,
}

impl WorkerBlocks {
    pub(super) fn new(shape: &Shape) -> Self {
        let listeners = shape.listeners.iter();
        Self {
            listeners: listeners
                .map(|_| ListenerMetrics::new(&shape.labels))
                .collect(),
            overheads: list(shape.labels.outcomes.len()),
            unrouted: Arc::new(RouteBlock::new(shape)),
            planned: Mutex::default(),
        }
    }

    /// Held for moments only: a worker that takes up a plan waits for it.
    pub(super) fn planned(&self) -> MutexGuard<'_, Planned> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counters of one worker.
pub struct WorkerMetrics {
    shape: Arc<Shape>,
    blocks: Arc<WorkerBlocks>,
}

/// The counters of a plan in one worker.
pub struct PlanMetrics {
    /// In the order of [`Configured`].
    pub routes: Vec<RouteMetrics>,
    /// Of requests without a route.
    pub unrouted: RouteMetrics,
}

impl WorkerMetrics {
    pub(super) fn new(shape: Arc<Shape>, blocks: Arc<WorkerBlocks>) -> Self {
        Self { shape, blocks }
    }

    /// The counters of a listener, by position.
    pub fn listener(&self, position: usize) -> Option<&ListenerMetrics> {
        self.blocks.listeners.get(position)
    }

    /// A request that ended this way was held up so long by the gateway itself.
    pub fn overhead(&self, outcome: usize, time: Duration) {
        if let Some(histogram) = self.blocks.overheads.get(outcome) {
            histogram.observe_time(&OVERHEADS, time);
        }
    }

    /// Takes up a plan.
    pub fn plan(&self, configured: &Configured) -> PlanMetrics {
        let mut planned = self.blocks.planned();
        let old = std::mem::take(&mut *planned);
        let parts = |route: &ConfiguredRoute| self.parts(route, old.routes.get(&route.name));
        let routes = configured.routes.iter();
        planned.routes = routes
            .map(|route| (Arc::clone(&route.name), parts(route)))
            .collect();
        for upstream in &configured.upstreams {
            let mut parts = UpstreamParts::default();
            if let Some(old) = old.upstreams.get(&upstream.name) {
                parts.block = Arc::clone(&old.block);
                let known = upstream.endpoints.iter();
                let known = known.filter_map(|name| Some((Arc::clone(name), old.known(name)?)));
                parts.endpoints = known
                    .map(|(name, block)| (name, Arc::clone(block)))
                    .collect();
            }
            planned.upstreams.insert(Arc::clone(&upstream.name), parts);
        }
        let handles = configured.routes.iter();
        let handles = handles.filter_map(|route| planned.routes.get(&route.name));
        PlanMetrics {
            routes: handles
                .map(|parts| RouteMetrics::new(&self.shape, parts))
                .collect(),
            unrouted: RouteMetrics::unrouted(&self.shape, &self.blocks.unrouted),
        }
    }

    fn parts(&self, route: &ConfiguredRoute, old: Option<&RouteParts>) -> RouteParts {
        let exchange = old.filter(|old| old.upstream == route.upstream);
        let exchange = exchange.map(|old| Arc::clone(&old.exchange));
        let uses = |id: &Arc<str>, state| {
            let mut known = old.into_iter().flat_map(|old| &old.tokens);
            let known = known.find(|known| known.id == *id && known.state == state);
            TokenUses {
                id: Arc::clone(id),
                state,
                uses: known.map_or_else(Arc::default, |known| Arc::clone(&known.uses)),
            }
        };
        let block = old.map(|old| Arc::clone(&old.block));
        RouteParts {
            block: block.unwrap_or_else(|| Arc::new(RouteBlock::new(&self.shape))),
            upstream: Arc::clone(&route.upstream),
            exchange: exchange.unwrap_or_else(|| Arc::new(ExchangeBlock::new(&self.shape))),
            tokens: (route.tokens.iter())
                .map(|token| uses(&token.id, token.state()))
                .collect(),
        }
    }

    /// The counters of an upstream.
    pub fn upstream(&self, name: &Arc<str>, endpoints: &[Arc<str>]) -> UpstreamMetrics {
        let mut planned = self.blocks.planned();
        let parts = planned.upstreams.entry(Arc::clone(name)).or_default();
        UpstreamMetrics::new(parts, endpoints)
    }

    /// Takes the results of active checks out: a new plan may check others.
    pub fn forget_endpoints(&self) {
        let planned = self.blocks.planned();
        let parts = planned.upstreams.values();
        for (_, endpoint) in parts.flat_map(|parts| &parts.endpoints) {
            endpoint.forget();
        }
    }
}
