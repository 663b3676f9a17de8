//! One cell: a fresh proxy, one scenario, and what it cost.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::Result;
use crate::backend::{Backend, Received};
use crate::configuration::Setting;
use crate::generator::{self, Order, Tally};
use crate::options::{Log, Options};
use crate::place::{Core, Cores};
use crate::process;
use crate::proxy::{self, Kind, Proxy};
use crate::requests;
use crate::scenario::{Load, Offer, Scenario};
use crate::statistics::quantile;

/// Below it the proxy had time left: whoever made the load was the limit.
pub(crate) const SATURATED: f64 = 0.95;
/// So many handshakes in a hundred may be full ones where tickets are meant to be used.
const NOT_RESUMED: f64 = 1.0;
/// More connections to the backend, in a hundred requests, than a pool should need.
const NOT_REUSED: f64 = 5.0;

/// What all cells share.
pub(crate) struct Stage {
    pub(crate) cores: Cores,
    pub(crate) backend: Backend,
    /// With the certificate in it, and everything that the proxies write.
    pub(crate) folder: PathBuf,
    generator: i32,
}

impl Stage {
    /// On the processor of the load; the calling thread is the generator's.
    pub(crate) fn new(cores: Cores, folder: PathBuf) -> Result<Self> {
        Ok(Self {
            cores,
            backend: Backend::start()?,
            folder,
            generator: rustix::thread::gettid().as_raw_nonzero().get(),
        })
    }
}

/// Which cell.
pub(crate) struct Place<'a> {
    pub(crate) kind: Kind,
    pub(crate) program: &'a Path,
    pub(crate) scenario: &'static Scenario,
    pub(crate) log: Log,
    /// Requests per second that the best proxy was able to take.
    pub(crate) capacity: f64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    /// Nanoseconds of processor time.
    pub(crate) cpu_per_request: f64,
    pub(crate) per_second: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Shares of a processor.
    pub(crate) proxy_busy: f64,
    pub(crate) generator_busy: f64,
    pub(crate) backend_busy: f64,
    /// What others took of the proxy's processor: neighbours, and interrupts while it slept.
    pub(crate) others: f64,
    /// Bytes: the most that was in memory; at the end; before the first request.
    pub(crate) peak: u64,
    pub(crate) resident: u64,
    pub(crate) empty: u64,
    /// Bytes for each idle connection, where that is what is measured.
    pub(crate) per_connection: Option<f64>,
    pub(crate) notes: Vec<String>,
}

/// The clock and the kernel's accounts at one moment.
struct Mark {
    moment: Instant,
    proxy: u64,
    generator: u64,
    backend: u64,
    /// The whole of the proxy's processor.
    core: u64,
}

impl Stage {
    fn mark(&self, proxy: &Proxy) -> Result<Mark> {
        Ok(Mark {
            moment: Instant::now(),
            proxy: process::processor_time(&proxy.processes())?,
            generator: process::thread_time(self.generator)?,
            backend: process::thread_time(self.backend.thread)?,
            core: process::core_time(self.cores.number(Core::Proxy))?,
        })
    }

    fn start(&self, place: &Place<'_>) -> Result<Proxy> {
        let setting = Setting {
            listen: proxy::free_address()?,
            backend: self.backend.address,
            log: place.log,
            size: place.scenario.size,
            body: place.scenario.body,
        };
        Proxy::start(
            place.kind,
            place.program,
            &self.folder,
            self.cores,
            &setting,
        )
    }

    /// Measures the cell.
    ///
    /// # Errors
    ///
    /// Anything that makes it void.
    pub(crate) fn measure(&self, options: &Options, place: &Place<'_>) -> Result<Figures> {
        let proxy = self.start(place)?;
        match place.scenario.load {
            Load::Idle { connections } => self.idle(&proxy, place.scenario, connections),
            Load::Closed { .. } | Load::Fresh { .. } | Load::Http2 { .. } | Load::Open { .. } => {
                self.load(options, place, &proxy)
            }
        }
    }

    fn load(&self, options: &Options, place: &Place<'_>, proxy: &Proxy) -> Result<Figures> {
        let before = self.backend.received();
        let order = Order {
            scenario: place.scenario,
            proxy: proxy.address,
            warm_up: options.warm_up,
            seconds: options.seconds,
            rate: match place.scenario.load {
                Load::Open { share, .. } => place.capacity * share,
                _ => 0.0,
            },
        };
        let (mut tally, start, end) = generator::play(&order, &mut || self.mark(proxy))?;
        let expected = (tally.forwarded, tally.forwarded_bytes);
        self.judge(before, expected)?;
        if tally.answered == 0 {
            return Err("nothing was answered".into());
        }
        if place.kind.has_logged(&self.folder) != (place.log == Log::All) {
            return Err("access lines where there should be none, or none".into());
        }
        let memory = Memory::of(proxy)?;
        let mut figures = figures(place.scenario, &mut tally, &start, &end, &memory);
        let opened = self.backend.received().connections - before.connections;
        let share = 100.0 * opened as f64 / expected.0.max(1) as f64;
        if share > NOT_REUSED {
            let note =
                format!("opened {opened} connections to the backend ({share:.0} % of requests)");
            figures.notes.push(note);
        }
        Ok(figures)
    }

    fn idle(&self, proxy: &Proxy, scenario: &'static Scenario, count: usize) -> Result<Figures> {
        let (start, before) = (self.mark(proxy)?, self.backend.received());
        let parked = generator::park(proxy.address, requests::of(scenario), count)?;
        let memory = Memory::of(proxy)?;
        let expected = parked.probe()?;
        self.judge(before, expected)?;
        let end = self.mark(proxy)?;
        let mut tally = Tally::of(expected.0);
        let mut figures = figures(scenario, &mut tally, &start, &end, &memory);
        let grown = memory.resident as f64 - proxy.empty as f64;
        figures.per_connection = Some(grown / count as f64);
        Ok(figures)
    }

    /// Whether the backend got all that it should have got, and nothing else.
    fn judge(&self, before: Received, (requests, bytes): (u64, u64)) -> Result<()> {
        let now = self.backend.received();
        let came = (now.requests - before.requests, now.bytes - before.bytes);
        if came != (requests, bytes) {
            return Err(format!(
                "the backend got {came:?}, not {:?} (requests, bytes)",
                (requests, bytes)
            )
            .into());
        }
        if now.tokens != before.tokens {
            return Err("the backend got the token".into());
        }
        Ok(())
    }
}

struct Memory {
    peak: u64,
    resident: u64,
    empty: u64,
}

impl Memory {
    fn of(proxy: &Proxy) -> Result<Self> {
        let processes = proxy.processes();
        Ok(Self {
            peak: process::peak(&processes)?,
            resident: process::proportional(&processes)?,
            empty: proxy.empty,
        })
    }
}

fn figures(
    scenario: &Scenario,
    tally: &mut Tally,
    start: &Mark,
    end: &Mark,
    memory: &Memory,
) -> Figures {
    let wall = end.moment.duration_since(start.moment);
    let share = |from: u64, to: u64| (to - from) as f64 / wall.as_nanos() as f64;
    let requests = tally.answered as f64;
    let mut microseconds = |at| f64::from(quantile(&mut tally.latencies, at)) / 1000.0;
    Figures {
        requests: tally.answered,
        cpu_per_request: (end.proxy - start.proxy) as f64 / requests,
        per_second: requests / wall.as_secs_f64(),
        p50: microseconds(0.5),
        p99: microseconds(0.99),
        proxy_busy: share(start.proxy, end.proxy),
        generator_busy: share(start.generator, end.generator),
        backend_busy: share(start.backend, end.backend),
        others: (share(start.core, end.core) - share(start.proxy, end.proxy)).max(0.0),
        peak: memory.peak,
        resident: memory.resident,
        empty: memory.empty,
        per_connection: None,
        notes: notes(scenario, tally),
    }
}

/// What a reader has to know about the cell.
fn notes(scenario: &Scenario, tally: &Tally) -> Vec<String> {
    let mut notes = Vec::new();
    let full = 100.0 * tally.full_handshakes as f64 / tally.answered.max(1) as f64;
    if matches!(
        scenario.load,
        Load::Fresh {
            offer: Offer::Resumed,
            ..
        }
    ) && full > NOT_RESUMED
    {
        notes.push(format!("did not resume ({full:.0} % full handshakes)"));
    }
    if !matches!(scenario.load, Load::Fresh { .. }) && tally.closed_by_proxy > 0 {
        notes.push(format!("closed {} connections", tally.closed_by_proxy));
    }
    if tally.unsent > 0 {
        notes.push(format!(
            "overloaded: {} requests were never sent",
            tally.unsent
        ));
    }
    notes
}
