//! A disk with a cache that forgets. It notes each write, each flush and each acknowledgement in the order in
//! which they came, so that it can be put into every state that a power cut at any of these moments may leave:
//! all that was flushed by then, and of what came later anything at all.

use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

use crate::load::{Heads, Random};

const BLOCK: usize = 4096;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;
/// Bytes noted of one life, after which the power is cut.
const NOTED_MAX: usize = 1 << 30;

/// What happened, in order.
pub(crate) enum Event {
    Written(u64, Vec<u8>),
    Flushed,
    Acknowledged(u64, u64),
}

/// A disk over a file that holds what is on it for good.
pub(crate) struct Disk {
    base: File,
    changed: HashMap<u64, Box<[u8; BLOCK]>>,
    noted: Vec<Event>,
    noted_bytes: usize,
    notes: bool,
    /// How often the kernel has it open.
    pub(crate) opened: u32,
    pub(crate) written: u64,
}

impl Disk {
    pub(crate) fn new(base: File) -> Self {
        Self {
            base,
            changed: HashMap::new(),
            noted: Vec::new(),
            noted_bytes: 0,
            notes: false,
            opened: 0,
            written: 0,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.base.metadata().unwrap().len()
    }

    pub(crate) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (block, at, range) in blocks(offset, len) {
            let part = &mut bytes[range];
            match self.changed.get(&block) {
                Some(changed) => part.copy_from_slice(&changed[at..at + part.len()]),
                None => {
                    let offset = block * BLOCK as u64 + at as u64;
                    self.base.read_exact_at(part, offset).unwrap();
                }
            }
        }
        bytes
    }

    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.put(offset, bytes);
        self.written += bytes.len() as u64;
        if self.notes {
            self.note(Event::Written(offset, bytes.to_vec()));
            self.noted_bytes += bytes.len();
            self.notes = self.noted_bytes < NOTED_MAX;
        }
    }

    pub(crate) fn flush(&mut self) {
        self.note(Event::Flushed);
    }

    pub(crate) fn acknowledged(&mut self, producer: u64, seq: u64) {
        self.note(Event::Acknowledged(producer, seq));
    }

    /// From now on everything is noted.
    pub(crate) fn begin(&mut self) {
        self.noted.clear();
        self.noted_bytes = 0;
        self.notes = true;
    }

    /// Later than this the power is not cut.
    pub(crate) fn end(&mut self) {
        self.notes = false;
    }

    /// What was noted between the two.
    pub(crate) fn take_noted(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.noted)
    }

    /// All that was written since the last call, or was chosen to survive, is on the disk for good.
    pub(crate) fn settle(&mut self) {
        for (block, bytes) in self.changed.drain() {
            let offset = block * BLOCK as u64;
            self.base.write_all_at(&bytes[..], offset).unwrap();
        }
    }

    /// Puts the disk into a state in which a cut behind these events may leave it.
    pub(crate) fn cut(&mut self, events: &[Event], random: &mut Random) -> Survivors {
        let survivors = Survivors::any(random);
        let is_flush = |it: &Event| matches!(it, Event::Flushed);
        let flushed = events.iter().rposition(is_flush).unwrap_or(0);
        self.changed.clear();
        for (index, event) in events.iter().enumerate() {
            let Event::Written(offset, bytes) = event else {
                continue;
            };
            match survivors {
                _ if index < flushed => self.put(*offset, bytes),
                Survivors::All => self.put(*offset, bytes),
                Survivors::None => {}
                Survivors::SomeWrites if random.within(0..=1) == 0 => self.put(*offset, bytes),
                Survivors::SomeWrites => {}
                // ext4's superblock has two sectors and one checksum: torn, there is no file system to look at.
                Survivors::SomeSectors if *offset < BLOCK as u64 => {
                    if random.within(0..=1) == 0 {
                        self.put(*offset, bytes);
                    }
                }
                Survivors::SomeSectors => {
                    for (at, sector) in (*offset..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
                        if random.within(0..=1) == 0 {
                            self.put(at, sector);
                        }
                    }
                }
            }
        }
        survivors
    }

    fn note(&mut self, event: Event) {
        if self.notes {
            self.noted.push(event);
        }
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) {
        for (block, at, range) in blocks(offset, bytes.len()) {
            let changed = self.changed.entry(block).or_insert_with(|| {
                let mut bytes = Box::new([0; BLOCK]);
                let offset = block * BLOCK as u64;
                self.base.read_exact_at(&mut bytes[..], offset).unwrap();
                bytes
            });
            changed[at..at + range.len()].copy_from_slice(&bytes[range]);
        }
    }
}

/// What was acknowledged before a cut behind these events.
pub(crate) fn acknowledged(events: &[Event], before: &Heads) -> Heads {
    let mut heads = before.clone();
    for event in events {
        if let Event::Acknowledged(producer, seq) = event {
            heads.insert(*producer, *seq);
        }
    }
    heads
}

/// What a cut leaves of that which was not flushed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Survivors {
    /// As an image of the disk copied at that moment.
    All,
    None,
    SomeWrites,
    SomeSectors,
}

impl Survivors {
    fn any(random: &mut Random) -> Self {
        match random.within(0..=3) {
            0 => Self::All,
            1 => Self::None,
            2 => Self::SomeWrites,
            _ => Self::SomeSectors,
        }
    }
}

/// The blocks of a span: which, where in it the span begins, and which part of the span is in it.
fn blocks(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let offset = offset + done as u64;
        let at = (offset % BLOCK as u64) as usize;
        let part = (BLOCK - at).min(len - done);
        done += part;
        (part > 0).then_some((offset / BLOCK as u64, at, done - part..done))
    })
}
