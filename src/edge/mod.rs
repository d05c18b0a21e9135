//! The client edge: WebSocket, long polling and gRPC on the outside, requests and frames of the client
//! protocol on the inside. Ids are global behind it and local in front of it; `ids` is the one place between.

mod apikey;
mod connection;
pub mod encoding;
mod entry;
pub mod frames;
pub mod grpc;
mod hello;
pub mod http;
pub mod ids;
mod longpoll;
pub mod reply;
pub mod requests;
pub mod session;
pub mod times;
mod websocket;
