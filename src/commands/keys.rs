//! `freehold keys`: a domain's own keys, shown and changed. A server that runs takes a change up by
//! itself within seconds.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _},
    path::{Path, PathBuf},
};

use freehold::clock::SystemClock;
use freehold_config::Config;
use freehold_keys::{KeyError, KeyRing, Lost, RecoveryPhrase, VerifiedRecord, fingerprint_to_text};
use freehold_proto::{Clock as _, KeyId, Timestamp};

use super::{
    CommandError,
    init::{anchor_text, phrase_lines},
    load_config, say, while_doing,
};

/// The domain's own keys.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Keys {
    /// Print the domain's keys, what they are for and until when they count
    Show(Show),
    /// Replace the signing key and the TLS key; what the old ones signed counts on
    Rotate(Rotate),
    /// Replace keys that somebody else may have; what arrives signed with them counts no more
    Revoke(Revoke),
    /// Make the key of the recovery phrase the root key, and all other keys anew
    Recover(Recover),
}

/// Which domain.
#[derive(Debug, clap::Args)]
pub(crate) struct Show {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Which domain, and from where.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The domain's last identity record, if the keys here come from a backup that is older: `freehold
    /// peer show DOMAIN --record FILE` writes it at any domain that knows this one
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// Which keys.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).multiple(true)))]
pub(crate) struct Revoke {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The key that signs messages
    #[arg(long, group = "which")]
    signing: bool,
    /// The key that other domains see on connections
    #[arg(long, group = "which")]
    tls: bool,
    /// Since when somebody else may have them, as 2026-11-21T09:30:00Z; now without it
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
}

/// From what.
#[derive(Debug, clap::Args)]
pub(crate) struct Recover {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The domain's last identity record, if this machine has lost it: `freehold peer show DOMAIN
    /// --record FILE` writes it at any domain that knows this one
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// The keys so far were stolen, at this time: what arrives signed with them counts no more
    #[arg(long, value_name = "TIME")]
    stolen_since: Option<String>,
}

impl Keys {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        match self {
            Self::Show(it) => show(&load_config(&it.config)?),
            Self::Rotate(it) => it.run(),
            Self::Revoke(it) => it.run(),
            Self::Recover(it) => it.run(),
        }
    }
}

fn load(config: &Config) -> Result<KeyRing, KeyError> {
    KeyRing::load(&config.keys_dir, &config.domain, SystemClock.now())
}

fn show(config: &Config) -> Result<(), CommandError> {
    let keys = load(config)?;
    let record = keys.record().record();
    let root = fingerprint_to_text(&keys.record().root_fingerprint());
    say::line(format_args!(
        "{}  identity record number {}, valid until {}",
        record.domain, record.serial, record.expires
    ));
    say::line(format_args!(
        "root key     {root}  signs identity records; other domains know this one by it"
    ));
    say::line(format_args!(
        "next root    {}  the recovery phrase, on paper",
        fingerprint_to_text(&record.next_root_hash)
    ));
    let current = keys.signer().key_id();
    for key in &record.signing_keys {
        let id = KeyId::of(&key.public_key);
        let state = match (record.is_revoked(id), id == current) {
            (true, _) => "revoked",
            (_, true) => "signs messages",
            _ => "replaced; what it signed counts",
        };
        say::line(format_args!(
            "signing key  {id}  {state}; {} to {}",
            key.valid_from, key.valid_until
        ));
    }
    for hash in &record.tls_key_hashes {
        say::line(format_args!(
            "TLS key      {}  for connections",
            fingerprint_to_text(hash)
        ));
    }
    say::line(format_args!("TXT record   {}", anchor_text(&keys)));
    Ok(())
}

impl Rotate {
    fn run(self) -> Result<(), CommandError> {
        let config = load_config(&self.config)?;
        let later = self.record.map(|path| read_record(&path, &config));
        let mut keys = load(&config)?;
        keys.rotate_behind(later.transpose()?.as_ref(), SystemClock.now())?;
        taken_up(&keys);
        Ok(())
    }
}

fn taken_up(keys: &KeyRing) {
    say::line(format_args!(
        "Identity record number {} is written. A running server uses the new keys within seconds and tells \
         the domains it deals with; one that is stopped does so when it starts. Back up the keys folder.",
        keys.record().record().serial
    ));
}

impl Revoke {
    fn run(self) -> Result<(), CommandError> {
        let config = load_config(&self.config)?;
        let now = SystemClock.now();
        let since = self.since.map_or(Ok(now), |it| moment(&it, now))?;
        let mut keys = load(&config)?;
        let lost = Lost {
            signing: self.signing,
            tls: self.tls,
        };
        keys.revoke(lost, since, now)?;
        taken_up(&keys);
        if self.signing {
            say::line(format_args!(
                "Messages that wait for other domains and are signed with the old key will be refused there, \
                 and their authors told."
            ));
        }
        Ok(())
    }
}

impl Recover {
    fn run(self) -> Result<(), CommandError> {
        let config = load_config(&self.config)?;
        let now = SystemClock.now();
        let stolen = self.stolen_since.as_deref();
        let stolen = stolen.map(|it| moment(it, now)).transpose()?;
        let path = self
            .record
            .unwrap_or_else(|| config.keys_dir.join("identity.record"));
        let last = read_record(&path, &config)?;
        let phrase = RecoveryPhrase::from_words(&ask_phrase()?)?;
        let (keys, next) = KeyRing::recover(&config.keys_dir, &phrase, &last, stolen, now)?;
        taken_up(&keys);
        let [first, second] = phrase_lines(&next);
        say::line(format_args!(
            "\nThe phrase that you typed is used up. The new recovery phrase is shown this once and kept nowhere: \
             write it on paper and keep it away from this machine.\n\n    {first}\n    {second}\n\n\
             Domains that know this one follow to the new root key by themselves. For those that meet it for \
             the first time, publish:\n\n    _freehold.{}. IN TXT \"{}\"",
            config.domain,
            anchor_text(&keys)
        ));
        Ok(())
    }
}

fn read_record(path: &Path, config: &Config) -> Result<VerifiedRecord, CommandError> {
    let bytes = fs::read(path).map_err(while_doing(format!(
        "The identity record {} cannot be read",
        path.display()
    )))?;
    let wrong = |fault: freehold_keys::RecordFault| {
        CommandError::Usage(format!(
            "{} is not the identity record of {}: {fault}.",
            path.display(),
            config.domain
        ))
    };
    let root = VerifiedRecord::root_in(&bytes).map_err(wrong)?;
    VerifiedRecord::verify_stored(&bytes, &config.domain, &root).map_err(wrong)
}

/// The 24 words, from a person or a pipe; never from the command line, which other people can see.
fn ask_phrase() -> Result<zeroize::Zeroizing<String>, CommandError> {
    if io::stdin().is_terminal() {
        say::line(format_args!("Type the 24 words of the recovery phrase:"));
    }
    let mut words = zeroize::Zeroizing::new(String::new());
    let mut lines = io::stdin().lock();
    while words.split_whitespace().count() < 24 {
        let read = lines.read_line(&mut words);
        if read.map_err(while_doing("The recovery phrase cannot be read"))? == 0 {
            break;
        }
        words.push(' ');
    }
    Ok(zeroize::Zeroizing::new(
        words.split_whitespace().collect::<Vec<_>>().join(" "),
    ))
}

/// A time that an operator typed; not later than now.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp, CommandError> {
    let wrong = |why: &str| CommandError::Usage(format!("{text} {why}."));
    let parsed = Timestamp::from_text(text)
        .ok_or_else(|| wrong("is not a time such as 2026-11-21T09:30:00Z"))?;
    match parsed > now {
        true => Err(wrong("is in the future")),
        false => Ok(parsed),
    }
}
