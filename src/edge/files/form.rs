//! The form that a file comes in, read as it arrives: `multipart/form-data` as the three stock clients
//! send it, with odd boundaries, names in `filename*` only, and without a length.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use multer::{Field, Multipart};
use tokio::{
    sync::Mutex,
    task::yield_now,
    time::{Instant, timeout, timeout_at},
};

use super::{text, who::unescaped};

/// Time for the next bytes to come.
const STALL_MAX: Duration = Duration::from_secs(30);
/// Bytes taken in without getting anywhere: between two fields, or in the head of one.
const UNREAD_MAX: usize = 64 * 1024;
/// Fields of a form.
const FIELDS_MAX: usize = 16;
/// Longest value of a field that is no file.
const VALUE_MAX: usize = 4096;
/// Longest boundary.
const BOUNDARY_MAX: usize = 200;
/// What is thrown away so that a client that is still sending sees its refusal.
const THROWN_AWAY_MAX: usize = 64 * 1024 * 1024;
const THROWING_AWAY_MAX: Duration = Duration::from_secs(10);

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    /// The client's fault.
    #[error("the form is malformed")]
    Malformed,
    /// The client's or the network's fault.
    #[error("the form does not go on")]
    Stalled,
}

type Incoming = Arc<Mutex<BodyDataStream>>;

/// A form on its way in.
pub(super) struct Form {
    parts: Multipart<'static>,
    body: Incoming,
    /// Bytes taken in since the last progress.
    unread: Arc<AtomicUsize>,
    fields: usize,
}

/// A field of the form.
pub(super) struct Part {
    field: Field<'static>,
    unread: Arc<AtomicUsize>,
}

impl Form {
    /// Begins to read a body; `None` when it is no form.
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Option<Self> {
        let boundary = boundary(text(headers, header::CONTENT_TYPE)?)?;
        let body = Arc::new(Mutex::new(body.into_data_stream()));
        let unread = Arc::new(AtomicUsize::new(0));
        let chunks = chunks(Arc::clone(&body), Arc::clone(&unread));
        Some(Self {
            parts: Multipart::new(chunks, boundary),
            body,
            unread,
            fields: 0,
        })
    }

    /// The next field, when the one before it has been read.
    pub(super) async fn next(&mut self) -> Result<Option<Part>, FormError> {
        let field = self.parts.next_field().await?;
        self.unread.store(0, Ordering::Relaxed);
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(FormError::Malformed);
        }
        Ok(field.map(|field| Part {
            field,
            unread: Arc::clone(&self.unread),
        }))
    }

    /// Throws away what still comes, within reason: a client that has not sent all would see its
    /// connection reset, and never the answer.
    pub(super) async fn throw_away(self) {
        let Self { parts, body, .. } = self;
        drop(parts);
        let mut body = body.lock().await;
        let deadline = Instant::now() + THROWING_AWAY_MAX;
        let mut left = THROWN_AWAY_MAX;
        while let Ok(Some(Ok(bytes))) = timeout_at(deadline, body.next()).await {
            match left.checked_sub(bytes.len()) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    }
}

impl Part {
    pub(super) fn name(&self) -> &str {
        self.field.name().unwrap_or_default()
    }

    /// What its sender calls a file.
    pub(super) fn file_name(&self) -> String {
        let header = self.field.headers().get(header::CONTENT_DISPOSITION);
        // Browsers put names there as they are.
        let header = header.map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        header.and_then(|it| file_name(&it)).unwrap_or_default()
    }

    pub(super) fn mime(&self) -> Option<String> {
        text(self.field.headers(), header::CONTENT_TYPE).map(str::to_owned)
    }

    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, FormError> {
        let chunk = self.field.chunk().await?;
        self.unread.store(0, Ordering::Relaxed);
        Ok(chunk)
    }

    /// All of a short value.
    pub(super) async fn value(&mut self) -> Result<String, FormError> {
        let mut value = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            value.extend_from_slice(&chunk);
            if value.len() > VALUE_MAX {
                return Err(FormError::Malformed);
            }
        }
        String::from_utf8(value).map_err(|_| FormError::Malformed)
    }
}

impl From<multer::Error> for FormError {
    fn from(fault: multer::Error) -> Self {
        let stalled = match &fault {
            multer::Error::StreamReadFailed(cause) => cause
                .downcast_ref::<Self>()
                .is_none_or(|it| matches!(it, Self::Stalled)),
            _ => false,
        };
        tracing::debug!(%fault, "a form cannot be read");
        if stalled {
            Self::Stalled
        } else {
            Self::Malformed
        }
    }
}

/// The body, chunk by chunk, as long as somebody makes use of it. multer takes all that is ready and
/// keeps it until it makes sense, so nothing is ready at once, and not more than a bound in vain.
fn chunks(
    body: Incoming,
    unread: Arc<AtomicUsize>,
) -> impl Stream<Item = Result<Bytes, FormError>> + Send + 'static {
    stream::try_unfold((body, unread), |(body, unread)| async move {
        yield_now().await;
        if unread.load(Ordering::Relaxed) > UNREAD_MAX {
            return Err(FormError::Malformed);
        }
        let next = timeout(STALL_MAX, async { body.lock().await.next().await }).await;
        match next {
            Ok(Some(Ok(bytes))) => {
                unread.fetch_add(bytes.len(), Ordering::Relaxed);
                Ok(Some((bytes, (body, unread))))
            }
            Ok(None) => Ok(None),
            Ok(Some(Err(_))) | Err(_) => Err(FormError::Stalled),
        }
    })
}

/// COMPAT Android, iOS: `boundary=*****1700000000000*****`, in quotes or not.
fn boundary(content_type: &str) -> Option<String> {
    let (kind, _) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(content_type, "boundary")?;
    let legal = (1..=BOUNDARY_MAX).contains(&boundary.len()) && boundary.is_ascii();
    legal.then_some(boundary)
}

/// COMPAT Android: a name that is not ASCII stands in `filename*` only.
fn file_name(disposition: &str) -> Option<String> {
    let extended = parameter(disposition, "filename*").and_then(|it| {
        let (charset, rest) = it.split_once('\'')?;
        let (_language, name) = rest.split_once('\'')?;
        charset
            .eq_ignore_ascii_case("utf-8")
            .then(|| unescaped(name))?
    });
    extended.or_else(|| parameter(disposition, "filename"))
}

/// A parameter of a header such as `x; a=1; b="2; \"3\""`.
fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let (value, next) = value(after.trim_start());
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
}

/// The value at the beginning of a text, and what follows the semicolon behind it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices().peekable();
    while let Some((at, letter)) = chars.next() {
        match letter {
            // A backslash in a name from Windows is one; it hides quotation marks only.
            '\\' if chars.peek().is_some_and(|(_, next)| *next == '"') => {}
            '"' if !quoted[..at].ends_with('\\') => {
                let rest = quoted[at + 1..].split_once(';');
                return (value, rest.map_or("", |(_, rest)| rest));
            }
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_form_that_does_not_go_on_is_given_up() {
        let kind = HeaderValue::from_static("multipart/form-data; boundary=x");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]);
        let begun = "--x\r\nContent-Disposition: form-data; name=file\r\n\r\nbytes";
        let begun = stream::once(std::future::ready(Ok::<_, std::io::Error>(begun)));
        let body = Body::from_stream(begun.chain(stream::pending()));
        let mut form = Form::new(&headers, body).unwrap();
        let mut part = form.next().await.unwrap().unwrap();
        assert_eq!(part.name(), "file");
        let started = Instant::now();
        let stalled = loop {
            match part.chunk().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it has no end"),
                Err(fault) => break fault,
            }
        };
        assert!(matches!(stalled, FormError::Stalled));
        assert_eq!(started.elapsed().as_secs(), STALL_MAX.as_secs());
    }

    #[test]
    fn the_boundary_of_every_stock_client_is_read() {
        for (content_type, expected) in [
            (
                "multipart/form-data; boundary=----WebKitFormBoundaryAbC",
                Some("----WebKitFormBoundaryAbC"),
            ),
            (
                "multipart/form-data;boundary=*****1700000000000*****",
                Some("*****1700000000000*****"),
            ),
            (
                "Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"",
                Some("a b"),
            ),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=a", None),
            ("text/plain; boundary=a", None),
            ("", None),
        ] {
            assert_eq!(
                boundary(content_type).as_deref(),
                expected,
                "{content_type}"
            );
        }
    }

    #[test]
    fn a_name_is_found_in_either_form() {
        for (disposition, expected) in [
            (
                "form-data; name=\"file\"; filename=\"a b.jpg\"",
                Some("a b.jpg"),
            ),
            (
                "form-data; name=\"file\"; filename*=UTF-8''%D0%AF%20%28.jpg",
                Some("Я (.jpg"),
            ),
            (
                "form-data; filename=\"x.jpg\"; filename*=utf-8'en'%D0%AF.jpg; name=file",
                Some("Я.jpg"),
            ),
            (
                "form-data; name=\"file\"; filename=\"Я.jpg\"",
                Some("Я.jpg"),
            ),
            ("form-data; name=file; filename=x.jpg", Some("x.jpg")),
            (
                "form-data; name=\"; filename=y\"; filename=\"a;\\\"b.jpg\"",
                Some("a;\"b.jpg"),
            ),
            ("form-data; filename*=koi8-r''%D1; filename=x", Some("x")),
            ("form-data; filename*=UTF-8''%ff; filename=x", Some("x")),
            ("form-data; filename=\"C:\\dir\\x\"", Some("C:\\dir\\x")),
            ("form-data; name=\"file\"", None),
            ("form-data", None),
        ] {
            assert_eq!(file_name(disposition).as_deref(), expected, "{disposition}");
        }
    }
}
