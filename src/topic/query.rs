//! Answers to questions about a topic: its description, its people, its messages (fact sheet,
//! sections 2.2 and 2.3).

use freehold_proto::{AccessMode, Timestamp, UserId};
use prost::Message as _;
use serde_json::json;

use super::{
    actor::Actor,
    asked::Asked,
    message,
    one_to_one::{Person, Standing},
};
use crate::{
    edge::{
        frames::{Access, Desc, Meta, ServerFrame, Sub, raw},
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
            match part {
                "desc" => frames.push(self.describe(asked, &get.desc).await?),
                "sub" => frames.push(self.list_people(asked, &get.sub).await?),
                "data" => frames.extend(self.history(asked, &get.data).await?),
                "tags" | "cred" => frames.push(self.status(asked, reply::NOT_ALLOWED.into())),
                // "del" and "aux": there is nothing of the kind yet.
                empty => frames.push(self.nothing(asked, empty)),
            }
        }
        Ok(frames)
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
        let other = self.topic.other(&asked.user);
        let profile = self.server.profile(&other.id).await?;
        let standing = self.topic.person(&asked.user).active();
        if profile.is_none() && standing.is_none() {
            return Err(reply::USER_NOT_FOUND.into());
        }
        let profile = profile.unwrap_or_else(|| Profile::unknown(self.now()));
        let since = times::parse(options.ims.as_deref());
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
            Some(standing) => self.describe_own(&mut desc, standing, since),
            // COMPAT web app: without the default access it shows no box to write in.
            None => {
                desc.acs = Some(Access {
                    want: None,
                    given: None,
                    mode: profile.access.and(AccessMode::ONE_TO_ONE).to_string(),
                });
            }
        }
        let mut meta = self.meta(asked);
        meta.desc = Some(desc);
        Ok(ServerFrame::Meta(meta))
    }

    fn describe_own(&self, desc: &mut Desc, standing: &Standing, since: Timestamp) {
        desc.created = self.topic.created;
        desc.updated = desc.updated.max(Some(standing.updated));
        desc.touched = self.topic.touched.or(self.topic.created);
        desc.acs = Some(Access::new(standing.want, standing.given));
        desc.private = raw(&standing.private).filter(|_| standing.updated > since);
        if standing.mode().has(AccessMode::READ) {
            desc.seq = self.topic.head;
            desc.read = standing.read;
            desc.recv = standing.received;
        }
    }

    /// Both people, whatever `ims` says. COMPAT web app: it keeps the check marks by this list and
    /// takes a row that is left out for somebody who is gone.
    async fn list_people(&self, asked: &Asked, options: &GetOptions) -> Result<ServerFrame, Reply> {
        let only = match options.user.as_deref() {
            Some(text) => Some(
                self.server
                    .ids
                    .read(text)
                    .map_err(|_| reply::USER_NOT_FOUND)?,
            ),
            None => None,
        };
        let attached = self.is_attached(&asked.session);
        let mut rows = Vec::new();
        for person in &self.topic.people {
            let wanted = only.as_ref().is_none_or(|it| *it == person.id);
            if wanted && (attached || person.id == asked.user) {
                rows.extend(self.person_row(&asked.user, person, options).await?);
            }
        }
        if rows.is_empty() {
            return Ok(self.nothing(asked, "sub"));
        }
        let mut meta = self.meta(asked);
        meta.sub = Some(rows);
        Ok(ServerFrame::Meta(meta))
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
        let asking = self.topic.person(asker).active();
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
            .person(&asked.user)
            .active()
            .ok_or(reply::PERMISSION_DENIED)?;
        if !standing.mode().has(AccessMode::READ) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        let spans = spans(options, self.topic.head)?;
        let limit = options
            .limit
            .map_or(PAGE, |it| usize::try_from(it).unwrap_or(PAGE_MAX))
            .min(PAGE_MAX);
        let (key, ids, name) = (self.key(), self.server.ids.clone(), asked.name.clone());
        let read = move |tables: &freehold_store::Tables| {
            let (mut page, mut bytes) = (Vec::new(), 0);
            for (low, high) in spans {
                let left = limit.saturating_sub(page.len());
                if left == 0 || bytes >= PAGE_BYTES_MAX {
                    break;
                }
                for (seq, row) in tables.history(key, low, high, left, PAGE_BYTES_MAX - bytes)? {
                    bytes += row.encoded_len();
                    let mut data = message::shown(tables, &ids, key, seq, &row)?;
                    data.topic.clone_from(&name);
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
