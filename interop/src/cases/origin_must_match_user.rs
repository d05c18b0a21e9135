//! A domain that speaks for people of another one, in every way there is to say something (F13).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{Destination, DomainName, GroupId, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::json;
use wire::group_request::What;

use super::{
    Case,
    home_integrity::joins,
    hostile::{
        Foe, Play, TAKEN, Trial, all_show, all_stand, asks, payload, refusal, shows, stands, words,
    },
};
use crate::{Club, Person, Result, Session, Stage, failure::expect, peer::message, people::meet};

const NOT_OURS: u32 = 120;
const ELSEWHERE: u32 = 121;
const OTHERS_AUTHOR: u32 = 127;
const NOT_HERE: u32 = 128;
const NOT_HOME: u32 = 132;
const LINGER: Duration = Duration::from_millis(1500);

pub(super) const CASE: Case = Case {
    ids: "F13",
    name: "origin_must_match_user",
    proves: "a valid signature of one domain on anything that somebody of another domain is to have said or done is refused, whatever kind it is of, and nothing follows from it at any domain",
    domains: &["alpha.test", "good.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let (alpha, good) = (stage.network.endpoint(0)?, stage.network.endpoint(1)?);
        let (alice, mut alices) = Person::register(&alpha, "alice").await?;
        let (carol, mut carols) = Person::register(&good, "carol").await?;
        meet((&carol, &mut carols), (&alice, &mut alices)).await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        club.writes(0, 1).await?;
        all_show(&mut club, &["ann 1"]).await?;
        club.writes(1, 1).await?;
        let foe = Foe::comes(stage, 0, "evil.test").await?;
        let group = foe.joins(&mut club).await?;
        all_show(&mut club, &["ann 1", "ben 1"]).await?;
        let before = all_stand(&mut club).await?;
        let names = (alice.name_of(&carol), carol.name_of(&alice));
        let pair = (
            stands(&mut alices, &names.0).await?,
            stands(&mut carols, &names.1).await?,
        );

        let people = (alice.user_id()?, carol.user_id()?);
        let trials = between_two(&foe, &people)?;
        foe.tries(&trials).await?;
        let trials = in_a_group(&foe, group, &club)?;
        foe.tries(&trials).await?;
        signals(&foe, &people).await?;
        sealed_by_another(stage, &foe, group, &people).await?;
        stage.pause(LINGER, "nothing may follow").await;

        expect(all_stand(&mut club).await? == before, || {
            "the group stands otherwise than before".to_owned()
        })?;
        all_show(&mut club, &["ann 1", "ben 1"]).await?;
        let after = (
            stands(&mut alices, &names.0).await?,
            stands(&mut carols, &names.1).await?,
        );
        expect(after == pair, || {
            format!("two people stand {after:?}, and {pair:?} before")
        })?;
        let texts = ["May I write to you?", "You may."];
        shows(&mut alices, &names.0, &texts).await?;
        shows(&mut carols, &names.1, &texts).await?;
        stage.line.held(
            "alpha.test and good.test",
            "are as before, for everybody in the chat and the group",
        );
        homes_authors(stage).await
    }
    .boxed_local()
}

fn id() -> Bytes {
    Bytes::from_static(&[3; 16])
}

/// Everything that one person says to another, of somebody else's people.
fn between_two(foe: &Foe, (alice, carol): &(UserId, UserId)) -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    let nobody_here = foe.peer.person(9);
    for (user, peer, number) in [
        (carol, alice, OTHERS_AUTHOR),
        (alice, alice, OTHERS_AUTHOR),
        (&foe.eve(), carol, NOT_HERE),
        (&foe.eve(), &nobody_here, NOT_HERE),
    ] {
        let relation = wire::Relation {
            user: user.to_string(),
            peer: peer.to_string(),
            want: "N".to_owned(),
            want_version: 1000,
            given: "N".to_owned(),
            given_version: 1000,
            public: json!({"fn": "Eve"}).to_string().into(),
            public_changed_ms: i64::MAX >> 20,
        };
        let cursor = wire::Cursor {
            reader: user.to_string(),
            author: peer.to_string(),
            received: id(),
            read: id(),
        };
        let deletion = wire::DirectDeletion {
            author: user.to_string(),
            recipient: peer.to_string(),
            message_ids: vec![id()],
        };
        let event = wire::CallEvent {
            user: user.to_string(),
            peer: peer.to_string(),
            caller_domain: peer.domain().to_string(),
            message_id: id(),
            event: "hang-up".to_owned(),
        };
        for (what, kind) in [
            ("a message", message(user, peer, &json!("lie"))),
            ("a relation", Kind::Relation(relation)),
            ("a cursor", Kind::Cursor(cursor)),
            ("a deletion", Kind::DirectDeletion(deletion)),
            ("an event of a call", Kind::CallEvent(event)),
        ] {
            trials.push((what, foe.seals(kind)?, number));
        }
    }
    Ok(trials)
}

/// Everything that a member says to a home, of another member.
fn in_a_group(foe: &Foe, group: GroupId, club: &Club) -> Result<Vec<Trial>> {
    let mut trials = Vec::new();
    for index in [0, 1] {
        let user = club.members[index].person.user_id()?;
        let eve = foe.eve().to_string();
        let describe = wire::GroupDescribe {
            public: Some(json!({"fn": "Eve's"}).to_string().into()),
            ..wire::GroupDescribe::default()
        };
        let profile = wire::GroupProfile {
            public: json!({"fn": "Eve"}).to_string().into(),
            public_changed_ms: i64::MAX >> 20,
        };
        let wanted = wire::GroupWant {
            want: "N".to_owned(),
            want_version: 1000,
            leaves: true,
            profile: Some(profile.clone()),
        };
        let all = wire::GroupDelete {
            orders: vec![wire::Orders { low: 1, high: 100 }],
        };
        let granted = wire::GroupGrant {
            user: eve.clone(),
            mode: "JRWPASDO".to_owned(),
        };
        for (what, asked) in [
            ("that somebody leaves", What::Want(wanted)),
            ("rights", What::Grant(granted)),
            ("that a member goes", What::Evict(eve)),
            ("another description", What::Describe(describe)),
            ("a deletion", What::Delete(all)),
            ("the end", What::Close(true)),
            ("another profile", What::Profile(profile)),
            ("an erasure", What::Erase(true)),
        ] {
            trials.push((what, asks(&foe.peer, group, &user, asked)?, OTHERS_AUTHOR));
        }
        let lie = Kind::GroupMessage(words(&user, "lie"));
        let lie = foe.peer.seal_for_group(group, lie)?;
        trials.push(("a message in a group", lie, OTHERS_AUTHOR));
        let marks = Kind::GroupCursors(wire::GroupCursors {
            readers: None,
            group: group.as_bytes().to_vec().into(),
            cursors: vec![wire::GroupCursor {
                user: user.to_string(),
                received: 1,
                read: 1,
            }],
        });
        // One of many may be somebody of a domain that has just moved: it is passed over.
        trials.push(("marks", foe.seals(marks)?, TAKEN));
    }
    let change = Kind::GroupChange(wire::GroupChange {
        closed: true,
        ..wire::GroupChange::default()
    });
    let change = foe.peer.seal_for_group(group, change)?;
    trials.push(("what only a home says", change, ELSEWHERE));
    Ok(trials)
}

/// Signals are refused as a whole for one wrong one among them.
async fn signals(foe: &Foe, (alice, carol): &(UserId, UserId)) -> Result<()> {
    let signal = |user: &UserId, peer: &UserId, what: &str| wire::Signal {
        user: user.to_string(),
        peer: peer.to_string(),
        what: what.to_owned(),
        ..wire::Signal::default()
    };
    let eve = foe.eve();
    for what in ["kp", "on", "here", "off", "call", "unheard of"] {
        for (signals, number) in [
            (vec![signal(carol, alice, what)], OTHERS_AUTHOR),
            (
                vec![signal(&eve, alice, what), signal(alice, alice, what)],
                OTHERS_AUTHOR,
            ),
            (vec![signal(&eve, carol, what)], NOT_HERE),
        ] {
            let refused = refusal(foe.line().signal(signals).await)?;
            expect(refused == u64::from(number), || {
                format!("the signal \"{what}\" is answered by {refused}, not {number}")
            })?;
        }
    }
    Ok(())
}

/// Envelopes in the name of another domain, and envelopes for another one.
async fn sealed_by_another(
    stage: &mut Stage,
    foe: &Foe,
    group: GroupId,
    (alice, carol): &(UserId, UserId),
) -> Result<()> {
    let honest = stage.network.stranger("honest.test").await?;
    let us = foe.us.clone();
    let spoken = message(&honest.person(1), alice, &json!("lie"));
    let in_name = |name: &DomainName, to: Destination, kind: Kind| {
        let mut header = foe.peer.header(to)?;
        header.from = name.clone();
        foe.peer.forges(header, payload(kind))
    };
    let to_us = || Destination::Domain(us.clone());
    let trials = [
        (
            "sealed here in another's name",
            in_name(
                carol.domain(),
                to_us(),
                message(carol, alice, &json!("lie")),
            )?,
            NOT_OURS,
        ),
        (
            "sealed in the receiver's name",
            in_name(
                alice.domain(),
                to_us(),
                message(alice, alice, &json!("lie")),
            )?,
            NOT_OURS,
        ),
        (
            "a letter in a member's domain's name",
            in_name(
                carol.domain(),
                Destination::Group(group),
                Kind::GroupMessage(words(carol, "lie")),
            )?,
            NOT_OURS,
        ),
        (
            "relayed, and truly another's",
            honest.seal(&us, spoken)?,
            NOT_OURS,
        ),
        (
            "for a third domain",
            foe.peer
                .seal(carol.domain(), message(&foe.eve(), carol, &json!("lie")))?,
            ELSEWHERE,
        ),
    ];
    foe.tries(&trials).await?;
    // By the key of another domain, which stands in that domain's record only.
    let mut header = foe.peer.header(to_us())?;
    header.key_id = honest.pen().id();
    let spoken = payload(message(&foe.eve(), alice, &json!("lie")));
    let unknown = foe.peer.forges(header, spoken)?;
    foe.tries(&[("by another domain's key", unknown, 122)])
        .await
}

/// A home that seals words in the name of others: they take their place and are not shown.
async fn homes_authors(stage: &mut Stage) -> Result<()> {
    let home = Foe::comes(stage, 0, "home.test").await?;
    let other = Foe::comes(stage, 0, "other.test").await?;
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let bob = bob.user_id()?;
    let mut group = joins(&home.peer, &bob, (&mut home.line(), &mut session)).await?;
    let name = group.id.to_string();
    let before = stands(&mut session, &name).await?;
    let mut entries = Vec::new();
    let of_home = |user: &UserId| {
        let lie = Kind::GroupMessage(words(user, "lie"));
        home.peer.seal_for_group(group.id, lie)
    };
    for lie in [of_home(&bob)?, of_home(&other.eve())?] {
        entries.push((lie, true));
    }
    let of_other = Kind::GroupMessage(words(&home.eve(), "lie"));
    entries.push((other.peer.seal_for_group(group.id, of_other)?, true));
    let ends = wire::GroupChange {
        actor: home.eve().to_string(),
        closed: true,
        ..wire::GroupChange::default()
    };
    let ends = other
        .peer
        .seal_for_group(group.id, Kind::GroupChange(ends))?;
    entries.push((ends, false));
    let last = Kind::GroupMessage(words(&home.eve(), "last"));
    entries.push((home.peer.seal_for_group(group.id, last)?, true));
    let placed = entries
        .into_iter()
        .map(|(it, words)| home.peer.places(&mut group, it, words));
    let placed = placed.collect();
    let answers = home.hands_items(placed).await?;
    expect(answers == [TAKEN; 5], || {
        format!("what others did not say was answered by {answers:?}")
    })?;
    shows(&mut session, &name, &["one", "last"]).await?;
    let after = stands(&mut session, &name).await?;
    expect(before == after, || {
        format!("the group stands {after}, and {before} before")
    })?;
    not_invited_by_another(stage, &other, &mut session, &bob).await
}

/// An invitation by a domain that is not the home, with the true record of the group.
async fn not_invited_by_another(
    stage: &mut Stage,
    home: &Foe,
    session: &mut Session,
    bob: &UserId,
) -> Result<()> {
    let foe = Foe::comes(stage, 0, "false.test").await?;
    let group = home.peer.founds()?;
    let invitation = home.peer.invites(&group, bob)?;
    let read = <wire::Payload as prost::Message>::decode(invitation.payload.clone());
    let kind = read.ok().and_then(|it| it.kind);
    let mut trials = Vec::new();
    if let Some(kind) = kind {
        trials.push(("an invitation by another", foe.seals(kind)?, NOT_HOME));
    }
    foe.tries(&trials).await?;
    let rows = session.get("me", "sub").await?.unwrap_or_default();
    expect(!rows.to_string().contains(&group.id.to_string()), || {
        "bob is asked in by a domain that is not the home".to_owned()
    })?;
    stage
        .line
        .held("alpha.test", "shows nothing that its author never sealed");
    Ok(())
}
