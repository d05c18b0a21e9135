//! The search box and its language.

use serde_json::{Value, json};

use crate::{
    desk::Desk,
    guest::Guest,
    net::{House, Net},
};

async fn tagged(house: &House, login: &str, tags: &[&str]) -> Value {
    let mut desk = Desk::at(house).await;
    let answer = desk
        .signs_up(
            login,
            json!({"tags": tags, "desc": {"public": {"fn": login}}}),
        )
        .await;
    assert_eq!(answer.code, 200, "{answer:?}");
    answer.params["user"].clone()
}

/// Names found, sorted.
async fn names(guest: &mut Guest, typed: &str) -> Vec<String> {
    let rows = guest.finds(typed).await;
    let name = |it: &Value| it["public"]["fn"].as_str().unwrap_or_default().to_owned();
    let mut names: Vec<String> = rows.iter().map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn spaces_ask_for_all_tags_and_commas_for_one_of_them() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    tagged(&alpha, "amy", &["org:one", "city:rome"]).await;
    tagged(&alpha, "bea", &["org:one", "city:oslo", "alias:bee"]).await;
    tagged(&alpha, "cleo", &["org:two", "city:rome"]).await;
    let mut ann = alpha.guest("ann").await;
    for (typed, expected) in [
        ("org:one", ["amy", "bea"].as_slice()),
        ("org:one city:rome", &["amy"]),
        ("org:two,city:oslo", &["bea", "cleo"]),
        ("city:rome org:one,org:two", &["amy", "cleo"]),
        ("ORG:One \"city:oslo\"", &["bea"]),
        ("alias:bee,bee", &["bea"]),
        ("bee", &["bea"]),
        ("amy", &["amy"]),
        ("basic:cleo,nobody", &["cleo"]),
        ("org:three", &[]),
        ("org:one\"x", &[]),
        // Never the one who asks.
        ("basic:ann", &[]),
    ] {
        assert_eq!(names(&mut ann, typed).await, expected, "{typed}");
    }
    let row = &ann.finds("org:one city:rome").await[0];
    assert_eq!(row["private"], json!(["city:rome", "org:one"]));
    assert_eq!(row["acs"], json!({"mode": "JRWPA"}));
}

#[tokio::test]
async fn a_query_of_the_session_goes_before_the_one_that_is_kept() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    tagged(&alpha, "amy", &["org:one"]).await;
    tagged(&alpha, "bea", &["org:two"]).await;
    let mut ann = alpha.guest("ann").await;
    ann.session.subscribe("fnd").await.unwrap();
    let keep = json!({"topic": "fnd", "desc": {"private": "org:one"}});
    ann.session.request("set", keep).await.unwrap();
    alpha.stop().await;
    alpha.start().await;
    alpha.welcomes_back(&mut ann).await;
    ann.session.subscribe("fnd").await.unwrap();
    let found = |rows: Option<Value>| rows.unwrap()[0]["public"]["fn"].clone();
    assert_eq!(found(ann.session.get("fnd", "sub").await.unwrap()), "amy");
    let desc = ann.session.get("fnd", "desc").await.unwrap().unwrap();
    assert_eq!(desc, json!({"private": "org:one"}));
    assert_eq!(names(&mut ann, "org:two").await, ["bea"]);
    assert_eq!(names(&mut ann, "␡").await, ["amy"]);
    let forget = json!({"topic": "fnd", "desc": {"private": "␡"}});
    ann.session.request("set", forget).await.unwrap();
    assert_eq!(ann.session.get("fnd", "sub").await.unwrap(), None);
}

#[tokio::test]
async fn what_is_masked_is_found_by_those_who_have_it_too() {
    let net = Net::new().await;
    let alpha = net
        .domain_with("alpha.test", "masked_tags = [\"team\"]")
        .await;
    tagged(&alpha, "amy", &["team:red"]).await;
    let mut desk = Desk::at(&alpha).await;
    desk.signs_up("ann", json!({"tags": ["team:blue"]})).await;
    desk.asks("sub", json!({"topic": "fnd"})).await;
    desk.asks(
        "set",
        json!({"topic": "fnd", "desc": {"public": "team:red"}}),
    )
    .await;
    let get = json!({"topic": "fnd", "what": "sub"});
    assert_eq!(
        desk.asks("get", get.clone()).await.status(),
        (403, "permission denied")
    );
    desk.sets_me(json!({"tags": ["basic:ann", "team:red"]}))
        .await;
    let rows = desk.frame("get", get).await.body["sub"].clone();
    assert_eq!(rows.as_array().unwrap().len(), 1);
}
