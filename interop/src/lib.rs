//! The suite for networks of several domains: starts real server processes and a DNS server, lets
//! people talk through them, breaks things, and judges what is left.
//!
//! It knows the server by its command line, its configuration file, the client protocol and DNS; of
//! this project it uses only the words of `proto` and the signatures of `keys`. So it can test a
//! server that this project did not write. A scenario is a function over a [`Stage`]; add one per
//! file to `scenarios/`.

mod binary;
mod client;
mod config_file;
mod dns;
mod failure;
mod frames;
mod ledger;
mod network;
mod people;
mod play;
mod process;
mod random;
pub mod scenarios;
mod writer;

pub use binary::freehold_binary;
pub use client::{Endpoint, Frame, FrameKind, Message, STOCK_API_KEY, Session};
pub use config_file::ConfigFile;
pub use dns::DnsServer;
pub use failure::{Failure, Result};
pub use frames::faults_of_frame;
pub use ledger::{Entry, Ledger, judge};
pub use network::{Domain, Network};
pub use people::{Person, meet};
pub use play::{Stage, play, seed_from_environment};
pub use process::Process;
pub use random::Random;
pub use scenarios::{Scenario, scenario};
pub use writer::{Progress, Writer};
