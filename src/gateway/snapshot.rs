//! A plan in use by one worker: the shared plan, and what only this worker needs beside it.
//!
//! A request holds the snapshot it began with, so a new plan never changes the rules half way.

use std::rc::Rc;
use std::sync::Arc;

use super::plan::Plan;
use super::upstream::Upstream;
use crate::clock::Timers;
use crate::telemetry::{RouteMetrics, WorkerMetrics};

/// See the module.
pub(super) struct Snapshot {
    pub(super) plan: Arc<Plan>,
    routes: Vec<RouteMetrics>,
    unrouted: RouteMetrics,
    upstreams: Vec<Rc<Upstream>>,
}

impl Snapshot {
    pub(super) fn new(plan: Arc<Plan>, metrics: &WorkerMetrics, timers: &Timers) -> Self {
        let counters = metrics.plan(&plan.configured());
        let upstreams = plan
            .upstreams
            .iter()
            .enumerate()
            .map(|(position, upstream)| {
                let counters = metrics.upstream(&upstream.name, &upstream.endpoint_names());
                Rc::new(Upstream::new(
                    Arc::clone(&plan),
                    position,
                    timers.clone(),
                    counters,
                ))
            });
        let upstreams = upstreams.collect();
        Self {
            plan,
            routes: counters.routes,
            unrouted: counters.unrouted,
            upstreams,
        }
    }

    /// The counters of a route, or those of requests without one.
    pub(super) fn metrics(&self, route: Option<usize>) -> &RouteMetrics {
        route
            .and_then(|route| self.routes.get(route))
            .unwrap_or(&self.unrouted)
    }

    pub(super) fn upstream(&self, position: usize) -> Option<&Rc<Upstream>> {
        self.upstreams.get(position)
    }
}
