//! `freehold directory`: a node of the public directory tier. It has nothing to do with a domain of our
//! own, and writes nothing anywhere.

use std::{fs, path::PathBuf, sync::Arc};

use freehold::clock;
use freehold_directory::{Node, NodeConfig, NodeListener, serve_node};

use super::{CommandError, logging, say, signals::StopSignal, while_doing};

/// Run a node of the public directory tier: it tells anybody what can be seen of a domain, keeps nothing
/// but memory and is trusted by nobody.
#[derive(Debug, clap::Args)]
pub(crate) struct Directory {
    /// The configuration file; without it, what holds without one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a configuration file with every key explained, and end
    #[arg(long)]
    example: bool,
    /// Write log lines as JSON
    #[arg(long)]
    json_logs: bool,
}

impl Directory {
    pub(crate) async fn run(self) -> Result<(), CommandError> {
        if self.example {
            say::line(freehold_config::node_example().trim_end());
            return Ok(());
        }
        let config = self.config()?;
        logging::start("info", self.json_logs);
        let mut stop = StopSignal::new()?;
        let address = config.listen;
        let listener = NodeListener::bind(address).await;
        let listener = listener.map_err(while_doing(format!("{address} cannot be listened on")))?;
        tracing::info!(address = %listener.local_addr(), "serving as a node of the directory");
        let node = Node::new(config, clock::of_this_process())?;
        serve_node(Arc::new(node), listener, stop.heard()).await;
        Ok(())
    }

    fn config(&self) -> Result<NodeConfig, CommandError> {
        let (text, path) = match &self.config {
            None => (String::new(), PathBuf::new()),
            Some(path) => {
                let unread = |source| CommandError::ConfigUnread {
                    path: path.clone(),
                    source,
                };
                let text = fs::read_to_string(path).map_err(unread)?;
                (text, std::path::absolute(path).map_err(unread)?)
            }
        };
        let folder = path.parent().unwrap_or(&path);
        freehold_config::node_from_toml(&text, folder).map_err(|source| CommandError::ConfigWrong {
            path: path.clone(),
            source,
        })
    }
}
