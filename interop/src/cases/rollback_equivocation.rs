//! Somebody between two domains who shows other records of one of them than it does (F43).

use std::time::Duration;

use freehold_keys::KeyRing;
use freehold_proto::Timestamp;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tempfile::TempDir;

use super::{Case, Need};
use crate::{Chat, Failure, Result, Shown, Stage, Way, failure::expect, load_keys, peer::now, row};

const WITHIN: Duration = Duration::from_secs(90);
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const ALARM: &str = "ALARM: the identity of a peer is disputed";

pub(super) const CASE: Case = Case {
    ids: "F43",
    name: "rollback_equivocation",
    proves: "an older record of a domain, another one of the same number and an old word that it is the latest are refused, the operator is alarmed, and no message goes to who shows them; what nobody confirms for a week counts no more; then life goes on",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Hooks, Need::Operator, Need::Ways],
    within: Duration::from_secs(420),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        let thief = TempDir::new().map_err(|error| Failure::harness("make a folder", error))?;
        let beta = stage.network.domain(1)?;
        let first = beta.copy_of_keys(&thief.path().join("first"), now())?;
        let mut twin = beta.copy_of_keys(&thief.path().join("twin"), now())?;
        beta.order("keys rotate", &[]).await?;
        chat.writes(0, 1).await?;
        chat.writes(1, 1).await?;
        let second = |said: &str| row(said, "record") == Some("2");
        let alpha = stage.network.domain(0)?;
        let known = alpha
            .comes_to_know("beta.test", "record 2", WITHIN, second)
            .await?;
        expect(row(&known, "DISPUTED").is_none(), || known.clone())?;
        twin.rotate(now())
            .map_err(|error| Failure::harness("rotate keys", error))?;
        let beta = stage.network.domain(1)?;
        let true_one = load_keys(&beta.keys(), beta.name(), now())?;
        let ip = stage.network.free_ip();
        let liar = Shown::record(ip, &first, Vec::new()).await?;
        let mut scene = Scene { chat, liar };

        let at = |days: i64| now().plus(Duration::from_secs((days * (DAY + HOUR)).unsigned_abs()));
        let old = first.fresh_record(at(1)).to_bytes();
        scene
            .is_refused(stage, 1, old, "may not follow serial 2")
            .await?;
        let other = twin.fresh_record(at(2)).to_bytes();
        scene.is_refused(stage, 2, other, "").await?;
        let stale = vouched(&true_one, at(3).minus(Duration::from_secs(8 * 24 * 3600)));
        scene.is_refused(stage, 3, stale, "").await?;
        // From the last true word on, somebody shows nothing else.
        let frozen = vouched(&true_one, at(3));
        scene.is_refused(stage, 11, frozen, "").await?;
        scene.chat.agree(WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

fn vouched(ring: &KeyRing, at: Timestamp) -> Vec<u8> {
    ring.signer().vouch(ring.record(), at).to_bytes()
}

/// Alice and Bob, and who stands between.
struct Scene {
    chat: Chat,
    liar: Shown,
}

impl Scene {
    /// `days` after the beginning, each of 25 hours, the liar stands where beta was, and shows this.
    async fn is_refused(
        &mut self,
        stage: &mut Stage,
        days: i64,
        shown: Vec<u8>,
        why: &str,
    ) -> Result<()> {
        for index in 0..stage.network.len() {
            stage
                .network
                .domain(index)?
                .set_clock(days * (DAY + HOUR))?;
        }
        // What is written under the clock of before would have waited for eight days at once.
        stage
            .pause(Duration::from_secs(2), "every server sees its clock")
            .await;
        self.liar.shows(shown);
        let root = stage.network.domain(1)?.root().to_owned();
        let name = stage.network.domain(1)?.name().clone();
        let alpha = stage.network.domain(0)?;
        let before = known_as(alpha, "beta.test").await?;
        alpha.dns().publish(&name, self.liar.address(), &root)?;
        stage.network.set_way(0, 1, Way::Cut)?;
        let (asked, alarms) = (self.liar.asked(), stage.network.domain(0)?.said());
        let alarms = alarms.matches(ALARM).count();
        self.chat.writes(0, 1).await?;
        let alpha = stage.network.domain(0)?;
        alpha.has_said(ALARM, alarms + 1, WITHIN).await?;
        expect(self.liar.asked() > asked, || {
            "nobody asked the one who lies".to_owned()
        })?;
        let disputed = |said: &str| row(said, "DISPUTED").is_some_and(|it| it.contains(why));
        let known = alpha
            .comes_to_know("beta.test", "that it is disputed", WITHIN, disputed)
            .await?;
        let after = known_as(alpha, "beta.test").await?;
        expect(before == after, || {
            format!("{before:?} is known as {after:?} now")
        })?;
        stage.line.held(
            "alpha.test",
            format!(
                "keeps to what it knew: {}",
                row(&known, "DISPUTED").unwrap_or_default()
            ),
        );
        self.is_well_again(stage).await
    }

    /// Beta is where it was.
    async fn is_well_again(&mut self, stage: &mut Stage) -> Result<()> {
        let (root, name) = {
            let beta = stage.network.domain(1)?;
            (beta.root().to_owned(), beta.name().clone())
        };
        let at = stage.network.way(0, 1)?.address();
        stage.network.set_way(0, 1, Way::Open)?;
        stage.network.domain(0)?.dns().publish(&name, at, &root)?;
        // Who says hello is looked up at most once in five seconds.
        let why = "the last look-up on beta's word is over";
        stage.pause(Duration::from_secs(6), why).await;
        stage.breaks(1, 0).await?;
        self.chat.writes(1, 1).await?;
        self.chat.agree(WITHIN).await?;
        let well = |said: &str| row(said, "DISPUTED").is_none();
        let alpha = stage.network.domain(0)?;
        alpha
            .comes_to_know("beta.test", "no dispute", WITHIN, well)
            .await?;
        Ok(())
    }
}

/// Root key, number of the record and keys.
async fn known_as(domain: &crate::Domain, other: &str) -> Result<Vec<String>> {
    let said = domain.knows(other).await?;
    let rows = said.lines().map(str::trim);
    let rows = rows.filter(|it| {
        let starts = ["root key", "record  ", "key ", "life", "vouched"];
        starts.iter().any(|start| it.starts_with(start))
    });
    Ok(rows.map(str::to_owned).collect())
}
