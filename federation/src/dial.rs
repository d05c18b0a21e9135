//! Opens a link: find, connect, TLS with a pinned key, hello.

use std::sync::Arc;

use freehold_directory::Target;
use freehold_keys::{VerifiedRecord, spki_hash};
use freehold_proto::{DomainName, limits::ALPN_PEER};
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    LinkError, LinkLost, PeerMisbehaved, PeerUnsupported,
    engine::Engine,
    hello::Channel,
    identity::Identity,
    link::{Established, Greeting, Introduction},
    tls,
};

/// Opens a link to `peer`. A TLS key that is not in the pinned record sends us back to the record
/// once, because keys change.
pub(crate) async fn dial(engine: &Engine, peer: &DomainName) -> Result<Established, LinkError> {
    if !engine.config.policy.permits(peer) {
        return Err(LinkError::Denied(peer.clone()));
    }
    let unresolved = |source| LinkError::Unresolved {
        peer: peer.clone(),
        source,
    };
    let record = engine.directory.peer(peer).await.map_err(unresolved)?;
    let identity = engine.identity.get();
    let greeting = match connect(engine, &identity, &record).await {
        Err(wrong @ LinkError::Misbehaved { .. }) => {
            let newer = engine.directory.refresh(peer).await.map_err(|error| {
                tracing::info!(%peer, %error, "its record cannot be had again");
                wrong.clone()
            })?;
            if newer.hash() == record.hash() {
                return Err(wrong);
            }
            connect(engine, &identity, &newer).await?
        }
        other => other?,
    };
    let received = engine.local.received(peer).await;
    let introduction = Introduction {
        ours: &identity.ours,
        directory: &engine.directory,
        clock: &*engine.clock,
        received: received.map_err(|error| LinkError::Ours(error.to_string()))?,
    };
    greeting.hello(&introduction).await
}

/// Tries each address of a peer in turn. That somewhere the wrong key was shown counts for more than
/// that somewhere else nobody answered.
async fn connect(
    engine: &Engine,
    identity: &Identity,
    record: &Arc<VerifiedRecord>,
) -> Result<Greeting, LinkError> {
    let peer = &record.record().domain;
    let targets = engine.directory.targets(peer).await;
    let targets = targets.map_err(|source| LinkError::Unresolved {
        peer: peer.clone(),
        source,
    })?;
    let mut failure = None;
    // However many addresses a domain publishes, it does not keep a dialer for long.
    let deadline = Instant::now() + engine.config.tls_timeout * 2;
    for target in targets {
        if Instant::now() >= deadline {
            break;
        }
        match connect_to(engine, identity, record, &target).await {
            Ok(greeting) => return Ok(greeting),
            Err(_) if matches!(failure, Some(LinkError::Misbehaved { .. })) => {}
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| LinkError::Ours("no address to try".to_owned())))
}

async fn connect_to(
    engine: &Engine,
    identity: &Identity,
    record: &Arc<VerifiedRecord>,
    target: &Target,
) -> Result<Greeting, LinkError> {
    let (peer, address) = (&record.record().domain, target.address);
    let lost = |what| LinkError::Lost {
        peer: peer.clone(),
        what,
    };
    let ours = |error: rustls::Error| LinkError::Ours(error.to_string());
    let unconnected = |why: String| lost(LinkLost::Connect { address, why });
    let no_tls = |why: String| lost(LinkLost::Tls { address, why });

    let within = engine.config.tls_timeout;
    let stream = match timeout(within, TcpStream::connect(address)).await {
        Err(_) => return Err(unconnected("it takes too long".to_owned())),
        Ok(stream) => stream.map_err(|error| unconnected(error.to_string()))?,
    };
    stream
        .set_nodelay(true)
        .map_err(|error| unconnected(error.to_string()))?;

    let config = identity.tls.client(&record.record().tls_key_hashes);
    let connector = TlsConnector::from(config.map_err(ours)?);
    let name = ServerName::try_from(peer.as_str().to_owned())
        .map_err(|error| LinkError::Ours(error.to_string()))?;
    let stream = match timeout(within, connector.connect(name, stream)).await {
        Err(_) => return Err(no_tls("it takes too long".to_owned())),
        Ok(Err(error)) if tls::is_wrong_key(&error) => {
            return Err(LinkError::Misbehaved {
                peer: peer.clone(),
                what: PeerMisbehaved::WrongTlsKey,
            });
        }
        Ok(stream) => stream.map_err(|error| no_tls(error.to_string()))?,
    };

    let connection = stream.get_ref().1;
    if connection.alpn_protocol() != Some(ALPN_PEER) {
        return Err(LinkError::Unsupported {
            peer: peer.clone(),
            what: PeerUnsupported::Alpn("freehold-peer/1"),
        });
    }
    let certificate = connection.peer_certificates().and_then(|it| it.first());
    let channel = Channel {
        exporter: tls::exporter(connection).map_err(ours)?,
        tls_key_hash: certificate
            .and_then(spki_hash)
            .ok_or_else(|| no_tls("there is no certificate".to_owned()))?,
    };
    Greeting::new(stream, Arc::clone(record), channel, &engine.tasks).await
}
