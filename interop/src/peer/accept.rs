//! The side that is called: shows its record, answers hello, and batches as the script says.

use std::sync::Arc;

use bytes::Bytes;
use freehold_proto::{
    DomainName, hello::Role, limits::ALPN_RECORD, wire, wire::read_file_response::Part,
};
use h2::{RecvStream, server::SendResponse};
use http::{HeaderValue, Request, Response};
use prost::Message as _;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{ARRIVED_MAX, Arrived, Given, Inner, Reply, VERSION, grpc, tls::exporter};

/// Connections at once.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of one call that may be under way.
const WINDOW: u32 = 2 * 1024 * 1024;

pub(super) async fn run(this: Arc<Inner>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX {
            connections.spawn(serve(Arc::clone(&this), stream));
        }
    }
}

/// One connection, until it ends or is broken.
async fn serve(this: Arc<Inner>, stream: TcpStream) {
    let _fast = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&this.tls().server));
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(ALPN_RECORD) {
        let record = this.shown_record();
        let _sent = (stream.write_all(&record).await, stream.shutdown().await);
        return;
    }
    if let Ok(exporter) = exporter(stream.get_ref().1) {
        calls(this, stream, exporter).await;
    }
}

async fn calls(this: Arc<Inner>, stream: TlsStream<TcpStream>, exporter: [u8; 32]) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(WINDOW);
    builder.initial_connection_window_size(WINDOW);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            call = connection.accept() => match call {
                Some(Ok((request, respond))) => {
                    calls.spawn(answer(Arc::clone(&this), exporter, request, respond));
                }
                _ => return,
            },
            Some(broken) = calls.join_next(), if !calls.is_empty() => {
                if matches!(broken, Ok(true)) {
                    return;
                }
            }
        }
    }
}

/// Answers one call; true when the connection shall break.
async fn answer(
    this: Arc<Inner>,
    exporter: [u8; 32],
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) -> bool {
    let method = request.uri().path().rsplit('/').next().map(str::to_owned);
    let Some(body) = grpc::read(&mut request.into_body()).await else {
        return false;
    };
    if this
        .lacks
        .lock()
        .iter()
        .any(|it| Some(it) == method.as_ref())
    {
        fails(respond, UNIMPLEMENTED, None);
        return false;
    }
    match method.as_deref() {
        Some("Hello") => {
            if let Ok(hello) = wire::HelloRequest::decode(body) {
                speak(&this, respond, &hello_back(&this, &hello, exporter)).await;
            }
        }
        Some("Deliver") => {
            if let Ok(batch) = wire::DeliverRequest::decode(body) {
                return deliver(&this, batch, respond).await;
            }
        }
        Some("ReadFile") => {
            if let Ok(asked) = wire::ReadFileRequest::decode(body) {
                give(&this, asked, respond).await;
            }
        }
        Some("Find") => {
            if let Ok(asked) = wire::FindRequest::decode(body) {
                speak(&this, respond, &found(asked)).await;
            }
        }
        Some("ReadGroup") => {
            if let Ok(asked) = wire::ReadGroupRequest::decode(body) {
                {
                    let mut reads = this.reads.lock();
                    if reads.len() < ARRIVED_MAX {
                        reads.push(asked.clone());
                    }
                }
                let twisted = this.twists.lock().as_mut().and_then(|it| it(&asked));
                let shown = twisted.unwrap_or_else(|| (this.shows.lock())(asked));
                speak(&this, respond, &shown).await;
            }
        }
        _ => {
            if let Ok(heard) = wire::SignalRequest::decode(body) {
                let mut signals = this.signals.lock();
                let room = ARRIVED_MAX.saturating_sub(signals.len());
                signals.extend(heard.signals.into_iter().take(room));
            }
            speak(&this, respond, &wire::SignalResponse {}).await;
        }
    }
    false
}

fn hello_back(this: &Inner, hello: &wire::HelloRequest, exporter: [u8; 32]) -> wire::HelloResponse {
    this.hellos.lock().push(Instant::now());
    *this.last_hello.lock() = Some(hello.clone());
    let scripted = this
        .greeter
        .lock()
        .as_mut()
        .and_then(|it| it(hello, exporter));
    if scripted.is_some() {
        return wire::HelloResponse { outcome: scripted };
    }
    let peer: Result<DomainName, _> = hello.from.parse();
    let outcome = peer.ok().map(|peer| {
        wire::hello_response::Outcome::Accepted(wire::HelloAccepted {
            version: VERSION,
            key_id: this.ring.signer().key_id().as_bytes().to_vec().into(),
            record_hash: this.record_hash().to_vec().into(),
            signature: this.proof(Role::Acceptor, &peer, exporter),
            received: Some(this.received(&hello.from)),
        })
    });
    wire::HelloResponse { outcome }
}

/// Everybody who is asked for by id is there.
fn found(asked: wire::FindRequest) -> wire::FindResponse {
    let person = match asked.query {
        Some(wire::find_request::Query::User(user)) => Some(wire::Person {
            user,
            public: json!({"fn": "somebody"}).to_string().into(),
            public_changed_ms: 1,
        }),
        _ => None,
    };
    wire::FindResponse { person }
}

/// Gives a file as the script says.
async fn give(this: &Inner, asked: wire::ReadFileRequest, mut respond: SendResponse<Bytes>) {
    let key: Option<[u8; 16]> = (&*asked.key).try_into().ok();
    let given = key.and_then(|it| this.files.lock().get(&it).cloned());
    {
        let mut all = this.files_asked.lock();
        if all.len() < ARRIVED_MAX {
            all.push(asked);
        }
    }
    let Ok(mut stream) = respond.send_response(head(), false) else {
        return;
    };
    let Given {
        head,
        chunks,
        endless,
        hangs,
    } = given.unwrap_or_default();
    let parts = head.into_iter().map(Part::Head);
    let parts = parts.chain(chunks.iter().cloned().map(Part::Chunk));
    let last = chunks.last().filter(|_| endless).cloned();
    let forever = last.into_iter().cycle().map(Part::Chunk);
    for part in parts.chain(forever) {
        let part = wire::ReadFileResponse { part: Some(part) };
        if !grpc::send(&mut stream, this.framed(&part), false).await {
            return;
        }
    }
    if hangs {
        return std::future::pending().await;
    }
    let _gone = stream.send_trailers(grpc::good());
}

async fn deliver(this: &Inner, batch: wire::DeliverRequest, respond: SendResponse<Bytes>) -> bool {
    let decided = batch.items.last().map_or(0, |it| it.position);
    let items = batch.items.into_iter();
    let items: Vec<_> = items.map(|it| Arrived::read(batch.epoch, it)).collect();
    {
        let mut arrived = this.arrived.lock();
        let room = ARRIVED_MAX.saturating_sub(arrived.len());
        arrived.extend(items.iter().take(room).cloned());
    }
    let mut reply = (this.script.lock())(&items);
    while let Reply::After(pause, then) = reply {
        sleep(pause).await;
        reply = *then;
    }
    if let Reply::Taken | Reply::Verdicts(_) = &reply {
        let word = wire::StreamPosition {
            epoch: batch.epoch,
            position: decided,
        };
        this.received.lock().insert(batch.from, word);
    }
    let verdicts = match reply {
        Reply::Taken => items.iter().map(|_| taken()).collect(),
        Reply::Verdicts(verdicts) => verdicts,
        Reply::Status(code) => {
            fails(respond, code, None);
            return false;
        }
        Reply::Refused(number) => {
            fails(respond, FAILED_PRECONDITION, Some(number));
            return false;
        }
        Reply::Silence => return std::future::pending().await,
        Reply::After(..) | Reply::Break => return true,
    };
    let results = verdicts.into_iter();
    let results = results.map(|it| wire::Result { verdict: Some(it) });
    let results = results.collect();
    speak(this, respond, &wire::DeliverResponse { decided, results }).await;
    false
}

/// gRPC's statuses of these names.
const FAILED_PRECONDITION: u32 = 9;
const UNIMPLEMENTED: u32 = 12;

fn taken() -> wire::result::Verdict {
    wire::result::Verdict::Ok(wire::Ok {})
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", kind);
    head
}

/// Answers with a message. Who asked may have gone.
async fn speak(this: &Inner, mut respond: SendResponse<Bytes>, message: &impl prost::Message) {
    if let Ok(mut stream) = respond.send_response(head(), false)
        && grpc::send(&mut stream, this.framed(message), false).await
    {
        let _gone = stream.send_trailers(grpc::good());
    }
}

/// Answers with a status, and the number of a refusal if it is one.
fn fails(mut respond: SendResponse<Bytes>, status: u32, refusal: Option<u32>) {
    let mut head = head();
    head.headers_mut().insert("grpc-status", status.into());
    if let Some(number) = refusal {
        head.headers_mut().insert(grpc::REFUSAL, number.into());
    }
    let _gone = respond.send_response(head, true);
}
