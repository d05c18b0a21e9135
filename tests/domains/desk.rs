//! Somebody at the counter: asks about accounts, and sees code, text and params of every answer.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_interop::{Failure, Frame, FrameKind, Session};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{guest::SOON, net::House};

pub(crate) const MAIL: &str = "\n[mail]\nfolder = \"mail\"\napp_url = \"https://chat.test/\"";

/// A secret as clients send it.
pub(crate) fn secret(text: &str) -> String {
    STANDARD.encode(text)
}

/// One connection that is not logged in, or is.
pub(crate) struct Desk(pub(crate) Session);

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) code: u64,
    pub(crate) text: String,
    pub(crate) params: Value,
}

impl Desk {
    pub(crate) async fn at(house: &House) -> Self {
        Self(Session::open(&house.endpoint, "somebody").await.unwrap())
    }

    /// Sends a request and takes the first ctrl or meta that answers it.
    pub(crate) async fn frame(&mut self, kind: &str, body: Value) -> Frame {
        let id = self.0.send(kind, body).await.unwrap();
        let answers = [FrameKind::Ctrl, FrameKind::Meta];
        let fits = |it: &Frame| answers.contains(&it.kind) && it.text("id") == id;
        self.0.wait_for(kind, SOON, fits).await.unwrap()
    }

    pub(crate) async fn asks(&mut self, kind: &str, body: Value) -> Answer {
        let frame = self.frame(kind, body).await;
        assert_eq!(frame.kind, FrameKind::Ctrl, "{frame:?}");
        Answer {
            code: frame.code(),
            text: frame.text("text").to_owned(),
            params: frame.body["params"].clone(),
        }
    }

    /// Sends a whole frame, with what goes beside the request, and takes what answers it.
    pub(crate) async fn with_extra(&mut self, mut frame: Value) -> Value {
        let extra = frame.as_object_mut().unwrap().remove("extra").unwrap();
        let (kind, body) = frame.as_object().unwrap().iter().next().unwrap();
        let id = self.0.send_with(kind, body.clone(), extra).await.unwrap();
        let fits = |it: &Frame| it.text("id") == id;
        let answer = self.0.wait_for(kind, SOON, fits).await.unwrap();
        match answer.kind {
            FrameKind::Meta => json!({"meta": answer.body}),
            _ => json!({"ctrl": answer.body}),
        }
    }

    /// Signs up as the web app does, with more fields if need be.
    pub(crate) async fn signs_up(&mut self, login: &str, more: Value) -> Answer {
        let password = secret(&format!("{login}:secret of {login}"));
        let mut acc = json!({"user": "new", "scheme": "basic", "secret": password, "login": true});
        for (key, value) in more.as_object().unwrap() {
            acc[key] = value.clone();
        }
        self.asks("acc", acc).await
    }

    pub(crate) async fn logs_in(&mut self, login: &str, password: &str) -> Answer {
        let secret = secret(&format!("{login}:{password}"));
        self.asks("login", json!({"scheme": "basic", "secret": secret}))
            .await
    }

    pub(crate) async fn shows(&mut self, token: &Value) -> Answer {
        self.asks("login", json!({"scheme": "token", "secret": token}))
            .await
    }

    /// Confirms an address with a token and a code.
    pub(crate) async fn confirms(&mut self, token: &Value, code: &str) -> Answer {
        let cred = json!([{"meth": "email", "resp": code}]);
        let login = json!({"scheme": "token", "secret": token, "cred": cred});
        self.asks("login", login).await
    }

    pub(crate) async fn sets_me(&mut self, what: Value) -> Answer {
        let mut set = what;
        set["topic"] = json!("me");
        self.asks("set", set).await
    }

    /// What `{get me}` shows; null when there is nothing.
    pub(crate) async fn sees_of_me(&mut self, what: &str) -> Value {
        let frame = self
            .frame("get", json!({"topic": "me", "what": what}))
            .await;
        frame.body[what].clone()
    }

    pub(crate) async fn waits_for(&mut self, what: &str, fits: impl Fn(&Frame) -> bool) -> Frame {
        self.0.wait_for(what, SOON, fits).await.unwrap()
    }

    /// Waits for the last word and the end of the connection.
    pub(crate) async fn is_put_out(&mut self) {
        self.waits_for("205 evicted", |it| {
            it.code() == 205 && it.text("text") == "evicted"
        })
        .await;
        self.ends().await;
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ends(&mut self) {
        let deadline = Instant::now() + SOON;
        loop {
            match self.0.next(deadline).await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the connection lives on"),
                Err(Failure::Disconnected { .. }) => return,
                Err(other) => panic!("{other}"),
            }
        }
    }
}

impl Answer {
    pub(crate) fn status(&self) -> (u64, &str) {
        (self.code, &self.text)
    }
}
