//! Words whose protobuf no honest program writes, under a signature that holds (F11).

use std::time::Duration;

use freehold_proto::{Destination, GroupId, wire};
use futures_util::FutureExt as _;
use wire::{payload::Kind, read_group_request::What as Asked, read_group_response::What as Shown};

use super::{
    Case,
    home_integrity::joins,
    hostile::{Foe, Play, TAKEN, all_show, payload, shows, words},
};
use crate::{
    Club, Failure, Person, Result, Stage,
    failure::expect,
    peer::{
        Arrived, Line,
        by_hand::{bytes, number, overlong, tag},
    },
};

const WITHIN: Duration = Duration::from_secs(30);
const TEXTS: [&str; 5] = ["backwards", "unknown", "twice", "defaults", "overlong"];

pub(super) const CASE: Case = Case {
    ids: "F11",
    name: "raw_bytes_verified",
    proves: "words in fields of another order, with unknown, repeated or needless ones, are verified and handed on as the bytes that were signed: at the home, at every other domain, in every page, and after a restart",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        relayed_by_a_home(stage).await?;
        kept_by_a_copy(stage).await
    }
    .boxed_local()
}

/// The same five texts, each in bytes of its own kind.
fn odd(foe: &Foe) -> Vec<Vec<u8>> {
    let author = || bytes(1, foe.eve().to_string());
    let content = |text: &str| bytes(3, format!("{text:?}"));
    let unknown = || {
        [
            number(90, 7),
            bytes(2000, "nobody knows"),
            tag(91, 5),
            vec![1, 2, 3, 4],
            tag(92, 1),
            vec![0; 8],
        ]
        .concat()
    };
    let message = |parts: &[Vec<u8>]| bytes(5, parts.concat());
    vec![
        message(&[content("backwards"), bytes(2, "{}"), author()]),
        [
            unknown(),
            message(&[unknown(), author(), content("unknown"), unknown()]),
            unknown(),
        ]
        .concat(),
        message(&[
            author(),
            content("not this"),
            author(),
            number(5, 3),
            content("twice"),
            number(5, 0),
        ]),
        message(&[author(), bytes(2, ""), content("defaults"), number(5, 0)]),
        message(&[author(), content("overlong"), tag(5, 0), overlong(0, 4)]),
    ]
}

fn sealed(foe: &Foe, group: GroupId) -> Result<Vec<wire::Envelope>> {
    let all = odd(foe).into_iter();
    let all = all.map(|it| foe.forges(Destination::Group(group), it));
    all.collect()
}

async fn relayed_by_a_home(stage: &mut Stage) -> Result<()> {
    let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
    let author = Foe::comes(stage, 0, "author.test").await?;
    let mut reader = Foe::comes(stage, 0, "reader.test").await?;
    let group = author.joins(&mut club).await?;
    reader.joins(&mut club).await?;
    let sealed = sealed(&author, group)?;
    let answers = author.hands(sealed.clone()).await?;
    expect(answers == [TAKEN; 5], || {
        format!("odd and valid words were answered by {answers:?}")
    })?;
    all_show(&mut club, &TEXTS).await?;
    let came = |it: &[Arrived]| relayed(it, &sealed);
    reader
        .peer
        .waits_for("the signed bytes", WITHIN, |it| came(it).len() == 5)
        .await?;
    let in_order = came(&reader.peer.arrived());
    expect(in_order == sealed, || {
        "the home hands on what was signed in another order".to_owned()
    })?;
    pages(&mut reader.line(), group, &sealed).await?;
    stage.starts_again(0).await?;
    reader.comes_back(stage, 0).await?;
    pages(&mut reader.line(), group, &sealed).await?;
    club.disconnect(0);
    all_show(&mut club, &TEXTS).await?;
    stage.line.held(
        "reader.test",
        "gets the very bytes that were signed, also after a restart",
    );
    Ok(())
}

/// What came of these envelopes, byte by byte the same.
fn relayed(arrived: &[Arrived], sealed: &[wire::Envelope]) -> Vec<wire::Envelope> {
    let envelopes = arrived.iter().map(|it| it.envelope.clone());
    envelopes.filter(|it| sealed.contains(it)).collect()
}

/// Both ways of reading a log give these envelopes.
async fn pages(line: &mut Line, group: GroupId, sealed: &[wire::Envelope]) -> Result<()> {
    for asked in [Asked::MessagesBefore(u32::MAX), Asked::EntriesAfter(0)] {
        let mut found = read(line, group, asked.clone()).await?;
        if let Asked::MessagesBefore(_) = asked {
            found.reverse();
        }
        found.retain(|it| sealed.contains(it));
        expect(found == sealed, || {
            format!("{asked:?} shows {} of the signed bytes", found.len())
        })?;
    }
    Ok(())
}

/// The envelopes that a page shows; what comes after a state is read behind its head.
async fn read(line: &mut Line, group: GroupId, asked: Asked) -> Result<Vec<wire::Envelope>> {
    let mut answer = line.read_group(group, asked).await?;
    if let Some(Shown::State(state)) = &answer.what {
        let head = state.head.clone().unwrap_or_default();
        let head = freehold_proto::Position::decode(&head.position);
        let head = head.map_err(|error| Failure::Broken(format!("a head: {error}")))?;
        let behind = Asked::EntriesAfter(head.index);
        answer = line.read_group(group, behind).await?;
    }
    let Some(Shown::Page(page)) = answer.what else {
        return Err(Failure::Broken(format!("a page of a log is {answer:?}")));
    };
    let entries = page.entries.into_iter();
    Ok(entries.filter_map(|it| it.envelope).collect())
}

/// A copy shows its log to its home only: and that is what was signed.
async fn kept_by_a_copy(stage: &mut Stage) -> Result<()> {
    let home = Foe::comes(stage, 0, "home.test").await?;
    let author = Foe::comes(stage, 0, "writer.test").await?;
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let bob = bob.user_id()?;
    let mut group = joins(&home.peer, &bob, (&mut home.line(), &mut session)).await?;
    let comes = wire::GroupChange {
        actor: author.eve().to_string(),
        members: vec![wire::Member {
            user: author.eve().to_string(),
            want: "JRWPS".to_owned(),
            want_version: 1,
            given: "JRWPS".to_owned(),
            given_version: 1,
            ..wire::Member::default()
        }],
        ..wire::GroupChange::default()
    };
    let comes = home
        .peer
        .seal_for_group(group.id, Kind::GroupChange(comes))?;
    let mut entries = vec![home.peer.places(&mut group, comes, false)];
    let sealed = sealed(&author, group.id)?;
    for envelope in &sealed {
        entries.push(home.peer.places(&mut group, envelope.clone(), true));
    }
    let last = payload(Kind::GroupMessage(words(&home.eve(), "last")));
    let last = home.forges(Destination::Group(group.id), last)?;
    entries.push(home.peer.places(&mut group, last, true));
    let answers = home.hands_items(entries).await?;
    expect(answers == [TAKEN; 7], || {
        format!("odd and valid entries were answered by {answers:?}")
    })?;
    let name = group.id.to_string();
    let texts: Vec<&str> = ["one"].into_iter().chain(TEXTS).chain(["last"]).collect();
    shows(&mut session, &name, &texts).await?;
    let mut kept = read(&mut home.line(), group.id, Asked::EntriesAfter(2)).await?;
    kept.retain(|it| sealed.contains(it));
    expect(kept == sealed, || {
        format!(
            "a copy keeps {} of {} envelopes as they were signed",
            kept.len(),
            sealed.len()
        )
    })?;
    stage.line.held(
        "alpha.test",
        "keeps in a copy the very bytes that were signed",
    );
    Ok(())
}
