//! A client that says what a test wants, on a connection of its own.

use std::{net::SocketAddr, sync::Arc};

use freehold_keys::spki_hash;
use freehold_proto::{DomainName, Envelope, Placed, Refusal, wire};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::support::{House, Keys};
use crate::{
    StreamPosition, Tasks,
    hello::{Answer, Channel, Ourselves, read_refusal},
    link::Calls,
    status,
    tls::{self, Tls},
};

/// A connection to a domain, with the TLS key of one domain and the signing key of perhaps another.
pub(super) struct Stranger {
    pub(super) calls: Calls,
    pub(super) channel: Channel,
    ours: Ourselves,
    to: DomainName,
    _tasks: Tasks,
}

pub(super) fn ourselves(keys: &Keys) -> Ourselves {
    Ourselves::new(&keys.ring)
}

pub(super) async fn connect(
    config: Arc<ClientConfig>,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("beta.test").unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

pub(super) fn client_config(tls: &Keys, to: &House) -> Arc<ClientConfig> {
    let pinned = &to.keys.ring.record().record().tls_key_hashes;
    let tls = Tls::new(tls.ring.tls_identity().unwrap()).unwrap();
    tls.client(pinned).unwrap()
}

impl Stranger {
    /// Connects to `to` with the certificate of `tls`, to speak for `domain`.
    pub(super) async fn connects(tls: &Keys, domain: &Keys, to: &House) -> Self {
        let stream = connect(client_config(tls, to), to.address).await.unwrap();
        let connection = stream.get_ref().1;
        let certificate = connection.peer_certificates().unwrap().first().unwrap();
        let channel = Channel {
            exporter: tls::exporter(connection).unwrap(),
            tls_key_hash: spki_hash(certificate).unwrap(),
        };
        let tasks = Tasks::default();
        Self {
            calls: Calls::open(stream, to.domain(), &tasks).await.unwrap(),
            channel,
            ours: ourselves(domain),
            to: to.domain().clone(),
            _tasks: tasks,
        }
    }

    /// Connects and proves `domain`.
    pub(super) async fn proven(domain: &Keys, to: &House) -> Self {
        let stranger = Self::connects(domain, domain, to).await;
        stranger.says(stranger.hello()).await.unwrap();
        stranger
    }

    /// A good hello for this connection.
    pub(super) fn hello(&self) -> wire::HelloRequest {
        let received = StreamPosition::default();
        self.ours.request(&self.to, &self.channel, received)
    }

    /// Says a hello.
    pub(super) async fn says(&self, hello: wire::HelloRequest) -> Result<(), Refusal> {
        let response = self.calls.client.clone().hello(hello).await.unwrap();
        match Answer::read(response.into_inner()).unwrap() {
            Answer::Accepted(_) => Ok(()),
            Answer::Refused(refusal) => Err(refusal),
            Answer::Pending(_) => unreachable!("discovery is quick in these tests"),
        }
    }

    pub(super) fn batch(&self, envelopes: Vec<Envelope>) -> wire::DeliverRequest {
        self.handing_on(envelopes.into_iter().map(|it| (it, None)).collect())
    }

    /// A batch of envelopes, some of them entries of a group's log.
    pub(super) fn handing_on(
        &self,
        entries: Vec<(Envelope, Option<Placed>)>,
    ) -> wire::DeliverRequest {
        let items = (1..)
            .zip(entries)
            .map(|(position, (envelope, placed))| wire::Item {
                position,
                envelope: Some(envelope.into()),
                placed: placed.map(Into::into),
            });
        wire::DeliverRequest {
            from: self.ours.domain().to_string(),
            to: self.to.to_string(),
            epoch: 1,
            items: items.collect(),
        }
    }

    /// Delivers a batch: the code of each item's refusal, 0 for ok, 1 for duplicate; or why the whole
    /// call was refused.
    pub(super) async fn delivers(&self, batch: wire::DeliverRequest) -> Result<Vec<u32>, Refusal> {
        use wire::result::Verdict;
        let response = self.calls.client.clone().deliver(batch).await;
        let response = response.map_err(|it| status::read(&it).expect("a numbered refusal"))?;
        let results = response.into_inner().results.into_iter();
        let codes = results.map(|it| match it.verdict.unwrap() {
            Verdict::Ok(_) => 0,
            Verdict::Duplicate(_) => 1,
            Verdict::Refused(refused) => read_refusal(refused).code.number(),
            Verdict::Later(later) => later.code,
        });
        Ok(codes.collect())
    }
}
