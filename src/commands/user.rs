//! `freehold user`: people's accounts, while the server is not running.

use std::{fs, path::PathBuf};

use freehold::{
    Domain,
    accounts::{Level, access::State},
};
use freehold_config::Config;
use freehold_proto::Address;

use super::{CommandError, build_unreachable, load_config, password, say, while_doing};

/// Manage people's accounts. The server must be stopped: it alone uses the store while it runs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum User {
    Add(Add),
    /// Set a new password; everybody who was logged in must log in again
    Password(Password),
    /// Let somebody in who waits for approval
    Approve(Named),
    /// Take an account out of use: its owner cannot log in
    Suspend(Named),
    /// Take a suspended account back into use
    Resume(Named),
    /// Make somebody an administrator
    Grant(Named),
    /// Take an administrator's authority away
    Revoke(Named),
    /// Delete an account for good
    Delete(Named),
}

/// Make an account.
#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    given: Given,
    /// The name others see [default: NAME]
    #[arg(long, value_name = "FULL NAME")]
    name: Option<String>,
    /// Make an administrator of this person, who can suspend and delete accounts and act for others
    #[arg(long)]
    root: bool,
}

/// Set a password.
#[derive(Debug, clap::Args)]
pub(crate) struct Password {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    given: Given,
}

/// Whose account, at which domain.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// What people type to find this person
    #[arg(value_name = "NAME@DOMAIN")]
    address: String,
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// A password.
#[derive(Debug, clap::Args)]
struct Given {
    /// A file with the password in its first line; without it one is made and printed
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl User {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Add(add) => add.run().await,
            Self::Password(password) => password.run().await,
            Self::Approve(named) => named.state(State::Ok, "may log in").await,
            Self::Suspend(named) => named.state(State::Suspended, "is suspended").await,
            Self::Resume(named) => named.state(State::Ok, "may log in").await,
            Self::Grant(named) => named.level(Level::Root, "is an administrator").await,
            Self::Revoke(named) => {
                named
                    .level(Level::Authenticated, "is no administrator")
                    .await
            }
            Self::Delete(named) => named.delete().await,
        }
    }
}

impl Add {
    async fn run(self) -> Result<(), CommandError> {
        let (config, address) = self.named.read()?;
        let (password, made) = self.given.password()?;
        let name = self.name.as_deref().unwrap_or(&address.local);
        let level = if self.root {
            Level::Root
        } else {
            Level::Authenticated
        };
        let domain = build_unreachable(config).await?;
        let added = domain
            .add_user(&address.local, &password, name, level)
            .await;
        domain.close().await;
        added?;
        say::line(format_args!("{address} has an account."));
        tell(&password, made);
        Ok(())
    }
}

impl Password {
    async fn run(self) -> Result<(), CommandError> {
        let (config, address) = self.named.read()?;
        let (password, made) = self.given.password()?;
        let domain = build_unreachable(config).await?;
        let set = domain.set_password(&address.local, &password).await;
        domain.close().await;
        set?;
        say::line(format_args!("{address} has a new password."));
        tell(&password, made);
        Ok(())
    }
}

fn tell(password: &str, made: bool) {
    if made {
        say::line(format_args!("Password: {password}"));
    }
}

impl Named {
    /// The configuration, and the address as one of its domain.
    fn read(&self) -> Result<(Config, Address), CommandError> {
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
        Ok((config, address))
    }

    async fn open(&self) -> Result<(Domain, Address), CommandError> {
        let (config, address) = self.read()?;
        Ok((build_unreachable(config).await?, address))
    }

    async fn state(&self, state: State, now: &str) -> Result<(), CommandError> {
        let (domain, address) = self.open().await?;
        let changed = domain.set_state(&address.local, state).await;
        domain.close().await;
        tell_change(&address, now, changed?);
        Ok(())
    }

    async fn level(&self, level: Level, now: &str) -> Result<(), CommandError> {
        let (domain, address) = self.open().await?;
        let changed = domain.set_level(&address.local, level).await;
        domain.close().await;
        tell_change(&address, now, changed?);
        Ok(())
    }

    async fn delete(&self) -> Result<(), CommandError> {
        let (domain, address) = self.open().await?;
        let deleted = domain.delete_user(&address.local).await;
        domain.close().await;
        deleted?;
        let rest = "Those who talk with them are told when the server runs.";
        say::line(format_args!("{address} is deleted. {rest}"));
        Ok(())
    }
}

fn tell_change(address: &Address, now: &str, changed: bool) {
    let before = if changed { "" } else { ", as before" };
    say::line(format_args!("{address} {now}{before}."));
}

impl Given {
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
