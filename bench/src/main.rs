//! Measures how long a message takes from one domain to another, and what a server costs.
//!
//! Speaks only the public client protocol, so `--network` can point it at any Tinode server. It
//! reports; it never judges.

mod client;
mod machine;
mod measure;
mod network;
mod people;
mod report;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser};

use crate::{
    machine::Demo,
    measure::{Latencies, latencies, throughput},
    network::Network,
    people::{Resident, chat},
    report::{Figures, Machine},
};

/// What goes wrong is told in a sentence; nobody acts on the kind of it.
type Result<T> = std::result::Result<T, String>;

/// Measures message latency, throughput, memory and start-up time.
#[derive(Debug, Parser)]
#[command(name = "freehold-bench")]
struct Arguments {
    #[command(flatten)]
    target: Target,
    /// Messages measured one at a time.
    #[arg(long, default_value_t = 1000)]
    messages: usize,
    /// Messages on their way at once when throughput is measured.
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Prints one line of JSON instead of the table.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// The server's executable: starts its `demo`, and measures the machine's side too.
    #[arg(long, value_name = "FREEHOLD")]
    demo: Option<PathBuf>,
    /// A file with the line that `freehold demo --json` prints, `-` for standard input.
    #[arg(long, value_name = "FILE")]
    network: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(figures) => {
            report::print(&figures, arguments.json);
            ExitCode::SUCCESS
        }
        Err(why) => {
            report::complain(&why);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Figures> {
    match (&arguments.target.demo, &arguments.target.network) {
        (Some(binary), _) => {
            let demo = Demo::start(binary).await?;
            let messages = exchange(&demo.network, arguments).await?;
            let demo_rss_kib = machine::resident_kib(demo.id())?;
            let domains = demo.network.domains.len();
            drop(demo);
            let machine = Machine {
                demo_rss_kib,
                demo_domains: domains,
                alone: machine::measure_alone(binary).await?,
                binary_bytes: machine::size(binary)?,
            };
            Ok(messages.on(machine))
        }
        (None, Some(file)) => exchange(&Network::read(file)?, arguments).await,
        (None, None) => Err("either --demo or --network is needed".to_owned()),
    }
}

/// Everything that takes only clients.
async fn exchange(network: &Network, arguments: &Arguments) -> Result<Figures> {
    let [alpha, beta] = network.first_two()?;
    let alice = Resident::of(alpha)?;
    let (across, across_rate) = between(&alice, &Resident::of(beta)?, arguments).await?;
    let neighbour = Resident::newcomer(alpha)?;
    let (within, within_rate) = between(&alice, &neighbour, arguments).await?;
    Ok(Figures {
        messages: arguments.messages,
        window: arguments.window,
        across,
        across_rate,
        within,
        within_rate,
        machine: None,
    })
}

async fn between(
    writer: &Resident<'_>,
    reader: &Resident<'_>,
    arguments: &Arguments,
) -> Result<(Latencies, f64)> {
    let mut chat = chat(writer, reader).await?;
    let one_by_one = latencies(&mut chat, arguments.messages).await?;
    let rate = throughput(&mut chat, arguments.messages, arguments.window).await?;
    Ok((one_by_one, rate))
}
