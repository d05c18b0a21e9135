//! Members, former rulers and strangers who want a group for themselves (F22).

use std::time::Duration;

use freehold_proto::{GroupId, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wire::group_request::What;

use super::{
    Case,
    hostile::{
        AGAIN, Foe, Play, TAKEN, Trial, all_show, all_stand, asks, judged, refusal, shut, wants,
        words,
    },
};
use crate::{Club, Failure, Result, Stage, failure::expect, peer::TAKEOVER};

const WITHIN: Duration = Duration::from_secs(20);
const LINGER: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(100);
const NOT_PERMITTED: u32 = 131;
const NOT_HOME: u32 = 132;
const MISSING: u32 = 141;

pub(super) const CASE: Case = Case {
    ids: "F22",
    name: "group_takeover_attempts",
    proves: "no member, former ruler, stranger or forged record gains a right in a group, at its home or at a copy, by asking, by claiming to be its home, or by words of others that they never said",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let mut foe = Foe::comes(stage, 0, "evil.test").await?;
        let group = foe.joins(&mut club).await?;
        let outsider = Foe::comes(stage, 0, "outside.test").await?;
        let at_copy = Foe::comes(stage, 1, "aside.test").await?;
        shut(&mut club).await?;
        club.writes(0, 1).await?;
        all_show(&mut club, &["ann 1"]).await?;
        let people: Vec<UserId> = club
            .members
            .iter()
            .map(|it| it.person.user_id())
            .collect::<Result<_>>()?;
        let before = all_stand(&mut club).await?;
        as_a_member(&foe, group, &people).await?;
        as_a_home(&foe, group, &people).await?;
        as_a_home(&outsider, group, &people).await?;
        as_a_home(&at_copy, group, &people).await?;
        unchanged(stage, &mut club, &before).await?;
        stage
            .line
            .held("ann and ben", "are in the same group, with the same rights");

        as_who_ruled_once(stage, &mut club, &foe, group).await?;
        as_who_is_banned(stage, &mut club, (&foe, group)).await?;
        let before = all_stand(&mut club).await?;
        for index in [0, 1] {
            stage.starts_again(index).await?;
            club.disconnect(index);
        }
        foe.comes_back(stage, 0).await?;
        as_a_home(&foe, group, &people).await?;
        unchanged(stage, &mut club, &before).await?;
        stage.line.held(
            "ann and ben",
            "have the group to themselves, after a restart too",
        );
        Ok(())
    }
    .boxed_local()
}

async fn unchanged(stage: &Stage, club: &mut Club, before: &[Value]) -> Result<()> {
    stage.pause(LINGER, "nothing may follow").await;
    let after = all_stand(club).await?;
    expect(after == before, || {
        format!("the group stands {after:?}, and {before:?} before")
    })?;
    all_show(club, &["ann 1"]).await
}

/// Who may read, write and share asks for all the rest.
async fn as_a_member(foe: &Foe, group: GroupId, people: &[UserId]) -> Result<()> {
    let eve = foe.eve();
    let ask = |what: What| asks(&foe.peer, group, &eve, what);
    let grant = |user: &str, mode: &str| {
        ask(What::Grant(wire::GroupGrant {
            user: user.to_owned(),
            mode: mode.to_owned(),
        }))
    };
    let describe = |change: &dyn Fn(&mut wire::GroupDescribe)| {
        let mut describe = wire::GroupDescribe::default();
        change(&mut describe);
        ask(What::Describe(describe))
    };
    let evict = |user: &UserId| ask(What::Evict(user.to_string()));
    let orders = vec![wire::Orders { low: 1, high: 2 }];
    let own = foe.peer.domain().as_str();
    let wishes = json!({"fh-home": own, "fh-successors": [own, "a.test", "b.test"]});
    let consent = Kind::GroupConsent(wire::GroupConsent {
        home: foe.peer.domain().to_string(),
        epoch: 2,
        index: 3,
        ..wire::GroupConsent::default()
    });
    let mut trials: Vec<Trial> = vec![
        (
            "to own it",
            grant(&eve.to_string(), "JRWPASDO")?,
            NOT_PERMITTED,
        ),
        ("to rule", grant(&eve.to_string(), "+A")?, NOT_PERMITTED),
        (
            "another description",
            describe(&|it| it.public = Some(json!({"fn": "x"}).to_string().into()))?,
            NOT_PERMITTED,
        ),
        (
            "access for all",
            describe(&|it| it.access_auth = Some("JRWPASDO".to_owned()))?,
            NOT_PERMITTED,
        ),
        (
            "another home",
            describe(&|it| it.aux = Some(wishes.to_string().into()))?,
            NOT_PERMITTED,
        ),
        (
            "a deletion",
            ask(What::Delete(wire::GroupDelete { orders }))?,
            NOT_PERMITTED,
        ),
        ("the end", ask(What::Close(true))?, NOT_PERMITTED),
        (
            "to be handed the group",
            foe.peer.seal_for_group(group, consent)?,
            NOT_PERMITTED,
        ),
    ];
    for user in people {
        trials.push(("to remove somebody", evict(user)?, NOT_PERMITTED));
        trials.push((
            "to silence somebody",
            grant(&user.to_string(), "N")?,
            NOT_PERMITTED,
        ));
        trials.push((
            "to raise somebody",
            grant(&user.to_string(), "+O")?,
            NOT_PERMITTED,
        ));
    }
    foe.tries(&trials).await?;
    // What one wants is one's own; it gives nothing.
    let all = What::Want(wire::GroupWant {
        want: "JRWPASDO".to_owned(),
        want_version: 5,
        ..wire::GroupWant::default()
    });
    foe.hands([ask(all)?]).await?;
    foe.tries(&trials_again(foe, group, &eve)?).await
}

/// With all letters wanted and few given, the same that was refused before.
fn trials_again(foe: &Foe, group: GroupId, eve: &UserId) -> Result<Vec<Trial>> {
    let close = asks(&foe.peer, group, eve, What::Close(true))?;
    let own = asks(
        &foe.peer,
        group,
        eve,
        What::Grant(wire::GroupGrant {
            user: eve.to_string(),
            mode: "JRWPASDO".to_owned(),
        }),
    )?;
    let usual = What::Want(wire::GroupWant {
        want: "JRWPS".to_owned(),
        want_version: 6,
        ..wire::GroupWant::default()
    });
    Ok(vec![
        ("the end, wanting all rights", close, NOT_PERMITTED),
        ("to own it, wanting all rights", own, NOT_PERMITTED),
        (
            "to want as before",
            asks(&foe.peer, group, eve, usual)?,
            TAKEN,
        ),
    ])
}

/// A domain that is not the home says that it is, to a home or a copy, with records and consents that
/// it made itself.
async fn as_a_home(foe: &Foe, group: GroupId, people: &[UserId]) -> Result<()> {
    let change = |succession: Option<wire::GroupSuccession>| {
        let change = wire::GroupChange {
            actor: foe.eve().to_string(),
            members: people
                .iter()
                .map(|it| wire::Member {
                    user: it.to_string(),
                    gone: true,
                    given_version: 1000,
                    want_version: 1000,
                    ..wire::Member::default()
                })
                .collect(),
            succession,
            ..wire::GroupChange::default()
        };
        foe.peer.seal_for_group(group, Kind::GroupChange(change))
    };
    // In the names of the two domains that would have to agree.
    let forged = |name: &str| -> Result<wire::Envelope> {
        let agreed = Kind::GroupConsent(wire::GroupConsent {
            home: foe.peer.domain().to_string(),
            epoch: TAKEOVER,
            index: 4,
            last_epoch: 1,
            ..wire::GroupConsent::default()
        });
        let mut header = foe.peer.header(freehold_proto::Destination::Group(group))?;
        header.from = name.parse().unwrap_or(header.from);
        foe.peer.forges(header, super::hostile::payload(agreed))
    };
    let succession = |epoch: u64| -> Result<wire::GroupSuccession> {
        Ok(wire::GroupSuccession {
            home: foe.peer.domain().to_string(),
            epoch,
            consents: vec![
                forged(people[0].domain().as_str())?,
                forged(people[1].domain().as_str())?,
                forged(foe.peer.domain().as_str())?,
            ],
        })
    };
    let mut own = foe.peer.founds()?;
    own.id = group;
    let mut items = Vec::new();
    for (succession, epoch, index) in [
        (None, 1, 1),
        (None, 1, 5),
        (Some(succession(2)?), 2, 5),
        (Some(succession(TAKEOVER)?), TAKEOVER, 5),
        (Some(succession(u64::MAX)?), u64::MAX, u64::MAX),
    ] {
        items.push(foe.peer.misplaces(&own, change(succession)?, |it| {
            it.epoch = epoch;
            it.index = index;
            it.order -= 1;
        }));
    }
    for (place, answer) in foe.hands_items(items).await?.into_iter().enumerate() {
        // A copy knows nothing of entries from before it began, and does not want them. Who is a member
        // might know entries that are missing here.
        let refused = match place {
            0 => [NOT_PERMITTED, NOT_HOME, AGAIN].contains(&answer),
            4 => [NOT_PERMITTED, NOT_HOME, MISSING].contains(&answer),
            _ => [NOT_PERMITTED, NOT_HOME].contains(&answer),
        };
        expect(refused, || {
            format!("entry {place} of a false home is answered by {answer}")
        })?;
    }
    invites(foe, group, people).await
}

/// Invitations by whom is not the home.
async fn invites(foe: &Foe, group: GroupId, people: &[UserId]) -> Result<()> {
    let honest = foe.peer.founds()?;
    let invitee = people.iter().find(|it| *it.domain() == foe.us);
    let invitee = invitee.ok_or_else(|| Failure::harness("find a member", "there is none"))?;
    let invitation = foe.peer.invites(&honest, invitee)?;
    let read = <wire::Payload as prost::Message>::decode(invitation.payload);
    let Some(Kind::GroupInvitation(words)) = read.ok().and_then(|it| it.kind) else {
        return Err(Failure::harness("read an invitation", "it is none"));
    };
    let mut record = words.record.to_vec();
    record.splice(1..=1 + foe.peer.domain().as_str().len(), {
        let name = people[0].domain().as_str();
        [
            vec![u8::try_from(name.len()).unwrap_or(0)],
            name.as_bytes().to_vec(),
        ]
        .concat()
    });
    let of_alpha = Kind::GroupInvitation(wire::GroupInvitation {
        record: record.into(),
        ..words.clone()
    });
    foe.tries(&[(
        "a record of the true home, made up",
        foe.seals(of_alpha)?,
        NOT_HOME,
    )])
    .await?;
    let ballot = wire::GroupConsent {
        home: foe.peer.domain().to_string(),
        epoch: TAKEOVER,
        index: 4,
        hash: vec![0; 32].into(),
        last_epoch: 1,
    };
    let asked = wire::read_group_request::What::Ballot(ballot);
    let answer = foe.line().read_group(group, asked).await;
    let refused = refusal(answer.as_ref().map(drop).map_err(Clone::clone))?;
    let agreed = answer.is_ok_and(|it| it.what.is_some());
    expect(!agreed && refused == 0, || {
        format!("a domain that is no successor is agreed to, or refused by {refused}")
    })
}

/// Raised and lowered again: what she could do then she cannot do now, whatever she says she knew.
async fn as_who_ruled_once(
    stage: &Stage,
    club: &mut Club,
    foe: &Foe,
    group: GroupId,
) -> Result<()> {
    let (eve, name) = (foe.eve(), club.group.clone());
    let ask = |what: What| asks(&foe.peer, group, &eve, what);
    let want = |mode: &str, version: u64| {
        ask(What::Want(wire::GroupWant {
            want: mode.to_owned(),
            want_version: version,
            ..wire::GroupWant::default()
        }))
    };
    for (mode, version) in [("JRWPASD", 7), ("JRWPS", 8)] {
        let set = json!({"topic": name, "sub": {"user": eve.to_string(), "mode": mode}});
        club.session(0).await?.request("set", set).await?;
        foe.tries(&[("to want it too", want("JRWPASD", version)?, TAKEN)])
            .await?;
    }
    let granted = wire::GroupGrant {
        user: foe.peer.person(3).to_string(),
        mode: "JRWPASD".to_owned(),
    };
    let orders = vec![wire::Orders { low: 1, high: 2 }];
    let ben = club.members[1].person.global_id();
    foe.tries(&[
        (
            "a ruler, by who rules no more",
            ask(What::Grant(granted))?,
            NOT_PERMITTED,
        ),
        (
            "a removal, by who rules no more",
            ask(What::Evict(ben))?,
            NOT_PERMITTED,
        ),
        (
            "a deletion, by who rules no more",
            ask(What::Delete(wire::GroupDelete { orders }))?,
            NOT_PERMITTED,
        ),
    ])
    .await?;
    foe.tries(&[("to want as before", want("JRWPS", 9)?, TAKEN)])
        .await?;
    stage
        .line
        .held("eve@evil.test", "has no more rights than she has now");
    all_show(club, &["ann 1"]).await
}

/// Banned, she comes back by no letter, and brings nobody in.
async fn as_who_is_banned(
    stage: &Stage,
    club: &mut Club,
    (foe, group): (&Foe, GroupId),
) -> Result<()> {
    let (eve, name) = (foe.eve(), club.group.clone());
    let out = json!({"topic": name, "sub": {"user": eve.to_string(), "mode": "N"}});
    club.session(0).await?.request("set", out).await?;
    let lie = Kind::GroupMessage(wire::GroupMessage {
        known_index: 2,
        ..words(&eve, "lie")
    });
    let answers = foe
        .hands([
            foe.peer.seal_for_group(group, lie)?,
            asks(&foe.peer, group, &eve, What::Close(true))?,
            wants(&foe.peer, group, &foe.peer.person(4), 1)?,
        ])
        .await?;
    let whats = ["words", "the end", "to come at all"];
    judged(whats.map(|it| (it, NOT_PERMITTED)), &answers)?;
    // What she wants is hers to say; it lets her in nowhere.
    foe.hands([wants(&foe.peer, group, &eve, 50)?]).await?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let stands = all_stand(club).await?;
        let rows = stands.iter().flat_map(|it| it["sub"].as_array().cloned());
        let mut rows = rows.flatten();
        let may = |row: Value| {
            let mode = row["acs"]["mode"].as_str().unwrap_or_default().to_owned();
            row["user"] == *eve.to_string() && mode.contains('J')
        };
        if !rows.any(may) {
            break;
        }
        expect(Instant::now() < deadline, || {
            format!("who is banned is still there: {stands:?}")
        })?;
        sleep(POLL).await;
    }
    let lie = Kind::GroupMessage(words(&eve, "lie"));
    let lie = foe.peer.seal_for_group(group, lie)?;
    foe.tries(&[("words after that", lie, NOT_PERMITTED)])
        .await?;
    stage
        .line
        .held("eve@evil.test", "is banned, and not let in again");
    all_show(club, &["ann 1"]).await
}
