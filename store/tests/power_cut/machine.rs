//! A machine whose power can be cut: an ext4 file system on a loop device on the disk that forgets.
//!
//! All of it is mounted in a namespace of this process alone, and the loop device goes with its mount. So
//! however the test ends, nothing stays behind.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tempfile::TempDir;

use crate::{disk::Disk, fuse};

/// Of the disk. It is sparse, and the store wants 256 MiB free.
const DISK_LEN: u64 = 3 << 30;
/// How often to look whether the kernel has let go of a disk or a mount, and how many times.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS: u32 = 2000;

/// The machine, off until it is mounted.
pub(crate) struct Machine {
    pub(crate) disk: Arc<Mutex<Disk>>,
    folder: TempDir,
}

impl Machine {
    /// A machine with an empty file system.
    pub(crate) fn new() -> io::Result<Self> {
        let folder = TempDir::new()?;
        let base = folder.path().join("base");
        File::create_new(&base)?.set_len(DISK_LEN)?;
        let options = "lazy_itable_init=0,lazy_journal_init=0";
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-E", options])
            .arg(&base))?;
        let base = OpenOptions::new().read(true).write(true).open(base)?;
        let disk = Arc::new(Mutex::new(Disk::new(base)));

        let file = folder.path().join("disk");
        File::create_new(&file)?;
        let device = fuse::device()?;
        let options = "fd=0,rootmode=100600,user_id=0,group_id=0";
        run(Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", options, "disk"])
            .arg(&file)
            .stdin(Stdio::from(device.try_clone()?)))?;
        let _ends_with_the_mount = fuse::serve(device, Arc::clone(&disk));
        fs::create_dir(folder.path().join("mounted"))?;
        Ok(Self { disk, folder })
    }

    /// Switches it on.
    pub(crate) fn mount(&self) -> io::Result<Mounted> {
        let folder = self.folder.path().join("mounted");
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop"])
            .arg(self.folder.path().join("disk"))
            .arg(&folder))?;
        Ok(Mounted {
            folder,
            disk: Arc::clone(&self.disk),
        })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        unmount(&self.folder.path().join("disk"));
    }
}

/// The file system of a machine that is on.
pub(crate) struct Mounted {
    folder: PathBuf,
    disk: Arc<Mutex<Disk>>,
}

impl Mounted {
    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder.join("store")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.folder);
        // The loop device lets go a little later; another mount must not find it.
        let is_free = until(|| self.disk.lock().opened == 0);
        assert!(is_free || thread::panicking(), "the disk is still in use");
    }
}

/// Who was killed may hold a mount a little longer.
fn unmount(folder: &Path) {
    let quiet = || {
        Command::new("umount")
            .arg(folder)
            .stderr(Stdio::null())
            .status()
    };
    if !until(|| quiet().is_ok_and(|it| it.success())) {
        let _goes_with_this_process = Command::new("umount").arg("-l").arg(folder).status();
    }
}

fn until(mut done: impl FnMut() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        let is_done = done();
        if !is_done {
            thread::sleep(LOOK_EVERY);
        }
        is_done
    })
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{command:?}: {said}")))
}

/// What is missing here for cutting the power, in words.
pub(crate) fn missing() -> Option<String> {
    if let Err(error) = fuse::device() {
        return Some(format!("/dev/fuse cannot be opened: {error}"));
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("there are no loop devices".to_owned());
    }
    let of_our_own = Command::new("unshare").args(["--mount", "true"]).output();
    if !of_our_own.is_ok_and(|it| it.status.success()) {
        return Some("mounting is not permitted: it takes root".to_owned());
    }
    let mkfs = Command::new("mkfs.ext4").arg("-V").output();
    if mkfs.is_err() {
        return Some("there is no mkfs.ext4".to_owned());
    }
    None
}
