//! The address a person types: `alice@b.example`.

use std::{fmt, str::FromStr};

use crate::{DomainName, Malformed, malformed::excerpt};

/// A person's address. The domain is canonical; the local part is as typed, because only the
/// person's own domain knows whether it is a log-in name, whose case does not matter.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub struct Address {
    /// The part before the last `@`.
    pub local: String,
    /// The domain that knows the person.
    pub domain: DomainName,
}

impl Address {
    /// Longest local part, in bytes.
    pub const LOCAL_BYTES_MAX: usize = 96;
}

impl FromStr for Address {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = || Malformed::Address(excerpt(text));
        let (local, domain) = text.trim().rsplit_once('@').ok_or_else(refuse)?;
        let legal = |it: char| !it.is_whitespace() && !it.is_control() && !"@,:\"".contains(it);
        if local.is_empty() || local.len() > Self::LOCAL_BYTES_MAX || !local.chars().all(legal) {
            return Err(refuse());
        }
        Ok(Self {
            local: local.to_owned(),
            domain: DomainName::from_typed(domain)?,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_domain_is_lower_cased() {
        let address: Address = "Alice@B.Example".parse().unwrap();
        assert_eq!(address.to_string(), "Alice@b.example");
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "alice",
            "@b.example",
            "a b@b.example",
            "alice@b",
            "a:b@c.d",
            "a@b@c.d",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?} passed");
        }
    }
}
