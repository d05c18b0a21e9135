//! What domains announce to nodes, and what comes of it when somebody forges, repeats, floods or goes away.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_directory::{Directory, Listed, Node, NodeAddress, NodeListener, serve_node};
use freehold_keys::{KeyRing, SignedCard};
use freehold_proto::{
    AccessMode, GroupId,
    card::{CardWords, LEASE, Subject},
};
use hickory_server::proto::rr::RData;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    node::{config, json, node, node_in, rows},
    support::{World, anchor, srv},
};

const CHESS: &str = "/v1/groups?q=chess";

fn group(title: &str) -> CardWords {
    CardWords {
        subject: Subject::Group {
            group: GroupId::from_bytes([7; 16]),
            channel: false,
            access: AccessMode::GROUP,
            members: 12,
        },
        title: title.to_owned(),
        note: "Tuesdays at seven".to_owned(),
        tags: vec!["games".to_owned()],
    }
}

/// What `ring` announces now: one group.
fn chess(world: &World, ring: &KeyRing) -> Vec<u8> {
    let cards = vec![group("Chess club")];
    ring.signer().announce(cards, LEASE, world.now())
}

/// Hands an announcement to a node: status and what it says.
async fn post(node: SocketAddr, body: &[u8]) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(node).await.unwrap();
    let head = format!(
        "POST /v1/announce HTTP/1.1\r\nhost: node.test\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A node that has heard enough may hang up before it has heard all.
    let _sent = stream.write_all(body).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

async fn titles(node: SocketAddr, path: &str) -> Vec<String> {
    let (status, said) = json(node, path).await;
    assert_eq!(status, 200, "{said}");
    let cards = said["cards"].as_array().unwrap();
    let titles = cards
        .iter()
        .map(|it| it["title"].as_str().unwrap().to_owned());
    titles.collect()
}

#[track_caller]
fn check_refused((status, said): (u16, serde_json::Value), expected: u16, why: &str) {
    assert_eq!(status, expected, "{said}");
    assert!(said["error"].as_str().unwrap().contains(why), "{said}");
}

#[tokio::test]
async fn an_announced_group_is_found_by_its_words_with_the_signature_of_its_domain() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let (status, said) = post(node, &chess(&world, &world.ring)).await;
    assert_eq!((status, &said["cards"]), (200, &1.into()), "{said}");
    assert_eq!(said["until"], world.now().plus(LEASE).to_string());
    let (_, said) = json(node, CHESS).await;
    let found = &said["cards"][0];
    assert_eq!(found["title"], "Chess club");
    assert_eq!(found["members"], 12);
    let group = GroupId::from_bytes([7; 16]);
    assert_eq!(found["topic"], format!("{group}@beta.test"));
    let signed = URL_SAFE_NO_PAD
        .decode(found["card"].as_str().unwrap())
        .unwrap();
    let card = SignedCard::read(&signed).unwrap();
    let record = world.ring.fresh_record(world.now());
    assert_eq!(card.check(&record, world.now()), Ok(()));
    for (path, expected) in [
        ("/v1/groups?q=CHE%20tues", 1),
        ("/v1/groups?q=games", 1),
        ("/v1/groups?q=draughts", 0),
        ("/v1/people?q=chess", 0),
    ] {
        assert_eq!(titles(node, path).await.len(), expected, "{path}");
    }
    let (_, said) = json(node, "/v1/groups?q=x").await;
    assert!(
        said["error"].as_str().unwrap().contains("two letters"),
        "{said}"
    );
}

#[tokio::test]
async fn what_a_domain_did_not_sign_for_now_is_not_listed() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let other = World::new("beta.test");
    let good = chess(&world, &world.ring);
    let mut changed = good.clone();
    let title = changed.windows(5).position(|it| it == b"Chess").unwrap();
    changed[title] = b'D';
    let old = world.now().minus(2 * LEASE);
    let old = world
        .ring
        .signer()
        .announce(vec![group("Chess")], LEASE, old);
    let long = world.ring.signer();
    let long = long.announce(vec![group("Chess")], 10 * LEASE, world.now());
    check_refused(post(node, &changed).await, 403, "does not hold");
    check_refused(
        post(node, &chess(&world, &other.ring)).await,
        403,
        "a key that did not count",
    );
    check_refused(post(node, &old).await, 403, "look at the clock");
    check_refused(post(node, &long).await, 403, "more than an hour");
    check_refused(post(node, b"nonsense").await, 400, "signed announcement");
    check_refused(post(node, &vec![0; 300 * 1024]).await, 400, "262144 bytes");
    assert!(titles(node, CHESS).await.is_empty());
}

#[tokio::test]
async fn a_domain_whose_root_key_dns_does_not_name_is_not_listed() {
    let world = World::new("beta.test");
    let other = World::new("beta.test");
    let node = node(&world, &other.ring).await;
    let answer = post(node, &chess(&world, &world.ring)).await;
    check_refused(answer, 403, "names another");
    assert!(titles(node, CHESS).await.is_empty());
}

#[tokio::test]
async fn a_domain_that_cannot_be_found_from_here_is_told_so() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let elsewhere = World::new("gamma.test");
    let answer = post(node, &chess(&world, &elsewhere.ring)).await;
    check_refused(answer, 403, "its record cannot be had");
}

#[tokio::test]
async fn who_repeats_an_older_announcement_changes_nothing() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let older = chess(&world, &world.ring);
    post(node, &older).await;
    world.clock.advance(Duration::from_secs(1));
    let none = world.ring.signer().announce(Vec::new(), LEASE, world.now());
    assert_eq!(post(node, &none).await.0, 200);
    assert!(titles(node, CHESS).await.is_empty());
    check_refused(post(node, &older).await, 409, "something later");
    // The same once more is no other.
    assert_eq!(post(node, &none).await.0, 200);
    assert!(titles(node, CHESS).await.is_empty());
}

#[tokio::test]
async fn what_is_not_announced_again_is_gone_with_its_lease() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    post(node, &chess(&world, &world.ring)).await;
    world.clock.advance(LEASE - Duration::from_secs(1));
    assert_eq!(titles(node, CHESS).await, ["Chess club"]);
    world.clock.advance(Duration::from_secs(1));
    assert!(titles(node, CHESS).await.is_empty());
}

#[tokio::test]
async fn announcing_every_few_minutes_causes_one_look_an_hour() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    for _ in 0..11 {
        assert_eq!(post(node, &chess(&world, &world.ring)).await.0, 200);
        world.clock.advance(Duration::from_secs(300));
    }
    assert_eq!(world.served(), 1);
    world.clock.advance(Duration::from_secs(600));
    assert_eq!(post(node, &chess(&world, &world.ring)).await.0, 200);
    assert_eq!(world.served(), 2);
}

#[tokio::test]
async fn a_domain_that_signs_with_a_new_key_is_looked_at_again() {
    let mut world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    assert_eq!(post(node, &chess(&world, &world.ring)).await.0, 200);
    world.clock.advance(Duration::from_secs(1000));
    world.ring.rotate(world.now()).unwrap();
    world.serve_instead(&world.ring);
    let answer = post(node, &chess(&world, &world.ring)).await;
    assert_eq!(answer.0, 200, "{}", answer.1);
}

#[tokio::test]
async fn announcements_of_domains_that_do_not_exist_cost_no_more_looks_than_questions() {
    let world = World::new("beta.test");
    let node = node(&world, &world.ring).await;
    let elsewhere = World::new("aaaaa.test");
    let signed = chess(&world, &elsewhere.ring);
    let mut answers = std::collections::BTreeMap::new();
    for number in 0..60 {
        // Whose it is stands in it as text; nobody gets as far as the signature.
        let name = format!("a{number:04}.test");
        let mut signed = signed.clone();
        let at = signed.windows(10).position(|it| it == b"aaaaa.test");
        signed[at.unwrap()..][..10].copy_from_slice(name.as_bytes());
        *answers.entry(post(node, &signed).await.0).or_insert(0) += 1;
    }
    assert_eq!(answers, [(403, 40), (429, 20)].into());
    assert_eq!(post(node, &chess(&world, &world.ring)).await.0, 429);
}

/// Groups that nodes give for these words, and that their domains have signed.
async fn search(directory: &Directory, words: &str) -> Vec<SignedCard> {
    let mut found = Vec::new();
    for (domain, cards) in directory.listed(Listed::Groups, words, |_| true).await {
        found.extend(directory.believed(&domain, cards).await);
    }
    found
}

/// A node's words, whoever asks: `lies` in place of what it knows.
async fn lying_node(world: &World, lies: String) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    world.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{lies}",
                lies.len()
            );
            let _sent = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn at(address: SocketAddr) -> NodeAddress {
    NodeAddress {
        tls: false,
        host: address.ip().to_string(),
        port: address.port(),
    }
}

#[tokio::test]
async fn beside_a_node_that_lies_an_honest_one_is_heard() {
    let world = World::new("beta.test");
    let honest = node(&world, &world.ring).await;
    post(honest, &chess(&world, &world.ring)).await;
    let (_, said) = json(honest, CHESS).await;
    let forged = World::new("beta.test");
    let forged_node = node(&forged, &forged.ring).await;
    let signed = forged
        .ring
        .signer()
        .announce(vec![group("Chess for money")], LEASE, world.now());
    post(forged_node, &signed).await;
    let (_, lies) = json(forged_node, CHESS).await;
    assert_eq!(lies["cards"][0]["title"], "Chess for money");
    for lies in [
        lies.to_string(),
        "{\"cards\":[]}".to_owned(),
        "no".to_owned(),
    ] {
        let liar = lying_node(&world, lies).await;
        let rows = rows(&world, &world.ring).await;
        let directory = world.directory_set(&rows, |config| {
            config.trust = freehold_directory::Trust::Dns;
            config.nodes = vec![at(liar), at(honest)];
        });
        let found = search(&directory.await, "chess").await;
        let titles: Vec<_> = found.iter().map(|it| &*it.card().words.title).collect();
        assert_eq!(titles, ["Chess club"], "{said}");
    }
}

#[tokio::test]
async fn of_three_nodes_behind_one_name_one_dies_under_load_and_every_search_is_answered() {
    let world = World::new("beta.test");
    let mut zone = rows(&world, &world.ring).await.to_vec();
    let mut nodes = Vec::new();
    let mut port = 0;
    for last in [1, 2, 3] {
        let host = format!("127.0.0.{last}:{port}").parse().unwrap();
        let listener = NodeListener::bind(host).await.unwrap();
        port = listener.local_addr().port();
        nodes.push(listener);
        zone.push((
            "nodes.beta.test",
            RData::A(format!("127.0.0.{last}").parse().unwrap()),
        ));
    }
    let nameserver = world.serve_zone(world.zone(&zone)).await;
    let mut running = Vec::new();
    for listener in nodes {
        let node = Arc::new(Node::new(config(nameserver), world.clock.clone()).unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(serve_node(node, listener, std::future::pending()));
        running.push(serving);
    }
    let directory = world.directory_asking(nameserver, |config| {
        config.trust = freehold_directory::Trust::Dns;
        config.nodes = vec![NodeAddress {
            tls: false,
            host: "nodes.beta.test".to_owned(),
            port,
        }];
    });
    let directory = Arc::new(directory);
    let heard = directory.announce(chess(&world, &world.ring).into()).await;
    assert_eq!(
        heard.iter().filter(|it| it.outcome.is_ok()).count(),
        3,
        "{heard:?}"
    );
    let mut searches = JoinSet::new();
    for number in 0..60 {
        let directory = Arc::clone(&directory);
        searches.spawn(async move { search(&directory, "chess").await.len() });
        if number == 20 {
            running.remove(0).shutdown().await;
        }
        if number % 10 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(searches.join_all().await, vec![1; 60]);
    let heard = directory.announce(chess(&world, &world.ring).into()).await;
    assert_eq!(
        heard.iter().filter(|it| it.outcome.is_ok()).count(),
        2,
        "{heard:?}"
    );
}

#[tokio::test]
async fn an_announcement_under_a_record_that_nobody_has_confirmed_for_a_week_is_refused() {
    let world = World::new("beta.test");
    let node = node_in(
        &world,
        &[
            (
                "_freehold._tcp.beta.test",
                srv(0, world.serve_record().await, "host.beta.test"),
            ),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor(&world.ring)),
        ],
    )
    .await;
    world.clock.advance(Duration::from_secs(8 * 24 * 60 * 60));
    let answer = post(node, &chess(&world, &world.ring)).await;
    check_refused(answer, 403, "its record cannot be had");
}
