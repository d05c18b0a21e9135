//! Many peers at once: most well, one slow, one flooding, and a crowd that accepts and says nothing (F36).

use std::time::Duration;

use freehold_proto::UserId;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::Instant;

use super::Case;
use crate::{
    Failure, Person, Proxy, Result, ScriptedPeer, Session, Stage, Way,
    failure::expect,
    peer::{Reply, items},
};

/// Peers that are well.
const WELL: usize = 20;
/// Peers that accept connections and never say a word: more than links are opened at once.
const SILENT: usize = 40;
const ROUNDS: u64 = 10;
const A_MOMENT: Duration = Duration::from_millis(300);
/// Far less than what a call or a handshake with a peer that does not answer takes.
const ARRIVE_WITHIN: Duration = Duration::from_secs(8);
const MEET_WITHIN: Duration = Duration::from_secs(30);
/// What a flooding peer sends again and again.
const FLOOD: usize = 200;

pub(super) const CASE: Case = Case {
    ids: "F36",
    name: "fairness",
    proves: "one slow peer, one flooding peer and forty silent ones do not keep messages from twenty others, which arrive while all of them hang",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let (alice, mut session) = Person::register(&stage.network.endpoint(0)?, "alice").await?;
        let mut well = Vec::new();
        for number in 0..WELL {
            let name = format!("well{number}.test");
            well.push(stage.network.stranger_behind(&name).await?);
        }
        let mut silent = Vec::new();
        for number in 0..SILENT {
            let name = format!("silent{number}.test");
            silent.push(stage.network.stranger_behind(&name).await?);
        }
        let slow = stage.network.stranger("slow.test").await?;
        let crowd = || silent.iter().chain(&well).map(|(peer, _)| peer);
        let all = crowd().chain([&slow]);
        for peer in all {
            session.subscribe(&topic(peer)).await?;
            session.publish(&topic(peer), "hello").await?;
        }
        for peer in crowd() {
            has(peer, 1, MEET_WITHIN).await?;
        }
        let calm = rounds(&mut session, &well, 1).await?;
        stage.line.note(format!("alone: {}", told(&calm)));

        let flood = stage.network.stranger("flood.test").await?;
        disturb(stage, &mut session, &silent, &slow).await?;
        // With their links gone too, each needs a new one while the silent ones keep the server waiting.
        for (_, way) in &well {
            way.set(Way::Cut);
        }
        stage.pause(A_MOMENT, "links break").await;
        for (_, way) in &well {
            way.set(Way::Open);
        }

        let flooding = floods(stage, &alice, &flood);
        let disturbed = async { rounds(&mut session, &well, 1 + ROUNDS).await };
        let disturbed = tokio::select! {
            took = disturbed => took?,
            flooded = flooding => return flooded,
        };
        stage.line.note(format!("disturbed: {}", told(&disturbed)));
        let late = disturbed.iter().filter(|it| **it > ARRIVE_WITHIN).count();
        expect(late == 0, || format!("{late} messages came late"))?;
        stage.line.held(
            "twenty peers",
            format!("got all {} messages meanwhile", disturbed.len()),
        );
        for (peer, _) in &well {
            check_order(peer)?;
        }
        Ok(())
    }
    .boxed_local()
}

fn topic(peer: &ScriptedPeer) -> String {
    peer.person(1).to_string()
}

/// Waits for so many texts.
async fn has(peer: &ScriptedPeer, count: usize, within: Duration) -> Result<()> {
    let enough =
        |it: &[crate::peer::Arrived]| it.iter().filter_map(|it| it.text()).count() >= count;
    peer.waits_for(&format!("{count} texts"), within, enough)
        .await
}

/// Writes to each peer that is well, again and again, and measures how long each message takes.
async fn rounds(
    session: &mut Session,
    well: &[(ScriptedPeer, Proxy)],
    first: u64,
) -> Result<Vec<Duration>> {
    let mut took = Vec::new();
    for round in first..first + ROUNDS {
        let mut asked = Vec::new();
        for (peer, _) in well {
            session
                .publish(&topic(peer), &format!("round {round}"))
                .await?;
            asked.push(Instant::now());
        }
        let count = usize::try_from(round).unwrap_or(usize::MAX) + 1;
        for ((peer, _), asked) in well.iter().zip(asked) {
            has(peer, count, ARRIVE_WITHIN).await?;
            let arrived = peer.arrived();
            let last = arrived.iter().rev().find(|it| it.text().is_some());
            let at = last.map_or_else(Instant::now, |it| it.at);
            took.push(at.saturating_duration_since(asked));
        }
    }
    Ok(took)
}

fn told(took: &[Duration]) -> String {
    let mut sorted = took.to_vec();
    sorted.sort();
    let at = |share: usize| sorted.get(sorted.len() * share / 100).copied();
    let [half, most] = [50, 99].map(|it| at(it).unwrap_or_default().as_millis());
    format!(
        "half of the messages arrive within {half} ms of the acknowledgement, 99 in 100 within {most} ms"
    )
}

/// All silent peers have something waiting and nobody to take it; the slow one has a call that hangs.
async fn disturb(
    stage: &Stage,
    session: &mut Session,
    silent: &[(ScriptedPeer, Proxy)],
    slow: &ScriptedPeer,
) -> Result<()> {
    for (_, way) in silent {
        way.set(Way::Cut);
    }
    stage.pause(A_MOMENT, "links break").await;
    for (_, way) in silent {
        way.set(Way::Silent);
    }
    slow.answers(|_| Reply::Silence);
    stage
        .line
        .fault("slow.test", "takes calls and answers none");
    for (peer, _) in silent {
        session.publish(&topic(peer), "are you there?").await?;
    }
    session.publish(&topic(slow), "are you there?").await?;
    stage
        .line
        .fault("forty peers", "accept connections and say nothing");
    Ok(())
}

/// A peer that sends the same great batch without end. Ends only when it cannot any more.
async fn floods(stage: &Stage, alice: &Person, peer: &ScriptedPeer) -> Result<()> {
    let alpha = &alice.endpoint.domain;
    let at = stage.network.federation_of(alpha)?;
    let to: UserId = alice
        .global_id()
        .parse()
        .map_err(|error| Failure::harness("read an id", error))?;
    let texts = (0..FLOOD).map(|it| peer.text(&peer.person(2), &to, &format!("flood {it}")));
    let texts = texts.collect::<Result<Vec<_>>>()?;
    let mut line = peer.dial(alpha, at).await?;
    stage.line.fault(
        "flood.test",
        format!("sends {FLOOD} messages again and again"),
    );
    loop {
        line.deliver(1, items(1, texts.clone())).await?;
    }
}

fn check_order(peer: &ScriptedPeer) -> Result<()> {
    let texts = peer.texts();
    let mut expected = vec!["hello".to_owned()];
    expected.extend((1..=2 * ROUNDS).map(|it| format!("round {it}")));
    expect(texts == expected, || {
        format!("{} got {texts:?}", peer.domain())
    })
}
