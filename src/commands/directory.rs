//! `freehold directory`: a node of the public directory tier. It has nothing to do with a domain of our
//! own, and writes nothing anywhere.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use freehold::clock;
use freehold_directory::{Node, NodeConfig, NodeListener, new_vapid_key, serve_node};

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
    /// Make a key for Web Push, write it into a new file that only its owner can read, and end
    #[arg(long, value_name = "FILE")]
    make_vapid_key: Option<PathBuf>,
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
        if let Some(path) = &self.make_vapid_key {
            return make_vapid_key(path);
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

fn make_vapid_key(path: &Path) -> Result<(), CommandError> {
    let doing = || while_doing(format!("{} cannot be written", path.display()));
    let made = new_vapid_key().ok_or_else(|| io::Error::other("there is no randomness"));
    let (text, public) = made.map_err(doing())?;
    // A key that is there is never replaced: browsers have subscribed for it.
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.map_err(doing())?;
    file.write_all(text.as_bytes()).map_err(doing())?;
    file.sync_all().map_err(doing())?;
    say::line(format_args!(
        "{} is the key; browsers know it as {public}",
        path.display()
    ));
    Ok(())
}
