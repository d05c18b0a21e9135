//! Where to measure: a server that was named, or one started for it in a folder of its own.

use std::{
    fs,
    net::{SocketAddr, TcpListener, ToSocketAddrs as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::AtomicUsize,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::{
    Result,
    client::{Door, Session},
    machine::Meter,
    people::Login,
    tls::{Pair, Tls},
};

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);
/// The API key that every stock client ships with.
const API_KEY: &str = "AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K";
/// The files with the certificate of a server of our own and its key.
const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";

/// Which server, and who its people are.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Where {
    /// A server that runs already, such as ws://127.0.0.1:6060 or wss://chat.example.org. Without it one is
    /// started here.
    #[arg(long, global = true)]
    url: Option<String>,
    /// A file of authorities, in PEM form, that are believed beside those of the web with `--url wss://…`.
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    /// The server that is started here speaks TLS to its clients.
    #[arg(long, global = true, conflicts_with = "url")]
    tls: bool,
    /// What it wants as API key.
    #[arg(long, global = true, default_value = API_KEY)]
    api_key: String,
    /// A file with a name and a password in each line, with a colon between them. Without it accounts are
    /// made.
    #[arg(long, global = true, value_name = "FILE")]
    logins: Option<PathBuf>,
    /// The server with `--url` lets people in without a password: accounts are made much faster.
    #[arg(long, global = true)]
    anonymous: bool,
    /// The process of the server with `--url`, if it is on this machine: what it costs is measured too.
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// The server to start. Without it, `freehold` beside this program.
    #[arg(long, global = true, value_name = "FREEHOLD")]
    server: Option<PathBuf>,
    /// Where the folders of servers and yardsticks are made: the disk that is measured.
    #[arg(long, global = true, value_name = "DIR")]
    folder: Option<PathBuf>,
}

impl Where {
    /// Whether clients connect over TLS.
    pub(crate) fn tls(&self) -> bool {
        self.tls || self.url.as_ref().is_some_and(|it| it.starts_with("wss:"))
    }

    /// One domain.
    pub(crate) async fn place(&self) -> Result<Place> {
        match &self.url {
            Some(url) => self.foreign(url),
            None => {
                let domain = self.own("alpha.test")?;
                domain.serve(&[]).await
            }
        }
    }

    /// Two domains that know each other.
    pub(crate) async fn two(&self) -> Result<[Place; 2]> {
        if self.url.is_some() {
            return Err("two domains are only measured when they are started here".to_owned());
        }
        let (alpha, beta) = (self.own("alpha.test")?, self.own("beta.test")?);
        let (to_alpha, to_beta) = (alpha.as_peer(), beta.as_peer());
        Ok([
            alpha.serve(&[to_beta]).await?,
            beta.serve(&[to_alpha]).await?,
        ])
    }

    fn foreign(&self, url: &str) -> Result<Place> {
        let plain = url.strip_prefix("ws://").map(|it| (it, false));
        let found = plain.or_else(|| url.strip_prefix("wss://").map(|it| (it, true)));
        let (host, secure) =
            found.ok_or_else(|| format!("{url} does not begin with ws:// or wss://"))?;
        let host = host.trim_end_matches('/');
        let (name, at) = match host.rsplit_once(':') {
            None if secure => (host, format!("{host}:443")),
            None => (host, format!("{host}:80")),
            Some((name, _)) => (name, host.to_owned()),
        };
        let mut found = at.to_socket_addrs().map_err(|it| format!("{at}: {it}"))?;
        let address = found
            .next()
            .ok_or_else(|| format!("{host} has no address"))?;
        let tls = secure.then(|| Tls::to_host(name, self.ca.as_deref()));
        let door = Door {
            address,
            host: host.to_owned(),
            api_key: self.api_key.clone(),
            tls: tls.transpose()?,
        };
        Ok(Place {
            door,
            domain: host.to_owned(),
            logins: self.logins.as_deref().map(read_logins).transpose()?,
            anonymous: self.anonymous,
            prefix: unique()?,
            used: AtomicUsize::new(0),
            meter: self.pid.map(Meter::of),
            server: None,
        })
    }

    /// A domain of our own that does not run yet.
    pub(crate) fn own(&self, domain: &str) -> Result<Own> {
        let binary = self.binary()?;
        let folder = self.new_folder()?;
        let mut command = Command::new(&binary);
        command
            .args(["init", "--domain", domain, "--data"])
            .arg(folder.path());
        let output = command.output();
        let output = output.map_err(|it| format!("{}: {it}", binary.display()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // As the TXT record has it that a domain publishes.
        let root = said
            .split("v=fh1; root=")
            .nth(1)
            .and_then(|it| it.split('"').next());
        let root = root.ok_or_else(|| format!("freehold init ended with {}", output.status))?;
        let clients = free_port()?;
        let tls = self.tls.then(|| certificate(clients, folder.path()));
        Ok(Own {
            binary,
            domain: domain.to_owned(),
            root: root.to_owned(),
            clients,
            federation: free_port()?,
            folder,
            tls: tls.transpose()?,
        })
    }

    fn binary(&self) -> Result<PathBuf> {
        if let Some(named) = &self.server {
            return Ok(named.clone());
        }
        let own = std::env::current_exe().map_err(|it| it.to_string())?;
        let beside = own.with_file_name("freehold");
        match beside.is_file() {
            true => Ok(beside),
            false => Err(format!(
                "{} is not there: `cargo build --release` makes it, or --server names another",
                beside.display()
            )),
        }
    }

    /// A folder that goes with its owner.
    pub(crate) fn new_folder(&self) -> Result<TempDir> {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("freehold-bench-");
        let made = match &self.folder {
            Some(folder) => builder.tempdir_in(folder),
            None => builder.tempdir(),
        };
        made.map_err(|it| format!("no folder to work in: {it}"))
    }
}

/// A server that answers.
pub(crate) struct Place {
    pub(crate) door: Door,
    pub(crate) domain: String,
    pub(crate) logins: Option<Vec<Login>>,
    pub(crate) anonymous: bool,
    /// Before the numbers of accounts made here, so that a server can be measured twice.
    pub(crate) prefix: String,
    pub(crate) used: AtomicUsize,
    /// Nothing for a server elsewhere.
    pub(crate) meter: Option<Meter>,
    server: Option<Server>,
}

impl Place {
    /// Stops a server of our own in good order, and waits for its end.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let id = i32::try_from(server.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or("the server has no process id")?;
        kill_process(id, Signal::TERM).map_err(|it| format!("the server does not hear: {it}"))?;
        let deadline = Instant::now() + READY_WITHIN;
        while server
            .process
            .try_wait()
            .map_err(|it| it.to_string())?
            .is_none()
        {
            if Instant::now() > deadline {
                return Err("the server does not stop".to_owned());
            }
            sleep(POLL).await;
        }
        Ok(())
    }
}

/// A domain made here.
pub(crate) struct Own {
    binary: PathBuf,
    domain: String,
    root: String,
    clients: SocketAddr,
    federation: SocketAddr,
    folder: TempDir,
    tls: Option<Tls>,
}

impl Own {
    fn as_peer(&self) -> String {
        let Self {
            domain,
            root,
            federation,
            ..
        } = self;
        format!(
            "[[federation.peer]]\ndomain = \"{domain}\"\nroot = \"{root}\"\naddress = \"{federation}\"\n"
        )
    }

    fn configuration(&self, peers: &[String]) -> String {
        let Self {
            domain,
            clients,
            federation,
            ..
        } = self;
        let limits = [
            "user_messages",
            "user_requests",
            "topic_messages",
            "prefix_sessions",
            "prefix_requests",
            "peer_items",
            "peer_signals",
            "peer_questions",
            "stranger_hellos",
        ];
        // A few rigs stand for thousands of people here.
        let limits = limits.map(|it| format!("{it} = [0, 0]\n")).concat();
        let peers = peers.concat();
        let tls = match self.tls {
            Some(_) => format!("tls_certificate = \"{CHAIN}\"\ntls_key = \"{KEY}\"\n"),
            None => String::new(),
        };
        format!(
            "domain = \"{domain}\"\n[clients]\nlisten = \"{clients}\"\nregistration = \"open\"\n\
             anonymous = true\ngroup_members_max = 100000\n{tls}[federation]\nlisten = \"{federation}\"\n\
             nameserver = \"127.0.0.1:9\"\nallowed_ranges = [\"127.0.0.0/8\"]\n{peers}[limits]\n{limits}"
        )
    }

    fn start(&self, peers: &[String]) -> Result<Server> {
        let config = self.folder.path().join("bench.toml");
        let text = self.configuration(peers);
        fs::write(&config, text).map_err(|it| format!("{}: {it}", config.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(config);
        let log = fs::File::create(self.folder.path().join("log"));
        let log = log.map_err(|it| format!("a file for the log: {it}"))?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let started = command.spawn().map(|process| Server {
            process,
            folder: None,
        });
        started.map_err(|it| format!("{} does not start: {it}", self.binary.display()))
    }

    /// Starts it; how long it takes until the first `{hi}` is answered, and the process.
    pub(crate) async fn begin(&self) -> Result<(Duration, Server)> {
        let begun = Instant::now();
        let server = self.start(&[])?;
        answers(&self.door()).await?;
        Ok((begun.elapsed(), server))
    }

    /// Starts it, as a place to measure that may be stopped and opened again; with how long it takes until the
    /// first `{hi}` is answered.
    pub(crate) async fn open(&self) -> Result<(Duration, Place)> {
        let (time, server) = self.begin().await?;
        Ok((time, self.place(server)))
    }

    /// Where it keeps everything.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Bytes of the program.
    pub(crate) fn binary_bytes(&self) -> Result<u64> {
        let metadata = fs::metadata(&self.binary);
        let metadata = metadata.map_err(|it| format!("{}: {it}", self.binary.display()))?;
        Ok(metadata.len())
    }

    fn door(&self) -> Door {
        Door {
            address: self.clients,
            host: self.clients.to_string(),
            api_key: API_KEY.to_owned(),
            tls: self.tls.clone(),
        }
    }

    async fn serve(self, peers: &[String]) -> Result<Place> {
        let server = self.start(peers)?;
        answers(&self.door()).await?;
        let mut place = self.place(server);
        if let Some(server) = &mut place.server {
            server.folder = Some(self.folder);
        }
        Ok(place)
    }

    fn place(&self, server: Server) -> Place {
        Place {
            door: self.door(),
            domain: self.domain.clone(),
            logins: None,
            anonymous: true,
            prefix: "bench".to_owned(),
            used: AtomicUsize::new(0),
            meter: Some(Meter::of(server.id())),
            server: Some(server),
        }
    }
}

/// A process that ends with its owner.
pub(crate) struct Server {
    process: Child,
    // Goes when the process has ended.
    folder: Option<TempDir>,
}

impl Server {
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn answers(door: &Door) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match Session::open(door, None).await {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > deadline => return Err(why),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Makes a certificate for a server at this address.
fn certificate(address: SocketAddr, folder: &Path) -> Result<Tls> {
    let pair = Pair::new(address.ip())?;
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).map_err(|it| format!("{}: {it}", file.display()))
    };
    write(CHAIN, &pair.certificate)?;
    write(KEY, &pair.key)?;
    Tls::to(address.ip(), &pair)
}

fn free_port() -> Result<SocketAddr> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    free.map_err(|it| format!("no free port: {it}"))
}

fn unique() -> Result<String> {
    let unique = tempfile::Builder::new().prefix("").tempdir();
    let unique = unique.map_err(|it| format!("no unique name: {it}"))?;
    let name = unique.path().file_name().unwrap_or_default();
    Ok(format!(
        "bench{}x",
        name.to_string_lossy()
            .trim_start_matches('.')
            .to_lowercase()
    ))
}

fn read_logins(file: &Path) -> Result<Vec<Login>> {
    let text = fs::read_to_string(file).map_err(|it| format!("{}: {it}", file.display()))?;
    let login = |line: &str| {
        let (name, password) = line.split_once(':').ok_or("a log-in is name:password")?;
        Ok(Login {
            name: name.to_owned(),
            password: password.to_owned(),
        })
    };
    text.lines()
        .filter(|it| !it.is_empty())
        .map(login)
        .collect()
}
