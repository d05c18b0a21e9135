//! Giving a file out: `GET /v0/file/s/<domain>/<key>.<extension>`.

use std::{fmt::Write as _, ops::Range, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use freehold_proto::UserId;
use freehold_store::tables::rows::FileRow;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use super::{
    count, ctrl, preflight,
    range::{Part, wanted},
    refusal, who,
};
use crate::{
    edge::{
        http::ClientAddress,
        reply::{self, Reply},
    },
    files::{Copied, FileAddress, FileError, StorageError, is_shown},
    server::{REMOTE_WAIT, Server},
};

/// COMPAT fact sheet 1.4. Nobody but the asker may keep it: the log-in counts.
const CACHE: &str = "private, max-age=86400";
/// A file runs no scripts and reaches nothing, however it is opened.
const POLICY: &str = "default-src 'none'; img-src 'self'; media-src 'self'; \
                      style-src 'unsafe-inline'; sandbox";
/// Time for a client to take a chunk, and for the place of the files to give one.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Chunks between the disk and the client.
const CHUNKS: usize = 4;

pub(super) async fn answer(
    State(server): State<Arc<Server>>,
    Extension(address): Extension<ClientAddress>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    match head.method {
        Method::OPTIONS => preflight(),
        Method::GET | Method::HEAD => match give(&server, address, &head).await {
            Ok(response) => response,
            Err(reply) => ctrl(&server, reply, None),
        },
        _ => refusal(&server, reply::NOT_ALLOWED),
    }
}

async fn give(server: &Server, address: ClientAddress, head: &Parts) -> Result<Response, Reply> {
    count(server, address, &head.headers)?;
    let reader = who::admit(server, &head.headers, head.uri.query()).await?;
    let found = Found::at(server, head.uri.path(), Some(&reader)).await?;
    let row = found.row();
    let etag = format!("\"{}\"", hash_of(row));
    let mut headers = headers_of(row, &etag, saves(row, head.uri.query()))?;
    let (status, range) = match wanted(&head.headers, row.size, &etag) {
        Part::Known => return Ok((StatusCode::NOT_MODIFIED, headers).into_response()),
        Part::Beyond => {
            let unsatisfied = format!("bytes */{}", row.size);
            let headers = [(header::CONTENT_RANGE, unsatisfied)];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, headers).into_response());
        }
        Part::Whole => (StatusCode::OK, 0..row.size),
        Part::Bytes(range) => {
            let said = format!("bytes {}-{}/{}", range.start, range.end - 1, row.size);
            headers.insert(
                header::CONTENT_RANGE,
                said.parse().map_err(|_| reply::INTERNAL)?,
            );
            (StatusCode::PARTIAL_CONTENT, range)
        }
    };
    headers.insert(header::CONTENT_LENGTH, (range.end - range.start).into());
    let body = if head.method == Method::HEAD || range.is_empty() {
        Body::empty()
    } else {
        Body::from_stream(chunks(server, found, range).await?)
    };
    Ok((status, headers, body).into_response())
}

/// A file that can be given.
#[derive(Debug)]
pub(in crate::edge) enum Found {
    /// One of ours.
    Here(FileAddress, FileRow),
    /// One of another domain, as far as it has come.
    Abroad(Copied),
}

impl Found {
    /// The file of exactly this address. Only for somebody who reads it here one of another domain is
    /// looked for, for a few seconds.
    pub(in crate::edge) async fn at(
        server: &Server,
        uri: &str,
        reader: Option<&UserId>,
    ) -> Result<Self, Reply> {
        let address = uri.parse::<FileAddress>();
        let address = address.map_err(|_| reply::NOT_FOUND)?;
        if address.domain == server.us {
            let row = server.files.find(&address).await?;
            return Ok(Self::Here(address, row.ok_or(reply::NOT_FOUND)?));
        }
        let reader = reader.ok_or(reply::NOT_FOUND)?;
        if !server.permits(&address.domain) {
            return Err(reply::NOT_FOUND.into());
        }
        let source = server.federation.get().ok_or(reply::UNAVAILABLE)?;
        let source = Arc::new(source.clone());
        let found = server
            .files
            .find_abroad(source, reader, &address, REMOTE_WAIT);
        Ok(Self::Abroad(found.await?.ok_or(reply::NOT_FOUND)?))
    }

    /// What it is.
    pub(in crate::edge) fn row(&self) -> &FileRow {
        match self {
            Self::Here(_, row) => row,
            Self::Abroad(copied) => copied.row(),
        }
    }
}

/// Tells one file's bytes from another's: an ETag without its quotes.
pub(in crate::edge) fn hash_of(row: &FileRow) -> String {
    let mut hash = String::new();
    for byte in row.hash.iter().take(16) {
        write!(hash, "{byte:02x}").expect("a string takes every text");
    }
    hash
}

/// Whether the browser is to save the file rather than show it.
fn saves(row: &FileRow, query: Option<&str>) -> bool {
    let asked = query.and_then(|it| who::parameter(it, '&', "asatt"));
    let asked = asked.is_some_and(|it| {
        let word = it.to_ascii_lowercase();
        !["", "0", "f", "false", "no"].contains(&word.as_str())
    });
    asked || !is_shown(&row.mime)
}

fn headers_of(row: &FileRow, etag: &str, saves: bool) -> Result<HeaderMap, Reply> {
    let mut headers = HeaderMap::new();
    let fixed = HeaderValue::from_static;
    headers.insert(header::CACHE_CONTROL, fixed(CACHE));
    headers.insert(header::ACCEPT_RANGES, fixed("bytes"));
    headers.insert(header::CONTENT_SECURITY_POLICY, fixed(POLICY));
    let kind = if saves { "attachment" } else { "inline" };
    let disposition = format!("{kind}{}", named(&row.name));
    for (name, value) in [
        (header::ETAG, etag),
        (header::CONTENT_TYPE, &row.mime),
        (header::CONTENT_DISPOSITION, &disposition),
    ] {
        let value = value.parse().map_err(|_| reply::INTERNAL)?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A file's name as RFC 6266 wants it, in both spellings.
fn named(name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let plain = |it: char| (it.is_ascii_graphic() || it == ' ') && !"\"\\%".contains(it);
    let ascii: String = name
        .chars()
        .map(|it| if plain(it) { it } else { '_' })
        .collect();
    let mut escaped = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("a string takes every text");
        }
    }
    format!("; filename=\"{ascii}\"; filename*=UTF-8''{escaped}")
}

/// The bytes, carried by a task that gives up on clients who take nothing. The range must not be empty.
pub(in crate::edge) async fn chunks(
    server: &Server,
    found: Found,
    range: Range<u64>,
) -> Result<BoxStream<'static, Result<Bytes, StorageError>>, Reply> {
    let permit = Arc::clone(&server.file_bounds.downloads).try_acquire_owned();
    let permit = permit.map_err(|_| FileError::Busy)?;
    let bytes = match found {
        Found::Here(address, _) => {
            let bytes = server.files.read(address.key, range).await;
            bytes.map_err(FileError::Storage)?
        }
        Found::Abroad(copied) => copied.read(range).await?,
    };
    let (chunks, mut queue) = mpsc::channel(CHUNKS);
    let stopped = server.tasks.stopped();
    server.tasks.spawn("download", async move {
        tokio::select! {
            () = stopped => {}
            () = carry(bytes, chunks, permit) => {}
        }
    });
    Ok(stream::poll_fn(move |context| queue.poll_recv(context)).boxed())
}

async fn carry(
    mut bytes: BoxStream<'static, Result<Bytes, StorageError>>,
    chunks: mpsc::Sender<Result<Bytes, StorageError>>,
    _permit: OwnedSemaphorePermit,
) {
    loop {
        let chunk = match timeout(STALL_MAX, bytes.next()).await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(_) => Err(StorageError::Silent),
        };
        // An error ends the connection before its time, so the client knows that it has not all.
        let last = chunk.as_ref().err().inspect(|fault| match fault {
            StorageError::Broken => tracing::debug!(%fault, "a file broke off"),
            _ => tracing::error!(%fault, "a file broke off"),
        });
        let last = last.is_some();
        let taken = timeout(STALL_MAX, chunks.send(chunk)).await;
        if last || !matches!(taken, Ok(Ok(()))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_breaks_out_of_no_header() {
        assert_eq!(named(""), "");
        assert_eq!(
            named("a b.jpg"),
            "; filename=\"a b.jpg\"; filename*=UTF-8''a%20b.jpg"
        );
        assert_eq!(
            named("Я\"; x=\\%"),
            "; filename=\"__; x=__\"; filename*=UTF-8''%D0%AF%22%3B%20x%3D%5C%25"
        );
    }

    #[test]
    fn a_file_is_saved_when_asked_for_or_when_showing_it_is_unsafe() {
        let row = |mime: &str| FileRow {
            mime: mime.to_owned(),
            ..FileRow::default()
        };
        let picture = row("image/png");
        for (query, expected) in [
            (None, false),
            (Some("asatt=0"), false),
            (Some("asatt="), false),
            (Some("apikey=x"), false),
            (Some("apikey=x&asatt=1"), true),
            (Some("asatt=True"), true),
        ] {
            assert_eq!(saves(&picture, query), expected, "{query:?}");
        }
        assert!(saves(&row("text/html"), None));
    }
}
