//! The numbered ways in which one domain says no to another (PROTOCOL.md section 9).
//!
//! A number is never reused and never changes its meaning.

use std::fmt;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal $text:literal,)+) => {
        /// Why a peer was refused.
        #[derive(Clone, Copy, Debug, Eq, PartialEq, Hash)]
        #[non_exhaustive]
        pub enum RefusalCode {
            $($(#[doc = $doc])+ $name,)+
            /// A number this version does not know: a newer peer said no.
            Unknown(u32),
        }

        impl RefusalCode {
            /// Every code this version knows, in number order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            #[must_use]
            pub fn number(self) -> u32 {
                match self {
                    $(Self::$name => $number,)+
                    Self::Unknown(number) => number,
                }
            }

            /// The code with this number.
            #[must_use]
            pub fn from_number(number: u32) -> Self {
                match number {
                    $($number => Self::$name,)+
                    _ => Self::Unknown(number),
                }
            }

            /// What it means, in a few words.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                    Self::Unknown(_) => "a reason this version does not know",
                }
            }
        }
    };
}

codes! {
    /// The bytes are not a message of this protocol.
    Malformed = 100 "malformed",
    /// No protocol version in common.
    UnsupportedVersion = 101 "protocol version not supported",
    /// Larger than the protocol allows.
    TooLarge = 102 "too large",
    /// A domain name that is not in canonical form.
    NameNotCanonical = 103 "domain name is not canonical",
    /// A call on a connection that has not said hello.
    HelloRequired = 110 "hello comes first",
    /// Hello to a domain that is not served here.
    WrongAudience = 111 "that domain is not served here",
    /// Hello whose signature does not prove the claimed domain on this connection.
    HelloUnproven = 112 "hello is not proven on this connection",
    /// The TLS key is not in the claimed domain's identity record.
    TlsKeyNotInRecord = 113 "TLS key is not in the domain's identity record",
    /// The claimed domain's identity record cannot be had, or fails its checks.
    IdentityUnverified = 114 "identity record cannot be verified",
    /// The local policy wants nothing to do with this domain.
    Denied = 115 "denied by policy",
    /// An envelope whose origin has not said hello on this connection.
    OriginNotAuthenticated = 120 "origin is not authenticated on this connection",
    /// An envelope or a call for somebody else.
    WrongDestination = 121 "not addressed to this domain",
    /// Signed by a key that is not valid in the origin's record.
    UnknownKey = 122 "signing key is not valid in the origin's record",
    /// The signature does not hold.
    BadSignature = 123 "signature does not hold",
    /// The payload is not the one that was signed.
    PayloadAltered = 124 "payload is not the one that was signed",
    /// A known message id with other content.
    Conflict = 125 "message id is taken by another message",
    /// Older than an envelope may be, or too far in the future.
    OutsideLifetime = 126 "issued too long ago or in the future",
    /// The person named as author is not of the origin domain.
    AuthorNotOfOrigin = 127 "author is not a user of the origin domain",
    /// The person named as recipient is not of this domain.
    RecipientNotHere = 128 "recipient is not a user of this domain",
    /// A kind of payload this version does not know.
    UnsupportedKind = 129 "kind of payload is not supported",
    /// An id inside the content lacks its domain.
    BareId = 130 "an id in the content lacks its domain",
    /// The sender may not write there.
    NotPermitted = 131 "not permitted in this topic",
    /// A group's request or message that came to a domain that is not its home.
    NotHome = 132 "not the home of this group",
    /// A group's log that contradicts itself or what came before.
    LogForked = 133 "the log of the group contradicts itself",
    /// Kept back until the recipient accepts the contact (comes with `later`).
    AwaitingConsent = 140 "waiting for the recipient's consent",
    /// Entries of a group's log are missing before this one (comes with `later`).
    EntriesMissing = 141 "entries before it are missing",
    /// Cannot be stored now (comes with `later`).
    Unavailable = 150 "temporarily unavailable",
    /// More than this domain lets a peer do (comes with `later`).
    RateLimited = 151 "too much at once",
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.number(), self.text())
    }
}

/// A coded no, with words for the people who read the logs on the other side.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("refused {code}: {detail}")]
pub struct Refusal {
    /// The number.
    pub code: RefusalCode,
    /// What exactly was wrong. Says nothing about people that the peer may not know.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its detail.
    #[must_use]
    pub fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
        }
    }
}

impl From<crate::Malformed> for Refusal {
    fn from(fault: crate::Malformed) -> Self {
        let code = match fault {
            crate::Malformed::Domain { .. } => RefusalCode::NameNotCanonical,
            crate::Malformed::TooLarge { .. } => RefusalCode::TooLarge,
            _ => RefusalCode::Malformed,
        };
        Self::new(code, fault.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_one_code_and_they_stand_in_order() {
        let numbers: Vec<u32> = RefusalCode::ALL.iter().map(|it| it.number()).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b));
        for &code in RefusalCode::ALL {
            assert_eq!(RefusalCode::from_number(code.number()), code);
        }
        assert_eq!(RefusalCode::from_number(9999), RefusalCode::Unknown(9999));
    }
}
