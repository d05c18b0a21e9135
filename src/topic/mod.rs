//! Conversations: the rules as plain values, and the task that runs one topic.
//!
//! `one_to_one` and `room` decide; `conversation` is what they have in common; `storage` and `message`
//! translate to rows; `actor` owns a loaded topic and makes decisions durable before anybody is told;
//! `asked` serves our clients (`access_pair` and `access_room` where they change who may do what,
//! `deletion`, `aux`), `crossing` other domains, `query` answers questions, `catching_up` whoever did not keep up, `notify` tells people, `told` plugins; `hub` finds
//! the actor.

mod access_pair;
mod access_room;
mod actor;
mod asked;
mod attached;
mod aux;
mod call;
mod call_abroad;
pub(crate) mod catching_up;
mod command;
pub(crate) mod conversation;
mod crossing;
mod deletion;
mod deletion_abroad;
mod erase;
mod feed_copy;
mod feed_home;
mod group_history;
mod group_home;
mod group_invited;
mod group_join;
mod group_marks;
mod group_out;
mod group_pull;
mod group_replica;
mod group_takeover;
mod group_transfer;
mod group_wire;
pub mod hub;
mod listed;
pub(crate) mod log;
#[doc(hidden)]
pub mod measured;
pub(crate) mod message;
mod name;
mod notify;
mod notify_room;
pub mod one_to_one;
mod places;
mod progress;
mod pushed;
mod query;
pub mod room;
mod room_copy;
mod room_tags;
mod sent;
pub mod standing;
pub(crate) mod storage;
pub(crate) mod succession;
mod told;

pub use call::CallEvent;
pub use command::{Command, Founding, Incoming, TopicRequest};
pub(crate) use command::{Invited, Letter, Placing, Words};
pub(crate) use crossing::CONSENT_RETRY;
pub(crate) use feed_copy::{ChannelCard, look_up as look_up_channel, meet as meet_channel};
pub(crate) use feed_home::{channel_past, channel_state};
pub(crate) use group_history::page as group_past;
pub(crate) use group_home::state as group_state;
pub(crate) use group_takeover::watch as watch_homes;
pub(crate) use group_transfer::nobody_of;
pub(crate) use group_wire::{steps, title};
pub(crate) use listed::{listed_state, may_be_found, meet as meet_group};
pub use name::TopicName;
pub(crate) use name::channel_name;
pub(crate) use places::marked_order;
pub(crate) use query::{in_frames, parts};
pub(crate) use succession::is_successor;
