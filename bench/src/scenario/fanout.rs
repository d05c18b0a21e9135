//! One group, all of whose members are here, and somebody who writes to it.

use std::{pin::pin, sync::Arc};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant, sleep, timeout},
};

use crate::{
    Result,
    client::{PATIENCE, Session},
    frame::{Frame, filler, publish},
    machine::{Usage, allow_connections},
    people,
    place::{Place, Where},
    report::{Report, progress},
    scenario::float,
    talker::{Credit, Crowd, Habits, Pace},
    tally::{Tally, Times, now},
};

/// Messages before those that count.
const WARM_UP: usize = 2;
/// For what follows the last message: everybody is told who has read it.
const AFTERMATH: Duration = Duration::from_secs(5);

/// One message after the other to all members of a group, who have it open.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Members beside the one who writes.
    #[arg(long, default_value_t = 1000)]
    members: usize,
    /// Messages that count.
    #[arg(long, default_value_t = 20)]
    messages: usize,
    /// Bytes of content.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Members say of each message that it came and that they have read it, as stock clients do.
    #[arg(long)]
    receipts: bool,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("fanout");
        report.set("members", self.members);
        report.set("messages", self.messages);
        report.set("bytes", self.bytes);
        report.set("receipts", self.receipts);
        allow_connections(self.members)?;
        let domain = place.place().await?;
        let mut founder = people::named(&domain).await?;
        let group = people::found(&mut founder.session).await?;
        // Who founds a group is told of everybody who joins, and is not here for it.
        drop(founder.session);
        let came = Arc::new(Semaphore::new(0));
        let mut crowd = Crowd::new();
        self.gather(&domain, &group, &came, &mut crowd).await?;
        let writer = people::come_in(&domain, None, "token", &founder.token);
        let mut founder = writer.await?.session;
        founder.request("sub", json!({"topic": group})).await?;
        for _ in 0..WARM_UP {
            self.say(&mut founder, &group, &came, None).await?;
        }
        let (whole, begun) = (Times::default(), Instant::now());
        let usage = Usage::begin([domain.meter])?;
        crowd.tally.open();
        for _ in 0..self.messages {
            let counted = Some((&*crowd.tally, &whole));
            self.say(&mut founder, &group, &came, counted).await?;
        }
        crowd.tally.close();
        let elapsed = begun.elapsed();
        if self.receipts {
            sleep(AFTERMATH).await;
        }
        usage.end(float(self.messages), &mut report.figures)?;
        if let Some(cpu) = report.figures.get("server_cpu_s").copied() {
            report.figures.insert(
                "server_cpu_ms_per_message",
                cpu / float(self.messages) * 1000.0,
            );
        }
        let deliveries = float(self.messages) * float(self.members);
        report
            .figures
            .insert("deliveries_per_s", deliveries / elapsed.as_secs_f64());
        report
            .times_ms
            .extend(whole.spread().map(|it| ("delivered_to_the_last", it)));
        let tally = crowd.end().await;
        report.take(&tally);
        Ok(report)
    }

    async fn gather(
        &self,
        domain: &Place,
        group: &str,
        came: &Arc<Semaphore>,
        crowd: &mut Crowd,
    ) -> Result<()> {
        let joining = stream::iter(0..self.members).map(|_| join(domain, group));
        let mut joining = pin!(joining.buffer_unordered(people::AT_ONCE));
        while let Some(member) = joining.next().await {
            let habits = Habits {
                pace: Pace::Never,
                credit: Credit::Arrival(Arc::clone(came)),
                receipts: self.receipts,
                ..Habits::silent()
            };
            crowd.add(member?, vec![group.to_owned()], habits);
        }
        progress(&format!("{} members have the group open", self.members));
        Ok(())
    }

    /// Writes once and waits until all have it.
    async fn say(
        &self,
        founder: &mut Session,
        group: &str,
        came: &Semaphore,
        counted: Option<(&Tally, &Times)>,
    ) -> Result<()> {
        let (id, due) = (founder.id(), now());
        founder
            .send(publish(id, group, due, &filler(self.bytes)))
            .await?;
        loop {
            let text = founder.next().await?;
            let frame = Frame::read(&text)?;
            let Some(ctrl) = frame.ctrl.filter(|it| it.id == Some(&*id.to_string())) else {
                continue;
            };
            match ctrl.fault() {
                None => break,
                Some(why) => return Err(format!("a message was refused: {why}")),
            }
        }
        if let Some((tally, _)) = counted {
            tally.acknowledge(due);
        }
        let all = u32::try_from(self.members).map_err(|it| it.to_string())?;
        let waited = timeout(PATIENCE, came.acquire_many(all)).await;
        let Ok(Ok(places)) = waited else {
            return Err(format!(
                "a message came to {} of {all}",
                came.available_permits()
            ));
        };
        places.forget();
        if let Some((_, whole)) = counted {
            whole.note(now() - due);
        }
        Ok(())
    }
}

/// As stock clients are: on `me`, and in the group.
async fn join(domain: &Place, group: &str) -> Result<Session> {
    let mut person = people::arrive(domain).await?;
    person
        .session
        .request("sub", json!({"topic": "me"}))
        .await?;
    person
        .session
        .request("sub", json!({"topic": group}))
        .await?;
    Ok(person.session)
}
