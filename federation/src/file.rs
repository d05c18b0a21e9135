//! Files between domains: brought from the one that has them, and given out, a part at a time. What a
//! file is and who may have it is the business of the domain.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use freehold_proto::{
    DomainName, Refusal, RefusalCode, limits::FILE_PART_BYTES_MAX, wire,
    wire::read_file_response::Part,
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tonic::{Status, Streaming};

use crate::{
    FileHead, FileOffer, FileQuery, LinkError, PeerMisbehaved,
    engine::Engine,
    link::Established,
    peer::{Peer, Urgency},
};

/// Parts of a file between the disk and the link.
const PARTS: usize = 2;

/// A file as a peer is given it.
pub(crate) type Parts = BoxStream<'static, Result<wire::ReadFileResponse, Status>>;

/// The right to one file at a time, among those of the peer and among those of all.
pub(crate) type Seat = [OwnedSemaphorePermit; 2];

/// A file on its way from the domain that has it. Dropped, it is not sent any further.
#[derive(Debug)]
pub struct RemoteFile {
    head: FileHead,
    /// Bytes that are still to come.
    left: u64,
    parts: Streaming<wire::ReadFileResponse>,
    patience: Duration,
    // The connection ends when nobody holds the link.
    link: Arc<Established>,
    _seat: OwnedSemaphorePermit,
}

/// Asks `peer` for a file.
pub(crate) async fn read(
    engine: &Arc<Engine>,
    peer: &Arc<Peer>,
    query: FileQuery,
) -> Result<Option<RemoteFile>, LinkError> {
    let seat = Arc::clone(&peer.files_in).acquire_owned().await;
    let seat = seat.map_err(|_| LinkError::Ours("shutting down".to_owned()))?;
    let link = engine.link(peer, Urgency::Person).await?;
    let patience = engine.config.call_timeout;
    let sha256 = query
        .sha256
        .map_or_else(Bytes::new, |it| it.to_vec().into());
    let request = wire::ReadFileRequest {
        from: engine.domain().to_string(),
        to: peer.domain.to_string(),
        key: query.key.to_vec().into(),
        sha256,
        offset: query.offset,
    };
    let mut parts = link.read_file(request, patience).await?;
    let bad = |what| Err(link.misbehaved(PeerMisbehaved::BadAnswer(what)));
    let head = match link.next("read file", patience, &mut parts).await? {
        None => return Ok(None),
        Some(wire::ReadFileResponse {
            part: Some(Part::Head(head)),
        }) => head,
        Some(_) => return bad("a file begins without its head"),
    };
    let Ok(sha256) = <[u8; 32]>::try_from(&*head.sha256) else {
        return bad("a SHA-256 has 32 bytes");
    };
    if query.sha256.is_some_and(|it| it != sha256) {
        return bad("it is another file");
    }
    let Some(left) = head.size.checked_sub(query.offset) else {
        return bad("a file is shorter than what there is of it");
    };
    Ok(Some(RemoteFile {
        head: FileHead {
            size: head.size,
            sha256,
            mime: head.mime,
            name: head.name,
        },
        left,
        parts,
        patience,
        link,
        _seat: seat,
    }))
}

impl RemoteFile {
    /// What its owner says it is.
    #[must_use]
    pub fn head(&self) -> &FileHead {
        &self.head
    }

    /// The next bytes; `None` when all that were wanted have come. Never more than the head said.
    pub async fn next(&mut self) -> Result<Option<Bytes>, LinkError> {
        if self.left == 0 {
            return Ok(None);
        }
        let next = self.link.next("a file", self.patience, &mut self.parts);
        let part = next.await?.and_then(|it| it.part);
        let bad = |what| Err(self.link.misbehaved(PeerMisbehaved::BadAnswer(what)));
        let bytes = match part {
            Some(Part::Chunk(bytes)) => bytes,
            Some(Part::Head(_)) => return bad("a file has a second head"),
            None => return bad("a file ends before its time"),
        };
        if bytes.is_empty() || bytes.len() > FILE_PART_BYTES_MAX {
            return bad("a part of a file has no bytes, or too many");
        }
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            return bad("a file is longer than it said");
        };
        self.left = left;
        Ok(Some(bytes))
    }
}

/// Reads what a peer asks.
pub(crate) fn read_query(request: &wire::ReadFileRequest) -> Result<FileQuery, Refusal> {
    let malformed = |why: &str| Refusal::new(RefusalCode::Malformed, why);
    let key = <[u8; 16]>::try_from(&*request.key);
    let sha256 = match request.sha256.len() {
        0 => Ok(None),
        _ => <[u8; 32]>::try_from(&*request.sha256).map(Some),
    };
    Ok(FileQuery {
        key: key.map_err(|_| malformed("the key of a file has 16 bytes"))?,
        sha256: sha256.map_err(|_| malformed("a SHA-256 has 32 bytes"))?,
        offset: request.offset,
    })
}

/// A place for one more file that `peer` is given, if there is one.
pub(crate) fn seat(engine: &Engine, peer: &DomainName) -> Option<Seat> {
    let own = Arc::clone(&engine.peer(peer).files_out);
    let all = Arc::clone(&engine.files_out);
    Some([own.try_acquire_owned().ok()?, all.try_acquire_owned().ok()?])
}

/// Gives a file, or nothing, as fast as the peer takes it. One that takes nothing loses its place.
pub(crate) fn give(engine: &Engine, offer: Option<FileOffer>, seat: Seat) -> Parts {
    let Some(offer) = offer else {
        return stream::empty().boxed();
    };
    let (parts, queue) = mpsc::channel(PARTS);
    let left = offer.left;
    let (patience, stopped) = (engine.config.call_timeout, engine.tasks.stopped());
    engine.tasks.spawn("file out", async move {
        tokio::select! {
            () = stopped => {}
            _ended = carry(offer, &parts, patience) => {}
        }
        drop(seat);
    });
    until_whole(queue, left)
}

/// Ends a file that breaks off with an error, so that the peer asks for the rest.
fn until_whole(queue: mpsc::Receiver<Result<wire::ReadFileResponse, Status>>, left: u64) -> Parts {
    let parts = stream::try_unfold((queue, left), |(mut queue, mut left)| async move {
        let Some(part) = queue.recv().await else {
            let whole = left == 0;
            return whole
                .then_some(None)
                .ok_or_else(|| Status::unavailable("the file broke off"));
        };
        let part = part?;
        if let Some(Part::Chunk(bytes)) = &part.part {
            left = left.saturating_sub(bytes.len() as u64);
        }
        Ok(Some((part, (queue, left))))
    });
    parts.boxed()
}

/// `None` when the peer takes nothing any more.
async fn carry(
    offer: FileOffer,
    parts: &mpsc::Sender<Result<wire::ReadFileResponse, Status>>,
    patience: Duration,
) -> Option<()> {
    let send = async |part: Result<Part, Status>| {
        let answer = part.map(|it| wire::ReadFileResponse { part: Some(it) });
        timeout(patience, parts.send(answer)).await.ok()?.ok()
    };
    let FileOffer {
        head, mut bytes, ..
    } = offer;
    let head = wire::FileHead {
        size: head.size,
        sha256: head.sha256.to_vec().into(),
        mime: head.mime,
        name: head.name,
    };
    send(Ok(Part::Head(head))).await?;
    while let Some(chunk) = bytes.next().await {
        match chunk {
            Ok(mut chunk) => {
                while !chunk.is_empty() {
                    let part = chunk.split_to(chunk.len().min(FILE_PART_BYTES_MAX));
                    send(Ok(Part::Chunk(part))).await?;
                }
            }
            Err(error) => return send(Err(error.into())).await,
        }
    }
    Some(())
}
