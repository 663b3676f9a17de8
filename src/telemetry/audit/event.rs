//! What an audit record tells of: a closed set whose labels are an interface.

/// Declares the events with their labels, so that neither can be forgotten.
macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident => $label:literal,)+) => {
        /// What an audit record tells of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AuditEvent { $($(#[$doc])* $variant,)+ }

        impl AuditEvent {
            /// Every event, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// What records and metrics call it.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }
        }
    };
}

events! {
    /// The upstream has the message, and its answer went back whole.
    MessageAccepted => "message_accepted",
    /// Refused before anything of it was forwarded.
    MessageRefused => "message_refused",
    /// A challenge with a right token was answered.
    ChallengeAnswered => "challenge_answered",
    /// A challenge was refused.
    ChallengeRefused => "challenge_refused",
    /// A verified message that the upstream failed.
    UpstreamFailed => "upstream_failed",
    /// The sender left before the end.
    ClientLeft => "client_left",
    /// A request outlasted the drain, and was cut.
    RequestCut => "request_cut",
    /// The process started.
    Started => "started",
    /// It serves, and hears signals.
    Ready => "ready",
    /// It takes no new connections any more.
    Draining => "draining",
    /// Its last record.
    Stopped => "stopped",
    /// The configuration that the process began with.
    ConfigurationLoaded => "configuration_loaded",
    /// Another configuration was taken up.
    ReloadAccepted => "reload_accepted",
    /// Another configuration was offered, and not taken up.
    ReloadRefused => "reload_refused",
    /// The tokens of a route are others.
    TokensChanged => "tokens_changed",
    /// A certificate is served that was not before.
    CertificateChanged => "certificate_changed",
    /// A process begins to write in a file, or found it other than it left it.
    ChainStarted => "chain_started",
    /// Records could not be written, and are gone.
    RecordsLost => "records_lost",
}

/// What stands for the first event in the queue; letters and what follows them, and never a line break.
const FIRST_MARK: u8 = b'A';

impl AuditEvent {
    /// One byte that stands for it in the queue.
    pub(super) fn mark(self) -> u8 {
        let position = Self::ALL.iter().position(|other| *other == self);
        let position = position.and_then(|position| u8::try_from(position).ok());
        FIRST_MARK.saturating_add(position.unwrap_or_default())
    }

    /// Whether a record of it may be given up for others where room is short: nobody had proved himself, and nothing got
    /// through. `verified`: a token was right.
    pub(super) fn is_expendable(self, verified: bool) -> bool {
        let open_to_all = matches!(
            self,
            Self::MessageRefused | Self::ChallengeRefused | Self::ClientLeft | Self::RequestCut
        );
        open_to_all && !verified
    }

    /// The event of a mark.
    pub(super) fn of_mark(mark: u8) -> Option<Self> {
        let position = usize::from(mark.checked_sub(FIRST_MARK)?);
        Self::ALL.get(position).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_stands_for_one_event() {
        for event in AuditEvent::ALL {
            assert_eq!(AuditEvent::of_mark(event.mark()), Some(*event));
        }
        assert_eq!(AuditEvent::of_mark(b'\n'), None);
        assert_eq!(AuditEvent::of_mark(b'z'), None);
    }
}
