//! Who is here, who is typing, and what the other sessions of a person learn.

use freehold_interop::{Frame, FrameKind, Person};
use serde_json::json;

use crate::{
    guest::{Couriers, Guest, SOON},
    net::Net,
};

/// Closes the window.
fn leaves(guest: Guest) -> Person {
    drop(guest.session);
    guest.person
}

#[tokio::test]
async fn presence_and_typing_show_between_people_who_agreed() {
    let net = Net::new().await;
    let (alpha, beta) = (
        net.domain("alpha.test").await,
        net.domain("beta.test").await,
    );
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    ann.meets(&mut bob).await;
    ann.notices(FrameKind::Pres, &bob, "on").await;
    bob.notices(FrameKind::Pres, &ann, "on").await;

    ann.notes(&bob, "kp", 0).await;
    bob.notices(FrameKind::Info, &ann, "kp").await;

    let name = ann.name_of(&bob);
    let person = leaves(bob);
    let away = |it: &Frame| it.text("src") == name && it.text("what") == "off";
    ann.session.wait_for("off", SOON, away).await.unwrap();
    let session = person.come_back().await.unwrap();
    let bob = Guest { person, session };
    ann.notices(FrameKind::Pres, &bob, "on").await;
    let rows = ann.session.get("me", "sub").await.unwrap().unwrap();
    assert_eq!(
        (&rows[0]["topic"], &rows[0]["online"]),
        (&name.into(), &true.into())
    );
}

#[tokio::test]
async fn presence_typing_and_marks_stay_hidden_before_consent() {
    let net = Net::new().await;
    let (alpha, beta) = (
        net.domain("alpha.test").await,
        net.domain("beta.test").await,
    );
    let mut couriers = Couriers::meet(alpha.guest("carol").await, beta.guest("dan").await).await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    ann.finds("email:bob@beta.test").await;
    ann.opens(&bob).await;
    ann.says(&bob, "hello").await;
    bob.notices(FrameKind::Pres, &ann, "acs").await;
    bob.opens(&ann).await;
    bob.reads(&ann, &["hello"]).await;
    couriers.go().await;
    bob.has_heard(&ann).await;
    ann.has_heard(&bob).await;

    ann.notes(&bob, "kp", 0).await;
    bob.notes(&ann, "kp", 0).await;
    bob.notes(&ann, "recv", 1).await;
    bob.notes(&ann, "read", 1).await;
    couriers.wave().await;
    couriers.go().await;
    let heard = (ann.has_heard(&bob).await, bob.has_heard(&ann).await);
    assert!(heard.0.is_empty() && heard.1.is_empty(), "{heard:?}");
    let person = leaves(bob);
    let session = person.come_back().await.unwrap();
    let mut bob = Guest { person, session };
    couriers.wave().await;
    couriers.go().await;
    let heard = (ann.has_heard(&bob).await, bob.has_heard(&ann).await);
    assert!(heard.0.is_empty() && heard.1.is_empty(), "{heard:?}");

    bob.opens(&ann).await;
    bob.accepts(&ann).await;
    ann.sees_mark(&bob, "read", 1).await;
    ann.notices(FrameKind::Pres, &bob, "on").await;
}

#[tokio::test]
async fn another_session_of_the_same_person_learns_everything() {
    let net = Net::new().await;
    let (alpha, beta) = (
        net.domain("alpha.test").await,
        net.domain("beta.test").await,
    );
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    ann.meets(&mut bob).await;
    let mut phone = ann.second_session().await;
    let mut tablet = ann.second_session().await;
    tablet.opens(&bob).await;

    let seq = bob.says(&ann, "hello").await;
    let pres = phone.notices(FrameKind::Pres, &bob, "msg").await;
    assert_eq!(
        (&pres.body["seq"], pres.text("act")),
        (&seq.into(), &*ann.name_of(&bob))
    );
    ann.hears(&bob, "hello").await;
    tablet.hears(&bob, "hello").await;
    ann.notes(&bob, "read", seq).await;
    let pres = phone.notices(FrameKind::Pres, &bob, "read").await;
    assert_eq!(pres.body["seq"], seq);

    // What she writes herself: no actor is named, and her other open chat shows it.
    let seq = ann.says(&bob, "hello back").await;
    assert_eq!(tablet.hears(&bob, "hello back").await.from, ann.person.id);
    let pres = phone.notices(FrameKind::Pres, &bob, "msg").await;
    assert_eq!((&pres.body["seq"], pres.text("act")), (&seq.into(), ""));
    // A person with one session left is still here.
    let name = bob.name_of(&ann);
    drop((phone, tablet));
    ann.says(&bob, "last").await;
    bob.hears(&ann, "last").await;
    let heard = bob.has_heard(&ann).await;
    let left = heard
        .iter()
        .any(|it| it.text("src") == name && it.text("what") == "off");
    assert!(!left, "{heard:?}");
}

#[tokio::test]
async fn somebody_who_wishes_to_be_unseen_is_and_stays_so_until_they_say_otherwise() {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    let hide = json!({"topic": "me", "sub": {"mode": "-P"}});
    let answer = ann.session.request("set", hide).await.unwrap();
    assert_eq!(answer.body["params"]["acs"]["mode"], "JS");
    ben.notices(FrameKind::Pres, &ann, "off").await;
    let rows = ben.session.get("me", "sub").await.unwrap().unwrap();
    assert!(rows[0].get("online").is_none());
    let mut again = ann.second_session().await;
    let desc = again.session.get("me", "desc").await.unwrap().unwrap();
    assert_eq!(desc["acs"]["want"], "JS");
    assert!(
        !ben.has_heard(&ann)
            .await
            .iter()
            .any(|it| it.text("what") == "on")
    );
    let show = json!({"topic": "me", "sub": {"mode": "JPS"}});
    again.session.request("set", show.clone()).await.unwrap();
    ben.notices(FrameKind::Pres, &ann, "on").await;
    let same = again.session.request("set", show).await.unwrap();
    assert_eq!(same.code(), 304);
    let more = json!({"topic": "me", "sub": {"mode": "JRWPASDO"}});
    assert_eq!(
        again.session.request("set", more).await.unwrap().code(),
        304
    );
}

#[tokio::test]
async fn a_session_that_a_push_woke_shows_nobody_until_it_has_lived_for_a_while() {
    let net = Net::new().await;
    let house = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    ann.notices(FrameKind::Pres, &ben, "on").await;
    ann.has_heard(&ben).await;
    let person = leaves(ben);
    let name = ann.session.who().to_owned();
    let away = |it: &Frame| it.text("what") == "off";
    ann.session.wait_for(&name, SOON, away).await.unwrap();
    let session = person.come_back_in_background().await.unwrap();
    let ben = Guest { person, session };
    assert!(
        !ann.has_heard(&ben)
            .await
            .iter()
            .any(|it| it.text("what") == "on")
    );
    ann.notices(FrameKind::Pres, &ben, "on").await;
}

#[tokio::test]
async fn who_mutes_a_friend_sees_them_go_and_come_back() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    ann.opens(&ben).await;
    // Also whoever opens the chat.
    ann.notices(FrameKind::Pres, &ben, "on").await;
    ben.opens(&ann).await;
    ann.wants(&ben, "JRWA").await;
    ann.notices(FrameKind::Pres, &ben, "off").await;
    ann.wants(&ben, "JRWPA").await;
    ann.notices(FrameKind::Pres, &ben, "on").await;
}
