//! Domains that speak TLS to their clients by themselves.

use std::{fs, io, time::Duration};

use freehold::{Domain, edge::tls::Pair};
use freehold_config::TlsFiles;
use freehold_keys::KeyRing;
use freehold_proto::{Clock as _, pbx::ClientMsg};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tonic::transport::Endpoint;

use crate::{
    bot::Bot,
    guest::SOON,
    net::{House, Net},
    raw,
    tls_client::{Caller, Hand, OneStream, Shown, get, lines},
};

/// Longer than until the files are looked at again.
const A_MINUTE: Duration = Duration::from_secs(61);

async fn alpha(net: &Net, shown: &Shown) -> House {
    shown.write(net.folder());
    net.domain_with("alpha.test", &lines(net.folder())).await
}

fn hand<'a>(house: &House, shown: &'a Shown) -> Hand<'a> {
    Hand::new(house.endpoint.client, shown, "alpha.test")
}

#[tokio::test]
async fn people_talk_over_tls_of_both_versions_and_hear_the_end() {
    let (net, shown) = (Net::new().await, Shown::new("alpha.test"));
    let mut alpha = alpha(&net, &shown).await;
    let mut ann = Caller::new(hand(&alpha, &shown), "ann").await;
    let mut bob = Caller::new(hand(&alpha, &shown).old(), "bob").await;
    let (to_bob, to_ann) = (bob.id.clone(), ann.id.clone());
    ann.asks("sub", json!({"topic": to_bob})).await;
    bob.asks("sub", json!({"topic": to_ann})).await;
    let long = "long ".repeat(20_000);
    for text in ["hello", &long] {
        ann.asks("pub", json!({"topic": to_bob, "content": text}))
            .await;
        let heard = bob.hears(|it| it["data"]["content"] == text).await;
        assert_eq!(heard["data"]["from"], to_ann);
    }
    assert_eq!(hand(&alpha, &shown).asks("alpha.test").await, 404);

    tokio::join!(alpha.stop(), ann.hears_the_end(), bob.hears_the_end());
}

#[tokio::test]
async fn who_speaks_plain_http_is_told_so_and_nonsense_is_not_answered() {
    let (net, shown) = (Net::new().await, Shown::new("alpha.test"));
    let mut alpha = alpha(&net, &shown).await;
    let (status, _, body) = raw::http(&alpha, "GET / HTTP/1.1").await;
    let told = "This port speaks HTTPS: use https:// or wss://\n";
    assert_eq!((status, &*body), (400, told));
    let mut stream = TcpStream::connect(alpha.endpoint.client).await.unwrap();
    stream.write_all(b"\x00what?").await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(SOON, stream.read_to_end(&mut answer)).await;
    let hung_up = match ended.unwrap() {
        Ok(_) => answer.is_empty(),
        Err(fault) => fault.kind() == io::ErrorKind::ConnectionReset,
    };
    assert!(hung_up, "{answer:?}");
    // Who says nothing does not keep the domain from ending.
    let silent = TcpStream::connect(alpha.endpoint.client).await.unwrap();
    // HTTP/2 is spoken where gRPC is.
    let mut other = hand(&alpha, &shown);
    other.speaks = b"h2";
    assert!(other.shake().await.is_err());
    let begun = Instant::now();
    alpha.stop().await;
    assert!(begun.elapsed() < SOON / 2, "{:?}", begun.elapsed());
    drop(silent);
}

/// Connects until a certificate is shown, believing no other.
async fn shows(house: &House, shown: &Shown) {
    let deadline = Instant::now() + SOON;
    while hand(house, shown).shake().await.is_err() {
        assert!(Instant::now() < deadline, "the other one is shown");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_while_the_server_runs_and_connections_stay() {
    let (net, first) = (Net::new().await, Shown::new("alpha.test"));
    let alpha = alpha(&net, &first).await;
    let mut early = hand(&alpha, &first).shake().await.unwrap();
    let second = Shown::new("alpha.test");
    second.write(net.folder());
    // Not looked at yet.
    hand(&alpha, &first).shake().await.unwrap();
    hand(&alpha, &first).shake().await.unwrap();
    net.clock.advance(A_MINUTE);
    // Who connects when it is time to look does not wait for it.
    hand(&alpha, &first).shake().await.unwrap();
    shows(&alpha, &second).await;
    assert!(hand(&alpha, &first).shake().await.is_err());
    assert_eq!(get(&mut early, "alpha.test").await, 404);
}

#[tokio::test]
async fn a_renewal_that_went_wrong_leaves_the_old_certificate() {
    let (net, first) = (Net::new().await, Shown::new("alpha.test"));
    let alpha = alpha(&net, &first).await;
    let second = Shown::new("alpha.test");
    let looks = async || {
        net.clock.advance(A_MINUTE);
        for _ in 0..20 {
            hand(&alpha, &first).shake().await.unwrap();
            sleep(Duration::from_millis(10)).await;
        }
    };
    // The key is still the old one.
    second.write_certificate(net.folder());
    looks().await;
    fs::remove_file(net.folder().join("key.pem")).unwrap();
    looks().await;
    fs::write(net.folder().join("chain.pem"), "nothing").unwrap();
    looks().await;
    second.write(net.folder());
    net.clock.advance(A_MINUTE);
    hand(&alpha, &first).shake().await.unwrap();
    shows(&alpha, &second).await;
}

#[tokio::test]
async fn a_domain_does_not_start_with_a_certificate_that_it_cannot_show() {
    let net = Net::new().await;
    let (folder, name) = (net.folder().join("house"), "alpha.test".parse().unwrap());
    fs::create_dir(&folder).unwrap();
    KeyRing::create(&folder.join("keys"), &name, net.clock.now()).unwrap();
    let fault = async || {
        let config = net.config_of(&name, &folder, &lines(&folder));
        let keys = KeyRing::load(&config.keys_dir, &name, net.clock.now()).unwrap();
        let built = Box::pin(Domain::build(config, keys, net.clock.clone())).await;
        built.map(|_| ()).unwrap_err().to_string()
    };
    let (chain, key) = (folder.join("chain.pem"), folder.join("key.pem"));
    let (chain, key) = (chain.display(), key.display());
    assert_eq!(
        fault().await,
        format!(
            "{chain} (clients.tls_certificate) cannot be read: No such file or directory (os error 2)"
        )
    );
    let (one, other) = (Shown::new("alpha.test"), Shown::new("alpha.test"));
    one.write(&folder);
    other.write_certificate(&folder);
    assert_eq!(
        fault().await,
        format!(
            "the key in {key} (clients.tls_key) is not that of the certificate in {chain} (clients.tls_certificate)"
        )
    );
    fs::copy(folder.join("chain.pem"), folder.join("key.pem")).unwrap();
    assert_eq!(
        fault().await,
        format!("{key} (clients.tls_key) cannot be used: it holds no private key in PEM form")
    );
    fs::write(folder.join("chain.pem"), "").unwrap();
    assert_eq!(
        fault().await,
        format!(
            "{chain} (clients.tls_certificate) cannot be used: it holds no certificate in PEM form"
        )
    );
}

#[tokio::test]
async fn an_expired_certificate_is_shown_and_tells_when_it_ended() {
    let (net, shown) = (Net::new().await, Shown::until("alpha.test", 2001));
    let alpha = alpha(&net, &shown).await;
    let fault = hand(&alpha, &shown).shake().await.unwrap_err().to_string();
    assert!(fault.contains("expired"), "{fault}");
    let pair = Pair::read(&TlsFiles {
        certificate: net.folder().join("chain.pem"),
        key: net.folder().join("key.pem"),
    });
    let pair = pair.unwrap();
    assert_eq!(pair.ends().unwrap().to_string(), "2001-01-01T00:00:00.000Z");
    assert!(pair.is_for("ALPHA.test") && !pair.is_for("chat.alpha.test"));
}

#[tokio::test]
async fn a_bot_talks_grpc_over_tls() {
    let (net, shown) = (Net::new().await, Shown::new("alpha.test"));
    shown.write(net.folder());
    let settings = format!("{}\ngrpc_listen = \"127.0.0.1:0\"", lines(net.folder()));
    let alpha = net.domain_with("alpha.test", &settings).await;
    let mut hand = hand(&alpha, &shown);
    (hand.at, hand.speaks) = (alpha.grpc.unwrap(), b"h2");
    let stream = OneStream(Some(hand.shake().await.unwrap()));
    let endpoint = Endpoint::from_static("http://alpha.test");
    let channel = endpoint.connect_with_connector(stream).await.unwrap();
    let mut bot: Bot<ClientMsg> = Bot::open(channel).await.unwrap();
    bot.greets().await;
}
