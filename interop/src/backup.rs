//! A copy of a stopped domain's data, to be brought back later.

use std::{fs, io, path::Path};

use crate::{Domain, Failure, Result};

/// What an operator copies; the rest of the folder does not change.
const PARTS: [&str; 2] = ["store", "files"];
/// Where the copy is, in the folder of the domain.
const COPY: &str = "backup";

impl Domain {
    /// Copies its data. It must be stopped.
    pub fn back_up(&self) -> Result<()> {
        let to = self.folder().join(COPY);
        self.replace(self.folder(), &to)?;
        self.timeline().act(self.name(), "its data is copied");
        Ok(())
    }

    /// Puts the copy in the place of its data. It must be stopped.
    pub fn bring_back(&self) -> Result<()> {
        let from = self.folder().join(COPY);
        self.replace(&from, self.folder())?;
        self.timeline()
            .fault(self.name(), "has its old data back, from the copy");
        Ok(())
    }

    fn replace(&self, from: &Path, to: &Path) -> Result<()> {
        let no = |error| Failure::harness(format!("copy the data of {}", self.name()), error);
        for part in PARTS {
            let target = to.join(part);
            if target.exists() {
                fs::remove_dir_all(&target).map_err(no)?;
            }
            copy(&from.join(part), &target).map_err(no)?;
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (entry, to) = (entry?, to.to_owned());
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
