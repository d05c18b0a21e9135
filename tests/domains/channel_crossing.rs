//! Channels that people of other domains read: a feed without authors and members.

use std::time::Duration;

use freehold::Without;
use freehold_interop::{Frame, FrameKind, Message};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    group_crossing::Club,
    group_moving::{HERE, lives_at},
    guest::{Guest, SOON},
    net::{House, Net},
    restored::copy,
};

/// Ann of alpha has a channel; Bob of beta and Cat of gamma have found it.
struct News {
    ann: Guest,
    bob: Guest,
    cat: Guest,
    alpha: House,
    beta: House,
    group: String,
    channel: String,
    net: Net,
}

impl Guest {
    /// Opens a channel by its whole address, as typed; returns its name here.
    pub(crate) async fn finds_channel(&mut self, address: &str) -> String {
        let body = json!({"topic": address});
        let answer = self.session.request("sub", body).await.unwrap();
        assert_eq!(answer.code(), 303, "{}", answer.body);
        let name = answer.body["params"]["topic"].as_str().unwrap().to_owned();
        let answer = self.session.subscribe(&name).await.unwrap();
        assert_eq!(answer.body["params"]["acs"]["mode"], "JRP");
        name
    }

    /// Waits until so many read the channel, as far as it is known here.
    async fn counts_in(&mut self, topic: &str, count: u64) {
        let deadline = Instant::now() + SOON;
        loop {
            let desc = self.session.get(topic, "desc").await.unwrap().unwrap();
            if desc["subcnt"] == count {
                return;
            }
            assert!(Instant::now() < deadline, "{desc}, not {count}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl News {
    async fn new() -> Self {
        let net = Net::new().await;
        let alpha = net.domain("alpha.test").await;
        let beta = net.domain("beta.test").await;
        let gamma = net.domain("gamma.test").await;
        let mut ann = alpha.guest("ann").await;
        let (mut bob, mut cat) = (beta.guest("bob").await, gamma.guest("cat").await);
        let described = json!({"desc": {"public": {"fn": "News"}}});
        let group = ann.founds("nch1", described).await;
        let channel = group.replacen("grp", "chn", 1);
        ann.says_in(&group, "before anybody read").await;
        let address = format!("{channel}@alpha.test");
        for reader in [&mut bob, &mut cat] {
            assert_eq!(reader.finds_channel(&address).await, channel);
            reader.reads_all(&channel, &["before anybody read"]).await;
        }
        Self {
            ann,
            bob,
            cat,
            alpha,
            beta,
            group,
            channel,
            net,
        }
    }

    /// Both readers have this in the channel, in order.
    async fn readers_have(&mut self, texts: &[&str]) {
        for reader in [&mut self.bob, &mut self.cat] {
            reader.reads_all(&self.channel, texts).await;
        }
    }
}

async fn history_of(guest: &mut Guest, topic: &str) -> Vec<Message> {
    guest.session.history(topic, 1).await.unwrap()
}

#[tokio::test]
async fn readers_at_other_domains_get_what_is_written_and_not_by_whom() {
    let mut news = News::new().await;
    news.ann.says_in(&news.group, "one").await;
    let name = news.channel.clone();
    let fits = move |it: &Frame| {
        let one = it.kind == FrameKind::Data && it.body["content"] == "one";
        one && it.text("topic") == name
    };
    let frame = news.bob.session.wait_for("one", SOON, fits).await.unwrap();
    assert!(frame.body.get("from").is_none(), "{}", frame.body);
    news.ann.says_in(&news.group, "two").await;
    let all = ["before anybody read", "one", "two"];
    news.readers_have(&all).await;
    let history = news.bob.session.history(&news.channel, 1).await.unwrap();
    assert!(history.iter().all(|it| it.from.is_empty()));
    // Nobody sees anybody: a reader no member, a member no reader of another domain, all how many.
    let rows = news.bob.session.get(&news.channel, "sub").await.unwrap();
    assert_eq!(rows.unwrap().as_array().unwrap().len(), 1);
    let rows = news.ann.session.get(&news.group, "sub").await.unwrap();
    assert_eq!(rows.unwrap().as_array().unwrap().len(), 1);
    news.ann.counts_in(&news.group, 3).await;
    let body = json!({"topic": news.channel, "noecho": true, "content": "x"});
    assert_eq!(news.bob.is_refused("pub", body).await.0, 403);
}

#[tokio::test]
async fn what_is_deleted_or_described_anew_is_so_for_readers_elsewhere() {
    let mut news = News::new().await;
    let seq = news.ann.says_in(&news.group, "wrong").await;
    news.ann.says_in(&news.group, "right").await;
    let all = ["before anybody read", "wrong", "right"];
    news.readers_have(&all).await;
    let body = json!({"topic": news.group, "what": "msg", "hard": true, "delseq": [{"low": seq}]});
    news.ann.session.request("del", body).await.unwrap();
    news.readers_have(&["before anybody read", "right"]).await;
    let body = json!({"topic": news.group, "desc": {"public": {"fn": "Good news"}}});
    news.ann.session.request("set", body).await.unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let desc = news.cat.session.get(&news.channel, "desc").await.unwrap();
        if desc.unwrap()["public"]["fn"] == "Good news" {
            break;
        }
        assert!(Instant::now() < deadline, "the description does not come");
        sleep(Duration::from_millis(20)).await;
    }
    // Whoever comes later is not shown what is gone.
    let mut dan = news.net.domain("delta.test").await.guest("dan").await;
    let address = format!("{}@alpha.test", news.channel);
    dan.finds_channel(&address).await;
    let left = ["before anybody read", "right"];
    dan.reads_all(&news.channel, &left).await;
    // The channel ends, for everybody.
    let body = json!({"topic": news.group, "what": "topic", "hard": true});
    news.ann.session.request("del", body).await.unwrap();
    for reader in [&mut news.bob, &mut news.cat, &mut dan] {
        let deadline = Instant::now() + SOON;
        while reader.contact(&news.channel).await.is_some() {
            assert!(Instant::now() < deadline, "it is still in the list");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn readers_read_while_the_home_is_away_and_get_the_rest_when_it_is_back() {
    let mut news = News::new().await;
    let channel = news.channel.clone();
    news.beta.stop().await;
    news.ann.says_in(&news.group, "while beta was away").await;
    news.beta.start().await;
    Club::returns(&news.beta, &mut news.bob, &channel).await;
    let all = ["before anybody read", "while beta was away"];
    news.readers_have(&all).await;
    news.alpha.stop().await;
    let mut dan = news.beta.guest("dan").await;
    // Known here: the home is not asked.
    dan.session.subscribe(&channel).await.unwrap();
    dan.reads_all(&channel, &all).await;
    let elsewhere = format!("chn{}@alpha.test", "A".repeat(22));
    let body = json!({"topic": elsewhere});
    assert!(dan.is_refused("sub", body).await.0 >= 400);
    news.alpha.start().await;
    news.alpha.welcomes_back(&mut news.ann).await;
    news.ann.session.subscribe(&news.group).await.unwrap();
    news.ann.counts_in(&news.group, 4).await;
    // A home that was started anew knows who reads elsewhere.
    news.ann.says_in(&news.group, "alpha is back").await;
    let all = [&all[..], &["alpha is back"]].concat();
    news.readers_have(&all).await;
    dan.reads_all(&channel, &all).await;
}

#[tokio::test]
async fn the_last_reader_of_a_domain_ends_the_feed_there_and_one_who_comes_again_has_it_all() {
    let mut news = News::new().await;
    news.ann.counts_in(&news.group, 3).await;
    let leave = json!({"topic": news.channel, "unsub": true});
    news.bob.session.request("leave", leave).await.unwrap();
    news.ann.counts_in(&news.group, 2).await;
    news.ann.says_in(&news.group, "nobody at beta").await;
    let all = ["before anybody read", "nobody at beta"];
    news.cat.reads_all(&news.channel, &all).await;
    news.bob.session.subscribe(&news.channel).await.unwrap();
    news.ann.counts_in(&news.group, 3).await;
    news.ann.says_in(&news.group, "back").await;
    let all = ["before anybody read", "nobody at beta", "back"];
    news.readers_have(&all).await;
}

#[tokio::test]
async fn where_somebody_becomes_a_member_readers_are_served_from_the_copy() {
    let mut news = News::new().await;
    let (group, channel) = (news.group.clone(), news.channel.clone());
    let mut dan = news.beta.guest("dan").await;
    news.ann.says_in(&group, "one").await;
    let reply = json!({"topic": group, "noecho": true, "head": {"reply": "2"}, "content": "yes"});
    news.ann.session.request("pub", reply).await.unwrap();
    news.readers_have(&["before anybody read", "one", "yes"])
        .await;
    let user = news.ann.name_of(&dan);
    let body = json!({"topic": group, "sub": {"user": user, "mode": "JRWPS"}});
    news.ann.session.request("set", body).await.unwrap();
    dan.finds_in_contacts(&group).await;
    dan.joins(&group).await;
    news.ann.says_in(&group, "two").await;
    let all = ["before anybody read", "one", "yes", "two"];
    news.readers_have(&all).await;
    dan.reads_all(&group, &all).await;
    // What came without its author has one, for members.
    let deadline = Instant::now() + SOON;
    let ann = dan.name_of(&news.ann);
    loop {
        let history = dan.session.history(&group, 1).await.unwrap();
        if history.iter().all(|it| it.from == ann) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "an author is missing: {history:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
    // It was sealed before there was a log, and what it answers is known to all.
    let reads = news.bob.session.history(&channel, 1).await.unwrap();
    assert!(reads.iter().all(|it| it.from.is_empty()));
    for history in [history_of(&mut dan, &group).await, reads] {
        assert_eq!(history[2].head["reply"], "2", "{history:?}");
    }
    // Without members again, the feed goes on.
    let leave = json!({"topic": group, "unsub": true});
    dan.session.request("leave", leave).await.unwrap();
    news.ann.says_in(&group, "three").await;
    let all = ["before anybody read", "one", "yes", "two", "three"];
    news.readers_have(&all).await;
}

#[tokio::test]
async fn a_channel_elsewhere_is_found_by_its_address_and_kept_only_when_somebody_reads_it() {
    let mut news = News::new().await;
    news.ann.counts_in(&news.group, 3).await;
    let row = news.ann.finds_in_contacts(&news.group).await;
    assert_eq!(row["subcnt"], 3, "{row}");
    let mut delta = news.net.domain("delta.test").await;
    let mut dan = delta.guest("dan").await;
    let address = format!("{}@alpha.test", news.channel);
    for typed in [address.clone(), format!("email:{address}")] {
        let rows = dan.finds(&typed).await;
        // Who belongs to it is not told.
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(
            (&rows[0]["topic"], &rows[0]["subcnt"]),
            (&json!(address), &json!(2))
        );
        assert_eq!(rows[0]["public"]["fn"], "News");
    }
    let nothing = format!("chn{}@alpha.test", "A".repeat(22));
    assert!(dan.finds(&nothing).await.is_empty());
    // As stock clients ask who it is before they open it.
    let desc = dan.session.get(&address, "desc").await.unwrap().unwrap();
    assert_eq!(
        (&desc["public"]["fn"], &desc["chan"]),
        (&json!("News"), &json!(true))
    );
    // So far nothing of it is on disk.
    delta.stop().await;
    delta.start().await;
    delta.welcomes_back(&mut dan).await;
    let body = json!({"topic": news.channel});
    assert_eq!(dan.is_refused("sub", body).await.0, 404);
    let channel = dan.finds_channel(&address).await;
    dan.reads_all(&channel, &["before anybody read"]).await;
    delta.stop().await;
    delta.start().await;
    delta.welcomes_back(&mut dan).await;
    dan.session.subscribe(&channel).await.unwrap();
    // Now that it is known it goes by its own name.
    let rows = dan.finds(&address).await;
    assert_eq!(rows[0]["topic"], channel.as_str());
}

#[tokio::test]
async fn readers_follow_a_channel_whose_home_moves() {
    let mut news = News::new().await;
    let (group, channel) = (news.group.clone(), news.channel.clone());
    let delta = news.net.domain("delta.test").await;
    let mut dan = delta.guest("dan").await;
    let user = news.ann.name_of(&dan);
    let body = json!({"topic": group, "sub": {"user": user, "mode": "JRWPAS"}});
    news.ann.session.request("set", body).await.unwrap();
    dan.finds_in_contacts(&group).await;
    dan.joins(&group).await;
    news.ann.says_in(&group, "at alpha").await;
    news.readers_have(&["before anybody read", "at alpha"])
        .await;
    let body = json!({"topic": group, "aux": {"fh-home": "delta.test"}});
    let deadline = Instant::now() + SOON;
    while news.ann.session.request("set", body.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "delta is not taken as home");
        sleep(Duration::from_millis(20)).await;
    }
    lives_at(&mut news.ann, &group, "delta.test").await;
    news.ann.says_in(&group, "at delta").await;
    let all = ["before anybody read", "at alpha", "at delta"];
    news.readers_have(&all).await;
    // Whoever has the address of then is led on, by the home of then.
    let mut eve = news.net.domain("epsilon.test").await.guest("eve").await;
    eve.finds_channel(&format!("{channel}@alpha.test")).await;
    eve.reads_all(&channel, &all).await;
    news.alpha.stop().await;
    dan.says_in(&group, "without alpha").await;
    let all = [&all[..], &["without alpha"]].concat();
    news.readers_have(&all).await;
    eve.reads_all(&channel, &all).await;
    dan.counts_in(&group, 5).await;
}

#[tokio::test]
async fn readers_find_who_took_over_a_channel_and_see_nothing_twice() {
    let mut news = News::new().await;
    let (group, channel) = (news.group.clone(), news.channel.clone());
    let mut heirs = Vec::new();
    for (domain, login) in [
        ("delta.test", "dan"),
        ("epsilon.test", "eve"),
        ("zeta.test", "fay"),
    ] {
        let house = news.net.domain(domain).await;
        let mut heir = house.guest(login).await;
        let user = news.ann.name_of(&heir);
        let body = json!({"topic": group, "sub": {"user": user, "mode": "JRWPAS"}});
        news.ann.session.request("set", body).await.unwrap();
        heir.finds_in_contacts(&group).await;
        heir.joins(&group).await;
        heirs.push((house, heir));
    }
    let named = json!(["delta.test", "epsilon.test", "zeta.test"]);
    let body = json!({"topic": group, "aux": {"fh-successors": named}});
    let deadline = Instant::now() + SOON;
    while news.ann.session.request("set", body.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "the successors are not taken");
        sleep(Duration::from_millis(20)).await;
    }
    news.ann.says_in(&group, "one").await;
    news.readers_have(&["before anybody read", "one"]).await;
    for (_, heir) in &mut heirs {
        heir.sees_aux(&group, "fh-successors", &named).await;
        heir.reads_all(&group, &["before anybody read", "one"])
            .await;
    }
    // The readers see what no successor has seen.
    for (house, _) in &mut heirs {
        house.stop().await;
    }
    news.ann.says_in(&group, "only readers saw this").await;
    news.readers_have(&["before anybody read", "one", "only readers saw this"])
        .await;
    news.alpha.stop().await;
    // Whoever opens the channel now has their domain notice.
    for reader in [&mut news.bob, &mut news.cat] {
        reader.session.subscribe(&channel).await.unwrap();
    }
    for (house, heir) in &mut heirs {
        house.start().await;
        Club::returns(house, heir, &group).await;
    }
    lives_at(&mut heirs[0].1, &group, HERE).await;
    heirs[0].1.says_in(&group, "we go on").await;
    let all = [
        "before anybody read",
        "one",
        "only readers saw this",
        "we go on",
    ];
    news.readers_have(&all).await;
    // The former home places again what it had placed: nobody sees it twice.
    news.alpha.start().await;
    Club::returns(&news.alpha, &mut news.ann, &group).await;
    lives_at(&mut news.ann, &group, "delta.test").await;
    news.ann.says_in(&group, "I am back").await;
    let all = [&all[..], &["I am back"]].concat();
    news.readers_have(&all).await;
    // Whoever comes now reads all of it, in the order of the present home.
    let mut gil = news.net.domain("eta.test").await.guest("gil").await;
    gil.finds_channel(&format!("{channel}@delta.test")).await;
    let all = [
        "before anybody read",
        "one",
        "we go on",
        "only readers saw this",
        "I am back",
    ];
    gil.reads_all(&channel, &all).await;
}

#[tokio::test]
async fn one_session_looks_up_only_so_many_channels_at_once() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let mut ann = alpha.guest("ann").await;
    let _silent = net.silent("silent.test").await;
    let mut ids = Vec::new();
    for number in 0..9 {
        let body = json!({"topic": format!("chn{number}{}@silent.test", "A".repeat(21))});
        ids.push(ann.session.send("sub", body).await.unwrap());
    }
    let answers =
        |it: &Frame| it.kind == FrameKind::Ctrl && ids.iter().any(|id| it.text("id") == id);
    let first = ann
        .session
        .wait_for("an answer", SOON, answers)
        .await
        .unwrap();
    assert_eq!((first.text("id"), first.code()), (&*ids[8], 503));
    // Nobody waits for that domain longer than for any other.
    for _ in &ids[..8] {
        let next = ann
            .session
            .wait_for("an answer", SOON, answers)
            .await
            .unwrap();
        assert_eq!(next.code(), 503);
    }
}

/// Brings a domain back from an older copy of its store.
async fn restores(house: &mut House, backup: &std::path::Path) {
    copy(backup, &house.data().join("store"));
    let nobody = Without::These(Vec::new());
    let restoring = house.in_hand().await;
    let restored = restoring.restore(Duration::ZERO, &nobody, |_, _| ());
    assert!(restored.await.unwrap().missing(&nobody).next().is_none());
    house.start().await;
}

#[tokio::test]
async fn readers_go_on_with_a_home_that_was_restored() {
    let mut news = News::new().await;
    let backup = news.net.folder().join("backup");
    news.ann.says_in(&news.group, "kept").await;
    news.readers_have(&["before anybody read", "kept"]).await;
    news.alpha.stop().await;
    copy(&news.alpha.data().join("store"), &backup);
    news.alpha.start().await;
    Club::returns(&news.alpha, &mut news.ann, &news.group).await;
    news.ann.says_in(&news.group, "lost at home").await;
    let all = ["before anybody read", "kept", "lost at home"];
    news.readers_have(&all).await;
    news.alpha.stop().await;
    restores(&mut news.alpha, &backup).await;
    Club::returns(&news.alpha, &mut news.ann, &news.group).await;
    news.ann.says_in(&news.group, "after it").await;
    news.readers_have(&[&all[..], &["after it"]].concat()).await;
}

#[tokio::test]
async fn a_domain_of_readers_that_was_restored_gets_again_what_it_lost() {
    let mut news = News::new().await;
    let (channel, backup) = (news.channel.clone(), news.net.folder().join("backup"));
    news.ann.says_in(&news.group, "kept").await;
    news.readers_have(&["before anybody read", "kept"]).await;
    news.beta.stop().await;
    copy(&news.beta.data().join("store"), &backup);
    news.beta.start().await;
    Club::returns(&news.beta, &mut news.bob, &channel).await;
    news.ann.says_in(&news.group, "lost at beta").await;
    let all = ["before anybody read", "kept", "lost at beta"];
    news.readers_have(&all).await;
    news.beta.stop().await;
    restores(&mut news.beta, &backup).await;
    Club::returns(&news.beta, &mut news.bob, &channel).await;
    // Nothing new is written for it.
    news.readers_have(&all).await;
    news.ann.says_in(&news.group, "after it").await;
    news.readers_have(&[&all[..], &["after it"]].concat()).await;
}
