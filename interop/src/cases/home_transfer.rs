//! The owner of a group has it live elsewhere, while everybody writes and servers are killed (F47).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::sleep;

use super::{Case, Need};
use crate::{Club, Progress, Result, Stage, club::eventually, failure::expect};

const PACE: Duration = Duration::from_millis(15);
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
const MOVE_WITHIN: Duration = Duration::from_secs(30);
/// How long servers are up and down while everybody writes.
const WHILE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(900));

pub(super) const CASE: Case = Case {
    ids: "F47",
    name: "home_transfer",
    proves: "a group moves from home to home as its owner wishes while all write and servers are killed: nothing is lost or doubled, no domain gives a number twice, letters to a former home reach the next",
    domains: &["alpha.test", "beta.test", "gamma.test", "delta.test"],
    needs: &[Need::Starting],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let people = [(0, "ann"), (1, "bob"), (2, "cat"), (3, "dan"), (0, "ben")];
        let mut club = Club::begin(stage, &people).await?;
        club.moved = true;
        club.trusts(1).await?;
        club.trusts(2).await?;
        for index in 0..4 {
            club.writes(index, 3).await?;
        }
        club.agree(ARRIVE_WITHIN).await?;

        // Dan's domain does not hear of the move, and has something for the former home.
        club.disconnect(3);
        stage.network.domain(3)?.kill()?;
        wishes(&mut club, "beta.test").await?;
        club.is_decided_by(0, Some("beta.test"), MOVE_WITHIN)
            .await?;
        stage.network.domain(3)?.start().await?;
        club.writes(3, 3).await?;
        club.writes(0, 3).await?;
        club.agree(ARRIVE_WITHIN).await?;

        // It moves on while all write, and any server is killed.
        wishes(&mut club, "gamma.test").await?;
        let killed = async |_: &Progress| kill(stage).await;
        club.write_while(&[1, 2, 3, 4], PACE, killed).await?;
        club.disconnect(0);
        club.is_decided_by(0, Some("gamma.test"), MOVE_WITHIN)
            .await?;
        club.agree(ARRIVE_WITHIN).await?;

        // The homes before are not needed any more.
        for index in [0, 1] {
            club.disconnect(index);
            stage.network.domain(index)?.kill()?;
        }
        club.writes(2, 3).await?;
        club.writes(3, 3).await?;
        let (group, last) = (club.group.clone(), club.members[2].ledger.sent);
        let last = format!("cat {last}");
        let session = club.session(3).await?;
        eventually(
            "to hear of others without the former homes",
            session,
            async |it| {
                let history = it.history(&group, 1).await?;
                Ok(history.iter().any(|it| it.content == *last))
            },
        )
        .await?;
        for index in [0, 1] {
            stage.network.domain(index)?.start().await?;
        }
        club.agree(ARRIVE_WITHIN).await?;
        // And back where it was made.
        wishes(&mut club, "alpha.test").await?;
        club.is_decided_by(0, None, MOVE_WITHIN).await?;
        for index in 0..4 {
            club.writes(index, 2).await?;
        }
        club.agree(ARRIVE_WITHIN).await?;
        club.marks_agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

async fn wishes(club: &mut Club, home: &str) -> Result<()> {
    let wish = json!({"topic": club.group, "aux": {"fh-home": home}});
    let answer = club.asks(0, "set", wish).await?;
    expect(answer.code() == 200, || {
        format!(
            "the owner's wish for {home} was answered by {}",
            answer.body
        )
    })
}

/// Kills servers, the homes before and after more often than others.
async fn kill(stage: &mut Stage) -> Result<()> {
    for index in [1, 2, 0, 1, 2, 3] {
        sleep(stage.random.pause(WHILE.0, WHILE.1)).await;
        stage.network.domain(index)?.kill()?;
        sleep(stage.random.pause(WHILE.0, WHILE.1)).await;
        stage.network.domain(index)?.start().await?;
    }
    Ok(())
}
