//! The audit trail: one record for each decision and each change, none left out, each chained to the one before.
//!
//! ```text
//! workers ──buffers──► queue ──► writer ──► file ◄── verify
//! (stream, notice)     bounded   (chain, tail)
//! ```
//!
//! Told the same as access lines are: configured names, numbers and addresses, never what a sender wrote. Requests
//! never wait for the disk. `docs/audit.md` has the format.

mod chain;
mod event;
mod file;
mod lines;
mod notice;
mod stream;
mod tail;
mod verify;
mod writer;

pub use chain::Seal;
pub use event::AuditEvent;
pub use notice::Notice;
pub use stream::{AuditLog, AuditSink, AuditState, Now};
pub use verify::{Break, BreakKind, Expected, FileSummary, Verdict, Verifier};
pub use writer::{AuditStart, AuditWriter};
