//! What can go wrong with our own keys. Always ours or the operator's, never a peer's fault.

use std::{io, path::PathBuf};

/// Why the key ring cannot be made or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A key file cannot be read or written.
    #[error("key file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A key file holds something else than it should.
    #[error("key file {path} is damaged: {why}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Others than the owner may read a key file.
    #[error("key file {path} can be read by others (mode {mode:o}): run chmod 600 on it")]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There are keys already; making new ones would lose the domain's identity.
    #[error("there are keys in {0} already; a domain's identity is made once")]
    Exists(PathBuf),
    /// The keys belong to another domain than the configuration says.
    #[error("the keys in {dir} are those of {found}, not of {expected}")]
    OtherDomain {
        /// Where the keys are.
        dir: PathBuf,
        /// Whose they are.
        found: String,
        /// Whose they should be.
        expected: String,
    },
    /// The operating system gives no random bytes.
    #[error("the operating system's random generator does not answer")]
    NoRandomness,
    /// A certificate cannot be made from the TLS key.
    #[error("cannot make a TLS certificate: {0}")]
    Certificate(String),
    /// More former keys than others would read. Nothing was changed.
    #[error("the identity record would become larger than other domains read; nothing was changed")]
    RecordTooLarge,
    /// A record that is not a later one of the same root.
    #[error(
        "that record is no later one under the root key that is here; with another root key, use `freehold keys recover`"
    )]
    NotLater,
    /// A phrase that is good for another record.
    #[error(
        "this recovery phrase is not the one that the domain's last record commits to: it may be that of an earlier key, or of another domain"
    )]
    OtherPhrase,
    /// Words that are not a recovery phrase.
    #[error("these words are not a recovery phrase: {0}")]
    Phrase(String),
}
