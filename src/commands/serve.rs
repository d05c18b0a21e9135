//! `freehold serve`: one domain, until it is told to stop.

use std::{path::PathBuf, sync::Arc};

use freehold::{Domain, clock::SystemClock};
use freehold_keys::KeyRing;
use freehold_proto::Clock as _;

use super::{CommandError, STOP_GRACE, load_config, logging, signals::StopSignal};

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
        let config = load_config(&self.config)?;
        logging::start("info", self.json_logs);
        let mut stop = StopSignal::new()?;
        let name = config.domain.to_string();
        let keys = KeyRing::load(&config.keys_dir, &config.domain, SystemClock.now())?;
        let domain = Domain::build(config, keys, Arc::new(SystemClock)).await?;
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
