//! People of one domain write to people of another.

use std::sync::Arc;

use serde_json::json;

use crate::{
    Result,
    frame::filler,
    machine::allow_connections,
    people::{self, Person, acquaint},
    place::{Place, Where},
    report::Report,
    scenario::Load,
    talker::{Action, Clockwork, Credit, Crowd, Habits, Pace},
};

/// Two domains, a process each, know each other; people of the first write to people of the second. Without
/// --rate, each writes again when the other one has the message.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Pairs, one of them at each domain.
    #[arg(long, default_value_t = 64)]
    pairs: usize,
    /// Writes in a group of the first domain, rather than in pairs: all its people do, and everybody
    /// reads at both.
    #[arg(long)]
    group: bool,
    #[command(flatten)]
    load: Load,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("federate");
        report.set("pairs", self.pairs);
        report.set("group", self.group);
        self.load.note(&mut report);
        allow_connections(self.pairs * 2)?;
        let domains = place.two().await?;
        let [alpha, beta] = &domains;
        let crowd = match self.group {
            true => self.group(alpha, beta).await?,
            false => self.one_to_one(alpha, beta).await?,
        };
        let copies = if self.group { self.pairs as u64 } else { 1 };
        let meters = [alpha.meter, beta.meter];
        self.load.run(crowd, copies, meters, &mut report).await?;
        Ok(report)
    }

    async fn one_to_one(&self, alpha: &Place, beta: &Place) -> Result<(Crowd, Option<Clockwork>)> {
        let pairs = people::many(self.pairs, |_| acquainted(alpha, beta)).await?;
        let (mut crowd, mut clockwork) = (Crowd::new(), self.load.clockwork());
        let filler = filler(self.load.bytes).into();
        for [(writer, topic), (reader, back)] in pairs {
            let (pace, places) = self.load.pace(&mut clockwork);
            let credit = match pace {
                Pace::Closed(_) => Credit::Arrival(places),
                _ => Credit::None,
            };
            crowd.add(
                reader.session,
                vec![back],
                Habits {
                    credit,
                    ..Habits::silent()
                },
            );
            crowd.add(
                writer.session,
                vec![topic],
                says(pace, Credit::None, &filler),
            );
        }
        Ok((crowd, clockwork))
    }

    /// A group of alpha with a person of each domain for each pair. Only arrivals at beta count.
    async fn group(&self, alpha: &Place, beta: &Place) -> Result<(Crowd, Option<Clockwork>)> {
        let mut founder = people::named(alpha).await?;
        let group = people::found(&mut founder.session).await?;
        let (mut crowd, mut clockwork) = (Crowd::new(), self.load.clockwork());
        let filler = filler(self.load.bytes).into();
        for _ in 0..self.pairs {
            let mut reader = people::arrive(beta).await?;
            acquaint((&mut founder, alpha), (&mut reader, beta)).await?;
            let invited = json!({"user": reader.id_abroad(beta), "mode": "JRWPS"});
            let invitation = json!({"topic": group, "sub": invited});
            founder.session.request("set", invitation).await?;
            people::await_contact(&mut reader.session, &group).await?;
            people::accept(&mut reader.session, &group).await?;
            crowd.add(reader.session, vec![group.clone()], Habits::silent());
        }
        for _ in 0..self.pairs {
            let mut writer = people::arrive(alpha).await?;
            writer
                .session
                .request("sub", json!({"topic": group}))
                .await?;
            let (pace, places) = self.load.pace(&mut clockwork);
            let credit = self.load.by_answer(places);
            crowd.add(
                writer.session,
                vec![group.clone()],
                says(pace, credit, &filler),
            );
        }
        Ok((crowd, clockwork))
    }
}

fn says(pace: Pace, credit: Credit, filler: &Arc<str>) -> Habits {
    Habits {
        pace,
        credit,
        actions: vec![Action::Say(0)],
        receipts: false,
        counts: false,
        filler: Arc::clone(filler),
    }
}

/// Two people of two domains, and the topic as each of them names it.
async fn acquainted(alpha: &Place, beta: &Place) -> Result<[(Person, String); 2]> {
    // Who has no name may not write to people elsewhere.
    let mut writer = people::named(alpha).await?;
    let mut reader = people::named(beta).await?;
    let [topic, back] = acquaint((&mut writer, alpha), (&mut reader, beta)).await?;
    Ok([(writer, topic), (reader, back)])
}
