//! Bad input at the clients' edge: each gets its refusal, and changes nothing.

use std::{fs, io::ErrorKind, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_interop::STOCK_API_KEY;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use crate::{
    guest::Guest,
    net::{House, Net},
    raw::{Raw, http, nonsense, upgrade},
};

const BYTES_MAX: usize = 4096;
const HI: &str = r#"{"hi":{"id":"hi","ver":"0.25.3","ua":"raw/1"}}"#;
const MALFORMED: (u64, &str) = (400, "malformed");
const HUNG_UP: [ErrorKind; 2] = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
const NOT_FOUND: (u64, &str) = (404, "topic not found");

#[tokio::test]
async fn a_connection_that_became_a_websocket_keeps_its_place_among_all() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", "connections_max = 10").await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut raw = Raw::connect(&alpha).await;
        assert_eq!(raw.asks(HI).await.0, 201);
        open.push(raw);
    }
    let one_more = async {
        let mut raw = Raw::connect(&alpha).await;
        raw.asks(HI).await.0
    };
    tokio::pin!(one_more);
    let waits = tokio::time::timeout(Duration::from_millis(300), &mut one_more).await;
    assert!(waits.is_err(), "there was no place, and still: {waits:?}");
    open.pop();
    assert_eq!(one_more.await, 201);
}

/// One domain with Ann, whose chat with Amy shows whether anything changed, and a session of hers that
/// misbehaves.
struct Scene {
    alpha: House,
    ann: Guest,
    amy: Guest,
    raw: Raw,
    _net: Net,
}

impl Scene {
    async fn new() -> Self {
        let net = Net::new().await;
        let limit = format!("message_bytes_max = {BYTES_MAX}");
        let alpha = net.domain_with("alpha.test", &limit).await;
        let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
        ann.opens(&amy).await;
        ann.says(&amy, "before").await;
        let mut raw = Raw::connect(&alpha).await;
        assert_eq!(raw.asks(HI).await, (201, "created".to_owned(), json!("hi")));
        let login = json!({"login": {"scheme": "token", "secret": ann.person.token}});
        assert_eq!(raw.asks(&login.to_string()).await.0, 200);
        Self {
            alpha,
            ann,
            amy,
            raw,
            _net: net,
        }
    }

    /// What could have changed: the account, the contacts, the chat.
    async fn state(&mut self) -> Value {
        let mut state = json!({});
        for what in ["desc", "sub", "tags", "cred"] {
            state[what] = self
                .ann
                .session
                .get("me", what)
                .await
                .unwrap()
                .unwrap_or_default();
        }
        state["chat"] = self.ann.describes(&self.amy).await;
        state["people"] = self.ann.sees_people(&self.amy).await;
        state
    }

    /// Sends each frame, expects its refusal, and finds everything as it was before.
    async fn check(&mut self, table: &[(String, (u64, &str))]) {
        let before = self.state().await;
        for (frame, (code, text)) in table {
            let (seen, said, id) = self.raw.asks(frame).await;
            assert_eq!((seen, &*said), (*code, *text), "{frame}");
            let asked: Value = serde_json::from_str(frame).unwrap_or_default();
            let asked = asked.as_object().and_then(|it| it.values().next().cloned());
            let asked = asked.unwrap_or_default()["id"].clone();
            assert!(
                id == asked || *code == 400,
                "{frame} is answered under {id}"
            );
        }
        assert_eq!(self.state().await, before);
        self.ann.reads(&self.amy, &["before"]).await;
    }
}

fn rows<'a>(frames: &[&str], refusal: (u64, &'a str)) -> Vec<(String, (u64, &'a str))> {
    frames
        .iter()
        .map(|it| ((*it).to_owned(), refusal))
        .collect()
}

#[tokio::test]
async fn what_is_no_message_is_malformed() {
    let mut scene = Scene::new().await;
    let frames = [
        "{",
        "[]",
        "null",
        "true",
        "42",
        "\"hi\"",
        "{}",
        " ",
        "\u{0}",
        "nonsense",
        r#"{"ctrl":{"id":"1","code":200}}"#,
        r#"{"hello":{"id":"1"}}"#,
        r#"{"hi":null}"#,
        r#"{"get":{"id":"1","topic":"me","what":"desc"},"sub":{"id":"2","topic":"me"}}"#,
        r#"{"get":{"id":"1","topic":"me","what":"desc"}"#,
        r#"{"get":{"id":"1","topic":"me","what":"desc"}}{"get":{}}"#,
        r#"{"get":[]}"#,
        r#"{"get":"me"}"#,
    ];
    scene.check(&rows(&frames, MALFORMED)).await;
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let deep = format!(r#"{{"pub":{{"id":"1","topic":"me","content":{deep}}}}}"#);
    scene.raw.send_text(&deep).await;
    assert!(scene.raw.frame().await["ctrl"]["code"].as_u64().unwrap() >= 400);
}

#[tokio::test]
async fn a_field_of_a_wrong_type_is_malformed() {
    let mut scene = Scene::new().await;
    let amy = scene.amy.person.id.clone();
    let frames = [
        r#"{"get":{"id":1,"topic":"me","what":"desc"}}"#,
        r#"{"get":{"id":"1","topic":["me"],"what":"desc"}}"#,
        r#"{"get":{"id":"1","topic":"me","what":7}}"#,
        r#"{"get":{"id":"1","topic":"AMY","what":"data","data":{"limit":-1}}}"#,
        r#"{"get":{"id":"1","topic":"AMY","what":"data","data":{"since":"1"}}}"#,
        r#"{"get":{"id":"1","topic":"AMY","what":"data","data":{"before":1.5}}}"#,
        r#"{"get":{"id":"1","topic":"AMY","what":"data","data":{"limit":99999999999}}}"#,
        r#"{"get":{"id":"1","topic":"AMY","what":"data","data":{"ranges":[{"low":-5}]}}}"#,
        r#"{"pub":{"id":"1","topic":"AMY","head":[],"content":"x"}}"#,
        r#"{"pub":{"id":"1","topic":"AMY","noecho":"yes","content":"x"}}"#,
        r#"{"set":{"id":"1","topic":"me","desc":"new"}}"#,
        r#"{"set":{"id":"1","topic":"AMY","sub":{"mode":7}}}"#,
        r#"{"acc":{"id":"1","user":"new","scheme":"basic","secret":7}}"#,
        r#"{"sub":{"id":"1","topic":"AMY","get":"desc"}}"#,
        r#"{"leave":{"id":"1","topic":"AMY","unsub":"true"}}"#,
    ];
    let frames = frames.map(|it| (it.replace("AMY", &amy), MALFORMED));
    scene.check(&frames).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let mut scene = Scene::new().await;
    let (ann, amy) = (scene.ann.person.id.clone(), scene.amy.person.id.clone());
    let denied = (403, "permission denied");
    let attach = (409, "must attach first");
    let mut table = rows(
        &[
            r#"{"get":{"id":"1","topic":"me","what":""}}"#,
            r#"{"get":{"id":"1","topic":"me","what":"everything"}}"#,
            r#"{"set":{"id":"1","topic":"me"}}"#,
            r#"{"set":{"id":"1","topic":"me","desc":{"defacs":{"auth":"XYZ"}}}}"#,
            r#"{"del":{"id":"1","topic":"AMY","what":"everything"}}"#,
            r#"{"login":{"id":"1","scheme":"basic","secret":"%%%"}}"#,
            r#"{"login":{"id":"1","scheme":"basic","secret":"AAAA"}}"#,
        ],
        MALFORMED,
    );
    table.extend(rows(
        &[
            r#"{"sub":{"id":"1","topic":""}}"#,
            r#"{"sub":{"id":"1","topic":"nonsense"}}"#,
            r#"{"sub":{"id":"1","topic":"usr"}}"#,
            r#"{"sub":{"id":"1","topic":"usrshort"}}"#,
            r#"{"sub":{"id":"1","topic":"usrAAAAAAAAAAA@"}}"#,
            r#"{"sub":{"id":"1","topic":"usrAAAAAAAAAAA@not a domain"}}"#,
            r#"{"sub":{"id":"1","topic":"usrAAAAAAAAAAA@127.0.0.1"}}"#,
            r#"{"get":{"id":"1","topic":"nonsense","what":"desc"}}"#,
            r#"{"set":{"id":"1","topic":"usrAAAAAAAAAAA","sub":{"mode":"JRWPA"}}}"#,
            r#"{"del":{"id":"1","topic":"usrAAAAAAAAAAA","what":"topic"}}"#,
            r#"{"pub":{"id":"1","topic":"nonsense","content":"x"}}"#,
        ],
        NOT_FOUND,
    ));
    table.extend(rows(
        &[
            r#"{"sub":{"id":"1","topic":"usrAAAAAAAAAAA"}}"#,
            r#"{"get":{"id":"1","topic":"usrAAAAAAAAAAA","what":"desc"}}"#,
        ],
        (404, "user not found"),
    ));
    table.extend(rows(
        &[
            r#"{"sub":{"id":"1","topic":"ANN"}}"#,
            r#"{"pub":{"id":"1","topic":"ANN","content":"x"}}"#,
            r#"{"leave":{"id":"1","topic":"me","unsub":true}}"#,
            r#"{"get":{"id":"1","topic":"AMY","what":"data"}}"#,
            r#"{"set":{"id":"1","topic":"me","desc":{"trusted":{"staff":true}}}}"#,
            r#"{"set":{"id":"1","topic":"AMY","desc":{"public":{"fn":"not Amy"}}}}"#,
        ],
        denied,
    ));
    table.extend(rows(
        &[
            r#"{"pub":{"id":"1","topic":"AMY","content":"x"}}"#,
            r#"{"set":{"id":"1","topic":"AMY","sub":{"user":"AMY","mode":"N"}}}"#,
            r#"{"set":{"id":"1","topic":"fnd","desc":{"public":"x"}}}"#,
            r#"{"leave":{"id":"1","topic":"AMY","unsub":true}}"#,
        ],
        attach,
    ));
    table.extend(rows(
        &[
            r#"{"leave":{"id":"1","topic":"me"}}"#,
            r#"{"leave":{"id":"1","topic":"fnd"}}"#,
            r#"{"leave":{"id":"1","topic":"AMY"}}"#,
        ],
        (304, "not joined"),
    ));
    let elsewhere = (405, "operation or method not allowed");
    table.extend(rows(
        &[r#"{"pub":{"id":"1","topic":"me","content":"x"}}"#],
        elsewhere,
    ));
    table.extend(rows(
        &[r#"{"get":{"id":"1","topic":"me","what":"data"}}"#],
        elsewhere,
    ));
    for (frame, _) in &mut table {
        *frame = frame.replace("AMY", &amy).replace("ANN", &ann);
    }
    scene.check(&table).await;
}

#[tokio::test]
async fn a_path_that_nobody_serves_is_not_found() {
    let scene = Scene::new().await;
    for target in ["/v0/file/", "/v0/unknown"] {
        let (status, _, body) = http(&scene.alpha, &format!("GET {target} HTTP/1.1")).await;
        assert_eq!(
            (status, &ctrl(&body)["code"]),
            (404, &json!(404)),
            "{target}"
        );
    }
}

#[tokio::test]
async fn notes_that_make_no_sense_are_dropped_without_a_word() {
    let mut scene = Scene::new().await;
    let (ann, amy) = (scene.ann.person.id.clone(), scene.amy.person.id.clone());
    let before = scene.state().await;
    let topics = [
        &*amy,
        &ann,
        "me",
        "fnd",
        "grpAAAAAAAAAAA",
        "nonsense",
        "usrAAAAAAAAAAA",
        "",
    ];
    let notes = [
        json!({"what": "kp"}),
        json!({"what": "read", "seq": 1}),
        json!({"what": "read", "seq": 99}),
        json!({"what": "recv", "seq": 99}),
        json!({"what": "read"}),
        json!({"what": "call", "seq": 1, "event": "accept"}),
        json!({"what": "data", "payload": {"x": 1}}),
        json!({"what": "dance"}),
        json!({}),
    ];
    for topic in topics {
        for note in &notes {
            let mut note = note.clone();
            note["topic"] = topic.into();
            scene
                .raw
                .says_in_vain(&json!({ "note": note }).to_string())
                .await;
        }
    }
    assert_eq!(scene.state().await, before);
}

#[tokio::test]
async fn a_frame_that_is_a_little_too_long_is_refused_and_one_much_too_long_ends_the_session() {
    let mut scene = Scene::new().await;
    let amy = scene.amy.person.id.clone();
    let message = |bytes: usize| {
        let empty = json!({"pub": {"id": "1", "topic": amy, "content": ""}}).to_string();
        let text = "x".repeat(bytes - empty.len());
        json!({"pub": {"id": "1", "topic": amy, "content": text}}).to_string()
    };
    let too_large = (413, "too large");
    // The id is inside what was not read.
    for bytes in [BYTES_MAX + 1, 2 * BYTES_MAX] {
        let (code, text, id) = scene.raw.asks(&message(bytes)).await;
        assert_eq!((code, &*text, id), (too_large.0, too_large.1, Value::Null));
    }
    assert_eq!(
        scene.raw.asks(&message(BYTES_MAX)).await.0,
        409,
        "it is read, and not attached"
    );

    scene.raw.throw(message(10 * BYTES_MAX)).await;
    assert_eq!(scene.raw.text().await, None);
    scene.ann.reads(&scene.amy, &["before"]).await;
    let mut other = Raw::connect(&scene.alpha).await;
    assert_eq!(other.asks(HI).await.0, 201);
}

#[tokio::test]
async fn everything_has_its_turn_hello_then_log_in_then_the_rest() {
    let scene = Scene::new().await;
    let mut raw = Raw::connect(&scene.alpha).await;
    let requests = [
        json!({"sub": {"id": "1", "topic": "me"}}),
        json!({"get": {"id": "1", "topic": "me", "what": "desc"}}),
        json!({"pub": {"id": "1", "topic": scene.amy.person.id, "content": "x"}}),
        json!({"leave": {"id": "1", "topic": "me"}}),
        json!({"set": {"id": "1", "topic": "me", "desc": {"public": "x"}}}),
        json!({"del": {"id": "1", "topic": "me", "what": "topic"}}),
    ];
    let ways_in = [
        json!({"login": {"id": "1", "scheme": "token", "secret": scene.ann.person.token}}),
        json!({"acc": {"id": "1", "user": "new", "scheme": "basic", "secret": secret("eve", "a long secret")}}),
    ];
    for request in requests.iter().chain(&ways_in) {
        let early = (409, "command out of sequence".to_owned(), json!("1"));
        assert_eq!(raw.asks(&request.to_string()).await, early, "{request}");
    }
    raw.says_in_vain(r#"{"note":{"topic":"me","what":"kp"}}"#)
        .await;
    for (version, code) in [
        ("0.19", 505),
        ("0", 400),
        ("", 400),
        ("x.y", 400),
        ("0.25", 201),
        ("v0.25.9-rc1", 201),
        ("0.24", 409),
    ] {
        let hi = json!({"hi": {"id": "1", "ver": version}});
        assert_eq!(raw.asks(&hi.to_string()).await.0, code, "{version:?}");
    }
    for request in requests.iter().chain(&[
        json!({"hi": {"id": "1", "dev": "x"}}),
        json!({"acc": {"id": "1"}}),
    ]) {
        let stranger = (401, "authentication required".to_owned(), json!("1"));
        assert_eq!(raw.asks(&request.to_string()).await, stranger, "{request}");
    }
    raw.says_in_vain(r#"{"note":{"topic":"me","what":"kp"}}"#)
        .await;
}

fn secret(login: &str, password: &str) -> String {
    STANDARD.encode(format!("{login}:{password}"))
}

#[tokio::test]
async fn a_session_belongs_to_one_person_for_good() {
    let mut scene = Scene::new().await;
    let login =
        |token: &str| json!({"login": {"id": "1", "scheme": "token", "secret": token}}).to_string();
    let failed = (401, "authentication failed".to_owned(), json!("1"));
    let wrong = json!({"login": {"id": "1", "scheme": "basic", "secret": secret("ann", "wrong")}});
    let nobody =
        json!({"login": {"id": "1", "scheme": "basic", "secret": secret("nobody", "wrong")}});
    let mut other = Raw::connect(&scene.alpha).await;
    other.asks(HI).await;
    assert_eq!(other.asks(&wrong.to_string()).await, failed);
    assert_eq!(other.asks(&nobody.to_string()).await, failed);
    let scheme = json!({"login": {"id": "1", "scheme": "magic", "secret": "x"}});
    let unknown = (401, "unknown authentication scheme".to_owned(), json!("1"));
    assert_eq!(other.asks(&scheme.to_string()).await, unknown);

    assert_eq!(
        scene.raw.asks(&login(&scene.ann.person.token)).await.0,
        200,
        "once more is fine"
    );
    let taken = (409, "already authenticated".to_owned(), json!("1"));
    assert_eq!(scene.raw.asks(&login(&scene.amy.person.token)).await, taken);
    let desc = r#"{"get":{"id":"2","topic":"me","what":"desc"}}"#;
    scene.raw.send_text(desc).await;
    assert_eq!(
        scene.raw.frame().await["meta"]["desc"]["public"],
        json!({"fn": "ann"})
    );
}

#[tokio::test]
async fn subscribing_again_is_fine_and_binary_frames_and_probes_are_understood() {
    let mut scene = Scene::new().await;
    let amy = scene.amy.person.id.clone();
    let sub = json!({"sub": {"id": "1", "topic": amy}}).to_string();
    for _ in 0..2 {
        assert_eq!(
            scene.raw.asks(&sub).await,
            (200, "ok".to_owned(), json!("1"))
        );
    }
    for topic in ["me", "me", "fnd", "fnd"] {
        let sub = json!({"sub": {"id": "1", "topic": topic}}).to_string();
        assert_eq!(scene.raw.asks(&sub).await.0, 200, "{topic}");
    }
    scene.raw.send_binary(b"1").await;
    assert_eq!(scene.raw.text().await.as_deref(), Some("0"));
    scene.raw.send_binary(b"").await;
    scene.raw.send_text("").await;
    let leave = json!({"leave": {"id": "2", "topic": amy}}).to_string();
    scene.raw.send_binary(leave.as_bytes()).await;
    assert_eq!(scene.raw.frame().await["ctrl"]["code"], 200);
    scene.raw.send_binary(&[0xff, 0xfe]).await;
    assert_eq!(scene.raw.frame().await["ctrl"]["code"], 400);
}

#[tokio::test]
async fn a_message_without_content_or_right_to_write_is_refused() {
    let mut scene = Scene::new().await;
    let amy = scene.amy.person.id.clone();
    scene
        .raw
        .asks(&json!({"sub": {"id": "1", "topic": amy}}).to_string())
        .await;
    let table = [
        (json!({"pub": {"id": "1", "topic": amy}}), MALFORMED),
        (
            json!({"pub": {"id": "1", "topic": amy, "content": null}}),
            MALFORMED,
        ),
        (
            json!({"pub": {"id": "1", "topic": amy, "content": "x", "head": {"replace": ":9"}}}),
            (404, "not found"),
        ),
    ];
    scene
        .check(&table.map(|(frame, refusal)| (frame.to_string(), refusal)))
        .await;
    // Without an id it is taken without a word.
    scene
        .raw
        .says_in_vain(
            &json!({"pub": {"topic": amy, "noecho": true, "content": "after"}}).to_string(),
        )
        .await;
    scene.ann.reads(&scene.amy, &["before", "after"]).await;
}

fn ctrl(body: &str) -> Value {
    let frame: Value = serde_json::from_str(body).unwrap();
    let faults = freehold_interop::faults_of_frame(&frame, "alpha.test");
    assert!(faults.is_empty(), "{body}: {faults:?}");
    frame["ctrl"].clone()
}

#[tokio::test]
async fn without_an_api_key_there_is_no_session() {
    let scene = Scene::new().await;
    for target in [
        "/v0/channels",
        "/v0/channels?apikey=",
        "/v0/channels?apikey=wrong",
        "/v0/channels?xapikey=AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K",
    ] {
        let (status, _, body) = upgrade(&scene.alpha, target).await;
        assert_eq!(status, 403, "{target}");
        assert_eq!(ctrl(&body)["text"], "valid API key required", "{target}");
    }
    let mut by_header = Raw::connect_with_header(&scene.alpha, "x-tinode-apikey").await;
    assert_eq!(by_header.asks(HI).await.0, 201);
    let plain = http(&scene.alpha, "GET /v0/channels HTTP/1.1").await;
    assert!((400..500).contains(&plain.0), "{plain:?}");
}

#[tokio::test]
async fn compression_of_frames_is_offered_in_vain() {
    let scene = Scene::new().await;
    let mut stream = TcpStream::connect(scene.alpha.endpoint.client)
        .await
        .unwrap();
    let request = format!(
        "GET /v0/channels?apikey={STOCK_API_KEY} HTTP/1.1\r\nHost: alpha.test\r\n\
         Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).await.unwrap() > 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    let head = head.to_lowercase();
    assert!(!head.contains("sec-websocket-extensions"), "{head}");
    assert!(!head.contains("sec-websocket-protocol"), "{head}");
}

#[tokio::test]
async fn without_a_web_app_the_page_is_one_sentence() {
    let scene = Scene::new().await;
    for target in ["/", "/index.html", "/../../etc/passwd"] {
        let (status, head, body) = http(&scene.alpha, &format!("GET {target} HTTP/1.1")).await;
        assert_eq!(status, 404, "{target}");
        assert!(body.starts_with("This is a Freehold server."), "{body}");
        assert!(head.contains("content-type: text/plain"), "{head}");
    }
}

#[tokio::test]
async fn the_web_app_is_served_and_nothing_beside_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("web");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("index.html"), "<p>the app</p>").unwrap();
    fs::write(folder.path().join("secret"), "the secret").unwrap();
    let net = Net::new().await;
    let setting = format!("web_root = {root:?}");
    let alpha = net.domain_with("alpha.test", &setting).await;
    let (status, head, body) = http(&alpha, "GET / HTTP/1.1").await;
    assert_eq!((status, &*body), (200, "<p>the app</p>"));
    assert!(head.contains("content-type: text/html"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"), "{head}");
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/web/../../secret",
        "//secret",
        "/secret",
        "/v0/../secret",
    ] {
        let (status, _, body) = http(&alpha, &format!("GET {target} HTTP/1.1")).await;
        assert_eq!(status, 404, "{target}");
        assert!(!body.contains("the secret"), "{target}");
    }
    let (status, ..) = http(&alpha, "POST / HTTP/1.1").await;
    assert_eq!(status, 405);
}

#[tokio::test]
async fn a_request_that_is_not_http_or_has_no_end_is_refused() {
    let scene = Scene::new().await;
    for request in [
        "nonsense".to_owned(),
        "GET /".to_owned(),
        format!("GET /{} HTTP/1.1", "x".repeat(100_000)),
        format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(100_000)),
    ] {
        match nonsense(&scene.alpha, &request).await {
            Ok(answer) => assert!(answer.starts_with("HTTP/1.1 4"), "{answer}"),
            // It need not read to the end what it does not want.
            Err(fault) => assert!(HUNG_UP.contains(&fault), "{fault}"),
        }
    }
    let mut other = Raw::connect(&scene.alpha).await;
    assert_eq!(other.asks(HI).await.0, 201);
}
