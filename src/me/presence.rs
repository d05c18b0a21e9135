//! Who is here: coming and going, told to contacts here and elsewhere (fact sheet, section 4).

use std::{sync::Arc, time::Duration};

use freehold_federation::FindError;
use freehold_proto::{AccessMode, DomainName, UserId, wire};
use freehold_store::{
    Batch, Tables, TopicKey,
    tables::{accounts::put_account, rows::AccountRow},
};

use super::contacts::{Contact, contacts};
use crate::{
    edge::{
        frames::{Access, AccessDelta, Pres, ServerFrame},
        reply::{self, Reply},
        session::Session,
    },
    server::Server,
    topic::{Command, hub::Hub, storage},
};

/// For so long a session that a push woke is nobody's presence (fact sheet, section 4).
const BACKGROUND: Duration = Duration::from_secs(5);

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

/// A session attaches to `me`; true when the person comes with it: the first one in the foreground of
/// somebody who wishes to be seen.
pub(crate) async fn enter(
    server: &Server,
    user: &UserId,
    session: &Session,
) -> Result<bool, Reply> {
    let hidden = !own_mode(&server.account(user).await?).has(AccessMode::PRESENCE);
    Ok(!session.set_on_me(true) && server.online.enter(user, session, hidden))
}

/// A session that a push woke counts as used by a person once it has lived for a while.
pub(crate) async fn come_forward(server: Arc<Server>, user: UserId, session: Session) {
    tokio::select! {
        () = session.closed() => return,
        () = tokio::time::sleep(BACKGROUND) => {}
    }
    if server.online.come_forward(&user, &session)
        && announce(&server, &user, &session).await.is_err()
    {
        tracing::warn!(%user, "could not tell that somebody came");
    }
    for name in session.topics() {
        let (session, user) = (session.clone(), user.clone());
        Hub::send(&server, &name, Command::Forward { session, user }).await;
    }
}

/// Somebody uses another program than their contacts know of.
pub(crate) async fn tell_agent(server: Arc<Server>, user: UserId, session: Session) {
    if tell_presence(&server, &user, &session, "ua").await.is_err() {
        tracing::warn!(%user, "could not tell what somebody uses");
    }
}

/// Somebody wishes to be seen or not (`P` in their own mode on `me`).
pub(crate) async fn set_own_mode(
    server: &Arc<Server>,
    user: &UserId,
    session: &Session,
    mode: &str,
) -> Result<Reply, Reply> {
    let (before, after) = {
        let _turn = server.account_turn(user).await;
        let mut row = server.account(user).await?;
        let before = own_mode(&row);
        let after = before.changed_by(mode).map_err(|_| reply::MALFORMED)?;
        // On `me` one may neither be more than one is, nor lose one's own account.
        let after = after
            .and(AccessMode::ME)
            .or(AccessMode::ME.without(AccessMode::PRESENCE));
        if after == before {
            return Ok(reply::NOT_MODIFIED.into());
        }
        row.want_me = after.to_string();
        let mut batch = Batch::new();
        put_account(&mut batch, user, &row);
        // A batch without guards is applied.
        let _applied = server.tables.commit(batch).await?;
        (before, after)
    };
    let hidden = !after.has(AccessMode::PRESENCE);
    if server.online.hide(user, hidden) {
        let what = if hidden { "off" } else { "on" };
        tell_presence(server, user, session, what).await?;
    }
    let pres = Pres {
        topic: "me".to_owned(),
        what: "acs",
        dacs: Some(AccessDelta {
            want: before.delta_to(after),
            given: String::new(),
        }),
        ..Pres::default()
    };
    server
        .online
        .tell(user, &ServerFrame::Pres(pres), |it| it != session);
    let acs = Access::new(after, AccessMode::ME);
    Ok(Reply::with(reply::OK, serde_json::json!({ "acs": acs })))
}

/// What somebody wants on their own `me`.
pub(crate) fn own_mode(row: &AccountRow) -> AccessMode {
    row.want_me.parse().unwrap_or(AccessMode::ME)
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
        // Another domain is told of coming and going only.
        let crosses = what != "ua" && announced;
        if server.ids.is_ours(&peer) {
            tell_contact(server, user, &peer, what, Some(session.agent()));
        } else if crosses {
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
        ..wire::Signal::default()
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
