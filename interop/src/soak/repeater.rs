//! A scripted peer that writes to somebody at each domain and says everything many times over: the
//! same batch, shuffled, in other streams, on several lines.

use std::{cell::Cell, collections::BTreeSet, time::Duration};

use freehold_proto::{UserId, wire, wire::result::Verdict};
use tokio::time::{sleep, timeout};

use crate::{Failure, Person, Random, Result, ScriptedPeer, Stage, failure::expect, peer::items};

const PAUSE: Duration = Duration::from_millis(400);
/// Old messages repeated at once.
const REPEATED: usize = 30;
/// An answer that takes longer is not waited for; that, too, makes duplicates.
const PATIENCE: Duration = Duration::from_secs(3);
const TRIES: u32 = 200;

/// The peer, and whom it writes to.
pub(super) struct Repeater {
    peer: ScriptedPeer,
    listeners: Vec<Listener>,
    random: Random,
    said: u64,
    repeated: u64,
}

struct Listener {
    person: Person,
    id: UserId,
    at: std::net::SocketAddr,
    /// In the order of their numbers, from 1.
    texts: Vec<wire::Envelope>,
    taken: BTreeSet<usize>,
}

impl Repeater {
    pub(super) async fn begin(stage: &mut Stage) -> Result<Self> {
        let peer = stage.network.stranger("repeater.test").await?;
        let mut listeners = Vec::new();
        for index in 0..stage.network.len() {
            let endpoint = stage.network.endpoint(index)?;
            let (person, mut session) = Person::register(&endpoint, "listener").await?;
            session.subscribe(&peer.person(1).to_string()).await?;
            let id: UserId = person
                .global_id()
                .parse()
                .map_err(|error| Failure::harness("read an id", error))?;
            let at = stage.network.domain(index)?.federation();
            let mut line = peer.dial(id.domain(), at).await?;
            let consent = peer.consents(&peer.person(1), &id, 1)?;
            line.deliver(1, items(1, [consent])).await?;
            listeners.push(Listener {
                person,
                id,
                at,
                texts: Vec::new(),
                taken: BTreeSet::new(),
            });
        }
        Ok(Self {
            peer,
            listeners,
            random: Random::new(stage.random.number()),
            said: 0,
            repeated: 0,
        })
    }

    /// Says new things and old ones until it is enough.
    pub(super) async fn go_on(&mut self, enough: &Cell<bool>) -> Result<()> {
        while !enough.get() {
            sleep(PAUSE).await;
            let index = self.random.index(self.listeners.len());
            match timeout(PATIENCE, self.say(index)).await {
                Ok(Err(failure)) if !failure.is_passing() => return Err(failure),
                // Nobody there now, or no answer: it is said again another time.
                _ => {}
            }
        }
        Ok(())
    }

    /// A batch for one of them: old texts in any order, then those that were never taken, in order.
    async fn say(&mut self, index: usize) -> Result<()> {
        let Some(listener) = self.listeners.get_mut(index) else {
            return Ok(());
        };
        let number = listener.texts.len() + 1;
        let from = self.peer.person(1);
        let text = self
            .peer
            .text(&from, &listener.id, &format!("repeater {number}"))?;
        listener.texts.push(text);
        self.said += 1;
        let mut chosen: Vec<usize> = Vec::new();
        let old: Vec<_> = listener.taken.iter().copied().collect();
        for _ in 0..REPEATED.min(old.len()) {
            chosen.extend(old.get(self.random.index(old.len())).copied());
        }
        self.repeated += u64::try_from(chosen.len()).unwrap_or(0);
        let open = (1..=listener.texts.len()).filter(|it| !listener.taken.contains(it));
        chosen.extend(open);
        let envelopes = chosen
            .iter()
            .filter_map(|it| listener.texts.get(it - 1).cloned());
        let batch = items(1, envelopes);
        let mut line = self.peer.dial(listener.id.domain(), listener.at).await?;
        let verdicts = line.deliver(self.random.number(), batch).await?;
        for (number, verdict) in chosen.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Ok(_) if listener.taken.contains(&number) => {
                    return Err(Failure::Broken(format!(
                        "{} took \"repeater {number}\" twice",
                        listener.id
                    )));
                }
                Verdict::Ok(_) | Verdict::Duplicate(_) => {
                    listener.taken.insert(number);
                }
                other => {
                    return Err(Failure::Broken(format!(
                        "{} answered \"repeater {number}\" by {other:?}",
                        listener.id
                    )));
                }
            }
        }
        Ok(())
    }

    /// Everybody was told everything once, in order.
    pub(super) async fn judge(&mut self, stage: &Stage) -> Result<()> {
        for index in 0..self.listeners.len() {
            // What was never answered is said once more, to a network that is well.
            for _ in 0..TRIES {
                match self.say(index).await {
                    Ok(()) => break,
                    Err(failure) if failure.is_passing() => sleep(PAUSE).await,
                    Err(failure) => return Err(failure),
                }
            }
        }
        let topic = self.peer.person(1).to_string();
        for listener in &self.listeners {
            let mut session = listener.person.come_back().await?;
            session.subscribe(&topic).await?;
            let history = session.history(&topic, 1).await?;
            let seen: Vec<_> = history
                .iter()
                .filter_map(|it| it.content.as_str())
                .collect();
            let said = 1..=listener.texts.len();
            let said: Vec<_> = said.map(|it| format!("repeater {it}")).collect();
            expect(seen == said, || {
                let (seen, said) = (seen.len(), said.len());
                format!("{} sees {seen} of {said}, or in another order", listener.id)
            })?;
        }
        stage.line.held(
            "repeater.test",
            format!(
                "said {} things, repeated {} in any order; each is shown once",
                self.said, self.repeated
            ),
        );
        Ok(())
    }

    /// Messages said.
    pub(super) fn messages(&self) -> u64 {
        self.said
    }
}
