//! Strangers who have us look up names without end (F57).

use std::time::Duration;

use freehold_proto::limits::RECORD_BYTES_MAX;
use futures_util::{
    FutureExt as _,
    future::{LocalBoxFuture, join_all},
};
use tokio::time::Instant;

use super::{Case, Need};
use crate::{
    Chat, Failure, Result, ScriptedPeer, Shown, Stage, failure::expect, load_keys, peer::now,
};

const WITHIN: Duration = Duration::from_secs(60);
/// Names that are claimed.
const CLAIMS: usize = 160;
/// Of those this many are looked up in a minute, each with a few questions.
const LOOK_UPS_MAX: u64 = 120;
const QUESTIONS_EACH: u64 = 8;

pub(super) const CASE: Case = Case {
    ids: "F57",
    name: "discovery_amplification",
    proves: "however many names strangers claim, with DNS that is slow, and records that have no end: questions to DNS keep to a budget, what is too large is cut off, and those who know each other talk on",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Operator],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        let ip = stage.network.free_ip();
        let started = (0..CLAIMS).map(|number| async move {
            let name = format!("n{number}.wild.test");
            ScriptedPeer::start(&name, ip).await
        });
        let mut claimants = Vec::new();
        for peer in join_all(started).await {
            claimants.push(peer?);
        }
        without_end(stage).await?;
        let alpha = stage.network.domain(0)?;
        alpha.dns().dawdles(Duration::from_millis(300));
        let (name, at) = (alpha.name().clone(), alpha.federation());
        let before = alpha.dns().questions();
        let begun = Instant::now();
        let claims = join_all(claimants.iter().map(|it| it.dial(&name, at)));
        let talk = async {
            for _ in 0..5 {
                chat.writes(0, 1).await?;
                chat.writes(1, 1).await?;
            }
            chat.agree(WITHIN).await
        };
        let (answers, talked) = tokio::join!(claims, talk);
        talked?;
        let believed = answers.iter().filter(|it| it.is_ok()).count();
        expect(believed == 0, || {
            format!("{believed} names that are none are believed")
        })?;
        let dns = stage.network.domain(0)?.dns();
        let asked = dns.questions() - before;
        let minutes = begun.elapsed().as_secs() / 60 + 1;
        let most = LOOK_UPS_MAX * QUESTIONS_EACH * minutes;
        expect(asked <= most, || {
            format!("{CLAIMS} claims made {asked} questions, more than {most}")
        })?;
        stage.line.held(
            "alpha.test",
            format!("asks DNS {asked} questions about {CLAIMS} claimed names, and friends talk on"),
        );
        dns.dawdles(Duration::ZERO);
        let before = dns.questions();
        let again = join_all(claimants.iter().map(|it| it.dial(&name, at))).await;
        expect(again.iter().all(Result::is_err), || {
            "a name that is none is believed the second time".to_owned()
        })?;
        let asked = stage.network.domain(0)?.dns().questions() - before;
        let left = most.saturating_sub(asked);
        expect(left > 0, || format!("the second time {asked} questions"))?;
        stage
            .line
            .note(format!("the same claims again made {asked} questions"));
        chat.writes(0, 1).await?;
        chat.agree(WITHIN).await
    }
    .boxed_local()
}

/// A domain shows a record that is far too large.
async fn without_end(stage: &mut Stage) -> Result<()> {
    let ip = stage.network.free_ip();
    let alpha = stage.network.domain(0)?;
    // Any key will do: nobody gets so far as to look at it.
    let any = load_keys(&alpha.keys(), alpha.name(), now())?;
    let (name, root) = ("large.test", alpha.root().to_owned());
    let endless = vec![7; RECORD_BYTES_MAX * 200];
    let shown = Shown::record(ip, &any, endless).await?;
    let domain = name
        .parse()
        .map_err(|it| Failure::harness("name a domain", it))?;
    stage
        .network
        .publish_stranger(&domain, shown.address(), &root)?;
    let told = stage
        .network
        .domain(0)?
        .command("peer show", &[name], "")
        .await?;
    expect(!told.done && shown.asked() > 0, || told.said.clone())?;
    stage.line.held(
        "alpha.test",
        format!(
            "does not read a record that is too large: {}",
            told.said.trim()
        ),
    );
    Ok(())
}
