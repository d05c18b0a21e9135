//! One's own account as its owner sees and changes it.

use std::sync::Arc;

use freehold_config::Change;
use freehold_proto::{AccessMode, DomainName, Timestamp, UserId};
use freehold_store::{
    Batch, Tables,
    tables::{accounts::put_account, outbox::RELATION, rows::AccountRow},
};

use super::{
    contacts::{Contact, contacts},
    presence::{own_mode, tell_contact},
};
use crate::{
    accounts::{Caller, access::State},
    edge::{
        frames::{Access, Cred, DefaultAccess, Desc, Pres, ServerFrame, raw},
        reply::{self, Reply},
        requests::{GetOptions, SetDesc},
        session::Session,
        times,
    },
    files::Referrer,
    merge,
    server::Server,
    topic::{Command, TopicName, hub::Hub},
};

/// News for other domains in one commit; the first such commit holds the account itself.
const CELLS_IN_BATCH: usize = 400;

pub(crate) async fn account(server: &Server, user: &UserId) -> Result<AccountRow, Reply> {
    let wanted = user.clone();
    let row = server
        .tables
        .read(move |tables| tables.account(&wanted))
        .await?;
    row.ok_or_else(|| reply::USER_NOT_FOUND.into())
}

pub(super) async fn credentials(server: &Server, user: &UserId) -> Result<Vec<Cred>, Reply> {
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

pub(super) async fn describe(
    server: &Server,
    caller: &Caller,
    options: &GetOptions,
) -> Result<Desc, Reply> {
    let row = account(server, &caller.user).await?;
    let mut desc = description(&row, times::parse(options.ims.as_deref()));
    desc.state = caller.admin.is_some().then(|| State::of(&row).as_str());
    Ok(desc)
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
        acs: Some(Access::new(own_mode(row), AccessMode::ME)),
        public: raw(&row.public).filter(|_| updated > since),
        trusted: raw(&row.trusted).filter(|_| updated > since),
        private: raw(&row.private).filter(|_| updated > since),
        ..Desc::default()
    }
}

/// Answers `{set me desc}`: merges the change, stores it, tells contacts here and elsewhere.
pub(crate) async fn set_description(
    server: &Arc<Server>,
    caller: &Caller,
    session: &Session,
    change: &SetDesc,
) -> Result<Reply, Reply> {
    let user = &caller.user;
    if change.trusted.is_some() && caller.admin.is_none() {
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
    if let Some(trusted) = &change.trusted {
        after.trusted = merge::into_stored(&before.trusted, trusted);
    }
    let fits = [&after.public, &after.private, &after.trusted];
    if !fits.into_iter().all(|it| server.fits_description(it)) {
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
    // Kept until the new description is durable.
    let (mut batch, _held) = match after.public == before.public {
        true => (Batch::new(), None),
        false => {
            let referrer = Referrer::Account(user.clone());
            let shows = |it: &DomainName| *it == server.us;
            let (batch, held) = server.files.show(referrer, &after.public, shows).await?;
            (batch, Some(held))
        }
    };
    put_account(&mut batch, user, &after);
    if let Some(admin) = caller.admin.as_ref().filter(|_| change.trusted.is_some()) {
        server.audit(&mut batch, &admin.to_string(), Some(user), "trusted")?;
    }
    let told = if after.public == before.public && after.trusted == before.trusted {
        // A batch without guards is applied.
        let _applied = server.tables.commit(batch).await?;
        Vec::new()
    } else {
        queue_description(server, user, batch).await?
    };
    server.tell_plugins_account(Change::Update, user, &after);
    if after.public != before.public {
        tell_groups(server, user).await?;
    }
    let own = Pres {
        topic: "me".to_owned(),
        src: Some("me".to_owned()),
        what: "upd",
        ..Pres::default()
    };
    server
        .online
        .tell(user, &ServerFrame::Pres(own), |it| it != session);
    for peer in told.iter().filter_map(|it| it.peer_of(user)) {
        if server.ids.is_ours(peer) {
            tell_contact(server, user, peer, "upd", None);
        } else {
            server.wake(peer.domain());
        }
    }
    Ok(reply::OK.into())
}

/// Groups that span domains hear of a new description, so that members elsewhere do.
async fn tell_groups(server: &Arc<Server>, user: &UserId) -> Result<(), Reply> {
    let me = user.clone();
    let read = move |tables: &Tables| {
        let mut spanning = Vec::new();
        for contact in contacts(tables, &me)? {
            let group = matches!(contact.name, TopicName::Group(_)) && contact.is_active();
            let room = tables.room(contact.topic)?.filter(|_| group);
            if room.is_some_and(|it| it.epoch > 0) {
                spanning.push(contact.name);
            }
        }
        Ok(spanning)
    };
    for group in server.tables.read(read).await? {
        Hub::send(server, &group, Command::Profiled(user.clone())).await;
    }
    Ok(())
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
    told.retain(|it| {
        let ours = it.peer_of(user).is_some_and(|it| server.ids.is_ours(it));
        it.is_active() && (ours || it.row.announced)
    });
    let now = server.clock.now();
    let peers = told.iter().filter_map(|it| Some((it, it.peer_of(user)?)));
    let abroad = peers.filter(|(_, peer)| !server.ids.is_ours(peer));
    for (index, (contact, peer)) in abroad.enumerate() {
        if index > 0 && index % CELLS_IN_BATCH == 0 {
            // A batch without guards is applied.
            let _applied = server.tables.commit(std::mem::take(&mut batch)).await?;
        }
        let (peer, cell) = (peer.domain(), (contact.topic, user));
        server
            .outbox
            .put_cell(&mut batch, peer, RELATION, cell, now)
            .await?;
    }
    let _applied = server.tables.commit(batch).await?;
    Ok(told)
}
