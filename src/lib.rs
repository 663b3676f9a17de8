//! countersign

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod route;
pub mod server;
pub mod telemetry;
pub mod verify;

/// Revision the program was built from; `unknown` where the build had none to tell.
pub const REVISION: &str = env!("COUNTERSIGN_REVISION");
/// Target triple the program was built for.
pub const TARGET: &str = env!("COUNTERSIGN_TARGET");
