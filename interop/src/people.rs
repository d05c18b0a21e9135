//! People: how they get an account, come back, find each other and agree to talk.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::UserId;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{Endpoint, Failure, FrameKind, Result, Session, failure::expect};

/// Time for something to cross to another domain that is up, with DNS and a new link on the way.
const CROSS_WITHIN: Duration = Duration::from_secs(30);
const SEARCH_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// Somebody with an account.
#[derive(Clone, Debug)]
pub struct Person {
    /// Log-in name.
    pub login: String,
    /// Where the account is.
    pub endpoint: Endpoint,
    /// The id as the own domain names it, `usr…`.
    pub id: String,
    /// Proves who it is when coming back.
    pub token: String,
}

impl Person {
    /// Makes an account as the web app does and stays connected, attached to `me`.
    pub async fn register(endpoint: &Endpoint, login: &str) -> Result<(Self, Session)> {
        let mut session = Session::open(endpoint, login).await?;
        let (name, login) = (login, format!("{login}{}", endpoint.tag));
        let account = json!({
            "user": "new", "scheme": "basic", "secret": password_secret(&login), "login": true,
            "desc": {"public": {"fn": name}},
            "cred": [{"meth": "email", "val": format!("{login}@example.com")}],
        });
        let answer = session.request("acc", account).await?;
        expect(answer.code() == 200, || {
            format!("acc was answered by {}", answer.body)
        })?;
        let (id, token) = identity(&answer.body["params"])?;
        session.subscribe("me").await?;
        let person = Self {
            login,
            endpoint: endpoint.clone(),
            id,
            token,
        };
        Ok((person, session))
    }

    /// Connects again with the token, attached to `me`.
    pub async fn come_back(&self) -> Result<Session> {
        self.log_in("token", &self.token).await
    }

    /// The same as a phone does that a push woke.
    pub async fn come_back_in_background(&self) -> Result<Session> {
        let session = Session::open_as(&self.endpoint, &self.login, true).await?;
        self.enter(session, "token", &self.token).await
    }

    /// Connects again with name and password, attached to `me`.
    pub async fn log_in_by_password(&self) -> Result<Session> {
        self.log_in("basic", &password_secret(&self.login)).await
    }

    /// The same, and from now on comes back with the token that it gives: the old one may be too old.
    pub async fn renew(&mut self) -> Result<Session> {
        let mut session = Session::open(&self.endpoint, &self.login).await?;
        let given = session
            .login("basic", &password_secret(&self.login))
            .await?;
        self.token = identity(&given)?.1;
        session.subscribe("me").await?;
        Ok(session)
    }

    async fn log_in(&self, scheme: &str, secret: &str) -> Result<Session> {
        let session = Session::open(&self.endpoint, &self.login).await?;
        self.enter(session, scheme, secret).await
    }

    async fn enter(&self, mut session: Session, scheme: &str, secret: &str) -> Result<Session> {
        let (id, _) = identity(&session.login(scheme, secret).await?)?;
        expect(id == self.id, || {
            format!("{} became {id} instead of {}", self.login, self.id)
        })?;
        session.subscribe("me").await?;
        Ok(session)
    }

    /// The id as a value.
    pub fn user_id(&self) -> Result<UserId> {
        let id = self.global_id();
        let read = id.parse();
        read.map_err(|error| Failure::harness(format!("read {id}"), error))
    }

    /// What others type: `alice@alpha.test`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}@{}", self.login, self.endpoint.domain)
    }

    /// The id as other domains name it: `usr…@alpha.test`.
    #[must_use]
    pub fn global_id(&self) -> String {
        format!("{}@{}", self.id, self.endpoint.domain)
    }

    /// The id of `other` as this person's domain names it, which is also the topic of their chat.
    #[must_use]
    pub fn name_of(&self, other: &Self) -> String {
        if self.endpoint.domain == other.endpoint.domain {
            other.id.clone()
        } else {
            other.global_id()
        }
    }
}

/// `asker` finds `asked` by address and writes; `asked` sees the invitation, accepts and answers;
/// `asker` gets the answer. Both are attached to their chat afterwards.
pub async fn meet(
    (asker, asker_session): (&Person, &mut Session),
    (asked, asked_session): (&Person, &mut Session),
) -> Result<()> {
    let to = asker.name_of(asked);
    let from = asked.name_of(asker);
    find(asker_session, &asked.address(), &to).await?;
    asker_session.subscribe(&to).await?;
    asker_session.publish(&to, "May I write to you?").await?;
    let invitation = format!("an invitation from {}", asker.address());
    asked_session
        .wait_for(&invitation, CROSS_WITHIN, |frame| {
            frame.kind == FrameKind::Pres && frame.text("src") == from
        })
        .await?;
    accept(asked_session, &from).await?;
    asked_session.publish(&from, "You may.").await?;
    asker_session
        .wait_for("the answer", CROSS_WITHIN, |frame| {
            frame
                .message_of(&to)
                .is_some_and(|it| it.content == "You may.")
        })
        .await?;
    Ok(())
}

/// Types an address into the search box until the row for `id` comes.
async fn find(session: &mut Session, address: &str, id: &str) -> Result<()> {
    session.subscribe("fnd").await?;
    let deadline = Instant::now() + CROSS_WITHIN;
    loop {
        let query = json!({"topic": "fnd", "desc": {"public": format!("email:{address}")}});
        session.request("set", query).await?;
        let rows = session.get("fnd", "sub").await?.unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        if rows.any(|row| row["topic"] == id) {
            return Ok(());
        }
        if Instant::now() > deadline {
            let awaited = format!("{} to find {address} as {id}", session.who());
            return Err(Failure::Late {
                awaited,
                after: CROSS_WITHIN,
            });
        }
        sleep(SEARCH_AGAIN_AFTER).await;
    }
}

/// What a stock client sends when a person presses "accept".
pub(crate) async fn accept(session: &mut Session, topic: &str) -> Result<()> {
    session.subscribe(topic).await?;
    let desc = session.get(topic, "desc").await?.unwrap_or_default();
    let mode = |key: &str| desc["acs"][key].as_str().unwrap_or_default().to_owned();
    let (given, want) = (mode("given"), mode("want"));
    let prompts = given.contains('J')
        && "RW"
            .chars()
            .any(|it| given.contains(it) && !want.contains(it));
    expect(prompts, || {
        let acs = &desc["acs"];
        format!(
            "{} should be asked about {topic}, but acs is {acs}",
            session.who()
        )
    })?;
    session
        .request("set", json!({"topic": topic, "sub": {"mode": given}}))
        .await?;
    let grant = json!({"topic": topic, "sub": {"user": topic, "mode": given}});
    session.request("set", grant).await?;
    Ok(())
}

fn identity(params: &Value) -> Result<(String, String)> {
    let text = |key: &str| params[key].as_str().unwrap_or_default().to_owned();
    let (id, token) = (text("user"), text("token"));
    let bare = id.starts_with("usr") && !id.contains('@');
    expect(
        bare && STANDARD.decode(&token).is_ok_and(|it| !it.is_empty()),
        || format!("a log-in should give a bare user id and a token, but gave {params}"),
    )?;
    Ok((id, token))
}

fn password_secret(login: &str) -> String {
    STANDARD.encode(format!("{login}:secret of {login}"))
}
