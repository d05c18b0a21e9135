//! What administrators may do, and nobody else.

use freehold::accounts::Level;
use freehold_interop::{Frame, FrameKind};
use serde_json::{Value, json};

use crate::{
    desk::Desk,
    net::{House, Net},
};

/// A domain with an administrator who is logged in.
async fn with_root(net: &Net) -> (House, Desk, Value) {
    let mut alpha = net.domain("alpha.test").await;
    alpha.stop().await;
    let domain = alpha.in_hand().await;
    domain
        .add_user("root", "secret of root", "Root", Level::Root)
        .await
        .unwrap();
    domain.close().await;
    alpha.start().await;
    let mut root = Desk::at(&alpha).await;
    let answer = root.logs_in("root", "secret of root").await;
    assert_eq!(answer.params["authlvl"], "root");
    (alpha, root, answer.params["user"].clone())
}

async fn trail(house: &mut House) -> Vec<(String, String, String)> {
    house.stop().await;
    let domain = house.in_hand().await;
    let trail = domain.audit_trail(100).await.unwrap();
    domain.close().await;
    house.start().await;
    trail
        .into_iter()
        .map(|it| (it.by, it.about, it.what))
        .collect()
}

#[tokio::test]
async fn a_suspended_person_is_put_out_and_kept_out_until_resumed() {
    let net = Net::new().await;
    let (mut alpha, mut root, root_id) = with_root(&net).await;
    let mut ann = Desk::at(&alpha).await;
    let own = ann.signs_up("ann", json!({})).await.params;
    ann.asks("sub", json!({"topic": "me"})).await;
    let mut silent = Desk::at(&alpha).await;
    silent.shows(&own["token"]).await;
    let state = |status: &str| json!({"user": own["user"], "status": status});
    let denied = (403, "permission denied");
    assert_eq!(ann.asks("acc", state("susp")).await.status(), denied);
    assert_eq!(
        root.asks("acc", state("gone")).await.status(),
        (400, "malformed")
    );
    assert_eq!(root.asks("acc", state("susp")).await.status(), (200, "ok"));
    ann.is_put_out().await;
    silent.is_put_out().await;
    let mut desk = Desk::at(&alpha).await;
    for answer in [
        desk.shows(&own["token"]).await,
        desk.logs_in("ann", "secret of ann").await,
    ] {
        assert_eq!(answer.status(), denied);
        assert_eq!(answer.params, json!({"what": "state", "state": "susp"}));
    }
    let of_ann = json!({"topic": "me", "what": "desc"});
    let as_ann =
        |request: &str, body: &Value| json!({request: body, "extra": {"obo": own["user"]}});
    // What is asked on behalf of somebody goes beside the request, so it is sent as a whole.
    let shown = root.with_extra(as_ann("get", &of_ann)).await;
    assert_eq!(shown["meta"]["desc"]["state"], "susp");
    assert_eq!(root.asks("acc", state("susp")).await.code, 304);
    assert_eq!(root.asks("acc", state("ok")).await.code, 200);
    assert_eq!(desk.logs_in("ann", "secret of ann").await.code, 200);
    // Nobody locks themselves out.
    let own_state = json!({"user": root_id, "status": "susp"});
    assert_eq!(root.asks("acc", own_state).await.status(), denied);

    let id = format!("{}@alpha.test", own["user"].as_str().unwrap());
    let by = format!("{}@alpha.test", root_id.as_str().unwrap());
    let entry = |what: &str| (by.clone(), id.clone(), what.to_owned());
    let trail = trail(&mut alpha).await;
    assert_eq!(
        trail[..3],
        [entry("state ok"), entry("get me"), entry("state susp")]
    );
    assert_eq!(trail[3].2, "create root");
}

#[tokio::test]
async fn marks_of_trust_are_set_by_administrators_and_seen_by_everybody() {
    let net = Net::new().await;
    let (alpha, mut root, _) = with_root(&net).await;
    let mut ann = alpha.guest("ann").await;
    let amy = alpha.guest("amy").await;
    let mark = json!({"topic": "me", "desc": {"trusted": {"staff": true}}});
    let refusal = ann.is_refused("set", mark.clone()).await;
    assert_eq!(refusal, (403, "permission denied".to_owned()));
    ann.opens(&amy).await;
    let set = json!({"set": mark, "extra": {"obo": amy.person.id}});
    assert_eq!(root.with_extra(set).await["ctrl"]["code"], 200);
    let updated = |it: &Frame| it.kind == FrameKind::Pres && it.text("what") == "upd";
    ann.session
        .wait_for("pres upd", crate::guest::SOON, updated)
        .await
        .unwrap();

    let staff = json!({"staff": true});
    assert_eq!(ann.finds("basic:amy").await[0]["trusted"], staff);
    let desc = ann
        .session
        .get(&amy.person.id, "desc")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(desc["trusted"], staff);
    let contacts = ann.session.get("me", "sub").await.unwrap().unwrap();
    assert_eq!(contacts[0]["trusted"], staff);
    // Marks merge as descriptions do; one that was taken away is said to be, for clients that keep
    // what they are not told of.
    let more = json!({"topic": "me", "desc": {"trusted": {"staff": "␡", "verified": true}}});
    root.with_extra(json!({"set": more, "extra": {"obo": amy.person.id}}))
        .await;
    assert_eq!(
        ann.finds("basic:amy").await[0]["trusted"],
        json!({"staff": false, "verified": true})
    );
}

#[tokio::test]
async fn only_administrators_act_for_others_or_touch_their_accounts() {
    let net = Net::new().await;
    let (alpha, mut root, root_id) = with_root(&net).await;
    let (mut ann, amy) = (Desk::at(&alpha).await, alpha.guest("amy").await);
    ann.signs_up("ann", json!({})).await;
    let denied = (403, "permission denied");
    let other = json!(amy.person.id);
    let extra = json!({"get": {"topic": "me", "what": "desc"}, "extra": {"obo": other}});
    assert_eq!(ann.with_extra(extra).await["ctrl"]["code"], 403);
    let secret = crate::desk::secret(":another secret");
    let change = json!({"user": other, "scheme": "basic", "secret": secret});
    assert_eq!(ann.asks("acc", change.clone()).await.status(), denied);
    let delete = json!({"what": "user", "user": other});
    assert_eq!(ann.asks("del", delete).await.status(), denied);
    let root_account = json!({"authlvl": "root", "authlevel": "root"});
    let mut new = json!({"user": "new2", "scheme": "basic", "secret": crate::desk::secret("eve:secret of eve")});
    new["authlevel"] = root_account["authlevel"].clone();
    assert_eq!(ann.asks("acc", new.clone()).await.status(), denied);
    // An administrator may, and may make others, whoever may register.
    assert_eq!(root.asks("acc", change).await.code, 200);
    assert_eq!(root.asks("acc", new).await.params["authlvl"], "root");
    let answer = Desk::at(&alpha).await.logs_in("eve", "secret of eve").await;
    assert_eq!(answer.params["authlvl"], "root");
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("amy", "another secret")
            .await
            .code,
        200
    );
    assert!(root_id.is_string());
}
