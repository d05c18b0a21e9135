//! Long conversations, and people who look back in them.

use std::sync::Arc;

use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant, sleep},
};

use crate::{
    Result,
    client::Session,
    frame::filler,
    machine::allow_connections,
    people::come_in,
    place::Where,
    report::{Report, progress},
    scenario::{
        Load,
        mailbox::{resident, rest},
        publish::pairs,
    },
    talker::{Action, Credit, Crowd, Habits, Pace},
    yardstick::rate,
};

/// Messages of each writer that are under way while conversations are filled.
const FILL_WINDOW: usize = 16;
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Conversations of two are filled with messages; then all ask for pages from anywhere in them.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Conversations.
    #[arg(long, default_value_t = 10)]
    conversations: usize,
    /// Messages in all of them together.
    #[arg(long, default_value_t = 50_000)]
    messages: usize,
    #[command(flatten)]
    load: Load,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("history");
        let load = self.load.at_rate(200);
        report.set("conversations", self.conversations);
        report.set("messages", self.messages);
        load.note(&mut report);
        allow_connections(self.conversations * 2)?;
        let domain = place.place().await?;
        let people = pairs(&domain, self.conversations).await?;
        let begun = Instant::now();
        let mut talkers = Vec::new();
        for (person, topic) in people {
            talkers.push((person.token, topic, person.session));
        }
        let length = u32::try_from(self.messages / self.conversations.max(1)).unwrap_or(u32::MAX);
        let again = fill(talkers, self.messages, self.load.bytes).await?;
        report
            .figures
            .insert("filled_per_s", rate(self.messages as u64, begun.elapsed()));
        rest(&domain, &mut report).await?;
        resident(&domain, "resident_mib_when_filled", &mut report)?;
        let (mut crowd, mut clockwork) = (Crowd::new(), load.clockwork());
        for (token, topic) in again {
            let mut person = come_in(&domain, None, "token", &token).await?;
            person
                .session
                .request("sub", json!({"topic": topic}))
                .await?;
            let (pace, places) = load.pace(&mut clockwork);
            let habits = Habits {
                pace,
                credit: load.by_answer(places),
                actions: vec![Action::Search(0, length)],
                ..Habits::silent()
            };
            crowd.add(person.session, vec![topic], habits);
        }
        load.run((crowd, clockwork), 0, [domain.meter], &mut report)
            .await?;
        report.figures.remove("acknowledged_per_s");
        if let Some(pages) = report.times_ms.get("history_page") {
            let seconds = Duration::from_secs(load.seconds);
            report
                .figures
                .insert("pages_per_s", rate(pages.count, seconds));
        }
        Ok(report)
    }
}

/// Writes until all is there; with what everybody comes in again, and where they write.
pub(super) async fn fill(
    people: Vec<(String, String, Session)>,
    messages: usize,
    bytes: usize,
) -> Result<Vec<(String, String)>> {
    let (mut crowd, mut again) = (Crowd::new(), Vec::new());
    let filler = filler(bytes).into();
    for (token, topic, session) in people {
        let places = Arc::new(Semaphore::new(FILL_WINDOW));
        let habits = Habits {
            pace: Pace::Closed(Arc::clone(&places)),
            credit: Credit::Answer(places),
            actions: vec![Action::Say(0)],
            receipts: false,
            counts: true,
            filler: Arc::clone(&filler),
        };
        crowd.add(session, vec![topic.clone()], habits);
        again.push((token, topic));
    }
    let (wanted, mut told) = (messages as u64, 0);
    while crowd.tally.arrived() < wanted {
        sleep(LOOK_EVERY).await;
        if crowd.tally.arrived() >= told + wanted / 4 {
            told = crowd.tally.arrived();
            progress(&format!("{told} messages are there"));
        }
        if let Some((why, _)) = crowd.tally.errors().into_iter().next() {
            return Err(format!("filling failed: {why}"));
        }
    }
    crowd.hush(1).await;
    crowd.end().await;
    Ok(again)
}
