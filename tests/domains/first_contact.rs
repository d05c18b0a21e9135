//! Strangers reach a person only through consent.

use freehold_interop::FrameKind;
use serde_json::json;

use crate::{
    guest::{Couriers, Guest},
    net::{House, Net},
};

/// Ann of alpha, Bob of beta who does not know her, and couriers between the two domains.
struct Strangers {
    ann: Guest,
    bob: Guest,
    couriers: Couriers,
    _homes: [House; 2],
    _net: Net,
}

impl Strangers {
    async fn new() -> Self {
        let net = Net::new().await;
        let homes = [
            net.domain("alpha.test").await,
            net.domain("beta.test").await,
        ];
        let [alpha, beta] = &homes;
        let couriers = Couriers::meet(alpha.guest("carol").await, beta.guest("dan").await).await;
        Self {
            ann: alpha.guest("ann").await,
            bob: beta.guest("bob").await,
            couriers,
            _homes: homes,
            _net: net,
        }
    }

    /// Ann finds Bob by his address and opens a chat.
    async fn ann_finds_bob(&mut self) {
        let rows = self.ann.finds("email:bob@beta.test").await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!(rows[0]["topic"], self.ann.name_of(&self.bob));
        self.ann.opens(&self.bob).await;
    }
}

#[tokio::test]
async fn an_invitation_and_three_short_texts_come_first_and_the_rest_waits_for_consent() {
    let mut scene = Strangers::new().await;
    scene.ann_finds_bob().await;
    let Strangers {
        ann, bob, couriers, ..
    } = &mut scene;
    let knocks = ["one", "two", &"3".repeat(280), "four", "five"];
    for text in knocks {
        ann.says(bob, text).await;
    }

    let invitation = bob.notices(FrameKind::Pres, ann, "acs").await;
    assert_eq!(invitation.body["topic"], "me");
    bob.opens(ann).await;
    assert_eq!(bob.access(ann).await, ["JRPA", "JRWPA", "JRPA"]);
    assert_eq!(bob.describes(ann).await["public"], json!({"fn": "ann"}));
    couriers.go().await;
    bob.reads(ann, &knocks[..3]).await;
    let refusal = json!({"topic": bob.name_of(ann), "content": "not yet"});
    assert_eq!(bob.is_refused("pub", refusal).await.0, 403);

    bob.accepts(ann).await;
    bob.reads(ann, &knocks).await;
    bob.says(ann, "welcome").await;
    ann.hears(bob, "welcome").await;
}

#[tokio::test]
async fn what_a_stranger_may_not_send_waits_and_keeps_what_follows_waiting() {
    let mut scene = Strangers::new().await;
    scene.ann_finds_bob().await;
    let Strangers {
        ann, bob, couriers, ..
    } = &mut scene;
    let long = "x".repeat(281);
    ann.says(bob, "hello").await;
    ann.says(bob, &long).await;
    ann.says(bob, "short again").await;

    bob.notices(FrameKind::Pres, ann, "acs").await;
    bob.opens(ann).await;
    couriers.go().await;
    bob.reads(ann, &["hello"]).await;

    bob.accepts(ann).await;
    bob.reads(ann, &["hello", &long, "short again"]).await;
}

#[tokio::test]
async fn a_message_with_a_head_is_no_plain_text_and_waits() {
    let mut scene = Strangers::new().await;
    scene.ann_finds_bob().await;
    let Strangers {
        ann, bob, couriers, ..
    } = &mut scene;
    ann.writes(bob, json!({"mime": "text/x-drafty"}), "dressed up")
        .await;

    bob.notices(FrameKind::Pres, ann, "acs").await;
    bob.opens(ann).await;
    couriers.go().await;
    bob.reads(ann, &[]).await;

    bob.accepts(ann).await;
    bob.reads(ann, &["dressed up"]).await;
}

/// Bob presses "block". Ann writes and types on, and neither hears of the other again.
async fn bob_blocks_ann(scene: &mut Strangers) {
    let Strangers {
        ann, bob, couriers, ..
    } = scene;
    couriers.go().await;
    ann.has_heard(bob).await;
    bob.has_heard(ann).await;
    let before = (ann.access(bob).await, ann.sees_person(bob).await);
    let history = bob.session.history(&bob.name_of(ann), 1).await.unwrap();

    bob.wants(ann, "-JP").await;
    couriers.go().await;
    ann.says(bob, "are you there?").await;
    ann.notes(bob, "kp", 0).await;
    couriers.go().await;
    couriers.wave().await;

    let mut heard = (ann.has_heard(bob).await, bob.has_heard(ann).await);
    // To Bob it looks as if she went, for he is not told any more whether she is there.
    heard.1.retain(|it| it.text("what") != "off");
    assert!(heard.0.is_empty() && heard.1.is_empty(), "{heard:?}");
    let after = (ann.access(bob).await, ann.sees_person(bob).await);
    assert_eq!(after, before);
    let same = bob.session.history(&bob.name_of(ann), 1).await.unwrap();
    assert_eq!(same, history);
}

#[tokio::test]
async fn who_is_blocked_hears_nothing_of_it() {
    let mut scene = Strangers::new().await;
    scene.ann_finds_bob().await;
    let Strangers { ann, bob, .. } = &mut scene;
    ann.says(bob, "hello").await;
    bob.notices(FrameKind::Pres, ann, "acs").await;
    bob.opens(ann).await;
    bob.reads(ann, &["hello"]).await;
    bob_blocks_ann(&mut scene).await;
}

#[tokio::test]
async fn who_is_blocked_by_a_friend_hears_nothing_of_it_either() {
    let mut scene = Strangers::new().await;
    scene.ann.meets(&mut scene.bob).await;
    bob_blocks_ann(&mut scene).await;
}

#[tokio::test]
async fn who_deletes_the_chat_is_invited_again() {
    let mut scene = Strangers::new().await;
    let Strangers {
        ann, bob, couriers, ..
    } = &mut scene;
    ann.meets(bob).await;
    couriers.go().await;
    bob.has_heard(ann).await;

    bob.deletes_chat(ann).await;
    couriers.go().await;
    let seq = ann.says(bob, "still there?").await;
    assert_eq!(seq, 3);
    let invitation = bob.notices(FrameKind::Pres, ann, "acs").await;
    assert_eq!(invitation.body["dacs"]["want"], "JRPA");
    bob.opens(ann).await;
    assert_eq!(bob.access(ann).await, ["JRPA", "JRWPA", "JRPA"]);
    let history = bob.session.history(&bob.name_of(ann), 3).await.unwrap();
    let seen: Vec<_> = history
        .iter()
        .map(|it| (it.seq, it.content.as_str()))
        .collect();
    assert_eq!(
        seen,
        [(3, Some("still there?"))],
        "no number is given twice"
    );

    // He accepts and mutes her at once; what he wanted before he left counts no more.
    ann.has_heard(bob).await;
    bob.wants(ann, "JRWA").await;
    ann.notices(FrameKind::Pres, bob, "acs").await;
    assert_eq!(ann.sees_person(bob).await["acs"]["want"], "JRWA");
    assert_eq!(bob.says(ann, "yes").await, 4);
    ann.hears(bob, "yes").await;
}
