//! A node that relays pushes: who may ask, where it goes, what the service is shown.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    },
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use freehold_directory::{
    ApnsConfig, Config, FcmConfig, Node, NodeConfig, NodeListener, PushConfig, Rate, VapidConfig,
    new_vapid_key, serve_node,
};
use freehold_keys::KeyRing;
use freehold_proto::{PushDraft, PushTarget, Token, Urgency};
use hickory_server::proto::rr::RData;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    apple::Apple,
    node::json as get,
    support::{World, anchor, srv},
    vendors::{Authority, Vendor},
};

const NAME: &str = "node.example.org";
const PUSH: &str = "/v1/push";

/// A domain that asks, a node that relays, and a push service at `push.beta.test`.
struct Scene {
    world: World,
    node: SocketAddr,
    service: Vendor,
    /// Apple's, at `apple.beta.test`.
    apple: Apple,
    /// The public half of the node's key.
    vapid: String,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn new() -> Self {
        Self::with(|_| {}, &["127.0.0.0/8"]).await
    }

    /// The same with a relay as `change` makes it, which may connect there.
    async fn with(change: impl FnOnce(&mut PushConfig), allowed: &[&str]) -> Self {
        Self::within(World::new("beta.test"), change, allowed).await
    }

    async fn within(world: World, change: impl FnOnce(&mut PushConfig), allowed: &[&str]) -> Self {
        let named = anchor(&world.ring);
        Self::named(world, named, change, allowed).await
    }

    async fn named(
        world: World,
        anchor: RData,
        change: impl FnOnce(&mut PushConfig),
        allowed: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path());
        let apple = authority.server("apple.beta.test", &[b"h2"]);
        let apple = Apple::start(&world, apple).await;
        let tls = authority.server("push.beta.test", &[]);
        let service = Vendor::start(&world, Some(tls), 201).await;
        let (pem, vapid) = new_vapid_key().unwrap();
        let key = folder.path().join("vapid.pem");
        fs::write(&key, pem).unwrap();
        let rows = [
            (
                "_freehold._tcp.beta.test",
                srv(0, world.serve_record().await, "host.beta.test"),
            ),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor),
            ("push.beta.test", world.loopback()),
            ("apple.beta.test", world.loopback()),
            (
                "inside.beta.test",
                RData::A(Ipv4Addr::new(127, 0, 0, 2).into()),
            ),
            (
                "private.beta.test",
                RData::A(Ipv4Addr::new(192, 168, 0, 1).into()),
            ),
        ];
        let nameserver = world.serve_zone(world.zone(&rows)).await;
        let mut push = PushConfig {
            name: NAME.to_owned(),
            vapid: Some(VapidConfig {
                key,
                subject: "mailto:admin@example.org".to_owned(),
            }),
            fcm: None,
            apns: None,
            from_network: Rate::new(100, 1000),
            from_domain: Rate::new(50, 500),
        };
        change(&mut push);
        if let Some(config) = &mut push.apns {
            let url = format!("https://apple.beta.test:{}/", apple.port);
            config.url = url.parse().unwrap();
        }
        let config = NodeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            proxies: Vec::new(),
            cache_bytes: 1024 * 1024,
            questions: Rate::new(10, 100),
            looks: Rate::new(1, 40),
            announcements: None,
            listing_bytes: 1 << 20,
            discovery: Config {
                nameserver: Some(nameserver),
                allowed_ranges: allowed.iter().map(|it| it.parse().unwrap()).collect(),
                well_known_ca: Some(authority.path),
                ..Config::default()
            },
            push: Some(push),
        };
        let listener = NodeListener::bind(config.listen).await.unwrap();
        let node = listener.local_addr();
        let serving = Arc::new(Node::new(config, world.clock.clone()).unwrap());
        world.spawn(serve_node(serving, listener, std::future::pending()));
        Self {
            world,
            node,
            service,
            apple,
            vapid,
            _folder: folder,
        }
    }

    /// A push for the device at this path of the service.
    fn draft(&self, path: &str) -> PushDraft {
        let port = self.service.port;
        let endpoint = format!("https://push.beta.test:{port}{path}");
        draft(&endpoint)
    }

    /// Asks for it as the domain; the status, and what is said.
    async fn push(&self, draft: PushDraft) -> (u16, Value) {
        self.push_by(&self.world.ring, draft).await
    }

    async fn push_by(&self, ring: &KeyRing, draft: PushDraft) -> (u16, Value) {
        let signed = ring.signer().ask_for_push(draft, self.world.now());
        post(self.node, &signed.to_bytes()).await
    }

    #[track_caller]
    fn nothing_was_sent(&self) {
        assert!(self.service.heard().is_empty());
    }
}

fn draft(endpoint: &str) -> PushDraft {
    let mut nonce = [0; 16];
    aws_lc_rs::rand::fill(&mut nonce).unwrap();
    PushDraft {
        node: NAME.to_owned(),
        nonce,
        ttl: Duration::from_secs(600),
        urgency: Urgency::High,
        collapse: "topic".to_owned(),
        target: PushTarget::Web {
            endpoint: endpoint.parse().unwrap(),
            body: b"nobody can read this".as_slice().into(),
            encrypted: true,
        },
    }
}

/// What a token says, whose signature holds under this key.
fn shown(token: &str, algorithm: &'static dyn VerificationAlgorithm, key: &[u8]) -> [Value; 2] {
    let bytes = |it: &str| URL_SAFE_NO_PAD.decode(it).unwrap();
    let (text, signature) = token.rsplit_once('.').unwrap();
    UnparsedPublicKey::new(algorithm, key)
        .verify(text.as_bytes(), &bytes(signature))
        .unwrap();
    let (header, claims) = text.split_once('.').unwrap();
    [header, claims].map(|it| serde_json::from_slice(&bytes(it)).unwrap())
}

/// A push for a device of Google's or Apple's.
fn for_vendor(target: fn(Token) -> PushTarget, token: &str, fields: &[(&str, &str)]) -> PushDraft {
    let fields = fields
        .iter()
        .map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
    PushDraft {
        target: target(Token {
            token: token.to_owned(),
            fields: fields.collect(),
        }),
        ..draft("https://push.beta.test/x")
    }
}

async fn post(node: SocketAddr, body: &[u8]) -> (u16, Value) {
    let (status, _, said) = post_whole(node, body).await;
    (status, said)
}

async fn post_whole(node: SocketAddr, body: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(node).await.unwrap();
    let head = format!(
        "POST {PUSH} HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_owned(), serde_json::from_str(body).unwrap())
}

#[track_caller]
fn refused((status, said): (u16, Value), expected: u16, word: &str) {
    let error = said["error"].as_str().unwrap_or_default();
    assert!(
        status == expected && error.contains(word),
        "{status} {said}"
    );
}

#[tokio::test]
async fn a_push_that_a_domain_signed_reaches_its_service_with_the_nodes_key_and_as_it_was() {
    let scene = Scene::new().await;
    let (status, said) = scene.push(scene.draft("/up/x?token=a%3d")).await;
    assert_eq!((status, &said["sent"]), (201, &true.into()), "{said}");

    let heard = scene.service.heard();
    let [heard] = &*heard else {
        panic!("{heard:?}");
    };
    assert_eq!(heard.path, "/up/x?token=a%3d");
    assert_eq!(heard.body, b"nobody can read this");
    for (name, value) in [
        ("ttl", "600"),
        ("urgency", "high"),
        ("topic", "topic"),
        ("content-encoding", "aes128gcm"),
    ] {
        assert_eq!(heard.header(name), value, "{name}");
    }
    // RFC 8292: who asks, whom, until when, under the key that the browser subscribed for.
    let (_, told) = get(scene.node, PUSH).await;
    assert_eq!(told["vapid"], *scene.vapid);
    assert_eq!(
        (&told["node"], &told["kinds"]),
        (&json!(NAME), &json!(["web"]))
    );
    let vapid = heard.header("authorization").strip_prefix("vapid t=");
    let (token, key) = vapid.unwrap().split_once(", k=").unwrap();
    assert_eq!(key, scene.vapid);
    let key = URL_SAFE_NO_PAD.decode(key).unwrap();
    let [header, claims] = shown(token, &ECDSA_P256_SHA256_FIXED, &key);
    assert_eq!(header, json!({"typ": "JWT", "alg": "ES256"}));
    let port = scene.service.port;
    assert_eq!(claims["aud"], format!("https://push.beta.test:{port}"));
    assert_eq!(claims["sub"], "mailto:admin@example.org");
    let left = claims["exp"].as_i64().unwrap() - scene.world.now().as_millis() / 1000;
    assert!((0..=24 * 60 * 60).contains(&left), "{left}");
}

#[tokio::test]
async fn a_request_is_taken_once_by_one_node_and_soon() {
    let scene = Scene::new().await;
    let other = PushDraft {
        node: "other.example.org".to_owned(),
        ..scene.draft("/x")
    };
    refused(scene.push(other).await, 403, "another node");
    let signer = scene.world.ring.signer();
    let old = signer.ask_for_push(scene.draft("/x"), scene.world.now());
    scene.world.clock.advance(Duration::from_secs(5 * 60));
    refused(
        post(scene.node, &old.to_bytes()).await,
        403,
        "does not count now",
    );
    scene.nothing_was_sent();

    let once = signer.ask_for_push(scene.draft("/x"), scene.world.now());
    assert_eq!(post(scene.node, &once.to_bytes()).await.0, 201);
    refused(post(scene.node, &once.to_bytes()).await, 403, "came before");
    scene.world.clock.advance(Duration::from_secs(4 * 60));
    refused(post(scene.node, &once.to_bytes()).await, 403, "came before");
    assert_eq!(scene.service.heard().len(), 1);
}

#[tokio::test]
async fn nobody_asks_in_the_name_of_another_domain() {
    let (scene, thief) = (Scene::new().await, World::new("beta.test"));
    let asked = scene.push_by(&thief.ring, scene.draft("/x")).await;
    // Whose fault that is the node cannot know before it looks again.
    refused(asked, 503, "a key that does not count");
    let mut bytes = scene
        .world
        .ring
        .signer()
        .ask_for_push(scene.draft("/x"), scene.world.now())
        .to_bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    refused(post(scene.node, &bytes).await, 403, "does not hold");
    let nobody = World::new("nobody.beta.test");
    let asked = scene.push_by(&nobody.ring, scene.draft("/x")).await;
    refused(asked, 503, "no record of nobody.beta.test");
    refused(post(scene.node, b"no request").await, 400, "protobuf");
    refused(post(scene.node, &vec![0; 20_000]).await, 400, "too long");
    scene.nothing_was_sent();
}

#[tokio::test]
async fn a_domain_for_which_nobody_vouches_or_of_which_dns_names_another_key_is_not_believed() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let named = anchor(&other.ring);
    let scene = Scene::named(world, named, |_| {}, &["127.0.0.0/8"]).await;
    refused(scene.push(scene.draft("/x")).await, 403, "vouches");
    scene.nothing_was_sent();
    let world = World::new("beta.test");
    let silent = RData::TXT(hickory_server::proto::rr::rdata::TXT::new(vec![
        "nothing".to_owned(),
    ]));
    let scene = Scene::named(world, silent, |_| {}, &["127.0.0.0/8"]).await;
    refused(scene.push(scene.draft("/x")).await, 403, "vouches");
    scene.nothing_was_sent();
}

#[tokio::test]
async fn a_push_goes_to_public_addresses_only_and_follows_nobody_elsewhere() {
    let scene = Scene::with(|_| {}, &["127.0.0.1/32"]).await;
    let port = scene.service.port;
    let inside = draft(&format!("https://inside.beta.test:{port}/x"));
    refused(scene.push(inside).await, 400, "127.0.0.2 is loopback");
    let mixed = draft(&format!("https://private.beta.test:{port}/x"));
    refused(scene.push(mixed).await, 400, "192.168.0.1 is private");
    scene.nothing_was_sent();
    let redirected =
        |_: &crate::vendors::Heard| (302, "location: https://127.0.0.1/secret\r\n\r\n".to_owned());
    scene.service.answers_with(redirected);
    refused(scene.push(scene.draft("/x")).await, 502, "302");
    assert_eq!(scene.service.heard().len(), 1);
}

#[tokio::test]
async fn what_the_service_says_is_passed_on_in_few_words() {
    let scene = Scene::new().await;
    for (status, expected, word) in [
        (404, 410, "no such device"),
        (410, 410, "no such device"),
        (413, 502, "413"),
        (403, 502, "403"),
        (500, 503, "500"),
    ] {
        scene.service.answers(status);
        refused(scene.push(scene.draft("/x")).await, expected, word);
    }
    scene
        .service
        .answers_with(|_| (429, "retry-after: 77\r\n\r\nslowly!".to_owned()));
    let signer = scene.world.ring.signer();
    let asked = signer.ask_for_push(scene.draft("/x"), scene.world.now());
    let (status, head, _) = post_whole(scene.node, &asked.to_bytes()).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 78"), "{head}");
    // More than anybody reads.
    scene.service.answers_with(|_| (201, "x".repeat(100_000)));
    assert_eq!(scene.push(scene.draft("/x")).await.0, 503);
    let nowhere = draft("https://nowhere.beta.test/x");
    refused(scene.push(nowhere).await, 503, "");
    scene.service.answers(200);
    assert_eq!(scene.push(scene.draft("/x")).await.0, 201);
    let (_, _, counted) = crate::node::get(scene.node, "/metrics", "*/*").await;
    let counted = String::from_utf8(counted).unwrap();
    for (outcome, count) in [("Sent", 1), ("Gone", 2), ("Refused", 2), ("Later", 4)] {
        let line = format!("pushes_total{{kind=\"Web\",outcome=\"{outcome}\"}} {count}");
        assert!(counted.contains(&line), "{line} is not in {counted}");
    }
    assert!(!counted.contains("beta"), "{counted}");
}

#[tokio::test]
async fn one_domain_and_one_network_have_only_so_much_relayed() {
    let few = |push: &mut PushConfig| push.from_domain = Rate::new(1, 2);
    let scene = Scene::with(few, &["127.0.0.0/8"]).await;
    for expected in [201, 201, 429] {
        assert_eq!(scene.push(scene.draft("/x")).await.0, expected);
    }
    scene.world.clock.advance(Duration::from_secs(1));
    assert_eq!(scene.push(scene.draft("/x")).await.0, 201);

    let few = |push: &mut PushConfig| push.from_network = Rate::new(1, 2);
    let scene = Scene::with(few, &["127.0.0.0/8"]).await;
    for expected in [400, 400, 429] {
        assert_eq!(post(scene.node, b"no request").await.0, expected);
    }
}

#[tokio::test]
async fn what_a_node_does_not_relay_it_says() {
    let none = |push: &mut PushConfig| push.vapid = None;
    let scene = Scene::with(none, &["127.0.0.0/8"]).await;
    refused(
        scene.push(scene.draft("/x")).await,
        400,
        "does not relay Web Push",
    );
    let (_, told) = get(scene.node, PUSH).await;
    assert_eq!(told, json!({"node": NAME, "kinds": []}));
    let world = World::new("beta.test");
    let plain = crate::node::node(&world, &world.ring).await;
    assert_eq!(get(plain, PUSH).await.0, 404);
    assert_eq!(post(plain, b"").await.0, 404);
}

#[tokio::test]
async fn google_is_shown_a_token_that_was_asked_for_with_the_service_account() {
    let (world, folder) = (World::new("beta.test"), tempfile::tempdir().unwrap());
    let google = Vendor::start(&world, None, 200).await;
    let url = format!("http://127.0.0.1:{}/", google.port);
    let (account, public) = service_account(&folder, &url);
    google.answers_with(|heard| match &*heard.path {
        "/token" => (
            200,
            r#"{"access_token":"letmein","expires_in":3599}"#.to_owned(),
        ),
        _ => (200, r#"{"name":"projects/p/messages/1"}"#.to_owned()),
    });
    let with = |push: &mut PushConfig| {
        let url = url.parse().unwrap();
        push.fcm = Some(FcmConfig { account, url });
    };
    let scene = Scene::within(world, with, &["127.0.0.0/8"]).await;
    let fields = [("what", "msg"), ("topic", "usrB"), ("seq", "7")];
    for device in ["dQw4:APA91b", "dQw5:APA91b"] {
        let push = for_vendor(PushTarget::Fcm, device, &fields);
        let (status, said) = scene.push(push).await;
        assert_eq!(status, 201, "{said}");
    }
    let heard = google.heard();
    let paths: Vec<_> = heard.iter().map(|it| &*it.path).collect();
    let send = "/v1/projects/freehold-test/messages:send";
    assert_eq!(paths, ["/token", send, send], "one token for both");
    let form = String::from_utf8(heard[0].body.clone()).unwrap();
    let (grant, proof) = form.split_once("&assertion=").unwrap();
    assert_eq!(
        grant,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer"
    );
    let [header, claims] = shown(proof, &RSA_PKCS1_2048_8192_SHA256, &public);
    assert_eq!(
        (&header["alg"], &header["kid"]),
        (&json!("RS256"), &json!("key-1"))
    );
    let now = scene.world.now().as_millis() / 1000;
    let scope = "https://www.googleapis.com/auth/firebase.messaging";
    let claimed = json!({"iss": "node@google.test", "scope": scope, "aud": format!("{url}token"),
        "iat": now, "exp": now + 3600});
    assert_eq!(claims, claimed);
    assert_eq!(heard[1].header("authorization"), "Bearer letmein");
    let body: Value = serde_json::from_slice(&heard[1].body).unwrap();
    let message = &body["message"];
    assert_eq!(message["token"], "dQw4:APA91b");
    assert_eq!(
        message["data"],
        json!({"what": "msg", "topic": "usrB", "seq": "7"})
    );
    assert_eq!(
        message["android"],
        json!({"priority": "HIGH", "ttl": "600s"})
    );
    assert_eq!(
        message["apns"]["payload"]["aps"]["alert"],
        json!({"title": "New message"})
    );

    // The token ends; then Google says that it did; then that the device is gone.
    scene.world.clock.advance(Duration::from_secs(60 * 60));
    let again = async || {
        let push = for_vendor(PushTarget::Fcm, "dQw4:x", &fields);
        scene.push(push).await
    };
    assert_eq!(again().await.0, 201);
    assert_eq!(google.heard()[3].path, "/token");
    let says = |status: u16, words: &'static str| {
        google.answers_with(move |heard| match &*heard.path {
            "/token" => (
                200,
                r#"{"access_token":"new","expires_in":3599}"#.to_owned(),
            ),
            _ => (status, words.to_owned()),
        });
    };
    says(401, "{}");
    refused(again().await, 503, "401");
    says(200, "{}");
    assert_eq!(again().await.0, 201);
    assert_eq!(
        google.heard().last().unwrap().header("authorization"),
        "Bearer new"
    );
    for (status, words, expected) in [
        (
            404,
            r#"{"error":{"details":[{"errorCode":"UNREGISTERED"}]}}"#,
            410,
        ),
        (
            403,
            r#"{"error":{"details":[{"errorCode":"SENDER_ID_MISMATCH"}]}}"#,
            502,
        ),
        // A node that is set up wrongly makes no domain forget its devices.
        (404, "<html>no such page</html>", 503),
        (403, "{}", 502),
        (400, "{}", 502),
        (429, "{}", 503),
        (503, "{}", 503),
    ] {
        says(status, words);
        assert_eq!(again().await.0, expected, "{status} {words}");
    }
    // Google does not let the node in.
    scene.world.clock.advance(Duration::from_secs(60 * 60));
    google.answers(400);
    refused(again().await, 503, "no access token");
}

/// The file with a service account, and the public half of its key.
fn service_account(folder: &tempfile::TempDir, url: &str) -> (std::path::PathBuf, Vec<u8>) {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let key = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    let account = json!({"type": "service_account", "project_id": "freehold-test",
        "private_key_id": "key-1", "private_key": key, "client_email": "node@google.test",
        "token_uri": format!("{url}token")});
    let path = folder.path().join("account.json");
    fs::write(&path, account.to_string()).unwrap();
    (path, pair.public_key().as_ref().to_vec())
}

#[tokio::test]
async fn apple_is_asked_over_one_connection_that_is_made_anew_when_it_breaks() {
    let folder = tempfile::tempdir().unwrap();
    let (pem, public) = new_vapid_key().unwrap();
    let key = folder.path().join("apple.p8");
    fs::write(&key, pem).unwrap();
    let with = |push: &mut PushConfig| {
        push.apns = Some(ApnsConfig {
            key,
            key_id: "KEY".to_owned(),
            team_id: "TEAM".to_owned(),
            topic: "org.example.chat".to_owned(),
            // The scene has another one.
            url: "https://apple.beta.test/".parse().unwrap(),
        });
    };
    let scene = Scene::with(with, &["127.0.0.0/8"]).await;
    let device = "ab".repeat(32);
    let fields = [("what", "msg"), ("topic", "usrB"), ("seq", "7")];
    let push = || scene.push(for_vendor(PushTarget::Apns, &device, &fields));
    let all = tokio::join!(push(), push(), push());
    assert_eq!([all.0.0, all.1.0, all.2.0], [201; 3], "{all:?}");
    assert_eq!(scene.apple.connections(), 1);
    let heard = &scene.apple.heard()[0];
    assert_eq!(heard.path, format!("/3/device/{device}"));
    let expires = scene.world.now().as_millis() / 1000 + 600;
    for (name, value) in [
        ("apns-topic", "org.example.chat"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-collapse-id", "topic"),
        ("apns-expiration", &expires.to_string()),
    ] {
        assert_eq!(heard.header(name), value, "{name}");
    }
    let token = heard
        .header("authorization")
        .strip_prefix("bearer ")
        .unwrap();
    let public = URL_SAFE_NO_PAD.decode(public).unwrap();
    let [header, claims] = shown(token, &ECDSA_P256_SHA256_FIXED, &public);
    assert_eq!(header, json!({"alg": "ES256", "kid": "KEY"}));
    let now = scene.world.now().as_millis() / 1000;
    assert_eq!(claims, json!({"iss": "TEAM", "iat": now}));
    let body: Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(
        (&body["topic"], &body["seq"]),
        (&json!("usrB"), &json!("7"))
    );
    assert_eq!(body["aps"]["alert"], json!({"title": "New message"}));

    for (status, reason, expected) in [
        (410, "Unregistered", 410),
        (400, "BadDeviceToken", 410),
        (400, "BadMessageId", 502),
        (403, "ExpiredProviderToken", 503),
        (429, "TooManyRequests", 503),
    ] {
        scene.apple.answers(status, reason);
        assert_eq!(push().await.0, expected, "{reason}");
    }
    scene.apple.answers(0, "");
    refused(push().await, 503, "Apple's service");
    scene.apple.answers(200, "");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    // The end of a connection may be seen a moment after the answer that never came.
    while push().await.0 != 201 {
        assert!(tokio::time::Instant::now() < deadline);
    }
    assert_eq!(scene.apple.connections(), 2);
    let quiet = [("what", "read"), ("topic", "usrB"), ("seq", "7")];
    let quiet = for_vendor(PushTarget::Apns, &device, &quiet);
    assert_eq!(scene.push(quiet).await.0, 201);
    let heard = scene.apple.heard();
    let heard = heard.last().unwrap();
    assert_eq!(
        (
            heard.header("apns-push-type"),
            heard.header("apns-priority")
        ),
        ("background", "5")
    );
}

#[tokio::test]
async fn a_domain_that_has_changed_its_keys_is_told_when_the_node_looks_again() {
    let mut scene = Scene::new().await;
    assert_eq!(scene.push(scene.draft("/x")).await.0, 201);
    let now = scene.world.now();
    scene.world.ring.rotate(now).unwrap();
    scene.world.serve_instead(&scene.world.ring);
    let signer = scene.world.ring.signer();
    let asked = signer.ask_for_push(scene.draft("/x"), now);
    let (status, head, _) = post_whole(scene.node, &asked.to_bytes()).await;
    assert_eq!(status, 503);
    assert!(head.contains("retry-after: 301"), "{head}");
    scene.world.clock.advance(Duration::from_secs(301));
    assert_eq!(scene.push(scene.draft("/x")).await.0, 201);
}
