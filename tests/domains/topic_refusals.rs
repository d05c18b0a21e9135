//! What may not be in a topic, in one table: who asks, what, and the code, text and parameters of the
//! refusal. None of it changes anything.

use serde_json::{Value, json};

use crate::{
    guest::Guest,
    net::{House, Net},
    raw::Raw,
};

const MALFORMED: (u64, &str) = (400, "malformed");
const DENIED: (u64, &str) = (403, "permission denied");
const NO_TOPIC: (u64, &str) = (404, "topic not found");
const NO_USER: (u64, &str) = (404, "user not found");
const ELSEWHERE: (u64, &str) = (405, "operation or method not allowed");
const ATTACH: (u64, &str) = (409, "must attach first");

/// Ann owns a group and a channel. Ben is a member of the group, Cat reads the channel, Dan is nothing
/// of either.
struct Scene {
    _net: Net,
    house: House,
    ann: Guest,
    ben: Guest,
    cat: Guest,
    dan: Guest,
    group: String,
    channel: String,
}

impl Scene {
    async fn new() -> Self {
        let net = Net::new().await;
        let house = net.domain("alpha.test").await;
        let (mut ann, ben, cat, dan) = (
            house.guest("ann").await,
            house.guest("ben").await,
            house.guest("cat").await,
            house.guest("dan").await,
        );
        let public = json!({"desc": {"public": {"fn": "x"}}});
        let mut made = Vec::new();
        for name in ["new1", "nch2"] {
            let body = json!({"topic": name, "set": public});
            let answer = ann.session.request("sub", body).await.unwrap();
            made.push(answer.text("topic").to_owned());
        }
        let (group, channel) = (made[0].clone(), made[1].replacen("grp", "chn", 1));
        let body = json!({"topic": group, "sub": {"user": ben.person.id}});
        ann.session.request("set", body).await.unwrap();
        ann.session.publish(&group, "first").await.unwrap();
        Self {
            _net: net,
            house,
            ann,
            ben,
            cat,
            dan,
            group,
            channel,
        }
    }

    /// A connection of somebody, attached to these topics, that says exactly what the table says.
    async fn raw(&self, guest: &Guest, topics: &[&str]) -> Raw {
        let mut raw = Raw::connect(&self.house).await;
        raw.asks(r#"{"hi":{"id":"hi","ver":"0.25.3","ua":"raw/1"}}"#)
            .await;
        let login = json!({"login": {"scheme": "token", "secret": guest.person.token}});
        assert_eq!(raw.asks(&login.to_string()).await.0, 200);
        for topic in topics {
            let sub = json!({"sub": {"id": "s", "topic": topic}});
            assert_eq!(raw.asks(&sub.to_string()).await.0, 200, "{topic}");
        }
        raw
    }

    /// What could have changed.
    async fn state(&mut self) -> Value {
        let mut state = json!({});
        for guest in [&mut self.ann, &mut self.ben, &mut self.cat, &mut self.dan] {
            let rows = guest.session.get("me", "sub").await.unwrap();
            state[guest.person.login.clone()] = rows.unwrap_or_default();
        }
        for what in ["desc", "sub", "aux", "tags"] {
            let found = self.ann.session.get(&self.group, what).await.unwrap();
            state[what] = found.unwrap_or_default();
        }
        // Who is attached just now is shown there too, and is no change.
        let text = state.to_string().replace(r#","online":true"#, "");
        serde_json::from_str(&text.replace(r#""online":true,"#, "")).unwrap()
    }

    /// Sends each request, expects its refusal under its own id, and finds everything as it was.
    async fn refuses(&mut self, mut raw: Raw, table: &[(Value, (u64, &str))]) {
        let before = self.state().await;
        for (request, (code, text)) in table {
            let mut request = request.clone();
            let (kind, body) = request.as_object_mut().unwrap().iter_mut().next().unwrap();
            body["id"] = json!(kind);
            let id = body["id"].clone();
            let answer = raw.asks(&request.to_string()).await;
            assert_eq!(answer, (*code, (*text).to_owned(), id), "{request}");
        }
        assert_eq!(self.state().await, before);
    }
}

#[tokio::test]
async fn a_stranger_learns_little_of_a_group_and_changes_nothing_in_it() {
    let mut scene = Scene::new().await;
    let (group, ann) = (scene.group.clone(), scene.ann.person.id.clone());
    let raw = scene.raw(&scene.dan, &[]).await;
    let table = [
        (json!({"get": {"topic": group, "what": "sub"}}), DENIED),
        (json!({"get": {"topic": group, "what": "data"}}), DENIED),
        (json!({"get": {"topic": group, "what": "tags"}}), DENIED),
        (json!({"get": {"topic": group, "what": "aux"}}), DENIED),
        (json!({"pub": {"topic": group, "content": "x"}}), ATTACH),
        (
            json!({"set": {"topic": group, "desc": {"public": {"fn": "y"}}}}),
            NO_TOPIC,
        ),
        (
            json!({"set": {"topic": group, "sub": {"mode": "JRWPASDO"}}}),
            NO_TOPIC,
        ),
        (
            json!({"del": {"topic": group, "what": "msg", "delseq": [{"low": 1}]}}),
            ATTACH,
        ),
        (json!({"del": {"topic": group, "what": "topic"}}), NO_TOPIC),
        (
            json!({"del": {"topic": group, "what": "sub", "user": ann}}),
            ATTACH,
        ),
        (json!({"leave": {"topic": group, "unsub": true}}), ATTACH),
        (json!({"leave": {"topic": group}}), (304, "not joined")),
        (
            json!({"sub": {"topic": group, "set": {"sub": {"mode": "O"}}}}),
            DENIED,
        ),
        (
            json!({"sub": {"topic": group, "set": {"sub": {"mode": "?"}}}}),
            MALFORMED,
        ),
        (
            json!({"sub": {"topic": group, "set": {"sub": {"user": ann}}}}),
            MALFORMED,
        ),
        (
            json!({"sub": {"topic": "grpAAAAAAAAAAAAAAAAAAAAAA"}}),
            NO_TOPIC,
        ),
        (json!({"sub": {"topic": "grpAAAA"}}), NO_TOPIC),
        (
            json!({"sub": {"topic": "chnAAAAAAAAAAAAAAAAAAAAAA"}}),
            NO_TOPIC,
        ),
        (
            json!({"get": {"topic": "grpAAAAAAAAAAAAAAAAAAAAAA", "what": "desc"}}),
            NO_TOPIC,
        ),
        (
            json!({"sub": {"topic": "new1", "set": {"sub": {"mode": "?"}}}}),
            MALFORMED,
        ),
        (
            json!({"sub": {"topic": "new1", "set": {"desc": {"trusted": {"staff": true}}}}}),
            DENIED,
        ),
        (
            json!({"sub": {"topic": "new1", "set": {"desc": {"defacs": {"auth": "?"}}}}}),
            MALFORMED,
        ),
        (json!({"get": {"topic": "new1", "what": "desc"}}), NO_TOPIC),
        (json!({"pub": {"topic": "new1", "content": "x"}}), NO_TOPIC),
        (
            json!({"set": {"topic": "new1", "desc": {"public": "x"}}}),
            NO_TOPIC,
        ),
        (json!({"leave": {"topic": "new1"}}), NO_TOPIC),
        (json!({"del": {"topic": "new1", "what": "topic"}}), NO_TOPIC),
        (json!({"sub": {"topic": "sys"}}), DENIED),
        (
            json!({"get": {"topic": "sys", "what": "sub"}}),
            (204, "no content"),
        ),
        (json!({"pub": {"topic": "sys"}}), MALFORMED),
        (json!({"pub": {"topic": "slf", "content": "x"}}), ATTACH),
    ];
    scene.refuses(raw, &table).await;
}

#[tokio::test]
async fn a_member_does_what_a_member_may() {
    let mut scene = Scene::new().await;
    let (group, ann, cat) = (
        scene.group.clone(),
        scene.ann.person.id.clone(),
        scene.cat.person.id.clone(),
    );
    let nobody = "usrAAAAAAAAAAA";
    let raw = scene.raw(&scene.ben, &[&group]).await;
    let set = |part: Value| {
        let mut body = part;
        body["topic"] = json!(group);
        json!({ "set": body })
    };
    let table = [
        (set(json!({"desc": {"public": {"fn": "y"}}})), DENIED),
        (
            set(json!({"desc": {"defacs": {"auth": "JRWPASD"}}})),
            DENIED,
        ),
        (
            set(json!({"desc": {"trusted": {"verified": true}}})),
            DENIED,
        ),
        (set(json!({"tags": ["travel"]})), DENIED),
        (set(json!({"aux": {"pins": [1]}})), DENIED),
        (
            set(json!({"cred": {"meth": "email", "val": "a@b.test"}})),
            ELSEWHERE,
        ),
        (set(json!({"sub": {"mode": "JRWPASDO"}})), DENIED),
        (set(json!({"sub": {"mode": "JRWXYZ"}})), MALFORMED),
        (set(json!({"sub": {"user": ann, "mode": "JR"}})), DENIED),
        (set(json!({"sub": {"user": cat, "mode": "JRWPA"}})), DENIED),
        (set(json!({"sub": {"user": nobody}})), NO_USER),
        (set(json!({"sub": {"user": "nonsense"}})), NO_USER),
        (set(json!({})), MALFORMED),
        (json!({"get": {"topic": group, "what": "tags"}}), DENIED),
        (json!({"get": {"topic": group, "what": "cred"}}), ELSEWHERE),
        (json!({"get": {"topic": group, "what": ""}}), MALFORMED),
        (
            json!({"get": {"topic": group, "what": "desc", "desc": {"limit": 1}}}),
            MALFORMED,
        ),
        (
            json!({"get": {"topic": group, "what": "sub", "sub": {"since": 1}}}),
            MALFORMED,
        ),
        (
            json!({"get": {"topic": group, "what": "data", "data": {"ims": "x"}}}),
            MALFORMED,
        ),
        (json!({"pub": {"topic": group}}), MALFORMED),
        (
            json!({"pub": {"topic": group, "content": "x", "head": {"replace": ":1"}}}),
            DENIED,
        ),
        (
            json!({"pub": {"topic": group, "content": "x", "head": {"replace": ":9"}}}),
            (404, "not found"),
        ),
        (
            json!({"pub": {"topic": group, "content": "x", "head": {"fh-id": "short"}}}),
            MALFORMED,
        ),
        (
            json!({"pub": {"topic": group, "content": "x", "head": {"webrtc": "started"}}}),
            DENIED,
        ),
        (
            json!({"del": {"topic": group, "what": "sub", "user": ann}}),
            DENIED,
        ),
        (
            json!({"del": {"topic": group, "what": "sub", "user": "nonsense"}}),
            NO_USER,
        ),
        (json!({"del": {"topic": group, "what": "sub"}}), NO_USER),
        (json!({"del": {"topic": group, "what": "msg"}}), MALFORMED),
        (
            json!({"del": {"topic": group, "what": "msg", "delseq": [{"low": 2}]}}),
            MALFORMED,
        ),
        (
            json!({"del": {"topic": group, "what": "msg", "delseq": [{"low": 1, "hi": -1}]}}),
            MALFORMED,
        ),
        (
            json!({"del": {"topic": group, "what": "nonsense"}}),
            MALFORMED,
        ),
        (json!({"del": {"topic": group}}), MALFORMED),
    ];
    scene.refuses(raw, &table).await;
}

#[tokio::test]
async fn a_reader_reads() {
    let mut scene = Scene::new().await;
    let channel = scene.channel.clone();
    scene.cat.session.subscribe(&channel).await.unwrap();
    let ann = scene.ann.person.id.clone();
    let raw = scene.raw(&scene.cat, &[&channel]).await;
    let table = [
        (json!({"pub": {"topic": channel, "content": "x"}}), DENIED),
        (
            json!({"del": {"topic": channel, "what": "msg", "delseq": [{"low": 1}]}}),
            ELSEWHERE,
        ),
        (
            json!({"del": {"topic": channel, "what": "sub", "user": ann}}),
            DENIED,
        ),
        (
            json!({"set": {"topic": channel, "sub": {"user": ann, "mode": "N"}}}),
            DENIED,
        ),
        (
            json!({"set": {"topic": channel, "desc": {"public": {"fn": "y"}}}}),
            DENIED,
        ),
        (
            json!({"set": {"topic": channel, "aux": {"pins": [1]}}}),
            DENIED,
        ),
        (json!({"set": {"topic": channel, "tags": ["news"]}}), DENIED),
        (
            json!({"set": {"topic": channel, "sub": {"mode": "JRWPASDO"}}}),
            (304, "not modified"),
        ),
        (json!({"get": {"topic": channel, "what": "tags"}}), DENIED),
    ];
    scene.refuses(raw, &table).await;
}

#[tokio::test]
async fn what_belongs_to_me_and_to_fnd_is_asked_there_only() {
    let mut scene = Scene::new().await;
    let raw = scene.raw(&scene.dan, &["me", "fnd", "slf"]).await;
    let ann = scene.ann.person.id.clone();
    let table = [
        (json!({"get": {"topic": "me", "what": "data"}}), ELSEWHERE),
        (json!({"get": {"topic": "me", "what": "del"}}), ELSEWHERE),
        (json!({"get": {"topic": "me", "what": "aux"}}), ELSEWHERE),
        (json!({"pub": {"topic": "me", "content": "x"}}), ELSEWHERE),
        (json!({"pub": {"topic": "fnd", "content": "x"}}), ELSEWHERE),
        (
            json!({"set": {"topic": "me", "aux": {"pins": [1]}}}),
            ELSEWHERE,
        ),
        (
            json!({"set": {"topic": "me", "sub": {"user": ann, "mode": "N"}}}),
            MALFORMED,
        ),
        (
            json!({"set": {"topic": "me", "sub": {"mode": "?"}}}),
            MALFORMED,
        ),
        (json!({"leave": {"topic": "me", "unsub": true}}), DENIED),
        (json!({"leave": {"topic": "fnd", "unsub": true}}), DENIED),
        (json!({"del": {"topic": "me", "what": "topic"}}), ELSEWHERE),
        (
            json!({"del": {"topic": "fnd", "what": "msg", "delseq": [{"low": 1}]}}),
            ELSEWHERE,
        ),
        (
            json!({"set": {"topic": "slf", "sub": {"user": ann}}}),
            ELSEWHERE,
        ),
        (
            json!({"set": {"topic": "slf", "desc": {"public": {"fn": "x"}}}}),
            DENIED,
        ),
        (
            json!({"set": {"topic": "slf", "sub": {"mode": "R"}}}),
            DENIED,
        ),
        (json!({"leave": {"topic": "slf", "unsub": true}}), DENIED),
    ];
    scene.refuses(raw, &table).await;
}

#[tokio::test]
async fn whoever_attaches_with_something_that_may_not_be_is_not_attached() {
    let scene = Scene::new().await;
    let mut raw = scene.raw(&scene.dan, &[]).await;
    let marks = json!({"desc": {"trusted": {"staff": true}}});
    let number = json!({"desc": {"public": 7}});
    for (topic, set, refusal) in [("me", marks, DENIED), ("fnd", number, MALFORMED)] {
        let sub = json!({"sub": {"id": "1", "topic": topic, "set": set}});
        let answer = raw.asks(&sub.to_string()).await;
        assert_eq!((answer.0, &*answer.1), refusal, "{topic}");
        let leave = json!({"leave": {"id": "2", "topic": topic}});
        let answer = raw.asks(&leave.to_string()).await;
        assert_eq!((answer.0, &*answer.1), (304, "not joined"), "{topic}");
    }
}
