//! A group with many members at few domains: what crosses (F49).

use std::{collections::BTreeMap, time::Duration};

use freehold_proto::{GroupId, UserId, wire, wire::payload::Kind, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Case;
use crate::{
    Club, Failure, Result, ScriptedPeer, Stage, club::eventually, failure::expect, peer::Arrived,
    peer::Line, peer::items,
};

/// Members at each scripted domain.
const MEMBERS: u8 = 40;
/// Rounds in which somebody of each of three domains writes, and everybody reads.
const ROUNDS: u32 = 8;
const ROUND: Duration = Duration::from_millis(300);
const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
/// Marks are gathered for this long.
const GATHERED: Duration = Duration::from_secs(1);
/// Items of marks beside one for each time they were gathered: the first, and the last.
const BESIDE: u64 = 2;
/// Real people, and the domains they are of.
const PEOPLE: [(usize, &str); 8] = [
    (0, "ann"),
    (0, "amy"),
    (0, "art"),
    (0, "abe"),
    (1, "bob"),
    (1, "bea"),
    (1, "ben"),
    (1, "bud"),
];
const ANN: usize = 0;
const BOB: usize = 4;

pub(super) const CASE: Case = Case {
    ids: "F49",
    name: "fan_out",
    proves: "in a group of 88 people at four domains each message crosses once to each domain, and marks cross at most about once in a second to each, whoever reads; and all of them arrive",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let one = stage.network.stranger("one.test").await?;
        let two = stage.network.stranger("two.test").await?;
        let mut club = Club::begin(stage, &PEOPLE).await?;
        let home = stage.network.domain(0)?;
        let (name, at) = (home.name().clone(), home.federation());
        let mut line = one.dial(&name, at).await?;
        come(&mut club, &one, &mut line).await?;
        come(&mut club, &two, &mut two.dial(&name, at).await?).await?;
        let members = PEOPLE.len() + 2 * usize::from(MEMBERS);
        for index in [ANN, BOB] {
            sees_members(&mut club, index, members).await?;
        }
        // What came in on the way here is over.
        sleep(2 * GATHERED).await;
        let before = [&one, &two].map(|it| it.arrived().len());

        let began = Instant::now();
        for round in 1..=ROUNDS {
            club.writes(ANN, 1).await?;
            club.writes(BOB, 1).await?;
            one_writes(&club, &one, &mut line, round).await?;
            sees_messages(&mut club, 3 * usize::try_from(round).unwrap_or(0)).await?;
            everybody_reads(&mut club, &one, &mut line, round).await?;
            sleep(ROUND).await;
        }
        let last = club.history(ANN).await?.last().map_or(0, |it| it.seq);
        let last = u32::try_from(last).unwrap_or(0);
        let mut readers: Vec<_> = club
            .members
            .iter()
            .map(|it| it.person.global_id())
            .collect();
        has_read(&two, before[1], &readers, last).await?;
        readers.extend((1..=MEMBERS).map(|it| one.person(it).to_string()));
        has_read(&two, before[1], &readers, last).await?;
        let times = began.elapsed().as_secs() / GATHERED.as_secs() + 1 + BESIDE;
        for (peer, before) in [(&one, before[0]), (&two, before[1])] {
            counts(stage, peer, before, times)?;
        }
        copy_knows(&mut club, &one).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// All people of a scripted domain are asked into the group and say yes.
async fn come(club: &mut Club, peer: &ScriptedPeer, line: &mut Line) -> Result<()> {
    let group = club.group.clone();
    for number in 1..=MEMBERS {
        let user = peer.person(number).to_string();
        let body = json!({"topic": group, "sub": {"user": user}});
        club.session(ANN).await?.request("set", body).await?;
    }
    let asked = |it: &[Arrived]| {
        let asked = it.iter().filter_map(|it| match &it.kind {
            Some(Kind::GroupInvitation(it)) => Some(it.invitee.clone()),
            _ => None,
        });
        asked.collect::<std::collections::BTreeSet<_>>().len() == usize::from(MEMBERS)
    };
    peer.waits_for("all invitations", WITHIN, asked).await?;
    let mut letters = Vec::new();
    for number in 1..=MEMBERS {
        let want = wire::GroupWant {
            want: "JRWPS".to_owned(),
            want_version: 10,
            ..wire::GroupWant::default()
        };
        let request = wire::GroupRequest {
            actor: peer.person(number).to_string(),
            what: Some(wire::group_request::What::Want(want)),
        };
        letters.push(peer.seal_for_group(id(club)?, Kind::GroupRequest(request))?);
    }
    takes(&line.deliver(1, items(1, letters)).await?)
}

fn id(club: &Club) -> Result<GroupId> {
    let read = club.group.parse();
    read.map_err(|error| Failure::harness("read the id of a group", error))
}

fn takes(verdicts: &[Verdict]) -> Result<()> {
    let taken = verdicts.iter().all(|it| matches!(it, Verdict::Ok(_)));
    expect(taken && !verdicts.is_empty(), || {
        format!("the home answered {verdicts:?}")
    })
}

async fn sees_members(club: &mut Club, index: usize, count: usize) -> Result<()> {
    let group = club.group.clone();
    let session = club.session(index).await?;
    let what = format!("to see {count} members");
    eventually(&what, session, async |it| {
        let rows = it.get(&group, "sub").await?.unwrap_or_default();
        let joined = |it: &&serde_json::Value| {
            let mode = it["acs"]["mode"].as_str();
            mode.is_some_and(|it| it.contains("JRW"))
        };
        let rows = rows.as_array().into_iter().flatten();
        Ok(rows.filter(joined).count() == count)
    })
    .await
}

async fn one_writes(club: &Club, one: &ScriptedPeer, line: &mut Line, round: u32) -> Result<()> {
    let message = Kind::GroupMessage(wire::GroupMessage {
        author: one.person(1).to_string(),
        content: json!(format!("one {round}")).to_string().into(),
        ..wire::GroupMessage::default()
    });
    let letter = one.seal_for_group(id(club)?, message)?;
    takes(&line.deliver(1, items(position(round, 0), [letter])).await?)
}

/// Positions of one.test's stream behind its requests, two for each round.
fn position(round: u32, which: u64) -> u64 {
    u64::from(MEMBERS) + 2 * u64::from(round) + which
}

/// Waits until so many messages are at both real domains.
async fn sees_messages(club: &mut Club, count: usize) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    for index in [ANN, BOB] {
        loop {
            let history = club.history(index).await?;
            if history.len() >= count {
                break;
            }
            expect(Instant::now() < deadline, || {
                format!("{} of {count} messages are there", history.len())
            })?;
            sleep(POLL).await;
        }
    }
    Ok(())
}

/// Everybody but the people of two.test says that they have read everything.
async fn everybody_reads(
    club: &mut Club,
    one: &ScriptedPeer,
    line: &mut Line,
    round: u32,
) -> Result<()> {
    let group = club.group.clone();
    let mut order = 0;
    for index in 0..PEOPLE.len() {
        let last = club.history(index).await?.last().map_or(0, |it| it.seq);
        let session = club.session(index).await?;
        session.note(&group, "read", last).await?;
        if index == ANN {
            order = u32::try_from(last).unwrap_or(0);
        }
    }
    let cursors = (1..=MEMBERS).map(|it| wire::GroupCursor {
        user: one.person(it).to_string(),
        received: order,
        read: order,
    });
    let marks = Kind::GroupCursors(wire::GroupCursors {
        group: id(club)?.as_bytes().to_vec().into(),
        cursors: cursors.collect(),
        readers: None,
    });
    let home: UserId = club.members[ANN].person.user_id()?;
    let marks = one.seal(home.domain(), marks)?;
    takes(&line.deliver(1, items(position(round, 1), [marks])).await?)
}

/// Waits until a peer has been told that these people have read so far.
async fn has_read(peer: &ScriptedPeer, before: usize, who: &[String], order: u32) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let read = read_by(peer.arrived().get(before..).unwrap_or_default());
        let behind = who.iter().find(|it| read.get(*it) != Some(&order));
        let Some(behind) = behind else { return Ok(()) };
        expect(Instant::now() < deadline, || {
            let read = read.get(behind);
            let name = peer.domain();
            format!("{name} knows {behind} to have read {read:?}, and all have read {order}")
        })?;
        sleep(POLL).await;
    }
}

/// How far each person has read, by what a peer was told: by marks, and by what they wrote, since who
/// writes has read and no mark says so.
fn read_by(arrived: &[Arrived]) -> BTreeMap<String, u32> {
    let mut read: BTreeMap<String, u32> = BTreeMap::new();
    for arrived in arrived {
        let told = match (&arrived.kind, &arrived.placed) {
            (Some(Kind::GroupCursors(it)), _) => {
                let cursors = it.cursors.iter();
                cursors.map(|it| (it.user.clone(), it.read)).collect()
            }
            (Some(Kind::GroupMessage(it)), Some(placed)) => vec![(it.author.clone(), placed.order)],
            _ => Vec::new(),
        };
        for (user, order) in told {
            let known = read.entry(user).or_default();
            *known = order.max(*known);
        }
    }
    read
}

/// What crossed to a peer: each message once, and marks so many times at most.
fn counts(stage: &Stage, peer: &ScriptedPeer, before: usize, times: u64) -> Result<()> {
    let mut texts: BTreeMap<String, u32> = BTreeMap::new();
    let (mut marks, mut others) = (0, 0);
    for arrived in peer.arrived().iter().skip(before) {
        match &arrived.kind {
            Some(Kind::GroupMessage(it)) if arrived.placed.is_some() => {
                let text = String::from_utf8_lossy(&it.content).into_owned();
                *texts.entry(text).or_default() += 1;
            }
            Some(Kind::GroupCursors(_)) => marks += 1,
            _ => others += 1,
        }
    }
    let (count, name) = (texts.len(), peer.domain());
    let all = usize::try_from(3 * ROUNDS).unwrap_or(0);
    let once = texts.values().all(|it| *it == 1);
    expect(count == all && once && others == 0, || {
        format!("of {all} messages these came to {name}: {texts:?}, and {others} other items")
    })?;
    expect(marks > 0 && marks <= times, || {
        format!("{marks} items of marks came to {name} while they were gathered {times} times")
    })?;
    stage.line.held(
        name,
        format!("{count} messages came, each once, and {marks} items of marks"),
    );
    Ok(())
}

/// The real copy knows, too, what everybody at one.test has read.
async fn copy_knows(club: &mut Club, one: &ScriptedPeer) -> Result<()> {
    let (group, last) = (club.group.clone(), club.history(BOB).await?);
    let last = last.last().map_or(0, |it| it.seq);
    let session = club.session(BOB).await?;
    eventually(
        "to know that all have read everything",
        session,
        async |it| {
            let rows = it.get(&group, "sub").await?.unwrap_or_default();
            let rows = rows.as_array().cloned().unwrap_or_default();
            let read = |number: u8| {
                let name = one.person(number).to_string();
                let row = rows.iter().find(|it| it["user"] == *name);
                row.and_then(|it| it["read"].as_u64()).unwrap_or(0)
            };
            Ok((1..=MEMBERS).all(|it| read(it) == last))
        },
    )
    .await
}
