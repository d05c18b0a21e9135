//! Somebody in front of a client, and what one may expect of them in a scene.

use std::time::Duration;

use freehold_interop::{Failure, Frame, FrameKind, Message, Person, Session};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// Time for anything to come from a domain that is up.
pub(crate) const SOON: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(20);

/// A person with one connection.
pub(crate) struct Guest {
    pub(crate) person: Person,
    pub(crate) session: Session,
}

impl Guest {
    /// The other one as this one's domain names them: a person and a topic.
    pub(crate) fn name_of(&self, other: &Self) -> String {
        self.person.name_of(&other.person)
    }

    /// Another connection of the same person.
    pub(crate) async fn second_session(&self) -> Self {
        Self {
            person: self.person.clone(),
            session: self.person.come_back().await.unwrap(),
        }
    }

    // --- Doing

    pub(crate) async fn opens(&mut self, other: &Self) -> Frame {
        let topic = self.name_of(other);
        self.session.subscribe(&topic).await.unwrap()
    }

    pub(crate) async fn says(&mut self, other: &Self, text: &str) -> u64 {
        let topic = self.name_of(other);
        self.session.publish(&topic, text).await.unwrap()
    }

    /// A message with a head, such as an edit.
    pub(crate) async fn writes(&mut self, other: &Self, head: Value, text: &str) -> u64 {
        let body =
            json!({"topic": self.name_of(other), "noecho": true, "head": head, "content": text});
        let answer = self.session.request("pub", body).await.unwrap();
        answer.body["params"]["seq"].as_u64().unwrap()
    }

    pub(crate) async fn notes(&mut self, other: &Self, what: &str, seq: u64) {
        let topic = self.name_of(other);
        self.session.note(&topic, what, seq).await.unwrap();
    }

    /// Changes what one wants of the chat with the other.
    pub(crate) async fn wants(&mut self, other: &Self, mode: &str) {
        let body = json!({"topic": self.name_of(other), "sub": {"mode": mode}});
        self.session.request("set", body).await.unwrap();
    }

    /// Presses "accept" in a stock client.
    pub(crate) async fn accepts(&mut self, other: &Self) {
        self.wants(other, "JRWPA").await;
        let topic = self.name_of(other);
        let body = json!({"topic": topic, "sub": {"user": topic, "mode": "JRWPA"}});
        self.session.request("set", body).await.unwrap();
    }

    /// Presses "delete chat".
    pub(crate) async fn deletes_chat(&mut self, other: &Self) {
        let body = json!({"topic": self.name_of(other), "what": "topic", "hard": true});
        self.session.request("del", body).await.unwrap();
    }

    /// Finds the other one, writes, is accepted and answered; both are attached afterwards.
    pub(crate) async fn meets(&mut self, other: &mut Self) {
        let (here, there) = (&mut self.session, &mut other.session);
        freehold_interop::meet((&self.person, here), (&other.person, there))
            .await
            .unwrap();
    }

    /// Rows found by what was typed.
    pub(crate) async fn finds(&mut self, typed: &str) -> Vec<Value> {
        self.session.subscribe("fnd").await.unwrap();
        let query = json!({"topic": "fnd", "desc": {"public": typed}});
        self.session.request("set", query).await.unwrap();
        match self.session.get("fnd", "sub").await.unwrap() {
            Some(Value::Array(rows)) => rows,
            _ => Vec::new(),
        }
    }

    /// The refusal of a request, as code and text.
    pub(crate) async fn is_refused(&mut self, kind: &str, body: Value) -> (u64, String) {
        match self.session.request(kind, body).await {
            Err(Failure::Refused { code, text, .. }) => (code, text),
            other => panic!("{kind} should be refused, but: {other:?}"),
        }
    }

    // --- Seeing

    /// Waits for a message of the chat with the other one.
    pub(crate) async fn hears(&mut self, other: &Self, text: &str) -> Message {
        let topic = self.name_of(other);
        let fits = |it: &Frame| it.message_of(&topic).is_some_and(|it| it.content == text);
        let frame = self.session.wait_for(text, SOON, fits).await.unwrap();
        frame.message_of(&topic).unwrap()
    }

    /// Waits until a message is there, whether it came before the chat was opened or after.
    pub(crate) async fn has(&mut self, other: &Self, text: &str) {
        let topic = self.name_of(other);
        let deadline = Instant::now() + SOON;
        loop {
            let history = self.session.history(&topic, 1).await.unwrap();
            if history.iter().any(|it| it.content == text) {
                return;
            }
            let who = self.session.who();
            assert!(Instant::now() < deadline, "{who} does not have {text:?}");
            sleep(POLL).await;
        }
    }

    /// Waits for a frame about a chat: pres on `me`, or pres or info in the chat.
    pub(crate) async fn notices(&mut self, kind: FrameKind, other: &Self, what: &str) -> Frame {
        let name = self.name_of(other);
        let about = |it: &Frame| it.text("src") == name || it.text("topic") == name;
        let fits = |it: &Frame| it.kind == kind && it.text("what") == what && about(it);
        self.session.wait_for(what, SOON, fits).await.unwrap()
    }

    /// Waits for the mark that the other one has received or read so far.
    pub(crate) async fn sees_mark(&mut self, other: &Self, what: &str, seq: u64) {
        let name = self.name_of(other);
        let fits = |it: &Frame| {
            let mark = it.kind == FrameKind::Info && it.text("what") == what;
            mark && it.text("topic") == name && it.text("from") == name && it.body["seq"] == seq
        };
        self.session.wait_for(what, SOON, fits).await.unwrap();
    }

    /// The whole chat becomes this, in order, each text once, and stays so for the moment.
    pub(crate) async fn reads(&mut self, other: &Self, texts: &[&str]) {
        let topic = self.name_of(other);
        let deadline = Instant::now() + SOON;
        loop {
            let history = self.session.history(&topic, 1).await.unwrap();
            let seen: Vec<_> = history
                .iter()
                .filter_map(|it| it.content.as_str())
                .collect();
            if seen == texts {
                return;
            }
            let in_vain = seen.len() >= texts.len() || Instant::now() > deadline;
            assert!(!in_vain, "{} reads {seen:?}", self.session.who());
            sleep(POLL).await;
        }
    }

    /// How this person stands in the chat: want, given, mode.
    pub(crate) async fn access(&mut self, other: &Self) -> [String; 3] {
        let desc = self.describes(other).await;
        ["want", "given", "mode"].map(|key| desc["acs"][key].as_str().unwrap_or("").to_owned())
    }

    pub(crate) async fn describes(&mut self, other: &Self) -> Value {
        let topic = self.name_of(other);
        self.session.get(&topic, "desc").await.unwrap().unwrap()
    }

    /// Both people's rows in the chat, as this one sees them.
    pub(crate) async fn sees_people(&mut self, other: &Self) -> Value {
        let topic = self.name_of(other);
        self.session.get(&topic, "sub").await.unwrap().unwrap()
    }

    /// The other one's row in the chat.
    pub(crate) async fn sees_person(&mut self, other: &Self) -> Value {
        let name = self.name_of(other);
        let people = self.sees_people(other).await;
        let mut rows = people.as_array().unwrap().iter();
        rows.find(|it| it["user"] == name).unwrap().clone()
    }

    /// Every frame that came and that nobody waited for, up to what the chat with `other` has to say
    /// right now.
    pub(crate) async fn has_heard(&mut self, other: &Self) -> Vec<Frame> {
        self.describes(other).await;
        let mut heard = Vec::new();
        while let Some(frame) = self.session.next(Instant::now()).await.unwrap() {
            heard.push(frame);
        }
        heard
    }
}

/// Two people who only carry letters between two domains, so that a scene can know that everything
/// sent before has been delivered and decided.
pub(crate) struct Couriers(pub(crate) Guest, pub(crate) Guest);

impl Couriers {
    pub(crate) async fn meet(mut here: Guest, mut there: Guest) -> Self {
        here.meets(&mut there).await;
        Self(here, there)
    }

    /// A letter each way, twice: a batch goes out when the one before it has been decided.
    pub(crate) async fn go(&mut self) {
        let Self(here, there) = self;
        for letter in ["a letter", "another letter"] {
            here.says(there, letter).await;
            there.hears(here, letter).await;
            there.says(here, letter).await;
            here.hears(there, letter).await;
        }
    }

    /// The same for what is not kept: typing and presence.
    pub(crate) async fn wave(&mut self) {
        let Self(here, there) = self;
        here.notes(there, "kp", 0).await;
        there.notices(FrameKind::Info, here, "kp").await;
        there.notes(here, "kp", 0).await;
        here.notices(FrameKind::Info, there, "kp").await;
    }
}
