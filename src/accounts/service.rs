//! A service outside that knows people and their secrets: asked over HTTPS when somebody logs in with
//! the scheme `rest`, or with a password that is not known here (docs/authentication.openapi.yaml).

use std::{io, path::Path, sync::Arc, time::Duration};

use axum::body::{Body, to_bytes};
use freehold_config::Authentication;
use hyper::{Request, StatusCode, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Time for an answer: stock clients give up after 5 seconds.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Questions asked at once; whoever comes then is sent away for now.
const AT_ONCE: usize = 32;
/// Longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why the service has no answer for us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The file with our secret cannot be used. The operator's to mend.
    #[error("the secret for the authentication service in {path}: {why}")]
    Secret {
        /// Which file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// TLS or the name of the service cannot be used. The operator's to mend.
    #[error("the authentication service cannot be used: {0}")]
    Unusable(String),
    /// More is asked than may be at once.
    #[error("too many log-ins are asked for at once")]
    Busy,
    /// It cannot be reached, or not in time.
    #[error("the authentication service cannot be reached: {0}")]
    Network(#[from] io::Error),
    /// It answers with something else than it should.
    #[error("the authentication service answers {0}")]
    Answer(String),
}

/// What is asked.
#[derive(Debug, Serialize)]
pub struct Question<'a> {
    /// `rest` or `basic`.
    pub scheme: &'a str,
    /// As the client sent it, base64.
    pub secret: &'a str,
    /// Our domain.
    pub domain: &'a str,
}

/// Somebody whom the service knows.
#[derive(Clone, Debug, Deserialize)]
pub struct Known {
    /// Names the person for ever; not shown to anybody.
    pub account: String,
    /// The log-in name, by which others find the person. Used when the account is made.
    #[serde(default)]
    pub login: String,
    /// The name others see. Used when the account is made.
    #[serde(default)]
    pub name: String,
}

/// What the service says of a secret.
#[derive(Clone, Debug)]
pub enum Word {
    /// It is this person's.
    Known(Known),
    /// It is nobody's.
    Wrong,
    /// Its owner may not come in.
    Barred,
}

/// The way to the service.
#[derive(Debug)]
pub struct Service {
    config: Authentication,
    secret: Option<String>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    turns: Semaphore,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Service {
    /// As configured. Reads the secret; nobody is asked yet.
    pub fn new(config: &Authentication) -> Result<Self, ServiceError> {
        let secret = config.secret_file.as_deref().map(secret).transpose()?;
        let tls = config.tls.then(|| tls(&config.host)).transpose()?;
        Ok(Self {
            config: config.clone(),
            secret,
            tls,
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// Whether it is asked about passwords that are not known here.
    #[must_use]
    pub fn knows_passwords(&self) -> bool {
        self.config.passwords
    }

    /// Asks about a secret.
    pub async fn ask(&self, question: &Question<'_>) -> Result<Word, ServiceError> {
        let _turn = self.turns.try_acquire().map_err(|_| ServiceError::Busy)?;
        match timeout(TIMEOUT, self.exchange(question)).await {
            Ok(word) => word,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
        }
    }

    async fn exchange(&self, question: &Question<'_>) -> Result<Word, ServiceError> {
        let stream = TcpStream::connect((&*self.config.host, self.config.port)).await?;
        let stream: Box<dyn Stream> = match &self.tls {
            Some((config, name)) => {
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name.clone(), stream).await?)
            }
            None => Box::new(stream),
        };
        let fault = |it: hyper::Error| ServiceError::Answer(it.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(fault)?;
        let request = self.request(question)?;
        let conversation = async {
            let response = sender.send_request(request).await.map_err(fault)?;
            let status = response.status();
            let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX)
                .await
                .map_err(|it| ServiceError::Answer(it.to_string()))?;
            read(status, &body)
        };
        // The connection moves its bytes only while somebody waits for it.
        tokio::pin!(connection, conversation);
        tokio::select! {
            word = &mut conversation => word,
            ended = &mut connection => {
                ended.map_err(fault)?;
                conversation.await
            }
        }
    }

    fn request(&self, question: &Question<'_>) -> Result<Request<Body>, ServiceError> {
        let body =
            serde_json::to_vec(question).map_err(|it| ServiceError::Answer(it.to_string()))?;
        let mut request = Request::post(format!("{}/login", self.config.path))
            .header(header::HOST, &self.config.host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONNECTION, "close");
        if let Some(secret) = &self.secret {
            request = request.header(header::AUTHORIZATION, format!("Bearer {secret}"));
        }
        request
            .body(Body::from(body))
            .map_err(|it| ServiceError::Unusable(it.to_string()))
    }
}

fn read(status: StatusCode, body: &[u8]) -> Result<Word, ServiceError> {
    match status {
        StatusCode::OK => {
            let known: Known = serde_json::from_slice(body)
                .map_err(|it| ServiceError::Answer(format!("200 with {it}")))?;
            if known.account.is_empty() || known.account.len() > 256 {
                return Err(ServiceError::Answer("200 without an account".to_owned()));
            }
            Ok(Word::Known(known))
        }
        StatusCode::UNAUTHORIZED => Ok(Word::Wrong),
        StatusCode::FORBIDDEN => Ok(Word::Barred),
        other => Err(ServiceError::Answer(other.to_string())),
    }
}

fn secret(path: &Path) -> Result<String, ServiceError> {
    let fault = |why: String| ServiceError::Secret {
        path: path.display().to_string(),
        why,
    };
    let text = std::fs::read_to_string(path).map_err(|it| fault(it.to_string()))?;
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() && line.is_ascii() => Ok(line.to_owned()),
        _ => Err(fault("its first line is empty or not ASCII".to_owned())),
    }
}

fn tls(host: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>), ServiceError> {
    let unusable = |why: String| ServiceError::Unusable(why);
    let name = ServerName::try_from(host.to_owned()).map_err(|it| unusable(it.to_string()))?;
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|it| unusable(it.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(config), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_service_says_is_read_or_refused() {
        let known = |body: &str| read(StatusCode::OK, body.as_bytes());
        assert!(matches!(
            known(r#"{"account": "7", "login": "ann", "more": 1}"#),
            Ok(Word::Known(Known { account, login, .. })) if account == "7" && login == "ann"
        ));
        for body in ["", "{}", "[]", r#"{"account": ""}"#, r#"{"account": 7}"#] {
            assert!(known(body).is_err(), "{body}");
        }
        assert!(matches!(
            read(StatusCode::UNAUTHORIZED, b""),
            Ok(Word::Wrong)
        ));
        assert!(matches!(read(StatusCode::FORBIDDEN, b""), Ok(Word::Barred)));
        assert!(read(StatusCode::BAD_GATEWAY, b"").is_err());
        assert!(read(StatusCode::FOUND, b"").is_err());
    }

    #[test]
    fn tls_is_at_hand() {
        assert!(tls("accounts.example.org").is_ok());
        assert!(tls("not a name").is_err());
    }
}
