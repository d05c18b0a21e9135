//! `freehold peers`: what waits for other domains, while the server is not running.

use std::path::PathBuf;

use super::{CommandError, build_unreachable, load_config, say};

/// Print what waits for each domain that this one ever wrote to, and which domains have not confirmed
/// that something was deleted or somebody has gone. The server must be stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Peers {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl Peers {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let domain = build_unreachable(load_config(&self.config)?).await?;
        let queues = domain.queues().await;
        domain.close().await;
        for it in queues? {
            let since = it.oldest.map_or("-".to_owned(), |at| at.to_string());
            say::line(format_args!(
                "{}  waiting {}  parked {}  failed {}  since {since}",
                it.peer, it.waiting, it.parked, it.failed
            ));
            if it.endings > 0 {
                say::line(format_args!(
                    "{}  has not confirmed {} deletions, erasures or departures",
                    it.peer, it.endings
                ));
            }
        }
        Ok(())
    }
}
