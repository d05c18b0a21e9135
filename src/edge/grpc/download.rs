//! Giving a file out: `LargeFileServe`. The first message of the answer says what the file is, those
//! after it bring the bytes. The rules are those of a download over HTTP (`edge/files`).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_proto::pbx::{FileDownReq, FileDownResp, FileMeta};
use freehold_store::tables::rows::FileRow;
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Status, Streaming, server::StreamingService};

use super::calls::Calls;
use crate::{
    edge::{
        files::{Found, chunks, hash_of},
        reply::{self, Reply},
    },
    files::StorageError,
};

/// Longest question.
pub(super) const QUESTION_MAX: usize = 16 * 1024;
/// Time to ask it.
const QUESTION_WITHIN: Duration = Duration::from_secs(10);

type Answers = BoxStream<'static, Result<Bytes, Status>>;
type Chunks = BoxStream<'static, Result<Bytes, StorageError>>;

/// Answers the calls that fetch a file.
pub(super) struct Downloads(pub(super) Calls);

impl StreamingService<Bytes> for Downloads {
    type Response = Bytes;
    type ResponseStream = Answers;
    type Future = BoxFuture<'static, Result<tonic::Response<Answers>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let calls = self.0.clone();
        async move {
            let place = Arc::clone(&calls.places).try_acquire_owned();
            let place = place.map_err(|_| Status::resource_exhausted("too many calls"))?;
            let held = (place, calls.open.token());
            let mut id = String::new();
            let given = tokio::select! {
                () = calls.server.tasks.stopped() => Err(reply::UNAVAILABLE.into()),
                given = give(&calls, request.into_inner(), &mut id) => given,
            };
            let answers = answers(id, given).map(move |it| {
                // The call counts until its last message has been taken.
                let _held = &held;
                it.map(|answer| Bytes::from(answer.encode_to_vec()))
            });
            Ok(tonic::Response::new(answers.boxed()))
        }
        .boxed()
    }
}

/// What is given: a file's description, and its bytes unless the client has them.
type Given = (FileMeta, Option<(Chunks, u64)>);

async fn give(
    calls: &Calls,
    mut incoming: Streaming<Bytes>,
    id: &mut String,
) -> Result<Given, Reply> {
    let question = timeout(QUESTION_WITHIN, incoming.message()).await;
    let question = question.map_err(|_| reply::UNAVAILABLE)?;
    let question = question.map_err(|_| reply::MALFORMED)?;
    let question = question.ok_or(reply::MALFORMED)?;
    let question = FileDownReq::decode(question).map_err(|_| reply::MALFORMED)?;
    id.clone_from(&question.id);
    let owner = calls.owner(question.auth).await?;
    let reader = owner.ok_or(reply::AUTH_REQUIRED)?;
    let found = Found::at(&calls.server, &question.uri, Some(&reader)).await?;
    let (size, meta) = (found.row().size, described(found.row().clone()));
    if question.if_modified.trim_matches('"') == meta.etag {
        return Ok((meta, None));
    }
    let bytes = match size {
        0 => stream::empty().boxed(),
        _ => chunks(&calls.server, found, 0..size).await?,
    };
    Ok((meta, Some((bytes, size))))
}

fn described(row: FileRow) -> FileMeta {
    FileMeta {
        etag: hash_of(&row),
        size: i64::try_from(row.size).unwrap_or(i64::MAX),
        name: row.name,
        mime_type: row.mime,
    }
}

fn answers(
    id: String,
    given: Result<Given, Reply>,
) -> BoxStream<'static, Result<FileDownResp, Status>> {
    let (status, meta, bytes) = match given {
        Ok((meta, Some(bytes))) => (reply::OK, Some(meta), Some(bytes)),
        Ok((meta, None)) => (reply::NOT_MODIFIED, Some(meta), None),
        Err(refusal) => (refusal.status, None, None),
    };
    let first = FileDownResp {
        id,
        code: status.code.into(),
        text: status.text.to_owned(),
        meta,
        ..Default::default()
    };
    let first = stream::iter([Ok(first)]);
    match bytes {
        Some((bytes, size)) => first.chain(pieces(bytes, size)).boxed(),
        None => first.boxed(),
    }
}

/// The bytes as messages. A file that ends before its time ends the call with an error, so that nobody
/// takes the part for the whole.
fn pieces(bytes: Chunks, size: u64) -> BoxStream<'static, Result<FileDownResp, Status>> {
    let broken = || Status::unavailable("the file broke off");
    let piece = |content| FileDownResp {
        content,
        ..Default::default()
    };
    stream::try_unfold((bytes, size), move |(mut bytes, left)| async move {
        match bytes.next().await {
            Some(Ok(chunk)) => {
                let left = left.saturating_sub(chunk.len() as u64);
                Ok(Some((piece(chunk), (bytes, left))))
            }
            None if left == 0 => Ok(None),
            Some(Err(_)) | None => Err(broken()),
        }
    })
    .boxed()
}
