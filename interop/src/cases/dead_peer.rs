//! A peer that goes and does not come back for long (F37).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{Chat, Failure, Message, Result, Stage, failure::expect};

/// So many times faster: two minutes are six seconds, a day is more than an hour.
const HASTE: u32 = 20;
const DAY: i64 = 24 * 60 * 60;
const WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(250);
const LOST: [&str; 3] = ["are you there?", "hello?", "never mind"];

pub(super) const CASE: Case = Case {
    ids: "F37",
    name: "dead_peer",
    proves: "who writes to a domain that is away sees since when and how long a message waits; after a week the author of each is told; when the domain comes back, life goes on",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Hooks, Need::Starting],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.network.domain(0)?.hooks.haste = Some(HASTE);
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        expect(chat.description(0).await?["away"].is_null(), || {
            "a peer that is there is said to be away".to_owned()
        })?;
        chat.disconnect(1);
        stage.network.domain(1)?.stop(STOP_WITHIN).await?;
        let topic = chat.topic(0);
        for text in LOST {
            chat.session(0).await?.publish(&topic, text).await?;
        }
        let away = is_away(&mut chat, true).await?;
        let waiting = chat.description(0).await?["waiting"].clone();
        expect(waiting == LOST.len(), || {
            format!("of {} messages {waiting} are said to wait", LOST.len())
        })?;
        stage
            .line
            .held("alice", format!("sees that beta.test is away: {away}"));
        still_waits(stage, &mut chat).await?;
        a_week_passes(stage, &mut chat).await?;

        stage.network.domain(1)?.set_clock(8 * DAY)?;
        stage.network.domain(1)?.start().await?;
        chat.writes(0, 2).await?;
        chat.writes(1, 2).await?;
        chat.agree(WITHIN).await?;
        is_away(&mut chat, false).await?;
        let waiting = chat.description(0).await?["waiting"].clone();
        expect(waiting.is_null(), || {
            format!("{waiting} messages are said to wait when none does")
        })?;
        let seen = chat.history(1).await?;
        let lost = |it: &&Message| LOST.iter().any(|text| it.content == *text);
        expect(!seen.iter().any(|it| lost(&it)), || {
            "bob is shown what alice was told is lost".to_owned()
        })?;
        stage
            .line
            .held("alice and bob", "talk again; nothing of the old comes up");
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Waits until the chat says that the other domain is away, or does not any more.
async fn is_away(chat: &mut Chat, wanted: bool) -> Result<Value> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let away = chat.description(0).await?["away"].clone();
        if away.is_object() == wanted {
            return Ok(away);
        }
        if Instant::now() > deadline {
            return Err(Failure::Broken(format!("away is {away} for long")));
        }
        sleep(POLL).await;
    }
}

/// Six days are not a week, and a restart in between changes nothing.
async fn still_waits(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    let alpha = stage.network.domain(0)?;
    alpha.set_clock(6 * DAY)?;
    chat.disconnect(0);
    alpha.stop(STOP_WITHIN).await?;
    alpha.start().await?;
    stage
        .pause(
            Duration::from_secs(4),
            "it is tried, and nobody is told yet",
        )
        .await;
    let early = notes(&chat.history(0).await?);
    expect(early.is_empty(), || {
        format!("alice is told early: {early:?}")
    })
}

async fn a_week_passes(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    stage.network.domain(0)?.set_clock(8 * DAY)?;
    let deadline = Instant::now() + WITHIN;
    let told = loop {
        let told = notes(&chat.history(0).await?);
        if told.len() >= LOST.len() {
            break told;
        }
        if Instant::now() > deadline {
            return Err(Failure::Broken(format!(
                "after a week alice is told {told:?}"
            )));
        }
        sleep(POLL).await;
    };
    expect(told.len() == LOST.len(), || {
        format!("alice is told more than once: {told:?}")
    })?;
    let note = told.first().cloned().unwrap_or_default();
    stage.line.held(
        "alice",
        format!("is told of each of three messages: {note}"),
    );
    Ok(())
}

fn notes(history: &[Message]) -> Vec<String> {
    let texts = history.iter().filter_map(|it| it.content.as_str());
    let told = texts.filter(|it| it.contains("could not be reached in time"));
    told.map(str::to_owned).collect()
}
