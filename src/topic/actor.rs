//! The task that owns one loaded topic. Decisions are made on the value in memory, one after the
//! other; each becomes durable in one commit; only then anybody is told (ARCHITECTURE.md, invariant
//! 2). Commits overlap, so a busy topic does not wait for the disk once per message.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use freehold_federation::{Unavailable, Verdict};
use freehold_proto::{Timestamp, UserId};
use freehold_store::{Batch, Outcome, StoreError, Tables, TopicKey, tables::rows::MessageRow};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesOrdered};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};
use tracing::{error, warn};

use super::{
    Command,
    asked::Asked,
    command::Decision,
    hub::{Hub, Place},
    one_to_one::{AccessChange, CursorMove, OneToOne},
    storage,
};
use crate::{
    edge::{frames::ServerFrame, reply::Reply, session::Session},
    server::Server,
};

/// Commits that may be under way at once.
const COMMITS_MAX: usize = 256;
/// How long cursors may wait to be written; they are outside the promise of durability (rules.md 29).
const CURSORS_AFTER: Duration = Duration::from_secs(5);
/// How long a topic stays loaded that nobody uses.
const UNLOAD_AFTER: Duration = Duration::from_secs(60);

/// What follows a commit, in order.
pub(super) enum Effect {
    /// Answer a client.
    Reply(Session, Vec<ServerFrame>),
    /// A message has a position now.
    Appended {
        seq: u32,
        row: Box<MessageRow>,
        author: UserId,
        /// A session that does not want its own words back.
        except: Option<Session>,
    },
    /// Somebody's access changed.
    Access(AccessChange, Option<Session>),
    /// Somebody got further.
    Moved(UserId, CursorMove, Option<Session>),
    /// Somebody left for good.
    Left(UserId, Session),
    /// A person's private notes changed.
    Annotated(UserId, Session),
    /// The person at the other domain has another description.
    Described(UserId),
    /// Somebody has agreed to talk to a person elsewhere, who may know now that they are here.
    Greet(UserId),
    /// Something waits for the peer domain.
    Wake,
    /// Messages parked for the peer's consent may go.
    Release(UserId),
    /// Answer a peer.
    Decided(Decision, Verdict),
    /// Somebody's account is gone, and this topic with it.
    Erased(UserId, Vec<(Session, UserId)>),
    /// Tell whoever asked that it has been done.
    Told(oneshot::Sender<()>),
}

/// A commit's outcome, the head it makes durable, and what follows.
type Committed = (Result<Outcome, StoreError>, u32, Vec<Effect>);

/// A loaded topic.
pub(super) struct Actor {
    pub(super) server: Arc<Server>,
    pub(super) people: [UserId; 2],
    pub(super) topic: OneToOne,
    pub(super) attached: Vec<(Session, UserId)>,
    place: Place,
    is_stored: bool,
    commits: FuturesOrdered<Pin<Box<dyn Future<Output = Committed> + Send + Sync>>>,
    cursors_due: Option<Instant>,
    idle_since: Instant,
    /// Memory may be ahead of the disk; read again once nothing is under way.
    stale: bool,
}

impl Actor {
    pub(super) fn new(server: Arc<Server>, people: [UserId; 2], place: Place) -> Self {
        let [a, b] = people.clone();
        Self {
            topic: OneToOne::new(a, b, &server.us),
            server,
            people,
            attached: Vec::new(),
            place,
            is_stored: false,
            commits: FuturesOrdered::new(),
            cursors_due: None,
            idle_since: Instant::now(),
            stale: true,
        }
    }

    pub(super) fn key(&self) -> TopicKey {
        self.place.key
    }

    pub(super) fn now(&self) -> Timestamp {
        self.server.clock.now()
    }

    /// Runs until the topic is unused for a while or the domain stops.
    pub(super) async fn run(mut self) {
        let stop = self.server.tasks.stop_token();
        loop {
            if self.stale && self.commits.is_empty() && !self.reload().await {
                break;
            }
            let ready = !self.stale && self.commits.len() < COMMITS_MAX;
            let cursors = self
                .cursors_due
                .unwrap_or_else(|| Instant::now() + CURSORS_AFTER);
            tokio::select! {
                biased;
                Some(committed) = self.commits.next() => self.settle(committed),
                Some(command) = self.place.mailbox.recv(), if ready => {
                    self.idle_since = Instant::now();
                    self.handle(command).await;
                }
                () = sleep_until(cursors), if self.cursors_due.is_some() => self.write_cursors(),
                () = sleep_until(self.idle_since + UNLOAD_AFTER), if self.is_idle() => {
                    let server = Arc::clone(&self.server);
                    if server.hub.retire(&mut self.place) {
                        break;
                    }
                    self.idle_since = Instant::now();
                }
                () = stop.cancelled() => break,
            }
        }
        self.finish().await;
    }

    fn is_idle(&self) -> bool {
        self.attached.is_empty() && self.commits.is_empty() && self.cursors_due.is_none()
    }

    /// Completes what is under way; what still came in goes to the topic's next task.
    async fn finish(mut self) {
        self.place.mailbox.close();
        self.write_cursors();
        while let Some(committed) = self.commits.next().await {
            self.settle(committed);
        }
        while let Some(command) = self.place.mailbox.recv().await {
            Hub::send(&self.server, &self.people, command).await;
        }
    }

    /// Reads the topic as it is on disk. Without it nothing can be answered: false.
    async fn reload(&mut self) -> bool {
        match self.load().await {
            Ok(topic) => {
                self.is_stored = topic.created.is_some();
                self.place.durable_head.store(topic.head, Ordering::Release);
                self.topic = topic;
                self.cursors_due = None;
                self.stale = false;
                true
            }
            Err(fault) => {
                error!(%fault, "a topic cannot be read");
                while let Ok(command) = self.place.mailbox.try_recv() {
                    self.refuse(command, &fault);
                }
                false
            }
        }
    }

    async fn load(&self) -> Result<OneToOne, StoreError> {
        let (people, us) = (self.people.clone(), self.server.us.clone());
        let read = move |tables: &Tables| storage::load(tables, &people, &us);
        let topic = self.server.tables.read(read).await?;
        if let Some(foreigner) = topic.foreigner() {
            self.server.outbox.prepare(foreigner.id.domain()).await?;
        }
        Ok(topic)
    }

    fn refuse(&self, command: Command, fault: &StoreError) {
        match command {
            Command::Request {
                session, id, name, ..
            } if id.is_some() => {
                session.send(&Reply::from(fault.clone()).into_frame(id, Some(name), self.now()));
            }
            Command::Incoming(incoming) => drop(incoming.decision.send(unknown(fault))),
            Command::Relate { decision, .. } | Command::Progress { decision, .. } => {
                drop(decision.send(unknown(fault)));
            }
            _ => {}
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Request {
                session,
                user,
                id,
                name,
                request,
            } => {
                let asked = Asked {
                    session,
                    user,
                    id,
                    name,
                };
                // A refusal changes nothing, however far the request had come.
                let before = (self.topic.clone(), self.attached.clone());
                if let Err(refusal) = self.request(&asked, request).await {
                    (self.topic, self.attached) = before;
                    asked.answer(refusal, self.now());
                }
            }
            Command::Detach(session) => self.detach(&session),
            Command::Incoming(incoming) => self.incoming(*incoming).await,
            Command::Relate {
                peer,
                relation,
                described,
                decision,
            } => self.relate(&peer, &relation, described, decision).await,
            Command::Progress {
                reader,
                read,
                received,
                decision,
            } => self.foreign_progress(&reader, read, received, decision),
            Command::Typing { user, what } => self.tell_typing(&user, what),
            Command::Erase { user, done } => self.erase(&user, done).await,
            Command::Undelivered {
                seq,
                reason,
                refused,
                done,
            } => self.undelivered(seq, &reason, &refused, done).await,
        }
    }

    /// Queues a batch, with the standings if more than cursors changed or the topic is new.
    pub(super) fn commit_with_news(&mut self, batch: Batch, effects: Vec<Effect>) {
        if self.topic.urgent || !self.is_stored {
            self.commit_all(batch, effects);
        } else {
            self.commit(batch, effects);
        }
    }

    /// Queues a batch with everything that changed in memory.
    pub(super) fn commit_all(&mut self, mut batch: Batch, effects: Vec<Effect>) {
        let key = self.key();
        storage::write(&mut batch, key, &mut self.topic, &mut self.is_stored);
        self.cursors_due = None;
        self.commit(batch, effects);
    }

    /// Queues a batch; cursors that moved are written later, together.
    pub(super) fn commit(&mut self, batch: Batch, effects: Vec<Effect>) {
        if self.topic.people.iter().any(|it| it.dirty) {
            self.cursors_due
                .get_or_insert(Instant::now() + CURSORS_AFTER);
        }
        let head = self.topic.head;
        if batch.is_empty() {
            let done = async move { (Ok(Outcome::Applied), head, effects) };
            return self.commits.push_back(Box::pin(done));
        }
        let mut commit = self.server.tables.commit(batch);
        // What is refused at once must not be overtaken by what comes next.
        let answer = (&mut commit).now_or_never();
        self.stale |= matches!(answer, Some(Err(_)));
        self.commits.push_back(Box::pin(async move {
            let result = match answer {
                Some(result) => result,
                None => commit.await,
            };
            (result, head, effects)
        }));
    }

    fn write_cursors(&mut self) {
        if self.cursors_due.take().is_some() && !self.stale {
            self.commit_all(Batch::new(), Vec::new());
        }
    }

    fn settle(&mut self, (result, head, effects): Committed) {
        match result {
            Ok(Outcome::Applied) => {
                // While loading the head is unknown, which counts as everything.
                self.place.durable_head.store(head, Ordering::Release);
                effects.into_iter().for_each(|effect| self.perform(effect));
            }
            Ok(Outcome::GuardFailed { .. }) => {
                // The one guard is that a message id is new; that was checked before.
                warn!("a message id came twice at the same time");
                self.stale = true;
                effects
                    .into_iter()
                    .for_each(|effect| self.fail(effect, &StoreError::Overloaded));
            }
            Err(fault) => {
                self.stale = true;
                effects
                    .into_iter()
                    .for_each(|effect| self.fail(effect, &fault));
            }
        }
    }

    fn fail(&self, effect: Effect, fault: &StoreError) {
        match effect {
            Effect::Decided(decision, _) => drop(decision.send(unknown(fault))),
            Effect::Reply(session, frames) => {
                let answered = frames.into_iter().find_map(|frame| match frame {
                    ServerFrame::Ctrl(ctrl) => Some((ctrl.id, ctrl.topic)),
                    _ => None,
                });
                if let Some((id, topic)) = answered {
                    session.send(&Reply::from(fault.clone()).into_frame(id, topic, self.now()));
                }
            }
            _ => {}
        }
    }

    fn detach(&mut self, session: &Session) {
        self.attached.retain(|(it, _)| it != session);
        self.idle_since = Instant::now();
    }

    pub(super) fn is_attached(&self, session: &Session) -> bool {
        self.attached.iter().any(|(it, _)| it == session)
    }
}

/// The answer to a peer when the store does not say what became of its item: it asks again.
fn unknown(fault: &StoreError) -> Result<Verdict, Unavailable> {
    Err(Unavailable(fault.to_string()))
}
