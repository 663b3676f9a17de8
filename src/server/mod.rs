//! The server: sockets, TLS, connections, drain. It serves any [`Handler`] and knows nothing of routes,
//! tokens or upstreams.
//!
//! One thread per core runs a single-threaded runtime with listening sockets of its own (`SO_REUSEPORT`), so
//! nothing on a request's way is shared between threads. `bind` → [`Bound`] → `spawn` → [`Running`]: wrong
//! order does not compile, and tests learn the port from [`Bound::addresses`].

mod activity;
mod bind;
mod connection;
mod drain;
mod entrance;
mod frames;
#[doc(hidden)]
pub mod fuzzing;
mod handler;
mod http1;
mod http2;
mod latch;
mod linger;
mod listener;
mod proxy;
mod request_body;
mod running;
mod session;
mod socket;
mod sources;
mod spec;
mod spelling;
pub mod tls;
mod tls_socket;
mod worker;

pub use bind::{BindError, Bound, bind};
pub use drain::Stop;
pub use handler::{Close, ConnectionEvent, Fault, Handler, Peer};
pub use latch::Latch;
pub use request_body::{BodyFault, RequestBody};
pub use running::Running;
pub use sources::source;
pub use spec::{ListenerSpec, ServerLimits, Settings};
pub use spelling::Spelling;
pub use worker::WorkerContext;
