//! `freehold audit`: what administrators did, while the server is not running.

use std::path::PathBuf;

use super::{CommandError, build_unreachable, load_config, say};

/// Print what administrators did, newest first. The server must be stopped; while it runs, its log
/// has the same lines under the target `audit`.
#[derive(Debug, clap::Args)]
pub(crate) struct Audit {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How many lines at most
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

impl Audit {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        let domain = build_unreachable(load_config(&self.config)?).await?;
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let trail = domain.audit_trail(limit).await;
        domain.close().await;
        for it in trail? {
            let about = if it.about.is_empty() { "-" } else { &it.about };
            say::line(format_args!("{}  {}  {about}  {}", it.at, it.by, it.what));
        }
        Ok(())
    }
}
