//! Two people of two domains who talk, what each was promised, and what both see in the end.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    Entry, Failure, Ledger, Message, Person, Result, Session, Stage, Timeline, failure::expect,
    judge, meet,
};

/// A client's answer never waits for another domain.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(1);
/// Time for a server that was started to know its people again.
const COME_BACK_WITHIN: Duration = Duration::from_secs(30);
/// Time in which a late duplicate would still show up.
const LINGER: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(200);

/// One of the two.
pub type Side = usize;

/// Two people who agreed to talk, each with a session attached to their chat, or without.
#[derive(Debug)]
pub struct Chat {
    /// The two.
    pub people: [Person; 2],
    sessions: [Option<Session>; 2],
    /// What each sent and was promised.
    pub ledgers: [Ledger; 2],
    line: Timeline,
}

impl Chat {
    /// Makes an account at each of two domains, which must be up, and lets the two meet.
    pub async fn begin(stage: &mut Stage, one: (usize, &str), two: (usize, &str)) -> Result<Self> {
        let first = Person::register(&stage.network.endpoint(one.0)?, one.1).await?;
        let second = Person::register(&stage.network.endpoint(two.0)?, two.1).await?;
        let (mut first, mut second) = (first, second);
        meet((&first.0, &mut first.1), (&second.0, &mut second.1)).await?;
        let (names, line) = ([one.1, two.1], stage.line.clone());
        line.act(names.join(" and "), "meet and agree to talk");
        Ok(Self {
            people: [first.0, second.0],
            sessions: [Some(first.1), Some(second.1)],
            ledgers: names.map(Ledger::new),
            line,
        })
    }

    /// The chat as one side names it.
    #[must_use]
    pub fn topic(&self, side: Side) -> String {
        self.people[side].name_of(&self.people[1 - side])
    }

    /// The session of one side, made anew if there is none.
    pub async fn session(&mut self, side: Side) -> Result<&mut Session> {
        if self.sessions[side].is_none() {
            let session = self.connect(side).await?;
            self.sessions[side] = Some(session);
        }
        self.sessions[side]
            .as_mut()
            .ok_or_else(|| Failure::harness("find a session", "it was just made"))
    }

    /// Forgets the session of one side, whose server has gone or will go.
    pub fn disconnect(&mut self, side: Side) {
        self.sessions[side] = None;
    }

    async fn connect(&self, side: Side) -> Result<Session> {
        let deadline = Instant::now() + COME_BACK_WITHIN;
        loop {
            let back = async {
                let mut session = self.people[side].come_back().await?;
                session.subscribe(&self.topic(side)).await?;
                Result::Ok(session)
            };
            match back.await {
                Ok(session) => return Ok(session),
                Err(failure) if !failure.is_passing() || Instant::now() > deadline => {
                    return Err(failure);
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }

    /// One side writes so many messages, each acknowledged within a second.
    pub async fn writes(&mut self, side: Side, count: u64) -> Result<()> {
        for _ in 0..count {
            let asked = Instant::now();
            let accepted = self.writes_one(side).await?;
            let (took, ledger) = (asked.elapsed(), &self.ledgers[side]);
            let text = ledger.text(ledger.sent);
            expect(accepted, || format!("\"{text}\" was not acknowledged"))?;
            expect(took < ACKNOWLEDGE_WITHIN, || {
                let took = took.as_millis();
                format!("\"{text}\" was acknowledged only after {took} ms")
            })?;
        }
        let ledger = &self.ledgers[side];
        let what = format!(
            "writes {count}, up to number {}, all acknowledged",
            ledger.sent
        );
        self.line.act(&ledger.sender, what);
        Ok(())
    }

    /// One side writes a message; true when it was acknowledged. A server that breaks off or answers
    /// "we do not know" makes it false.
    pub async fn writes_one(&mut self, side: Side) -> Result<bool> {
        let topic = self.topic(side);
        let ledger = &mut self.ledgers[side];
        // Counted before sending: a failed send may still have reached the server.
        ledger.sent += 1;
        let (number, text) = (ledger.sent, ledger.text(ledger.sent));
        let published = match self.session(side).await {
            Ok(session) => session.publish(&topic, &text).await,
            Err(failure) => Err(failure),
        };
        match published {
            Ok(_) => {
                self.ledgers[side].acknowledged.insert(number);
                Ok(true)
            }
            Err(failure) if failure.is_passing() => {
                self.disconnect(side);
                Ok(false)
            }
            Err(failure) => Err(failure),
        }
    }

    /// All that one side sees of the chat.
    pub async fn history(&mut self, side: Side) -> Result<Vec<Message>> {
        let topic = self.topic(side);
        let read = self.session(side).await?.history(&topic, 1).await;
        if let Err(failure) = &read
            && failure.is_disconnect()
        {
            self.disconnect(side);
            return self.session(side).await?.history(&topic, 1).await;
        }
        read
    }

    /// A second session of one side, which looks at its list of contacts and opens no chat.
    pub async fn bystander(&self, side: Side) -> Result<Session> {
        self.people[side].come_back().await
    }

    /// Unread messages of one side, as its list of contacts counts them.
    pub async fn unread(&mut self, side: Side) -> Result<u64> {
        let topic = self.topic(side);
        let session = self.session(side).await?;
        let rows = session.get("me", "sub").await?.unwrap_or_default();
        let row = rows.as_array().into_iter().flatten();
        let Some(row) = row.into_iter().find(|row| row["topic"] == topic) else {
            return Err(Failure::Broken(format!(
                "{topic} is not in the list of contacts"
            )));
        };
        let number = |key: &str| row[key].as_u64().unwrap_or(0);
        Ok(number("seq").saturating_sub(number("read")))
    }

    /// One side reads all there is and says so.
    pub async fn reads(&mut self, side: Side) -> Result<u64> {
        let last = self.history(side).await?.last().map_or(0, |it| it.seq);
        let topic = self.topic(side);
        self.session(side).await?.note(&topic, "read", last).await?;
        Ok(last)
    }

    /// Up to which of its own messages one side knows the other one to have read.
    pub async fn known_to_be_read(&mut self, side: Side) -> Result<u64> {
        let (topic, other) = (self.topic(side), self.topic(side));
        let rows = self.session(side).await?.get(&topic, "sub").await?;
        let rows = rows.unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        let row = rows.find(|row| row["user"] == other);
        Ok(row.and_then(|it| it["read"].as_u64()).unwrap_or(0))
    }

    /// Waits until both sides see all that was acknowledged, then a little longer, and judges: each
    /// message once, in order, and the same ones at both.
    pub async fn agree(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline && !self.is_complete().await? {
            sleep(POLL).await;
        }
        sleep(LINGER).await;
        let faults = self.faults().await?;
        expect(faults.is_empty(), || faults.join("\n"))?;
        let all: u64 = self.ledgers.iter().map(|it| it.sent).sum();
        let acknowledged: usize = self.ledgers.iter().map(|it| it.acknowledged.len()).sum();
        self.line.held(
            self.names(),
            format!(
                "see the same: of {all} sent all {acknowledged} acknowledged, each once, in order"
            ),
        );
        Ok(())
    }

    /// Who they are.
    #[must_use]
    pub fn names(&self) -> String {
        self.people.each_ref().map(Person::address).join(" and ")
    }

    /// True when both sides see all that was acknowledged, and the same.
    pub async fn is_complete(&mut self) -> Result<bool> {
        let seen = self.seen().await?;
        let whole = |side: Side| {
            let entries = &seen[0][side];
            self.ledgers[side].is_complete(entries) && numbers(entries) == numbers(&seen[1][side])
        };
        Ok(whole(0) && whole(1))
    }

    /// Everything wrong with what the two see, one sentence each.
    pub async fn faults(&mut self) -> Result<Vec<String>> {
        let seen = self.seen().await?;
        let mut faults = Vec::new();
        for (side, seen) in seen.iter().enumerate() {
            let who = self.people[side].address();
            for (ledger, entries) in self.ledgers.iter().zip(seen) {
                let found = judge(ledger, entries);
                faults.extend(found.into_iter().map(|it| format!("{who} sees: {it}")));
            }
        }
        for (side, ledger) in self.ledgers.iter().enumerate() {
            let [here, there] = [0, 1].map(|viewer: usize| numbers(&seen[viewer][side]));
            if here != there {
                let sender = &ledger.sender;
                let (here, there) = (here.len(), there.len());
                faults.push(format!(
                    "of {sender}'s messages {here} are at one side and {there} at the other"
                ));
            }
        }
        Ok(faults)
    }

    /// By viewer, the messages of each of the two.
    async fn seen(&mut self) -> Result<[[Vec<Entry>; 2]; 2]> {
        let mut seen: [[Vec<Entry>; 2]; 2] = Default::default();
        for (viewer, seen) in seen.iter_mut().enumerate() {
            let history = self.history(viewer).await?;
            for (ledger, entries) in self.ledgers.iter().zip(seen) {
                *entries = ledger.entries(&history);
            }
        }
        Ok(seen)
    }

    /// Waits until one side is shown a text that contains `part`.
    pub async fn is_shown(&mut self, side: Side, part: &str, within: Duration) -> Result<Message> {
        let deadline = Instant::now() + within;
        loop {
            let history = self.history(side).await?;
            let found = history
                .into_iter()
                .find(|it| it.content.as_str().is_some_and(|it| it.contains(part)));
            if let Some(found) = found {
                self.line.held(
                    &self.people[side].login,
                    format!("is shown: {}", found.content),
                );
                return Ok(found);
            }
            if Instant::now() > deadline {
                let awaited = format!("{} to be shown \"{part}\"", self.people[side].address());
                return Err(Failure::Late {
                    awaited,
                    after: within,
                });
            }
            sleep(POLL).await;
        }
    }

    /// One side asks for the description of the chat.
    pub async fn description(&mut self, side: Side) -> Result<serde_json::Value> {
        let topic = self.topic(side);
        let desc = self.session(side).await?.get(&topic, "desc").await?;
        Ok(desc.unwrap_or(json!({})))
    }
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|it| it.number).collect()
}
