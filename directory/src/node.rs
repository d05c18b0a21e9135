//! A node of the public directory tier: tells anybody what can be seen of a domain from here. It keeps
//! nothing but memory, signs nothing and is trusted by nobody: what it hands on is signed by the domain,
//! and whoever asks checks that (PROTOCOL.md section 13).

mod announcing;
mod answers;
mod asker;
mod family;
mod http;
mod listing;
mod metrics;
mod page;
mod push;
mod qr;
mod short;

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::http::HeaderMap;
use freehold_keys::VerifiedRecord;
use freehold_proto::{Clock, DomainName, Timestamp};
use moka::future::Cache;
use parking_lot::RwLock;
use tokio::{sync::Semaphore, time::interval};

pub use self::{
    http::{NodeListener, serve},
    push::{ApnsConfig, FcmConfig, PushConfig, VapidConfig, new_vapid_key},
};
use self::{
    listing::{Listing, Now},
    metrics::Metrics,
    push::Push,
};
use crate::{
    Config, Directory, DirectoryError, DocumentError, Limiter, MemoryPins, Observation, Over, Rate,
    ResolveError, Trust, prefix_of,
};

/// How long what was found is handed on without a new look.
const FOUND_FOR: Duration = Duration::from_secs(5 * 60);
/// How long it is not looked again for what was not found.
const MISSED_FOR: Duration = Duration::from_secs(30);
/// How long a look will do for the announcements of its domain: it announces every few minutes.
const ANNOUNCES_FOR: Duration = Duration::from_secs(60 * 60);
/// Announcements at once, each of at most 256 KiB.
const ANNOUNCING_MAX: usize = 64;
/// How often networks are forgotten that have asked for nothing lately.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Looks at once.
const LOOKS_MAX: usize = 256;
/// Time for a look. Who asks waits for it, and a name that stalls takes a place for no longer.
const LOOK_WITHIN: Duration = Duration::from_secs(8);
/// What a cached look weighs beside its record, in bytes: names, fingerprints, words for errors.
const LOOK_BYTES: usize = 1024;

/// What an operator decides about a node. Values are checked before they come here.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Where it listens. TLS is the part of a web server in front.
    pub listen: SocketAddr,
    /// Web servers in front, which say in `X-Forwarded-For` who asks.
    pub proxies: Vec<IpAddr>,
    /// Memory for what was found, in bytes.
    pub cache_bytes: u64,
    /// What may be asked from one network; without it, anything.
    pub questions: Option<Rate>,
    /// How many of these may make the node look.
    pub looks: Option<Rate>,
    /// Announcements from one network.
    pub announcements: Option<Rate>,
    /// Memory for what domains announce, in bytes.
    pub listing_bytes: u64,
    /// How domains are found. Whom it trusts does not matter: a node trusts nobody.
    pub discovery: Config,
    /// Relaying pushes, if it does.
    pub push: Option<PushConfig>,
}

/// A look that is handed on for a while.
#[derive(Debug)]
struct Look {
    seen: Observation,
    until: Timestamp,
    /// The same by the clock that never goes back.
    over: Duration,
    /// The last record that was seen here and was not older than one before.
    last: Option<Arc<VerifiedRecord>>,
}

/// A node.
pub struct Node {
    directory: Directory,
    clock: Arc<dyn Clock>,
    looks: Cache<DomainName, Arc<Look>>,
    places: Semaphore,
    questions: Limiter<Ipv6Addr>,
    looks_asked: Limiter<Ipv6Addr>,
    announcements: Limiter<Ipv6Addr>,
    /// Announcements that come in or are checked now.
    announcing: Semaphore,
    listing: RwLock<Listing>,
    proxies: Vec<IpAddr>,
    metrics: Metrics,
    push: Option<Push>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").finish_non_exhaustive()
    }
}

impl Node {
    /// A node that has seen nothing yet.
    pub fn new(config: NodeConfig, clock: Arc<dyn Clock>) -> Result<Self, DirectoryError> {
        let push = config.push.as_ref();
        let push = push.map(|it| Push::new(it, &config.discovery, &clock));
        let push = push.transpose()?;
        let discovery = Config {
            trust: Trust::Dns,
            static_peers: Vec::new(),
            ..config.discovery
        };
        let pins = Arc::new(MemoryPins::default());
        Ok(Self {
            directory: Directory::new(discovery, pins, Arc::clone(&clock))?,
            questions: Limiter::new(config.questions, &clock),
            looks_asked: Limiter::new(config.looks, &clock),
            announcements: Limiter::new(config.announcements, &clock),
            announcing: Semaphore::new(ANNOUNCING_MAX),
            listing: RwLock::new(Listing::new(config.listing_bytes)),
            clock,
            looks: Cache::builder()
                .max_capacity(config.cache_bytes)
                .weigher(|_, look: &Arc<Look>| weight(look))
                .build(),
            places: Semaphore::new(LOOKS_MAX),
            proxies: config.proxies,
            metrics: Metrics::default(),
            push,
        })
    }

    /// Lets somebody ask, or says how long not. Whoever comes through a web server that does not say where
    /// they come from shares its limit with all others who do.
    fn admit(&self, asker: IpAddr, headers: &HeaderMap) -> Result<Ipv6Addr, Over> {
        let asker = prefix_of(asker::address(&self.proxies, asker, headers));
        self.questions.take(&asker).map(|()| asker)
    }

    /// The same for announcements.
    fn admit_announcement(&self, asker: IpAddr, headers: &HeaderMap) -> Result<Ipv6Addr, Over> {
        let asker = prefix_of(asker::address(&self.proxies, asker, headers));
        self.announcements.take(&asker).map(|()| asker)
    }

    fn now(&self) -> Now {
        Now {
            time: self.clock.now(),
            elapsed: self.clock.elapsed(),
        }
    }

    /// What is seen of a domain that announces something: what was seen within an hour will do, as long as
    /// its record counts.
    async fn look_for_announcing(
        &self,
        domain: &DomainName,
        asker: Ipv6Addr,
    ) -> Result<Arc<Look>, Over> {
        let now = self.now();
        let will_do = |look: &Arc<Look>| {
            let record = look.seen.record.as_ref().ok();
            let word = record.and_then(|it| it.freshness());
            let counts = word.is_some_and(|it| it.statement().expires > now.time);
            let recent = look.over + ANNOUNCES_FOR > now.elapsed + FOUND_FOR;
            counts && recent && look.seen.at.plus(ANNOUNCES_FOR) > now.time
        };
        match self.looks.get(domain).await.filter(will_do) {
            Some(look) => Ok(look),
            None => self.look(domain, asker).await,
        }
    }

    /// What is seen of a domain, from memory or by looking. However many ask at once, it is looked once.
    async fn look(&self, domain: &DomainName, asker: Ipv6Addr) -> Result<Arc<Look>, Over> {
        let before = self.looks.get(domain).await;
        if let Some(look) = before.as_ref().filter(|it| self.is_good(it)) {
            self.metrics.answered_from_memory();
            return Ok(Arc::clone(look));
        }
        self.looks_asked.take(&asker)?;
        let last = before.and_then(|it| it.last.clone());
        let entry = self.looks.entry_by_ref(domain);
        let looked = Box::pin(self.look_now(domain, last));
        let found = entry
            .or_insert_with_if(looked, |it| !self.is_good(it))
            .await;
        Ok(found.into_value())
    }

    /// What is done beside answering. Does not return.
    async fn upkeep(&self) -> Infallible {
        let relaying = async {
            match &self.push {
                Some(push) => push.work(&self.directory).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            never = self.sweep() => never,
            never = relaying => never,
        }
    }

    /// Forgets networks that have all of their limits again. Does not return.
    async fn sweep(&self) -> Infallible {
        let mut turns = interval(SWEEP_EVERY);
        loop {
            turns.tick().await;
            self.questions.sweep();
            self.looks_asked.sweep();
            self.announcements.sweep();
            let now = self.now();
            let figures = {
                let mut listing = self.listing.write();
                listing.sweep(now);
                listing.figures()
            };
            self.metrics.listed(figures);
            if let Some(push) = &self.push {
                push.sweep(self.clock.elapsed());
            }
        }
    }

    async fn look_now(&self, domain: &DomainName, last: Option<Arc<VerifiedRecord>>) -> Arc<Look> {
        let Ok(_place) = self.places.try_acquire() else {
            return Arc::new(self.busy(domain, last));
        };
        let mut seen = self.directory.observe(domain, LOOK_WITHIN).await;
        self.metrics.looked(seen.record.is_ok());
        let last = not_older(&mut seen, last);
        let until = self.hand_on_until(&seen);
        Arc::new(Look {
            over: self.clock.elapsed() + until.since(seen.at),
            seen,
            until,
            last,
        })
    }

    /// Whether a look is to be handed on, by either clock: one may have been set.
    fn is_good(&self, look: &Look) -> bool {
        self.clock.now() < look.until && self.clock.elapsed() < look.over
    }

    /// No look. It takes the place of an older one, and what that one knew it knows.
    fn busy(&self, domain: &DomainName, last: Option<Arc<VerifiedRecord>>) -> Look {
        let now = self.clock.now();
        Look {
            seen: Observation {
                domain: domain.clone(),
                at: now,
                record: Err(ResolveError::Busy),
                client_document: Err(DocumentError::NoRecord),
                txt: Err(ResolveError::Busy),
                well_known: Err(ResolveError::Busy),
            },
            until: now,
            over: Duration::ZERO,
            last,
        }
    }

    fn hand_on_until(&self, seen: &Observation) -> Timestamp {
        match &seen.record {
            Ok(record) => {
                let fresh = record.freshness().map(|it| it.statement().expires);
                let directed = seen.client_document.as_ref().ok();
                let directed = directed.map(|it| it.document().expires);
                let ends = fresh.into_iter().chain(directed);
                ends.fold(seen.at.plus(FOUND_FOR), Ord::min)
            }
            Err(_) => seen.at.plus(MISSED_FOR),
        }
    }
}

/// A record that may not follow the one seen before under the same root key is not handed on: somebody
/// shows an old one, or two at once. Only those who have pinned the domain can be sure; this node may have
/// been started a moment ago.
fn not_older(
    seen: &mut Observation,
    last: Option<Arc<VerifiedRecord>>,
) -> Option<Arc<VerifiedRecord>> {
    let Ok(record) = &seen.record else {
        return last;
    };
    let judged = match &last {
        Some(last) if record.has_root(&last.root_fingerprint()) => record.may_follow(last),
        _ => Ok(()),
    };
    match judged {
        Ok(()) => Some(Arc::clone(record)),
        Err(fault) => {
            seen.record = Err(fault.into());
            seen.client_document = Err(DocumentError::NoRecord);
            last
        }
    }
}

/// In bytes. A record is held as it came and as it was read.
fn weight(look: &Look) -> u32 {
    let shown = look.seen.record.as_ref().ok();
    let other = |it: &&Arc<VerifiedRecord>| !shown.is_some_and(|shown| Arc::ptr_eq(shown, it));
    let records = shown.into_iter().chain(look.last.as_ref().filter(other));
    let bytes: usize = records.map(|it| 2 * it.to_bytes().len()).sum();
    let document = look.seen.client_document.as_ref();
    let document = document.map_or(0, |it| 2 * it.to_bytes().len());
    u32::try_from(bytes + document + LOOK_BYTES).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use freehold_keys::{KeyRing, VerifiedAnnouncement};
    use freehold_proto::{
        AccessMode, GroupId, ManualClock,
        card::{CardWords, LEASE, Subject},
    };

    use super::*;

    #[test]
    fn what_a_look_remembers_weighs_whether_it_is_shown_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let domain: DomainName = "beta.test".parse().unwrap();
        let clock = ManualClock::new(Timestamp::from_millis(1_767_323_045_678).unwrap());
        let (ring, _) = KeyRing::create(&dir.path().join("keys"), &domain, clock.now()).unwrap();
        let record = Arc::new(ring.fresh_record(clock.now()));
        let look = |shown: Result<Arc<VerifiedRecord>, ResolveError>, last| Look {
            seen: Observation {
                domain: domain.clone(),
                at: clock.now(),
                record: shown,
                client_document: Err(DocumentError::NoRecord),
                txt: Ok(None),
                well_known: Err(ResolveError::NoAddress),
            },
            until: clock.now(),
            over: Duration::ZERO,
            last,
        };
        let missed = || Err(ResolveError::NoAddress);
        let empty = weight(&look(missed(), None));
        let shown = weight(&look(Ok(Arc::clone(&record)), Some(Arc::clone(&record))));
        assert!(shown > empty);
        assert_eq!(weight(&look(missed(), Some(record))), shown);
    }

    /// Memory of this process that is in use, in bytes.
    fn resident() -> usize {
        let statm = fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// What domain `number` announces: two groups, signed by `ring`.
    fn announced(
        ring: &KeyRing,
        record: &VerifiedRecord,
        number: u32,
        now: Timestamp,
    ) -> VerifiedAnnouncement {
        let card = |last: u8| {
            let mut id = [last; 16];
            id[..4].copy_from_slice(&number.to_be_bytes());
            CardWords {
                subject: Subject::Group {
                    group: GroupId::from_bytes(id),
                    channel: false,
                    access: AccessMode::GROUP,
                    members: number,
                },
                title: format!("Workshop {number} for bicycles"),
                note: format!("We meet on Tuesdays in house {last}, and everybody is welcome"),
                tags: vec!["city:turin".to_owned()],
            }
        };
        let signed = ring.signer().announce(vec![card(1), card(2)], LEASE, now);
        let mut announced = VerifiedAnnouncement::verify(&signed, record, now).unwrap();
        announced.announcement.domain = format!("d.d{number}.test").parse().unwrap();
        announced
    }

    /// The cards are one domain's, so nothing is found here: this is about memory.
    #[expect(clippy::print_stdout, reason = "the figure is reported")]
    #[tokio::test]
    async fn ten_thousand_announced_domains_weigh_about_what_they_are_said_to() {
        const DOMAINS: u32 = 10_000;
        let dir = tempfile::tempdir().unwrap();
        let domain: DomainName = "beta.test".parse().unwrap();
        let clock = ManualClock::new(Timestamp::from_millis(1_767_323_045_678).unwrap());
        let (ring, _) = KeyRing::create(&dir.path().join("keys"), &domain, clock.now()).unwrap();
        let record = ring.fresh_record(clock.now());
        let (bytes, root) = (record.to_bytes(), record.root_fingerprint());
        let config = NodeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            proxies: Vec::new(),
            cache_bytes: 64 << 20,
            questions: None,
            looks: None,
            announcements: None,
            listing_bytes: 64 << 20,
            discovery: Config::default(),
            push: None,
        };
        let node = Node::new(config, Arc::new(clock)).unwrap();
        let now = node.now();
        let before = resident();
        for number in 0..DOMAINS {
            let known = VerifiedRecord::verify(&bytes, &domain, &root, now.time).unwrap();
            let name: DomainName = format!("d{number}.beta.test").parse().unwrap();
            let known = Arc::new(known);
            let look = Look {
                seen: Observation {
                    domain: name.clone(),
                    at: now.time,
                    record: Ok(Arc::clone(&known)),
                    client_document: Err(DocumentError::NoRecord),
                    txt: Ok(None),
                    well_known: Err(ResolveError::NoAddress),
                },
                until: now.time.plus(FOUND_FOR),
                over: now.elapsed + FOUND_FOR,
                last: Some(known),
            };
            node.looks.insert(name, Arc::new(look)).await;
            let announced = announced(&ring, &record, number, now.time);
            let network = Ipv6Addr::from(u128::from(number % 100));
            node.listing.write().take(&announced, network, now).unwrap();
        }
        node.looks.run_pending_tasks().await;
        let figures = node.listing.read().figures();
        let looks = usize::try_from(node.looks.weighted_size()).unwrap();
        let grown = resident().saturating_sub(before);
        println!(
            "{} domains, {} cards: {} KiB resident, of them estimated {} for cards and {} for looks",
            figures.domains,
            figures.cards,
            grown / 1024,
            figures.bytes / 1024,
            looks / 1024
        );
        assert_eq!((figures.domains, figures.cards), (10_000, 20_000));
        assert_eq!(node.looks.entry_count(), 10_000);
        let said = figures.bytes + looks;
        // Other tests run in this process, and an allocator rounds up.
        assert!(grown < 2 * said + (32 << 20), "{grown} bytes, said {said}");
    }
}
