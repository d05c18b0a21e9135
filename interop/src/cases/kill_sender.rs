//! A sender that dies at each point between a client's message and the end of its outbox row (F27).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{Chat, Result, Stage, failure::expect};

/// From the message to the end of its row, in order.
const POINTS: [&str; 5] = [
    "outbox.queueing",
    "topic.committed",
    "batch.offering",
    "batch.answered",
    "batch.settled",
];
const END_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const ARRIVE_WITHIN: Duration = Duration::from_secs(40);

pub(super) const CASE: Case = Case {
    ids: "F27",
    name: "kill_sender",
    proves: "a sender that dies anywhere between a message and the removal of its outbox row delivers after its restart, without help of a client, what was acknowledged, once",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Hooks, Need::Starting],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        for point in POINTS {
            chat.disconnect(0);
            let alpha = stage.network.domain(0)?;
            alpha.stop(STOP_WITHIN).await?;
            alpha.hooks.kill_at = Some(point.to_owned());
            alpha.start().await?;
            let accepted = chat.writes_one(0).await?;
            stage
                .line
                .act("alice", format!("writes one; acknowledged: {accepted}"));
            let alpha = stage.network.domain(0)?;
            alpha.ends(END_WITHIN).await?;
            chat.disconnect(0);
            alpha.hooks.kill_at = None;
            alpha.start().await?;
        }
        from_outside(stage, &mut chat).await?;
        chat.agree(ARRIVE_WITHIN).await?;
        let acknowledged = chat.ledgers[0].acknowledged.len();
        expect(acknowledged >= 6, || {
            format!("only {acknowledged} messages were acknowledged: the case shows nothing")
        })?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Killed right behind an acknowledgement.
async fn from_outside(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    for _ in 0..3 {
        chat.writes(0, 1).await?;
        let alpha = stage.network.domain(0)?;
        alpha.kill()?;
        chat.disconnect(0);
        alpha.start().await?;
    }
    Ok(())
}
