//! Domains for tests: real keys, sockets and directories; inbox and outbox in memory.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use freehold_directory::{Directory, MemoryPins, NegativeCache, StaticPeer, Trust};
use freehold_keys::KeyRing;
use freehold_proto::{
    Clock, Destination, DomainName, Envelope, GroupId, ManualClock, MessageId, Placed, Timestamp,
    UserId, wire,
};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::{
    Arrived, Backoff, Bound, Config, Federation, FileHead, FileOffer, FileQuery, FindQuery,
    GroupQuery, Incoming, Local, Outbox, Outgoing, Policy, Rates, StreamPosition, Tasks,
    Unavailable, Verdict,
};

pub(super) const SOON: Duration = Duration::from_secs(10);

/// Waits until something is true; fails loudly when it does not come.
#[track_caller]
pub(super) fn eventually(
    what: &'static str,
    mut is_so: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + SOON;
        while !is_so() {
            assert!(Instant::now() < deadline, "{caller}: never: {what}");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(super) fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

pub(super) fn start_time() -> Timestamp {
    Timestamp::from_millis(1_767_323_045_678).unwrap()
}

pub(super) fn message(number: u8) -> MessageId {
    MessageId::from_bytes([number; 16])
}

pub(super) fn user(domain: &DomainName) -> UserId {
    UserId::new([1; 8], domain.clone())
}

/// Short delays; everything else as usual.
pub(super) fn config() -> Config {
    let millis = Duration::from_millis;
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        policy: Policy::default(),
        backoff: Backoff::new(millis(20), millis(80), millis(80)).unwrap(),
        idle_timeout: Duration::from_secs(5),
        tls_timeout: Duration::from_secs(5),
        hello_timeout: Duration::from_secs(5),
        discovery_wait: Duration::from_secs(1),
        call_timeout: Duration::from_secs(5),
        connections_max: 64,
        strangers_max: 32,
        strangers_per_prefix_max: 32,
        rates: Rates {
            items: None,
            signals: None,
            questions: None,
            hellos: None,
            patience: millis(200),
            patience_of_questions: millis(200),
        },
    }
}

/// A domain's keys, which outlive its restarts.
pub(super) struct Keys {
    pub(super) ring: KeyRing,
    _dir: tempfile::TempDir,
}

impl Keys {
    pub(super) fn new(domain: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let (ring, _) = KeyRing::create(&path, &name(domain), start_time()).unwrap();
        Self { ring, _dir: dir }
    }

    pub(super) fn domain(&self) -> &DomainName {
        self.ring.domain()
    }

    pub(super) fn row(&self, address: SocketAddr) -> StaticPeer {
        StaticPeer {
            domain: self.domain().clone(),
            address: Some((address.ip().to_string(), address.port())),
            root_fingerprint: self.ring.record().root_fingerprint(),
        }
    }

    pub(super) fn seal(&self, to: &DomainName, number: u8) -> Envelope {
        let payload = wire::payload::Kind::DirectMessage(wire::DirectMessage {
            author: user(self.domain()).to_string(),
            recipient: user(to).to_string(),
            content: format!("{number}").into(),
            ..Default::default()
        });
        let to = Destination::Domain(to.clone());
        let signer = self.ring.signer();
        signer
            .seal(to, message(number), start_time(), payload)
            .unwrap()
    }
}

/// A domain that runs.
pub(super) struct House {
    pub(super) keys: Keys,
    pub(super) address: SocketAddr,
    pub(super) local: Arc<MemoryLocal>,
    pub(super) outbox: Arc<MemoryOutbox>,
    pub(super) federation: Federation,
    pub(super) tasks: Tasks,
    pub(super) clock: Arc<ManualClock>,
}

/// A domain that is bound and does not run yet.
pub(super) struct Site {
    pub(super) keys: Keys,
    pub(super) address: SocketAddr,
    bound: Bound,
    clock: Arc<ManualClock>,
}

impl Site {
    pub(super) async fn new(domain: &str, config: Config) -> Self {
        Self::with_keys(Keys::new(domain), config).await
    }

    pub(super) async fn with_keys(keys: Keys, config: Config) -> Self {
        let clock = Arc::new(ManualClock::new(start_time()));
        let bound = Federation::bind(config, &keys.ring, clock.clone())
            .await
            .unwrap();
        Self {
            keys,
            address: bound.local_addr(),
            bound,
            clock,
        }
    }

    pub(super) fn row(&self) -> StaticPeer {
        self.keys.row(self.address)
    }

    /// Gives its port back.
    pub(super) fn closes(self) -> Keys {
        self.keys
    }

    pub(super) fn start(self, peers: Vec<StaticPeer>) -> House {
        self.start_with(peers, &["127.0.0.0/8"], Arc::default(), Arc::default())
    }

    pub(super) fn start_with(
        self,
        static_peers: Vec<StaticPeer>,
        ranges: &[&str],
        pins: Arc<MemoryPins>,
        outbox: Arc<MemoryOutbox>,
    ) -> House {
        let config = freehold_directory::Config {
            nameserver: Some("127.0.0.1:9".parse().unwrap()),
            trust: Trust::Pinned,
            allowed_ranges: ranges.iter().map(|it| it.parse().unwrap()).collect(),
            static_peers,
            negative_cache: NegativeCache {
                first: Duration::from_millis(10),
                longest: Duration::from_millis(40),
            },
            ..freehold_directory::Config::default()
        };
        let directory = Directory::new(config, pins, self.clock.clone()).unwrap();
        let (local, tasks) = (Arc::new(MemoryLocal::default()), Tasks::default());
        let federation =
            self.bound
                .start(&tasks, Arc::new(directory), local.clone(), outbox.clone());
        House {
            keys: self.keys,
            address: self.address,
            local,
            outbox,
            federation,
            tasks,
            clock: self.clock,
        }
    }
}

/// Two domains that know each other.
pub(super) async fn pair(config: impl Fn() -> Config) -> (House, House) {
    let alpha = Site::new("alpha.test", config()).await;
    let beta = Site::new("beta.test", config()).await;
    let (to_alpha, to_beta) = (alpha.row(), beta.row());
    (alpha.start(vec![to_beta]), beta.start(vec![to_alpha]))
}

impl House {
    pub(super) fn domain(&self) -> &DomainName {
        self.keys.domain()
    }

    /// Puts messages into the outbox and says so.
    pub(super) fn writes(&self, to: &DomainName, numbers: impl IntoIterator<Item = u8>) {
        for number in numbers {
            self.outbox.push(to, self.keys.seal(to, number));
        }
        self.federation.wake(to);
    }

    pub(super) fn last_error(&self, peer: &DomainName) -> String {
        let links = self.federation.links();
        let report = links.into_iter().find(|it| it.peer == *peer);
        report.and_then(|it| it.last_error).unwrap_or_default()
    }

    pub(super) async fn stops(&self) {
        assert_eq!(self.tasks.drain(SOON).await, 0, "tasks are left");
    }
}

/// What a domain has taken from its peers.
#[derive(Default)]
pub(super) struct MemoryLocal {
    taken: Mutex<Vec<(DomainName, MessageId)>>,
    seen: Mutex<HashSet<(DomainName, MessageId)>>,
    received: Mutex<HashMap<DomainName, StreamPosition>>,
    /// Verdicts to give instead of `ok`, each once.
    pub(super) verdicts: Mutex<HashMap<MessageId, Verdict>>,
    /// How many calls fail first.
    pub(super) outages: AtomicUsize,
    pub(super) signals: Mutex<Vec<wire::Signal>>,
    pub(super) people: Mutex<HashMap<FindQuery, wire::Person>>,
    /// What is answered to every question about a group.
    pub(super) groups: Mutex<HashMap<GroupId, wire::read_group_response::What>>,
    /// Files by key.
    pub(super) files: Mutex<HashMap<[u8; 16], Vec<u8>>>,
    pub(super) files_asked: Mutex<Vec<(DomainName, FileQuery)>>,
    /// Entries that came without words.
    pub(super) unshown: AtomicUsize,
    pub(super) find_delay: Mutex<Duration>,
    pub(super) finds: AtomicUsize,
}

impl MemoryLocal {
    /// The messages taken, in order, by number.
    pub(super) fn taken(&self) -> Vec<u8> {
        let taken = self.taken.lock();
        taken.iter().map(|(_, id)| id.as_bytes()[0]).collect()
    }

    /// True when nothing a peer did had any effect.
    pub(super) fn is_untouched(&self) -> bool {
        self.taken.lock().is_empty()
            && self.received.lock().is_empty()
            && self.signals.lock().is_empty()
            && self.finds.load(Ordering::SeqCst) == 0
    }

    fn decide(&self, origin: &DomainName, item: &Incoming) -> Verdict {
        let id = match &item.item {
            Arrived::Envelope(opened) => opened.header.message_id,
            Arrived::Entry(entry) => {
                let unshown = usize::from(entry.payload.is_none());
                self.unshown.fetch_add(unshown, Ordering::SeqCst);
                entry.header.message_id
            }
        };
        let key = (origin.clone(), id);
        if let Some(verdict) = self.verdicts.lock().remove(&key.1) {
            return verdict;
        }
        if !self.seen.lock().insert(key.clone()) {
            return Verdict::Duplicate;
        }
        self.taken.lock().push(key);
        Verdict::Ok
    }
}

#[async_trait]
impl Local for MemoryLocal {
    async fn deliver(
        &self,
        origin: &DomainName,
        epoch: u64,
        items: Vec<Incoming>,
        decided: u64,
    ) -> Result<Vec<Verdict>, Unavailable> {
        let less = |count: usize| count.checked_sub(1);
        let order = Ordering::SeqCst;
        if self.outages.fetch_update(order, order, less).is_ok() {
            return Err(Unavailable("a test wants it".to_owned()));
        }
        let position = StreamPosition {
            epoch,
            position: decided,
        };
        self.received.lock().insert(origin.clone(), position);
        Ok(items.iter().map(|it| self.decide(origin, it)).collect())
    }

    async fn received(&self, origin: &DomainName) -> Result<StreamPosition, Unavailable> {
        Ok(self
            .received
            .lock()
            .get(origin)
            .copied()
            .unwrap_or_default())
    }

    async fn signals(&self, _origin: &DomainName, signals: Vec<wire::Signal>) {
        self.signals.lock().extend(signals);
    }

    async fn find(
        &self,
        _peer: &DomainName,
        query: FindQuery,
    ) -> Result<Option<wire::Person>, Unavailable> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        let delay = *self.find_delay.lock();
        sleep(delay).await;
        Ok(self.people.lock().get(&query).cloned())
    }

    async fn read_group(
        &self,
        _peer: &DomainName,
        group: GroupId,
        query: GroupQuery,
    ) -> Result<Option<wire::read_group_response::What>, Unavailable> {
        let _asked = query;
        Ok(self.groups.lock().get(&group).cloned())
    }

    async fn read_file(
        &self,
        peer: &DomainName,
        query: FileQuery,
    ) -> Result<Option<FileOffer>, Unavailable> {
        self.files_asked.lock().push((peer.clone(), query));
        let file = self.files.lock().get(&query.key).cloned();
        Ok(file.map(|file| {
            let start = usize::try_from(query.offset).unwrap().min(file.len());
            let head = FileHead {
                size: file.len() as u64,
                sha256: [9; 32],
                mime: "image/png".to_owned(),
                name: "x.png".to_owned(),
            };
            let bytes = Bytes::from(file).split_off(start);
            let chunks = [Ok(bytes)].into_iter().filter(|it| {
                let it: &Result<Bytes, Unavailable> = it;
                it.as_ref().is_ok_and(|it| !it.is_empty())
            });
            FileOffer {
                left: head.size - start as u64,
                head,
                bytes: stream::iter(chunks.collect::<Vec<_>>()).boxed(),
            }
        }))
    }
}

/// An outbox that is lost with the test.
#[derive(Default)]
pub(super) struct MemoryOutbox {
    rows: Mutex<HashMap<DomainName, BTreeMap<u64, Row>>>,
    settled: Mutex<Vec<(u64, Verdict)>>,
    heard: Mutex<Vec<StreamPosition>>,
    /// What was handed out since all was looked at.
    handed: Mutex<HashMap<DomainName, HashSet<u64>>>,
}

struct Row {
    envelope: Envelope,
    placed: Option<Placed>,
    due: Timestamp,
}

impl MemoryOutbox {
    pub(super) fn push(&self, peer: &DomainName, envelope: Envelope) {
        self.push_entry(peer, envelope, None);
    }

    /// The same with an entry of a group's log.
    pub(super) fn push_entry(&self, peer: &DomainName, envelope: Envelope, placed: Option<Placed>) {
        let mut rows = self.rows.lock();
        let rows = rows.entry(peer.clone()).or_default();
        let position = rows.keys().next_back().map_or(1, |last| last + 1);
        let due = Timestamp::EPOCH;
        let row = Row {
            envelope,
            placed,
            due,
        };
        rows.insert(position, row);
    }

    fn due(&self, peer: &DomainName, now: Timestamp, items_max: usize) -> Vec<Outgoing> {
        let (rows, mut handed) = (self.rows.lock(), self.handed.lock());
        let handed = handed.entry(peer.clone()).or_default();
        let due = rows.get(peer).into_iter().flatten();
        let due = due.filter(|(position, row)| !handed.contains(*position) && row.due <= now);
        let items = due.take(items_max).map(|(&position, row)| Outgoing {
            position,
            envelope: row.envelope.clone(),
            placed: row.placed.clone(),
        });
        let items: Vec<_> = items.collect();
        handed.extend(items.iter().map(|it| it.position));
        items
    }

    /// True when nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.lock().values().all(BTreeMap::is_empty)
    }

    /// What peers said about how far they had decided it, at each hello.
    pub(super) fn heard(&self) -> Vec<StreamPosition> {
        self.heard.lock().clone()
    }

    /// Verdicts in the order they were settled.
    pub(super) fn settled(&self) -> Vec<(u64, Verdict)> {
        self.settled.lock().clone()
    }
}

#[async_trait]
impl Outbox for MemoryOutbox {
    async fn peers(&self) -> Result<Vec<DomainName>, Unavailable> {
        Ok(self.rows.lock().keys().cloned().collect())
    }

    async fn offering(&self, _peer: &DomainName, _last: u64) -> Result<u64, Unavailable> {
        Ok(7)
    }

    async fn next(
        &self,
        peer: &DomainName,
        now: Timestamp,
        items_max: usize,
        _bytes_max: usize,
    ) -> Result<Vec<Outgoing>, Unavailable> {
        self.handed.lock().remove(peer);
        Ok(self.due(peer, now, items_max))
    }

    async fn behind(
        &self,
        peer: &DomainName,
        now: Timestamp,
        items_max: usize,
        _bytes_max: usize,
    ) -> Result<Vec<Outgoing>, Unavailable> {
        Ok(self.due(peer, now, items_max))
    }

    async fn settle(
        &self,
        peer: &DomainName,
        now: Timestamp,
        verdicts: Vec<(u64, Verdict)>,
    ) -> Result<(), Unavailable> {
        let mut rows = self.rows.lock();
        let rows = rows.get_mut(peer).unwrap();
        for (position, verdict) in &verdicts {
            match verdict {
                Verdict::Later { retry_after, .. } => {
                    rows.get_mut(position).unwrap().due = now.plus(*retry_after);
                }
                _ => drop(rows.remove(position).unwrap()),
            }
        }
        self.settled.lock().extend(verdicts);
        Ok(())
    }

    async fn has_lost(&self, _peer: &DomainName, _: StreamPosition) -> Result<bool, Unavailable> {
        Ok(false)
    }

    async fn heard(&self, _peer: &DomainName, word: StreamPosition) -> Result<bool, Unavailable> {
        self.heard.lock().push(word);
        Ok(self.heard.lock().len() == 1)
    }

    async fn next_due(&self, peer: &DomainName) -> Result<Option<Timestamp>, Unavailable> {
        let rows = self.rows.lock();
        let rows = rows.get(peer).into_iter().flat_map(BTreeMap::values);
        Ok(rows.map(|row| row.due).min())
    }
}

/// Moves a domain's time.
pub(super) fn later(house: &House, by: Duration) {
    house.clock.advance(by);
    assert!(house.clock.now() > start_time());
}
