//! The home of a group is gone for good, or so it seems: its successors agree on another one (F48).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{Club, Progress, Result, Stage, club::eventually, failure::expect};

const PACE: Duration = Duration::from_millis(15);
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
const TAKE_WITHIN: Duration = Duration::from_secs(60);
/// For how long the home must be away.
const WAIT: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(200);

pub(super) const CASE: Case = Case {
    ids: "F48",
    name: "home_takeover",
    proves: "only when the home of a group has been away for its time, and most of its named successors agree, one of them becomes the home; the former one comes back as a copy, and what it alone had placed is placed again",
    domains: &["alpha.test", "beta.test", "gamma.test", "delta.test"],
    needs: &[Need::Starting],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        for index in 0..4 {
            let lines = &mut stage.network.domain(index)?.config.federation_lines;
            lines.push(format!("takeover_after_seconds = {}", WAIT.as_secs()));
        }
        stage.start_all().await?;
        let people = [(0, "ann"), (1, "bob"), (2, "cat"), (3, "dan"), (0, "ben")];
        let mut club = Club::begin(stage, &people).await?;
        club.moved = true;
        names_successors(&mut club).await?;
        for index in 0..4 {
            club.writes(index, 3).await?;
        }
        club.agree(ARRIVE_WITHIN).await?;

        // What alpha places now nobody else sees.
        for index in 1..4 {
            club.disconnect(index);
            stage.network.domain(index)?.kill()?;
        }
        club.writes(0, 5).await?;
        club.disconnect(0);
        stage.network.domain(0)?.kill()?;

        stage.network.domain(1)?.start().await?;
        club.writes(1, 3).await?;
        nobody_takes_over(stage, &mut club).await?;

        // Two of three are enough.
        stage.network.domain(2)?.start().await?;
        club.is_decided_by(1, None, TAKE_WITHIN).await?;
        club.is_decided_by(2, Some("beta.test"), TAKE_WITHIN)
            .await?;
        club.writes(2, 3).await?;
        stage.network.domain(3)?.start().await?;
        club.writes(3, 3).await?;
        club.is_decided_by(3, Some("beta.test"), TAKE_WITHIN)
            .await?;

        // The former home comes back, while everybody writes; its own people too.
        let back = async |_: &Progress| comes_back(stage).await;
        club.write_while(&[1, 2, 3], PACE, back).await?;
        club.is_decided_by(0, Some("beta.test"), TAKE_WITHIN)
            .await?;
        club.writes(0, 3).await?;
        club.writes(4, 3).await?;
        club.agree(ARRIVE_WITHIN).await?;
        club.marks_agree(ARRIVE_WITHIN).await?;
        let said = stage.network.domain(0)?.said();
        expect(said.contains("successors have taken over a group"), || {
            "alpha's operator was not told that another is the home".to_owned()
        })?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

async fn names_successors(club: &mut Club) -> Result<()> {
    for index in 1..4 {
        club.trusts(index).await?;
    }
    let named = json!(["beta.test", "gamma.test", "delta.test"]);
    let body = json!({"topic": club.group, "aux": {"fh-successors": named}});
    let answer = club.asks(0, "set", body).await?;
    expect(answer.code() == 200, || {
        format!("the successors were answered by {}", answer.body)
    })?;
    let group = club.group.clone();
    for index in 1..4 {
        let session = club.session(index).await?;
        eventually("to know the successors", session, async |it| {
            let aux = it.get(&group, "aux").await?.unwrap_or_default();
            Ok(aux["fh-successors"] == named)
        })
        .await?;
    }
    Ok(())
}

/// One of three successors stays a copy, however long it waits.
async fn nobody_takes_over(stage: &Stage, club: &mut Club) -> Result<()> {
    let until = Instant::now() + 2 * WAIT;
    while Instant::now() < until {
        let body = json!({"topic": club.group, "aux": {"alone": "yes"}});
        let answer = club.asks(1, "set", body).await?;
        let home = answer.body["params"]["pending"].as_str();
        let home = home.or(answer.body["params"]["away"].as_str());
        expect(home == Some("alpha.test"), || {
            format!("one successor alone decides: {}", answer.body)
        })?;
        sleep(POLL).await;
    }
    stage
        .line
        .held("beta.test", "does not take over alone, long after its time");
    Ok(())
}

async fn comes_back(stage: &mut Stage) -> Result<()> {
    sleep(Duration::from_secs(1)).await;
    stage.network.domain(0)?.start().await?;
    sleep(Duration::from_secs(3)).await;
    // The new home too is killed once.
    stage.network.domain(1)?.kill()?;
    sleep(Duration::from_secs(1)).await;
    stage.network.domain(1)?.start().await
}
