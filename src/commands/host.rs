//! `freehold host`: several domains in one process, behind shared listeners, added and removed while it
//! runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use freehold::{Domain, Front, Running, Shared, clock};
use freehold_federation::{Reception, SharedListener, Tasks};
use freehold_keys::KeyRing;
use freehold_proto::Clock;
use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{Instrument as _, error, info, info_span};

use super::{
    CommandError, STOP_GRACE, load_config, logging, open_files, signals::StopSignal, while_doing,
};

/// How often the folder is looked at.
const EVERY: Duration = Duration::from_secs(2);
/// A domain that could not be served is tried again after this, or when its configuration changes.
const TRY_AGAIN: Duration = Duration::from_secs(60);
/// The configuration of each domain, in a folder of its own.
const FILE: &str = "freehold.toml";
/// Domains in one process.
const DOMAINS_MAX: usize = 1000;

/// Serve all domains of a folder until stopped: one sub-folder for each, as `freehold init` makes it.
/// One that is added is served, one that is taken away is stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Host {
    /// The folder with one sub-folder for each domain
    #[arg(long, value_name = "DIR")]
    domains: PathBuf,
    /// Where clients of all of them connect; what the domains' own configurations say of it is not looked at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6060")]
    clients: SocketAddr,
    /// Where other domains connect to all of them; likewise
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:6269")]
    federation: SocketAddr,
    /// Write log lines as JSON
    #[arg(long)]
    json_logs: bool,
}

/// A domain that is served here.
struct Hosted {
    running: Arc<Running>,
    name: freehold_proto::DomainName,
    hosts: Vec<String>,
}

/// What the domains share.
struct House {
    clock: Arc<dyn Clock>,
    shared: Shared,
    reception: Reception,
    front: Front,
    served: BTreeMap<PathBuf, Hosted>,
    /// Folders that could not be served, as they were then, and when that was.
    refused: BTreeMap<PathBuf, (Option<SystemTime>, Instant)>,
}

impl Host {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        logging::start("info", self.json_logs);
        open_files::allow_all();
        let mut stop = StopSignal::new()?;
        let unheard = |what: &str| while_doing(format!("{what} cannot be listened to"));
        let clients = TcpListener::bind(self.clients).await;
        let clients = clients.map_err(unheard(&format!("Clients on {}", self.clients)))?;
        let peers = SharedListener::bind(self.federation).await;
        let peers = peers.map_err(|fault| CommandError::Build(fault.into()))?;
        let mut house = House {
            clock: clock::of_this_process(),
            shared: Shared {
                clients: clients.local_addr().map_err(unheard("Clients"))?,
                federation: peers.local_addr(),
            },
            reception: peers.reception(),
            front: Front::default(),
            served: BTreeMap::new(),
            refused: BTreeMap::new(),
        };
        info!(clients = %house.shared.clients, peers = %house.shared.federation, "listening for all domains");
        let tasks = Tasks::default();
        tasks.spawn("reception", peers.run(tasks.clone()));
        tasks.spawn("front", house.front.clone().serve(clients, tasks.clone()));
        loop {
            let looked = tokio::select! {
                looked = house.look(&self.domains) => looked,
                () = stop.heard() => break,
            };
            // Those that are served go on, whatever cannot be read now.
            if let Err(fault) = looked {
                error!(%fault, "the folder of domains cannot be looked at now");
            }
            tokio::select! {
                () = sleep(EVERY) => {}
                () = stop.heard() => break,
            }
        }
        tasks.stop();
        house.close().await;
        tasks.drain(STOP_GRACE).await;
        Ok(())
    }
}

impl House {
    /// Brings what is served in line with the folder.
    async fn look(&mut self, folder: &Path) -> Result<(), CommandError> {
        let found = domains_in(folder)?;
        let gone: Vec<_> = self.served.keys().cloned().collect();
        for path in gone {
            let stopped = self
                .served
                .get(&path)
                .is_some_and(|it| it.running.is_stopped());
            if stopped || !found.contains(&path) {
                self.stop(&path).await;
            }
        }
        self.refused.retain(|path, _| found.contains(path));
        for path in found {
            let changed = changed_at(&path);
            let refused = self.refused.get(&path);
            let waits = refused.is_some_and(|it| it.0 == changed && it.1.elapsed() < TRY_AGAIN);
            if waits || self.served.contains_key(&path) {
                continue;
            }
            let outcome = match self.served.len() < DOMAINS_MAX {
                true => Box::pin(self.serve(&path)).await,
                false => Err(CommandError::Usage(format!(
                    "There are {DOMAINS_MAX} domains here already."
                ))),
            };
            if let Err(fault) = outcome {
                error!(folder = %path.display(), %fault, "a domain cannot be served; it is tried again in a minute, or when its configuration changes");
                self.refused.insert(path, (changed, Instant::now()));
            }
        }
        Ok(())
    }

    async fn serve(&mut self, path: &Path) -> Result<(), CommandError> {
        let config = load_config(&path.join(FILE))?;
        let name = config.domain.clone();
        if let Some(other) = self.served.values().find(|it| it.name == name) {
            return Err(CommandError::Usage(format!(
                "{} is served from another folder here.",
                other.name
            )));
        }
        if let Err(why) = self.front.admits(config.clients.tls.is_some()) {
            let sentence = format!("{name} cannot be served beside the others: {why}.");
            return Err(CommandError::Usage(sentence));
        }
        let keys = KeyRing::load(&config.keys_dir, &name, self.clock.now())?;
        let clock = Arc::clone(&self.clock);
        let span = info_span!("domain", %name);
        let building = Domain::build_behind(self.shared, config, keys, clock);
        let domain = Box::pin(building.instrument(span.clone())).await?;
        let (running, hosts) = span.in_scope(|| domain.start_behind(&self.reception, &self.front));
        let hosted = Hosted {
            running: Arc::new(running),
            name,
            hosts,
        };
        self.served.insert(path.to_owned(), hosted);
        Ok(())
    }

    async fn stop(&mut self, path: &Path) {
        if let Some(hosted) = self.served.remove(path) {
            self.reception.leave(&hosted.name);
            self.front.leave(&hosted.hosts);
            hosted.running.end(STOP_GRACE).await;
        }
    }

    /// Stops all of them at once.
    async fn close(self) {
        let mut ending = JoinSet::new();
        for hosted in self.served.into_values() {
            ending.spawn(async move { hosted.running.end(STOP_GRACE).await });
        }
        while ending.join_next().await.is_some() {}
    }
}

/// The sub-folders that hold a domain.
fn domains_in(folder: &Path) -> Result<BTreeSet<PathBuf>, CommandError> {
    let unread = || while_doing(format!("The folder {} cannot be read", folder.display()));
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).map_err(unread())? {
        let path = entry.map_err(unread())?.path();
        if path.join(FILE).is_file() {
            found.insert(path);
        }
    }
    Ok(found)
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path.join(FILE)).ok()?.modified().ok()
}
