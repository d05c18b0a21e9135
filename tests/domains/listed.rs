//! Groups and people who wish to be found at other domains, by way of nodes of the public directory.

use std::time::Duration;

use freehold_interop::{Failure, Frame};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    group_moving::{HERE, becomes_admin, lives_at},
    guest::{Guest, SOON},
    net::{DirectoryNode, House, Net},
    raw::http_at,
};

const DISCOVERABLE: &str = "discoverable:yes";
const FIVE_MINUTES: Duration = Duration::from_secs(5 * 60);

impl Guest {
    /// Makes a group of this name that everybody may find.
    async fn founds_listed(&mut self, title: &str) -> String {
        let set = json!({
            "desc": {"public": {"fn": title, "note": "Everybody is welcome"}},
            "tags": [DISCOVERABLE],
        });
        self.founds("new1", set).await
    }

    /// Searches until this is what is found by it, as names of topics in order.
    async fn finds_at_last(&mut self, typed: &str, expected: &[String]) -> Vec<Value> {
        let deadline = Instant::now() + SOON;
        let mut expected = expected.to_vec();
        expected.sort();
        loop {
            let rows = self.finds(typed).await;
            let mut topics: Vec<_> = rows.iter().filter_map(|it| it["topic"].as_str()).collect();
            topics.sort_unstable();
            if topics == expected {
                return rows;
            }
            assert!(
                Instant::now() < deadline,
                "{typed}: {topics:?}, not {expected:?}"
            );
            // Nobody may search all the time, and clocks stand still here.
            sleep(Duration::from_millis(800)).await;
        }
    }

    /// Opens a group by its whole address; returns its name here, once the home has let them in.
    async fn comes_into(&mut self, address: &str) -> String {
        let answer = self.tries(address).await;
        assert_eq!(answer.code(), 303, "{}", answer.body);
        let name = answer.body["params"]["topic"].as_str().unwrap().to_owned();
        self.tries(&name).await;
        name
    }

    /// Subscribes, and tries again while the home cannot be reached.
    async fn tries(&mut self, topic: &str) -> Frame {
        let deadline = Instant::now() + SOON;
        loop {
            match self.session.request("sub", json!({"topic": topic})).await {
                Ok(answer) => return answer,
                Err(Failure::Refused { code: 503, .. }) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(50)).await;
                }
                Err(failure) => panic!("{failure}"),
            }
        }
    }
}

/// Ann of alpha, and Bob of beta with a group that everybody may find.
struct Scene {
    ann: Guest,
    bob: Guest,
    group: String,
    node: DirectoryNode,
    _houses: [House; 2],
    _net: Net,
}

impl Scene {
    async fn new() -> Self {
        let net = Net::new().await;
        let node = net.node().await;
        let alpha = net.listed("alpha.test", &[&node]).await;
        let beta = net.listed("beta.test", &[&node]).await;
        let (ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
        Self {
            ann,
            group: bob.founds_listed("Bicycle workshop").await,
            bob,
            node,
            _houses: [alpha, beta],
            _net: net,
        }
    }
}

#[tokio::test]
async fn a_word_in_the_name_of_a_group_finds_it_from_another_domain_and_who_found_it_joins() {
    let mut scene = Scene::new().await;
    let (ann, bob, group) = (&mut scene.ann, &mut scene.bob, &scene.group);
    bob.says_in(group, "Bring a pump").await;
    let address = format!("{group}@beta.test");
    let rows = ann
        .finds_at_last("workshop", std::slice::from_ref(&address))
        .await;
    assert_eq!(rows[0]["public"]["fn"], "Bicycle workshop");
    assert_eq!(rows[0]["public"]["note"], "Everybody is welcome");
    assert_eq!(rows[0]["acs"], json!({"mode": "JRWPS"}));
    assert_eq!(rows[0]["private"], json!(["beta.test", "workshop"]));
    assert_eq!(rows[0]["subcnt"], 1);
    let name = ann.comes_into(&address).await;
    assert_eq!(name, *group);
    ann.stands(group, "JRWPS", "JRWPS").await;
    ann.reads_all(group, &["Bring a pump"]).await;
    ann.says_in(group, "I have one").await;
    bob.reads_all(group, &["Bring a pump", "I have one"]).await;
    // From now on it is one of her groups, and found as such.
    ann.finds_at_last("workshop", std::slice::from_ref(group))
        .await;
}

#[tokio::test]
async fn stock_search_boxes_send_a_word_twice_and_find_it_all_the_same() {
    let mut scene = Scene::new().await;
    let (ann, group) = (&mut scene.ann, &scene.group);
    let address = format!("{group}@beta.test");
    ann.finds_at_last("alias:Bicycle,Bicycle", &[address]).await;
}

#[tokio::test]
async fn one_search_finds_groups_and_people_of_three_domains() {
    let net = Net::new().await;
    let (node, other) = (net.node().await, net.node().await);
    let nodes = [&node, &other];
    let alpha = net.listed("alpha.test", &nodes).await;
    let beta = net.listed("beta.test", &nodes).await;
    let gamma = net.listed("gamma.test", &nodes).await;
    let mut ann = alpha.guest("ann").await;
    let (mut bob, mut cat) = (beta.guest("bob").await, gamma.guest("cat").await);
    let chess = bob.founds_listed("Chess").await;
    let club = cat.founds_listed("Chess club").await;
    let own = ann.founds(
        "new1",
        json!({"desc": {"public": {"fn": "Chess"}}, "tags": ["chess"]}),
    );
    let own = own.await;
    // Cat wishes to be found too, and says what she likes.
    let body = json!({
        "topic": "me",
        "desc": {"public": {"fn": "Cat", "note": "Chess and tea"}},
        "tags": ["basic:cat", DISCOVERABLE],
    });
    cat.session
        .request("sub", json!({"topic": "me"}))
        .await
        .unwrap();
    cat.session.request("set", body).await.unwrap();
    let cat_here = ann.name_of(&cat);
    let expected = [
        format!("{chess}@beta.test"),
        format!("{club}@gamma.test"),
        own,
        cat_here.clone(),
    ];
    ann.finds_at_last("chess", &expected).await;
    ann.finds_at_last("chess tea", &[cat_here]).await;
    ann.meets(&mut cat).await;
}

#[tokio::test]
async fn nobody_is_listed_who_does_not_wish_it_and_nothing_that_strangers_may_not_join() {
    let net = Net::new().await;
    let node = net.node().await;
    let alpha = net.listed("alpha.test", &[&node]).await;
    let beta = net.listed("beta.test", &[&node]).await;
    let mut ann = alpha.guest("ann").await;
    let (mut bob, mut ben) = (beta.guest("bob").await, beta.guest("ben").await);
    let hidden = bob
        .founds("new1", json!({"desc": {"public": {"fn": "Chess at home"}}}))
        .await;
    let set = json!({
        "desc": {"public": {"fn": "Chess for members"}, "defacs": {"auth": "N", "anon": "N"}},
        "tags": [DISCOVERABLE],
    });
    let shut = ben.founds("new2", set).await;
    let open = bob.founds_listed("Chess").await;
    ann.finds_at_last("chess", &[format!("{open}@beta.test")])
        .await;
    for group in [hidden, shut] {
        let body = json!({"topic": format!("{group}@beta.test")});
        assert_eq!(ann.is_refused("sub", body).await.0, 404);
        let body = json!({"topic": group});
        assert_eq!(ann.is_refused("sub", body).await.0, 404);
    }
}

#[tokio::test]
async fn tags_that_the_operator_hides_here_are_told_nobody_elsewhere() {
    let net = Net::new().await;
    let node = net.node().await;
    let masked = format!(
        "masked_tags = [\"org\"]\n[directory]\nnodes = [\"{}\"]\nannounce = true\n",
        node.url()
    );
    let beta = net.domain_with("beta.test", &masked).await;
    let mut bob = beta.guest("bob").await;
    let set = json!({
        "desc": {"public": {"fn": "Chess"}},
        "tags": [DISCOVERABLE, "org:secret", "city:turin"],
    });
    bob.founds("new1", set).await;
    let deadline = Instant::now() + SOON;
    while listed(&node, "turin").await != 1 {
        assert!(Instant::now() < deadline, "it is not listed");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(listed(&node, "secret").await, 0);
    assert_eq!(listed(&node, "org").await, 0);
}

#[tokio::test]
async fn a_group_that_moved_is_found_at_its_new_home_and_by_its_old_address() {
    let net = Net::new().await;
    let node = net.node().await;
    let alpha = net.listed("alpha.test", &[&node]).await;
    let beta = net.listed("beta.test", &[&node]).await;
    let gamma = net.listed("gamma.test", &[&node]).await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let (mut cat, mut carl) = (gamma.guest("cat").await, gamma.guest("carl").await);
    let group = bob.founds_listed("Bicycle workshop").await;
    let at_beta = format!("{group}@beta.test");
    ann.finds_at_last("workshop", std::slice::from_ref(&at_beta))
        .await;
    ann.comes_into(&at_beta).await;
    let name = bob.name_of(&ann);
    let body = json!({"topic": group, "sub": {"user": name, "mode": "+A"}});
    bob.session.request("set", body).await.unwrap();
    becomes_admin(&mut ann, &group).await;
    let body = json!({"topic": group, "aux": {"fh-home": "alpha.test"}});
    let deadline = Instant::now() + SOON;
    // Until it is known there that she has said yes.
    while let Err(failure) = bob.session.request("set", body.clone()).await {
        assert!(Instant::now() < deadline, "{failure}");
        sleep(Duration::from_millis(50)).await;
    }
    lives_at(&mut ann, &group, HERE).await;
    cat.finds_at_last("bicycle", &[format!("{group}@alpha.test")])
        .await;
    assert_eq!(cat.comes_into(&at_beta).await, group);
    cat.says_in(&group, "Found it").await;
    ann.reads_all(&group, &["Found it"]).await;
    // Another one of that domain comes in by what is known there.
    assert_eq!(carl.comes_into(&format!("{group}@alpha.test")).await, group);
}

#[tokio::test]
async fn what_is_withdrawn_is_found_no_more() {
    let mut scene = Scene::new().await;
    let (ann, bob, group) = (&mut scene.ann, &mut scene.bob, &scene.group);
    ann.finds_at_last("bicycle", &[format!("{group}@beta.test")])
        .await;
    let body = json!({"topic": group, "tags": ["\u{2421}"]});
    bob.session.request("set", body).await.unwrap();
    // Another word: what was found a moment ago is remembered for a moment.
    let deadline = Instant::now() + SOON;
    while listed(&scene.node, "workshop").await != 0 {
        assert!(Instant::now() < deadline, "it is still listed");
        sleep(Duration::from_millis(100)).await;
    }
    ann.finds_at_last("workshop", &[]).await;
    let body = json!({"topic": format!("{group}@beta.test")});
    assert_eq!(ann.is_refused("sub", body).await.0, 404);
}

/// How many groups a node lists for a word.
async fn listed(node: &DirectoryNode, word: &str) -> usize {
    let request = format!("GET /v1/groups?q={word} HTTP/1.1");
    let (status, _, body) = http_at(node.address, "node.test", &request).await;
    assert_eq!(status, 200, "{body}");
    let said: Value = serde_json::from_str(&body).unwrap();
    said["cards"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_node_that_was_restarted_knows_everything_again_within_one_lease() {
    let net = Net::new().await;
    let node = net.node().await;
    let alpha = net.listed("alpha.test", &[&node]).await;
    let beta = net.listed("beta.test", &[&node]).await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let group = bob.founds_listed("Bicycle workshop").await;
    let address = format!("{group}@beta.test");
    ann.finds_at_last("bicycle", std::slice::from_ref(&address))
        .await;
    let at = node.address;
    node.dies().await;
    let node = net.node_at(at).await;
    assert_eq!(listed(&node, "bicycle").await, 0);
    net.clock.advance(FIVE_MINUTES);
    ann.finds_at_last("workshop", &[address]).await;
}

#[tokio::test]
async fn a_home_that_is_away_is_told_so_to_who_would_join() {
    let net = Net::new().await;
    let node = net.node().await;
    let alpha = net.listed("alpha.test", &[&node]).await;
    let mut beta = net.listed("beta.test", &[&node]).await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let group = bob.founds_listed("Bicycle workshop").await;
    let address = format!("{group}@beta.test");
    ann.finds_at_last("bicycle", std::slice::from_ref(&address))
        .await;
    beta.stop().await;
    let deadline = Instant::now() + SOON;
    loop {
        let refused = ann.session.request("sub", json!({"topic": address})).await;
        let Err(Failure::Refused { code, .. }) = refused else {
            panic!("{refused:?}");
        };
        // The link notices a moment later that it is gone.
        if code == 503 {
            break;
        }
        assert!(Instant::now() < deadline, "{code}");
        sleep(Duration::from_millis(50)).await;
    }
    beta.start().await;
    assert_eq!(ann.comes_into(&address).await, group);
    beta.welcomes_back(&mut bob).await;
    bob.session.subscribe(&group).await.unwrap();
    bob.says_in(&group, "Welcome").await;
    ann.reads_all(&group, &["Welcome"]).await;
}

#[tokio::test]
async fn who_asked_to_join_while_their_domain_was_stopped_comes_in_when_they_try_again() {
    let net = Net::new().await;
    let node = net.node().await;
    let mut alpha = net.listed("alpha.test", &[&node]).await;
    let beta = net.listed("beta.test", &[&node]).await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let group = bob.founds_listed("Bicycle workshop").await;
    let address = format!("{group}@beta.test");
    for _ in 0..3 {
        let answer = ann.tries(&address).await;
        assert_eq!(answer.code(), 303, "{}", answer.body);
        // She does not wait for the answer, and whatever of it was in memory is gone.
        let asked = ann.session.request("sub", json!({"topic": group}));
        let _unheard = tokio::time::timeout(Duration::from_millis(2), asked).await;
        alpha.stop().await;
        alpha.start().await;
        alpha.welcomes_back(&mut ann).await;
    }
    assert_eq!(ann.comes_into(&address).await, group);
    bob.says_in(&group, "Welcome").await;
    ann.reads_all(&group, &["Welcome"]).await;
    ann.says_in(&group, "At last").await;
    bob.reads_all(&group, &["Welcome", "At last"]).await;
}
