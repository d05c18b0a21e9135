//! What other domains say of groups, at the door: letters to a home, entries for a copy, invitations,
//! marks, and what is shown of a group whose home we are (PROTOCOL.md section 7.7).

use bytes::Bytes;
use freehold_federation::{GroupQuery, Unavailable, Verdict};
use freehold_keys::{Entry, Opened};
use freehold_proto::{
    DomainName, GroupId, Refusal, RefusalCode, UserId, limits, wire, wire::payload::Kind,
};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::rows::{CHANNEL, RoomRow, SeenRow},
};
use tokio::sync::oneshot;

use super::{
    known::Known,
    local::{Door, Pending, refuse, seen_before, unavailable},
    outbox::logs,
};
use crate::{
    files::Attached,
    server::Server,
    topic::{
        self, Command, Invited, Letter, Placing, TopicName, Words, hub::Hub, message, nobody_of,
    },
};

/// Entries that say how a home came to be it.
const STEPS_MAX: usize = 128;
/// Entries in one page of a log.
const ENTRIES_PAGE: usize = 200;

/// What `peer` is shown of a group whose home we are. Blocks.
pub(super) fn group_page(
    server: &Server,
    tables: &Tables,
    peer: &DomainName,
    group: GroupId,
    query: &GroupQuery,
) -> Result<Option<wire::read_group_response::What>, StoreError> {
    use wire::read_group_response::What;
    let key = TopicKey::group(&group);
    match query {
        GroupQuery::Channel => {
            return Ok(topic::channel_state(tables, group)?.map(What::State));
        }
        GroupQuery::Listed => {
            return Ok(topic::listed_state(tables, group)?.map(What::State));
        }
        GroupQuery::FeedAfter(index) => return feed_page(tables, key, *index),
        GroupQuery::FeedBefore(order) => {
            let page = topic::channel_past(&server.signer, tables, group, *order)?;
            return Ok(page.map(What::Page));
        }
        _ => {}
    }
    let Some(part) = tables.follower(peer, key)? else {
        return lost_by(tables, peer, key, query);
    };
    // Who has no part any more is still shown what it has not been told of its time.
    let end = if part.until > 0 { part.until } else { u64::MAX };
    match query {
        GroupQuery::EntriesAfter(index) if *index >= part.since => {
            Ok(Some(What::Page(log_page(tables, key, (*index, end))?)))
        }
        // What was before it had a part is not shown: instead, how the group stands.
        GroupQuery::EntriesAfter(_) => {
            Ok(topic::group_state(server, tables, peer, group, None)?.map(What::State))
        }
        GroupQuery::State(after) => {
            let state = topic::group_state(server, tables, peer, group, after.as_ref())?;
            Ok(state.map(What::State))
        }
        // Whoever may read the group may read all of it.
        GroupQuery::MessagesBefore(_) if part.until > 0 => Ok(None),
        // That is for the topic to say; the others were answered above.
        GroupQuery::Ballot(_)
        | GroupQuery::Channel
        | GroupQuery::Listed
        | GroupQuery::FeedAfter(_)
        | GroupQuery::FeedBefore(_) => Ok(None),
        GroupQuery::MessagesBefore(order) => {
            let page = topic::group_past(&server.signer, tables, group, *order)?;
            Ok(Some(What::Page(page)))
        }
    }
}

/// Entries of a channel's feed behind an index: whoever asks may read all of it. Blocks.
fn feed_page(
    tables: &Tables,
    key: TopicKey,
    after: u64,
) -> Result<Option<wire::read_group_response::What>, StoreError> {
    // Of a channel that has ended too: its last entry says so.
    let channel = |it: &RoomRow| it.home.is_empty() && it.kind == CHANNEL;
    if tables.room(key)?.filter(channel).is_none() {
        return Ok(None);
    }
    let page = log_page(tables, key.feed(), (after, u64::MAX))?;
    Ok(Some(wire::read_group_response::What::Page(page)))
}

/// A home that has lost entries is shown them again, as far as our copy has them; nobody else is shown
/// anything of a copy. Blocks.
fn lost_by(
    tables: &Tables,
    home: &DomainName,
    key: TopicKey,
    query: &GroupQuery,
) -> Result<Option<wire::read_group_response::What>, StoreError> {
    let room = tables.room(key)?.filter(|it| it.home == home.as_str());
    match (room, query) {
        (Some(_), GroupQuery::EntriesAfter(index)) => {
            let page = log_page(tables, key, (*index, u64::MAX))?;
            Ok(Some(wire::read_group_response::What::Page(page)))
        }
        _ => Ok(None),
    }
}

/// Entries behind an index, without a gap. Blocks.
pub(crate) fn log_page(
    tables: &Tables,
    key: TopicKey,
    (after, end): (u64, u64),
) -> Result<wire::LogPage, StoreError> {
    let mut page = wire::LogPage::default();
    let (mut next, mut bytes) = (after.saturating_add(1), 0);
    for (index, row) in tables.log_after(key, after, ENTRIES_PAGE)? {
        if index != next || index > end || bytes > limits::BATCH_BYTES_MAX {
            break;
        }
        let Some((placed, envelope)) = logs::entry(tables, key, &row)? else {
            break;
        };
        bytes += envelope.size();
        next += 1;
        page.entries.push(wire::LogEntry {
            placed: Some(placed.into()),
            envelope: Some(envelope.into()),
        });
    }
    page.more = next <= end && tables.log_entry(key, next)?.is_some();
    Ok(page)
}

impl Door {
    /// Something for a group whose home we are, or are not.
    pub(super) async fn letter(
        &self,
        origin: &DomainName,
        group: GroupId,
        opened: Box<Opened>,
        known: &Known,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        let id = opened.header.message_id;
        let hash = opened.envelope.header_hash();
        if let Some(seen) = known.seen(origin, id) {
            return Ok(seen_before(seen, &hash).map(Pending::Now));
        }
        let seen = SeenRow {
            header_hash: Bytes::copy_from_slice(&hash),
            at: self.server.clock.now().as_millis(),
            ..SeenRow::default()
        };
        let (author, words) = match self.read_letter(origin, &opened) {
            Ok(read) => read,
            Err(refusal) => {
                let seen = SeenRow {
                    refused: refusal.code.number(),
                    ..seen
                };
                self.remember(origin, id, &seen).await?;
                return Ok(Err(refusal));
            }
        };
        let wrap = |decision| {
            Command::Letter(Box::new(Letter {
                author,
                opened,
                words,
                seen,
                decision,
            }))
        };
        Ok(Ok(self.ask_group(group, wrap).await))
    }

    /// Everything about a letter that can be judged without its group.
    pub(super) fn read_letter(
        &self,
        origin: &DomainName,
        opened: &Opened,
    ) -> Result<(UserId, Words), Refusal> {
        match opened.payload.clone() {
            Kind::GroupMessage(words) => {
                let author = self.theirs(&words.author, origin)?;
                message::makes_sense(&words.head, &words.content)?;
                Attached::read(&words.attachments)?;
                Ok((author, Words::Message(words)))
            }
            Kind::GroupConsent(consent) => Ok((nobody_of(origin), Words::Consent(consent))),
            Kind::GroupRequest(request) => {
                let actor = self.theirs(&request.actor, origin)?;
                Ok((actor, Words::Request(request)))
            }
            _ => Err(refuse(
                RefusalCode::WrongDestination,
                "what one domain tells another does not go to a group",
            )),
        }
    }

    pub(super) async fn ask_group(
        &self,
        group: GroupId,
        wrap: impl FnOnce(oneshot::Sender<Result<Verdict, Unavailable>>) -> Command,
    ) -> Pending {
        let (decision, answer) = oneshot::channel();
        Hub::send(&self.server, &TopicName::Group(group), wrap(decision)).await;
        Pending::Soon(answer)
    }

    /// An entry of the log of a group that we have a copy of, or have not.
    pub(super) async fn entry(&self, origin: &DomainName, entry: Entry, known: &Known) -> Pending {
        let (group, origin) = (entry.position.group, origin.clone());
        let seen = known.seen(&entry.header.from, entry.header.message_id);
        let seen = seen.cloned();
        let wrap = |decision| {
            Command::Entry(Box::new(Placing {
                origin,
                entry,
                seen,
                decision,
            }))
        };
        self.ask_group(group, wrap).await
    }

    pub(super) async fn invitation(
        &self,
        origin: &DomainName,
        words: wire::GroupInvitation,
    ) -> Result<Result<Pending, Refusal>, Unavailable> {
        let people = self
            .ours(&words.invitee)
            .and_then(|invitee| Ok((invitee, words.inviter.parse::<UserId>()?)));
        let (invitee, inviter) = match people {
            Ok(people) => people,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if !self.exists(&invitee).await? {
            // Nobody here: the same answer as for somebody, after the same kind of wait (rules.md 17).
            let wait = self.server.tables.commit(Batch::new()).await;
            wait.map(drop).map_err(unavailable)?;
            return Ok(Ok(Pending::Now(Verdict::Ok)));
        }
        let steps = match self.steps(origin, &words).await {
            Ok(steps) => steps,
            Err(verdict) => return Ok(Ok(Pending::Now(verdict))),
        };
        let group = GroupId::of_record(&words.record);
        let wrap = |decision| {
            Command::Invited(Box::new(Invited {
                home: origin.clone(),
                invitee,
                inviter,
                words,
                steps,
                decision,
            }))
        };
        Ok(Ok(self.ask_group(group, wrap).await))
    }

    /// A successor asks whether we agree that it becomes the home of a group.
    pub(super) async fn ballot(
        &self,
        candidate: &DomainName,
        group: GroupId,
        asked: wire::GroupConsent,
    ) -> Result<Option<wire::read_group_response::What>, Unavailable> {
        // A stranger's question does not load a topic.
        let (key, wanted) = (TopicKey::group(&group), candidate.clone());
        let named = move |tables: &Tables| {
            let room = tables.room(key)?;
            Ok(room.is_some_and(|it| topic::is_successor(&it.aux, &wanted)))
        };
        if !self.server.tables.read(named).await.map_err(unavailable)? {
            return Ok(None);
        }
        let (answer, consent) = oneshot::channel();
        let command = Command::Ballot {
            candidate: candidate.clone(),
            asked,
            answer,
        };
        Hub::send(&self.server, &TopicName::Group(group), command).await;
        let consent = consent.await.ok().flatten();
        Ok(consent.map(|it| wire::read_group_response::What::Consent(it.into())))
    }

    /// How the home of a group came to be it, verified.
    async fn steps(
        &self,
        origin: &DomainName,
        words: &wire::GroupInvitation,
    ) -> Result<Vec<Entry>, Verdict> {
        let Some(federation) = self.server.federation.get() else {
            return Ok(Vec::new());
        };
        let malformed = || Verdict::Refused(refuse(RefusalCode::Malformed, "an entry of a log"));
        let mut steps = Vec::new();
        for step in words.succession.iter().take(STEPS_MAX) {
            let placed = step.placed.clone().and_then(|it| it.try_into().ok());
            let envelope = step.envelope.clone().and_then(|it| it.try_into().ok());
            let (placed, envelope) = placed.zip(envelope).ok_or_else(malformed)?;
            steps.push(federation.open_entry(origin, placed, envelope).await?);
        }
        Ok(steps)
    }

    /// How far members of a group have got.
    pub(super) async fn marks(
        &self,
        origin: &DomainName,
        marks: wire::GroupCursors,
    ) -> Result<Pending, Refusal> {
        let malformed = |_| refuse(RefusalCode::Malformed, "the id of a group has 16 bytes");
        let group = <[u8; 16]>::try_from(&*marks.group).map_err(malformed)?;
        let wrap = |decision| Command::Marks {
            origin: origin.clone(),
            cursors: marks.cursors,
            readers: marks.readers,
            decision,
        };
        Ok(self.ask_group(GroupId::from_bytes(group), wrap).await)
    }

    /// A member of a group is typing.
    pub(super) async fn group_signal(&self, origin: &DomainName, signal: &wire::Signal) {
        let what = match &*signal.what {
            "kp" => "kp",
            "kpa" => "kpa",
            "kpv" => "kpv",
            _ => return,
        };
        let group = <[u8; 16]>::try_from(&*signal.group);
        let (Ok(user), Ok(group)) = (signal.user.parse::<UserId>(), group) else {
            return;
        };
        let group = GroupId::from_bytes(group);
        // A stranger's signal does not load a topic.
        let (key, wanted) = (TopicKey::group(&group), user.clone());
        let read = move |tables: &Tables| tables.subscription(&wanted, key);
        if let Ok(Some(_)) = self.server.tables.read(read).await {
            let origin = origin.clone();
            let command = Command::MemberTyping { origin, user, what };
            Hub::send(&self.server, &TopicName::Group(group), command).await;
        }
    }
}
