//! A receiver that dies at each point around storing and answering (F26).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{Chat, Result, Stage};

/// Between the arrival of a batch and its answer, in order.
const POINTS: [&str; 5] = [
    "deliver.opened",
    "topic.committed",
    "deliver.decided",
    "deliver.noted",
    "deliver.answered",
];
const END_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const ARRIVE_WITHIN: Duration = Duration::from_secs(40);

pub(super) const CASE: Case = Case {
    ids: "F26",
    name: "kill_before_ack",
    proves: "a receiver that dies before or after it stores, notes or answers a batch loses nothing and shows nothing twice",
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
            chat.disconnect(1);
            let beta = stage.network.domain(1)?;
            beta.stop(STOP_WITHIN).await?;
            chat.writes(0, 4).await?;
            beta.hooks.kill_at = Some(point.to_owned());
            // It may be dead before it has answered anybody.
            beta.start_only()?;
            beta.ends(END_WITHIN).await?;
            beta.hooks.kill_at = None;
            beta.start().await?;
            chat.writes(1, 1).await?;
        }
        chat.agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}
