//! The two ends of a measured chat.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    Result,
    client::Session,
    network::{Domain, User},
};

/// Attempts, half a second apart, for something to become visible to the other side.
const ATTEMPTS: usize = 60;
const PAUSE: Duration = Duration::from_millis(500);

/// Somebody at a domain.
pub(crate) struct Resident<'a> {
    domain: &'a Domain,
    user: User,
    new: bool,
}

impl<'a> Resident<'a> {
    /// The first person the domain has.
    pub(crate) fn of(domain: &'a Domain) -> Result<Self> {
        let user = domain.users.first().cloned();
        Ok(Self {
            domain,
            user: user.ok_or_else(|| format!("{} has no user", domain.domain))?,
            new: false,
        })
    }

    /// Somebody nobody has met: the same network can be measured twice.
    pub(crate) fn newcomer(domain: &'a Domain) -> Result<Self> {
        let unique = tempfile::Builder::new().prefix("").tempdir();
        let unique = unique.map_err(|error| format!("no unique name: {error}"))?;
        let name = unique.path().file_name().unwrap_or_default();
        let login = format!("bench{}", name.to_string_lossy().to_lowercase());
        let user = User {
            password: format!("secret of {login}"),
            login,
        };
        Ok(Self {
            domain,
            user,
            new: true,
        })
    }

    fn address(&self) -> String {
        format!("{}@{}", self.user.login, self.domain.domain)
    }

    /// Connects, logs in, attaches to `me`; returns the own id as well.
    async fn enter(&self) -> Result<(Session, String)> {
        let mut session = Session::open(&self.domain.client).await?;
        let secret = STANDARD.encode(format!("{}:{}", self.user.login, self.user.password));
        let (kind, body) = if self.new {
            let public = json!({"fn": self.user.login});
            let body = json!({"user": "new", "scheme": "basic", "secret": secret, "login": true,
                "desc": {"public": public}});
            ("acc", body)
        } else {
            ("login", json!({"scheme": "basic", "secret": secret}))
        };
        let answer = session.request(kind, body).await?;
        let id = answer["params"]["user"].as_str();
        let id = id
            .ok_or_else(|| format!("{kind} was answered by {answer}"))?
            .to_owned();
        session.request("sub", json!({"topic": "me"})).await?;
        Ok((session, id))
    }
}

/// A chat in which one side writes and the other reads.
pub(crate) struct Chat {
    pub(crate) writer: Session,
    pub(crate) reader: Session,
    /// The chat as the writer's domain names it.
    pub(crate) topic: String,
}

/// Connects both, makes them acquainted if they are not, and checks that a text gets through.
pub(crate) async fn chat(writer: &Resident<'_>, reader: &Resident<'_>) -> Result<Chat> {
    let (mut writing, writer_id) = writer.enter().await?;
    let (mut reading, reader_id) = reader.enter().await?;
    let same_domain = writer.domain.domain == reader.domain.domain;
    let seen_from_afar = |id: String, of: &Resident<'_>| match same_domain {
        true => id,
        false => format!("{id}@{}", of.domain.domain),
    };
    let topic = seen_from_afar(reader_id, reader);
    let back = seen_from_afar(writer_id, writer);

    if !same_domain {
        find(&mut writing, &reader.address(), &topic).await?;
    }
    writing.request("sub", json!({"topic": topic})).await?;
    let hello = writing.publish(&topic, "hello").await?;
    writing.answer(&hello).await?;
    await_contact(&mut reading, &back).await?;
    accept(&mut reading, &back).await?;

    let probe = writing.publish(&topic, "probe").await?;
    writing.answer(&probe).await?;
    reading.message("probe").await?;
    Ok(Chat {
        writer: writing,
        reader: reading,
        topic,
    })
}

/// Searches for an address until the row for `id` comes.
async fn find(session: &mut Session, address: &str, id: &str) -> Result<()> {
    session.request("sub", json!({"topic": "fnd"})).await?;
    for _ in 0..ATTEMPTS {
        let query = json!({"topic": "fnd", "desc": {"public": format!("email:{address}")}});
        session.request("set", query).await?;
        let rows = session
            .request("get", json!({"topic": "fnd", "what": "sub"}))
            .await?;
        if has_topic(&rows, id) {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(format!("{address} was not found"))
}

async fn await_contact(session: &mut Session, id: &str) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let rows = session
            .request("get", json!({"topic": "me", "what": "sub"}))
            .await?;
        if has_topic(&rows, id) {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(format!("the chat with {id} did not appear"))
}

fn has_topic(rows: &Value, id: &str) -> bool {
    let rows = rows["sub"].as_array();
    rows.is_some_and(|rows| rows.iter().any(|row| row["topic"] == id))
}

/// Attaches, and gives whatever a stock client would ask its person about.
async fn accept(session: &mut Session, topic: &str) -> Result<()> {
    session.request("sub", json!({"topic": topic})).await?;
    let answer = session
        .request("get", json!({"topic": topic, "what": "desc"}))
        .await?;
    let acs = &answer["desc"]["acs"];
    let (given, want) = (acs["given"].as_str(), acs["want"].as_str());
    let (given, want) = (given.unwrap_or_default(), want.unwrap_or_default());
    if given.chars().all(|it| want.contains(it)) {
        return Ok(());
    }
    let mine = json!({"topic": topic, "sub": {"mode": given}});
    session.request("set", mine).await?;
    let theirs = json!({"topic": topic, "sub": {"user": topic, "mode": given}});
    session.request("set", theirs).await?;
    Ok(())
}
