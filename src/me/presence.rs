//! Who is here: coming and going, told to contacts here and elsewhere (fact sheet, section 4).

use std::sync::Arc;

use freehold_federation::FindError;
use freehold_proto::{AccessMode, DomainName, UserId, wire};
use freehold_store::{Batch, Tables, TopicKey, tables::accounts::put_account};

use super::contacts::{Contact, contacts};
use crate::{
    edge::{
        frames::{Pres, ServerFrame},
        reply::{self, Reply},
        session::Session,
    },
    server::Server,
    topic::storage,
};

/// Tells one contact here something about a person.
pub(super) fn tell_contact(
    server: &Server,
    user: &UserId,
    peer: &UserId,
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
    server.online.tell(peer, &ServerFrame::Pres(pres), |_| true);
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
        let wanted = user.clone();
        let read = move |tables: &Tables| tables.account(&wanted);
        // Who was deleted has left already.
        let Some(mut row) = server.tables.read(read).await? else {
            return Ok(());
        };
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
            let Some(peer) = contact.peer_of(&me).cloned() else {
                continue;
            };
            let theirs = tables.subscription(&peer, contact.topic)?;
            let listens = theirs.is_some_and(|row| {
                let theirs = storage::standing(&row);
                theirs.deleted.is_none() && theirs.mode().has(AccessMode::PRESENCE)
            });
            if listens && contact.mode().has(AccessMode::PRESENCE) {
                told.push((peer, contact.row.announced));
            }
        }
        Ok(told)
    };
    for (peer, announced) in server.tables.read(read).await? {
        if server.ids.is_ours(&peer) {
            tell_contact(server, user, &peer, what, Some(session.agent()));
        } else if announced {
            server.signal(peer.domain(), presence(user, &peer, what));
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
