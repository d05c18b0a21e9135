//! The suite on the command line: lists scenarios, plays them, prints a table.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool speaks here and nowhere else"
)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use freehold_interop::{Scenario, play, scenarios, seed_from_environment};
use tokio::time::Instant;

/// Plays scenarios on networks of real servers.
#[derive(Debug, Parser)]
#[command(name = "freehold-interop")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Names every scenario and what it promises.
    List,
    /// Plays the scenarios whose name contains PATTERN, or all.
    Run {
        /// Part of a name.
        #[arg(default_value = "")]
        pattern: String,
        /// Repeats a run; otherwise FREEHOLD_SEED, or a new seed.
        #[arg(long)]
        seed: Option<u64>,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => {
            for scenario in scenarios::ALL {
                println!("{:<20} {}", scenario.name, scenario.promise);
            }
            ExitCode::SUCCESS
        }
        Command::Run { pattern, seed } => run(&pattern, seed),
    }
}

fn run(pattern: &str, seed: Option<u64>) -> ExitCode {
    let seed = match seed.map_or_else(seed_from_environment, Ok) {
        Ok(seed) => seed,
        Err(failure) => {
            println!("{failure}");
            return ExitCode::FAILURE;
        }
    };
    let chosen = scenarios::ALL.iter().filter(|it| it.name.contains(pattern));
    let results: Vec<_> = chosen.map(|it| run_one(it, seed)).collect();
    if results.is_empty() {
        println!("no scenario is called like {pattern:?}");
    }
    if !results.is_empty() && results.iter().all(|good| *good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_one(scenario: &Scenario, seed: u64) -> bool {
    let begun = Instant::now();
    let result = play(scenario, seed);
    let word = if result.is_ok() { "ok" } else { "FAILED" };
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{:<20} {word:<6} {seconds:>7.1} s  seed {seed}",
        scenario.name
    );
    match &result {
        Ok(notes) => notes.iter().for_each(|note| println!("    {note}")),
        Err(report) => println!("{report}"),
    }
    result.is_ok()
}
