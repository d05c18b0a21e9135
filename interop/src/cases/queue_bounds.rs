//! A peer that is away for longer than there is room for what waits (F35).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{
    Chat, Domain, Failure, Person, Result, Session, Stage,
    failure::expect,
    growth::{disk_kib, memory_kib},
};

/// Items, and mebibytes, that may wait.
const ITEMS: u64 = 60;
const MIB: u64 = 1;
/// A message of which only a few have room.
const LARGE: usize = 100 * 1024;
/// Tries when there is no room any more, and what they may cost altogether: the first of them are
/// taken, the rest would be 20 MiB and more.
const TRIES: u32 = 200;
const DISK_KIB_MAX: u64 = 16 * 1024;
const MEMORY_KIB_MAX: u64 = 48 * 1024;
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);

pub(super) const CASE: Case = Case {
    ids: "F35",
    name: "queue_bounds",
    proves: "when the room for what waits is used up, by number or by bytes, authors are refused at once, all else goes on, memory and disk stay flat, and what was taken arrives",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Inside],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        let lines = &mut stage.network.domain(0)?.config.federation_lines;
        lines.push(format!("waiting_items_max = {ITEMS}"));
        lines.push(format!("waiting_mib_max = {MIB}"));
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        let (carl, mut at_home) = Person::register(&stage.network.endpoint(0)?, "carl").await?;

        chat.disconnect(1);
        stage.network.domain(1)?.kill()?;
        let mut taken = 0;
        while chat.writes_one(0).await? {
            taken += 1;
            expect(taken <= ITEMS, || {
                format!("{taken} messages were taken where {ITEMS} may wait")
            })?;
        }
        stage.line.held(
            "alice",
            format!("is refused after {taken} that were taken for a domain that is away"),
        );
        speaks_at_home(stage, &mut chat, (&carl, &mut at_home)).await?;
        stage.network.domain(1)?.start().await?;
        chat.agree(ARRIVE_WITHIN).await?;

        chat.disconnect(1);
        stage.network.domain(1)?.kill()?;
        by_bytes(stage, &mut chat).await?;
        stage.network.domain(1)?.start().await?;
        chat.writes(1, 1).await?;
        chat.agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Nobody at home notices.
async fn speaks_at_home(
    stage: &Stage,
    chat: &mut Chat,
    (carl, at_home): (&Person, &mut Session),
) -> Result<()> {
    let topic = chat.people[0].id.clone();
    at_home.subscribe(&topic).await?;
    at_home.publish(&topic, "how are you?").await?;
    let name = carl.login.clone();
    stage
        .line
        .held(name, "writes to alice, at home, all the same");
    Ok(())
}

async fn by_bytes(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    let topic = chat.topic(0);
    let alpha = stage.network.domain(0)?;
    let before = takes(alpha)?;
    let text = "x".repeat(LARGE);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..TRIES {
        match chat.session(0).await?.publish(&topic, &text).await {
            Ok(_) => taken += 1,
            Err(Failure::Refused { code: 503, .. }) => refused += 1,
            Err(failure) => return Err(failure),
        }
    }
    let after = takes(stage.network.domain(0)?)?;
    let (disk, memory) = (
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1),
    );
    stage.line.note(format!(
        "of {TRIES} large messages {taken} are taken and {refused} refused; disk grows by {disk} KiB, memory by {memory} KiB"
    ));
    let most = usize::try_from(MIB * 1024 * 1024).unwrap_or(usize::MAX) / LARGE + 1;
    expect(taken <= most && refused > 0, || {
        format!("{taken} messages of {LARGE} bytes were taken where {MIB} MiB may wait")
    })?;
    expect(disk <= DISK_KIB_MAX && memory <= MEMORY_KIB_MAX, || {
        format!("refusing cost {disk} KiB of disk and {memory} KiB of memory")
    })
}

/// What a domain takes of disk and memory.
fn takes(domain: &mut Domain) -> Result<(u64, u64)> {
    let process = domain.process().map(|it| it.id());
    let memory = process.and_then(memory_kib);
    let memory = memory.ok_or_else(|| Failure::harness("measure memory", "nothing runs"))?;
    Ok((disk_kib(domain.folder())?, memory))
}
