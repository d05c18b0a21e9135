//! What happens to the network: cuts, silence, delays, kills, restarts, clocks that jump. Everything
//! that is broken is mended after a while.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{Random, Result, Stage, Way, growth::Growth};

/// Between two troubles.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(2500));
/// How long one lasts.
const LASTS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(6000));
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Clocks stay within an hour of each other.
const CLOCK_OFF_MAX: u64 = 25 * 60;
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// The troublemaker.
pub(super) struct Trouble {
    random: Random,
    repairs: Vec<(Instant, Repair)>,
    done: BTreeMap<&'static str, u32>,
}

enum Repair {
    Open(usize, usize),
    Start(usize),
}

impl Trouble {
    pub(super) fn new(random: &mut Random) -> Self {
        Self {
            random: Random::new(random.number()),
            repairs: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    /// Makes trouble for so long, then mends everything.
    pub(super) async fn make(
        &mut self,
        stage: &mut Stage,
        growth: &mut Growth,
        time: Duration,
    ) -> Result<()> {
        let end = Instant::now() + time;
        let (mut next, mut measure) = (self.after(PAUSE), Instant::now() + MEASURE_EVERY);
        while Instant::now() < end {
            let repair = self.repairs.iter().map(|(at, _)| *at).min();
            sleep_until(repair.map_or(next, |it| it.min(next)).min(end)).await;
            self.mend(stage, Instant::now()).await?;
            if Instant::now() >= next {
                self.make_one(stage).await?;
                next = self.after(PAUSE);
            }
            if Instant::now() >= measure {
                measure = Instant::now() + MEASURE_EVERY;
                for index in 0..stage.network.len() {
                    growth.measure(stage.network.domain(index)?)?;
                }
            }
        }
        self.mend(stage, end + LASTS.1).await?;
        stage.line.act("suite", "makes no more trouble");
        Ok(())
    }

    fn after(&mut self, (shortest, longest): (Duration, Duration)) -> Instant {
        Instant::now() + self.random.pause(shortest, longest)
    }

    async fn mend(&mut self, stage: &mut Stage, until: Instant) -> Result<()> {
        let all = std::mem::take(&mut self.repairs);
        let (due, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(at, _)| *at <= until);
        self.repairs = rest;
        for (_, repair) in due {
            match repair {
                Repair::Open(from, to) => stage.network.set_way(from, to, Way::Open)?,
                Repair::Start(index) => stage.network.domain(index)?.start().await?,
            }
        }
        Ok(())
    }

    async fn make_one(&mut self, stage: &mut Stage) -> Result<()> {
        match self.random.below(10) {
            0..=1 => self.end(stage, true).await,
            2 => self.end(stage, false).await,
            3 => self.move_a_clock(stage),
            4..=5 => self.disturb(stage, "cuts", Way::Cut),
            6 => self.disturb(stage, "silences", Way::Silent),
            7 => self.disturb(stage, "lost answers", Way::Deaf),
            8 => {
                let most = 1 + self.random.below(40_000);
                self.disturb(stage, "truncations", Way::Truncated(most))
            }
            _ => {
                let longest = Duration::from_millis(1 + self.random.below(300));
                self.disturb(stage, "delays", Way::Slow(longest))
            }
        }
    }

    /// Ends a server that runs, one way or the other.
    async fn end(&mut self, stage: &mut Stage, abruptly: bool) -> Result<()> {
        let index = self.random.index(stage.network.len());
        let is_down = |it: &(Instant, Repair)| matches!(it.1, Repair::Start(down) if down == index);
        if self.repairs.iter().any(is_down) {
            return Ok(());
        }
        let domain = stage.network.domain(index)?;
        if abruptly {
            domain.kill()?;
        } else {
            domain.stop(STOP_WITHIN).await?;
        }
        self.count(if abruptly { "kills" } else { "restarts" });
        let at = self.after(LASTS);
        self.repairs.push((at, Repair::Start(index)));
        Ok(())
    }

    fn move_a_clock(&mut self, stage: &mut Stage) -> Result<()> {
        let index = self.random.index(stage.network.len());
        let off = self.random.below(2 * CLOCK_OFF_MAX);
        let off = i64::try_from(off).unwrap_or(0) - i64::try_from(CLOCK_OFF_MAX).unwrap_or(0);
        self.count("clock jumps");
        stage.network.domain(index)?.set_clock(off)
    }

    fn disturb(&mut self, stage: &Stage, what: &'static str, way: Way) -> Result<()> {
        let count = stage.network.len();
        let from = self.random.index(count);
        let to = (from + 1 + self.random.index(count - 1)) % count;
        let both = self.random.below(2) == 0;
        let mended = self.after(LASTS);
        for (from, to) in [(from, to), (to, from)]
            .into_iter()
            .take(1 + usize::from(both))
        {
            stage.network.set_way(from, to, way)?;
            self.repairs.push((mended, Repair::Open(from, to)));
        }
        self.count(what);
        Ok(())
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    /// How much of what.
    pub(super) fn summary(&self) -> String {
        let parts = self
            .done
            .iter()
            .map(|(what, count)| format!("{count} {what}"));
        parts.collect::<Vec<_>>().join(", ")
    }
}
