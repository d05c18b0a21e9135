//! One domain, a DNS server that knows it, and a server for its record.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use freehold_directory::{Config, Directory, MemoryPins, NegativeCache, StaticPeer, Trust};
use freehold_keys::{KeyRing, VerifiedRecord, fingerprint_to_text};
use freehold_proto::{DomainName, ManualClock, Timestamp, limits::ALPN_RECORD};
use hickory_server::{
    Server,
    net::runtime::TokioRuntimeProvider,
    proto::rr::{
        LowerName, Name, RData, Record,
        rdata::{A, CNAME, SOA, SRV, TXT},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneType},
};
use parking_lot::Mutex;
use rustls::{ServerConfig, crypto::aws_lc_rs, version::TLS13};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

pub(crate) struct World {
    pub(crate) domain: DomainName,
    pub(crate) ring: KeyRing,
    pub(crate) pins: Arc<MemoryPins>,
    pub(crate) clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    record: Arc<Mutex<Vec<u8>>>,
    served: Arc<AtomicUsize>,
    servers: Mutex<JoinSet<()>>,
}

impl World {
    pub(crate) fn new(domain: &str) -> Self {
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let (dir, domain) = (tempfile::tempdir().unwrap(), name(domain));
        let (ring, _) = KeyRing::create(&dir.path().join("keys"), &domain, start).unwrap();
        Self {
            record: Arc::new(Mutex::new(ring.record().to_bytes())),
            domain,
            ring,
            pins: Arc::default(),
            clock: Arc::new(ManualClock::new(start)),
            dir,
            served: Arc::default(),
            servers: Mutex::default(),
        }
    }

    /// Renews the domain's record and serves the new one.
    pub(crate) fn renew(&mut self) {
        let now = freehold_proto::Clock::now(&*self.clock);
        self.ring = KeyRing::load(&self.dir.path().join("keys"), &self.domain, now).unwrap();
        *self.record.lock() = self.ring.record().to_bytes();
    }

    pub(crate) fn serve_instead(&self, record: &VerifiedRecord) {
        *self.record.lock() = record.to_bytes();
    }

    /// Records served so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub(crate) fn loopback(&self) -> RData {
        RData::A(A(Ipv4Addr::LOCALHOST))
    }

    /// Serves the record on a port of its own.
    pub(crate) async fn serve_record(&self) -> u16 {
        let identity = self.ring.tls_identity().unwrap();
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate], identity.private_key)
            .unwrap();
        config.alpn_protocols = vec![ALPN_RECORD.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (record, served) = (Arc::clone(&self.record), Arc::clone(&self.served));
        self.servers.lock().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                served.fetch_add(1, Ordering::SeqCst);
                let bytes = record.lock().clone();
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    stream.write_all(&bytes).await.ok();
                    stream.shutdown().await.ok();
                }
            }
        });
        port
    }

    pub(crate) async fn directory(
        &self,
        rows: &[(&str, RData)],
        trust: Trust,
        ranges: &[&str],
    ) -> Directory {
        self.directory_with(rows, trust, ranges, Vec::new()).await
    }

    /// A directory that asks a DNS server of its own, in which `rows` stand.
    pub(crate) async fn directory_with(
        &self,
        rows: &[(&str, RData)],
        trust: Trust,
        ranges: &[&str],
        static_peers: Vec<StaticPeer>,
    ) -> Directory {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nameserver = Some(socket.local_addr().unwrap());
        let mut server = Server::new(self.zone(rows));
        server.register_socket(socket);
        self.servers.lock().spawn(async move {
            server.block_until_done().await.ok();
        });
        let config = Config {
            nameserver,
            trust,
            allowed_ranges: ranges.iter().map(|it| it.parse().unwrap()).collect(),
            static_peers,
            negative_cache: NegativeCache::USUAL,
        };
        Directory::new(config, self.pins.clone(), self.clock.clone()).unwrap()
    }

    fn zone(&self, rows: &[(&str, RData)]) -> Catalog {
        let origin = host(self.domain.as_str());
        let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
        );
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 60);
        zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        for (name, data) in rows {
            zone.upsert_mut(Record::from_rdata(host(name), 60, data.clone()), 1);
        }
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
        catalog
    }
}

pub(crate) fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn host(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

pub(crate) fn srv(priority: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, 0, port, host(target)))
}

pub(crate) fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(host(target)))
}

pub(crate) fn anchor(ring: &KeyRing) -> RData {
    let fingerprint = fingerprint_to_text(&ring.record().root_fingerprint());
    RData::TXT(TXT::new(vec![format!("v=fh1; root={fingerprint}")]))
}
