//! Where a demonstration keeps its domains: a folder that stays, or one that goes with it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use freehold_keys::random;
use freehold_proto::DomainName;

use crate::commands::{CommandError, while_doing};

/// A folder that only we can read.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// The folder asked for, or a fresh temporary one.
    pub(super) fn new(asked: Option<PathBuf>) -> Result<Self, CommandError> {
        let temporary = asked.is_none();
        let path = match asked {
            Some(path) => path,
            None => {
                let name = format!("freehold-demo-{:016x}", u64::from_ne_bytes(random()?));
                std::env::temp_dir().join(name)
            }
        };
        make(&path)?;
        Ok(Self { path, temporary })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one domain.
    pub(super) fn domain(&self, name: &DomainName) -> Result<PathBuf, CommandError> {
        let path = self.path.join(name.as_str());
        make(&path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "not removed");
        }
    }
}

fn make(path: &Path) -> Result<(), CommandError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(while_doing(format!(
            "The folder {} cannot be made",
            path.display()
        )))
}
