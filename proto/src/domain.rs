//! The DNS name of a domain, in the only form that may stand on the wire.

use std::{fmt, str::FromStr, sync::Arc};

use crate::malformed::{Malformed, excerpt};

/// A canonical domain name: lower-case A-labels, at least two, no trailing dot, no port, no IP
/// literal (PROTOCOL.md section 2).
///
/// Anything else is refused, never normalised: two names are the same domain exactly when their
/// bytes are the same. Cheap to clone.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct DomainName(Arc<str>);

impl DomainName {
    /// The longest name DNS can carry, in bytes.
    pub const BYTES_MAX: usize = 253;

    /// Takes a name that a *person* typed, who may use capitals. Never for bytes from the wire.
    pub fn from_typed(text: &str) -> Result<Self, Malformed> {
        text.trim().to_ascii_lowercase().parse()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True when `self` is `other` or lies below it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(&*other.0)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for DomainName {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        match fault_of(text) {
            None => Ok(Self(text.into())),
            Some(why) => Err(Malformed::Domain {
                name: excerpt(text),
                why,
            }),
        }
    }
}

/// The first rule that `text` breaks.
fn fault_of(text: &str) -> Option<&'static str> {
    if text.len() > DomainName::BYTES_MAX {
        return Some("it is longer than 253 bytes");
    }
    if !text.contains('.') {
        return Some("it has only one label");
    }
    if text.split('.').any(str::is_empty) {
        return Some("it has an empty label or a trailing dot");
    }
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some("it has capitals");
    }
    if text.split('.').any(|label| label.len() > 63) {
        return Some("a label is longer than 63 bytes");
    }
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.split('.').all(|label| label.bytes().all(legal)) {
        return Some("it has characters other than a-z, 0-9 and -");
    }
    if text
        .split('.')
        .any(|label| label.starts_with('-') || label.ends_with('-'))
    {
        return Some("a label starts or ends with -");
    }
    let last_is_number = text
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if last_is_number {
        return Some("it looks like an IP address");
    }
    None
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_names_pass_unchanged() {
        for name in [
            "alpha.test",
            "a.b",
            "xn--bcher-kva.example",
            "x-1.y2.example",
        ] {
            assert_eq!(name.parse::<DomainName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn every_other_form_is_refused() {
        let long = format!("{}.test", "a".repeat(64));
        for name in [
            "",
            "localhost",
            "Alpha.test",
            "alpha.TEST",
            "alpha.test.",
            ".alpha.test",
            "alpha..test",
            "alpha.test:6269",
            "alpha.test/x",
            "127.0.0.1",
            "[::1]",
            "-a.test",
            "a-.test",
            "a_b.test",
            "bücher.example",
            " alpha.test",
            &long,
            &"a.".repeat(127),
        ] {
            assert!(name.parse::<DomainName>().is_err(), "{name:?} passed");
        }
    }

    #[test]
    fn people_may_type_capitals() {
        assert_eq!(
            DomainName::from_typed(" Beta.TEST ").unwrap().as_str(),
            "beta.test"
        );
    }

    #[test]
    fn a_sub_domain_lies_within() {
        let base: DomainName = "b.example".parse().unwrap();
        assert!(
            "a.b.example"
                .parse::<DomainName>()
                .unwrap()
                .is_within(&base)
        );
        assert!(base.is_within(&base));
        assert!(!"ab.example".parse::<DomainName>().unwrap().is_within(&base));
    }

    proptest! {
        #[test]
        fn what_passes_is_stable_under_a_second_check(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<DomainName>() {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert_eq!(DomainName::from_typed(&text).unwrap(), name);
            }
        }
    }
}
