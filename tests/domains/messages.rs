//! Messages after they were written: deletion, pins, notes to self, reports (fact sheet, sections
//! 2.6, 3.2, 3.3 and 5.8).

use freehold_interop::{Frame, FrameKind};
use serde_json::{Value, json};

use crate::{
    guest::{Guest, SOON},
    net::{House, Net},
};

async fn two() -> (Net, House, Guest, Guest) {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    ann.opens(&ben).await;
    ann.says(&ben, "one").await;
    ben.opens(&ann).await;
    ben.says(&ann, "two").await;
    ann.hears(&ben, "two").await;
    (net, house, ann, ben)
}

impl Guest {
    async fn deletes(&mut self, topic: &str, ranges: Value, hard: bool) -> u64 {
        let body = json!({"topic": topic, "what": "msg", "delseq": ranges, "hard": hard});
        let answer = self.session.request("del", body).await.unwrap();
        answer.body["params"]["del"].as_u64().unwrap()
    }

    async fn seqs(&mut self, topic: &str) -> Vec<u64> {
        let history = self.session.history(topic, 1).await.unwrap();
        history.iter().map(|it| it.seq).collect()
    }

    async fn deletions(&mut self, topic: &str, since: u64) -> Option<Value> {
        let body = json!({"topic": topic, "what": "del", "del": {"since": since}});
        let answer = self.session.request("get", body).await.unwrap();
        (answer.kind == FrameKind::Meta).then(|| answer.body["del"].clone())
    }
}

#[tokio::test]
async fn what_one_deletes_for_oneself_stays_with_the_other_and_over_a_restart() {
    let (_net, mut house, mut ann, mut ben) = two().await;
    for text in ["three", "four", "five"] {
        ann.says(&ben, text).await;
    }
    let mut second = ann.second_session().await;
    second.opens(&ben).await;
    let topic = ann.name_of(&ben);
    // Without the right to delete for everybody it is for oneself.
    let id = ann
        .deletes(&topic, json!([{"low": 2, "hi": 4}, {"low": 5}]), true)
        .await;
    assert_eq!(id, 1);
    let told = |it: &Frame| it.kind == FrameKind::Pres && it.text("what") == "del";
    let told = second.session.wait_for("del", SOON, told).await.unwrap();
    assert_eq!(told.body["clear"], 1);
    assert_eq!(
        told.body["delseq"],
        json!([{"low": 2, "hi": 4}, {"low": 5}])
    );
    assert_eq!(ann.seqs(&topic).await, [1, 4]);
    let theirs = ben.name_of(&ann);
    assert_eq!(ben.seqs(&theirs).await, [1, 2, 3, 4, 5]);
    assert_eq!(ben.deletions(&theirs, 1).await, None);
    house.stop().await;
    house.start().await;
    house.welcomes_back(&mut ann).await;
    ann.opens(&ben).await;
    assert_eq!(ann.seqs(&topic).await, [1, 4]);
    let deleted = ann.deletions(&topic, 1).await.unwrap();
    assert_eq!(
        deleted,
        json!({"clear": 1, "delseq": [{"low": 2, "hi": 4}, {"low": 5}]})
    );
    assert_eq!(ann.deletions(&topic, 2).await, None);
    let desc = ann.describes(&ben).await;
    assert_eq!((&desc["clear"], &desc["seq"]), (&json!(1), &json!(5)));
    assert_eq!(ann.says(&ben, "six").await, 6);
}

#[tokio::test]
async fn deletion_for_everybody_in_a_group_erases_the_words() {
    let net = Net::new().await;
    let mut house = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    let made = ann
        .session
        .request("sub", json!({"topic": "new1"}))
        .await
        .unwrap();
    let group = made.text("topic").to_owned();
    let body = json!({"topic": group, "sub": {"user": ben.person.id}});
    ann.session.request("set", body).await.unwrap();
    ben.session.subscribe(&group).await.unwrap();
    for text in ["one", "two", "three"] {
        ben.session.publish(&group, text).await.unwrap();
    }
    assert_eq!(
        ann.deletes(&group, json!([{"low": 2, "hi": 9}]), true)
            .await,
        1
    );
    let told = |it: &Frame| it.kind == FrameKind::Pres && it.text("what") == "del";
    let told = ben.session.wait_for("del", SOON, told).await.unwrap().body;
    assert_eq!(told["delseq"], json!([{"low": 2, "hi": 4}]));
    assert_eq!(told["act"], ann.person.id);
    assert_eq!(ben.seqs(&group).await, [1]);
    // A position is never used again, even if it was the last.
    house.stop().await;
    house.start().await;
    house.welcomes_back(&mut ben).await;
    ben.session.subscribe(&group).await.unwrap();
    assert_eq!(ben.session.publish(&group, "four").await.unwrap(), 4);
    assert_eq!(ben.seqs(&group).await, [1, 4]);
    let body = json!({"topic": group, "noecho": true, "content": "x", "head": {"replace": ":2"}});
    assert_eq!(ben.is_refused("pub", body).await.0, 404);
}

#[tokio::test]
async fn impossible_deletions_are_refused_and_delete_nothing() {
    let (_net, _house, mut ann, ben) = two().await;
    let topic = ann.name_of(&ben);
    let malformed = (400, "malformed".to_owned());
    for ranges in [
        json!([]),
        json!([{"low": 0}]),
        json!([{"low": 3}]),
        json!([{"low": 2, "hi": 1}]),
        json!([{"low": 1}, {"low": 99}]),
    ] {
        let body = json!({"topic": topic, "what": "msg", "delseq": ranges});
        assert_eq!(ann.is_refused("del", body).await, malformed, "{ranges}");
    }
    assert_eq!(ann.seqs(&topic).await, [1, 2]);
    let mut second = ann.second_session().await;
    let body = json!({"topic": topic, "what": "msg", "delseq": [{"low": 1}]});
    let first = (409, "must attach first".to_owned());
    assert_eq!(second.is_refused("del", body).await, first);
}

#[tokio::test]
async fn both_of_a_conversation_may_pin_and_see_what_is_pinned() {
    let (_net, mut house, mut ann, mut ben) = two().await;
    let topic = ann.name_of(&ben);
    let pin = json!({"topic": topic, "aux": {"pins": [2, 1]}});
    ann.session.request("set", pin).await.unwrap();
    ben.notices(FrameKind::Pres, &ann, "aux").await;
    let theirs = ben.name_of(&ann);
    let aux = ben.session.get(&theirs, "aux").await.unwrap().unwrap();
    assert_eq!(aux, json!({"pins": [2, 1]}));
    house.stop().await;
    house.start().await;
    house.welcomes_back(&mut ben).await;
    ben.opens(&ann).await;
    let aux = ben.session.get(&theirs, "aux").await.unwrap().unwrap();
    assert_eq!(aux, json!({"pins": [2, 1]}));
    let unpin = json!({"topic": theirs, "aux": {"pins": "␡"}});
    ben.session.request("set", unpin).await.unwrap();
    // An empty list rather than none, for clients that keep what they are not told of.
    let aux = ben.session.get(&theirs, "aux").await.unwrap().unwrap();
    assert_eq!(aux, json!({"pins": []}));
}

#[tokio::test]
async fn notes_to_self_are_ones_own_and_can_be_emptied() {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    let answer = ann.session.subscribe("slf").await.unwrap();
    assert_eq!(answer.body["params"]["acs"]["mode"], "JRWDO");
    ann.session.publish("slf", "milk").await.unwrap();
    let mut second = ann.second_session().await;
    second.session.subscribe("slf").await.unwrap();
    assert_eq!(second.seqs("slf").await, [1]);
    ben.session.subscribe("slf").await.unwrap();
    assert_eq!(ben.seqs("slf").await, Vec::<u64>::new());
    let rows = ann.session.get("me", "sub").await.unwrap().unwrap();
    assert_eq!(
        (&rows[0]["topic"], &rows[0]["seq"]),
        (&json!("slf"), &json!(1))
    );
    ann.deletes("slf", json!([{"low": 1}]), true).await;
    assert_eq!(ann.seqs("slf").await, Vec::<u64>::new());
    let delete = json!({"topic": "slf", "what": "topic", "hard": true});
    ann.session.request("del", delete).await.unwrap();
    assert_eq!(ann.session.get("me", "sub").await.unwrap(), None);
    ann.session.subscribe("slf").await.unwrap();
    assert_eq!(ann.session.publish("slf", "bread").await.unwrap(), 2);
}

#[tokio::test]
async fn anybody_may_report_and_only_administrators_read() {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let mut ann = house.guest("ann").await;
    let body = json!({"topic": "sys", "noecho": true, "content": "a report"});
    let answer = ann.session.request("pub", body).await.unwrap();
    assert_eq!(
        (answer.code(), &answer.body["params"]["seq"]),
        (202, &json!(1))
    );
    let denied = (403, "permission denied".to_owned());
    assert_eq!(ann.is_refused("sub", json!({"topic": "sys"})).await, denied);
    let body = json!({"topic": "sys", "what": "data"});
    assert_eq!(ann.is_refused("get", body).await, denied);
}

#[tokio::test]
async fn a_message_that_is_sent_again_is_stored_once() {
    let (_net, mut house, mut ann, mut ben) = two().await;
    let topic = ann.name_of(&ben);
    let again = |id: &str, text: &str| json!({"pub": {"id": id, "topic": topic, "noecho": true, "content": text}});
    let seq = |frame: Frame| frame.body["params"]["seq"].as_u64().unwrap();
    // The same request once more is the same message; another one under its name is not.
    assert_eq!(
        seq(ann.session.send_whole(again("x", "a"), "x").await.unwrap()),
        3
    );
    assert_eq!(
        seq(ann.session.send_whole(again("x", "a"), "x").await.unwrap()),
        3
    );
    assert_eq!(
        seq(ann.session.send_whole(again("x", "b"), "x").await.unwrap()),
        4
    );
    // A client may name its message, and repeat it over sessions and restarts.
    let head = json!({"fh-id": "AAAAAAAAAAAAAAAAAAAAAA"});
    assert_eq!(ann.writes(&ben, head.clone(), "named").await, 5);
    house.stop().await;
    house.start().await;
    for guest in [&mut ann, &mut ben] {
        house.welcomes_back(guest).await;
    }
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    assert_eq!(ann.writes(&ben, head.clone(), "named").await, 5);
    assert_eq!(ann.writes(&ben, head.clone(), "named").await, 5);
    assert_eq!(ben.writes(&ann, head, "of another author").await, 6);
    let wrong = json!({"topic": topic, "head": {"fh-id": 1}, "content": "x"});
    assert_eq!(
        ann.is_refused("pub", wrong).await,
        (400, "malformed".to_owned())
    );
}

#[tokio::test]
async fn where_it_is_allowed_each_takes_back_what_they_wrote_themselves() {
    let net = Net::new().await;
    let house = net
        .domain_with("alpha.test", "delete_for_both = true")
        .await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    assert_eq!(ann.access(&ben).await[2], "JRWPAD");
    for text in ["one", "two"] {
        ann.says(&ben, text).await;
        ben.hears(&ann, text).await;
        ben.says(&ann, text).await;
        ann.hears(&ben, text).await;
    }
    let (here, there) = (ann.name_of(&ben), ben.name_of(&ann));
    ann.deletes(&here, json!([{"low": 1, "hi": 4}]), true).await;
    assert_eq!(ann.seqs(&here).await, [4]);
    // What was his stays with him.
    assert_eq!(ben.seqs(&there).await, [2, 4]);
}

#[tokio::test]
async fn who_deletes_the_chat_hears_of_what_a_neighbour_writes_afterwards() {
    let (_net, _house, mut ann, mut ben) = two().await;
    ben.has_heard(&ann).await;
    ben.deletes_chat(&ann).await;
    assert_eq!(ann.says(&ben, "still there?").await, 3);
    let invitation = ben.notices(FrameKind::Pres, &ann, "acs").await;
    assert_eq!(invitation.body["dacs"]["want"], "JRPA");
    let news = ben.notices(FrameKind::Pres, &ann, "msg").await;
    assert_eq!(news.body["seq"], 3);
    ben.opens(&ann).await;
    ben.accepts(&ann).await;
    assert_eq!(ben.says(&ann, "yes").await, 4);
    ann.hears(&ben, "yes").await;
}

#[tokio::test]
async fn who_deletes_a_chat_that_is_blocked_hears_nothing_more() {
    let (_net, _house, mut ann, mut ben) = two().await;
    ben.wants(&ann, "RWA").await;
    ben.deletes_chat(&ann).await;
    assert_eq!(ann.says(&ben, "still there?").await, 3);
    let contacts = ben.session.get("me", "sub").await.unwrap();
    let listed = contacts.and_then(|it| it.as_array().map(Vec::len));
    assert_eq!(listed.unwrap_or(0), 0);
}

#[tokio::test]
async fn the_list_of_contacts_knows_at_once_how_far_one_has_read() {
    let (_net, _house, mut ann, mut ben) = two().await;
    let row = async |guest: &mut Guest| {
        let rows = guest.session.get("me", "sub").await.unwrap().unwrap();
        let row = rows[0].clone();
        ["seq", "read", "recv"].map(|it| row[it].as_u64().unwrap_or(0))
    };
    assert_eq!(row(&mut ben).await, [2, 2, 2]);
    ann.says(&ben, "three").await;
    ben.hears(&ann, "three").await;
    assert_eq!(row(&mut ben).await, [3, 2, 2]);
    ben.notes(&ann, "read", 3).await;
    ann.sees_mark(&ben, "read", 3).await;
    assert_eq!(row(&mut ben).await, [3, 3, 3]);
    assert_eq!(row(&mut ann).await, [3, 3, 3]);
}

#[tokio::test]
async fn whoever_is_blocked_is_put_out_and_cannot_come_back_until_it_is_lifted() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    let gives = |ann: &Guest, ben: &Guest, mode: &str| {
        let name = ann.name_of(ben);
        json!({"topic": name, "sub": {"user": name, "mode": mode}})
    };
    ben.has_heard(&ann).await;
    let block = gives(&ann, &ben, "RWPA");
    ann.session.request("set", block).await.unwrap();
    let name = ben.name_of(&ann);
    let evicted = |it: &Frame| it.code() == 205 && it.text("topic") == name;
    let word = ben.session.wait_for("205", SOON, evicted).await.unwrap();
    assert_eq!(word.body["params"], json!({"unsub": false}));
    let told = ben.notices(FrameKind::Pres, &ann, "acs").await;
    assert_eq!(told.body["dacs"]["given"], "-J", "{}", told.body);
    let words = json!({"topic": name, "noecho": true, "content": "x"});
    let attach = (409, "must attach first".to_owned());
    assert_eq!(ben.is_refused("pub", words).await, attach);
    let denied = (403, "permission denied".to_owned());
    let sub = json!({"topic": name});
    assert_eq!(ben.is_refused("sub", sub).await, denied);
    ann.says(&ben, "still here").await;

    let lift = gives(&ann, &ben, "JRWPA");
    ann.session.request("set", lift).await.unwrap();
    ben.opens(&ann).await;
    ben.says(&ann, "here again").await;
}
