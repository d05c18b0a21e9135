//! The table of refusals around accounts: code, text and params of each, and nothing changes.

use serde_json::{Value, json};

use crate::{
    desk::{Desk, secret},
    net::{House, Net},
    raw::Raw,
};

type Row = (&'static str, Value, (u64, &'static str), Value);

const MALFORMED: (u64, &str) = (400, "malformed");
const AUTH_REQUIRED: (u64, &str) = (401, "authentication required");
const AUTH_FAILED: (u64, &str) = (401, "authentication failed");
const UNKNOWN_SCHEME: (u64, &str) = (401, "unknown authentication scheme");
const DENIED: (u64, &str) = (403, "permission denied");
const NOBODY: (u64, &str) = (404, "user not found");
const CONFLICT: (u64, &str) = (409, "already authenticated");
const POLICY: (u64, &str) = (422, "policy violation");

fn what(what: &str) -> Value {
    json!({ "what": what })
}

async fn check(desk: &mut Desk, rows: Vec<Row>) {
    for (kind, body, status, params) in rows {
        let answer = desk.asks(kind, body.clone()).await;
        assert_eq!(answer.status(), status, "{kind} {body}");
        assert_eq!(answer.params, params, "{kind} {body}");
    }
}

/// All that a refusal could have changed about Ann.
async fn state(house: &House, token: &Value) -> Value {
    let mut desk = Desk::at(house).await;
    assert_eq!(desk.shows(token).await.code, 200);
    desk.asks("sub", json!({"topic": "me"})).await;
    json!([
        desk.sees_of_me("desc").await,
        desk.sees_of_me("tags").await,
        desk.sees_of_me("cred").await
    ])
}

#[tokio::test]
async fn whoever_is_not_in_is_refused_for_what_is_wrong() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let own = Desk::at(&alpha)
        .await
        .signs_up("ann", json!({}))
        .await
        .params;
    let before = state(&alpha, &own["token"]).await;
    let new = |scheme: &str, text: &str| json!({"user": "new", "scheme": scheme, "secret": secret(text), "login": true});
    let with = |key: &str, value: Value| {
        let mut acc = new("basic", "eve:secret of eve");
        acc[key] = value;
        acc
    };
    let by_code = |text: &str| {
        json!({"scheme": "basic", "secret": secret(":new secret"),
        "tmpscheme": "code", "tmpsecret": secret(text)})
    };
    let none = Value::Null;
    let mut desk = Desk::at(&alpha).await;
    let long = "x".repeat(300);
    let creds: Vec<Value> = (0..5)
        .map(|it| json!({"meth": "email", "val": format!("a{it}@b.test")}))
        .collect();
    check(&mut desk, vec![
        ("acc", json!({}), AUTH_REQUIRED, none.clone()),
        ("acc", json!({"user": own["user"], "status": "susp"}), AUTH_REQUIRED, none.clone()),
        ("acc", json!({"user": "new"}), UNKNOWN_SCHEME, none.clone()),
        ("acc", json!({"user": "new", "scheme": "basic"}), MALFORMED, none.clone()),
        ("acc", json!({"user": "new", "scheme": "basic", "secret": "%%%"}), MALFORMED, none.clone()),
        ("acc", new("basic", "no colon"), MALFORMED, none.clone()),
        ("acc", new("token", "x:y"), UNKNOWN_SCHEME, none.clone()),
        ("acc", new("anonymous", ""), DENIED, none.clone()),
        ("acc", new("basic", "e:secret of eve"), POLICY, what("auth")),
        ("acc", new("basic", "eve:short"), POLICY, what("auth")),
        ("acc", new("basic", &format!("eve:{long}")), POLICY, what("auth")),
        ("acc", new("basic", "ann:secret of eve"), (409, "duplicate credential"), what("auth")),
        ("acc", with("tags", json!(["basic:eve"])), DENIED, what("tags")),
        ("acc", with("tags", json!(["nonsense"])), MALFORMED, what("tags")),
        ("acc", with("desc", json!({"trusted": {"staff": true}})), DENIED, none.clone()),
        ("acc", with("desc", json!({"defacs": {"auth": "XYZ"}})), MALFORMED, none.clone()),
        ("acc", with("authlevel", json!("root")), DENIED, none.clone()),
        ("acc", with("authlevel", json!("king")), MALFORMED, none.clone()),
        ("acc", with("cred", json!([{"meth": "email", "val": "x"}])), MALFORMED, what("cred")),
        ("acc", with("cred", json!([{"meth": "fax", "val": "1"}])), MALFORMED, what("cred")),
        ("acc", with("cred", json!([{"meth": "tel", "val": "1"}])), (501, "not implemented"), what("cred")),
        ("acc", with("cred", json!(creds)), POLICY, what("cred")),
        ("acc", json!({"scheme": "basic", "secret": secret(":new secret"), "tmpscheme": "token"}), UNKNOWN_SCHEME, none.clone()),
        ("acc", by_code("123456"), MALFORMED, none.clone()),
        ("acc", by_code("123456:email:nobody@b.test"), AUTH_FAILED, none.clone()),
        ("acc", by_code("123456:fax:1"), AUTH_FAILED, none.clone()),
        ("login", json!({}), UNKNOWN_SCHEME, none.clone()),
        ("login", json!({"scheme": "magic", "secret": "x"}), UNKNOWN_SCHEME, none.clone()),
        ("login", json!({"scheme": "basic"}), MALFORMED, none.clone()),
        ("login", json!({"scheme": "basic", "secret": secret("ann:guess, guess")}), AUTH_FAILED, none.clone()),
        ("login", json!({"scheme": "basic", "secret": secret(&format!("ann:{long}"))}), AUTH_FAILED, none.clone()),
        ("login", json!({"scheme": "basic", "secret": secret(&format!("{long}:secret of ann"))}), AUTH_FAILED, none.clone()),
        ("login", json!({"scheme": "token"}), AUTH_FAILED, none.clone()),
        ("login", json!({"scheme": "token", "secret": "AAAA"}), AUTH_FAILED, none.clone()),
        ("login", json!({"scheme": "anonymous", "secret": ""}), AUTH_FAILED, none.clone()),
        ("login", json!({"scheme": "code", "secret": secret("1:email:a@b.test")}), AUTH_FAILED, none.clone()),
        ("login", json!({"scheme": "reset", "secret": secret("basic:email")}), MALFORMED, none.clone()),
        ("login", json!({"scheme": "reset", "secret": secret("token:email:a@b.test")}), MALFORMED, none.clone()),
        ("login", json!({"scheme": "reset", "secret": secret("basic:email:nonsense")}), MALFORMED, what("cred")),
        ("login", json!({"scheme": "token", "secret": own["token"], "cred": [{"meth": "email", "resp": "123456"}]}),
            (406, "invalid response"), none.clone()),
        ("login", json!({"scheme": "token", "secret": own["token"], "cred": [{"meth": "fax", "val": "1"}]}),
            MALFORMED, what("cred")),
        ("sub", json!({"topic": "me"}), AUTH_REQUIRED, none.clone()),
        ("del", json!({"what": "user"}), AUTH_REQUIRED, none),
    ]).await;
    assert_eq!(state(&alpha, &own["token"]).await, before);
    assert_eq!(
        desk.logs_in("eve", "secret of eve").await.status(),
        AUTH_FAILED
    );
}

#[tokio::test]
async fn whoever_is_in_is_refused_for_what_is_wrong_and_stays_in() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let amy = Desk::at(&alpha)
        .await
        .signs_up("amy", json!({}))
        .await
        .params;
    let mut desk = Desk::at(&alpha).await;
    let own = desk.signs_up("ann", json!({})).await.params;
    let before = state(&alpha, &own["token"]).await;
    let none = Value::Null;
    let me = |what: &str, value: Value| {
        let mut set = json!({"topic": "me"});
        set[what] = value;
        set
    };
    let del = |cred: Value| json!({"topic": "me", "what": "cred", "cred": cred});
    let elsewhere = "usrAAAAAAAAAAA@beta.test";
    check(&mut desk, vec![
        ("acc", json!({}), MALFORMED, none.clone()),
        ("acc", json!({"user": own["user"]}), MALFORMED, none.clone()),
        ("acc", json!({"user": "nonsense", "scheme": "basic"}), NOBODY, none.clone()),
        ("acc", json!({"user": amy["user"], "scheme": "basic", "secret": secret(":new secret")}), DENIED, none.clone()),
        ("acc", json!({"user": own["user"], "status": "susp"}), DENIED, none.clone()),
        ("acc", json!({"scheme": "rest", "secret": secret(":new secret")}), UNKNOWN_SCHEME, none.clone()),
        ("acc", json!({"scheme": "basic", "secret": "%%%"}), MALFORMED, none.clone()),
        ("acc", json!({"scheme": "basic", "secret": secret(":weak")}), POLICY, what("auth")),
        ("acc", json!({"scheme": "basic", "secret": secret("amy:secret of ann")}), (409, "duplicate credential"), what("auth")),
        ("acc", json!({"user": "new", "scheme": "basic", "secret": secret("eve:secret of eve"), "login": true}), CONFLICT, none.clone()),
        ("login", json!({"scheme": "token", "secret": amy["token"]}), CONFLICT, none.clone()),
        ("set", me("cred", json!({})), MALFORMED, what("cred")),
        ("set", me("cred", json!({"meth": "email"})), MALFORMED, what("cred")),
        ("set", me("cred", json!({"meth": "email", "resp": "123456"})), (406, "invalid response"), none.clone()),
        ("set", me("aux", json!({"pins": [1]})), (405, "operation or method not allowed"), none.clone()),
        ("set", me("desc", json!({"trusted": {"staff": true}})), DENIED, none.clone()),
        ("del", json!({"topic": "me", "what": "cred"}), MALFORMED, none.clone()),
        ("del", del(json!({"meth": "email"})), MALFORMED, none.clone()),
        ("del", del(json!({"meth": "email", "val": "a@b.test"})), (304, "no action"), none.clone()),
        ("del", json!({"topic": amy["user"], "what": "cred", "cred": {"meth": "email", "val": "a@b.test"}}),
            (405, "operation or method not allowed"), none.clone()),
        ("del", json!({"what": "user", "user": amy["user"]}), DENIED, none.clone()),
        ("del", json!({"what": "user", "user": elsewhere}), DENIED, none.clone()),
        ("del", json!({"what": "user", "user": "nonsense"}), NOBODY, none.clone()),
        ("set", json!({"topic": "fnd", "desc": {"public": "x"}}), (409, "must attach first"), none.clone()),
        ("sub", json!({"topic": "fnd", "set": {"desc": {"public": 7}}}), MALFORMED, none.clone()),
        ("sub", json!({"topic": "fnd"}), (200, "ok"), none.clone()),
        ("set", json!({"topic": "fnd", "desc": {"public": {"fn": "x"}}}), MALFORMED, none.clone()),
        ("set", json!({"topic": "fnd", "desc": {"public": "x".repeat(9000)}}), (413, "too large"), none.clone()),
        ("set", json!({"topic": "fnd"}), MALFORMED, none),
    ]).await;
    assert_eq!(state(&alpha, &own["token"]).await, before);
    assert_eq!(desk.asks("sub", json!({"topic": "me"})).await.code, 200);
}

#[tokio::test]
async fn a_field_of_a_wrong_type_is_malformed_in_every_message_about_accounts() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let mut raw = Raw::connect(&alpha).await;
    let fields = [
        ("hi", ["id", "ver", "ua", "lang"].as_slice()),
        (
            "acc",
            &[
                "id",
                "user",
                "tmpscheme",
                "tmpsecret",
                "status",
                "authlevel",
                "scheme",
                "secret",
            ],
        ),
        ("login", &["id", "scheme", "secret"]),
        ("del", &["id", "topic", "what", "user"]),
    ];
    for (kind, names) in fields {
        for name in names {
            for value in [json!(-1), json!(["x"]), json!({"x": 1}), json!(true)] {
                let frame = json!({kind: {*name: value}}).to_string();
                let (code, text, id) = raw.asks(&frame).await;
                assert_eq!((code, &*text), MALFORMED, "{frame}");
                assert_eq!(id, Value::Null, "{frame}");
            }
        }
    }
    for frame in [
        r#"{"hi":{"bkg":"yes"}}"#,
        r#"{"acc":{"login":"yes"}}"#,
        r#"{"acc":{"tags":"x:y"}}"#,
        r#"{"acc":{"tags":[7]}}"#,
        r#"{"acc":{"desc":"x"}}"#,
        r#"{"acc":{"desc":{"defacs":"JRW"}}}"#,
        r#"{"acc":{"cred":{"meth":"email"}}}"#,
        r#"{"acc":{"cred":[{"meth":7}]}}"#,
        r#"{"login":{"cred":"123456"}}"#,
        r#"{"login":{"cred":[{"resp":123456}]}}"#,
        r#"{"set":{"topic":"me","tags":"x:y"}}"#,
        r#"{"del":{"what":"cred","cred":"email"}}"#,
        r#"{"get":{"topic":"me","what":"desc"},"extra":{"obo":7}}"#,
    ] {
        let (code, text, _) = raw.asks(frame).await;
        assert_eq!((code, &*text), MALFORMED, "{frame}");
    }
}
