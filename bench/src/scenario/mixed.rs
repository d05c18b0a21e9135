//! People as they are: they write to each other and in groups, type, confirm, and look back.

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
    talker::{Action, Crowd, Habits},
};

/// Of ten actions of a client: in pairs it types and writes, in the group of its circle it writes, and once
/// it reads a page of history.
const DAY: [Action; 10] = [
    Action::Type(0),
    Action::Say(0),
    Action::Say(0),
    Action::Say(1),
    Action::Type(0),
    Action::Say(0),
    Action::Page(0),
    Action::Say(0),
    Action::Say(1),
    Action::Say(0),
];

/// People write to each other and in groups, type, confirm what they read, and look back.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many people, a connection each.
    #[arg(long, default_value_t = 200)]
    people: usize,
    /// Members of each group; everybody is in one.
    #[arg(long, default_value_t = 10)]
    circle: usize,
    #[command(flatten)]
    load: Load,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("mixed");
        report.set("people", self.people);
        report.set("circle", self.circle);
        // A closed loop would count notes, which nobody answers.
        let load = self.load.at_rate(500);
        load.note(&mut report);
        allow_connections(self.people)?;
        let domain = place.place().await?;
        let everybody = self.gather(&domain).await?;
        let (mut crowd, mut clockwork) = (Crowd::new(), load.clockwork());
        let filler = filler(load.bytes).into();
        for (person, topics) in everybody {
            let (pace, places) = load.pace(&mut clockwork);
            let habits = Habits {
                pace,
                credit: load.by_answer(places),
                actions: DAY.to_vec(),
                receipts: true,
                counts: true,
                filler: Arc::clone(&filler),
            };
            crowd.add(person.session, topics, habits);
        }
        load.run((crowd, clockwork), 0, [domain.meter], &mut report)
            .await?;
        Ok(report)
    }

    async fn gather(&self, domain: &Place) -> Result<Vec<(Person, Vec<String>)>> {
        let circles = self.people.div_ceil(self.circle.max(2));
        let circles = people::many(circles, |_| circle(domain, self.circle.max(2) / 2 * 2)).await?;
        Ok(circles.into_iter().flatten().collect())
    }
}

/// So many people in pairs, and all of them in one group.
async fn circle(domain: &Place, size: usize) -> Result<Vec<(Person, Vec<String>)>> {
    let mut founder = people::named(domain).await?.session;
    let group = people::found(&mut founder).await?;
    let mut members = Vec::new();
    for _ in 0..size / 2 {
        let mut one = people::arrive(domain).await?;
        let mut other = people::arrive(domain).await?;
        let [topic, back] = acquaint((&mut one, domain), (&mut other, domain)).await?;
        for (mut person, topic) in [(one, topic), (other, back)] {
            person
                .session
                .request("sub", json!({"topic": group}))
                .await?;
            members.push((person, vec![topic, group.clone()]));
        }
    }
    Ok(members)
}
