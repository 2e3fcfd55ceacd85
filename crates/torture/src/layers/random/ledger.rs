//! The ledger: what was promised to whom, written by those who asked, before anything is read back.

use std::path::PathBuf;

/// How a record is to end up, once everything has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::layers) enum Fate {
    /// In the transcript of its session, as one turn.
    Turn,
    /// In the chat of its session, as a message.
    Message,
    /// Held, with the reason.
    Held,
    /// Dead, with the reason.
    Dead,
    /// Put aside by a person.
    Dismissed,
}

/// What is known of what a record says.
#[derive(Debug, Clone)]
pub(in crate::layers) enum Said {
    /// This text, to the letter.
    Text(String),
    /// The completion of a job that leaves this file behind as soon as it runs.
    Run(PathBuf),
}

/// A record that somebody tried to publish, once or several times with the same bytes.
#[derive(Debug, Clone)]
pub(in crate::layers) struct Promise {
    /// Its id, if the producer chose it and is to keep it.
    pub(in crate::layers) id: Option<String>,
    /// A word that no other record has.
    pub(in crate::layers) nonce: String,
    pub(in crate::layers) session: Option<String>,
    pub(in crate::layers) said: Said,
    pub(in crate::layers) fate: Fate,
    /// Whether a producer was told yes, or a run's wrapper ended well.
    pub(in crate::layers) acknowledged: bool,
    /// When it was acknowledged, in milliseconds since 1970.
    pub(in crate::layers) at: u64,
}
