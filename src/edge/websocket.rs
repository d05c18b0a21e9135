//! One WebSocket connection: frames in, frames out, pings, and a clean end.
//!
//! COMPAT stock clients: text and binary frames are taken, text is sent; a frame that is just `1` is a
//! probe and gets `0`.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{
    extract::{
        Extension, RawQuery, State,
        ws::{Message, WebSocket, WebSocketUpgrade, close_code},
    },
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use freehold_federation::Tasks;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    apikey,
    behind::keep_up,
    connection::Connection,
    encoding::{Encoded, Encoding},
    http::{ClientAddress, Place, refusal},
    origin::origin,
    reply,
    session::Session,
};
use crate::{accounts::attempts::Origin, server::Server};

/// How often a silent client is pinged.
const PING_EVERY: Duration = Duration::from_secs(25);
/// A client that shows no sign of life for so long is gone.
const SILENT_MAX: Duration = Duration::from_secs(55);
/// Probes of one client that may wait for their answers; whoever sends more is cut off.
const PROBES_MAX: usize = 4;
/// A client that takes nothing for so long is gone as well.
const TAKE_MAX: Duration = SILENT_MAX;
/// How long a client may take over a frame once its session has ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// Bytes of frames that are written at once, where several wait.
const PART: usize = 8 * 1024;

/// Runs hyper's own tasks among the domain's.
#[derive(Clone, Debug)]
pub(super) struct Spawner(pub(super) Tasks);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn("http", task);
    }
}

pub(super) async fn upgrade(
    State(server): State<Arc<Server>>,
    Extension(ClientAddress(address)): Extension<ClientAddress>,
    Extension(place): Extension<Place>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Response {
    let key = apikey::of_request(&headers, query.as_deref());
    if !key.is_some_and(|key| server.rules.api_keys.contains(&key)) {
        return std::future::ready(refusal(&server, reply::API_KEY_REQUIRED)).await;
    }
    let rules = &server.rules;
    let origin = origin(&rules.proxies, address, &headers);
    if let Err(much) = server.limits.session(origin) {
        return refusal(&server, much);
    }
    // axum runs the conversation on a task of its own; shutdown waits for it all the same.
    let counted = server.tasks.token();
    upgrade
        // The default of 128 KiB would cost each idle client as much.
        .read_buffer_size(rules.websocket_read_buffer)
        .write_buffer_size(PART)
        // What is a little too long gets an answer; what is much too long ends the connection.
        .max_message_size(rules.message_bytes_max.saturating_mul(2))
        .max_frame_size(rules.message_bytes_max.saturating_mul(2))
        .on_upgrade(async move |socket| {
            // Of its own: an idle client would take up the room of this twice.
            Box::pin(converse(server, socket, origin)).await;
            drop((counted, place));
        })
}

async fn converse(server: Arc<Server>, socket: WebSocket, origin: Option<Origin>) {
    let closed = CancellationToken::new();
    let (session, queue) = Session::new(Encoding::Json, closed.clone());
    session.comes_from(origin);
    let (sink, stream) = socket.split();
    let connection = Connection::new(Arc::clone(&server), session.clone());
    let keeping_up = keep_up(Arc::clone(&server), session.clone());
    let stop = server.tasks.stop_token();
    // Probe answers go out between queued frames; here they are counted.
    let probes = Arc::new(Semaphore::new(0));
    let writer = write(
        server,
        session.clone(),
        sink,
        queue,
        Arc::clone(&probes),
        closed.clone(),
    );
    let reader = read(connection, session, stream, probes, closed.clone());
    let end = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = closed.cancelled() => {}
        }
        closed.cancel();
    };
    // Of their own, as above.
    tokio::join!(Box::pin(writer), Box::pin(reader), keeping_up, end);
}

/// Sends what is queued until the session ends, then says good-bye.
async fn write(
    server: Arc<Server>,
    session: Session,
    mut sink: SplitSink<WebSocket, Message>,
    mut queue: mpsc::Receiver<Vec<Encoded>>,
    probes: Arc<Semaphore>,
    closed: CancellationToken,
) {
    let mut ping = interval(PING_EVERY);
    loop {
        let sent = tokio::select! {
            biased;
            () = closed.cancelled() => break,
            Ok(probe) = probes.acquire() => {
                probe.forget();
                send(&mut sink, [Message::Text("0".into())], &closed).await
            }
            Some(frames) = queue.recv() => {
                send_all(&mut sink, &session, &frames, &closed).await
            }
            _ = ping.tick() => send(&mut sink, [Message::Ping(Bytes::new())], &closed).await,
        };
        if !sent {
            break;
        }
    }
    closed.cancel();
    // Answers that were ready before the end still go out.
    queue.close();
    while let Ok(frames) = queue.try_recv() {
        if !send_all(&mut sink, &session, &frames, &closed).await {
            return;
        }
    }
    if server.tasks.is_stopping() {
        let bye = reply::Reply::from(reply::SHUTDOWN).into_frame(None, None, server.clock.now());
        let frame = axum::extract::ws::CloseFrame {
            code: close_code::RESTART,
            reason: "server shutdown".into(),
        };
        let last = [Message::Text(bye.to_text()), Message::Close(Some(frame))];
        send(&mut sink, last, &closed).await;
    } else {
        send(&mut sink, [Message::Close(None)], &closed).await;
    }
}

/// Sends frames and notes each that has gone out; false as below.
async fn send_all(
    sink: &mut SplitSink<WebSocket, Message>,
    session: &Session,
    frames: &[Encoded],
    closed: &CancellationToken,
) -> bool {
    let mut rest = frames;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(part_of(rest));
        if !send(sink, part.iter().cloned().map(Message::from), closed).await {
            return false;
        }
        session.sent(part);
        rest = behind;
    }
    true
}

/// How many frames are written at once: one at least.
fn part_of(frames: &[Encoded]) -> usize {
    let mut bytes = 0;
    let fits = frames.iter().take_while(|it| {
        bytes += it.size();
        bytes <= PART
    });
    fits.count().max(1)
}

/// Sends and flushes; false when the client is gone or does not take it.
async fn send(
    sink: &mut SplitSink<WebSocket, Message>,
    messages: impl IntoIterator<Item = Message>,
    closed: &CancellationToken,
) -> bool {
    let sending = async {
        for message in messages {
            sink.feed(message).await?;
        }
        sink.flush().await
    };
    let ended = async {
        closed.cancelled().await;
        sleep(FAREWELL).await;
    };
    tokio::select! {
        biased;
        sent = timeout(TAKE_MAX, sending) => matches!(sent, Ok(Ok(()))),
        () = ended => false,
    }
}

/// Reads frames, one after the other, until the client leaves or the session ends.
async fn read(
    mut connection: Connection,
    session: Session,
    mut stream: SplitStream<WebSocket>,
    probes: Arc<Semaphore>,
    closed: CancellationToken,
) {
    let mut heard = Instant::now();
    loop {
        let received = tokio::select! {
            () = closed.cancelled() => break,
            received = timeout(SILENT_MAX.saturating_sub(heard.elapsed()), stream.next()) => received,
        };
        heard = Instant::now();
        let frame = match received {
            Ok(Some(Ok(Message::Text(text)))) => Bytes::from(text),
            Ok(Some(Ok(Message::Binary(bytes)))) => bytes,
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Close(_))) | None) => break,
            Ok(Some(Err(fault))) => {
                debug!(%fault, "a client's connection broke");
                break;
            }
            // It is busy taking what waits for it, and pings wait behind that.
            Err(_) if session.has_advanced() => continue,
            Err(_) => {
                debug!("a client fell silent");
                break;
            }
        };
        if &*frame == b"1" {
            if probes.available_permits() >= PROBES_MAX {
                break;
            }
            probes.add_permits(1);
        } else if !frame.is_empty() {
            session.has_room().await;
            // Of its own, so that it takes up nothing while the client is idle.
            Box::pin(connection.handle(frame)).await;
        }
    }
    closed.cancel();
    Box::pin(connection.end()).await;
}
