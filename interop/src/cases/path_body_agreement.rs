//! Requests whose frame says one thing and whose signed bytes say another (F17).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{Destination, GroupId, Position, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::json;
use wire::{
    find_request::Query, read_group_request::What as Asked, read_group_response::What as Shown,
};

use super::{
    Case,
    home_integrity::joins,
    hostile::{
        Foe, Play, Trial, all_show, all_stand, judged, payload, refusal, shows, stands, words,
    },
};
use crate::{
    Club, Failure, Person, Result, Session, Stage,
    failure::expect,
    peer::{HomedGroup, message},
};

const MALFORMED: u32 = 100;
const NOT_OURS: u32 = 120;
const ELSEWHERE: u32 = 121;
const PAYLOAD_ALTERED: u32 = 124;
const NOT_HERE: u32 = 128;
const NOT_HOME: u32 = 132;
const MISSING: u32 = 141;
const LINGER: Duration = Duration::from_millis(1500);

pub(super) const CASE: Case = Case {
    ids: "F17",
    name: "path_body_agreement",
    proves: "where the frame of a request or answer names another domain, group, conversation or entry than what is signed in it, it is refused or passed over, and nothing of it is shown",
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
        club.writes(0, 1).await?;
        all_show(&mut club, &["ann 1"]).await?;
        let before = all_stand(&mut club).await?;
        let ann = club.members[0].person.user_id()?;
        let ben = club.members[1].person.user_id()?;
        foe.tries(&envelopes(&foe, group, (&ann, &ben))?).await?;
        calls(&foe, (&ann, &ben), group).await?;
        stage.pause(LINGER, "nothing may follow").await;
        all_show(&mut club, &["ann 1"]).await?;
        expect(all_stand(&mut club).await? == before, || {
            "the group stands otherwise than before".to_owned()
        })?;
        stage
            .line
            .held("alpha.test", "refuses what disagrees with itself");
        entries_and_answers(stage).await
    }
    .boxed_local()
}

/// Sealed to one, handed over as if it were for another.
fn envelopes(foe: &Foe, group: GroupId, (ann, ben): (&UserId, &UserId)) -> Result<Vec<Trial>> {
    let eve = foe.eve();
    let sealed = |to: Destination, kind: Kind| foe.forges(to, payload(kind));
    let to_group = || Destination::Group(group);
    let to_us = || Destination::Domain(foe.us.clone());
    let direct = || message(&eve, ann, &json!("lie"));
    let letter = || Kind::GroupMessage(words(&eve, "lie"));
    let request = || {
        Kind::GroupRequest(wire::GroupRequest {
            actor: eve.to_string(),
            what: Some(wire::group_request::What::Close(true)),
        })
    };
    let marks = |group: &[u8]| {
        Kind::GroupCursors(wire::GroupCursors {
            readers: None,
            group: Bytes::copy_from_slice(group),
            cursors: Vec::new(),
        })
    };
    let relation = || {
        Kind::Relation(wire::Relation {
            user: eve.to_string(),
            peer: ann.to_string(),
            ..wire::Relation::default()
        })
    };
    let invitation = || Kind::GroupInvitation(wire::GroupInvitation::default());
    Ok(vec![
        (
            "words to a person, sealed to a group",
            sealed(to_group(), direct())?,
            ELSEWHERE,
        ),
        (
            "a relation, sealed to a group",
            sealed(to_group(), relation())?,
            ELSEWHERE,
        ),
        (
            "marks, sealed to a group",
            sealed(to_group(), marks(group.as_bytes()))?,
            ELSEWHERE,
        ),
        (
            "an invitation, sealed to a group",
            sealed(to_group(), invitation())?,
            ELSEWHERE,
        ),
        (
            "words to a group, sealed to a domain",
            sealed(to_us(), letter())?,
            ELSEWHERE,
        ),
        (
            "a request to a home, sealed to a domain",
            sealed(to_us(), request())?,
            ELSEWHERE,
        ),
        (
            "for another domain, handed over here",
            sealed(Destination::Domain(ben.domain().clone()), direct())?,
            ELSEWHERE,
        ),
        (
            "marks of a group whose id is short",
            sealed(to_us(), marks(&[1; 15]))?,
            MALFORMED,
        ),
        (
            "marks of a group whose id is long",
            sealed(to_us(), marks(&[1; 17]))?,
            MALFORMED,
        ),
    ])
}

/// Whole calls.
async fn calls(foe: &Foe, (ann, ben): (&UserId, &UserId), group: GroupId) -> Result<()> {
    let honest = foe.seals(message(&foe.eve(), ann, &json!("lie")))?;
    let batch = |from: &str, to: &str| wire::DeliverRequest {
        from: from.to_owned(),
        to: to.to_owned(),
        epoch: 1,
        items: crate::peer::items(700_000, [honest.clone()]),
    };
    let (own, us) = (foe.peer.domain().as_str(), foe.us.as_str());
    let mut line = foe.line();
    for (from, to, number) in [
        ("beta.test", us, NOT_OURS),
        (us, us, NOT_OURS),
        (own, "beta.test", ELSEWHERE),
        (own, own, ELSEWHERE),
    ] {
        let batch = batch(from, to);
        let called = line.call::<wire::DeliverResponse>("Deliver", &batch);
        is_refused("Deliver", refusal(called.await)?, number)?;
    }
    let read = |from: &str, to: &str, group: &[u8]| wire::ReadGroupRequest {
        listed: false,
        feed: false,
        from: from.to_owned(),
        to: to.to_owned(),
        group: Bytes::copy_from_slice(group),
        what: Some(Asked::EntriesAfter(0)),
    };
    for (from, to, id, number) in [
        ("beta.test", us, group.as_bytes().as_slice(), NOT_OURS),
        (own, "beta.test", group.as_bytes().as_slice(), ELSEWHERE),
        (own, us, &[1; 15], MALFORMED),
        (own, us, &[1; 17], MALFORMED),
    ] {
        let read = read(from, to, id);
        let called = line.call::<wire::ReadGroupResponse>("ReadGroup", &read);
        is_refused("ReadGroup", refusal(called.await)?, number)?;
    }
    let found = line.find(Query::User(ben.to_string()));
    is_refused("Find", refusal(found.await)?, NOT_HERE)?;
    let signal = |peer: &UserId, group: &[u8]| wire::Signal {
        user: foe.eve().to_string(),
        peer: peer.to_string(),
        what: "kp".to_owned(),
        group: Bytes::copy_from_slice(group),
        ..wire::Signal::default()
    };
    for odd in [signal(ann, group.as_bytes()), signal(ann, &[1; 15])] {
        let called = line.signal(vec![odd]);
        is_refused("Signal", refusal(called.await)?, MALFORMED)?;
    }
    Ok(())
}

fn is_refused(call: &str, answer: u64, number: u32) -> Result<()> {
    expect(answer == u64::from(number), || {
        format!("a {call} that disagrees with itself is answered by {answer}, not {number}")
    })
}

/// A home of two groups mixes them up: in entries, and in what it answers.
async fn entries_and_answers(stage: &mut Stage) -> Result<()> {
    let home = Foe::comes(stage, 0, "home.test").await?;
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let us = bob.user_id()?;
    let mut one = joins(&home.peer, &us, (&mut home.line(), &mut session)).await?;
    let state = one.state.clone();
    let other = joins(&home.peer, &us, (&mut home.line(), &mut session)).await?;
    let before = (
        stands(&mut session, &one.id.to_string()).await?,
        stands(&mut session, &other.id.to_string()).await?,
    );
    let trials = misplaced(&home, (&one, &other))?;
    let answers = home
        .hands_items(trials.iter().map(|it| it.1.clone()).collect())
        .await?;
    judged(trials.iter().map(|it| (it.0, it.2)), &answers)?;
    mixed_answers(stage, &home, &mut one, (&other, state)).await?;
    for (group, before) in [(&one, &before.0), (&other, &before.1)] {
        let name = group.id.to_string();
        shows(&mut session, &name, &["one"]).await?;
        let after = stands(&mut session, &name).await?;
        expect(after == *before, || {
            format!("{name} stands {after}, and {before} before")
        })?;
    }
    records(&home, &us, &mut session).await?;
    stage
        .line
        .held("bob", "reads in each group what was written in it");
    Ok(())
}

fn misplaced(
    home: &Foe,
    (one, other): (&HomedGroup, &HomedGroup),
) -> Result<Vec<(&'static str, wire::Item, u32)>> {
    let said = |group: &HomedGroup| home.peer.says(group, "lie");
    let place = |group: &HomedGroup, envelope, change: &dyn Fn(&mut Position)| {
        home.peer.misplaces(group, envelope, |it| change(it))
    };
    let direct = message(&home.eve(), &home.peer.person(2), &json!("lie"));
    let direct = home.peer.seal(home.peer.domain(), direct)?;
    Ok(vec![
        (
            "words for one group, placed in another",
            place(one, said(other)?, &|_| {}),
            ELSEWHERE,
        ),
        (
            "a position of another group, at the end of this one",
            place(one, said(one)?, &|it| it.group = other.id),
            ELSEWHERE,
        ),
        (
            "words between two people, placed in a group",
            place(one, direct, &|_| {}),
            ELSEWHERE,
        ),
        (
            "the position of other words",
            place(one, said(one)?, &|it| it.envelope = [3; 32]),
            PAYLOAD_ALTERED,
        ),
        (
            "a group that nobody has",
            {
                let nobodys = GroupId::from_bytes([8; 16]);
                let words = Kind::GroupMessage(words(&home.eve(), "lie"));
                let words = home.peer.seal_for_group(nobodys, words)?;
                place(one, words, &|it| it.group = nobodys)
            },
            131,
        ),
    ])
}

/// Behind a gap, answers about the other group.
async fn mixed_answers(
    stage: &Stage,
    home: &Foe,
    one: &mut HomedGroup,
    (other, state): (&HomedGroup, wire::GroupState),
) -> Result<()> {
    let log = one.clone();
    let missing = home.peer.says(one, "missing")?;
    let missing = home.peer.places(one, missing, true);
    let behind = home.peer.says(one, "behind")?;
    let behind = home.peer.places(one, behind, true);
    let foreign = home.peer.says(other, "foreign")?;
    let foreign = home.peer.misplaces(other, foreign, |_| {});
    let mixed = wire::Item {
        envelope: foreign.envelope.clone(),
        ..missing.clone()
    };
    let page = |it: &wire::Item| {
        Shown::Page(wire::LogPage {
            entries: vec![wire::LogEntry {
                placed: it.placed.clone(),
                envelope: it.envelope.clone(),
            }],
            ..wire::LogPage::default()
        })
    };
    let own_head = other.state.clone();
    for answer in [
        page(&foreign),
        page(&mixed),
        Shown::State(own_head),
        Shown::State(wire::GroupState {
            record: other.state.record.clone(),
            ..state.clone()
        }),
        Shown::Consent(foreign.envelope.clone().unwrap_or_default()),
    ] {
        let what = Some(answer);
        let told = wire::ReadGroupResponse { what };
        home.peer
            .twists(Some(Box::new(move |_| Some(told.clone()))));
        let answers = home.hands_items(vec![behind.clone()]).await?;
        expect(answers == [MISSING], || {
            format!("behind a gap the answer is {answers:?}")
        })?;
        stage.pause(LINGER, "the gap is asked about").await;
    }
    home.peer.twists(None);
    *one = log;
    Ok(())
}

/// An invitation whose create record is another group's, of another home, or of odd bytes.
async fn records(home: &Foe, us: &UserId, session: &mut Session) -> Result<()> {
    let group = home.peer.founds()?;
    let invitation = home.peer.invites(&group, us)?;
    let read = <wire::Payload as prost::Message>::decode(invitation.payload);
    let Some(Kind::GroupInvitation(honest)) = read.ok().and_then(|it| it.kind) else {
        return Err(Failure::harness("read an invitation", "it is none"));
    };
    let longer = [&*honest.record, &[0]].concat();
    let shorter = honest.record[..honest.record.len() - 1].to_vec();
    let mut elsewhere = honest.record.to_vec();
    let name = home.peer.domain().as_str().len();
    elsewhere.splice(1..2 + name, *b"\x09beta.test");
    let with = |record: Vec<u8>| {
        home.seals(Kind::GroupInvitation(wire::GroupInvitation {
            record: record.into(),
            ..honest.clone()
        }))
    };
    let rows = session.get("me", "sub").await?;
    home.tries(&[
        ("a record with a byte more", with(longer)?, MALFORMED),
        ("a record with a byte less", with(shorter)?, MALFORMED),
        ("no record", with(Vec::new())?, MALFORMED),
        ("a record of another home", with(elsewhere)?, NOT_HOME),
    ])
    .await?;
    expect(session.get("me", "sub").await? == rows, || {
        "a wrong invitation is shown".to_owned()
    })?;
    Ok(())
}
