//! Settings that are one of a few words.
//!
//! The doc comments are descriptions in the JSON Schema, as in `document`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::server::tls::{CipherPreference, MinimumVersion};

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// What may need somebody soon.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What helps to find a fault.
    Debug,
    /// Everything.
    Trace,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, else JSON.
    Auto,
    /// One JSON object in a line.
    Json,
    /// For people.
    Text,
}

/// The word that turns a section off.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Off {
    /// Turned off.
    Off,
}

/// Declares an enum whose variants are words of the file.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        pub(super) enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }
    };
}

words! {
    /// Use of the PROXY protocol.
    ProxyProtocol {
        /// None.
        Off = "off",
        /// Version 1 or 2 in front of every connection.
        Required = "required",
    }
}
words! {
    /// Whether files are watched.
    #[derive(Default)]
    WatchFiles {
        /// Their content is looked at every few seconds.
        #[default]
        On = "on",
        /// Only a signal makes the gateway read them again.
        Off = "off",
    }
}
words! {
    /// What becomes of requests while the audit trail cannot be written.
    #[derive(Default)]
    OnFailure {
        /// They go on.
        #[default]
        Continue = "continue",
        /// What would be forwarded or answered is refused.
        Strict = "strict",
    }
}
words! {
    /// A TLS version.
    #[derive(Default)]
    TlsVersion {
        /// TLS 1.2 and later.
        #[default]
        Tls12 = "1.2",
        /// TLS 1.3 and later.
        Tls13 = "1.3",
    }
}

impl From<Cipher> for CipherPreference {
    fn from(cipher: Cipher) -> Self {
        match cipher {
            Cipher::Aes128 => Self::Aes128,
            Cipher::Aes256 => Self::Aes256,
        }
    }
}

impl From<TlsVersion> for MinimumVersion {
    fn from(version: TlsVersion) -> Self {
        match version {
            TlsVersion::Tls12 => Self::Tls12,
            TlsVersion::Tls13 => Self::Tls13,
        }
    }
}

words! {
    /// Which AES-GCM is preferred.
    #[derive(Default)]
    Cipher {
        /// AES-128-GCM: a quarter cheaper in a handshake.
        #[default]
        Aes128 = "aes128",
        /// AES-256-GCM.
        Aes256 = "aes256",
    }
}
words! {
    /// A verification scheme.
    SchemeName {
        /// A static token in the `verification-token` header, and a challenge before the first message.
        Redox = "redox",
    }
}
words! {
    /// What to do with challenges.
    Challenge {
        /// Answer them, at any time.
        Answer = "answer",
        /// There are none.
        Off = "off",
    }
}
words! {
    /// The answer to a challenge.
    Reply {
        /// The bare value.
        Text = "text",
        /// A JSON object: `{"challenge": value}`.
        Json = "json",
    }
}
words! {
    /// What a refused sender sees.
    OnReject {
        /// A status.
        Respond = "respond",
        /// The end of the connection, without a byte.
        Close = "close",
    }
}
words! {
    /// How header names are written.
    HeaderCase {
        /// `Content-Type`
        Title = "title",
        /// As the sender wrote them; over HTTP/2 they are in lower case.
        Preserve = "preserve",
        /// `content-type`
        Lower = "lower",
    }
}
