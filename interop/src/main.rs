//! The suite on the command line: lists cases, plays them, prints a table and writes a report.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool speaks here and nowhere else"
)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use freehold_interop::{Case, Run, Verdict, cases, play, report, seed_from_environment, soak};

/// Plays cases on networks of real servers.
#[derive(Debug, Parser)]
#[command(name = "freehold-interop")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Names every case and what it proves.
    List,
    /// Plays the cases whose name or number contains PATTERN, or all.
    Run {
        /// Part of a name or number.
        #[arg(default_value = "")]
        pattern: String,
        /// Repeats a run; otherwise FREEHOLD_SEED, or a new seed.
        #[arg(long)]
        seed: Option<u64>,
        /// Where to write junit.xml and index.html.
        #[arg(long, value_name = "DIR")]
        report: Option<PathBuf>,
    },
    /// Load and trouble for some minutes, then judges what is left.
    Soak {
        /// How many domains, from 2 to 8.
        #[arg(long, default_value_t = 5)]
        domains: usize,
        /// For how long.
        #[arg(long, default_value_t = 2)]
        minutes: u64,
        /// Repeats a run; otherwise FREEHOLD_SEED, or a new seed.
        #[arg(long)]
        seed: Option<u64>,
        /// Where to write junit.xml and index.html.
        #[arg(long, value_name = "DIR")]
        report: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::List => {
            for case in cases::ALL {
                println!("{:<10} {:<28} {}", case.ids, case.name, case.proves);
            }
            Ok(true)
        }
        Command::Run {
            pattern,
            seed,
            report,
        } => {
            let chosen = cases::ALL.iter().copied();
            let chosen =
                chosen.filter(|it| it.name.contains(&pattern) || it.ids.contains(&pattern));
            run(chosen.collect(), seed, report)
        }
        Command::Soak {
            domains,
            minutes,
            seed,
            report,
        } => run(
            vec![soak(domains, Duration::from_secs(60 * minutes))],
            seed,
            report,
        ),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(
    chosen: Vec<Case>,
    seed: Option<u64>,
    folder: Option<PathBuf>,
) -> freehold_interop::Result<bool> {
    let seed = seed.map_or_else(seed_from_environment, Ok)?;
    println!("seed {seed}");
    let mut runs: Vec<Run> = Vec::new();
    for case in &chosen {
        let run = play(case, seed);
        println!("{}", report::row(&run));
        if case.name == "soak" {
            run.line
                .figures()
                .iter()
                .for_each(|it| println!("    {it}"));
        }
        runs.push(run);
    }
    if runs.is_empty() {
        println!("no case is called like that");
    }
    if let Some(folder) = folder {
        report::write(&folder, &runs, seed)?;
        println!("the report is in {}", folder.join("index.html").display());
    }
    let failed = |it: &Run| matches!(it.verdict, Verdict::Failed(_));
    Ok(!runs.is_empty() && !runs.iter().any(failed))
}
