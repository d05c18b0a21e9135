//! Measures a server that speaks the Tinode client protocol, as its clients meet it.
//!
//! Each scenario drives a server that was named or one that it starts, prints a table and writes one JSON
//! document. It reports; it never judges.

mod client;
mod frame;
mod machine;
mod people;
mod place;
mod report;
mod scenario;
mod talker;
mod tally;
mod tls;
mod yardstick;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{place::Where, report::Report};

/// What goes wrong is told in a sentence; nobody acts on the kind of it.
type Result<T> = std::result::Result<T, String>;

/// Makes load for a server that speaks the Tinode client protocol, and says what came of it.
#[derive(Debug, Parser)]
#[command(name = "freehold-bench")]
struct Arguments {
    #[command(flatten)]
    place: Where,
    /// Where the JSON document goes. Without it, to target/bench/ and the scenario's name.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    Idle(scenario::idle::Options),
    Yardstick(yardstick::Options),
    Publish(scenario::publish::Options),
    Fanout(scenario::fanout::Options),
    Online(scenario::online::Options),
    LoginStorm(scenario::login_storm::Options),
    Sync(scenario::sync::Options),
    History(scenario::history::Options),
    Mailbox(scenario::mailbox::Options),
    Mixed(scenario::mixed::Options),
    Federate(scenario::federate::Options),
}

impl Scenario {
    async fn run(&self, place: &Where) -> Result<Report> {
        match self {
            Self::Idle(options) => options.run(place).await,
            Self::Yardstick(options) => {
                let mut report = Report::new("yardstick");
                report.yardsticks.push(options.measure(place).await?);
                Ok(report)
            }
            Self::Publish(options) => options.run(place).await,
            Self::Fanout(options) => options.run(place).await,
            Self::Online(options) => options.run(place).await,
            Self::LoginStorm(options) => options.run(place).await,
            Self::Sync(options) => options.run(place).await,
            Self::History(options) => options.run(place).await,
            Self::Mailbox(options) => options.run(place).await,
            Self::Mixed(options) => options.run(place).await,
            Self::Federate(options) => options.run(place).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = arguments.scenario.run(&arguments.place).await;
    let published = done.and_then(|report| {
        let name = format!("{}.json", report.scenario);
        let file = arguments
            .json
            .unwrap_or_else(|| Path::new("target/bench").join(name));
        report.publish(&file)
    });
    match published {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            report::complain(&why);
            ExitCode::FAILURE
        }
    }
}
