//! The directory as the rest of the server uses it: a domain's record, and where to connect.
//!
//! Invariant: a record is handed out only after it was verified under an anchored root key, and a
//! domain's serial never goes back.

mod alarms;
mod documents;
mod listed;
mod lives;
mod memory;
mod observe;
mod outside;
mod targets;
mod voices;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use freehold_keys::{RecordFault, VerifiedRecord};
use freehold_proto::{Clock, DomainName, freshness::RENEW_AFTER};
pub use listed::{Heard, Listed};
pub use observe::{Observation, TxtAnchor};
pub(crate) use outside::{NotReached, retry_after};
use parking_lot::Mutex;
use rustls::ClientConfig;
pub use targets::Target;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore},
    time::{Instant, timeout},
};

use self::{
    alarms::Alarms,
    memory::{Known, Memory},
};
use crate::{
    AnchorLevel, Config, DirectoryError, Life, NodeAddress, Pin, PinError, Pins, ResolveError,
    StaticPeer, Trust, address_filter::AddressFilter, budget::Budget, dns::Dns, fetch::Wanted,
    secure::Vouching, well_known,
};

/// Look-ups on behalf of strangers that run at once.
const STRANGERS_MAX: usize = 16;
/// Time for a whole look-up, all addresses together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Finds other domains.
pub struct Directory {
    trust: Trust,
    static_peers: HashMap<DomainName, StaticPeer>,
    filter: AddressFilter,
    dns: Dns,
    vouching: Vouching,
    nodes: Vec<NodeAddress>,
    records: Wanted,
    client_documents: Wanted,
    web_tls: Arc<ClientConfig>,
    web_port: u16,
    pins: Arc<dyn Pins>,
    clock: Arc<dyn Clock>,
    known: Memory,
    budget: Mutex<Budget>,
    strangers: Semaphore,
    returning: Semaphore,
    /// The same for what people search: it holds up nobody's hello.
    searched: (Semaphore, Mutex<Budget>),
    flights: Mutex<HashMap<DomainName, Weak<AsyncMutex<()>>>>,
    alarms: Alarms,
}

/// On whose word a domain is looked up.
#[derive(Clone, Copy)]
enum Word {
    /// A peer's.
    Peers,
    /// A node's, that found it for somebody who searched.
    Nodes,
}

/// How far the record that we have of a domain will do.
enum Standing {
    /// It counts.
    Good(Arc<VerifiedRecord>),
    /// It counts, and it is time to ask for a newer one.
    Due(Arc<VerifiedRecord>),
    /// There is none that counts.
    Gone,
}

impl Directory {
    /// A directory over the given pins.
    pub fn new(
        config: Config,
        pins: Arc<dyn Pins>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DirectoryError> {
        let mut static_peers = HashMap::new();
        for peer in config.static_peers {
            if let Some(twice) = static_peers.insert(peer.domain.clone(), peer) {
                return Err(DirectoryError::Twice(twice.domain));
            }
        }
        let tls = |error: rustls::Error| DirectoryError::Tls(error.to_string());
        Ok(Self {
            trust: config.trust,
            static_peers,
            filter: AddressFilter::new(config.allowed_ranges),
            dns: Dns::new(config.nameserver),
            vouching: Vouching::new(config.dnssec, config.nameserver)?,
            nodes: config.nodes,
            records: Wanted::record().map_err(tls)?,
            client_documents: Wanted::client_document().map_err(tls)?,
            web_tls: well_known::tls(config.well_known_ca.as_deref())?,
            web_port: config.well_known_port,
            pins,
            clock,
            known: Memory::default(),
            budget: Mutex::new(Budget::new(config.negative_cache)),
            strangers: Semaphore::new(STRANGERS_MAX),
            returning: Semaphore::new(STRANGERS_MAX),
            searched: (
                Semaphore::new(STRANGERS_MAX),
                Mutex::new(Budget::new(config.negative_cache)),
            ),
            flights: Mutex::default(),
            alarms: Alarms::default(),
        })
    }

    /// The record of a domain that *we* want to talk to: the pinned one, asked for anew once a day, or
    /// that of a first contact.
    pub async fn peer(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        if let Standing::Good(record) = self.standing(domain).await? {
            return Ok(record);
        }
        let _flight = self.flight(domain).await;
        match self.standing(domain).await? {
            Standing::Good(record) => Ok(record),
            Standing::Gone => self.find_unless_it_just_failed(domain).await,
            Standing::Due(record) => match self.find_unless_it_just_failed(domain).await {
                Err(error) if !error.is_dispute() => Ok(still_good(domain, &error, record)),
                found => found,
            },
        }
    }

    /// The record of a domain that has proven itself to us before: the pinned one as long as it counts.
    pub async fn proven(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        match self.standing(domain).await? {
            Standing::Good(record) | Standing::Due(record) => Ok(record),
            Standing::Gone => self.peer(domain).await,
        }
    }

    /// The record of a domain as far as it is in memory, whether it counts or not.
    #[must_use]
    pub fn remembered(&self, domain: &DomainName) -> Option<Arc<VerifiedRecord>> {
        self.known.get(domain).map(|it| Arc::clone(&it.record))
    }

    /// Why the identity of a domain is disputed, if it is.
    #[must_use]
    pub fn dispute(&self, domain: &DomainName) -> Option<String> {
        self.alarms.of(domain)
    }

    /// The record of a domain that somebody *claims* to be, naming the hash of its record. What a
    /// claim can make us look up is rationed; a known domain is answered for in any case.
    pub async fn claimed(
        &self,
        domain: &DomainName,
        record_hash: &[u8; 32],
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let shown = |record: &VerifiedRecord, due: bool| !due && record.hash() == *record_hash;
        self.on_the_word_of_others(domain, Word::Peers, shown).await
    }

    /// The record of a domain that somebody else speaks of. Looked up within the ration of
    /// [`Directory::claimed`]; a known domain is answered for in any case.
    pub async fn mentioned(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, Word::Peers, |_, _| true)
            .await
    }

    /// The record of a domain that nodes of the public directory name to somebody who searches. Looked up
    /// within a ration of its own; a known domain is answered for in any case.
    async fn searched(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, Word::Nodes, |_, _| true)
            .await
    }

    /// The record of a domain of which something unknown to our copy has been seen, such as a key.
    /// Fetched anew within the ration of [`Directory::claimed`]; beyond it, our copy.
    pub async fn rechecked(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, Word::Peers, |_, _| false)
            .await
    }

    async fn on_the_word_of_others(
        &self,
        domain: &DomainName,
        word: Word,
        suffices: impl Fn(&VerifiedRecord, bool) -> bool,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let sufficient = |standing: &Standing| match standing {
            Standing::Good(record) if suffices(record, false) => Some(Arc::clone(record)),
            Standing::Due(record) if suffices(record, true) => Some(Arc::clone(record)),
            _ => None,
        };
        if let Some(record) = sufficient(&self.standing(domain).await?) {
            return Ok(record);
        }
        let _flight = self.flight(domain).await;
        let standing = self.standing(domain).await?;
        if let Some(record) = sufficient(&standing) {
            return Ok(record);
        }
        let met = self.remembered(domain).is_some();
        let current = match standing {
            Standing::Good(record) | Standing::Due(record) => Some(record),
            Standing::Gone => None,
        };
        let (places, budget) = match word {
            Word::Nodes => (&self.searched.0, &self.searched.1),
            Word::Peers if met => (&self.returning, &self.budget),
            Word::Peers => (&self.strangers, &self.budget),
        };
        let admitted = || budget.lock().admit_stranger(domain, met, Instant::now());
        let found = match places.try_acquire() {
            Ok(_permit) if admitted() => self.find(domain).await,
            _ => Err(ResolveError::Busy),
        };
        match (found, current) {
            (Ok(record), _) => Ok(record),
            (Err(error), None) => Err(error),
            (Err(error), _) if error.is_dispute() => Err(error),
            (Err(error), Some(record)) => Ok(still_good(domain, &error, record)),
        }
    }

    /// Fetches the record again and accepts a newer one under the same root.
    pub async fn refresh(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let _flight = self.flight(domain).await;
        self.find_unless_it_just_failed(domain).await
    }

    /// An administrator vouches for the root key of a domain. If it is another than the one known, and
    /// does not follow from it, the domain begins a new life.
    pub async fn vouch(
        &self,
        domain: &DomainName,
        fingerprint: [u8; 32],
    ) -> Result<(), ResolveError> {
        let _flight = self.flight(domain).await;
        let known = self.known(domain).await?;
        let before = self.pins.load(domain).await?;
        let follows = match (&known, &before) {
            (Some(known), _) => {
                let next = known.record.record().next_root_hash;
                known.record.has_root(&fingerprint) || next == fingerprint
            }
            (None, Some(pin)) => pin.root_fingerprint == fingerprint,
            (None, None) => true,
        };
        let now = self.clock.now();
        let life = before.as_ref().map_or(Life::first(now), |it| it.life);
        let held = known.is_some_and(|it| it.record.has_root(&fingerprint));
        let pin = match before {
            Some(pin) if held || (follows && pin.record.is_empty()) => Pin {
                anchor: AnchorLevel::Admin,
                hold: None,
                ..pin
            },
            _ => Pin {
                domain: domain.clone(),
                record: Vec::new(),
                root_fingerprint: fingerprint,
                anchor: AnchorLevel::Admin,
                pinned_at: now,
                life: life.or_next(follows, now),
                hold: None,
            },
        };
        self.replace(pin).await
    }

    /// Does the static table vouch for another root key of a domain?
    #[must_use]
    pub fn disagrees_with_table(&self, domain: &DomainName, fingerprint: &[u8; 32]) -> bool {
        let row = self.static_peers.get(domain);
        row.is_some_and(|it| it.root_fingerprint != *fingerprint)
    }

    /// Forgets a domain but for which life it was in, as if it had never been met. False when it never
    /// was.
    pub async fn forget(&self, domain: &DomainName) -> Result<bool, ResolveError> {
        let _flight = self.flight(domain).await;
        let Some(pin) = self.pins.load(domain).await? else {
            return Ok(false);
        };
        self.replace(Pin {
            record: Vec::new(),
            anchor: AnchorLevel::FirstUse,
            hold: None,
            ..pin
        })
        .await?;
        Ok(true)
    }

    async fn replace(&self, pin: Pin) -> Result<(), ResolveError> {
        let domain = pin.domain.clone();
        self.pins.save(pin).await?;
        self.known.remove(&domain);
        self.alarms.forget(&domain);
        self.budget.lock().forget(&domain);
        Ok(())
    }

    /// How far the record that we have will do now.
    async fn standing(&self, domain: &DomainName) -> Result<Standing, ResolveError> {
        let now = self.clock.now();
        let Some(known) = self.known(domain).await? else {
            return Ok(Standing::Gone);
        };
        let record = Arc::clone(&known.record);
        let word = record.freshness().map(|it| it.statement().clone());
        Ok(match word {
            Some(word) if word.expires > now && record.record().expires > now => {
                match word.issued.plus(RENEW_AFTER) > now {
                    true => Standing::Good(record),
                    false => Standing::Due(record),
                }
            }
            _ => Standing::Gone,
        })
    }

    /// What memory or the pins hold of a domain. The static table may have changed since: it is asked
    /// before a pin is believed.
    async fn known(&self, domain: &DomainName) -> Result<Option<Arc<Known>>, ResolveError> {
        if let Some(known) = self.known.get(domain) {
            return Ok(Some(known));
        }
        let changes = self.known.changes();
        let Some(mut pin) = self.pins.load(domain).await? else {
            return Ok(None);
        };
        if pin.record.is_empty() {
            return Ok(None);
        }
        let record = VerifiedRecord::verify_stored(&pin.record, domain, &pin.root_fingerprint)
            .map_err(|fault| PinError(format!("the pin of {domain} is damaged: {fault}")))?;
        if let Some(row) = self.static_peers.get(domain) {
            let next = record.record().next_root_hash;
            let follows = |it: &[u8; 32]| record.has_root(it) || next == *it;
            self.weigh(domain, pin.anchor, voices::admin(row), follows)?;
            pin.anchor = AnchorLevel::Admin;
        }
        let known = Known {
            record: Arc::new(record),
            level: pin.anchor,
            life: pin.life,
            hold: pin.hold,
        };
        Ok(Some(self.known.recall(domain, known, changes)))
    }

    async fn find_unless_it_just_failed(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let remembered = self.budget.lock().remembered(domain, Instant::now());
        match remembered {
            Some(error) => Err(error),
            None => self.find(domain).await,
        }
    }

    /// Looks a domain up and remembers a failure. The caller holds the flight of `domain`, and has
    /// made sure in its own way that this does not happen too often: claims are rationed, but not
    /// turned down for a failure of ours, because a peer that comes back makes itself known first.
    async fn find(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let found = match timeout(LOOKUP_TIMEOUT, self.look_up(domain)).await {
            Ok(found) => found,
            Err(_) => Err(ResolveError::Fetch("the look-up takes too long".to_owned())),
        };
        let mut budget = self.budget.lock();
        match &found {
            Ok(_) => budget.succeeded(domain),
            Err(ResolveError::Pins(_)) => {}
            Err(error) => budget.failed(domain, error.clone(), Instant::now()),
        }
        found
    }

    fn verify(
        &self,
        bytes: &[u8],
        domain: &DomainName,
        root: &[u8; 32],
    ) -> Result<VerifiedRecord, RecordFault> {
        VerifiedRecord::verify(bytes, domain, root, self.clock.now())
    }

    /// Waits until nobody else looks up `domain`. Dropping the guard, also by giving up half-way,
    /// lets the next one try.
    async fn flight(&self, domain: &DomainName) -> OwnedMutexGuard<()> {
        let turn = {
            let mut flights = self.flights.lock();
            match flights.get(domain).and_then(Weak::upgrade) {
                Some(turn) => turn,
                None => {
                    flights.retain(|_, turn| turn.strong_count() > 0);
                    let turn = Arc::new(AsyncMutex::new(()));
                    flights.insert(domain.clone(), Arc::downgrade(&turn));
                    turn
                }
            }
        };
        turn.lock_owned().await
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory")
            .field("trust", &self.trust)
            .finish_non_exhaustive()
    }
}

fn still_good(
    domain: &DomainName,
    error: &ResolveError,
    record: Arc<VerifiedRecord>,
) -> Arc<VerifiedRecord> {
    tracing::info!(peer = %domain, %error, "its newer record cannot be had yet");
    record
}
