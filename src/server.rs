//! What one domain's parts share: its name, clock, store, keys, and who is here.

use std::{
    collections::HashMap,
    fmt,
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use freehold_config::Registration;
use freehold_directory::Directory;
use freehold_federation::{Federation, FindQuery, Tasks};
use freehold_keys::Signer;
use freehold_proto::{AccessMode, Clock, DomainName, Timestamp, UserId, limits, wire};
use freehold_store::{
    StoreError, Tables,
    tables::{
        rows::{AccountRow, ForeignPersonRow},
        topics::put_foreign_person,
    },
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::{
    accounts::{
        Level, access::State, attempts::Attempts, codes::Codes, password::Passwords,
        service::Service, sessions::LoggedIn, token::Tokens,
    },
    edge::{
        files::Bounds,
        frames::{Away, Seen},
        ids::Ids,
        tls::Certificate,
    },
    files::{Files, Referrer},
    limits::Limits,
    listing::Search,
    mail::Post,
    online::Online,
    peers::{lives::Lives, outbox::Outbox},
    plugins::Plugins,
    push::Push,
    topic::hub::Hub,
};

/// How long a client may wait for another domain (rules.md 13).
pub const REMOTE_WAIT: Duration = Duration::from_secs(3);
/// A person of another domain counts as here for so long after the last sign of it.
const ABROAD_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// When a description changed of which only somebody else has told us.
pub const HEARSAY: i64 = 0;
/// People of other domains whose presence is remembered.
const ABROAD_MAX: usize = 100_000;

/// What clients may do, checked values.
#[derive(Clone, Debug)]
pub struct ClientRules {
    /// API keys taken from clients.
    pub api_keys: Vec<String>,
    /// Longest frame from a client, in bytes.
    pub message_bytes_max: usize,
    /// Largest file from a client, in bytes.
    pub file_bytes_max: u64,
    /// Read buffer of one WebSocket, in bytes.
    pub websocket_read_buffer: usize,
    /// Connections of clients at once.
    pub connections_max: usize,
    /// Who may make an account.
    pub registration: Registration,
    /// People may come in without name and password.
    pub anonymous: bool,
    /// Methods by which an account must have confirmed a credential before it can be used.
    pub required_credentials: Vec<String>,
    /// Kinds of tags by which only those may search who have the same tag.
    pub masked_tags: Vec<String>,
    /// Proxies whose word on where a client comes from is believed.
    pub proxies: Vec<IpAddr>,
    /// People can be found by their exact address.
    pub findable: bool,
    /// Members of one group.
    pub group_members_max: usize,
    /// Calls between two people, if there are any.
    pub calls: Option<CallRules>,
    /// The two of a chat within the domain may take their own messages from each other.
    pub delete_for_both: bool,
    /// How old a message may be that somebody takes from everybody who does not own the group.
    pub deletion_age: Option<Duration>,
}

/// What clients need to call each other.
#[derive(Clone, Debug)]
pub struct CallRules {
    /// How long a call rings.
    pub timeout: Duration,
    /// STUN and TURN servers, as URLs.
    pub ice_urls: Vec<String>,
    /// The secret shared with the TURN servers, from which passwords are made that end by themselves.
    pub turn_secret: Option<String>,
    /// How long such a password counts.
    pub turn_lifetime: Duration,
}

/// One domain.
pub struct Server {
    /// Its name.
    pub us: DomainName,
    /// Translates ids for its clients.
    pub ids: Ids,
    /// Its time.
    pub clock: Arc<dyn Clock>,
    /// Its memory.
    pub tables: Tables,
    /// Its signature.
    pub signer: Signer,
    /// Log-in tokens.
    pub tokens: Tokens,
    /// Passwords.
    pub passwords: Passwords,
    /// Codes sent to people.
    pub codes: Codes,
    /// Who else knows people and their secrets, if anybody does.
    pub service: Option<Arc<Service>>,
    /// Where mails are handed in, if any are sent.
    pub post: Option<Arc<Post>>,
    /// What is counted of people coming in.
    pub attempts: Attempts,
    /// How much may come in a second.
    pub limits: Limits,
    /// Who is logged in.
    pub sessions: LoggedIn,
    /// What clients may do.
    pub rules: ClientRules,
    /// What clients are shown, if they are served over TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// How much is kept of what administrators did.
    pub audit: freehold_config::Audit,
    /// Programs that are told of events and asked about requests.
    pub plugins: Plugins,
    /// What devices are told, if they are told anything.
    pub push: Option<Arc<Push>>,
    /// Who listens on `me`.
    pub online: Online,
    /// What they uploaded.
    pub files: Arc<Files>,
    /// What bounds sending and fetching files.
    pub(crate) file_bounds: Bounds,
    /// Loaded topics.
    pub hub: Hub,
    /// Turns at reading what clients missed that did not keep up.
    pub(crate) pages: Arc<Semaphore>,
    /// Finds other domains.
    pub directory: Arc<Directory>,
    /// What nodes of the directory are told and asked.
    pub listing: freehold_config::Listing,
    /// What they answered.
    pub(crate) search: Search,
    /// What waits for peers.
    pub outbox: Arc<Outbox>,
    /// Domains that have begun anew with other keys.
    pub lives: Arc<Lives>,
    /// Background tasks.
    pub tasks: Tasks,
    /// The way to peers, once it is up.
    pub federation: OnceLock<Federation>,
    /// Turns at changing an account, by a hash of its id: an account is read, changed and written.
    pub account_turns: [tokio::sync::Mutex<()>; 64],
    /// People of other domains last known to be here, and since when.
    pub abroad: Mutex<HashMap<UserId, Timestamp>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.us)
    }
}

fn profile(tables: &Tables, user: &UserId, ours: bool) -> Result<Option<Profile>, StoreError> {
    if ours {
        let row = tables.account(user)?;
        let approved = row.filter(|it| State::of(it) != State::Pending);
        Ok(approved.map(Profile::of_account))
    } else {
        Ok(tables.foreign_person(user)?.map(Profile::of_foreigner))
    }
}

/// What may be shown of a person.
#[derive(Debug)]
pub struct Profile {
    /// Public description, JSON; empty for none.
    pub public: Bytes,
    /// Marks of the administrators, JSON; empty for none.
    pub trusted: Bytes,
    /// When it changed.
    pub updated: Timestamp,
    /// What the person lets strangers with an account do.
    pub access: AccessMode,
    /// The same for anonymous strangers.
    pub access_anon: AccessMode,
    /// When the person was last here.
    pub seen: Option<Seen>,
}

impl Profile {
    /// A person of whom nothing is known yet.
    #[must_use]
    pub fn unknown(now: Timestamp) -> Self {
        Self {
            public: Bytes::new(),
            trusted: Bytes::new(),
            updated: now,
            access: AccessMode::ONE_TO_ONE,
            access_anon: AccessMode::NONE,
            seen: None,
        }
    }

    /// What a stranger of this level is given.
    #[must_use]
    pub fn access_for(&self, level: Level) -> AccessMode {
        match level {
            Level::Anonymous => self.access_anon,
            Level::Authenticated | Level::Root => self.access,
        }
    }

    fn of_account(row: AccountRow) -> Self {
        let seen = Timestamp::from_stored(row.seen);
        Self {
            public: row.public,
            trusted: row.trusted,
            updated: Timestamp::from_stored(row.updated),
            access: row.access_auth.parse().unwrap_or(AccessMode::ONE_TO_ONE),
            access_anon: row.access_anon.parse().unwrap_or(AccessMode::NONE),
            seen: (row.seen != 0).then_some(Seen {
                when: seen,
                ua: row.seen_agent,
            }),
        }
    }

    fn of_foreigner(row: ForeignPersonRow) -> Self {
        Self {
            public: row.public,
            trusted: Bytes::new(),
            // By our clock: clients compare it with what we told them before.
            updated: Timestamp::from_stored(row.updated),
            access: AccessMode::ONE_TO_ONE,
            access_anon: AccessMode::NONE,
            seen: None,
        }
    }
}

impl Server {
    /// What is known here of a person. Never asks another domain. Of our people who still wait for
    /// approval nothing is known.
    pub async fn profile(&self, user: &UserId) -> Result<Option<Profile>, StoreError> {
        let (wanted, ours) = (user.clone(), self.ids.is_ours(user));
        self.tables
            .read(move |tables| profile(tables, &wanted, ours))
            .await
    }

    /// The same within other reads. Blocks.
    pub fn profile_now(
        &self,
        tables: &Tables,
        user: &UserId,
    ) -> Result<Option<Profile>, StoreError> {
        profile(tables, user, self.ids.is_ours(user))
    }

    /// The public description of a person, and when it changed by the clock of their own domain. Blocks.
    pub fn public_now(
        &self,
        tables: &Tables,
        user: &UserId,
    ) -> Result<Option<(Bytes, Timestamp)>, StoreError> {
        if self.ids.is_ours(user) {
            let row = tables.account(user)?;
            let approved = row.filter(|it| State::of(it) != State::Pending);
            return Ok(approved.map(|it| (it.public, Timestamp::from_stored(it.updated))));
        }
        let row = tables.foreign_person(user)?;
        Ok(row.map(|it| (it.public, Timestamp::from_stored(it.public_changed))))
    }

    /// True while a person is here, as far as we know.
    #[must_use]
    pub fn is_online(&self, user: &UserId) -> bool {
        if self.ids.is_ours(user) {
            return self.online.is_online(user);
        }
        let since = self.abroad.lock().get(user).copied();
        since.is_some_and(|it| self.clock.now().since(it) < ABROAD_LIFETIME)
    }

    /// Notes that a person of another domain came or went.
    pub fn note_abroad(&self, user: &UserId, here: bool) {
        let now = self.clock.now();
        let mut abroad = self.abroad.lock();
        if !here {
            abroad.remove(user);
            return;
        }
        if abroad.len() >= ABROAD_MAX {
            abroad.retain(|_, since| now.since(*since) < ABROAD_LIFETIME);
        }
        if abroad.len() < ABROAD_MAX || abroad.contains_key(user) {
            abroad.insert(user.clone(), now);
        }
    }

    /// Waits for one's turn to change an account.
    pub async fn account_turn(&self, user: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        let bucket = usize::from(user.local_bytes()[0]) % self.account_turns.len();
        self.account_turns[bucket].lock().await
    }

    /// Whether the operator allows dealings with a peer.
    #[must_use]
    pub fn permits(&self, peer: &DomainName) -> bool {
        self.federation.get().is_none_or(|it| it.permits(peer))
    }

    /// Tells the link to a peer that something waits.
    pub fn wake(&self, peer: &DomainName) {
        if let Some(federation) = self.federation.get() {
            federation.wake(peer);
        }
    }

    /// Since when a peer cannot be reached, and how long what is written to it now waits.
    #[must_use]
    pub fn away(&self, peer: &DomainName) -> Option<Away> {
        let away = self.federation.get()?.away(peer)?;
        let now = self.clock.now();
        Some(Away {
            since: now.minus(away),
            until: now.plus(self.outbox.lifetime()),
        })
    }

    /// Sends a peer something that is worth nothing a minute later.
    pub fn signal(&self, peer: &DomainName, signal: wire::Signal) {
        if let Some(federation) = self.federation.get() {
            federation.signal(peer, signal);
        }
    }

    /// Asks a person's own domain for them, and remembers the answer. `Ok(None)`: nobody who wishes to
    /// be found. `Err`: no answer in time, so nothing is known.
    pub async fn find_abroad(
        &self,
        domain: &DomainName,
        query: FindQuery,
    ) -> Result<Option<UserId>, freehold_federation::FindError> {
        let Some(federation) = self.federation.get() else {
            return Err(freehold_federation::FindError::NotYet);
        };
        let Some(person) = federation.find(domain, query, REMOTE_WAIT).await? else {
            return Ok(None);
        };
        let Some(user) = person
            .user
            .parse::<UserId>()
            .ok()
            .filter(|it| it.domain() == domain)
        else {
            return Ok(None);
        };
        if let Err(fault) = self
            .remember(&user, &person.public, person.public_changed_ms)
            .await
        {
            tracing::error!(%fault, "a search result cannot be stored");
        }
        let (lives, wanted) = (Arc::clone(&self.lives), user.clone());
        let read = move |tables: &Tables| lives.is_former(tables, &wanted);
        let former = self.tables.read(read).await.unwrap_or(false);
        Ok((!former).then_some(user))
    }

    /// Keeps what another domain says of its person, if it is newer; true when it is. [`HEARSAY`] is
    /// older than everything but other hearsay.
    pub async fn remember(
        &self,
        user: &UserId,
        public: &Bytes,
        changed: i64,
    ) -> Result<bool, StoreError> {
        let wanted = user.clone();
        let known = self
            .tables
            .read(move |tables| tables.foreign_person(&wanted))
            .await?;
        // No domain's clock can put its word beyond later ones.
        let latest = self.clock.now().plus(limits::CLOCK_SKEW_MAX).as_millis();
        let changed = changed.min(latest);
        let old = |it: &ForeignPersonRow| match changed {
            HEARSAY => it.public_changed > HEARSAY || it.public == *public,
            changed => it.public_changed >= changed,
        };
        let former = |it: &ForeignPersonRow| self.lives.is_over(user.domain(), it.updated);
        if known.as_ref().is_some_and(|it| old(it) || former(it)) {
            return Ok(false);
        }
        // What is not JSON is not shown; a description does not make or break a contact.
        let valid = crate::edge::frames::is_plain(public);
        let row = ForeignPersonRow {
            public: if valid { public.clone() } else { Bytes::new() },
            public_changed: changed,
            incarnation: 1,
            updated: self.clock.now().as_millis(),
        };
        // Kept until the description is durable, though of theirs there is nothing to keep.
        let (mut batch, _held) = {
            let referrer = Referrer::Account(user.clone());
            let shows = |it: &DomainName| it == user.domain();
            self.files.show(referrer, &row.public, shows).await?
        };
        put_foreign_person(&mut batch, user, &row);
        // A batch without guards is applied.
        let _applied = self.tables.commit(batch).await?;
        Ok(true)
    }
}
