//! A message to a domain that is down waits, even when its own server dies meanwhile (F26 to F28).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{Failure, Ledger, Person, Result, Session, Stage, failure::expect, judge, meet};

/// A client's answer never waits for another domain.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(1);
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(500);

pub(super) const CASE: Case = Case {
    ids: "F28",
    name: "peer_down",
    proves: "a message to a dead peer is acknowledged at once, survives kill -9 of its own server, and arrives once",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let network = &mut stage.network;
        let (alice, mut at_alpha) = Person::register(&network.endpoint(0)?, "alice").await?;
        let (bob, mut at_beta) = Person::register(&network.endpoint(1)?, "bob").await?;
        meet((&alice, &mut at_alpha), (&bob, &mut at_beta)).await?;
        let (to_bob, to_alice) = (alice.name_of(&bob), bob.name_of(&alice));
        let mut ledger = Ledger::new("alice");

        network.domain(1)?.kill()?;
        write(&mut at_alpha, &to_bob, &mut ledger, 5).await?;
        network.domain(0)?.kill()?;
        network.domain(0)?.start().await?;
        let mut at_alpha = alice.come_back().await?;
        at_alpha.subscribe(&to_bob).await?;
        write(&mut at_alpha, &to_bob, &mut ledger, 3).await?;
        network.domain(0)?.kill()?;

        // Both are down now. The receiver comes back first and has to be found by the sender.
        network.domain(1)?.start().await?;
        network.domain(0)?.start().await?;
        let mut at_beta = bob.come_back().await?;
        at_beta.subscribe(&to_alice).await?;
        arrives(&mut at_beta, &to_alice, &ledger).await?;

        let mut at_alpha = alice.come_back().await?;
        at_alpha.subscribe(&to_bob).await?;
        at_beta.publish(&to_alice, "I was away.").await?;
        at_alpha
            .wait_for("bob's answer", ARRIVE_WITHIN, |frame| {
                frame
                    .message_of(&to_bob)
                    .is_some_and(|it| it.content == "I was away.")
            })
            .await?;
        Ok(())
    }
    .boxed_local()
}

async fn write(session: &mut Session, topic: &str, ledger: &mut Ledger, count: u64) -> Result<()> {
    for _ in 0..count {
        ledger.sent += 1;
        let text = ledger.text(ledger.sent);
        let asked = Instant::now();
        session.publish(topic, &text).await?;
        let took = asked.elapsed();
        expect(took < ACKNOWLEDGE_WITHIN, || {
            format!(
                "\"{text}\" was acknowledged only after {} ms",
                took.as_millis()
            )
        })?;
        ledger.acknowledged.insert(ledger.sent);
    }
    Ok(())
}

async fn arrives(session: &mut Session, topic: &str, ledger: &Ledger) -> Result<()> {
    let deadline = Instant::now() + ARRIVE_WITHIN;
    loop {
        let entries = ledger.entries(&session.history(topic, 1).await?);
        let faults = judge(ledger, &entries);
        if faults.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Broken(format!(
                "{} s after both servers are back, {} sees: {}",
                ARRIVE_WITHIN.as_secs(),
                session.who(),
                faults.join("; ")
            )));
        }
        sleep(POLL).await;
    }
}
