//! A domain with nobody in it.

use tokio::time::{Duration, sleep};

use crate::{Result, machine::Meter, place::Where, report::Report, scenario::float, tally::Times};

/// Before memory is read and time is counted.
const SETTLE: Duration = Duration::from_secs(3);

/// A domain that nobody uses: how soon it is ready, what it takes.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// How often it is started.
    #[arg(long, default_value_t = 7)]
    starts: usize,
    /// Seconds over which its processor time is counted.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("idle");
        report.set("starts", self.starts);
        report.set("seconds", self.seconds);
        let own = place.own("alone.test")?;
        let ready = Times::default();
        let mut running = None;
        for _ in 0..self.starts.max(1) {
            drop(running.take());
            let (time, server) = own.begin().await?;
            ready.note(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
            running = Some(server);
        }
        let server = running.ok_or("it was never started")?;
        let meter = Meter::of(server.id());
        sleep(SETTLE).await;
        let before = meter.cpu_seconds()?;
        sleep(Duration::from_secs(self.seconds)).await;
        let cpu = meter.cpu_seconds()? - before;
        let seconds = float(usize::try_from(self.seconds).unwrap_or(usize::MAX));
        report.figures.insert("cpu_percent", cpu / seconds * 100.0);
        report
            .figures
            .insert("resident_mib", meter.resident_kib()? / 1024.0);
        let bytes = usize::try_from(own.binary_bytes()?).unwrap_or(usize::MAX);
        report
            .figures
            .insert("binary_mib", float(bytes) / 1024.0 / 1024.0);
        report
            .times_ms
            .extend(ready.spread().map(|it| ("ready", it)));
        Ok(report)
    }
}
