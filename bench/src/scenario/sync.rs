//! Somebody with many conversations comes back.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::json;

use crate::{
    Result,
    machine::Usage,
    people::{self, arrive, come_in},
    place::{Place, Where},
    report::Report,
    scenario::float,
    tally::{Times, now},
};

/// Somebody with many conversations connects, logs in with a token and asks for all that a client asks for.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// With so many people.
    #[arg(long, default_value_t = 1000)]
    conversations: usize,
    /// How often.
    #[arg(long, default_value_t = 100)]
    times: usize,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("sync");
        report.set("conversations", self.conversations);
        report.set("times", self.times);
        let domain = place.place().await?;
        let subject = arrive(&domain).await?;
        people::many(self.conversations, |_| write_to(&domain, &subject.id)).await?;
        let (came_in, whole) = (Times::default(), Times::default());
        let usage = Usage::begin([domain.meter])?;
        for _ in 0..self.times {
            let begun = now();
            let mut again = come_in(&domain, None, "token", &subject.token).await?;
            came_in.note(now() - begun);
            let asked = now();
            let get = json!({"topic": "me", "get": {"what": "sub desc tags cred"}});
            let id = again.session.ask("sub", get).await?;
            // A long list comes in several frames.
            let found = AtomicUsize::new(0);
            let whole_list = again.session.wait(|frame| {
                let rows = frame["meta"]["sub"].as_array()?;
                let ours = frame["meta"]["id"] == id;
                let before = found.fetch_add(if ours { rows.len() } else { 0 }, Relaxed);
                (ours && before + rows.len() >= self.conversations).then_some(())
            });
            whole_list.await.map_err(|why| format!("the list: {why}"))?;
            whole.note(now() - asked);
        }
        usage.end(float(self.times), &mut report.figures)?;
        if let Some(cpu) = report.figures.get("server_cpu_s").copied() {
            report
                .figures
                .insert("server_cpu_ms_per_sync", cpu / float(self.times) * 1000.0);
        }
        report
            .times_ms
            .extend(came_in.spread().map(|it| ("connected_to_logged_in", it)));
        report
            .times_ms
            .extend(whole.spread().map(|it| ("asked_to_list", it)));
        Ok(report)
    }
}

/// Somebody new writes to a person once, and goes.
async fn write_to(domain: &Place, id: &str) -> Result<()> {
    let mut person = arrive(domain).await?;
    person.session.request("sub", json!({"topic": id})).await?;
    let hello = json!({"topic": id, "noecho": true, "content": "hello"});
    person.session.request("pub", hello).await?;
    Ok(())
}
