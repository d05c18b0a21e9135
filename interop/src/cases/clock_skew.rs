//! Clocks that are wrong, and that jump (F39).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{Chat, Result, Stage, Way, failure::expect};

const MINUTE: i64 = 60;
/// Offsets of both clocks in seconds, in the order they are set. A message that waits through a jump is
/// never dated more than an hour ahead of the clock that judges it then.
const WRONG: [(i64, i64); 6] = [
    (50 * MINUTE, 0),
    (0, 50 * MINUTE),
    (-5 * MINUTE, 50 * MINUTE),
    (1, -1),
    (-50 * MINUTE, -20 * MINUTE),
    (0, 0),
];
/// More than the protocol bears.
const FAR_AHEAD: i64 = 3 * 60 * MINUTE;
const ARRIVE_WITHIN: Duration = Duration::from_secs(40);

pub(super) const CASE: Case = Case {
    ids: "F39",
    name: "clock_skew",
    proves: "clocks that are up to an hour apart and jump there and back change neither delivery nor order; what is dated too far ahead is refused and its author is told",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Hooks, Need::Ways],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        for (alpha, beta) in WRONG {
            // One message waits through the jump, others follow it.
            stage.network.set_ways(0, 1, Way::Cut)?;
            chat.writes(0, 2).await?;
            chat.writes(1, 2).await?;
            stage.network.domain(0)?.set_clock(alpha)?;
            stage.network.domain(1)?.set_clock(beta)?;
            stage.network.set_ways(0, 1, Way::Open)?;
            chat.writes(0, 2).await?;
            chat.writes(1, 2).await?;
            chat.agree(ARRIVE_WITHIN).await?;
        }
        too_far_ahead(stage, &mut chat).await?;
        chat.agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// A link from before the jump is still good; what goes over it now is dated three hours ahead.
async fn too_far_ahead(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    chat.writes(0, 1).await?;
    chat.agree(ARRIVE_WITHIN).await?;
    stage.network.domain(0)?.set_clock(FAR_AHEAD)?;
    stage
        .pause(Duration::from_millis(100), "the clock is read")
        .await;
    let topic = chat.topic(0);
    chat.session(0)
        .await?
        .publish(&topic, "from the future")
        .await?;
    let note = chat.is_shown(0, "refused it", ARRIVE_WITHIN).await?;
    let told = note.content.as_str().unwrap_or_default();
    expect(told.contains("beta.test"), || {
        format!("the note does not say who refused: {told}")
    })?;
    let seen = chat.history(1).await?;
    expect(
        seen.iter().all(|it| it.content != "from the future"),
        || "bob is shown a message from three hours ahead".to_owned(),
    )?;
    stage.network.domain(0)?.set_clock(0)
}
