//! A link that is cut, a receiver that is stopped, a sender that restarts meanwhile (F28).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{Chat, Result, Stage, Way};

const STOP_WITHIN: Duration = Duration::from_secs(15);
const ARRIVE_WITHIN: Duration = Duration::from_secs(40);

pub(super) const CASE: Case = Case {
    ids: "F28",
    name: "three_outages",
    proves: "what is written while the link is cut, while the receiver is stopped, and after the sender restarted meanwhile, all arrives once and in order",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Ways],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;

        stage.network.set_ways(0, 1, Way::Cut)?;
        chat.writes(0, 5).await?;
        chat.writes(1, 5).await?;
        stage.network.set_ways(0, 1, Way::Open)?;
        chat.agree(ARRIVE_WITHIN).await?;

        chat.disconnect(1);
        stage.network.domain(1)?.stop(STOP_WITHIN).await?;
        chat.writes(0, 5).await?;
        chat.disconnect(0);
        stage.network.domain(0)?.stop(STOP_WITHIN).await?;
        stage.network.domain(0)?.start().await?;
        chat.writes(0, 5).await?;
        stage.network.domain(1)?.start().await?;
        chat.writes(1, 5).await?;
        chat.agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}
