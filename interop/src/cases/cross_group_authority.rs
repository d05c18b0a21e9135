//! What somebody may in one group, used in another one (F19).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{GroupId, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::json;
use wire::{
    group_request::What, read_group_request::What as Asked, read_group_response::What as Shown,
};

use super::{
    Case,
    home_integrity::joins,
    hostile::{
        Foe, Play, TAKEN, Trial, all_show, all_stand, asks, judged, shows, shut, stands, words,
    },
};
use crate::{
    Club, Person, Result, Stage,
    club::eventually,
    failure::expect,
    peer::{HomedGroup, TAKEOVER},
};

const NOT_PERMITTED: u32 = 131;
const NOT_HOME: u32 = 132;
const LINGER: Duration = Duration::from_millis(1500);

pub(super) const CASE: Case = Case {
    ids: "F19",
    name: "cross_group_authority",
    proves: "who rules in one group is nobody in another of the same home: roles, homes, consents and answers of one group have no effect in the other",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut first = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let mut second = Club::begin(stage, &[(0, "anna"), (1, "benno")]).await?;
        let foe = Foe::comes(stage, 0, "evil.test").await?;
        let own = foe.joins(&mut first).await?;
        rules(&mut first, &foe, own).await?;
        let other = super::hostile::group_of(&second)?;
        shut(&mut second).await?;
        second.writes(0, 1).await?;
        all_show(&mut second, &["anna 1"]).await?;
        let before = all_stand(&mut second).await?;
        let people: Vec<UserId> = second
            .members
            .iter()
            .map(|it| it.person.user_id())
            .collect::<Result<_>>()?;
        foe.tries(&letters(&foe, other, &people)?).await?;
        reads_nothing(&foe, own, other).await?;
        stage.pause(LINGER, "nothing may follow").await;
        all_show(&mut second, &["anna 1"]).await?;
        expect(all_stand(&mut second).await? == before, || {
            "the other group stands otherwise than before".to_owned()
        })?;
        stage.line.held(
            "anna and benno",
            "see nothing of somebody who rules in another group",
        );
        homes(stage).await
    }
    .boxed_local()
}

/// Eve is raised to rule on others in her group, and does.
async fn rules(club: &mut Club, foe: &Foe, group: GroupId) -> Result<()> {
    let (eve, name) = (foe.eve(), club.group.clone());
    let raised = json!({"topic": name, "sub": {"user": eve.to_string(), "mode": "JRWPASD"}});
    club.session(0).await?.request("set", raised).await?;
    let want = What::Want(wire::GroupWant {
        want: "JRWPASD".to_owned(),
        want_version: 2,
        ..wire::GroupWant::default()
    });
    foe.hands([asks(&foe.peer, group, &eve, want)?]).await?;
    let grant = What::Grant(wire::GroupGrant {
        user: foe.peer.person(2).to_string(),
        mode: "JRW".to_owned(),
    });
    let grant = asks(&foe.peer, group, &eve, grant)?;
    foe.tries(&[("a grant where she may", grant, TAKEN)])
        .await?;
    let invited = foe.peer.person(2).to_string();
    eventually(
        "to see whom eve has asked in",
        club.session(0).await?,
        async |it| {
            let rows = it.get(&name, "sub").await?.unwrap_or_default();
            let mut rows = rows.as_array().into_iter().flatten();
            Ok(rows.any(|row| row["user"] == *invited))
        },
    )
    .await
}

/// All that she may in her group, in the other one.
fn letters(foe: &Foe, other: GroupId, people: &[UserId]) -> Result<Vec<Trial>> {
    let eve = foe.eve();
    let ask = |what: What| asks(&foe.peer, other, &eve, what);
    let member = people.last().map(ToString::to_string).unwrap_or_default();
    let grant = |user: &str, mode: &str| {
        ask(What::Grant(wire::GroupGrant {
            user: user.to_owned(),
            mode: mode.to_owned(),
        }))
    };
    let describe = wire::GroupDescribe {
        public: Some(json!({"fn": "Eve's"}).to_string().into()),
        aux: Some(
            json!({"fh-home": foe.peer.domain().as_str()})
                .to_string()
                .into(),
        ),
        ..wire::GroupDescribe::default()
    };
    let orders = vec![wire::Orders { low: 1, high: 9 }];
    let profile = wire::GroupProfile {
        public: json!({"fn": "Eve"}).to_string().into(),
        public_changed_ms: 1,
    };
    let consent = Kind::GroupConsent(wire::GroupConsent {
        home: foe.peer.domain().to_string(),
        epoch: 2,
        index: 1,
        ..wire::GroupConsent::default()
    });
    let message = Kind::GroupMessage(words(&eve, "lie"));
    let marks = Kind::GroupCursors(wire::GroupCursors {
        readers: None,
        group: other.as_bytes().to_vec().into(),
        cursors: people
            .iter()
            .chain([&eve])
            .map(|it| wire::GroupCursor {
                user: it.to_string(),
                received: 1,
                read: 1,
            })
            .collect(),
    });
    Ok(vec![
        (
            "words",
            foe.peer.seal_for_group(other, message)?,
            NOT_PERMITTED,
        ),
        (
            "to let herself in",
            super::hostile::wants(&foe.peer, other, &eve, 9)?,
            NOT_PERMITTED,
        ),
        (
            "a grant to herself",
            grant(&eve.to_string(), "JRWPASDO")?,
            NOT_PERMITTED,
        ),
        ("a grant to a member", grant(&member, "N")?, NOT_PERMITTED),
        (
            "to remove a member",
            ask(What::Evict(member.clone()))?,
            NOT_PERMITTED,
        ),
        (
            "a description",
            ask(What::Describe(describe))?,
            NOT_PERMITTED,
        ),
        (
            "a deletion",
            ask(What::Delete(wire::GroupDelete { orders }))?,
            NOT_PERMITTED,
        ),
        ("the end", ask(What::Close(true))?, NOT_PERMITTED),
        ("a profile", ask(What::Profile(profile))?, NOT_PERMITTED),
        (
            "to be its home",
            foe.peer.seal_for_group(other, consent)?,
            NOT_PERMITTED,
        ),
        ("marks", foe.seals(marks)?, TAKEN),
    ])
}

/// A member of one group reads that one, and of the other what a stranger reads: nothing.
async fn reads_nothing(foe: &Foe, own: GroupId, other: GroupId) -> Result<()> {
    let nobodys = GroupId::from_bytes([1; 16]);
    let ballot = wire::GroupConsent {
        home: foe.peer.domain().to_string(),
        epoch: TAKEOVER,
        last_epoch: 1,
        ..wire::GroupConsent::default()
    };
    for asked in [
        Asked::State(String::new()),
        Asked::EntriesAfter(0),
        Asked::EntriesAfter(1),
        Asked::MessagesBefore(u32::MAX),
        Asked::Ballot(ballot),
    ] {
        let of_other = foe.line().read_group(other, asked.clone()).await?;
        let of_nobodys = foe.line().read_group(nobodys, asked.clone()).await?;
        expect(of_other.what.is_none() && of_other == of_nobodys, || {
            format!("{asked:?} of another group shows {of_other:?}")
        })?;
    }
    let shown = foe
        .line()
        .read_group(own, Asked::State(String::new()))
        .await?;
    expect(matches!(shown.what, Some(Shown::State(_))), || {
        format!("her own group is shown as {shown:?}")
    })
}

/// A home of one group, and successors of one group, in another.
async fn homes(stage: &mut Stage) -> Result<()> {
    let home = Foe::comes(stage, 0, "home.test").await?;
    let other = Foe::comes(stage, 0, "other.test").await?;
    // The first three are successors in both groups.
    let author = Foe::comes(stage, 0, "author.test").await?;
    let third = Foe::comes(stage, 0, "third.test").await?;
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let us = bob.user_id()?;
    let mut one = joins(&home.peer, &us, (&mut home.line(), &mut session)).await?;
    let mut two = joins(&other.peer, &us, (&mut other.line(), &mut session)).await?;
    let before = stands(&mut session, &two.id.to_string()).await?;

    let lie = home.peer.says(&two, "lie")?;
    let lie = home.peer.misplaces(&two, lie, |_| {});
    let answers = home.hands_items(vec![lie]).await?;
    judged(
        [("an entry by the home of another group", NOT_HOME)],
        &answers,
    )?;
    // Under the position of the true home, which never saw these words.
    let lie = home.peer.says(&two, "lie")?;
    let mut stolen = other.peer.misplaces(&two, lie.clone(), |_| {});
    stolen.placed = other.peer.misplaces(&one, lie, |_| {}).placed;
    let answers = other.hands_items(vec![stolen]).await?;
    judged([("a position of another group", 121)], &answers)?;

    takeovers(stage, [&author, &third], (&mut one, &mut two)).await?;
    shows(&mut session, &two.id.to_string(), &["one"]).await?;
    let after = stands(&mut session, &two.id.to_string()).await?;
    expect(after == before, || {
        format!("a group stands {after}, and {before} before")
    })?;
    let true_one = other.peer.says(&two, "two")?;
    let true_one = other.peer.places(&mut two, true_one, true);
    let answers = other.hands_items(vec![true_one]).await?;
    judged([("the true log", TAKEN)], &answers)?;
    shows(&mut session, &two.id.to_string(), &["one", "two"]).await?;
    stage
        .line
        .held("bob", "reads each group from its own home only");
    Ok(())
}

/// Two of three successors agree to a takeover of the first group, and their words are shown for the
/// second one. For the first they hold.
async fn takeovers(
    stage: &Stage,
    [author, third]: [&Foe; 2],
    (one, two): (&mut HomedGroup, &mut HomedGroup),
) -> Result<()> {
    let consents = |group: &HomedGroup, of: &HomedGroup| -> Result<Vec<wire::Envelope>> {
        let agreed = Kind::GroupConsent(wire::GroupConsent {
            home: author.peer.domain().to_string(),
            epoch: TAKEOVER,
            index: of.index(),
            hash: Bytes::copy_from_slice(&of.hash()),
            last_epoch: 1,
        });
        let seal = |it: &Foe| it.peer.seal_for_group(group.id, agreed.clone());
        Ok(vec![seal(author)?, seal(third)?])
    };
    let claim = |group: &HomedGroup, consents: Vec<wire::Envelope>| {
        let change = Kind::GroupChange(wire::GroupChange {
            description: group.state.description.clone(),
            succession: Some(wire::GroupSuccession {
                home: author.peer.domain().to_string(),
                epoch: TAKEOVER,
                consents,
            }),
            ..wire::GroupChange::default()
        });
        let envelope = author.peer.seal_for_group(group.id, change)?;
        Ok(author.peer.misplaces(group, envelope, |it| {
            it.epoch = TAKEOVER;
            it.order -= 1;
        }))
    };
    let of_one = consents(one, one)?;
    // Sealed for the second group about an entry of the first, by one of them only.
    let mut mixed = consents(two, two)?;
    mixed.truncate(1);
    mixed.extend(of_one.clone());
    for (what, consents, group, number) in [
        (
            "consents for another group",
            of_one.clone(),
            &*two,
            NOT_HOME,
        ),
        (
            "consents about another log",
            consents(two, one)?,
            &*two,
            NOT_HOME,
        ),
        (
            "one consent, and two for another group",
            mixed,
            &*two,
            NOT_HOME,
        ),
        ("the same where they belong", of_one, &*one, TAKEN),
    ] {
        let answers = author.hands_items(vec![claim(group, consents)?]).await?;
        judged([(what, number)], &answers)?;
    }
    stage
        .line
        .held("alpha.test", "counts consents in the group they are for");
    Ok(())
}
