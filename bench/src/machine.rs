//! The machine, and what a process of it costs, as /proc tells.

use std::{collections::BTreeMap, fs};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use crate::Result;

/// Descriptors beside those of connections.
const OTHER_DESCRIPTORS: u64 = 200;

/// Where figures come from.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    processor: String,
    memory_gib: f64,
    kernel: String,
    /// Processes that ran or wanted to, over the last minute before: others share this machine.
    load: String,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let first = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text
                .lines()
                .find_map(|it| it.strip_prefix(name))
                .map(str::to_owned);
            line.unwrap_or_default()
        };
        let memory = first("/proc/meminfo", "MemTotal:");
        let memory = memory
            .split_whitespace()
            .next()
            .and_then(|it| it.parse::<f64>().ok());
        let processor = first("/proc/cpuinfo", "model name");
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            processor: processor.trim_start_matches(['\t', ' ', ':']).to_owned(),
            memory_gib: (memory.unwrap_or_default() / 1024.0 / 1024.0).round(),
            kernel: kernel.trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

/// Reads what a process has used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meter {
    id: u32,
}

impl Meter {
    pub(crate) fn of(id: u32) -> Self {
        Self { id }
    }

    /// Resident memory.
    pub(crate) fn resident_kib(self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.id);
        let status = read(&path)?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = rss.and_then(|it| it.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| format!("{path} does not tell VmRSS"))
    }

    /// Seconds of processor time, of all its threads, in the kernel too.
    pub(crate) fn cpu_seconds(self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.id);
        let stat = read(&path)?;
        // The name, which may hold anything, ends with the last parenthesis.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let mut times = fields.split_whitespace().skip(11);
        let mut next = || times.next().and_then(|it| it.parse::<u32>().ok());
        let (user, system) = (next(), next());
        let ticks = user
            .zip(system)
            .map(|(user, system)| f64::from(user) + f64::from(system));
        let ticks = ticks.ok_or_else(|| format!("{path} does not tell times"))?;
        let per_second = u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100);
        Ok(ticks / f64::from(per_second))
    }
}

/// What some processes use between two moments.
#[derive(Debug)]
pub(crate) struct Usage {
    meters: Vec<Meter>,
    cpu: f64,
}

impl Usage {
    pub(crate) fn begin(meters: impl IntoIterator<Item = Option<Meter>>) -> Result<Self> {
        let meters: Vec<_> = meters.into_iter().flatten().collect();
        let cpu = total(&meters, Meter::cpu_seconds)?;
        Ok(Self { meters, cpu })
    }

    /// Adds what has been used since; nothing where no process is known.
    pub(crate) fn end(
        &self,
        messages: f64,
        figures: &mut BTreeMap<&'static str, f64>,
    ) -> Result<()> {
        if self.meters.is_empty() {
            return Ok(());
        }
        let cpu = total(&self.meters, Meter::cpu_seconds)? - self.cpu;
        figures.insert("server_cpu_s", cpu);
        if messages > 0.0 {
            figures.insert("server_cpu_s_per_1000", cpu / messages * 1000.0);
        }
        let rss = total(&self.meters, Meter::resident_kib)?;
        figures.insert("server_resident_mib", rss / 1024.0);
        Ok(())
    }
}

fn total(meters: &[Meter], read: impl Fn(Meter) -> Result<f64>) -> Result<f64> {
    meters.iter().try_fold(0.0, |sum, it| Ok(sum + read(*it)?))
}

/// Makes room for so many connections in this process and those that it starts; says what is missing.
pub(crate) fn allow_connections(count: usize) -> Result<()> {
    let wanted = u64::try_from(count)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_DESCRIPTORS);
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|it| it >= wanted) {
        return Ok(());
    }
    let hard = now.maximum.map(|it| it.max(wanted));
    let raised = Rlimit {
        current: Some(wanted),
        maximum: hard,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| {
        let hard = now.maximum.map_or("none".to_owned(), |it| it.to_string());
        format!(
            "{count} connections need {wanted} open files, and the limit is {hard} ({error}): raise it \
             with `ulimit -Hn {wanted}` as root, or take fewer connections"
        )
    })
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_has_worked() {
        let meter = Meter::of(std::process::id());
        assert!(meter.resident_kib().unwrap() > 100.0);
        let before = meter.cpu_seconds().unwrap();
        let mut sum = 0_u64;
        while meter.cpu_seconds().unwrap() <= before {
            sum = (0..100_000).fold(sum, |sum, it| sum ^ it);
        }
    }
}
