//! What `federation` asks of this domain, done over its store: the outbox, the pins, and the door
//! through which other domains' words come in.

mod calls;
mod deletions;
mod evenly;
pub(crate) mod groups;
mod hasty;
mod known;
pub mod lives;
pub mod local;
pub mod operator;
pub mod outbox;
pub mod pins;
