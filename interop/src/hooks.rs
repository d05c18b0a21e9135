//! What a server is told that only one with the feature `test-hooks` understands.

use std::{fs, path::Path, process::Command};

use crate::{Failure, Result};

/// The file with the offset of the clock, in the folder of the domain.
const CLOCK_FILE: &str = "clock.offset";

/// The hooks of one domain, for its next starts.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// The point at which the process ends itself: `point` or `point:n` for the n-th time.
    pub kill_at: Option<String>,
    /// How many times faster time passes in what waits for a peer that is away.
    pub haste: Option<u32>,
}

impl Hooks {
    /// True when nothing is asked of the server but the clock, which stands right unless moved.
    pub(crate) fn put(&self, command: &mut Command, folder: &Path) {
        command.env("FREEHOLD_CLOCK_FILE", folder.join(CLOCK_FILE));
        if let Some(point) = &self.kill_at {
            command.env("FREEHOLD_KILL_AT", point);
        }
        if let Some(haste) = self.haste {
            command.env("FREEHOLD_HASTE", haste.to_string());
        }
    }
}

/// Sets the clock of the domain in `folder` so many milliseconds off, at once.
pub(crate) fn set_clock(folder: &Path, offset_ms: i64) -> Result<()> {
    let no = |error| Failure::harness("move a clock", error);
    // The server must never read half of it.
    let new = folder.join("clock.offset.new");
    fs::write(&new, offset_ms.to_string()).map_err(no)?;
    fs::rename(&new, folder.join(CLOCK_FILE)).map_err(no)
}
