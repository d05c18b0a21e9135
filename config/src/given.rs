//! A value as it stands in the file: there, not there, or of the wrong type.
//!
//! serde stops at the first value that does not fit; a [`Given`] never fails, so that the whole file
//! is read and every mistake can be told at once.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use toml::Value;

/// What the file gives for one key.
#[derive(Debug, Default)]
pub(crate) enum Given<T> {
    /// The key is not there.
    #[default]
    Nothing,
    /// A value of the right type.
    Value(T),
    /// A value of another type, as the name of that type.
    Wrong(&'static str),
}

/// Keys that nobody asked for.
pub(crate) type Unknown = BTreeMap<String, Value>;

impl<'de, T: Expected> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let found = value.type_str();
        Ok(T::deserialize(value).map_or(Self::Wrong(found), Self::Value))
    }
}

/// A type that can stand in the file.
pub(crate) trait Expected: for<'de> Deserialize<'de> {
    /// What a person calls it.
    const WORDS: &str;
}

impl Expected for String {
    const WORDS: &str = "a text in quotes";
}

impl Expected for bool {
    const WORDS: &str = "true or false";
}

impl Expected for u64 {
    const WORDS: &str = "a whole number, 0 or greater";
}

impl Expected for Vec<u64> {
    const WORDS: &str = "a list of whole numbers, 0 or greater";
}

impl Expected for Vec<String> {
    const WORDS: &str = "a list of texts in quotes";
}
