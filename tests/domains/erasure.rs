//! Deleting an account.

use freehold_interop::{Frame, FrameKind};
use serde_json::json;

use crate::{
    desk::{Desk, MAIL},
    guest::SOON,
    net::Net,
};

fn delete_me() -> serde_json::Value {
    json!({"what": "user", "hard": true})
}

#[tokio::test]
async fn a_deleted_account_is_nobody_s_and_what_led_to_it_is_free_again() {
    let net = Net::new().await;
    let mut alpha = net.domain_with("alpha.test", MAIL).await;
    let (mut ann, mut phone) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    let more = json!({"tags": ["alias:anna"], "cred": [{"meth": "email", "val": "ann@b.test"}]});
    let own = ann.signs_up("ann", more.clone()).await.params;
    let code = alpha.code("ann@b.test", 1).await;
    ann.sets_me(json!({"cred": {"meth": "email", "resp": code}}))
        .await;
    phone.shows(&own["token"]).await;
    let mut amy = alpha.guest("amy").await;
    assert_eq!(ann.asks("del", delete_me()).await.status(), (200, "ok"));
    ann.ends().await;
    phone.is_put_out().await;

    let id = own["user"].as_str().unwrap();
    assert!(
        amy.finds("basic:ann,alias:anna,email:ann@b.test")
            .await
            .is_empty()
    );
    let nobody = (404, "user not found".to_owned());
    assert_eq!(amy.is_refused("sub", json!({"topic": id})).await, nobody);
    let mut desk = Desk::at(&alpha).await;
    assert_eq!(desk.shows(&own["token"]).await.code, 401);
    assert_eq!(desk.logs_in("ann", "secret of ann").await.code, 401);
    let again = desk.signs_up("ann", more).await;
    assert_eq!(again.code, 200);
    assert_ne!(again.params["user"], own["user"]);
    alpha.stop().await;
    alpha.start().await;
    assert_eq!(Desk::at(&alpha).await.shows(&own["token"]).await.code, 401);
}

#[tokio::test]
async fn contacts_of_the_same_domain_lose_the_chat() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    ann.says(&amy, "hello").await;
    amy.opens(&ann).await;
    ann.session.request("del", delete_me()).await.unwrap();
    let name = amy.name_of(&ann);
    let gone = |it: &Frame| {
        it.kind == FrameKind::Pres && it.text("what") == "gone" && it.text("src") == name
    };
    amy.session.wait_for("pres gone", SOON, gone).await.unwrap();
    let evicted = |it: &Frame| it.code() == 205 && it.text("topic") == name;
    let word = amy.session.wait_for("205", SOON, evicted).await.unwrap();
    assert_eq!(word.body["params"], json!({"unsub": true}));
    assert_eq!(amy.session.get("me", "sub").await.unwrap(), None);
}

#[tokio::test]
async fn a_contact_elsewhere_is_told_even_when_that_domain_was_away() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let mut beta = net.domain("beta.test").await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    ann.meets(&mut bob).await;
    beta.stop().await;
    ann.session.request("del", delete_me()).await.unwrap();
    alpha.stop().await;
    beta.start().await;
    beta.welcomes_back(&mut bob).await;
    alpha.start().await;
    let name = bob.name_of(&ann);
    let changed = |it: &Frame| {
        it.kind == FrameKind::Pres && it.text("what") == "acs" && it.text("src") == name
    };
    bob.session
        .wait_for("pres acs", SOON, changed)
        .await
        .unwrap();
    let desc = bob.session.get(&name, "desc").await.unwrap().unwrap();
    assert_eq!(desc.get("public"), None, "{desc}");
    assert_eq!(desc["acs"]["given"], "N");
}

#[tokio::test]
async fn an_administrator_deletes_another_account() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    alpha.stop().await;
    let domain = alpha.in_hand().await;
    let root = freehold::accounts::Level::Root;
    domain
        .add_user("root", "secret of root", "Root", root)
        .await
        .unwrap();
    domain.close().await;
    alpha.start().await;
    let (mut root, mut ann) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    root.logs_in("root", "secret of root").await;
    let id = ann.signs_up("ann", json!({})).await.params["user"].clone();
    let delete = json!({"what": "user", "user": id, "hard": true});
    assert_eq!(root.asks("del", delete.clone()).await.status(), (200, "ok"));
    ann.is_put_out().await;
    assert_eq!(
        root.asks("del", delete).await.status(),
        (404, "user not found")
    );
    assert_eq!(root.asks("sub", json!({"topic": "me"})).await.code, 200);
    // The operator can, too, while the domain is stopped.
    Desk::at(&alpha).await.signs_up("eve", json!({})).await;
    alpha.stop().await;
    let domain = alpha.in_hand().await;
    domain.delete_user("eve").await.unwrap();
    assert!(domain.delete_user("eve").await.is_err());
    domain.close().await;
    alpha.start().await;
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("eve", "secret of eve")
            .await
            .code,
        401
    );
}
