//! The home of a group moves: as its owner wishes, or because it is away and its successors agree.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    group_crossing::Club,
    guest::{Guest, SOON},
    net::House,
};

/// The domain of whoever asks.
pub(crate) const HERE: &str = "here";

impl Club {
    /// Somebody rules on others from now on.
    async fn trusts(&mut self, which: impl Fn(&mut Self) -> &mut Guest) {
        let group = self.group.clone();
        let other = which(self).person.clone();
        let name = self.ann.person.name_of(&other);
        let body = json!({"topic": group, "sub": {"user": name, "mode": "+A"}});
        self.ann.session.request("set", body).await.unwrap();
        becomes_admin(which(self), &group).await;
        self.ann.sees_admin(&group, &name).await;
    }

    /// The owner says where the group is to live.
    async fn wishes_home(&mut self, domain: &str) {
        let body = json!({"topic": self.group, "aux": {"fh-home": domain}});
        self.ann.session.request("set", body).await.unwrap();
    }
}

/// Says yes to ruling on others.
pub(crate) async fn becomes_admin(guest: &mut Guest, group: &str) {
    guest.stands(group, "JRWPS", "JRWPAS").await;
    let body = json!({"topic": group, "sub": {"mode": "JRWPAS"}});
    guest.session.request("set", body).await.unwrap();
    guest.stands(group, "JRWPAS", "JRWPAS").await;
}

/// Which domain decides for the group, as somebody is told who asks for something.
async fn home_of(guest: &mut Guest, group: &str) -> String {
    // A change that is one each time.
    let seen = guest.session.get(group, "aux").await.unwrap();
    let count = seen.map_or(0, |it| it["asked"].as_u64().unwrap_or(0));
    let body = json!({"topic": group, "aux": {"asked": count + 1}});
    match guest.session.request("set", body).await {
        Ok(frame) => frame.body["params"]["pending"]
            .as_str()
            .unwrap_or(HERE)
            .to_owned(),
        Err(_) => "nowhere".to_owned(),
    }
}

/// Waits until a domain decides for the group.
pub(crate) async fn lives_at(guest: &mut Guest, group: &str, home: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let found = home_of(guest, group).await;
        if found == home {
            return;
        }
        let who = guest.session.who();
        assert!(
            Instant::now() < deadline,
            "{who} finds it at {found}, not {home}"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

/// Each of these is there once, whatever stands between them.
async fn has_once(guest: &mut Guest, group: &str, texts: &[&str]) {
    let deadline = Instant::now() + SOON;
    loop {
        let history = guest.session.history(group, 1).await.unwrap();
        let seen: Vec<_> = history
            .iter()
            .filter_map(|it| it.content.as_str())
            .collect();
        let mut sorted = seen.clone();
        sorted.sort_unstable();
        let mut expected = texts.to_vec();
        expected.sort_unstable();
        if sorted == expected {
            let mut seqs: Vec<u64> = history.iter().map(|it| it.seq).collect();
            seqs.dedup();
            assert_eq!(seqs.len(), history.len(), "a position was used twice");
            return;
        }
        let who = guest.session.who();
        assert!(
            Instant::now() < deadline,
            "{who} reads {seen:?}, not {texts:?}"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_group_moves_where_its_owner_wishes_and_everybody_goes_on() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.trusts(|it| &mut it.bob).await;
    club.cat.says_in(&group, "one").await;
    club.everybody_reads(&["one"]).await;
    club.wishes_home("beta.test").await;
    lives_at(&mut club.ann, &group, "beta.test").await;
    lives_at(&mut club.bob, &group, HERE).await;
    club.ann.says_in(&group, "two").await;
    club.cat.reads_in(&group, &["one", "two"]).await;
    club.bob.says_in(&group, "three").await;
    club.cat.reads_in(&group, &["one", "two", "three"]).await;
    club.cat.says_in(&group, "four").await;
    let all = ["one", "two", "three", "four"];
    club.everybody_reads(&all).await;
    // The former home is a copy like any other: it goes, and the group goes on.
    club.alpha.stop().await;
    club.bob.says_in(&group, "five").await;
    club.cat
        .reads_in(&group, &["one", "two", "three", "four", "five"])
        .await;
    club.cat.says_in(&group, "six").await;
    club.bob
        .reads_in(&group, &["one", "two", "three", "four", "five", "six"])
        .await;
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    club.everybody_reads(&["one", "two", "three", "four", "five", "six"])
        .await;
    // Its people are numbered on where they were.
    let history = club.ann.session.history(&group, 1).await.unwrap();
    let seqs: Vec<u64> = history.iter().map(|it| it.seq).collect();
    assert_eq!(seqs, (1..=7).collect::<Vec<_>>());
    // Whoever starts again finds it where it is.
    club.beta.stop().await;
    club.beta.start().await;
    Club::returns(&club.beta, &mut club.bob, &group).await;
    club.ann.says_in(&group, "seven").await;
    club.cat
        .reads_in(
            &group,
            &["one", "two", "three", "four", "five", "six", "seven"],
        )
        .await;
}

#[tokio::test]
async fn what_was_on_its_way_to_the_former_home_is_placed_by_the_next() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.trusts(|it| &mut it.bob).await;
    club.alpha.stop().await;
    club.cat.says_in(&group, "from gamma").await;
    club.gamma.stop().await;
    club.bob.says_in(&group, "from beta").await;
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    club.wishes_home("beta.test").await;
    lives_at(&mut club.ann, &group, "beta.test").await;
    // Gamma still takes alpha for the home.
    club.gamma.start().await;
    Club::returns(&club.gamma, &mut club.cat, &group).await;
    let all = ["before anybody came", "from gamma", "from beta"];
    for guest in [&mut club.ann, &mut club.ben, &mut club.bob, &mut club.cat] {
        has_once(guest, &group, &all).await;
    }
    club.cat.says_in(&group, "and on").await;
    let all = ["before anybody came", "from gamma", "from beta", "and on"];
    for guest in [&mut club.ann, &mut club.ben, &mut club.bob, &mut club.cat] {
        has_once(guest, &group, &all).await;
    }
}

#[tokio::test]
async fn a_domain_that_comes_in_after_a_move_reads_everything_and_can_follow_who_is_home() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.trusts(|it| &mut it.bob).await;
    club.cat.says_in(&group, "one").await;
    club.everybody_reads(&["one"]).await;
    club.wishes_home("beta.test").await;
    lives_at(&mut club.ann, &group, "beta.test").await;
    club.ann.says_in(&group, "two").await;
    club.everybody_reads(&["one", "two"]).await;
    let delta = club.net().domain("delta.test").await;
    let mut dan = delta.guest("dan").await;
    club.bob.invites_to(&group, &dan).await;
    dan.finds_in_contacts(&group).await;
    dan.joins(&group).await;
    dan.reads_all(&group, &["before anybody came", "one", "two"])
        .await;
    dan.says_in(&group, "I am new").await;
    club.everybody_reads(&["one", "two", "I am new"]).await;
    // It goes back, by way of a third domain.
    club.trusts(|it| &mut it.cat).await;
    club.wishes_home("gamma.test").await;
    lives_at(&mut club.ann, &group, "gamma.test").await;
    club.wishes_home("alpha.test").await;
    lives_at(&mut club.ann, &group, HERE).await;
    club.ann.says_in(&group, "home again").await;
    club.everybody_reads(&["one", "two", "I am new", "home again"])
        .await;
    dan.reads_all(
        &group,
        &[
            "before anybody came",
            "one",
            "two",
            "I am new",
            "home again",
        ],
    )
    .await;
}

#[tokio::test]
async fn who_was_asked_in_before_a_move_comes_in_after_it() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.trusts(|it| &mut it.bob).await;
    let delta = club.net().domain("delta.test").await;
    let mut dan = delta.guest("dan").await;
    club.ann.invites_to(&group, &dan).await;
    dan.finds_in_contacts(&group).await;
    club.wishes_home("beta.test").await;
    lives_at(&mut club.ann, &group, "beta.test").await;
    // The domain that asked is not needed any more.
    club.alpha.stop().await;
    dan.joins(&group).await;
    dan.says_in(&group, "thank you for waiting").await;
    club.bob.reads_in(&group, &["thank you for waiting"]).await;
    club.cat.reads_in(&group, &["thank you for waiting"]).await;
}

#[tokio::test]
async fn edits_pins_deletions_and_marks_go_on_behind_a_move() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    club.trusts(|it| &mut it.bob).await;
    // Bob's own message stands before those that came meanwhile, so that positions differ.
    club.beta.stop().await;
    club.ann.says_in(&group, "one").await;
    club.alpha.stop().await;
    club.beta.start().await;
    Club::returns(&club.beta, &mut club.bob, &group).await;
    let mine = club.bob.says_in(&group, "mine").await;
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    club.bob.reads_in(&group, &["mine", "one"]).await;
    club.ann.reads_in(&group, &["one", "mine"]).await;
    club.wishes_home("beta.test").await;
    lives_at(&mut club.ann, &group, "beta.test").await;
    club.everybody_marks().await;
    // Ann pins Bob's message, which stands elsewhere for him.
    let seq = club.ann.seq_of(&group, "mine").await;
    assert_ne!(seq, mine);
    let body = json!({"topic": group, "aux": {"pins": [seq]}});
    club.ann.session.request("set", body).await.unwrap();
    club.bob.sees_aux(&group, "pins", &json!([mine])).await;
    let body = json!({"topic": group, "aux": {"pins": [mine], "note": "x"}});
    club.bob.session.request("set", body).await.unwrap();
    club.ann.sees_aux(&group, "note", &json!("x")).await;
    club.ann.sees_aux(&group, "pins", &json!([seq])).await;
    // Ann deletes it for everybody; Bob, whose domain is the home, finds the right one gone.
    let body = json!({"topic": group, "what": "msg", "hard": true, "delseq": [{"low": seq}]});
    club.ann.session.request("del", body).await.unwrap();
    club.bob.reads_in(&group, &["one"]).await;
    club.cat.reads_in(&group, &["one"]).await;
    // The owner of the home's side does the same the other way round.
    club.bob.says_in(&group, "two").await;
    club.everybody_reads(&["one", "two"]).await;
}

#[tokio::test]
async fn only_the_owner_moves_a_group_and_only_to_where_it_is_looked_after() {
    let mut club = Club::new().await;
    let group = club.group.clone();
    let wish = |home: Value| json!({"topic": group, "aux": {"fh-home": home}});
    let refused = club.ann.is_refused("set", wish(json!("gamma.test"))).await;
    assert_eq!(refused.0, 422, "nobody of gamma rules on others");
    for nonsense in [json!("no domain!"), json!(5), json!("elsewhere.test")] {
        let refused = club.ann.is_refused("set", wish(nonsense.clone())).await;
        let expected = if nonsense == json!("elsewhere.test") {
            422
        } else {
            400
        };
        assert_eq!(refused.0, expected, "{nonsense}");
    }
    club.trusts(|it| &mut it.bob).await;
    let body = json!({"topic": group, "aux": {"fh-home": "beta.test"}});
    let refused = club.bob.is_refused("set", body).await;
    assert_eq!(refused.0, 403, "an administrator is not the owner");
    let few = json!(["beta.test", "gamma.test"]);
    let body = json!({"topic": group, "aux": {"fh-successors": few}});
    assert_eq!(club.ann.is_refused("set", body).await.0, 400);
    lives_at(&mut club.ann, &group, HERE).await;
    lives_at(&mut club.bob, &group, "alpha.test").await;
}

/// The club with Dan of delta; beta, gamma and delta succeed alpha.
async fn heirs() -> (Club, Guest, House) {
    let mut club = Club::new().await;
    let group = club.group.clone();
    let delta = club.net().domain("delta.test").await;
    let mut dan = delta.guest("dan").await;
    club.ann.invites_to(&group, &dan).await;
    dan.finds_in_contacts(&group).await;
    dan.joins(&group).await;
    club.trusts(|it| &mut it.bob).await;
    club.trusts(|it| &mut it.cat).await;
    let name = club.ann.name_of(&dan);
    let body = json!({"topic": group, "sub": {"user": name, "mode": "+A"}});
    club.ann.session.request("set", body).await.unwrap();
    becomes_admin(&mut dan, &group).await;
    let named = json!(["beta.test", "gamma.test", "delta.test"]);
    let body = json!({"topic": group, "aux": {"fh-successors": named}});
    // Until alpha has heard that all of them say yes.
    let deadline = Instant::now() + SOON;
    while club.ann.session.request("set", body.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "the successors are not taken");
        sleep(Duration::from_millis(20)).await;
    }
    for guest in [&mut club.bob, &mut club.cat, &mut dan] {
        guest.sees_aux(&group, "fh-successors", &named).await;
    }
    (club, dan, delta)
}

#[tokio::test]
async fn most_successors_give_a_group_another_home_and_the_former_one_comes_back_as_a_copy() {
    let (mut club, mut dan, mut delta) = heirs().await;
    let group = club.group.clone();
    club.cat.says_in(&group, "all of us").await;
    club.everybody_reads(&["all of us"]).await;
    dan.reads_all(&group, &["before anybody came", "all of us"])
        .await;
    // What alpha still placed nobody else has seen.
    club.beta.stop().await;
    club.gamma.stop().await;
    delta.stop().await;
    club.ann.says_in(&group, "nobody saw this").await;
    club.alpha.stop().await;
    club.beta.start().await;
    Club::returns(&club.beta, &mut club.bob, &group).await;
    club.bob.says_in(&group, "is anybody there?").await;
    club.gamma.start().await;
    Club::returns(&club.gamma, &mut club.cat, &group).await;
    delta.start().await;
    Club::returns(&delta, &mut dan, &group).await;
    lives_at(&mut club.bob, &group, HERE).await;
    lives_at(&mut club.cat, &group, "beta.test").await;
    dan.says_in(&group, "we go on").await;
    let all = [
        "before anybody came",
        "all of us",
        "is anybody there?",
        "we go on",
    ];
    for guest in [&mut club.bob, &mut club.cat, &mut dan] {
        has_once(guest, &group, &all).await;
    }
    // Alpha comes back and is no home any more; what it had placed is placed again.
    club.alpha.start().await;
    for guest in [&mut club.ann, &mut club.ben] {
        Club::returns(&club.alpha, guest, &group).await;
    }
    lives_at(&mut club.ann, &group, "beta.test").await;
    let all = [
        "before anybody came",
        "all of us",
        "nobody saw this",
        "is anybody there?",
        "we go on",
    ];
    for guest in [
        &mut club.ann,
        &mut club.ben,
        &mut club.bob,
        &mut club.cat,
        &mut dan,
    ] {
        has_once(guest, &group, &all).await;
    }
    club.ann.says_in(&group, "I am back").await;
    let all = [&all[..], &["I am back"]].concat();
    for guest in [
        &mut club.ann,
        &mut club.ben,
        &mut club.bob,
        &mut club.cat,
        &mut dan,
    ] {
        has_once(guest, &group, &all).await;
    }
    // The home orders for everybody; an author's own words may stand earlier where he is.
    let order = club.bob.texts_in(&group).await;
    assert_eq!(order.last().map(String::as_str), Some("I am back"));
}

#[tokio::test]
async fn one_successor_alone_takes_nothing_over() {
    let (mut club, mut dan, mut delta) = heirs().await;
    let group = club.group.clone();
    club.gamma.stop().await;
    delta.stop().await;
    club.alpha.stop().await;
    // Twice as long as it takes when others agree.
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let body = json!({"topic": group, "aux": {"note": "mine?"}});
        let answer = club.bob.session.request("set", body).await;
        assert!(
            answer.is_err() || answer.unwrap().body["params"]["pending"] == "alpha.test",
            "beta rules alone"
        );
        sleep(Duration::from_millis(200)).await;
    }
    club.alpha.start().await;
    club.gamma.start().await;
    delta.start().await;
    Club::returns(&club.alpha, &mut club.ann, &group).await;
    Club::returns(&club.gamma, &mut club.cat, &group).await;
    Club::returns(&delta, &mut dan, &group).await;
    club.ann.says_in(&group, "as before").await;
    dan.reads_all(&group, &["before anybody came", "as before"])
        .await;
    lives_at(&mut club.ann, &group, HERE).await;
}

impl Club {
    /// All have read what there is, and all know it of all.
    async fn everybody_marks(&mut self) {
        let group = self.group.clone();
        let last = self.ann.session.history(&group, 1).await.unwrap();
        let last = last.last().unwrap().seq;
        self.ann.session.note(&group, "read", last).await.unwrap();
        let ann = self.cat.name_of(&self.ann);
        self.cat.knows_read(&group, &ann, last).await;
        let ann = self.bob.name_of(&self.ann);
        self.bob.knows_read(&group, &ann, last).await;
    }
}

impl Guest {
    /// Waits until somebody rules on others, as far as it is known here.
    async fn sees_admin(&mut self, group: &str, user: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let members = self.session.get(group, "sub").await.unwrap().unwrap();
            let mut members = members.as_array().unwrap().iter();
            let row = members.find(|it| it["user"] == user);
            let mode = row.and_then(|it| it["acs"]["mode"].as_str());
            if mode.is_some_and(|it| it.contains('A')) {
                return;
            }
            assert!(Instant::now() < deadline, "{user} does not rule: {row:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn texts_in(&mut self, group: &str) -> Vec<String> {
        let history = self.session.history(group, 1).await.unwrap();
        let texts = history.iter().filter_map(|it| it.content.as_str());
        texts.map(str::to_owned).collect()
    }

    async fn seq_of(&mut self, group: &str, text: &str) -> u64 {
        let history = self.session.history(group, 1).await.unwrap();
        let found = history.iter().find(|it| it.content == text);
        found.expect("such a message").seq
    }

    /// Waits until something is attached to the group.
    pub(crate) async fn sees_aux(&mut self, group: &str, key: &str, value: &Value) {
        let deadline = Instant::now() + SOON;
        loop {
            let aux = self
                .session
                .get(group, "aux")
                .await
                .unwrap()
                .unwrap_or_default();
            if aux[key] == *value {
                return;
            }
            let who = self.session.who();
            assert!(
                Instant::now() < deadline,
                "{who} sees {aux}, not {key}: {value}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}
