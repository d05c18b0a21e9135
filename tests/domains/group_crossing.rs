//! Groups whose members are of several domains: one home, a copy at each of the others.

use freehold_interop::{Frame, FrameKind};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    guest::{Guest, SOON},
    net::{House, Net},
};

/// Ann of alpha has a group; Ben of alpha, Bob of beta and Cat of gamma are in it.
pub(crate) struct Club {
    pub(crate) ann: Guest,
    pub(crate) ben: Guest,
    pub(crate) bob: Guest,
    pub(crate) cat: Guest,
    pub(crate) alpha: House,
    pub(crate) beta: House,
    pub(crate) gamma: House,
    pub(crate) group: String,
    net: Net,
}

impl Guest {
    pub(crate) async fn invites_to(&mut self, group: &str, other: &Self) -> Value {
        let body = json!({"topic": group, "sub": {"user": self.name_of(other)}});
        let answer = self.session.request("set", body).await.unwrap();
        answer.body["params"]["acs"].clone()
    }

    /// Waits until a conversation is in the list of contacts.
    pub(crate) async fn finds_in_contacts(&mut self, topic: &str) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let rows = self.session.get("me", "sub").await.unwrap();
            let rows = rows.unwrap_or_default();
            let mut rows = rows.as_array().into_iter().flatten();
            if let Some(row) = rows.find(|it| it["topic"] == topic && it["deleted"].is_null()) {
                return row.clone();
            }
            assert!(
                Instant::now() < deadline,
                "{topic} is not among the contacts"
            );
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Opens a group that one was asked into, and says yes as the web app does.
    pub(crate) async fn joins(&mut self, group: &str) {
        self.session.subscribe(group).await.unwrap();
        let given = self.access_in(group).await[1].clone();
        let body = json!({"topic": group, "sub": {"mode": given}});
        self.session.request("set", body).await.unwrap();
        self.can_write_in(group).await;
    }

    pub(crate) async fn access_in(&mut self, group: &str) -> [String; 3] {
        let desc = self.session.get(group, "desc").await.unwrap().unwrap();
        ["want", "given", "mode"].map(|key| desc["acs"][key].as_str().unwrap_or("").to_owned())
    }

    /// Waits until the home has let one in.
    pub(crate) async fn can_write_in(&mut self, group: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let members = self.session.get(group, "sub").await.unwrap().unwrap();
            if members.as_array().is_some_and(|it| it.len() > 1) {
                return;
            }
            assert!(Instant::now() < deadline, "{members}");
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until somebody takes part in the group.
    pub(crate) async fn sees_joined(&mut self, group: &str, user: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let members = self.session.get(group, "sub").await.unwrap().unwrap();
            let mut members = members.as_array().unwrap().iter();
            let row = members.find(|it| it["user"] == user);
            let mode = row.and_then(|it| it["acs"]["mode"].as_str());
            if mode.is_some_and(|it| it.contains("JRW")) {
                return;
            }
            assert!(Instant::now() < deadline, "{user} does not come: {row:?}");
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn says_in(&mut self, group: &str, text: &str) -> u64 {
        self.session.publish(group, text).await.unwrap()
    }

    /// What was said since all of the club were there becomes this, in order.
    pub(crate) async fn reads_in(&mut self, group: &str, texts: &[&str]) {
        self.reads_since(group, 2, texts).await;
    }

    /// The whole of a group's history here becomes this.
    pub(crate) async fn reads_all(&mut self, group: &str, texts: &[&str]) {
        self.reads_since(group, 1, texts).await;
    }

    pub(crate) async fn reads_since(&mut self, group: &str, since: u64, texts: &[&str]) {
        let deadline = Instant::now() + SOON;
        loop {
            let history = self.session.history(group, since).await.unwrap();
            let texts_here = history.iter().filter_map(|it| it.content.as_str());
            let seen: Vec<_> = texts_here.collect();
            if seen == texts {
                return;
            }
            let who = self.session.who();
            assert!(
                Instant::now() < deadline,
                "{who} reads {seen:?}, not {texts:?}"
            );
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until one stands so in the group: want, given.
    pub(crate) async fn stands(&mut self, group: &str, want: &str, given: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let access = self.access_in(group).await;
            if access[..2] == [want, given] {
                return;
            }
            assert!(Instant::now() < deadline, "{access:?}, not {want}, {given}");
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits until somebody has read so much of the group, as far as it is known here.
    pub(crate) async fn knows_read(&mut self, group: &str, user: &str, seq: u64) {
        let deadline = Instant::now() + SOON;
        loop {
            let members = self.session.get(group, "sub").await.unwrap().unwrap();
            let mut members = members.as_array().unwrap().iter();
            let row = members.find(|it| it["user"] == user);
            let read = row.and_then(|it| it["read"].as_u64()).unwrap_or(0);
            if read == seq {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{user} has read {read}, not {seq}"
            );
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits for the end of one's part in a group.
    pub(crate) async fn is_put_out_of(&mut self, group: &str) -> Value {
        let fits = |it: &Frame| {
            it.kind == FrameKind::Ctrl && it.code() == 205 && it.text("topic") == group
        };
        let frame = self.session.wait_for("eviction", SOON, fits).await.unwrap();
        frame.body["params"].clone()
    }
}

impl Club {
    /// Where further domains can be made.
    pub(crate) fn net(&self) -> &Net {
        &self.net
    }

    pub(crate) async fn new() -> Self {
        let net = Net::new().await;
        let alpha = net.domain("alpha.test").await;
        let beta = net.domain("beta.test").await;
        let gamma = net.domain("gamma.test").await;
        let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
        let (mut bob, mut cat) = (beta.guest("bob").await, gamma.guest("cat").await);
        let body = json!({"topic": "newA", "set": {"desc": {"public": {"fn": "Club"}}}});
        let answer = ann.session.request("sub", body).await.unwrap();
        let group = answer.text("topic").to_owned();
        ann.says_in(&group, "before anybody came").await;
        ann.invites_to(&group, &ben).await;
        ben.session.subscribe(&group).await.unwrap();
        for other in [&mut bob, &mut cat] {
            ann.invites_to(&group, other).await;
            other.finds_in_contacts(&group).await;
            other.joins(&group).await;
        }
        Self {
            ann,
            ben,
            bob,
            cat,
            alpha,
            beta,
            gamma,
            group,
            net,
        }
    }
}

#[tokio::test]
async fn a_group_spans_three_domains_and_everybody_reads_the_same() {
    let mut club = Club::new().await;
    let Club {
        ann,
        ben,
        bob,
        cat,
        group,
        ..
    } = &mut club;
    ann.says_in(group, "welcome").await;
    bob.reads_in(group, &["welcome"]).await;
    cat.reads_in(group, &["welcome"]).await;
    bob.says_in(group, "hello from beta").await;
    cat.reads_in(group, &["welcome", "hello from beta"]).await;
    cat.says_in(group, "hello from gamma").await;
    let all = ["welcome", "hello from beta", "hello from gamma"];
    bob.reads_in(group, &all).await;
    cat.reads_in(group, &all).await;
    ann.reads_in(group, &all).await;
    ben.reads_in(group, &all).await;
    // Each names the others as their own domain knows them.
    let history = cat.session.history(group, 2).await.unwrap();
    let authors: Vec<_> = history.iter().map(|it| it.from.clone()).collect();
    assert_eq!(
        authors,
        [cat.name_of(ann), cat.name_of(bob), cat.person.id.clone()]
    );
}

impl Club {
    /// What was said since all of them were there.
    pub(crate) async fn everybody_reads(&mut self, texts: &[&str]) {
        for guest in [&mut self.ann, &mut self.ben, &mut self.bob, &mut self.cat] {
            guest.reads_in(&self.group, texts).await;
        }
    }

    /// People of a domain that was started again are back in the group.
    pub(crate) async fn returns(house: &House, guest: &mut Guest, group: &str) {
        house.welcomes_back(guest).await;
        guest.session.subscribe(group).await.unwrap();
    }
}

#[tokio::test]
async fn while_the_home_is_away_people_read_and_write_and_the_members_stay_who_they_are() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.bob.says_in(&group, "one").await;
    club.everybody_reads(&["one"]).await;
    club.alpha.stop().await;
    // Acknowledged at once, and there for its author.
    club.bob.says_in(&group, "two").await;
    club.bob.reads_in(&group, &["one", "two"]).await;
    club.cat.reads_in(&group, &["one"]).await;
    // Nobody is let in or put out meanwhile, and one is told who is away.
    let body = json!({"topic": group, "what": "sub", "user": club.bob.name_of(&club.cat)});
    let refused = club.bob.is_refused("del", body).await;
    assert_eq!(refused.0, 403, "an ordinary member evicts nobody");
    // The domain of the author goes too, and comes back before the home does.
    club.beta.stop().await;
    club.beta.start().await;
    Club::returns(&club.beta, &mut club.bob, &group).await;
    club.bob.says_in(&group, "three").await;
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    club.everybody_reads(&["one", "two", "three"]).await;
}

#[tokio::test]
async fn who_is_away_for_long_gets_everything_in_the_home_s_order() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.gamma.stop().await;
    let texts: Vec<String> = (0..250).map(|it| format!("message {it}")).collect();
    for (number, text) in texts.iter().enumerate() {
        let writer = match number % 3 {
            0 => &mut club.ann,
            1 => &mut club.bob,
            _ => &mut club.ben,
        };
        writer.says_in(&group, text).await;
    }
    club.gamma.start().await;
    Club::returns(&club.gamma, &mut club.cat, &group).await;
    let deadline = Instant::now() + SOON;
    loop {
        let here = club.ann.session.history(&group, 2).await.unwrap();
        if here.len() == texts.len() || Instant::now() > deadline {
            break;
        }
    }
    let whole = club.ann.session.history(&group, 2).await.unwrap();
    let order: Vec<&str> = whole.iter().filter_map(|it| it.content.as_str()).collect();
    let missing: Vec<_> = texts
        .iter()
        .filter(|it| !order.contains(&it.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(order.len(), texts.len());
    club.cat.reads_in(&group, &order).await;
    // Whoever writes here sees their own words where they wrote them; everybody else's stand in order.
    let there = club.bob.session.history(&group, 2).await.unwrap();
    assert_eq!(there.len(), texts.len());
}

#[tokio::test]
async fn a_message_that_comes_behind_the_eviction_of_its_author_is_theirs_alone() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.alpha.stop().await;
    club.bob.says_in(&group, "too late").await;
    club.beta.stop().await;
    club.alpha.start().await;
    Club::returns(&club.alpha, &mut club.ann, &group).await;
    let bob = club.ann.name_of(&club.bob);
    let body = json!({"topic": group, "what": "sub", "user": bob});
    club.ann.session.request("del", body).await.unwrap();
    club.beta.start().await;
    club.beta.welcomes_back(&mut club.bob).await;
    // He finds it among his notes, with the reason.
    club.bob.finds_in_contacts("slf").await;
    club.bob.session.subscribe("slf").await.unwrap();
    let notes = club.bob.session.history("slf", 1).await.unwrap();
    let text = notes[0].content.as_str().unwrap();
    let expected =
        "Not delivered to Club: alpha.test refused it: not permitted in this topic.\ntoo late";
    assert_eq!((notes.len(), text), (1, expected));
    let deadline = Instant::now() + SOON;
    loop {
        let rows = club.bob.session.get("me", "sub").await.unwrap().unwrap();
        let mut rows = rows.as_array().unwrap().iter();
        if rows.all(|it| it["topic"] != *group || !it["deleted"].is_null()) {
            break;
        }
        assert!(Instant::now() < deadline, "it is still among his contacts");
        sleep(std::time::Duration::from_millis(20)).await;
    }
    club.ann.says_in(&group, "he is gone").await;
    club.cat.reads_in(&group, &["he is gone"]).await;
    club.ann.reads_in(&group, &["he is gone"]).await;
}

#[tokio::test]
async fn what_was_allowed_when_it_was_written_counts() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.alpha.stop().await;
    club.bob.says_in(&group, "in time").await;
    club.beta.stop().await;
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    let bob = club.ann.name_of(&club.bob);
    let body = json!({"topic": group, "sub": {"user": bob, "mode": "-W"}});
    club.ann.session.request("set", body).await.unwrap();
    club.beta.start().await;
    Club::returns(&club.beta, &mut club.bob, &group).await;
    club.everybody_reads(&["in time"]).await;
    club.bob.stands(&group, "JRWPS", "JRPS").await;
    let body = json!({"topic": group, "content": "now"});
    assert_eq!(club.bob.is_refused("pub", body).await.0, 403);
}

#[tokio::test]
async fn members_of_any_domain_rule_as_far_as_they_may() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    let bob = club.ann.name_of(&club.bob);
    let body = json!({"topic": group, "sub": {"user": bob, "mode": "+A"}});
    club.ann.session.request("set", body).await.unwrap();
    club.bob.stands(&group, "JRWPS", "JRWPAS").await;
    let body = json!({"topic": group, "sub": {"mode": "JRWPAS"}});
    club.bob.session.request("set", body).await.unwrap();
    club.bob.stands(&group, "JRWPAS", "JRWPAS").await;
    // An administrator of another domain brings in somebody of a third one, mutes and removes people.
    let mut eve = club.gamma.guest("eve").await;
    let body = json!({"topic": group, "sub": {"user": club.bob.name_of(&eve)}});
    let answer = club.bob.session.request("set", body).await.unwrap();
    assert_eq!(answer.body["params"]["pending"], "alpha.test");
    eve.finds_in_contacts(&group).await;
    eve.joins(&group).await;
    eve.says_in(&group, "hello, I am new").await;
    club.everybody_reads(&["hello, I am new"]).await;
    let cat = club.bob.name_of(&club.cat);
    let body = json!({"topic": group, "sub": {"user": cat, "mode": "-W"}});
    let answer = club.bob.session.request("set", body).await.unwrap();
    assert_eq!(answer.body["params"]["pending"], "alpha.test");
    club.cat.stands(&group, "JRWPS", "JRPS").await;
    let eve_there = club.bob.name_of(&eve);
    let body = json!({"topic": group, "what": "sub", "user": eve_there});
    let answer = club.bob.session.request("del", body).await.unwrap();
    assert_eq!(answer.body["params"]["pending"], "alpha.test");
    assert_eq!(eve.is_put_out_of(&group).await["unsub"], true);
    // Cat's domain stays in the group, and what was hers to say she may say no more.
    let body = json!({"topic": group, "content": "may I?"});
    assert_eq!(club.cat.is_refused("pub", body).await.0, 403);
}

#[tokio::test]
async fn somebody_leaves_comes_back_and_the_owner_ends_the_group() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    let body = json!({"topic": group, "unsub": true});
    club.bob.session.request("leave", body).await.unwrap();
    let bob = club.ann.name_of(&club.bob);
    let deadline = Instant::now() + SOON;
    loop {
        let members = club.ann.session.get(&group, "sub").await.unwrap().unwrap();
        let members = members.as_array().unwrap();
        if members.iter().all(|it| it["user"] != bob) {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "he is still a member: {members:?}"
        );
        sleep(std::time::Duration::from_millis(20)).await;
    }
    club.ann.says_in(&group, "not for him").await;
    club.cat.reads_in(&group, &["not for him"]).await;
    club.ann.invites_to(&group, &club.bob).await;
    club.bob.finds_in_contacts(&group).await;
    club.bob.joins(&group).await;
    club.ann.sees_joined(&group, &bob).await;
    club.ann.says_in(&group, "welcome back").await;
    // Whoever may read a group may read what was written while they were not in it.
    let both = ["not for him", "welcome back"];
    club.bob.reads_in(&group, &both).await;
    club.ann
        .session
        .request(
            "del",
            json!({"topic": group, "what": "topic", "hard": true}),
        )
        .await
        .unwrap();
    assert_eq!(club.bob.is_put_out_of(&group).await["unsub"], true);
    assert_eq!(club.cat.is_put_out_of(&group).await["unsub"], true);
    let gone = club.cat.is_refused("sub", json!({"topic": group})).await;
    assert_eq!(gone.0, 404);
}

#[tokio::test]
async fn references_cross_by_id_and_what_is_deleted_is_gone_everywhere() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.ann.says_in(&group, "a queston").await;
    club.bob.reads_in(&group, &["a queston"]).await;
    let seq = club.ann.session.history(&group, 2).await.unwrap()[0].seq;
    let body =
        json!({"topic": group, "head": {"replace": format!(":{seq}")}, "content": "a question"});
    club.ann.session.request("pub", body).await.unwrap();
    club.bob
        .reads_in(&group, &["a queston", "a question"])
        .await;
    let there = club.bob.session.history(&group, 2).await.unwrap();
    assert_eq!(there[1].head["replace"], format!(":{}", there[0].seq));
    let body = json!({
        "topic": group,
        "head": {"reply": there[0].seq.to_string()},
        "content": "an answer",
    });
    club.bob.session.request("pub", body).await.unwrap();
    club.everybody_reads(&["a queston", "a question", "an answer"])
        .await;
    let here = club.ann.session.history(&group, 2).await.unwrap();
    assert_eq!(here[2].head["reply"], seq.to_string());
    let at_gamma = club.cat.session.history(&group, 2).await.unwrap();
    assert_eq!(at_gamma[2].head["reply"], at_gamma[0].seq.to_string());
    // The owner deletes for everybody.
    let body = json!({
        "topic": group, "what": "msg", "hard": true,
        "delseq": [{"low": seq}],
    });
    club.ann.session.request("del", body).await.unwrap();
    club.bob
        .reads_in(&group, &["a question", "an answer"])
        .await;
    club.cat
        .reads_in(&group, &["a question", "an answer"])
        .await;
}

impl Guest {
    /// Waits for a mark of somebody in a group.
    pub(crate) async fn sees_group_mark(&mut self, group: &str, from: &str, what: &str, seq: u64) {
        let fits = |it: &Frame| {
            let mark = it.kind == FrameKind::Info && it.text("what") == what;
            mark && it.text("topic") == group && it.text("from") == from && it.body["seq"] == seq
        };
        self.session.wait_for(what, SOON, fits).await.unwrap();
    }
}

#[tokio::test]
async fn whoever_wrote_last_has_read_everything_before_as_every_domain_knows() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.ann.says_in(&group, "one").await;
    club.everybody_reads(&["one"]).await;
    club.bob.says_in(&group, "two").await;
    club.everybody_reads(&["one", "two"]).await;
    for guest in [&mut club.ann, &mut club.cat] {
        let last = guest.session.history(&group, 2).await.unwrap()[1].seq;
        let bob = guest.name_of(&club.bob);
        guest.knows_read(&group, &bob, last).await;
    }
}

#[tokio::test]
async fn marks_and_typing_reach_members_everywhere_under_their_own_numbers() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.bob.says_in(&group, "from beta").await;
    club.everybody_reads(&["from beta"]).await;
    let there = club.cat.session.history(&group, 2).await.unwrap()[0].seq;
    club.cat.session.note(&group, "read", there).await.unwrap();
    let here = club.ann.session.history(&group, 2).await.unwrap()[0].seq;
    let cat = club.ann.name_of(&club.cat);
    club.ann.sees_group_mark(&group, &cat, "read", here).await;
    let at_beta = club.bob.session.history(&group, 2).await.unwrap()[0].seq;
    club.bob
        .sees_group_mark(&group, &cat, "read", at_beta)
        .await;
    // From the home to both copies.
    club.ann.session.note(&group, "recv", here).await.unwrap();
    let ann = club.cat.name_of(&club.ann);
    club.cat.sees_group_mark(&group, &ann, "recv", there).await;
    club.bob
        .sees_group_mark(&group, &ann, "recv", at_beta)
        .await;
    // What nobody else has got yet nobody else has read.
    club.alpha.stop().await;
    club.bob.says_in(&group, "pending").await;
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    club.everybody_reads(&["from beta", "pending"]).await;
    club.cat
        .session
        .note(&group, "read", there + 1)
        .await
        .unwrap();
    club.bob
        .sees_group_mark(&group, &cat, "read", at_beta + 1)
        .await;

    let typing = json!({"topic": group, "what": "kp"});
    club.cat.session.send("note", typing).await.unwrap();
    for guest in [&mut club.ann, &mut club.bob] {
        let cat = guest.name_of(&club.cat);
        let fits = |it: &Frame| {
            it.kind == FrameKind::Info && it.text("what") == "kp" && it.text("from") == cat
        };
        guest.session.wait_for("typing", SOON, fits).await.unwrap();
    }
}

#[tokio::test]
async fn who_comes_later_reads_what_was_written_before() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let mut beta = net.domain("beta.test").await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let mut zoe = beta.guest("zoe").await;
    let body = json!({"topic": "newA", "set": {"desc": {"public": {"fn": "Old"}}}});
    let answer = ann.session.request("sub", body).await.unwrap();
    let group = answer.text("topic").to_owned();
    let mut texts: Vec<String> = Vec::new();
    for number in 0..120 {
        texts.push(format!("at home {number}"));
        ann.says_in(&group, &texts[number]).await;
    }
    let body = json!({"topic": group, "head": {"reply": "5"}, "content": "to the fifth"});
    ann.session.request("pub", body).await.unwrap();
    texts.push("to the fifth".to_owned());
    let body =
        json!({"topic": group, "what": "msg", "hard": true, "delseq": [{"low": 3, "hi": 5}]});
    ann.session.request("del", body).await.unwrap();
    texts.drain(2..4);
    ann.invites_to(&group, &bob).await;
    bob.finds_in_contacts(&group).await;
    // What is written while he makes up his mind is of the past for his domain too.
    ann.says_in(&group, "placed").await;
    texts.push("placed".to_owned());
    bob.joins(&group).await;
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    bob.reads_all(&group, &all).await;
    let first = bob.session.history(&group, 1).await.unwrap();
    assert_eq!((first[0].seq, &*first[0].from), (1, &*bob.name_of(&ann)));
    assert_eq!(first[118].head["reply"], "5");
    // None of it is news to him.
    let row = bob.finds_in_contacts(&group).await;
    assert_eq!(row["read"], row["seq"]);
    // It stays over a restart and when the home is gone, also for whoever comes next.
    alpha.stop().await;
    beta.stop().await;
    beta.start().await;
    beta.welcomes_back(&mut bob).await;
    bob.session.subscribe(&group).await.unwrap();
    bob.reads_all(&group, &all).await;
    beta.welcomes_back(&mut zoe).await;
    let refused = zoe.is_refused("sub", json!({"topic": group})).await;
    assert_eq!(refused.0, 503);
}

#[tokio::test]
async fn a_member_who_is_called_otherwise_is_so_everywhere() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    for name in ["Robert", "Bobby"] {
        let body = json!({"topic": "me", "desc": {"public": {"fn": name}}});
        club.bob.session.request("set", body).await.unwrap();
        for guest in [&mut club.ann, &mut club.cat] {
            let bob = guest.name_of(&club.bob);
            let deadline = Instant::now() + SOON;
            loop {
                let members = guest.session.get(&group, "sub").await.unwrap().unwrap();
                let mut members = members.as_array().unwrap().iter();
                let row = members.find(|it| it["user"] == bob).unwrap();
                if row["public"]["fn"] == name {
                    break;
                }
                assert!(Instant::now() < deadline, "{row}");
                sleep(std::time::Duration::from_millis(20)).await;
            }
        }
    }
}

#[tokio::test]
async fn whoever_deletes_the_account_is_gone_everywhere_with_all_they_wrote() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.bob.says_in(&group, "my secret").await;
    club.ann.reads_in(&group, &["my secret"]).await;
    club.ann.says_in(&group, "stays").await;
    club.everybody_reads(&["my secret", "stays"]).await;
    // The home hears of it when it can.
    club.alpha.stop().await;
    let bob = club.cat.name_of(&club.bob);
    let body = json!({"what": "user", "hard": true});
    club.bob.session.request("del", body).await.unwrap();
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    for guest in [&mut club.ann, &mut club.ben, &mut club.cat] {
        guest.reads_in(&group, &["stays"]).await;
        let deadline = Instant::now() + SOON;
        loop {
            let members = guest.session.get(&group, "sub").await.unwrap().unwrap();
            let mut members = members.as_array().unwrap().iter();
            let row = members.find(|it| it["user"] == bob && it["deleted"].is_null());
            if row.is_none() {
                break;
            }
            assert!(Instant::now() < deadline, "{row:?}");
            sleep(std::time::Duration::from_millis(20)).await;
        }
    }
    // The same of somebody at the home.
    club.ben.says_in(&group, "of Ben").await;
    club.cat.reads_in(&group, &["stays", "of Ben"]).await;
    let body = json!({"what": "user", "hard": true});
    club.ben.session.request("del", body).await.unwrap();
    club.cat.reads_in(&group, &["stays"]).await;
}

#[tokio::test]
async fn whoever_knows_the_id_comes_in_where_the_group_is_open_and_the_home_agrees() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.ann.says_in(&group, "hello").await;
    club.bob.reads_in(&group, &["hello"]).await;
    // Another person of a domain that has members: in at once, with the past.
    let mut zoe = club.beta.guest("zoe").await;
    zoe.session.subscribe(&group).await.unwrap();
    zoe.stands(&group, "JRWPS", "JRWPS").await;
    zoe.reads_in(&group, &["hello"]).await;
    zoe.says_in(&group, "I am Zoe").await;
    club.everybody_reads(&["hello", "I am Zoe"]).await;
    // The owner shuts the door: whoever comes now is told so, by what is known here or by the home.
    let body = json!({"topic": group, "desc": {"defacs": {"auth": "N"}}});
    club.ann.session.request("set", body).await.unwrap();
    let mut max = club.gamma.guest("max").await;
    let deadline = Instant::now() + SOON;
    loop {
        let refused = max.session.request("sub", json!({"topic": group})).await;
        if refused.is_err() {
            break;
        }
        assert!(Instant::now() < deadline, "he is still let in");
        max.session
            .request("leave", json!({"topic": group, "unsub": true}))
            .await
            .unwrap();
    }
    let refused = max.is_refused("sub", json!({"topic": group})).await;
    assert_eq!(refused.0, 403);
    // While the home is away nobody new comes in, and is told who is away.
    club.alpha.stop().await;
    let body = json!({"topic": group, "unsub": true});
    zoe.session.request("leave", body).await.unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let refused = zoe.session.request("sub", json!({"topic": group})).await;
        let Err(freehold_interop::Failure::Refused { code: 503, .. }) = refused else {
            assert!(Instant::now() < deadline, "{refused:?}");
            continue;
        };
        break;
    }
}
