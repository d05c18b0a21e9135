//! The client protocol over gRPC: a listener of its own, one session for each `MessageLoop`, and files
//! without a session.
//!
//! The messages are those of `proto/schema/client.proto`. They are read and written here, not by the
//! gRPC library: what cannot be read gets a `{ctrl}` with 400 as over WebSocket, and a frame for many
//! is encoded once. COMPAT fact sheet, section 2.1, "gRPC oddities".

mod asking;
mod calls;
mod codec;
mod conversation;
mod download;
mod listener;
mod reading;
#[cfg(test)]
mod tests;
mod upload;
mod writing;

pub(super) use asking::{level, message_for};
pub(crate) use codec::BytesCodec;
pub use listener::serve;
pub(crate) use reading::read;
pub(super) use reading::read_message;
pub(crate) use writing::data_of;
pub(super) use writing::message_of;
