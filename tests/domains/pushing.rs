//! Pushes to the devices of people who are not here, by way of a node of the directory.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_interop::{FrameKind, Session};
use serde_json::{Value, json};

use crate::{
    guest::{Guest, SOON},
    net::{House, LOOK_AGAIN_SOON, Net},
    relay::{Browser, Pushed, Relay},
};

/// Ann of alpha, which has pushes relayed, and Bob of beta, who talk to each other.
struct Scene {
    ann: Guest,
    bob: Guest,
    alpha: House,
    relay: Relay,
    net: Net,
    _beta: House,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    /// The same with more lines in alpha's section `[push]`.
    async fn with(more: &str) -> Self {
        let net = Net::new().await;
        let relay = Relay::start(&net).await;
        let section = format!("{}{more}\n", relay.section());
        let alpha = net.domain_with("alpha.test", &section).await;
        let beta = net.domain("beta.test").await;
        let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
        ann.meets(&mut bob).await;
        bob.notices(FrameKind::Pres, &ann, "on").await;
        Self {
            ann,
            bob,
            alpha,
            relay,
            net,
            _beta: beta,
        }
    }

    /// Ann closes the window, and Bob sees her go.
    async fn ann_leaves(&mut self) {
        let stranger = Session::open(&self.alpha.endpoint, "nobody").await.unwrap();
        drop(std::mem::replace(&mut self.ann.session, stranger));
        self.bob.notices(FrameKind::Pres, &self.ann, "off").await;
    }

    /// Ann's client, woken by something that is no person. It stays in the background for a few seconds.
    async fn ann_in_background(&self) -> Guest {
        Guest {
            person: self.ann.person.clone(),
            session: self.ann.person.come_back_in_background().await.unwrap(),
        }
    }

    /// One more device of Ann's, which is not in use.
    async fn ann_has(&self, device: &Browser) {
        self.ann_in_background()
            .await
            .has_device(&device.device())
            .await;
    }
}

impl Guest {
    /// The client names its device.
    async fn has_device(&mut self, device: &str) {
        let body = json!({"dev": device});
        self.session.request("hi", body).await.unwrap();
    }
}

fn which(pushed: &Value) -> [&str; 3] {
    ["what", "topic", "seq"].map(|key| pushed[key].as_str().unwrap_or_default())
}

#[tokio::test]
async fn who_is_away_gets_one_push_for_a_message_that_only_their_browser_can_read() {
    let mut scene = Scene::new().await;
    let browser = Browser::new(&scene.relay, "ann-1");
    scene.ann.has_device(&browser.device()).await;
    scene.ann_leaves().await;
    let (ann, bob) = (&scene.ann, &mut scene.bob);
    bob.says(ann, "the parcel is here").await;
    let first = scene.relay.has_pushed(1).await.remove(0);
    assert_eq!(first.path, "ann-1");
    let text = String::from_utf8_lossy(&first.body);
    assert!(!text.contains("parcel") && !text.contains("usr"), "{text}");
    let name = ann.name_of(bob);
    let read = browser.opens(&first);
    // Two messages were written while they met.
    assert_eq!(which(&read), ["msg", &name, "3"]);
    assert_eq!(
        (&read["content"], &read["xfrom"]),
        (&json!("the parcel is here"), &json!(name))
    );
    assert!(first.head.contains("urgency: high"), "{}", first.head);

    // Another message is another push, and neither came twice.
    bob.says(ann, "and another one").await;
    let pushed = scene.relay.has_pushed(2).await;
    let read: Vec<Value> = pushed.iter().map(|it| browser.opens(it)).collect();
    let seqs: Vec<_> = read.iter().map(|it| &it["seq"]).collect();
    assert_eq!(seqs, ["3", "4"]);
}

#[tokio::test]
async fn who_is_looking_gets_none_nor_a_device_in_use_nor_who_has_muted_the_chat() {
    let mut scene = Scene::new().await;
    let (desk, phone) = (
        Browser::new(&scene.relay, "desk"),
        Browser::new(&scene.relay, "phone"),
    );
    scene.ann.has_device(&desk.device()).await;
    scene.ann_has(&phone).await;
    // She has the chat open at the desk.
    scene.bob.says(&scene.ann, "one").await;
    scene.ann.hears(&scene.bob, "one").await;
    // She is at the desk, and looks at something else.
    let leave = json!({"topic": scene.ann.name_of(&scene.bob)});
    scene.ann.session.request("leave", leave).await.unwrap();
    scene.bob.says(&scene.ann, "two").await;
    let pushed = scene.relay.has_pushed(1).await;
    assert_eq!(
        (&*pushed[0].path, &phone.opens(&pushed[0])["seq"]),
        ("phone", &json!("4"))
    );
    // She wishes not to be told, wherever she is.
    scene.ann_leaves().await;
    let mut ann = scene.ann_in_background().await;
    ann.wants(&scene.bob, "JRWA").await;
    scene.bob.says(&scene.ann, "three").await;
    ann.opens(&scene.bob).await;
    let all = ["May I write to you?", "You may.", "one", "two", "three"];
    ann.reads(&scene.bob, &all).await;
    ann.wants(&scene.bob, "JRWPA").await;
    drop(ann);
    scene.bob.says(&scene.ann, "four").await;
    let mut pushed = scene.relay.has_pushed(3).await.split_off(1);
    pushed.sort_by(|a, b| a.path.cmp(&b.path));
    let read = [desk.opens(&pushed[0]), phone.opens(&pushed[1])];
    assert_eq!(read.each_ref().map(|it| &it["seq"]), ["6", "6"]);
    assert_eq!(scene.relay.pushed().len(), 3);
}

#[tokio::test]
async fn what_was_told_to_a_connection_that_breaks_is_pushed_if_nobody_has_received_it() {
    let mut scene = Scene::with(LOOK_AGAIN_SOON).await;
    let phone = Browser::new(&scene.relay, "phone");
    scene.ann.has_device(&phone.device()).await;
    // She has two chats open when her connection breaks, and has said that she got what Bob wrote.
    let mut amy = scene.alpha.guest("amy").await;
    amy.opens(&scene.ann).await;
    scene.ann.opens(&amy).await;
    scene.bob.says(&scene.ann, "received").await;
    scene.ann.hears(&scene.bob, "received").await;
    scene.ann.notes(&scene.bob, "recv", 3).await;
    scene.bob.notices(FrameKind::Info, &scene.ann, "recv").await;
    amy.says(&scene.ann, "lost on the way").await;
    scene.ann_leaves().await;
    let mut count = 1;
    loop {
        let pushed = scene.relay.has_pushed(count).await;
        let read: Vec<Value> = pushed.iter().map(|it| phone.opens(it)).collect();
        // That Amy has opened a chat may be news for the device.
        let words = read.iter().filter_map(|it| it["content"].as_str());
        let words: Vec<&str> = words.collect();
        if !words.is_empty() {
            break assert_eq!(words, ["lost on the way"]);
        }
        count = pushed.len() + 1;
    }
}

#[tokio::test]
async fn what_is_read_on_one_device_is_cleared_on_another() {
    let mut scene = Scene::new().await;
    let phone = Browser::new(&scene.relay, "phone");
    scene.ann.has_device(&phone.device()).await;
    scene.ann_leaves().await;
    let seq = scene.bob.says(&scene.ann, "hello").await;
    scene.relay.has_pushed(1).await;
    let mut desk = Guest {
        person: scene.ann.person.clone(),
        session: scene.ann.person.come_back().await.unwrap(),
    };
    desk.opens(&scene.bob).await;
    desk.reads(&scene.bob, &["May I write to you?", "You may.", "hello"])
        .await;
    desk.notes(&scene.bob, "read", 3).await;
    let pushed = scene.relay.has_pushed(2).await;
    let read = phone.opens(&pushed[1]);
    let name = scene.ann.name_of(&scene.bob);
    assert_eq!((which(&read), seq), (["read", &name, "3"], 3));
    assert!(
        pushed[1].head.contains("urgency: low"),
        "{}",
        pushed[1].head
    );
}

#[tokio::test]
async fn an_invitation_is_pushed_and_a_device_named_before_the_log_in_counts_from_then_on() {
    let net = Net::new().await;
    let relay = Relay::start(&net).await;
    let alpha = net.domain_with("alpha.test", &relay.section()).await;
    let beta = net.domain("beta.test").await;
    let (ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let phone = Browser::new(&relay, "phone");
    drop(ann.session);
    let mut session = Session::open_as(&alpha.endpoint, "ann", true)
        .await
        .unwrap();
    let hi = json!({"ver": "0.25.3", "dev": phone.device(), "bkg": true});
    let hello = session.request("hi", hi).await.unwrap();
    assert_eq!(hello.body["params"]["vapid"], *relay.vapid);
    bob.finds("email:ann@alpha.test").await;
    let nobody = relay.pushed();
    assert!(nobody.is_empty(), "{nobody:?}");
    session.login("token", &ann.person.token).await.unwrap();
    let ann = Guest {
        person: ann.person,
        session,
    };
    bob.opens(&ann).await;
    bob.says(&ann, "May I?").await;
    let mut read: Vec<Value> = relay
        .has_pushed(2)
        .await
        .iter()
        .map(|it| phone.opens(it))
        .collect();
    read.sort_by_key(|it| it["what"].to_string());
    let name = ann.name_of(&bob);
    assert_eq!(which(&read[0]), ["msg", &name, "1"]);
    assert_eq!(which(&read[1]), ["sub", &name, ""]);
    assert_eq!(
        (&read[1]["xfrom"], &read[1]["modeGiven"]),
        (&json!(name), &json!("JRWPA"))
    );
}

#[tokio::test]
async fn a_device_that_is_gone_is_forgotten_and_one_that_another_person_uses_is_theirs() {
    let mut scene = Scene::new().await;
    let (old, shared, kept) = (
        Browser::new(&scene.relay, "old"),
        Browser::new(&scene.relay, "shared"),
        Browser::new(&scene.relay, "kept"),
    );
    for device in [&old, &shared, &kept] {
        scene.ann_has(device).await;
    }
    scene.ann_leaves().await;
    scene.relay.answers(410);
    scene.bob.says(&scene.ann, "one").await;
    scene.relay.has_pushed(3).await;
    scene.relay.answers(201);
    // All three are gone. One comes back, and one in the hands of Amy.
    let mut amy = scene.alpha.guest("amy").await;
    amy.has_device(&shared.device()).await;
    scene.ann_has(&kept).await;
    scene.bob.says(&scene.ann, "two").await;
    let pushed = scene.relay.has_pushed(4).await;
    assert_eq!(pushed[3].path, "kept");
    // Amy's becomes Ann's; and her client says that it has another one now, and then none.
    let mut ann = scene.ann_in_background().await;
    ann.has_device(&kept.device()).await;
    ann.has_device(&shared.device()).await;
    scene.bob.says(&scene.ann, "three").await;
    let pushed = scene.relay.has_pushed(5).await;
    assert_eq!(pushed[4].path, "shared");
    scene.ann_has(&old).await;
    ann.has_device("\u{2421}").await;
    drop(ann);
    for (text, count) in [("four", 6), ("five", 7)] {
        scene.bob.says(&scene.ann, text).await;
        let pushed = scene.relay.has_pushed(count).await;
        let read = old.opens(&pushed[count - 1]);
        assert_eq!(read["content"], text);
    }
    assert_eq!(scene.relay.pushed().len(), 7);
}

#[tokio::test]
async fn a_service_that_can_read_it_is_told_no_word_unless_the_domain_says_so() {
    for (more, told) in [("", false), ("content = \"preview\"", true)] {
        let mut scene = Scene::with(more).await;
        let endpoint = scene.relay.endpoint("phone?up=1");
        scene.ann.has_device(&endpoint).await;
        scene.ann_leaves().await;
        scene.bob.says(&scene.ann, "a secret").await;
        let pushed = scene.relay.has_pushed(1).await.remove(0);
        let body: Value = serde_json::from_slice(&pushed.body).unwrap();
        let name = scene.ann.name_of(&scene.bob);
        assert_eq!(which(&body), ["msg", &name, "3"]);
        assert_eq!(body["content"] == "a secret", told, "{body}");
        assert_eq!(body["xfrom"] == *name, told, "{body}");
        assert!(!pushed.head.contains("aes128gcm"), "{}", pushed.head);
    }
}

#[tokio::test]
async fn a_new_password_ends_pushes_to_all_devices_but_the_one_that_set_it() {
    let mut scene = Scene::new().await;
    let (phone, desk) = (
        Browser::new(&scene.relay, "phone"),
        Browser::new(&scene.relay, "desk"),
    );
    scene.ann_has(&phone).await;
    scene.ann_leaves().await;
    let mut ann = scene.ann_in_background().await;
    ann.has_device(&desk.device()).await;
    let secret = STANDARD.encode("ann:another password");
    let acc = json!({"scheme": "basic", "secret": secret});
    ann.session.request("acc", acc).await.unwrap();
    drop(ann);
    scene.bob.says(&scene.ann, "hello").await;
    scene.bob.says(&scene.ann, "once more").await;
    let last = json!("4");
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let pushed = scene.relay.has_pushed(1).await;
        assert!(pushed.iter().all(|it| it.path == "desk"), "{pushed:?}");
        if pushed.iter().any(|it| desk.opens(it)["seq"] == last) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{pushed:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn messages_flow_while_the_relay_is_away_and_are_pushed_once_it_is_back() {
    let mut scene = Scene::new().await;
    let phone = Browser::new(&scene.relay, "phone");
    scene.ann.has_device(&phone.device()).await;
    scene.ann_leaves().await;
    scene.relay.answers(503);
    scene.bob.says(&scene.ann, "hello").await;
    scene.relay.has_pushed(1).await;
    scene.relay.answers(201);
    let pushed = scene.relay.has_pushed(2).await;
    let read = [phone.opens(&pushed[0]), phone.opens(&pushed[1])];
    assert_eq!(read.each_ref().map(|it| &it["seq"]), ["3", "3"]);

    // Nobody listens where the node should be, or somebody who never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (silent.local_addr().unwrap(), silent);
    for (name, node) in [
        ("gamma.test", "127.0.0.1:9".to_owned()),
        ("delta.test", silent.0.to_string()),
    ] {
        let section = format!("[push]\nnode = \"http://{node}\"\n");
        let mut house = scene.net.domain_with(name, &section).await;
        talk(&house, &phone).await;
        house.stop().await;
    }
}

/// Two people talk, of whom one has a device and is away for most of it.
async fn talk(house: &House, phone: &Browser) {
    let (mut cat, mut dan) = (house.guest("cat").await, house.guest("dan").await);
    let mut away = Guest {
        person: cat.person.clone(),
        session: cat.person.come_back_in_background().await.unwrap(),
    };
    away.has_device(&phone.device()).await;
    drop(away);
    dan.opens(&cat).await;
    let texts: Vec<String> = (0..20).map(|it| it.to_string()).collect();
    for text in &texts {
        dan.says(&cat, text).await;
    }
    cat.opens(&dan).await;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    cat.reads(&dan, &texts).await;
}

#[tokio::test]
async fn a_member_of_a_group_at_another_domain_who_is_away_gets_one_push_and_its_author_none() {
    let mut scene = Scene::new().await;
    let browsers = ["ann-1", "amy-1"].map(|it| Browser::new(&scene.relay, it));
    let mut amy = scene.alpha.guest("amy").await;
    let found = json!({"topic": "new1", "set": {"desc": {"public": {"fn": "Club"}}}});
    let founded = scene.bob.session.request("sub", found).await.unwrap();
    let group = founded.text("topic").to_owned();
    for member in [&mut scene.ann, &mut amy] {
        scene.bob.invites_to(&group, member).await;
        member.finds_in_contacts(&group).await;
        member.joins(&group).await;
    }
    amy.has_device(&browsers[1].device()).await;
    scene.ann_has(&browsers[0]).await;
    scene.ann_leaves().await;
    scene
        .bob
        .session
        .publish(&group, "Who comes?")
        .await
        .unwrap();
    let read = told(&scene.relay, &browsers, "Who comes?").await;
    assert_eq!(which(&read)[..2], ["msg", &group]);
    assert_eq!(read["xfrom"], *scene.ann.name_of(&scene.bob));
    // Amy, who is there, writes: Ann's device is told, and Amy's is not.
    amy.session.publish(&group, "I do.").await.unwrap();
    told(&scene.relay, &browsers, "I do.").await;
    let pushed = scene.relay.pushed();
    let messages = pushed.iter().map(|it| (it, opened(&browsers, it)));
    let messages: Vec<_> = messages.filter(|(_, read)| read["what"] == "msg").collect();
    let paths: Vec<_> = messages.iter().map(|(it, _)| &*it.path).collect();
    assert_eq!(paths, ["ann-1", "ann-1"], "{messages:?}");
}

/// Reads a push with the browser that it is for.
fn opened(browsers: &[Browser; 2], pushed: &Pushed) -> Value {
    let own = browsers
        .iter()
        .find(|it| it.device().contains(&format!("/{}\"", pushed.path)));
    own.unwrap().opens(pushed)
}

/// Waits for the push with these words.
async fn told(relay: &Relay, browsers: &[Browser; 2], words: &str) -> Value {
    let mut count = 1;
    loop {
        let pushed = relay.has_pushed(count).await;
        let mut read = pushed.iter().map(|it| opened(browsers, it));
        if let Some(found) = read.find(|it| it["content"] == words) {
            return found;
        }
        count = pushed.len() + 1;
    }
}

#[tokio::test]
async fn a_call_rings_a_device_at_once_and_stops_ringing_when_it_is_over() {
    let net = Net::new().await;
    let relay = Relay::start(&net).await;
    let calls = "[calls]\nice_urls = [\"stun:turn.test:3478\"]\nring_seconds = 2\n";
    let section = format!("{calls}{}", relay.section());
    let alpha = net.domain_with("alpha.test", &section).await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    let phone = Browser::new(&relay, "phone");
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    ben.has_device(&phone.device()).await;
    let stranger = Session::open(&alpha.endpoint, "nobody").await.unwrap();
    drop(std::mem::replace(&mut ben.session, stranger));
    ann.notices(FrameKind::Pres, &ben, "off").await;
    let call = json!({"webrtc": "started", "aonly": true});
    ann.writes(&ben, call, " ").await;
    // That Ann has opened a chat may be news for Ben's device too.
    let mut pushed = relay.has_pushed(2).await;
    let rings = loop {
        let rings = |it: &&Pushed| !phone.opens(it)["webrtc"].is_null();
        let rings: Vec<&Pushed> = pushed.iter().filter(rings).collect();
        if rings.len() == 2 {
            break rings;
        }
        pushed = relay.has_pushed(pushed.len() + 1).await;
    };
    // Nothing waits for a device longer than the call rings.
    let rest = ["ttl: 1\r\n", "ttl: 2\r\n"];
    let first = &rings[0].head;
    assert!(rest.iter().any(|it| first.contains(it)), "{first}");
    assert!(rings[1].head.contains("ttl: 30\r\n"), "{}", rings[1].head);
    let read = [phone.opens(rings[0]), phone.opens(rings[1])];
    assert_eq!(
        read.each_ref().map(|it| &it["webrtc"]),
        ["started", "missed"]
    );
    assert_eq!(
        (&read[0]["aonly"], &read[1]["replace"]),
        (&json!("true"), &json!(":1"))
    );
}
