//! Engines that a case can open, close and open again.

use std::sync::Arc;

use freehold_store::{Config, Engine, MemoryEngine, SledEngine, StoreError};
use tempfile::TempDir;

/// A place where a store lives.
pub(crate) trait Store {
    /// Opens what is there; the case must have closed it before.
    fn open(&mut self) -> Result<Arc<dyn Engine>, StoreError>;
}

pub(crate) struct Sled(TempDir);

impl Sled {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

impl Store for Sled {
    fn open(&mut self) -> Result<Arc<dyn Engine>, StoreError> {
        let config = Config::new(self.0.path(), 8 << 20, 256 << 20).unwrap();
        Ok(Arc::new(SledEngine::open(config)?))
    }
}

pub(crate) struct Memory(Option<Arc<MemoryEngine>>);

impl Memory {
    pub(crate) fn new() -> Self {
        Self(None)
    }
}

impl Store for Memory {
    fn open(&mut self) -> Result<Arc<dyn Engine>, StoreError> {
        let engine = match &self.0 {
            Some(former) => former.reopen()?,
            None => MemoryEngine::new(),
        };
        Ok(self.0.insert(Arc::new(engine)).clone())
    }
}
