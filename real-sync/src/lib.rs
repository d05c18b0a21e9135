//! sled asks Linux for `sync_file_range` where it wants its bytes on the disk, and goes on as if they were there.
//! They are not: that call starts the writing and leaves everything in the disk's own cache. After a power cut sled
//! then trusts parts of its log of which others are missing, and loses what was synced long before.
//!
//! So every program that this crate is linked into has its own `sync_file_range`, found by the linker before that
//! of the C library: one that waits until the disk has the file's data. It is the only unsafe code of the project
//! (docs/decisions/0045).

/// How often sled has waited for the disk in this process; on systems where it syncs by itself, always some.
#[must_use]
pub fn waits() -> u64 {
    imp::waits()
}

#[cfg(target_os = "linux")]
mod imp {
    use std::{
        ffi::{c_int, c_uint},
        sync::atomic::{AtomicU64, Ordering},
    };

    static WAITS: AtomicU64 = AtomicU64::new(0);

    pub(super) fn waits() -> u64 {
        WAITS.load(Ordering::Relaxed)
    }

    /// Takes the place of the C library's function of this name, with its signature. Whatever range is asked for,
    /// the whole file is synced: that is more than the caller wants, never less.
    #[expect(
        unsafe_code,
        reason = "a name for the linker, and a call of the C library with a descriptor as a number"
    )]
    #[unsafe(no_mangle)]
    extern "C" fn sync_file_range(
        file: c_int,
        _offset: libc::off64_t,
        _bytes: libc::off64_t,
        _flags: c_uint,
    ) -> c_int {
        WAITS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `fdatasync` takes any number; one that is no open file is answered with EBADF. Result and errno
        // mean the same in both functions.
        unsafe { libc::fdatasync(file) }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    // There sled calls `File::sync_all`.
    pub(super) fn waits() -> u64 {
        1
    }
}
