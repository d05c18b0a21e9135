//! Changing name and password, and getting back in without them.

use serde_json::json;

use crate::{
    desk::{Desk, MAIL, secret},
    net::{House, Net},
};

async fn resets(house: &House, address: &str) -> (u64, String) {
    let ask = secret(&format!("basic:email:{address}"));
    let mut desk = Desk::at(house).await;
    let answer = desk
        .asks("login", json!({"scheme": "reset", "secret": ask}))
        .await;
    (answer.code, answer.text)
}

/// Sets a new password by code, as the stock web app does.
async fn sets_by_code(house: &House, proof: &str, password: &str) -> u64 {
    let acc = json!({"scheme": "basic", "secret": secret(&format!(":{password}")),
        "tmpscheme": "code", "tmpsecret": secret(proof)});
    Desk::at(house).await.asks("acc", acc).await.code
}

#[tokio::test]
async fn a_new_password_ends_every_log_in_but_the_one_that_set_it() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let (mut here, mut there) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    let own = here.signs_up("ann", json!({})).await.params;
    let other = there.logs_in("ann", "secret of ann").await.params;
    let change =
        json!({"user": own["user"], "scheme": "basic", "secret": secret(":another secret")});
    assert_eq!(here.asks("acc", change).await.status(), (200, "ok"));
    there.is_put_out().await;
    assert_eq!(here.asks("sub", json!({"topic": "me"})).await.code, 200);
    alpha.stop().await;
    alpha.start().await;
    let mut desk = Desk::at(&alpha).await;
    assert_eq!(desk.shows(&other["token"]).await.code, 401);
    assert_eq!(desk.logs_in("ann", "secret of ann").await.code, 401);
    // The client that changed it has still the token from before, and goes on with it.
    let renewed = desk.shows(&own["token"]).await;
    assert_eq!(renewed.code, 200);
    assert_eq!(
        Desk::at(&alpha)
            .await
            .shows(&renewed.params["token"])
            .await
            .code,
        200
    );
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("ann", "another secret")
            .await
            .code,
        200
    );
}

#[tokio::test]
async fn a_new_log_in_name_is_nobody_else_s_and_sets_the_old_one_free() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut amy) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    ann.signs_up("ann", json!({})).await;
    amy.signs_up("amy", json!({})).await;
    let change = |text: &str| json!({"scheme": "basic", "secret": secret(text)});
    let answer = ann.asks("acc", change("Amy:secret of ann")).await;
    assert_eq!(answer.status(), (409, "duplicate credential"));
    assert_eq!(answer.params, json!({"what": "auth"}));
    assert_eq!(
        ann.asks("acc", change("Anna:secret of ann")).await.code,
        200
    );
    ann.asks("sub", json!({"topic": "me"})).await;
    assert_eq!(ann.sees_of_me("tags").await, json!(["basic:anna"]));
    let mut desk = Desk::at(&alpha).await;
    assert_eq!(desk.logs_in("ann", "secret of ann").await.code, 401);
    assert_eq!(desk.logs_in("anna", "secret of ann").await.code, 200);
    assert_eq!(amy.asks("acc", change("ann:secret of amy")).await.code, 200);
}

#[tokio::test]
async fn a_lost_password_is_replaced_by_a_code_to_a_confirmed_address() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", MAIL).await;
    let mut ann = Desk::at(&alpha).await;
    let cred = json!({"cred": [{"meth": "email", "val": "ann@b.test"}]});
    let token = ann.signs_up("ann", cred).await.params["token"].clone();
    // An address that is not confirmed is nobody's.
    let sent = (301, "auth reset".to_owned());
    assert_eq!(resets(&alpha, "ann@b.test").await, sent);
    let code = alpha.code("ann@b.test", 1).await;
    ann.sets_me(json!({"cred": {"meth": "email", "resp": code}}))
        .await;

    assert_eq!(resets(&alpha, "nobody@b.test").await, sent);
    assert_eq!(resets(&alpha, "Ann@B.test").await, sent);
    let code = alpha.code("ann@b.test", 2).await;
    assert!(alpha.mails("nobody@b.test").is_empty());
    let mail = alpha
        .mails("ann@b.test")
        .remove(1)
        .replace("=\r\n", "")
        .replace("=3D", "=");
    let link = format!("https://chat.test/#reset?scheme=code&code={code}&cred=ann@b.test");
    assert!(mail.contains(&link), "{mail}");

    let wrong = format!(
        "{}:email:ann@b.test",
        if code == "111111" { "222222" } else { "111111" }
    );
    assert_eq!(sets_by_code(&alpha, &wrong, "new secret").await, 401);
    let nobody = format!("{code}:email:nobody@b.test");
    assert_eq!(sets_by_code(&alpha, &nobody, "new secret").await, 401);
    let right = format!("{code}:email:ann@b.test");
    assert_eq!(sets_by_code(&alpha, &right, "weak").await, 422);
    assert_eq!(sets_by_code(&alpha, &right, "new secret").await, 200);
    ann.is_put_out().await;
    assert_eq!(sets_by_code(&alpha, &right, "third secret").await, 401);
    let mut desk = Desk::at(&alpha).await;
    assert_eq!(desk.shows(&token).await.code, 401);
    assert_eq!(desk.logs_in("ann", "secret of ann").await.code, 401);
    assert_eq!(desk.logs_in("ann", "new secret").await.code, 200);
}

#[tokio::test]
async fn a_password_is_not_guessed_many_times_and_a_token_still_counts() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let mut desk = Desk::at(&alpha).await;
    let token = desk.signs_up("ann", json!({})).await.params["token"].clone();
    let mut eve = Desk::at(&alpha).await;
    for _ in 0..10 {
        let answer = eve.logs_in("ann", "guess, guess").await;
        assert_eq!(answer.status(), (401, "authentication failed"));
    }
    for login in ["ann", "ANN", "ann+x"] {
        let answer = eve.logs_in(login, "secret of ann").await;
        assert_eq!(answer.status(), (503, "service unavailable"));
        assert_eq!(answer.params, json!({"what": "limit"}));
    }
    assert_eq!(eve.shows(&token).await.code, 200);
    net.clock.advance(std::time::Duration::from_secs(15 * 60));
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("ann", "secret of ann")
            .await
            .code,
        200
    );
}
