//! Who may make an account.

use std::time::Duration;

use freehold::accounts::{Level, access::State};
use serde_json::json;

use crate::{
    desk::{Desk, secret},
    net::{House, Net},
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn with(net: &Net, registration: &str) -> House {
    let mut house = net.domain("alpha.test").await;
    house.stop().await;
    house.set("registration", &format!("\"{registration}\""));
    house
}

#[tokio::test]
async fn an_invitation_is_typed_behind_the_log_in_name() {
    let net = Net::new().await;
    let mut alpha = with(&net, "invite").await;
    let domain = alpha.in_hand().await;
    let two = domain.invite(2, DAY, "for the family").await.unwrap().code;
    let short = domain.invite(1, DAY / 24, "").await.unwrap().code;
    let revoked = domain.invite(1, DAY, "").await.unwrap().code;
    assert!(domain.revoke_invitation(&revoked).await.unwrap());
    domain.close().await;
    alpha.start().await;
    let closed = (403, "permission denied");
    let mut desk = Desk::at(&alpha).await;
    net.clock.advance(DAY / 12);
    for login in [
        "eve",
        "eve+",
        "eve+wrong",
        &format!("eve+{short}"),
        &format!("eve+{revoked}"),
    ] {
        let answer = desk.signs_up(login, json!({})).await;
        assert_eq!(answer.status(), closed, "{login}");
        assert_eq!(answer.params, json!({"what": "registration"}));
    }
    assert_eq!(
        desk.signs_up(&format!("Ann+{}", two.to_uppercase()), json!({}))
            .await
            .code,
        200
    );
    desk.asks("sub", json!({"topic": "me"})).await;
    assert_eq!(desk.sees_of_me("tags").await, json!(["basic:ann"]));
    // A client may keep what was typed.
    for login in ["ann".to_owned(), format!("ann+{two}")] {
        let password = format!("secret of Ann+{}", two.to_uppercase());
        let answer = Desk::at(&alpha).await.logs_in(&login, &password).await;
        assert_eq!(answer.code, 200, "{login}");
    }
    // Programs may name it as a credential.
    let cred = json!({"cred": [{"meth": "invite", "resp": two}]});
    assert_eq!(
        Desk::at(&alpha)
            .await
            .signs_up("amy", cred.clone())
            .await
            .code,
        200
    );
    assert_eq!(Desk::at(&alpha).await.signs_up("mia", cred).await.code, 403);
}

#[tokio::test]
async fn who_waits_for_approval_is_told_so_and_is_nobody_to_others() {
    let net = Net::new().await;
    let mut alpha = with(&net, "approval").await;
    let domain = alpha.in_hand().await;
    domain
        .add_user("ann", "secret of ann", "Ann", Level::Authenticated)
        .await
        .unwrap();
    domain.close().await;
    alpha.start().await;
    let mut desk = Desk::at(&alpha).await;
    let waits = (403, "account awaits approval");
    let answer = desk.signs_up("bob", json!({})).await;
    assert_eq!(answer.status(), waits);
    assert_eq!(answer.params, json!({"what": "state", "state": "pending"}));
    assert_eq!(desk.asks("sub", json!({"topic": "me"})).await.code, 401);
    assert_eq!(desk.logs_in("bob", "secret of bob").await.status(), waits);
    let mut ann = Desk::at(&alpha).await;
    assert_eq!(ann.logs_in("ann", "secret of ann").await.code, 200);
    ann.asks("sub", json!({"topic": "fnd"})).await;
    ann.asks(
        "set",
        json!({"topic": "fnd", "desc": {"public": "basic:bob"}}),
    )
    .await;
    let found = ann
        .asks("get", json!({"topic": "fnd", "what": "sub"}))
        .await;
    assert_eq!(found.code, 204);
    alpha.stop().await;
    let domain = alpha.in_hand().await;
    assert!(domain.set_state("bob", State::Ok).await.unwrap());
    domain.close().await;
    alpha.start().await;
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("bob", "secret of bob")
            .await
            .code,
        200
    );
}

#[tokio::test]
async fn people_without_a_name_come_in_only_where_that_is_allowed() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let open = net.domain_with("open.test", "anonymous = true").await;
    let acc = json!({"user": "new", "scheme": "anonymous", "login": true, "desc": {"public": {"fn": "Guest"}}});
    let answer = Desk::at(&alpha).await.asks("acc", acc.clone()).await;
    assert_eq!(answer.status(), (403, "permission denied"));
    let mut desk = Desk::at(&open).await;
    let params = desk.asks("acc", acc).await.params;
    assert_eq!(params["authlvl"], "anon");
    assert_eq!(desk.asks("sub", json!({"topic": "me"})).await.code, 200);
    let mut again = Desk::at(&open).await;
    assert_eq!(
        again.shows(&params["token"]).await.params["authlvl"],
        "anon"
    );
    // With a name it becomes an account like others.
    let change = json!({"scheme": "basic", "secret": secret("ann:secret of ann")});
    assert_eq!(desk.asks("acc", change).await.code, 200);
    let params = Desk::at(&open)
        .await
        .logs_in("ann", "secret of ann")
        .await
        .params;
    assert_eq!(params["authlvl"], "auth");
}
