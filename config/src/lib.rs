//! The configuration file: read once, checked as a whole, handed out as the parts that each
//! component takes.
//!
//! Every mistake is gathered before the file is refused, each as a sentence that names its key. A
//! [`Config`] that exists can be used as it is; nobody checks again. Secrets never stand in the file,
//! only the paths of the files that hold them.

mod authentication;
mod check;
mod example;
mod file;
mod given;
mod limits;
mod mail;
mod node;
mod plugins;
mod push;
mod tls;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use freehold_federation::Rate;
use freehold_proto::{DomainName, WebUrl};

pub use example::{example, node_example};

/// The API key that every stock client ships with.
pub const STOCK_API_KEY: &str = "AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K";

/// Everything an operator decides about one domain.
#[derive(Clone, Debug)]
pub struct Config {
    /// The DNS name of the domain.
    pub domain: DomainName,
    /// Where it keeps its state.
    pub data_dir: PathBuf,
    /// Where its keys are.
    pub keys_dir: PathBuf,
    /// What its people's clients connect to.
    pub clients: Clients,
    /// Calls between two people; `None` without servers that help them to find a way.
    pub calls: Option<Calls>,
    /// A service that knows people and their secrets, if there is one.
    pub authentication: Option<Authentication>,
    /// E-mail to its people, if it sends any.
    pub mail: Option<Mail>,
    /// Links with other domains.
    pub federation: freehold_federation::Config,
    /// What waits for other domains.
    pub waiting: Waiting,
    /// How much its people, and those before they have logged in, may do in a second.
    pub limits: Limits,
    /// Finding and believing other domains.
    pub directory: freehold_directory::Config,
    /// What the nodes of the public directory are told and asked by words.
    pub listing: Listing,
    /// Pushes to devices, if they are sent.
    pub push: Option<Push>,
    /// Durable state.
    pub store: freehold_store::Config,
    /// What people upload.
    pub files: Files,
    /// The trail of what administrators did.
    pub audit: Audit,
    /// Programs that are told of events and asked about requests.
    pub plugins: Vec<Plugin>,
}

/// What the nodes of the public directory are told and asked by words.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Listing {
    /// They are told who and what here wishes to be found.
    pub announce: bool,
    /// They are asked what people search for.
    pub search: bool,
}

/// A program beside the server that is told of events and asked about requests.
#[derive(Clone, Debug)]
pub struct Plugin {
    /// What it is called in the log.
    pub name: String,
    /// TLS, or not, on this machine only.
    pub tls: bool,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The certificate by which it is known; without one, one of the web counts.
    pub authority_file: Option<PathBuf>,
    /// What it is told of accounts.
    pub accounts: Vec<Change>,
    /// What it is told of groups.
    pub topics: Vec<Change>,
    /// What it is told of who belongs where.
    pub subscriptions: Vec<Change>,
    /// Where it is told every message.
    pub messages: Vec<TopicKind>,
    /// About which kinds of requests it is asked, as clients call them.
    pub requests: Vec<&'static str>,
    /// And in which topics.
    pub request_topics: Vec<TopicKind>,
    /// Whether it is asked what a search is to find.
    pub searches: bool,
    /// How long somebody waits for its answer.
    pub timeout: Duration,
    /// Code and text of the refusal while there is no answer; without it, requests pass.
    pub failure: Option<(u16, String)>,
}

/// Pushes to the devices of a domain's people.
#[derive(Clone, Debug)]
pub struct Push {
    /// The node that relays them.
    pub node: freehold_directory::NodeAddress,
    /// What others may read.
    pub content: PushContent,
    /// After how long it is looked again at what was told to a session only: it may have been dead already.
    pub look_again_after: Duration,
}

/// What those may read of a push who carry it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PushContent {
    /// What a device needs to fetch it.
    None,
    /// Who wrote it and how it begins, too.
    Preview,
}

/// What became of something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// It is new.
    Create,
    /// It is another.
    Update,
    /// It is gone.
    Delete,
}

/// Kinds of topics, as clients tell them apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TopicKind {
    /// Oneself.
    Me,
    /// Searching.
    Find,
    /// A group in the making.
    New,
    /// Between two people.
    OneToOne,
    /// A group or its channel.
    Group,
    /// Reports to the administrators.
    Reports,
    /// Notes to self.
    Saved,
}

/// How much is kept of what administrators did.
#[derive(Clone, Debug)]
pub struct Audit {
    /// For how long.
    pub keep: Duration,
    /// How many entries.
    pub entries_max: usize,
    /// How often what is more is looked for.
    pub trim_every: Duration,
}

/// How much clients may do in a second. Without a rate there is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages of one person, of this domain or another.
    pub user_messages: Option<Rate>,
    /// Other requests of one person.
    pub user_requests: Option<Rate>,
    /// Messages that our people write in one topic.
    pub topic_messages: Option<Rate>,
    /// Sessions opened from one prefix of addresses.
    pub prefix_sessions: Option<Rate>,
    /// Requests from there before a log-in.
    pub prefix_requests: Option<Rate>,
}

/// How long, and how much, may wait for one other domain.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// How long a message waits for a domain that cannot be reached.
    pub lifetime: Duration,
    /// How long a group waits for its home before its successors may name another one; `None` for
    /// ever.
    pub takeover_after: Option<Duration>,
    /// Items.
    pub items_max: usize,
    /// Bytes of messages.
    pub bytes_max: usize,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            lifetime: Duration::from_secs(7 * 24 * 60 * 60),
            takeover_after: Some(Duration::from_secs(3 * 24 * 60 * 60)),
            items_max: 50_000,
            bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// What people upload.
#[derive(Clone, Debug)]
pub struct Files {
    /// Where the bytes are.
    pub place: FilePlace,
    /// Largest file, in bytes.
    pub file_bytes_max: u64,
    /// All files of one person, in bytes.
    pub person_bytes_max: u64,
    /// All files, in bytes.
    pub total_bytes_max: u64,
    /// Free space of the disk below which none are taken, in bytes.
    pub free_bytes_min: u64,
    /// How often files that nothing refers to are looked for.
    pub collect_every: Duration,
    /// Copies of files of other domains.
    pub copies: Copies,
}

/// Copies of files that other domains have.
#[derive(Clone, Debug)]
pub struct Copies {
    /// Where they are.
    pub folder: PathBuf,
    /// All of them, in bytes.
    pub bytes_max: u64,
    /// How long one is kept that nobody asks for.
    pub keep: Duration,
}

/// Where the bytes of files are.
#[derive(Clone, Debug)]
pub enum FilePlace {
    /// In a folder of this machine.
    Folder(PathBuf),
    /// In a bucket of an S3-compatible service.
    S3(S3),
}

/// A bucket and the way to it.
#[derive(Clone, Debug)]
pub struct S3 {
    /// Its name.
    pub bucket: String,
    /// URL of the service; none for Amazon's.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: String,
    /// Name of the key.
    pub access_key: String,
    /// The file with the secret; none for the environment variable.
    pub secret_file: Option<PathBuf>,
}

/// What people's clients connect to.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Address and port of the listener.
    pub listen: SocketAddr,
    /// Address and port of the listener for gRPC, if there is to be one.
    pub grpc_listen: Option<SocketAddr>,
    /// What both show, if they speak TLS.
    pub tls: Option<TlsFiles>,
    /// Where the world reaches these, if that is told.
    pub public: Option<Public>,
    /// Names by which clients reach the domain, beside its own.
    pub hosts: Vec<String>,
    /// The folder with the web app, served at `/`. Need not exist.
    pub web_root: Option<PathBuf>,
    /// What a client may show as its API key.
    pub api_keys: Vec<String>,
    /// Longest message from a client, in bytes.
    pub message_bytes_max: usize,
    /// Read buffer of each WebSocket, in bytes.
    pub websocket_read_buffer: usize,
    /// Connections of clients at once.
    pub connections_max: usize,
    /// Who may make an account.
    pub registration: Registration,
    /// Whether people may be found by their exact address unless they decide otherwise.
    pub findable: bool,
    /// Members of one group.
    pub group_members_max: usize,
    /// Whether the two of a chat may delete their own messages for both.
    pub delete_for_both: bool,
    /// How old a message may be that is deleted for everybody, unless by the group's owner.
    pub delete_within: Option<Duration>,
    /// Web servers in front whose word on where a client comes from is believed.
    pub proxies: Vec<IpAddr>,
    /// Whether people may come in without name and password.
    pub anonymous: bool,
    /// Methods by which an account must have confirmed a credential before it can be used.
    pub required_credentials: Vec<String>,
    /// Kinds of tags by which only those may search who have the same tag.
    pub masked_tags: Vec<String>,
}

/// A certificate and its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsFiles {
    /// The file with the certificate and those that lead to its authority, in PEM form.
    pub certificate: PathBuf,
    /// The file with the key, in PEM form.
    pub key: PathBuf,
}

/// Where the world reaches the listeners for clients.
#[derive(Clone, Debug)]
pub struct Public {
    /// That of browsers and apps; its path is `/`.
    pub url: WebUrl,
    /// That of gRPC, host and port, spoken with TLS.
    pub grpc: Option<String>,
}

/// Calls between two people.
#[derive(Clone, Debug)]
pub struct Calls {
    /// How long a call rings.
    pub timeout: Duration,
    /// STUN and TURN servers, as URLs.
    pub ice_urls: Vec<String>,
    /// The secret shared with the TURN servers.
    pub turn_secret: Option<String>,
    /// How long a password for them counts.
    pub turn_lifetime: Duration,
}

/// A service that knows people and their secrets.
#[derive(Clone, Debug)]
pub struct Authentication {
    /// TLS, or not, on this machine only.
    pub tls: bool,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path under which it answers, without a slash at the end.
    pub path: String,
    /// The file with the secret that we show.
    pub secret_file: Option<PathBuf>,
    /// Whether it is asked for name and password too.
    pub passwords: bool,
}

/// E-mail to the people of a domain.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Whom it comes from.
    pub from: String,
    /// Where people find the web app.
    pub app_url: Option<String>,
    /// What becomes of it.
    pub delivery: Delivery,
}

/// What becomes of a mail.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// A file in this folder; its code is logged.
    Folder(PathBuf),
    /// It is handed to a mail server.
    Smtp(Smtp),
}

/// A mail server that takes mail from us.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub protection: Protection,
    /// The name to log in with, and where the password stands.
    pub login: Option<(String, PasswordSource)>,
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protection {
    /// TLS begins after a first word in clear, and must.
    StartTls,
    /// TLS from the first byte.
    Tls,
    /// Not at all.
    None,
}

/// Where a password stands. Never in the configuration itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PasswordSource {
    /// In the first line of a file.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registration {
    /// Whoever reaches the listener.
    Open,
    /// Whoever has an invitation.
    Invite,
    /// Whoever an administrator lets in after having asked.
    Approval,
    /// Only the operator.
    Closed,
}

/// All that is wrong with a configuration file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    // Invariant: at least one.
    mistakes: Vec<String>,
}

impl ConfigError {
    /// One sentence each.
    #[must_use]
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mistakes.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads the text of a configuration file. Relative paths in it start at `base_dir`, the folder the
/// file lies in.
pub fn from_toml(text: &str, base_dir: &Path) -> Result<Config, ConfigError> {
    let read = file::parse(text).map_err(|mistake| vec![mistake]);
    let checked = read.and_then(|it| check::check(it, base_dir));
    checked.map_err(|mistakes| ConfigError { mistakes })
}

/// Reads the text of the configuration file of a node of the public directory tier.
pub fn node_from_toml(
    text: &str,
    base_dir: &Path,
) -> Result<freehold_directory::NodeConfig, ConfigError> {
    let read = file::parse(text).map_err(|mistake| vec![mistake]);
    let checked = read.and_then(|it| check::checked(base_dir, |checker| checker.node(it)));
    checked.map_err(|mistakes| ConfigError { mistakes })
}

#[cfg(test)]
mod tests;
