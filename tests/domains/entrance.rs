//! A domain tells where its people's clients connect, to whoever asks at its web address or at its port for
//! peers.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_directory::CLIENT_DOCUMENT_PATH;
use freehold_keys::{KeyRing, SignedClientDocument, VerifiedRecord};
use freehold_proto::{
    Clock as _, Registration,
    limits::{ALPN_CLIENT, ALPN_RECORD},
};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, sleep},
};

use crate::{
    net::{House, Net},
    postman,
};

const OPEN: &str = "public_url = \"https://chat.alpha.test\"\n\
                    grpc_listen = \"127.0.0.1:0\"\ngrpc_public = \"chat.alpha.test:443\"";
const PATIENCE: Duration = Duration::from_secs(20);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a house tells browsers and apps.
async fn told(house: &House) -> (postman::Answer, Value) {
    let request = postman::head(&format!("GET {CLIENT_DOCUMENT_PATH}"), &[]);
    let answer = postman::exchange(house, request.as_bytes()).await;
    let words = serde_json::from_slice(&answer.body).unwrap();
    (answer, words)
}

fn signed(words: &Value) -> SignedClientDocument {
    let text = words["document"].as_str().unwrap();
    SignedClientDocument::read(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

/// What a house hands over at its port for peers.
async fn handed(net: &Net, house: &House, alpn: &[u8]) -> Vec<u8> {
    let asker = net.stranger("asker.test").await;
    let knocked = asker.knocks(&house.name, house.federation, alpn).await;
    let mut bytes = Vec::new();
    knocked.unwrap().read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn record_of(net: &Net, house: &House) -> VerifiedRecord {
    let bytes = handed(net, house, ALPN_RECORD).await;
    let root = VerifiedRecord::root_in(&bytes).unwrap();
    VerifiedRecord::verify(&bytes, &house.name, &root, net.clock.now()).unwrap()
}

#[tokio::test]
async fn a_domain_tells_where_clients_connect_and_signs_it() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", OPEN).await;
    let (answer, words) = told(&alpha).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(words["domain"], "alpha.test");
    assert_eq!(words["server"], "chat.alpha.test");
    assert_eq!(words["websocket"], "wss://chat.alpha.test/v0/channels");
    assert_eq!(
        words["long_polling"],
        "https://chat.alpha.test/v0/channels/lp"
    );
    assert_eq!(words["grpc"], "chat.alpha.test:443");
    assert!(words["web_app"].is_null(), "there is no app: {words}");
    assert_eq!(words["protocol_version"], "0.25");
    assert_eq!(words["registration"], "open");
    assert_eq!(words["message_bytes_max"], 131_072);
    // The same bytes at the port for peers, good under the record that is served there.
    let bytes = handed(&net, &alpha, ALPN_CLIENT).await;
    assert_eq!(bytes, signed(&words).to_bytes());
    let record = record_of(&net, &alpha).await;
    let document = SignedClientDocument::verify(&bytes, &record, net.clock.now()).unwrap();
    let entrance = &document.document().entrance;
    assert_eq!(entrance.registration, Registration::Open);
    // Whoever keeps it for a day gets another one then.
    net.clock.advance(DAY);
    let later = signed(&told(&alpha).await.1);
    assert_eq!(later.document().issued, net.clock.now());
    assert_eq!(&later.document().entrance, entrance);
}

#[tokio::test]
async fn a_domain_without_a_public_url_says_that_it_does_not_tell() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (answer, words) = told(&alpha).await;
    assert_eq!(answer.status, 404);
    let why = words["error"].as_str().unwrap();
    assert!(why.contains("does not tell where clients connect"), "{why}");
    assert_eq!(handed(&net, &alpha, ALPN_CLIENT).await, b"");
}

#[tokio::test]
async fn a_client_document_is_signed_with_the_new_key_as_soon_as_the_record_names_it() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", OPEN).await;
    let before = signed(&told(&alpha).await.1);
    let mut keys = KeyRing::load(&alpha.data().join("keys"), &alpha.name, net.clock.now()).unwrap();
    keys.rotate(net.clock.now()).unwrap();
    let new = keys.signer().key_id();
    let deadline = Instant::now() + PATIENCE;
    let after = loop {
        let now = signed(&told(&alpha).await.1);
        if now.document().key_id == new {
            break now;
        }
        assert_eq!(now.document().key_id, before.document().key_id);
        assert!(Instant::now() < deadline, "alpha signs with its old key");
        sleep(Duration::from_millis(50)).await;
    };
    let record = record_of(&net, &alpha).await;
    let verify = |it: &SignedClientDocument| {
        SignedClientDocument::verify(&it.to_bytes(), &record, net.clock.now())
    };
    assert_eq!(verify(&after).unwrap(), after);
    // What somebody fetched a moment ago still holds.
    assert_eq!(verify(&before).unwrap(), before);
}
