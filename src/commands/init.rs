//! `freehold init`: a new domain's folder, configuration and keys.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use freehold::clock::SystemClock;
use freehold_keys::{KeyError, KeyRing, RecoveryPhrase, fingerprint_to_text};
use freehold_proto::{Clock as _, DomainName, limits::DEFAULT_PORT};

use super::{CommandError, say, while_doing};

/// Make a new domain: its folder, configuration and keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The DNS name of the domain
    #[arg(long, value_name = "NAME")]
    domain: String,
    /// The folder to make for it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

impl Init {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let domain = DomainName::from_typed(&self.domain)
            .map_err(|fault| CommandError::Usage(format!("{fault}.")))?;
        let keys_dir = self.data.join("keys");
        if KeyRing::exists(&keys_dir) {
            return Err(KeyError::Exists(keys_dir).into());
        }
        create_folder(&self.data)?;
        // The configuration first: the phrase is shown once, so nothing may fail after the keys.
        let config = self.data.join("freehold.toml");
        write_config(&config, &domain)?;
        let (keys, phrase) = match KeyRing::create(&keys_dir, &domain, SystemClock.now()) {
            Ok(made) => made,
            Err(error) => {
                let _left_behind = fs::remove_file(&config);
                return Err(error.into());
            }
        };
        explain(&config, &keys, &phrase);
        Ok(())
    }
}

fn create_folder(dir: &Path) -> Result<(), CommandError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(while_doing(format!(
            "The folder {} cannot be made",
            dir.display()
        )))
}

fn write_config(path: &Path, domain: &DomainName) -> Result<(), CommandError> {
    let text = freehold_config::example(domain.as_str());
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(while_doing(format!("{} cannot be made", path.display())))
}

fn explain(config: &Path, keys: &KeyRing, phrase: &RecoveryPhrase) {
    let domain = keys.domain();
    let config = config.display();
    let [first, second] = phrase_lines(phrase);
    let [srv, txt] = dns_records(keys);
    say::line(format_args!(
        "\
The domain {domain} is made. Its configuration is {config}.

Recovery phrase. It is shown this once and kept nowhere: write it on paper and keep it away from
this machine. Only with it can the domain's root key be replaced when it is lost or stolen.

    {first}
    {second}

Publish these DNS records, so that other domains find this one and know its root key:

    {srv}
    {txt}

The SRV record says on which host (here {domain} itself, which needs an A or AAAA record) and port
the server takes links from other domains.

Next:
    freehold user add NAME@{domain} --config {config}
    freehold check --config {config}
    freehold serve --config {config}"
    ));
}

/// The recovery phrase as two lines.
pub(super) fn phrase_lines(phrase: &RecoveryPhrase) -> [String; 2] {
    let words = phrase.words();
    let words: Vec<&str> = words.split(' ').collect();
    let (first, second) = words.split_at(words.len() / 2);
    [first.join(" "), second.join(" ")]
}

/// The records that a domain publishes, as lines of a zone file.
pub(crate) fn dns_records(keys: &KeyRing) -> [String; 2] {
    let domain = keys.domain();
    [
        format!("_freehold._tcp.{domain}. IN SRV 0 0 {DEFAULT_PORT} {domain}."),
        format!("_freehold.{domain}. IN TXT \"{}\"", anchor_text(keys)),
    ]
}

/// What stands in the TXT record.
pub(crate) fn anchor_text(keys: &KeyRing) -> String {
    let root = fingerprint_to_text(&keys.record().root_fingerprint());
    format!("v=fh1; root={root}")
}
