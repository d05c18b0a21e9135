//! Sessions of a whole domain whose clients take nothing for a while, on a store that stands still or
//! refuses when told to.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    behind::keep_up,
    connection::Connection,
    encoding::{Encoded, Encoding},
    session::Session,
};
use crate::{
    accounts::registration::{NewAccount, Permit},
    stage::Stage,
    topic::catching_up::PAGES_AT_ONCE,
};

/// Sessions that take nothing for a while.
const SLOW: usize = 200;
/// More than waits for one of them.
const MESSAGES: u64 = 300;
/// For what would come never otherwise.
const LONG: Duration = Duration::from_secs(20);
/// Nobody is held back for writing much.
const NO_LIMITS: &str = "[limits]\nuser_messages = [0, 0]\nuser_requests = [0, 0]\ntopic_messages = [0, 0]\n\
                         prefix_requests = [0, 0]\nprefix_sessions = [0, 0]\n";

/// A client whose connection is this test.
struct Client {
    session: Session,
    queue: mpsc::Receiver<Vec<Encoded>>,
    connection: Connection,
    user: String,
    token: String,
}

impl Client {
    /// Of a new person.
    async fn of(stage: &Stage, name: &str) -> Self {
        let secret = format!("{name}:secret of {name}");
        let new = NewAccount {
            way_in: Some((name.to_owned(), format!("secret of {name}"))),
            ..NewAccount::default()
        };
        stage
            .server
            .create_account(new, Permit::Free)
            .await
            .unwrap();
        Self::enters(stage, "basic", &STANDARD.encode(secret)).await
    }

    /// Another one of the same person.
    async fn again(&self, stage: &Stage) -> Self {
        Self::enters(stage, "token", &self.token).await
    }

    async fn enters(stage: &Stage, scheme: &str, secret: &str) -> Self {
        let server = &stage.server;
        let (session, queue) = Session::new(Encoding::Json, CancellationToken::new());
        let keeping_up = keep_up(Arc::clone(server), session.clone());
        server.tasks.spawn("keeping up", keeping_up);
        let mut client = Self {
            connection: Connection::new(Arc::clone(server), session.clone()),
            session,
            queue,
            user: String::new(),
            token: String::new(),
        };
        client.asks("hi", json!({"ver": "0.25"})).await;
        let login = json!({"scheme": scheme, "secret": secret});
        let params = client.asks("login", login).await["params"].take();
        client.user = params["user"].as_str().unwrap().to_owned();
        client.token = params["token"].as_str().unwrap().to_owned();
        client
    }

    /// Asks for something and takes what comes up to the answer.
    async fn asks(&mut self, what: &str, mut body: Value) -> Value {
        body["id"] = "1".into();
        let frame = json!({ what: body }).to_string();
        self.connection.handle(frame.into()).await;
        loop {
            let frames = self.takes().await;
            let answer = frames.into_iter().find(|it| it["ctrl"]["id"] == "1");
            if let Some(mut answer) = answer {
                return answer["ctrl"].take();
            }
        }
    }

    /// Takes what waits next.
    async fn takes(&mut self) -> Vec<Value> {
        let frames = timeout(LONG, self.queue.recv()).await;
        let frames = frames.expect("something comes").unwrap();
        self.session.sent(&frames);
        frames.into_iter().map(read).collect()
    }

    /// Takes all that waits.
    fn drains(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Ok(frames) = self.queue.try_recv() {
            self.session.sent(&frames);
            all.extend(frames.into_iter().map(read));
        }
        all
    }

    /// A group of this person's.
    async fn founds(&mut self) -> String {
        let made = self.asks("sub", json!({"topic": "new1"})).await;
        made["topic"].as_str().unwrap().to_owned()
    }

    async fn opens(&mut self, topic: &str) {
        let opened = self.asks("sub", json!({ "topic": topic })).await;
        assert_eq!(opened["code"], 200, "{opened}");
    }

    /// Says these numbers; each is seen here.
    async fn says(&mut self, topic: &str, numbers: RangeInclusive<u64>) {
        for number in numbers {
            let body = json!({"topic": topic, "content": number});
            let said = self.asks("pub", body).await;
            assert_eq!(said["params"]["seq"], number, "{said}");
        }
    }

    /// Takes everything up to some message, and says in which order messages came.
    async fn reads_up_to(&mut self, mut before: Vec<Value>, last: u64) -> Vec<u64> {
        let mut seen = Vec::new();
        loop {
            seen.extend(before.iter().filter_map(|it| it["data"]["seq"].as_u64()));
            if seen.contains(&last) {
                return seen;
            }
            before = self.takes().await;
        }
    }
}

fn read(frame: Encoded) -> Value {
    match frame {
        Encoded::Text(text) => serde_json::from_str(&text).unwrap(),
        Encoded::Binary(_) => panic!("none speaks protobuf here"),
    }
}

#[tokio::test]
async fn a_group_goes_on_while_hundreds_in_it_catch_up() {
    let stage = Stage::with(NO_LIMITS).await;
    let mut ann = Client::of(&stage, "ann").await;
    let group = ann.founds().await;
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        let mut one = ann.again(&stage).await;
        one.opens(&group).await;
        slow.push(one);
    }
    ann.says(&group, 1..=MESSAGES).await;

    let mut still = stage.engine.still();
    stage.engine.hold_pages(usize::MAX);
    let before: Vec<_> = slow.iter_mut().map(Client::drains).collect();
    still.wait_for(|it| *it == PAGES_AT_ONCE).await.unwrap();
    // Not one page has been read to its end.
    ann.says(&group, MESSAGES + 1..=MESSAGES + 1).await;
    assert_eq!(*still.borrow(), PAGES_AT_ONCE, "pages are read at once");
    stage.engine.let_pages_go();

    let all: Vec<_> = (1..=MESSAGES + 1).collect();
    for (one, before) in slow.iter_mut().zip(before) {
        assert_eq!(one.reads_up_to(before, MESSAGES + 1).await, all);
        one.session.close();
    }
    ann.session.close();
    stage.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_while_a_page_of_it_is_read_is_not_shown_any_more() {
    let stage = Stage::with(NO_LIMITS).await;
    let mut ann = Client::of(&stage, "ann").await;
    let group = ann.founds().await;
    let mut slow = ann.again(&stage).await;
    slow.opens(&group).await;
    ann.says(&group, 1..=MESSAGES).await;
    let topic = slow.session.topics().remove(0);
    let first = u64::from(slow.session.missing(topic.key()).unwrap().from);

    let mut still = stage.engine.still();
    stage.engine.hold_pages(1);
    let before = slow.drains();
    still.wait_for(|it| *it == 1).await.unwrap();
    ann.says(&group, MESSAGES + 1..=MESSAGES + 2).await;
    // It is deleted, and not a word of it has gone from the disk.
    stage.engine.take(Some(1));
    let gone = first + 1..first + 4;
    let named = json!([{"low": gone.start, "hi": gone.end}]);
    let body = json!({"topic": group, "what": "msg", "delseq": named, "hard": true});
    assert_eq!(ann.asks("del", body).await["code"], 200);
    stage.engine.let_pages_go();

    let left: Vec<_> = (1..=MESSAGES + 2).filter(|it| !gone.contains(it)).collect();
    assert_eq!(slow.reads_up_to(before, MESSAGES + 2).await, left);
    assert!(
        *stage.engine.refused().borrow() > 0,
        "it was there to be shown"
    );
    stage.engine.take(None);
    slow.session.close();
    ann.session.close();
    stage.close().await;
}

#[tokio::test]
async fn whoever_could_not_be_put_out_still_gets_what_they_missed() {
    let stage = Stage::with(NO_LIMITS).await;
    let (mut ann, mut ben) = (
        Client::of(&stage, "ann").await,
        Client::of(&stage, "ben").await,
    );
    let group = ann.founds().await;
    let body = json!({"topic": group, "sub": {"user": ben.user}});
    ann.asks("set", body).await;
    ben.opens(&group).await;
    ann.says(&group, 1..=MESSAGES).await;

    stage.engine.take(Some(0));
    let body = json!({"topic": group, "what": "sub", "user": ben.user});
    let refused = ann.asks("del", body).await;
    assert!(refused["code"].as_u64() >= Some(500), "{refused}");
    stage.engine.take(None);
    ann.says(&group, MESSAGES + 1..=MESSAGES + 1).await;
    let before = ben.drains();
    let all: Vec<_> = (1..=MESSAGES + 1).collect();
    assert_eq!(ben.reads_up_to(before, MESSAGES + 1).await, all);
    ben.session.close();
    ann.session.close();
    stage.close().await;
}
