//! Domains in one process, over real sockets on loopback.

mod delivery;
mod fake;
mod files;
mod groups;
mod hostile;
mod rates;
mod stranger;
mod support;
