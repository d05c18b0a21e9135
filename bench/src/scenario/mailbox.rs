//! A domain with a long past: what it takes on disk and in memory, how soon it is up again after a stop in good
//! order and after being killed, and how fast pages of old messages come.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    Result,
    machine::{Meter, allow_connections},
    people::come_in,
    place::{Own, Place, Where},
    report::{Report, progress},
    scenario::{Load, float, history::fill, publish::pairs},
    talker::{Action, Crowd, Habits},
    tally::Times,
    yardstick::rate,
};
use tokio::time::{Duration, Instant, sleep};

/// What is written behind what was acknowledged goes on for a moment.
const SETTLE: Duration = Duration::from_secs(5);
/// A domain is at rest when it takes less than this share of a core over that time.
const AT_REST: f64 = 0.02;
/// How often it is looked whether it is: half an hour.
const LOOKS_MAX: u32 = 360;

/// Conversations of two are filled; then the domain is stopped, started, killed and started again, and all
/// ask for pages from anywhere in the past.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Conversations.
    #[arg(long, default_value_t = 50)]
    conversations: usize,
    /// Messages in all of them together.
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    #[command(flatten)]
    load: Load,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("mailbox");
        report.set("conversations", self.conversations);
        report.set("messages", self.messages);
        let load = self.load.at_rate(200);
        load.note(&mut report);
        allow_connections(self.conversations * 2)?;
        let own = place.own("alpha.test")?;
        let again = self.write(&own, &mut report).await?;
        self.weigh(&own, &mut report)?;
        let domain = opened(&own, "ready_after_stop", &mut report).await?;
        drop(domain);
        let domain = opened(&own, "ready_after_kill", &mut report).await?;
        self.look_back(&domain, load, &again, &mut report).await?;
        Ok(report)
    }

    /// Fills the conversations and stops the domain in good order; with what everybody comes in again.
    async fn write(&self, own: &Own, report: &mut Report) -> Result<Vec<(String, String)>> {
        let (_, domain) = own.open().await?;
        let mut people = Vec::new();
        for (person, topic) in pairs(&domain, self.conversations).await? {
            people.push((person.token, topic, person.session));
        }
        let begun = Instant::now();
        let again = fill(people, self.messages, self.load.bytes).await?;
        let filled = rate(self.messages as u64, begun.elapsed());
        report.figures.insert("filled_per_s", filled);
        rest(&domain, report).await?;
        resident(&domain, "resident_mib_when_filled", report)?;
        let begun = Instant::now();
        domain.stop().await?;
        let took = begun.elapsed().as_secs_f64();
        report.figures.insert("stop_s", took);
        progress("everything is written, and the domain has stopped");
        Ok(again)
    }

    fn weigh(&self, own: &Own, report: &mut Report) -> Result<()> {
        let bytes = size(own.folder()).map_err(|it| it.to_string())?;
        let each = rate(bytes, Duration::from_secs(1)) / float(self.messages);
        report.figures.insert("disk_bytes_per_message", each);
        Ok(())
    }

    async fn look_back(
        &self,
        domain: &Place,
        load: Load,
        again: &[(String, String)],
        report: &mut Report,
    ) -> Result<()> {
        let length = u32::try_from(self.messages / self.conversations.max(1)).unwrap_or(u32::MAX);
        let (mut crowd, mut clockwork) = (Crowd::new(), load.clockwork());
        for (token, topic) in again {
            let mut person = come_in(domain, None, "token", token).await?;
            let sub = json!({ "topic": topic });
            person.session.request("sub", sub).await?;
            let (pace, places) = load.pace(&mut clockwork);
            let habits = Habits {
                pace,
                credit: load.by_answer(places),
                actions: vec![Action::Search(0, length)],
                ..Habits::silent()
            };
            crowd.add(person.session, vec![topic.clone()], habits);
        }
        load.run((crowd, clockwork), 0, [domain.meter], report)
            .await?;
        report.figures.remove("acknowledged_per_s");
        Ok(())
    }
}

/// Starts the domain on what it has; notes how long that took and its memory a little later.
async fn opened(own: &Own, name: &'static str, report: &mut Report) -> Result<Place> {
    let (time, domain) = own.open().await?;
    let ready = Times::default();
    ready.note(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    report.times_ms.extend(ready.spread().map(|it| (name, it)));
    sleep(SETTLE).await;
    resident(&domain, "resident_mib_when_opened", report)?;
    Ok(domain)
}

/// Waits until the domain has done what it does in the background; notes how long that took.
pub(super) async fn rest(domain: &Place, report: &mut Report) -> Result<()> {
    let Some(meter) = domain.meter else {
        return Ok(());
    };
    let begun = Instant::now();
    for _ in 0..LOOKS_MAX {
        let before = meter.cpu_seconds()?;
        sleep(SETTLE).await;
        if meter.cpu_seconds()? - before < SETTLE.as_secs_f64() * AT_REST {
            let rested = begun.elapsed().as_secs_f64();
            report.figures.insert("at_rest_after_s", rested);
            return Ok(());
        }
    }
    Err("the domain does not come to rest".to_owned())
}

pub(super) fn resident(domain: &Place, name: &'static str, report: &mut Report) -> Result<()> {
    let kib = domain.meter.map(Meter::resident_kib).transpose()?;
    report.figures.extend(kib.map(|it| (name, it / 1024.0)));
    Ok(())
}

/// Bytes of all files in a folder.
fn size(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        bytes += match kind.is_dir() {
            true => size(&entry.path())?,
            false => kind.len(),
        };
    }
    Ok(bytes)
}
