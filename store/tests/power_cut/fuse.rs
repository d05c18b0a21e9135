//! The disk as a file: a file system of one file in FUSE, over which a loop device lies. So every write and
//! every flush that the kernel asks of the device comes by here, in order.
//!
//! Only what the kernel asks of one open file is answered; numbers and layouts are those of
//! `linux/fuse.h`, protocol 7.31.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    sync::Arc,
    thread::{self, JoinHandle},
};

use bytes::{Buf, BufMut};
use parking_lot::Mutex;

use crate::disk::Disk;

const GETATTR: u32 = 3;
const FORGET: u32 = 2;
const SETATTR: u32 = 4;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FSYNC: u32 = 20;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const NOT_IMPLEMENTED: i32 = -38;
const FILE_MODE: u32 = 0o100_600;
/// ASYNC_READ, BIG_WRITES and MAX_PAGES.
const FLAGS: u32 = 1 | 1 << 5 | 1 << 22;
const WRITE_MAX: u32 = 1 << 20;
/// For a request of that size with its headers.
const REQUEST_MAX: usize = (1 << 20) + (64 << 10);

/// The side of the disk that the kernel speaks to; `mount` is given another handle to it.
pub(crate) fn device() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open("/dev/fuse")
}

/// Answers the kernel until the disk is unmounted.
pub(crate) fn serve(mut device: File, disk: Arc<Mutex<Disk>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut request = vec![0; REQUEST_MAX];
        loop {
            match device.read(&mut request) {
                Ok(len) => {
                    if let Some(answer) = answer(&request[..len], &disk) {
                        // A request that the kernel has given up is not waited for.
                        let _gone = device.write(&answer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Unmounted.
                Err(_) => return,
            }
        }
    })
}

fn answer(mut request: &[u8], disk: &Mutex<Disk>) -> Option<Vec<u8>> {
    request.advance(size_of::<u32>());
    let opcode = request.get_u32_ne();
    let unique = request.get_u64_ne();
    // Node, user, group, process, extensions.
    request.advance(24);
    let body = match opcode {
        FORGET | INTERRUPT | BATCH_FORGET => return None,
        INIT => Ok(hello()),
        GETATTR | SETATTR => Ok(attributes(disk.lock().len())),
        OPEN => {
            disk.lock().opened += 1;
            Ok(handle())
        }
        READ => {
            let (offset, len) = span(&mut request);
            let disk = disk.lock();
            let len = len.min(disk.len().saturating_sub(offset) as usize);
            Ok(disk.read(offset, len))
        }
        WRITE => {
            let (offset, len) = span(&mut request);
            disk.lock().write(offset, &request[..len]);
            let mut written = vec![0; 8];
            written[..4].copy_from_slice(&(len as u32).to_ne_bytes());
            Ok(written)
        }
        FSYNC => {
            disk.lock().flush();
            Ok(Vec::new())
        }
        // Closing is no promise, so it flushes nothing.
        FLUSH => Ok(Vec::new()),
        RELEASE => {
            disk.lock().opened -= 1;
            Ok(Vec::new())
        }
        STATFS => Ok(vec![0; 80]),
        _ => Err(NOT_IMPLEMENTED),
    };
    let (error, body) = body.map_or_else(|error| (error, Vec::new()), |body| (0, body));
    let mut answer = Vec::with_capacity(16 + body.len());
    answer.put_u32_ne(16 + body.len() as u32);
    answer.put_i32_ne(error);
    answer.put_u64_ne(unique);
    answer.put_slice(&body);
    Some(answer)
}

/// Offset and length of a read or a write; goes on to the data.
fn span(request: &mut &[u8]) -> (u64, usize) {
    request.advance(size_of::<u64>());
    let offset = request.get_u64_ne();
    let len = request.get_u32_ne();
    request.advance(20);
    (offset, len as usize)
}

fn hello() -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    // Version, and how far to read ahead.
    for number in [7, 31, 1 << 17, FLAGS] {
        body.put_u32_ne(number);
    }
    // Requests in the background, and from how many on they are too many.
    body.put_u16_ne(16);
    body.put_u16_ne(12);
    body.put_u32_ne(WRITE_MAX);
    body.put_u32_ne(1);
    body.put_u16_ne((WRITE_MAX / 4096) as u16);
    body.resize(64, 0);
    body
}

/// Nothing is cached above the disk: what it holds changes when the power is cut.
fn handle() -> Vec<u8> {
    const DIRECT_IO: u32 = 1;
    let mut body = Vec::with_capacity(16);
    body.put_u64_ne(0);
    body.put_u32_ne(DIRECT_IO);
    body.put_u32_ne(0);
    body
}

fn attributes(len: u64) -> Vec<u8> {
    let mut body = Vec::with_capacity(104);
    // Valid for an hour: nobody else changes it.
    body.put_u64_ne(3600);
    body.put_u64_ne(0);
    for number in [1, len, len / 512, 0, 0, 0] {
        body.put_u64_ne(number);
    }
    // Parts of seconds, mode, links, user, group, device, block size, flags.
    for number in [0, 0, 0, FILE_MODE, 1, 0, 0, 0, 4096, 0] {
        body.put_u32_ne(number);
    }
    body
}
