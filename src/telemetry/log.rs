//! What the process says that is not one line per request, on standard error.
//!
//! Only events of this program are let through: protocol libraries write header fields into theirs. A panic is
//! told of in the same way, without words that may have been made from what a sender wrote.

use std::any::Any;
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

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
    std::panic::set_hook(Box::new(tell_panic));
}

/// The default hook would print the message whatever it holds, and on its own beside the log.
fn tell_panic(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    tracing::error!(
        thread = thread.name().unwrap_or("unnamed"),
        location = info.location().map(tracing::field::display),
        "panicked: {}; this is a bug, please report it",
        panic_message(info.payload())
    );
}

/// A message that stands in the program as it is. One put together at run time may quote a piece of a request, as
/// that of a slice through the middle of a character does; its location has to be enough.
fn panic_message(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(message withheld)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_messages_made_at_run_time_are_withheld() {
        let said = |panicking: fn()| {
            let payload = std::panic::catch_unwind(panicking).unwrap_err();
            panic_message(&*payload).to_owned()
        };
        let body = "s\u{fc}\u{df}";
        assert_eq!(said(|| panic!("a constant")), "a constant");
        assert_eq!(
            said(|| panic!("about {}", std::env::args().count())),
            "(message withheld)"
        );
        let cut = std::panic::catch_unwind(|| body[..body.len() - 1].len()).unwrap_err();
        assert!(cut.downcast_ref::<String>().unwrap().contains(body));
        assert_eq!(panic_message(&*cut), "(message withheld)");
    }
}
