//! Floods, as part of F53: a person and a domain that send much more in a second than they may.

use std::{collections::BTreeSet, pin::pin, time::Duration};

use freehold_proto::{UserId, wire, wire::payload::Kind};
use serde_json::json;
use tokio::time::sleep;

use super::hostile::Foe;
use crate::{Failure, Frame, Person, Result, Stage, failure::expect};

/// Limits that a case can meet.
pub(super) const LIMITS: &str = "[limits]\nuser_messages = [20, 40]\npeer_items = [50, 50]";
const MESSAGES: usize = 80;
/// More than what is let in while a call is held.
const ITEMS: u8 = 200;
const BATCHES: u64 = 4;
const LIMITED: u32 = 151;
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_secs(1);

/// A person who writes as fast as they can is told which messages were too many; the others, and those of
/// everybody else, are there in their order.
pub(super) async fn of_a_person(stage: &mut Stage) -> Result<()> {
    let at = stage.network.endpoint(0)?;
    let (ann, mut flood) = Person::register(&at, "ann53").await?;
    let (abe, mut calm) = Person::register(&at, "abe53").await?;
    let (to_abe, to_ann) = (ann.name_of(&abe), abe.name_of(&ann));
    flood.subscribe(&to_abe).await?;
    calm.subscribe(&to_ann).await?;
    let mut sent = Vec::new();
    for number in 0..MESSAGES {
        let text = format!("flood {number}");
        let body = json!({"topic": to_abe, "noecho": true, "content": text});
        sent.push((flood.send("pub", body).await?, text));
    }
    calm.publish(&to_ann, "calm").await?;
    let mut stored = Vec::new();
    for (id, text) in &sent {
        let fits = |it: &Frame| it.text("id") == id;
        let answer = flood.wait_for(text, ANSWER_WITHIN, fits).await?;
        match answer.code() {
            202 => stored.push(text.clone()),
            503 if answer.body["params"]["limit"] == "user_messages" => {}
            _ => return Err(Failure::Broken(format!("{text}: {:?}", answer.body))),
        }
    }
    expect(stored.len() < MESSAGES, || {
        "nobody is held back who writes without a pause".to_owned()
    })?;
    let history = calm.history(&to_ann, 1).await?;
    let texts = history.iter().filter_map(|it| it.content.as_str());
    let shown: Vec<_> = texts.filter(|it| it.starts_with("flood")).collect();
    expect(shown == stored, || {
        format!("acknowledged: {stored:?}, shown: {shown:?}")
    })?;
    stage.line.held(
        "ann53",
        "reads what was acknowledged, of a flood, and nothing else",
    );
    Ok(())
}

/// A domain whose items are too many is kept waiting, and takes nothing from another; what comes later comes
/// in the end.
pub(super) async fn of_a_domain(foe: &Foe, honest: &Foe, us: &UserId) -> Result<()> {
    let marks = |of: &Foe, count: u8| -> Result<Vec<wire::Envelope>> {
        let mark = |number| {
            of.seals(Kind::Cursor(wire::Cursor {
                reader: of.eve().to_string(),
                author: us.to_string(),
                read: vec![number; 16].into(),
                received: vec![number; 16].into(),
            }))
        };
        (0..count).map(mark).collect()
    };
    let mut left = Vec::new();
    for _ in 0..BATCHES {
        left.extend(marks(foe, ITEMS)?);
    }
    let all = left.len();
    let mut flooding = pin!(foe.hands(left.clone()));
    let one = marks(honest, 1)?;
    let served = tokio::select! {
        flooded = &mut flooding => {
            return Err(Failure::Broken(format!("a flood is let in at once: {flooded:?}")));
        }
        served = honest.hands(one) => served?,
    };
    expect(served == [0], || {
        format!("another domain is answered {served:?}")
    })?;
    let mut answers = flooding.await?;
    let mut codes: BTreeSet<u32> = answers.iter().copied().collect();
    let mut rounds = 1;
    while !answers.iter().all(|it| *it == 0) {
        // Whatever follows one that comes later comes later too.
        expect(answers.is_sorted(), || format!("out of order: {answers:?}"))?;
        let taken = answers.iter().filter(|it| **it == 0).count();
        left.drain(..taken);
        rounds += 1;
        expect(rounds < 10, || {
            format!("{} of {all} do not come in", left.len())
        })?;
        sleep(PAUSE).await;
        answers = foe.hands(left.clone()).await?;
        codes.extend(&answers);
    }
    expect(codes == BTreeSet::from([0, LIMITED]), || {
        format!("a flood is answered {codes:?}")
    })
}
