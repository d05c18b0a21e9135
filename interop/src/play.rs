//! Plays a case on a fresh network and tells how it went.

use std::{env, fmt::Write as _, time::Duration};

use tokio::{
    runtime::Builder,
    time::{Instant, timeout},
};

use crate::{
    Case, Failure, Need, Network, Outside, Random, Result, Stage, Timeline, freehold_binary,
    has_hooks, soak::repeated_by,
};

/// How a case ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// All that it states held.
    Passed,
    /// It did not, or could not be seen: the report for whoever looks into it.
    Failed(String),
    /// It was not played, for this reason.
    Skipped(String),
}

/// One run of a case.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which case.
    pub case: Case,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
    /// What happened.
    pub line: Timeline,
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

/// Plays one case. A failure is told in full: what happened, how to repeat it, and what the servers
/// said last. With `FREEHOLD_KEEP` set, the folder with data and logs stays.
#[must_use]
pub fn play(case: &Case, seed: u64) -> Run {
    // Building it takes longer than any case; what fails here fails again below, and is told there.
    let _built = freehold_binary();
    let no_hooks = !case.needs.contains(&Need::Hooks) || has_hooks();
    let why = "FREEHOLD_BIN names a server that is not known to have test hooks";
    let left_out = (!no_hooks).then(|| why.to_owned());
    run(case, (seed, None), left_out)
}

/// The same on servers that the suite did not start.
#[must_use]
pub fn play_outside(case: &Case, seed: u64, outside: &Outside) -> Run {
    run(case, (seed, Some(outside)), outside.leaves_out(case))
}

fn run(case: &Case, at: (u64, Option<&Outside>), left_out: Option<String>) -> Run {
    let line = Timeline::default();
    let begun = Instant::now();
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let verdict = match (left_out, runtime) {
        (Some(why), _) => Verdict::Skipped(why),
        (None, Ok(runtime)) => runtime.block_on(perform(case, at, line.clone())),
        (None, Err(error)) => Verdict::Failed(format!("the harness could not start: {error}")),
    };
    Run {
        case: *case,
        verdict,
        took: begun.elapsed(),
        line,
    }
}

async fn perform(case: &Case, (seed, outside): (u64, Option<&Outside>), line: Timeline) -> Verdict {
    line.note(format!("the seed is {seed}"));
    let network = match outside {
        None => Network::set_up(case.domains, seed, line.clone()).await,
        Some(outside) => Network::outside(outside, case.domains, line.clone()).await,
    };
    let network = match network {
        Ok(network) => network,
        Err(failure) => return Verdict::Failed(format!("{}: {failure}", case.name)),
    };
    let mut stage = Stage {
        network,
        random: Random::new(seed),
        line,
        within: case.within,
    };
    // On the heap: what a case does is a large thing to hold in one frame.
    let played = timeout(case.within, Box::pin((case.play)(&mut stage))).await;
    let result = played.unwrap_or_else(|_| {
        Err(Failure::Late {
            awaited: "the end of the case".to_owned(),
            after: case.within,
        })
    });
    match result {
        Ok(()) => Verdict::Passed,
        Err(Failure::NotHere(why)) => Verdict::Skipped(why),
        Err(failure) => {
            Verdict::Failed(report(case, (seed, outside), &failure, &mut stage.network))
        }
    }
}

fn report(
    case: &Case,
    (seed, outside): (u64, Option<&Outside>),
    failure: &Failure,
    network: &mut Network,
) -> String {
    let outside = outside.map(|it| format!(" {}", it.arguments()));
    let outside = outside.unwrap_or_default();
    let mut text = format!(
        "{name}: {failure}\nrepeat with: cargo run --release -p freehold-interop -- {command} --seed {seed}{outside}\n{words}",
        name = case.name,
        command = repeated_by(case).unwrap_or_else(|| format!("run {}", case.name)),
        words = network.last_words(),
    );
    if env::var_os("FREEHOLD_KEEP").is_some() {
        let folder = network.keep().display().to_string();
        write!(text, "\nkept: {folder}").expect("a string takes every text");
    }
    text
}
