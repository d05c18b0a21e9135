//! Several servers of one domain, of which some are away (F02).

use std::{net::IpAddr, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use hickory_server::proto::rr::{Name, RData, rdata::SRV};

use super::{Case, Need};
use crate::{Failure, Person, Proxy, Random, Result, ScriptedPeer, Stage, Way, failure::expect};

const WITHIN: Duration = Duration::from_secs(30);
/// What DNS says is remembered for a second.
const FORGOTTEN: Duration = Duration::from_millis(1300);
const SERVICE: &str = "_freehold._tcp.many.test";
const DRAWS: u64 = 24;

pub(super) const CASE: Case = Case {
    ids: "F02",
    name: "srv_failover",
    proves: "servers of a domain are tried by priority and by weight, the next when one is away; one that is an alias is passed over, and a domain that says it has no server is not called at all",
    domains: &["alpha.test"],
    needs: &[Need::Operator],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let peer = stage.network.stranger("many.test").await?;
        let mut ways = Vec::new();
        for _ in 0..2 {
            let ip = stage.network.free_ip();
            ways.push(Proxy::start(ip, peer.address(), Random::new(1)).await?);
        }
        let scene = Scene { peer, ways };
        scene.hosts(stage)?;

        let [first, second] = scene.look_ups(stage, &[row(10, 0, 0, &scene), row(20, 0, 1, &scene)], 3, true).await?;
        expect(first > 0 && second == 0, || {
            format!("the better server was asked {first} times, the other {second}")
        })?;
        scene.ways[0].set(Way::Cut);
        let [_, second] = scene.look_ups(stage, &[row(10, 0, 0, &scene), row(20, 0, 1, &scene)], 2, true).await?;
        expect(second > 0, || "the second server is not tried".to_owned())?;
        scene.is_written_to(stage).await?;
        stage.line.held("alpha.test", "tries the next server when the first is away");

        scene.ways[0].set(Way::Open);
        let even = [row(5, 50, 0, &scene), row(5, 50, 1, &scene)];
        let [first, second] = scene.look_ups(stage, &even, DRAWS, true).await?;
        expect(first > 0 && second > 0, || {
            format!("of two servers of one weight one was asked {first} times and the other {second}")
        })?;
        let [heavy, light] = scene.look_ups(stage, &[row(5, 65_000, 0, &scene), row(5, 1, 1, &scene)], DRAWS, true).await?;
        expect(heavy > light, || {
            format!("the heavy server was asked {heavy} times and the light one {light}")
        })?;
        stage.line.held("alpha.test", format!("draws by weight: {first} to {second} where they are even, {heavy} to {light} at 65000 to 1"));

        let alias = SRV::new(10, 0, scene.ways[0].address().port(), name("alias.many.test")?);
        let [first, second] = scene.look_ups(stage, &[RData::SRV(alias.clone()), row(20, 0, 1, &scene)], 2, true).await?;
        expect(first == 0 && second > 0, || {
            format!("an alias was asked {first} times, the server {second}")
        })?;
        let [first, second] = scene.look_ups(stage, &[RData::SRV(alias)], 1, false).await?;
        expect(first + second == 0, || "an alias alone is asked".to_owned())?;
        let none = RData::SRV(SRV::new(0, 0, 0, Name::root()));
        let [first, second] = scene.look_ups(stage, &[none], 1, false).await?;
        expect(first + second == 0, || "a domain without a server is asked".to_owned())?;
        stage.line.held("alpha.test", "follows no alias, and does not call who says that there is no server");
        Ok(())
    }
    .boxed_local()
}

/// A scripted domain and two ways to it.
struct Scene {
    peer: ScriptedPeer,
    ways: Vec<Proxy>,
}

fn name(text: &str) -> Result<Name> {
    let parsed = format!("{text}.").parse();
    parsed.map_err(|error| Failure::harness("name a host", error))
}

/// A server of the domain: one of the two ways.
fn row(priority: u16, weight: u16, way: usize, scene: &Scene) -> RData {
    let port = scene.ways[way].address().port();
    let host = name(&format!("host{way}.many.test")).unwrap_or_default();
    RData::SRV(SRV::new(priority, weight, port, host))
}

impl Scene {
    fn hosts(&self, stage: &mut Stage) -> Result<()> {
        let dns = stage.network.domain(0)?.dns();
        for (number, way) in self.ways.iter().enumerate() {
            if let IpAddr::V4(ip) = way.address().ip() {
                dns.set(
                    &format!("host{number}.many.test"),
                    vec![RData::A(ip.into())],
                )?;
            }
        }
        // Whoever follows an alias gets there.
        dns.answers_alias("alias.many.test", "host0.many.test")
    }

    /// Looks the domain up so many times; how often each server was asked.
    async fn look_ups(
        &self,
        stage: &mut Stage,
        rows: &[RData],
        times: u64,
        found: bool,
    ) -> Result<[u64; 2]> {
        let alpha = stage.network.domain(0)?;
        alpha.dns().set(SERVICE, rows.to_vec())?;
        alpha.command("peer forget", &["many.test"], "").await?;
        tokio::time::sleep(FORGOTTEN).await;
        let counts = || [0, 1].map(|it: usize| self.ways[it].connections());
        let before = counts();
        for _ in 0..times {
            let told = alpha.command("peer show", &["many.test"], "").await?;
            expect(told.done == found, || {
                format!("many.test with {rows:?}: {}", told.said)
            })?;
            alpha.command("peer forget", &["many.test"], "").await?;
        }
        let after = counts();
        Ok([0, 1].map(|it: usize| after[it].saturating_sub(before[it])))
    }

    /// A message gets there too.
    async fn is_written_to(&self, stage: &mut Stage) -> Result<()> {
        let (alice, mut session) = Person::register(&stage.network.endpoint(0)?, "alice").await?;
        let topic = self.peer.person(1).to_string();
        session.subscribe(&topic).await?;
        session.publish(&topic, "good day").await?;
        let text = |it: &[crate::peer::Arrived]| {
            it.iter().any(|it| it.text().as_deref() == Some("good day"))
        };
        let awaited = format!("the words of {}", alice.login);
        self.peer.waits_for(&awaited, WITHIN, text).await
    }
}
