//! Logging in by the word of a service outside, played by a small server here.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use freehold_federation::Tasks;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    desk::{Desk, secret},
    net::{House, Net},
};

/// A service that knows Ann, bars Eve, and breaks at Mallory.
struct Service {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let app = Router::new()
            .route("/freehold/login", post(judge))
            .with_state(Arc::clone(&asked));
        let tasks = Tasks::default();
        let stop = tasks.stop_token();
        tasks.spawn("service", async move {
            let serving = axum::serve(listener, app);
            tokio::select! {
                () = stop.cancelled() => {}
                _ = serving => {}
            }
        });
        Self {
            address,
            asked,
            tasks,
        }
    }

    async fn stop(&self) {
        self.tasks.drain(std::time::Duration::from_secs(5)).await;
    }

    async fn domain(&self, net: &Net, more: &str) -> House {
        let settings = format!(
            "\n[authentication]\nurl = \"http://{}/freehold/\"\n{more}",
            self.address
        );
        net.domain_with("alpha.test", &settings).await
    }
}

async fn judge(
    State(asked): State<Arc<AtomicUsize>>,
    headers: HeaderMap,
    question: String,
) -> (StatusCode, String) {
    let question: Value = serde_json::from_str(&question).unwrap();
    asked.fetch_add(1, Ordering::Relaxed);
    assert_eq!(question["domain"], "alpha.test");
    assert_eq!(headers["content-type"], "application/json");
    let is = |text: &str| question["secret"] == secret(text);
    let scheme = question["scheme"].as_str().unwrap_or_default();
    let (status, body) = match scheme {
        "rest" if is("ticket of ann") => (
            StatusCode::OK,
            json!({"account": "employee 7", "login": "Ann", "name": "Ann B."}),
        ),
        "basic" if is("ann:office secret") => (StatusCode::OK, json!({"account": "employee 7"})),
        "rest" if is("ticket of eve") => (StatusCode::FORBIDDEN, json!({})),
        "rest" if is("ticket of mallory") => (StatusCode::OK, json!({"account": 7})),
        _ => (StatusCode::UNAUTHORIZED, json!({})),
    };
    std::future::ready((status, body.to_string())).await
}

fn rest(text: &str) -> Value {
    json!({"scheme": "rest", "secret": secret(text)})
}

#[tokio::test]
async fn whoever_the_service_knows_comes_in_and_has_an_account_from_then_on() {
    let net = Net::new().await;
    let service = Service::start().await;
    let alpha = service.domain(&net, "passwords = true").await;
    let mut desk = Desk::at(&alpha).await;
    let first = desk.asks("login", rest("ticket of ann")).await;
    assert_eq!(first.status(), (200, "ok"));
    let again = Desk::at(&alpha)
        .await
        .asks("login", rest("ticket of ann"))
        .await;
    assert_eq!(again.params["user"], first.params["user"]);
    desk.asks("sub", json!({"topic": "me"})).await;
    assert_eq!(desk.sees_of_me("tags").await, json!(["basic:ann"]));
    assert_eq!(
        desk.sees_of_me("desc").await["public"],
        json!({"fn": "Ann B."})
    );
    // Stock clients come with name and password.
    let by_password = Desk::at(&alpha).await.logs_in("Ann", "office secret").await;
    assert_eq!(by_password.params["user"], first.params["user"]);
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("ann", "wrong secret")
            .await
            .code,
        401
    );
    // Who has a password here is not asked for there.
    Desk::at(&alpha).await.signs_up("bob", json!({})).await;
    let before = service.asked.load(Ordering::Relaxed);
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("bob", "secret of bob")
            .await
            .code,
        200
    );
    assert_eq!(
        Desk::at(&alpha)
            .await
            .logs_in("bob", "wrong secret")
            .await
            .code,
        401
    );
    // And a token is judged here.
    assert_eq!(
        Desk::at(&alpha)
            .await
            .shows(&first.params["token"])
            .await
            .code,
        200
    );
    assert_eq!(service.asked.load(Ordering::Relaxed), before);
    service.stop().await;
}

#[tokio::test]
async fn what_the_service_refuses_is_refused_and_its_silence_is_no_verdict() {
    let net = Net::new().await;
    let service = Service::start().await;
    let alpha = service.domain(&net, "").await;
    let mut desk = Desk::at(&alpha).await;
    let failed = (401, "authentication failed");
    let unavailable = (503, "service unavailable");
    assert_eq!(
        desk.asks("login", rest("ticket of nobody")).await.status(),
        failed
    );
    let barred = desk.asks("login", rest("ticket of eve")).await;
    assert_eq!(barred.status(), (403, "permission denied"));
    assert_eq!(
        desk.asks("login", rest("ticket of mallory")).await.status(),
        unavailable
    );
    // Passwords are not its business here.
    assert_eq!(desk.logs_in("ann", "office secret").await.status(), failed);
    service.stop().await;
    assert_eq!(
        desk.asks("login", rest("ticket of ann")).await.status(),
        unavailable
    );
    let beta = net.domain("beta.test").await;
    let unknown = Desk::at(&beta)
        .await
        .asks("login", rest("ticket of ann"))
        .await;
    assert_eq!(unknown.status(), (401, "unknown authentication scheme"));
}
