//! The command line: which commands there are, what they share, and what their exit codes mean.

mod audit;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod directory;
mod host;
mod init;
mod invite;
mod keys;
mod logging;
mod open_files;
mod password;
mod peer;
mod peers;
mod restore;
mod say;
mod serve;
mod signals;
mod user;

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use freehold::{BuildError, Domain, clock::SystemClock};
use freehold_config::{Config, ConfigError};
use freehold_keys::{KeyError, KeyRing};
use freehold_proto::Clock as _;
use freehold_store::StoreError;

/// How long a stopping domain may take to finish what it has in hand.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// `EX_USAGE` of sysexits.h: the operator has to change something first.
const EXIT_USAGE: u8 = 64;

/// A federated instant-messaging server that you host under your own DNS name.
#[derive(Debug, clap::Parser)]
#[command(name = "freehold", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::Init),
    Serve(serve::Serve),
    Host(host::Host),
    Directory(directory::Directory),
    #[command(subcommand)]
    User(user::User),
    #[command(subcommand)]
    Invite(invite::Invite),
    Audit(audit::Audit),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Peer(peer::Peer),
    Peers(peers::Peers),
    Restore(restore::Restore),
    Check(check::Check),
    #[cfg(feature = "demo")]
    Demo(demo::Demo),
}

impl Arguments {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Init(init) => init.run(),
            Command::Serve(serve) => block_on(serve.run()),
            Command::Host(host) => block_on(host.run()),
            Command::Directory(directory) => block_on(directory.run()),
            Command::User(user) => block_on(user.run()),
            Command::Invite(invite) => block_on(invite.run()),
            Command::Audit(audit) => block_on(audit.run()),
            Command::Keys(keys) => keys.run(),
            Command::Peer(peer) => block_on(peer.run()),
            Command::Peers(peers) => block_on(peers.run()),
            Command::Restore(restore) => block_on(restore.run()),
            Command::Check(check) => block_on(check.run()),
            #[cfg(feature = "demo")]
            Command::Demo(demo) => block_on(demo.run()),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say::error(&error);
                error.exit_code()
            }
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// The configuration file cannot be read.
    #[error("The configuration {} cannot be read: {source}.", path.display())]
    ConfigUnread { path: PathBuf, source: io::Error },
    /// The configuration file holds mistakes.
    #[error("The configuration {} cannot be used:\n{source}", path.display())]
    ConfigWrong { path: PathBuf, source: ConfigError },
    /// Something else that the operator typed.
    #[error("{0}")]
    Usage(String),
    /// The domain's keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A file or socket of the command's own.
    #[error("{what}: {source}.")]
    Io { what: String, source: io::Error },
    /// The domain cannot be built.
    #[error("The domain cannot start: {0}.")]
    Build(BuildError),
    /// The node of the directory cannot be built.
    #[error("The node cannot start: {0}.")]
    Node(#[from] freehold_directory::DirectoryError),
    /// The store of the domain is open in another process.
    #[error(
        "The data in {} is in use: the domain's server is running. Stop it first.",
        path.display()
    )]
    InUse { path: PathBuf },
    /// Something cannot be done to an account.
    #[error("That cannot be done: {0}.")]
    Account(#[from] freehold::accounts::AccountError),
    /// Something cannot be done about a peer.
    #[error("That cannot be done: {0}.")]
    Peer(String),
    /// Domains that a restore must hear have not answered.
    #[error(
        "These domains have not answered, and nothing was changed: {0}. Repeat the command when they can be reached, or with --without DOMAIN for each that will not come back."
    )]
    Unanswered(String),
    /// A running domain ended by itself.
    #[error("The domain {0} stopped by itself; the log says why.")]
    Stopped(String),
    /// `check` found something, and has said what.
    #[error("Not everything is right.")]
    NotAllRight,
}

impl CommandError {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::ConfigUnread { .. } | Self::ConfigWrong { .. } | Self::Usage(_) => {
                ExitCode::from(EXIT_USAGE)
            }
            Self::Keys(_)
            | Self::Io { .. }
            | Self::Build(_)
            | Self::Node(_)
            | Self::InUse { .. }
            | Self::Account(_)
            | Self::Peer(_)
            | Self::Unanswered(_)
            | Self::Stopped(_)
            | Self::NotAllRight => ExitCode::FAILURE,
        }
    }
}

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Store {
                path,
                source: StoreError::Locked { .. },
            } => Self::InUse { path },
            error => Self::Build(error),
        }
    }
}

/// Says what could not be done when an I/O error happens.
fn while_doing(what: impl Into<String>) -> impl FnOnce(io::Error) -> CommandError {
    let what = what.into();
    |source| CommandError::Io { what, source }
}

fn load_config(path: &Path) -> Result<Config, CommandError> {
    let unread = |source| CommandError::ConfigUnread {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(unread)?;
    let absolute = std::path::absolute(path).map_err(unread)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    freehold_config::from_toml(&text, folder).map_err(|source| CommandError::ConfigWrong {
        path: path.to_owned(),
        source,
    })
}

/// The domain with its store open, listening only where nobody knows.
async fn build_unreachable(mut config: Config) -> Result<Domain, CommandError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.clients.listen = nowhere;
    config.federation.listen = nowhere;
    // Nobody is written to, so the mail server's password need not be there.
    config.mail = None;
    config.authentication = None;
    // Nor connects anybody, so neither need the certificate.
    config.clients.tls = None;
    let keys = KeyRing::load(&config.keys_dir, &config.domain, SystemClock.now())?;
    Ok(Domain::build(config, keys, Arc::new(SystemClock)).await?)
}

fn block_on(command: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(while_doing("The runtime cannot start"))?
        .block_on(command)
}
