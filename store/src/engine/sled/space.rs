//! Stops writing before the disk is full, because a store on a full disk cannot
//! even be opened again.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::StoreError;

/// Asks the file system how many bytes are available under a path.
pub(super) type Probe = Box<dyn Fn(&Path) -> io::Result<u64> + Send>;

/// How many groups may pass between two looks; the least floor depends on it.
const GROUPS_BETWEEN_LOOKS: u32 = 32;

/// How long an answer of the file system may be used: others fill disks too.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The writer's view of the free space on the store's disk.
pub(super) struct Space {
    path: PathBuf,
    floor: u64,
    probe: Probe,
    last: Option<Look>,
}

struct Look {
    at: Instant,
    groups_since: u32,
    available: u64,
}

impl Space {
    pub(super) fn new(path: PathBuf, floor: u64, probe: Probe) -> Self {
        Self {
            path,
            floor,
            probe,
            last: None,
        }
    }

    /// Refuses unless `extra` bytes can be written now without touching the floor.
    pub(super) fn require(&mut self, extra: u64) -> Result<(), StoreError> {
        let available = (self.probe)(&self.path)?;
        ensure(available, self.floor.saturating_add(extra))
    }

    /// Refuses a group while the disk is below the floor.
    pub(super) fn admit_group(&mut self) -> Result<(), StoreError> {
        if !self.last.as_ref().is_some_and(Look::is_fresh) {
            self.last = Some(Look {
                at: Instant::now(),
                groups_since: 0,
                available: (self.probe)(&self.path)?,
            });
        }
        let look = self.last.as_mut().expect("set above if it was not");
        look.groups_since += 1;
        ensure(look.available, self.floor)
    }
}

impl Look {
    fn is_fresh(&self) -> bool {
        self.groups_since < GROUPS_BETWEEN_LOOKS && self.at.elapsed() < LOOK_EVERY
    }
}

fn ensure(available: u64, needed: u64) -> Result<(), StoreError> {
    if available < needed {
        return Err(StoreError::Full { available, needed });
    }
    Ok(())
}
