//! Answers to questions about a topic: its description, its people, its messages (fact sheet,
//! sections 2.2 and 2.3).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use freehold_proto::{AccessMode, Timestamp, UserId};
use prost::Message as _;
use serde_json::json;

use super::{
    TopicName,
    actor::Actor,
    asked::Asked,
    message,
    one_to_one::Person,
    room::{Room, RoomKind},
    standing::Standing,
};
use crate::{
    edge::{
        frames::{Access, DefaultAccess, Desc, Meta, ServerFrame, Sub, raw},
        ids::Ids,
        reply::{self, Reply, Status},
        requests::{GetOptions, GetQuery, Range},
        times,
    },
    server::Profile,
};

/// Messages in a page when the client does not say.
const PAGE: usize = 100;
/// Messages in a page at most.
const PAGE_MAX: usize = 1000;
/// Bytes of messages in a page, about.
const PAGE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of descriptions in one list of members.
const PROFILES_BYTES: usize = 6 * 1024 * 1024;
/// Bytes of rows in one frame, about, and what one takes beside its descriptions.
const FRAME_BYTES: usize = 256 * 1024;
const ROW_BYTES: usize = 256;
/// Members who left so long before a client last asked are told once more.
const LEFT_SLACK: Duration = Duration::from_secs(10 * 60);
/// Ranges in one question.
const RANGES_MAX: usize = 64;

impl Actor {
    /// Everything that a query asks for, in the order clients expect.
    pub(super) async fn query(
        &self,
        asked: &Asked,
        get: &GetQuery,
    ) -> Result<Vec<ServerFrame>, Reply> {
        let parts = parts(&get.what);
        if parts.is_empty() {
            return Err(reply::MALFORMED.into());
        }
        let attached = self.is_attached(&asked.session);
        if !attached && parts.iter().any(|it| !matches!(*it, "desc" | "sub")) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let mut frames = Vec::new();
        for part in parts {
            // A part that cannot be answered does not take the others with it.
            let answer = match part {
                "desc" => self.describe(asked, &get.desc).await.map(|it| vec![it]),
                "sub" => self.list_people(asked, &get.sub).await,
                "data" => self.history(asked, &get.data).await,
                "del" => self
                    .list_deletions(asked, &get.del)
                    .await
                    .map(|it| vec![it]),
                "aux" => self.show_aux(asked).map(|it| vec![it]),
                "tags" => self.show_tags(asked).map(|it| vec![it]),
                _ => Err(reply::NOT_ALLOWED.into()),
            };
            match answer {
                Ok(answer) => frames.extend(answer),
                Err(refusal) => frames.push(self.status(asked, refusal)),
            }
        }
        Ok(frames)
    }

    async fn list_deletions(
        &self,
        asked: &Asked,
        options: &GetOptions,
    ) -> Result<ServerFrame, Reply> {
        if !self.topic.may(&asked.user, AccessMode::READ) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let Some(deleted) = self.deleted(&asked.user, options).await? else {
            return Ok(self.nothing(asked, "del"));
        };
        let mut meta = self.meta(asked);
        meta.del = Some(deleted);
        Ok(ServerFrame::Meta(meta))
    }

    fn show_aux(&self, asked: &Asked) -> Result<ServerFrame, Reply> {
        let reader = self.is_reader(&asked.user);
        if reader || matches!(self.name, TopicName::Reports(_)) {
            return Err(reply::NOT_ALLOWED.into());
        }
        if !self.topic.may(&asked.user, AccessMode::READ) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let Some(aux) = raw(self.topic.aux()) else {
            return Ok(self.nothing(asked, "aux"));
        };
        let mut meta = self.meta(asked);
        meta.aux = Some(aux);
        Ok(ServerFrame::Meta(meta))
    }

    fn show_tags(&self, asked: &Asked) -> Result<ServerFrame, Reply> {
        let room = self.topic.room().filter(|it| it.group.is_some());
        let room = room.ok_or(reply::NOT_ALLOWED)?;
        if !room.mode(&asked.user).has(AccessMode::OWNER) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if room.description.tags.is_empty() {
            return Ok(self.nothing(asked, "tags"));
        }
        let mut meta = self.meta(asked);
        meta.tags = Some(room.description.tags.clone());
        Ok(ServerFrame::Meta(meta))
    }

    fn status(&self, asked: &Asked, reply: Reply) -> ServerFrame {
        reply.into_frame(asked.id.clone(), Some(asked.name.clone()), self.now())
    }

    fn nothing(&self, asked: &Asked, what: &str) -> ServerFrame {
        self.status(
            asked,
            Reply::with(reply::NO_CONTENT, json!({ "what": what })),
        )
    }

    fn meta(&self, asked: &Asked) -> Box<Meta> {
        Box::new(Meta::new(asked.id.clone(), asked.name.clone(), self.now()))
    }

    async fn describe(&self, asked: &Asked, options: &GetOptions) -> Result<ServerFrame, Reply> {
        if let Some(room) = self.topic.room() {
            return self.describe_room(asked, room, options);
        }
        let other = self.pair().other(&asked.user);
        let profile = self.server.profile(&other.id).await?;
        let standing = self.topic.active(&asked.user);
        if profile.is_none() && standing.is_none() {
            return Err(reply::USER_NOT_FOUND.into());
        }
        let profile = profile.unwrap_or_else(|| Profile::unknown(self.now()));
        let since = times::parse(options.ims.as_deref());
        let stranger = profile.access_for(asked.level).and(AccessMode::ONE_TO_ONE);
        let mut desc = Desc {
            public: raw(&profile.public).filter(|_| profile.updated > since),
            trusted: raw(&profile.trusted).filter(|_| profile.updated > since),
            updated: Some(profile.updated),
            seen: profile.seen.filter(|_| {
                // Whoever has no part in the topic, or does not listen, is not told who is here.
                let listens = |it: &Standing| it.mode().has(AccessMode::PRESENCE);
                standing.is_some_and(listens) && !self.server.is_online(&other.id)
            }),
            ..Desc::default()
        };
        match standing {
            Some(standing) => {
                desc.created = self.pair().created;
                let peer = other.id.domain();
                if *peer != self.server.us {
                    let own = (self.key(), &asked.user);
                    desc.waiting = self.server.outbox.waiting_of(peer, own).await?;
                    desc.away = self.server.away(peer);
                }
                self.describe_own(&mut desc, (&asked.user, standing), since);
            }
            // COMPAT web app: without the default access it shows no box to write in.
            None => {
                desc.acs = Some(Access {
                    want: None,
                    given: None,
                    mode: stranger.to_string(),
                });
            }
        }
        let mut meta = self.meta(asked);
        meta.desc = Some(desc);
        Ok(ServerFrame::Meta(meta))
    }

    /// A room as somebody sees it. Strangers see what is public.
    fn describe_room(
        &self,
        asked: &Asked,
        room: &Room,
        options: &GetOptions,
    ) -> Result<ServerFrame, Reply> {
        let standing = room.active(&asked.user);
        let exists = self.is_stored() && room.deleted.is_none();
        if !exists || (room.group.is_none() && standing.is_none()) {
            return Err(reply::TOPIC_NOT_FOUND.into());
        }
        let since = times::parse(options.ims.as_deref());
        let fresh = room.updated > since;
        let count = room
            .size()
            .saturating_add(room.readers_everywhere() as usize);
        let mut desc = Desc {
            created: Some(room.created),
            updated: Some(room.updated),
            public: raw(&room.description.public).filter(|_| fresh),
            trusted: raw(&room.description.trusted).filter(|_| fresh),
            chan: room.kind == RoomKind::Channel,
            subcnt: match room.group {
                Some(_) => u32::try_from(count).unwrap_or(u32::MAX),
                None => 0,
            },
            ..Desc::default()
        };
        if room.is_sharer(&asked.user) && room.group.is_some() {
            desc.defacs = Some(DefaultAccess {
                auth: room.description.access_auth.to_string(),
                anon: room.description.access_anon.to_string(),
            });
        }
        if let Some(standing) = standing {
            self.describe_own(&mut desc, (&asked.user, standing), since);
            let listens = standing.rights().has(AccessMode::PRESENCE) && !standing.reader;
            desc.online = listens && self.place.present.load(Ordering::Acquire);
        }
        let mut meta = self.meta(asked);
        meta.desc = Some(desc);
        Ok(ServerFrame::Meta(meta))
    }

    fn describe_own(
        &self,
        desc: &mut Desc,
        (user, standing): (&UserId, &Standing),
        since: Timestamp,
    ) {
        desc.updated = desc.updated.max(Some(standing.updated));
        desc.touched = self.topic.touched().or(desc.created);
        desc.acs = Some(Access::new(standing.want, standing.given));
        desc.private = raw(&standing.private).filter(|_| standing.updated > since);
        if self.topic.may(user, AccessMode::READ) {
            desc.seq = self.topic.head();
            desc.read = standing.read;
            desc.recv = standing.received;
            desc.clear = standing.cleared.max(self.topic.cleared().last_hard);
        }
    }

    /// The people of the topic, as far as the asker sees them.
    async fn list_people(
        &self,
        asked: &Asked,
        options: &GetOptions,
    ) -> Result<Vec<ServerFrame>, Reply> {
        let only = match options.user.as_deref().filter(|it| !it.is_empty()) {
            Some(text) => Some(
                self.server
                    .ids
                    .read(text)
                    .map_err(|_| reply::USER_NOT_FOUND)?,
            ),
            None => None,
        };
        let rows = match self.topic.room() {
            Some(room) => self.room_rows(asked, room, only, options).await?,
            None => self.pair_rows(asked, only, options).await?,
        };
        if rows.is_empty() {
            return Ok(vec![self.nothing(asked, "sub")]);
        }
        let metas = in_frames(rows).into_iter().map(|rows| {
            let mut meta = self.meta(asked);
            meta.sub = Some(rows);
            ServerFrame::Meta(meta)
        });
        Ok(metas.collect())
    }

    /// Both people, whatever `ims` says. COMPAT web app: it keeps the check marks by this list and
    /// takes a row that is left out for somebody who is gone.
    async fn pair_rows(
        &self,
        asked: &Asked,
        only: Option<UserId>,
        options: &GetOptions,
    ) -> Result<Vec<Sub>, Reply> {
        let attached = self.is_attached(&asked.session);
        let mut rows = Vec::new();
        for person in &self.pair().people {
            let wanted = only.as_ref().is_none_or(|it| *it == person.id);
            if wanted && (attached || person.id == asked.user) {
                rows.extend(self.person_row(&asked.user, person, options).await?);
            }
        }
        Ok(rows)
    }

    /// The members of a group. Readers of a channel, and who is not attached, see themselves only.
    async fn room_rows(
        &self,
        asked: &Asked,
        room: &Room,
        only: Option<UserId>,
        options: &GetOptions,
    ) -> Result<Vec<Sub>, Reply> {
        if room.group.is_none() {
            return Ok(Vec::new());
        }
        let since = times::parse(options.ims.as_deref());
        let own = room
            .active(&asked.user)
            .ok_or(reply::PERMISSION_DENIED)?
            .clone();
        let sees_all = self.is_attached(&asked.session) && !own.reader;
        let mut people = if sees_all {
            members_since(room, since)
        } else {
            vec![(asked.user.clone(), own)]
        };
        people.retain(|(user, _)| only.as_ref().is_none_or(|it| it == user));
        let limit = options.limit.filter(|it| *it > 0);
        people.truncate(limit.map_or(usize::MAX, |it| it as usize));
        let (server, asker) = (Arc::clone(&self.server), asked.user.clone());
        let sharer = room.is_sharer(&asked.user);
        let read = move |tables: &freehold_store::Tables| {
            let (mut rows, mut left) = (Vec::with_capacity(people.len()), PROFILES_BYTES);
            for (user, standing) in people {
                let mut profile = server.profile_now(tables, &user)?;
                if let Some(profile) = &mut profile {
                    // What is too much for one answer is asked for one by one.
                    let fits = profile.public.len() <= left;
                    left = left.saturating_sub(profile.public.len());
                    profile.public = if fits {
                        std::mem::take(&mut profile.public)
                    } else {
                        Bytes::new()
                    };
                }
                let seer = Seer {
                    own: user == asker,
                    sharer,
                    since,
                };
                let row = member_row(&server.ids, &user, &standing, profile, seer);
                rows.push((row, user));
            }
            Ok(rows)
        };
        let rows = self.server.tables.read(read).await?;
        let listens = room.mode(&asked.user).has(AccessMode::PRESENCE);
        let here = |user: &UserId| self.attached.of(user).iter().any(|it| !it.background());
        let finish = |(mut row, user): (Sub, UserId)| {
            row.online = listens && row.deleted.is_none() && here(&user);
            row
        };
        Ok(rows.into_iter().map(finish).collect())
    }

    async fn person_row(
        &self,
        asker: &UserId,
        person: &Person,
        options: &GetOptions,
    ) -> Result<Option<Sub>, Reply> {
        let Some(standing) = &person.standing else {
            return Ok(None);
        };
        let profile = self.server.profile(&person.id).await?;
        let since = times::parse(options.ims.as_deref());
        let updated = profile
            .as_ref()
            .map_or(standing.updated, |it| it.updated.max(standing.updated));
        let own = person.id == *asker;
        let asking = self.topic.active(asker);
        let listens = asking.is_some_and(|it| it.mode().has(AccessMode::PRESENCE));
        let reads = standing.mode().has(AccessMode::READ);
        Ok(Some(Sub {
            user: Some(self.server.ids.shown(&person.id)),
            updated: Some(updated),
            deleted: standing.deleted,
            online: !own && listens && self.server.is_online(&person.id),
            acs: Some(Access::new(standing.want, standing.given)),
            read: if reads { standing.read } else { 0 },
            recv: if reads { standing.received } else { 0 },
            public: profile
                .as_ref()
                .filter(|it| it.updated > since)
                .and_then(|it| raw(&it.public)),
            trusted: profile
                .filter(|it| it.updated > since)
                .and_then(|it| raw(&it.trusted)),
            private: raw(&standing.private).filter(|_| own && standing.updated > since),
            ..Sub::default()
        }))
    }

    /// A page of messages, newest first, and the word that it is complete.
    async fn history(
        &self,
        asked: &Asked,
        options: &GetOptions,
    ) -> Result<Vec<ServerFrame>, Reply> {
        let standing = self
            .topic
            .active(&asked.user)
            .ok_or(reply::PERMISSION_DENIED)?;
        if !self.topic.may(&asked.user, AccessMode::READ) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let anonymous = standing.reader;
        let spans = spans(options, self.topic.head())?;
        let limit = options
            .limit
            .filter(|it| *it > 0)
            .map_or(PAGE, |it| usize::try_from(it).unwrap_or(PAGE_MAX))
            .min(PAGE_MAX);
        let (key, ids, name) = (self.key(), self.server.ids.clone(), asked.name.clone());
        let me = asked.user.clone();
        let read = move |tables: &freehold_store::Tables| {
            let (mut page, mut bytes) = (Vec::new(), 0);
            for (low, high) in spans {
                let left = limit.saturating_sub(page.len());
                if left == 0 || bytes >= PAGE_BYTES_MAX {
                    break;
                }
                let left_bytes = PAGE_BYTES_MAX - bytes;
                let part = tables.visible_history(key, &me, (low, high), left, left_bytes)?;
                for (seq, row) in part {
                    bytes += row.encoded_len();
                    let mut data = message::shown(tables, &ids, key, seq, &row)?;
                    data.topic.clone_from(&name);
                    if anonymous {
                        data.from.clear();
                    }
                    page.push(ServerFrame::Data(data));
                }
            }
            Ok(page)
        };
        let mut frames = self.server.tables.read(read).await?;
        let count = frames.len();
        frames.push(match count {
            0 => self.nothing(asked, "data"),
            _ => self.status(
                asked,
                Reply::with(reply::DELIVERED, json!({"what": "data", "count": count})),
            ),
        });
        Ok(frames)
    }
}

/// The members, and those who left since a client last asked.
fn members_since(room: &Room, since: Timestamp) -> Vec<(UserId, Standing)> {
    // Who left is told only to those who knew them before. COMPAT JavaScript SDK: it asks since it
    // was told of the change, by its own clock.
    let asked = since.minus(LEFT_SLACK);
    let told = |it: &Standing| {
        it.deleted
            .is_none_or(|it| since > Timestamp::EPOCH && it > asked)
    };
    let mut people: Vec<_> = room
        .members
        .iter()
        .filter(|(_, it)| told(it))
        .map(|(user, it)| (user.clone(), it.clone()))
        .collect();
    people.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    people
}

/// How somebody looks at a member.
#[derive(Clone, Copy)]
struct Seer {
    /// At themselves.
    own: bool,
    /// As one who may see how everybody stands.
    sharer: bool,
    /// What is older they know already.
    since: Timestamp,
}

fn member_row(
    ids: &Ids,
    user: &UserId,
    standing: &Standing,
    profile: Option<Profile>,
    seer: Seer,
) -> Sub {
    let described = profile.as_ref().map_or(standing.updated, |it| it.updated);
    let admin = AccessMode::APPROVE.or(AccessMode::OWNER);
    let is_admin = standing.mode().and(admin) != AccessMode::NONE;
    let reads = standing.deleted.is_none() && standing.mode().has(AccessMode::READ);
    Sub {
        user: Some(ids.shown(user)),
        updated: Some(described.max(standing.updated)),
        deleted: standing.deleted,
        acs: (seer.own || seer.sharer || is_admin)
            .then(|| Access::new(standing.want, standing.given)),
        read: if reads { standing.read } else { 0 },
        recv: if reads { standing.received } else { 0 },
        clear: if seer.own { standing.cleared } else { 0 },
        public: profile
            .as_ref()
            .filter(|_| described > seer.since)
            .and_then(|it| raw(&it.public)),
        private: raw(&standing.private).filter(|_| seer.own && standing.updated > seer.since),
        ..Sub::default()
    }
}

/// Rows in frames of a bounded size: pictures make some of them long.
pub(crate) fn in_frames(rows: Vec<Sub>) -> Vec<Vec<Sub>> {
    let mut frames: Vec<Vec<Sub>> = Vec::new();
    let mut bytes = usize::MAX;
    for row in rows {
        let texts = [&row.public, &row.private, &row.trusted];
        let texts = texts.into_iter().flatten().map(|it| it.get().len());
        let size = ROW_BYTES + texts.sum::<usize>();
        if bytes.saturating_add(size) > FRAME_BYTES {
            frames.push(Vec::new());
            bytes = 0;
        }
        bytes += size;
        if let Some(frame) = frames.last_mut() {
            frame.push(row);
        }
    }
    frames
}

/// The known words of a query, once each, in the order of their answers.
pub(crate) fn parts(what: &str) -> Vec<&'static str> {
    const KNOWN: [&str; 7] = ["desc", "sub", "data", "del", "tags", "cred", "aux"];
    let asked: Vec<&str> = what.split_whitespace().take(8).collect();
    KNOWN.into_iter().filter(|it| asked.contains(it)).collect()
}

/// Half-open spans of positions, newest first.
fn spans(options: &GetOptions, head: u32) -> Result<Vec<(u32, u32)>, Status> {
    let end = head.saturating_add(1);
    if options.ranges.is_empty() {
        let low = options.since.unwrap_or(0).max(1);
        let high = options.before.filter(|it| *it > 0).unwrap_or(end).min(end);
        return Ok(vec![(low, high)]);
    }
    if options.ranges.len() > RANGES_MAX {
        return Err(reply::MALFORMED);
    }
    let span = |range: &Range| {
        (
            range.low,
            range.hi.max(range.low.saturating_add(1)).min(end),
        )
    };
    let mut spans: Vec<_> = options.ranges.iter().map(span).collect();
    spans.sort_unstable_by(|a, b| b.cmp(a));
    Ok(spans)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_query_are_answered_in_one_order_and_unknown_ones_ignored() {
        assert_eq!(
            parts("data sub desc aux react"),
            ["desc", "sub", "data", "aux"]
        );
        assert!(parts("nonsense").is_empty());
    }

    #[test]
    fn spans_stay_within_the_log() {
        let all = GetOptions::default();
        assert_eq!(spans(&all, 5), Ok(vec![(1, 6)]));
        let page = GetOptions {
            since: Some(2),
            before: Some(4),
            ..GetOptions::default()
        };
        assert_eq!(spans(&page, 5), Ok(vec![(2, 4)]));
        let ranges = vec![Range { low: 1, hi: 0 }, Range { low: 3, hi: 99 }];
        let gaps = GetOptions {
            ranges,
            ..GetOptions::default()
        };
        assert_eq!(spans(&gaps, 5), Ok(vec![(3, 6), (1, 2)]));
    }
}
