//! Domains in one process, over real sockets on loopback.

mod delivery;
mod fake;
mod groups;
mod hostile;
mod stranger;
mod support;
