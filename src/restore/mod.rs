//! `freehold restore`: a store that is an older copy of itself is made fit to serve again. Nobody is
//! served meanwhile. First every domain we ever dealt with is asked how far it has got with us; only
//! then anything is changed (rules.md 14, PROTOCOL.md section 8.6).

mod groups;
mod leap;

use std::{sync::Arc, time::Duration};

use freehold_federation::{Federation, StreamPosition};
use freehold_proto::{DomainName, Timestamp, UserId};
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        outbox::{CURSOR, RELATION},
        topics::put_subscription,
    },
};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::{AccountError, Domain, accounts::admin::OPERATOR, peers::local::Door, server::Server};

/// Domains asked at once.
const ASKED_AT_ONCE: usize = 16;
/// Pause before a domain that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Rows read in one go.
const PAGE: usize = 200;
/// Time for what is under way to end before rows are changed.
const GRACE: Duration = Duration::from_secs(10);

/// How a restore went.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Domains that have said how far they have got with us.
    pub answered: Vec<DomainName>,
    /// Those that have not. If the operator does not do without them, nothing was changed.
    pub silent: Vec<DomainName>,
    /// Entries of logs of our groups that came back from other domains.
    pub entries: u64,
    /// Conversations whose numbers go on far behind.
    pub topics: usize,
}

/// Whom a restore does without.
#[derive(Clone, Debug)]
pub enum Without {
    /// These need not answer.
    These(Vec<DomainName>),
    /// Whoever has not answered in time.
    Silent,
}

impl Without {
    fn spares(&self, peer: &DomainName) -> bool {
        match self {
            Self::These(peers) => peers.contains(peer),
            Self::Silent => true,
        }
    }
}

impl Restored {
    /// Domains that have not answered though they should have: nothing was changed while there are any.
    pub fn missing<'a>(&'a self, without: &'a Without) -> impl Iterator<Item = &'a DomainName> {
        self.silent.iter().filter(|it| !without.spares(it))
    }
}

impl Domain {
    /// Makes the store of this domain, an older copy, fit to serve again. Asks the domains it knows for
    /// at most `within`; if somebody has not answered then whom the operator does not do without, nothing
    /// is changed and the outcome names them. `told` hears of each answer. Closes the store.
    pub async fn restore(
        self,
        within: Duration,
        without: &Without,
        told: impl Fn(&DomainName, bool),
    ) -> Result<Restored, AccountError> {
        let server = Arc::clone(self.server());
        let federation = self.start_to_ask();
        let outcome = restore(&server, &federation, within, without, told).await;
        super::domain::close(&server).await;
        outcome
    }

    /// The way to other domains, on which nobody is served.
    fn start_to_ask(self) -> Federation {
        let (server, federation, directory) = self.into_parts();
        let door = Arc::new(Door::new(Arc::clone(&server)));
        let outbox = Arc::clone(&server.outbox);
        let handle = federation.start_to_ask(&server.tasks, directory, door, outbox);
        // A domain that is built is started once.
        let _first = server.federation.set(handle.clone());
        handle
    }
}

async fn restore(
    server: &Arc<Server>,
    federation: &Federation,
    within: Duration,
    without: &Without,
    told: impl Fn(&DomainName, bool),
) -> Result<Restored, AccountError> {
    let peers = known_peers(server).await?;
    let deadline = Instant::now() + within;
    let mut answers = stream::iter(peers)
        .map(|peer| async move {
            // Whom the operator does without is asked all the same, once.
            let named = matches!(without, Without::These(_)) && without.spares(&peer);
            let until = if named { Instant::now() } else { deadline };
            let word = ask(federation, &peer, until).await;
            (peer, word)
        })
        .buffer_unordered(ASKED_AT_ONCE);
    let (mut restored, mut words) = (Restored::default(), Vec::new());
    while let Some((peer, word)) = answers.next().await {
        told(&peer, word.is_some());
        match &word {
            Some(_) => restored.answered.push(peer.clone()),
            None => restored.silent.push(peer.clone()),
        }
        words.push((peer, word.flatten()));
    }
    drop(answers);
    if restored.missing(without).next().is_none() {
        restored.entries = groups::regain_all(server, federation, &restored.answered).await?;
    }
    server.tasks.drain(GRACE).await;
    if restored.missing(without).next().is_some() {
        return Ok(restored);
    }
    for (peer, word) in &words {
        server.outbox.restored(peer, *word).await?;
    }
    restored.topics = leap_all(server).await?;
    let mut batch = Batch::new();
    server.audit(&mut batch, OPERATOR, None, "restored from a backup")?;
    server.commit_or(batch, AccountError::Busy).await?;
    let (topics, answered) = (restored.topics, restored.answered.len());
    info!(topics, answered, "the store is fit to serve again");
    Ok(restored)
}

/// Says hello until there is an answer; `None` when there was none in time.
async fn ask(
    federation: &Federation,
    peer: &DomainName,
    until: Instant,
) -> Option<Option<StreamPosition>> {
    loop {
        match federation.ask_position(peer).await {
            Ok(word) => return Some(word),
            Err(error) => info!(%peer, %error, "no answer"),
        }
        if Instant::now() + ASK_AGAIN > until {
            return None;
        }
        sleep(ASK_AGAIN).await;
    }
}

/// Every domain that we ever had something for.
async fn known_peers(server: &Server) -> Result<Vec<DomainName>, StoreError> {
    let mut peers: Vec<DomainName> = Vec::new();
    loop {
        let after = peers.last().cloned();
        let read = move |tables: &Tables| tables.streams_out(after.as_ref(), PAGE);
        let page = server.tables.read(read).await?;
        let whole = page.len() == PAGE;
        peers.extend(page);
        if !whole {
            return Ok(peers);
        }
    }
}

/// Moves the numbers of all conversations; returns how many there are.
async fn leap_all(server: &Arc<Server>) -> Result<usize, StoreError> {
    leap_people(server).await?;
    let pairs = leap_pairs(server).await?;
    Ok(pairs + leap_rooms(server).await?)
}

async fn leap_pairs(server: &Arc<Server>) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let read = move |tables: &Tables| tables.topics(after, PAGE);
        let page = server.tables.read(read).await?;
        let Some((last, _)) = page.last() else {
            return Ok(count);
        };
        after = Some(*last);
        count += page.len();
        for (key, row) in page {
            let (ids, now, people) = (server.ids.clone(), server.clock.now(), row.people.clone());
            let read =
                move |tables: &Tables| leap::pair(tables, key, row, |it| ids.is_ours(it), now);
            let batch = server.tables.read(read).await?;
            let _applied = server.tables.commit(batch).await?;
            tell(server, key, &people).await?;
        }
    }
}

/// Has the other domain told how our person stands, if it was ever told.
async fn tell(server: &Server, key: TopicKey, people: &[String]) -> Result<(), StoreError> {
    let people: Vec<UserId> = people.iter().filter_map(|it| it.parse().ok()).collect();
    let ours = people.iter().find(|it| server.ids.is_ours(it)).cloned();
    let theirs = people.iter().find(|it| !server.ids.is_ours(it));
    let (Some(ours), Some(theirs)) = (ours, theirs) else {
        return Ok(());
    };
    let wanted = ours.clone();
    let read = move |tables: &Tables| tables.subscription(&wanted, key);
    let row = server.tables.read(read).await?;
    if row.is_some_and(|it| it.announced) {
        for kind in [RELATION, CURSOR] {
            let (mut batch, now) = (Batch::new(), server.clock.now());
            let cell = (key, &ours);
            let outbox = &server.outbox;
            let put = outbox.put_cell(&mut batch, theirs.domain(), kind, cell, now);
            put.await?;
            let _applied = server.tables.commit(batch).await?;
        }
    }
    Ok(())
}

async fn leap_rooms(server: &Arc<Server>) -> Result<usize, StoreError> {
    let (mut after, mut count) = (None, 0);
    loop {
        let read = move |tables: &Tables| tables.rooms(after, PAGE);
        let page = server.tables.read(read).await?;
        let Some((last, _)) = page.last() else {
            return Ok(count);
        };
        after = Some(*last);
        for (key, row) in page.into_iter().filter(|it| leap::leaps(&it.1)) {
            count += 1;
            let now = server.clock.now();
            let read = move |tables: &Tables| leap::room(tables, key, row, now);
            let batch = server.tables.read(read).await?;
            let _applied = server.tables.commit(batch).await?;
        }
    }
}

/// Moves how far our people have got, in everything that leaps.
async fn leap_people(server: &Arc<Server>) -> Result<(), StoreError> {
    let mut user = None;
    loop {
        let (us, after) = (server.us.clone(), user.clone());
        let read = move |tables: &Tables| tables.accounts(&us, after.as_ref(), 1);
        user = server.tables.read(read).await?.pop();
        let Some(user) = &user else {
            return Ok(());
        };
        let mut after = None;
        loop {
            let (wanted, now) = (user.clone(), server.clock.now());
            let read = move |tables: &Tables| standings(tables, (&wanted, now), after);
            let (batch, last) = server.tables.read(read).await?;
            after = last;
            if after.is_none() {
                break;
            }
            let _applied = server.tables.commit(batch).await?;
        }
    }
}

/// A page of what leaps of a person, and where the next one goes on. Blocks.
fn standings(
    tables: &Tables,
    (user, now): (&UserId, Timestamp),
    after: Option<TopicKey>,
) -> Result<(Batch, Option<TopicKey>), StoreError> {
    let mut batch = Batch::new();
    let page = tables.subscriptions(user, after, PAGE)?;
    let last = page.last().map(|it| it.0);
    for (key, row) in page {
        let leaps = match tables.room(key)? {
            Some(room) => leap::leaps(&room),
            None => tables.topic(key)?.is_some(),
        };
        if leaps {
            put_subscription(&mut batch, user, key, &leap::standing_after(row, now));
        }
    }
    Ok((batch, last))
}
