//! Somebody who writes without end, comes back after every lost connection, and never repeats a
//! message: what is not acknowledged stays open.

use std::{cell::Cell, collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{Failure, Frame, FrameKind, Ledger, Person, Result, Session, failure::expect};

/// Messages on their way at once.
const WINDOW: usize = 8;
/// Between two messages, unless another pace is wanted.
const PACE: Duration = Duration::from_millis(3);
/// Stock clients call a message failed after this.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(5);
/// Time for a killed server to come back.
const COME_BACK_WITHIN: Duration = Duration::from_secs(40);
const COME_BACK_POLL: Duration = Duration::from_millis(50);

/// What a writer and whoever disturbs it tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    /// Messages acknowledged so far.
    pub acknowledged: Cell<u64>,
    /// Set to make the writer finish.
    pub enough: Cell<bool>,
}

/// Writes to one topic.
#[derive(Debug)]
pub struct Writer {
    person: Person,
    topic: String,
    ledger: Ledger,
    open: BTreeMap<String, (u64, Instant)>,
    pace: Duration,
    // Position of the last message shown in this connection.
    shown: u64,
}

impl Writer {
    /// Somebody who will write to `topic`.
    #[must_use]
    pub fn new(person: Person, topic: String) -> Self {
        Self {
            ledger: Ledger::new(&person.login),
            person,
            topic,
            open: BTreeMap::new(),
            pace: PACE,
            shown: 0,
        }
    }

    /// The same at another pace.
    #[must_use]
    pub fn paced(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }

    /// The same behind what the person has written before.
    #[must_use]
    pub fn continuing(self, ledger: Ledger) -> Self {
        Self { ledger, ..self }
    }

    /// What was sent and acknowledged.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Writes until told that it is enough, through any number of lost connections.
    pub async fn write(&mut self, progress: &Progress) -> Result<()> {
        loop {
            let mut session = self.connect().await?;
            match self.write_through(&mut session, progress).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.is_disconnect() => {
                    self.take_what_came(&mut session, progress).await?;
                    self.open.clear();
                    self.shown = 0;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn connect(&self) -> Result<Session> {
        let deadline = Instant::now() + COME_BACK_WITHIN;
        loop {
            let back = async {
                let mut session = self.person.come_back().await?;
                session.subscribe(&self.topic).await?;
                Result::Ok(session)
            };
            match back.await {
                Ok(session) => return Ok(session),
                Err(failure) if !failure.is_passing() || Instant::now() > deadline => {
                    return Err(failure);
                }
                Err(_) => sleep(COME_BACK_POLL).await,
            }
        }
    }

    /// Writes on one connection. Ends well only when told to and everything is acknowledged.
    async fn write_through(&mut self, session: &mut Session, progress: &Progress) -> Result<()> {
        loop {
            let enough = progress.enough.get();
            if enough && self.open.is_empty() {
                return Ok(());
            }
            if !enough && self.open.len() < WINDOW {
                self.write_one(session).await?;
            }
            let pause_ends = Instant::now() + self.pace;
            while let Some(frame) = session.next(pause_ends).await? {
                self.take(&frame, progress)?;
            }
            let overdue = |at: &Instant| at.elapsed() > ACKNOWLEDGE_WITHIN;
            if let Some((number, _)) = self.open.values().find(|(_, at)| overdue(at)) {
                let text = self.ledger.text(*number);
                let awaited = format!("the answer to {{pub \"{text}\"}} ({})", session.who());
                return Err(Failure::Late {
                    awaited,
                    after: ACKNOWLEDGE_WITHIN,
                });
            }
        }
    }

    async fn write_one(&mut self, session: &mut Session) -> Result<()> {
        let number = self.ledger.sent + 1;
        // Counted before sending: a failed send may still have reached the server.
        self.ledger.sent = number;
        let text = self.ledger.text(number);
        let body = json!({"topic": self.topic, "noecho": true, "content": text});
        let id = session.send("pub", body).await?;
        self.open.insert(id, (number, Instant::now()));
        Ok(())
    }

    /// Acknowledgements that arrived before the connection broke count.
    async fn take_what_came(&mut self, session: &mut Session, progress: &Progress) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            match session.next(deadline).await {
                Ok(Some(frame)) => self.take(&frame, progress)?,
                Ok(None) => return Ok(()),
                Err(failure) if failure.is_disconnect() => return Ok(()),
                Err(failure) => return Err(failure),
            }
        }
    }

    fn take(&mut self, frame: &Frame, progress: &Progress) -> Result<()> {
        match frame.kind {
            FrameKind::Ctrl => self.take_answer(frame, progress),
            FrameKind::Data => self.take_message(frame),
            FrameKind::Meta | FrameKind::Pres | FrameKind::Info => Ok(()),
        }
    }

    fn take_answer(&mut self, frame: &Frame, progress: &Progress) -> Result<()> {
        let Some((number, _)) = self.open.remove(frame.text("id")) else {
            return Ok(());
        };
        match frame.code() {
            202 => {
                self.ledger.acknowledged.insert(number);
                progress.acknowledged.set(progress.acknowledged.get() + 1);
                Ok(())
            }
            // "We do not know": neither promised nor denied.
            500.. => Ok(()),
            code => Err(Failure::Refused {
                who: self.person.address(),
                request: format!("pub \"{}\"", self.ledger.text(number)),
                code,
                text: frame.text("text").to_owned(),
            }),
        }
    }

    fn take_message(&mut self, frame: &Frame) -> Result<()> {
        let Some(message) = frame.message_of(&self.topic) else {
            return Ok(());
        };
        expect(message.seq > self.shown, || {
            let who = self.person.address();
            format!(
                "{who} is shown seq {} after seq {}",
                message.seq, self.shown
            )
        })?;
        self.shown = message.seq;
        Ok(())
    }
}
