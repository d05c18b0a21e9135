//! Tags, as their owner sets them.

use freehold_interop::{Frame, FrameKind};
use serde_json::{Value, json};

use crate::{desk::Desk, net::Net};

fn tags(all: &[&str]) -> Value {
    json!({ "tags": all })
}

#[tokio::test]
async fn a_list_of_tags_takes_the_place_of_the_one_before() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut other) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    let token = ann.signs_up("ann", tags(&["org:Example"])).await.params["token"].clone();
    other.shows(&token).await;
    other.asks("sub", json!({"topic": "me"})).await;
    ann.asks("sub", json!({"topic": "me"})).await;
    assert_eq!(
        ann.sees_of_me("tags").await,
        json!(["basic:ann", "org:example"])
    );
    let answer = ann
        .sets_me(tags(&["basic:ann", "alias:anna", "org:b"]))
        .await;
    assert_eq!(answer.params, json!({"added": 2, "removed": 1}));
    let told = |it: &Frame| it.kind == FrameKind::Pres && it.text("what") == "tags";
    other.waits_for("pres tags", told).await;
    assert_eq!(
        ann.sees_of_me("tags").await,
        json!(["basic:ann", "alias:anna", "org:b"])
    );
    for same in [tags(&["basic:ann", "org:b", "alias:anna"]), tags(&[])] {
        assert_eq!(ann.sets_me(same).await.status(), (304, "not modified"));
    }
    assert_eq!(
        ann.sets_me(tags(&["␡"])).await.params,
        json!({"added": 0, "removed": 2})
    );
    assert_eq!(ann.sees_of_me("tags").await, json!(["basic:ann"]));
}

#[tokio::test]
async fn tags_that_may_not_be_are_refused_and_nothing_changes() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let mut ann = Desk::at(&alpha).await;
    ann.signs_up("ann", tags(&["alias:anna"])).await;
    ann.asks("sub", json!({"topic": "me"})).await;
    let many: Vec<String> = (0..17).map(|it| format!("org:x{it}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many.push("basic:ann");
    let denied = (403, "permission denied");
    let malformed = (400, "malformed");
    for (list, status) in [
        (tags(&["alias:anna"]), denied),
        (tags(&["basic:ann", "basic:amy"]), denied),
        (tags(&["basic:ann", "email:a@b.test"]), denied),
        (tags(&["basic:ann", "word"]), malformed),
        (tags(&["basic:ann", "org:a b"]), malformed),
        (tags(&["basic:ann", "alias:a1", "alias:b1"]), malformed),
        (tags(&many), (422, "policy violation")),
    ] {
        let answer = ann.sets_me(list.clone()).await;
        assert_eq!(answer.status(), status, "{list}");
        assert_eq!(answer.params, json!({"what": "tags"}), "{list}");
    }
    assert_eq!(
        ann.sees_of_me("tags").await,
        json!(["basic:ann", "alias:anna"])
    );
    let mut eve = Desk::at(&alpha).await;
    let answer = eve.signs_up("eve", tags(&["basic:root"])).await;
    assert_eq!(
        (answer.status(), answer.params.clone()),
        (denied, json!({"what": "tags"}))
    );
    assert_eq!(eve.logs_in("eve", "secret of eve").await.code, 401);
}

#[tokio::test]
async fn an_alias_has_one_owner() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut amy) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    let id = ann.signs_up("ann", tags(&["alias:star"])).await.params["user"].clone();
    let taken = (400, "malformed");
    assert_eq!(
        amy.signs_up("amy", tags(&["alias:star"])).await.status(),
        taken
    );
    assert_eq!(amy.signs_up("amy", tags(&[])).await.code, 200);
    let take = tags(&["basic:amy", "alias:Star"]);
    assert_eq!(amy.sets_me(take.clone()).await.status(), taken);
    // The way stock clients ask before.
    amy.asks("sub", json!({"topic": "fnd"})).await;
    let asks = |alias: &str| json!({"topic": "fnd", "desc": {"public": alias}});
    let get = json!({"topic": "fnd", "what": "tags"});
    amy.asks("set", asks("alias:star")).await;
    assert_eq!(
        amy.frame("get", get.clone()).await.body["tags"],
        json!([id])
    );
    amy.asks("set", asks("alias:free")).await;
    let answer = amy.asks("get", get).await;
    assert_eq!(
        (answer.code, &answer.params),
        (204, &json!({"what": "tags"}))
    );
    ann.sets_me(tags(&["basic:ann"])).await;
    assert_eq!(amy.sets_me(take).await.code, 200);
}

#[tokio::test]
async fn whoever_does_not_wish_to_be_found_is_not_named_by_their_alias_either() {
    let net = Net::new().await;
    let domains = [
        ("alpha.test", "findable = false"),
        ("beta.test", "masked_tags = [\"alias\"]"),
    ];
    for (name, clients) in domains {
        let house = net.domain_with(name, clients).await;
        let (mut ann, mut amy) = (Desk::at(&house).await, Desk::at(&house).await);
        let id = ann.signs_up("ann", tags(&["alias:star"])).await.params["user"].clone();
        amy.signs_up("amy", tags(&[])).await;
        for desk in [&mut ann, &mut amy] {
            desk.asks("sub", json!({"topic": "fnd"})).await;
            let set = json!({"topic": "fnd", "desc": {"public": "alias:star"}});
            desk.asks("set", set).await;
        }
        let get = json!({"topic": "fnd", "what": "tags"});
        let answer = amy.asks("get", get.clone()).await;
        assert_eq!(
            (answer.code, &answer.params),
            (204, &json!({"what": "tags"})),
            "{name}"
        );
        let take = tags(&["basic:amy", "alias:star"]);
        assert_eq!(amy.sets_me(take).await.status(), (400, "malformed"));
        // One's own is still one's own.
        assert_eq!(ann.frame("get", get).await.body["tags"], json!([id]));
    }
}

#[tokio::test]
async fn an_alias_of_a_channel_leads_strangers_to_the_channel_and_its_owner_to_the_group() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut amy) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    ann.signs_up("ann", tags(&[])).await;
    amy.signs_up("amy", tags(&[])).await;
    let founding = json!({"topic": "nch1", "set": {"tags": ["alias:news"]}});
    let made = ann.frame("sub", founding).await;
    let group = made.text("topic").to_owned();
    let channel = group.replacen("grp", "chn", 1);
    for (desk, name) in [(&mut ann, &group), (&mut amy, &channel)] {
        desk.asks("sub", json!({"topic": "fnd"})).await;
        let set = json!({"topic": "fnd", "desc": {"public": "alias:news"}});
        desk.asks("set", set).await;
        let get = json!({"topic": "fnd", "what": "tags"});
        assert_eq!(desk.frame("get", get).await.body["tags"], json!([name]));
    }
}

#[tokio::test]
async fn of_groups_made_at_once_with_one_alias_one_gets_it_and_the_others_hear_that_it_is_taken() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let mut ann = Desk::at(&alpha).await;
    ann.signs_up("ann", tags(&[])).await;
    let mut asked = Vec::new();
    for number in 0..8 {
        let set = json!({"tags": ["alias:club"]});
        let body = json!({"topic": format!("new{number}"), "set": set});
        asked.push(ann.0.send("sub", body).await.unwrap());
    }
    let mut made = 0;
    for id in asked {
        let answers = |it: &Frame| it.kind == FrameKind::Ctrl && it.text("id") == id;
        let answer = ann.waits_for("answer", answers).await;
        if answer.code() == 200 {
            made += 1;
            continue;
        }
        let said = (answer.code(), answer.text("text"), &answer.body["params"]);
        assert_eq!(said, (400, "malformed", &json!({"what": "tags"})));
    }
    assert_eq!(made, 1);
}

#[tokio::test]
async fn a_group_is_found_by_its_tags_until_its_owner_is_gone() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    let founding = json!({"topic": "new1", "set": {"tags": ["travel", "alias:club"],
        "desc": {"public": {"fn": "Club"}}}});
    let made = ann.session.request("sub", founding).await.unwrap();
    let group = made.text("topic").to_owned();
    for typed in ["travel", "alias:club", "basic:nobody,travel"] {
        let rows = amy.finds(typed).await;
        assert_eq!(rows.len(), 1, "{typed}");
        assert_eq!(rows[0]["topic"], group, "{typed}");
        assert_eq!(rows[0]["public"], json!({"fn": "Club"}));
    }
    let alias = json!({"topic": "me", "tags": ["basic:amy", "alias:club"]});
    let taken = (400, "malformed".to_owned());
    assert_eq!(amy.is_refused("set", alias.clone()).await, taken);
    let tags = json!({"topic": group, "tags": ["sailing", "alias:club"]});
    let answer = ann.session.request("set", tags).await.unwrap();
    assert_eq!(answer.body["params"], json!({"added": 1, "removed": 1}));
    assert!(amy.finds("travel").await.is_empty());
    assert_eq!(amy.finds("sailing").await.len(), 1);
    let wrong = json!({"topic": group, "tags": ["email:a@b.test"]});
    let denied = (403, "permission denied".to_owned());
    assert_eq!(ann.is_refused("set", wrong).await, denied);

    amy.session.subscribe(&group).await.unwrap();
    let put_out = |it: &Frame| it.code() == 205 && it.text("topic") == group;
    let deleted = json!({"what": "user", "hard": true});
    ann.session.request("del", deleted).await.unwrap();
    let told = amy.session.wait_for("205", crate::guest::SOON, put_out);
    assert_eq!(told.await.unwrap().body["params"], json!({"unsub": true}));
    assert!(amy.finds("sailing").await.is_empty());
    amy.session.request("set", alias).await.unwrap();
}
