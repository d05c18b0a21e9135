//! Federation as a whole: the listener, the peers, and the handle the domain server holds.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use freehold_directory::{Directory, Fault};
use freehold_keys::{Entry, KeyError, KeyRing, SignedClientDocument};
use freehold_proto::{
    Clock, DomainName, Entrance, Envelope, GroupId, Placed, RefusalCode, Timestamp, wire,
};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Arrival, BindError, Config, FileQuery, FindError, FindQuery, GroupAnswer, GroupQuery,
    LinkError, Local, Outbox, Policy, RemoteFile, StreamPosition, Tasks, Verdict, accept,
    awaited::Awaited,
    backoff::Attempt,
    dial::dial,
    entries::{self, Refused},
    file, find, group,
    hello::Channel,
    identity::CurrentIdentity,
    link::Established,
    peer::{Peer, Urgency},
    rates::{self, Counted},
    turns::Shares,
    worker,
};

/// Links opened at once, and how many of them to peers that could not be reached the last time: a crowd
/// that accepts and says nothing holds its places for long, and must leave some for the others.
const DIALS_MAX: usize = 128;
const DOUBTFUL_DIALS_MAX: usize = 32;
/// Files given to all peers at once.
const FILES_OUT_MAX: usize = 64;
/// Peers remembered before those that are idle are forgotten.
const PEERS_MAX: usize = 4096;
/// Pause before asking again which peers something waits for.
const START_PAUSE: Duration = Duration::from_secs(1);

/// A listener that is bound, with its address known, and not yet served.
#[derive(Debug)]
pub struct Bound {
    federation: Federation,
    /// None behind a listener that several domains share.
    listener: Option<TcpListener>,
    local_addr: SocketAddr,
    config: Config,
    clock: Arc<dyn Clock>,
}

/// The handle: cheap to clone. Before [`Bound::start`] it forgets what it is told, which loses
/// nothing: starting looks at the whole outbox.
#[derive(Clone, Debug)]
pub struct Federation {
    domain: DomainName,
    policy: Policy,
    identity: CurrentIdentity,
    engine: Arc<OnceLock<Arc<Engine>>>,
}

/// How things stand with one peer.
#[derive(Clone, Debug)]
pub struct LinkReport {
    /// Which peer.
    pub peer: DomainName,
    /// Our link to it.
    pub state: LinkState,
    /// Failed attempts in a row.
    pub failures: u32,
    /// For how long it has been failing.
    pub failing_for: Option<Duration>,
    /// What went wrong last, in words.
    pub last_error: Option<String>,
}

/// A link's state, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LinkState {
    /// There is none: none is needed, or the last attempt failed.
    Resting,
    /// Being made.
    Greeting,
    /// Both sides have proven themselves.
    Established,
}

impl Federation {
    /// Binds the listener. Port 0 takes a free one.
    pub async fn bind(
        config: Config,
        ring: &KeyRing,
        clock: Arc<dyn Clock>,
    ) -> Result<Bound, BindError> {
        let address = config.listen;
        let failed = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        Self::on((Some(listener), local_addr), config, ring, clock)
    }

    /// Takes the connections that a shared listener at `local_addr` hands on; see [`Bound::start_behind`].
    pub fn behind(
        local_addr: SocketAddr,
        config: Config,
        ring: &KeyRing,
        clock: Arc<dyn Clock>,
    ) -> Result<Bound, BindError> {
        Self::on((None, local_addr), config, ring, clock)
    }

    fn on(
        (listener, local_addr): (Option<TcpListener>, SocketAddr),
        config: Config,
        ring: &KeyRing,
        clock: Arc<dyn Clock>,
    ) -> Result<Bound, BindError> {
        Ok(Bound {
            federation: Self {
                domain: ring.domain().clone(),
                policy: config.policy.clone(),
                identity: CurrentIdentity::new(ring)?,
                engine: Arc::default(),
            },
            local_addr,
            listener,
            config,
            clock,
        })
    }

    /// Goes over to the keys that `ring` holds now: new links and hellos use them, and peers are greeted,
    /// so that they learn of the new record soon. Links made so far are let go.
    pub fn rekey(&self, ring: &KeyRing) -> Result<(), KeyError> {
        self.identity.replace(ring)?;
        if let Some(engine) = self.engine.get() {
            engine.drop_links(|_| true);
            engine.tasks.spawn("rekeyed", wake_all(Arc::clone(engine)));
        }
        Ok(())
    }

    /// Our identity record, encoded, with our word of today that it is the latest.
    #[must_use]
    pub fn record(&self, now: Timestamp) -> Arc<[u8]> {
        self.identity.get().served(now)
    }

    /// Tells anybody from now on where our people's clients connect. Only the first word counts.
    pub fn open_entrance(&self, entrance: Entrance) {
        self.identity.open_entrance(entrance);
    }

    /// Our client document of today, if there is one.
    #[must_use]
    pub fn client_document(&self, now: Timestamp) -> Option<Arc<SignedClientDocument>> {
        self.identity.client_document(now)
    }

    /// From now on another policy holds. Links with those whom it does not permit are let go.
    pub fn set_policy(&self, policy: &Policy) {
        self.policy.replace(policy);
        if let Some(engine) = self.engine.get() {
            engine.drop_links(|peer| !engine.config.policy.permits(peer));
        }
    }

    /// Lets go of the link to a peer: who it is has been decided anew.
    pub fn drop_link(&self, peer: &DomainName) {
        if let Some(engine) = self.engine.get() {
            engine.drop_links(|it| it == peer);
        }
    }

    /// Something new is in the outbox for `peer`. Never blocks.
    pub fn wake(&self, peer: &DomainName) {
        if let Some(engine) = self.engine.get() {
            engine.wake(peer);
        }
    }

    /// Sends a signal if a link can be had; otherwise forgets it. Never blocks.
    pub fn signal(&self, peer: &DomainName, signal: wire::Signal) {
        if let Some(engine) = self.engine.get() {
            engine.signal(peer, signal);
        }
    }

    /// Asks `peer` for a person, and waits for the answer at most for `within`. A question that takes
    /// longer stays on its way; whoever asks the same within a minute gets its answer.
    pub async fn find(
        &self,
        peer: &DomainName,
        query: FindQuery,
        within: Duration,
    ) -> Result<Option<wire::Person>, FindError> {
        if !self.permits(peer) {
            return Err(LinkError::Denied(peer.clone()).into());
        }
        match self.engine.get() {
            Some(engine) => find::find(engine, engine.peer(peer), query, within).await,
            None => Err(LinkError::Ours("federation has not started".to_owned()).into()),
        }
    }

    /// Says hello to `peer` and returns how far it has decided our stream, as it says. Tries also a peer
    /// that could not be reached a moment ago.
    pub async fn ask_position(
        &self,
        peer: &DomainName,
    ) -> Result<Option<StreamPosition>, LinkError> {
        match self.engine.get() {
            Some(engine) => {
                let link = engine.link(&engine.peer(peer), Urgency::Person).await?;
                Ok(link.received)
            }
            None => Err(LinkError::Ours("federation has not started".to_owned())),
        }
    }

    /// Reads a group at its home. `None`: we have no part in such a group there.
    pub async fn read_group(
        &self,
        home: &DomainName,
        group: GroupId,
        query: GroupQuery,
    ) -> Result<Option<GroupAnswer>, LinkError> {
        if !self.permits(home) {
            return Err(LinkError::Denied(home.clone()));
        }
        match self.engine.get() {
            Some(engine) => group::read(engine, &engine.peer(home), group, query).await,
            None => Err(LinkError::Ours("federation has not started".to_owned())),
        }
    }

    /// Brings a file from the domain that has it. `None`: it gives us no such file. Waits while as many
    /// others as there may be are on their way from there.
    pub async fn read_file(
        &self,
        owner: &DomainName,
        query: FileQuery,
    ) -> Result<Option<RemoteFile>, LinkError> {
        if !self.permits(owner) {
            return Err(LinkError::Denied(owner.clone()));
        }
        match self.engine.get() {
            Some(engine) => file::read(engine, &engine.peer(owner), query).await,
            None => Err(LinkError::Ours("federation has not started".to_owned())),
        }
    }

    /// Opens an entry of a group's log that came as part of something else, whichever home of the
    /// group has placed it. `peer` is who showed it.
    pub async fn open_entry(
        &self,
        peer: &DomainName,
        placed: Placed,
        envelope: Envelope,
    ) -> Result<Entry, Verdict> {
        let later = || Verdict::Later {
            code: RefusalCode::IdentityUnverified,
            retry_after: entries::AUTHOR_RETRY,
        };
        let engine = self.engine.get().ok_or_else(later)?;
        let record = engine.directory.proven(peer).await.map_err(|_| later())?;
        match entries::open_of_any_home(engine, &record, placed, envelope).await {
            Ok(entry) => Ok(entry),
            Err(Refused::Never(refusal)) => Err(Verdict::Refused(refusal)),
            Err(Refused::Later(_)) => Err(later()),
        }
    }

    /// For how long attempts to reach `peer` have failed, as far as this process knows.
    #[must_use]
    pub fn failing_for(&self, peer: &DomainName) -> Option<Duration> {
        let engine = self.engine.get()?;
        let known = engine.peers.lock().get(peer).cloned()?;
        known.report().failing_for
    }

    /// True while attempts to reach `peer` fail.
    #[must_use]
    pub fn is_failing(&self, peer: &DomainName) -> bool {
        let engine = self.engine.get();
        engine.is_some_and(|engine| {
            let known = engine.peers.lock().get(peer).cloned();
            known.is_some_and(|it| it.report().failing_for.is_some())
        })
    }

    /// True while there is a link of ours to `peer`.
    #[must_use]
    pub fn is_linked(&self, peer: &DomainName) -> bool {
        let engine = self.engine.get();
        engine.is_some_and(|engine| {
            let known = engine.peers.lock().get(peer).cloned();
            known.is_some_and(|it| it.report().state == LinkState::Established)
        })
    }

    /// Does our policy allow dealings with `peer`?
    #[must_use]
    pub fn permits(&self, peer: &DomainName) -> bool {
        self.policy.permits(peer)
    }

    /// For how long `peer` has not been reached, once that is worth telling people.
    #[must_use]
    pub fn away(&self, peer: &DomainName) -> Option<Duration> {
        let engine = self.engine.get()?;
        let known = engine.peers.lock().get(peer).cloned()?;
        let away = known.report().failing_for?;
        (away >= engine.config.backoff.patience()).then_some(away)
    }

    /// How things stand with every peer dealt with since the start.
    #[must_use]
    pub fn links(&self) -> Vec<LinkReport> {
        let Some(engine) = self.engine.get() else {
            return Vec::new();
        };
        let peers: Vec<_> = engine.peers.lock().values().cloned().collect();
        peers.iter().map(|peer| peer.report()).collect()
    }
}

impl Bound {
    /// Where peers can connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The handle, for those who must hold it before the start.
    #[must_use]
    pub fn handle(&self) -> Federation {
        self.federation.clone()
    }

    /// Serves peers and delivers the outbox until `tasks` stop.
    pub fn start(
        self,
        tasks: &Tasks,
        directory: Arc<Directory>,
        local: Arc<dyn Local>,
        outbox: Arc<dyn Outbox>,
    ) -> Federation {
        let (federation, engine, listener) = self.build(tasks, directory, (local, outbox), false);
        if let Some(listener) = listener {
            tasks.spawn("listener", accept::run(Arc::clone(&engine), listener));
        }
        tasks.spawn("limits", rates::sweep(Arc::clone(&engine)));
        tasks.spawn("start", wake_all(engine));
        federation
    }

    /// The same with the connections that a shared listener hands on.
    pub fn start_behind(
        self,
        arrivals: mpsc::Receiver<Arrival>,
        tasks: &Tasks,
        directory: Arc<Directory>,
        (local, outbox): (Arc<dyn Local>, Arc<dyn Outbox>),
    ) -> Federation {
        let (federation, engine, _) = self.build(tasks, directory, (local, outbox), false);
        let taking = accept::run_behind(Arc::clone(&engine), arrivals);
        tasks.spawn("listener", taking);
        tasks.spawn("limits", rates::sweep(Arc::clone(&engine)));
        tasks.spawn("start", wake_all(engine));
        federation
    }

    /// Asks peers, and neither serves them nor delivers anything.
    pub fn start_to_ask(
        self,
        tasks: &Tasks,
        directory: Arc<Directory>,
        local: Arc<dyn Local>,
        outbox: Arc<dyn Outbox>,
    ) -> Federation {
        self.build(tasks, directory, (local, outbox), true).0
    }

    fn build(
        self,
        tasks: &Tasks,
        directory: Arc<Directory>,
        (local, outbox): (Arc<dyn Local>, Arc<dyn Outbox>),
        quiet: bool,
    ) -> (Federation, Arc<Engine>, Option<TcpListener>) {
        let engine = Arc::new(Engine {
            counted: Counted::new(self.config.rates, &self.clock),
            awaited: Awaited::default(),
            config: self.config,
            domain: self.federation.domain.clone(),
            identity: self.federation.identity.clone(),
            directory,
            clock: self.clock,
            tasks: tasks.clone(),
            local,
            outbox,
            peers: Mutex::default(),
            dials: Semaphore::new(DIALS_MAX),
            doubtful_dials: Semaphore::new(DOUBTFUL_DIALS_MAX),
            files_out: Arc::new(Semaphore::new(FILES_OUT_MAX)),
            shares: Shares::default(),
            quiet,
        });
        let engine = Arc::clone(self.federation.engine.get_or_init(|| engine));
        (self.federation, engine, self.listener)
    }
}

/// Wakes every peer for whom something ever waited, and says hello to it: what waits there for us need
/// not wait until it tries again.
async fn wake_all(engine: Arc<Engine>) {
    loop {
        match engine.outbox.peers().await {
            Ok(peers) => {
                for peer in peers {
                    engine.peer(&peer).greet();
                    engine.wake(&peer);
                }
                return;
            }
            Err(error) => tracing::error!(%error, fault = "ours", "the outbox cannot be read"),
        }
        tokio::select! {
            () = sleep(START_PAUSE) => {}
            () = engine.tasks.stopped() => return,
        }
    }
}

/// Everything that links share.
pub(crate) struct Engine {
    pub(crate) config: Config,
    domain: DomainName,
    pub(crate) identity: CurrentIdentity,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) local: Arc<dyn Local>,
    pub(crate) outbox: Arc<dyn Outbox>,
    peers: Mutex<HashMap<DomainName, Arc<Peer>>>,
    dials: Semaphore,
    doubtful_dials: Semaphore,
    /// Places for files that peers are given.
    pub(crate) files_out: Arc<Semaphore>,
    /// Turns in which what peers say is written.
    pub(crate) shares: Shares,
    /// How often each of them comes.
    pub(crate) counted: Counted,
    /// Keys of authors that are not to be had.
    pub(crate) awaited: Awaited,
    /// Asks, and neither delivers nor is asked.
    quiet: bool,
}

impl Engine {
    /// Who we are.
    pub(crate) fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// What we know of a peer.
    pub(crate) fn peer(&self, domain: &DomainName) -> Arc<Peer> {
        let mut peers = self.peers.lock();
        if let Some(peer) = peers.get(domain) {
            return Arc::clone(peer);
        }
        if peers.len() >= PEERS_MAX {
            // One that somebody holds must stay the only one of its name.
            peers.retain(|_, peer| Arc::strong_count(peer) > 1 || !peer.is_idle());
        }
        let peer = Arc::new(Peer::new(domain.clone()));
        peers.insert(domain.clone(), Arc::clone(&peer));
        peer
    }

    /// Lets go of the links to some peers. Calls in hand end with the connection.
    fn drop_links(self: &Arc<Self>, which: impl Fn(&DomainName) -> bool) {
        let peers: Vec<_> = self.peers.lock().values().cloned().collect();
        for peer in peers.into_iter().filter(|it| which(&it.domain)) {
            // A link that is being made now is looked at again before it is used.
            if let Ok(mut slot) = peer.link.try_lock() {
                *slot = None;
                peer.rests();
            }
        }
    }

    /// Does this connection's TLS key still belong to `peer`, as far as we know?
    pub(crate) fn still_proves(&self, peer: &DomainName, channel: &Channel) -> bool {
        // One that is not in memory any more was changed by the operator, or has not been needed for long:
        // whoever it is says hello once more.
        let now = self.clock.now();
        self.directory.remembered(peer).is_some_and(|it| {
            let fresh = it
                .freshness()
                .is_some_and(|it| it.statement().expires > now);
            fresh && it.record().tls_key_hashes.contains(&channel.tls_key_hash)
        })
    }

    /// Sees to it that a worker looks at the outbox of `domain`.
    pub(crate) fn wake(self: &Arc<Self>, domain: &DomainName) {
        if self.quiet || !self.config.policy.permits(domain) {
            return;
        }
        let peer = self.peer(domain);
        if peer.wake() {
            self.tasks
                .spawn("outbox", worker::run(Arc::clone(self), peer));
        }
    }

    fn signal(self: &Arc<Self>, domain: &DomainName, signal: wire::Signal) {
        if !self.config.policy.permits(domain) {
            return;
        }
        let peer = self.peer(domain);
        let mut pump = peer.signals.lock();
        pump.queue.push(signal, Instant::now());
        if !std::mem::replace(&mut pump.running, true) {
            drop(pump);
            self.tasks
                .spawn("signals", pump_signals(Arc::clone(self), peer));
        }
    }

    /// The link to a peer: the one there is, or a new one if the peer may be tried now.
    pub(crate) async fn link(
        self: &Arc<Self>,
        peer: &Arc<Peer>,
        urgency: Urgency,
    ) -> Result<Arc<Established>, LinkError> {
        let mut slot = peer.link.lock().await;
        if let Some(link) = &*slot
            && !link.is_closed()
            && self.still_proves(&peer.domain, link.channel())
            && self.config.policy.permits(&peer.domain)
        {
            return Ok(Arc::clone(link));
        }
        *slot = None;
        if let Attempt::After(_) = peer.attempt(urgency, &self.config.backoff) {
            return Err(LinkError::Resting(peer.domain.clone()));
        }
        let _doubt = match peer.is_failing() {
            true => Some(self.doubtful_dials.acquire().await),
            false => None,
        };
        let _place = self.dials.acquire().await;
        peer.greeting();
        let identity = self.identity.get();
        let dialed = tokio::select! {
            dialed = Box::pin(dial(self, &peer.domain)) => dialed,
            () = self.tasks.stopped() => Err(LinkError::Ours("shutting down".to_owned())),
        };
        let dialed = match dialed {
            Ok(link) => self.hear(peer, &link).await.map(|()| link),
            failed => failed,
        };
        match dialed {
            Ok(link) => {
                peer.established();
                tracing::info!(peer = %peer.domain, received = ?link.received, "link established");
                let link = Arc::new(link);
                if !Arc::ptr_eq(&identity, &self.identity.get()) {
                    // Our keys have changed meanwhile: the peer is to hear of that soon.
                    peer.greet();
                    return Ok(link);
                }
                *slot = Some(Arc::clone(&link));
                let keeper = keep(Arc::clone(self), Arc::clone(peer), Arc::clone(&link));
                self.tasks.spawn("keeper", keeper);
                // Others may have waited for a link too.
                self.wake(&peer.domain);
                Ok(link)
            }
            Err(error) => {
                self.note_failure(peer, &error);
                Err(error)
            }
        }
    }

    /// Takes the peer's word on how far it has decided our stream. Nothing is on its way to it now, so
    /// that word is not older than what we know.
    async fn hear(&self, peer: &Peer, link: &Established) -> Result<(), LinkError> {
        let Some(word) = link.received.filter(|_| !self.quiet) else {
            return Ok(());
        };
        let heard = self.outbox.heard(link.peer(), word).await;
        if heard.map_err(|error| LinkError::Ours(error.to_string()))? {
            peer.look_again();
        }
        Ok(())
    }

    /// A peer has said in its own hello that it has lost something: a new link, on which it says so
    /// again, is made to offer it.
    pub(crate) fn begin_anew(self: &Arc<Self>, peer: &Arc<Peer>) {
        if !peer.may_begin_anew() {
            return;
        }
        // Whoever holds the place is about to hear it.
        if let Ok(mut slot) = peer.link.try_lock() {
            *slot = None;
        }
        peer.greet();
        self.wake(&peer.domain);
    }

    /// A call on a link failed: the link is given up, unless the peer only asked for patience.
    pub(crate) async fn link_failed(
        &self,
        peer: &Peer,
        link: &Arc<Established>,
        error: &LinkError,
    ) {
        let patience = matches!(
            error,
            LinkError::Lost {
                what: crate::LinkLost::Unavailable(_),
                ..
            }
        );
        if !patience {
            self.forget(peer, link).await;
        }
        self.note_failure(peer, error);
    }

    fn note_failure(&self, peer: &Peer, error: &LinkError) {
        let (news, name) = (peer.failed(error, &self.config.backoff), &peer.domain);
        match error.fault() {
            _ if !news || self.tasks.is_stopping() => {
                tracing::debug!(peer = %name, %error, "again")
            }
            Fault::Peer => tracing::warn!(peer = %name, fault = "peer", "{error}"),
            Fault::Network => tracing::info!(peer = %name, fault = "network", "{error}"),
            Fault::Ours => tracing::error!(peer = %name, fault = "ours", "{error}"),
        }
    }

    /// Takes a link out of use. Calls in hand go on; the connection ends with the last of them.
    async fn forget(&self, peer: &Peer, link: &Arc<Established>) {
        let mut slot = peer.link.lock().await;
        if slot.as_ref().is_some_and(|it| Arc::ptr_eq(it, link)) {
            *slot = None;
            peer.rests();
        }
    }
}

/// Gives a link up when it breaks, has been idle for long, or the domain stops.
async fn keep(engine: Arc<Engine>, peer: Arc<Peer>, link: Arc<Established>) {
    loop {
        let idle_at = link.used() + engine.config.idle_timeout;
        tokio::select! {
            () = link.closed() => break,
            () = engine.tasks.stopped() => break,
            () = sleep_until(idle_at) => {
                if link.used() + engine.config.idle_timeout <= Instant::now() {
                    break;
                }
            }
        }
    }
    engine.forget(&peer, &link).await;
    tracing::debug!(peer = %peer.domain, "link given up");
}

/// Sends the signals for one peer until none waits.
async fn pump_signals(engine: Arc<Engine>, peer: Arc<Peer>) {
    loop {
        let signals = {
            let mut pump = peer.signals.lock();
            let signals = pump.queue.take(Instant::now());
            pump.running = !signals.is_empty();
            signals
        };
        if signals.is_empty() {
            return;
        }
        if let Err(error) = send_signals(&engine, &peer, signals).await {
            tracing::debug!(peer = %peer.domain, %error, "signals forgotten");
            peer.signals.lock().queue.forget_all();
        }
    }
}

async fn send_signals(
    engine: &Arc<Engine>,
    peer: &Arc<Peer>,
    signals: Vec<wire::Signal>,
) -> Result<(), LinkError> {
    let link = engine.link(peer, Urgency::Usual).await?;
    let request = wire::SignalRequest {
        from: engine.domain().to_string(),
        to: peer.domain.to_string(),
        signals,
    };
    link.signal(request, engine.config.call_timeout).await
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}
