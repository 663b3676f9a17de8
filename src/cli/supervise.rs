//! The main thread while the gateway runs: signals, changed files, the service manager, a successor, the end.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::manager::{self, Alive};
use super::reload::{Reloader, Trigger, apply, give_up};
use super::serve::Serving;
use super::successor::{Successor, tell_predecessor};
use super::watch::{Contents, Watch, contents};
use crate::server::Stop;

/// What the supervisor has to know of the configuration.
pub(super) struct Rules {
    /// The configuration file.
    pub(super) file: PathBuf,
    /// It and all files that it names.
    pub(super) files: Vec<PathBuf>,
    pub(super) workers: usize,
    pub(super) watchdog: Option<Duration>,
}

/// What a signal asks for.
enum Wish {
    Stop,
    Reload,
    Upgrade,
    Reopen,
}

/// The signals that mean something to us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user_1: Signal,
    user_2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user_1: signal(SignalKind::user_defined1())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = self.user_1.recv() => Wish::Reopen,
            _ = self.user_2.recv() => Wish::Upgrade,
        }
    }

    /// The next one to stop; all others come too late.
    async fn stop(&mut self) {
        loop {
            match self.next().await {
                Wish::Stop => return,
                // The next record looks by itself, and there is one to come.
                Wish::Reopen => {}
                Wish::Reload | Wish::Upgrade => {
                    tracing::warn!("too late to reload or upgrade: this process is stopping");
                }
            }
        }
    }
}

/// Runs until the end; `false` if a worker failed.
///
/// # Errors
/// When signals or files cannot be watched.
pub(super) fn supervise(mut serving: Serving, rules: Rules) -> std::io::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::new()?;
        // Not before: whoever waits for this may send a signal at once.
        announce(&serving);
        serving.ready();
        manager::ready();
        tell_predecessor();
        let end = Supervisor::new(&mut serving, rules)?
            .run(&mut signals)
            .await;
        manager::stopping();
        Ok::<_, std::io::Error>(match end {
            End::Told => leave(&mut serving, &mut signals, true).await,
            End::Replaced => leave(&mut serving, &mut signals, false).await,
            End::Worker => {
                tracing::error!("a worker ended unasked");
                // The others finish what they have.
                serving.stop(Stop::Drain);
                false
            }
        })
    });
    // A reading of the configuration may still be under way; nothing waits for it any more.
    runtime.shutdown_background();
    let well = result?;
    let clean = serving.join();
    tracing::info!("stopped");
    Ok(clean && well)
}

fn announce(serving: &Serving) {
    for address in serving.addresses() {
        tracing::info!(%address, "listening");
    }
    if let Some(address) = serving.admin_address() {
        tracing::info!(%address, "admin listening");
    }
}

/// Why supervising ends.
enum End {
    /// Somebody said so.
    Told,
    /// A successor serves.
    Replaced,
    /// A worker has ended by itself, which it does only when something is badly wrong.
    Worker,
}

struct Supervisor<'s> {
    serving: &'s mut Serving,
    reloader: Reloader,
    watch: Watch,
    successor: Option<Successor>,
    watchdog: Option<Duration>,
}

impl<'s> Supervisor<'s> {
    fn new(serving: &'s mut Serving, rules: Rules) -> std::io::Result<Self> {
        let files = rules.files.iter().cloned();
        let watch = Watch::start(watched(serving, contents(files)))?;
        Ok(Self {
            serving,
            reloader: Reloader::new(&rules.file, rules.files, rules.workers),
            watch,
            successor: None,
            watchdog: rules.watchdog,
        })
    }

    async fn run(&mut self, signals: &mut Signals) -> End {
        let mut alive = Alive::new();
        let mut look = Instant::now();
        loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::Stop => {
                        if let Some(successor) = self.successor.take() {
                            successor.give_up();
                            tracing::warn!("the successor that was starting is ended as well");
                        }
                        return End::Told;
                    }
                    Wish::Reload => self.read_again(Trigger::Signal),
                    Wish::Upgrade => self.upgrade(),
                    Wish::Reopen => self.serving.reopen_files(),
                },
                () = self.watch.changed() => self.read_again(Trigger::Watch),
                reading = self.reloader.read() => {
                    let contents = match reading {
                        Ok(reading) => {
                            let contents = reading.contents.clone();
                            apply(self.serving, reading);
                            contents
                        }
                        Err(trigger) => {
                            give_up(self.serving, trigger);
                            // As they are now they are not read again by themselves.
                            contents(self.reloader.files())
                        }
                    };
                    self.watch.tried(watched(self.serving, contents));
                    if !self.reloader.is_reading() {
                        manager::ready();
                    }
                }
                ready = ready(&mut self.successor) => {
                    let successor = self.successor.take();
                    let Err(why) = ready else {
                        tracing::info!("the successor serves");
                        // It answers on the same address, and knows that it is ready.
                        self.serving.end_admin();
                        return End::Replaced;
                    };
                    successor.into_iter().for_each(Successor::give_up);
                    tracing::error!("the successor {why}; this process goes on");
                }
                () = tokio::time::sleep_until(look), if self.watchdog.is_some() => {
                    // Twice as often as has to be, as sd_watchdog_enabled(3) advises.
                    look = Instant::now() + self.watchdog.unwrap_or_default() / 2;
                    alive.look(self.serving.beats());
                }
                _ = self.serving.worker_ended() => return End::Worker,
            }
        }
    }

    fn read_again(&mut self, trigger: Trigger) {
        manager::reloading();
        self.reloader.ask(trigger);
    }

    fn upgrade(&mut self) {
        if let Some(reason) = alone(manager::is_there(), std::process::id()) {
            tracing::error!("{reason}");
            return;
        }
        if self.successor.is_some() {
            tracing::warn!("a successor is starting already");
            return;
        }
        // A successor goes on where this one ended, in whatever file is there now.
        self.serving.reopen_files();
        match self.serving.sockets().and_then(Successor::start) {
            Ok(successor) => {
                tracing::info!(process = successor.id(), "starting a successor");
                self.successor = Some(successor);
            }
            Err(error) => tracing::error!(%error, "cannot start a successor; this process goes on"),
        }
    }
}

/// Why there may be no successor.
fn alone(managed: bool, process: u32) -> Option<&'static str> {
    if managed {
        return Some(
            "a service manager runs this process, and would lose sight of a successor; restart the service instead",
        );
    }
    // pid_namespaces(7): with its first process all others end, the successor among them.
    (process == 1).then_some(
        "this process is the first one of its container, which would end with it and take a successor along; replace the container instead",
    )
}

/// What is watched: these files, or none where the configuration in force says so.
fn watched(serving: &Serving, contents: Contents) -> Contents {
    if serving.standing().watch_files {
        contents
    } else {
        Contents::new()
    }
}

async fn ready(successor: &mut Option<Successor>) -> Result<(), &'static str> {
    match successor {
        Some(successor) => successor.ready().await,
        None => std::future::pending().await,
    }
}

/// Readiness first, then the drain, then the end; a second signal to stop cuts. `told`: there has been a first one.
async fn leave(serving: &mut Serving, signals: &mut Signals, mut told: bool) -> bool {
    serving.stop(Stop::Leave);
    let delay = serving.standing().drain_delay;
    if !delay.is_zero() {
        tracing::info!("no longer ready; draining follows");
        let pause = tokio::time::sleep(delay);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                () = signals.stop() => if cut(serving, &mut told) { break },
            }
        }
    }
    tracing::info!("draining: no new connections, requests in flight finish");
    serving.stop(Stop::Drain);
    loop {
        tokio::select! {
            () = signals.stop() => { cut(serving, &mut told); }
            left = serving.worker_ended() => if !left { return true },
        }
    }
}

/// A signal to stop while this process is stopping already: the first one asks for nothing more, the second cuts, and then
/// this is `true`.
fn cut(serving: &Serving, told: &mut bool) -> bool {
    let again = std::mem::replace(told, true);
    if again {
        tracing::warn!("told to stop again: cutting what is in flight");
        serving.stop(Stop::Now);
    } else {
        tracing::info!("told to stop: that is under way; once more cuts what is in flight");
    }
    again
}

/// For the start: sockets that were handed to this process, in any order.
///
/// # Errors
/// Where one of them is no listening TCP socket.
pub(super) fn inherited() -> std::io::Result<Vec<std::net::TcpListener>> {
    let mut handed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for number in 0..handed.len() {
        sockets.extend(handed.take_tcp_listener(number)?);
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::alone;

    #[test]
    fn nobody_succeeds_whom_others_would_end() {
        assert_eq!(alone(false, 2), None);
        let managed = alone(true, 2).unwrap();
        assert_ne!(alone(false, 1).unwrap(), managed);
        assert_eq!(alone(true, 1), Some(managed));
    }
}
