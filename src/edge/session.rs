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
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{
    behind::{Behind, Later, Missing},
    encoding::{Encoded, Encoding},
    frames::{Packed, ServerFrame},
};
use crate::{accounts::attempts::Origin, topic::TopicName};

/// Where that many replies wait for one client, or as many bytes, nothing else is queued for it: what it
/// misses it is told once it has taken them. A page of history counts as one. Nor is anything more read
/// of what it says.
const CROWDED: usize = 256;
const CROWDED_BYTES: usize = 4 * 1024 * 1024;
/// Replies that may wait for one client, to what it had asked before. If there are more it is cut off.
const QUEUE_MAX: usize = 2048;
/// Bytes that may wait for one client, beyond the frames queued last.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Topics one session may be attached to.
const ATTACHED_MAX: usize = 1000;

/// A client connection. Clones are the same session.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    encoding: Encoding,
    out: mpsc::Sender<Vec<Encoded>>,
    waiting_bytes: AtomicUsize,
    /// What it misses; nothing while its client keeps up.
    behind: Mutex<Option<Box<Behind>>>,
    /// The client has taken something of a backlog.
    advances: AtomicBool,
    taken: Notify,
    drained: Notify,
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
            behind: Mutex::default(),
            advances: AtomicBool::new(false),
            taken: Notify::new(),
            drained: Notify::new(),
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
        self.forgets(key);
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

    /// Queues one frame, or keeps it for later.
    pub fn send(&self, frame: &ServerFrame) {
        self.send_packed(&Packed::new(frame));
    }

    /// Queues a frame that others get too, or keeps it for later.
    pub fn send_packed(&self, frame: &Packed<'_>) {
        let encoded = || frame.encoded(self.0.encoding);
        let mut behind = self.0.behind.lock();
        if !self.falls_behind(&mut behind) {
            return self.queue(vec![encoded()]);
        }
        let kept = behind
            .as_mut()
            .is_none_or(|it| match Later::of(frame.frame()) {
                Later::Never => {
                    self.queue(vec![encoded()]);
                    true
                }
                Later::Worthless => true,
                Later::News(thing) => it.keep(thing, encoded()),
            });
        if !kept {
            self.cut_off();
        }
    }

    /// Queues frames that others get too as one, or keeps them for later.
    pub(crate) fn send_each<'a>(&self, frames: impl Iterator<Item = &'a Packed<'a>>) {
        if self.falls_behind(&mut self.0.behind.lock()) {
            return frames.for_each(|it| self.send_packed(it));
        }
        let encoded: Vec<_> = frames.map(|it| it.encoded(self.0.encoding)).collect();
        if !encoded.is_empty() {
            self.queue(encoded);
        }
    }

    /// Queues a message of a topic in its turn, or notes that it is missing.
    pub(crate) fn show(&self, topic: TopicKey, seq: u32, frame: &Packed<'_>) {
        let mut behind = self.0.behind.lock();
        if !self.falls_behind(&mut behind) {
            return self.queue(vec![frame.encoded(self.0.encoding)]);
        }
        if let Some(behind) = &mut *behind {
            behind.misses(topic, seq, || frame.encoded(self.0.encoding));
        }
    }

    /// Notes that it need not be shown a message, since it has written it.
    pub(crate) fn knows(&self, topic: TopicKey, seq: u32) {
        if let Some(behind) = &mut *self.0.behind.lock() {
            behind.knows(topic, seq);
        }
    }

    /// Queues several frames as one. Never waits: a full queue ends the session.
    pub fn send_all(&self, frames: &[ServerFrame]) {
        if !frames.is_empty() {
            let encode = |it: &ServerFrame| it.encode(self.0.encoding);
            self.queue(frames.iter().map(encode).collect());
        }
    }

    /// Whether what can be told later is to be told later.
    fn falls_behind(&self, behind: &mut Option<Box<Behind>>) -> bool {
        if behind.is_none() && self.is_crowded() {
            debug!(session = self.0.id, "client does not keep up");
            *behind = Some(Box::default());
        }
        behind.is_some()
    }

    fn waiting(&self) -> usize {
        QUEUE_MAX - self.0.out.capacity()
    }

    fn is_crowded(&self) -> bool {
        self.waiting() >= CROWDED || self.0.waiting_bytes.load(Ordering::Relaxed) > CROWDED_BYTES
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
            self.cut_off();
        }
    }

    fn cut_off(&self) {
        info!(
            session = self.0.id,
            "client takes nothing of what it asked for; closing its connection"
        );
        self.close();
    }

    /// Notes that queued frames have gone out.
    pub fn sent(&self, frames: &[Encoded]) {
        let size = size_of(frames);
        let before = self.0.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
        let behind = self.0.behind.lock().is_some();
        if behind || before > size {
            self.0.advances.store(true, Ordering::Relaxed);
        }
        if behind {
            self.tell_drained();
        }
        self.0.taken.notify_one();
    }

    fn is_drained(&self) -> bool {
        self.waiting() == 0 && self.0.waiting_bytes.load(Ordering::Relaxed) == 0
    }

    /// True when the client has taken something of a backlog since this was last asked.
    pub(super) fn has_advanced(&self) -> bool {
        self.0.advances.swap(false, Ordering::Relaxed)
    }

    /// Completes once so little waits for the client that another request of its may be answered, or
    /// when the session ends.
    pub(super) async fn has_room(&self) {
        while self.is_crowded() && !self.is_closed() {
            tokio::select! {
                () = self.0.taken.notified() => {}
                () = self.closed() => {}
            }
        }
    }

    /// Completes when the client has taken all that waited for it while it was behind.
    pub(super) async fn drained(&self) {
        // Something may wait again by the time that it is heard.
        loop {
            self.0.drained.notified().await;
            if self.is_drained() {
                return;
            }
        }
    }

    fn tell_drained(&self) {
        if self.is_drained() {
            self.0.drained.notify_one();
        }
    }

    /// A topic of which it misses messages. If it misses none it is told the news and has caught up.
    pub(super) fn next_missing(&self) -> Option<TopicName> {
        let mut behind = self.0.behind.lock();
        while let Some(key) = behind.as_mut()?.next() {
            let name = self.0.topics.lock().get(&key).cloned();
            if name.is_some() {
                let news = behind.as_mut()?.overdue();
                if !news.is_empty() {
                    self.queue(news);
                }
                return name;
            }
            behind.as_mut()?.has_caught_up(key, None);
        }
        let news = behind.take()?.into_news();
        if !news.is_empty() {
            self.queue(news);
        }
        None
    }

    /// Which messages of a topic it misses, if it does.
    pub(crate) fn missing(&self, topic: TopicKey) -> Option<Missing> {
        self.0.behind.lock().as_ref()?.missing(topic).cloned()
    }

    /// Notes that it misses messages of a topic, although its client may keep up.
    pub(crate) fn falls_back(&self, topic: TopicKey, missing: Missing) {
        let mut behind = self.0.behind.lock();
        let behind = behind.get_or_insert_default();
        behind.falls_back(topic, missing);
        self.tell_drained();
    }

    /// It is to be shown nothing more of a topic.
    pub(crate) fn forgets(&self, topic: TopicKey) {
        if let Some(behind) = &mut *self.0.behind.lock() {
            behind.has_caught_up(topic, None);
            self.tell_drained();
        }
    }

    /// Begins a page of what it has missed of a topic, if it has: its number, and what is missing. What it
    /// is told of the topic from here on comes behind that page.
    pub(crate) fn begin_page(&self, topic: TopicKey) -> Option<(u64, Missing)> {
        self.0.behind.lock().as_mut()?.begin_page(topic)
    }

    /// What is read of a topic for it is not true any more, and is to be read again.
    pub(crate) fn discard_page(&self, topic: TopicKey) {
        if let Some(behind) = &mut *self.0.behind.lock() {
            behind.discard_page(topic);
        }
    }

    /// Queues a page that was begun, unless it was discarded: all messages before `next`, or all, and then
    /// what it was told meanwhile.
    pub(crate) fn show_page(
        &self,
        topic: TopicKey,
        number: u64,
        mut frames: Vec<Encoded>,
        next: Option<u32>,
    ) {
        let mut behind = self.0.behind.lock();
        let Some(missed) = &mut *behind else { return };
        match missed.end_page(topic, number, next) {
            Some(meanwhile) => frames.extend(meanwhile),
            None => frames.clear(),
        }
        if frames.is_empty() {
            return self.tell_drained();
        }
        self.queue(frames);
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
    use freehold_proto::{Timestamp, UserId};

    use super::*;
    use crate::edge::{
        frames::Pres,
        reply::{self, Reply},
    };

    fn frame(bytes: usize) -> ServerFrame {
        Reply::from(reply::OK).into_frame(Some("x".repeat(bytes)), None, Timestamp::EPOCH)
    }

    fn pres(src: &str, what: &'static str) -> ServerFrame {
        ServerFrame::Pres(Pres {
            topic: "me".to_owned(),
            src: Some(src.to_owned()),
            what,
            ..Pres::default()
        })
    }

    fn new() -> (Session, mpsc::Receiver<Vec<Encoded>>) {
        Session::new(Encoding::Json, CancellationToken::new())
    }

    #[test]
    fn a_client_that_takes_no_answers_is_cut_off_by_count() {
        let (session, _queue) = new();
        for _ in 0..QUEUE_MAX {
            session.send(&frame(1));
        }
        assert!(!session.is_closed());
        session.send(&frame(1));
        assert!(session.is_closed());
    }

    #[tokio::test]
    async fn a_client_that_takes_no_answers_is_cut_off_by_bytes_and_one_that_does_is_not() {
        let (session, mut queue) = new();
        for _ in 0..10 {
            session.send(&frame(QUEUE_BYTES_MAX));
            session.sent(&queue.recv().await.unwrap());
        }
        assert!(!session.is_closed());
        session.send(&frame(QUEUE_BYTES_MAX));
        session.send(&frame(1));
        assert!(session.is_closed());
    }

    #[tokio::test]
    async fn what_a_client_does_not_take_is_told_when_it_has_taken_what_waited() {
        let (session, mut queue) = new();
        let ann = UserId::new([1; 8], "alpha.test".parse().unwrap());
        let saved = TopicName::Saved(ann);
        assert!(session.attach(&saved));
        let message = frame(10);
        for seq in 1..=10_000 {
            session.show(saved.key(), seq, &Packed::new(&message));
            session.send(&pres("usrA", if seq % 2 == 0 { "off" } else { "on" }));
        }
        assert!(!session.is_closed() && session.waiting() == CROWDED);
        let first = session.missing(saved.key()).unwrap().from;
        while let Ok(taken) = queue.try_recv() {
            session.sent(&taken);
        }
        session.drained().await;
        // As long as messages are missing they come first.
        assert_eq!(session.next_missing(), Some(saved.clone()));
        let (page, missing) = session.begin_page(saved.key()).unwrap();
        assert_eq!(missing.from, first);
        let shown = vec![message.encode(Encoding::Json)];
        session.show_page(saved.key(), page, shown, Some(9_000));
        assert!(first < 9_000);
        assert_eq!(session.missing(saved.key()).unwrap().from, 9_000);
        session.sent(&queue.recv().await.unwrap());
        session.drained().await;
        assert_eq!(session.next_missing(), Some(saved.clone()));
        let (page, _) = session.begin_page(saved.key()).unwrap();
        session.show_page(saved.key(), page, Vec::new(), None);
        session.drained().await;
        assert_eq!(session.next_missing(), None);
        let news = queue.recv().await.unwrap();
        assert_eq!(news, [pres("usrA", "off").encode(Encoding::Json)]);
        session.sent(&news);
        // It has caught up.
        session.send(&pres("usrA", "on"));
        assert_eq!(queue.recv().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn who_keeps_up_and_was_passed_over_catches_up_too() {
        let (session, mut queue) = new();
        let ann = UserId::new([1; 8], "alpha.test".parse().unwrap());
        let saved = TopicName::Saved(ann);
        assert!(session.attach(&saved));
        session.send(&pres("usrA", "on"));
        session.falls_back(saved.key(), Missing::since(7));
        session.sent(&queue.recv().await.unwrap());
        session.drained().await;
        assert_eq!(session.next_missing(), Some(saved.clone()));
        let (_, missing) = session.begin_page(saved.key()).unwrap();
        assert_eq!(missing, Missing::since(7));
        session.forgets(saved.key());
        session.drained().await;
        assert_eq!(session.next_missing(), None);
        // The same, when nothing waits for it.
        session.falls_back(saved.key(), Missing::since(9));
        session.drained().await;
        assert_eq!(session.next_missing(), Some(saved));
    }
}
