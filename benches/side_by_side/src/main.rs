//! The job of countersign, done by countersign, nginx, HAProxy, Caddy, Envoy and Pingora on the same processor, one
//! after the other, many times.
//!
//! Not for the command line by itself: the script `run` beside it brings the proxies and calls this. The proxy has the
//! first processor; the generator (this thread) and the backend (another one) share the second. A cell is one scenario
//! with one proxy in one round; `measure` makes it, `report` shows all of them.

mod backend;
mod configuration;
mod generator;
mod machine;
mod measure;
mod message;
mod options;
mod place;
mod process;
mod proxy;
mod report;
mod requests;
mod rounds;
mod scenario;
mod statistics;

use std::process::ExitCode;

use options::Options;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| rounds::run(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(void) => {
            eprintln!("void: {void} cells; the run as a whole is void");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("side_by_side: {error}");
            ExitCode::FAILURE
        }
    }
}
