//! A network of domains that find each other through one DNS server.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use freehold::{Domain, Running};
use freehold_config::Config;
use freehold_directory::{NegativeCache, Node, NodeListener, serve_node};
use freehold_federation::Backoff;
use freehold_interop::{DnsServer, Endpoint, Person, ScriptedPeer};
use freehold_keys::{KeyRing, fingerprint_to_text};
use freehold_proto::{Clock as _, DomainName, ManualClock, Timestamp};
use tempfile::TempDir;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::guest::Guest;

const STOP_GRACE: Duration = Duration::from_secs(10);

/// A line in the section `[push]`: what was told to a session is soon looked at again.
pub(crate) const LOOK_AGAIN_SOON: &str = "# look again soon";

/// What all domains of a scene share.
pub(crate) struct Net {
    pub(crate) clock: Arc<ManualClock>,
    dns: Arc<DnsServer>,
    folder: TempDir,
}

/// A node of the public directory.
pub(crate) struct DirectoryNode {
    pub(crate) address: SocketAddr,
    serving: JoinSet<()>,
}

impl DirectoryNode {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// It is gone at once, with all that it knew.
    pub(crate) async fn dies(mut self) {
        self.serving.shutdown().await;
    }
}

/// One domain: set up once, stopped and started as often as a scene likes.
pub(crate) struct House {
    pub(crate) name: DomainName,
    /// Where its clients connect. Another one after each start.
    pub(crate) endpoint: Endpoint,
    /// Where they connect with gRPC, if they can.
    pub(crate) grpc: Option<SocketAddr>,
    /// Where other domains connect, from its first start on.
    pub(crate) federation: SocketAddr,
    folder: PathBuf,
    settings: String,
    clock: Arc<ManualClock>,
    dns: Arc<DnsServer>,
    /// The recovery phrase that its keys were made with.
    pub(crate) phrase: String,
    running: Option<Running>,
}

impl Net {
    pub(crate) async fn new() -> Self {
        // With RUST_LOG=debug a scene shows what its domains say of it.
        let _is_set = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        Self {
            clock: Arc::new(ManualClock::new(start)),
            dns: Arc::new(DnsServer::start().await.unwrap()),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Where the scene keeps its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A peer that says what the scene wants, known to all domains.
    pub(crate) async fn stranger(&self, name: &str) -> ScriptedPeer {
        let here = [127, 0, 0, 1].into();
        let peer = ScriptedPeer::start(name, here).await.unwrap();
        let (name, at) = (peer.domain(), peer.address());
        self.dns.publish(name, at, &peer.root()).unwrap();
        peer
    }

    /// A domain that can be connected to and never says anything, as long as this is kept.
    pub(crate) async fn silent(&self, name: &str) -> (std::net::TcpListener, ScriptedPeer) {
        let peer = self.stranger(name).await;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        self.dns.publish(peer.domain(), at, &peer.root()).unwrap();
        (listener, peer)
    }

    /// A node of the public directory, until it is dropped.
    pub(crate) async fn node(&self) -> DirectoryNode {
        self.node_at("127.0.0.1:0".parse().unwrap()).await
    }

    /// The same at an address.
    pub(crate) async fn node_at(&self, address: SocketAddr) -> DirectoryNode {
        let text = format!(
            "listen = \"{address}\"\nquestions = [0, 0]\n[discovery]\nnameserver = \"{}\"\n\
             dnssec = false\nallowed_ranges = [\"127.0.0.0/8\"]\n",
            self.dns.address()
        );
        let config = freehold_config::node_from_toml(&text, Path::new("/")).unwrap();
        let listener = NodeListener::bind(config.listen).await.unwrap();
        let address = listener.local_addr();
        let node = Arc::new(Node::new(config, self.clock.clone()).unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(serve_node(node, listener, std::future::pending()));
        DirectoryNode { address, serving }
    }

    /// A domain that tells these nodes what may be found and asks them what people search for.
    pub(crate) async fn listed(&self, name: &str, nodes: &[&DirectoryNode]) -> House {
        let urls: Vec<String> = nodes.iter().map(|it| it.url()).collect();
        let lines = format!("[directory]\nnodes = {urls:?}\nannounce = true\n");
        self.domain_with(name, &lines).await
    }

    /// A domain where everybody may make an account.
    pub(crate) async fn domain(&self, name: &str) -> House {
        self.domain_with(name, "").await
    }

    /// The same with more lines in the section `[clients]` of its configuration.
    pub(crate) async fn domain_with(&self, name: &str, clients: &str) -> House {
        let name: DomainName = name.parse().unwrap();
        let folder = self.folder.path().join(name.as_str());
        fs::create_dir(&folder).unwrap();
        let made = KeyRing::create(&folder.join("keys"), &name, self.clock.now());
        let (_, phrase) = made.unwrap();
        let mut house = House {
            endpoint: Endpoint::new(name.clone(), self.dns.address()),
            grpc: None,
            federation: self.dns.address(),
            settings: settings(&name, clients, &self.dns),
            name,
            folder,
            clock: Arc::clone(&self.clock),
            dns: Arc::clone(&self.dns),
            phrase: phrase.words().to_string(),
            running: None,
        };
        house.start().await;
        house
    }
}

fn settings(name: &DomainName, clients: &str, dns: &DnsServer) -> String {
    format!(
        "domain = \"{name}\"\n\
         [clients]\nlisten = \"127.0.0.1:0\"\nregistration = \"open\"\n{clients}\n\
         [federation]\nlisten = \"127.0.0.1:0\"\ntrust = \"dns\"\nnameserver = \"{}\"\n\
         allowed_ranges = [\"127.0.0.0/8\"]\n",
        dns.address()
    )
}

impl Net {
    /// The configuration of a domain in a folder, with more lines in the section `[clients]`.
    pub(crate) fn config_of(&self, name: &DomainName, folder: &Path, clients: &str) -> Config {
        impatient(&settings(name, clients, &self.dns), folder)
    }

    /// Tells DNS where a domain is.
    pub(crate) fn publish(&self, name: &DomainName, at: SocketAddr, root: &str) {
        self.dns.publish(name, at, root).unwrap();
    }
}

impl Guest {
    /// Somebody makes an account.
    pub(crate) async fn at(endpoint: Endpoint, login: &str) -> Self {
        let (person, session) = Person::register(&endpoint, login).await.unwrap();
        Self { person, session }
    }
}

/// As configured, but nobody is patient in a test.
fn impatient(settings: &str, folder: &Path) -> Config {
    let millis = Duration::from_millis;
    let mut config = freehold_config::from_toml(settings, folder).unwrap();
    config.federation.backoff = Backoff::new(millis(20), millis(200), millis(200)).unwrap();
    config.directory.negative_cache = NegativeCache {
        first: millis(20),
        longest: millis(200),
    };
    config.waiting.takeover_after = Some(millis(1500));
    config.files.collect_every = millis(20);
    if settings.contains(LOOK_AGAIN_SOON)
        && let Some(push) = &mut config.push
    {
        // Longer than marks take to be written.
        push.look_again_after = Duration::from_secs(8);
    }
    config
}

impl House {
    fn config(&self) -> Config {
        impatient(&self.settings, &self.folder)
    }

    /// Where it keeps its state.
    pub(crate) fn data(&self) -> &Path {
        &self.folder
    }

    /// Changes a setting for the next start.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        let lines = self
            .settings
            .lines()
            .map(|line| match line.split_once(" = ") {
                Some((found, _)) if found == key => format!("{key} = {value}\n"),
                _ => format!("{line}\n"),
            });
        self.settings = lines.collect();
    }

    /// Starts it on the data it has, at new ports, and tells DNS.
    pub(crate) async fn start(&mut self) {
        let config = self.config();
        let keys = KeyRing::load(&config.keys_dir, &self.name, self.clock.now()).unwrap();
        let root = fingerprint_to_text(&keys.record().root_fingerprint());
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        let domain = Box::pin(Domain::build(config, keys, clock)).await.unwrap();
        self.dns
            .publish(&self.name, domain.federation_address(), &root)
            .unwrap();
        self.endpoint.client = domain.client_address();
        self.grpc = domain.grpc_address();
        self.federation = domain.federation_address();
        self.running = Some(domain.start());
    }

    /// The domain as the operator has it in hand while it is stopped.
    pub(crate) async fn in_hand(&self) -> Domain {
        let config = self.config();
        let keys = KeyRing::load(&config.keys_dir, &self.name, self.clock.now()).unwrap();
        let clock: Arc<ManualClock> = Arc::clone(&self.clock);
        Box::pin(Domain::build(config, keys, clock)).await.unwrap()
    }

    /// The mails written so far to an address, where the configuration says `folder = "mail"`.
    pub(crate) fn mails(&self, to: &str) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.folder.join("mail")) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = folder.map(|it| it.unwrap().path()).collect();
        paths.retain(|it| it.extension().is_some_and(|it| it == "eml"));
        paths.sort();
        let mails = paths.iter().map(|it| fs::read_to_string(it).unwrap());
        let for_them = format!("To: {to}\r\n");
        mails.filter(|it| it.contains(&for_them)).collect()
    }

    /// The code in the mail of this number to an address.
    pub(crate) async fn code(&self, to: &str, number: usize) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.mails(to).len() < number {
            assert!(Instant::now() < deadline, "no mail {number} came to {to}");
            sleep(Duration::from_millis(10)).await;
        }
        let mail = self.mails(to).swap_remove(number - 1);
        let (_, after) = mail.split_once("type this code: ").unwrap();
        after.chars().take(6).collect()
    }

    /// Stops it in good order.
    pub(crate) async fn stop(&mut self) {
        self.running.take().unwrap().stop(STOP_GRACE).await;
    }

    /// Where WebSockets are made.
    pub(crate) fn url(&self, query: &str) -> String {
        format!("ws://{}/v0/channels{query}", self.endpoint.client)
    }

    /// Somebody new makes an account and stays.
    pub(crate) async fn guest(&self, login: &str) -> Guest {
        Guest::at(self.endpoint.clone(), login).await
    }

    /// Somebody connects again after the domain was started anew.
    pub(crate) async fn welcomes_back(&self, guest: &mut Guest) {
        guest.person.endpoint = self.endpoint.clone();
        guest.session = guest.person.come_back().await.unwrap();
    }

    /// Somebody comes back after so long that the token has ended.
    pub(crate) async fn logs_in_again(&self, guest: &mut Guest) {
        guest.person.endpoint = self.endpoint.clone();
        guest.session = guest.person.log_in_by_password().await.unwrap();
    }
}
