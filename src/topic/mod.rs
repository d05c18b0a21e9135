//! Conversations: the rules as plain values, and the task that runs one topic.
//!
//! `one_to_one` decides; `storage` and `message` translate to rows; `actor` owns a loaded topic and
//! makes decisions durable before anybody is told; `asked` serves our clients, `crossing` other
//! domains, `query` answers questions, `notify` tells; `hub` finds the actor.

mod actor;
mod asked;
mod command;
mod crossing;
mod erase;
pub mod hub;
pub(crate) mod message;
mod notify;
pub mod one_to_one;
mod query;
pub(crate) mod storage;

pub use command::{Command, Incoming, TopicRequest};
pub(crate) use crossing::CONSENT_RETRY;
pub(crate) use query::parts;
