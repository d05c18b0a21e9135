//! `freehold check`: what is right and what is wrong with a domain, in sentences. Changes nothing.

mod certificate;
mod clients;
mod dns;
mod findings;
mod local;
mod peers;
mod push;

use std::path::PathBuf;

use freehold::clock::SystemClock;
use freehold_keys::{KeyRing, fingerprint_to_text};
use freehold_proto::Clock as _;

use self::findings::Findings;
use super::{CommandError, load_config, logging};

/// Say what is right and wrong: configuration, keys, clock, data folder, ports, DNS records, peers.
#[derive(Debug, clap::Args)]
pub(crate) struct Check {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Check {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        logging::start("error", false);
        let mut findings = Findings::default();
        self.look(&mut findings).await;
        if findings.any_wrong() {
            return Err(CommandError::NotAllRight);
        }
        Ok(())
    }

    async fn look(&self, findings: &mut Findings) {
        let config = match load_config(&self.config) {
            Ok(config) => config,
            Err(error) => return findings.wrong(error),
        };
        let domain = &config.domain;
        findings.right(format_args!("The configuration is that of {domain}."));
        local::data_dir(&config, findings);
        local::ports(&config, findings);
        certificate::shown(&config, SystemClock.now(), findings);
        // Not loaded, because that renews a record that is about to expire.
        let keys = match KeyRing::read(&config.keys_dir, domain) {
            Ok(keys) => keys,
            Err(error) => return findings.wrong(format_args!("{error}.")),
        };
        local::keys(&keys, SystemClock.now(), findings);
        let root = fingerprint_to_text(&keys.record().root_fingerprint());
        findings.right(format_args!("Its root key has the fingerprint {root}."));
        let running = local::is_running(&config);
        clients::public(&config, &keys, running, SystemClock.now(), findings).await;
        dns::records(&config, &keys, findings).await;
        push::relay(&config, findings).await;
        peers::trust(&config, findings);
        peers::known(&config.data_dir, findings).await;
    }
}
