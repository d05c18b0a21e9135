//! `freehold demo`: several domains on loopback in one process, each as it would run alone, with a
//! DNS server that leads them to each other.

mod dns;
mod folder;
mod node;
mod people;
mod show;

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use freehold::{Domain, Running, accounts::AccountError, clock::SystemClock};
use freehold_config::Config;
use freehold_keys::KeyRing;
use freehold_proto::{Clock as _, DomainName};

use self::{
    dns::{Dns, Zone},
    folder::Folder,
    node::DemoNode,
    people::{People, Person},
    show::Shown,
};
use super::{
    CommandError, STOP_GRACE, init::anchor_text, logging, signals::StopSignal, while_doing,
};

/// Each domain, and who lives there: log-in name and name.
const CAST: [(&str, &str, &str); 10] = [
    ("alpha.test", "alice", "Alice"),
    ("beta.test", "bob", "Bob"),
    ("gamma.test", "carol", "Carol"),
    ("delta.test", "dave", "Dave"),
    ("epsilon.test", "erin", "Erin"),
    ("zeta.test", "frank", "Frank"),
    ("eta.test", "grace", "Grace"),
    ("theta.test", "heidi", "Heidi"),
    ("iota.test", "ivan", "Ivan"),
    ("kappa.test", "judy", "Judy"),
];

/// From the port of clients to the one for gRPC; a free one where there is none that high.
const GRPC_PORT_OFFSET: u16 = 10_000;

/// Where the web app is when nobody says where: assembled in a checkout.
const WEB_ROOT: &str = "web/dist";

/// Run several domains on this machine to try Freehold out.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// How many domains
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=CAST.len() as i64))]
    domains: u8,
    /// Keep everything in this folder; without it, in a temporary one that is removed at the end
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Port for the first domain's clients, the next one for the second's and so on; 0 for free ones
    #[arg(long, value_name = "P", default_value_t = 6060)]
    port: u16,
    /// Run a node of the public directory too, on the port behind the last domain's
    #[arg(long)]
    directory: bool,
    /// Print one line of JSON when every domain is ready, and nothing else
    #[arg(long)]
    json: bool,
    /// The folder with the web app [default: web/dist, if it is there]
    #[arg(long, value_name = "DIR")]
    web_root: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        // Built so that it could sign, its DNS server warns of every answer that it does not sign.
        logging::start("warn,hickory_server=error", false);
        let mut stop = StopSignal::new()?;
        let folder = Folder::new(self.dir.clone())?;
        let network = tokio::select! {
            network = self.start(&folder) => network?,
            () = stop.heard() => return Ok(()),
        };
        if self.json {
            show::json(&network.shown, &network.dns, network.node.as_ref());
        } else {
            show::text(&network.shown, &network.dns, self.dir.as_deref());
            show::directory(network.node.as_ref());
        }
        let told = tokio::select! {
            () = stop.heard() => Ok(()),
            name = network.one_stopped() => Err(CommandError::Stopped(name)),
        };
        network.stop().await;
        told
    }

    async fn start(&self, folder: &Folder) -> Result<Network, CommandError> {
        let mut dns = Dns::bind().await?;
        let node = match self.directory {
            true => Some(DemoNode::start(self.port_of(self.domains)?, dns.address()).await?),
            false => None,
        };
        let place = Place {
            dns: dns.address(),
            node: node.as_ref().map(DemoNode::url),
        };
        let mut people = People::load(folder.path().join("passwords"))?;
        let mut built = Vec::new();
        for number in 0..self.domains {
            let person = people.resident(number)?;
            let domain = self.build(number, folder, &place, &person).await?;
            built.push((domain, person));
        }
        dns.serve(built.iter().map(|(domain, _)| domain.zone()));
        let shown = built.iter().map(|(domain, person)| domain.shown(person));
        Ok(Network {
            node,
            shown: shown.collect(),
            running: built.into_iter().map(|(built, _)| built.start()).collect(),
            dns,
        })
    }

    async fn build(
        &self,
        number: u8,
        folder: &Folder,
        place: &Place,
        person: &Person,
    ) -> Result<Built, CommandError> {
        let name: DomainName = person.domain.parse().expect("the cast has domain names");
        let dir = folder.domain(&name)?;
        let config = self.config(number, &name, place, &dir)?;
        let keys_dir = config.keys_dir.clone();
        let keys = if KeyRing::exists(&keys_dir) {
            KeyRing::load(&keys_dir, &name, SystemClock.now())?
        } else {
            // Nobody needs to recover a demonstration.
            KeyRing::create(&keys_dir, &name, SystemClock.now())?.0
        };
        let anchor = anchor_text(&keys);
        let domain = Domain::build(config, keys, Arc::new(SystemClock)).await?;
        match domain
            .add_user(
                person.login,
                &person.password,
                person.name,
                freehold::accounts::Level::Authenticated,
            )
            .await
        {
            // Added when this folder was first used.
            Ok(_) | Err(AccountError::Taken(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Built {
            name,
            anchor,
            domain,
        })
    }

    /// The same as an operator would write, so that it can be looked at; ports are those asked for.
    fn config(
        &self,
        number: u8,
        name: &DomainName,
        place: &Place,
        dir: &std::path::Path,
    ) -> Result<Config, CommandError> {
        let port = self.port_of(number)?;
        // As far from the other port as those of the stock server are from each other.
        let grpc_port = match port {
            0 => 0,
            port => port.checked_add(GRPC_PORT_OFFSET).unwrap_or(0),
        };
        let mut text = format!(
            "domain = \"{name}\"\n\n\
             [clients]\nlisten = \"{host}:{port}\"\ngrpc_listen = \"{host}:{grpc_port}\"\n\
             registration = \"open\"\n",
            host = Ipv4Addr::LOCALHOST,
        );
        if port != 0 {
            let host = Ipv4Addr::LOCALHOST;
            writeln!(text, "public_url = \"http://{host}:{port}\"")
                .expect("a string takes every text");
        }
        if let Some(web_root) = self.web_root()? {
            let web_root = toml_text(&web_root.to_string_lossy());
            writeln!(text, "web_root = {web_root}").expect("a string takes every text");
        }
        // Two people may write as fast as they can: that is how the server is measured.
        write!(
            text,
            "\n[limits]\nuser_messages = [0, 0]\nuser_requests = [0, 0]\ntopic_messages = [0, 0]\n\n[federation]\nlisten = \"{host}:0\"\ntrust = \"dns\"\nnameserver = \"{nameserver}\"\ndnssec = false\n\
             allowed_ranges = [\"127.0.0.0/8\"]\nretry_longest_seconds = 5\n\n\
             [store]\ncache_mib = 16\nfree_space_mib = 256\n",
            host = Ipv4Addr::LOCALHOST,
            nameserver = place.dns,
        )
        .expect("a string takes every text");
        if let Some(node) = &place.node {
            write!(
                text,
                "\n[directory]\nnodes = [\"{node}\"]\nannounce = true\n"
            )
            .expect("a string takes every text");
        }
        let path = dir.join("freehold.toml");
        fs::write(&path, &text)
            .map_err(while_doing(format!("{} cannot be written", path.display())))?;
        super::load_config(&path)
    }

    /// Ports are those from the first one on, or free ones.
    fn port_of(&self, number: u8) -> Result<u16, CommandError> {
        match self.port {
            0 => Ok(0),
            first => first.checked_add(number.into()).ok_or_else(|| {
                CommandError::Usage(format!("There are too few ports from {first} on."))
            }),
        }
    }

    fn web_root(&self) -> Result<Option<PathBuf>, CommandError> {
        let root = match &self.web_root {
            Some(root) => root.clone(),
            None => PathBuf::from(WEB_ROOT),
        };
        if self.web_root.is_none() && !root.is_dir() {
            return Ok(None);
        }
        std::path::absolute(root)
            .map(Some)
            .map_err(while_doing("The working folder is not known"))
    }
}

/// A TOML string; JSON's escapes are among those of TOML.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What all domains of the demonstration have in common.
struct Place {
    dns: SocketAddr,
    /// Where the node of the directory is, if there is one.
    node: Option<String>,
}

/// A domain that listens but does not serve yet.
struct Built {
    name: DomainName,
    anchor: String,
    domain: Domain,
}

impl Built {
    fn zone(&self) -> Zone {
        Zone {
            domain: self.name.clone(),
            anchor: self.anchor.clone(),
            port: self.domain.federation_address().port(),
        }
    }

    fn shown(&self, person: &Person) -> Shown {
        Shown {
            domain: self.name.clone(),
            client: self.domain.client_address(),
            grpc: self.domain.grpc_address(),
            federation: self.domain.federation_address(),
            person: person.clone(),
        }
    }

    fn start(self) -> (String, Running) {
        (self.name.to_string(), self.domain.start())
    }
}

/// All of it, running.
struct Network {
    node: Option<DemoNode>,
    shown: Vec<Shown>,
    running: Vec<(String, Running)>,
    dns: Dns,
}

impl Network {
    /// The name of the first domain that stops by itself.
    async fn one_stopped(&self) -> String {
        let all = self.running.iter().map(|(name, running)| {
            Box::pin(async move {
                running.stopped().await;
                name.clone()
            })
        });
        futures_util::future::select_all(all).await.0
    }

    async fn stop(self) {
        if let Some(node) = self.node {
            node.stop().await;
        }
        let all = self
            .running
            .into_iter()
            .map(|(_, running)| running.stop(STOP_GRACE));
        futures_util::future::join_all(all).await;
    }
}
