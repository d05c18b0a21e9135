//! The client edge: WebSocket, long polling and gRPC on the outside, requests and frames of the client
//! protocol on the inside. Ids are global behind it and local in front of it; `ids` is the one place
//! between.

mod account;
mod apikey;
pub(crate) mod behind;
#[cfg(test)]
mod behind_tests;
mod connection;
pub mod encoding;
pub mod entrance;
mod entry;
pub(crate) mod files;
mod finding;
pub mod frames;
pub mod front;
pub mod grpc;
mod hello;
pub mod http;
pub mod ids;
mod judged;
mod longpoll;
mod meeting;
mod origin;
mod own;
mod pace;
mod refusal;
pub mod reply;
pub mod requests;
pub mod session;
pub mod times;
pub mod tls;
mod websocket;

pub(crate) use grpc::BytesCodec;
