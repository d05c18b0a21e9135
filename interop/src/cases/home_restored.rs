//! The home of a group is restored from an older copy (F40): what it had signed comes back from the domains
//! that follow it, and what only it had is never signed again as something else.

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{Club, Device, Result, Stage, Way, failure::expect};

const STOP_WITHIN: Duration = Duration::from_secs(15);
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
const ANN: usize = 0;
const BEN: usize = 1;
const CAT: usize = 2;
const ALPHA: usize = 0;
const BETA: usize = 1;
const GAMMA: usize = 2;

pub(super) const CASE: Case = Case {
    ids: "F40",
    name: "home_restored",
    proves: "the home of a group that is restored from a copy has back what any domain of the group had been told, signs nothing else in its place, and gives no number again to its own people",
    domains: &["alpha.test", "beta.test", "gamma.test"],
    needs: &[Need::Starting, Need::Ways],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let people = [(ALPHA, "ann"), (BETA, "ben"), (GAMMA, "cat")];
        let mut club = Club::begin(stage, &people).await?;
        all_write(&mut club, 3).await?;
        club.agree(WITHIN).await?;
        let mut devices = [ANN, BEN].map(|_| Device::new(&club.group));
        catch_up(&mut club, &mut devices).await?;

        stop_home(stage, &mut club).await?;
        stage.network.domain(ALPHA)?.back_up()?;
        stage.network.domain(ALPHA)?.start().await?;
        all_write(&mut club, 3).await?;
        club.agree(WITHIN).await?;
        let group = club.group.clone();
        let renamed = json!({"topic": group, "desc": {"public": {"fn": "Chess"}}});
        club.session(ANN).await?.request("set", renamed).await?;

        // The last of what ann writes is told to gamma only, and then to nobody.
        is_called(&mut club, BEN, "Chess").await?;
        stage.network.set_ways(ALPHA, BETA, Way::Cut)?;
        club.writes(ANN, 2).await?;
        arrives(&mut club, CAT, 8).await?;
        stage.network.set_ways(ALPHA, GAMMA, Way::Cut)?;
        club.writes(ANN, 2).await?;
        catch_up(&mut club, &mut devices).await?;
        stop_home(stage, &mut club).await?;
        stage.network.set_ways(ALPHA, BETA, Way::Open)?;
        stage.network.set_ways(ALPHA, GAMMA, Way::Open)?;

        let alpha = stage.network.domain(ALPHA)?;
        alpha.bring_back()?;
        let said = alpha.tell("restore", &[]).await?;
        expect(said.contains("entries of groups have come back"), || {
            format!("`freehold restore` said: {said}")
        })?;
        alpha.start().await?;
        stage.line.note(said);
        let ledger = &mut club.members[ANN].ledger;
        ledger.acknowledged.retain(|it| *it <= 8);
        all_write(&mut club, 3).await?;
        club.agree(WITHIN).await?;
        for viewer in [ANN, BEN, CAT] {
            is_called(&mut club, viewer, "Chess").await?;
        }
        catch_up(&mut club, &mut devices).await?;
        stage.line.held(
            "alpha.test",
            "signs on behind what others have, and gives no number again",
        );
        club.marks_agree(WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

async fn all_write(club: &mut Club, count: u64) -> Result<()> {
    for index in [ANN, BEN, CAT] {
        club.writes(index, count).await?;
    }
    Ok(())
}

async fn stop_home(stage: &mut Stage, club: &mut Club) -> Result<()> {
    club.disconnect(ALPHA);
    let status = stage.network.domain(ALPHA)?.stop(STOP_WITHIN).await?;
    expect(status.success(), || {
        format!("SIGTERM ended it with {status}")
    })
}

/// Ann's and Ben's devices ask for what is new, as stock clients do, and show what the servers have.
async fn catch_up(club: &mut Club, devices: &mut [Device; 2]) -> Result<()> {
    for (index, device) in devices.iter_mut().enumerate() {
        let session = club.session(index).await?;
        device.catch_up(session).await?;
        device.is_true(session).await?;
    }
    Ok(())
}

/// Waits until a member is shown the message of Ann's with this number.
async fn arrives(club: &mut Club, viewer: usize, number: u64) -> Result<()> {
    let ledger = club.members[ANN].ledger.clone();
    let deadline = Instant::now() + WITHIN;
    loop {
        let seen = ledger.entries(&club.history(viewer).await?);
        if seen.iter().any(|it| it.number == number) {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            format!("\"{}\" does not arrive", ledger.text(number))
        })?;
        sleep(POLL).await;
    }
}

/// Waits until the group has this name where `viewer` is.
async fn is_called(club: &mut Club, viewer: usize, name: &str) -> Result<()> {
    let (group, deadline) = (club.group.clone(), Instant::now() + WITHIN);
    loop {
        let desc = club.session(viewer).await?.get(&group, "desc").await?;
        let public = desc.unwrap_or_default()["public"]["fn"].clone();
        if public == name {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            format!("the group is called {public}, not {name}")
        })?;
        sleep(POLL).await;
    }
}
