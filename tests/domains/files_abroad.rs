//! Files that people of other domains sent: asked for at one's own domain, which brings them.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    guest::{Guest, SOON},
    net::{House, Net},
    postman::{Answer, exchange, head, shown_by},
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const MIB: usize = 1024 * 1024;
const MISSING: (u16, &str) = (404, "not found");
const AWAY: (u16, &str) = (504, "the domain of the file does not answer");

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|it| (it % 251) as u8).collect()
}

impl Guest {
    /// Sends a message with these files in a topic.
    async fn sends_files(&mut self, topic: &str, text: &str, files: &[&str]) {
        let publish = json!({
            "pub": {"id": "files", "topic": topic, "noecho": true, "content": text},
            "extra": {"attachments": files},
        });
        let answer = self.session.send_whole(publish, "files").await.unwrap();
        assert_eq!(answer.code(), 202);
    }

    async fn changes(&mut self, topic: &str, desc: Value) {
        let set = json!({"topic": topic, "desc": desc});
        self.session.request("set", set).await.unwrap();
    }

    /// Waits for what somebody wrote in a topic.
    async fn comes_to_read(&mut self, topic: &str, text: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let history = self.session.history(topic, 1).await.unwrap();
            if history.iter().any(|it| it.content == text) {
                return;
            }
            assert!(Instant::now() < deadline, "{text} does not come");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Asks until the file is there: its domain may just have come back.
async fn gets(guest: &Guest, house: &House, url: &str) -> Answer {
    let deadline = Instant::now() + SOON;
    loop {
        let answer = guest.asks_for(house, url, &[]).await;
        if answer.status == 200 || Instant::now() > deadline {
            return answer;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[track_caller]
fn is_refused(answer: &Answer, (code, text): (u16, &str)) {
    assert_eq!(answer.refusal(), (code, text.to_owned()));
}

impl House {
    /// Copies of files of other domains, also those on their way.
    fn copies(&self) -> Vec<PathBuf> {
        let folder = fs::read_dir(self.data().join("files_of_others")).unwrap();
        folder.map(|it| it.unwrap().path()).collect()
    }

    async fn keeps_copies(&self, count: usize) {
        let deadline = Instant::now() + SOON;
        while self.copies().len() != count {
            assert!(Instant::now() < deadline, "{:?}", self.copies());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The bytes of the files that its people uploaded.
    fn files(&self) -> Vec<PathBuf> {
        let shelves = fs::read_dir(self.data().join("files")).unwrap();
        let shelves = shelves.map(|it| fs::read_dir(it.unwrap().path()).unwrap());
        shelves.flatten().map(|it| it.unwrap().path()).collect()
    }
}

/// Ann of alpha and Bob of beta, who know each other, and Eve of beta, who knows nobody.
struct Scene {
    ann: Guest,
    bob: Guest,
    eve: Guest,
    alpha: House,
    beta: House,
    net: Net,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With lines for the section `[files]` of beta.
    async fn with(files: &str) -> Self {
        let net = Net::new().await;
        let alpha = net
            .domain_with(
                "alpha.test",
                "delete_for_both = true\n[files]\nfile_mib_max = 64",
            )
            .await;
        let files = format!("[files]\n{files}");
        let beta = net.domain_with("beta.test", &files).await;
        let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
        let eve = beta.guest("eve").await;
        ann.meets(&mut bob).await;
        Self {
            ann,
            bob,
            eve,
            alpha,
            beta,
            net,
        }
    }

    /// Ann sends a file, and Bob has the message. Returns where the file is.
    async fn ann_sends(&mut self, bytes: &[u8]) -> String {
        let url = self.ann.uploads(&self.alpha, bytes).await.url();
        let topic = self.ann.name_of(&self.bob);
        self.ann.sends_files(&topic, &url, &[&url]).await;
        self.bob.hears(&self.ann, &url).await;
        url
    }

    async fn bob_asks_for(&self, url: &str, headers: &[&str]) -> Answer {
        self.bob.asks_for(&self.beta, url, headers).await
    }
}

#[tokio::test]
async fn a_file_from_elsewhere_is_had_at_one_s_own_domain_and_then_kept_there() {
    let mut scene = Scene::new().await;
    let sent = bytes(600_000);
    let url = scene.ann_sends(&sent).await;
    assert!(url.starts_with("/v0/file/s/alpha.test/"), "{url}");
    let here = scene.ann.asks_for(&scene.alpha, &url, &[]).await;
    let there = scene.bob_asks_for(&url, &[]).await;
    assert_eq!((there.status, &there.body), (200, &sent));
    let headers = [
        "etag",
        "content-type",
        "content-disposition",
        "content-length",
        "cache-control",
        "accept-ranges",
        "content-security-policy",
    ];
    for header in headers {
        assert_eq!(there.header(header), here.header(header), "{header}");
    }
    scene.beta.keeps_copies(1).await;
    scene.alpha.stop().await;
    assert_eq!(scene.bob_asks_for(&url, &[]).await.body, sent);
    let part = scene
        .bob_asks_for(&url, &["Range: bytes=262143-262145"])
        .await;
    assert_eq!((part.status, &*part.body), (206, &sent[262_143..262_146]));
    let beyond = scene.bob_asks_for(&url, &["Range: bytes=600000-"]).await;
    assert_eq!(beyond.status, 416);
    let etag = here.header("etag").unwrap();
    let known = scene
        .bob_asks_for(&url, &[&format!("If-None-Match: {etag}")])
        .await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    let request = head(&format!("HEAD {url}"), &shown_by(&scene.bob));
    let looked = exchange(&scene.beta, request.as_bytes()).await;
    assert_eq!((looked.status, looked.body.len()), (200, 0));
    assert_eq!(looked.header("content-length"), Some("600000"));
    let saved = scene.bob_asks_for(&format!("{url}?asatt=1"), &[]).await;
    assert!(
        saved
            .header("content-disposition")
            .unwrap()
            .starts_with("attachment")
    );
}

#[tokio::test]
async fn a_part_or_a_look_may_come_first() {
    let mut scene = Scene::new().await;
    let sent = bytes(400_000);
    let first = scene.ann_sends(&sent).await;
    let part = scene
        .bob_asks_for(&first, &["Range: bytes=1000-1999"])
        .await;
    assert_eq!((part.status, &*part.body), (206, &sent[1000..2000]));
    let second = scene.ann_sends(&sent).await;
    let request = head(&format!("HEAD {second}"), &shown_by(&scene.bob));
    let looked = exchange(&scene.beta, request.as_bytes()).await;
    assert_eq!((looked.status, looked.body.len()), (200, 0));
    assert_eq!(gets(&scene.bob, &scene.beta, &second).await.body, sent);
}

/// With alpha gone, "not found" rather than "does not answer" shows that alpha was not even tried.
#[tokio::test]
async fn nobody_gets_what_was_not_sent_to_them_and_no_domain_is_asked_for_it() {
    let mut scene = Scene::new().await;
    let url = scene.ann_sends(&bytes(1000)).await;
    let kept_back = scene.ann.uploads(&scene.alpha, b"not sent").await.url();
    let named = url.strip_prefix("/v0/file/s/alpha.test/").unwrap();
    scene.alpha.stop().await;
    is_refused(&scene.eve.asks_for(&scene.beta, &url, &[]).await, MISSING);
    for odd in [
        kept_back,
        "/v0/file/s/alpha.test/AAAAAAAAAAAAAAAAAAAAAA.png".to_owned(),
        // A file of alpha under another domain's name, which is not asked either.
        format!("/v0/file/s/beta.test/{named}"),
        format!("/v0/file/s/gamma.test/{named}"),
        format!("/v0/file/s/127.0.0.1/{named}"),
        format!("/v0/file/s/alpha.test:80/{named}"),
        format!("/v0/file/s/alpha.test@gamma.test/{named}"),
        format!("/v0/file/s/alpha.test/../alpha.test/{named}"),
        format!("/v0/file/s/alpha.test/%2e%2e/{named}"),
        format!("/v0/file/s/alpha.test/..%2f..%2fkeys/{named}"),
        format!("/v0/file/s/alpha.test//{named}"),
        "/v0/file/s/alpha.test/../../keys/root".to_owned(),
    ] {
        is_refused(&scene.bob_asks_for(&odd, &[]).await, MISSING);
    }
    is_refused(&scene.bob_asks_for(&url, &[]).await, AWAY);
    assert!(scene.beta.copies().is_empty());
}

#[tokio::test]
async fn a_file_waits_for_a_reader_who_was_away_and_for_its_own_domain() {
    let mut scene = Scene::new().await;
    scene.beta.stop().await;
    let sent = bytes(5000);
    let url = scene.ann.uploads(&scene.alpha, &sent).await.url();
    let topic = scene.ann.name_of(&scene.bob);
    scene
        .ann
        .sends_files(&topic, "while you were away", &[&url])
        .await;
    for _ in 0..3 {
        scene.net.clock.advance(HOUR);
        sleep(Duration::from_millis(100)).await;
    }
    scene.beta.start().await;
    scene.beta.welcomes_back(&mut scene.bob).await;
    scene.bob.opens(&scene.ann).await;
    let topic = scene.bob.name_of(&scene.ann);
    scene.bob.comes_to_read(&topic, "while you were away").await;
    scene.alpha.stop().await;
    is_refused(&scene.bob_asks_for(&url, &[]).await, AWAY);
    scene.alpha.start().await;
    assert_eq!(gets(&scene.bob, &scene.beta, &url).await.body, sent);
}

#[tokio::test]
async fn bytes_that_are_not_those_that_were_signed_reach_nobody_whole() {
    let mut scene = Scene::new().await;
    let url = scene.ann_sends(&bytes(700_000)).await;
    let files = scene.alpha.files();
    let [path] = &files[..] else {
        panic!("{files:?}");
    };
    let mut altered = bytes(700_000);
    altered[650_000] ^= 1;
    fs::write(path, &altered).unwrap();
    let answer = scene.bob_asks_for(&url, &[]).await;
    // Either nothing of it, or a part that does not pass for the whole.
    match answer.status {
        200 => assert!(answer.body.len() < 700_000),
        _ => is_refused(&answer, AWAY),
    }
    scene.beta.keeps_copies(0).await;
    // It is not brought again at once, however often somebody asks.
    is_refused(&scene.bob_asks_for(&url, &[]).await, AWAY);
}

#[tokio::test]
async fn what_could_run_is_saved_also_when_it_comes_from_elsewhere() {
    let mut scene = Scene::new().await;
    let url = scene
        .ann_sends(b"<!DOCTYPE html><script>alert(1)</script>")
        .await;
    let answer = scene.bob_asks_for(&url, &[]).await;
    assert_eq!(answer.header("content-type"), Some("text/html"));
    let disposition = answer.header("content-disposition").unwrap();
    assert!(disposition.starts_with("attachment"), "{disposition}");
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.contains("sandbox"), "{policy}");
}

#[tokio::test]
async fn copies_take_no_more_than_their_share_and_go_in_time() {
    let mut scene = Scene::with("remote_cache_mib = 1\nremote_days = 1").await;
    let mut urls = Vec::new();
    for number in 0..3 {
        urls.push(scene.ann_sends(&bytes(700_000 + number)).await);
        let answer = gets(&scene.bob, &scene.beta, &urls[number]).await;
        assert_eq!(answer.body, bytes(700_000 + number));
        // Each makes room for the next one.
        scene.beta.keeps_copies(1).await;
    }
    let large = scene.ann_sends(&bytes(MIB + 1)).await;
    is_refused(&scene.bob_asks_for(&large, &[]).await, (413, "too large"));
    scene.net.clock.advance(24 * HOUR);
    scene.beta.keeps_copies(0).await;
    scene.beta.logs_in_again(&mut scene.bob).await;
    assert_eq!(
        gets(&scene.bob, &scene.beta, &urls[2]).await.body,
        bytes(700_002)
    );
}

#[tokio::test]
async fn a_file_survives_the_restart_of_either_domain_on_its_way() {
    let mut scene = Scene::new().await;
    let sent = bytes(24 * MIB);
    let first = scene.ann_sends(&sent).await;
    let second = scene.ann_sends(&sent).await;
    // The owner goes while it gives, and comes back: whoever waits gets the rest.
    let asking = gets(&scene.bob, &scene.beta, &first);
    let restarting = async {
        while scene.beta.copies().is_empty() {
            sleep(Duration::from_millis(2)).await;
        }
        scene.alpha.stop().await;
        scene.alpha.start().await;
    };
    let (answer, ()) = tokio::join!(asking, restarting);
    assert!(
        answer.body == sent,
        "{} {}",
        answer.status,
        answer.body.len()
    );
    // The reader's own domain goes: nothing half is left, and it is brought once more.
    scene.beta.keeps_copies(1).await;
    let url = second.clone();
    let bob = scene.bob.second_session().await;
    let endpoint = scene.beta.endpoint.client;
    let asking = async {
        let request = head(&format!("GET {url}"), &shown_by(&bob));
        let mut stream = TcpStream::connect(endpoint).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _cut_off = stream.read_to_end(&mut answer).await;
    };
    let stopping = async {
        while scene.beta.copies().len() < 2 {
            sleep(Duration::from_millis(2)).await;
        }
        scene.beta.stop().await;
    };
    tokio::join!(asking, stopping);
    scene.beta.start().await;
    scene.beta.welcomes_back(&mut scene.bob).await;
    let answer = gets(&scene.bob, &scene.beta, &second).await;
    assert!(
        answer.body == sent,
        "{} {}",
        answer.status,
        answer.body.len()
    );
    scene.beta.keeps_copies(2).await;
}

#[tokio::test]
async fn what_is_forwarded_is_had_from_where_it_is_by_whoever_it_was_forwarded_to() {
    let mut scene = Scene::new().await;
    let gamma = scene.net.domain("gamma.test").await;
    let mut cat = gamma.guest("cat").await;
    let mut bea = scene.beta.guest("bea").await;
    scene.bob.meets(&mut cat).await;
    scene.bob.opens(&bea).await;
    let sent = bytes(3000);
    let url = scene.ann_sends(&sent).await;
    // Within the domain, and to one that has never heard of alpha.
    let to_bea = scene.bob.name_of(&bea);
    scene.bob.sends_files(&to_bea, "look", &[&url]).await;
    bea.opens(&scene.bob).await;
    assert_eq!(bea.asks_for(&scene.beta, &url, &[]).await.body, sent);
    is_refused(&cat.asks_for(&gamma, &url, &[]).await, MISSING);
    let to_cat = scene.bob.name_of(&cat);
    scene.bob.sends_files(&to_cat, "look", &[&url]).await;
    cat.hears(&scene.bob, "look").await;
    assert_eq!(gets(&cat, &gamma, &url).await.body, sent);
    // Back to its owner, who has it.
    let to_ann = scene.bob.name_of(&scene.ann);
    scene.bob.sends_files(&to_ann, "yours", &[&url]).await;
    scene.ann.hears(&scene.bob, "yours").await;
    assert_eq!(scene.ann.asks_for(&scene.alpha, &url, &[]).await.body, sent);
    // Whoever may not read a file forwards nothing by naming it.
    let mut dan = gamma.guest("dan").await;
    scene.eve.meets(&mut dan).await;
    let to_dan = scene.eve.name_of(&dan);
    scene.eve.sends_files(&to_dan, "look", &[&url]).await;
    dan.hears(&scene.eve, "look").await;
    is_refused(&dan.asks_for(&gamma, &url, &[]).await, MISSING);
}

#[tokio::test]
async fn a_stranger_shows_no_files_before_consent() {
    let mut scene = Scene::new().await;
    let ann = scene.ann.person.address();
    let stranger = &mut scene.eve;
    let url = stranger.uploads(&scene.beta, b"spam").await.url();
    stranger.finds(&ann).await;
    let topic = stranger.name_of(&scene.ann);
    stranger.opens(&scene.ann).await;
    stranger.sends_files(&topic, "only text", &[]).await;
    stranger.sends_files(&topic, "with a file", &[&url]).await;
    let there = scene.ann.name_of(&scene.eve);
    // Without opening it, which would mean consent.
    let deadline = Instant::now() + SOON;
    loop {
        let rows = scene.ann.session.get("me", "sub").await.unwrap().unwrap();
        let mut rows = rows.as_array().unwrap().iter();
        if rows.any(|it| it["topic"] == there && it["seq"] == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "the text does not come");
        sleep(Duration::from_millis(20)).await;
    }
    let carriers = (&mut scene.ann, &mut scene.bob);
    for text in ["a letter", "another letter"] {
        // What was sent before these has been decided.
        carriers.1.says(carriers.0, text).await;
        carriers.0.hears(carriers.1, text).await;
    }
    is_refused(&scene.ann.asks_for(&scene.alpha, &url, &[]).await, MISSING);
    scene.ann.opens(&scene.eve).await;
    scene.ann.accepts(&scene.eve).await;
    scene.ann.comes_to_read(&there, "with a file").await;
    assert_eq!(gets(&scene.ann, &scene.alpha, &url).await.body, b"spam");
}

#[tokio::test]
async fn pictures_of_people_are_for_everybody_and_change() {
    let mut scene = Scene::new().await;
    let (old, new) = (bytes(800), bytes(900));
    let old_url = scene.ann.uploads(&scene.alpha, &old).await.url();
    let new_url = scene.ann.uploads(&scene.alpha, &new).await.url();
    let photo = |url: &str| json!({"public": {"fn": "Ann", "photo": {"ref": url}}});
    scene.ann.changes("me", photo(&old_url)).await;
    sees_picture(&mut scene, &old_url).await;
    for guest in [&scene.bob, &scene.eve] {
        assert_eq!(guest.asks_for(&scene.beta, &old_url, &[]).await.body, old);
    }
    is_refused(&scene.bob_asks_for(&new_url, &[]).await, MISSING);
    scene.ann.changes("me", photo(&new_url)).await;
    sees_picture(&mut scene, &new_url).await;
    assert_eq!(scene.bob_asks_for(&new_url, &[]).await.body, new);
    is_refused(&scene.bob_asks_for(&old_url, &[]).await, MISSING);
    scene.net.clock.advance(HOUR);
    scene.beta.keeps_copies(1).await;
}

/// Bob's domain learns that Ann's picture is this one.
async fn sees_picture(scene: &mut Scene, url: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let desc = scene.bob.describes(&scene.ann).await;
        if desc["public"]["photo"]["ref"] == url {
            return;
        }
        assert!(Instant::now() < deadline, "{desc}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A group of Ann's at alpha, with Bob of beta and Cat of gamma.
struct Club {
    scene: Scene,
    cat: Guest,
    gamma: House,
    group: String,
}

impl Club {
    async fn new() -> Self {
        let mut scene = Scene::new().await;
        let gamma = scene.net.domain("gamma.test").await;
        let mut cat = gamma.guest("cat").await;
        let body = json!({"topic": "newA", "set": {"desc": {"public": {"fn": "Club"}}}});
        let made = scene.ann.session.request("sub", body).await.unwrap();
        let group = made.text("topic").to_owned();
        for other in [&mut scene.bob, &mut cat] {
            let user = scene.ann.name_of(other);
            let body = json!({"topic": group, "sub": {"user": user}});
            scene.ann.session.request("set", body).await.unwrap();
            enters(other, &group).await;
        }
        Self {
            scene,
            cat,
            gamma,
            group,
        }
    }
}

/// Waits for the invitation, accepts it, and waits until the home has let one in.
async fn enters(guest: &mut Guest, group: &str) {
    let deadline = Instant::now() + SOON;
    while guest.session.subscribe(group).await.is_err() {
        assert!(Instant::now() < deadline, "the invitation does not come");
        sleep(Duration::from_millis(20)).await;
    }
    let desc = guest.session.get(group, "desc").await.unwrap().unwrap();
    let body = json!({"topic": group, "sub": {"mode": desc["acs"]["given"]}});
    guest.session.request("set", body).await.unwrap();
    loop {
        let members = guest.session.get(group, "sub").await.unwrap().unwrap();
        if members.as_array().is_some_and(|it| it.len() > 1) {
            return;
        }
        assert!(Instant::now() < deadline, "{members}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn in_a_group_every_domain_has_a_file_from_its_author_s_and_it_goes_with_the_message() {
    let mut club = Box::pin(Club::new()).await;
    let group = club.group.clone();
    let sent = bytes(300_000);
    let url = club.scene.bob.uploads(&club.scene.beta, &sent).await.url();
    club.scene
        .bob
        .sends_files(&group, "a picture", &[&url])
        .await;
    club.cat.comes_to_read(&group, "a picture").await;
    club.scene.ann.comes_to_read(&group, "a picture").await;
    // Gamma asks beta; what alpha is home of does not pass through it.
    club.scene.alpha.stop().await;
    assert_eq!(gets(&club.cat, &club.gamma, &url).await.body, sent);
    club.scene.alpha.start().await;
    club.scene.alpha.welcomes_back(&mut club.scene.ann).await;
    club.scene.ann.session.subscribe(&group).await.unwrap();
    assert_eq!(
        gets(&club.scene.ann, &club.scene.alpha, &url).await.body,
        sent
    );
    is_refused(
        &club.scene.eve.asks_for(&club.gamma, &url, &[]).await,
        (401, "authentication failed"),
    );
    club.gamma.keeps_copies(1).await;
    let body = json!({"topic": group, "what": "msg", "hard": true,
                      "delseq": [{"low": 1, "hi": 0}]});
    club.scene.ann.session.request("del", body).await.unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let answer = club.cat.asks_for(&club.gamma, &url, &[]).await;
        if answer.status == 404 {
            break;
        }
        assert!(Instant::now() < deadline, "{}", answer.status);
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..3 {
        club.scene.net.clock.advance(HOUR);
        sleep(Duration::from_millis(100)).await;
    }
    club.gamma.keeps_copies(0).await;
    club.scene.alpha.keeps_copies(0).await;
    assert!(club.scene.beta.files().is_empty());
}

#[tokio::test]
async fn a_file_goes_at_both_domains_with_the_message_that_its_author_takes_back() {
    let mut scene = Scene::new().await;
    let sent = bytes(1000);
    let url = scene.ann_sends(&sent).await;
    assert_eq!(gets(&scene.bob, &scene.beta, &url).await.body, sent);
    scene.beta.keeps_copies(1).await;
    let body = json!({"topic": scene.ann.name_of(&scene.bob), "what": "msg", "hard": true,
                      "delseq": [{"low": 3}]});
    scene.ann.session.request("del", body).await.unwrap();
    let deadline = Instant::now() + SOON;
    while scene.bob_asks_for(&url, &[]).await.status != 404 {
        assert!(Instant::now() < deadline, "it is still there");
        sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..3 {
        scene.net.clock.advance(HOUR);
        sleep(Duration::from_millis(100)).await;
    }
    scene.beta.keeps_copies(0).await;
    assert!(scene.alpha.files().is_empty());
}

#[tokio::test]
async fn the_picture_of_a_group_is_had_from_whoever_set_it() {
    let mut club = Box::pin(Club::new()).await;
    let group = club.group.clone();
    let picture = bytes(2000);
    let url = club
        .scene
        .ann
        .uploads(&club.scene.alpha, &picture)
        .await
        .url();
    let desc = json!({"public": {"fn": "Club", "photo": {"ref": url}}});
    club.scene.ann.changes(&group, desc).await;
    let deadline = Instant::now() + SOON;
    loop {
        let desc = club.cat.session.get(&group, "desc").await.unwrap().unwrap();
        if desc["public"]["photo"]["ref"] == url {
            break;
        }
        assert!(Instant::now() < deadline, "{desc}");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(gets(&club.cat, &club.gamma, &url).await.body, picture);
    let dan = club.gamma.guest("dan").await;
    assert_eq!(dan.asks_for(&club.gamma, &url, &[]).await.body, picture);
}

#[tokio::test]
async fn a_file_from_before_a_domain_came_into_a_group_is_had_as_well() {
    let mut scene = Scene::new().await;
    let body = json!({"topic": "newA", "set": {"desc": {"public": {"fn": "Club"}}}});
    let made = scene.ann.session.request("sub", body).await.unwrap();
    let group = made.text("topic").to_owned();
    let sent = bytes(4000);
    let url = scene.ann.uploads(&scene.alpha, &sent).await.url();
    scene.ann.sends_files(&group, "long ago", &[&url]).await;
    let user = scene.ann.name_of(&scene.bob);
    let body = json!({"topic": group, "sub": {"user": user}});
    scene.ann.session.request("set", body).await.unwrap();
    enters(&mut scene.bob, &group).await;
    scene.bob.comes_to_read(&group, "long ago").await;
    assert_eq!(gets(&scene.bob, &scene.beta, &url).await.body, sent);
    is_refused(&scene.eve.asks_for(&scene.beta, &url, &[]).await, MISSING);
}

#[tokio::test]
async fn readers_of_a_channel_elsewhere_have_its_files_and_nobody_else_does() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let beta = net.domain("beta.test").await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let eve = beta.guest("eve").await;
    let described = json!({"desc": {"public": {"fn": "News"}}});
    let group = ann.founds("nch1", described).await;
    let earlier = ann.uploads(&alpha, &bytes(3_000)).await.url();
    ann.sends_files(&group, "earlier", &[&earlier]).await;
    let address = format!("{}@alpha.test", group.replacen("grp", "chn", 1));
    let channel = bob.finds_channel(&address).await;
    bob.comes_to_read(&channel, "earlier").await;
    let later = ann.uploads(&alpha, &bytes(5_000)).await.url();
    ann.sends_files(&group, "later", &[&later]).await;
    bob.comes_to_read(&channel, "later").await;
    for (url, count) in [(&earlier, 3_000), (&later, 5_000)] {
        assert_eq!(gets(&bob, &beta, url).await.body, bytes(count), "{url}");
        is_refused(&eve.asks_for(&beta, url, &[]).await, MISSING);
    }
}
