//! What the servers take of memory and disk while they are used.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{Domain, Failure, Result, Stage, failure::expect};

/// What a server may come to by use alone, in KiB beside what it took before.
const MEMORY_KIB_MAX: u64 = 256 * 1024;
/// What the disk of a domain may grow by for each message of the whole soak, in bytes, beside its
/// preallocated files.
const DISK_BYTES_PER_MESSAGE: u64 = 16 * 1024;
const DISK_KIB_BASE: u64 = 64 * 1024;

/// By domain, the first and the last figures.
#[derive(Default)]
pub(crate) struct Growth {
    taken: BTreeMap<String, Taken>,
}

struct Taken {
    memory: (u64, u64),
    disk: (u64, u64),
}

impl Growth {
    /// Measures a domain that runs.
    pub(crate) fn measure(&mut self, domain: &mut Domain) -> Result<()> {
        let Some(process) = domain.process().map(|it| it.id()) else {
            return Ok(());
        };
        let Some(memory) = memory_kib(process) else {
            return Ok(()); // It has just ended.
        };
        let disk = disk_kib(domain.folder())?;
        let first = Taken {
            memory: (memory, memory),
            disk: (disk, disk),
        };
        let taken = self.taken.entry(domain.name().to_string()).or_insert(first);
        (taken.memory.1, taken.disk.1) = (memory, disk);
        Ok(())
    }

    /// Nothing has grown beyond what so many messages explain.
    pub(crate) fn judge(&mut self, stage: &mut Stage, messages: u64) -> Result<()> {
        for index in 0..stage.network.len() {
            self.measure(stage.network.domain(index)?)?;
        }
        for (name, taken) in &self.taken {
            let grown = |(first, last): (u64, u64)| last.saturating_sub(first);
            let (memory, disk) = (grown(taken.memory), grown(taken.disk));
            stage.line.note(format!(
                "{name}: memory {} to {} KiB, disk {} to {} KiB",
                taken.memory.0, taken.memory.1, taken.disk.0, taken.disk.1
            ));
            let disk_max = DISK_KIB_BASE + messages * DISK_BYTES_PER_MESSAGE / 1024;
            expect(memory <= MEMORY_KIB_MAX && disk <= disk_max, || {
                format!(
                    "{name} has grown by {memory} KiB of memory and {disk} KiB of disk over {messages} messages"
                )
            })?;
        }
        stage
            .line
            .held("all domains", "have not grown beyond what they keep");
        Ok(())
    }
}

/// What a folder takes, in KiB.
pub(crate) fn disk_kib(folder: &Path) -> Result<u64> {
    let no = |error| Failure::harness(format!("measure {}", folder.display()), error);
    let mut sum = 0;
    for entry in fs::read_dir(folder).map_err(no)? {
        let entry = entry.map_err(no)?;
        // What is gone meanwhile takes nothing.
        let Ok(about) = entry.metadata() else {
            continue;
        };
        sum += match about.is_dir() {
            true => disk_kib(&entry.path())?,
            false => about.len() / 1024,
        };
    }
    Ok(sum)
}

/// What a process has in memory, in KiB; none when it has gone.
pub(crate) fn memory_kib(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}
