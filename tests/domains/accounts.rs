//! Getting in, and staying in.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_interop::{Endpoint, Failure, Person, Session};
use serde_json::{Value, json};

use crate::net::Net;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn secret(login: &str, password: &str) -> String {
    STANDARD.encode(format!("{login}:{password}"))
}

async fn makes_account(at: &Endpoint, login: &str, password: &str) -> Result<Value, u64> {
    let mut session = Session::open(at, login).await.unwrap();
    let account =
        json!({"user": "new", "scheme": "basic", "secret": secret(login, password), "login": true});
    outcome(session.request("acc", account).await.map(|it| it.body))
}

async fn logs_in(at: &Endpoint, scheme: &str, secret: &str) -> Result<Value, u64> {
    let mut session = Session::open(at, "somebody").await.unwrap();
    outcome(session.login(scheme, secret).await)
}

fn outcome(answer: freehold_interop::Result<Value>) -> Result<Value, u64> {
    answer.map_err(|failure| match failure {
        Failure::Refused { code, .. } => code,
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn a_log_in_name_has_one_form() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let at = &alpha.endpoint;
    let made = makes_account(at, "Ann.B", "a long secret").await.unwrap();
    let id = &made["params"]["user"];
    for login in ["Ann.B", "ann.b", "ANN.B"] {
        let params = logs_in(at, "basic", &secret(login, "a long secret"))
            .await
            .unwrap();
        assert_eq!(&params["user"], id, "{login}");
    }
    assert_eq!(makes_account(at, "ANN.b", "another secret").await, Err(409));
    // Whoever took the name still has it, with the same secret.
    assert_eq!(
        logs_in(at, "basic", &secret("ann.b", "another secret")).await,
        Err(401)
    );
    logs_in(at, "basic", &secret("ann.b", "a long secret"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_weak_secret_or_an_impossible_name_makes_no_account() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    for (login, password) in [
        ("ann", ""),
        ("ann", "x"),
        ("a", "a long secret"),
        ("", "a long secret"),
        ("ann b", "a long secret"),
        ("ann@alpha.test", "a long secret"),
    ] {
        let answer = makes_account(&alpha.endpoint, login, password).await;
        assert_eq!(answer.err(), Some(422), "{login:?} {password:?}");
    }
    makes_account(&alpha.endpoint, "ann", "a long secret")
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_outlives_restarts_for_a_while_at_its_own_domain() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let beta = net.domain("beta.test").await;
    let token = alpha.guest("ann").await.person.token;
    assert_eq!(logs_in(&beta.endpoint, "token", &token).await, Err(401));
    for wrong in ["", "AAAA", &token[4..]] {
        assert_eq!(
            logs_in(&alpha.endpoint, "token", wrong).await,
            Err(401),
            "{wrong}"
        );
    }

    alpha.stop().await;
    alpha.start().await;
    net.clock.advance(13 * DAY);
    logs_in(&alpha.endpoint, "token", &token).await.unwrap();
    net.clock.advance(2 * DAY);
    assert_eq!(logs_in(&alpha.endpoint, "token", &token).await, Err(401));
}

#[tokio::test]
async fn registration_can_be_closed() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let ann = alpha.guest("ann").await.person;
    alpha.stop().await;
    alpha.set("registration", "\"closed\"");
    alpha.start().await;
    assert_eq!(
        makes_account(&alpha.endpoint, "eve", "a long secret").await,
        Err(403)
    );
    let ann = Person {
        endpoint: alpha.endpoint.clone(),
        ..ann
    };
    ann.log_in_by_password().await.unwrap();
}
