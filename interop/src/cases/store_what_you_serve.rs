//! Odd words that are valid all the same: whatever is taken from a peer can be shown by every way (F34).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{UserId, wire, wire::payload::Kind, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::{Value, json};

use super::Case;
use crate::{
    Failure, FrameKind, Person, Result, ScriptedPeer, Session, Stage, failure::expect, peer::items,
};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The number of a refusal for what cannot be read.
const MALFORMED: u32 = 100;
const LONG: usize = 200 * 1024;

pub(super) const CASE: Case = Case {
    ids: "F34",
    name: "store_what_you_serve",
    proves: "odd but valid words that are taken from a peer are shown by history, by pages, one by one, and after a restart; what cannot be shown is refused",
    domains: &["beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let peer = stage.network.stranger("odd.test").await?;
        let beta = stage.network.domain(0)?;
        let (bob, mut session) = Person::register(beta.endpoint(), "bob").await?;
        let (eve, name, at) = (peer.person(1), beta.name().clone(), beta.federation());
        let us: UserId = bob
            .global_id()
            .parse()
            .map_err(|error| Failure::harness("read an id", error))?;
        let topic = eve.to_string();
        session.subscribe(&topic).await?;
        let mut line = peer.dial(&name, at).await?;
        let consent = peer.consents(&eve, &us, 1)?;
        line.deliver(1, items(1, [consent])).await?;
        let (good, bad) = (odd(), unreadable());
        let all = good.iter().chain(&bad).map(|it| {
            let (head, content) = it;
            sealed(&peer, (&eve, &us), head, content)
        });
        let all = all.collect::<Result<Vec<_>>>()?;
        let verdicts = line.deliver(1, items(2, all)).await?;
        for (said, verdict) in good.iter().chain(&bad).zip(&verdicts) {
            let fits = match verdict {
                Verdict::Ok(_) => good.contains(said),
                Verdict::Refused(it) => it.code == MALFORMED && bad.contains(said),
                _ => false,
            };
            expect(fits, || {
                format!("{} was answered by {verdict:?}", excerpt(&said.1))
            })?;
        }
        let taken = good.len();
        stage.line.act(
            "odd.test",
            format!(
                "says {taken} odd things that are taken and {} that are not",
                bad.len()
            ),
        );
        every_way(&mut session, &topic, taken).await?;
        stage.starts_again(0).await?;
        let mut session = bob.come_back().await?;
        session.subscribe(&topic).await?;
        every_way(&mut session, &topic, taken).await?;
        stage
            .line
            .held("bob@beta.test", format!("sees all {taken} by every way"));
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// By whole history, by each message alone, and the row in the list of contacts.
async fn every_way(session: &mut Session, topic: &str, taken: usize) -> Result<()> {
    let all = session.history(topic, 1).await?;
    expect(all.len() == taken, || {
        format!("history shows {} of {taken}", all.len())
    })?;
    for message in &all {
        let range = json!({"since": message.seq, "before": message.seq + 1, "limit": 1});
        let body = json!({"topic": topic, "what": "data", "data": range});
        let id = session.send("get", body).await?;
        let shown = session
            .wait_for("one message", ANSWER_WITHIN, |frame| {
                frame.message_of(topic).is_some() || frame.text("id") == id
            })
            .await?;
        expect(shown.message_of(topic).as_ref() == Some(message), || {
            format!("seq {} alone is {}", message.seq, shown.body)
        })?;
        session
            .wait_for("the end of a page", ANSWER_WITHIN, |frame| {
                frame.kind == FrameKind::Ctrl && frame.text("id") == id
            })
            .await?;
    }
    let rows = session.get("me", "sub").await?.unwrap_or_default();
    let listed = rows
        .as_array()
        .is_some_and(|it| it.iter().any(|row| row["topic"] == topic));
    expect(listed, || {
        "the chat is not in the list of contacts".to_owned()
    })
}

fn sealed(
    peer: &ScriptedPeer,
    (from, to): (&UserId, &UserId),
    head: &str,
    content: &str,
) -> Result<wire::Envelope> {
    let message = wire::DirectMessage {
        author: from.to_string(),
        recipient: to.to_string(),
        head: Bytes::from(head.to_owned()),
        content: Bytes::from(content.to_owned()),
        references: Vec::new(),
        attachments: Vec::new(),
    };
    peer.seal(to.domain(), Kind::DirectMessage(message))
}

/// Heads and contents, odd and valid.
fn odd() -> Vec<(String, String)> {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let mut many = serde_json::Map::new();
    for number in 0..500 {
        many.insert(format!("k{number}"), json!(number));
    }
    let drafty = json!({"txt": "x", "fmt": [{"at": -1, "len": 0, "key": 99}], "ent": []});
    let content = |it: &str| (String::new(), it.to_owned());
    let head = |it: &str| (it.to_owned(), "\"with a head\"".to_owned());
    vec![
        content("\"plain\""),
        content("\"\""),
        content("\"\\u0000\\u0001\\u001f\""),
        content("\"\u{202e}right to left\u{0301}\u{0301}\u{0301}\""),
        content("\"\\ud83d\\ude00 \u{10ffff}\""),
        content("{}"),
        content("[]"),
        content("0"),
        content("false"),
        content("-1e-400"),
        content("123456789012345678901234567890"),
        content("{\"a\": 1, \"a\": 2}"),
        content("{\"\": {\"\": \"\"}}"),
        content(" { \"txt\" : \"spaced\" } "),
        content(&nested(60)),
        content(&nested(100)),
        content(&drafty.to_string()),
        content(&Value::Object(many.clone()).to_string()),
        content(&json!("x".repeat(LONG)).to_string()),
        head("{}"),
        head("{\"mime\": 7, \"\": null, \"attachments\": \"no list\"}"),
        head(
            "{\"replace\": \":1\", \"reply\": \"-5\", \"thread\": {}, \"sender\": [], \"forwarded\": 1}",
        ),
        head("{\"webrtc\": \"accepted\", \"webrtc-duration\": \"long\"}"),
        head("{\"mime\": \"text/x-drafty\", \"priority\": 1e308}"),
        head("{\"a\": 1, \"a\": 2}"),
        head(&Value::Object(many).to_string()),
    ]
}

/// What the grammar of JSON allows and many readers do not take.
fn unreadable() -> Vec<(String, String)> {
    let deep = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    let hides = r#"{"txt": "\ud800", "ent": [{"tp": "MN", "data": {"val": "usrAAAAAAAAAAA"}}]}"#;
    let half = r#""half a pair: \ud800""#;
    let contents = ["null", "1e400", half, hides, &deep(101), &deep(5000)];
    let mut bad: Vec<_> = contents.map(|it| (String::new(), it.to_owned())).into();
    bad.push(("[]".to_owned(), "\"a head that is no object\"".to_owned()));
    bad
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}
