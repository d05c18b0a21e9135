//! The Freehold domain server: clients on one side, other domains on the other, a store in between.
//! `docs/ARCHITECTURE.md` is the map.

pub mod accounts;
pub mod clock;
pub mod control;
mod domain;
pub mod edge;
pub mod files;
mod fnd;
pub mod limits;
mod listing;
pub mod mail;
mod me;
mod merge;
pub mod online;
mod operator;
mod packing;
pub mod peers;
pub mod plugins;
pub mod push;
mod rekey;
mod restore;
pub mod server;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod stage;
pub mod topic;

pub use accounts::AccountError;
pub use domain::{BuildError, Domain, Running, Shared};
pub use edge::front::{Disagreement, Front};
pub use operator::{Invitation, Trace};
pub use restore::{Restored, Without};
#[doc(hidden)]
pub use topic::measured;
