//! A node of the public directory beside the demonstration's domains, finding them as a stranger does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use freehold::clock::SystemClock;
use freehold_directory::{Node, NodeListener, serve_node};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::commands::{CommandError, while_doing};

/// A node that runs until it is stopped.
pub(super) struct DemoNode {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl DemoNode {
    /// One that asks this DNS server, on this port of loopback.
    pub(super) async fn start(port: u16, nameserver: SocketAddr) -> Result<Self, CommandError> {
        let host = Ipv4Addr::LOCALHOST;
        let text = format!(
            "listen = \"{host}:{port}\"\n[discovery]\nnameserver = \"{nameserver}\"\ndnssec = false\n\
             allowed_ranges = [\"127.0.0.0/8\"]\n"
        );
        let config = freehold_config::node_from_toml(&text, Path::new("/"));
        let config = config.map_err(|source| CommandError::ConfigWrong {
            path: "of the directory".into(),
            source,
        })?;
        let listener = NodeListener::bind(config.listen).await;
        let listener = listener.map_err(while_doing("The directory cannot listen"))?;
        let address = listener.local_addr();
        let node = Arc::new(Node::new(config, Arc::new(SystemClock))?);
        let stop = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(serve_node(node, listener, stop.clone().cancelled_owned()));
        Ok(Self {
            address,
            stop,
            serving,
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.serving.join_all().await;
    }
}
