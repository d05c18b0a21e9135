//! Words that change, take away or hand on what somebody else wrote (F18).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use wire::group_request::What;

use super::{
    Case,
    hostile::{Foe, Play, TAKEN, all_show, asks, id_of, shows, words},
};
use crate::{
    Club, Person, Result, Session, Stage,
    failure::expect,
    peer::{Arrived, message},
    people::accept,
};

const WITHIN: Duration = Duration::from_secs(20);
const NOT_PERMITTED: u32 = 131;

pub(super) const CASE: Case = Case {
    ids: "F18",
    name: "reference_ownership",
    proves: "nobody edits, deletes or answers in another conversation what somebody else wrote, between two people and in a group, before and after a restart; and what one wrote oneself can be edited and deleted",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        between_two(stage).await?;
        in_a_group(stage).await
    }
    .boxed_local()
}

/// A reference under a key to a message of a domain.
fn refers(key: &str, domain: &str, id: &[u8]) -> wire::Reference {
    wire::Reference {
        key: key.to_owned(),
        author_domain: domain.to_owned(),
        message_id: Bytes::copy_from_slice(id),
    }
}

fn with_references(kind: Kind, references: Vec<wire::Reference>) -> Kind {
    match kind {
        Kind::DirectMessage(it) => Kind::DirectMessage(wire::DirectMessage { references, ..it }),
        Kind::GroupMessage(it) => Kind::GroupMessage(wire::GroupMessage { references, ..it }),
        other => other,
    }
}

async fn between_two(stage: &mut Stage) -> Result<()> {
    let foe = Foe::comes(stage, 0, "evil.test").await?;
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let us = bob.user_id()?;
    let (eve, mallory) = (foe.eve(), foe.peer.person(2));
    let mut ids = Vec::new();
    for author in [&eve, &mallory] {
        let greeting = message(author, &us, &json!("hello"));
        let sealed = foe.seals(greeting)?;
        ids.push(id_of(&sealed)?);
        let relation = foe.peer.consents(author, &us, 1)?;
        foe.hands([relation, sealed]).await?;
        accept(&mut session, &author.to_string()).await?;
    }
    let topic = eve.to_string();
    session.publish(&topic, "mine").await?;
    let came = |it: &[Arrived]| it.iter().any(|it| it.text().as_deref() == Some("mine"));
    foe.peer.waits_for("bob's words", WITHIN, came).await?;
    let arrived = foe.peer.arrived();
    let bobs = arrived
        .iter()
        .find(|it| it.text().as_deref() == Some("mine"));
    let bobs = bobs
        .and_then(|it| it.id)
        .map(|it| *it.as_bytes())
        .unwrap_or_default();
    let ours = us.domain().as_str();
    let own = foe.peer.domain().as_str();
    let says = |text: &str, references: Vec<wire::Reference>| {
        foe.seals(with_references(
            message(&eve, &us, &json!(text)),
            references,
        ))
    };
    let deletes = |author: &UserId, list: Vec<&[u8]>| {
        let ids = list.into_iter().map(Bytes::copy_from_slice);
        foe.seals(Kind::DirectDeletion(wire::DirectDeletion {
            author: author.to_string(),
            recipient: us.to_string(),
            message_ids: ids.collect(),
        }))
    };
    let lies = vec![
        // Bob's own; one of another conversation; under another's domain; one that is not there.
        says("a", vec![refers("replace", ours, &bobs)])?,
        says("b", vec![refers("replace", own, &ids[1])])?,
        says("c", vec![refers("reply", own, &ids[1])])?,
        says("d", vec![refers("replace", ours, &ids[0])])?,
        says("e", vec![refers("replace", own, &[9; 16])])?,
        says("f", vec![refers("thread", own, &ids[1])])?,
        says("g", vec![refers("pin", own, &ids[0])])?,
        deletes(&eve, vec![&bobs, &ids[1], &[9; 16]])?,
        deletes(&mallory, vec![&bobs, &ids[0]])?,
    ];
    let count = lies.len();
    let answers = foe.hands(lies).await?;
    expect(answers == vec![TAKEN; count], || {
        format!("references to what is another's were answered by {answers:?}")
    })?;
    let texts = ["hello", "mine", "a", "b", "c", "d", "e", "f", "g"];
    nothing_refers(&mut session, &topic, &texts).await?;
    shows(&mut session, &mallory.to_string(), &["hello"]).await?;
    stage.line.held(
        "bob@alpha.test",
        "keeps his words and those of others; what points to them says so nowhere",
    );

    // What is one's own can be edited, answered and deleted.
    let edit = says("edited", vec![refers("replace", own, &ids[0])])?;
    let answer = says("answered", vec![refers("reply", ours, &bobs)])?;
    let gone = deletes(&eve, vec![&ids[0]])?;
    foe.hands([edit, answer]).await?;
    let history = session.history(&topic, 1).await?;
    let heads: Vec<_> = history.iter().rev().take(2).map(|it| &it.head).collect();
    expect(
        heads == [&json!({"reply": "2"}), &json!({"replace": ":1"})],
        || format!("an edit and an answer have the heads {heads:?}"),
    )?;
    foe.hands([gone]).await?;
    let texts: Vec<&str> = texts[1..]
        .iter()
        .copied()
        .chain(["edited", "answered"])
        .collect();
    shows(&mut session, &topic, &texts).await?;
    stage.starts_again(0).await?;
    let mut session = bob.come_back().await?;
    session.subscribe(&topic).await?;
    session.subscribe(&mallory.to_string()).await?;
    shows(&mut session, &topic, &texts).await?;
    shows(&mut session, &mallory.to_string(), &["hello"]).await?;
    stage
        .line
        .held("eve@evil.test", "edits and takes back what is her own");
    Ok(())
}

/// These texts, and no message whose head speaks of another.
async fn nothing_refers(session: &mut Session, topic: &str, texts: &[&str]) -> Result<()> {
    shows(session, topic, texts).await?;
    let history = session.history(topic, 1).await?;
    let odd: Vec<_> = history.iter().filter(|it| speaks(&it.head)).collect();
    expect(odd.is_empty(), || {
        format!("{} is shown {odd:?}", session.who())
    })
}

fn speaks(head: &Value) -> bool {
    let keys = ["replace", "reply", "thread", "pin", "forwarded"];
    keys.iter().any(|it| !head[it].is_null())
}

async fn in_a_group(stage: &mut Stage) -> Result<()> {
    let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
    let foe = Foe::comes(stage, 0, "member.test").await?;
    let group = foe.joins(&mut club).await?;
    club.writes(0, 1).await?;
    all_show(&mut club, &["ann 1"]).await?;
    club.writes(1, 1).await?;
    let has = |it: &[Arrived]| placed(it).len() == 2;
    foe.peer.waits_for("two messages", WITHIN, has).await?;
    let of_others = placed(&foe.peer.arrived());
    let (elsewhere, mut other) = another(stage, &foe).await?;
    let eve = foe.eve();
    let says = |text: &str, references| {
        let words = with_references(Kind::GroupMessage(words(&eve, text)), references);
        foe.peer.seal_for_group(group, words)
    };
    let delete = |orders: Vec<wire::Orders>| {
        asks(
            &foe.peer,
            group,
            &eve,
            What::Delete(wire::GroupDelete { orders }),
        )
    };
    let mut batch = Vec::new();
    let mut texts = vec!["ann 1".to_owned(), "ben 1".to_owned()];
    for (domain, id) in of_others.iter().chain([&elsewhere]) {
        for key in ["replace", "reply", "thread"] {
            // An answer is anybody's right; an edit is not, nor anything of another group.
            let may = key != "replace" && *id != elsewhere.1;
            if may {
                continue;
            }
            let text = format!("{key} {}", batch.len());
            batch.push((says(&text, vec![refers(key, domain, id)])?, TAKEN));
            texts.push(text);
        }
    }
    batch.push((
        delete(vec![wire::Orders { low: 1, high: 3 }])?,
        NOT_PERMITTED,
    ));
    batch.push((
        delete(vec![wire::Orders {
            low: 0,
            high: u32::MAX,
        }])?,
        NOT_PERMITTED,
    ));
    let (batch, expected): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
    let answers = foe.hands(batch).await?;
    expect(answers == expected, || {
        format!("what is another's: {answers:?}, not {expected:?}")
    })?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    all_show(&mut club, &texts).await?;
    let name = club.group.clone();
    for index in [0, 1] {
        nothing_refers(club.session(index).await?, &name, &texts).await?;
    }
    all_show(&mut other, &["anna 1"]).await?;
    stage.line.held(
        "ann and ben",
        "keep their words, and nothing in the group speaks of another group",
    );
    Ok(())
}

/// Messages of a log as they came: whose domain sealed them, and their ids.
fn placed(arrived: &[Arrived]) -> Vec<(String, Vec<u8>)> {
    let messages = arrived.iter().filter(|it| it.placed.is_some());
    let messages = messages.filter(|it| matches!(it.kind, Some(Kind::GroupMessage(_))));
    let named = messages.filter_map(|it| {
        let header = freehold_proto::Header::decode(&it.envelope.header).ok()?;
        Some((
            header.from.to_string(),
            header.message_id.as_bytes().to_vec(),
        ))
    });
    named.collect()
}

/// A message of another group, which both know.
async fn another(stage: &mut Stage, foe: &Foe) -> Result<((String, Vec<u8>), Club)> {
    let mut club = Club::begin(stage, &[(0, "anna"), (1, "benno")]).await?;
    let before = placed(&foe.peer.arrived());
    foe.joins(&mut club).await?;
    club.writes(0, 1).await?;
    let has = |it: &[Arrived]| placed(it).len() > before.len();
    let awaited = "a message of another group";
    foe.peer.waits_for(awaited, WITHIN, has).await?;
    let mut all = placed(&foe.peer.arrived());
    all.retain(|it| !before.contains(it));
    Ok((all.pop().unwrap_or_default(), club))
}
