//! What the cases of hostile peers have in common: somebody who hands things over and looks at the
//! answers, and how a group stands at every domain that shows it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use freehold_proto::{
    Destination, DomainName, GroupId, Header, UserId, wire, wire::result::Verdict,
};
use futures_util::future::LocalBoxFuture;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wire::payload::Kind;

use crate::{
    Club, Failure, Result, ScriptedPeer, Session, Stage,
    club::eventually,
    failure::expect,
    peer::{Arrived, Line, items},
};

const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// Between the items of two batches, so that numbers in a stream never come twice.
const STEP: u64 = 1000;

/// The answer to what is taken.
pub(super) const TAKEN: u32 = 0;
/// The answer to what came before.
pub(super) const AGAIN: u32 = 1;

/// What a hostile peer tries: what it is, and the number by which it must be refused.
pub(super) type Trial = (&'static str, wire::Envelope, u32);

/// A hostile peer and its line to one domain.
pub(super) struct Foe {
    pub(super) peer: ScriptedPeer,
    line: Line,
    /// Whom it is connected to.
    pub(super) us: DomainName,
    next: AtomicU64,
}

impl Foe {
    /// Begins, and says hello to the domain at `index`.
    pub(super) async fn comes(stage: &mut Stage, index: usize, name: &str) -> Result<Self> {
        let peer = stage.network.stranger(name).await?;
        let domain = stage.network.domain(index)?;
        let us = domain.name().clone();
        let line = peer.dial(&us, domain.federation()).await?;
        Ok(Self::with(peer, line, us))
    }

    /// A peer that is connected to a domain already.
    pub(super) fn with(peer: ScriptedPeer, line: Line, us: DomainName) -> Self {
        Self {
            peer,
            line,
            us,
            next: AtomicU64::new(1),
        }
    }

    /// Connects anew, after the server was started again.
    pub(super) async fn comes_back(&mut self, stage: &mut Stage, index: usize) -> Result<()> {
        let at = stage.network.domain(index)?.federation();
        self.line = self.peer.dial(&self.us, at).await?;
        Ok(())
    }

    /// The connection; clones share it.
    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    /// Somebody of this peer.
    pub(super) fn eve(&self) -> UserId {
        self.peer.person(1)
    }

    /// Hands over a batch; the number of each answer.
    pub(super) async fn hands(
        &self,
        envelopes: impl IntoIterator<Item = wire::Envelope>,
    ) -> Result<Vec<u32>> {
        self.hands_items(items(0, envelopes)).await
    }

    /// The same with items, which get their places in the stream.
    pub(super) async fn hands_items(&self, items: Vec<wire::Item>) -> Result<Vec<u32>> {
        let next = self.next.fetch_add(STEP, Ordering::Relaxed);
        let items = super::home_integrity::numbered(next, items);
        let verdicts = self.line().deliver(1, items).await?;
        Ok(verdicts.iter().map(number).collect())
    }

    /// Tries everything in one batch, and says what was answered otherwise than it must be.
    pub(super) async fn tries(&self, trials: &[Trial]) -> Result<()> {
        let answers = self.hands(trials.iter().map(|it| it.1.clone())).await?;
        let named = trials.iter().map(|it| (it.0, it.2));
        judged(named, &answers)
    }

    /// Seals something for the domain it is connected to.
    pub(super) fn seals(&self, kind: Kind) -> Result<wire::Envelope> {
        self.peer.seal(&self.us, kind)
    }

    /// Seals payload bytes made by hand.
    pub(super) fn forges(&self, to: Destination, payload: Vec<u8>) -> Result<wire::Envelope> {
        self.peer.forges(self.peer.header(to)?, payload)
    }

    /// One of its people is asked into a club whose home it is connected to, and comes.
    pub(super) async fn joins(&self, club: &mut Club) -> Result<GroupId> {
        let (group, eve) = (group_of(club)?, self.eve().to_string());
        let invites = json!({"topic": club.group, "sub": {"user": eve}});
        club.session(0).await?.request("set", invites).await?;
        let invited = |it: &Arrived| match &it.kind {
            Some(Kind::GroupInvitation(it)) => GroupId::of_record(&it.record) == group,
            _ => false,
        };
        self.peer
            .waits_for("an invitation", WITHIN, |it| it.iter().any(invited))
            .await?;
        let yes = wants(&self.peer, group, &self.eve(), 1)?;
        let answers = self.hands([yes]).await?;
        expect(answers == [TAKEN], || {
            format!("a member's yes was answered by {answers:?}")
        })?;
        let name = club.group.clone();
        eventually("to see the member", club.session(0).await?, async |it| {
            let rows = it.get(&name, "sub").await?.unwrap_or_default();
            let mut rows = rows.as_array().into_iter().flatten();
            Ok(rows.any(|row| row["user"] == *eve))
        })
        .await?;
        Ok(group)
    }
}

/// Says what was answered otherwise than it must be.
pub(super) fn judged<'a>(
    expected: impl IntoIterator<Item = (&'a str, u32)>,
    answers: &[u32],
) -> Result<()> {
    let expected: Vec<_> = expected.into_iter().collect();
    expect(expected.len() == answers.len(), || {
        format!("{} items, {} answers", expected.len(), answers.len())
    })?;
    let mut wrong = Vec::new();
    for ((what, number), answer) in expected.into_iter().zip(answers) {
        if number != *answer {
            wrong.push(format!("{what}: {answer}, not {number}"));
        }
    }
    expect(wrong.is_empty(), || {
        format!("wrong answers: {}", wrong.join("; "))
    })
}

/// The number of an answer.
pub(super) fn number(verdict: &Verdict) -> u32 {
    match verdict {
        Verdict::Ok(_) => TAKEN,
        Verdict::Duplicate(_) => AGAIN,
        Verdict::Refused(it) => it.code,
        Verdict::Later(it) => it.code,
    }
}

/// The number by which a call as a whole is refused; 0 when it is not.
pub(super) fn refusal<T>(called: Result<T>) -> Result<u64> {
    match called {
        Ok(_) => Ok(0),
        Err(Failure::Refused { code, .. }) => Ok(code),
        Err(other) => Err(other),
    }
}

/// The id of a club.
pub(super) fn group_of(club: &Club) -> Result<GroupId> {
    let id = club.group.parse();
    id.map_err(|error| Failure::harness(format!("read {}", club.group), error))
}

/// Somebody wants to take part in a group.
pub(super) fn wants(
    peer: &ScriptedPeer,
    group: GroupId,
    user: &UserId,
    version: u64,
) -> Result<wire::Envelope> {
    asks(
        peer,
        group,
        user,
        wire::group_request::What::Want(wire::GroupWant {
            want: "JRWPS".to_owned(),
            want_version: version,
            ..wire::GroupWant::default()
        }),
    )
}

/// A request to the home of a group.
pub(super) fn asks(
    peer: &ScriptedPeer,
    group: GroupId,
    actor: &UserId,
    what: wire::group_request::What,
) -> Result<wire::Envelope> {
    let request = wire::GroupRequest {
        actor: actor.to_string(),
        what: Some(what),
    };
    peer.seal_for_group(group, Kind::GroupRequest(request))
}

/// What somebody writes in a group.
pub(super) fn words(author: &UserId, text: &str) -> wire::GroupMessage {
    wire::GroupMessage {
        author: author.to_string(),
        content: Value::from(text).to_string().into(),
        ..wire::GroupMessage::default()
    }
}

/// The bytes of a payload.
pub(super) fn payload(kind: Kind) -> Vec<u8> {
    wire::Payload { kind: Some(kind) }.encode_to_vec()
}

/// The id under which something is sealed.
pub(super) fn id_of(envelope: &wire::Envelope) -> Result<[u8; 16]> {
    let header = Header::decode(&envelope.header);
    let header = header.map_err(|error| Failure::harness("read a header", error))?;
    Ok(*header.message_id.as_bytes())
}

/// The texts of a topic.
pub(super) async fn texts(session: &mut Session, topic: &str) -> Result<Vec<String>> {
    let history = session.history(topic, 1).await?;
    let texts = history.iter().filter_map(|it| it.content.as_str());
    Ok(texts.map(str::to_owned).collect())
}

/// Waits until these are the texts of a topic.
pub(super) async fn shows(session: &mut Session, topic: &str, expected: &[&str]) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let seen = texts(session, topic).await?;
        if seen == expected {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            format!("{} sees {seen:?}, not {expected:?}", session.who())
        })?;
        sleep(POLL).await;
    }
}

/// How a group stands for somebody: description, members, deletions, without what time alone changes.
pub(super) async fn stands(session: &mut Session, topic: &str) -> Result<Value> {
    let mut stands = json!({});
    for what in ["desc", "sub", "del", "aux"] {
        stands[what] = session.get(topic, what).await?.unwrap_or_default();
    }
    forget(&mut stands);
    Ok(stands)
}

/// Who is here just now, and how far they have got, changes by itself.
fn forget(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for key in [
                "online", "seen", "read", "recv", "touched", "updated", "seq",
            ] {
                map.remove(key);
            }
            map.values_mut().for_each(forget);
        }
        Value::Array(list) => list.iter_mut().for_each(forget),
        _ => {}
    }
}

/// Nobody comes into a club any more who is not asked in.
pub(super) async fn shut(club: &mut Club) -> Result<()> {
    let (topic, access) = (club.group.clone(), json!({"auth": "N", "anon": "N"}));
    let set = json!({"topic": topic, "desc": {"defacs": access}});
    club.session(0).await?.request("set", set).await?;
    for index in 0..club.members.len() {
        let session = club.session(index).await?;
        eventually("to see the doors shut", session, async |it| {
            let desc = it.get(&topic, "desc").await?.unwrap_or_default();
            Ok(desc["defacs"].is_null() || desc["defacs"] == access)
        })
        .await?;
    }
    Ok(())
}

/// How a club stands for each of its members.
pub(super) async fn all_stand(club: &mut Club) -> Result<Vec<Value>> {
    let group = club.group.clone();
    let mut all = Vec::new();
    for index in 0..club.members.len() {
        all.push(stands(club.session(index).await?, &group).await?);
    }
    Ok(all)
}

/// Waits until every member of a club reads these texts and nothing else.
pub(super) async fn all_show(club: &mut Club, expected: &[&str]) -> Result<()> {
    let group = club.group.clone();
    for index in 0..club.members.len() {
        shows(club.session(index).await?, &group, expected).await?;
    }
    Ok(())
}

/// What a case does, as the list of cases wants it.
pub(super) type Play<'a> = LocalBoxFuture<'a, Result<()>>;
