//! The task that owns one loaded topic. Decisions are made on the value in memory, one after the
//! other; each becomes durable in one commit; only then anybody is told (ARCHITECTURE.md, invariant
//! 2). Commits overlap, so a busy topic does not wait for the disk once per message.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use freehold_federation::{Unavailable, Verdict, hooks};
use freehold_proto::{DomainName, Timestamp, UserId};
use freehold_store::{Batch, Outcome, StoreError, Tables, TopicKey, tables::rows::MessageRow};
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesOrdered};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until},
};
use tracing::{error, warn};

use super::{
    Command, TopicName, TopicRequest,
    asked::Asked,
    attached::{Attached, PutOut},
    call::Ringing,
    command::Decision,
    conversation::Conversation,
    deletion::{Deletion, ERASE_AGAIN},
    group_join::Joining,
    hub::{Hub, Place},
    one_to_one::OneToOne,
    progress::Gathered,
    room::Room,
    sent::Sent,
    standing::{AccessChange, CursorMove},
    storage,
};
use crate::{
    edge::{
        frames::ServerFrame,
        reply::{self, Reply},
        session::Session,
    },
    files::Held,
    server::Server,
};

/// Commits that may be under way at once.
const COMMITS_MAX: usize = 256;
/// How long cursors may wait to be written; they are outside the promise of durability (rules.md 29).
const CURSORS_AFTER: Duration = Duration::from_secs(5);
/// When what could not be finished after reading a topic is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);
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
    /// A message that stood here already has its order now.
    Placed(u32, Box<MessageRow>),
    /// Somebody's access changed.
    Access(AccessChange, Option<Session>),
    /// Somebody got further.
    Moved(UserId, CursorMove, Option<Session>),
    /// Somebody left a topic of two for good.
    Left(UserId, Session),
    /// Somebody may not stay in a room: their sessions are detached, but for one that knows.
    Evicted {
        user: UserId,
        sessions: Vec<PutOut>,
        /// They are no member any more.
        gone: bool,
        except: Option<Session>,
    },
    /// A session attached to a room.
    Arrived(Session, UserId),
    /// The room ended for everybody.
    Closed(Option<Session>),
    /// The room has another description.
    Redescribed(Option<Session>),
    /// Something else is attached to the topic.
    Pinned(Option<Session>),
    /// Messages were deleted.
    Deleted(Deletion),
    /// Files are referred to now, so nothing else need keep them.
    Referred(Held),
    /// A person's private notes changed.
    Annotated(UserId, Session),
    /// The person at the other domain has another description.
    Described(UserId),
    /// Somebody has agreed to talk to a person elsewhere, who may know now that they are here.
    Greet(UserId),
    /// Something waits for the peer domain.
    Wake,
    /// Something waits for peer domains: of this topic, or in the log of the group.
    WakePeers(Vec<DomainName>, TopicKey),
    /// Messages from before our copy of the group began have come, newest first.
    Past(Vec<(u32, MessageRow)>),
    /// The description of a member elsewhere is another now.
    Profiled(UserId),
    /// Messages parked for the peer's consent may go.
    Release(UserId),
    /// Answer a peer.
    Decided(Decision, Verdict),
    /// Somebody's account is gone, and this topic with it.
    Erased(UserId, Vec<Session>),
    /// Tell whoever asked that it has been done.
    Told(oneshot::Sender<()>),
}

/// A commit's outcome, the head it makes durable, whether it wrote anything, and what follows.
type Committed = (Result<Outcome, StoreError>, u32, bool, Vec<Effect>);

/// A loaded topic.
pub(super) struct Actor {
    pub(super) server: Arc<Server>,
    pub(super) name: TopicName,
    pub(super) topic: Conversation,
    pub(super) attached: Attached,
    /// The call that rings or goes on.
    pub(super) call: Option<Ringing>,
    /// What was written last.
    pub(super) sent: Sent,
    /// Where erasing of deleted messages goes on.
    pub(super) erasing: u32,
    /// A home: its own entries come back to it, and are not to be placed again.
    pub(super) regaining: bool,
    /// A copy: its home has been asked for what is missing.
    pulling: bool,
    /// The home of this group is another now: what waits for the former one is to be moved.
    pub(super) home_moved: bool,
    /// How many entries before the end of our log another home was asked for last.
    pub(super) steps_back: (Option<DomainName>, u64),
    /// Other successors are being asked whether we may take over.
    pub(super) electing: bool,
    /// Another successor has asked for what we ask for.
    pub(super) rivalled: bool,
    /// A home that does not say how everybody stands, after a former one was fenced.
    pub(super) silent_home: Option<DomainName>,
    /// A copy: people who wait for the home to let them in.
    pub(super) joining: Vec<Joining>,
    pub(super) place: Place,
    is_stored: bool,
    commits: FuturesOrdered<Pin<Box<dyn Future<Output = Committed> + Send + Sync>>>,
    cursors_due: Option<Instant>,
    /// How far our person, of two, has said to have read, since this was loaded.
    pub(super) said_read: u32,
    /// How far people have got, as far as others are still to be told.
    pub(super) gathered: Gathered,
    idle_since: Instant,
    /// Memory may be ahead of the disk; read again once nothing is under way.
    stale: bool,
    erase_at: Instant,
}

impl Actor {
    pub(super) fn new(server: Arc<Server>, name: TopicName, place: Place) -> Self {
        Self {
            topic: Conversation::unread(&name, &server.us, server.clock.now()),
            server,
            name,
            attached: Attached::default(),
            call: None,
            sent: Sent::default(),
            erasing: 0,
            regaining: false,
            pulling: false,
            home_moved: false,
            steps_back: (None, 0),
            electing: false,
            rivalled: false,
            silent_home: None,
            joining: Vec::new(),
            place,
            is_stored: false,
            commits: FuturesOrdered::new(),
            cursors_due: None,
            said_read: 0,
            gathered: Gathered::default(),
            idle_since: Instant::now(),
            stale: true,
            erase_at: Instant::now(),
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
            if self.stale && self.commits.is_empty() {
                if !self.reload().await {
                    break;
                }
                // What was interrupted goes on.
                self.follow_home().await;
                if self.stale {
                    tokio::select! {
                        () = sleep(READ_AGAIN) => continue,
                        () = stop.cancelled() => break,
                    }
                }
            }
            let ready = !self.stale && self.commits.len() < COMMITS_MAX;
            let unload = self.unload_at();
            let missed = self.call.as_ref().and_then(|it| it.until);
            let cursors = self
                .cursors_due
                .unwrap_or_else(|| Instant::now() + CURSORS_AFTER);
            let marks = self.gathered.due();
            tokio::select! {
                biased;
                Some(committed) = self.commits.next() => self.settle(committed),
                // Before the mailbox, which may never be empty.
                () = sleep_until(cursors), if self.cursors_due.is_some() => self.write_cursors(),
                () = sleep_until(marks.unwrap_or(cursors)), if ready && marks.is_some() => {
                    self.tell_gathered().await;
                }
                Some(command) = self.place.mailbox.recv(), if ready => {
                    self.idle_since = Instant::now();
                    self.handle(command).await;
                    if std::mem::take(&mut self.home_moved) && !self.stale {
                        self.follow_home().await;
                    }
                }
                () = sleep_until(self.erase_at), if ready && self.has_to_erase() && self.commits.is_empty() => {
                    self.erase_some().await;
                }
                () = sleep_until(unload), if self.is_idle() => {
                    let server = Arc::clone(&self.server);
                    if server.hub.retire(&mut self.place) {
                        break;
                    }
                    self.idle_since = Instant::now();
                }
                () = sleep_until(missed.unwrap_or(cursors)), if ready && missed.is_some() => self.miss_call(),
                () = stop.cancelled() => break,
            }
        }
        self.cut_call();
        self.finish().await;
    }

    /// What nobody stands in yet is not kept for those who ask for it.
    fn unload_at(&self) -> Instant {
        if self.is_stored {
            self.idle_since + UNLOAD_AFTER
        } else {
            self.idle_since
        }
    }

    fn is_idle(&self) -> bool {
        self.attached.is_empty()
            && self.commits.is_empty()
            && self.cursors_due.is_none()
            && self.gathered.due().is_none()
            && self.call.is_none()
            && self.joining.is_empty()
            && !self.has_to_erase()
    }

    /// Completes what is under way; what still came in goes to the topic's next task.
    async fn finish(mut self) {
        self.place.mailbox.close();
        if !self.stale {
            self.tell_abroad_now().await;
        }
        self.write_cursors();
        while let Some(committed) = self.commits.next().await {
            self.settle(committed);
        }
        while let Some(command) = self.place.mailbox.recv().await {
            Hub::send(&self.server, &self.name, command).await;
        }
    }

    /// Reads the topic as it is on disk. Without it nothing can be answered: false.
    async fn reload(&mut self) -> bool {
        match self.load().await {
            Ok((topic, is_stored)) => {
                self.is_stored = is_stored;
                let head = topic.head();
                self.place.durable_head.store(head, Ordering::Release);
                self.topic = topic;
                self.sent.forget();
                self.erasing = 0;
                // A call whose first message was lost never was.
                let head = self.topic.head();
                self.call.take_if(|it| it.began_at() > head);
                self.cursors_due = None;
                self.stale = false;
                self.load_attached_readers().await;
                true
            }
            Err(fault) => {
                error!(%fault, "a topic cannot be read");
                self.call = None;
                self.tell_terminated();
                while let Ok(command) = self.place.mailbox.try_recv() {
                    self.refuse(command, &fault);
                }
                false
            }
        }
    }

    async fn load(&self) -> Result<(Conversation, bool), StoreError> {
        let (name, us, now) = (self.name.clone(), self.server.us.clone(), self.now());
        let deletes = self.server.rules.delete_for_both;
        let read = move |tables: &Tables| storage::load(tables, &name, (&us, deletes), now);
        let (topic, is_stored) = self.server.tables.read(read).await?;
        if let Some(foreigner) = topic.pair().and_then(|it| it.foreigner()) {
            self.server.outbox.prepare(foreigner.id.domain()).await?;
        }
        let room = topic.room();
        let mut peers = BTreeSet::new();
        if let Some(room) = room {
            peers.extend(room.home.clone());
            // Whoever is asked in and has not answered is told what becomes of it.
            let spans = room.home.is_none() && room.log.is_some();
            let members = room.present().filter(|_| spans);
            peers.extend(members.map(|(user, _)| user.domain().clone()));
            peers.extend(room.reading.keys().cloned());
            peers.remove(&self.server.us);
        }
        for peer in &peers {
            self.server.outbox.prepare(peer).await?;
        }
        Ok((topic, is_stored))
    }

    fn refuse(&self, command: Command, fault: &StoreError) {
        match command {
            Command::Request {
                session, id, name, ..
            } if id.is_some() => {
                session.send(&Reply::from(fault.clone()).into_frame(id, Some(name), self.now()));
            }
            Command::Incoming(incoming) => drop(incoming.decision.send(unknown(fault))),
            Command::Letter(letter) => drop(letter.decision.send(unknown(fault))),
            Command::Entry(placing) => drop(placing.decision.send(unknown(fault))),
            Command::Invited(invited) => drop(invited.decision.send(unknown(fault))),
            Command::Called {
                decision: Some(decision),
                ..
            } => drop(decision.send(unknown(fault))),
            Command::Relate { decision, .. }
            | Command::Progress { decision, .. }
            | Command::TakenBack { decision, .. }
            | Command::Marks { decision, .. } => {
                drop(decision.send(unknown(fault)));
            }
            _ => {}
        }
    }

    async fn handle(&mut self, command: Command) {
        match command {
            Command::Request {
                session,
                caller,
                id,
                name,
                request,
            } => {
                let asked = Asked {
                    session,
                    user: caller.user,
                    level: caller.level,
                    admin: caller.admin.is_some(),
                    id,
                    name,
                };
                self.answer(&asked, request).await;
            }
            // That the topic is loaded is enough.
            Command::Resume => {}
            Command::Forward { session, user } => self.arrived(&user, &session),
            Command::Detach(session) => self.detach(&session),
            Command::CatchUp { session, answer } => self.begin_page(&session, answer),
            Command::Page { session, page } => self.show_page(&session, *page),
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
            Command::Called {
                from,
                began,
                event,
                payload,
                decision,
            } => self.called(&from, began, (event, payload), decision),
            Command::TakenBack {
                author,
                ids,
                decision,
            } => self.taken_back(&author, ids, decision).await,
            Command::Typing { user, what } => self.tell_typing(&user, what),
            Command::Letter(letter) => self.letter(*letter).await,
            Command::Entry(placing) => self.take_entry(*placing).await,
            Command::Invited(invited) => self.invited(*invited).await,
            Command::Stands(answer) => self.take_state(answer).await,
            Command::Regain { entries, done } => self.regain(entries, done).await,
            Command::Missed(entries) => self.take_missed(entries).await,
            Command::Declined {
                id,
                actor,
                reason,
                refused,
                done,
            } => self.declined(id, &actor, &reason, &refused, done).await,
            Command::Channel(shown) => self.take_channel(shown).await,
            Command::Listed(shown) => self.take_listed(*shown),
            Command::ChannelGone => self.channel_gone().await,
            Command::SeekHome => self.seek_home(),
            Command::FeedMissed(entries) => self.take_missed_feed(entries).await,
            Command::JoinLate(user) => {
                self.fail_joins(&user, reply::UNAVAILABLE);
            }
            Command::Past(page) => self.take_past(page).await,
            Command::HomeMoved => self.home_moved = true,
            Command::Succeed => self.succeed().await,
            Command::Ballot {
                candidate,
                asked,
                answer,
            } => self.ballot(&candidate, &asked, answer).await,
            Command::Elected { asked, consents } => self.elected(asked, consents).await,
            Command::Profiled(user) => self.profiled(&user).await,
            Command::Marks {
                origin,
                cursors,
                readers,
                decision,
            } => {
                let marks = (cursors, readers);
                self.marks_in(&origin, marks, decision).await;
            }
            Command::MemberTyping { origin, user, what } => self.typing_in(&origin, &user, what),
            Command::Keep { id, note, done } => self.keep(id, note, done).await,
            Command::Erase { user, done } => self.erase(&user, done).await,
            Command::Undelivered {
                seq,
                reason,
                refused,
                done,
            } => self.undelivered(seq, &reason, &refused, done).await,
        }
    }

    /// A refusal changes nothing, however far the request had come. The rules of a room check before
    /// they change anything; what is left half done by a store that does not answer is read again.
    async fn answer(&mut self, asked: &Asked, request: TopicRequest) {
        let before = self.topic.pair().cloned();
        let attached = before.is_some().then(|| self.attached.clone());
        let Err(refusal) = self.request(asked, request).await else {
            return;
        };
        match (before, attached) {
            _ if refusal.status.code >= 500 => self.stale = true,
            (Some(pair), Some(attached)) => {
                self.topic = Conversation::Pair(Box::new(pair));
                self.attached = attached;
            }
            _ => {}
        }
        self.let_go(&asked.session);
        asked.clone().answer(refusal, self.now());
    }

    /// Queues a batch, with the standings if more than cursors changed or the topic is new.
    pub(super) fn commit_with_news(&mut self, batch: Batch, effects: Vec<Effect>) {
        if self.topic.is_urgent() || !self.is_stored {
            self.commit_all(batch, effects);
        } else {
            self.commit(batch, effects);
        }
    }

    /// Queues a batch with everything that changed in memory. What follows waits for all of it.
    pub(super) fn commit_all(&mut self, mut batch: Batch, mut effects: Vec<Effect>) {
        if let Err(fault) = self.chronicle(&mut batch, &mut effects) {
            return self.give_up(effects, &fault);
        }
        self.write_all(batch, effects);
    }

    /// Nothing of this happens.
    fn give_up(&mut self, effects: Vec<Effect>, fault: &freehold_keys::KeyError) {
        error!(%fault, "what other domains are to be told cannot be signed");
        self.stale = true;
        let fault = StoreError::Overloaded;
        effects
            .into_iter()
            .for_each(|effect| self.fail(effect, &fault));
    }

    fn write_all(&mut self, batch: Batch, effects: Vec<Effect>) {
        let (name, topic) = (&self.name, &mut self.topic);
        let mut batches = storage::write(batch, name, topic, &mut self.is_stored);
        self.cursors_due = None;
        if batches.len() > 1 {
            return self.queue_parts(batches, effects);
        }
        self.queue(batches.pop().unwrap_or_default(), effects);
    }

    /// Queues what does not fit into one batch: what follows waits for all parts, and fails with any.
    fn queue_parts(&mut self, batches: Vec<Batch>, effects: Vec<Effect>) {
        let head = self.topic.head();
        let tables = self.server.tables.clone();
        let parts = batches.into_iter().map(|it| {
            let mut commit = tables.commit(it);
            let answer = (&mut commit).now_or_never();
            (answer, commit)
        });
        let parts: Vec<_> = parts.collect();
        self.stale |= parts.iter().any(|(it, _)| matches!(it, Some(Err(_))));
        self.commits.push_back(Box::pin(async move {
            let mut outcome = Ok(Outcome::Applied);
            for (answer, commit) in parts {
                let result = match answer {
                    Some(result) => result,
                    None => commit.await,
                };
                if matches!(outcome, Ok(Outcome::Applied)) {
                    outcome = result;
                }
            }
            (outcome, head, true, effects)
        }));
    }

    /// Writes a batch with everything that changed in memory and waits for it; false when a guard of it
    /// failed. Then memory is read again, as it is when the store does not answer.
    pub(super) async fn commit_now(&mut self, batch: Batch) -> Result<bool, Reply> {
        self.finish_commits().await?;
        let (name, topic) = (&self.name, &mut self.topic);
        for batch in storage::write(batch, name, topic, &mut self.is_stored) {
            match self.server.tables.commit(batch).await {
                Ok(Outcome::Applied) => {}
                Ok(Outcome::GuardFailed { .. }) => {
                    self.stale = true;
                    return Ok(false);
                }
                Err(fault) => {
                    self.stale = true;
                    return Err(fault.into());
                }
            }
        }
        Ok(true)
    }

    /// Queues a batch; cursors that moved are written later, together.
    pub(super) fn commit(&mut self, mut batch: Batch, mut effects: Vec<Effect>) {
        if let Err(fault) = self.chronicle(&mut batch, &mut effects) {
            return self.give_up(effects, &fault);
        }
        self.queue(batch, effects);
    }

    fn queue(&mut self, batch: Batch, effects: Vec<Effect>) {
        if self.topic.is_dirty() {
            self.cursors_due
                .get_or_insert(Instant::now() + CURSORS_AFTER);
        }
        let head = self.topic.head();
        if batch.is_empty() {
            let done = async move { (Ok(Outcome::Applied), head, false, effects) };
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
            (result, head, true, effects)
        }));
    }

    fn write_cursors(&mut self) {
        if self.cursors_due.take().is_some() && !self.stale {
            self.commit_all(Batch::new(), Vec::new());
        }
    }

    fn settle(&mut self, (result, head, wrote, effects): Committed) {
        match result {
            // What was to be said of memory alone is not true if what went before was not written.
            Ok(Outcome::Applied) if !wrote && self.stale => effects
                .into_iter()
                .for_each(|effect| self.fail(effect, &StoreError::Overloaded)),
            Ok(Outcome::Applied) => {
                if wrote {
                    hooks::reached("topic.committed");
                }
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
                self.erase_later();
                effects
                    .into_iter()
                    .for_each(|effect| self.fail(effect, &fault));
            }
        }
    }

    fn fail(&mut self, effect: Effect, fault: &StoreError) {
        match effect {
            effect @ Effect::Evicted { .. } => self.take_back(effect),
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

    /// What was to follow does not: whoever was put out is still here.
    pub(super) fn take_back(&mut self, effect: Effect) {
        if let Effect::Evicted { user, sessions, .. } = effect {
            for out in sessions {
                self.attach(&out.session, &user);
                // What others were told meanwhile it has missed, and what it missed before.
                if out.missing.from <= self.told() {
                    out.session.falls_back(self.key(), out.missing);
                }
            }
        }
    }

    /// Attaches a session; true when it was not attached before. One that has ended meanwhile is not:
    /// its end has been dealt with, or will be by what it is noted to be attached to.
    pub(super) fn attach(&mut self, session: &Session, user: &UserId) -> bool {
        let is_new = !self.is_attached(session);
        self.attached.insert(session, user);
        session.keep(&self.name);
        if session.is_closed() {
            self.attached.remove(session);
            return false;
        }
        is_new
    }

    /// A session that is not attached here knows so.
    pub(super) fn let_go(&self, session: &Session) {
        if !self.is_attached(session) {
            session.detach(self.key());
        }
    }

    fn detach(&mut self, session: &Session) {
        self.idle_since = Instant::now();
        self.lose_call(session);
        if let Some((user, last)) = self.attached.remove(session) {
            self.departed(&user, session, last);
        }
    }

    pub(super) fn is_attached(&self, session: &Session) -> bool {
        self.attached.contains(session)
    }

    /// True once the topic is on disk.
    pub(super) fn is_stored(&self) -> bool {
        self.is_stored
    }

    /// The room that this topic is.
    pub(super) fn room_mut(&mut self) -> Result<&mut Room, Reply> {
        match &mut self.topic {
            Conversation::Room(room) => Ok(room),
            Conversation::Pair(_) => Err(reply::INTERNAL.into()),
        }
    }

    /// The room as it has just been made; its row is in the next commit.
    pub(super) fn set_room(&mut self, room: Room) {
        self.topic = Conversation::Room(Box::new(room));
        self.is_stored = true;
    }

    /// The two people of this topic. Only for what the name of the topic says is between two.
    pub(super) fn pair(&self) -> &OneToOne {
        self.topic
            .pair()
            .expect("the topic is one between two people")
    }

    /// The same to change them.
    pub(super) fn pair_mut(&mut self) -> &mut OneToOne {
        match &mut self.topic {
            Conversation::Pair(pair) => pair,
            Conversation::Room(_) => unreachable!("the topic is one between two people"),
        }
    }

    /// Completes all commits that are under way; a refusal if one of them failed.
    pub(super) async fn finish_commits(&mut self) -> Result<(), Reply> {
        while let Some(committed) = self.commits.next().await {
            self.settle(committed);
        }
        if self.stale {
            return Err(reply::UNAVAILABLE.into());
        }
        Ok(())
    }

    /// True when memory may be ahead of the disk.
    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Notes that the home is being asked; false when it has been already.
    pub(super) fn begin_pull(&mut self) -> bool {
        !std::mem::replace(&mut self.pulling, true)
    }

    /// The home has answered, or has not.
    pub(super) fn pulled(&mut self) {
        self.pulling = false;
    }

    /// Something failed half way: memory is not to be trusted.
    pub(super) fn read_again(&mut self) {
        self.stale = true;
    }

    /// Erasing failed; it is tried again.
    pub(super) fn erase_later(&mut self) {
        self.erase_at = Instant::now() + ERASE_AGAIN;
    }
}

/// The answer to a peer when the store does not say what became of its item: it asks again.
fn unknown(fault: &StoreError) -> Result<Verdict, Unavailable> {
    Err(Unavailable(fault.to_string()))
}
