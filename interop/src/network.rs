//! A network of domains: each a process of its own with its own folder, keys and ports, and one DNS
//! server for all.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use freehold_keys::{VerifiedRecord, fingerprint_from_text};
use freehold_proto::DomainName;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    ConfigFile, DnsServer, Endpoint, Failure, Process, Random, Result, Session, freehold_binary,
    process,
};

/// Time for a server to answer clients after it was started.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Time for `freehold init`.
const INIT_WITHIN: Duration = Duration::from_secs(30);
const READY_POLL: Duration = Duration::from_millis(20);
/// Below the range that systems give to outgoing connections, so that a killed server finds its port
/// still free.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// Several domains that can find each other.
#[derive(Debug)]
pub struct Network {
    // In the order they are dropped: the processes end before their folder goes.
    domains: Vec<Domain>,
    dns: DnsServer,
    folder: TempDir,
}

/// One domain: set up once, started and killed as often as a scenario likes.
#[derive(Debug)]
pub struct Domain {
    endpoint: Endpoint,
    folder: PathBuf,
    config: PathBuf,
    process: Option<Process>,
}

impl Network {
    /// Sets up and starts one domain per name.
    pub async fn start(names: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("freehold-interop-")
            .tempdir();
        let folder = folder.map_err(|error| Failure::harness("make a folder", error))?;
        let mut network = Self {
            domains: Vec::new(),
            dns: DnsServer::start().await?,
            folder,
        };
        let mut ports = Ports::new()?;
        for name in names {
            let domain = network.set_up(name, &mut ports).await?;
            network.domains.push(domain);
        }
        for domain in &mut network.domains {
            domain.start().await?;
        }
        Ok(network)
    }

    /// Makes the keys, writes the configuration, publishes the DNS records.
    async fn set_up(&self, name: &str, ports: &mut Ports) -> Result<Domain> {
        let bad = |error| Failure::harness(format!("use {name} as a domain"), error);
        let domain: DomainName = name.parse().map_err(bad)?;
        let folder = self.folder.path().join(name);
        fs::create_dir_all(&folder).map_err(|error| Failure::harness("make a folder", error))?;
        let root = init(&domain, &folder).await?;
        let (client, federation) = (ports.free()?, ports.free()?);
        let settings =
            ConfigFile::of_test_domain(domain.clone(), client, federation, self.dns.address());
        let config = folder.join("interop.toml");
        fs::write(&config, settings.to_toml())
            .map_err(|error| Failure::harness("write a configuration", error))?;
        self.dns.publish(&domain, federation, &root)?;
        Ok(Domain {
            endpoint: Endpoint { domain, client },
            folder,
            config,
            process: None,
        })
    }

    /// The DNS server, to change its records.
    #[must_use]
    pub fn dns(&self) -> &DnsServer {
        &self.dns
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
        Ok(self.domain(index)?.endpoint.clone())
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

    /// Its data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn log(&self) -> PathBuf {
        self.folder.join("interop.log")
    }

    /// Starts it and waits until it answers clients.
    pub async fn start(&mut self) -> Result<()> {
        let name = self.endpoint.domain.to_string();
        let mut command = Command::new(freehold_binary()?);
        command.arg("serve").arg("--config").arg(&self.config);
        self.process = Some(Process::start(&name, command, &self.log())?);
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
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
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => Ok(()),
        }
    }

    /// SIGTERM, and waits for the end.
    pub async fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        match self.process.take() {
            Some(mut process) => process.terminate(within).await,
            None => Err(Failure::harness(
                format!("stop {}", self.endpoint.domain),
                "it is not running",
            )),
        }
    }

    /// The process, while it runs.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
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
        // Not from the scenario's seed: two runs at once must not look at the same ports.
        let seed = freehold_keys::random::<8>();
        let seed = seed.map_err(|error| Failure::harness("choose ports", error))?;
        Ok(Self {
            random: Random::new(u64::from_le_bytes(seed)),
            given: BTreeSet::new(),
        })
    }

    fn free(&mut self) -> Result<SocketAddr> {
        for _ in 0..100 {
            let offset = self.random.index(PORTS.len());
            let port = PORTS.start + u16::try_from(offset).unwrap_or(0);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
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
    fn the_root_is_found_in_what_init_says() {
        let root = "qrWIDXBJXz0YF5Z0ikVQJqYW2aLLD2vFZHzKPnEsNyo";
        let said = format!("publish\n  _freehold.alpha.test. TXT \"v=fh1; root={root}\"\n");
        assert_eq!(printed_root(&said).as_deref(), Some(root));
        assert_eq!(printed_root("v=fh1; root=short"), None);
    }
}
