//! The configuration file: read once, checked as a whole, handed out as the parts that each
//! component takes.
//!
//! Every mistake is gathered before the file is refused, each as a sentence that names its key. A
//! [`Config`] that exists can be used as it is; nobody checks again. Secrets never stand in the file,
//! only the paths of the files that hold them.

mod check;
mod example;
mod file;
mod given;

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use freehold_proto::DomainName;

pub use example::example;

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
    /// Links with other domains.
    pub federation: freehold_federation::Config,
    /// Finding and believing other domains.
    pub directory: freehold_directory::Config,
    /// Durable state.
    pub store: freehold_store::Config,
}

/// What people's clients connect to.
#[derive(Clone, Debug)]
pub struct Clients {
    /// Address and port of the listener.
    pub listen: SocketAddr,
    /// Address and port of the listener for gRPC, if there is to be one.
    pub grpc_listen: Option<SocketAddr>,
    /// The folder with the web app, served at `/`. Need not exist.
    pub web_root: Option<PathBuf>,
    /// What a client may show as its API key.
    pub api_keys: Vec<String>,
    /// Longest message from a client, in bytes.
    pub message_bytes_max: usize,
    /// Read buffer of each WebSocket, in bytes.
    pub websocket_read_buffer: usize,
    /// Who may make an account.
    pub registration: Registration,
    /// Whether people may be found by their exact address unless they decide otherwise.
    pub findable: bool,
    /// Members of one group.
    pub group_members_max: usize,
    /// How old a message may be that is deleted for everybody, unless by the group's owner.
    pub delete_within: Option<Duration>,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Registration {
    /// Whoever reaches the listener.
    Open,
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
    let file = file::File::parse(text).map_err(|mistake| ConfigError {
        mistakes: vec![mistake],
    })?;
    check::check(file, base_dir).map_err(|mistakes| ConfigError { mistakes })
}

#[cfg(test)]
mod tests;
