//! Deletions, erased accounts, leaving and blocking reach domains that were away for weeks, and until
//! then the operator can see which have not confirmed them (F60).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{Chat, Club, Result, Stage, failure::expect};

const WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(200);
/// Longer than an envelope lives, and than a message waits.
const WEEKS: i64 = 40 * 24 * 60 * 60;
/// The domains: the group's home, one of whose people much is lost, and one that sleeps.
const ALPHA: usize = 0;
const BETA: usize = 1;
const GAMMA: usize = 2;
/// Members of the group, in the order they came.
const ANN: usize = 0;
const BOB: usize = 1;
const CAT: usize = 2;
const EVE: usize = 3;
const FAY: usize = 4;

pub(super) const CASE: Case = Case {
    ids: "F60",
    name: "erasure",
    proves: "what is deleted, whose account is erased, who leaves and who is blocked is so at domains that were away for 40 days, and until then `freehold peers` names them",
    domains: &["alpha.test", "beta.test", "gamma.test"],
    needs: &[Need::Hooks, Need::Starting],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let people = [
            (ALPHA, "ann"),
            (BETA, "bob"),
            (GAMMA, "cat"),
            (BETA, "eve"),
            (BETA, "fay"),
        ];
        let mut club = Club::begin(stage, &people).await?;
        // Gil and Hal talk; Hal is going to be blocked, and Ian is going to be gone.
        let mut blocked = Chat::begin(stage, (ALPHA, "gil"), (GAMMA, "hal")).await?;
        let mut gone = Chat::begin(stage, (BETA, "ian"), (GAMMA, "joe")).await?;
        for index in 0..people.len() {
            club.writes(index, 3).await?;
        }
        club.agree(WITHIN).await?;

        // The sleeper goes. What it has to learn is decided at the home.
        club.disconnect(GAMMA);
        blocked.disconnect(1);
        gone.disconnect(1);
        stage.network.domain(GAMMA)?.kill()?;
        deletes_all_of(&mut club, ANN).await?;
        let bans =
            json!({"topic": blocked.topic(0), "sub": {"user": blocked.topic(0), "mode": "N"}});
        blocked.session(0).await?.request("set", bans).await?;
        erases_account(gone.session(0).await?).await?;
        erases_account(club.session(BOB).await?).await?;
        is_out(&mut club, ANN, BOB).await?;

        // Then the home goes as well, and two more of beta's people end their part.
        club.disconnect(ALPHA);
        blocked.disconnect(0);
        stop(stage, ALPHA).await?;
        let group = club.group.clone();
        let leaves = json!({"topic": group, "unsub": true});
        club.session(EVE).await?.request("leave", leaves).await?;
        erases_account(club.session(FAY).await?).await?;
        stage
            .pause(
                Duration::from_secs(1),
                "beta writes down what is to be said",
            )
            .await;
        club.disconnect(BETA);
        gone.disconnect(0);
        stop(stage, BETA).await?;

        names(stage, ALPHA, "gamma.test").await?;
        names(stage, BETA, "alpha.test").await?;
        names(stage, BETA, "gamma.test").await?;
        for domain in [ALPHA, BETA, GAMMA] {
            stage.network.domain(domain)?.set_clock(WEEKS)?;
        }
        stage.line.note("40 days pass");
        stage.start_all().await?;
        for index in [ANN, CAT, EVE] {
            club.members[index].person.renew().await?;
        }
        for person in &mut blocked.people {
            person.renew().await?;
        }
        gone.people[1].renew().await?;

        for viewer in [ANN, CAT] {
            for former in [BOB, EVE, FAY] {
                is_out(&mut club, viewer, former).await?;
            }
            for erased in [ANN, BOB, FAY] {
                is_not_read(&mut club, viewer, erased).await?;
            }
        }
        is_shut_out(&mut blocked).await?;
        is_shut_out(&mut gone).await?;
        club.disconnect(ALPHA);
        club.disconnect(GAMMA);
        stage.nothing_is_left().await?;
        for domain in [ALPHA, BETA, GAMMA] {
            let left = stage.network.domain(domain)?.unconfirmed().await?;
            expect(left.is_empty(), || format!("not confirmed: {left:?}"))?;
        }
        Ok(())
    }
    .boxed_local()
}

async fn stop(stage: &mut Stage, domain: usize) -> Result<()> {
    let status = stage.network.domain(domain)?.stop(STOP_WITHIN).await?;
    expect(status.success(), || {
        format!("SIGTERM ended it with {status}")
    })
}

/// A member takes what they wrote from everybody.
async fn deletes_all_of(club: &mut Club, index: usize) -> Result<()> {
    let ledger = club.members[index].ledger.clone();
    let history = club.history(index).await?;
    let own = ledger.entries(&history).into_iter();
    let ranges: Vec<_> = own.map(|it| json!({"low": it.seq})).collect();
    let deletes = json!({"topic": club.group, "what": "msg", "delseq": ranges, "hard": true});
    club.session(index).await?.request("del", deletes).await?;
    Ok(())
}

async fn erases_account(session: &mut crate::Session) -> Result<()> {
    let erases = json!({"what": "user", "hard": true});
    session.request("del", erases).await?;
    Ok(())
}

/// The operator of a stopped domain is told that another one has not confirmed what was deleted.
async fn names(stage: &mut Stage, domain: usize, peer: &str) -> Result<()> {
    let domain = stage.network.domain(domain)?;
    let said = domain.unconfirmed().await?;
    expect(said.iter().any(|it| it.0 == peer && it.1 > 0), || {
        format!("`freehold peers` of {} names {said:?}", domain.name())
    })?;
    let (name, what) = (
        domain.name().clone(),
        format!("says that {peer} has not confirmed"),
    );
    stage.line.held(name, what);
    Ok(())
}

/// Waits until somebody is no member any more where `viewer` is.
async fn is_out(club: &mut Club, viewer: usize, former: usize) -> Result<()> {
    let group = club.group.clone();
    let person = club.members[viewer].person.clone();
    let name = person.name_of(&club.members[former].person);
    let deadline = Instant::now() + WITHIN;
    loop {
        let rows = club.session(viewer).await?.get(&group, "sub").await?;
        let rows = rows.unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        if !rows.any(|it| it["user"] == *name) {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            format!("{name} is still in the group at {}", person.address())
        })?;
        sleep(POLL).await;
    }
}

/// Waits until nothing of what somebody wrote is shown where `viewer` is.
async fn is_not_read(club: &mut Club, viewer: usize, author: usize) -> Result<()> {
    let ledger = club.members[author].ledger.clone();
    let deadline = Instant::now() + WITHIN;
    loop {
        let seen = ledger.entries(&club.history(viewer).await?);
        if seen.is_empty() {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            let who = club.members[viewer].person.address();
            format!("{who} still reads {seen:?} of {}", ledger.sender)
        })?;
        sleep(POLL).await;
    }
}

/// Waits until the second of two may not write to the first one any more.
async fn is_shut_out(chat: &mut Chat) -> Result<()> {
    let (topic, deadline) = (chat.topic(1), Instant::now() + WITHIN);
    let mut session = chat.bystander(1).await?;
    loop {
        let rows = session.get("me", "sub").await?.unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        let row = rows.find(|it| it["topic"] == *topic);
        let given = row.and_then(|it| it["acs"]["given"].as_str());
        let given = given.unwrap_or_default().to_owned();
        if !given.contains('W') {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            format!("{} is still given {given}", chat.people[1].address())
        })?;
        sleep(POLL).await;
    }
}
