//! A receiver whose disk fills up, below the floor it keeps free and then to the last byte (F38).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{Chat, Failure, Result, SmallDisk, Stage, failure::expect};

/// The disk, what the server keeps free of it (the least that may be configured), and what brings it
/// below that.
const DISK_MIB: u64 = 384;
const FLOOR_MIB: u64 = 256;
const MOST_OF_IT_MIB: u64 = 160;
/// Messages within which a server must have noticed.
const TRIES: u32 = 200;
/// Time in which what must not arrive would.
const LINGER: Duration = Duration::from_secs(3);
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
const END_WITHIN: Duration = Duration::from_secs(20);

pub(super) const CASE: Case = Case {
    ids: "F38",
    name: "disk_full",
    proves: "on a full disk nothing is acknowledged, to a client or to a peer; what is there can be read; with space again everything arrives, whole and once",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Inside],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        let beta = stage.network.domain(1)?;
        let disk = SmallDisk::mount(&beta.folder().join("store"), DISK_MIB)?;
        let lines = &mut beta.config.store_lines;
        lines.push(format!("free_space_mib = {FLOOR_MIB}"));
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        chat.writes(0, 3).await?;
        chat.writes(1, 3).await?;
        chat.agree(ARRIVE_WITHIN).await?;

        disk.fill(MOST_OF_IT_MIB)?;
        stage
            .line
            .fault("beta.test", "has less space than it keeps free");
        is_refused(stage, &mut chat).await?;
        nothing_arrives(stage, &mut chat).await?;
        disk.empty()?;
        stage.line.act("beta.test", "has space again");
        chat.agree(ARRIVE_WITHIN).await?;

        // Right behind a look at the disk, so that the server runs into its end rather than see it.
        chat.writes(1, 1).await?;
        disk.fill(DISK_MIB)?;
        stage.line.fault("beta.test", "has no space at all");
        is_refused(stage, &mut chat).await?;
        chat.writes(0, 3).await?;
        chat.disconnect(1);
        let beta = stage.network.domain(1)?;
        beta.kill()?;
        beta.start_only()?;
        let status = beta.ends(END_WITHIN).await?;
        expect(!status.success(), || {
            format!("a server without space ended with {status}")
        })?;
        disk.empty()?;
        stage.line.act("beta.test", "has space again");
        stage.network.domain(1)?.start().await?;
        chat.agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Bob writes until he is refused, which must be soon.
async fn is_refused(stage: &Stage, chat: &mut Chat) -> Result<()> {
    for tried in 0..TRIES {
        if !chat.writes_one(1).await? {
            let what = format!("is refused a message, after {tried} that were taken");
            stage.line.held("bob", what);
            return Ok(());
        }
    }
    Err(Failure::Broken(format!(
        "{TRIES} messages were acknowledged without space for them"
    )))
}

/// Alice's messages are taken at her domain and stay there; what is at beta can be read.
async fn nothing_arrives(stage: &Stage, chat: &mut Chat) -> Result<()> {
    let before = chat.history(1).await?.len();
    chat.writes(0, 3).await?;
    stage.pause(LINGER, "nothing may arrive").await;
    let after = chat.history(1).await?.len();
    expect(before == after, || {
        format!("{} messages arrived on a full disk", after - before)
    })?;
    stage
        .line
        .held("bob", format!("still reads {after} messages, and no more"));
    Ok(())
}
