//! A network of domains: each a process of its own with its own address, folder and keys, a DNS server of
//! its own to ask, and a proxy on each way from one to another.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::Arc,
    time::Duration,
};

use freehold_keys::{KeyError, KeyRing, VerifiedRecord, fingerprint_from_text};
use freehold_proto::DomainName;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    ConfigFile, DnsServer, Endpoint, Failure, Hooks, Need, Outside, Process, Proxy, Random, Result,
    ScriptedPeer, Session, Target, Timeline, Way, freehold_binary, hooks::set_clock,
    peer::SUCCESSORS, process,
};

/// Time for a server to answer clients after it was started.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Time for `freehold init`.
const INIT_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(20);
/// Where clients of a domain connect to for whom no address was given.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Below the range that systems give to outgoing connections, so that a killed server finds its port
/// still free.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// Several domains that can find each other. From each to each there is a [`Proxy`], and each asks a
/// DNS server of its own, which leads it to its own proxies.
#[derive(Debug)]
pub struct Network {
    // In the order they are dropped: the processes end before their folder goes.
    domains: Vec<Domain>,
    ways: BTreeMap<(usize, usize), Proxy>,
    folder: TempDir,
    strangers: u8,
    /// Where the peers of servers are that the suite did not start.
    places: Option<Places>,
    line: Timeline,
}

/// How the peers are known to servers that know others from before.
#[derive(Debug)]
struct Places {
    ip: IpAddr,
    zone: String,
    tag: String,
}

/// One domain: set up once, started and killed as often as a case likes.
#[derive(Debug)]
pub struct Domain {
    endpoint: Endpoint,
    folder: PathBuf,
    process: Option<Process>,
    /// Whether the suite starts it.
    ours: bool,
    dns: Arc<DnsServer>,
    root: String,
    line: Timeline,
    /// Its configuration, written anew at each start.
    pub config: ConfigFile,
    /// What a server with test hooks is told at each start.
    pub hooks: Hooks,
}

/// What waits at one domain for another one, as `freehold peers` tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// For whom.
    pub peer: String,
    /// Items that are offered as soon as it can be reached.
    pub waiting: usize,
    /// Messages that it wants later.
    pub parked: usize,
    /// Those of them on which it failed again and again.
    pub failed: usize,
}

impl Network {
    /// Sets up and starts one domain per name.
    pub async fn start(names: &[&str]) -> Result<Self> {
        let mut network = Self::set_up(names, 0, Timeline::default()).await?;
        for domain in &mut network.domains {
            domain.start().await?;
        }
        Ok(network)
    }

    /// Sets up one domain per name, to be configured and started. Chance in the ways between them
    /// comes from `seed`.
    pub async fn set_up(names: &[&str], seed: u64, line: Timeline) -> Result<Self> {
        let mut network = Self::empty(line)?;
        let mut ports = Ports::new()?;
        for name in names {
            let domain = network.set_up_domain(name, &mut ports).await?;
            network.domains.push(domain);
        }
        network.lay_ways(&mut Random::new(seed)).await?;
        Ok(network)
    }

    fn empty(line: Timeline) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("freehold-interop-")
            .tempdir();
        let folder = folder.map_err(|error| Failure::harness("make a folder", error))?;
        Ok(Self {
            domains: Vec::new(),
            ways: BTreeMap::new(),
            folder,
            strangers: 0,
            places: None,
            line,
        })
    }

    /// Servers that somebody else has started, in the places of the domains that a case names. They ask one
    /// DNS server.
    pub async fn outside(outside: &Outside, names: &[&str], line: Timeline) -> Result<Self> {
        let mut network = Self::empty(line)?;
        let dns = Arc::new(DnsServer::start_at((outside.ip, outside.dns_port).into()).await?);
        let tag = freehold_keys::random::<3>();
        let tag = tag.map_err(|error| Failure::harness("choose a name", error))?;
        let tag: String = tag.iter().map(|it| format!("{it:02x}")).collect();
        for (target, name) in outside.targets.iter().zip(names) {
            network.line.calls(name, target.domain.as_str());
            let root = outside.root_of(target).await?;
            dns.publish(&target.domain, target.federation, &root)?;
            let domain = network.outside_domain(target, (&tag, Arc::clone(&dns)), root)?;
            network.domains.push(domain);
        }
        network.places = Some(Places {
            ip: outside.ip.into(),
            zone: outside.zone.clone(),
            tag,
        });
        Ok(network)
    }

    fn outside_domain(
        &self,
        target: &Target,
        (tag, dns): (&str, Arc<DnsServer>),
        root: String,
    ) -> Result<Domain> {
        let (domain, federation) = (target.domain.clone(), target.federation);
        let folder = self.folder.path().join(domain.as_str());
        fs::create_dir_all(&folder).map_err(|error| Failure::harness("make a folder", error))?;
        let client = target.client.unwrap_or(NOWHERE);
        let asks = dns.address();
        Ok(Domain {
            config: ConfigFile::of_test_domain(domain.clone(), client, federation, asks),
            endpoint: Endpoint {
                domain,
                client,
                api_key: target.api_key.clone(),
                tag: tag.to_owned(),
            },
            folder,
            process: None,
            ours: false,
            dns,
            root,
            line: self.line.clone(),
            hooks: Hooks::default(),
        })
    }

    /// How a peer that cases call so is called here: where servers remember the peers of other cases,
    /// each case has its own.
    #[must_use]
    pub fn called(&self, name: &str) -> String {
        match &self.places {
            None => name.to_owned(),
            Some(Places { zone, tag, .. }) => {
                let first = name.strip_suffix(".test").unwrap_or(name);
                format!("{first}-{tag}.{zone}")
            }
        }
    }

    /// Makes the keys and the configuration.
    async fn set_up_domain(&self, name: &str, ports: &mut Ports) -> Result<Domain> {
        let bad = |error| Failure::harness(format!("use {name} as a domain"), error);
        let domain: DomainName = name.parse().map_err(bad)?;
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).map_err(|error| Failure::harness("make a folder", error))?;
        let root = init(&domain, &folder).await?;
        let ip = loopback(self.domains.len());
        let (client, federation) = (ports.free(ip)?, ports.free(ip)?);
        let dns = Arc::new(DnsServer::start().await?);
        let config = ConfigFile::of_test_domain(domain.clone(), client, federation, dns.address());
        Ok(Domain {
            endpoint: Endpoint::new(domain, client),
            folder,
            process: None,
            ours: true,
            dns,
            root,
            line: self.line.clone(),
            config,
            hooks: Hooks::default(),
        })
    }

    /// Lays a way from each domain to each other one, and publishes it to the first.
    async fn lay_ways(&mut self, random: &mut Random) -> Result<()> {
        let count = self.domains.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        for (from, to) in pairs.filter(|(from, to)| from != to) {
            let (asker, asked) = (&self.domains[from], &self.domains[to]);
            let (ip, target) = (loopback(to), asked.config.federation);
            let proxy = Proxy::start(ip, target, Random::new(random.number())).await?;
            let name = &asked.endpoint.domain;
            asker.dns.publish(name, proxy.address(), &asked.root)?;
            self.ways.insert((from, to), proxy);
        }
        Ok(())
    }

    /// Makes somebody known to every domain who is not of this network: where to connect to and by
    /// which root key.
    pub fn publish_stranger(&self, name: &DomainName, at: SocketAddr, root: &str) -> Result<()> {
        let mut domains = self.domains.iter();
        domains.try_for_each(|it| it.dns.publish(name, at, root))
    }

    /// Starts a scripted peer with an address of its own, whom every domain can find.
    pub async fn stranger(&mut self, name: &str) -> Result<ScriptedPeer> {
        let peer = ScriptedPeer::start(&self.called(name), self.free_ip()).await?;
        self.introduce(&peer)?;
        Ok(peer)
    }

    /// The same with keys that `make` makes in an empty folder.
    pub async fn stranger_with(
        &mut self,
        name: &str,
        make: impl FnOnce(&Path, &DomainName) -> std::result::Result<KeyRing, KeyError>,
    ) -> Result<ScriptedPeer> {
        let peer = ScriptedPeer::start_with(&self.called(name), self.free_ip(), make).await?;
        self.introduce(&peer)?;
        Ok(peer)
    }

    /// An address that nobody else of this network has; of peers of servers that the suite did not start, the
    /// one that they may connect to.
    pub fn free_ip(&mut self) -> IpAddr {
        if let Some(places) = &self.places {
            return places.ip;
        }
        self.strangers = self.strangers.saturating_add(1);
        IpAddr::from([127, 0, 1, self.strangers])
    }

    fn introduce(&self, peer: &ScriptedPeer) -> Result<()> {
        let successors = SUCCESSORS.map(|it| self.called(it));
        peer.names_successors(&successors.each_ref().map(String::as_str));
        self.publish_stranger(peer.domain(), peer.address(), &peer.root())?;
        self.line
            .act(peer.domain(), "is a scripted peer, known to every domain");
        Ok(())
    }

    /// The same, and every way to it leads through one proxy.
    pub async fn stranger_behind(&mut self, name: &str) -> Result<(ScriptedPeer, Proxy)> {
        let peer = self.stranger(name).await?;
        let ip = peer.address().ip();
        let random = Random::new(u64::from(self.strangers));
        let way = Proxy::start(ip, peer.address(), random).await?;
        self.publish_stranger(peer.domain(), way.address(), &peer.root())?;
        Ok((peer, way))
    }

    /// Whether the suite has started the servers.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.places.is_none()
    }

    /// How many domains there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.domains.len()
    }

    /// True for a network without domains.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// The domain at `index`, in the order of [`Network::start`].
    pub fn domain(&mut self, index: usize) -> Result<&mut Domain> {
        let domain = self.domains.get_mut(index);
        domain.ok_or_else(|| Failure::harness(format!("find domain {index}"), "there is none"))
    }

    /// Where the clients of the domain at `index` connect to.
    pub fn endpoint(&mut self, index: usize) -> Result<Endpoint> {
        let endpoint = self.domain(index)?.endpoint.clone();
        match endpoint.client {
            NOWHERE => Err(Failure::NotHere(format!(
                "not played: needs people at {}, whose address for clients was not given",
                endpoint.domain
            ))),
            _ => Ok(endpoint),
        }
    }

    /// Where a domain takes links, without a proxy between.
    pub fn federation_of(&self, name: &DomainName) -> Result<SocketAddr> {
        let found = self.domains.iter().find(|it| it.name() == name);
        let no = || Failure::harness(format!("find {name}"), "there is none");
        Ok(found.ok_or_else(no)?.federation())
    }

    /// The way by which the domain at `from` reaches the one at `to`.
    pub fn way(&self, from: usize, to: usize) -> Result<&Proxy> {
        if self.places.is_some() {
            return Err(needs(Need::Ways));
        }
        let way = self.ways.get(&(from, to));
        way.ok_or_else(|| Failure::harness(format!("find the way {from} to {to}"), "there is none"))
    }

    /// Makes the ways between two domains so, there and back.
    pub fn set_ways(&self, one: usize, other: usize, way: Way) -> Result<()> {
        for (from, to) in [(one, other), (other, one)] {
            self.way(from, to)?.set(way);
        }
        let names = [one, other].map(|it| self.domains[it].endpoint.domain.as_str());
        self.line.fault(
            names.join(" and "),
            format!("the ways between them are {way:?}"),
        );
        Ok(())
    }

    /// Makes the way of one domain to another so, and not the way back.
    pub fn set_way(&self, from: usize, to: usize, way: Way) -> Result<()> {
        self.way(from, to)?.set(way);
        let [from, to] = [from, to].map(|it| self.domains[it].endpoint.domain.as_str());
        self.line.fault(from, format!("its way to {to} is {way:?}"));
        Ok(())
    }

    /// The last lines that each server said.
    #[must_use]
    pub fn last_words(&self) -> String {
        let words = self.domains.iter().map(|it| {
            let log = process::tail(&it.log());
            format!("--- {} said last:\n{log}", it.endpoint.domain)
        });
        words.collect::<Vec<_>>().join("\n")
    }

    /// Leaves the folder with data and logs on disk, and says where.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }
}

impl Domain {
    /// Where its clients connect to.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &DomainName {
        &self.endpoint.domain
    }

    /// Where other domains connect to, without a proxy between.
    #[must_use]
    pub fn federation(&self) -> SocketAddr {
        self.config.federation
    }

    /// What is told of it.
    pub(crate) fn timeline(&self) -> &Timeline {
        &self.line
    }

    /// The fingerprint of its first root key, as it was told to publish it.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Its data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The DNS server it asks, to change what it is told.
    #[must_use]
    pub fn dns(&self) -> &DnsServer {
        &self.dns
    }

    fn log(&self) -> PathBuf {
        self.folder.join("interop.log")
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        let said = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// For its operator's commands, or to start it.
    pub(crate) fn write_config(&self) -> Result<PathBuf> {
        self.is_ours_for(Need::Operator)?;
        let file = self.folder.join("interop.toml");
        fs::write(&file, self.config.to_toml())
            .map_err(|error| Failure::harness("write a configuration", error))?;
        Ok(file)
    }

    /// Starts it and waits until it answers clients.
    pub async fn start(&mut self) -> Result<()> {
        self.start_only()?;
        self.ready().await
    }

    /// Whether the suite starts and stops it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.ours
    }

    /// Why something cannot be done to a server that the suite did not start.
    fn is_ours_for(&self, need: Need) -> Result<()> {
        match self.ours {
            true => Ok(()),
            false => Err(needs(need)),
        }
    }

    /// Starts it, to end or to answer as it likes. One that the suite did not start is left as it is.
    pub fn start_only(&mut self) -> Result<()> {
        if !self.ours {
            return Ok(());
        }
        let name = self.endpoint.domain.to_string();
        let mut command = Command::new(freehold_binary()?);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.write_config()?);
        self.hooks.put(&mut command, &self.folder);
        let how = match &self.hooks.kill_at {
            Some(point) => format!("starts, to end itself at {point}"),
            None => "starts".to_owned(),
        };
        self.line.act(&name, how);
        self.process = Some(Process::start(&name, command, &self.log())?);
        Ok(())
    }

    /// Waits until it answers clients.
    pub async fn ready(&mut self) -> Result<()> {
        if self.endpoint.client == NOWHERE {
            return Ok(());
        }
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let failure = match Session::open(&self.endpoint, "starter").await {
                Ok(_) => return Ok(()),
                Err(failure) if failure.is_disconnect() => failure,
                Err(failure) => return Err(failure),
            };
            let name = &self.endpoint.domain;
            if let Some(process) = &mut self.process
                && let Some(status) = process.ended()?
            {
                return Err(Failure::Broken(format!(
                    "the server of {name} ended with {status}"
                )));
            }
            if Instant::now() > deadline {
                let awaited = format!("the server of {name} to be ready ({failure})");
                return Err(Failure::Late {
                    awaited,
                    after: READY_WITHIN,
                });
            }
            sleep(READY_POLL).await;
        }
    }

    /// SIGKILL: as if the power of this machine failed, save that its disk kept what it was given.
    pub fn kill(&mut self) -> Result<()> {
        self.is_ours_for(Need::Starting)?;
        match self.process.take() {
            Some(mut process) => {
                self.line.fault(&self.endpoint.domain, "is killed");
                process.kill()
            }
            None => Ok(()),
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.is_ours_for(Need::Starting)?;
        match self.process.take() {
            Some(mut process) => {
                self.line.act(&self.endpoint.domain, "is told to stop");
                process.terminate(within).await
            }
            None => Err(Failure::harness(
                format!("stop {}", self.endpoint.domain),
                "it is not running",
            )),
        }
    }

    /// Waits until it has ended by itself, and says how.
    pub async fn ends(&mut self, within: Duration) -> Result<ExitStatus> {
        self.is_ours_for(Need::Starting)?;
        let name = self.endpoint.domain.to_string();
        let Some(process) = &mut self.process else {
            return Err(Failure::harness(
                format!("wait for {name}"),
                "it is not running",
            ));
        };
        let status = process.wait(within).await?;
        self.process = None;
        self.line.fault(name, format!("has ended: {status}"));
        Ok(status)
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Sets its clock off by so many seconds, at once. Needs a server with test hooks.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        self.is_ours_for(Need::Hooks)?;
        self.line.fault(
            &self.endpoint.domain,
            format!("its clock is {seconds:+} s off"),
        );
        set_clock(&self.folder, seconds.saturating_mul(1000))
    }

    /// What waits here for others. It must be stopped.
    pub async fn waiting(&self) -> Result<Vec<Waiting>> {
        let name = format!("`freehold peers` of {}", self.endpoint.domain);
        let said = self.tell("peers", &[]).await?;
        let lines = said.lines().filter(|it| unconfirmed_in(it).is_none());
        let lines = lines.map(|line| {
            waiting_in(line).ok_or_else(|| Failure::Broken(format!("{name} printed {line:?}")))
        });
        lines.collect()
    }

    /// Which domains have not confirmed deletions and departures, and how many. It must be stopped.
    pub async fn unconfirmed(&self) -> Result<Vec<(String, usize)>> {
        let said = self.tell("peers", &[]).await?;
        Ok(said.lines().filter_map(unconfirmed_in).collect())
    }

    /// Runs a command of the operator's on its data and returns what it printed. It must be stopped.
    pub async fn tell(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let name = format!("`freehold {command}` of {}", self.endpoint.domain);
        let mut process = Command::new(freehold_binary()?);
        process
            .args(command.split_whitespace())
            .arg("--config")
            .arg(self.write_config()?)
            .args(arguments);
        let log = self.folder.join("command.log");
        let _none_yet = fs::remove_file(&log);
        process::output(&name, process, &log, INIT_WITHIN).await
    }
}

fn needs(need: Need) -> Failure {
    Failure::NotHere(format!("not played: needs {}", need.words()))
}

/// What a line of `freehold peers` says has not been confirmed, and by whom.
fn unconfirmed_in(line: &str) -> Option<(String, usize)> {
    let (peer, rest) = line.split_once("  has not confirmed ")?;
    let count = rest.split(' ').next()?.parse().ok()?;
    Some((peer.to_owned(), count))
}

/// A line of `freehold peers`.
fn waiting_in(line: &str) -> Option<Waiting> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words.get(..7)? {
        [peer, "waiting", waiting, "parked", parked, "failed", failed] => Some(Waiting {
            peer: (*peer).to_owned(),
            waiting: waiting.parse().ok()?,
            parked: parked.parse().ok()?,
            failed: failed.parse().ok()?,
        }),
        _ => None,
    }
}

/// The address of the domain at `index`, and of the proxies that lead to it.
fn loopback(index: usize) -> IpAddr {
    let last = u8::try_from(index).unwrap_or(u8::MAX).saturating_add(11);
    IpAddr::from([127, 0, 0, last])
}

/// Runs `freehold init` and returns the fingerprint of the root key it tells to publish.
async fn init(domain: &DomainName, folder: &Path) -> Result<String> {
    let mut command = Command::new(freehold_binary()?);
    command
        .args(["init", "--domain", domain.as_str(), "--data"])
        .arg(folder);
    let name = format!("`freehold init` for {domain}");
    let said = process::output(&name, command, &folder.join("init.log"), INIT_WITHIN).await?;
    let root = printed_root(&said);
    let root = root.ok_or_else(|| Failure::Broken(format!("{name} printed no root=…:\n{said}")))?;
    check_root(domain, folder, &root)?;
    Ok(root)
}

/// The fingerprint in `v=fh1; root=…`.
fn printed_root(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("root=")?;
    let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '-' && it != '_');
    let root = rest.get(..end.unwrap_or(rest.len()))?;
    fingerprint_from_text(root).map(|_| root.to_owned())
}

/// What is told to be published must fit the domain's own identity record.
fn check_root(domain: &DomainName, folder: &Path, root: &str) -> Result<()> {
    let Ok(record) = fs::read(folder.join("keys/identity.record")) else {
        return Ok(()); // Another make of server keeps it elsewhere.
    };
    let anchor = fingerprint_from_text(root).unwrap_or_default();
    match VerifiedRecord::verify_stored(&record, domain, &anchor) {
        Ok(_) => Ok(()),
        Err(fault) => Err(Failure::Broken(format!(
            "the identity record of {domain}: {fault}"
        ))),
    }
}

/// Free ports, none twice.
struct Ports {
    random: Random,
    given: BTreeSet<u16>,
}

impl Ports {
    fn new() -> Result<Self> {
        // Not from the case's seed: two runs at once must not look at the same ports.
        let seed = freehold_keys::random::<8>();
        let seed = seed.map_err(|error| Failure::harness("choose ports", error))?;
        Ok(Self {
            random: Random::new(u64::from_le_bytes(seed)),
            given: BTreeSet::new(),
        })
    }

    fn free(&mut self, ip: IpAddr) -> Result<SocketAddr> {
        for _ in 0..100 {
            let offset = self.random.index(PORTS.len());
            let port = PORTS.start + u16::try_from(offset).unwrap_or(0);
            let address = SocketAddr::from((ip, port));
            if !self.given.contains(&port) && TcpListener::bind(address).is_ok() {
                self.given.insert(port);
                return Ok(address);
            }
        }
        Err(Failure::harness(
            "find a free port",
            format!("none of 100 in {PORTS:?} is"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_a_queue_is_read() {
        let line = "beta.test  waiting 3  parked 1  failed 1  since 2026-01-02T03:04:05.678Z";
        let read = Waiting {
            peer: "beta.test".to_owned(),
            waiting: 3,
            parked: 1,
            failed: 1,
        };
        assert_eq!(waiting_in(line), Some(read));
        assert_eq!(waiting_in("beta.test waiting"), None);
        let line = "beta.test  has not confirmed 2 deletions, erasures or departures";
        assert_eq!(unconfirmed_in(line), Some(("beta.test".to_owned(), 2)));
    }

    #[test]
    fn the_root_is_found_in_what_init_says() {
        let root = "qrWIDXBJXz0YF5Z0ikVQJqYW2aLLD2vFZHzKPnEsNyo";
        let said = format!("publish\n  _freehold.alpha.test. TXT \"v=fh1; root={root}\"\n");
        assert_eq!(printed_root(&said).as_deref(), Some(root));
        assert_eq!(printed_root("v=fh1; root=short"), None);
    }
}
