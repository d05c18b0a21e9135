//! The suite on the command line: lists cases, plays them, prints a table and writes a report.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool speaks here and nowhere else"
)]

use std::{net::Ipv4Addr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use freehold_interop::{
    Case, Outside, Run, Target, Verdict, cases, play, play_outside, report, seed_from_environment,
    soak,
};
use freehold_proto::DomainName;

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
    /// Plays the cases whose name or number contains one of PATTERN, or all.
    Run {
        /// Part of a name or number.
        pattern: Vec<String>,
        /// Repeats a run; otherwise FREEHOLD_SEED, or a new seed.
        #[arg(long)]
        seed: Option<u64>,
        /// Where to write junit.xml and index.html.
        #[arg(long, value_name = "DIR")]
        report: Option<PathBuf>,
        /// A server that the suite did not start: DOMAIN=IP:PORT where other domains connect to, then
        /// ,client=IP:PORT where clients do, without TLS, and ,key=API_KEY. Several are used in that order.
        #[arg(long, value_name = "DOMAIN=…")]
        target: Vec<Target>,
        /// Of this machine, as targets reach it: the peers and their DNS server are there.
        #[arg(long, default_value = "127.0.0.1", requires = "target")]
        listen: Ipv4Addr,
        /// Where that DNS server answers.
        #[arg(long, default_value_t = 5391, requires = "target")]
        dns_port: u16,
        /// Behind the names of all peers.
        #[arg(long, default_value = "peers.test", requires = "target")]
        zone: DomainName,
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
            target,
            listen,
            dns_port,
            zone,
        } => {
            let outside = Outside {
                targets: target,
                ip: listen,
                dns_port,
                zone: zone.to_string(),
            };
            let outside = (!outside.targets.is_empty()).then_some(outside);
            run(chosen(&pattern), seed, report, outside.as_ref())
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
            None,
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

fn chosen(patterns: &[String]) -> Vec<Case> {
    let fits = |it: &&Case, part: &String| it.name.contains(part) || it.ids.contains(part);
    let all = cases::ALL.iter();
    let chosen = all.filter(|it| patterns.is_empty() || patterns.iter().any(|part| fits(it, part)));
    chosen.copied().collect()
}

fn run(
    chosen: Vec<Case>,
    seed: Option<u64>,
    folder: Option<PathBuf>,
    outside: Option<&Outside>,
) -> freehold_interop::Result<bool> {
    let seed = seed.map_or_else(seed_from_environment, Ok)?;
    if let Some(outside) = outside {
        println!("{}", outside.asks());
        outside.look()?.iter().for_each(|it| println!("{it}"));
    }
    println!("seed {seed}");
    let mut runs: Vec<Run> = Vec::new();
    for case in &chosen {
        let run = match outside {
            None => play(case, seed),
            Some(outside) => play_outside(case, seed, outside),
        };
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
