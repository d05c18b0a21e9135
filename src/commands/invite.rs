//! `freehold invite`: invitations to make an account, while the server is not running.

use std::{path::PathBuf, time::Duration};

use freehold::Invitation;

use super::{CommandError, build_unreachable, load_config, say};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Manage invitations to make an account. The server must be stopped: it alone uses the store while
/// it runs.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Invite {
    New(New),
    List(List),
    Revoke(Revoke),
}

/// Make an invitation and print its code.
#[derive(Debug, clap::Args)]
pub(crate) struct New {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How many accounts it makes
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    uses: u32,
    /// How many days it counts
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// For whom, to know it again
    #[arg(long, default_value = "")]
    note: String,
}

/// Print all invitations.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Take an invitation back.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// Its code
    code: String,
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Invite {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::New(new) => new.run().await,
            Self::List(list) => list.run().await,
            Self::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl New {
    async fn run(self) -> Result<(), CommandError> {
        let domain = build_unreachable(load_config(&self.config)?).await?;
        let made = domain.invite(self.uses, DAY * self.days, &self.note).await;
        domain.close().await;
        let Invitation { code, expires, .. } = made?;
        say::line(format_args!(
            "Invitation {code}, until {expires}. Whoever makes an account types it behind the log-in \
             name: NAME+{code}"
        ));
        Ok(())
    }
}

impl List {
    async fn run(self) -> Result<(), CommandError> {
        let domain = build_unreachable(load_config(&self.config)?).await?;
        let all = domain.invitations().await;
        domain.close().await;
        for it in all? {
            let (code, expires, used, left, note) =
                (it.code, it.expires, it.used, it.left, it.note);
            say::line(format_args!(
                "{code}  until {expires}  used {used}  left {left}  {note}"
            ));
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(self) -> Result<(), CommandError> {
        let domain = build_unreachable(load_config(&self.config)?).await?;
        let revoked = domain.revoke_invitation(&self.code).await;
        domain.close().await;
        if revoked? {
            say::line(format_args!("The invitation {} is taken back.", self.code));
            return Ok(());
        }
        let why = format!("There is no invitation {}.", self.code);
        Err(CommandError::Usage(why))
    }
}
