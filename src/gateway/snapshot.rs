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
    names: Vec<RouteNames>,
    no_name: Arc<str>,
}

/// What a route and its tokens are called, as copies of this worker.
struct RouteNames {
    route: Arc<str>,
    tokens: Vec<Arc<str>>,
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
        let names = plan.routes.iter().map(|route| RouteNames {
            route: own(&route.name),
            tokens: (route.scheme.tokens().iter())
                .map(|token| own(token.id()))
                .collect(),
        });
        let names = names.collect();
        Self {
            names,
            no_name: "none".into(),
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

    /// The name of a route, or what stands for none.
    pub(super) fn route_name(&self, route: Option<usize>) -> &Arc<str> {
        let names = route.and_then(|route| self.names.get(route));
        names.map_or(&self.no_name, |names| &names.route)
    }

    /// The name of a token of a route.
    pub(super) fn token_id(&self, route: Option<usize>, token: Option<usize>) -> Option<&Arc<str>> {
        self.names.get(route?)?.tokens.get(token?)
    }

    pub(super) fn upstream(&self, position: usize) -> Option<&Rc<Upstream>> {
        self.upstreams.get(position)
    }
}

/// A name of this worker's own: clones of a shared one would count their holders in a place that all workers write to.
pub(super) fn own(name: &Arc<str>) -> Arc<str> {
    Arc::from(&**name)
}
