//! Domains in one process, over real sockets on loopback.

mod delivery;
mod fake;
mod files;
mod groups;
mod hostile;
mod rates;
mod stranger;
mod support;
#[expect(
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a vector that cannot be read fails its test"
)]
mod vectors;
