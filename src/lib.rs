//! countersign: a TLS gateway that answers webhook verification challenges, refuses every request whose token is
//! wrong, and forwards the rest untouched to a backend that knows nothing of all this.
//!
//! A sentry calls a challenge, and the one who may pass answers with the *countersign*.
//!
//! # The map of the house
//!
//! ```text
//!            cli ───────► config ─────► builds the plan, the listeners, the log
//!             │
//!             ├─────────► server ──(Handler)──► gateway ──► route       pure
//!             │              │                     │  └────► verify     pure
//!             │              └──────► clock ◄──────┤
//!             ├─────────► admin ──► telemetry ◄────┘
//!             └─────────► probe     talks to any gateway from outside, knows none
//! ```
//!
//! | room | what it does | may import |
//! | --- | --- | --- |
//! | [`verify`] | judges: may this request pass? Bytes, tokens and the time in, a verdict out | nothing |
//! | [`route`] | finds the route for a host and a path that has one reading | nothing |
//! | [`telemetry`] | counters, access lines, the audit trail and the last decisions; told numbers and configured names, never what a sender wrote | nothing |
//! | [`clock`] | the only reader of clocks; the timers of a worker | `verify`, for [`verify::UnixTime`] |
//! | [`server`] | sockets, TLS, the strict border of HTTP, connections, drain; serves any [`server::Handler`] | `clock` |
//! | [`gateway`] | the journey of a request; the only room that talks to upstreams | `clock`, `route`, `server`, `telemetry`, `verify` |
//! | [`admin`] | metrics, health and status on an address of their own | `server`, `telemetry` |
//! | [`probe`] | plays the sender against any gateway from outside, and judges it | nothing |
//! | [`config`] | from `gateway.yaml` to what runs, with findings instead of errors | `gateway`, `route`, `server`, `verify` |
//! | [`cli`] | one file per command, and the wiring of all rooms | all |
//!
//! Arrows point one way. Nothing that runs imports `config`: a running gateway sees a compiled
//! [`gateway::plan::Plan`] and never a file. There is no error type for the whole crate; a finding (operator), a
//! refusal (sender) and a failure (upstream) are three types, because three different people have to act.
//! `tests/it/house.rs` reads the source and fails on an import that this table does not allow.
//!
//! # The life of a request
//!
//! 1. **Accept** (`server/listener`, `server/worker`). Each worker is one thread with sockets of its own; from here
//!    on nothing is shared between threads.
//! 2. **Way in** (`server/entrance`, `server/tls`). PROXY header, room for its source, TLS; one deadline
//!    for all of it. ALPN chooses HTTP/1.1 or HTTP/2.
//! 3. **Border** (`server/http1`). Every byte of HTTP/1.1 is read strictly before hyper sees it; whatever two
//!    servers could read in two ways is a fault, answered by [`server::Handler::refuse`].
//! 4. **Record** (`gateway/record`). A record is armed before anything is judged. It tells the log, the audit
//!    trail and the counters how the request ended when it is dropped, wherever that happens, so each request is told
//!    exactly once.
//! 5. **Reading** (`gateway/request`). Authority, path and length must have one reading in either HTTP version.
//! 6. **Route** ([`route::Table`]). The first configured route that matches.
//! 7. **Verdict** ([`verify::Scheme::begin`]). From the head alone wherever that is enough. Only a body that could
//!    be a challenge is read first, up to the route's `challenge_body`, and goes to [`verify::Pending::finish`].
//! 8. **Forward** (`gateway/forward`). Takes a [`verify::Permit`] by value. Header fields are cleaned, framing is
//!    written anew, the body streams under its cap. Nothing is sent twice.
//! 9. **Respond** (`gateway/respond`, `gateway/answer`). The upstream's answer passes as it is. Answers of our own
//!    come from one table of reasons and statuses.
//! 10. **Close** (`server/connection`). A sender that is still sending gets its answer before the connection goes.
//!
//! # Forwarding needs a permit
//!
//! Only `verify` can make a [`verify::Permit`], and a permit is spent by forwarding one request. So this compiles:
//!
//! ```
//! use countersign::verify::{Permit, Verdict};
//!
//! fn forward(_: Permit) {}
//!
//! fn act(verdict: Verdict) {
//!     match verdict {
//!         Verdict::Forward(permit) => forward(permit),
//!         Verdict::Answer(_) | Verdict::Refuse(_) => {}
//!     }
//! }
//! ```
//!
//! and this, which forwards what was refused, does not:
//!
//! ```compile_fail
//! use countersign::verify::{Permit, Verdict};
//!
//! fn forward(_: Permit) {}
//!
//! fn act(verdict: Verdict) {
//!     match verdict {
//!         Verdict::Forward(permit) => forward(permit),
//!         Verdict::Answer(_) | Verdict::Refuse(_) => forward(Permit { token: 0, hide_authorization: false }),
//!     }
//! }
//! ```
//!
//! [`verify::Permit`] has the other ways in which it does not work.
//!
//! # Where does a change belong?
//!
//! | change | place | and also |
//! | --- | --- | --- |
//! | another way for senders to prove themselves | a file in `verify`, a variant of [`verify::Scheme`] | vectors in `tests/vectors` |
//! | another reason to refuse | [`gateway::Refusal`] | its status in `gateway/respond`, `docs/verdicts.md` |
//! | another rule for heads or bodies of HTTP/1.1 | `server/http1` | the fuzz target `border` |
//! | a header towards the upstream | `gateway/headers` | |
//! | a setting | `config/document`, then `config/compile` | `gateway.yaml`, `docs/configuration.md` |
//! | a check of the configuration | `config/compile`, or `config/secret` for tokens | |
//! | a metric or a field of the access line | `telemetry` | what must never be logged: `SECURITY.md`; `docs/logs.md` |
//! | an event or a field of the audit trail | `telemetry/audit`, `cli/trail` | `docs/audit.md` |
//! | which endpoint, how many connections, for how long | `gateway/upstream` | `config/compile/care`, a fault in `tests/it/support/faults.rs` |
//! | a page of the admin listener | `admin` | |
//! | something on the status page | `admin/status/picture`, and `cli/overview` where no counter has it | `docs/status.md` |
//! | a check of `probe` | `probe/plan`, `docs/probe.md` | a flaw in `tests/it/probe/flaw.rs` that it catches |
//! | a command | a file in `cli` | `tests/it/cli.rs` |
//! | what a reload takes up | `cli/serve` (`reload`), `server/spec` for connections, `gateway/plan` for requests | `tests/it/reload.rs` |
//! | a timeout | [`clock`] has the timers, the room that waits has the number | |

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod gateway;
pub mod probe;
pub mod route;
pub mod server;
pub mod telemetry;
pub mod verify;

/// Revision the program was built from; `unknown` where the build had none to tell.
pub const REVISION: &str = env!("COUNTERSIGN_REVISION");
/// Target triple the program was built for.
pub const TARGET: &str = env!("COUNTERSIGN_TARGET");
