//! Plays a scenario on a fresh network and tells how it went.

use std::{env, fmt::Write as _};

use tokio::{runtime::Builder, time::timeout};

use crate::{Failure, Network, Random, Result, Scenario};

/// What a scenario has to work with.
#[derive(Debug)]
pub struct Stage {
    /// The domains.
    pub network: Network,
    /// Chance.
    pub random: Random,
    /// What is worth telling although all went well.
    pub notes: Vec<String>,
}

/// The seed in `FREEHOLD_SEED`, or a new one.
pub fn seed_from_environment() -> Result<u64> {
    match env::var("FREEHOLD_SEED") {
        Ok(text) => text
            .parse()
            .map_err(|error| Failure::harness(format!("use FREEHOLD_SEED={text}"), error)),
        Err(_) => {
            let bytes = freehold_keys::random::<4>();
            let bytes = bytes.map_err(|error| Failure::harness("choose a seed", error))?;
            Ok(u64::from(u32::from_le_bytes(bytes)))
        }
    }
}

/// Plays one scenario; returns its notes. A failure is told in full: what happened, how to repeat it, and what the
/// servers said last. With `FREEHOLD_KEEP` set, the folder with data and logs stays.
pub fn play(scenario: &Scenario, seed: u64) -> std::result::Result<Vec<String>, String> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("the harness could not start: {error}"))?;
    runtime.block_on(perform(scenario, seed))
}

async fn perform(scenario: &Scenario, seed: u64) -> std::result::Result<Vec<String>, String> {
    let no_network = |failure: Failure| format!("{}: {failure}", scenario.name);
    let network = Network::start(scenario.domains).await.map_err(no_network)?;
    let mut stage = Stage {
        network,
        random: Random::new(seed),
        notes: Vec::new(),
    };
    let played = timeout(scenario.within, (scenario.play)(&mut stage)).await;
    let result = played.unwrap_or_else(|_| {
        Err(Failure::Late {
            awaited: "the end of the scenario".to_owned(),
            after: scenario.within,
        })
    });
    match result {
        Ok(()) => Ok(stage.notes),
        Err(failure) => Err(report(scenario, seed, &failure, &mut stage.network)),
    }
}

fn report(scenario: &Scenario, seed: u64, failure: &Failure, network: &mut Network) -> String {
    let mut text = format!(
        "{name}: {failure}\nrepeat with: FREEHOLD_SEED={seed} cargo run -p freehold-interop -- run {name}\n{words}",
        name = scenario.name,
        words = network.last_words(),
    );
    if env::var_os("FREEHOLD_KEEP").is_some() {
        let folder = network.keep().display().to_string();
        write!(text, "\nkept: {folder}").expect("a string takes every text");
    }
    text
}
