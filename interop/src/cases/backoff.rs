//! When a peer that is away is tried again, and what ends the wait (F32).

use std::{collections::BTreeSet, time::Duration};

use freehold_proto::{wire, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::Instant;

use super::{Case, Need};
use crate::{
    Person, Proxy, Result, ScriptedPeer, Session, Stage, Way,
    failure::expect,
    peer::{Arrived, Reply},
};

/// Peers that are away at once.
const PEERS: u8 = 8;
/// So many times faster than configured: the shortest delay is 50 ms, the bound doubles from 100 ms.
const HASTE: u32 = 20;
const SHORTEST: Duration = Duration::from_millis(50);
/// For how long they are away.
const AWAY: Duration = Duration::from_secs(8);
/// What an attempt itself may take on a busy machine.
const SLACK: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(3);
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(15);

pub(super) const CASE: Case = Case {
    ids: "F32",
    name: "backoff",
    proves: "a peer that is away is tried after delays that double and differ from peer to peer; \"later\" is honoured; contact from the peer ends the wait at once",
    domains: &["alpha.test"],
    needs: &[Need::Hooks, Need::Starting],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.network.domain(0)?.hooks.haste = Some(HASTE);
        stage.start_all().await?;
        let (alice, mut session) = Person::register(&stage.network.endpoint(0)?, "alice").await?;
        let mut peers = Vec::new();
        for number in 0..PEERS {
            let name = format!("peer{number}.test");
            let (peer, way) = stage.network.stranger_behind(&name).await?;
            greets(&mut session, &peer).await?;
            peers.push((peer, way));
        }
        attempts_spread(stage, &mut session, &peers).await?;
        later_is_honoured(stage, &mut session, &peers[0].0).await?;
        contact_ends_the_wait(stage, &alice, &peers[0]).await
    }
    .boxed_local()
}

/// Writes to somebody of a peer and waits until it has arrived.
async fn greets(session: &mut Session, peer: &ScriptedPeer) -> Result<()> {
    let topic = peer.person(1).to_string();
    session.subscribe(&topic).await?;
    session.publish(&topic, "hello").await?;
    arrives(peer, "hello").await
}

async fn arrives(peer: &ScriptedPeer, text: &str) -> Result<()> {
    let has = |it: &[Arrived]| it.iter().any(|it| it.text().as_deref() == Some(text));
    peer.waits_for(&format!("\"{text}\" to arrive"), ARRIVE_WITHIN, has)
        .await
}

async fn attempts_spread(
    stage: &Stage,
    session: &mut Session,
    peers: &[(ScriptedPeer, Proxy)],
) -> Result<()> {
    peers.iter().for_each(|(_, way)| way.set(Way::Cut));
    let since = Instant::now();
    stage.line.fault("all peers", "are away");
    for (peer, _) in peers {
        session
            .publish(&peer.person(1).to_string(), "you were away")
            .await?;
    }
    stage.pause(AWAY, "they are tried again and again").await;
    let mut firsts = BTreeSet::new();
    for (peer, way) in peers {
        let contacts = way.contacts();
        let tries: Vec<_> = contacts.iter().filter(|it| **it > since).collect();
        let gaps: Vec<_> = tries.windows(2).map(|it| *it[1] - *it[0]).collect();
        check_gaps(peer, &gaps)?;
        firsts.extend(gaps.get(2).map(Duration::as_millis));
        let shown: Vec<_> = gaps.iter().map(|it| it.as_millis().to_string()).collect();
        stage.line.note(format!(
            "{}: waits of {} ms",
            peer.domain(),
            shown.join(", ")
        ));
    }
    expect(firsts.len() > peers.len() / 2, || {
        format!("the peers are tried in step: third waits of {firsts:?} ms")
    })?;
    peers.iter().for_each(|(_, way)| way.set(Way::Open));
    stage.line.act("all peers", "are back");
    for (peer, _) in peers {
        arrives(peer, "you were away").await?;
        let texts = peer.texts();
        let once = texts.iter().filter(|it| *it == "you were away").count();
        expect(once == 1, || {
            format!("{} was told {once} times", peer.domain())
        })?;
    }
    stage
        .line
        .held("all peers", "got what waited for them, once");
    Ok(())
}

/// No wait is shorter than the shortest or longer than its bound; so there are only so many.
fn check_gaps(peer: &ScriptedPeer, gaps: &[Duration]) -> Result<()> {
    expect(gaps.len() >= 3, || {
        format!("{} was tried only {} times", peer.domain(), gaps.len() + 1)
    })?;
    for (failures, gap) in (1..).zip(gaps) {
        let bound = SHORTEST.saturating_mul(2_u32.saturating_pow(failures));
        expect(*gap >= SHORTEST && *gap < bound + SLACK, || {
            let name = peer.domain();
            format!("wait {failures} for {name} was {gap:?}, not from {SHORTEST:?} to {bound:?}")
        })?;
    }
    Ok(())
}

async fn later_is_honoured(
    stage: &Stage,
    session: &mut Session,
    peer: &ScriptedPeer,
) -> Result<()> {
    let later = wire::Later {
        code: 150,
        retry_after_ms: u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX),
    };
    let mut asked = false;
    peer.answers(move |items| {
        let verdicts = items.iter().map(|_| Verdict::Later(later));
        match std::mem::replace(&mut asked, true) {
            false => Reply::Verdicts(verdicts.collect()),
            true => Reply::Taken,
        }
    });
    let topic = peer.person(1).to_string();
    session.publish(&topic, "have patience").await?;
    let is_it = |it: &&Arrived| it.text().as_deref() == Some("have patience");
    let twice = |it: &[Arrived]| it.iter().filter(is_it).count() == 2;
    peer.waits_for("a second offer", ARRIVE_WITHIN, twice)
        .await?;
    let arrived = peer.arrived();
    let offers: Vec<_> = arrived.iter().filter(is_it).map(|it| it.at).collect();
    let waited = offers[1] - offers[0];
    // The server counts whole milliseconds.
    expect(waited + Duration::from_millis(5) >= PATIENCE, || {
        format!("asked to wait {PATIENCE:?}, it waited {waited:?}")
    })?;
    stage.line.held(
        "alpha.test",
        format!(
            "was asked for {} ms and waited {}",
            PATIENCE.as_millis(),
            waited.as_millis()
        ),
    );
    peer.answers(|_| Reply::Taken);
    Ok(())
}

/// With ten minutes between attempts, what waits goes at once when the peer says hello.
async fn contact_ends_the_wait(
    stage: &mut Stage,
    alice: &Person,
    (peer, way): &(ScriptedPeer, Proxy),
) -> Result<()> {
    let alpha = stage.network.domain(0)?;
    alpha.stop(STOP_WITHIN).await?;
    alpha.hooks.haste = None;
    let lines = &mut alpha.config.federation_lines;
    lines.push("retry_first_seconds = 600".to_owned());
    way.set(Way::Cut);
    alpha.start().await?;
    let (name, at) = (alpha.name().clone(), alpha.federation());
    let mut session = alice.come_back().await?;
    let topic = peer.person(1).to_string();
    session.subscribe(&topic).await?;
    let before = way.connections();
    session.publish(&topic, "you called").await?;
    let deadline = Instant::now() + ARRIVE_WITHIN;
    while way.connections() == before && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stage.line.note("the next attempt is ten minutes away");
    way.set(Way::Open);
    stage
        .pause(Duration::from_secs(1), "nothing is tried")
        .await;
    expect(!peer.texts().iter().any(|it| it == "you called"), || {
        "it was tried before its time".to_owned()
    })?;
    let _line = peer.dial(&name, at).await?;
    stage.line.act(peer.domain(), "says hello");
    arrives(peer, "you called").await?;
    stage.line.held(peer.domain(), "gets what waited at once");
    stage.nothing_is_left().await
}
