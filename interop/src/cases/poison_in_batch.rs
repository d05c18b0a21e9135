//! Words on which a peer fails: by an error, by falling over, by refusing them (F33).

use std::{sync::Arc, time::Duration};

use freehold_proto::{wire, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{
    Failure, Person, Proxy, Result, ScriptedPeer, Session, Stage, Way,
    failure::expect,
    peer::{Arrived, Reply},
};

/// So many times faster than configured, so that eight tries in a row take no minute.
const HASTE: u32 = 20;
const WITHIN: Duration = Duration::from_secs(40);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(50);
/// gRPC's "internal error".
const INTERNAL: u32 = 13;
/// The peer protocol's "not permitted in this topic".
const NOT_PERMITTED: u32 = 131;

pub(super) const CASE: Case = Case {
    ids: "F33",
    name: "poison_in_batch",
    proves: "an item on which a peer fails, falls or says no holds up its own chat only; the operator sees it, and it arrives in order once the peer is mended",
    domains: &["alpha.test"],
    needs: &[Need::Hooks, Need::Starting],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.network.domain(0)?.hooks.haste = Some(HASTE);
        stage.start_all().await?;
        let (alice, mut session) = Person::register(&stage.network.endpoint(0)?, "alice").await?;
        let (peer, way) = stage.network.stranger_behind("weak.test").await?;
        for number in 1..=4 {
            session.subscribe(&topic(&peer, number)).await?;
            session.publish(&topic(&peer, number), "hello").await?;
        }
        let greeted = |it: &[Arrived]| it.iter().filter_map(Arrived::text).count() == 4;
        peer.waits_for("four greetings", WITHIN, greeted).await?;
        fails(stage, &mut session, (&peer, &way), Reply::Status(INTERNAL)).await?;
        is_seen_and_mended(stage, &alice, &peer).await?;
        let mut session = comes_back(&alice, &peer).await?;
        fails(stage, &mut session, (&peer, &way), Reply::Break).await?;
        is_seen_and_mended(stage, &alice, &peer).await?;
        let mut session = comes_back(&alice, &peer).await?;
        says_no(stage, &mut session, &peer).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

fn topic(peer: &ScriptedPeer, number: u8) -> String {
    peer.person(number).to_string()
}

async fn comes_back(alice: &Person, peer: &ScriptedPeer) -> Result<Session> {
    let mut session = alice.come_back().await?;
    for number in 1..=4 {
        session.subscribe(&topic(peer, number)).await?;
    }
    Ok(session)
}

/// In one batch: words to four people, among them one message on which the peer fails.
async fn fails(
    stage: &Stage,
    session: &mut Session,
    (peer, way): (&ScriptedPeer, &Proxy),
    how: Reply,
) -> Result<()> {
    let taken = Arc::<Mutex<Vec<String>>>::default();
    let (list, failure) = (Arc::clone(&taken), how.clone());
    way.set(Way::Cut);
    for number in 1..=4 {
        for text in ["one", "two", "three"] {
            let text = match (number, text) {
                (2, "two") => "poison".to_owned(),
                _ => format!("{number} {text}"),
            };
            session.publish(&topic(peer, number), &text).await?;
        }
    }
    peer.answers(move |items| {
        let texts: Vec<_> = items.iter().filter_map(Arrived::text).collect();
        if texts.iter().any(|it| it == "poison") {
            return failure.clone();
        }
        list.lock().extend(texts);
        Reply::Taken
    });
    stage.line.fault(
        "weak.test",
        format!("answers a certain message, and the batch it is in, by {how:?}"),
    );
    way.set(Way::Open);
    let expected = [
        "1 one", "1 three", "1 two", "2 one", "3 one", "3 three", "3 two", "4 one", "4 three",
        "4 two",
    ];
    let deadline = Instant::now() + WITHIN;
    loop {
        let mut sorted = taken.lock().clone();
        sorted.sort();
        if sorted == expected {
            break;
        }
        if Instant::now() > deadline {
            return Err(Failure::Broken(format!(
                "of the others these arrived: {sorted:?}"
            )));
        }
        sleep(POLL).await;
    }
    stage.line.held(
        "weak.test",
        "has everything but that message and the one behind it in its chat",
    );
    Ok(())
}

/// The operator sees what is set aside; after a restart it is offered again, to a peer that is well.
async fn is_seen_and_mended(stage: &mut Stage, alice: &Person, peer: &ScriptedPeer) -> Result<()> {
    let alpha = stage.network.domain(0)?;
    let deadline = Instant::now() + WITHIN;
    // Set aside only after the last of its tries.
    let queue = loop {
        alpha.stop(STOP_WITHIN).await?;
        let queue = alpha.waiting().await?.into_iter().next();
        let queue = queue.ok_or_else(|| Failure::Broken("nothing waits".to_owned()))?;
        if queue.failed > 0 || Instant::now() > deadline {
            break queue;
        }
        alpha.start().await?;
        sleep(Duration::from_secs(2)).await;
    };
    expect(queue.parked == 2 && queue.failed == 1, || {
        format!("what is set aside is {queue:?}")
    })?;
    stage
        .line
        .held("alpha.test", format!("shows its operator {queue:?}"));
    let before = peer.arrived().len();
    peer.answers(|_| Reply::Taken);
    stage.line.act("weak.test", "is mended");
    stage.network.domain(0)?.start().await?;
    let rest = |it: &[Arrived]| -> Vec<String> {
        let late = it.iter().skip(before);
        late.filter_map(Arrived::text).collect()
    };
    peer.waits_for("what was set aside", WITHIN, |it| rest(it).len() >= 2)
        .await?;
    let texts = rest(&peer.arrived());
    expect(texts == ["poison", "2 three"], || {
        format!("what was set aside came as {texts:?}")
    })?;
    stage.line.held(
        "weak.test",
        format!("gets what was set aside of {}, in order", alice.login),
    );
    Ok(())
}

async fn says_no(stage: &Stage, session: &mut Session, peer: &ScriptedPeer) -> Result<()> {
    peer.answers(|items| {
        let verdicts = items.iter().map(|it| match it.text().as_deref() {
            Some("no") => Verdict::Refused(wire::Refused {
                code: NOT_PERMITTED,
                text: "not here".to_owned(),
            }),
            _ => Verdict::Ok(wire::Ok {}),
        });
        Reply::Verdicts(verdicts.collect())
    });
    let topic = topic(peer, 3);
    for text in ["yes", "no", "also"] {
        session.publish(&topic, text).await?;
    }
    let told = session
        .wait_for("a note about the refusal", WITHIN, |frame| {
            let message = frame.message_of(&topic);
            message.is_some_and(|it| it.content.as_str().is_some_and(|it| it.contains("refused")))
        })
        .await?;
    let note = told.body["content"].as_str().unwrap_or_default().to_owned();
    let has = |it: &[Arrived]| it.iter().any(|it| it.text().as_deref() == Some("also"));
    peer.waits_for("what follows the refused message", WITHIN, has)
        .await?;
    stage
        .line
        .held("alice@alpha.test", format!("is told: {note}"));
    Ok(())
}
