//! A domain that does what a script says: a peer with keys of its own that speaks the peer protocol by
//! its document, and breaks it where a case wants that. It shares no code with the server but the
//! words of `proto` and the signatures of `keys`.

mod accept;
pub mod by_hand;
mod dial;
mod grpc;
mod home;
pub mod http2;
mod pen;
mod tls;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use freehold_keys::{KeyError, KeyRing, TlsIdentity, fingerprint_to_text, prove, random};
use freehold_proto::{
    Destination, DomainName, GroupId, Header, IdentityRecord, MessageId, Position, Timestamp,
    UserId,
    hello::{Hello, Role},
    limits, wire,
    wire::{hello_response::Outcome, payload::Kind},
};
use parking_lot::Mutex;
use prost::Message as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_rustls::client::TlsStream;

use crate::{Failure, Result};

pub use dial::Line;
pub(crate) use dial::connect;
pub(crate) use home::SUCCESSORS;
pub use home::{HomedGroup, TAKEOVER};
pub use pen::{Pen, forged, this_moment};

/// Items remembered; what comes after is answered and only counted.
const ARRIVED_MAX: usize = 100_000;
const POLL: Duration = Duration::from_millis(20);

/// A peer that runs. Ends with its connections when dropped.
#[derive(Debug)]
pub struct ScriptedPeer {
    this: Arc<Inner>,
    address: SocketAddr,
    _keys: TempDir,
    _tasks: JoinSet<()>,
}

/// An item as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// When.
    pub at: Instant,
    /// In which life of the sender's stream.
    pub epoch: u64,
    /// At which position of it.
    pub position: u64,
    /// The id under which it was sealed.
    pub id: Option<MessageId>,
    /// What it says; none when it cannot be read.
    pub kind: Option<Kind>,
    /// Its bytes.
    pub envelope: wire::Envelope,
    /// Where the home of a group has put it, if it is of a log.
    pub placed: Option<Position>,
    /// The same as it was signed.
    pub signed_place: Option<wire::Placed>,
}

impl Arrived {
    fn read(epoch: u64, item: wire::Item) -> Self {
        let envelope = item.envelope.unwrap_or_default();
        let header = Header::decode(&envelope.header).ok();
        let payload = wire::Payload::decode(&*envelope.payload).ok();
        Self {
            at: Instant::now(),
            epoch,
            position: item.position,
            signed_place: item.placed.clone(),
            id: header.map(|it| it.message_id),
            kind: payload.and_then(|it| it.kind),
            envelope,
            placed: item
                .placed
                .and_then(|it| Position::decode(&it.position).ok()),
        }
    }

    /// Whether this domain sealed it.
    #[must_use]
    pub fn is_of(&self, domain: &str) -> bool {
        Header::decode(&self.envelope.header).is_ok_and(|it| it.from.as_str() == domain)
    }

    /// The text of a message.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        match &self.kind {
            Some(Kind::DirectMessage(it)) => serde_json::from_slice(&it.content).ok(),
            _ => None,
        }
    }
}

/// How the peer answers a batch.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Every item is taken.
    Taken,
    /// One verdict for each item, or not.
    Verdicts(Vec<wire::result::Verdict>),
    /// The call fails with this gRPC status.
    Status(u32),
    /// The call is refused with this number.
    Refused(u32),
    /// After a while, this.
    After(Duration, Box<Self>),
    /// No answer at all.
    Silence,
    /// The connection breaks.
    Break,
}

/// How the peer answers who asks for a file.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// What it says the file is; without it, it has no such file.
    pub head: Option<wire::FileHead>,
    /// What it sends of it.
    pub chunks: Vec<Bytes>,
    /// Sends the last of them for ever.
    pub endless: bool,
    /// Says no more, rather than that this is the end.
    pub hangs: bool,
}

/// What decides how a batch is answered. A batch is remembered before it is asked.
pub type Script = Box<dyn FnMut(&[Arrived]) -> Reply + Send>;

/// How the peer answers a hello, of which it has the exporter too; none to answer honestly.
pub type Greeter = Box<dyn FnMut(&wire::HelloRequest, [u8; 32]) -> Option<Outcome> + Send>;

/// What says how a group stands, when somebody asks.
pub(crate) type Shows = Box<dyn FnMut(wire::ReadGroupRequest) -> wire::ReadGroupResponse + Send>;

/// What a hostile home says to who reads a group; none to leave it to the honest one.
pub type Twists = Box<dyn FnMut(&wire::ReadGroupRequest) -> Option<wire::ReadGroupResponse> + Send>;

/// What the connections of one peer share.
pub(crate) struct Inner {
    ring: KeyRing,
    pens: pen::Pens,
    tls: Mutex<Arc<tls::Tls>>,
    /// A record that it shows in the place of its own.
    record: Mutex<Option<wire::SignedRecord>>,
    /// Fields that stand behind those of everything it says.
    beside: Mutex<Vec<u8>>,
    /// Calls that it has never heard of.
    lacks: Mutex<Vec<String>>,
    script: Mutex<Script>,
    shows: Mutex<Shows>,
    /// Whom its groups name to follow it.
    successors: Mutex<Vec<String>>,
    arrived: Mutex<Vec<Arrived>>,
    hellos: Mutex<Vec<Instant>>,
    /// The last of them, as it was said.
    last_hello: Mutex<Option<wire::HelloRequest>>,
    greeter: Mutex<Option<Greeter>>,
    /// How far it has decided the stream of each domain.
    received: Mutex<HashMap<String, wire::StreamPosition>>,
    signals: Mutex<Vec<wire::Signal>>,
    /// Answers to who reads a group, before those of `shows`.
    twists: Mutex<Option<Twists>>,
    /// What was read of groups.
    reads: Mutex<Vec<wire::ReadGroupRequest>>,
    files: Mutex<HashMap<[u8; 16], Given>>,
    files_asked: Mutex<Vec<wire::ReadFileRequest>>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inner").field(self.ring.domain()).finish()
    }
}

impl Inner {
    fn domain(&self) -> &DomainName {
        self.ring.domain()
    }

    /// How far it has decided the stream of a domain.
    fn received(&self, from: &str) -> wire::StreamPosition {
        self.received.lock().get(from).copied().unwrap_or_default()
    }

    /// A hello to a server.
    fn hello(&self, to: &DomainName, exporter: [u8; 32]) -> wire::HelloRequest {
        wire::HelloRequest {
            version: VERSION,
            from: self.domain().to_string(),
            to: to.to_string(),
            key_id: self.ring.signer().key_id().as_bytes().to_vec().into(),
            record_hash: self.record_hash().to_vec().into(),
            signature: self.proof(Role::Initiator, to, exporter),
            received: Some(self.received(to.as_str())),
        }
    }

    fn tls(&self) -> Arc<tls::Tls> {
        Arc::clone(&self.tls.lock())
    }

    /// The record that it shows.
    fn shown_record(&self) -> Vec<u8> {
        let shown = self.record.lock();
        let own = || self.ring.fresh_record(now()).to_bytes();
        let shown = shown.as_ref().map_or_else(own, |it| it.encode_to_vec());
        [shown, self.beside.lock().clone()].concat()
    }

    /// A message as this peer says it, in its frame.
    fn framed(&self, message: &impl prost::Message) -> Bytes {
        let bytes = [message.encode_to_vec(), self.beside.lock().clone()];
        by_hand::framed(&bytes.concat())
    }

    fn record_hash(&self) -> [u8; 32] {
        let shown = self.record.lock();
        let own = || self.ring.record().hash();
        shown
            .as_ref()
            .map_or_else(own, |it| IdentityRecord::hash(&it.record))
    }

    /// The proof of this domain on one connection.
    fn proof(&self, role: Role, to: &DomainName, exporter: [u8; 32]) -> Bytes {
        let hello = Hello {
            role,
            from: self.domain(),
            to,
            key_id: self.ring.signer().key_id(),
            record_hash: self.record_hash(),
            exporter,
        };
        prove(&hello, &self.ring.signer()).to_vec().into()
    }
}

/// What went wrong in here, as the harness tells it.
fn broken(what: &str) -> impl Fn(&dyn std::fmt::Display) -> Failure + '_ {
    move |error| Failure::harness(what, error)
}

impl ScriptedPeer {
    /// Starts a peer of this name on a free port of `ip`. It takes everything until told otherwise.
    pub async fn start(name: &str, ip: IpAddr) -> Result<Self> {
        let fresh = |dir: &Path, domain: &DomainName| KeyRing::create(dir, domain, now());
        Self::start_with(name, ip, |dir, domain| Ok(fresh(dir, domain)?.0)).await
    }

    /// The same with keys that `make` makes in an empty folder.
    pub async fn start_with(
        name: &str,
        ip: IpAddr,
        make: impl FnOnce(&Path, &DomainName) -> std::result::Result<KeyRing, KeyError>,
    ) -> Result<Self> {
        let no = broken("start a scripted peer");
        let domain: DomainName = name.parse().map_err(|error| no(&error))?;
        let keys = TempDir::new().map_err(|error| no(&error))?;
        let ring = make(&keys.path().join("keys"), &domain).map_err(|error| no(&error))?;
        let identity = ring.tls_identity().map_err(|error| no(&error))?;
        let this = Arc::new(Inner {
            pens: pen::Pens::read(&keys.path().join("keys"))?,
            tls: Mutex::new(Arc::new(
                tls::Tls::new(identity).map_err(|error| no(&error))?,
            )),
            record: Mutex::default(),
            beside: Mutex::default(),
            lacks: Mutex::default(),
            ring,
            script: Mutex::new(Box::new(|_: &[Arrived]| Reply::Taken)),
            shows: Mutex::new(Box::new(|_| wire::ReadGroupResponse::default())),
            successors: Mutex::new(SUCCESSORS.map(str::to_owned).into()),
            arrived: Mutex::default(),
            hellos: Mutex::default(),
            last_hello: Mutex::default(),
            greeter: Mutex::default(),
            received: Mutex::default(),
            signals: Mutex::default(),
            twists: Mutex::default(),
            reads: Mutex::default(),
            files: Mutex::default(),
            files_asked: Mutex::default(),
        });
        let listener = TcpListener::bind((ip, 0)).await;
        let listener = listener.map_err(|error| no(&error))?;
        let address = listener.local_addr().map_err(|error| no(&error))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(accept::run(Arc::clone(&this), listener));
        Ok(Self {
            this,
            address,
            _keys: keys,
            _tasks: tasks,
        })
    }

    /// Its name.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        self.this.domain()
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The fingerprint of its root key, as it is published.
    #[must_use]
    pub fn root(&self) -> String {
        fingerprint_to_text(&self.this.ring.record().root_fingerprint())
    }

    /// Its identity record with a new word that it is the latest, as it shows it.
    #[must_use]
    pub fn fresh_record(&self) -> Vec<u8> {
        self.this.ring.fresh_record(now()).to_bytes()
    }

    /// From now on answers batches so.
    pub fn answers(&self, script: impl FnMut(&[Arrived]) -> Reply + Send + 'static) {
        *self.this.script.lock() = Box::new(script);
    }

    /// From now on answers hellos so; with none, honestly again.
    pub fn greets(&self, greeter: Option<Greeter>) {
        *self.this.greeter.lock() = greeter;
    }

    /// The last hello that somebody said.
    #[must_use]
    pub fn last_hello(&self) -> Option<wire::HelloRequest> {
        self.this.last_hello.lock().clone()
    }

    /// From now on these fields stand behind those of its record and of every message of a call.
    pub fn adds(&self, fields: Vec<u8>) {
        *self.this.beside.lock() = fields;
    }

    /// From now on does not know these calls.
    pub fn lacks(&self, calls: &[&str]) {
        *self.this.lacks.lock() = calls.iter().map(|it| (*it).to_owned()).collect();
    }

    /// From now on answers so who reads a group; with none, honestly again.
    pub fn twists(&self, twists: Option<Twists>) {
        *self.this.twists.lock() = twists;
    }

    /// From now on groups that it shows name these to follow it.
    pub fn names_successors(&self, names: &[&str]) {
        *self.this.successors.lock() = names.iter().map(|it| (*it).to_owned()).collect();
    }

    /// What was read of its groups so far.
    #[must_use]
    pub fn reads(&self) -> Vec<wire::ReadGroupRequest> {
        self.this.reads.lock().clone()
    }

    /// All items that arrived, in order, also those that were not taken.
    #[must_use]
    pub fn arrived(&self) -> Vec<Arrived> {
        self.this.arrived.lock().clone()
    }

    /// The texts among them.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        let arrived = self.this.arrived.lock();
        arrived.iter().filter_map(Arrived::text).collect()
    }

    /// The signals that came.
    #[must_use]
    pub fn signals(&self) -> Vec<wire::Signal> {
        self.this.signals.lock().clone()
    }

    /// From now on answers so who asks for the file of this key.
    pub fn gives(&self, key: [u8; 16], given: Given) {
        self.this.files.lock().insert(key, given);
    }

    /// Which files it was asked for.
    #[must_use]
    pub fn files_asked(&self) -> Vec<wire::ReadFileRequest> {
        self.this.files_asked.lock().clone()
    }

    /// When somebody said hello.
    #[must_use]
    pub fn hellos(&self) -> Vec<Instant> {
        self.this.hellos.lock().clone()
    }

    /// Waits until what arrived fits.
    pub async fn waits_for(
        &self,
        awaited: &str,
        within: Duration,
        fits: impl Fn(&[Arrived]) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        while !fits(&self.this.arrived.lock()) {
            if Instant::now() > deadline {
                let awaited = format!("{awaited} ({})", self.domain());
                return Err(Failure::Late {
                    awaited,
                    after: within,
                });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// A person of this domain; anybody who looks for them finds them.
    #[must_use]
    pub fn person(&self, number: u8) -> UserId {
        UserId::new([7, 7, 7, 7, 7, 7, 7, number], self.domain().clone())
    }

    /// Connects to a server as a peer does, and says hello.
    pub async fn dial(&self, to: &DomainName, at: SocketAddr) -> Result<Line> {
        let mut line = self.connect(to, at).await?;
        line.hello().await?;
        Ok(line)
    }

    /// Connects and says nothing.
    pub async fn connect(&self, to: &DomainName, at: SocketAddr) -> Result<Line> {
        Line::open(Arc::clone(&self.this), to, at).await
    }

    /// Finishes TLS with a server, under a protocol name, and says nothing.
    pub async fn knocks(
        &self,
        to: &DomainName,
        at: SocketAddr,
        alpn: &[u8],
    ) -> Result<TlsStream<TcpStream>> {
        dial::knock(&self.this.tls(), to, (None, at), alpn).await
    }

    /// The same from an address of this machine.
    pub async fn knocks_from(
        &self,
        from: IpAddr,
        to: &DomainName,
        at: SocketAddr,
        alpn: &[u8],
    ) -> Result<TlsStream<TcpStream>> {
        dial::knock(&self.this.tls(), to, (Some(from), at), alpn).await
    }

    /// From now on shows this certificate, and holds its key.
    pub fn wears(&self, identity: TlsIdentity) -> Result<()> {
        let tls = tls::Tls::new(identity).map_err(|error| broken("wear a certificate")(&error))?;
        *self.this.tls.lock() = Arc::new(tls);
        Ok(())
    }

    /// From now on shows no certificate when it connects.
    pub fn wears_none(&self) -> Result<()> {
        let tls = self.this.tls().without_certificate();
        let tls = tls.map_err(|error| broken("wear no certificate")(&error))?;
        *self.this.tls.lock() = Arc::new(tls);
        Ok(())
    }

    /// Seals words for a domain under a new id.
    pub fn seal(&self, to: &DomainName, kind: Kind) -> Result<wire::Envelope> {
        let id = random().map(|it| MessageId::mint(now(), &it));
        let id = id.map_err(|error| broken("make an id")(&error))?;
        self.seal_as(to, kind, id, now())
    }

    /// Seals words for a group under a new id.
    pub fn seal_for_group(&self, group: GroupId, kind: Kind) -> Result<wire::Envelope> {
        let no = broken("seal an envelope");
        let id = random().map(|it| MessageId::mint(now(), &it));
        let id = id.map_err(|error| no(&error))?;
        let to = Destination::Group(group);
        let sealed = self.this.ring.signer().seal(to, id, now(), kind);
        Ok(sealed.map_err(|error| no(&error))?.into())
    }

    /// Seals words under this id, as if at that time.
    pub fn seal_as(
        &self,
        to: &DomainName,
        kind: Kind,
        id: MessageId,
        at: Timestamp,
    ) -> Result<wire::Envelope> {
        let to = Destination::Domain(to.clone());
        let sealed = self.this.ring.signer().seal(to, id, at, kind);
        let sealed = sealed.map_err(|error| broken("seal an envelope")(&error))?;
        Ok(sealed.into())
    }

    /// Seals a text of one of its people to somebody.
    pub fn text(&self, from: &UserId, to: &UserId, text: &str) -> Result<wire::Envelope> {
        self.seal(to.domain(), message(from, to, &json!(text)))
    }

    /// Seals that one of its people lets somebody write, and wants to talk to them.
    pub fn consents(&self, from: &UserId, to: &UserId, version: u64) -> Result<wire::Envelope> {
        let relation = wire::Relation {
            user: from.to_string(),
            peer: to.to_string(),
            want: "JRWPA".to_owned(),
            want_version: version,
            given: "JRWPA".to_owned(),
            given_version: version,
            public: json!({"fn": "somebody"}).to_string().into(),
            public_changed_ms: 1,
        };
        self.seal(to.domain(), Kind::Relation(relation))
    }
}

/// A message with this content.
#[must_use]
pub fn message(from: &UserId, to: &UserId, content: &Value) -> Kind {
    Kind::DirectMessage(wire::DirectMessage {
        author: from.to_string(),
        recipient: to.to_string(),
        head: Bytes::new(),
        content: content.to_string().into(),
        references: Vec::new(),
        attachments: Vec::new(),
    })
}

/// Items at the positions from `first` on.
pub fn items(first: u64, envelopes: impl IntoIterator<Item = wire::Envelope>) -> Vec<wire::Item> {
    let items = (first..).zip(envelopes).map(|(position, it)| wire::Item {
        position,
        envelope: Some(it),
        placed: None,
    });
    items.collect()
}

/// The time as everybody has it.
#[expect(
    clippy::disallowed_methods,
    reason = "the suite stands outside of every server's clock"
)]
pub(crate) fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp::EPOCH.plus(since_1970.unwrap_or_default())
}

/// The protocol that this speaks.
const VERSION: u32 = limits::VERSION;
