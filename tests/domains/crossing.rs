//! What crosses between two domains: each message once and in order whatever is down, named by its id
//! and never by its number.

use std::time::Duration;

use freehold_interop::{Frame, FrameKind};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::{
    friends::Friends,
    guest::{Guest, SOON},
    net::Net,
};

/// Replies come from local state within this.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Friends {
    /// Ann writes "a1" and "a2" and Bob "b1" while neither reaches the other: at alpha these are 3, 4
    /// and 5, at beta 4, 5 and 3.
    async fn write_apart(&mut self) {
        let Self {
            ann,
            bob,
            alpha,
            beta,
            ..
        } = self;
        beta.stop().await;
        assert_eq!(ann.says(bob, "a1").await, 3);
        assert_eq!(ann.says(bob, "a2").await, 4);
        alpha.stop().await;
        beta.start().await;
        beta.welcomes_back(bob).await;
        bob.opens(ann).await;
        assert_eq!(bob.says(ann, "b1").await, 3);
        alpha.start().await;
        alpha.welcomes_back(ann).await;
        ann.opens(bob).await;
        ann.reads(bob, &[BEGUN[0], BEGUN[1], "a1", "a2", "b1"])
            .await;
        bob.reads(ann, &[BEGUN[0], BEGUN[1], "b1", "a1", "a2"])
            .await;
    }
}

/// How people meet in these scenes.
const BEGUN: [&str; 2] = ["May I write to you?", "You may."];

#[tokio::test]
async fn envelope_waits_for_a_peer_that_is_down() {
    let mut scene = Friends::new().await;
    let Friends { ann, bob, beta, .. } = &mut scene;
    beta.stop().await;
    let texts = ["one", "two", "three"];
    for text in texts {
        let acknowledged = timeout(AT_ONCE, ann.says(bob, text)).await;
        assert!(acknowledged.is_ok(), "{text} is not acknowledged at once");
    }

    beta.start().await;
    beta.welcomes_back(bob).await;
    bob.opens(ann).await;
    bob.reads(ann, &[BEGUN[0], BEGUN[1], "one", "two", "three"])
        .await;
    // The link is up in both directions again, and nothing comes a second time.
    bob.says(ann, "I was away").await;
    ann.hears(bob, "I was away").await;
    ann.says(bob, "welcome back").await;
    bob.hears(ann, "welcome back").await;
    let all = [
        BEGUN[0],
        BEGUN[1],
        "one",
        "two",
        "three",
        "I was away",
        "welcome back",
    ];
    bob.reads(ann, &all).await;
    ann.reads(bob, &all).await;
}

#[tokio::test]
async fn what_waits_survives_the_restart_of_its_own_domain() {
    let mut scene = Friends::new().await;
    let Friends {
        ann,
        bob,
        alpha,
        beta,
        ..
    } = &mut scene;
    beta.stop().await;
    ann.says(bob, "one").await;
    alpha.stop().await;
    alpha.start().await;
    alpha.welcomes_back(ann).await;
    ann.opens(bob).await;
    ann.says(bob, "two").await;

    beta.start().await;
    beta.welcomes_back(bob).await;
    bob.opens(ann).await;
    bob.reads(ann, &[BEGUN[0], BEGUN[1], "one", "two"]).await;
}

#[tokio::test]
async fn a_domain_serves_its_own_people_while_all_others_are_gone() {
    let mut scene = Friends::new().await;
    let Friends { ann, bob, beta, .. } = &mut scene;
    beta.stop().await;
    let topic = ann.name_of(bob);
    let requests = [
        (
            "sub",
            json!({"topic": topic, "get": {"what": "desc sub data"}}),
        ),
        ("pub", json!({"topic": topic, "content": "x"})),
        ("get", json!({"topic": topic, "what": "desc sub data"})),
        ("set", json!({"topic": topic, "sub": {"mode": "JRWA"}})),
        (
            "set",
            json!({"topic": "me", "desc": {"public": {"fn": "Annabel"}}}),
        ),
        ("get", json!({"topic": "me", "what": "desc sub tags cred"})),
        ("leave", json!({"topic": topic})),
    ];
    for (kind, body) in requests {
        let answered = timeout(AT_ONCE, ann.session.request(kind, body.clone())).await;
        assert!(answered.is_ok(), "{kind} {body} is not answered at once");
        answered.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_search_at_a_domain_that_does_not_answer_ends_in_time_and_nothing_waits_for_it() {
    let mut scene = Friends::new().await;
    let Friends { ann, bob, beta, .. } = &mut scene;
    ann.session.subscribe("fnd").await.unwrap();
    beta.stop().await;
    let query = json!({"topic": "fnd", "desc": {"public": "email:somebody@beta.test"}});
    ann.session.request("set", query).await.unwrap();
    let asked = Instant::now();
    let search = json!({"topic": "fnd", "what": "sub"});
    let id = ann.session.send("get", search).await.unwrap();
    let other = timeout(AT_ONCE, ann.says(bob, "meanwhile")).await;
    assert!(other.is_ok(), "a search holds up a message");

    let fits = |it: &Frame| it.text("id") == id;
    let within = Duration::from_secs(4);
    let answer = ann
        .session
        .wait_for("the end of the search", within, fits)
        .await
        .unwrap();
    assert_eq!(
        (answer.code(), &answer.body["params"]["what"]),
        (204, &json!("sub"))
    );
    assert!(asked.elapsed() < within);
}

#[tokio::test]
async fn a_stranger_at_a_domain_that_is_gone_is_answered_for_in_time() {
    let mut scene = Friends::new().await;
    let Friends { ann, beta, .. } = &mut scene;
    beta.stop().await;
    for stranger in ["usrAAAAAAAAAAA@beta.test", "usrAAAAAAAAAAA@nowhere.test"] {
        for kind in ["get", "sub"] {
            let body = json!({"topic": stranger, "what": "desc"});
            let refused = timeout(Duration::from_secs(4), ann.is_refused(kind, body)).await;
            // Below 500, stock clients would take it for a final answer, and some log out.
            let expected = Ok((503, "service unavailable".to_owned()));
            assert_eq!(refused, expected, "{kind} {stranger}");
        }
    }
}

#[tokio::test]
async fn each_domain_numbers_its_own_copy() {
    let mut scene = Friends::new().await;
    scene.write_apart().await;
    let Friends { ann, bob, .. } = &mut scene;
    assert_eq!(
        numbered(ann, bob).await,
        [(3, "a1"), (4, "a2"), (5, "b1")].map(owned)
    );
    assert_eq!(
        numbered(bob, ann).await,
        [(3, "b1"), (4, "a1"), (5, "a2")].map(owned)
    );
}

/// What follows the greeting, with its numbers.
async fn numbered(guest: &mut Guest, other: &Guest) -> Vec<(u64, String)> {
    let topic = guest.name_of(other);
    let history = guest.session.history(&topic, 3).await.unwrap();
    let seen = history
        .iter()
        .map(|it| (it.seq, it.content.as_str().unwrap()));
    seen.map(owned).collect()
}

fn owned((seq, text): (u64, &str)) -> (u64, String) {
    (seq, text.to_owned())
}

/// The head of the message with this text.
async fn head_of(guest: &mut Guest, other: &Guest, text: &str) -> Value {
    let topic = guest.name_of(other);
    let fits = |it: &Frame| it.message_of(&topic).is_some_and(|it| it.content == text);
    let wait = guest.session.wait_for(text, SOON, fits);
    wait.await.unwrap().body["head"].clone()
}

#[tokio::test]
async fn edits_and_replies_mean_the_same_message_where_its_number_is_another() {
    let mut scene = Friends::new().await;
    scene.write_apart().await;
    let Friends { ann, bob, .. } = &mut scene;
    ann.writes(bob, json!({"replace": ":3"}), "a1, corrected")
        .await;
    let seen = head_of(bob, ann, "a1, corrected").await;
    assert_eq!(seen, json!({"replace": ":4"}));
    bob.writes(ann, json!({"reply": "5"}), "to a2").await;
    assert_eq!(head_of(ann, bob, "to a2").await, json!({"reply": "4"}));
    ann.writes(bob, json!({"reply": "5"}), "to b1").await;
    assert_eq!(head_of(bob, ann, "to b1").await, json!({"reply": "3"}));
}

#[tokio::test]
async fn nobody_edits_what_another_wrote() {
    let mut scene = Friends::new().await;
    let Friends { ann, bob, .. } = &mut scene;
    for (seq, expected) in [(2, 403), (99, 404)] {
        let head = json!({"replace": format!(":{seq}")});
        let edit = json!({"topic": ann.name_of(bob), "head": head, "content": "forged"});
        assert_eq!(ann.is_refused("pub", edit).await.0, expected, ":{seq}");
    }
    ann.reads(bob, &BEGUN).await;
}

#[tokio::test]
async fn mentions_are_global_between_domains_and_bare_at_home() {
    let mut scene = Friends::new().await;
    let Friends { ann, bob, .. } = &mut scene;
    let abroad = ann.name_of(bob);
    let mentions = json!({"mentions": [ann.person.id, abroad]});
    ann.writes(bob, mentions, "we two").await;
    let seen = head_of(bob, ann, "we two").await;
    assert_eq!(seen, json!({"mentions": [bob.name_of(ann), bob.person.id]}));
}

#[tokio::test]
async fn a_new_name_reaches_the_other_domain() {
    let mut scene = Friends::new().await;
    let Friends { ann, bob, .. } = &mut scene;
    bob.has_heard(ann).await;
    let body =
        json!({"topic": "me", "desc": {"public": {"fn": "Annabel", "note": "on a journey"}}});
    ann.session.request("set", body).await.unwrap();
    bob.notices(FrameKind::Pres, ann, "upd").await;
    let described = bob.describes(ann).await["public"].clone();
    assert_eq!(described, json!({"fn": "Annabel", "note": "on a journey"}));

    // Also when the other domain is down at the time.
    scene.beta.stop().await;
    let Friends { ann, bob, beta, .. } = &mut scene;
    let body = json!({"topic": "me", "desc": {"public": {"note": "\u{2421}"}}});
    ann.session.request("set", body).await.unwrap();
    beta.start().await;
    beta.welcomes_back(bob).await;
    bob.notices(FrameKind::Pres, ann, "upd").await;
    assert_eq!(bob.describes(ann).await["public"], json!({"fn": "Annabel"}));
}

#[tokio::test]
async fn received_and_read_marks_reach_the_author_under_the_authors_numbers() {
    let mut scene = Friends::new().await;
    scene.write_apart().await;
    let Friends { ann, bob, .. } = &mut scene;
    ann.has_heard(bob).await;
    bob.notes(ann, "recv", 4).await;
    ann.sees_mark(bob, "recv", 3).await;
    bob.notes(ann, "read", 5).await;
    ann.sees_mark(bob, "read", 4).await;
}

#[tokio::test]
async fn who_answers_first_and_says_then_to_have_read_is_heard() {
    let mut scene = Friends::new().await;
    let Friends { ann, bob, .. } = &mut scene;
    ann.says(bob, "Have you seen this?").await;
    bob.hears(ann, "Have you seen this?").await;
    bob.says(ann, "I have.").await;
    ann.hears(bob, "I have.").await;
    bob.notes(ann, "read", 4).await;
    ann.sees_mark(bob, "read", 3).await;
}

#[tokio::test]
async fn an_author_is_told_durably_that_a_message_came_too_late() {
    const TOO_LONG: Duration = Duration::from_secs(31 * 24 * 60 * 60);
    const NOTE: &str = "Not delivered: beta.test could not be reached in time. \
                        Only you can see this note.";
    let mut scene = Friends::new().await;
    let Friends {
        ann,
        bob,
        alpha,
        beta,
        net,
    } = &mut scene;
    beta.stop().await;
    ann.says(bob, "stale").await;
    net.clock.advance(TOO_LONG);

    beta.start().await;
    ann.hears(bob, NOTE).await;
    // Nothing is held up by it, and a start neither loses the note nor writes it again.
    ann.says(bob, "fresh").await;
    ann.reads(bob, &[BEGUN[0], BEGUN[1], "stale", NOTE, "fresh"])
        .await;
    alpha.stop().await;
    alpha.start().await;
    alpha.logs_in_again(ann).await;
    ann.opens(bob).await;
    ann.reads(bob, &[BEGUN[0], BEGUN[1], "stale", NOTE, "fresh"])
        .await;
    beta.logs_in_again(bob).await;
    bob.opens(ann).await;
    bob.reads(ann, &[BEGUN[0], BEGUN[1], "fresh"]).await;
}

#[tokio::test]
async fn requests_about_somebody_who_is_looked_up_keep_their_order() {
    let net = Net::new().await;
    let (alpha, beta) = (
        net.domain("alpha.test").await,
        net.domain("beta.test").await,
    );
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    // Nothing is known of Bob yet, and nobody waits for the answers.
    let topic = ann.name_of(&bob);
    let sub = ann
        .session
        .send("sub", json!({"topic": topic}))
        .await
        .unwrap();
    let said = json!({"topic": topic, "noecho": true, "content": "hello"});
    let said = ann.session.send("pub", said).await.unwrap();
    let left = ann
        .session
        .send("leave", json!({"topic": topic}))
        .await
        .unwrap();
    for (id, code) in [(sub, 200), (said, 202), (left, 200)] {
        let answer = |it: &Frame| it.text("id") == id;
        let frame = ann.session.wait_for("an answer", SOON, answer).await;
        assert_eq!(frame.unwrap().code(), code);
    }
    bob.notices(FrameKind::Pres, &ann, "acs").await;
    bob.opens(&ann).await;
    bob.reads(&ann, &["hello"]).await;
}
