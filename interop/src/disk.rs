//! A disk that is small enough to be filled.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{Failure, Result};

/// A file system of its own in memory, mounted over a folder; needs the right to mount. Gone when
/// dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB over a folder, which is made if there is none.
    pub fn mount(folder: &Path, mib: u64) -> Result<Self> {
        let no = |error| Failure::harness(format!("make {}", folder.display()), error);
        fs::create_dir_all(folder).map_err(no)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(folder)
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|it| it.success()) {
            return Ok(Self {
                folder: folder.to_owned(),
            });
        }
        let why = "a small disk: mounting one is not permitted";
        Err(Failure::NotHere(why.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Writes so many MiB beside what is there, or as many as there is room for.
    pub fn fill(&self, mib: u64) -> Result<()> {
        let mebibyte = vec![0_u8; 1024 * 1024];
        let file = fs::File::create(self.ballast());
        let mut file = file.map_err(|error| Failure::harness("fill a disk", error))?;
        for _ in 0..mib {
            if file.write_all(&mebibyte).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Takes it away again.
    pub fn empty(&self) -> Result<()> {
        fs::remove_file(self.ballast()).map_err(|error| Failure::harness("empty a disk", error))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server may still be using it: it goes when the last file is closed.
        let _gone = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}
