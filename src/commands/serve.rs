//! `freehold serve`: one domain, until it is told to stop.

use std::path::PathBuf;

use freehold::{Domain, clock};
use freehold_config::Config;
use freehold_keys::KeyRing;

use super::{CommandError, STOP_GRACE, load_config, logging, open_files, signals::StopSignal};

/// Serve one domain until stopped (SIGTERM or Ctrl-C).
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Write log lines as JSON
    #[arg(long)]
    json_logs: bool,
}

impl Serve {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let config = hasten(load_config(&self.config)?);
        let clock = clock::of_this_process();
        logging::start("info", self.json_logs);
        open_files::allow_all();
        let mut stop = StopSignal::new()?;
        let name = config.domain.to_string();
        let keys = KeyRing::load(&config.keys_dir, &config.domain, clock.now())?;
        let domain = Domain::build(config, keys, clock).await?;
        let running = domain.start();
        let told = tokio::select! {
            () = stop.heard() => true,
            () = running.stopped() => false,
        };
        running.stop(STOP_GRACE).await;
        if told {
            Ok(())
        } else {
            Err(CommandError::Stopped(name))
        }
    }
}

/// The configuration as it is.
#[cfg(not(feature = "test-hooks"))]
fn hasten(config: Config) -> Config {
    config
}

/// `FREEHOLD_HASTE=n` lets days pass in a test: what waits for a peer that is away waits for an n-th
/// of its time, and everything that is measured in that wait is as much shorter.
#[cfg(feature = "test-hooks")]
fn hasten(mut config: Config) -> Config {
    let haste = std::env::var("FREEHOLD_HASTE").ok();
    if let Some(haste) = haste.and_then(|it| it.parse().ok()) {
        config.federation.backoff = config.federation.backoff.hastened(haste);
    }
    config
}
