//! `freehold peers`: what waits for other domains, while the server is not running.

use std::path::PathBuf;

use super::{CommandError, build_unreachable, load_config, say};

/// Print what waits for each domain that this one ever wrote to. The server must be stopped.
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
        }
        Ok(())
    }
}
