//! One question to a web server over a connection that is there: no redirects, an answer of bounded length.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Body,
    client::conn::http1,
    header::{ACCEPT, HOST, HeaderMap},
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
        .body(Empty::<Bytes>::new());
    let answer = ask(stream, request.map_err(words)?, max).await?;
    Ok((answer.status(), answer.into_body()))
}

/// Hands `body` over at `path`, with these headers. The same holds of the answer.
pub(crate) async fn post(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    host: &str,
    path: &str,
    headers: HeaderMap,
    body: Bytes,
    max: usize,
) -> Result<Response<Bytes>, String> {
    let request = Request::post(path).header(HOST, host).body(Full::new(body));
    let mut request = request.map_err(words)?;
    request.headers_mut().extend(headers);
    ask(stream, request, max).await
}

async fn ask<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    request: Request<B>,
    max: usize,
) -> Result<Response<Bytes>, String>
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let (mut send, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    let asked = async {
        let (head, body) = send
            .send_request(request)
            .await
            .map_err(words)?
            .into_parts();
        let body = Limited::new(body, max).collect().await.map_err(words)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // The connection lives as long as the answer is read, and no longer.
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        ended = connection => match ended {
            Err(error) => Err(words(error)),
            Ok(()) => asked.await,
        },
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
