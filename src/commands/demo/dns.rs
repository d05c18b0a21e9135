//! The demonstration's DNS: one authoritative server on loopback with a zone for each domain.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use freehold_proto::DomainName;
use hickory_server::{
    Server,
    net::runtime::TokioRuntimeProvider,
    proto::rr::{
        LowerName, Name, RData, Record,
        rdata::{A, NS, SOA, SRV, TXT},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType},
};
use tokio::net::{TcpListener, UdpSocket};

use crate::commands::{CommandError, while_doing};

/// A second start may give other ports, so nobody shall remember for long.
const TTL: u32 = 1;
/// Ports tried until one is free for UDP and for TCP.
const TRIES: usize = 20;
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_ANSWERS: usize = 16;

/// What DNS says of one domain.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) domain: DomainName,
    /// Text of its `_freehold` record.
    pub(super) anchor: String,
    /// Where it takes links.
    pub(super) port: u16,
}

/// The DNS server: bound first, so that the domains can be told its address, and fed once they are
/// bound and their ports are known.
pub(super) struct Dns {
    address: SocketAddr,
    sockets: Option<(UdpSocket, TcpListener)>,
    // Dropping it ends it.
    server: Option<Server<Catalog>>,
}

impl Dns {
    /// Takes a free port.
    pub(super) async fn bind() -> Result<Self, CommandError> {
        let mut tries = 1;
        loop {
            match bind().await {
                Ok((udp, tcp, address)) => {
                    return Ok(Self {
                        address,
                        sockets: Some((udp, tcp)),
                        server: None,
                    });
                }
                Err(_) if tries < TRIES => tries += 1,
                Err(error) => return Err(while_doing("No port is free for DNS")(error)),
            }
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers from now on.
    pub(super) fn serve(&mut self, zones: impl Iterator<Item = Zone>) {
        let mut catalog = Catalog::new();
        for zone in zones {
            let origin = name(zone.domain.as_str());
            catalog.upsert(
                LowerName::new(&origin),
                vec![Arc::new(zone.handler(origin))],
            );
        }
        let mut server = Server::new(catalog);
        if let Some((udp, tcp)) = self.sockets.take() {
            server.register_socket(udp);
            server.register_listener(tcp, TCP_TIMEOUT, TCP_ANSWERS);
        }
        self.server = Some(server);
    }
}

impl Zone {
    fn handler(self, origin: Name) -> impl ZoneHandler {
        let mut handler = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
            origin,
            ZoneType::Primary,
            AxfrPolicy::Deny,
            None,
        );
        for record in self.records() {
            handler.upsert_mut(record, 1);
        }
        handler
    }

    fn records(&self) -> Vec<Record> {
        let domain = &self.domain;
        let host = name(&format!("fh.{domain}"));
        let origin = name(domain.as_str());
        let here = || RData::A(A(Ipv4Addr::LOCALHOST));
        let second = 1;
        let soa = SOA::new(host.clone(), host.clone(), 1, second, second, second, TTL);
        let srv = SRV::new(0, 0, self.port, host.clone());
        let txt = TXT::new(vec![self.anchor.clone()]);
        let rows = [
            (origin.clone(), RData::SOA(soa)),
            (origin.clone(), RData::NS(NS(host.clone()))),
            (origin, here()),
            (host, here()),
            (name(&format!("_freehold._tcp.{domain}")), RData::SRV(srv)),
            (name(&format!("_freehold.{domain}")), RData::TXT(txt)),
        ];
        let rows = rows.into_iter();
        rows.map(|(name, data)| Record::from_rdata(name, TTL, data))
            .collect()
    }
}

async fn bind() -> std::io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = udp.local_addr()?;
    let tcp = TcpListener::bind(address).await?;
    Ok((udp, tcp, address))
}

/// A name from the root on.
fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("domain names are names in DNS");
    name.set_fqdn(true);
    name
}
