//! Requests at a constant rate, whatever becomes of the ones before: an open loop.
//!
//! The moment from which a request is timed is the one in the timetable, not the one in which it was sent, so a
//! stall counts for every request that should have been sent meanwhile. How late the sending itself was is measured
//! too: it shows whether the numbers are the gateway's or those of whoever measures.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::HOME;
use super::{Http1, Result, Target, exchange, quantile};

/// No answer after this long is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a sender was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A whole answer.
    Status(u16),
    /// No connection, so nothing was sent.
    NoConnection(String),
    /// The connection was kept from an earlier request, and had ended before a byte of an answer came. Any HTTP
    /// client knows this race and has to live with it.
    Raced,
    /// Anything else: broken off, no answer in time.
    Broken(String),
}

/// One request of a round.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    pub(crate) heard: Heard,
    /// On a connection of its own.
    pub(crate) fresh: bool,
    /// Since its moment in the timetable.
    pub(crate) latency: Duration,
    /// How late it was sent.
    pub(crate) lag: Duration,
}

/// A sender with a pool of connections.
pub(crate) struct Steady {
    runtime: LocalRuntime,
    target: Target,
    /// Every how many requests there is one on a new connection.
    fresh_every: u64,
    pool: Rc<RefCell<Vec<Http1>>>,
    next: u64,
}

/// All requests of some seconds.
pub(crate) struct Round {
    pub(crate) answers: Vec<Answer>,
}

impl Steady {
    pub(crate) fn new(target: Target, fresh_every: u64) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build_local(LocalOptions::default())?;
        Ok(Self {
            runtime,
            target,
            fresh_every,
            pool: Rc::default(),
            next: 0,
        })
    }

    /// Sends `rate` requests a second for this long, or until `stop` says so, and waits for the last answer.
    pub(crate) fn round(
        &mut self,
        rate: u64,
        duration: Duration,
        stop: impl Fn() -> bool + Send + 'static,
        make: impl Fn(u64) -> Request<Full<Bytes>>,
    ) -> Result<Round> {
        let (ticks, mut timetable) = unbounded_channel();
        let pace = Duration::from_secs(1) / u32::try_from(rate)?;
        let pacer = std::thread::spawn(move || keep_time(&ticks, pace, duration, &stop));
        let answers = Rc::new(RefCell::new(Vec::new()));
        let (target, pool, every) = (&self.target, &self.pool, self.fresh_every);
        let next = &mut self.next;
        self.runtime.block_on(async {
            let mut tasks = Vec::new();
            while let Some(due) = timetable.recv().await {
                let number = *next;
                *next += 1;
                let request = make(number);
                let fresh = every != 0 && number.is_multiple_of(every);
                let (target, pool) = (target.clone(), Rc::clone(pool));
                let answers = Rc::clone(&answers);
                tasks.push(tokio::task::spawn_local(async move {
                    let lag = due.elapsed();
                    let sent = send(&target, &pool, fresh, request);
                    let heard = match tokio::time::timeout(PATIENCE, sent).await {
                        Ok(heard) => heard,
                        Err(_) => Heard::Broken("no answer in time".to_owned()),
                    };
                    answers.borrow_mut().push(Answer {
                        number,
                        heard,
                        fresh,
                        latency: due.elapsed(),
                        lag,
                    });
                }));
            }
            for task in tasks {
                task.await?;
            }
            Ok::<_, tokio::task::JoinError>(())
        })?;
        pacer.join().map_err(|_| "the pacer panicked")?;
        Ok(Round {
            answers: answers.take(),
        })
    }
}

/// The timetable. A thread of its own, because timers of a runtime have no finer steps than a millisecond.
fn keep_time(
    ticks: &UnboundedSender<Instant>,
    pace: Duration,
    duration: Duration,
    stop: &dyn Fn() -> bool,
) {
    let start = Instant::now();
    let mut due = start;
    while due.duration_since(start) < duration && !stop() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if ticks.send(due).is_err() {
            return;
        }
        due += pace;
    }
}

async fn send(
    target: &Target,
    pool: &RefCell<Vec<Http1>>,
    fresh: bool,
    mut request: Request<Full<Bytes>>,
) -> Heard {
    let mut kept = if fresh { None } else { take(pool) };
    loop {
        let reused = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => match target.http1(HOME).await {
                Ok(connection) => connection,
                Err(error) => return Heard::NoConnection(error.to_string()),
            },
        };
        let response = match connection.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => match error.take_message() {
                // Not a byte of it was sent: the connection was gone, as kept ones are now and then.
                Some(unsent) if reused => {
                    request = unsent;
                    kept = take(pool);
                    continue;
                }
                Some(_) => return Heard::NoConnection(error.error().to_string()),
                None if reused => return Heard::Raced,
                None => return Heard::Broken(error.error().to_string()),
            },
        };
        let heard = match exchange(response).await {
            Ok((status, _)) => Heard::Status(status),
            Err(error) => return Heard::Broken(error.to_string()),
        };
        if !fresh && connection.ready().await.is_ok() {
            pool.borrow_mut().push(connection);
        }
        return heard;
    }
}

/// The connection that was used last and is still good.
fn take(pool: &RefCell<Vec<Http1>>) -> Option<Http1> {
    let mut pool = pool.borrow_mut();
    while let Some(connection) = pool.pop() {
        if connection.is_ready() {
            return Some(connection);
        }
    }
    None
}

impl Round {
    /// A quantile of the latencies on kept or on new connections.
    pub(crate) fn latency(&self, fresh: bool, share: f64) -> Duration {
        let of_kind = self.answers.iter().filter(|answer| answer.fresh == fresh);
        let latencies: Vec<_> = of_kind.map(|answer| answer.latency).collect();
        quantile(&latencies, share)
    }

    pub(crate) fn lag(&self, share: f64) -> Duration {
        let lags: Vec<_> = self.answers.iter().map(|answer| answer.lag).collect();
        quantile(&lags, share)
    }

    /// Everything but a 200, with how often it came.
    pub(crate) fn failures(&self) -> Vec<(String, usize)> {
        let mut found = std::collections::BTreeMap::new();
        for answer in &self.answers {
            if answer.heard != Heard::Status(200) {
                *found.entry(format!("{:?}", answer.heard)).or_insert(0) += 1;
            }
        }
        found.into_iter().collect()
    }
}
