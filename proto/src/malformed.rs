//! The one error of this crate: bytes or text that do not say what they should.

/// Why something is not a well-formed name, id, record or envelope. Always the sender's fault.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// A domain name that is not in the one canonical form (PROTOCOL.md section 2).
    #[error("domain name {name:?} is not canonical: {why}")]
    Domain {
        /// The name as given, cut to a readable length.
        name: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A user, group, message or key id of the wrong form.
    #[error("{what} id {id:?} is not well formed")]
    Id {
        /// Which kind of id was expected.
        what: &'static str,
        /// The id as given, cut to a readable length.
        id: String,
    },
    /// A person's address that is not `local@domain`.
    #[error("{0:?} is not an address of the form name@domain")]
    Address(String),
    /// A URL that is not in the one form that is taken.
    #[error("{url:?} is not a plain URL: {why}")]
    Url {
        /// The URL as given, cut to a readable length.
        url: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A layout of fixed parts that ends early, goes on too long, or holds a wrong tag.
    #[error("{what} is malformed: {why}")]
    Layout {
        /// What was being read.
        what: &'static str,
        /// Which part is wrong.
        why: &'static str,
    },
    /// Bytes that are not the protobuf message they should be.
    #[error("{what} is not a valid protobuf message")]
    Protobuf {
        /// What was being read.
        what: &'static str,
    },
    /// A time outside the years 1970 to 9999.
    #[error("time {0} ms is outside the years 1970 to 9999")]
    Time(i64),
    /// Access letters other than `JRWPASDO` or `N`.
    #[error("{0:?} is not an access mode")]
    Access(String),
    /// More bytes than the protocol allows.
    #[error("{what} is larger than {max} bytes")]
    TooLarge {
        /// What was being read.
        what: &'static str,
        /// The limit in bytes.
        max: usize,
    },
}

/// Cuts text from outside to a length that is safe to log.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}
