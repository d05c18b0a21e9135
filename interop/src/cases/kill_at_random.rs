//! Two servers under load, either killed at random, 20 rounds (F26, F27).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{
    Failure, Ledger, Message, Network, Person, Progress, Random, Result, Session, Stage, Writer,
    judge, meet,
};

const ROUNDS: u32 = 20;
/// After the victim's writer was acknowledged again.
const CALM: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1200));
/// Between a kill and the restart.
const OUTAGE: (Duration, Duration) = (Duration::ZERO, Duration::from_millis(1000));
/// Time for a writer to be acknowledged again after its server came back.
const RECOVER_WITHIN: Duration = Duration::from_secs(30);
/// Time for everything to arrive after the last restart.
const QUIET_WITHIN: Duration = Duration::from_secs(60);
/// Time in which a late duplicate would still show up.
const LINGER: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(500);

pub(super) const CASE: Case = Case {
    ids: "F26, F27",
    name: "kill_at_random",
    proves: "kill -9 of either of two servers under load, 20 rounds: no acknowledged message lost, none twice, order per sender kept",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting],
    within: Duration::from_secs(300),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let Stage {
            network,
            random,
            line,
            ..
        } = stage;
        let (alice, mut at_alpha) = Person::register(&network.endpoint(0)?, "alice").await?;
        let (bob, mut at_beta) = Person::register(&network.endpoint(1)?, "bob").await?;
        meet((&alice, &mut at_alpha), (&bob, &mut at_beta)).await?;
        drop((at_alpha, at_beta));

        let mut writers = [
            Writer::new(alice.clone(), alice.name_of(&bob)),
            Writer::new(bob.clone(), bob.name_of(&alice)),
        ];
        load_and_kill(network, random, &mut writers).await?;
        let ledgers = writers.each_ref().map(Writer::ledger);
        for ledger in ledgers {
            line.note(summary(ledger));
        }

        let mut readers = [
            Reader::open(&alice, alice.name_of(&bob)).await?,
            Reader::open(&bob, bob.name_of(&alice)).await?,
        ];
        settle(&mut readers, ledgers).await?;
        sleep(LINGER).await;
        check(&mut readers, ledgers).await
    }
    .boxed_local()
}

async fn load_and_kill(
    network: &mut Network,
    random: &mut Random,
    [alice, bob]: &mut [Writer; 2],
) -> Result<()> {
    let progress = [Progress::default(), Progress::default()];
    let kills = async {
        for round in 1..=ROUNDS {
            let victim = random.index(progress.len());
            kill_one(network, random, victim, &progress)
                .await
                .map_err(|failure| in_round(round, &failure))?;
        }
        await_progress(&progress).await?;
        for one in &progress {
            one.enough.set(true);
        }
        Ok(())
    };
    let [alpha, beta] = &progress;
    tokio::try_join!(kills, alice.write(alpha), bob.write(beta))?;
    Ok(())
}

/// One round: lets both be acknowledged again, waits, kills, waits, starts.
async fn kill_one(
    network: &mut Network,
    random: &mut Random,
    victim: usize,
    progress: &[Progress],
) -> Result<()> {
    await_progress(progress).await?;
    sleep(random.pause(CALM.0, CALM.1)).await;
    let domain = network.domain(victim)?;
    domain.kill()?;
    sleep(random.pause(OUTAGE.0, OUTAGE.1)).await;
    domain.start().await
}

/// Waits until every writer was acknowledged once more: the network is under load.
async fn await_progress(progress: &[Progress]) -> Result<()> {
    let deadline = Instant::now() + RECOVER_WITHIN;
    for one in progress {
        let before = one.acknowledged.get();
        while one.acknowledged.get() == before {
            if Instant::now() > deadline {
                return Err(Failure::Late {
                    awaited: "both writers to be acknowledged again".to_owned(),
                    after: RECOVER_WITHIN,
                });
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

fn in_round(round: u32, failure: &Failure) -> Failure {
    Failure::Broken(format!("round {round} of {ROUNDS}: {failure}"))
}

/// Reads the chat at one domain.
struct Reader {
    session: Session,
    topic: String,
    read: Vec<Message>,
}

impl Reader {
    async fn open(person: &Person, topic: String) -> Result<Self> {
        let mut session = person.come_back().await?;
        session.subscribe(&topic).await?;
        Ok(Self {
            session,
            topic,
            read: Vec::new(),
        })
    }

    /// Reads what is new.
    async fn read_on(&mut self) -> Result<()> {
        let newest = self.read.last().map_or(0, |it| it.seq);
        let new = self.session.history(&self.topic, newest + 1).await?;
        self.read.extend(new);
        Ok(())
    }
}

/// Waits until everything acknowledged is everywhere, or time is up: the check says what is missing.
async fn settle(readers: &mut [Reader], ledgers: [&Ledger; 2]) -> Result<()> {
    let deadline = Instant::now() + QUIET_WITHIN;
    while Instant::now() < deadline {
        let mut complete = true;
        for reader in &mut *readers {
            reader.read_on().await?;
            let whole = |it: &&Ledger| it.is_complete(&it.entries(&reader.read));
            complete &= ledgers.iter().all(whole);
        }
        if complete {
            return Ok(());
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// Reads everything afresh at both domains and judges it.
async fn check(readers: &mut [Reader], ledgers: [&Ledger; 2]) -> Result<()> {
    let mut faults = Vec::new();
    for reader in readers {
        reader.read = reader.session.history(&reader.topic, 1).await?;
        for ledger in ledgers {
            let found = judge(ledger, &ledger.entries(&reader.read));
            let who = reader.session.who();
            faults.extend(found.into_iter().map(|it| format!("{who} sees: {it}")));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Failure::Broken(format!(
        "{}\n{}",
        ledgers.map(summary).join("; "),
        faults.join("\n")
    )))
}

fn summary(ledger: &Ledger) -> String {
    let acknowledged = ledger.acknowledged.len();
    format!(
        "{} sent {}, acknowledged {acknowledged}",
        ledger.sender, ledger.sent
    )
}
