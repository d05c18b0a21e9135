//! Messages, signals and questions between well-behaved domains, and between one and a peer that is
//! down, slow or ill.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use freehold_directory::{AnchorLevel, Life, MemoryPins, Pin, Pins as _};
use freehold_proto::{Refusal, RefusalCode, wire};

use super::{
    fake::{self, Failing},
    stranger::Stranger,
    support::{
        House, Keys, SOON, Site, config, eventually, later, message, name, pair, start_time, user,
    },
};
use crate::{Backoff, Config, FindError, FindQuery, LinkState, StreamPosition, Verdict};

fn link_state(house: &House, peer: &House) -> LinkState {
    let links = house.federation.links();
    let report = links.into_iter().find(|it| it.peer == *peer.domain());
    report.map_or(LinkState::Resting, |it| it.state)
}

#[tokio::test]
async fn messages_arrive_in_order_and_once_in_both_directions() {
    let (alpha, beta) = pair(config).await;
    alpha.writes(beta.domain(), 1..=100);
    beta.writes(alpha.domain(), 101..=200);
    eventually("all arrive", || {
        beta.local.taken().len() == 100 && alpha.local.taken().len() == 100
    })
    .await;
    assert_eq!(beta.local.taken(), (1..=100).collect::<Vec<u8>>());
    assert_eq!(alpha.local.taken(), (101..=200).collect::<Vec<u8>>());
    eventually("all settled", || {
        alpha.outbox.is_empty() && beta.outbox.is_empty()
    })
    .await;
    // Each was told at hello how far the other one had got.
    assert_eq!(alpha.outbox.heard(), [StreamPosition::default()]);
    assert_eq!(beta.outbox.heard().len(), 1);
    alpha.stops().await;
    beta.stops().await;
}

#[tokio::test]
async fn a_peer_that_is_down_gets_its_messages_when_it_is_up_again() {
    let (alpha, beta) = (
        Site::new("alpha.test", config()).await,
        Site::new("beta.test", config()).await,
    );
    let (to_alpha, to_beta, address) = (alpha.row(), beta.row(), beta.address);
    let keys = beta.closes();
    let alpha = alpha.start(vec![to_beta]);
    alpha.writes(keys.domain(), [1, 2]);
    eventually("alpha fails a few times", || {
        alpha.federation.links().iter().any(|it| it.failures > 2)
    })
    .await;

    let again = || Config {
        listen: address,
        ..config()
    };
    let beta = Site::with_keys(keys, again())
        .await
        .start(vec![to_alpha.clone()]);
    alpha.writes(beta.domain(), [3]);
    eventually("all arrive", || beta.local.taken() == [1, 2, 3]).await;

    beta.stops().await;
    eventually("the link is given up", || {
        link_state(&alpha, &beta) == LinkState::Resting
    })
    .await;
    alpha.writes(beta.domain(), [4]);
    let keys = beta.keys;
    let beta = Site::with_keys(keys, again()).await.start(vec![to_alpha]);
    eventually("the rest arrives", || beta.local.taken() == [4]).await;
    alpha.stops().await;
}

#[tokio::test]
async fn what_waited_at_the_start_is_delivered_without_being_woken() {
    let (alpha, beta) = (
        Site::new("alpha.test", config()).await,
        Site::new("beta.test", config()).await,
    );
    let (to_alpha, to_beta) = (alpha.row(), beta.row());
    let beta = beta.start(vec![to_alpha]);
    let outbox = Arc::new(super::support::MemoryOutbox::default());
    outbox.push(beta.domain(), alpha.keys.seal(beta.domain(), 1));
    let ranges = ["127.0.0.0/8"];
    let alpha = alpha.start_with(vec![to_beta], &ranges, Arc::default(), outbox);
    eventually("it arrives", || beta.local.taken() == [1]).await;
    alpha.stops().await;
}

#[tokio::test]
async fn a_batch_sent_twice_has_one_effect() {
    let (alpha, beta) = pair(config).await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let batch = || {
        stranger.batch(
            (1..=3)
                .map(|it| alpha.keys.seal(beta.domain(), it))
                .collect(),
        )
    };
    assert_eq!(stranger.delivers(batch()).await.unwrap(), [0, 0, 0]);
    assert_eq!(stranger.delivers(batch()).await.unwrap(), [1, 1, 1]);
    assert_eq!(beta.local.taken(), [1, 2, 3]);
}

#[tokio::test]
async fn a_peer_whose_store_fails_is_asked_again() {
    let (alpha, beta) = pair(config).await;
    beta.local.outages.store(3, Ordering::SeqCst);
    alpha.writes(beta.domain(), [1, 2]);
    eventually("they arrive", || beta.local.taken() == [1, 2]).await;
    eventually("they are settled", || alpha.outbox.is_empty()).await;
    assert_eq!(beta.local.outages.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn verdicts_reach_the_outbox_and_what_is_parked_is_offered_again() {
    let (alpha, beta) = pair(config).await;
    let refused = Verdict::Refused(Refusal::new(RefusalCode::NotPermitted, "closed"));
    let parked = Verdict::Later {
        code: RefusalCode::AwaitingConsent,
        retry_after: Duration::from_secs(3600),
    };
    beta.local
        .verdicts
        .lock()
        .insert(message(1), refused.clone());
    beta.local
        .verdicts
        .lock()
        .insert(message(2), parked.clone());
    alpha.writes(beta.domain(), [1, 2, 3]);
    let expected = [(1, refused), (2, parked), (3, Verdict::Ok)];
    eventually("settled", || alpha.outbox.settled() == expected).await;
    assert_eq!(beta.local.taken(), [3]);
    later(&alpha, Duration::from_secs(3600));
    alpha.federation.wake(beta.domain());
    eventually("offered again", || beta.local.taken() == [3, 2]).await;
    eventually("nothing waits", || alpha.outbox.is_empty()).await;
    alpha.stops().await;
}

#[tokio::test]
async fn an_idle_link_is_closed_and_made_anew_when_needed() {
    let short = || Config {
        idle_timeout: Duration::from_millis(100),
        ..config()
    };
    let (alpha, beta) = pair(short).await;
    alpha.writes(beta.domain(), [1]);
    eventually("it arrives", || beta.local.taken() == [1]).await;
    eventually("the link rests", || {
        link_state(&alpha, &beta) == LinkState::Resting
    })
    .await;
    alpha.writes(beta.domain(), [2]);
    eventually("the next arrives", || beta.local.taken() == [1, 2]).await;
}

#[tokio::test]
async fn a_peer_that_contacts_us_is_not_kept_waiting() {
    let patient = || {
        let hour = Duration::from_secs(3600);
        Config {
            backoff: Backoff::new(hour, hour, hour).unwrap(),
            ..config()
        }
    };
    let (alpha, beta) = (
        Site::new("alpha.test", patient()).await,
        Site::new("beta.test", config()).await,
    );
    let (to_alpha, to_beta, address) = (alpha.row(), beta.row(), beta.address);
    let keys = beta.closes();
    let alpha = alpha.start(vec![to_beta]);
    alpha.writes(keys.domain(), [1]);
    eventually("alpha gives up for an hour", || {
        alpha.federation.links().iter().any(|it| it.failures == 1)
    })
    .await;
    let listen = Config {
        listen: address,
        ..config()
    };
    let beta = Site::with_keys(keys, listen).await.start(vec![to_alpha]);
    beta.writes(alpha.domain(), [2]);
    eventually("both arrive", || {
        alpha.local.taken() == [2] && beta.local.taken() == [1]
    })
    .await;
}

#[tokio::test]
async fn hello_is_repeated_while_the_peer_looks_us_up() {
    let hasty = || Config {
        discovery_wait: Duration::ZERO,
        ..config()
    };
    let (alpha, beta) = pair(hasty).await;
    alpha.writes(beta.domain(), [1]);
    eventually("it arrives", || beta.local.taken() == [1]).await;
}

#[tokio::test]
async fn an_item_on_which_the_peer_fails_is_set_aside_and_the_rest_arrives() {
    let keys = Keys::new("beta.test");
    let (alpha, decided) = alpha_and_fake(&keys, Failing::On(7)).await;
    alpha.writes(keys.domain(), 1..=20);
    eventually("all but one arrive", || decided.lock().len() == 19).await;
    let expected: Vec<u64> = (1..=20).filter(|&it| it != 7).collect();
    assert_eq!(*decided.lock(), expected);
    let settled = alpha.outbox.settled();
    let aside: Vec<_> = settled
        .iter()
        .filter(|(_, it)| *it != Verdict::Ok)
        .collect();
    assert!(
        matches!(aside[..], [(7, Verdict::Later { .. })]),
        "{aside:?}"
    );
    alpha.stops().await;
}

#[tokio::test]
async fn a_peer_that_does_not_prove_itself_gets_no_message() {
    let keys = Keys::new("beta.test");
    let (alpha, decided) = alpha_and_fake(&keys, Failing::Proof).await;
    alpha.writes(keys.domain(), [1]);
    eventually("the reason is told", || {
        alpha
            .last_error(keys.domain())
            .contains("does not prove its domain")
    })
    .await;
    assert!(decided.lock().is_empty());
    alpha.stops().await;
}

pub(super) async fn alpha_and_fake(keys: &Keys, failing: Failing) -> (House, fake::Decided) {
    let pins = Arc::new(MemoryPins::default());
    pins.save(Pin {
        domain: keys.domain().clone(),
        record: keys.ring.fresh_record(start_time()).to_bytes(),
        root_fingerprint: keys.ring.record().root_fingerprint(),
        anchor: AnchorLevel::Admin,
        pinned_at: start_time(),
        life: Life::first(start_time()),
        hold: None,
    })
    .await
    .unwrap();
    let site = Site::new("alpha.test", config()).await;
    let tasks = crate::Tasks::default();
    let (address, decided) = fake::serve(keys, failing, &tasks).await;
    let row = keys.row(address);
    let house = site.start_with(vec![row], &["127.0.0.0/8"], pins, Arc::default());
    (house, decided)
}

#[tokio::test]
async fn signals_cross_when_there_is_a_peer_and_are_forgotten_when_there_is_none() {
    let (alpha, beta) = pair(config).await;
    let signal = |to: &House| wire::Signal {
        user: user(alpha.domain()).to_string(),
        peer: user(to.domain()).to_string(),
        what: "kp".to_owned(),
        ..wire::Signal::default()
    };
    alpha.federation.signal(beta.domain(), signal(&beta));
    eventually("it arrives", || beta.local.signals.lock().len() == 1).await;
    let nobody = name("nobody.test");
    alpha.federation.signal(&nobody, signal(&beta));
    eventually("it was tried", || !alpha.last_error(&nobody).is_empty()).await;
    alpha.stops().await;
}

#[tokio::test]
async fn a_person_is_found_or_not_and_a_late_answer_is_not_lost() {
    let (alpha, beta) = pair(config).await;
    let bob = FindQuery::LocalPart("bob".to_owned());
    let person = wire::Person {
        user: user(beta.domain()).to_string(),
        ..Default::default()
    };
    beta.local.people.lock().insert(bob.clone(), person.clone());
    let find = async |query: &FindQuery, within| {
        let federation = &alpha.federation;
        federation.find(beta.domain(), query.clone(), within).await
    };
    assert_eq!(find(&bob, SOON).await.unwrap(), Some(person.clone()));
    let eve = FindQuery::User(user(beta.domain()));
    assert_eq!(find(&eve, SOON).await.unwrap(), None);

    *beta.local.find_delay.lock() = Duration::from_millis(150);
    let early = find(&bob, Duration::from_millis(10)).await;
    assert!(matches!(early, Err(FindError::NotYet)), "{early:?}");
    let again = find(&bob, SOON).await;
    assert_eq!(again.unwrap(), Some(person));
    assert_eq!(beta.local.finds.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_peer_speaks_for_its_own_people_only() {
    let (alpha, beta) = pair(config).await;
    let bob = FindQuery::LocalPart("bob".to_owned());
    let other = wire::Person {
        user: user(&name("gamma.test")).to_string(),
        ..Default::default()
    };
    beta.local.people.lock().insert(bob.clone(), other);
    let found = alpha.federation.find(beta.domain(), bob, SOON).await;
    assert!(matches!(found, Err(FindError::Link(_))), "{found:?}");
}
