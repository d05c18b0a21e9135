//! What a run found, as a table and as one JSON document. The only place that prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks here and nowhere else"
)]

use std::{collections::BTreeMap, fs, path::Path};

use serde::Serialize;
use serde_json::Value;

use crate::{
    Result,
    machine::Machine,
    tally::{Spread, Tally},
    yardstick::Yardstick,
};

/// One run of one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    pub(crate) settings: BTreeMap<&'static str, Value>,
    machine: Machine,
    /// Times in ms, from when something was due.
    pub(crate) times_ms: BTreeMap<&'static str, Spread>,
    /// The unit is in the name.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// Before and after the run.
    pub(crate) yardsticks: Vec<Yardstick>,
    pub(crate) errors: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            settings: BTreeMap::new(),
            machine: Machine::new(),
            times_ms: BTreeMap::new(),
            figures: BTreeMap::new(),
            yardsticks: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Notes what was chosen for the run.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.settings.insert(name, value.into());
    }

    /// Takes over what was counted.
    pub(crate) fn take(&mut self, tally: &Tally) {
        let times = [
            ("acknowledged", &tally.acknowledged),
            ("delivered", &tally.delivered),
            ("history_page", &tally.paged),
            ("generator_late", &tally.late),
        ];
        for (name, times) in times {
            self.times_ms.extend(times.spread().map(|it| (name, it)));
        }
        self.errors.extend(tally.errors());
    }

    /// The mean of the yardsticks.
    pub(crate) fn yard(&self, of: impl Fn(&Yardstick) -> f64) -> Option<f64> {
        let count = u32::try_from(self.yardsticks.len())
            .ok()
            .filter(|it| *it > 0)?;
        Some(self.yardsticks.iter().map(of).sum::<f64>() / f64::from(count))
    }

    /// Prints the table and writes the document.
    pub(crate) fn publish(&self, file: &Path) -> Result<()> {
        self.print();
        let text = serde_json::to_string_pretty(self).map_err(|it| it.to_string())?;
        let fault = |error| format!("{}: {error}", file.display());
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(fault)?;
        }
        fs::write(file, text + "\n").map_err(fault)
    }

    fn print(&self) {
        let settings: Vec<_> = self
            .settings
            .iter()
            .map(|(name, it)| format!("{name} {it}"))
            .collect();
        println!("== {}: {}", self.scenario, settings.join(", "));
        if !self.times_ms.is_empty() {
            println!(
                "{:<26}{:>9}{:>10}{:>10}{:>10}{:>10}",
                "ms", "count", "p50", "p90", "p99", "max"
            );
        }
        for (name, it) in &self.times_ms {
            let Spread {
                count,
                p50,
                p90,
                p99,
                max,
            } = it;
            println!("{name:<26}{count:>9}{p50:>10.2}{p90:>10.2}{p99:>10.2}{max:>10.2}");
        }
        for (name, figure) in &self.figures {
            println!("{name:<36}{figure:>12.3}");
        }
        for it in &self.yardsticks {
            println!(
                "yardstick: engine {:.0}/s; fdatasync {:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
                it.engine_per_s, it.syncs_per_s, it.sync_ms.p50, it.sync_ms.p99
            );
        }
        for (what, count) in &self.errors {
            println!("ERROR {count} x {what}");
        }
        if self.errors.keys().any(|it| it.starts_with("503")) {
            println!(
                "503 is the server holding back: a limit that one person, conversation or address meets. For a \
                 server of your own set that limit to [0, 0] while you measure, or take more people."
            );
        }
    }
}

/// Says how far preparations are.
pub(crate) fn progress(what: &str) {
    eprintln!("{what}");
}

/// Says what went wrong.
pub(crate) fn complain(why: &str) {
    eprintln!("{why}");
}
