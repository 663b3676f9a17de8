//! countersign

pub mod clock;
pub mod gateway;
pub mod route;
pub mod server;
pub mod verify;
