//! The topic `fnd`: finding people and groups by what somebody typed into a search box (fact sheet,
//! section 7).

pub(crate) mod asked;
mod listed;
mod query;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use freehold_federation::FindQuery;
use freehold_proto::{AccessMode, DomainName, GroupId, Timestamp, UserId};
use freehold_store::{
    Tables, TopicKey,
    tables::{
        rows::{AccountRow, CHANNEL},
        tags::TagOwner,
    },
};
use futures_util::future::join_all;
use serde_json::{json, value::to_raw_value};

use self::query::{Named, Query, Term};
use crate::{
    accounts::{Caller, Level, access::State, tags},
    edge::{
        frames::{Access, Sub, raw},
        reply::{self, Reply},
    },
    server::Server,
    topic::{ChannelCard, channel_name, look_up_channel, storage},
};

/// Other domains asked by one query.
const REMOTE_MAX: usize = 4;
/// Rows shown at most.
const ROWS_MAX: usize = 50;
/// Owners of one tag that are looked at.
const OWNERS_MAX: usize = 500;

/// Who or what was found.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Found {
    Person(UserId),
    Group(GroupId),
    /// A channel at another domain.
    Channel(ChannelCard),
}

/// Whoever a term finds, each with what matched.
type Matches = BTreeMap<Found, BTreeSet<String>>;

/// The rows a query finds. Asks other domains for addresses of theirs, each for a bounded time.
pub(crate) async fn search(
    server: &Arc<Server>,
    asker: &Caller,
    text: &str,
) -> Result<Vec<Sub>, Reply> {
    // COMPAT stock clients: what breaks the grammar finds nothing.
    let Ok(mut query) = Query::parse(text, &server.us) else {
        return Ok(Vec::new());
    };
    if !server.rules.masked_tags.is_empty() {
        let own = tags::of_account(&server.account(&asker.user).await?);
        query
            .mask(&server.rules.masked_tags, &own)
            .map_err(|_| reply::PERMISSION_DENIED)?;
    }
    let (matches, listed) =
        tokio::join!(matches(server, &query), listed::find(server, asker, &query));
    let mut matches = matches?;
    let listed = elsewhere(server, asker, listed, &mut matches).await?;
    let mut rows = Vec::new();
    for (found, matched) in matches {
        if rows.len() >= ROWS_MAX {
            break;
        }
        let row = match found {
            Found::Person(user) if user == asker.user => None,
            Found::Person(user) => person_row(server, asker.level, &user, &matched).await?,
            Found::Group(group) => group_row(server, asker.level, &group, &matched).await?,
            Found::Channel(card) => Some(channel_row(card, &matched)),
        };
        rows.extend(row);
    }
    rows.extend(listed.iter().map(listed::Answer::row));
    rows.truncate(ROWS_MAX);
    Ok(rows)
}

/// Of what nodes found, what nobody here has to do with yet; the rest goes to what was found here.
async fn elsewhere(
    server: &Arc<Server>,
    asker: &Caller,
    listed: Vec<listed::Answer>,
    matches: &mut Matches,
) -> Result<Vec<listed::Answer>, Reply> {
    let mut elsewhere = Vec::new();
    for answer in listed {
        let found = answer.here();
        let known = match &found {
            Found::Group(group) => {
                let (key, user) = (TopicKey::group(group), asker.user.clone());
                let read = move |tables: &Tables| {
                    let room = tables.room(key)?;
                    Ok((room, tables.subscription(&user, key)?))
                };
                let (room, own) = server.tables.read(read).await?;
                // Only its home speaks for a group; what others say of it shows nobody anything of ours.
                let home = room.as_ref().map(|it| &*it.home);
                if home.is_some_and(|it| it != answer.home().as_str()) {
                    continue;
                }
                home.is_some() && own.is_some_and(|it| it.deleted == 0)
            }
            Found::Person(user) => server.profile(user).await?.is_some(),
            Found::Channel(_) => false,
        };
        if known {
            let matched = matches.entry(found).or_default();
            matched.extend(answer.matched().iter().cloned());
        } else {
            elsewhere.push(answer);
        }
    }
    Ok(elsewhere)
}

/// Everybody who answers to all of one kind of terms and to one of the other kind.
async fn matches(server: &Arc<Server>, query: &Query) -> Result<Matches, Reply> {
    let mut remote = 0;
    let mut searches = Vec::new();
    for term in query.all.iter().chain(&query.any) {
        let abroad = match &term.person {
            Some(Named::Address(_)) => true,
            Some(Named::User(user)) => !server.ids.is_ours(user),
            Some(Named::Channel(_, home)) => *home != server.us,
            None => false,
        };
        remote += usize::from(abroad);
        searches.push(find(server, term, !abroad || remote <= REMOTE_MAX));
    }
    let found: Result<Vec<Matches>, Reply> = join_all(searches).await.into_iter().collect();
    let mut found = found?;
    let any = found.split_off(query.all.len());
    let mut groups = found.into_iter();
    let mut all = groups.next();
    for one in groups {
        all = all.map(|it| both(it, one));
    }
    if !query.any.is_empty() {
        let either = any.into_iter().fold(Matches::new(), either);
        all = Some(match all {
            Some(all) => both(all, either),
            None => either,
        });
    }
    Ok(all.unwrap_or_default())
}

fn both(mut one: Matches, mut other: Matches) -> Matches {
    one.retain(|found, matched| match other.remove(found) {
        Some(more) => {
            matched.extend(more);
            true
        }
        None => false,
    });
    one
}

fn either(mut one: Matches, other: Matches) -> Matches {
    for (found, matched) in other {
        one.entry(found).or_default().extend(matched);
    }
    one
}

/// Whoever answers to a term.
async fn find(server: &Arc<Server>, term: &Term, abroad: bool) -> Result<Matches, Reply> {
    let wanted = term.tags.clone();
    let read = move |tables: &Tables| {
        let mut owners = Vec::new();
        for tag in wanted {
            for owner in tables.tagged(&tag, OWNERS_MAX)? {
                owners.push((owner, tag.clone()));
            }
        }
        Ok(owners)
    };
    let mut matches = Matches::new();
    for (owner, tag) in server.tables.read(read).await? {
        let found = match owner {
            TagOwner::User(local) => Found::Person(UserId::new(local, server.us.clone())),
            TagOwner::Group(group) => Found::Group(group),
        };
        matches.entry(found).or_default().insert(tag);
    }
    let named = match &term.person {
        Some(Named::User(user)) if server.ids.is_ours(user) => Some(Found::Person(user.clone())),
        Some(Named::Channel(group, home)) if abroad || *home == server.us => {
            find_channel(server, *group, home).await?
        }
        Some(named) if abroad => ask(server, named).await.map(Found::Person),
        _ => None,
    };
    if let Some(found) = named {
        let matched = matches.entry(found).or_default();
        matched.insert(term.typed.clone());
    }
    Ok(matches)
}

/// A channel by its address: as it is known here, or as its home says.
async fn find_channel(
    server: &Arc<Server>,
    group: GroupId,
    home: &DomainName,
) -> Result<Option<Found>, Reply> {
    let key = TopicKey::group(&group);
    let known = server.tables.read(move |tables| tables.room(key)).await?;
    if let Some(room) = known {
        let is_channel = room.kind == CHANNEL && room.deleted == 0;
        return Ok(is_channel.then_some(Found::Group(group)));
    }
    if *home == server.us {
        return Ok(None);
    }
    Ok(look_up_channel(server, group, home)
        .await
        .map(Found::Channel))
}

/// Nobody, too, when the other domain does not answer in time: it may the next time.
async fn ask(server: &Arc<Server>, named: &Named) -> Option<UserId> {
    let (domain, query) = match named {
        Named::Address(address) => (
            address.domain.clone(),
            FindQuery::LocalPart(address.local.clone()),
        ),
        Named::User(user) => (user.domain().clone(), FindQuery::User(user.clone())),
        Named::Channel(..) => return None,
    };
    match server.find_abroad(&domain, query).await {
        Ok(found) => found,
        Err(fault) => {
            tracing::info!(peer = %domain, %fault, "a search at another domain has no answer");
            None
        }
    }
}

/// A person as a row; nothing of those who cannot be found.
async fn person_row(
    server: &Arc<Server>,
    asker: Level,
    user: &UserId,
    matched: &BTreeSet<String>,
) -> Result<Option<Sub>, Reply> {
    if !server.ids.is_ours(user) {
        let profile = server.profile(user).await?;
        return Ok(profile.map(|it| {
            let access = it.access.and(AccessMode::ONE_TO_ONE);
            let row = (it.updated, access, &*it.public, &*it.trusted);
            found_row(server.ids.shown(user), row, matched)
        }));
    }
    let wanted = user.clone();
    let read = move |tables: &Tables| tables.account(&wanted);
    let account = server.tables.read(read).await?;
    let findable = |it: &AccountRow| server.rules.findable && State::of(it) == State::Ok;
    Ok(account.filter(findable).map(|it| {
        let access = match asker {
            Level::Anonymous => &it.access_anon,
            Level::Authenticated | Level::Root => &it.access_auth,
        };
        let access = access.parse().unwrap_or(AccessMode::NONE);
        let updated = Timestamp::from_stored(it.updated);
        let access = access.and(AccessMode::ONE_TO_ONE);
        let row = (updated, access, &*it.public, &*it.trusted);
        found_row(server.ids.shown(user), row, matched)
    }))
}

fn found_row(
    topic: String,
    (updated, access, public, trusted): (Timestamp, AccessMode, &[u8], &[u8]),
    matched: &BTreeSet<String>,
) -> Sub {
    Sub {
        topic: Some(topic),
        updated: Some(updated),
        acs: Some(Access {
            want: None,
            given: None,
            mode: access.to_string(),
        }),
        public: raw(public),
        trusted: raw(trusted),
        // COMPAT iOS: on fnd this is a list of the terms that matched.
        private: to_raw_value(&json!(matched)).ok(),
        ..Sub::default()
    }
}

/// A group as a row; of one with a channel the channel, which is what strangers may join.
async fn group_row(
    server: &Arc<Server>,
    asker: Level,
    group: &GroupId,
    matched: &BTreeSet<String>,
) -> Result<Option<Sub>, Reply> {
    let key = TopicKey::group(group);
    let room = server.tables.read(move |tables| tables.room(key)).await?;
    Ok(room.filter(|it| it.deleted == 0).map(|it| {
        let is_channel = it.kind == CHANNEL;
        let access = match asker {
            _ if is_channel => AccessMode::READER,
            Level::Anonymous => it.access_anon.parse().unwrap_or(AccessMode::NONE),
            Level::Authenticated | Level::Root => {
                it.access_auth.parse().unwrap_or(AccessMode::NONE)
            }
        };
        let name = if is_channel {
            channel_name(group)
        } else {
            group.to_string()
        };
        let updated = Timestamp::from_stored(it.updated);
        let row = (updated, access, &*it.public, &*it.trusted);
        Sub {
            subcnt: storage::people_in(&it),
            ..found_row(name, row, matched)
        }
    }))
}

/// A channel that nobody here reads, by its whole address: whoever opens that is led on.
fn channel_row(card: ChannelCard, matched: &BTreeSet<String>) -> Sub {
    let name = format!("{}@{}", channel_name(&card.group), card.home);
    let row = (card.updated, AccessMode::READER, &*card.public, &[][..]);
    Sub {
        subcnt: card.readers,
        ..found_row(name, row, matched)
    }
}

/// Whose an alias is, as clients name the owner; nothing while it is free. Who cannot be found by the
/// asker is not named either: their alias looks free until somebody tries to take it.
pub(crate) async fn alias_owner(
    server: &Arc<Server>,
    asker: &Caller,
    text: &str,
) -> Result<Option<String>, Reply> {
    let tag = text.trim().to_lowercase();
    let wanted = tag.clone();
    let read = move |tables: &Tables| tables.unique_tag(&wanted);
    let Some(owner) = server.tables.read(read).await? else {
        return Ok(None);
    };
    if is_owner(server, &asker.user, owner).await? {
        return Ok(Some(match owner {
            TagOwner::User(_) => server.ids.shown(&asker.user),
            TagOwner::Group(group) => group.to_string(),
        }));
    }
    let masks = |it: &String| tag.split_once(':').is_some_and(|(prefix, _)| prefix == it);
    if server.rules.masked_tags.iter().any(masks) {
        return Ok(None);
    }
    let matched = BTreeSet::new();
    let row = match owner {
        TagOwner::User(local) => {
            let user = UserId::new(local, server.us.clone());
            person_row(server, asker.level, &user, &matched).await?
        }
        TagOwner::Group(group) => group_row(server, asker.level, &group, &matched).await?,
    };
    Ok(row.and_then(|it| it.topic))
}

/// Whether an alias is the asker's own, or of a group that they belong to.
async fn is_owner(server: &Arc<Server>, asker: &UserId, owner: TagOwner) -> Result<bool, Reply> {
    match owner {
        TagOwner::User(local) => Ok(asker.local_bytes() == local),
        TagOwner::Group(group) => {
            let (asker, key) = (asker.clone(), TopicKey::group(&group));
            let read = move |tables: &Tables| tables.subscription(&asker, key);
            let row = server.tables.read(read).await?;
            Ok(row.is_some_and(|it| it.deleted == 0 && !it.reader))
        }
    }
}
