//! `freehold peer`: what the operator does about other domains, whether the server runs or not.

use std::{fs, path::PathBuf};

use freehold::{
    control::{self, Answer},
    peers::operator::{PeerCommand, PeerReport},
};

use super::{CommandError, build_unreachable, load_config, say, while_doing};

/// Other domains: how they stand, who vouches for them, whether they are dealt with.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Peer {
    /// List the domains that were met, vouched for, allowed or denied
    List(List),
    /// Show what is known of a domain; a running server looks it up if it has not been met
    Show(Show),
    /// Vouch for the root key of a domain; another key than the known one begins a new life of the domain
    Pin(Pin),
    /// Deal with a domain where only listed ones are dealt with, or again after it was denied
    Allow(One),
    /// Deal no more with a domain and those below it
    Deny(One),
    /// Forget that a domain was ever met, allowed or denied
    Forget(One),
}

/// Of which domain.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The configuration file of our own domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Which peer.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// The other domain
    #[arg(value_name = "DOMAIN")]
    domain: String,
    /// The configuration file of our own domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Which peer.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    #[command(flatten)]
    which: One,
    /// Write its identity record, as it came, to this file
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Which peer, and its key.
#[derive(Debug, clap::Args)]
pub(crate) struct Pin {
    #[command(flatten)]
    which: One,
    /// The root key's fingerprint, as the other domain's operator tells you on a way that you trust
    #[arg(value_name = "FINGERPRINT")]
    root: String,
}

impl Peer {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        match self {
            Self::List(it) => {
                let peers = ask(&it.config, PeerCommand::List).await?;
                peers.iter().for_each(brief);
            }
            Self::Show(it) => {
                let command = PeerCommand::Show(it.which.domain);
                let peers = ask(&it.which.config, command).await?;
                peers.iter().for_each(whole);
                if let (Some(path), Some(peer)) = (it.record, peers.first()) {
                    write_record(&path, peer)?;
                }
            }
            Self::Pin(it) => {
                let command = PeerCommand::Pin(it.which.domain, it.root);
                let peers = ask(&it.which.config, command).await?;
                peers.iter().for_each(whole);
            }
            Self::Allow(it) => change(it, PeerCommand::Allow, "is dealt with").await?,
            Self::Deny(it) => change(it, PeerCommand::Deny, "is dealt with").await?,
            Self::Forget(it) => {
                let name = it.domain.clone();
                ask(&it.config, PeerCommand::Forget(it.domain)).await?;
                say::line(format_args!("{name} is forgotten."));
            }
        }
        Ok(())
    }
}

async fn change(
    which: One,
    command: fn(String) -> PeerCommand,
    what: &str,
) -> Result<(), CommandError> {
    let peers = Box::pin(ask(&which.config, command(which.domain))).await?;
    for peer in peers {
        let not = if peer.permitted { "" } else { "not " };
        let (is, rest) = what.split_once(' ').unwrap_or((what, ""));
        say::line(format_args!("{} {is} {not}{rest}.", peer.domain));
        if peer.by_hand == "allowed" && !peer.permitted {
            say::line(format_args!(
                "The configuration denies it, or a domain above it: that wins. Change federation.deny and \
                 start the server anew."
            ));
        }
    }
    Ok(())
}

/// Asks the running server, or carries it out on the store of one that is stopped.
async fn ask(
    config: &std::path::Path,
    command: PeerCommand,
) -> Result<Vec<PeerReport>, CommandError> {
    let config = load_config(config)?;
    let asked = control::ask(&config.data_dir, &command).await;
    let refused = match asked.map_err(while_doing("The running server cannot be asked"))? {
        Some(Answer::Peers(peers)) => return Ok(peers),
        Some(Answer::Refused(why)) => why,
        None => {
            let domain = build_unreachable(config).await?;
            let outcome = domain.peer_desk().carry_out(command).await;
            domain.close().await;
            match outcome {
                Ok(peers) => return Ok(peers),
                Err(fault) => fault.to_string(),
            }
        }
    };
    Err(CommandError::Peer(refused))
}

fn dealt(peer: &PeerReport) -> &'static str {
    match (peer.permitted, peer.by_hand.as_str()) {
        (true, "allowed") => "allowed by hand",
        (true, _) => "dealt with",
        (false, "denied") => "denied by hand",
        (false, _) => "not dealt with, by the configuration",
    }
}

fn brief(peer: &PeerReport) {
    let known = match peer.serial {
        0 => "never met".to_owned(),
        serial => format!("record {serial}, vouched for by {}", peer.anchor),
    };
    let dispute = if peer.dispute.is_empty() {
        ""
    } else {
        "  DISPUTED"
    };
    say::line(format_args!(
        "{}  {known}  {}{dispute}",
        peer.domain,
        dealt(peer)
    ));
}

fn whole(peer: &PeerReport) {
    say::line(format_args!("{}  {}", peer.domain, dealt(peer)));
    let rows = [
        ("root key", &peer.root),
        ("vouched for by", &peer.anchor),
        ("record counts until", &peer.fresh_until),
        ("watched", &peer.hold),
        ("DISPUTED", &peer.dispute),
        ("link", &peer.link),
    ];
    if peer.serial > 0 {
        say::line(format_args!("  {:<20} {}", "record", peer.serial));
    }
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        say::line(format_args!("  {name:<20} {value}"));
    }
    if peer.incarnation > 1 {
        say::line(format_args!(
            "  {:<20} {}: whoever it spoke for before is nobody now",
            "life", peer.incarnation
        ));
    }
    for key in &peer.keys {
        say::line(format_args!("  {:<20} {key}", "key"));
    }
}

fn write_record(path: &std::path::Path, peer: &PeerReport) -> Result<(), CommandError> {
    if peer.record.is_empty() {
        let why = format!(
            "{} has not been met, so there is no record of it",
            peer.domain
        );
        return Err(CommandError::Peer(why));
    }
    fs::write(path, &peer.record).map_err(while_doing(format!(
        "The record cannot be written to {}",
        path.display()
    )))?;
    say::line(format_args!(
        "Its record is in {}. Its operator can use it with `freehold keys recover --record`.",
        path.display()
    ));
    Ok(())
}
