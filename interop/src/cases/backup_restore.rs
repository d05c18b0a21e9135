//! A domain whose data is brought back from an older copy (F40): what it had sent and received since is
//! settled with its peers, and no client is shown one thing for another.

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{Chat, Device, Failure, Ledger, Result, Stage, failure::expect, judge};

const STOP_WITHIN: Duration = Duration::from_secs(15);
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// Alice's domain is the one that is restored.
const ALICE: usize = 0;
const BOB: usize = 1;

pub(super) const CASE: Case = Case {
    ids: "F40",
    name: "backup_restore",
    proves: "a domain that is restored from a copy gets what others wrote to it since, shows nothing twice, loses no new message, and gives no number again",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Inside],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        chat.writes(ALICE, 5).await?;
        chat.writes(BOB, 5).await?;
        chat.agree(WITHIN).await?;
        let mut devices = [ALICE, BOB].map(|side| Device::new(&chat.topic(side)));
        catch_up(&mut chat, &mut devices).await?;

        stop_alpha(stage, &mut chat).await?;
        stage.network.domain(0)?.back_up()?;
        stage.network.domain(0)?.start().await?;
        chat.writes(ALICE, 5).await?;
        chat.writes(BOB, 5).await?;
        chat.agree(WITHIN).await?;
        let read = chat.reads(ALICE).await?;
        stage.line.note(format!(
            "alice has read up to {read}, and her device has it all"
        ));
        catch_up(&mut chat, &mut devices).await?;

        // What alice wrote since the copy is now known to bob's domain only.
        stop_alpha(stage, &mut chat).await?;
        chat.writes(BOB, 3).await?;
        let alpha = stage.network.domain(0)?;
        alpha.bring_back()?;
        let said = alpha.tell("restore", &[]).await?;
        expect(said.contains("beta.test has answered."), || {
            format!("`freehold restore` said: {said}")
        })?;
        alpha.start().await?;
        let lost: Vec<u64> = (6..=10).collect();
        comes_together(stage, &mut chat, &lost).await?;
        chat.writes(ALICE, 3).await?;
        chat.writes(BOB, 3).await?;
        comes_together(stage, &mut chat, &lost).await?;
        catch_up(&mut chat, &mut devices).await?;
        marks_cross(&mut chat).await?;

        // The same copy once more, and this time the operator forgets what is to be done.
        stop_alpha(stage, &mut chat).await?;
        stage.network.domain(0)?.bring_back()?;
        stage.network.domain(0)?.start().await?;
        let lost: Vec<u64> = (6..=13).collect();
        comes_together(stage, &mut chat, &lost).await?;
        chat.writes(ALICE, 2).await?;
        comes_together(stage, &mut chat, &lost).await?;
        let said = stage.network.domain(0)?.said();
        expect(said.contains("without `freehold restore`"), || {
            "alpha.test did not notice that its data is an older copy".to_owned()
        })?;

        // And again, while bob's domain cannot be asked.
        stop_alpha(stage, &mut chat).await?;
        chat.disconnect(BOB);
        stage.network.domain(1)?.kill()?;
        let alpha = stage.network.domain(0)?;
        alpha.bring_back()?;
        let refused = alpha.tell("restore", &["--within", "1"]).await;
        let named = |it: &Failure| it.to_string().contains("nothing was changed: beta.test.");
        expect(refused.as_ref().is_err_and(named), || {
            format!("a restore that hears nobody ended with {refused:?}")
        })?;
        alpha.tell("restore", &["--without", "beta.test"]).await?;
        alpha.start().await?;
        stage.network.domain(1)?.start().await?;
        let lost: Vec<u64> = (6..=15).collect();
        comes_together(stage, &mut chat, &lost).await?;
        chat.writes(ALICE, 2).await?;
        comes_together(stage, &mut chat, &lost).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

async fn stop_alpha(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    chat.disconnect(ALICE);
    let status = stage.network.domain(0)?.stop(STOP_WITHIN).await?;
    expect(status.success(), || {
        format!("SIGTERM ended it with {status}")
    })
}

/// Both devices ask for what is new, as stock clients do, and show what the servers have.
async fn catch_up(chat: &mut Chat, devices: &mut [Device; 2]) -> Result<()> {
    for (side, device) in devices.iter_mut().enumerate() {
        let session = chat.session(side).await?;
        device.catch_up(session).await?;
        device.is_true(session).await?;
    }
    Ok(())
}

/// Waits until everything is at both domains, but for messages of alice's that only bob's domain has.
async fn comes_together(stage: &mut Stage, chat: &mut Chat, lost: &[u64]) -> Result<()> {
    let mut kept = chat.ledgers[ALICE].clone();
    kept.acknowledged.retain(|it| !lost.contains(it));
    let deadline = Instant::now() + WITHIN;
    loop {
        let mut faults = Vec::new();
        for viewer in [ALICE, BOB] {
            let alices = if viewer == ALICE {
                &kept
            } else {
                &chat.ledgers[ALICE]
            };
            let ledgers: [Ledger; 2] = [alices.clone(), chat.ledgers[BOB].clone()];
            let history = chat.history(viewer).await?;
            for ledger in &ledgers {
                let entries = ledger.entries(&history);
                let who = &chat.people[viewer].login;
                let found = judge(ledger, &entries);
                faults.extend(found.into_iter().map(|it| format!("{who} sees: {it}")));
                if viewer == ALICE
                    && entries
                        .iter()
                        .any(|it| ledger.sender == "alice" && lost.contains(&it.number))
                {
                    faults.push("alice sees what her domain has lost".to_owned());
                }
            }
        }
        if faults.is_empty() {
            stage.line.held(
                chat.names(),
                "see the same, but for what alice wrote after the copy, which is at bob's",
            );
            return Ok(());
        }
        expect(Instant::now() < deadline, || faults.join("\n"))?;
        sleep(POLL).await;
    }
}

/// What each reads now the other one hears of.
async fn marks_cross(chat: &mut Chat) -> Result<()> {
    for side in [ALICE, BOB] {
        chat.reads(side).await?;
        let (other, deadline) = (1 - side, Instant::now() + WITHIN);
        let ledger = chat.ledgers[other].clone();
        let history = chat.history(other).await?;
        let last = ledger.entries(&history).last().map_or(0, |it| it.seq);
        while chat.known_to_be_read(other).await? < last {
            let who = chat.people[other].login.clone();
            if Instant::now() > deadline {
                return Err(Failure::Broken(format!(
                    "{who} is not told that the other one has read up to {last}"
                )));
            }
            sleep(POLL).await;
        }
    }
    Ok(())
}
