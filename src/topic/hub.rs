//! Finds the task that runs a topic, or starts it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use freehold_proto::UserId;
use freehold_store::{StoreError, Tables, TopicKey};
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::sleep};
use tracing::warn;

use super::{Command, TopicName, actor::Actor};
use crate::server::Server;

/// Commands that may wait for one topic; whoever sends more waits.
const MAILBOX_MAX: usize = 1024;
/// How often topics are looked for that could not go on with erasing.
const RESUME_EVERY: Duration = Duration::from_secs(10 * 60);

/// The loaded topics of a domain.
#[derive(Debug, Default)]
pub struct Hub {
    topics: Mutex<HashMap<TopicKey, Handle>>,
}

#[derive(Clone, Debug)]
struct Handle {
    mailbox: mpsc::Sender<Command>,
    durable_head: Arc<AtomicU32>,
    present: Arc<AtomicBool>,
    cursors: Arc<Cursors>,
}

/// How far people have read and received, as far as that is ahead of the disk.
type Cursors = Mutex<HashMap<UserId, (u32, u32)>>;

/// What a topic's task keeps of its place in the hub.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) key: TopicKey,
    pub(super) mailbox: mpsc::Receiver<Command>,
    pub(super) durable_head: Arc<AtomicU32>,
    /// Somebody is attached.
    pub(super) present: Arc<AtomicBool>,
    cursors: Arc<Cursors>,
}

impl Place {
    /// Notes how far somebody has got.
    pub(super) fn note_cursor(&self, user: &UserId, read: u32, received: u32) {
        self.cursors.lock().insert(user.clone(), (read, received));
    }
}

impl Hub {
    /// Hands a command to a topic, and waits while its mailbox is full.
    pub async fn send(server: &Arc<Server>, name: &TopicName, mut command: Command) {
        // At the end nothing new begins; whoever waits for an answer sees its channel close.
        if server.tasks.is_stopping() {
            return;
        }
        // A topic may unload between being found and being reached.
        while let Err(refused) = Self::mailbox(server, name).send(command).await {
            command = refused.0;
            if server.tasks.is_stopping() {
                return;
            }
        }
    }

    /// Has every topic go on that is erasing deleted messages and was unloaded: by a restart, or
    /// because the store did not answer it. Runs until the domain stops.
    pub async fn resume(server: Arc<Server>) {
        let stop = server.tasks.stop_token();
        loop {
            if let Err(fault) = Self::resume_all(&server).await {
                warn!(%fault, "what is to be erased cannot be read now");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(RESUME_EVERY) => {}
            }
        }
    }

    async fn resume_all(server: &Arc<Server>) -> Result<(), StoreError> {
        const PAGE: usize = 100;
        let mut after = None;
        loop {
            let read = move |tables: &Tables| tables.half_erased(after, PAGE);
            let page = server.tables.read(read).await?;
            for (_, name) in &page {
                match TopicName::from_text(name) {
                    Some(name) => Self::send(server, &name, Command::Resume).await,
                    None => warn!(name, "something is to be erased in a topic without a name"),
                }
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = Some(*last),
                _ => return Ok(()),
            }
        }
    }

    fn mailbox(server: &Arc<Server>, name: &TopicName) -> mpsc::Sender<Command> {
        let key = name.key();
        let mut topics = server.hub.topics.lock();
        if let Some(handle) = topics.get(&key).filter(|it| !it.mailbox.is_closed()) {
            return handle.mailbox.clone();
        }
        let (sender, mailbox) = mpsc::channel(MAILBOX_MAX);
        let durable_head = Arc::new(AtomicU32::new(u32::MAX));
        let handle = Handle {
            mailbox: sender.clone(),
            durable_head: Arc::clone(&durable_head),
            present: Arc::default(),
            cursors: Arc::default(),
        };
        let present = Arc::clone(&handle.present);
        let cursors = Arc::clone(&handle.cursors);
        topics.insert(key, handle);
        let place = Place {
            key,
            mailbox,
            durable_head,
            present,
            cursors,
        };
        let actor = Actor::new(Arc::clone(server), name.clone(), place);
        server.tasks.spawn("topic", actor.run());
        sender
    }

    /// The last position of a topic that is safe on disk; of a topic that is not loaded all are.
    pub fn durable_head(&self, key: TopicKey) -> u32 {
        let topics = self.topics.lock();
        topics
            .get(&key)
            .map_or(u32::MAX, |it| it.durable_head.load(Ordering::Acquire))
    }

    /// How far somebody has read and received in a topic, if that may be ahead of the disk.
    pub fn cursor(&self, key: TopicKey, user: &UserId) -> (u32, u32) {
        let cursors = self
            .topics
            .lock()
            .get(&key)
            .map(|it| Arc::clone(&it.cursors));
        let known = cursors.and_then(|it| it.lock().get(user).copied());
        known.unwrap_or_default()
    }

    /// True while somebody is attached to a topic.
    pub fn is_present(&self, key: TopicKey) -> bool {
        let topics = self.topics.lock();
        topics
            .get(&key)
            .is_some_and(|it| it.present.load(Ordering::Acquire))
    }

    /// Takes a topic out if nothing waits for it; its mailbox is closed then.
    pub(super) fn retire(&self, place: &mut Place) -> bool {
        let mut topics = self.topics.lock();
        if !place.mailbox.is_empty() {
            return false;
        }
        // Its own handle only: never that of a task that took its place.
        let own = |it: &Handle| Arc::ptr_eq(&it.durable_head, &place.durable_head);
        if topics.get(&place.key).is_some_and(own) {
            topics.remove(&place.key);
        }
        place.mailbox.close();
        true
    }
}

#[cfg(test)]
mod tests {
    use freehold_store::{
        Batch,
        tables::{
            deletions::put_half_erased,
            rows::{ClearedRow, TopicRow},
            topics::put_topic,
        },
    };
    use tokio::time::Instant;

    use super::*;
    use crate::stage::Stage;

    #[tokio::test(start_paused = true)]
    async fn erasing_that_the_store_did_not_let_begin_goes_on_without_a_restart() {
        let stage = Stage::new().await;
        let server = &stage.server;
        let person = |number| UserId::new([number; 8], server.us.clone());
        let name = TopicName::one_to_one(&person(1), &person(2));
        let cleared = ClearedRow {
            last: 1,
            last_hard: 1,
            erased: 0,
        };
        let row = TopicRow {
            people: vec![person(1).to_string(), person(2).to_string()],
            cleared: Some(cleared),
            ..TopicRow::default()
        };
        let mut batch = Batch::new();
        put_topic(&mut batch, name.key(), &row);
        put_half_erased(&mut batch, name.key(), &name.to_text());
        let _applied = server.tables.commit(batch).await.unwrap();

        stage.engine.fail_pages(1);
        server
            .tasks
            .spawn("resume", Hub::resume(Arc::clone(server)));
        while stage.engine.pages_to_fail() > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        let deadline = Instant::now() + RESUME_EVERY * 2;
        let left = |tables: &Tables| tables.half_erased(None, 1);
        while !server.tables.read(left).await.unwrap().is_empty() {
            assert!(Instant::now() < deadline, "nobody goes on");
            sleep(Duration::from_secs(1)).await;
        }
        server.tasks.drain(Duration::from_secs(10)).await;
        stage.close().await;
    }
}
