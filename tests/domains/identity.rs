//! A domain's keys change while it serves, and other domains follow; what the operator decides about a
//! domain holds at once.

use std::time::Duration;

use freehold::{
    control::{self, Answer},
    peers::operator::{PeerCommand, PeerReport},
};
use freehold_directory::WELL_KNOWN_PATH;
use freehold_keys::{KeyRing, Lost, RecoveryPhrase, VerifiedRecord, fingerprint_to_text};
use freehold_proto::Clock as _;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    friends::Friends,
    group_crossing::Club,
    net::{House, Net},
    postman,
};

/// Within so long everything here has happened.
const PATIENCE: Duration = Duration::from_secs(20);
const BEGUN: [&str; 2] = ["May I write to you?", "You may."];

impl Friends {
    /// The keys of alpha as its operator has them in hand.
    fn keys_of_alpha(&self) -> KeyRing {
        let keys = self.alpha.data().join("keys");
        KeyRing::load(&keys, &self.alpha.name, self.net.clock.now()).unwrap()
    }

    /// Waits until alpha uses the keys of this record of its own.
    async fn alpha_uses(&self, serial: u64) {
        let deadline = Instant::now() + PATIENCE;
        while shown_by(&self.alpha).await.record().serial < serial {
            assert!(Instant::now() < deadline, "alpha keeps to its old keys");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until beta has taken up this record of alpha.
    async fn beta_knows(&self, serial: u64) -> PeerReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let show = PeerCommand::Show("alpha.test".to_owned());
            let known = tells(&self.beta, show).await.unwrap().remove(0);
            if known.serial >= serial {
                return known;
            }
            assert!(Instant::now() < deadline, "beta still has {known:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The record that a house shows on the web.
async fn shown_by(house: &House) -> VerifiedRecord {
    let request = postman::head(&format!("GET {WELL_KNOWN_PATH}"), &[]);
    let shown = postman::exchange(house, request.as_bytes()).await.body;
    let root = VerifiedRecord::root_in(&shown).unwrap();
    VerifiedRecord::verify_stored(&shown, &house.name, &root).unwrap()
}

/// The operator of a house says something to it while it serves.
async fn tells(house: &House, command: PeerCommand) -> Result<Vec<PeerReport>, String> {
    match control::ask(house.data(), &command).await.unwrap() {
        Some(Answer::Peers(peers)) => Ok(peers),
        Some(Answer::Refused(why)) => Err(why),
        None => panic!("{} does not listen to its operator", house.name),
    }
}

#[tokio::test]
async fn keys_are_replaced_while_messages_flow_and_nothing_is_lost() {
    let mut scene = Friends::new().await;
    let mut keys = scene.keys_of_alpha();
    let texts: Vec<String> = (0..30).map(|it| format!("text {it}")).collect();
    for (number, text) in texts.iter().enumerate() {
        if number == 10 {
            keys.rotate(scene.net.clock.now()).unwrap();
        }
        scene.ann.says(&scene.bob, text).await;
        sleep(Duration::from_millis(200)).await;
    }
    let mut all = BEGUN.to_vec();
    all.extend(texts.iter().map(String::as_str));
    scene.bob.reads(&scene.ann, &all).await;
    let known = scene.beta_knows(2).await;
    assert_eq!(known.dispute, "");
    assert_eq!(known.incarnation, 1);
    scene.bob.says(&scene.ann, "and back").await;
    scene.ann.hears(&scene.bob, "and back").await;
}

#[tokio::test]
async fn what_waits_under_a_replaced_key_arrives_all_the_same() {
    let mut scene = Friends::new().await;
    scene.beta.stop().await;
    for text in ["one", "two"] {
        scene.ann.says(&scene.bob, text).await;
    }
    scene.alpha.stop().await;
    let now = scene.net.clock.now();
    scene.keys_of_alpha().rotate(now).unwrap();
    scene.alpha.start().await;
    scene.alpha.welcomes_back(&mut scene.ann).await;
    scene.ann.opens(&scene.bob).await;
    scene.ann.says(&scene.bob, "three").await;
    scene.beta.start().await;
    scene.beta.welcomes_back(&mut scene.bob).await;
    scene.bob.opens(&scene.ann).await;
    let all = [BEGUN[0], BEGUN[1], "one", "two", "three"];
    scene.bob.reads(&scene.ann, &all).await;
}

#[tokio::test]
async fn what_waits_under_a_revoked_key_is_refused_and_its_author_told() {
    let mut scene = Friends::new().await;
    scene.beta.stop().await;
    scene.ann.says(&scene.bob, "one").await;
    let now = scene.net.clock.now();
    let lost = Lost {
        signing: true,
        tls: true,
    };
    scene.keys_of_alpha().revoke(lost, now, now).unwrap();
    scene.alpha_uses(2).await;
    scene.beta.start().await;
    scene.beta.welcomes_back(&mut scene.bob).await;
    scene.bob.opens(&scene.ann).await;
    scene.beta_knows(2).await;
    // Ann is told in the chat, where she looks.
    let chat = scene.ann.name_of(&scene.bob);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = scene.ann.session.history(&chat, 1).await.unwrap();
        if seen
            .iter()
            .any(|it| it.content.to_string().contains("Not delivered"))
        {
            break;
        }
        assert!(Instant::now() < deadline, "nobody tells Ann: {seen:?}");
        sleep(Duration::from_millis(50)).await;
    }
    scene.ann.says(&scene.bob, "two").await;
    scene.bob.hears(&scene.ann, "two").await;
    scene.bob.says(&scene.ann, "three").await;
    scene.ann.hears(&scene.bob, "three").await;
}

#[tokio::test]
async fn with_the_key_on_paper_a_domain_goes_on_where_it_was() {
    let mut scene = Friends::new().await;
    scene.ann.says(&scene.bob, "before").await;
    scene.bob.hears(&scene.ann, "before").await;
    let shown = scene.beta_knows(1).await;
    scene.alpha.stop().await;
    // Everything that alpha had for keys is gone; beta has its record, the operator the paper.
    let keys = scene.alpha.data().join("keys");
    std::fs::remove_dir_all(&keys).unwrap();
    let root = VerifiedRecord::root_in(&shown.record).unwrap();
    let last = VerifiedRecord::verify_stored(&shown.record, &scene.alpha.name, &root).unwrap();
    let phrase = RecoveryPhrase::from_words(&scene.alpha.phrase).unwrap();
    let now = scene.net.clock.now();
    KeyRing::recover(&keys, &phrase, &last, Some(now), now).unwrap();
    // Alpha comes back at another port, and what DNS says is remembered for a second.
    sleep(Duration::from_millis(1500)).await;
    scene.alpha.start().await;
    scene.alpha.logs_in_again(&mut scene.ann).await;
    scene.ann.opens(&scene.bob).await;
    scene.ann.says(&scene.bob, "still me").await;
    scene.bob.hears(&scene.ann, "still me").await;
    let after = scene.beta_knows(2).await;
    assert_ne!(after.root, shown.root);
    assert_eq!((after.incarnation, after.dispute.as_str()), (1, ""));
    scene.bob.says(&scene.ann, "I see").await;
    scene.ann.hears(&scene.bob, "I see").await;
}

#[tokio::test]
async fn a_domain_that_is_denied_is_not_dealt_with_until_it_is_allowed_again() {
    let mut scene = Friends::new().await;
    let name = || "beta.test".to_owned();
    let denied = tells(&scene.alpha, PeerCommand::Deny(name()))
        .await
        .unwrap();
    assert_eq!(
        (denied[0].permitted, denied[0].by_hand.as_str()),
        (false, "denied")
    );
    let bob = scene.ann.name_of(&scene.bob);
    let body = json!({"topic": bob, "content": "anybody there?"});
    assert_eq!(scene.ann.is_refused("pub", body).await.0, 403);
    scene.bob.says(&scene.ann, "can you hear me?").await;
    sleep(Duration::from_secs(1)).await;
    scene.ann.reads(&scene.bob, &BEGUN).await;
    // It holds over a restart, and ends with a word.
    scene.alpha.stop().await;
    scene.alpha.start().await;
    let listed = tells(&scene.alpha, PeerCommand::List).await.unwrap();
    assert!(!listed[0].permitted);
    tells(&scene.alpha, PeerCommand::Allow(name()))
        .await
        .unwrap();
    scene.alpha.welcomes_back(&mut scene.ann).await;
    scene.ann.opens(&scene.bob).await;
    scene
        .ann
        .reads(&scene.bob, &[BEGUN[0], BEGUN[1], "can you hear me?"])
        .await;
    scene.ann.says(&scene.bob, "again").await;
    scene.bob.hears(&scene.ann, "again").await;
}

#[tokio::test]
async fn the_operator_is_told_what_cannot_be_done() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let refused = |command| tells(&alpha, command);
    let why = refused(PeerCommand::Deny("not a name".to_owned())).await;
    assert!(why.unwrap_err().contains("not canonical"));
    let pin = PeerCommand::Pin("beta.test".to_owned(), "short".to_owned());
    assert!(refused(pin).await.unwrap_err().contains("43 characters"));
    let show = PeerCommand::Show("nobody.test".to_owned());
    assert!(
        refused(show)
            .await
            .unwrap_err()
            .contains("no _freehold TXT record")
    );
    assert!(tells(&alpha, PeerCommand::List).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_web_server_shows_the_record_that_peers_get() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let record = shown_by(&alpha).await;
    record.check_fresh(net.clock.now()).unwrap();
    let keys = KeyRing::load(&alpha.data().join("keys"), &alpha.name, net.clock.now());
    assert_eq!(record.hash(), keys.unwrap().record().hash());
}

/// Beta has lost every key and begins anew, with all that it has stored.
fn beta_begins_anew(club: &Club) -> String {
    let (keys, now) = (club.beta.data().join("keys"), club.net().clock.now());
    std::fs::remove_dir_all(&keys).unwrap();
    let (ring, _) = KeyRing::create(&keys, &club.beta.name, now).unwrap();
    fingerprint_to_text(&ring.record().root_fingerprint())
}

#[tokio::test]
async fn who_comes_under_the_name_of_a_domain_that_was_inherits_nothing_of_it() {
    let mut club = Club::new().await;
    club.ann.says_in(&club.group, "for all of us").await;
    club.everybody_reads(&["for all of us"]).await;
    let mut dan = club.alpha.guest("dan").await;
    dan.meets(&mut club.bob).await;
    club.beta.stop().await;
    club.ann.says_in(&club.group, "while beta is away").await;
    dan.says(&club.bob, "for the Bob I know").await;

    club.net().clock.advance(Duration::from_secs(1));
    let root = beta_begins_anew(&club);
    club.beta.start().await;
    club.beta.logs_in_again(&mut club.bob).await;
    // Nobody believes it until an operator does.
    club.bob.opens(&dan).await;
    club.bob.says(&dan, "it is me").await;
    sleep(Duration::from_secs(1)).await;
    let pin = || PeerCommand::Pin("beta.test".to_owned(), root.clone());
    let known = tells(&club.alpha, pin()).await.unwrap();
    assert_eq!(known[0].incarnation, 2);
    tells(&club.gamma, pin()).await.unwrap();
    // Whoever it is now, the friend and the member he was are nobody's.
    let told = club.bob.name_of(&dan);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = club.bob.session.history(&told, 1).await.unwrap();
        if seen
            .iter()
            .any(|it| it.content.to_string().contains("Not delivered"))
        {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "beta is still believed: {seen:?}"
        );
        sleep(Duration::from_millis(50)).await;
    }
    let bob = dan.name_of(&club.bob);
    let body = json!({"topic": bob, "content": "Bob?"});
    assert_eq!(dan.is_refused("pub", body).await.0, 403);
    let told = dan.session.history(&bob, 1).await.unwrap();
    let texts: Vec<String> = told.iter().map(|it| it.content.to_string()).collect();
    assert!(texts.iter().all(|it| !it.contains("it is me")), "{texts:?}");
    club.ann.says_in(&club.group, "without beta").await;
    let all = ["for all of us", "while beta is away", "without beta"];
    club.cat.reads_in(&club.group, &all).await;
    club.bob.session.subscribe(&club.group).await.unwrap();
    let kept = club.bob.session.history(&club.group, 2).await.unwrap();
    let kept: Vec<String> = kept.iter().map(|it| it.content.to_string()).collect();
    assert_eq!(kept, ["\"for all of us\""], "beta is told of the group");

    // People that it never had before are strangers like all others.
    let mut eve = club.beta.guest("eve").await;
    eve.meets(&mut dan).await;
    eve.says(&dan, "good day").await;
    dan.hears(&eve, "good day").await;
    // And it stays like that over a restart.
    club.alpha.stop().await;
    club.alpha.start().await;
    club.alpha.welcomes_back(&mut dan).await;
    dan.session.subscribe(&bob).await.unwrap();
    let body = json!({"topic": bob, "content": "Bob?"});
    assert_eq!(dan.is_refused("pub", body).await.0, 403);
    dan.opens(&eve).await;
    dan.says(&eve, "and to you").await;
    eve.hears(&dan, "and to you").await;
}
