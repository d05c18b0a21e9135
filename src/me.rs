//! The topic `me`: one's own account, the list of contacts, and who of them is here (fact sheet,
//! sections 2.2 and 4).

use std::sync::Arc;

use freehold_federation::FindError;
use freehold_proto::{AccessMode, DomainName, Timestamp, UserId, wire};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        accounts::put_account,
        outbox::RELATION,
        rows::{AccountRow, SubscriptionRow},
    },
};
use serde_json::json;

use crate::{
    edge::{
        frames::{Access, Cred, DefaultAccess, Desc, Meta, Pres, Seen, ServerFrame, Sub, raw},
        ids::Ids,
        reply::{self, Reply},
        requests::{GetOptions, GetQuery, SetDesc},
        session::Session,
        times,
    },
    merge,
    server::Server,
    topic::{parts, storage},
};

/// Contacts read in one go.
const CONTACTS_PAGE: usize = 500;
/// News for other domains in one commit; the first such commit holds the account itself.
const CELLS_IN_BATCH: usize = 400;
/// Contacts shown or told at most.
const CONTACTS_MAX: usize = 10_000;

/// Somebody whom a person of ours has a conversation with.
struct Contact {
    topic: TopicKey,
    peer: UserId,
    row: SubscriptionRow,
}

impl Contact {
    fn mode(&self) -> AccessMode {
        storage::standing(&self.row).mode()
    }

    fn is_active(&self) -> bool {
        self.row.deleted == 0
    }
}

/// All contacts of a person. Blocks.
fn contacts(tables: &Tables, user: &UserId) -> Result<Vec<Contact>, StoreError> {
    let mut all = Vec::new();
    let mut after = None;
    while all.len() < CONTACTS_MAX {
        let page = tables.subscriptions(user, after, CONTACTS_PAGE)?;
        let full = page.len() == CONTACTS_PAGE;
        after = page.last().map(|(topic, _)| *topic);
        all.extend(page.into_iter().filter_map(|(topic, row)| {
            let peer = row.peer.parse().ok()?;
            Some(Contact { topic, peer, row })
        }));
        if !full {
            break;
        }
    }
    Ok(all)
}

/// Answers `{get me}`.
pub(crate) async fn query(
    server: &Arc<Server>,
    user: &UserId,
    id: &Option<String>,
    get: &GetQuery,
) -> Result<Vec<ServerFrame>, Reply> {
    let parts = parts(&get.what);
    if parts.is_empty() {
        return Err(reply::MALFORMED.into());
    }
    let now = server.clock.now();
    let name = || Some("me".to_owned());
    let none = |what: &str| {
        Reply::with(reply::NO_CONTENT, json!({ "what": what })).into_frame(id.clone(), name(), now)
    };
    let meta = || Box::new(Meta::new(id.clone(), "me".to_owned(), now));
    let mut frames = Vec::new();
    for part in parts {
        match part {
            "desc" => {
                let mut meta = meta();
                meta.desc = Some(describe(server, user, &get.desc).await?);
                frames.push(ServerFrame::Meta(meta));
            }
            "sub" => match list(server, user, &get.sub).await? {
                rows if rows.is_empty() => frames.push(none("sub")),
                rows => {
                    let mut meta = meta();
                    meta.sub = Some(rows);
                    frames.push(ServerFrame::Meta(meta));
                }
            },
            "tags" => {
                let mut meta = meta();
                meta.tags = Some(vec![format!(
                    "basic:{}",
                    account(server, user).await?.login
                )]);
                frames.push(ServerFrame::Meta(meta));
            }
            "cred" => match credentials(server, user).await? {
                creds if creds.is_empty() => frames.push(none("creds")),
                creds => {
                    let mut meta = meta();
                    meta.cred = Some(creds);
                    frames.push(ServerFrame::Meta(meta));
                }
            },
            // "data", "del" and "aux" are not for me.
            _ => frames.push(Reply::from(reply::NOT_ALLOWED).into_frame(id.clone(), name(), now)),
        }
    }
    Ok(frames)
}

async fn account(server: &Server, user: &UserId) -> Result<AccountRow, Reply> {
    let wanted = user.clone();
    let row = server
        .tables
        .read(move |tables| tables.account(&wanted))
        .await?;
    row.ok_or_else(|| reply::USER_NOT_FOUND.into())
}

async fn credentials(server: &Server, user: &UserId) -> Result<Vec<Cred>, Reply> {
    let shown = |row: freehold_store::tables::rows::CredentialRow| Cred {
        meth: row.method,
        val: row.value,
        done: row.done,
    };
    Ok(account(server, user)
        .await?
        .credentials
        .into_iter()
        .map(shown)
        .collect())
}

async fn describe(server: &Server, user: &UserId, options: &GetOptions) -> Result<Desc, Reply> {
    let row = account(server, user).await?;
    Ok(description(&row, times::parse(options.ims.as_deref())))
}

/// An account as its owner sees it.
pub(crate) fn description(row: &AccountRow, since: Timestamp) -> Desc {
    let updated = Timestamp::from_stored(row.updated);
    Desc {
        created: Some(Timestamp::from_stored(row.created)),
        updated: Some(updated),
        defacs: Some(DefaultAccess {
            auth: row.access_auth.clone(),
            anon: row.access_anon.clone(),
        }),
        acs: Some(Access::new(AccessMode::ME, AccessMode::ME)),
        public: raw(&row.public).filter(|_| updated > since),
        private: raw(&row.private).filter(|_| updated > since),
        ..Desc::default()
    }
}

/// The list of contacts: all that changed since `ims`, or the one that is asked for.
async fn list(
    server: &Arc<Server>,
    user: &UserId,
    options: &GetOptions,
) -> Result<Vec<Sub>, Reply> {
    let only = match options.topic.as_deref() {
        Some(name) => Some(server.ids.read(name).map_err(|_| reply::TOPIC_NOT_FOUND)?),
        None => None,
    };
    let since = times::parse(options.ims.as_deref());
    let limit = options
        .limit
        .and_then(|it| usize::try_from(it).ok())
        .unwrap_or(CONTACTS_MAX);
    let (me, reader) = (user.clone(), Arc::clone(server));
    let read = move |tables: &Tables| {
        let mut rows = Vec::new();
        for contact in contacts(tables, &me)? {
            let wanted = only.as_ref().is_none_or(|it| *it == contact.peer);
            if wanted && rows.len() < limit {
                rows.extend(
                    contact_row(&reader, tables, &contact, since)?.map(|row| (contact.peer, row)),
                );
            }
        }
        Ok(rows)
    };
    let rows = server.tables.read(read).await?;
    let finish = |(peer, mut row): (UserId, Sub)| {
        let listens = row.acs.as_ref().is_some_and(|it| it.mode.contains('P'));
        row.online = listens && server.is_online(&peer);
        row.seen = row.seen.filter(|_| listens && !row.online);
        row
    };
    Ok(rows.into_iter().map(finish).collect())
}

/// One contact as it stands in the list; `None` if nothing changed. Blocks.
fn contact_row(
    server: &Server,
    tables: &Tables,
    contact: &Contact,
    since: Timestamp,
) -> Result<Option<Sub>, StoreError> {
    let standing = storage::standing(&contact.row);
    let topic = Some(server.ids.shown(&contact.peer));
    if let Some(deleted) = standing.deleted {
        // Told only to those who knew it before.
        let told = since > Timestamp::EPOCH && deleted > since;
        return Ok(told.then(|| Sub {
            topic,
            updated: Some(standing.updated),
            deleted: Some(deleted),
            ..Sub::default()
        }));
    }
    let head = tables
        .head(contact.topic)?
        .min(server.hub.durable_head(contact.topic));
    let last = tables.message(contact.topic, head)?;
    let touched = last.map_or(standing.created, |it| Timestamp::from_stored(it.received));
    let (public, described, seen) = peer_of(tables, &server.ids, &contact.peer)?;
    let updated = standing.updated.max(described);
    if updated.max(touched) <= since {
        return Ok(None);
    }
    let reads = standing.mode().has(AccessMode::READ);
    Ok(Some(Sub {
        topic,
        updated: Some(updated),
        touched: Some(touched),
        acs: Some(Access::new(standing.want, standing.given)),
        seq: if reads { head } else { 0 },
        read: if reads { standing.read } else { 0 },
        recv: if reads { standing.received } else { 0 },
        public: raw(&public).filter(|_| described > since),
        private: raw(&standing.private).filter(|_| standing.updated > since),
        seen,
        ..Sub::default()
    }))
}

/// What is shown of a contact: description, its age, when last here. Blocks.
fn peer_of(
    tables: &Tables,
    ids: &Ids,
    peer: &UserId,
) -> Result<(bytes::Bytes, Timestamp, Option<Seen>), StoreError> {
    if ids.is_ours(peer) {
        let row = tables.account(peer)?.unwrap_or_default();
        let seen = (row.seen != 0).then(|| Seen {
            when: Timestamp::from_stored(row.seen),
            ua: row.seen_agent.clone(),
        });
        return Ok((row.public, Timestamp::from_stored(row.updated), seen));
    }
    let row = tables.foreign_person(peer)?.unwrap_or_default();
    Ok((row.public, Timestamp::from_stored(row.updated), None))
}

/// Answers `{set me desc}`: merges the change, stores it, tells contacts here and elsewhere.
pub(crate) async fn set_description(
    server: &Arc<Server>,
    user: &UserId,
    session: &Session,
    change: &SetDesc,
) -> Result<Reply, Reply> {
    if change.trusted.is_some() {
        return Err(reply::PERMISSION_DENIED.into());
    }
    let _turn = server.account_turn(user).await;
    let before = account(server, user).await?;
    let mut after = before.clone();
    if let Some(public) = &change.public {
        after.public = merge::into_stored(&before.public, public);
    }
    if let Some(private) = &change.private {
        after.private = merge::into_stored(&before.private, private);
    }
    if !server.fits_description(&after.public) || !server.fits_description(&after.private) {
        return Err(reply::TOO_LARGE.into());
    }
    if let Some(access) = &change.defacs {
        let changed = |before: &str, by: &Option<String>| {
            let mode: AccessMode = before.parse().unwrap_or_default();
            mode.changed_by(by.as_deref().unwrap_or_default())
                .map(|it| it.to_string())
        };
        after.access_auth =
            changed(&before.access_auth, &access.auth).map_err(|_| reply::MALFORMED)?;
        after.access_anon =
            changed(&before.access_anon, &access.anon).map_err(|_| reply::MALFORMED)?;
    }
    if after == before {
        return Ok(reply::NOT_MODIFIED.into());
    }
    // Strictly later than before, whatever the clock says: clients and peers compare.
    after.updated = server.clock.now().as_millis().max(before.updated + 1);
    let mut batch = Batch::new();
    put_account(&mut batch, user, &after);
    let told = if after.public == before.public {
        // A batch without guards is applied.
        let _applied = server.tables.commit(batch).await?;
        Vec::new()
    } else {
        queue_description(server, user, batch).await?
    };
    let own = Pres {
        topic: "me".to_owned(),
        src: Some("me".to_owned()),
        what: "upd",
        ..Pres::default()
    };
    server
        .online
        .tell(user, &ServerFrame::Pres(own), |it| it != session);
    for contact in told {
        if server.ids.is_ours(&contact.peer) {
            tell_contact(server, user, &contact, "upd", None);
        } else {
            server.wake(contact.peer.domain());
        }
    }
    Ok(reply::OK.into())
}

/// Commits a changed account with the news of it for other domains; returns who is to be told.
async fn queue_description(
    server: &Arc<Server>,
    user: &UserId,
    mut batch: Batch,
) -> Result<Vec<Contact>, Reply> {
    let me = user.clone();
    let mut told = server
        .tables
        .read(move |tables| contacts(tables, &me))
        .await?;
    told.retain(|it| it.is_active() && (server.ids.is_ours(&it.peer) || it.row.announced));
    let now = server.clock.now();
    let abroad = told.iter().filter(|it| !server.ids.is_ours(&it.peer));
    for (index, contact) in abroad.enumerate() {
        if index > 0 && index % CELLS_IN_BATCH == 0 {
            // A batch without guards is applied.
            let _applied = server.tables.commit(std::mem::take(&mut batch)).await?;
        }
        let (peer, cell) = (contact.peer.domain(), (contact.topic, user));
        server
            .outbox
            .put_cell(&mut batch, peer, RELATION, cell, now)
            .await?;
    }
    let _applied = server.tables.commit(batch).await?;
    Ok(told)
}

fn tell_contact(
    server: &Server,
    user: &UserId,
    contact: &Contact,
    what: &'static str,
    agent: Option<String>,
) {
    let pres = Pres {
        topic: "me".to_owned(),
        src: Some(server.ids.shown(user)),
        what,
        ua: agent.filter(|it| !it.is_empty()),
        ..Pres::default()
    };
    server
        .online
        .tell(&contact.peer, &ServerFrame::Pres(pres), |_| true);
}

/// A session attaches to `me`; true when the person comes with it: the first one in the foreground.
pub(crate) fn enter(server: &Server, user: &UserId, session: &Session) -> bool {
    !session.set_on_me(true) && server.online.enter(user, session)
}

/// Tells contacts that the person has come.
pub(crate) async fn announce(
    server: &Arc<Server>,
    user: &UserId,
    session: &Session,
) -> Result<(), Reply> {
    tell_presence(server, user, session, "on").await
}

/// A session leaves `me`. With the last one in the foreground the person is gone.
pub(crate) async fn leave(
    server: &Arc<Server>,
    user: &UserId,
    session: &Session,
) -> Result<(), Reply> {
    if !session.set_on_me(false) || !server.online.leave(user, session) {
        return Ok(());
    }
    {
        let _turn = server.account_turn(user).await;
        let mut row = account(server, user).await?;
        row.seen = server.clock.now().as_millis();
        row.seen_agent = session.agent();
        let mut batch = Batch::new();
        put_account(&mut batch, user, &row);
        // A batch without guards is applied.
        let _applied = server.tables.commit(batch).await?;
    }
    tell_presence(server, user, session, "off").await
}

async fn tell_presence(
    server: &Arc<Server>,
    user: &UserId,
    session: &Session,
    what: &'static str,
) -> Result<(), Reply> {
    let me = user.clone();
    let read = move |tables: &Tables| {
        let mut told = Vec::new();
        for contact in contacts(tables, &me)?
            .into_iter()
            .filter(Contact::is_active)
        {
            let theirs = tables.subscription(&contact.peer, contact.topic)?;
            let listens = theirs.is_some_and(|row| {
                let theirs = storage::standing(&row);
                theirs.deleted.is_none() && theirs.mode().has(AccessMode::PRESENCE)
            });
            if listens && contact.mode().has(AccessMode::PRESENCE) {
                told.push(contact);
            }
        }
        Ok(told)
    };
    for contact in server.tables.read(read).await? {
        if server.ids.is_ours(&contact.peer) {
            tell_contact(server, user, &contact, what, Some(session.agent()));
        } else if contact.row.announced {
            server.signal(contact.peer.domain(), presence(user, &contact.peer, what));
        }
    }
    Ok(())
}

fn presence(user: &UserId, peer: &UserId, what: &str) -> wire::Signal {
    wire::Signal {
        user: user.to_string(),
        peer: peer.to_string(),
        what: what.to_owned(),
    }
}

/// A contact at another domain came (`on`), is there (`here`), or went (`off`). Counts only between
/// people who have both agreed to talk.
pub(crate) async fn came_abroad(server: &Arc<Server>, from: &UserId, to: &UserId, what: &str) {
    let topic = TopicKey::one_to_one(from, to);
    let (asked, about) = (to.clone(), from.clone());
    let read = move |tables: &Tables| {
        Ok((
            tables.subscription(&asked, topic)?,
            tables.subscription(&about, topic)?,
        ))
    };
    let Ok((Some(ours), Some(theirs))) = server.tables.read(read).await else {
        return;
    };
    let (ours, theirs) = (storage::standing(&ours), storage::standing(&theirs));
    let agreed = ours.announced && ours.consents() && ours.mode().has(AccessMode::PRESENCE);
    if !agreed || !theirs.given.has(AccessMode::PRESENCE) {
        return;
    }
    let here = what != "off";
    server.note_abroad(from, here);
    let pres = Pres {
        topic: "me".to_owned(),
        src: Some(server.ids.shown(from)),
        what: if here { "on" } else { "off" },
        ..Pres::default()
    };
    server.online.tell(to, &ServerFrame::Pres(pres), |_| true);
    if what == "on" && server.is_online(to) {
        server.signal(from.domain(), presence(to, from, "here"));
    }
}

/// Asks a domain for one of its people whom nothing is known of here yet.
pub(crate) async fn meet(server: &Arc<Server>, user: &UserId) -> Result<(), Reply> {
    if server.ids.is_ours(user) || server.profile(user).await?.is_some() {
        return Ok(());
    }
    let domain: DomainName = user.domain().clone();
    let query = freehold_federation::FindQuery::User(user.clone());
    match server.find_abroad(&domain, query).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(reply::USER_NOT_FOUND.into()),
        Err(fault) => {
            log_unmet(&domain, &fault);
            Err(reply::UNAVAILABLE.into())
        }
    }
}

fn log_unmet(domain: &DomainName, fault: &FindError) {
    tracing::info!(peer = %domain, %fault, "a person elsewhere cannot be looked up now");
}
