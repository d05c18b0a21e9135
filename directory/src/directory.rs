//! The directory as the rest of the server uses it: a domain's record, and where to connect.
//!
//! Invariant: a record is handed out only after it was verified under an anchored root key, and a
//! domain's serial never goes back.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak},
    time::Duration,
};

use freehold_keys::{RecordFault, VerifiedRecord};
use freehold_proto::{Clock, DomainName, freshness::RENEW_AFTER, limits::DEFAULT_PORT};
use parking_lot::Mutex;
use rustls::ClientConfig;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    AnchorLevel, Config, DirectoryError, Hold, Life, Pin, PinError, Pins, ResolveError, StaticPeer,
    Trust,
    address_filter::AddressFilter,
    anchor::{self, Anchor, Judgement, Reset, Voices, counts, from_txt, judge, judge_reset},
    budget::Budget,
    dns::Dns,
    fetch, secure,
    srv::{SrvRow, order},
    well_known,
};

/// SRV targets of one domain that are considered.
const TARGETS_MAX: usize = 8;
/// Addresses of one domain that are considered.
const ADDRESSES_MAX: usize = 16;
/// Records kept in memory; the pins hold all of them.
const KNOWN_MAX: usize = 4096;
/// Look-ups on behalf of strangers that run at once.
const STRANGERS_MAX: usize = 16;
/// Reasons for an alarm about one domain that are kept.
const REASONS_MAX: usize = 4;
/// Addresses of a domain's web server that are asked.
const WEB_ADDRESSES_MAX: usize = 2;
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
    dnssec_resolver: Option<SocketAddr>,
    tls: Arc<ClientConfig>,
    web_tls: Arc<ClientConfig>,
    web_port: u16,
    pins: Arc<dyn Pins>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<DomainName, Arc<Known>>>,
    budget: Mutex<Budget>,
    strangers: Semaphore,
    returning: Semaphore,
    flights: Mutex<HashMap<DomainName, Weak<AsyncMutex<()>>>>,
    // Why alarms were raised for a domain: each reason once, and nothing that a peer does repeats it.
    alarmed: Mutex<HashMap<DomainName, Vec<String>>>,
}

/// A domain met before.
#[derive(Debug)]
struct Known {
    record: Arc<VerifiedRecord>,
    level: AnchorLevel,
    life: Life,
    hold: Option<Hold>,
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
        Ok(Self {
            trust: config.trust,
            static_peers,
            filter: AddressFilter::new(config.allowed_ranges),
            dns: Dns::new(config.nameserver),
            dnssec_resolver: config.dnssec_resolver,
            tls: fetch::tls().map_err(|error| DirectoryError::Tls(error.to_string()))?,
            web_tls: well_known::tls(config.well_known_ca.as_deref())?,
            web_port: config.well_known_port,
            pins,
            clock,
            known: Mutex::default(),
            budget: Mutex::new(Budget::new(config.negative_cache)),
            strangers: Semaphore::new(STRANGERS_MAX),
            returning: Semaphore::new(STRANGERS_MAX),
            flights: Mutex::default(),
            alarmed: Mutex::default(),
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
        let known = self.known.lock().get(domain).cloned();
        known.map(|it| Arc::clone(&it.record))
    }

    /// Which life of its name a domain is in, as we have seen it; 1 for one never met.
    pub async fn incarnation(&self, domain: &DomainName) -> Result<u32, ResolveError> {
        Ok(self
            .known(domain)
            .await?
            .map_or(1, |it| it.life.incarnation))
    }

    /// Why the identity of a domain is disputed, if it is.
    #[must_use]
    pub fn dispute(&self, domain: &DomainName) -> Option<String> {
        let alarmed = self.alarmed.lock();
        alarmed.get(domain).map(|reasons| reasons.join("; "))
    }

    /// The record of a domain that somebody *claims* to be, naming the hash of its record. What a
    /// claim can make us look up is rationed; a known domain is answered for in any case.
    pub async fn claimed(
        &self,
        domain: &DomainName,
        record_hash: &[u8; 32],
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let shown = |record: &VerifiedRecord, due: bool| !due && record.hash() == *record_hash;
        self.on_the_word_of_others(domain, shown).await
    }

    /// The record of a domain that somebody else speaks of. Looked up within the ration of
    /// [`Directory::claimed`]; a known domain is answered for in any case.
    pub async fn mentioned(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, |_, _| true).await
    }

    /// The record of a domain of which something unknown to our copy has been seen, such as a key.
    /// Fetched anew within the ration of [`Directory::claimed`]; beyond it, our copy.
    pub async fn rechecked(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.on_the_word_of_others(domain, |_, _| false).await
    }

    async fn on_the_word_of_others(
        &self,
        domain: &DomainName,
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
        let places = if met {
            &self.returning
        } else {
            &self.strangers
        };
        let found = match places.try_acquire() {
            Ok(_permit) if self.admit_stranger(domain, met) => self.find(domain).await,
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
        self.known.lock().remove(&domain);
        self.alarmed.lock().remove(&domain);
        self.budget.lock().forget(&domain);
        Ok(())
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
        if let Some(known) = self.known.lock().get(domain) {
            return Ok(Some(Arc::clone(known)));
        }
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
            self.weigh(domain, pin.anchor, admin(row), follows)?;
            if pin.anchor < AnchorLevel::Admin {
                pin.anchor = AnchorLevel::Admin;
                self.pins.save(pin.clone()).await?;
            }
        }
        let known = Known {
            record: Arc::new(record),
            level: pin.anchor,
            life: pin.life,
            hold: pin.hold,
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
        match self.known(domain).await? {
            Some(known) => self.look_again(domain, &known).await,
            None => self.meet(domain).await,
        }
    }

    /// A domain never met, or forgotten.
    async fn meet(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let before = self.pins.load(domain).await?;
        let anchor = self.first_anchor(domain, before.as_ref()).await?;
        let record = match anchor {
            Some(anchor) => self.fetch(domain, Some(&anchor.fingerprint)).await?,
            None => self.fetch(domain, None).await?,
        };
        let now = self.clock.now();
        let life = before.map_or(Life::first(now), |it| {
            it.life.or_next(record.has_root(&it.root_fingerprint), now)
        });
        let level = anchor.map_or(AnchorLevel::FirstUse, |it| it.level);
        self.keep(domain, record, level, life).await
    }

    /// A domain met before: a newer record under the same root, or one that follows from it.
    async fn look_again(
        &self,
        domain: &DomainName,
        known: &Known,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let root = known.record.root_fingerprint();
        let fetched = self.fetch(domain, Some(&root)).await;
        let fetched = fetched.and_then(|record| {
            record.may_follow(&known.record)?;
            Ok(record)
        });
        let agrees = |it: &[u8; 32]| {
            known.record.has_root(it) || fetched.as_ref().is_ok_and(|record| record.has_root(it))
        };
        let mut voices = Voices::default();
        let heard = self.hear(domain, known.level, &mut voices, agrees).await;
        let fetched = match (fetched, heard) {
            (Ok(record), Ok(level)) => Ok((record, level)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        match fetched {
            Ok((record, level)) => self.keep(domain, record, level, known.life).await,
            Err(error) => {
                if let ResolveError::Record(fault) = &error {
                    self.alarm(domain, &fault.to_string());
                }
                match may_be_a_reset(&error) {
                    true => self.consider_reset(domain, known, voices, error).await,
                    false => Err(error),
                }
            }
        }
    }

    /// Keeps a record that was found good.
    async fn keep(
        &self,
        domain: &DomainName,
        record: VerifiedRecord,
        level: AnchorLevel,
        life: Life,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.pins
            .save(Pin {
                domain: domain.clone(),
                record: record.to_bytes(),
                root_fingerprint: record.root_fingerprint(),
                anchor: level,
                pinned_at: self.clock.now(),
                life,
                hold: None,
            })
            .await?;
        let serial = record.record().serial;
        tracing::info!(peer = %domain, serial, anchor = %level, life = life.incarnation, "identity record pinned");
        let record = Arc::new(record);
        let known = Known {
            record: Arc::clone(&record),
            level,
            life,
            hold: None,
        };
        self.remember(domain, known);
        self.alarmed.lock().remove(domain);
        Ok(record)
    }

    /// What becomes of a domain whose keys, as it seems, are all new. `error` is why it is not simply
    /// believed.
    async fn consider_reset(
        &self,
        domain: &DomainName,
        known: &Known,
        mut voices: Voices,
        error: ResolveError,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        if voices.txt.is_none() || known.level == AnchorLevel::Admin {
            return Err(error);
        }
        voices.well_known = self.well_known(domain).await.ok();
        match judge_reset(known.level, known.hold, &voices, self.clock.now()) {
            Reset::No => {
                // Whoever wants to start anew must not be contradicted meanwhile. Silence is not that.
                if known
                    .hold
                    .is_some_and(|it| voices.contradict(&it.fingerprint))
                {
                    self.hold(domain, known, None).await?;
                }
                Err(error)
            }
            Reset::Hold(hold) => {
                self.hold(domain, known, Some(hold)).await?;
                let until = hold.since.plus(anchor::HOLD);
                Err(ResolveError::OnHold { until })
            }
            Reset::Accept(root) => {
                let record = self.fetch(domain, Some(&root)).await?;
                let strongest = voices.anchors().first().map(|it| it.level);
                let level = strongest.unwrap_or(AnchorLevel::Dns);
                tracing::warn!(peer = %domain, "a peer has started anew with other keys, as DNS and its web server have said for a week: whoever it spoke for before is nobody now");
                let life = known.life.or_next(false, self.clock.now());
                self.keep(domain, record, level, life).await
            }
        }
    }

    async fn hold(
        &self,
        domain: &DomainName,
        known: &Known,
        hold: Option<Hold>,
    ) -> Result<(), PinError> {
        if known.hold == hold {
            return Ok(());
        }
        if let Some(mut pin) = self.pins.load(domain).await? {
            pin.hold = hold;
            self.pins.save(pin).await?;
        }
        let known = Known {
            record: Arc::clone(&known.record),
            hold,
            ..*known
        };
        self.remember(domain, known);
        let Some(hold) = hold else {
            return Ok(());
        };
        let until = hold.since.plus(anchor::HOLD);
        self.alarm(
            domain,
            &format!("all its keys are new, and DNS and its web server say so: watched until {until}; if you know better, use `freehold peer pin` or `freehold peer deny`"),
        );
        Ok(())
    }

    /// Who vouches for a domain never met; nobody where the first contact is enough. `before` is what is
    /// left of an earlier acquaintance.
    async fn first_anchor(
        &self,
        domain: &DomainName,
        before: Option<&Pin>,
    ) -> Result<Option<Anchor>, ResolveError> {
        if let Some(row) = self.static_peers.get(domain) {
            return Ok(Some(admin(row)));
        }
        if let Some(pin) = before.filter(|it| it.anchor == AnchorLevel::Admin) {
            return Ok(Some(Anchor {
                fingerprint: pin.root_fingerprint,
                level: AnchorLevel::Admin,
            }));
        }
        if self.trust == Trust::Pinned {
            return Err(ResolveError::NoAnchor(
                "it is not in the static table, and nobody else is trusted here",
            ));
        }
        let voices = self.voices(domain).await?;
        let anchors = voices.anchors();
        let strongest = anchors.iter().find(|it| counts(it.level, self.trust));
        let Some(strongest) = strongest else {
            return match (self.trust, voices.txt) {
                (Trust::Lan, _) => Ok(None),
                (_, None) => Err(ResolveError::NoAnchor(
                    "it has no _freehold TXT record, and its web server does not vouch for it either",
                )),
                (_, Some(_)) => Err(ResolveError::NoAnchor(
                    "only an unsigned TXT record names it, and that is not trusted here",
                )),
            };
        };
        for voice in &anchors {
            self.weigh(domain, strongest.level, *voice, |it| {
                *it == strongest.fingerprint
            })?;
        }
        Ok(Some(*strongest))
    }

    /// What DNS and, where that is not enough, the domain's web server say.
    async fn voices(&self, domain: &DomainName) -> Result<Voices, ResolveError> {
        let txt = self.txt(domain).await?;
        let enough = txt.is_some_and(|(_, secure)| secure || self.trust != Trust::Verified);
        let well_known = match enough {
            true => None,
            false => match self.well_known(domain).await {
                Ok(fingerprint) => Some(fingerprint),
                Err(error) => {
                    tracing::debug!(peer = %domain, %error, "its web server does not vouch for it");
                    None
                }
            },
        };
        Ok(Voices { txt, well_known })
    }

    /// The root key that the TXT record names, and whether DNSSEC vouches for it.
    async fn txt(&self, domain: &DomainName) -> Result<Option<([u8; 32], bool)>, ResolveError> {
        if let Some(resolver) = self.dnssec_resolver {
            match secure::anchors(resolver, domain).await {
                Ok(texts) => {
                    if let Some(fingerprint) = from_txt(&texts)? {
                        return Ok(Some((fingerprint, true)));
                    }
                }
                // It only lifts what the usual way finds.
                Err(error) => tracing::warn!(%error, fault = "ours", "DNSSEC cannot be asked for"),
            }
        }
        let found = from_txt(&self.dns.anchors(domain).await?)?;
        Ok(found.map(|fingerprint| (fingerprint, false)))
    }

    /// The root key that the domain's web server names.
    async fn well_known(&self, domain: &DomainName) -> Result<[u8; 32], ResolveError> {
        let mut failure = ResolveError::NoAddress;
        let found = self.dns.addresses(domain.as_str(), true).await?;
        let found = found.into_iter().take(WEB_ADDRESSES_MAX);
        let found = found.map(|it| (domain.to_string(), it, self.web_port));
        for target in self.filtered(found.collect())? {
            match well_known::fetch(&self.web_tls, domain, target.address).await {
                Ok(bytes) => {
                    let root = VerifiedRecord::root_in(&bytes)?;
                    self.verify(&bytes, domain, &root)?;
                    return Ok(root);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Compares the TXT record with the pin, where DNS has a voice. Its silence means nothing; if it
    /// agrees and is stronger, the pin is as good as that from now on.
    async fn hear(
        &self,
        domain: &DomainName,
        relied: AnchorLevel,
        voices: &mut Voices,
        agrees: impl Fn(&[u8; 32]) -> bool,
    ) -> Result<AnchorLevel, ResolveError> {
        if self.trust == Trust::Pinned {
            return Ok(relied);
        }
        match self.txt(domain).await {
            Ok(txt) => voices.txt = txt,
            Err(ResolveError::Dns(_)) => return Ok(relied),
            Err(error) if relied <= AnchorLevel::Dns => return Err(error),
            Err(error) => {
                self.alarm(domain, &error.to_string());
                return Ok(relied);
            }
        }
        let mut level = relied;
        for voice in voices.anchors() {
            let judgement = self.weigh(domain, relied, voice, &agrees)?;
            if judgement == Judgement::Agree && counts(voice.level, self.trust) {
                level = level.max(voice.level);
            }
        }
        Ok(level)
    }

    fn weigh(
        &self,
        domain: &DomainName,
        relied: AnchorLevel,
        voice: Anchor,
        agrees: impl Fn(&[u8; 32]) -> bool,
    ) -> Result<Judgement, ResolveError> {
        let judgement = judge(relied, voice, agrees);
        let level = voice.level;
        if judgement != Judgement::Agree {
            self.alarm(
                domain,
                &format!("{level} names another root key than {relied}"),
            );
        }
        match judgement {
            Judgement::Agree | Judgement::Alarm => Ok(judgement),
            Judgement::Stop => Err(ResolveError::AnchorsDisagree { level }),
        }
    }

    /// Asks each address in turn until one serves a record that can be believed.
    async fn fetch(
        &self,
        domain: &DomainName,
        root: Option<&[u8; 32]>,
    ) -> Result<VerifiedRecord, ResolveError> {
        let mut failure = ResolveError::NoAddress;
        for target in self.targets(domain).await? {
            match self.fetch_from(domain, &target, root).await {
                Ok(record) => return Ok(record),
                // That somebody shows something else counts for more than that somebody is silent.
                Err(_) if matches!(failure, ResolveError::Record(_)) => {}
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn fetch_from(
        &self,
        domain: &DomainName,
        target: &Target,
        root: Option<&[u8; 32]>,
    ) -> Result<VerifiedRecord, ResolveError> {
        let bytes = fetch::fetch(&self.tls, domain, target).await?;
        let root = match root {
            Some(root) => *root,
            None => VerifiedRecord::root_in(&bytes)?,
        };
        Ok(self.verify(&bytes, domain, &root)?)
    }

    fn alarm(&self, domain: &DomainName, why: &str) {
        let mut alarmed = self.alarmed.lock();
        if alarmed.len() >= KNOWN_MAX && !alarmed.contains_key(domain) {
            return;
        }
        let reasons = alarmed.entry(domain.clone()).or_default();
        if reasons.len() < REASONS_MAX && !reasons.iter().any(|it| it == why) {
            reasons.push(why.to_owned());
            tracing::error!(peer = %domain, why, "ALARM: the identity of a peer is disputed");
        }
    }

    fn verify(
        &self,
        bytes: &[u8],
        domain: &DomainName,
        root: &[u8; 32],
    ) -> Result<VerifiedRecord, RecordFault> {
        VerifiedRecord::verify(bytes, domain, root, self.clock.now())
    }

    fn admit_stranger(&self, domain: &DomainName, met: bool) -> bool {
        let now = Instant::now();
        self.budget.lock().admit_stranger(domain, met, now)
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

/// Could the domain have lost all its keys, so that others stand where they stood?
fn may_be_a_reset(error: &ResolveError) -> bool {
    matches!(
        error,
        ResolveError::AnchorsDisagree { .. } | ResolveError::Record(RecordFault::OtherRoot { .. })
    )
}

fn still_good(
    domain: &DomainName,
    error: &ResolveError,
    record: Arc<VerifiedRecord>,
) -> Arc<VerifiedRecord> {
    tracing::info!(peer = %domain, %error, "its newer record cannot be had yet");
    record
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
