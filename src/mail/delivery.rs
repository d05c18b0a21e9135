//! What becomes of a mail: a mail server takes it, or a folder does.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use freehold_config::{PasswordSource, Protection, Smtp};
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{PoolConfig, authentication::Credentials},
};
use tokio::time::sleep;
use tracing::{info, warn};

use super::MailError;

/// Time for the mail server to take one mail.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Waits between tries; after the last the mail is given up. A code counts for 15 minutes only.
const RETRY_AFTER: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(15),
    Duration::from_secs(60),
];
/// Connections to the mail server.
const CONNECTIONS_MAX: u32 = 4;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Why a mail was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    #[error("the mail server: {0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    #[error("the folder: {0}")]
    Folder(#[from] io::Error),
}

/// A way for mails.
#[derive(Debug)]
pub(super) enum Delivery {
    Folder(PathBuf, AtomicU64),
    Smtp(Box<Transport>),
}

impl Delivery {
    pub(super) fn new(config: &freehold_config::Delivery) -> Result<Self, MailError> {
        match config {
            freehold_config::Delivery::Folder(path) => {
                let fault = |source| MailError::Folder {
                    path: path.clone(),
                    source,
                };
                fs::create_dir_all(path).map_err(fault)?;
                let written = fs::read_dir(path).map_err(fault)?.count();
                let next = u64::try_from(written).unwrap_or(0) + 1;
                Ok(Self::Folder(path.clone(), AtomicU64::new(next)))
            }
            freehold_config::Delivery::Smtp(smtp) => Ok(Self::Smtp(Box::new(transport(smtp)?))),
        }
    }

    pub(super) async fn deliver(&self, message: &Message, code: &str) -> Result<(), Undelivered> {
        match self {
            Self::Folder(path, next) => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                write(path, number, message).await?;
                info!(code, mail = number, "a mail was written instead of sent");
                Ok(())
            }
            Self::Smtp(transport) => send(transport, message).await,
        }
    }
}

async fn write(folder: &Path, number: u64, message: &Message) -> io::Result<()> {
    // Whoever looks into the folder finds whole mails only.
    let (unfinished, path) = (
        folder.join(format!(".{number:06}")),
        folder.join(format!("{number:06}.eml")),
    );
    tokio::fs::write(&unfinished, message.formatted()).await?;
    tokio::fs::rename(unfinished, path).await
}

async fn send(transport: &Transport, message: &Message) -> Result<(), Undelivered> {
    for wait in RETRY_AFTER {
        match transport.send(message.clone()).await {
            Ok(_) => return Ok(()),
            Err(fault) if fault.is_permanent() => return Err(fault.into()),
            Err(fault) => warn!(%fault, "the mail server does not take a mail now"),
        }
        sleep(wait).await;
    }
    transport.send(message.clone()).await?;
    Ok(())
}

fn transport(smtp: &Smtp) -> Result<Transport, MailError> {
    let fault = |why: lettre::transport::smtp::Error| MailError::Server(why.to_string());
    let builder = match smtp.protection {
        Protection::StartTls => Transport::starttls_relay(&smtp.host).map_err(fault)?,
        Protection::Tls => Transport::relay(&smtp.host).map_err(fault)?,
        Protection::None => Transport::builder_dangerous(&smtp.host),
    };
    let builder = builder
        .port(smtp.port)
        .timeout(Some(TIMEOUT))
        .pool_config(PoolConfig::new().max_size(CONNECTIONS_MAX));
    let builder = match &smtp.login {
        Some((user, source)) => {
            builder.credentials(Credentials::new(user.clone(), password(source)?))
        }
        None => builder,
    };
    Ok(builder.build())
}

fn password(source: &PasswordSource) -> Result<String, MailError> {
    let (place, found) = match source {
        PasswordSource::File(path) => {
            let first = fs::read_to_string(path).map(|text| {
                let line = text.lines().next().unwrap_or_default();
                line.to_owned()
            });
            (
                path.display().to_string(),
                first.map_err(|it| it.to_string()),
            )
        }
        PasswordSource::Variable(name) => {
            let value = std::env::var(name).map_err(|it| it.to_string());
            (format!("the environment variable {name}"), value)
        }
    };
    match found {
        Ok(text) if !text.is_empty() => Ok(text),
        Ok(_) => Err(MailError::Password {
            place,
            why: "it is empty".to_owned(),
        }),
        Err(why) => Err(MailError::Password { place, why }),
    }
}

#[cfg(test)]
mod tests {
    use freehold_config::Delivery as Configured;
    use lettre::message::header::ContentType;
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    fn message() -> Message {
        let message = Message::builder()
            .from("noreply@alpha.test".parse().unwrap())
            .to("ann@b.test".parse().unwrap())
            .header(ContentType::TEXT_PLAIN);
        message.body("123456".to_owned()).unwrap()
    }

    fn smtp(port: u16, protection: Protection) -> Configured {
        Configured::Smtp(Smtp {
            host: "127.0.0.1".to_owned(),
            port,
            protection,
            login: None,
        })
    }

    /// Takes one mail as a mail server does; refuses the first try with a code. Returns what it heard.
    async fn mail_server(listener: TcpListener, first: &str) -> Vec<String> {
        let mut heard = Vec::new();
        let mut refused = first.is_empty();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            say(&mut stream, "220 mx.test").await;
            let mut in_data = false;
            let mut line = String::new();
            // What is no text is TLS, which this server does not speak.
            while matches!(stream.read_line(&mut line).await, Ok(1..)) {
                let said = std::mem::take(&mut line).trim_end().to_owned();
                heard.push(said.clone());
                match said.as_str() {
                    "." => {
                        say(&mut stream, "250 taken").await;
                        return heard;
                    }
                    _ if in_data => {}
                    "DATA" => {
                        in_data = true;
                        say(&mut stream, "354 go on").await;
                    }
                    _ if said.starts_with("MAIL") && !refused => {
                        refused = true;
                        say(&mut stream, first).await;
                    }
                    _ => say(&mut stream, "250 ok").await,
                }
            }
        }
    }

    async fn say(stream: &mut BufReader<TcpStream>, line: &str) {
        let line = format!("{line}\r\n");
        stream.get_mut().write_all(line.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_mail_that_is_not_taken_at_once_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let delivery = Delivery::new(&smtp(port, Protection::None)).unwrap();
        let message = message();
        let (heard, delivered) = tokio::join!(
            mail_server(listener, "451 later"),
            delivery.deliver(&message, "123456")
        );
        delivered.unwrap();
        assert!(
            heard.iter().any(|it| it.contains("RCPT TO:<ann@b.test>")),
            "{heard:?}"
        );
        assert!(heard.contains(&"123456".to_owned()), "{heard:?}");
    }

    #[tokio::test]
    async fn a_mail_that_is_refused_for_good_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let delivery = Delivery::new(&smtp(port, Protection::None)).unwrap();
        let message = message();
        tokio::select! {
            _ = mail_server(listener, "550 never") => panic!("it was tried again"),
            delivered = delivery.deliver(&message, "123456") => assert!(delivered.is_err()),
        }
    }

    #[tokio::test]
    async fn tls_is_at_hand_and_never_given_up_for_clear_text() {
        for protection in [Protection::Tls, Protection::StartTls] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let Ok(Delivery::Smtp(transport)) = Delivery::new(&smtp(port, protection)) else {
                panic!("TLS cannot be set up");
            };
            let message = message();
            // The server speaks no TLS, and says so.
            tokio::select! {
                heard = mail_server(listener, "") => panic!("{protection:?}: {heard:?}"),
                sent = transport.send(message) => assert!(sent.is_err()),
            }
        }
    }

    #[test]
    fn a_password_that_is_not_there_is_told_with_its_place() {
        let nowhere = PasswordSource::File("/nowhere/password".into());
        let told = password(&nowhere).unwrap_err().to_string();
        assert!(told.contains("/nowhere/password"), "{told}");
        let variable = PasswordSource::Variable("FREEHOLD_NO_SUCH_VARIABLE".to_owned());
        assert!(password(&variable).is_err());
    }
}
