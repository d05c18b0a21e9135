//! One listener for several domains of this process. Whom a connection is for says the name that the
//! other side asks for at the beginning of TLS (SNI), which every peer sends; the rest of the handshake is
//! that domain's own.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use freehold_proto::DomainName;
use parking_lot::RwLock;
use rustls::server::Acceptor;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::{
    BindError, Tasks,
    strangers::{Strangers, Ticket},
};

/// Connections that have not said whom they want, in all and from one IP prefix.
const STRANGERS_MAX: usize = 1024;
const STRANGERS_PER_PREFIX_MAX: usize = 64;
/// Time to say whom one wants.
const NAME_WITHIN: Duration = Duration::from_secs(10);
/// Connections that wait for one domain to take them.
const WAITING_MAX: usize = 64;
/// Pause after the system refused us a connection, for lack of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection that has said whom it wants.
pub struct Arrival {
    pub(crate) start: Box<StartHandshake<TcpStream>>,
    pub(crate) remote: SocketAddr,
    pub(crate) ticket: Ticket,
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arrival({})", self.remote)
    }
}

/// The domains behind a shared listener. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Reception(Arc<RwLock<HashMap<DomainName, mpsc::Sender<Arrival>>>>);

impl Reception {
    /// Connections for `domain` come here from now on, until it leaves or the receiver is dropped.
    #[must_use]
    pub fn join(&self, domain: &DomainName) -> mpsc::Receiver<Arrival> {
        let (sender, arrivals) = mpsc::channel(WAITING_MAX);
        self.0.write().insert(domain.clone(), sender);
        arrivals
    }

    /// Nobody is taken to `domain` any more.
    pub fn leave(&self, domain: &DomainName) {
        self.0.write().remove(domain);
    }

    fn of(&self, name: &str) -> Option<mpsc::Sender<Arrival>> {
        let domain: DomainName = name.parse().ok()?;
        self.0.read().get(&domain).cloned()
    }
}

/// A bound listener for several domains.
#[derive(Debug)]
pub struct SharedListener {
    listener: TcpListener,
    local_addr: SocketAddr,
    reception: Reception,
}

impl SharedListener {
    /// Binds it. Port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        Ok(Self {
            local_addr: listener.local_addr().map_err(failed)?,
            listener,
            reception: Reception::default(),
        })
    }

    /// Where peers connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where domains join and leave.
    #[must_use]
    pub fn reception(&self) -> Reception {
        self.reception.clone()
    }

    /// Takes connections to their domains until `tasks` stop.
    pub async fn run(self, tasks: Tasks) {
        let strangers = Strangers::new(STRANGERS_MAX, STRANGERS_PER_PREFIX_MAX);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = tasks.stopped() => return,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, fault = "ours", "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(ticket) = strangers.admit(remote.ip()) else {
                tracing::debug!(%remote, "too many connections: dropped");
                continue;
            };
            tasks.spawn(
                "reception",
                take(self.reception.clone(), stream, remote, ticket),
            );
        }
    }
}

/// Reads whom a connection is for and takes it there.
async fn take(reception: Reception, stream: TcpStream, remote: SocketAddr, ticket: Ticket) {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let start = match timeout(NAME_WITHIN, hello).await {
        Ok(Ok(start)) => start,
        Ok(Err(error)) => {
            return tracing::info!(%remote, %error, fault = "peer", "TLS with a stranger failed");
        }
        Err(_) => {
            return tracing::info!(%remote, fault = "peer", "a stranger did not begin TLS in time");
        }
    };
    let name = start.client_hello().server_name().map(str::to_owned);
    let Some(door) = name.as_deref().and_then(|it| reception.of(it)) else {
        return tracing::info!(%remote, ?name, fault = "peer", "a stranger wants a domain that is not here");
    };
    let arrival = Arrival {
        start: Box::new(start),
        remote,
        ticket,
    };
    if door.try_send(arrival).is_err() {
        tracing::debug!(%remote, ?name, "too many connections wait for a domain: dropped");
    }
}
