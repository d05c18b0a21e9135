//! What the rest of the server knows of one client connection: who it is and how to send to it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use freehold_store::TopicKey;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    encoding::{Encoded, Encoding},
    frames::{Packed, ServerFrame},
};
use crate::{accounts::attempts::Origin, topic::TopicName};

/// Replies that may wait for one client. A page of history counts as one. A client that lets more
/// pile up is cut off; it reconnects and reads what it missed.
const QUEUE_MAX: usize = 512;
/// Topics one session may be attached to.
const ATTACHED_MAX: usize = 1000;
/// Bytes that may wait for one client, beyond the frames queued last.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A client connection. Clones are the same session.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    encoding: Encoding,
    out: mpsc::Sender<Vec<Encoded>>,
    waiting_bytes: AtomicUsize,
    closed: CancellationToken,
    identity: Mutex<Identity>,
    on_me: AtomicBool,
    /// Where it is attached, or has asked to be.
    topics: Mutex<HashMap<TopicKey, TopicName>>,
}

#[derive(Clone, Debug, Default)]
struct Identity {
    agent: String,
    background: bool,
    origin: Option<Origin>,
    device: Option<String>,
}

impl Session {
    /// A session and the queue that its connection empties. It ends when `closed` is cancelled.
    #[must_use]
    pub fn new(
        encoding: Encoding,
        closed: CancellationToken,
    ) -> (Self, mpsc::Receiver<Vec<Encoded>>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (out, queue) = mpsc::channel(QUEUE_MAX);
        let inner = Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            encoding,
            out,
            waiting_bytes: AtomicUsize::new(0),
            closed,
            identity: Mutex::default(),
            on_me: AtomicBool::new(false),
            topics: Mutex::default(),
        };
        (Self(Arc::new(inner)), queue)
    }

    /// Names this session within the process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// How its frames travel.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.0.encoding
    }

    /// The client's program.
    #[must_use]
    pub fn agent(&self) -> String {
        self.0.identity.lock().agent.clone()
    }

    /// Woken by a push rather than by a person.
    #[must_use]
    pub fn background(&self) -> bool {
        self.0.identity.lock().background
    }

    /// Where the client comes from; nothing when that is not known, as behind a proxy that does not
    /// say.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        self.0.identity.lock().origin
    }

    /// Notes where the client comes from.
    pub fn comes_from(&self, origin: Option<Origin>) {
        self.0.identity.lock().origin = origin;
    }

    /// The device to which pushes go for whoever uses it, as the client named it.
    #[must_use]
    pub fn device(&self) -> Option<String> {
        self.0.identity.lock().device.clone()
    }

    /// Notes which device that is; says which it was before.
    pub fn set_device(&self, device: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.0.identity.lock().device, device)
    }

    /// Takes over what the client said of itself.
    pub fn introduce(&self, agent: &str, background: bool) {
        let mut identity = self.0.identity.lock();
        identity.agent = agent.chars().take(256).collect();
        identity.background = background;
    }

    /// A person uses it now.
    pub fn come_forward(&self) {
        self.0.identity.lock().background = false;
    }

    /// Completes when the session ends.
    pub async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    /// Attached to `me`.
    #[must_use]
    pub fn on_me(&self) -> bool {
        self.0.on_me.load(Ordering::Relaxed)
    }

    /// Attaches to `me` or detaches; says what it was before.
    pub fn set_on_me(&self, attached: bool) -> bool {
        self.0.on_me.swap(attached, Ordering::Relaxed)
    }

    /// Notes that it attaches to a topic; false when it is attached to too many.
    #[must_use]
    pub fn attach(&self, name: &TopicName) -> bool {
        let (key, mut topics) = (name.key(), self.0.topics.lock());
        if topics.len() >= ATTACHED_MAX && !topics.contains_key(&key) {
            return false;
        }
        topics.insert(key, name.clone());
        true
    }

    /// Notes that a topic has attached it, whatever was asked meanwhile.
    pub fn keep(&self, name: &TopicName) {
        self.0.topics.lock().insert(name.key(), name.clone());
    }

    /// Notes that it is not attached to a topic any more; true when it was.
    pub fn detach(&self, key: TopicKey) -> bool {
        self.0.topics.lock().remove(&key).is_some()
    }

    /// True while it is attached to a topic, or has asked to be.
    #[must_use]
    pub fn is_attached(&self, key: TopicKey) -> bool {
        self.0.topics.lock().contains_key(&key)
    }

    /// All topics it is attached to, or has asked to be.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicName> {
        self.0.topics.lock().values().cloned().collect()
    }

    /// All topics it is attached to. It is to none afterwards.
    #[must_use]
    pub fn take_topics(&self) -> Vec<TopicName> {
        let topics = std::mem::take(&mut *self.0.topics.lock());
        topics.into_values().collect()
    }

    /// Queues one frame.
    pub fn send(&self, frame: &ServerFrame) {
        self.send_packed(&Packed::new(frame));
    }

    /// Queues a frame that others get too.
    pub fn send_packed(&self, frame: &Packed<'_>) {
        self.queue(vec![frame.encoded(self.0.encoding)]);
    }

    /// Queues several frames as one. Never waits: a full queue ends the session.
    pub fn send_all(&self, frames: &[ServerFrame]) {
        if !frames.is_empty() {
            let encode = |it: &ServerFrame| it.encode(self.0.encoding);
            self.queue(frames.iter().map(encode).collect());
        }
    }

    fn queue(&self, frames: Vec<Encoded>) {
        let size = size_of(&frames);
        let before = self.0.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        let full = before > QUEUE_BYTES_MAX
            || matches!(
                self.0.out.try_send(frames),
                Err(mpsc::error::TrySendError::Full(_))
            );
        if full {
            info!(
                session = self.0.id,
                "client does not keep up; closing its connection"
            );
            self.close();
        }
    }

    /// Notes that queued frames have gone out.
    pub fn sent(&self, frames: &[Encoded]) {
        self.0
            .waiting_bytes
            .fetch_sub(size_of(frames), Ordering::Relaxed);
    }

    /// True once the session has ended or is about to.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.is_cancelled()
    }

    /// Ends the session.
    pub fn close(&self) {
        self.0.closed.cancel();
    }
}

impl PartialEq for Session {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

fn size_of(frames: &[Encoded]) -> usize {
    frames.iter().map(Encoded::size).sum()
}

#[cfg(test)]
mod tests {
    use freehold_proto::Timestamp;

    use super::*;
    use crate::edge::reply::{self, Reply};

    fn frame(bytes: usize) -> ServerFrame {
        Reply::from(reply::OK).into_frame(Some("x".repeat(bytes)), None, Timestamp::EPOCH)
    }

    #[test]
    fn a_client_that_takes_nothing_is_cut_off_by_count() {
        let closed = CancellationToken::new();
        let (session, _queue) = Session::new(Encoding::Json, closed.clone());
        for _ in 0..QUEUE_MAX {
            session.send(&frame(1));
        }
        assert!(!closed.is_cancelled());
        session.send(&frame(1));
        assert!(closed.is_cancelled());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off_by_bytes_and_one_that_does_is_not() {
        let closed = CancellationToken::new();
        let (session, mut queue) = Session::new(Encoding::Json, closed.clone());
        for _ in 0..10 {
            session.send(&frame(QUEUE_BYTES_MAX));
            session.sent(&queue.recv().await.unwrap());
        }
        assert!(!closed.is_cancelled());
        session.send(&frame(QUEUE_BYTES_MAX));
        session.send(&frame(1));
        assert!(closed.is_cancelled());
    }
}
