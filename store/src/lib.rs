//! Durable state of a domain over an ordered, transactional key space.
//!
//! Two layers: the [`engine`] keeps bytes under keys, atomically and durably;
//! the typed tables above it give those bytes a meaning. Nothing outside this
//! crate sees which engine is in use.

pub mod engine;
pub mod tables;

pub use engine::{
    BATCH_BYTES_MAX, BATCH_OPS_MAX, Batch, Commit, Engine, KEY_MAX, KeyRange, MemoryEngine, Order,
    Outcome, RESERVED_PREFIX, StoreError, VALUE_MAX,
    sled::{Config, ConfigError, SledEngine},
};
pub use tables::{Tables, keys::TopicKey};
