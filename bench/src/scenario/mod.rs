//! The runs: who does what to the server, and what is measured.

pub(crate) mod fanout;
pub(crate) mod federate;
pub(crate) mod history;
pub(crate) mod idle;
pub(crate) mod login_storm;
pub(crate) mod mailbox;
pub(crate) mod mixed;
pub(crate) mod online;
pub(crate) mod publish;
pub(crate) mod sync;

use std::sync::Arc;

use tokio::{
    sync::Semaphore,
    time::{Duration, sleep},
};

use crate::{
    Result,
    machine::{Meter, Usage},
    report::Report,
    talker::{Clockwork, Credit, Crowd, Pace},
    yardstick::rate,
};

/// Not measured: caches are cold and topics are not loaded.
const WARM_UP: Duration = Duration::from_secs(2);

/// How much and how long.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Load {
    /// Messages per second, of all together, at fixed times. Without it each client writes when there is a
    /// place for it.
    #[arg(long)]
    rate: Option<u32>,
    /// Messages that each client may have under way. Not with --rate.
    #[arg(long, default_value_t = 1)]
    window: usize,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Bytes of content.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
}

impl Load {
    /// The same at fixed times, at this rate if none was asked for.
    fn at_rate(self, rate: u32) -> Self {
        let rate = Some(self.rate.unwrap_or(rate));
        Self { rate, ..self }
    }

    fn note(&self, report: &mut Report) {
        match self.rate {
            Some(rate) => report.set("rate", rate),
            None => report.set("window", self.window),
        }
        report.set("seconds", self.seconds);
        report.set("bytes", self.bytes);
    }

    /// What makes clients write at fixed times; nothing where they write when there is a place.
    fn clockwork(&self) -> Option<Clockwork> {
        self.rate.map(Clockwork::new)
    }

    /// When one more client writes, and its places.
    fn pace(&self, clockwork: &mut Option<Clockwork>) -> (Pace, Arc<Semaphore>) {
        let places = Arc::new(Semaphore::new(self.window));
        let pace = match clockwork {
            None => Pace::Closed(Arc::clone(&places)),
            Some(clockwork) => clockwork.pace(),
        };
        (pace, places)
    }

    /// Who gives the places back, when it is the answer.
    fn by_answer(&self, places: Arc<Semaphore>) -> Credit {
        match self.rate {
            None => Credit::Answer(places),
            Some(_) => Credit::None,
        }
    }

    /// Lets a crowd write, and reports: the rate, the times, the costs. Each message arrives at so many.
    async fn run(
        &self,
        (mut crowd, clockwork): (Crowd, Option<Clockwork>),
        copies: u64,
        meters: impl IntoIterator<Item = Option<Meter>>,
        report: &mut Report,
    ) -> Result<()> {
        if let Some(clockwork) = clockwork {
            crowd.wind_up(clockwork);
        }
        sleep(WARM_UP).await;
        let usage = Usage::begin(meters)?;
        crowd.tally.open();
        let length = Duration::from_secs(self.seconds);
        sleep(length).await;
        crowd.tally.close();
        let messages = crowd.tally.acknowledged_in_window();
        usage.end(rate(messages, Duration::from_secs(1)), &mut report.figures)?;
        crowd.hush(copies).await;
        let tally = crowd.end().await;
        report
            .figures
            .insert("acknowledged_per_s", rate(messages, length));
        report.take(&tally);
        Ok(())
    }
}

/// A count as a number to reckon with.
fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
