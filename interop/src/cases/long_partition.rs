//! A domain of a group that is cut off while thousands of messages are written (F29).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::sleep;

use super::{Case, Need};
use crate::{Club, Result, Stage, Way};

/// Messages written meanwhile, at least.
const WRITTEN: u64 = 3000;
const PACE: Duration = Duration::from_millis(3);
const POLL: Duration = Duration::from_millis(20);
const ARRIVE_WITHIN: Duration = Duration::from_secs(120);

pub(super) const CASE: Case = Case {
    ids: "F29",
    name: "long_partition",
    proves: "a domain cut off from a group while thousands of messages are written, and the home restarts, has the whole log in the home's order afterwards, and its own words are everywhere",
    domains: &["alpha.test", "beta.test", "gamma.test"],
    needs: &[Need::Starting, Need::Ways],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "bob"), (2, "cat")]).await?;
        for index in 0..3 {
            club.writes(index, 2).await?;
        }
        club.agree(ARRIVE_WITHIN).await?;

        stage.network.set_ways(0, 2, Way::Cut)?;
        stage.network.set_ways(1, 2, Way::Cut)?;
        club.writes(2, 20).await?;
        let all_the_while = async |progress: &crate::Progress| {
            while progress.acknowledged.get() < WRITTEN / 2 {
                sleep(POLL).await;
            }
            // How far gamma has been told is on disk.
            let home = stage.network.domain(0)?;
            home.kill()?;
            home.start().await?;
            while progress.acknowledged.get() < WRITTEN {
                sleep(POLL).await;
            }
            Result::Ok(())
        };
        club.write_while(&[0, 1], PACE, all_the_while).await?;
        stage.network.set_ways(0, 2, Way::Open)?;
        stage.network.set_ways(1, 2, Way::Open)?;
        club.agree(ARRIVE_WITHIN).await?;
        club.marks_agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}
