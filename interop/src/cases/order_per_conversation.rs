//! People of three domains write at once in two groups while ways are cut (F31).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{Club, Progress, Result, Stage, Way};

const PACE: Duration = Duration::from_millis(20);
/// How long they write.
const TIME: Duration = Duration::from_secs(8);
/// How long a way is as it is.
const LASTS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(700));
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);

pub(super) const CASE: Case = Case {
    ids: "F31",
    name: "order_per_conversation",
    proves: "while people of three domains write at once in two groups and ways are cut, silent and slow, every domain shows each group in its home's order, and each author's words in theirs",
    domains: &["alpha.test", "beta.test", "gamma.test"],
    needs: &[Need::Ways],
    within: Duration::from_secs(150),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let people = [(0, "ann"), (1, "bob"), (2, "cat")];
        let mut one = Club::begin(stage, &people).await?;
        let people = [(1, "dan"), (2, "eve"), (0, "fay")];
        let mut other = Club::begin(stage, &people).await?;
        let all = [0, 1, 2];
        let both = async |_: &Progress| {
            let disturbed = async |_: &Progress| disturb(stage).await;
            other.write_while(&all, PACE, disturbed).await
        };
        one.write_while(&all, PACE, both).await?;
        one.agree(ARRIVE_WITHIN).await?;
        other.agree(ARRIVE_WITHIN).await?;
        one.marks_agree(ARRIVE_WITHIN).await?;
        other.marks_agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Breaks one way after the other, and mends them all.
async fn disturb(stage: &mut Stage) -> Result<()> {
    let end = Instant::now() + TIME;
    while Instant::now() < end {
        let from = stage.random.index(3);
        let to = (from + 1 + stage.random.index(2)) % 3;
        let way = match stage.random.below(5) {
            0..=1 => Way::Cut,
            2 => Way::Silent,
            3 => Way::Deaf,
            _ => Way::Slow(Duration::from_millis(60)),
        };
        stage.network.set_way(from, to, way)?;
        sleep(stage.random.pause(LASTS.0, LASTS.1)).await;
        stage.network.set_way(from, to, Way::Open)?;
    }
    Ok(())
}
