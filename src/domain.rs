//! The composition root: builds one domain from its configuration and keys, runs it, stops it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use freehold_config::{Config, Listing, TlsFiles, Waiting};
use freehold_directory::Directory;
use freehold_federation::{Bound, Federation, Reception, Tasks};
use freehold_keys::KeyRing;
use freehold_proto::Clock;
use freehold_store::{Engine, SledEngine, StoreError, Tables};
use tokio::net::TcpListener;
use tracing::{error, info, warn};

use crate::{
    accounts::{
        AccountError, codes::Codes, erasure, password::Passwords, service::Service, token::Tokens,
        trail,
    },
    control,
    edge::{
        entrance,
        front::Front,
        grpc, http,
        ids::Ids,
        tls::{Certificate, TlsError},
    },
    files::{Files, StorageError},
    limits::{self, Limits},
    listing::{self, Search},
    mail::{MailError, Post},
    packing,
    peers::{lives::Lives, local::Door, operator::PeerDesk, outbox::Outbox, pins::StoredPins},
    plugins::{PluginError, Plugins},
    push::Push,
    rekey,
    server::{CallRules, ClientRules, Server},
    topic::{self, hub::Hub},
};

/// Why a domain cannot be built. The operator's to mend, each named.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The store cannot be opened.
    #[error("the data in {path} cannot be opened: {source}")]
    Store {
        /// Where.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The clients' address cannot be had.
    #[error("cannot listen for clients on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The peers' address cannot be had, or our keys cannot be used.
    #[error(transparent)]
    Federation(#[from] freehold_federation::BindError),
    /// The directory cannot be set up.
    #[error(transparent)]
    Directory(#[from] freehold_directory::DirectoryError),
    /// Clients cannot be served over TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The files cannot be had.
    #[error(transparent)]
    Files(#[from] StorageError),
    /// Mail is configured and cannot be sent.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// A plugin cannot be used as it is configured.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// Our own fault.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A task that should have ended did not.
    #[error("the runtime stopped while the domain was being built")]
    Runtime,
}

/// A domain that is built: listeners bound, addresses known, nothing served yet.
#[derive(Debug)]
pub struct Domain {
    server: Arc<Server>,
    /// None behind a front that several domains share.
    clients: Option<TcpListener>,
    client_address: SocketAddr,
    hosts: Vec<String>,
    grpc: Option<(TcpListener, SocketAddr)>,
    keys: KeyRing,
    federation: Bound,
    directory: Arc<Directory>,
    desk: Arc<PeerDesk>,
    data_dir: PathBuf,
    store: freehold_store::Config,
    federation_address: SocketAddr,
    web_root: Option<PathBuf>,
}

/// Where the listeners are that several domains share.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    /// The clients'.
    pub clients: SocketAddr,
    /// The peers'.
    pub federation: SocketAddr,
}

/// A domain that serves.
#[derive(Debug)]
pub struct Running {
    server: Arc<Server>,
}

impl Domain {
    /// Opens the store and binds the listeners.
    pub async fn build(
        config: Config,
        keys: KeyRing,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let store = config.store.clone();
        let open = || Ok(Arc::new(SledEngine::open(store)?) as Arc<dyn Engine>);
        Box::pin(Self::build_on(open, config, keys, clock)).await
    }

    /// The same behind listeners that several domains share; see [`Domain::start_behind`].
    pub async fn build_behind(
        shared: Shared,
        config: Config,
        keys: KeyRing,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let store = config.store.clone();
        let open = || Ok(Arc::new(SledEngine::open(store)?) as Arc<dyn Engine>);
        Box::pin(Self::put_together(open, Some(shared), config, keys, clock)).await
    }

    /// The same on a store that `open` opens.
    pub(crate) async fn build_on(
        open: impl FnOnce() -> Result<Arc<dyn Engine>, StoreError> + Send + 'static,
        config: Config,
        keys: KeyRing,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        Box::pin(Self::put_together(open, None, config, keys, clock)).await
    }

    async fn put_together(
        open: impl FnOnce() -> Result<Arc<dyn Engine>, StoreError> + Send + 'static,
        shared: Option<Shared>,
        config: Config,
        keys: KeyRing,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BuildError> {
        let certificate = certificate(config.clients.tls.clone(), &clock).await?;
        let path = config.data_dir.clone();
        let fault = |source| BuildError::Store { path, source };
        let opening = tokio::task::spawn_blocking(move || Tables::open(open()?));
        let tables = opening
            .await
            .map_err(|_| BuildError::Runtime)?
            .map_err(fault)?;
        let lives = Lives::read(&tables).await.map_err(AccountError::from)?;
        let pins = Arc::new(StoredPins::new(tables.clone(), Arc::clone(&lives)));
        let directory = Arc::new(Directory::new(config.directory, pins, Arc::clone(&clock))?);
        let configured = config.federation.policy.with(&[], &[]);
        let (links, now) = (config.federation, Arc::clone(&clock));
        let (federation, clients, client_address) = match shared {
            Some(at) => {
                let federation = Federation::behind(at.federation, links, &keys, now)?;
                (federation, None, at.clients)
            }
            None => {
                let federation = Federation::bind(links, &keys, now).await?;
                let (clients, address) = listen(config.clients.listen).await?;
                (federation, Some(clients), address)
            }
        };
        let grpc = match config.clients.grpc_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let rules = ClientRules {
            api_keys: config.clients.api_keys,
            message_bytes_max: config.clients.message_bytes_max,
            file_bytes_max: config.files.file_bytes_max,
            websocket_read_buffer: config.clients.websocket_read_buffer,
            connections_max: config.clients.connections_max,
            registration: config.clients.registration,
            anonymous: config.clients.anonymous,
            required_credentials: config.clients.required_credentials,
            masked_tags: config.clients.masked_tags,
            proxies: config.clients.proxies,
            findable: config.clients.findable,
            group_members_max: config.clients.group_members_max,
            delete_for_both: config.clients.delete_for_both,
            deletion_age: config.clients.delete_within,
            calls: config.calls.map(|calls| CallRules {
                timeout: calls.timeout,
                ice_urls: calls.ice_urls,
                turn_secret: calls.turn_secret,
                turn_lifetime: calls.turn_lifetime,
            }),
        };
        let service = config.authentication.as_ref().map(Service::new);
        let service = service.transpose().map_err(AccountError::from)?;
        let post = config.mail.as_ref().map(Post::new).transpose()?;
        let (us, tasks) = (keys.domain().clone(), Tasks::default());
        let opening = Files::open(
            us,
            tables.clone(),
            Arc::clone(&clock),
            tasks.clone(),
            &config.files,
        );
        let files = opening.await?;
        let plugins = Plugins::new(config.plugins, &tasks)?;
        let push = config.push.map(Push::new).transpose();
        let push = push.map_err(AccountError::from)?;
        let parts = Parts {
            waiting: config.waiting,
            limits: Limits::new(config.limits, &clock),
            certificate,
            audit: config.audit,
            plugins,
            push,
            files,
            lives,
            tasks,
            post,
            service,
            directory: Arc::clone(&directory),
            listing: config.listing,
        };
        let server = server(tables, &keys, clock, rules, parts)?;
        if let Some(public) = &config.clients.public {
            let app = config
                .clients
                .web_root
                .as_deref()
                .is_some_and(http::has_app);
            let entrance = entrance::entrance(public, &server.rules, app);
            federation.handle().open_entrance(entrance);
        }
        let desk = PeerDesk::new(Arc::clone(&server), Arc::clone(&directory), configured);
        let policy = desk.policy().await.map_err(AccountError::from)?;
        federation.handle().set_policy(&policy);
        Ok(Self {
            server,
            desk: Arc::new(desk),
            data_dir: config.data_dir,
            store: config.store,
            keys,
            clients,
            client_address,
            grpc,
            federation_address: federation.local_addr(),
            federation,
            directory,
            hosts: config.clients.hosts,
            web_root: config.clients.web_root,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where clients that speak gRPC connect, if they can.
    #[must_use]
    pub fn grpc_address(&self) -> Option<SocketAddr> {
        self.grpc.as_ref().map(|(_, address)| *address)
    }

    /// Where peers connect.
    #[must_use]
    pub fn federation_address(&self) -> SocketAddr {
        self.federation_address
    }

    /// Where the operator's word about peers is carried out.
    #[must_use]
    pub fn peer_desk(&self) -> &PeerDesk {
        &self.desk
    }

    /// The shared parts, for what the operator does while nothing is served.
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// What asking other domains takes; nothing listens for anybody any more.
    pub(crate) fn into_parts(self) -> (Arc<Server>, Bound, Arc<Directory>) {
        (self.server, self.federation, self.directory)
    }

    /// Begins to serve clients and peers.
    #[must_use]
    pub fn start(mut self) -> Running {
        let (clients, web_root) = (self.clients.take(), self.web_root.take());
        let running = self.begin(|federation, server, directory, door| {
            let outbox = Arc::clone(&server.outbox);
            federation.start(&server.tasks, directory, door, outbox)
        });
        let server = &running.server;
        if let Some(listener) = clients {
            let serving = http::serve(Arc::clone(server), listener, web_root);
            server.tasks.spawn("clients", serving);
        }
        running
    }

    /// The same behind listeners that several domains share. Returns the names by which clients reach it
    /// there.
    #[must_use]
    pub fn start_behind(mut self, reception: &Reception, front: &Front) -> (Running, Vec<String>) {
        let arrivals = reception.join(&self.server.us);
        let mut names = vec![self.server.us.to_string()];
        names.extend(std::mem::take(&mut self.hosts));
        let web_root = self.web_root.take();
        let running = self.begin(|federation, server, directory, door| {
            let outbox: Arc<Outbox> = Arc::clone(&server.outbox);
            federation.start_behind(arrivals, &server.tasks, directory, (door, outbox))
        });
        let taken = front.join(&running.server, web_root, &names);
        names.retain(|it| !taken.contains(it));
        if !taken.is_empty() {
            warn!(domain = %running.server.us, ?taken, "these names lead to another domain here already");
        }
        (running, names)
    }

    fn begin(
        self,
        link: impl FnOnce(Bound, &Arc<Server>, Arc<Directory>, Arc<Door>) -> Federation,
    ) -> Running {
        let Self {
            server,
            grpc,
            keys,
            federation,
            directory,
            desk,
            data_dir,
            store,
            ..
        } = self;
        let door = Arc::new(Door::new(Arc::clone(&server)));
        if let Some(push) = &server.push {
            push.start(&server, &directory);
        }
        let handle = link(federation, &server, directory, door);
        if server.federation.set(handle).is_err() {
            warn!("the domain was started twice");
        }
        server.files.start();
        server
            .tasks
            .spawn("limits", limits::sweep(Arc::clone(&server)));
        let tasks = server.tasks.clone();
        if let Some(listener) = control::open(&data_dir) {
            let operator = control::serve(Arc::clone(&server), desk, listener, data_dir);
            tasks.spawn("operator", operator);
        }
        tasks.spawn("keys", rekey::follow(Arc::clone(&server), keys));
        tasks.spawn("resume", Hub::resume(Arc::clone(&server)));
        if let Some((listener, address)) = grpc {
            tasks.spawn("grpc", grpc::serve(Arc::clone(&server), listener));
            info!(domain = %server.us, grpc = %address, "serving gRPC");
        }
        if let Some(post) = &server.post {
            tasks.spawn("mail", Arc::clone(post).work_until(tasks.stop_token()));
        }
        server.plugins.start(&tasks);
        if server.listing.announce {
            tasks.spawn("announce", listing::announce(Arc::clone(&server)));
        }
        tasks.spawn("successors", topic::watch_homes(Arc::clone(&server)));
        tasks.spawn("audit", trail::keep_short(Arc::clone(&server)));
        tasks.spawn("erasure", erasure::resume(Arc::clone(&server)));
        tasks.spawn("packing", packing::run(Arc::clone(&server), store));
        info!(domain = %server.us, clients = %self.client_address, peers = %self.federation_address, "serving");
        Running { server }
    }

    /// Lets go of the store without having served.
    pub async fn close(self) {
        close(&self.server).await;
    }
}

/// What clients are shown, if they are served over TLS. Before anything is opened: it is soon mended.
async fn certificate(
    files: Option<TlsFiles>,
    clock: &Arc<dyn Clock>,
) -> Result<Option<Arc<Certificate>>, BuildError> {
    let Some(files) = files else {
        return Ok(None);
    };
    let clock = Arc::clone(clock);
    let reading = tokio::task::spawn_blocking(move || Certificate::open(files, clock));
    let certificate = reading.await.map_err(|_| BuildError::Runtime)??;
    Ok(Some(Arc::new(certificate)))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BuildError> {
    let fault = |source| BuildError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(fault)?;
    let address = listener.local_addr().map_err(fault)?;
    Ok((listener, address))
}

/// What a domain is put together from, beside its store and its keys.
struct Parts {
    waiting: Waiting,
    limits: Limits,
    certificate: Option<Arc<Certificate>>,
    audit: freehold_config::Audit,
    plugins: Plugins,
    push: Option<Push>,
    files: Arc<Files>,
    lives: Arc<Lives>,
    tasks: Tasks,
    post: Option<Post>,
    service: Option<Service>,
    directory: Arc<Directory>,
    listing: Listing,
}

fn server(
    tables: Tables,
    keys: &KeyRing,
    clock: Arc<dyn Clock>,
    rules: ClientRules,
    Parts {
        waiting,
        limits,
        certificate,
        audit,
        plugins,
        push,
        files,
        lives,
        tasks,
        post,
        service,
        directory,
        listing,
    }: Parts,
) -> Result<Arc<Server>, BuildError> {
    let us = keys.domain().clone();
    let search = Search::new(&clock);
    let outbox = Arc::new(Outbox::new(tables.clone(), keys.signer()).within(waiting));
    let server = Arc::new(Server {
        ids: Ids::new(us.clone()),
        tokens: Tokens::new(us.clone(), keys.token_secret()),
        us,
        clock,
        tables,
        signer: keys.signer(),
        passwords: Passwords::new()?,
        codes: Codes::new(keys.token_secret()),
        post: post.map(Arc::new),
        service: service.map(Arc::new),
        attempts: Default::default(),
        limits,
        sessions: Default::default(),
        rules,
        certificate,
        audit,
        plugins,
        push: push.map(Arc::new),
        online: Default::default(),
        hub: Default::default(),
        pages: topic::catching_up::turns(),
        files,
        file_bounds: Default::default(),
        directory,
        listing,
        search,
        outbox: Arc::clone(&outbox),
        lives,
        tasks,
        federation: Default::default(),
        account_turns: std::array::from_fn(|_| tokio::sync::Mutex::default()),
        abroad: Default::default(),
    });
    outbox.serve(&server);
    Ok(server)
}

pub(crate) async fn close(server: &Arc<Server>) {
    let engine = Arc::clone(server.tables.engine());
    match tokio::task::spawn_blocking(move || engine.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => error!(%fault, "the store did not close in good order"),
        Err(_) => error!("the store's closing was cut off"),
    }
}

impl Running {
    /// Completes when the domain can no longer serve and the process should end, to be started again:
    /// the store has had an I/O error.
    pub async fn stopped(&self) {
        let mut poisoned = self.server.tables.engine().poisoned();
        // An error means that the store is gone, which is an end too.
        let _gone = poisoned.wait_for(|it| *it).await.is_err();
    }

    /// True when the domain can no longer serve; see [`Running::stopped`].
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.server.tables.engine().poisoned().borrow()
    }

    /// Stops: no new connections, a word to clients and peers, what is in hand is finished, the store
    /// is closed. Waits at most for `grace` before the store is closed all the same.
    pub async fn stop(self, grace: Duration) {
        self.end(grace).await;
    }

    /// The same for somebody who shares it.
    pub async fn end(&self, grace: Duration) {
        let left = self.server.tasks.drain(grace).await;
        if left > 0 {
            warn!(left, "tasks were cut off at the end");
        }
        close(&self.server).await;
        info!(domain = %self.server.us, "stopped");
    }
}
