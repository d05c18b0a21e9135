//! Taking a file in: `LargeFileReceive`. The first message says who sends what, those after it bring the
//! bytes, the answer says where the file is. The rules are those of an upload over HTTP (`edge/files`).

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use freehold_proto::{
    UserId,
    pbx::{FileMeta, FileUpReq, FileUpResp},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use hyper::body::{Body, Frame, Incoming};
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming, metadata::MetadataMap, server::ClientStreamingService};
use tracing::debug;

use super::calls::Calls;
use crate::{
    edge::{
        files::{Found, begin, hash_of, may_store, patience},
        origin,
        reply::{self, Reply},
    },
    files::Declared,
};

/// Longest message: a MiB of content and what is around it.
pub(super) const PIECE_MAX: usize = 1024 * 1024 + 64 * 1024;
/// Time for the first message, and for each one after it.
const FIRST_WITHIN: Duration = Duration::from_secs(10);
const STALL_MAX: Duration = Duration::from_secs(60);

/// A body that fails when the client gives it up. The libraries take that for its end, and half a file
/// would be kept for a whole one.
pub(super) struct Whole(pub(super) Incoming);

impl Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let left = || Status::aborted("the client left");
        Pin::new(&mut self.0)
            .poll_frame(context)
            .map(|it| match it {
                Some(frame) => Some(frame.map_err(|_| left())),
                None if self.0.is_end_stream() => None,
                None => Some(Err(left())),
            })
    }
}

/// Answers the calls that bring a file.
pub(super) struct Uploads(pub(super) Calls);

impl ClientStreamingService<Bytes> for Uploads {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<tonic::Response<Bytes>, Status>>;

    // The library drops this future when the client leaves, and with it what has come of the file.
    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let calls = self.0.clone();
        async move {
            let open = calls.open.token();
            let (metadata, _, incoming) = request.into_parts();
            let mut id = String::new();
            let taken = tokio::select! {
                () = calls.server.tasks.stopped() => Err(reply::UNAVAILABLE.into()),
                taken = take(&calls, metadata, incoming, &mut id) => taken,
            };
            drop(open);
            let answer = answer(id, taken).encode_to_vec().into();
            Ok(tonic::Response::new(answer))
        }
        .boxed()
    }
}

fn answer(id: String, taken: Result<FileMeta, Reply>) -> FileUpResp {
    let (status, meta) = match taken {
        Ok(meta) => (reply::OK, Some(meta)),
        Err(refusal) => (refusal.status, None),
    };
    FileUpResp {
        id,
        code: status.code.into(),
        text: status.text.to_owned(),
        meta,
        redir_url: String::new(),
    }
}

async fn take(
    calls: &Calls,
    metadata: MetadataMap,
    mut incoming: Streaming<Bytes>,
    id: &mut String,
) -> Result<FileMeta, Reply> {
    let place = Arc::clone(&calls.uploads).try_acquire_owned();
    let _place = place.map_err(|_| reply::UNAVAILABLE)?;
    let first = next(&mut incoming, FIRST_WITHIN).await?;
    let mut first = first.ok_or(reply::MALFORMED)?;
    id.clone_from(&first.id);
    let owner = calls.owner(first.auth.take()).await?;
    let proxies = &calls.server.rules.proxies;
    let headers = metadata.into_headers();
    let address = origin::address(proxies, calls.address, &headers);
    let address = address.unwrap_or(calls.address);
    let patience = patience(owner.as_ref());
    let storing = store(calls, owner, address, first, incoming);
    let stored = timeout(patience, storing).await;
    stored.unwrap_or_else(|_| Err(reply::UNAVAILABLE.into()))
}

async fn store(
    calls: &Calls,
    owner: Option<UserId>,
    address: IpAddr,
    first: FileUpReq,
    mut incoming: Streaming<Bytes>,
) -> Result<FileMeta, Reply> {
    let server = &calls.server;
    may_store(server, owner.as_ref(), Some(&first.topic))?;
    let meta = first.meta.ok_or(reply::MALFORMED)?;
    // What its sender says of the size only saves sending what is too large. Nobody is held to it.
    let said = u64::try_from(meta.size).unwrap_or_default();
    if said > server.files.file_bytes_max() {
        return Err(reply::TOO_LARGE.into());
    }
    let mut file = begin(server, owner.clone(), address).await?;
    file.write(&first.content).await?;
    while let Some(piece) = next(&mut incoming, STALL_MAX).await? {
        file.write(&piece.content).await?;
    }
    let declared = Declared {
        name: meta.name,
        mime: Some(meta.mime_type).filter(|it| !it.is_empty()),
    };
    let stored = file.finish(owner, declared).await?;
    let uri = stored.address.to_string();
    let found = Found::at(server, &uri, None).await?;
    let row = found.row();
    Ok(FileMeta {
        name: uri,
        etag: hash_of(row),
        size: i64::try_from(row.size).unwrap_or(i64::MAX),
        mime_type: row.mime.clone(),
    })
}

/// The next message; none when the client has said all.
async fn next(
    incoming: &mut Streaming<Bytes>,
    patience: Duration,
) -> Result<Option<FileUpReq>, Reply> {
    let next = timeout(patience, incoming.message()).await;
    let next = next.map_err(|_| reply::UNAVAILABLE)?;
    let bytes = next.map_err(|fault| {
        debug!(%fault, "a client's file broke off");
        match fault.code() {
            Code::OutOfRange => reply::TOO_LARGE,
            _ => reply::UNAVAILABLE,
        }
    })?;
    let message = bytes.map(FileUpReq::decode).transpose();
    Ok(message.map_err(|_| reply::MALFORMED)?)
}
