//! Access modes of the client protocol, `JRWPASDO` (client-protocol facts, section 3.4). They also
//! cross between domains, where `want` and `given` have different owners.

use std::{fmt, str::FromStr};

use crate::{Malformed, malformed::excerpt};

/// A set of rights in a topic.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Hash)]
pub struct AccessMode(u8);

const LETTERS: [(char, AccessMode); 8] = [
    ('J', AccessMode::JOIN),
    ('R', AccessMode::READ),
    ('W', AccessMode::WRITE),
    ('P', AccessMode::PRESENCE),
    ('A', AccessMode::APPROVE),
    ('S', AccessMode::SHARE),
    ('D', AccessMode::DELETE),
    ('O', AccessMode::OWNER),
];

impl AccessMode {
    /// No rights, `N`.
    pub const NONE: Self = Self(0);
    /// May join and attach.
    pub const JOIN: Self = Self(1);
    /// May read.
    pub const READ: Self = Self(2);
    /// May write.
    pub const WRITE: Self = Self(4);
    /// Gets presence.
    pub const PRESENCE: Self = Self(8);
    /// May approve others.
    pub const APPROVE: Self = Self(16);
    /// May invite others.
    pub const SHARE: Self = Self(32);
    /// May delete for everybody.
    pub const DELETE: Self = Self(64);
    /// Owns the topic.
    pub const OWNER: Self = Self(128);
    /// What a side of a one-to-one topic may hold at most, `JRWPA`.
    pub const ONE_TO_ONE: Self = Self(1 | 2 | 4 | 8 | 16);
    /// What somebody wants of a topic that a stranger at another domain opened, `JRPA`: stock
    /// clients show the invitation and the message.
    pub const INVITED: Self = Self(1 | 2 | 8 | 16);
    /// What a member of a group may do unless somebody decides otherwise, `JRWPS`.
    pub const GROUP: Self = Self(1 | 2 | 4 | 8 | 32);
    /// What the reader of a channel may hold, `JRP`.
    pub const READER: Self = Self(1 | 2 | 8);
    /// Rights in one's notes to self, `JRWDO`.
    pub const SAVED: Self = Self(1 | 2 | 4 | 64 | 128);
    /// Rights of an administrator in the reports, `JRWPD`.
    pub const REPORTS: Self = Self(1 | 2 | 4 | 8 | 64);
    /// Every right, `JRWPASDO`.
    pub const ALL: Self = Self(255);
    /// Rights on `me`, `JPS`.
    pub const ME: Self = Self(1 | 8 | 32);

    /// Rights in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Rights in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Rights in `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// True when every right of `other` is held.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// How `self` became `new`, as `+W-P`; empty when nothing changed.
    #[must_use]
    pub fn delta_to(self, new: Self) -> String {
        let mut text = String::new();
        let (added, lost) = (new.without(self), self.without(new));
        if added != Self::NONE {
            text.push_str(&format!("+{added}"));
        }
        if lost != Self::NONE {
            text.push_str(&format!("-{lost}"));
        }
        text
    }

    /// Applies what a client sent as `mode`: letters in any order, `N`, or a delta `+AS-D`. Empty
    /// text changes nothing.
    pub fn changed_by(self, text: &str) -> Result<Self, Malformed> {
        if !text.starts_with(['+', '-']) {
            return if text.is_empty() {
                Ok(self)
            } else {
                text.parse()
            };
        }
        let refuse = || Malformed::Access(excerpt(text));
        let mut mode = self;
        let mut adding = true;
        for letter in text.chars() {
            match letter {
                '+' => adding = true,
                '-' => adding = false,
                _ => {
                    let right = right_of(letter).ok_or_else(refuse)?;
                    mode = if adding {
                        mode.or(right)
                    } else {
                        mode.without(right)
                    };
                }
            }
        }
        Ok(mode)
    }
}

impl AccessMode {
    /// The rights that a peer names. Letters that a later version has are passed over: they are rights to
    /// something that there is not here. Fails without any letter, and on what is none.
    pub fn from_peer(text: &str) -> Result<Self, Malformed> {
        if text.is_empty() || !text.bytes().all(|it| it.is_ascii_alphabetic()) {
            return Err(Malformed::Access(excerpt(text)));
        }
        Ok(text.chars().filter_map(right_of).fold(Self::NONE, Self::or))
    }
}

fn right_of(letter: char) -> Option<AccessMode> {
    LETTERS
        .iter()
        .find(|(it, _)| *it == letter.to_ascii_uppercase())
        .map(|(_, right)| *right)
}

impl FromStr for AccessMode {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        if text.eq_ignore_ascii_case("N") {
            return Ok(Self::NONE);
        }
        let refuse = || Malformed::Access(excerpt(text));
        if text.is_empty() {
            return Err(refuse());
        }
        text.chars().try_fold(Self::NONE, |mode, letter| {
            right_of(letter)
                .map(|right| mode.or(right))
                .ok_or_else(refuse)
        })
    }
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("N");
        }
        let mut text = String::with_capacity(LETTERS.len());
        text.extend(
            LETTERS
                .iter()
                .filter(|(_, right)| self.has(*right))
                .map(|(letter, _)| letter),
        );
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn modes_read_in_any_order_and_print_in_one() {
        assert_eq!("PWRJ".parse::<AccessMode>().unwrap().to_string(), "JRWP");
        assert_eq!("N".parse::<AccessMode>().unwrap(), AccessMode::NONE);
        assert!("JX".parse::<AccessMode>().is_err());
        assert!("".parse::<AccessMode>().is_err());
    }

    #[test]
    fn letters_of_a_later_version_are_passed_over() {
        for (text, known) in [("JXRW", "JRW"), ("N", "N"), ("Z", "N"), ("jR", "JR")] {
            let mode = AccessMode::from_peer(text).unwrap();
            assert_eq!(mode.to_string(), known, "{text}");
        }
        for text in ["", "J R", "+J", "J1", "JÄ"] {
            assert!(AccessMode::from_peer(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_delta_leads_from_one_mode_to_the_other(from: u8, to: u8) {
            let (from, to) = (AccessMode(from), AccessMode(to));
            prop_assert_eq!(from.changed_by(&from.delta_to(to)).unwrap(), to);
            prop_assert_eq!(to.to_string().parse::<AccessMode>().unwrap(), to);
        }
    }
}
