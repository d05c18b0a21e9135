//! One session over gRPC: messages in, frames out, and a clean end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::debug;

use crate::{
    accounts::attempts::Origin,
    edge::{
        behind::keep_up,
        connection::Connection,
        encoding::{Encoded, Encoding},
        reply::{self, Reply},
        session::Session,
    },
    server::Server,
};

/// A client that takes nothing for so long is gone.
const TAKE_MAX: Duration = Duration::from_secs(55);
/// How long a client may take over a frame once its session has ended.
const FAREWELL: Duration = Duration::from_secs(5);

type Out = mpsc::Sender<Result<Bytes, Status>>;

/// Begins a session; gives the stream of its frames. `held` is let go when the session has ended.
pub(super) fn begin(
    server: &Arc<Server>,
    origin: Option<Origin>,
    incoming: Streaming<Bytes>,
    held: impl Send + 'static,
) -> BoxStream<'static, Result<Bytes, Status>> {
    // One frame stands between the session and the connection; the rest waits in the session, which
    // has its bounds.
    let (out, mut taken) = mpsc::channel(1);
    let conversation = converse(Arc::clone(server), origin, incoming, out);
    server.tasks.spawn("grpc session", async move {
        conversation.await;
        drop(held);
    });
    stream::poll_fn(move |context| taken.poll_recv(context)).boxed()
}

async fn converse(
    server: Arc<Server>,
    origin: Option<Origin>,
    incoming: Streaming<Bytes>,
    out: Out,
) {
    let closed = CancellationToken::new();
    let (session, queue) = Session::new(Encoding::Protobuf, closed.clone());
    session.comes_from(origin);
    let connection = Connection::new(Arc::clone(&server), session.clone());
    let keeping_up = keep_up(Arc::clone(&server), session.clone());
    let stop = server.tasks.stop_token();
    let end = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = closed.cancelled() => {}
        }
        closed.cancel();
    };
    let writer = write(&server, session.clone(), queue, &out, closed.clone());
    let reader = read(connection, session, incoming, closed.clone());
    let ((), broken, (), ()) = tokio::join!(writer, reader, keeping_up, end);
    if let Some(status) = broken {
        // Nobody hears it when the connection is gone.
        let _heard = timeout(FAREWELL, out.send(Err(status))).await;
    }
}

/// Sends what is queued until the session ends, then says good-bye.
async fn write(
    server: &Server,
    session: Session,
    mut queue: mpsc::Receiver<Vec<Encoded>>,
    out: &Out,
    closed: CancellationToken,
) {
    loop {
        let frames = tokio::select! {
            biased;
            () = closed.cancelled() => break,
            // The client has given up the call.
            () = out.closed() => break,
            Some(frames) = queue.recv() => frames,
        };
        if !send(out, &session, &frames, &closed).await {
            break;
        }
    }
    closed.cancel();
    // Answers that were ready before the end still go out.
    queue.close();
    while let Ok(frames) = queue.try_recv() {
        if !send(out, &session, &frames, &closed).await {
            return;
        }
    }
    if server.tasks.is_stopping() {
        let bye = Reply::from(reply::SHUTDOWN).into_frame(None, None, server.clock.now());
        let bye = Ok(bye.encode(Encoding::Protobuf).into());
        // Who is gone does not hear it.
        let _heard = timeout(FAREWELL, out.send(bye)).await;
    }
}

/// False when the client is gone or does not take it.
async fn send(
    out: &Out,
    session: &Session,
    frames: &[Encoded],
    closed: &CancellationToken,
) -> bool {
    for frame in frames {
        let ended = async {
            closed.cancelled().await;
            sleep(FAREWELL).await;
        };
        let sent = tokio::select! {
            biased;
            sent = timeout(TAKE_MAX, out.send(Ok(frame.clone().into()))) => matches!(sent, Ok(Ok(()))),
            () = ended => false,
        };
        if !sent {
            return false;
        }
        session.sent(std::slice::from_ref(frame));
    }
    true
}

/// Reads messages, one after the other, until the client leaves or the session ends; says why a stream
/// cannot go on.
async fn read(
    mut connection: Connection,
    session: Session,
    mut incoming: Streaming<Bytes>,
    closed: CancellationToken,
) -> Option<Status> {
    let broken = loop {
        let received = tokio::select! {
            () = closed.cancelled() => break None,
            received = incoming.message() => received,
        };
        match received {
            Ok(Some(message)) => {
                session.has_room().await;
                connection.handle(message).await;
            }
            Ok(None) => break None,
            Err(fault) => {
                debug!(%fault, "a client's stream broke");
                break Some(fault);
            }
        }
    };
    closed.cancel();
    connection.end().await;
    broken
}
