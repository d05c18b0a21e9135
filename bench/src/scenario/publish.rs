//! Pairs of people who write to each other, all at once.

use crate::{
    Result,
    frame::filler,
    machine::allow_connections,
    people::{self, Person, acquaint},
    place::{Place, Where},
    report::{Report, progress},
    scenario::Load,
    talker::{Action, Clockwork, Crowd, Habits},
    yardstick,
};

/// People write to each other in pairs; each message is acknowledged when it is durable.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Connections, two for each pair; every one of them writes.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    #[command(flatten)]
    load: Load,
    /// Says of each message that it came and was read, as stock clients do.
    #[arg(long)]
    receipts: bool,
    /// Seconds for each yardstick, before and after; 0 for none.
    #[arg(long, default_value_t = 3)]
    yardstick: u64,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("publish");
        report.set("connections", self.connections);
        report.set("receipts", self.receipts);
        self.load.note(&mut report);
        allow_connections(self.connections)?;
        let yard = yardstick::Options::new(self.connections, self.load.bytes, self.yardstick);
        if self.yardstick > 0 {
            report.yardsticks.push(yard.measure(place).await?);
        }
        let domain = place.place().await?;
        let crowd = self.crowd(&domain).await?;
        progress(&format!("{} people write to each other", self.connections));
        self.load.run(crowd, 1, [domain.meter], &mut report).await?;
        drop(domain);
        if self.yardstick > 0 {
            report.yardsticks.push(yard.measure(place).await?);
        }
        compare(&mut report);
        Ok(report)
    }

    async fn crowd(&self, domain: &Place) -> Result<(Crowd, Option<Clockwork>)> {
        let people = pairs(domain, self.connections / 2).await?;
        let mut crowd = Crowd::new();
        let filler = filler(self.load.bytes).into();
        let mut clockwork = self.load.clockwork();
        for (person, topic) in people {
            let (pace, places) = self.load.pace(&mut clockwork);
            let habits = Habits {
                pace,
                credit: self.load.by_answer(places),
                actions: vec![Action::Say(0)],
                receipts: self.receipts,
                counts: true,
                filler: std::sync::Arc::clone(&filler),
            };
            crowd.add(person.session, vec![topic], habits);
        }
        Ok((crowd, clockwork))
    }
}

/// Pairs of acquaintances, each attached to their topic.
pub(crate) async fn pairs(domain: &Place, count: usize) -> Result<Vec<(Person, String)>> {
    let pairs = people::many(count, |_| async {
        let mut one = people::arrive(domain).await?;
        let mut other = people::arrive(domain).await?;
        let [topic, back] = acquaint((&mut one, domain), (&mut other, domain)).await?;
        Ok([(one, topic), (other, back)])
    });
    Ok(pairs.await?.into_iter().flatten().collect())
}

/// Adds what the figures are to the yardsticks.
fn compare(report: &mut Report) {
    let rate = report.figures.get("acknowledged_per_s").copied();
    if let (Some(engine), Some(rate)) = (report.yard(|it| it.engine_per_s), rate) {
        report.figures.insert("rate_to_engine", rate / engine);
    }
    let delivered = report.times_ms.get("delivered").map(|it| it.p99);
    if let (Some(sync), Some(delivered)) = (report.yard(|it| it.sync_ms.p99), delivered) {
        report
            .figures
            .insert("delivered_p99_to_fdatasync_p99", delivered / sync);
    }
}
