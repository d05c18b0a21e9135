//! Long polling.

use std::time::Duration;

use freehold_interop::{Endpoint, STOCK_API_KEY};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    net::{House, Net},
    poller::{Poller, request},
};

const HI: &str = r#"{"hi":{"id":"hi","ver":"0.25.3","ua":"poller/1"}}"#;

async fn domain(net: &Net) -> House {
    net.domain_with("alpha.test", "message_bytes_max = 4096")
        .await
}

/// A session of somebody's who polls.
pub(crate) async fn logged_in(at: &Endpoint, token: &str) -> Poller {
    let poller = Poller::connect(at).await;
    poller.asks(at, HI).await;
    let login = json!({"login": {"id": "1", "scheme": "token", "secret": token}});
    assert_eq!(poller.asks(at, &login.to_string()).await.0, 200);
    poller
}

#[tokio::test]
async fn a_person_who_polls_talks_like_any_other() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    let poller = logged_in(&alpha.endpoint, &amy.person.token).await;
    let name = ann.person.id.clone();
    let sub = json!({"sub": {"id": "2", "topic": name}}).to_string();
    assert_eq!(poller.asks(&alpha.endpoint, &sub).await.0, 200);
    let publish = json!({"pub": {"id": "3", "topic": name, "noecho": true, "content": "hello"}});
    let told = poller.asks(&alpha.endpoint, &publish.to_string()).await;
    assert_eq!(told, (202, "accepted".to_owned()));
    ann.hears(&amy, "hello").await;

    // A poll that waits hears at once.
    let (waiting, _) = tokio::join!(poller.frame(&alpha.endpoint), async {
        sleep(Duration::from_millis(100)).await;
        ann.says(&amy, "hello yourself").await;
    });
    assert_eq!(waiting["data"]["content"], "hello yourself");
}

#[tokio::test]
async fn hello_is_answered_with_200_because_the_session_is_there_already() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    let poller = Poller::connect(&alpha.endpoint).await;
    poller.says(&alpha.endpoint, HI).await;
    let answer = poller.frame(&alpha.endpoint).await;
    assert_eq!(
        (&answer["ctrl"]["code"], &answer["ctrl"]["id"]),
        (&200.into(), &"hi".into())
    );
    assert_eq!(answer["ctrl"]["params"]["ver"], "0.25");
}

#[tokio::test]
async fn frames_come_one_by_one_in_their_order() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    let poller = logged_in(&alpha.endpoint, &amy.person.token).await;
    let sub = json!({"sub": {"id": "2", "topic": ann.person.id}}).to_string();
    poller.asks(&alpha.endpoint, &sub).await;
    for number in 1..=20 {
        ann.says(&amy, &number.to_string()).await;
    }
    let mut heard = Vec::new();
    while heard.len() < 20 {
        let frame = poller.frame(&alpha.endpoint).await;
        heard.extend(frame["data"]["seq"].as_u64());
    }
    assert_eq!(heard, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn without_a_key_or_a_living_session_polls_are_refused() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    for query in ["", "?apikey=wrong", "?sid=AAAAAAAAAAAAAAAAAAAAAA"] {
        let answer = request(&alpha.endpoint, "GET", query, "").await;
        assert_eq!(answer.status, 403, "{query}");
        let ctrl = &answer.frame("alpha.test")["ctrl"];
        assert_eq!(ctrl["text"], "valid API key required", "{query}");
    }
    for sid in ["", "x", "AAAAAAAAAAAAAAAAAAAAAA"] {
        let query = format!("?apikey={STOCK_API_KEY}&sid={sid}");
        for (method, body) in [("GET", ""), ("POST", ""), ("POST", HI)] {
            let answer = request(&alpha.endpoint, method, &query, body).await;
            assert_eq!(answer.status, 403, "{sid:?}");
            let ctrl = &answer.frame("alpha.test")["ctrl"];
            assert_eq!(ctrl["text"], "invalid or expired session", "{sid:?}");
        }
    }
}

#[tokio::test]
async fn what_a_poller_may_not_say_is_refused_and_the_session_goes_on() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    let poller = Poller::connect(&alpha.endpoint).await;
    let sub = r#"{"sub":{"id":"1","topic":"me"}}"#;
    assert_eq!(poller.asks(&alpha.endpoint, sub).await.0, 409);
    poller.asks(&alpha.endpoint, HI).await;
    assert_eq!(poller.asks(&alpha.endpoint, sub).await.0, 401);
    for nonsense in ["nonsense", "{}", "[1]", " "] {
        assert_eq!(
            poller.asks(&alpha.endpoint, nonsense).await.0,
            400,
            "{nonsense}"
        );
    }
    let long = poller.posts(&alpha.endpoint, &"x".repeat(5000)).await;
    assert_eq!(long.status, 417, "{long:?}");
    assert_eq!(long.frame("alpha.test")["ctrl"]["code"], 417);
    assert_eq!(poller.asks(&alpha.endpoint, sub).await.0, 401);
    let other = request(&alpha.endpoint, "DELETE", "", "").await;
    assert_eq!(other.status, 405);
}

#[tokio::test]
async fn pages_of_other_sites_may_poll_and_nothing_is_kept() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    let asked = request(&alpha.endpoint, "OPTIONS", "", "").await;
    assert_eq!((asked.status, &*asked.body), (204, ""));
    for header in [
        "access-control-allow-origin: *",
        "access-control-allow-methods: get, post, options",
        "access-control-allow-headers: content-type, x-tinode-apikey",
    ] {
        assert!(asked.head.contains(header), "{}", asked.head);
    }
    let opened = request(
        &alpha.endpoint,
        "POST",
        &format!("?apikey={STOCK_API_KEY}"),
        "",
    )
    .await;
    let refused = request(&alpha.endpoint, "POST", "", "").await;
    for answer in [opened, refused] {
        for header in [
            "access-control-allow-origin: *",
            "cache-control: no-store",
            "content-type: text/plain; charset=utf-8",
        ] {
            assert!(answer.head.contains(header), "{}", answer.head);
        }
    }
}

#[tokio::test]
async fn a_newer_poll_sends_the_older_one_home() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    let poller = Poller::connect(&alpha.endpoint).await;
    let (older, newer) = tokio::join!(poller.polls(&alpha.endpoint), async {
        sleep(Duration::from_millis(200)).await;
        let (answer, ()) = tokio::join!(poller.polls(&alpha.endpoint), async {
            sleep(Duration::from_millis(200)).await;
            poller.says(&alpha.endpoint, HI).await;
        });
        answer
    });
    assert_eq!((older.status, &*older.body), (200, ""));
    assert_eq!(newer.frame("alpha.test")["ctrl"]["id"], "hi");
}

#[tokio::test]
async fn a_domain_that_stops_says_so_to_who_polls() {
    let net = Net::new().await;
    let mut alpha = domain(&net).await;
    let poller = Poller::connect(&alpha.endpoint).await;
    let at = alpha.endpoint.clone();
    let began = Instant::now();
    let (answer, ()) = tokio::join!(poller.polls(&at), async {
        sleep(Duration::from_millis(200)).await;
        alpha.stop().await;
    });
    assert_eq!(
        answer.frame("alpha.test")["ctrl"]["text"],
        "server shutdown"
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn one_network_opens_only_so_many_sessions() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", "proxies = []").await;
    let query = format!("?apikey={STOCK_API_KEY}");
    for _ in 0..256 {
        let opened = request(&alpha.endpoint, "GET", &query, "").await;
        assert_eq!(opened.status, 201, "{opened:?}");
    }
    let refused = request(&alpha.endpoint, "GET", &query, "").await;
    assert_eq!(refused.status, 503);
    let ctrl = &refused.frame("alpha.test")["ctrl"];
    assert_eq!(ctrl["text"], "service unavailable");
}

#[tokio::test]
async fn a_web_server_in_front_is_not_taken_for_its_clients() {
    let net = Net::new().await;
    let alpha = domain(&net).await;
    for _ in 0..260 {
        Poller::connect(&alpha.endpoint).await;
    }
}
