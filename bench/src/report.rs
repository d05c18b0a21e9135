//! The figures, as a table or as JSON. The only place that prints.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool speaks here and nowhere else"
)]

use serde::Serialize;

use crate::{
    machine::Alone,
    measure::{Latencies, Spread},
};

/// Everything measured in one run.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) messages: usize,
    pub(crate) window: usize,
    /// From alpha to beta.
    pub(crate) across: Latencies,
    /// Messages per second.
    pub(crate) across_rate: f64,
    /// Between two people of alpha.
    pub(crate) within: Latencies,
    /// Messages per second.
    pub(crate) within_rate: f64,
    #[serde(flatten)]
    pub(crate) machine: Option<Machine>,
}

/// Known only when the server was started here.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) demo_rss_kib: u64,
    pub(crate) demo_domains: usize,
    pub(crate) alone: Alone,
    pub(crate) binary_bytes: u64,
}

impl Figures {
    pub(crate) fn on(self, machine: Machine) -> Self {
        Self {
            machine: Some(machine),
            ..self
        }
    }

    /// How many times longer the way to another domain is, at the median.
    fn ratio(&self) -> f64 {
        self.across.delivered.p50 / self.within.delivered.p50
    }
}

/// Prints everything.
pub(crate) fn print(figures: &Figures, json: bool) {
    if json {
        match serde_json::to_string(figures) {
            Ok(line) => println!("{line}"),
            Err(error) => complain(&error.to_string()),
        }
        return;
    }
    println!(
        "{} messages, one at a time, in ms    p50      p99      max",
        figures.messages
    );
    row("pub to data, alpha to beta", figures.across.delivered);
    row("pub to data, within alpha", figures.within.delivered);
    row("pub to 202, alpha to beta", figures.across.acknowledged);
    row("pub to 202, within alpha", figures.within.acknowledged);
    println!("across to within, at p50: {:.1} times", figures.ratio());
    let (across, within) = (figures.across_rate, figures.within_rate);
    println!(
        "{} in flight: {across:.0}/s across, {within:.0}/s within",
        figures.window
    );
    if let Some(machine) = &figures.machine {
        print_machine(machine);
    }
}

fn row(what: &str, spread: Spread) {
    println!(
        "{what:<30} {:>8.2} {:>8.2} {:>8.2}",
        spread.p50, spread.p99, spread.max
    );
}

fn print_machine(machine: &Machine) {
    let demo = mib(machine.demo_rss_kib);
    println!(
        "demo of {} domains, after this: {demo:.1} MiB resident",
        machine.demo_domains
    );
    let idle = mib(machine.alone.rss_kib);
    println!(
        "one idle domain: {idle:.1} MiB resident, ready after {:.0} ms",
        machine.alone.start_ms
    );
    println!("executable: {:.1} MiB", mib(machine.binary_bytes / 1024));
}

fn mib(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

/// Says what went wrong.
pub(crate) fn complain(why: &str) {
    eprintln!("{why}");
}
