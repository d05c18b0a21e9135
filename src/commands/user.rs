//! `freehold user`: people's accounts, while the server is not running.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use freehold::{Domain, clock::SystemClock};
use freehold_config::Config;
use freehold_keys::KeyRing;
use freehold_proto::{Address, Clock as _};

use super::{CommandError, load_config, password, say, while_doing};

/// Manage people's accounts. The server must be stopped: it alone uses the store while it runs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum User {
    Add(Add),
}

/// Make an account.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// What people will type to find this person
    #[arg(value_name = "NAME@DOMAIN")]
    address: String,
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A file with the password in its first line; without it one is made and printed
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The name others see [default: NAME]
    #[arg(long, value_name = "FULL NAME")]
    name: Option<String>,
}

impl User {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Add(add) => add.run().await,
        }
    }
}

impl Add {
    async fn run(self) -> Result<(), CommandError> {
        let config = load_config(&self.config)?;
        let address: Address = self
            .address
            .parse()
            .map_err(|fault| CommandError::Usage(format!("{fault}.")))?;
        if address.domain != config.domain {
            let (theirs, ours) = (&address.domain, &config.domain);
            let why = format!("{theirs} is another domain; this configuration is that of {ours}.");
            return Err(CommandError::Usage(why));
        }
        let (password, made) = self.password()?;
        let name = self.name.as_deref().unwrap_or(&address.local);
        let domain = build_unreachable(config).await?;
        let added = domain.add_user(&address.local, &password, name).await;
        domain.close().await;
        added?;
        say::line(format_args!("{address} has an account."));
        if made {
            say::line(format_args!("Password: {password}"));
        }
        Ok(())
    }

    /// The password, and whether it was made here.
    fn password(&self) -> Result<(String, bool), CommandError> {
        let Some(path) = &self.password_file else {
            return Ok((password::generate()?, true));
        };
        let what = format!("The password file {} cannot be read", path.display());
        let text = fs::read_to_string(path).map_err(while_doing(what))?;
        match text.lines().next() {
            Some(line) if !line.is_empty() => Ok((line.to_owned(), false)),
            _ => {
                let why = format!("The password file {} is empty.", path.display());
                Err(CommandError::Usage(why))
            }
        }
    }
}

/// The domain with its store open, listening only where nobody knows.
async fn build_unreachable(mut config: Config) -> Result<Domain, CommandError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.clients.listen = nowhere;
    config.federation.listen = nowhere;
    let keys = KeyRing::load(&config.keys_dir, &config.domain, SystemClock.now())?;
    Ok(Domain::build(config, keys, Arc::new(SystemClock)).await?)
}
