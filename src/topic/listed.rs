//! Groups that strangers may find (PROTOCOL.md sections 7.7 and 13): what their home shows of them to
//! everybody, and how one becomes known at a domain where nobody takes part in it yet, so that somebody
//! can ask to join.

use std::sync::Arc;

use freehold_federation::{GroupAnswer, GroupQuery};
use freehold_keys::Entry;
use freehold_proto::{
    AccessMode, DomainName, GroupId, GroupRecord, Refusal, RefusalCode, Timestamp, wire,
};
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::rows::{CHANNEL, RoomRow},
};
use tokio::{sync::oneshot, time::timeout};

use super::{
    Command, TopicName,
    actor::Actor,
    feed_copy::verified_steps,
    feed_home::shown_description,
    group_home::nobody,
    group_wire,
    hub::Hub,
    room::{Room, RoomKind},
    storage, succession,
};
use crate::{
    accounts::tags::DISCOVERABLE,
    edge::reply::{self, Status},
    server::{REMOTE_WAIT, Server},
};

/// How a group stands for strangers, as its home says.
#[derive(Debug)]
pub struct ListedShown {
    /// Who says so.
    home: DomainName,
    state: wire::GroupState,
    /// How the home came to be it, verified.
    steps: Vec<Entry>,
    /// Told whether it is known here now.
    done: oneshot::Sender<Result<(), Status>>,
}

/// Whether a group of ours may be found, and joined, by everybody.
#[must_use]
pub(crate) fn may_be_found(row: &RoomRow) -> bool {
    row.home.is_empty() && is_for_everybody(row)
}

/// The same wherever it is at home.
fn is_for_everybody(row: &RoomRow) -> bool {
    let access = row.access_auth.parse().unwrap_or(AccessMode::NONE);
    let joinable = row.kind == CHANNEL || access.has(AccessMode::JOIN);
    row.deleted == 0 && joinable && row.tags.iter().any(|it| it == DISCOVERABLE)
}

/// The same of one that is loaded, of which the row is not at hand.
pub(super) fn is_open(room: &Room) -> bool {
    may_be_found(&storage::room_row(room))
}

/// What strangers see of a group of ours that may be found; of one that has moved from here, where to. Blocks.
pub(crate) fn listed_state(
    tables: &Tables,
    group: GroupId,
) -> Result<Option<wire::GroupState>, StoreError> {
    let row = tables.room(TopicKey::group(&group))?;
    let shown = |it: &RoomRow| {
        let known = it.home.is_empty() || (it.begun.is_some() && !it.succession.is_empty());
        known && it.kind != CHANNEL && is_for_everybody(it)
    };
    let Some(row) = row.filter(shown) else {
        return Ok(None);
    };
    let members = storage::people_in(&row);
    let mut room = Room::new(RoomKind::Group, Some(group), Timestamp::EPOCH);
    storage::take_row(&mut room, row);
    Ok(Some(wire::GroupState {
        record: room.record.0.clone(),
        signature: room.record.1.clone(),
        description: Some(shown_description(&room)),
        succession: group_wire::steps(&room.succession),
        readers: members,
        ..wire::GroupState::default()
    }))
}

/// Makes a group known here that may be found at another domain, by asking that domain once.
pub(crate) async fn meet(
    server: &Arc<Server>,
    group: GroupId,
    home: &DomainName,
) -> Result<(), Status> {
    let key = TopicKey::group(&group);
    let read = move |tables: &Tables| tables.room(key);
    let known = server.tables.read(read).await;
    let known = known.map_err(|_| reply::UNAVAILABLE)?;
    // Of a group that is at home here nobody else needs to tell us; of a copy in which nobody takes part any
    // more nobody does by itself.
    if known.as_ref().is_some_and(|it| it.home.is_empty()) {
        return Ok(());
    }
    if !server.permits(home) {
        return Err(reply::PERMISSION_DENIED);
    }
    let asked = timeout(REMOTE_WAIT, find_home(server, home, group)).await;
    let (home, state, steps) = match asked.unwrap_or(Err(reply::UNAVAILABLE)) {
        Ok(shown) => shown,
        // Somebody of ours has a part in it, or has been invited; strangers need not be shown it.
        Err(_) if known.is_some() => return Ok(()),
        Err(refusal) => return Err(refusal),
    };
    let (done, told) = oneshot::channel();
    let shown = ListedShown {
        home,
        state,
        steps,
        done,
    };
    let command = Command::Listed(Box::new(shown));
    Hub::send(server, &TopicName::Group(group), command).await;
    told.await.unwrap_or(Err(reply::UNAVAILABLE))
}

/// Asks the domain that is, or was, the home of a group; and the one that followed, if it says so.
async fn find_home(
    server: &Server,
    home: &DomainName,
    group: GroupId,
) -> Result<(DomainName, wire::GroupState, Vec<Entry>), Status> {
    let (state, steps) = ask(server, home, group).await?;
    match present_home(&state, group, &steps) {
        Ok(Some(next)) if next != *home && next != server.us && server.permits(&next) => {
            let (state, steps) = ask(server, &next, group).await?;
            Ok((next, state, steps))
        }
        _ => Ok((home.clone(), state, steps)),
    }
}

async fn ask(
    server: &Server,
    home: &DomainName,
    group: GroupId,
) -> Result<(wire::GroupState, Vec<Entry>), Status> {
    let federation = server.federation.get().ok_or(reply::UNAVAILABLE)?;
    let answer = federation.read_group(home, group, GroupQuery::Listed).await;
    let state = match answer {
        Ok(Some(GroupAnswer::Listed(state))) => *state,
        Ok(_) => return Err(reply::TOPIC_NOT_FOUND),
        Err(error) => {
            tracing::debug!(peer = %home, %error, "no answer to how a group stands");
            return Err(reply::UNAVAILABLE);
        }
    };
    let steps = verified_steps(federation, home, &state.succession).await?;
    let steps = steps.ok_or(reply::TOPIC_NOT_FOUND)?;
    Ok((state, steps))
}

impl Actor {
    /// The home has said how the group stands for strangers. It is kept in memory until somebody joins.
    pub(super) fn take_listed(&mut self, shown: ListedShown) {
        let ListedShown {
            home,
            state,
            steps,
            done,
        } = shown;
        let outcome = match self.learn_listed(&home, &state, &steps) {
            Ok(()) => Ok(()),
            Err(refusal) => {
                tracing::warn!(peer = %home, %refusal, fault = "peer", "a group is not taken from there");
                Err(reply::TOPIC_NOT_FOUND)
            }
        };
        let _gone = done.send(outcome);
    }

    fn learn_listed(
        &mut self,
        home: &DomainName,
        state: &wire::GroupState,
        steps: &[Entry],
    ) -> Result<(), Refusal> {
        let TopicName::Group(group) = self.name else {
            return Err(nobody());
        };
        let shown = state.description.as_ref().ok_or_else(nobody)?;
        if present_home(state, group, steps)?.as_ref() != Some(home) || shown.channel {
            let detail = "another domain is the home of this group";
            return Err(Refusal::new(RefusalCode::NotHome, detail));
        }
        let described = group_wire::read_description(shown)?;
        let now = self.now();
        if !self.is_stored() {
            let mut room = Room::new(RoomKind::Group, Some(group), now);
            room.home = Some(home.clone());
            room.record = (state.record.clone(), state.signature.clone());
            room.created = Timestamp::from_stored(shown.created_ms);
            room.succession = group_wire::step_rows(&state.succession);
            room.describe(described, now);
            room.dirty = false;
            self.set_room(room);
            return Ok(());
        }
        let us = self.server.us.clone();
        let Ok(room) = self.room_mut() else {
            return Err(nobody());
        };
        // Where somebody of ours takes part the log says how it stands.
        if !room.takes_part(&us) && room.home.as_ref() == Some(home) {
            room.describe(described, now);
        }
        Ok(())
    }
}

/// The home of a group by its create record and the steps from there.
fn present_home(
    state: &wire::GroupState,
    group: GroupId,
    steps: &[Entry],
) -> Result<Option<DomainName>, Refusal> {
    if state.signature.len() != 64 || state.record.len() > 512 {
        return Err(Refusal::new(RefusalCode::Malformed, "a create record"));
    }
    let record = GroupRecord::decode(&state.record)?;
    if GroupId::of_record(&state.record) != group {
        return Err(nobody());
    }
    Ok(succession::home_after(&record.home, group, steps).ok())
}
