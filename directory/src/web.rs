//! One question to a web server: a request over a connection that is there, no redirects, an answer of
//! bounded length.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Asks for `path` at `host`. An answer longer than `max` bytes is an error; what a status means is the
/// caller's to judge.
pub(crate) async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    host: &str,
    path: &str,
    max: usize,
) -> Result<(StatusCode, Bytes), String> {
    let request = Request::get(path)
        .header(HOST, host)
        .header(ACCEPT, "*/*")
        .body(Full::default());
    exchange(stream, request, max).await
}

/// The same with bytes to hand over.
pub(crate) async fn post(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    host: &str,
    path: &str,
    body: Bytes,
    max: usize,
) -> Result<(StatusCode, Bytes), String> {
    let request = Request::post(path)
        .header(HOST, host)
        .header(ACCEPT, "*/*")
        .header(CONTENT_TYPE, "application/octet-stream")
        .body(Full::new(body));
    exchange(stream, request, max).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    max: usize,
) -> Result<(StatusCode, Bytes), String> {
    let words = |it: &dyn std::fmt::Display| it.to_string();
    let request = request.map_err(|it| words(&it))?;
    let (mut send, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|it| words(&it))?;
    let asked = async {
        let response = send.send_request(request).await.map_err(|it| words(&it))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), max);
        let body = body.collect().await.map_err(|it| words(&it))?;
        Ok((status, body.to_bytes()))
    };
    // The connection lives as long as the answer is read, and no longer.
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        ended = connection => match ended {
            Err(error) => Err(words(&error)),
            Ok(()) => asked.await,
        },
    }
}
