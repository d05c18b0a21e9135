//! The home of a group is away for long: the domains that its owner named as successors agree on
//! another one (PROTOCOL.md section 7.10; rules.md 21). Each agrees at most once in an epoch, durably, and
//! only to a successor that knows as much of the group as itself.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_federation::{GroupAnswer, GroupQuery};
use freehold_keys::Opened;
use freehold_proto::{DomainName, Envelope, GroupId, wire, wire::payload::Kind};
use freehold_store::{Batch, StoreError, Tables, TopicKey, tables::rows::CHANNEL};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    Command, TopicName,
    actor::{Actor, Effect},
    hub::Hub,
    log::Log,
    succession,
};
use crate::{
    edge::reply::{self, Reply},
    server::Server,
};

/// How often homes that are away are looked for, at most and at least.
const LOOK_MAX: Duration = Duration::from_secs(60);
const LOOK_MIN: Duration = Duration::from_millis(200);
/// Rooms read in one go.
const PAGE: usize = 200;

/// Looks for groups whose home has been away for so long that a successor may follow it.
pub(crate) async fn watch(server: Arc<Server>) {
    let Some(wait) = server.outbox.takeover_after() else {
        return;
    };
    let stop = server.tasks.stop_token();
    let pause = (wait / 8).clamp(LOOK_MIN, LOOK_MAX);
    loop {
        tokio::select! {
            () = sleep_until(Instant::now() + pause) => {}
            () = stop.cancelled() => return,
        }
        if let Err(fault) = look(&server, wait).await {
            tracing::error!(%fault, "groups whose home is away cannot be looked for");
        }
    }
}

async fn look(server: &Arc<Server>, wait: Duration) -> Result<(), StoreError> {
    let Some(federation) = server.federation.get() else {
        return Ok(());
    };
    let links = federation.links();
    let gone = links
        .into_iter()
        .filter(|it| it.failing_for.is_some_and(|it| it >= wait));
    let gone: Vec<String> = gone.map(|it| it.peer.to_string()).collect();
    let mut after: Option<TopicKey> = None;
    while !gone.is_empty() {
        let read = move |tables: &Tables| tables.rooms(after, PAGE);
        let page = server.tables.read(read).await?;
        let full = page.len() == PAGE;
        after = page.last().map(|it| it.0);
        for (_, row) in page {
            let away = row.deleted == 0 && gone.contains(&row.home);
            let named = succession::wishes(&row.aux).successors;
            let reads = row.kind == CHANNEL && row.readers > 0 && !named.is_empty();
            let name = TopicName::Group(GroupId::of_record(&row.record));
            if away && named.contains(&server.us) {
                Hub::send(server, &name, Command::Succeed).await;
            } else if away && reads {
                Hub::send(server, &name, Command::SeekHome).await;
            }
        }
        if !full {
            break;
        }
    }
    Ok(())
}

impl Actor {
    /// For how long the home has been away, when successors may name another.
    fn home_gone_for(&self) -> Option<Duration> {
        let home = self.home_abroad().filter(|it| **it != self.server.us)?;
        let wait = self.server.outbox.takeover_after()?;
        let federation = self.server.federation.get()?;
        federation.failing_for(home).filter(|it| *it >= wait)
    }

    fn successors(&self) -> Vec<DomainName> {
        let room = self.topic.room().filter(|_| self.is_stored());
        let alive = room.filter(|it| it.deleted.is_none() && it.takes_part(&self.server.us));
        let aux = alive.map(|it| it.description.aux.clone());
        succession::wishes(&aux.unwrap_or_default()).successors
    }

    /// Asks the other successors whether we may take over. The first that the owner named asks first.
    pub(super) async fn succeed(&mut self) {
        let (us, successors) = (self.server.us.clone(), self.successors());
        let Some(place) = successors.iter().position(|it| *it == us) else {
            return;
        };
        let (Some(gone), Some(wait)) = (self.home_gone_for(), self.server.outbox.takeover_after())
        else {
            return;
        };
        let turn = u32::try_from(place).unwrap_or(u32::MAX);
        if gone < wait + (wait / 4).saturating_mul(turn) {
            return;
        }
        let Some((group, log)) = self.topic.room().and_then(|it| Some((it.group?, it.log?))) else {
            return;
        };
        let consented = self.topic.room().and_then(|it| it.consented.as_ref());
        let rivalled = std::mem::take(&mut self.rivalled);
        let asked = wire::GroupConsent {
            home: us.to_string(),
            epoch: succession::epoch_to_ask(&log, consented, &us, rivalled),
            index: log.index,
            hash: Bytes::copy_from_slice(&log.hash),
            last_epoch: log.epoch,
        };
        let Ok(Some(own)) = self.agree(&us, &asked).await else {
            return;
        };
        if std::mem::replace(&mut self.electing, true) {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        self.server.tasks.spawn("group takeover", async move {
            let others = successors.into_iter().filter(|it| *it != us).collect();
            let mut consents = gather(&server, group, others, &asked).await;
            consents.push((us, own));
            let command = Command::Elected { asked, consents };
            Hub::send(&server, &name, command).await;
        });
    }

    /// Answers a successor that would take over.
    pub(super) async fn ballot(
        &mut self,
        candidate: &DomainName,
        asked: &wire::GroupConsent,
        answer: oneshot::Sender<Option<Envelope>>,
    ) {
        let named = asked.home == candidate.to_string();
        let agreed = match named && self.home_gone_for().is_some() {
            true => self.agree(candidate, asked).await,
            false => Ok(None),
        };
        match agreed {
            Ok(consent) => drop(answer.send(consent)),
            Err(reply) => {
                tracing::warn!(code = reply.status.code, "a successor gets no answer now");
                self.read_again();
            }
        }
    }

    /// Agrees, once that is durable, or does not.
    async fn agree(
        &mut self,
        candidate: &DomainName,
        asked: &wire::GroupConsent,
    ) -> Result<Option<Envelope>, Reply> {
        let (us, successors) = (self.server.us.clone(), self.successors());
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let Some(log) = room.log else {
            return Ok(None);
        };
        let before = room.consented.as_ref();
        if let Err(why) = succession::agrees(&log, before, &successors, (&us, asked)) {
            tracing::info!(%candidate, why, "this domain does not agree that another takes over a group");
            // As far as we have agreed to ourselves: then neither of us may have most of the others.
            self.rivalled |= *candidate != us && before.is_some_and(|it| it.1 == us);
            return Ok(None);
        }
        let room = self.room_mut()?;
        room.consented = Some((asked.epoch, candidate.clone()));
        room.dirty = true;
        if !self.commit_now(Batch::new()).await? {
            return Err(reply::UNAVAILABLE.into());
        }
        tracing::warn!(%candidate, epoch = asked.epoch, "this domain agrees that another takes over a group whose home is away");
        self.consent(asked.clone()).map(Some)
    }

    /// The other successors have answered.
    pub(super) async fn elected(
        &mut self,
        asked: wire::GroupConsent,
        consents: Vec<(DomainName, Envelope)>,
    ) {
        self.electing = false;
        let successors = self.successors();
        let agreed = consents.iter().map(|it| &it.0);
        if !succession::is_majority(&successors, agreed) {
            let agreed = consents.len();
            return tracing::warn!(agreed, "most successors of a group's home do not agree yet");
        }
        if let Err(reply) = self.take_over(asked, consents).await {
            tracing::warn!(code = reply.status.code, "a group is not taken over now");
            self.read_again();
        }
    }

    async fn take_over(
        &mut self,
        asked: wire::GroupConsent,
        consents: Vec<(DomainName, Envelope)>,
    ) -> Result<(), Reply> {
        self.finish_commits().await?;
        let key = self.key();
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let stands = |it: &Log| it.index == asked.index && it.hash[..] == asked.hash[..];
        let (Some(group), Some(log), Some(_)) =
            (room.group, room.log.filter(stands), room.home.clone())
        else {
            // The home was heard of again.
            return Ok(());
        };
        let mut batch = Batch::new();
        let asked_in = self.take_followers(&mut batch).await?;
        self.take_up_feed().await?;
        self.index_tags(&mut batch);
        let room = self.room_mut()?;
        room.home = None;
        room.log = Some(Log {
            epoch: asked.epoch,
            ..log
        });
        room.dirty = true;
        let room = self.topic.room().ok_or(reply::INTERNAL)?;
        let change = wire::GroupChange {
            actor: room.owner().map_or_else(String::new, ToString::to_string),
            description: Some(self.told_description(room)),
            succession: Some(wire::GroupSuccession {
                home: asked.home,
                epoch: asked.epoch,
                consents: consents.into_iter().map(|it| it.1.into()).collect(),
            }),
            ..wire::GroupChange::default()
        };
        let placed = self.place_change(&mut batch, group, change);
        placed.map_err(|_| reply::INTERNAL)?;
        let room = self.room_mut()?;
        let last = room.log.map_or(log.index, |it| it.index);
        let told = room.followers.keys().cloned().chain(asked_in).collect();
        freehold_store::tables::log::extend_log(&mut batch, key, log.index, last);
        tracing::warn!("this domain has taken over a group whose home is away");
        self.commit_all(batch, vec![Effect::WakePeers(told, key)]);
        self.finish_commits().await?;
        self.follow_home().await;
        Ok(())
    }
}

/// Asks other successors at once.
async fn gather(
    server: &Arc<Server>,
    group: GroupId,
    others: Vec<DomainName>,
    asked: &wire::GroupConsent,
) -> Vec<(DomainName, Envelope)> {
    let ask = |peer: DomainName| async move {
        let federation = server.federation.get()?;
        let query = GroupQuery::Ballot(asked.clone());
        match federation.read_group(&peer, group, query).await {
            Ok(Some(GroupAnswer::Consent(consent))) if says(&consent, asked) => {
                Some((peer, consent.envelope))
            }
            answer => {
                tracing::info!(%peer, ?answer, "a successor does not agree");
                None
            }
        }
    };
    let answers = futures_util::future::join_all(others.into_iter().map(ask)).await;
    answers.into_iter().flatten().collect()
}

fn says(consent: &Opened, asked: &wire::GroupConsent) -> bool {
    matches!(&consent.payload, Kind::GroupConsent(words) if words == asked)
}
