//! An authoritative DNS server, usually on loopback, whose records can be changed while it runs.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use freehold_proto::DomainName;
use hickory_server::{
    Server,
    net::runtime::Time,
    proto::{
        op::{Metadata, ResponseCode},
        rr::{
            LowerName, Name, RData, Record, RecordType,
            rdata::{CNAME, SRV, TXT},
        },
    },
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, UdpSocket},
    time::sleep,
};

use crate::{Failure, Result};

/// Seconds that answers may be remembered: short, so that changes are seen.
const TTL: u32 = 1;
/// A TCP connection without a question is closed after this.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);
const TCP_BUFFER: usize = 32;
/// Attempts to find a port that is free for UDP and TCP.
const BIND_ATTEMPTS: usize = 10;

type Records = BTreeMap<(LowerName, RecordType), Vec<Record>>;
/// Answers that are given once each before those of the records.
type Turns = BTreeMap<(LowerName, RecordType), VecDeque<Vec<Record>>>;

/// The server. Ends when dropped.
pub struct DnsServer {
    address: SocketAddr,
    zone: Zone,
    // Owns the tasks that answer.
    _server: Server<Zone>,
}

impl DnsServer {
    /// Starts a server without records on a free port.
    pub async fn start() -> Result<Self> {
        Self::on(bind().await?)
    }

    /// The same at an address that was chosen before.
    pub async fn start_at(address: SocketAddr) -> Result<Self> {
        let bound = async {
            let udp = UdpSocket::bind(address).await?;
            std::io::Result::Ok((udp, TcpListener::bind(address).await?))
        };
        let no = |error| Failure::harness(format!("answer DNS at {address}"), error);
        Self::on(bound.await.map_err(no)?)
    }

    fn on((udp, tcp): (UdpSocket, TcpListener)) -> Result<Self> {
        let no = |error: std::io::Error| Failure::harness("start a DNS server", error);
        let address = udp.local_addr().map_err(no)?;
        let zone = Zone::default();
        let mut server = Server::new(zone.clone());
        server.register_socket(udp);
        server.register_listener(tcp, TCP_TIMEOUT, TCP_BUFFER);
        Ok(Self {
            address,
            zone,
            _server: server,
        })
    }

    /// Where to ask.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Publishes a domain as its operator would: SRV, TXT and the address of its host.
    pub fn publish(&self, domain: &DomainName, at: SocketAddr, root: &str) -> Result<()> {
        let host = name(domain.as_str())?;
        let service = RData::SRV(SRV::new(0, 0, at.port(), host));
        self.set(&format!("_freehold._tcp.{domain}"), vec![service])?;
        let anchor = RData::TXT(TXT::new(vec![format!("v=fh1; root={root}")]));
        self.set(&format!("_freehold.{domain}"), vec![anchor])?;
        let address = match at.ip() {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        };
        self.set(domain.as_str(), vec![address])
    }

    /// From now on says, or says no more, that DNSSEC vouches for its answers.
    pub fn vouches(&self, yes: bool) {
        self.zone.vouches.store(yes, Ordering::Relaxed);
    }

    /// From now on lets each question wait for so long.
    pub fn dawdles(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.zone.pause_ms.store(time, Ordering::Relaxed);
    }

    /// How many questions it was asked.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.zone.questions.load(Ordering::Relaxed)
    }

    /// Answers the next question of that kind about `at` by this, and those after it as before.
    pub fn once(&self, at: &str, data: RData) -> Result<()> {
        let (at, kind) = (name(at)?, data.record_type());
        let row = Record::from_rdata(at.clone(), 0, data);
        let mut turns = self.zone.turns.lock();
        turns
            .entry((at.into(), kind))
            .or_default()
            .push_back(vec![row]);
        Ok(())
    }

    /// Answers questions for addresses of `alias` as a resolver does: the alias, and the addresses of what
    /// it stands for as they are now.
    pub fn answers_alias(&self, alias: &str, target: &str) -> Result<()> {
        let (alias, target) = (name(alias)?, name(target)?);
        let mut records = self.zone.records.lock();
        let found = records
            .get(&(target.clone().into(), RecordType::A))
            .cloned();
        let mut rows = vec![Record::from_rdata(
            alias.clone(),
            TTL,
            RData::CNAME(CNAME(target)),
        )];
        rows.extend(found.unwrap_or_default());
        records.insert((alias.into(), RecordType::A), rows);
        Ok(())
    }

    /// Replaces the records of one kind at `at` by `data`, which is of one kind and not empty.
    pub fn set(&self, at: &str, data: Vec<RData>) -> Result<()> {
        let at = name(at)?;
        let Some(kind) = data.first().map(RData::record_type) else {
            return Err(Failure::harness(
                format!("set DNS records at {at}"),
                "there are none",
            ));
        };
        let rows = data.into_iter();
        let rows = rows.map(|it| Record::from_rdata(at.clone(), TTL, it));
        let rows = rows.collect();
        self.zone.records.lock().insert((at.into(), kind), rows);
        Ok(())
    }

    /// Removes all records at `at`.
    pub fn remove(&self, at: &str) -> Result<()> {
        let at = LowerName::from(name(at)?);
        self.zone.records.lock().retain(|(name, _), _| *name != at);
        Ok(())
    }
}

impl fmt::Debug for DnsServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Answers from the records.
#[derive(Clone, Default)]
struct Zone {
    records: Arc<Mutex<Records>>,
    turns: Arc<Mutex<Turns>>,
    vouches: Arc<AtomicBool>,
    questions: Arc<AtomicU64>,
    pause_ms: Arc<AtomicU64>,
}

impl Zone {
    /// The records asked for, and what to say when there are none.
    fn answer(&self, name: &LowerName, kind: RecordType) -> (Vec<Record>, ResponseCode) {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let turn = self
            .turns
            .lock()
            .get_mut(&(name.clone(), kind))
            .and_then(VecDeque::pop_front);
        if let Some(turn) = turn {
            return (turn, ResponseCode::NoError);
        }
        let records = self.records.lock();
        let found = records.get(&(name.clone(), kind)).cloned();
        match found {
            Some(found) => (found, ResponseCode::NoError),
            None if records.keys().any(|(other, _)| other == name) => {
                (Vec::new(), ResponseCode::NoError)
            }
            None => (Vec::new(), ResponseCode::NXDomain),
        }
    }
}

#[async_trait::async_trait]
impl RequestHandler for Zone {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response: R,
    ) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.authentic_data = self.vouches.load(Ordering::Relaxed);
        sleep(Duration::from_millis(self.pause_ms.load(Ordering::Relaxed))).await;
        let (answers, code) = match request.request_info() {
            Ok(info) => self.answer(info.query.name(), info.query.query_type()),
            Err(_) => (Vec::new(), ResponseCode::FormErr),
        };
        metadata.response_code = code;
        let message = MessageResponseBuilder::from_message_request(request).build(
            metadata,
            &answers,
            [],
            [],
            [],
        );
        match response.send_response(message).await {
            Ok(info) => info,
            // The asker is gone; the return value only feeds statistics.
            Err(_) => ResponseInfo::from(hickory_server::proto::op::Header {
                metadata,
                counts: Default::default(),
            }),
        }
    }
}

/// The same free port for UDP and TCP.
async fn bind() -> Result<(UdpSocket, TcpListener)> {
    let mut last = None;
    for _ in 0..BIND_ATTEMPTS {
        let tried = async {
            let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let tcp = TcpListener::bind(udp.local_addr()?).await?;
            std::io::Result::Ok((udp, tcp))
        };
        match tried.await {
            Ok(pair) => return Ok(pair),
            Err(error) => last = Some(error.to_string()),
        }
    }
    Err(Failure::harness(
        "find a port for DNS",
        last.unwrap_or_default(),
    ))
}

fn name(text: &str) -> Result<Name> {
    let absolute = format!("{}.", text.trim_end_matches('.'));
    absolute
        .parse()
        .map_err(|error| Failure::harness(format!("use the DNS name {text}"), error))
}

#[cfg(test)]
mod tests {
    use hickory_server::proto::op::{Message, MessageType, OpCode, Query};

    use super::*;

    async fn ask(server: &DnsServer, at: &str, kind: RecordType) -> (ResponseCode, Vec<RData>) {
        let mut question = Message::new(7, MessageType::Query, OpCode::Query);
        question.add_query(Query::query(name(at).unwrap(), kind));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let bytes = question.to_vec().unwrap();
        socket.send_to(&bytes, server.address()).await.unwrap();
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).await.unwrap();
        let answer = Message::from_vec(&buffer[..length]).unwrap();
        let data = answer.answers.iter().map(|it| it.data.clone());
        (answer.metadata.response_code, data.collect())
    }

    #[tokio::test]
    async fn records_can_be_changed_while_it_runs() {
        let server = DnsServer::start().await.unwrap();
        let domain: DomainName = "alpha.test".parse().unwrap();
        for port in [1001, 1002] {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            server.publish(&domain, at, "abc").unwrap();
            let srv = RData::SRV(SRV::new(0, 0, port, name("alpha.test").unwrap()));
            let found = ask(&server, "_freehold._tcp.alpha.test", RecordType::SRV).await;
            assert_eq!(found, (ResponseCode::NoError, vec![srv]));
        }
        let txt = RData::TXT(TXT::new(vec!["v=fh1; root=abc".to_owned()]));
        let found = ask(&server, "_freehold.ALPHA.test", RecordType::TXT).await;
        assert_eq!(found, (ResponseCode::NoError, vec![txt]));
    }

    #[tokio::test]
    async fn a_missing_kind_and_a_missing_name_differ() {
        let server = DnsServer::start().await.unwrap();
        let address = RData::A(Ipv4Addr::LOCALHOST.into());
        server.set("alpha.test", vec![address]).unwrap();
        let found = ask(&server, "alpha.test", RecordType::AAAA).await;
        assert_eq!(found, (ResponseCode::NoError, vec![]));
        server.remove("alpha.test").unwrap();
        let found = ask(&server, "alpha.test", RecordType::A).await;
        assert_eq!(found, (ResponseCode::NXDomain, vec![]));
    }
}
