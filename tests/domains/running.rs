//! How a domain starts and ends.

use freehold_interop::{Frame, FrameKind};
use serde_json::json;

use crate::{guest::SOON, net::Net};

#[tokio::test]
async fn a_domain_that_stops_says_so_and_forgets_nothing() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    ann.says(&amy, "hello").await;
    let body = json!({"topic": ann.name_of(&amy), "desc": {"private": {"comment": "my sister"}}});
    ann.session.request("set", body).await.unwrap();
    let (before, access) = (ann.describes(&amy).await, ann.access(&amy).await);

    alpha.stop().await;
    let bye = |it: &Frame| it.kind == FrameKind::Ctrl && it.text("text") == "server shutdown";
    let bye = ann.session.wait_for("good-bye", SOON, bye).await.unwrap();
    assert_eq!(bye.code(), 205);
    let ended = ann.session.wait_for("the end", SOON, |_| false).await;
    assert!(ended.is_err_and(|it| it.is_disconnect()));

    alpha.start().await;
    alpha.welcomes_back(&mut ann).await;
    ann.opens(&amy).await;
    ann.reads(&amy, &["hello"]).await;
    assert_eq!(ann.access(&amy).await, access);
    let after = ann.describes(&amy).await;
    for key in [
        "private", "public", "seq", "read", "recv", "created", "touched",
    ] {
        assert_eq!(after[key], before[key], "{key}");
    }
    assert_eq!(after["private"], json!({"comment": "my sister"}));
}

#[tokio::test]
async fn a_page_of_history_is_what_was_asked_newest_first() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    for number in 1..=7 {
        ann.says(&amy, &number.to_string()).await;
    }
    let topic = ann.name_of(&amy);
    for (asked, expected) in [
        (json!({}), &[7, 6, 5, 4, 3, 2, 1][..]),
        (json!({"limit": 3}), &[7, 6, 5]),
        (json!({"before": 5, "limit": 2}), &[4, 3]),
        (json!({"since": 6}), &[7, 6]),
        (json!({"since": 2, "before": 4}), &[3, 2]),
        (
            json!({"ranges": [{"low": 2}, {"low": 5, "hi": 7}]}),
            &[6, 5, 2],
        ),
        (json!({"since": 8}), &[]),
        (json!({"since": 5, "before": 3}), &[]),
        (json!({"before": 1}), &[]),
    ] {
        let body = json!({"topic": topic, "what": "data", "data": asked});
        let id = ann.session.send("get", body).await.unwrap();
        let mut page = Vec::new();
        let end = loop {
            let fits = |it: &Frame| it.message_of(&topic).is_some() || it.text("id") == id;
            let frame = ann.session.wait_for("a page", SOON, fits).await.unwrap();
            match frame.message_of(&topic) {
                Some(message) => page.push(message.seq),
                None => break frame,
            }
        };
        assert_eq!(page, expected, "{asked}");
        let params = if page.is_empty() {
            json!({"what": "data"})
        } else {
            json!({"what": "data", "count": page.len()})
        };
        let code = if page.is_empty() { 204 } else { 208 };
        assert_eq!(
            (end.code(), &end.body["params"]),
            (code, &params),
            "{asked}"
        );
    }
}
