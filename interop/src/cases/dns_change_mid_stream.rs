//! A domain that moves while people talk (F03).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{Chat, Proxy, Random, Result, Stage, Way, failure::expect, row};

const WITHIN: Duration = Duration::from_secs(90);
const STOP_WITHIN: Duration = Duration::from_secs(15);

pub(super) const CASE: Case = Case {
    ids: "F03",
    name: "dns_change_mid_stream",
    proves: "a domain changes its address, its port and what DNS says of it, also while something waits for it: everything arrives once, in order, and it is known by the same key and record as before",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Ways],
    within: Duration::from_secs(300),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        chat.writes(0, 2).await?;
        chat.writes(1, 2).await?;
        chat.agree(WITHIN).await?;
        let before = stage.network.domain(0)?.knows("beta.test").await?;

        // DNS says elsewhere; the link that there is goes on.
        let old = stage.network.way(0, 1)?.connections();
        let beta = stage.network.domain(1)?;
        let (name, root, at) = (
            beta.name().clone(),
            beta.root().to_owned(),
            beta.federation(),
        );
        let ip = stage.network.free_ip();
        let elsewhere = Proxy::start(ip, at, Random::new(1)).await?;
        let alpha = stage.network.domain(0)?;
        alpha.dns().publish(&name, elsewhere.address(), &root)?;
        chat.writes(0, 3).await?;
        chat.agree(WITHIN).await?;
        let same = (old, 0)
            == (
                stage.network.way(0, 1)?.connections(),
                elsewhere.connections(),
            );
        expect(same, || {
            "a link is made anew because DNS has changed".to_owned()
        })?;
        stage
            .line
            .held("alpha.test", "keeps its link when DNS changes");

        // The old address is no more.
        stage.network.set_way(0, 1, Way::Cut)?;
        chat.writes(0, 3).await?;
        chat.writes(1, 1).await?;
        chat.agree(WITHIN).await?;
        expect(elsewhere.connections() > 0, || {
            "nobody came to the new address".to_owned()
        })?;
        stage.line.held(
            "alpha.test",
            "finds the new address when the old one is gone",
        );

        moves_house(stage, &mut chat).await?;
        nowhere(stage, &mut chat).await?;
        let after = stage.network.domain(0)?.knows("beta.test").await?;
        for what in ["root key", "record", "vouched for by", "life", "DISPUTED"] {
            expect(row(&before, what) == row(&after, what), || {
                format!("beta was known as {before} and is now as {after}")
            })?;
        }
        stage.line.held(
            "alpha.test",
            "knows beta by the same key and record as before",
        );
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Beta is stopped and starts at another port, while words wait for it.
async fn moves_house(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    chat.disconnect(1);
    let beta = stage.network.domain(1)?;
    beta.stop(STOP_WITHIN).await?;
    chat.writes(0, 3).await?;
    let beta = stage.network.domain(1)?;
    let port = std::net::TcpListener::bind((beta.federation().ip(), 0));
    let port = port.and_then(|it| it.local_addr());
    let port = port.map_err(|error| crate::Failure::harness("find a port", error))?;
    beta.config.federation = port;
    beta.start().await?;
    let (name, root) = (beta.name().clone(), beta.root().to_owned());
    let alpha = stage.network.domain(0)?;
    alpha.dns().publish(&name, port, &root)?;
    chat.agree(WITHIN).await?;
    chat.writes(0, 2).await?;
    chat.agree(WITHIN).await?;
    stage
        .line
        .held("alpha.test", "finds the new port, and what waited arrives");
    Ok(())
}

/// DNS says nothing at all for a while, and beta is stopped and comes back meanwhile.
async fn nowhere(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    let beta = stage.network.domain(1)?;
    let (name, root, at) = (
        beta.name().clone(),
        beta.root().to_owned(),
        beta.federation(),
    );
    let alpha = stage.network.domain(0)?;
    for gone in [
        format!("_freehold._tcp.{name}"),
        name.to_string(),
        format!("_freehold.{name}"),
    ] {
        alpha.dns().remove(&gone)?;
    }
    chat.writes(0, 2).await?;
    chat.agree(WITHIN).await?;
    chat.disconnect(1);
    let beta = stage.network.domain(1)?;
    beta.stop(STOP_WITHIN).await?;
    beta.start().await?;
    chat.writes(0, 2).await?;
    stage
        .pause(Duration::from_secs(3), "beta is nowhere to be found")
        .await;
    stage.network.domain(0)?.dns().publish(&name, at, &root)?;
    chat.writes(1, 2).await?;
    chat.agree(WITHIN).await?;
    stage
        .line
        .held("alpha.test", "waits while DNS says nothing");
    Ok(())
}
