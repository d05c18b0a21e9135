//! A copy asks other domains for what is missing: how the group stands, entries of its log, and the way to
//! a home that took over (PROTOCOL.md sections 7.7 and 7.10; rules.md 8 and 14).

use std::collections::HashMap;

use freehold_federation::{GroupAnswer, GroupQuery};
use freehold_keys::Entry;
use freehold_proto::{DomainName, GroupId, UserId, wire};
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{log::put_log_tip, rows::SeenRow},
};
use tokio::sync::oneshot;

use super::{
    Command, TopicName,
    actor::{Actor, Effect},
    command::Standings,
    group_replica::Judged,
    group_wire,
    hub::Hub,
    log::Log,
    room::Room,
    storage, succession,
};
use crate::{
    edge::reply::{self, Reply},
    server::{HEARSAY, Server},
};

/// Pages of one answer to how a group stands.
const PAGES_MAX: usize = 1000;
/// Entries further back that a home which took over is asked for, each time that it shows none to go on
/// with.
const STEP_BACK: u64 = 150;
/// Members of a group that a copy takes.
const MEMBERS_MAX: usize = 50_000;

impl Actor {
    /// The home has said how the group stands, and the copy begins there.
    pub(super) async fn take_state(&mut self, answer: Option<Box<Standings>>) {
        self.pulled();
        let Some(answer) = answer else {
            let unsure = self.topic.room().filter(|it| it.unsure);
            self.silent_home = unsure.and_then(|it| it.home.clone());
            return;
        };
        if let Err(reply) = self.begin_copy(*answer).await {
            tracing::warn!(code = reply.status.code, "a copy of a group did not begin");
            self.read_again();
        }
        self.finish_joins().await;
    }

    async fn begin_copy(&mut self, answer: Standings) -> Result<(), Reply> {
        let Standings {
            head,
            state,
            members,
            succession,
        } = answer;
        self.finish_commits().await?;
        if let Some(room) = self.topic.room().filter(|it| it.unsure) {
            return match room.home.as_ref() == Some(&head.position.home) {
                true => self.believe(&state, &members).await,
                false => {
                    self.silent_home.clone_from(&room.home);
                    Ok(())
                }
            };
        }
        let room = self.topic.room().filter(|_| self.is_stored());
        let known = |it: &&Room| {
            let takes_part = it.takes_part(&self.server.us) || !self.joining.is_empty();
            let lives = it.deleted.is_none() && takes_part;
            it.home.as_ref() == Some(&head.position.home) && lives
        };
        let Some(room) = room.filter(known) else {
            return Ok(());
        };
        if room.log.is_some_and(|it| it.index >= head.position.index) {
            return Ok(());
        }
        let mut log = Log::opened(0);
        log.advance(&head.position, &head.placed);
        let room = self.room_mut()?;
        room.head = room.head.max(log.order);
        if room.begun.is_none() {
            room.begin_reading();
            room.opened = log.order;
        }
        room.begun = Some((log, room.head));
        room.log = Some(log);
        room.dirty = true;
        if let Some(created) = state.description.as_ref().map(|it| it.created_ms) {
            room.created = freehold_proto::Timestamp::from_stored(created);
        }
        room.succession = succession;
        room.charter = group_wire::step_rows(state.charter.as_slice()).pop();
        room.successors.clear();
        if let Some(described) = &state.description {
            room.note_successors(log.index, &described.aux);
        }
        room.fetched = 0;
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        self.take_members(&state, &members, &mut batch, &mut effects)
            .await?;
        put_log_tip(&mut batch, self.key(), log.index);
        self.commit_all(batch, effects);
        self.fetch_past();
        Ok(())
    }

    /// Everybody stands as the home says, and nobody else is a member.
    async fn take_members(
        &mut self,
        state: &wire::GroupState,
        members: &[wire::Member],
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        let owner = self.somebody().map_err(|_| reply::INTERNAL)?;
        let now = self.now();
        let room = self.room_mut()?;
        let named: std::collections::HashSet<_> = members.iter().map(|it| &*it.user).collect();
        let gone: Vec<UserId> = room
            .present()
            .filter(|(user, _)| !named.contains(&*user.to_string()))
            .map(|(user, _)| user.clone())
            .collect();
        let changes = gone.iter().filter_map(|it| room.rule_out(&owner, it, now));
        let changes: Vec<_> = changes.collect();
        effects.extend(self.access_effects(None, changes));
        self.rule_members(&owner, members, effects)?;
        if let Some(seen) = &state.description {
            self.describe_copy(seen, batch, effects).await?;
        }
        Ok(())
    }

    /// A copy that had followed a fenced home hears how everybody stands.
    async fn believe(
        &mut self,
        state: &wire::GroupState,
        members: &[wire::Member],
    ) -> Result<(), Reply> {
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        self.take_members(state, members, &mut batch, &mut effects)
            .await?;
        let room = self.room_mut()?;
        room.unsure = false;
        room.dirty = true;
        self.commit_all(batch, effects);
        Ok(())
    }

    /// Asks whoever handed on an entry for what is missing before it, once at a time.
    pub(super) fn pull(&mut self, home: &DomainName) {
        let (Some(room), TopicName::Group(group)) = (self.topic.room(), self.name.clone()) else {
            return;
        };
        let asks_all = room.unsure
            && room.home.as_ref() == Some(home)
            && self.silent_home.as_ref() != Some(home);
        let after = room.log.map(|it| it.index).filter(|_| !asks_all);
        // A home that took over may have left our log before its end.
        let after = match room.home.as_ref().unwrap_or(&self.server.us) == home {
            true => after,
            false => {
                let back = match &self.steps_back {
                    (Some(last), back) if last == home => *back,
                    _ => 0,
                };
                after.map(|it| it.saturating_sub(back))
            }
        };
        if room.unsure && !asks_all {
            // Who came later knows how everybody stands, and this one does not say so any more.
            self.silent_home.clone_from(&room.home);
        }
        let (home, asked) = (home.clone(), home.clone());
        if !self.begin_pull() {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        self.server.tasks.spawn("group pull", async move {
            let command = match after {
                Some(index) => read_entries(&server, &home, group, index).await,
                None => Command::Stands(read_state(&server, &home, group).await.map(Box::new)),
            };
            Hub::send(&server, &name, command).await;
        });
        self.steps_back.0 = Some(asked);
    }

    /// Whether a domain has to do with the group, so that it may show us what is missing.
    pub(super) fn may_show(&self, domain: &DomainName) -> bool {
        let Some(room) = self.topic.room() else {
            return false;
        };
        let wished = succession::wishes(&room.description.aux);
        room.home.as_ref() == Some(domain)
            || wished.home.as_ref() == Some(domain)
            || wished.successors.contains(domain)
            || room.present().any(|(user, _)| user.domain() == domain)
    }

    /// Entries that this home had signed, and lost, have come back (rules.md 14).
    pub(super) async fn regain(&mut self, entries: Vec<Entry>, done: oneshot::Sender<u64>) {
        let is_home = |it: &&Room| it.home.is_none() && it.log.is_some();
        if self.topic.room().filter(is_home).is_none() {
            return;
        }
        self.regaining = true;
        self.take_missed(Some(entries)).await;
        let kept = self.finish_commits().await;
        self.regaining = false;
        if kept.is_ok() {
            // Who follows now is noted with the next commit.
            self.commit_all(Batch::new(), Vec::new());
            let told = self.finish_commits().await;
            let log = self.topic.room().and_then(|it| it.log);
            if let (Ok(()), Some(log)) = (told, log) {
                let _gone = done.send(log.index);
            }
        }
    }

    /// Entries that were missing have come.
    pub(super) async fn take_missed(&mut self, entries: Option<Vec<Entry>>) {
        self.pulled();
        let before = self.topic.room().and_then(|it| it.log);
        let Ok(entries) = self.follow_branch(entries.unwrap_or_default()).await else {
            return self.read_again();
        };
        self.take_all(entries).await;
        let after = self.topic.room().and_then(|it| it.log);
        self.steps_back.1 = match before == after {
            true => self.steps_back.1.saturating_add(STEP_BACK),
            false => 0,
        };
    }

    /// Takes the way to a home that took over, and returns what comes behind; or all, where there is none.
    async fn follow_branch(&mut self, entries: Vec<Entry>) -> Result<Vec<Entry>, Reply> {
        let Some(room) = self.topic.room().filter(|it| it.deleted.is_none()) else {
            return Ok(entries);
        };
        let Some(log) = room.log else {
            return Ok(entries);
        };
        let Some(first) = entries.first().map(|it| it.position.index) else {
            return Ok(entries);
        };
        let (key, count) = (self.key(), entries.len().saturating_add(1));
        let read = move |tables: &Tables| tables.log_after(key, first.saturating_sub(2), count);
        let ours = self.server.tables.read(read).await?;
        let ours = ours.iter().filter_map(|(_, row)| storage::log_behind(row));
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let begun = room.begun.map(|it| it.0);
        let ours: HashMap<u64, [u8; 32]> =
            ours.chain(begun).map(|it| (it.index, it.hash)).collect();
        let hash_at = |index: u64| ours.get(&index).copied();
        let successors_at = |index: u64| room.successors_at(index);
        let Some(branch) = succession::branch(&log, successors_at, &entries, hash_at) else {
            return Ok(entries);
        };
        let Some(base) = self.log_at(branch.base).await? else {
            return Ok(entries);
        };
        let (mut entries, mut way) = (entries, Vec::new());
        let behind = entries.split_off(branch.end);
        way.extend(entries.drain(branch.begin..));
        let Some(home) = way.last().map(|it| it.position.home.clone()) else {
            return Ok(behind);
        };
        self.fence(&home, base).await?;
        for entry in way {
            let seen = self.seen_of(&entry).await?;
            let (batch, effects) = self.apply(entry, seen).await?;
            self.commit_all(batch, effects);
            self.finish_commits().await?;
        }
        Ok(behind)
    }

    pub(super) async fn seen_of(&self, entry: &Entry) -> Result<Option<SeenRow>, Reply> {
        let (from, id) = (entry.header.from.clone(), entry.header.message_id);
        let read = move |tables: &Tables| tables.seen(&from, id);
        Ok(self.server.tables.read(read).await?)
    }

    async fn take_all(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let Ok(seen) = self.seen_of(&entry).await else {
                return;
            };
            if !matches!(self.judge(&entry).await, Ok(Judged::Next)) {
                continue;
            }
            match self.apply(entry, seen).await {
                Ok((batch, effects)) => self.commit_all(batch, effects),
                Err(_) => return self.read_again(),
            }
            if self.is_stale() {
                return;
            }
        }
    }
}

/// Keeps what a home says of how people of other domains than ours are called. Of its own it knows; of
/// those of third domains it is hearsay, which counts as long as they have not said it themselves.
pub(super) async fn learn(
    server: &Server,
    home: &DomainName,
    members: &[wire::Member],
) -> Result<(), StoreError> {
    for member in members.iter().filter(|it| !it.public.is_empty()) {
        let Ok(user) = member.user.parse::<UserId>() else {
            continue;
        };
        if server.ids.is_ours(&user) {
            continue;
        }
        let changed = match user.domain() == home {
            true => member.public_changed_ms,
            false => HEARSAY,
        };
        server.remember(&user, &member.public, changed).await?;
    }
    Ok(())
}

/// Reads how a group stands, page by page; what members are called is kept on the way.
async fn read_state(server: &Server, home: &DomainName, group: GroupId) -> Option<Standings> {
    let federation = server.federation.get()?;
    let (mut whole, mut after) = (None::<Standings>, None);
    for _ in 0..PAGES_MAX {
        let query = GroupQuery::State(after.clone());
        let answer = federation.read_group(home, group, query).await;
        let Ok(Some(GroupAnswer::State { head, mut state })) = answer else {
            tracing::debug!(peer = %home, ?answer, "no answer to how a group stands");
            return None;
        };
        let mut page = std::mem::take(&mut state.members);
        learn(server, home, &page).await.ok()?;
        page.iter_mut().for_each(|it| it.public.clear());
        let last: Option<UserId> = page.last().and_then(|it| it.user.parse().ok());
        // A home that does not get on is asked no more.
        let name = |it: &Option<UserId>| it.as_ref().map(ToString::to_string);
        let more = state.more && name(&last) > name(&after);
        after = last;
        match &mut whole {
            // What changes while pages are read comes again as entries behind the first page's head.
            Some(whole) if whole.members.len() + page.len() > MEMBERS_MAX => return None,
            Some(whole) => whole.members.extend(page),
            None => {
                whole = Some(Standings {
                    succession: group_wire::step_rows(&state.succession),
                    head: *head,
                    state: *state,
                    members: page,
                });
            }
        }
        if !more {
            return whole;
        }
    }
    None
}

/// Reads what is missing behind an entry; if the home does not show that, how the group stands now.
async fn read_entries(server: &Server, home: &DomainName, group: GroupId, after: u64) -> Command {
    let Some(federation) = server.federation.get() else {
        return Command::Missed(None);
    };
    let query = GroupQuery::EntriesAfter(after);
    match federation.read_group(home, group, query).await {
        Ok(Some(GroupAnswer::Page(entries, ..))) => Command::Missed(Some(entries)),
        Ok(Some(GroupAnswer::State { .. })) => {
            Command::Stands(read_state(server, home, group).await.map(Box::new))
        }
        answer => {
            tracing::debug!(peer = %home, ?answer, "no answer to which entries are missing");
            Command::Missed(None)
        }
    }
}
