//! Typing, presence and marks of people who are another domain's, or none of the conversation's (F14).

use std::time::Duration;

use freehold_proto::{GroupId, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    Case,
    home_integrity::joins,
    hostile::{Foe, Play, TAKEN, all_show},
};
use crate::{Club, FrameKind, Person, Result, Session, Stage, failure::expect, people::accept};

const WITHIN: Duration = Duration::from_secs(20);
const LINGER: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(100);

pub(super) const CASE: Case = Case {
    ids: "F14",
    name: "ephemera_origin",
    proves: "nobody is shown typing, presence or marks of people for whom the sender may not speak, who take no part, or whom nobody has agreed to hear; and who may is shown",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let foe = Foe::comes(stage, 0, "evil.test").await?;
        let group = foe.joins(&mut club).await?;
        let outsider = Foe::comes(stage, 0, "outside.test").await?;
        let at_copy = Foe::comes(stage, 1, "aside.test").await?;
        club.writes(0, 3).await?;
        all_show(&mut club, &["ann 1", "ann 2", "ann 3"]).await?;
        let (ann, ben) = (
            club.members[0].person.user_id()?,
            club.members[1].person.user_id()?,
        );
        drain(&mut club, [&foe, &outsider]).await?;

        let (eve, second) = (foe.eve(), foe.peer.person(2));
        let other = outsider.eve();
        for what in ["kp", "kpa", "kpv", "on", "here", "off", "read", "recv"] {
            for (liar, users) in [
                (&foe, vec![&ann, &ben, &second, &other]),
                (&outsider, vec![&ann, &ben, &other, &eve]),
                // The home of the group tells a copy who types, and nobody else does.
                (&at_copy, vec![&ann, &ben, &eve, &other]),
            ] {
                let lies = users.into_iter().map(|it| in_group(it, group, what));
                liar.line().signal(lies.collect()).await?;
            }
        }
        // To somebody who never agreed to hear from them.
        for (liar, user) in [(&foe, &second), (&outsider, &other)] {
            for what in ["kp", "on", "here", "off"] {
                liar.line().signal(vec![to_one(user, &ann, what)]).await?;
            }
        }
        marks(
            &foe,
            group,
            &[(&ann, 1), (&ben, 3), (&second, 3), (&other, 3)],
        )
        .await?;
        marks(
            &outsider,
            group,
            &[(&ann, 3), (&ben, 3), (&other, 3), (&eve, 3)],
        )
        .await?;
        stage.pause(LINGER, "nothing may come").await;
        let heard = drain(&mut club, [&foe, &outsider]).await?;
        expect(heard.is_empty(), || format!("there were heard {heard:?}"))?;
        nobody_has_read(&mut club, foe.peer.domain().as_str()).await?;
        stage.line.held(
            "ann and ben",
            "hear nothing of whom the senders may not speak for",
        );

        may_be_heard(stage, &mut club, &foe, group).await?;
        foreign_marks_of_ours(stage).await
    }
    .boxed_local()
}

fn in_group(user: &UserId, group: GroupId, what: &str) -> wire::Signal {
    wire::Signal {
        user: user.to_string(),
        what: what.to_owned(),
        group: group.as_bytes().to_vec().into(),
        ..wire::Signal::default()
    }
}

fn to_one(user: &UserId, peer: &UserId, what: &str) -> wire::Signal {
    wire::Signal {
        user: user.to_string(),
        peer: peer.to_string(),
        what: what.to_owned(),
        ..wire::Signal::default()
    }
}

async fn marks(foe: &Foe, group: GroupId, users: &[(&UserId, u32)]) -> Result<()> {
    let cursors = users.iter().map(|(user, order)| wire::GroupCursor {
        user: user.to_string(),
        received: *order,
        read: *order,
    });
    let marks = Kind::GroupCursors(wire::GroupCursors {
        readers: None,
        group: group.as_bytes().to_vec().into(),
        cursors: cursors.collect(),
    });
    let marks = foe.seals(marks)?;
    let answers = foe.hands([marks]).await?;
    expect(answers == [TAKEN], || {
        format!("marks were answered by {answers:?}")
    })
}

/// What the members have been told of typing, presence and marks since the last time, but of each other.
async fn drain(club: &mut Club, foes: [&Foe; 2]) -> Result<Vec<String>> {
    let domains = foes.map(|it| it.peer.domain().to_string());
    let mut heard = Vec::new();
    for index in 0..club.members.len() {
        let session = club.session(index).await?;
        while let Some(frame) = session.next(Instant::now()).await? {
            let of_foe = domains.iter().any(|it| frame.body.to_string().contains(it));
            let told = match frame.kind {
                FrameKind::Info => true,
                FrameKind::Pres => of_foe && ["on", "off"].contains(&frame.text("what")),
                _ => false,
            };
            if told {
                heard.push(format!("{}: {}", session.who(), frame.body));
            }
        }
    }
    Ok(heard)
}

/// As every domain shows it.
async fn nobody_has_read(club: &mut Club, liar: &str) -> Result<()> {
    for (who, row) in rows(club.members.len(), club).await? {
        // Ann has read what she wrote; everybody else has read nothing.
        let wrote = row["public"]["fn"] == "ann";
        expect(wrote || row["read"].as_u64().unwrap_or(0) == 0, || {
            format!("{who} is told by {liar} that {row} has read")
        })?;
    }
    Ok(())
}

async fn rows(count: usize, club: &mut Club) -> Result<Vec<(String, Value)>> {
    let group = club.group.clone();
    let mut all = Vec::new();
    for index in 0..count {
        let session = club.session(index).await?;
        let who = session.who().to_owned();
        let rows = session.get(&group, "sub").await?.unwrap_or_default();
        let rows = rows.as_array().cloned().unwrap_or_default();
        all.extend(rows.into_iter().map(|row| (who.clone(), row)));
    }
    Ok(all)
}

/// The same things of somebody who may be heard are shown: what is passed over above is not lost.
async fn may_be_heard(stage: &Stage, club: &mut Club, foe: &Foe, group: GroupId) -> Result<()> {
    let eve = foe.eve();
    let name = club.group.clone();
    foe.line().signal(vec![in_group(&eve, group, "kp")]).await?;
    for index in [0, 1] {
        let session = club.session(index).await?;
        session
            .wait_for("typing of a member", WITHIN, |it| {
                it.kind == FrameKind::Info
                    && it.text("what") == "kp"
                    && it.text("topic") == name
                    && it.text("from") == eve.to_string()
            })
            .await?;
    }
    marks(foe, group, &[(&eve, 2)]).await?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let rows = rows(2, club).await?;
        let read = |it: &&(String, Value)| it.1["user"] == *eve.to_string() && it.1["read"] == 2;
        if rows.iter().filter(read).count() == 2 {
            break;
        }
        expect(Instant::now() < deadline, || {
            format!("marks of a member are not shown: {rows:?}")
        })?;
        sleep(POLL).await;
    }
    agrees_and_hears(club, foe).await?;
    stage
        .line
        .held("ann and ben", "hear of eve what her own domain says of her");
    Ok(())
}

/// Ann lets Eve in, and then sees her come and type; not her neighbour, whom she does not know.
async fn agrees_and_hears(club: &mut Club, foe: &Foe) -> Result<()> {
    let eve = foe.eve();
    let ann = club.members[0].person.user_id()?;
    let relation = foe.peer.consents(&eve, &ann, 1)?;
    foe.hands([relation]).await?;
    let session = club.session(0).await?;
    let topic = eve.to_string();
    accept(session, &topic).await?;
    foe.line().signal(vec![to_one(&eve, &ann, "kp")]).await?;
    session
        .wait_for("typing of a contact", WITHIN, |it| {
            it.kind == FrameKind::Info && it.text("topic") == topic && it.text("what") == "kp"
        })
        .await?;
    foe.line().signal(vec![to_one(&eve, &ann, "on")]).await?;
    session
        .wait_for("a contact to come", WITHIN, |it| {
            it.kind == FrameKind::Pres && it.text("src") == topic && it.text("what") == "on"
        })
        .await?;
    Ok(())
}

/// A home says how far somebody of this very domain has read: that is not the home's to say.
async fn foreign_marks_of_ours(stage: &mut Stage) -> Result<()> {
    let home = Foe::comes(stage, 0, "home.test").await?;
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let bob = bob.user_id()?;
    let mut group = joins(&home.peer, &bob, (&mut home.line(), &mut session)).await?;
    for text in ["two", "three"] {
        let words = home.peer.says(&group, text)?;
        let entry = home.peer.places(&mut group, words, true);
        home.hands_items(vec![entry]).await?;
    }
    let before = own_row(&mut session, &group.id.to_string()).await?;
    marks(&home, group.id, &[(&bob, 3)]).await?;
    let other = Foe::comes(stage, 0, "false.test").await?;
    marks(&other, group.id, &[(&bob, 3), (&home.eve(), 1)]).await?;
    stage.pause(LINGER, "nothing may come").await;
    let after = own_row(&mut session, &group.id.to_string()).await?;
    expect(before == after, || {
        format!("by the word of a home bob has read {after}, not {before}")
    })?;
    stage
        .line
        .held("bob", "has read as far as he has, whatever a home says");
    Ok(())
}

async fn own_row(session: &mut Session, topic: &str) -> Result<Value> {
    let desc = session.get(topic, "desc").await?.unwrap_or_default();
    Ok(json!([desc["read"], desc["recv"]]))
}
