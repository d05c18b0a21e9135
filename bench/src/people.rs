//! People to make load with: accounts, made on the fly or read from a file, and who knows whom.

use std::{net::Ipv4Addr, sync::atomic::Ordering::Relaxed, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{Result, client::Session, place::Place};

/// Attempts, half a second apart, for something to become visible to the other side.
const ATTEMPTS: usize = 60;
const PAUSE: Duration = Duration::from_millis(500);
/// Preparations that run at once.
pub(crate) const AT_ONCE: usize = 32;

/// A log-in name and its password.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) password: String,
}

impl Login {
    pub(crate) fn secret(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.name, self.password))
    }
}

/// Somebody who is logged in.
pub(crate) struct Person {
    pub(crate) session: Session,
    /// As people of the same domain name them.
    pub(crate) id: String,
    /// What lets them in again without a password.
    pub(crate) token: String,
}

impl Person {
    /// As people of another domain name them.
    pub(crate) fn id_abroad(&self, place: &Place) -> String {
        format!("{}@{}", self.id, place.domain)
    }
}

/// Does `make` for 0, 1, …, a few at a time.
pub(crate) async fn many<T, F>(count: usize, make: impl Fn(usize) -> F) -> Result<Vec<T>>
where
    F: Future<Output = Result<T>>,
{
    let all = stream::iter(0..count).map(make).buffered(AT_ONCE);
    all.try_collect().await
}

/// The next one of the file; without a file somebody new, without a password where the server lets such
/// people in.
pub(crate) async fn arrive(place: &Place) -> Result<Person> {
    if place.logins.is_none() && place.anonymous {
        let mut session = Session::open(&place.door, None).await?;
        let desc =
            json!({"public": {"fn": "bench"}, "defacs": {"auth": "JRWPAS", "anon": "JRWPA"}});
        let body = json!({"user": "new", "scheme": "anonymous", "login": true, "desc": desc});
        let answer = session.request("acc", body).await?;
        return person(session, &answer);
    }
    named(place).await
}

/// Somebody with a name and a password.
pub(crate) async fn named(place: &Place) -> Result<Person> {
    let login = register(place).await?;
    come_in(place, None, "basic", &login.secret()).await
}

/// Somebody with a name and a password: the next one of the file, or somebody new, who is not logged in.
pub(crate) async fn register(place: &Place) -> Result<Login> {
    let number = place.used.fetch_add(1, Relaxed);
    if let Some(logins) = &place.logins {
        let login = logins.get(number).cloned();
        return login.ok_or_else(|| format!("more than {} log-ins are needed", logins.len()));
    }
    let name = format!("{}{number}", place.prefix);
    let login = Login {
        password: format!("secret of {name}"),
        name,
    };
    let mut session = Session::open(&place.door, None).await?;
    let desc = json!({"public": {"fn": login.name}, "defacs": {"auth": "JRWPAS", "anon": "JRWPA"}});
    let body = json!({"user": "new", "scheme": "basic", "secret": login.secret(), "login": false,
        "desc": desc});
    session.request("acc", body).await?;
    Ok(login)
}

/// Connects, from one of this machine's own addresses if one is given, and logs in.
pub(crate) async fn come_in(
    place: &Place,
    from: Option<Ipv4Addr>,
    scheme: &str,
    secret: &str,
) -> Result<Person> {
    let mut session = Session::open(&place.door, from).await?;
    let body = json!({"scheme": scheme, "secret": secret});
    let answer = session.request("login", body).await?;
    person(session, &answer)
}

fn person(session: Session, answer: &Value) -> Result<Person> {
    let text = |name: &str| {
        let found = answer["params"][name].as_str().map(str::to_owned);
        found.ok_or_else(|| format!("a log-in was answered by {answer}"))
    };
    Ok(Person {
        session,
        id: text("user")?,
        token: text("token")?,
    })
}

/// Makes two people acquainted and attaches both; the topic as each of them names it.
pub(crate) async fn acquaint(
    (one, at): (&mut Person, &Place),
    (other, there): (&mut Person, &Place),
) -> Result<[String; 2]> {
    let (topic, back) = match at.domain == there.domain {
        true => (other.id.clone(), one.id.clone()),
        false => (other.id_abroad(there), one.id_abroad(at)),
    };
    attach(&mut one.session, &topic).await?;
    let hello = json!({"topic": topic, "noecho": true, "content": "hello"});
    one.session.request("pub", hello).await?;
    await_contact(&mut other.session, &back).await?;
    accept(&mut other.session, &back).await?;
    if at.domain != there.domain {
        await_consent(&mut one.session, &topic).await?;
    }
    Ok([topic, back])
}

/// Attaches. Another domain may still be on its way to being known.
async fn attach(session: &mut Session, topic: &str) -> Result<()> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        match session.request("sub", json!({"topic": topic})).await {
            Ok(_) => return Ok(()),
            Err(why) if why.contains("\"code\":503") => last = why,
            Err(why) => return Err(why),
        }
        sleep(PAUSE).await;
    }
    Err(last)
}

/// Waits until a topic is among those on `me`.
pub(crate) async fn await_contact(session: &mut Session, topic: &str) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let asked = json!({"topic": "me", "what": "sub"});
        // `get` wants to be attached.
        session.request("sub", json!({"topic": "me"})).await?;
        let rows = session.request("get", asked).await?;
        let mut topics = rows["sub"].as_array().into_iter().flatten();
        if topics.any(|row| row["topic"] == topic) {
            session.request("leave", json!({"topic": "me"})).await?;
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(format!("{topic} did not appear"))
}

/// Until then messages are kept back.
async fn await_consent(session: &mut Session, topic: &str) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let asked = json!({"topic": topic, "what": "desc"});
        let answer = session.request("get", asked).await?;
        let given = answer["desc"]["acs"]["given"].as_str();
        if given.is_some_and(|it| it.contains('W')) {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(format!("{topic} did not agree"))
}

/// Attaches, and gives whatever a stock client would ask its person about.
pub(crate) async fn accept(session: &mut Session, topic: &str) -> Result<()> {
    session.request("sub", json!({"topic": topic})).await?;
    let asked = json!({"topic": topic, "what": "desc"});
    let answer = session.request("get", asked).await?;
    let acs = &answer["desc"]["acs"];
    let (given, want) = (acs["given"].as_str(), acs["want"].as_str());
    let (given, want) = (given.unwrap_or_default(), want.unwrap_or_default());
    if given.chars().all(|it| want.contains(it)) {
        return Ok(());
    }
    let mine = json!({"topic": topic, "sub": {"mode": given}});
    session.request("set", mine).await?;
    if topic.starts_with("usr") {
        let theirs = json!({"topic": topic, "sub": {"user": topic, "mode": given}});
        session.request("set", theirs).await?;
    }
    Ok(())
}

/// Makes a group that everybody may join; its name. Whoever has no password may not found one.
pub(crate) async fn found(founder: &mut Session) -> Result<String> {
    // Without S: each of those who have it is told of every newcomer.
    let access = json!({"auth": "JRWP", "anon": "JRWP"});
    let set = json!({"desc": {"public": {"fn": "bench"}, "defacs": access}});
    let body = json!({"topic": "newbench", "set": set});
    let answer = founder.request("sub", body).await?;
    let name = answer["topic"].as_str().filter(|it| it.starts_with("grp"));
    let name = name.ok_or_else(|| format!("a group was made as {answer}"))?;
    Ok(name.to_owned())
}
