//! What people of two domains take back of what they wrote to each other: gone from both, or not there
//! at all.

use std::time::Duration;

use freehold::clock::SystemClock;
use freehold_interop::{
    Frame, FrameKind,
    peer::{Arrived, Line, Reply, items},
};
use freehold_proto::{
    Clock as _, Envelope, Header, UserId, wire, wire::payload::Kind, wire::result::Verdict,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    friends::Friends,
    guest::{Couriers, Guest, SOON},
    net::Net,
};

const ALLOWED: &str = "delete_for_both = true";
/// How people meet in these scenes: messages 1 and 2.
const BEGUN: [&str; 2] = ["May I write to you?", "You may."];

impl Guest {
    /// Takes messages of a chat from both, as far as that is allowed.
    async fn takes_back(&mut self, other: &Self, low: u64, hi: u64) {
        let ranges = json!([{"low": low, "hi": hi}]);
        let topic = self.name_of(other);
        let body = json!({"topic": topic, "what": "msg", "delseq": ranges, "hard": true});
        self.session.request("del", body).await.unwrap();
    }
}

#[tokio::test]
async fn what_somebody_takes_back_goes_at_once_and_goes_at_the_other_domain_too() {
    let mut scene = Friends::configured(ALLOWED).await;
    let Friends { ann, bob, .. } = &mut scene;
    assert_eq!(ann.access(bob).await, ["JRWPAD", "JRWPAD", "JRWPAD"]);
    assert_eq!(bob.access(ann).await, ["JRWPA", "JRWPA", "JRWPA"]);
    assert_eq!(ann.says(bob, "three").await, 3);
    bob.hears(ann, "three").await;
    assert_eq!(bob.says(ann, "four").await, 4);
    ann.hears(bob, "four").await;
    assert_eq!(ann.says(bob, "five").await, 5);
    bob.hears(ann, "five").await;

    ann.takes_back(bob, 3, 6).await;
    ann.reads(bob, &BEGUN).await;
    let gone = bob.notices(FrameKind::Pres, ann, "del").await;
    assert_eq!(gone.body["clear"], 1, "{}", gone.body);
    assert_eq!(gone.body["delseq"], json!([{"low": 3}, {"low": 5}]));
    // What was his stays with him, and he takes nothing back.
    bob.reads(ann, &[BEGUN[0], BEGUN[1], "four"]).await;
    bob.takes_back(ann, 4, 5).await;
    bob.reads(ann, &BEGUN).await;
    bob.says(ann, "six").await;
    ann.hears(bob, "six").await;
    ann.reads(bob, &[BEGUN[0], BEGUN[1], "six"]).await;
}

#[tokio::test]
async fn it_goes_in_the_end_however_long_the_other_domain_was_away() {
    const WEEKS: Duration = Duration::from_secs(40 * 24 * 60 * 60);
    let mut scene = Friends::configured(ALLOWED).await;
    let Friends {
        ann,
        bob,
        alpha,
        beta,
        net,
    } = &mut scene;
    ann.says(bob, "three").await;
    bob.hears(ann, "three").await;
    beta.stop().await;
    ann.takes_back(bob, 3, 4).await;
    ann.reads(bob, &BEGUN).await;
    alpha.stop().await;
    net.clock.advance(WEEKS);
    alpha.start().await;
    alpha.logs_in_again(ann).await;
    ann.opens(bob).await;

    beta.start().await;
    beta.logs_in_again(bob).await;
    bob.opens(ann).await;
    bob.says(ann, "back again").await;
    ann.hears(bob, "back again").await;
    ann.says(bob, "welcome").await;
    bob.hears(ann, "welcome").await;
    let all = [BEGUN[0], BEGUN[1], "back again", "welcome"];
    bob.reads(ann, &all).await;
    ann.reads(bob, &all).await;
    beta.stop().await;
    beta.start().await;
    beta.logs_in_again(bob).await;
    bob.opens(ann).await;
    bob.reads(ann, &all).await;
}

#[tokio::test]
async fn what_has_not_gone_yet_does_not_go_any_more() {
    let mut scene = Friends::configured(ALLOWED).await;
    let Friends { ann, bob, beta, .. } = &mut scene;
    beta.stop().await;
    for text in ["three", "four", "five"] {
        ann.says(bob, text).await;
    }
    ann.takes_back(bob, 3, 5).await;
    beta.start().await;
    beta.welcomes_back(bob).await;
    bob.opens(ann).await;
    bob.hears(ann, "five").await;
    bob.reads(ann, &[BEGUN[0], BEGUN[1], "five"]).await;
    ann.reads(bob, &[BEGUN[0], BEGUN[1], "five"]).await;
}

#[tokio::test]
async fn an_operator_who_changes_his_mind_is_heeded_in_old_chats_too() {
    let mut scene = Friends::configured(ALLOWED).await;
    let Friends {
        ann, bob, alpha, ..
    } = &mut scene;
    ann.says(bob, "three").await;
    bob.hears(ann, "three").await;
    alpha.stop().await;
    alpha.set("delete_for_both", "false");
    alpha.start().await;
    alpha.welcomes_back(ann).await;
    ann.opens(bob).await;
    let [_, given, mode] = ann.access(bob).await;
    assert_eq!([given, mode], ["JRWPA", "JRWPA"]);
    ann.takes_back(bob, 3, 4).await;
    ann.reads(bob, &BEGUN).await;
    ann.says(bob, "four").await;
    bob.hears(ann, "four").await;
    bob.reads(ann, &[BEGUN[0], BEGUN[1], "three", "four"]).await;
}

#[tokio::test]
async fn a_stranger_takes_back_what_was_shown_and_what_waits_and_the_rest_follows() {
    let net = Net::new().await;
    let alpha = net.domain_with("alpha.test", ALLOWED).await;
    let beta = net.domain("beta.test").await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let mut couriers = Couriers::meet(alpha.guest("carol").await, beta.guest("dan").await).await;
    ann.opens(&bob).await;
    let long = "x".repeat(281);
    for text in ["one", "two", &long, "four"] {
        ann.says(&bob, text).await;
    }
    bob.notices(FrameKind::Pres, &ann, "acs").await;
    bob.opens(&ann).await;
    couriers.go().await;
    bob.reads(&ann, &["one", "two"]).await;

    ann.takes_back(&bob, 1, 2).await;
    bob.notices(FrameKind::Pres, &ann, "del").await;
    bob.reads(&ann, &["two"]).await;
    // What was too long held up what came behind it.
    ann.takes_back(&bob, 3, 4).await;
    bob.hears(&ann, "four").await;
    bob.reads(&ann, &["two", "four"]).await;
    bob.accepts(&ann).await;
    ann.says(&bob, "five").await;
    bob.hears(&ann, "five").await;
    bob.reads(&ann, &["two", "four", "five"]).await;
}

/// Says that somebody takes back these.
fn deletion(author: &UserId, recipient: &UserId, what: &[&wire::Envelope]) -> Kind {
    let id = |it: &&wire::Envelope| {
        let envelope = Envelope::try_from((*it).clone()).unwrap();
        let header = Header::decode(&envelope.header).unwrap();
        header.message_id.as_bytes().to_vec().into()
    };
    Kind::DirectDeletion(wire::DirectDeletion {
        author: author.to_string(),
        recipient: recipient.to_string(),
        message_ids: what.iter().map(id).collect(),
    })
}

#[tokio::test]
async fn a_domain_deletes_only_what_its_own_author_wrote_in_that_chat_and_once() {
    let net = Net::new().await;
    // The peer has the time as everybody has it.
    net.clock.set(SystemClock.now());
    let beta = net.domain("beta.test").await;
    let peer = net.stranger("forger.test").await;
    let mut bob = beta.guest("bob").await;
    let us = bob.person.user_id().unwrap();
    let (eve, mallory) = (peer.person(1), peer.person(2));
    let mut line = peer.dial(&beta.name, beta.federation).await.unwrap();
    let text = |from: &UserId, text: &str| peer.text(from, &us, text).unwrap();
    let sealed = |words: Kind| peer.seal(&beta.name, words).unwrap();
    let (one, two, other) = (
        text(&eve, "one"),
        text(&eve, "two"),
        text(&mallory, "of another"),
    );
    let said = [one.clone(), two.clone(), other.clone()];
    let taken = line.deliver(1, items(1, said)).await.unwrap();
    assert!(taken.iter().all(|it| matches!(it, Verdict::Ok(_))));
    let (chat, another) = (eve.to_string(), mallory.to_string());
    for topic in [&chat, &another] {
        bob.session.subscribe(topic).await.unwrap();
    }

    // Somebody else's, in their own chat and in that of the author; what never came; the same twice.
    let never = text(&eve, "never sent");
    let forged = [
        deletion(&mallory, &us, &[&one, &two]),
        deletion(&eve, &us, &[&other, &never]),
        deletion(&eve, &us, &[&one]),
        deletion(&eve, &us, &[&one]),
    ];
    let forged = items(4, forged.map(sealed));
    let answers = line.deliver(1, forged.clone()).await.unwrap();
    assert!(answers.iter().all(|it| matches!(it, Verdict::Ok(_))));
    line.deliver(1, forged).await.unwrap();
    for (topic, left) in [(&chat, "two"), (&another, "of another")] {
        let history = bob.session.history(topic, 1).await.unwrap();
        let texts: Vec<_> = history.iter().map(|it| it.content.clone()).collect();
        assert_eq!(texts, [left]);
    }
    // It happened once, and what was deleted does not come again.
    let about = |it: &Frame| it.text("what") == "del" && it.text("topic") == chat;
    let gone = bob.session.wait_for("pres del", SOON, about).await.unwrap();
    assert_eq!(gone.body["clear"], 1);
    let again = line.deliver(1, items(8, [one])).await.unwrap();
    assert!(matches!(again[..], [Verdict::Duplicate(_)]), "{again:?}");
    let desc = bob.session.get(&chat, "desc").await.unwrap().unwrap();
    assert_eq!((&desc["clear"], &desc["seq"]), (&json!(1), &json!(2)));
    refuses(&mut line, &sealed, (&eve, &us)).await;
}

#[tokio::test]
async fn the_deletion_goes_behind_its_message_and_its_author_is_told_when_it_is_refused() {
    let net = Net::new().await;
    net.clock.set(SystemClock.now());
    let alpha = net.domain_with("alpha.test", ALLOWED).await;
    let peer = net.stranger("older.test").await;
    let unknown = |it: &Arrived| match &it.kind {
        Some(Kind::DirectDeletion(_)) => Verdict::Refused(wire::Refused {
            code: 129,
            ..wire::Refused::default()
        }),
        _ => Verdict::Ok(wire::Ok {}),
    };
    peer.answers(move |batch| Reply::Verdicts(batch.iter().map(unknown).collect()));
    let mut ann = alpha.guest("ann").await;
    let topic = peer.person(1).to_string();
    ann.session.subscribe(&topic).await.unwrap();
    ann.session.publish(&topic, "hello").await.unwrap();
    let body = json!({"topic": topic, "what": "msg", "delseq": [{"low": 1}], "hard": true});
    let says_hello = |it: &Arrived| it.text().as_deref() == Some("hello");
    let came = |it: &[Arrived]| it.iter().any(says_hello);
    peer.waits_for("the message", SOON, came).await.unwrap();
    ann.session.request("del", body).await.unwrap();
    let deletes = |it: &Arrived| matches!(it.kind, Some(Kind::DirectDeletion(_)));
    let came = |it: &[Arrived]| it.iter().any(deletes);
    peer.waits_for("the deletion", SOON, came).await.unwrap();

    let arrived = peer.arrived();
    let message = arrived.iter().find(|it| says_hello(it)).unwrap();
    for it in &arrived {
        match &it.kind {
            Some(Kind::DirectDeletion(words)) => {
                let id = message.id.unwrap().as_bytes().to_vec();
                assert_eq!(words.message_ids, [id]);
                assert!(it.position > message.position);
            }
            // What one may do at home is nobody else's to know.
            Some(Kind::Relation(words)) => assert_eq!(words.want, "JRWPA"),
            _ => {}
        }
    }
    let told = format!(
        "In your chat with {topic}: what you deleted stays there: older.test refused it: \
         kind of payload is not supported."
    );
    ann.session.subscribe("slf").await.unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let notes = ann.session.history("slf", 1).await.unwrap();
        if let Some(note) = notes.first() {
            assert_eq!(note.content, told);
            break;
        }
        assert!(Instant::now() < deadline, "nothing was told");
        sleep(Duration::from_millis(20)).await;
    }
}

/// What is not to be understood is refused.
async fn refuses(
    line: &mut Line,
    sealed: &impl Fn(Kind) -> wire::Envelope,
    (eve, us): (&UserId, &UserId),
) {
    let named = |count: usize| {
        Kind::DirectDeletion(wire::DirectDeletion {
            author: eve.to_string(),
            recipient: us.to_string(),
            message_ids: vec![vec![7; 16].into(); count],
        })
    };
    let foreign = Kind::DirectDeletion(wire::DirectDeletion {
        author: us.to_string(),
        recipient: us.to_string(),
        message_ids: vec![vec![7; 16].into()],
    });
    let batch = [named(0), named(1001), foreign, named(1000)];
    let answers = line.deliver(1, items(9, batch.map(sealed))).await.unwrap();
    let codes = answers.iter().map(|it| match it {
        Verdict::Refused(it) => it.code,
        _ => 0,
    });
    assert_eq!(codes.collect::<Vec<_>>(), [100, 100, 127, 0]);
}
