//! The suite for networks of several domains: starts real server processes, DNS servers and a proxy on
//! each way between two domains, lets people talk through them, breaks things, and judges what is left.
//!
//! It knows the server by its command line, its configuration file, the client protocol, the peer
//! protocol and DNS; of this project it uses only the words of `proto` and the signatures of `keys`. So
//! it can test a server that this project did not write, and talk with one that it did not start. A case is a function over a [`Stage`]; add one
//! per file to `cases/`. `interop/README.md` says how to run them.

mod backup;
mod binary;
pub mod cases;
mod chat;
mod client;
mod club;
mod config_file;
mod device;
mod disk;
mod dns;
mod failure;
mod frames;
mod growth;
mod hooks;
mod ledger;
mod network;
mod operator;
pub mod peer;
mod people;
mod play;
mod process;
mod proxy;
mod random;
pub mod report;
mod shown;
mod soak;
mod stage;
mod target;
mod timeline;
pub mod vectors;
mod writer;

pub use binary::{freehold_binary, has_hooks};
pub use cases::{Case, Need, case};
pub use chat::{Chat, Side};
pub use client::{Endpoint, Frame, FrameKind, Message, STOCK_API_KEY, Session};
pub use club::{Club, Member};
pub use config_file::ConfigFile;
pub use device::Device;
pub use disk::SmallDisk;
pub use dns::DnsServer;
pub use failure::{Failure, Result};
pub use frames::faults_of_frame;
pub use hooks::Hooks;
pub use ledger::{Entry, Ledger, judge};
pub use network::{Domain, Network, Waiting};
pub use operator::{Told, copy_keys, load_keys, phrase_in, row};
pub use peer::ScriptedPeer;
pub use people::{Person, meet};
pub use play::{Run, Verdict, play, play_outside, seed_from_environment};
pub use process::Process;
pub use proxy::{Proxy, Way};
pub use random::Random;
pub use shown::{Authority, Shown};
pub use soak::soak;
pub use stage::Stage;
pub use target::{Outside, Target};
pub use timeline::{Event, Kind, Timeline};
pub use writer::{Progress, Writer};
