//! Answers that are lost, and a peer that repeats and shuffles what it says (F25).

use std::{collections::BTreeMap, time::Duration};

use freehold_proto::{UserId, wire, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::Instant;

use super::{Case, Need};
use crate::{
    Chat, Failure, FrameKind, Result, ScriptedPeer, Session, Stage, Way, failure::expect,
    peer::items,
};

const WITHIN: Duration = Duration::from_secs(40);
/// Time in which a second notice would still come.
const LINGER: Duration = Duration::from_secs(1);
const TEXTS: u64 = 6;

pub(super) const CASE: Case = Case {
    ids: "F25",
    name: "exactly_once",
    proves: "batches that arrive twice, shuffled, or on two connections at once have one effect: one message, one unread, one notice",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Ways],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        answers_get_lost(stage, &mut chat).await?;
        a_peer_repeats_itself(stage, &mut chat).await?;
        chat.agree(WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// What alice writes arrives and alpha never learns so; then it is sent again.
async fn answers_get_lost(stage: &Stage, chat: &mut Chat) -> Result<()> {
    chat.reads(1).await?;
    chat.disconnect(1);
    let mut bystander = chat.bystander(1).await?;
    stage.network.set_way(0, 1, Way::Deaf)?;
    chat.writes(0, TEXTS).await?;
    let mut notices = BTreeMap::new();
    let from = chat.topic(1);
    // The first batch gets there; alpha waits in vain for what became of it.
    let some = |it: &BTreeMap<u64, u32>| !it.is_empty();
    count_notices(&mut bystander, &from, &mut notices, WITHIN, some).await?;
    stage.network.set_way(0, 1, Way::Cut)?;
    stage
        .pause(Duration::from_millis(200), "the answers are lost")
        .await;
    stage.network.set_way(0, 1, Way::Open)?;
    chat.writes(0, 1).await?;
    chat.agree(WITHIN).await?;
    chat.disconnect(1);
    count_notices(&mut bystander, &from, &mut notices, LINGER, |_| false).await?;
    let count = u64::try_from(notices.len()).unwrap_or(u64::MAX);
    expect(count == TEXTS + 1, || {
        format!("bob was told of {count} of {} messages", TEXTS + 1)
    })?;
    let twice: Vec<_> = notices.iter().filter(|(_, count)| **count > 1).collect();
    expect(twice.is_empty(), || {
        format!("bob was told more than once of: {twice:?}")
    })?;
    let unread = chat.unread(1).await?;
    expect(unread == TEXTS + 1, || {
        format!("bob has {unread} unread messages instead of {}", TEXTS + 1)
    })?;
    stage.line.held(
        "bob@beta.test",
        format!("has {unread} unread and was told of each once"),
    );
    Ok(())
}

/// Counts, by `seq`, notices about a chat that is not open, until it is enough or time is up.
async fn count_notices(
    bystander: &mut Session,
    from: &str,
    notices: &mut BTreeMap<u64, u32>,
    within: Duration,
    enough: impl Fn(&BTreeMap<u64, u32>) -> bool,
) -> Result<()> {
    let deadline = Instant::now() + within;
    while !enough(notices)
        && let Some(frame) = bystander.next(deadline).await?
    {
        let is_notice = frame.kind == FrameKind::Pres
            && frame.text("what") == "msg"
            && frame.text("src") == from;
        if is_notice {
            let seq = frame.body["seq"].as_u64().unwrap_or(0);
            *notices.entry(seq).or_default() += 1;
        }
    }
    Ok(())
}

async fn a_peer_repeats_itself(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    let peer = stage.network.stranger("echo.test").await?;
    let (eve, bob) = (peer.person(1), global(&chat.people[1].global_id())?);
    let topic = eve.to_string();
    chat.session(1).await?.subscribe(&topic).await?;
    let beta = stage.network.domain(1)?;
    let (name, at) = (beta.name().clone(), beta.federation());
    let mut line = peer.dial(&name, at).await?;
    let texts = texts(&peer, &eve, &bob)?;
    let mut first = vec![peer.consents(&eve, &bob, 1)?];
    first.extend(texts.iter().take(3).cloned());
    let verdicts = line.deliver(1, items(1, first.clone())).await?;
    expect(verdicts.iter().all(is_ok), || {
        format!("a first batch was answered by {verdicts:?}")
    })?;
    let again = line.deliver(1, items(1, first.clone())).await?;
    expect(again.iter().skip(1).all(is_duplicate), || {
        format!("the same batch again was answered by {again:?}")
    })?;
    let mut shuffled: Vec<_> = texts.iter().take(3).rev().cloned().collect();
    shuffled.extend(texts.iter().skip(3).cloned());
    shuffled.extend(texts.iter().skip(3).cloned());
    let verdicts = line.deliver(2, items(1, shuffled)).await?;
    let fresh = verdicts.iter().filter(|it| is_ok(it)).count();
    expect(fresh == texts.len() - 3, || {
        format!("a shuffled batch was answered by {verdicts:?}")
    })?;
    let mut other = peer.dial(&name, at).await?;
    let (one, two) = tokio::join!(
        line.deliver(3, items(1, texts.clone())),
        other.deliver(4, items(1, texts.clone()))
    );
    let both = [one?, two?].concat();
    expect(both.iter().all(is_duplicate), || {
        format!("two batches at once were answered by {both:?}")
    })?;
    stage.line.act(
        "echo.test",
        "says everything several times, backwards, and on two lines at once",
    );
    let seen = chat.session(1).await?.history(&topic, 1).await?;
    let seen: Vec<_> = seen.iter().filter_map(|it| it.content.as_str()).collect();
    let expected: Vec<_> = (1..=TEXTS).map(|it| format!("eve {it}")).collect();
    expect(seen == expected, || format!("bob sees {seen:?} of eve"))?;
    stage
        .line
        .held("bob@beta.test", "sees each message of eve once, in order");
    Ok(())
}

fn texts(peer: &ScriptedPeer, eve: &UserId, bob: &UserId) -> Result<Vec<wire::Envelope>> {
    let texts = (1..=TEXTS).map(|it| peer.text(eve, bob, &format!("eve {it}")));
    texts.collect()
}

fn global(id: &str) -> Result<UserId> {
    id.parse()
        .map_err(|error| Failure::harness(format!("read {id}"), error))
}

fn is_ok(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Ok(_))
}

fn is_duplicate(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Duplicate(_))
}
