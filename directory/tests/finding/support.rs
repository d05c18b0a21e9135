//! One domain, a DNS server that knows it, and a server for its record.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use freehold_directory::{Config, Directory, MemoryPins, StaticPeer, Trust};
use freehold_keys::{KeyRing, VerifiedRecord, fingerprint_to_text};
use freehold_proto::{
    DomainName, ManualClock, Timestamp,
    limits::{ALPN_CLIENT, ALPN_RECORD},
};
use hickory_server::{
    Server,
    dnssec::NxProofKind,
    net::runtime::TokioRuntimeProvider,
    proto::{
        op::{Message, MessageType},
        rr::{
            Name, RData, Record,
            rdata::{A, CNAME, SOA, SRV, TXT},
        },
        serialize::binary::{BinDecodable as _, BinEncodable as _},
    },
    store::in_memory::InMemoryZoneHandler,
    zone_handler::{AxfrPolicy, Catalog, ZoneHandler as _, ZoneType},
};
use parking_lot::Mutex;
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer, version::TLS13};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
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
    document: Arc<Mutex<Vec<u8>>>,
    served: Arc<AtomicUsize>,
    servers: Mutex<JoinSet<()>>,
}

impl World {
    pub(crate) fn new(domain: &str) -> Self {
        let start = Timestamp::from_millis(1_767_323_045_678).unwrap();
        let (dir, domain) = (tempfile::tempdir().unwrap(), name(domain));
        let (ring, _) = KeyRing::create(&dir.path().join("keys"), &domain, start).unwrap();
        Self {
            record: Arc::new(Mutex::new(ring.fresh_record(start).to_bytes())),
            document: Arc::default(),
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
        self.serve_instead(&self.ring);
    }

    pub(crate) fn now(&self) -> Timestamp {
        freehold_proto::Clock::now(&*self.clock)
    }

    /// Serves the record of `ring`, with its word of now that it is the latest.
    pub(crate) fn serve_instead(&self, ring: &KeyRing) {
        self.serve_bytes(&ring.fresh_record(self.now()));
    }

    /// Serves a record as it is.
    pub(crate) fn serve_bytes(&self, record: &VerifiedRecord) {
        *self.record.lock() = record.to_bytes();
    }

    /// Serves this as the domain's client document.
    pub(crate) fn serve_document(&self, document: &[u8]) {
        *self.document.lock() = document.to_vec();
    }

    /// Where the keys of the domain are.
    pub(crate) fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// A row of the static table that vouches for the domain as it is now.
    pub(crate) fn row(&self, port: u16) -> StaticPeer {
        StaticPeer {
            domain: self.domain.clone(),
            address: Some(("127.0.0.1".to_owned(), port)),
            root_fingerprint: self.ring.record().root_fingerprint(),
        }
    }

    /// A web server of the domain, under a certificate of an authority of its own, that shows `shown`.
    /// Its port, and the file with the authority's certificate.
    pub(crate) async fn serve_web(&self, shown: &KeyRing) -> (u16, PathBuf) {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
        let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(params, authority_key);
        let leaf = CertificateParams::new(vec![self.domain.to_string()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let path = self.dir.path().join("authority.pem");
        std::fs::write(&path, authority.pem()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let body = shown.fresh_record(self.now()).to_bytes();
        let path_wanted = format!("GET {} HTTP/1.1", freehold_directory::WELL_KNOWN_PATH);
        self.servers.lock().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut request = [0; 1024];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let asked = String::from_utf8_lossy(&request[..read]).into_owned();
                let status = match asked.starts_with(&path_wanted) {
                    true => "200 OK",
                    false => "404 Not Found",
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.ok();
                stream.write_all(&body).await.ok();
                stream.shutdown().await.ok();
            }
        });
        (port, path)
    }

    /// A resolver that answers every question with this text, and says of it that DNSSEC vouches for it
    /// or that nobody does.
    pub(crate) async fn validating_resolver(&self, text: RData, vouches: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.servers.lock().spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let length = stream.read_u16().await.unwrap();
                let mut bytes = vec![0; length.into()];
                stream.read_exact(&mut bytes).await.unwrap();
                let mut message = Message::from_bytes(&bytes).unwrap();
                assert!(message.metadata.authentic_data, "AD is not asked for");
                message.metadata.message_type = MessageType::Response;
                message.metadata.authentic_data = vouches;
                let name = message.queries[0].name().clone();
                message.add_answer(Record::from_rdata(name, 60, text.clone()));
                let bytes = message.to_bytes().unwrap();
                stream
                    .write_u16(bytes.len().try_into().unwrap())
                    .await
                    .unwrap();
                stream.write_all(&bytes).await.unwrap();
            }
        });
        address
    }

    /// Records served so far.
    pub(crate) fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    pub(crate) fn loopback(&self) -> RData {
        RData::A(A(Ipv4Addr::LOCALHOST))
    }

    /// Serves the record, and the client document, on a port of its own.
    pub(crate) async fn serve_record(&self) -> u16 {
        let identity = self.ring.tls_identity().unwrap();
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate], identity.private_key)
            .unwrap();
        config.alpn_protocols = vec![ALPN_RECORD.to_vec(), ALPN_CLIENT.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (record, served) = (Arc::clone(&self.record), Arc::clone(&self.served));
        let document = Arc::clone(&self.document);
        self.servers.lock().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let bytes = match stream.get_ref().1.alpn_protocol() {
                        Some(ALPN_CLIENT) => document.lock().clone(),
                        _ => {
                            served.fetch_add(1, Ordering::SeqCst);
                            record.lock().clone()
                        }
                    };
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
        let change = |config: &mut Config| {
            config.trust = trust;
            config.allowed_ranges = ranges.iter().map(|it| it.parse().unwrap()).collect();
            config.static_peers = static_peers;
        };
        self.directory_set(rows, change).await
    }

    /// The same with a configuration that `change` makes; loopback may be connected to.
    pub(crate) async fn directory_set(
        &self,
        rows: &[(&str, RData)],
        change: impl FnOnce(&mut Config),
    ) -> Directory {
        let nameserver = self.serve_zone(self.zone(rows)).await;
        self.directory_asking(nameserver, change)
    }

    /// The same where it asks this DNS server.
    pub(crate) fn directory_asking(
        &self,
        nameserver: SocketAddr,
        change: impl FnOnce(&mut Config),
    ) -> Directory {
        let mut config = Config {
            nameserver: Some(nameserver),
            allowed_ranges: vec!["127.0.0.0/8".parse().unwrap()],
            ..Config::default()
        };
        change(&mut config);
        Directory::new(config, self.pins.clone(), self.clock.clone()).unwrap()
    }

    /// A DNS server for this zone.
    pub(crate) async fn serve_zone(
        &self,
        zone: InMemoryZoneHandler<TokioRuntimeProvider>,
    ) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut catalog = Catalog::new();
        catalog.upsert(zone.origin().clone(), vec![Arc::new(zone)]);
        let mut server = Server::new(catalog);
        server.register_socket(socket);
        self.spawn(async move {
            server.block_until_done().await.ok();
        });
        address
    }

    /// Goes on as long as this world.
    pub(crate) fn spawn(&self, server: impl Future<Output = ()> + Send + 'static) {
        self.servers.lock().spawn(server);
    }

    /// The zone of the domain, not signed.
    pub(crate) fn zone(&self, rows: &[(&str, RData)]) -> InMemoryZoneHandler<TokioRuntimeProvider> {
        let origin = host(self.domain.as_str());
        let mut zone = InMemoryZoneHandler::<TokioRuntimeProvider>::empty(
            origin.clone(),
            ZoneType::Primary,
            AxfrPolicy::Deny,
            Some(NxProofKind::Nsec),
        );
        let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 60);
        zone.upsert_mut(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        for (name, data) in rows {
            zone.upsert_mut(Record::from_rdata(host(name), 60, data.clone()), 1);
        }
        zone
    }
}

pub(crate) fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

pub(crate) fn host(text: &str) -> Name {
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
