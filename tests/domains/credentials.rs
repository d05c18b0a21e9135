//! Addresses that people name and confirm by a code.

use std::time::Duration;

use freehold_interop::{Frame, FrameKind};
use serde_json::{Value, json};

use crate::{
    desk::{Desk, MAIL},
    net::{House, Net},
};

const WRONG: (u64, &str) = (406, "invalid response");
const MINUTE: Duration = Duration::from_secs(60);

fn email(value: &str) -> Value {
    json!({"cred": [{"meth": "email", "val": value}]})
}

async fn strict(net: &Net) -> House {
    let settings = format!("required_credentials = [\"email\"]{MAIL}");
    net.domain_with("alpha.test", &settings).await
}

#[tokio::test]
async fn an_account_that_must_confirm_an_address_is_not_in_before_it_has() {
    let net = Net::new().await;
    let mut alpha = strict(&net).await;
    let mut desk = Desk::at(&alpha).await;
    let answer = desk.signs_up("ann", email("Ann@B.test")).await;
    assert_eq!(answer.status(), (300, "validate credentials"));
    assert_eq!(answer.params["cred"], json!(["email"]));
    assert_eq!(answer.params["authlvl"], "auth");
    let token = answer.params["token"].clone();
    let sub = json!({"topic": "me"});
    assert_eq!(desk.asks("sub", sub.clone()).await.code, 401);
    // The token is good for nothing else, elsewhere too.
    let mut other = Desk::at(&alpha).await;
    assert_eq!(other.shows(&token).await.code, 300);
    assert_eq!(other.asks("sub", sub.clone()).await.code, 401);
    assert_eq!(other.logs_in("ann", "secret of ann").await.code, 300);

    let code = alpha.code("ann@b.test", 1).await;
    alpha.stop().await;
    alpha.start().await;
    let mut desk = Desk::at(&alpha).await;
    assert_eq!(desk.confirms(&token, "x").await.status(), WRONG);
    let answer = desk.confirms(&token, &code).await;
    assert_eq!(answer.status(), (200, "ok"));
    assert_eq!(desk.asks("sub", sub).await.code, 200);
    let confirmed = json!([{"meth": "email", "val": "ann@b.test", "done": true}]);
    assert_eq!(desk.sees_of_me("cred").await, confirmed);
    assert_eq!(
        desk.sees_of_me("tags").await,
        json!(["basic:ann", "email:ann@b.test"])
    );
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("ann", "secret of ann")
            .await
            .code,
        200
    );
    // What must be there cannot be taken away.
    let last =
        json!({"topic": "me", "what": "cred", "cred": {"meth": "email", "val": "ann@b.test"}});
    let answer = desk.asks("del", last).await;
    assert_eq!(answer.status(), (422, "policy violation"));
    assert_eq!(answer.params, json!({"creds": ["email"]}));
}

#[tokio::test]
async fn an_account_without_the_address_it_needs_is_not_made() {
    let net = Net::new().await;
    let alpha = strict(&net).await;
    let mut desk = Desk::at(&alpha).await;
    let answer = desk.signs_up("ann", json!({})).await;
    assert_eq!(answer.status(), (422, "policy violation"));
    assert_eq!(answer.params, json!({"creds": ["email"]}));
    let answer = desk.signs_up("ann", email("nonsense")).await;
    assert_eq!(answer.status(), (400, "malformed"));
    assert_eq!(answer.params, json!({"what": "cred"}));
    assert_eq!(desk.logs_in("ann", "secret of ann").await.code, 401);
    let hi = json!({"ver": "0.25"});
    let params = Desk::at(&alpha).await.asks("hi", hi).await.params;
    assert_eq!(params["reqCred"], json!({"auth": ["email"]}));
}

#[tokio::test]
async fn the_link_in_the_mail_leads_into_an_account_only_while_it_cannot_be_used() {
    let net = Net::new().await;
    let alpha = strict(&net).await;
    let mut desk = Desk::at(&alpha).await;
    let token = desk.signs_up("ann", email("ann@b.test")).await.params["token"].clone();
    let code = alpha.code("ann@b.test", 1).await;
    let mail = alpha
        .mails("ann@b.test")
        .remove(0)
        .replace("=\r\n", "")
        .replace("=3D", "=");
    let link = format!("https://chat.test/#cred?method=email&code={code}&token=");
    assert!(mail.contains(&link), "{mail}");
    desk.confirms(&token, &code).await;
    desk.sets_me(json!({"cred": {"meth": "email", "val": "ann@c.test"}}))
        .await;
    alpha.code("ann@c.test", 1).await;
    assert!(!alpha.mails("ann@c.test").remove(0).contains("https://"));
}

#[tokio::test]
async fn where_nothing_is_required_an_address_is_taken_and_can_be_confirmed_later() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", MAIL).await;
    let mut desk = Desk::at(&alpha).await;
    let answer = desk.signs_up("ann", email("ann@b.test")).await;
    assert_eq!(answer.status(), (200, "ok"));
    let mut other = Desk::at(&alpha).await;
    other.shows(&answer.params["token"]).await;
    other.asks("sub", json!({"topic": "me"})).await;
    desk.asks("sub", json!({"topic": "me"})).await;
    let open = json!([{"meth": "email", "val": "ann@b.test", "done": false}]);
    assert_eq!(desk.sees_of_me("cred").await, open);
    assert_eq!(desk.sees_of_me("tags").await, json!(["basic:ann"]));

    let confirm = |code: &str| json!({"cred": {"meth": "email", "resp": code}});
    assert_eq!(desk.sets_me(confirm("nonsense")).await.status(), WRONG);
    let code = alpha.code("ann@b.test", 1).await;
    assert_eq!(desk.sets_me(confirm(&code)).await.status(), (200, "ok"));
    let tags = |it: &Frame| it.kind == FrameKind::Pres && it.text("what") == "tags";
    let told = other.waits_for("pres tags", tags).await;
    assert_eq!((told.text("topic"), told.text("src")), ("me", ""));
    assert_eq!(
        desk.sees_of_me("tags").await,
        json!(["basic:ann", "email:ann@b.test"])
    );
    // A code works once.
    assert_eq!(desk.sets_me(confirm(&code)).await.status(), WRONG);

    let gone =
        json!({"topic": "me", "what": "cred", "cred": {"meth": "email", "val": "ann@b.test"}});
    assert_eq!(desk.asks("del", gone.clone()).await.status(), (200, "ok"));
    assert_eq!(desk.asks("del", gone).await.status(), (304, "no action"));
    assert_eq!(desk.sees_of_me("tags").await, json!(["basic:ann"]));
    assert_eq!(desk.sees_of_me("cred").await, Value::Null);
}

#[tokio::test]
async fn a_code_ends_after_three_wrong_answers_or_a_quarter_of_an_hour() {
    let net = Net::new().await;
    let mut alpha = net.domain_with("alpha.test", MAIL).await;
    let mut desk = Desk::at(&alpha).await;
    let token = desk.signs_up("ann", email("ann@b.test")).await.params["token"].clone();
    let first = alpha.code("ann@b.test", 1).await;
    let confirm = |code: &str| json!({"cred": {"meth": "email", "resp": code}});
    for answer in ["1", "22"] {
        assert_eq!(desk.sets_me(confirm(answer)).await.status(), WRONG);
    }
    // Wrong answers are remembered.
    alpha.stop().await;
    alpha.start().await;
    let mut desk = Desk::at(&alpha).await;
    desk.shows(&token).await;
    assert_eq!(desk.sets_me(confirm("333")).await.status(), WRONG);
    assert_eq!(desk.sets_me(confirm(&first)).await.status(), WRONG);
    let again = json!({"cred": {"meth": "email", "val": "ann@b.test"}});
    assert_eq!(desk.sets_me(again.clone()).await.status(), (200, "ok"));
    let second = alpha.code("ann@b.test", 2).await;
    net.clock.advance(15 * MINUTE);
    assert_eq!(desk.sets_me(confirm(&second)).await.status(), WRONG);
    assert_eq!(desk.sets_me(again).await.status(), (200, "ok"));
    let third = alpha.code("ann@b.test", 3).await;
    net.clock.advance(14 * MINUTE);
    assert_eq!(desk.sets_me(confirm(&third)).await.status(), (200, "ok"));
}

#[tokio::test]
async fn an_address_belongs_to_whoever_confirms_it_first() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", MAIL).await;
    let (mut ann, mut eve) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    ann.signs_up("ann", email("ann@b.test")).await;
    eve.signs_up("eve", email("ann@b.test")).await;
    let confirm = |code: &str| json!({"cred": {"meth": "email", "resp": code}});
    let (of_ann, of_eve) = (
        alpha.code("ann@b.test", 1).await,
        alpha.code("ann@b.test", 2).await,
    );
    assert_eq!(ann.sets_me(confirm(&of_ann)).await.code, 200);
    let taken = (409, "duplicate credential");
    assert_eq!(eve.sets_me(confirm(&of_eve)).await.status(), taken);
    let mut mia = Desk::at(&alpha).await;
    let answer = mia.signs_up("mia", email("ann@b.test")).await;
    assert_eq!(
        (answer.status(), &answer.params),
        (taken, &json!({"what": "cred"}))
    );
    assert_eq!(mia.signs_up("mia", json!({})).await.code, 200);
    let add = json!({"cred": {"meth": "email", "val": "ann@b.test"}});
    assert_eq!(mia.sets_me(add).await.status(), taken);
}

#[tokio::test]
async fn nobody_is_flooded_with_mail() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", MAIL).await;
    let mut desk = Desk::at(&alpha).await;
    desk.signs_up("ann", json!({})).await;
    let ask = json!({"cred": {"meth": "email", "val": "victim@b.test"}});
    for number in 1..=5 {
        assert_eq!(desk.sets_me(ask.clone()).await.code, 200);
        alpha.code("victim@b.test", number).await;
    }
    let answer = desk.sets_me(ask.clone()).await;
    assert_eq!(answer.status(), (503, "service unavailable"));
    assert_eq!(answer.params, json!({"what": "limit"}));
    assert_eq!(alpha.mails("victim@b.test").len(), 5);
    net.clock.advance(60 * MINUTE);
    assert_eq!(desk.sets_me(ask).await.code, 200);
}
