//! Whether the world finds where clients connect: what is told, asked for as a stranger would.

use std::{fmt::Display, path::Path, time::Duration};

use axum::body::{Body, to_bytes};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_config::{Config, Public};
use freehold_directory::{CLIENT_DOCUMENT_PATH, web_tls};
use freehold_keys::{KeyRing, SignedClientDocument};
use freehold_proto::{Timestamp, WebUrl, limits::CLIENT_DOCUMENT_BYTES_MAX, web_url::WebHost};
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::findings::{Finding, Findings};

/// Time for question and answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer: the document in words and in base64.
const ANSWER_BYTES_MAX: usize = 4 * CLIENT_DOCUMENT_BYTES_MAX;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) async fn public(
    config: &Config,
    keys: &KeyRing,
    running: bool,
    now: Timestamp,
    findings: &mut Findings,
) {
    let Some(public) = &config.clients.public else {
        return findings.note(
            "clients.public_url is not set: the domain does not tell where its people's clients connect.",
        );
    };
    let url = &public.url;
    if !running {
        return findings.note(format_args!(
            "Whether {url} leads here can be told while the server is running."
        ));
    }
    let authorities = config.directory.well_known_ca.as_deref();
    let answer = timeout(TIMEOUT, ask(url, authorities)).await;
    findings.say(match answer {
        Ok(Ok(answer)) => judge(public, &answer, keys, now),
        Ok(Err(error)) => Finding::Wrong(format!("{url} (clients.public_url): {error}.")),
        Err(_) => Finding::Wrong(format!(
            "{url} (clients.public_url) does not answer within {} s.",
            TIMEOUT.as_secs()
        )),
    });
}

/// Is what is told there ours, and does it lead there?
fn judge(public: &Public, answer: &[u8], keys: &KeyRing, now: Timestamp) -> Finding {
    let url = &public.url;
    let words: Value = serde_json::from_slice(answer).unwrap_or_default();
    let signed = words["document"].as_str();
    let signed = signed.and_then(|it| URL_SAFE_NO_PAD.decode(it).ok());
    let Some(signed) = signed else {
        return Finding::Wrong(format!(
            "{url} (clients.public_url) answers, but not as this server does."
        ));
    };
    match SignedClientDocument::verify(&signed, keys.record(), now) {
        Err(fault) => Finding::Wrong(format!("{url} (clients.public_url): {fault}.")),
        Ok(signed) => {
            let told = &signed.document().entrance.websocket;
            match told.authority() == url.authority() {
                true => Finding::Right(format!("{url} leads here, and clients are told so.")),
                false => Finding::Wrong(format!(
                    "Clients are told to connect to {told}, not below {url}: start the server anew."
                )),
            }
        }
    }
}

/// What a stranger is told there, or why nothing.
async fn ask(url: &WebUrl, authorities: Option<&Path>) -> Result<Vec<u8>, String> {
    let stream = connect(url, authorities).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    let asked = async {
        let request = Request::get(CLIENT_DOCUMENT_PATH).header(HOST, url.authority());
        let request = request.body(Body::empty()).map_err(words)?;
        let answer = sender.send_request(request).await.map_err(words)?;
        if answer.status() != StatusCode::OK {
            return Err(format!("it answers {}", answer.status()));
        }
        let body = to_bytes(Body::new(answer.into_body()), ANSWER_BYTES_MAX).await;
        body.map(|it| it.to_vec()).map_err(words)
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

async fn connect(url: &WebUrl, authorities: Option<&Path>) -> Result<Box<dyn Stream>, String> {
    let host = match url.host() {
        WebHost::Name(name) => name.to_string(),
        WebHost::Address(address) => address.to_string(),
    };
    let stream = TcpStream::connect((&*host, url.port())).await;
    let stream = stream.map_err(words)?;
    if !url.is_secure() {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(host).map_err(words)?;
    let connector = TlsConnector::from(web_tls(authorities).map_err(words)?);
    let stream = connector.connect(name, stream).await.map_err(words)?;
    Ok(Box::new(stream))
}

fn words(error: impl Display) -> String {
    error.to_string()
}
