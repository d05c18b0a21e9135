//! Telling the nodes who and what here wishes to be found: again before the lease ends, and soon after
//! something has changed.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use freehold_directory::Heard;
use freehold_proto::{
    Timestamp,
    card::{CardWords, LEASE, Subject},
};
use freehold_store::Tables;
use tokio::time::sleep;

use super::cards;
use crate::server::Server;

/// How often it is looked whether something has changed.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// When what stays the same is announced again: a node that was restarted is whole after that.
const AGAIN_AFTER: Duration = Duration::from_secs(LEASE.as_secs() / 3);
/// The same while a node has not taken it.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// What was announced last.
#[derive(Default)]
struct Last {
    /// A hash of what was said, and when it is to be said again.
    said: Option<(u64, Timestamp)>,
    /// When what a node took last was signed.
    issued: Option<Timestamp>,
    /// What each node said to it.
    heard: BTreeMap<String, Result<(), String>>,
}

/// Announces until the domain stops.
pub(crate) async fn announce(server: Arc<Server>) {
    let mut last = Last::default();
    loop {
        tokio::select! {
            () = turn(&server, &mut last) => {}
            () = server.tasks.stopped() => return,
        }
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = server.tasks.stopped() => return,
        }
    }
}

async fn turn(server: &Arc<Server>, last: &mut Last) {
    let (us, findable) = (server.us.clone(), server.rules.findable);
    let masked = server.rules.masked_tags.clone();
    let read = move |tables: &Tables| cards::all(tables, &us, findable, &masked);
    let (cards, more) = match server.tables.read(read).await {
        Ok(read) => read,
        Err(fault) => {
            tracing::error!(%fault, "who wishes to be found cannot be read");
            return;
        }
    };
    let (now, hash) = (server.clock.now(), hash(&cards));
    let due = match last.said {
        // Who never had anything to say does not say that.
        None => !cards.is_empty(),
        Some((said, again)) => said != hash || again <= now || again > now.plus(AGAIN_AFTER),
    };
    if !due {
        return;
    }
    if more && last.said.is_none_or(|(said, _)| said != hash) {
        tracing::warn!("more wish to be found than an announcement may hold: some are not listed");
    }
    let empty = cards.is_empty();
    // Later than what was said before, whatever the clock says: nodes compare.
    let issued = last
        .issued
        .map_or(now, |it| now.max(it.plus(Duration::from_millis(1))));
    let signed = server.signer.announce(cards, LEASE, issued);
    let heard = server.directory.announce(signed.into()).await;
    let all = heard.iter().all(|it| it.outcome.is_ok());
    if heard.iter().any(|it| it.outcome.is_ok()) {
        last.issued = Some(issued);
    }
    tell(heard, &mut last.heard);
    last.said = match empty && all {
        // Everything is withdrawn, and every node knows.
        true => None,
        false => {
            let after = if all { AGAIN_AFTER } else { RETRY_AFTER };
            Some((hash, server.clock.now().plus(after)))
        }
    };
}

/// A hash of what the cards say, but for how many are in a group: that alone is no news.
fn hash(cards: &[CardWords]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for card in cards {
        match &card.subject {
            Subject::Group {
                group,
                channel,
                access,
                ..
            } => (group.as_bytes(), channel, access).hash(&mut hasher),
            Subject::Person(user) => user.to_string().hash(&mut hasher),
        }
        (&card.title, &card.note, &card.tags).hash(&mut hasher);
    }
    hasher.finish()
}

/// Logs what a node says when it says something else than before.
fn tell(heard: Vec<Heard>, before: &mut BTreeMap<String, Result<(), String>>) {
    let mut after = BTreeMap::new();
    for Heard { node, outcome } in heard {
        if before.get(&node) != Some(&outcome) {
            match &outcome {
                Ok(()) => tracing::info!(node, "listed at a node of the directory"),
                Err(why) => tracing::warn!(node, why, "not listed at a node of the directory"),
            }
        }
        after.insert(node, outcome);
    }
    *before = after;
}
