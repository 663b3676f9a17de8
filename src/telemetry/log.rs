//! What the process says that is not one line per request, on standard error.
//!
//! Only events of this program are let through: protocol libraries write header fields into theirs.

use std::io::IsTerminal;

use tracing::Level;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Format;

/// Starts the log. A second call changes nothing.
pub fn init(level: Level, format: Format) {
    let targets = Targets::new().with_target("countersign", LevelFilter::from_level(level));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false);
    let registry = tracing_subscriber::registry();
    let result = match format {
        Format::Json => registry
            .with(layer.json().flatten_event(true).with_filter(targets))
            .try_init(),
        Format::Text => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry
                .with(layer.with_ansi(colour).with_filter(targets))
                .try_init()
        }
    };
    // Fails only where a log is running already, which is what was asked for.
    drop(result);
}
