//! Who comes too often: told so by name, at every way in, and nobody else notices. The clock stands still
//! unless a scene moves it.

use std::time::Duration;

use freehold_interop::{Frame, STOCK_API_KEY};
use freehold_proto::pbx::{ClientPub, client_msg::Message as Said};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::{
    bot::{Bot, calls, channel},
    guest::{Guest, SOON},
    net::{House, Net},
    poller::Poller,
    postman::{self, Answer},
    raw::{Raw, upgrade},
};

const SECOND: Duration = Duration::from_secs(1);
const HI: &str = r#"{"hi":{"id":"hi","ver":"0.25.3","ua":"flood/1"}}"#;

/// Alpha with limits, and more lines in its section for clients.
async fn limited(net: &Net, clients: &str, limits: &str) -> House {
    let lines = format!("{clients}\n[limits]\n{limits}");
    net.domain_with("alpha.test", &lines).await
}

/// The parameters of the answer to a request that is too much.
async fn held_back(guest: &mut Guest, kind: &str, body: Value) -> Value {
    let id = guest.session.send(kind, body).await.unwrap();
    let fits = |it: &Frame| it.text("id") == id;
    let answer = guest.session.wait_for("an answer", SOON, fits).await;
    let answer = answer.unwrap();
    assert_eq!(
        (answer.code(), answer.text("text")),
        (503, "service unavailable")
    );
    assert_eq!(answer.body["params"]["what"], "limit");
    answer.body["params"].clone()
}

async fn cannot_write(guest: &mut Guest, topic: &str, limit: &str) {
    let body = json!({"topic": topic, "content": "too much"});
    let params = held_back(guest, "pub", body).await;
    assert_eq!(params["limit"], limit);
    assert_eq!(params["retry_after_ms"], 1000);
}

#[tokio::test]
async fn somebody_who_floods_is_told_so_and_nobody_else_notices() {
    let net = Net::new().await;
    let alpha = limited(&net, "", "user_messages = [1, 3]").await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    amy.opens(&ann).await;
    for text in ["1", "2", "3"] {
        ann.says(&amy, text).await;
    }
    cannot_write(&mut ann, &amy.person.id, "user_messages").await;
    // A person is one, however many connections they have.
    let mut elsewhere = ann.second_session().await;
    elsewhere.opens(&amy).await;
    cannot_write(&mut elsewhere, &amy.person.id, "user_messages").await;
    amy.says(&ann, "stop it").await;
    ann.hears(&amy, "stop it").await;

    net.clock.advance(SECOND);
    ann.says(&amy, "4").await;
    cannot_write(&mut ann, &amy.person.id, "user_messages").await;
    ann.reads(&amy, &["1", "2", "3", "stop it", "4"]).await;
    amy.reads(&ann, &["1", "2", "3", "stop it", "4"]).await;
}

#[tokio::test]
async fn somebody_who_asks_too_much_may_still_write_and_their_notes_are_dropped() {
    let net = Net::new().await;
    let alpha = limited(&net, "", "user_requests = [1, 30]").await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    amy.opens(&ann).await;
    ann.opens(&amy).await;
    amy.says(&ann, "hello").await;
    ann.hears(&amy, "hello").await;
    let topic = amy.person.id.clone();
    let mut asked = 0;
    while ann.session.get(&topic, "desc").await.is_ok() {
        asked += 1;
        assert!(asked < 30, "there is no limit");
    }
    let get = json!({"topic": topic, "what": "desc"});
    let params = held_back(&mut ann, "get", get).await;
    assert_eq!(params["limit"], "user_requests");
    let (code, text) = ann.uploads(&alpha, b"a file").await.refusal();
    assert_eq!((code, &*text), (503, "service unavailable"));

    ann.notes(&amy, "read", 1).await;
    ann.says(&amy, "I am still here").await;
    amy.hears(&ann, "I am still here").await;
    let marks = |frames: Vec<Frame>| frames.iter().filter(|it| it.text("what") == "read").count();
    assert_eq!(marks(amy.has_heard(&ann).await), 0);
    net.clock.advance(3 * SECOND);
    amy.says(&ann, "good").await;
    ann.hears(&amy, "good").await;
    ann.notes(&amy, "read", 3).await;
    amy.sees_mark(&ann, "read", 3).await;
    ann.uploads(&alpha, b"a file").await.url();
}

#[tokio::test]
async fn a_topic_that_is_flooded_by_many_is_full_and_others_are_not() {
    let net = Net::new().await;
    let alpha = limited(&net, "", "topic_messages = [1, 4]").await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    let mut abe = alpha.guest("abe").await;
    ann.opens(&amy).await;
    amy.opens(&ann).await;
    for text in ["1", "2"] {
        ann.says(&amy, text).await;
        amy.says(&ann, text).await;
    }
    let (anns, amys) = (ann.person.id.clone(), amy.person.id.clone());
    cannot_write(&mut ann, &amys, "topic_messages").await;
    cannot_write(&mut amy, &anns, "topic_messages").await;
    ann.opens(&abe).await;
    abe.opens(&ann).await;
    ann.says(&abe, "it is quiet here").await;
    abe.hears(&ann, "it is quiet here").await;
    net.clock.advance(SECOND);
    amy.says(&ann, "3").await;
    ann.reads(&amy, &["1", "1", "2", "2", "3"]).await;
}

#[tokio::test]
async fn who_may_not_write_in_a_topic_does_not_use_it_up() {
    let net = Net::new().await;
    let alpha = limited(&net, "", "topic_messages = [1, 2]").await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    amy.opens(&ann).await;
    let (anns, amys) = (ann.person.id.clone(), amy.person.id.clone());
    let given = json!({"topic": amys, "sub": {"user": amys, "mode": "JRPA"}});
    ann.session.request("set", given).await.unwrap();
    for _ in 0..5 {
        let body = json!({"topic": anns, "content": "may I?"});
        assert_eq!(amy.is_refused("pub", body).await.0, 403);
    }
    ann.says(&amy, "no").await;
    ann.says(&amy, "never").await;
    cannot_write(&mut ann, &amys, "topic_messages").await;
}

#[tokio::test]
async fn a_limit_is_one_whichever_way_somebody_comes() {
    let net = Net::new().await;
    let grpc = "grpc_listen = \"127.0.0.1:0\"";
    let alpha = limited(&net, grpc, "user_messages = [1, 3]").await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    let name = amy.person.id.clone();
    ann.opens(&amy).await;
    let poller = Poller::connect(&alpha.endpoint).await;
    poller.asks(&alpha.endpoint, HI).await;
    let login = json!({"login": {"id": "1", "scheme": "token", "secret": ann.person.token}});
    let sub = json!({"sub": {"id": "2", "topic": name}});
    for said in [login, sub] {
        assert_eq!(poller.asks(&alpha.endpoint, &said.to_string()).await.0, 200);
    }
    let mut bot = Bot::of(&alpha, &ann.person).await;
    assert_eq!(bot.attaches(&name).await.code, 200);

    let polled = json!({"pub": {"id": "3", "topic": name, "noecho": true, "content": "polled"}});
    let polled = polled.to_string();
    let says = |text: &str| {
        Said::Pub(ClientPub {
            id: "4".to_owned(),
            topic: name.clone(),
            no_echo: true,
            content: format!("\"{text}\"").into(),
            ..Default::default()
        })
    };
    ann.says(&amy, "said").await;
    assert_eq!(poller.asks(&alpha.endpoint, &polled).await.0, 202);
    assert_eq!(bot.asks(says("called")).await.code, 202);
    cannot_write(&mut ann, &name, "user_messages").await;
    assert_eq!(poller.asks(&alpha.endpoint, &polled).await.0, 503);
    let refused = bot.asks(says("too much")).await;
    assert_eq!((refused.code, &*refused.id), (503, "4"));
    assert_eq!(refused.params["limit"], "\"user_messages\"");
    ann.reads(&amy, &["said", "polled", "called"]).await;
    net.clock.advance(SECOND);
    assert_eq!(bot.asks(says("again")).await.code, 202);
    ann.reads(&amy, &["said", "polled", "called", "again"])
        .await;
}

/// Asks for a long-polling session through the proxy, for a client at this address.
async fn polls_from(alpha: &House, address: &str) -> Answer {
    let target = format!("/v0/channels/lp?apikey={STOCK_API_KEY}");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: alpha.test\r\nX-Forwarded-For: {address}\r\n\
         Connection: close\r\n\r\n"
    );
    postman::exchange(alpha, request.as_bytes()).await
}

#[tokio::test]
async fn one_network_opens_sessions_at_a_bounded_rate() {
    let net = Net::new().await;
    let alpha = limited(&net, "", "prefix_sessions = [1, 3]").await;
    for (here, same, other) in [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"),
    ] {
        for _ in 0..3 {
            assert_eq!(polls_from(&alpha, here).await.status, 201);
        }
        let refused = polls_from(&alpha, same).await;
        assert_eq!(refused.status, 503);
        assert_eq!(refused.ctrl()["params"]["limit"], "prefix_sessions");
        assert_eq!(polls_from(&alpha, other).await.status, 201);
        net.clock.advance(SECOND);
        assert_eq!(polls_from(&alpha, here).await.status, 201);
    }
}

#[tokio::test]
async fn sessions_are_counted_at_every_way_in() {
    let net = Net::new().await;
    let clients = "proxies = []\ngrpc_listen = \"127.0.0.1:0\"";
    let alpha = limited(&net, clients, "prefix_sessions = [1, 3]").await;
    let target = format!("/v0/channels?apikey={STOCK_API_KEY}");
    let _connected = Raw::connect(&alpha).await;
    let channel = channel(&alpha).await;
    let _session = Bot::<Vec<u8>>::open(channel.clone()).await.unwrap();
    assert_eq!(polls_from(&alpha, "192.0.2.1").await.status, 201);

    assert_eq!(polls_from(&alpha, "192.0.2.1").await.status, 503);
    let (status, _, body) = upgrade(&alpha, &target).await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("prefix_sessions"), "{body}");
    let refused = Bot::<Vec<u8>>::open(channel.clone()).await.err();
    let refused = refused.expect("no more sessions");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("prefix_sessions"), "{refused}");
    net.clock.advance(SECOND);
    assert!(Bot::<Vec<u8>>::open(channel).await.is_ok());
}

#[tokio::test]
async fn a_network_that_asks_too_much_before_a_log_in_keeps_nobody_from_talking() {
    let net = Net::new().await;
    let clients = "proxies = []\ngrpc_listen = \"127.0.0.1:0\"";
    let alpha = limited(&net, clients, "prefix_requests = [1, 20]").await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    let mut raw = Raw::connect(&alpha).await;
    raw.asks(HI).await;
    let get = r#"{"get":{"id":"1","topic":"me","what":"desc"}}"#;
    let mut asked = 0;
    while raw.asks(get).await.0 == 401 {
        asked += 1;
        assert!(asked < 20, "there is no limit");
    }
    raw.send_text(get).await;
    let refused = raw.frame().await;
    let params = &refused["ctrl"]["params"];
    assert_eq!(params["limit"], "prefix_requests", "{refused}");
    assert_eq!(refused["ctrl"]["id"], "1");
    // Neither does nonsense pass, nor a file.
    assert_eq!(raw.asks("nonsense").await.0, 503);
    let answer = ann.uploads(&alpha, b"a file").await;
    assert_eq!(answer.ctrl()["params"]["limit"], "prefix_requests");
    for call in ["/pbx.Node/LargeFileReceive", "/pbx.Node/LargeFileServe"] {
        assert_eq!(calls(&alpha, call).await, Code::ResourceExhausted, "{call}");
    }
    ann.says(&amy, "I was here before").await;
    net.clock.advance(SECOND);
    assert_eq!(raw.asks(get).await.0, 401);
}

#[tokio::test]
async fn a_person_abroad_who_floods_is_heard_at_a_bounded_rate_and_others_from_there_at_once() {
    let net = Net::new().await;
    let alpha = limited(&net, "", "user_messages = [5, 5]").await;
    let beta = net.domain("beta.test").await;
    let mut ann = alpha.guest("ann").await;
    let (mut bob, mut bill) = (beta.guest("bob").await, beta.guest("bill").await);
    bob.meets(&mut ann).await;
    bill.meets(&mut ann).await;
    let before = texts(&mut ann, &bob).await;
    net.clock.advance(60 * SECOND);

    let flood: Vec<String> = (1..=17).map(|it| format!("flood {it}")).collect();
    for text in &flood {
        bob.says(&ann, text).await;
    }
    ann.hears(&bob, "flood 5").await;
    bill.says(&ann, "it is not me").await;
    ann.hears(&bill, "it is not me").await;
    let expected = |count: usize| {
        let flood = flood.iter().take(count).cloned();
        before.iter().cloned().chain(flood).collect::<Vec<_>>()
    };
    assert_eq!(texts(&mut ann, &bob).await, expected(5));
    let deadline = Instant::now() + SOON;
    let mut heard = 5;
    while heard < flood.len() {
        net.clock.advance(SECOND / 2);
        sleep(Duration::from_millis(50)).await;
        let now = texts(&mut ann, &bob).await;
        heard = now.len() - before.len();
        assert_eq!(now, expected(heard), "in order, and each once");
        assert!(Instant::now() < deadline, "only {heard} have come");
    }
}

#[tokio::test]
async fn a_flood_from_abroad_in_a_group_comes_in_order_and_so_does_the_leaving_behind_it() {
    let net = Net::new().await;
    let alpha = limited(&net, "", "user_messages = [5, 5]").await;
    let beta = net.domain("beta.test").await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let body = json!({"topic": "newA", "set": {"desc": {"public": {"fn": "Club"}}}});
    let answer = ann.session.request("sub", body).await.unwrap();
    let group = answer.text("topic").to_owned();
    ann.invites_to(&group, &bob).await;
    bob.finds_in_contacts(&group).await;
    bob.joins(&group).await;
    net.clock.advance(60 * SECOND);

    let flood: Vec<String> = (1..=12).map(|it| format!("flood {it}")).collect();
    for text in &flood {
        bob.says_in(&group, text).await;
    }
    let leave = json!({"topic": group, "unsub": true});
    bob.session.request("leave", leave).await.unwrap();
    let first: Vec<&str> = flood.iter().take(5).map(String::as_str).collect();
    ann.reads_all(&group, &first).await;
    let is_member = |members: &Value, user: &str| {
        let mut members = members.as_array().unwrap().iter();
        members.any(|it| it["user"] == user)
    };
    let bobs = ann.name_of(&bob);
    let members = ann.session.get(&group, "sub").await.unwrap().unwrap();
    assert!(is_member(&members, &bobs), "he left before he wrote that");

    let deadline = Instant::now() + SOON;
    loop {
        net.clock.advance(SECOND / 2);
        sleep(Duration::from_millis(50)).await;
        let members = ann.session.get(&group, "sub").await.unwrap().unwrap();
        if !is_member(&members, &bobs) {
            break;
        }
        assert!(Instant::now() < deadline, "he is still a member: {members}");
    }
    let all: Vec<&str> = flood.iter().map(String::as_str).collect();
    ann.reads_all(&group, &all).await;
}

/// What somebody reads in a chat.
async fn texts(guest: &mut Guest, other: &Guest) -> Vec<String> {
    let topic = guest.name_of(other);
    let history = guest.session.history(&topic, 1).await.unwrap();
    let texts = history.iter().filter_map(|it| it.content.as_str());
    texts.map(str::to_owned).collect()
}
