//! countersign

pub mod admin;
pub mod clock;
pub mod gateway;
pub mod route;
pub mod server;
pub mod telemetry;
pub mod verify;

/// Revision the program was built from; `unknown` where the build had none to tell.
pub const REVISION: &str = match option_env!("COUNTERSIGN_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
/// Target triple the program was built for.
pub const TARGET: &str = env!("COUNTERSIGN_TARGET");
