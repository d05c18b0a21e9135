//! The directory as the rest of the server uses it: a domain's record, and where to connect.
//!
//! Invariant: a record is handed out only after it was verified under an anchored root key, and a
//! domain's serial never goes back.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use freehold_keys::{RecordFault, VerifiedRecord};
use freehold_proto::{Clock, DomainName, limits::DEFAULT_PORT};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    AnchorLevel, Config, DirectoryError, Pin, PinError, Pins, ResolveError, StaticPeer, Trust,
    address_filter::AddressFilter,
    anchor::{Anchor, Judgement, from_txt, judge},
    budget::Budget,
    dns::Dns,
    fetch,
    srv::{SrvRow, order},
};

/// SRV targets of one domain that are considered.
const TARGETS_MAX: usize = 8;
/// Addresses of one domain that are considered.
const ADDRESSES_MAX: usize = 16;
/// Records kept in memory; the pins hold all of them.
const KNOWN_MAX: usize = 4096;
/// Look-ups on behalf of strangers that run at once.
const STRANGERS_MAX: usize = 16;
/// Time for a whole look-up, all addresses together.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a domain can be reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The host name it was found under.
    pub host: String,
    /// Where to connect. Has passed the address filter.
    pub address: SocketAddr,
}

/// Finds other domains.
pub struct Directory {
    trust: Trust,
    static_peers: HashMap<DomainName, StaticPeer>,
    filter: AddressFilter,
    dns: Dns,
    tls: Arc<ClientConfig>,
    pins: Arc<dyn Pins>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<DomainName, Arc<Known>>>,
    budget: Mutex<Budget>,
    strangers: Semaphore,
    flights: Mutex<HashMap<DomainName, Weak<AsyncMutex<()>>>>,
    // Domains for which an alarm was raised: once is enough, and nothing that a peer does repeats it.
    alarmed: Mutex<HashSet<DomainName>>,
}

/// A domain met before.
#[derive(Debug)]
struct Known {
    record: Arc<VerifiedRecord>,
    anchor: Anchor,
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
        Ok(Self {
            trust: config.trust,
            static_peers,
            filter: AddressFilter::new(config.allowed_ranges),
            dns: Dns::new(config.nameserver),
            tls: fetch::tls().map_err(|error| DirectoryError::Tls(error.to_string()))?,
            pins,
            clock,
            known: Mutex::default(),
            budget: Mutex::new(Budget::new(config.negative_cache)),
            strangers: Semaphore::new(STRANGERS_MAX),
            flights: Mutex::default(),
            alarmed: Mutex::default(),
        })
    }

    /// The record of a domain that *we* want to talk to: the pinned one, or that of a first contact.
    pub async fn peer(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        if let Some(record) = self.current(domain).await? {
            return Ok(record);
        }
        let _flight = self.flight(domain).await;
        match self.current(domain).await? {
            Some(record) => Ok(record),
            None => self.find_unless_it_just_failed(domain).await,
        }
    }

    /// The record of a domain that somebody *claims* to be, naming the hash of its record. What a
    /// claim can make us look up is rationed; a known domain is answered for in any case.
    pub async fn claimed(
        &self,
        domain: &DomainName,
        record_hash: &[u8; 32],
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, |record| record.hash() == *record_hash)
            .await
    }

    /// The record of a domain that somebody else speaks of. Looked up within the ration of
    /// [`Directory::claimed`]; a known domain is answered for in any case.
    pub async fn mentioned(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, |_| true).await
    }

    /// The record of a domain of which something unknown to our copy has been seen, such as a key.
    /// Fetched anew within the ration of [`Directory::claimed`]; beyond it, our copy.
    pub async fn rechecked(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, |_| false).await
    }

    async fn on_the_word_of_others(
        &self,
        domain: &DomainName,
        suffices: impl Fn(&VerifiedRecord) -> bool,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let suffices = |record: &Arc<VerifiedRecord>| suffices(record);
        if let Some(record) = self.current(domain).await?.filter(suffices) {
            return Ok(record);
        }
        let _flight = self.flight(domain).await;
        let current = self.current(domain).await?;
        if let Some(record) = current.clone().filter(suffices) {
            return Ok(record);
        }
        let found = match self.strangers.try_acquire() {
            Ok(_permit) if self.admit_stranger(domain) => self.find(domain).await,
            _ => Err(ResolveError::Busy),
        };
        match (found, current) {
            (Ok(record), _) => Ok(record),
            (Err(error @ ResolveError::AnchorsDisagree { .. }), _) | (Err(error), None) => {
                Err(error)
            }
            (Err(error), Some(record)) => {
                tracing::info!(peer = %domain, %error, "its newer record cannot be had yet");
                Ok(record)
            }
        }
    }

    /// Fetches the record again and accepts a newer one under the same root.
    pub async fn refresh(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let _flight = self.flight(domain).await;
        self.find_unless_it_just_failed(domain).await
    }

    /// Addresses to try now, in this order.
    pub async fn targets(&self, domain: &DomainName) -> Result<Vec<Target>, ResolveError> {
        let fixed = self
            .static_peers
            .get(domain)
            .and_then(|it| it.address.as_ref());
        if let Some((host, port)) = fixed {
            let found = match host.parse::<IpAddr>() {
                Ok(address) => vec![address],
                Err(_) => self.dns.addresses(host, true).await?,
            };
            let found = found.into_iter().map(|it| (host.clone(), it, *port));
            return self.filtered(found.collect());
        }
        let rows = self.dns.services(domain).await?;
        if rows.iter().any(|row| row.target.is_empty()) {
            return Err(ResolveError::ServiceRefused);
        }
        if rows.is_empty() {
            let found = self.dns.addresses(domain.as_str(), true).await?;
            let found = found
                .into_iter()
                .map(|it| (domain.to_string(), it, DEFAULT_PORT));
            return self.filtered(found.collect());
        }
        self.filtered(self.service_addresses(order(rows, random_up_to)).await?)
    }

    /// The addresses behind SRV rows. A target that cannot be resolved only loses its turn.
    async fn service_addresses(
        &self,
        rows: Vec<SrvRow>,
    ) -> Result<Vec<(String, IpAddr, u16)>, ResolveError> {
        let mut found = Vec::new();
        let mut failure = None;
        for row in rows.into_iter().take(TARGETS_MAX) {
            match self.dns.addresses(&row.target, false).await {
                Ok(addresses) => {
                    let addresses = addresses.into_iter();
                    found.extend(addresses.map(|it| (row.target.clone(), it, row.port)));
                }
                Err(error) => failure = Some(error),
            }
            if found.len() >= ADDRESSES_MAX {
                break;
            }
        }
        match failure {
            Some(error) if found.is_empty() => Err(error),
            _ => Ok(found),
        }
    }

    fn filtered(&self, found: Vec<(String, IpAddr, u16)>) -> Result<Vec<Target>, ResolveError> {
        let mut targets = Vec::new();
        let mut refused = None;
        for (host, address, port) in found.into_iter().take(ADDRESSES_MAX) {
            match self.filter.check(address) {
                Ok(()) => targets.push(Target {
                    host,
                    address: SocketAddr::new(address, port),
                }),
                Err(kind) => {
                    refused.get_or_insert(ResolveError::AddressRefused { address, kind });
                }
            }
        }
        match refused {
            _ if !targets.is_empty() => Ok(targets),
            Some(error) => Err(error),
            None => Err(ResolveError::NoAddress),
        }
    }

    /// The known record, if it has not expired.
    async fn current(
        &self,
        domain: &DomainName,
    ) -> Result<Option<Arc<VerifiedRecord>>, ResolveError> {
        let known = self.known(domain).await?;
        let fresh = |it: &Arc<VerifiedRecord>| it.record().expires > self.clock.now();
        Ok(known.map(|it| Arc::clone(&it.record)).filter(fresh))
    }

    /// What memory or the pins hold of a domain. The static table may have changed since: it is asked
    /// before a pin is believed.
    async fn known(&self, domain: &DomainName) -> Result<Option<Arc<Known>>, ResolveError> {
        if let Some(known) = self.known.lock().get(domain) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(mut pin) = self.pins.load(domain).await? else {
            return Ok(None);
        };
        let record = VerifiedRecord::verify_stored(&pin.record, domain, &pin.root_fingerprint)
            .map_err(|fault| PinError(format!("the pin of {domain} is damaged: {fault}")))?;
        if let Some(row) = self.static_peers.get(domain) {
            let relied = Anchor {
                fingerprint: pin.root_fingerprint,
                level: pin.anchor,
            };
            self.weigh(domain, relied, admin(row))?;
            if pin.anchor < AnchorLevel::Admin {
                pin.anchor = AnchorLevel::Admin;
                self.pins.save(pin.clone()).await?;
            }
        }
        let known = Known {
            record: Arc::new(record),
            anchor: Anchor {
                fingerprint: pin.root_fingerprint,
                level: pin.anchor,
            },
        };
        Ok(Some(self.remember(domain, known)))
    }

    fn remember(&self, domain: &DomainName, known: Known) -> Arc<Known> {
        let known = Arc::new(known);
        let mut all = self.known.lock();
        if all.len() >= KNOWN_MAX
            && let Some(any) = all.keys().next().cloned()
        {
            all.remove(&any);
        }
        all.insert(domain.clone(), Arc::clone(&known));
        known
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

    async fn look_up(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let known = self.known(domain).await?;
        let anchor = match &known {
            Some(known) => {
                self.hear_dns(domain, known.anchor).await?;
                known.anchor
            }
            None => self.first_anchor(domain).await?,
        };
        let record = self.fetch(domain, &anchor).await?;
        if let Some(known) = known {
            record.may_follow(&known.record)?;
            if record.hash() == known.record.hash() {
                return Ok(Arc::clone(&known.record));
            }
        }
        self.pins
            .save(Pin {
                domain: domain.clone(),
                record: record.to_bytes(),
                root_fingerprint: anchor.fingerprint,
                anchor: anchor.level,
                pinned_at: self.clock.now(),
            })
            .await?;
        let serial = record.record().serial;
        tracing::info!(peer = %domain, serial, anchor = %anchor.level, "identity record pinned");
        let record = Arc::new(record);
        let known = Known {
            record: Arc::clone(&record),
            anchor,
        };
        self.remember(domain, known);
        Ok(record)
    }

    /// Who vouches for a domain never met.
    async fn first_anchor(&self, domain: &DomainName) -> Result<Anchor, ResolveError> {
        if let Some(row) = self.static_peers.get(domain) {
            return Ok(admin(row));
        }
        if self.trust == Trust::Pinned {
            return Err(ResolveError::NoAnchor(
                "it is not in the static table, and DNS alone is not trusted here",
            ));
        }
        match from_txt(&self.dns.anchors(domain).await?)? {
            Some(fingerprint) => Ok(Anchor {
                fingerprint,
                level: AnchorLevel::Dns,
            }),
            None => Err(ResolveError::NoAnchor("it has no _freehold TXT record")),
        }
    }

    /// Compares the TXT record with the anchor relied on, where DNS has a voice. Its silence means
    /// nothing.
    async fn hear_dns(&self, domain: &DomainName, relied: Anchor) -> Result<(), ResolveError> {
        if self.trust == Trust::Pinned {
            return Ok(());
        }
        let Ok(texts) = self.dns.anchors(domain).await else {
            return Ok(());
        };
        match from_txt(&texts) {
            Ok(None) => Ok(()),
            Ok(Some(fingerprint)) => {
                let level = AnchorLevel::Dns;
                self.weigh(domain, relied, Anchor { fingerprint, level })
            }
            Err(error) if relied.level == AnchorLevel::Dns => Err(error),
            Err(error) => {
                self.alarm(domain, &error.to_string());
                Ok(())
            }
        }
    }

    fn weigh(
        &self,
        domain: &DomainName,
        relied: Anchor,
        voice: Anchor,
    ) -> Result<(), ResolveError> {
        let judgement = judge(relied, voice);
        if judgement != Judgement::Agree {
            let (relied, voice) = (relied.level, voice.level);
            self.alarm(
                domain,
                &format!("{voice} names another root key than {relied}"),
            );
        }
        match judgement {
            Judgement::Agree | Judgement::Alarm => Ok(()),
            Judgement::Stop => Err(ResolveError::AnchorsDisagree { level: voice.level }),
        }
    }

    /// Asks each address in turn until one serves a record that can be believed.
    async fn fetch(
        &self,
        domain: &DomainName,
        anchor: &Anchor,
    ) -> Result<VerifiedRecord, ResolveError> {
        let mut failure = ResolveError::NoAddress;
        for target in self.targets(domain).await? {
            match fetch::fetch(&self.tls, domain, &target).await {
                Ok(bytes) => match self.verify(&bytes, domain, anchor) {
                    Ok(record) => return Ok(record),
                    Err(fault) => failure = fault.into(),
                },
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn alarm(&self, domain: &DomainName, why: &str) {
        let mut alarmed = self.alarmed.lock();
        if alarmed.len() < KNOWN_MAX && alarmed.insert(domain.clone()) {
            tracing::error!(peer = %domain, why, "ALARM: the identity of a peer is disputed");
        }
    }

    fn verify(
        &self,
        bytes: &[u8],
        domain: &DomainName,
        anchor: &Anchor,
    ) -> Result<VerifiedRecord, RecordFault> {
        VerifiedRecord::verify(bytes, domain, &anchor.fingerprint, self.clock.now())
    }

    fn admit_stranger(&self, domain: &DomainName) -> bool {
        self.budget.lock().admit_stranger(domain, Instant::now())
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

fn admin(row: &StaticPeer) -> Anchor {
    Anchor {
        fingerprint: row.root_fingerprint,
        level: AnchorLevel::Admin,
    }
}

/// A random number from 0 to `max`. Spreads load; nobody's safety depends on it.
fn random_up_to(max: u32) -> u32 {
    let range = u64::from(max) + 1;
    let drawn = u64::from(getrandom::u32().unwrap_or(0));
    u32::try_from((drawn * range) >> 32).unwrap_or(0)
}
