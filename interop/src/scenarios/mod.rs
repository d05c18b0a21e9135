//! The scenarios: one file each, listed here, each with a test of the same name in `tests/`.

mod kill_at_random;
mod peer_down;
mod tokens_survive;

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::{Result, Stage};

/// Something that must hold in a network, whatever happens to it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What must hold, as a sentence. Cases of the conformance list are named by number.
    pub promise: &'static str,
    /// The domains it needs, started before it begins.
    pub domains: &'static [&'static str],
    /// Time it may take.
    pub within: Duration,
    /// What happens.
    pub play: for<'a> fn(&'a mut Stage) -> LocalBoxFuture<'a, Result<()>>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    tokens_survive::SCENARIO,
    peer_down::SCENARIO,
    kill_at_random::SCENARIO,
];

/// The scenario of this name.
#[must_use]
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|it| it.name == name)
}
