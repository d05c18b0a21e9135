//! Clients that do not keep up: they are spared what they cannot take, cost nobody anything, and are
//! told all of it as soon as they read on.

use std::time::Duration;

use freehold_interop::{Frame, FrameKind};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    guest::{Guest, SOON},
    longpoll::logged_in,
    net::{House, Net},
    poller::Poller,
};

/// Far more than fits between two sockets, with what may wait for a session: 32 MiB.
const MESSAGES: u64 = 4000;
const WORDS: usize = 8 * 1024;
/// More than may wait for one session, which ends when it is not spared: 9 MiB. A poll takes none ahead.
const POLLED: u64 = 1200;
/// Messages under way.
const WINDOW: u64 = 64;
/// For all of it to come.
const LONG: Duration = Duration::from_secs(120);

async fn alpha(net: &Net) -> House {
    let none =
        "[limits]\nuser_messages = [0, 0]\nuser_requests = [0, 0]\ntopic_messages = [0, 0]\n";
    net.domain_with("alpha.test", none).await
}

/// A group of Ann's with these two in it and attached.
async fn group(ann: &mut Guest, others: [&mut Guest; 2]) -> String {
    let made = ann.session.request("sub", json!({"topic": "new1"})).await;
    let group = made.unwrap().text("topic").to_owned();
    for other in others {
        let body = json!({"topic": group, "sub": {"user": other.person.id}});
        ann.session.request("set", body).await.unwrap();
        other.session.subscribe(&group).await.unwrap();
    }
    group
}

impl Guest {
    /// Writes many messages, each named by its number; every hundred of them `reader` has read.
    async fn floods(
        &mut self,
        topic: &str,
        numbers: std::ops::RangeInclusive<u64>,
        reader: &mut Self,
    ) {
        let (mut sent, mut answered) = (*numbers.start(), *numbers.start());
        while answered <= *numbers.end() {
            if sent <= *numbers.end() && sent - answered < WINDOW {
                let content = format!("{sent} {}", "x".repeat(WORDS));
                let body = json!({"topic": topic, "noecho": true, "content": content});
                self.session.send("pub", body).await.unwrap();
                sent += 1;
                continue;
            }
            let taken = |it: &Frame| it.code() == 202;
            self.session.wait_for("202", SOON, taken).await.unwrap();
            if answered.is_multiple_of(100) {
                reader.takes(topic, answered - 99..=answered).await;
                reader.session.note(topic, "read", answered).await.unwrap();
            }
            answered += 1;
        }
    }

    /// Gets these messages, each once and in order, whatever else comes between.
    async fn takes(&mut self, topic: &str, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            let message = |it: &Frame| it.message_of(topic).is_some();
            let frame = self.session.wait_for("a message", LONG, message).await;
            let message = frame.unwrap().message_of(topic).unwrap();
            let text = message.content.as_str().unwrap();
            let found = (message.seq, text.split(' ').next().unwrap().parse());
            assert_eq!(found, (number, Ok(number)), "{}", self.session.who());
        }
    }

    /// Everything of one kind about something that has come and nobody has waited for.
    async fn left_over(&mut self, kind: FrameKind, what: &str) -> Vec<Frame> {
        self.session.get("me", "desc").await.unwrap();
        let mut found = Vec::new();
        while let Some(frame) = self.session.next(Instant::now()).await.unwrap() {
            if frame.kind == kind && frame.text("what") == what {
                found.push(frame);
            }
        }
        found
    }
}

#[tokio::test]
async fn whoever_stops_reading_gets_all_of_it_later_once_and_in_order_and_nobody_else_waits() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    let (mut cleo, mut dan) = (alpha.guest("cleo").await, alpha.guest("dan").await);
    ben.opens(&dan).await;
    dan.opens(&ben).await;
    dan.says(&ben, "hello").await;
    ben.hears(&dan, "hello").await;
    let body = json!({"topic": ben.name_of(&dan)});
    ben.session.request("leave", body).await.unwrap();
    let group = group(&mut ann, [&mut ben, &mut cleo]).await;

    // Ben reads nothing any more. Cleo has each hundred before the next ones are written.
    ann.floods(&group, 1..=MESSAGES / 2, &mut cleo).await;
    // What happens meanwhile elsewhere: Dan comes and goes and writes.
    for number in 0..10 {
        dan.says(&ben, &format!("news {number}")).await;
        let person = dan.person.clone();
        drop(dan.session);
        let session = person.come_back().await.unwrap();
        dan = Guest { person, session };
        dan.opens(&ben).await;
    }
    let gone = ben.name_of(&dan);
    drop(dan.session);
    ann.floods(&group, MESSAGES / 2 + 1..=MESSAGES, &mut cleo)
        .await;

    ben.takes(&group, 1..=MESSAGES).await;
    // How everybody stands he is told as it is in the end, not how it came to be so.
    let read = |it: &Frame| it.text("what") == "read" && it.body["seq"] == MESSAGES;
    let read = ben.session.wait_for("the mark", SOON, read).await.unwrap();
    assert_eq!(
        (read.text("topic"), read.text("from")),
        (&*group, &*cleo.person.id)
    );
    let about_dan = |it: &Frame, what| it.text("src") == gone && it.text("what") == what;
    let news = |it: &Frame| about_dan(it, "msg") && it.body["seq"] == 11;
    ben.session.wait_for("the news", SOON, news).await.unwrap();
    let last = ben.left_over(FrameKind::Pres, "off").await;
    assert!(last.iter().any(|it| about_dan(it, "off")), "{last:?}");
    let marks = ben.left_over(FrameKind::Info, "read").await;
    assert!(marks.is_empty(), "behind the last mark there are {marks:?}");

    // He keeps up again.
    ann.floods(&group, MESSAGES + 1..=MESSAGES + 100, &mut cleo)
        .await;
    ben.takes(&group, MESSAGES + 1..=MESSAGES + 100).await;
    assert_eq!(
        ben.session.publish(&group, "I am here").await.unwrap(),
        MESSAGES + 101
    );
}

#[tokio::test]
async fn what_is_deleted_before_somebody_catches_up_is_never_shown_to_them() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    let mut cleo = alpha.guest("cleo").await;
    let group = group(&mut ann, [&mut ben, &mut cleo]).await;
    ann.floods(&group, 1..=MESSAGES, &mut cleo).await;
    let last = MESSAGES - 99;
    let all = json!([{"low": last, "hi": MESSAGES}]);
    let body = json!({"topic": group, "what": "msg", "delseq": all, "hard": true});
    ann.session.request("del", body).await.unwrap();
    ben.takes(&group, 1..=last - 1).await;
    let gone = |it: &Frame| it.text("what") == "del" && it.text("topic") == group;
    ben.session.wait_for("del", SOON, gone).await.unwrap();
    // `hi` is not deleted any more.
    ben.takes(&group, MESSAGES..=MESSAGES).await;
}

#[tokio::test]
async fn whoever_is_put_out_before_they_catch_up_is_shown_no_more() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    let mut cleo = alpha.guest("cleo").await;
    let group = group(&mut ann, [&mut ben, &mut cleo]).await;
    ann.floods(&group, 1..=MESSAGES, &mut cleo).await;
    let body = json!({"topic": group, "what": "sub", "user": ben.person.id});
    ann.session.request("del", body).await.unwrap();
    let put_out = |it: &Frame| it.kind == FrameKind::Ctrl && it.code() == 205;
    ben.session.wait_for("205", LONG, put_out).await.unwrap();
    ben.session.get("me", "desc").await.unwrap();
    let mut shown = 0;
    while let Some(frame) = ben.session.next(Instant::now()).await.unwrap() {
        shown += u64::from(frame.message_of(&group).is_some());
    }
    assert!(shown < MESSAGES, "{shown} messages were shown");
    // The session lives on.
    ben.opens(&ann).await;
    ben.says(&ann, "why?").await;
}

/// Polls until it has these messages, each once and in order, whatever else comes between.
async fn polls(
    poller: &Poller,
    alpha: &House,
    topic: &str,
    numbers: std::ops::RangeInclusive<u64>,
) {
    for number in numbers {
        let message = loop {
            let mut frame = poller.frame(&alpha.endpoint).await;
            if frame["data"]["topic"] == topic {
                break frame["data"].take();
            }
        };
        assert_eq!(message["seq"], number);
    }
}

#[tokio::test]
async fn whoever_does_not_poll_for_a_while_gets_all_of_it_later_too() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    let (mut cleo, amy) = (alpha.guest("cleo").await, alpha.guest("amy").await);
    let group = group(&mut ann, [&mut ben, &mut cleo]).await;
    let body = json!({"topic": group, "sub": {"user": amy.person.id}});
    ann.session.request("set", body).await.unwrap();
    let poller = logged_in(&alpha.endpoint, &amy.person.token).await;
    let sub = json!({"sub": {"id": "2", "topic": group}}).to_string();
    assert_eq!(poller.asks(&alpha.endpoint, &sub).await.0, 200);

    ann.floods(&group, 1..=POLLED, &mut cleo).await;
    polls(&poller, &alpha, &group, 1..=POLLED).await;
    // She keeps up again.
    let (first, last) = (POLLED + 1, POLLED + 100);
    ann.floods(&group, first..=last, &mut cleo).await;
    polls(&poller, &alpha, &group, first..=last).await;
    let publish = json!({"pub": {"id": "3", "topic": group, "content": "I am here"}});
    let told = poller.asks(&alpha.endpoint, &publish.to_string()).await;
    assert_eq!(told.0, 202);
}
