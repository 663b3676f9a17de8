//! A thousand reloads under load, good and bad ones mixed: is any request lost, does anything leak?
//!
//! Each turn changes the files, sends SIGHUP, and waits for the metrics to say how it went. Good turns add and
//! remove a token, add a route, swap the certificate; bad ones break the YAML, lose a secret, pair a certificate
//! with a foreign key. What a turn was meant to do is then tried from outside: which tokens pass, whether the route
//! is there, which certificate is shown. Good requests with a token that every configuration has must never fail.
//!
//! `cargo bench --bench reloads`; `-- --quick`, or `-- reloads=200 rate=100`.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints what it measured, and may end at its first mistake"
)]

#[allow(dead_code, unused_imports, reason = "no program uses all of it")]
mod stage;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use stage::{
    Alpn, Backend, Gateway, HOME, Metrics, Promises, Result, Round, Scale, Site, Spread, Steady,
    TOKEN, Target, configuration, exchange, message, mib, open_descriptors, post, resident, route,
    slope, wait_until,
};

const SECOND_TOKEN: &str = "CANARY-second-0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(20);
/// By how much the gateway may grow from a fifth of the reloads to the last.
const ALLOWED_GROWTH: f64 = 8.0;

fn main() -> ExitCode {
    stage::play("reloads", show)
}

#[expect(clippy::too_many_lines, reason = "the play, from beginning to end")]
fn show(scale: &Scale, promises: &mut Promises) -> Result<()> {
    let (count, rate) = (
        scale.count("reloads", 1000, 21),
        scale.number("rate", 100, 50),
    );
    let (site, backend) = (Site::new()?, Backend::start(20)?);
    let mut turns = Turns {
        backend: backend.address,
        wanted: State::default(),
    };
    site.write("second", SECOND_TOKEN)?;
    site.certificate("foreign.pem", "foreign.key")?;
    site.write("gateway.yaml", &turns.text())?;
    let gateway = Gateway::start(&site)?;
    let target = Target::new(&site, &gateway)?;
    let ended = Arc::new(AtomicBool::new(false));
    let (load, end) = (target.clone(), Arc::clone(&ended));
    let load = std::thread::spawn(move || -> Result<Round> {
        let good = |number| message(Alpn::Http1, "/play", number, 2000);
        let stop = move || end.load(Ordering::SeqCst);
        Steady::new(load, 10)?.round(rate, Duration::from_secs(24 * 3600), stop, good)
    });

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut sizes, mut times, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    let mut played = Ok(());
    for number in 0..count {
        let turn = turns.prepare(&site, number).and_then(|good| {
            let time = reload(&gateway, good)?;
            Ok((good, time, runtime.block_on(look(&target, &turns.wanted))))
        });
        turns.mend(&site)?;
        match turn {
            Ok((good, time, seen)) => {
                times.push(time.as_secs_f64() * 1000.0);
                if let Err(error) = seen {
                    wrong.push(format!(
                        "turn {number} ({}): {error}",
                        if good { "good" } else { "bad" }
                    ));
                }
            }
            Err(error) => {
                played = Err(format!("turn {number}: {error}\n{}", gateway.output.last()));
                break;
            }
        }
        sizes.push(mib(resident(gateway.id())?));
    }
    ended.store(true, Ordering::SeqCst);
    let round = load.join().map_err(|_| "the load panicked")??;
    played?;

    let warm = &sizes[sizes.len() / 5..];
    let growth = warm.last().unwrap_or(&0.0) - warm.first().unwrap_or(&0.0);
    println!(
        "{count} reloads, {} requests beside them",
        round.answers.len()
    );
    println!("time to the metric, ms: {}", Spread::of(&times));
    println!(
        "memory, MiB: {:.1} at first, {:.1} after a fifth, {:.1} at last; {:.2} KiB a reload",
        sizes[0],
        warm[0],
        warm[0] + growth,
        slope(warm) * 1024.0
    );
    println!("descriptors at last: {}", open_descriptors(gateway.id())?);
    for (what, count) in round.failures() {
        println!("  {count} times {what}");
    }
    wrong.iter().take(10).for_each(|what| println!("  {what}"));
    promises.that(round.failures().is_empty(), "no request failed");
    promises.that(
        wrong.is_empty(),
        "every reload did what it was meant to do, and a bad one nothing",
    );
    promises.that(
        growth < ALLOWED_GROWTH,
        "memory flat: less than 8 MiB from a fifth of the reloads to the last",
    );
    gateway.output.judge(promises);
    Ok(())
}

/// What the configuration in force says.
#[derive(Clone, Default)]
struct State {
    second_token: bool,
    second_route: bool,
    /// Which certificate: the one from the start, or one that was swapped in.
    swapped: Option<(usize, rustls_pki_types::CertificateDer<'static>)>,
}

struct Turns {
    backend: std::net::SocketAddr,
    wanted: State,
}

impl Turns {
    fn text(&self) -> String {
        self.text_with("", None)
    }

    fn text_with(&self, broken: &str, key: Option<&str>) -> String {
        let (certificate, own) = match &self.wanted.swapped {
            None => ("certificate.pem".to_owned(), "key.pem".to_owned()),
            Some((number, _)) => (
                format!("certificate-{number}.pem"),
                format!("key-{number}.pem"),
            ),
        };
        let tls = format!("certificate: {certificate}, key: {}", key.unwrap_or(&own));
        let mut routes = route("play", self.backend, "");
        if self.wanted.second_token {
            routes = routes.replace(
                "env: PLAY_TOKEN }",
                "env: PLAY_TOKEN }, { id: second, file: second }",
            );
        }
        if self.wanted.second_route {
            routes += &route("more", self.backend, "");
        }
        // Only the signal: what watches the files would take up a turn of its own accord.
        // And no limit for wrong tokens: `look` sends hundreds from one address, and the late 429 beyond the limit
        // would hide whether a token is in force.
        let top = format!("watch_files: off\nfailed_verifications: off\n{broken}");
        configuration("127.0.0.1:0", &tls, &top, &routes)
    }

    /// Changes the files; whether the reload must succeed.
    fn prepare(&mut self, site: &Site, number: usize) -> Result<bool> {
        let text = match number % 7 {
            0 => {
                self.wanted.second_token = !self.wanted.second_token;
                self.text()
            }
            2 => {
                self.wanted.second_route = !self.wanted.second_route;
                self.text()
            }
            4 => {
                let shown = site.certificate(
                    &format!("certificate-{number}.pem"),
                    &format!("key-{number}.pem"),
                )?;
                self.wanted.swapped = Some((number, shown));
                self.text()
            }
            1 => self.text_with("limits: [", None),
            3 => self.text_with("", Some("foreign.key")),
            5 => self.text().replace("env: PLAY_TOKEN }", "file: nowhere }"),
            // Nothing changed: good.
            _ => self.text(),
        };
        site.write("gateway.yaml", &text)?;
        Ok(matches!(number % 7, 0 | 2 | 4 | 6))
    }

    /// A file that matches what is in force, so that what watches files finds nothing new.
    fn mend(&self, site: &Site) -> Result<()> {
        site.write("gateway.yaml", &self.text())
    }
}

/// Sends the signal and waits for the counter of this result to move, and for the gauge to agree.
fn reload(gateway: &Gateway, good: bool) -> Result<Duration> {
    let result = if good {
        "result=\"success\""
    } else {
        "result=\"failure\""
    };
    let counted = |metrics: &Metrics| metrics.sum("countersign_config_reloads_total", &[result]);
    let before = counted(&gateway.metrics()?).ok_or("no countersign_config_reloads_total")?;
    let start = std::time::Instant::now();
    gateway.signal(Signal::HUP)?;
    wait_until("the reload", PATIENCE, || {
        let metrics = gateway.metrics()?;
        let gauge = metrics.sum("countersign_config_last_reload_successful", &[]);
        let right = gauge.is_some_and(|gauge| (gauge > 0.5) == good);
        Ok(right && counted(&metrics).is_some_and(|after| after > before))
    })?;
    Ok(start.elapsed())
}

/// Tries what must be in force, on a new connection.
async fn look(target: &Target, wanted: &State) -> Result<()> {
    let stream = target.tls(HOME, Alpn::Http1).await?;
    let shown = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(<[_]>::first);
    if let Some((_, certificate)) = &wanted.swapped
        && shown != Some(certificate)
    {
        return Err("another certificate".into());
    }
    drop(stream);
    let expected = [
        ("/play", TOKEN, 200),
        (
            "/play",
            SECOND_TOKEN,
            if wanted.second_token { 200 } else { 401 },
        ),
        ("/more", TOKEN, if wanted.second_route { 200 } else { 404 }),
    ];
    let mut sender = target.http1(HOME).await?;
    for (path, token, status) in expected {
        sender.ready().await?;
        let response = sender
            .send_request(post(Alpn::Http1, path, token, "{\"CANARY\":1}".into()))
            .await?;
        let (got, _) = exchange(response).await?;
        if got != status {
            return Err(format!("{path}: {got} in place of {status}").into());
        }
    }
    Ok(())
}
