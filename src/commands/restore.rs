//! `freehold restore`: makes an older copy of a domain's data fit to be served again.

use std::{path::PathBuf, time::Duration};

use freehold::Without;
use freehold_proto::DomainName;

use super::{CommandError, build_unreachable, load_config, logging, say};

/// Make a backup fit to be served again, after its store was copied back and before `serve`. Asks every
/// domain that this one knows how far it has got, and changes nothing while somebody has not answered.
/// The server must be stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// The configuration file of the domain
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// How long to ask domains that do not answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    within: u64,
    /// Do without the answer of this domain
    #[arg(long, value_name = "DOMAIN")]
    without: Vec<DomainName>,
    /// Do without the answers of all domains that do not answer
    #[arg(long)]
    without_silent: bool,
}

impl Restore {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        logging::start("warn", false);
        let domain = build_unreachable(load_config(&self.config)?).await?;
        let within = Duration::from_secs(self.within);
        let without = match self.without_silent {
            true => Without::Silent,
            false => Without::These(self.without),
        };
        let told = |peer: &DomainName, answers: bool| {
            let how = if answers {
                "has answered"
            } else {
                "does not answer"
            };
            say::line(format_args!("{peer} {how}."));
        };
        let restored = domain.restore(within, &without, told).await?;
        let missing: Vec<_> = restored.missing(&without).collect();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(ToString::to_string).collect();
            return Err(CommandError::Unanswered(names.join(", ")));
        }
        if restored.entries > 0 {
            let entries = restored.entries;
            say::line(format_args!(
                "{entries} entries of groups have come back from other domains."
            ));
        }
        say::line(format_args!(
            "Restored: {} conversations go on behind all that clients may know. Start the server now.",
            restored.topics
        ));
        Ok(())
    }
}
