//! Where somebody's clients connect, asked of a node by programs and by people.

use std::{net::SocketAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_keys::{KeyRing, Lost, SignedClientDocument, VerifiedRecord};
use freehold_proto::{Entrance, Registration, WebUrl};

use crate::{
    node::{get, json, node},
    support::World,
};

const LOCATE: &str = "/v1/locate?address=alice@beta.test";
const PAGE: &str = "/?domain=beta.test";
const SHORT: &str = "/c/beta.test";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

fn entrance(web_app: &str) -> Entrance {
    Entrance {
        websocket: "wss://chat.beta.test/v0/channels".parse().unwrap(),
        long_polling: "https://chat.beta.test/v0/channels/lp".parse().unwrap(),
        web_app: Some(web_app.parse::<WebUrl>().unwrap()),
        grpc: Some("chat.beta.test:443".to_owned()),
        protocol_version: "0.25".to_owned(),
        api_key: "K".to_owned(),
        registration: Registration::Invite,
        anonymous: false,
        calls: true,
        file_bytes_max: 8 * 1024 * 1024,
        message_bytes_max: 131_072,
    }
}

/// Beta with a document of now that leads to this web app, and a node that may be asked about it.
async fn beta(web_app: &str) -> (World, SocketAddr) {
    let world = World::new("beta.test");
    tell(&world, &world.ring, web_app);
    let node = node(&world, &world.ring).await;
    (world, node)
}

/// From now on beta serves a document that `ring` signs.
fn tell(world: &World, ring: &KeyRing, web_app: &str) {
    let document = ring.signer().direct_clients(entrance(web_app), world.now());
    world.serve_document(&document.to_bytes());
}

async fn text(node: SocketAddr, path: &str) -> (u16, String, String) {
    let (status, head, body) = get(node, path, "text/html").await;
    (status, head, String::from_utf8(body).unwrap())
}

/// Nobody is told of a way in, nobody led anywhere, and why is said.
async fn check_not_located(node: SocketAddr, why: &str) {
    let (status, said) = json(node, LOCATE).await;
    assert_eq!((status, &said["found"]), (404, &false.into()), "{said}");
    assert!(said["connect"].is_null(), "{said}");
    assert!(said["why"].as_str().unwrap().contains(why), "{said}");
    check_not_led(node, why).await;
}

async fn check_not_led(node: SocketAddr, why: &str) {
    let (status, head, page) = text(node, SHORT).await;
    assert_eq!(status, 404);
    assert!(!head.contains("location:"), "{head}");
    assert!(page.contains(why), "{page}");
    assert!(!page.contains("<svg"), "{page}");
}

#[tokio::test]
async fn an_address_is_answered_with_the_signed_word_of_its_domain() {
    let (world, node) = beta("https://chat.beta.test/").await;
    let (status, said) = json(node, LOCATE).await;
    assert_eq!((status, &said["found"]), (200, &true.into()), "{said}");
    let connect = &said["connect"];
    assert_eq!(connect["server"], "chat.beta.test");
    assert_eq!(connect["tls"], true);
    assert_eq!(connect["websocket"], "wss://chat.beta.test/v0/channels");
    assert_eq!(
        connect["long_polling"],
        "https://chat.beta.test/v0/channels/lp"
    );
    assert_eq!(connect["web_app"], "https://chat.beta.test/");
    assert_eq!(connect["grpc"], "chat.beta.test:443");
    assert_eq!(connect["registration"], "invite");
    assert_eq!(said["anchors"][0]["agrees"], true);
    // What counts are the bytes, which anybody can check against the record.
    let bytes = connect["document"].as_str().unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(bytes).unwrap();
    let (_, _, record) = get(node, "/v1/domains/beta.test", "application/octet-stream").await;
    let root = world.ring.record().root_fingerprint();
    let record = VerifiedRecord::verify(&record, &world.domain, &root, world.now()).unwrap();
    SignedClientDocument::verify(&bytes, &record, world.now()).unwrap();
    // The name of a person is not needed, and capitals do not matter in an address.
    assert_eq!(json(node, "/v1/locate?domain=beta.test").await.1, said);
    let typed = json(node, "/v1/locate?address=Alice@Beta.Test").await;
    assert_eq!(typed.1, said);
    assert_eq!(world.served(), 1, "all of it is one look");
}

#[tokio::test]
async fn what_is_no_address_is_refused_in_words() {
    let (world, node) = beta("https://chat.beta.test/").await;
    for (asked, word) in [
        (
            "?address=alice",
            "is not an address of the form name@domain",
        ),
        ("?address=alice@localhost", "it has only one label"),
        ("?address=", "is not an address"),
        ("?domain=Beta.test", "it has capitals"),
        ("?domain=", "is not the name of a domain"),
        (
            "?domain=beta.test&address=alice@beta.test",
            "ask with ?address=",
        ),
        ("?address=a@beta.test&address=b@beta.test", "address"),
        ("", "ask with ?address="),
    ] {
        let (status, said) = json(node, &format!("/v1/locate{asked}")).await;
        assert_eq!(status, 400, "{asked}");
        assert!(
            said["error"].as_str().unwrap().contains(word),
            "{asked}: {said}"
        );
    }
    assert_eq!(world.served(), 0);
}

#[tokio::test]
async fn a_domain_that_tells_nothing_is_said_to_tell_nothing() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    check_not_located(node, "it does not tell where its clients connect").await;
    assert_eq!(json(node, "/v1/domains/beta.test").await.0, 200);
    let (status, said) = json(node, "/v1/locate?domain=nobody.beta.test").await;
    assert_eq!((status, &said["found"]), (404, &false.into()));
    assert!(said["why"].is_string());
}

#[tokio::test]
async fn a_document_that_somebody_else_wrote_is_not_handed_on() {
    let (world, node) = beta("https://chat.beta.test/").await;
    let thief = World::new("beta.test");
    tell(&world, &thief.ring, "https://thief.test/");
    check_not_located(node, "signed by a key that did not count").await;
}

#[tokio::test]
async fn a_document_that_was_changed_on_the_way_is_not_handed_on() {
    let (world, node) = beta("https://chat.beta.test/").await;
    let signer = world.ring.signer();
    let document = signer.direct_clients(entrance("https://chat.beta.test/"), world.now());
    let mut bytes = document.to_bytes();
    let at = bytes.windows(4).position(|it| it == b"chat").unwrap();
    bytes[at] = b'k';
    world.serve_document(&bytes);
    check_not_located(
        node,
        "the signature under its client document does not hold",
    )
    .await;
}

#[tokio::test]
async fn the_document_of_another_domain_is_not_handed_on() {
    let (world, node) = beta("https://chat.beta.test/").await;
    let gamma = World::new("gamma.test");
    tell(&world, &gamma.ring, "https://chat.beta.test/");
    check_not_located(node, "of another domain").await;
}

#[tokio::test]
async fn a_document_of_last_week_is_not_handed_on() {
    let (world, node) = beta("https://chat.beta.test/").await;
    assert_eq!(json(node, LOCATE).await.0, 200);
    // Somebody shows today's record beside what the domain said then.
    world.clock.advance(WEEK);
    world.serve_instead(&world.ring);
    check_not_located(node, "does not count now").await;
}

#[tokio::test]
async fn a_document_under_a_revoked_key_is_not_handed_on_and_a_new_one_is() {
    let (mut world, node) = beta("https://chat.beta.test/").await;
    assert_eq!(json(node, LOCATE).await.0, 200);
    let lost = Lost {
        signing: true,
        tls: false,
    };
    let now = world.now();
    world.ring.revoke(lost, now, now).unwrap();
    world.serve_instead(&world.ring);
    world.clock.advance(Duration::from_secs(6 * 60));
    check_not_located(node, "signed by a key that did not count").await;
    tell(&world, &world.ring, "https://new.beta.test/");
    world.clock.advance(Duration::from_secs(6 * 60));
    let (_, said) = json(node, LOCATE).await;
    assert_eq!(said["connect"]["web_app"], "https://new.beta.test/");
}

#[tokio::test]
async fn garbage_and_floods_are_no_documents() {
    let (world, node) = beta("https://chat.beta.test/").await;
    world.serve_document(&vec![b'x'; 1024 * 1024]);
    check_not_located(node, "it sends more than that may have").await;
    world.clock.advance(Duration::from_secs(6 * 60));
    world.serve_document(b"<html>");
    check_not_located(node, "not a valid protobuf message").await;
}

#[tokio::test]
async fn people_are_led_to_the_web_app_by_page_square_and_short_link() {
    let (_world, node) = beta("https://chat.beta.test/").await;
    let (status, head, page) = text(node, PAGE).await;
    assert_eq!(status, 200);
    assert!(
        page.contains("<a href=\"https://chat.beta.test/\""),
        "{page}"
    );
    assert!(page.contains("Server name for apps<dd><code>chat.beta.test</code>, with TLS"));
    assert!(page.contains("<svg xmlns="), "{page}");
    // The square is part of the page: it still may fetch and run nothing.
    assert!(head.contains("content-security-policy: default-src 'none'; style-src"));
    assert!(!page.contains("<script") && !page.contains("<img"));
    let (status, head, _) = text(node, SHORT).await;
    assert_eq!(status, 302);
    assert!(
        head.contains("\r\nlocation: https://chat.beta.test/\r\n"),
        "{head}"
    );
    assert_eq!(text(node, "/c/Beta.test").await.0, 400);
    // Whoever pastes an address is shown its domain.
    let (status, _, page) = text(node, "/?domain=Alice%40Beta.test").await;
    assert_eq!(status, 200);
    assert!(
        page.contains("value=\"beta.test\"") && page.contains("<svg"),
        "{page}"
    );
}

#[tokio::test]
async fn the_short_link_leads_below_the_domain_or_to_this_machine_and_nowhere_else() {
    for (web_app, led) in [
        ("https://beta.test/", true),
        ("https://chat.beta.test:8443/app/", true),
        // Where machines of one's own may be looked for, as in a demonstration.
        ("http://127.0.0.1:6060/", true),
        ("http://chat.beta.test/", false),
        ("https://bank.example/", false),
        ("https://notbeta.test/", false),
        ("http://192.0.2.1/", false),
    ] {
        let (_world, node) = beta(web_app).await;
        let (status, head, page) = text(node, SHORT).await;
        let expected = if led { 302 } else { 404 };
        assert_eq!(status, expected, "{web_app}: {head}");
        assert_eq!(head.contains("location:"), led, "{web_app}: {head}");
        // Whoever looks first may go on, and is offered the short link where it leads on.
        assert!(
            led || page.contains(&format!("<a href=\"{web_app}\"")),
            "{page}"
        );
        let (_, _, page) = text(node, PAGE).await;
        assert_eq!(page.contains("<a href=\"/c/beta.test\">"), led, "{page}");
    }
}

#[tokio::test]
async fn nobody_is_led_where_the_anchors_do_not_agree() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    tell(&world, &world.ring, "https://chat.beta.test/");
    let node = node(&world, &other.ring).await;
    // Programs are told, with who disagrees; people are not led.
    let (status, said) = json(node, LOCATE).await;
    assert_eq!(
        (status, &said["anchors"][0]["agrees"]),
        (200, &false.into())
    );
    check_not_led(node, "it is not vouched for well enough to lead you there").await;
    let (_, _, page) = text(node, PAGE).await;
    assert!(!page.contains("href=\"https://chat.beta.test/\""), "{page}");
}
