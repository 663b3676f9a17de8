//! Active checks: asks each endpoint of an upstream now and then whether it is well.
//!
//! One worker does this for all. A check carries nothing of any sender, and has a connection of its own, which counts
//! as any other: where an upstream has no place free it is busy, which is a sign of life, and no check is made.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderValue, Request};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::dial::Dialler;
use super::link::Link;
use super::places::Place;
use crate::clock::Timers;
use crate::gateway::plan::{Endpoint, HealthCheck, Plan};
use crate::telemetry::{UpstreamMetrics, WorkerMetrics};

/// Largest head of an answer to a check.
const HEAD_CAP: usize = 16 * 1024;

/// Checks what the plan in force wants checked, for as long as it is polled.
pub(in crate::gateway) async fn follow(
    mut plans: watch::Receiver<Arc<Plan>>,
    timers: Timers,
    counters: Rc<WorkerMetrics>,
) {
    loop {
        let plan = Arc::clone(&plans.borrow_and_update());
        counters.forget_endpoints();
        let mut checks = JoinSet::new();
        for (position, upstream) in plan.upstreams.iter().enumerate() {
            if upstream.care.health_check.is_none() {
                upstream.health.unchecked();
                continue;
            }
            let metrics = Rc::new(counters.upstream(&upstream.name, &upstream.endpoint_names()));
            for endpoint in 0..upstream.endpoints.len() {
                let check = Check {
                    plan: Arc::clone(&plan),
                    upstream: position,
                    endpoint,
                    timers: timers.clone(),
                    dialler: Dialler::new(timers.clone()),
                    metrics: Rc::clone(&metrics),
                };
                checks.spawn_local(async move { check.run().await });
            }
        }
        // An error means that this plan is the last one.
        if plans.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The checks of one endpoint.
struct Check {
    plan: Arc<Plan>,
    upstream: usize,
    endpoint: usize,
    timers: Timers,
    dialler: Dialler,
    metrics: Rc<UpstreamMetrics>,
}

impl Check {
    /// Checks again and again. Ends only where there is nothing to check.
    async fn run(&self) -> Option<()> {
        let upstream = self.plan.upstreams.get(self.upstream)?;
        let endpoint = upstream.endpoints.get(self.endpoint)?;
        let rules = upstream.care.health_check.as_ref()?;
        let health = &upstream.health;
        self.metrics
            .up(self.endpoint, !health.is_down(self.endpoint));
        loop {
            let place = if upstream.is_limited() {
                upstream.places.enter_now().map(Some)
            } else {
                Some(None)
            };
            if let Some(place) = place {
                let too_late = self.timers.alarm(rules.timeout);
                let healthy = tokio::select! {
                    biased;
                    healthy = self.ask(endpoint, rules, place) => healthy == Some(true),
                    () = too_late => false,
                };
                let change = health.checked(self.endpoint, healthy, rules.fall, rules.rise);
                if let Some(up) = change {
                    self.metrics.up(self.endpoint, up);
                    tell(&upstream.name, &endpoint.name, up);
                }
            }
            self.timers.alarm(rules.interval).await;
        }
    }

    /// Whether the endpoint answers with 2xx or 3xx; `None` where it does not answer.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        rules: &HealthCheck,
        place: Option<Place>,
    ) -> Option<bool> {
        let stream = self.dialler.dial(endpoint, rules.timeout).await.ok()?;
        let mut link = Link::new(stream, &self.metrics, place);
        link.lend();
        let mut builder = Builder::new();
        builder.max_buf_size(HEAD_CAP).title_case_headers(true);
        let (mut sender, connection) = builder.handshake(TokioIo::new(link)).await.ok()?;
        let mut request = Request::get(rules.path.clone())
            .body(http_body_util::Empty::<Bytes>::new())
            .ok()?;
        let headers = request.headers_mut();
        headers.insert(HOST, endpoint.authority.clone());
        headers.insert(USER_AGENT, HeaderValue::from_static("countersign"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let answer = async {
            let answer = sender.send_request(request).await.ok()?;
            let status = answer.status();
            Some(status.is_success() || status.is_redirection())
        };
        let mut answer = pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // It may have ended with the answer in the same moment.
            _ = connection => answer.await,
        }
    }
}

fn tell(upstream: &str, endpoint: &str, up: bool) {
    if up {
        tracing::info!(upstream, endpoint, "health checks: endpoint is up");
    } else {
        tracing::warn!(upstream, endpoint, "health checks: endpoint is down");
    }
}
