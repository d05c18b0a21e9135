//! A node of the public directory tier, asked over HTTP as anybody would.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use freehold_directory::{
    AnchorLevel, Config, Node, NodeAddress, NodeConfig, NodeListener, Pins as _, Rate,
    ResolveError, Trust, serve_node,
};
use freehold_keys::{KeyRing, VerifiedRecord, fingerprint_to_text};
use hickory_server::proto::rr::RData;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{World, anchor, srv};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A node for a world in which `beta.test` is as `named` says.
pub(crate) async fn node(world: &World, named: &KeyRing) -> SocketAddr {
    node_in(world, &rows(world, named).await).await
}

pub(crate) async fn rows(world: &World, named: &KeyRing) -> [(&'static str, RData); 3] {
    [
        (
            "_freehold._tcp.beta.test",
            srv(0, world.serve_record().await, "host.beta.test"),
        ),
        ("host.beta.test", world.loopback()),
        ("_freehold.beta.test", anchor(named)),
    ]
}

/// As nodes of these scenes are configured, which ask this DNS server.
pub(crate) fn config(nameserver: SocketAddr) -> NodeConfig {
    NodeConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        proxies: vec!["127.0.0.1".parse().unwrap()],
        cache_bytes: 1024 * 1024,
        questions: Rate::new(10, 100),
        looks: Rate::new(1, 40),
        announcements: Rate::new(10, 100),
        listing_bytes: 1024 * 1024,
        discovery: Config {
            nameserver: Some(nameserver),
            allowed_ranges: vec!["127.0.0.0/8".parse().unwrap()],
            ..Config::default()
        },
        push: None,
    }
}

/// A node for a world with this zone.
pub(crate) async fn node_in(world: &World, rows: &[(&str, RData)]) -> SocketAddr {
    let nameserver = world.serve_zone(world.zone(rows)).await;
    let config = config(nameserver);
    let listener = NodeListener::bind(config.listen).await.unwrap();
    let address = listener.local_addr();
    let node = Arc::new(Node::new(config, world.clock.clone()).unwrap());
    world.spawn(serve_node(node, listener, std::future::pending()));
    address
}

/// Status, head and body.
pub(crate) async fn get(node: SocketAddr, path: &str, accept: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(node).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: node.test\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head, bytes[end + 4..].to_vec())
}

pub(crate) async fn json(node: SocketAddr, path: &str) -> (u16, serde_json::Value) {
    let (status, _, body) = get(node, path, "application/json").await;
    (status, serde_json::from_slice(&body).unwrap())
}

const BETA: &str = "/v1/domains/beta.test";

#[tokio::test]
async fn anybody_is_shown_the_record_as_the_domain_serves_it_and_who_vouches_for_it() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let (status, seen) = json(node, BETA).await;
    assert_eq!((status, &seen["found"]), (200, &true.into()));
    let root = fingerprint_to_text(&world.ring.record().root_fingerprint());
    assert_eq!(seen["identity"]["root"], *root);
    assert_eq!(seen["anchors"][0]["source"], "dns");
    assert_eq!(seen["anchors"][0]["agrees"], true);
    assert_eq!(seen["anchors"][1]["source"], "well-known");
    assert!(seen["anchors"][1]["why"].is_string(), "{seen}");

    // What counts are the bytes, which anybody can check.
    let (_, head, bytes) = get(node, BETA, "application/octet-stream").await;
    assert!(head.contains("content-type: application/octet-stream"));
    assert!(head.contains("access-control-allow-origin: *"));
    let root = world.ring.record().root_fingerprint();
    let record = VerifiedRecord::verify(&bytes, &world.domain, &root, world.now()).unwrap();
    assert_eq!(record.hash(), world.ring.record().hash());
    assert_eq!(world.served(), 1, "the second answer is from memory");
}

#[tokio::test]
async fn a_root_key_that_dns_does_not_name_is_shown_as_a_disagreement() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let node = node(&world, &other.ring).await;
    let (status, seen) = json(node, BETA).await;
    assert_eq!((status, &seen["found"]), (200, &true.into()));
    assert_eq!(seen["anchors"][0]["agrees"], false);
    let (_, _, page) = get(node, "/?domain=beta.test", "text/html").await;
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("They do not agree about its root key"));
}

#[tokio::test]
async fn a_record_that_nobody_has_confirmed_for_a_week_is_not_handed_on() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    assert_eq!(json(node, BETA).await.0, 200);
    // Somebody keeps the domain from saying more.
    world.clock.advance(8 * DAY);
    let (status, seen) = json(node, BETA).await;
    assert_eq!((status, &seen["found"]), (404, &false.into()));
    assert!(seen["record"].is_null());
    let why = seen["why"].as_str().unwrap();
    assert!(why.contains("fresh") || why.contains("latest"), "{why}");
}

#[tokio::test]
async fn an_older_record_after_a_newer_one_is_not_handed_on() {
    let mut world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let first = world.ring.fresh_record(world.now());
    world.ring.rotate(world.now()).unwrap();
    world.serve_instead(&world.ring);
    let (_, seen) = json(node, BETA).await;
    assert_eq!(seen["identity"]["serial"], 2);
    world.serve_bytes(&first);
    world.clock.advance(Duration::from_secs(6 * 60));
    let (status, seen) = json(node, BETA).await;
    assert_eq!(status, 404);
    assert_eq!(seen["why"], "serial 1 may not follow serial 2");
    world.serve_instead(&world.ring);
    world.clock.advance(Duration::from_secs(31));
    assert_eq!(json(node, BETA).await.1["identity"]["serial"], 2);
}

#[tokio::test]
async fn what_was_not_found_is_looked_for_again_after_half_a_minute() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let (status, seen) = json(node, "/v1/domains/nobody.beta.test").await;
    assert_eq!((status, &seen["found"]), (404, &false.into()));
    assert!(seen["why"].is_string());
    let again = json(node, "/v1/domains/nobody.beta.test").await.1;
    assert_eq!(again["seen_at"], seen["seen_at"]);
    world.clock.advance(Duration::from_secs(31));
    let later = json(node, "/v1/domains/nobody.beta.test").await.1;
    assert_ne!(later["seen_at"], seen["seen_at"]);
}

#[tokio::test]
async fn a_clock_that_is_put_back_keeps_nothing_alive() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    assert_eq!(json(node, BETA).await.0, 200);
    world
        .clock
        .set(world.now().minus(Duration::from_secs(30 * 60)));
    assert_eq!(json(node, BETA).await.0, 200);
    assert_eq!(world.served(), 1);
    world.clock.advance(Duration::from_secs(6 * 60));
    assert_eq!(json(node, BETA).await.0, 200);
    assert_eq!(
        world.served(),
        2,
        "five minutes have passed, whatever time it is"
    );
}

#[tokio::test]
async fn many_who_ask_a_node_at_once_cause_one_look() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let asked = (0..32).map(|_| json(node, BETA));
    let mut answers = tokio::task::JoinSet::new();
    asked.for_each(|it| drop(answers.spawn(it)));
    for (status, seen) in answers.join_all().await {
        assert_eq!((status, &seen["found"]), (200, &true.into()));
    }
    assert_eq!(world.served(), 1);
}

/// What becomes of a first contact of who trusts no unsigned record and names these nodes.
async fn met(world: &World, nodes: &[SocketAddr]) -> Result<AnchorLevel, ResolveError> {
    let rows = rows(world, &world.ring).await;
    let change = |config: &mut Config| {
        config.trust = Trust::Verified;
        config.nodes = nodes
            .iter()
            .map(|it| NodeAddress {
                tls: false,
                host: it.ip().to_string(),
                port: it.port(),
            })
            .collect();
    };
    let directory = world.directory_set(&rows, change).await;
    directory.peer(&world.domain).await?;
    let pin = world.pins.load(&world.domain).await.unwrap().unwrap();
    directory.forget(&world.domain).await.unwrap();
    Ok(pin.anchor)
}

#[tokio::test]
async fn an_unsigned_record_counts_where_two_nodes_see_it_too() {
    let world = World::new("beta.test");
    let (one, two) = (
        node(&world, &world.ring).await,
        node(&world, &world.ring).await,
    );
    assert_eq!(
        met(&world, &[one, two]).await.unwrap(),
        AnchorLevel::Confirmed
    );
    // One of three is away.
    let gone: SocketAddr = "127.0.0.1:1".parse().unwrap();
    assert_eq!(
        met(&world, &[gone, one, two]).await.unwrap(),
        AnchorLevel::Confirmed
    );
    for nodes in [&[][..], &[one], &[one, gone]] {
        let error = met(&world, nodes).await.unwrap_err();
        assert!(matches!(error, ResolveError::NoAnchor(_)), "{error}");
    }
}

#[tokio::test]
async fn a_node_that_sees_another_key_or_lies_stops_a_first_contact() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let (honest, second) = (
        node(&world, &world.ring).await,
        node(&world, &world.ring).await,
    );
    let lying = node(&world, &other.ring).await;
    let error = met(&world, &[honest, second, lying]).await.unwrap_err();
    assert!(
        matches!(error, ResolveError::AnchorsDisagree { .. }),
        "{error}"
    );
    // One that says that there is nothing is not believed, and does no harm.
    let blind = node_in(&world, &[]).await;
    assert_eq!(
        met(&world, &[honest, blind, second]).await.unwrap(),
        AnchorLevel::Confirmed
    );
}

#[tokio::test]
async fn one_network_that_asks_too_much_is_held_back_and_others_are_not() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    assert_eq!(json(node, BETA).await.0, 200);
    // Names made up on the spot: each would make the node look.
    let mut refused = None;
    for number in 0..60 {
        let (status, _, body) = get(node, &format!("/v1/domains/n{number}.beta.test"), "*/*").await;
        if status == 429 {
            refused = Some((number, String::from_utf8(body).unwrap()));
            break;
        }
    }
    let (number, words) = refused.unwrap();
    assert_eq!(number, 39);
    assert!(
        words.contains("too many questions from your network"),
        "{words}"
    );
    // What it has in memory it still tells, and others are looked for.
    assert_eq!(json(node, BETA).await.0, 200);
    let from = |address: &str| format!("*/*\r\nx-forwarded-for: 203.0.113.9, {address}");
    let path = "/v1/domains/other.beta.test";
    assert_eq!(get(node, path, &from("198.51.100.7")).await.0, 404);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(json(node, "/v1/domains/later.beta.test").await.0, 404);
}

#[tokio::test]
async fn what_is_no_name_is_refused_and_never_becomes_part_of_the_page() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let (status, refusal) = json(node, "/v1/domains/Beta.test").await;
    assert_eq!(status, 400);
    assert!(refusal["error"].as_str().unwrap().contains("Beta.test"));
    let (status, head, page) = get(node, "/?domain=%3Cb%3Ebeta%22", "text/html").await;
    let page = String::from_utf8(page).unwrap();
    assert_eq!(status, 400);
    assert!(head.contains("content-security-policy: default-src 'none'"));
    assert!(page.contains("&lt;b&gt;beta&quot;"), "{page}");
    assert!(!page.contains("<b>"), "{page}");
    let (_, _, page) = get(node, "/?domain=+Beta.TEST+", "text/html").await;
    assert!(
        String::from_utf8(page)
            .unwrap()
            .contains("Its record holds.")
    );
}

#[tokio::test]
async fn a_node_describes_itself_and_counts_answers_but_not_who_asked() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    json(node, BETA).await;
    json(node, BETA).await;
    let (_, api) = json(node, "/v1/openapi.json").await;
    assert!(api["paths"]["/v1/domains/{domain}"]["get"].is_object());
    assert!(api["paths"]["/v1/locate"]["get"].is_object());
    assert!(api["paths"]["/v1/push"]["post"].is_object());
    assert!(api["components"]["schemas"]["Connect"]["properties"]["document"].is_object());
    assert!(api["components"]["schemas"]["Domain"]["properties"]["anchors"].is_object());
    let (_, _, text) = get(node, "/metrics", "*/*").await;
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains("answers_total{outcome=\"Memory\"} 1"),
        "{text}"
    );
    assert!(
        text.contains("answers_total{outcome=\"Found\"} 1"),
        "{text}"
    );
    assert!(!text.contains("beta"), "{text}");
    assert_eq!(get(node, "/v2", "*/*").await.0, 404);
}
