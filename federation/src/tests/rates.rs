//! Peers that come too often: what counts waits and is not lost, and nobody else waits for it.

use std::time::Duration;

use freehold_proto::{RefusalCode, wire};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{sleep, timeout};

use super::{
    stranger::Stranger,
    support::{House, SOON, Site, config, eventually, later, pair, user},
};
use crate::{Config, FindQuery, Rate, Rates, Verdict, peer::BATCHES_MAX, status};

const SECOND: Duration = Duration::from_secs(1);
/// Longer than a scene.
const PATIENT: Duration = Duration::from_secs(60);

fn rate(per_second: u32, burst: u32) -> Option<Rate> {
    Some(Rate::new(per_second, burst).unwrap())
}

fn with(change: impl Fn(&mut Rates)) -> Config {
    let mut config = config();
    change(&mut config.rates);
    config
}

/// Alpha, which is particular, and two who write to it.
async fn three(alphas: Config) -> [House; 3] {
    let alpha = Site::new("alpha.test", alphas).await;
    let beta = Site::new("beta.test", config()).await;
    let gamma = Site::new("gamma.test", config()).await;
    let (to_alpha, others) = (alpha.row(), vec![beta.row(), gamma.row()]);
    let start = |it: Site| it.start(vec![to_alpha.clone()]);
    [alpha.start(others), start(beta), start(gamma)]
}

/// What alpha has taken, without what gamma wrote.
fn of_the_flood(alpha: &House) -> Vec<u8> {
    let mut taken = alpha.local.taken();
    taken.retain(|it| *it < 200);
    taken
}

#[tokio::test]
async fn a_domain_that_floods_is_told_later_and_all_of_it_arrives_once_and_in_order() {
    let [alpha, beta, gamma] = three(with(|it| it.items = rate(1, 5))).await;
    beta.writes(alpha.domain(), 1..=23);
    eventually("the first ones", || alpha.local.taken() == [1, 2, 3, 4, 5]).await;
    eventually("a word on the others", || beta.outbox.settled().len() == 23).await;
    let settled = beta.outbox.settled();
    let limited = |it: &Verdict| matches!(it, Verdict::Later { code: RefusalCode::RateLimited, retry_after } if *retry_after >= SECOND);
    assert!(
        settled.iter().skip(5).all(|(_, it)| limited(it)),
        "{settled:?}"
    );
    gamma.writes(alpha.domain(), 200..=204);
    eventually("mail of somebody else", || {
        gamma.outbox.is_empty() && alpha.local.taken().ends_with(&[200, 201, 202, 203, 204])
    })
    .await;
    assert_eq!(of_the_flood(&alpha), [1, 2, 3, 4, 5]);

    for (sofar, verdicts) in [(10_u8, 23 + 18), (15, 41 + 13), (20, 54 + 8), (23, 62 + 3)] {
        later(&alpha, 5 * SECOND);
        later(&beta, 5 * SECOND);
        beta.federation.wake(alpha.domain());
        let some = || of_the_flood(&alpha) == (1..=sofar).collect::<Vec<_>>();
        eventually("some more", some).await;
        // Until beta knows what is to come later, by its clock, that must not go on.
        let known = || beta.outbox.settled().len() == verdicts;
        eventually("a word on the others", known).await;
    }
    eventually("nothing waits", || beta.outbox.is_empty()).await;
}

#[tokio::test]
async fn a_little_too_much_is_held_until_there_is_room_and_others_pass_by() {
    let alphas = with(|it| {
        it.items = rate(1000, 5);
        it.patience = PATIENT;
    });
    let [alpha, beta, gamma] = three(alphas).await;
    beta.writes(alpha.domain(), 1..=12);
    gamma.writes(alpha.domain(), 200..=204);
    eventually("mail of somebody else", || gamma.outbox.is_empty()).await;
    assert!(of_the_flood(&alpha).is_empty(), "a batch is decided whole");
    eventually("all of it", || {
        later(&alpha, SECOND);
        of_the_flood(&alpha) == (1..=12).collect::<Vec<_>>()
    })
    .await;
    eventually("nothing waits", || beta.outbox.is_empty()).await;
    let verdicts = beta.outbox.settled();
    assert!(
        verdicts.iter().all(|(_, it)| *it == Verdict::Ok),
        "{verdicts:?}"
    );
}

#[tokio::test]
async fn a_domain_has_only_so_many_batches_waiting_in_our_memory() {
    let alphas = with(|it| {
        it.items = rate(1000, 1);
        it.patience = PATIENT;
    });
    let [alpha, beta, _gamma] = three(alphas).await;
    let brings = |of: &Stranger, number| {
        let request = of.batch(vec![beta.keys.seal(alpha.domain(), number)]);
        let mut client = of.calls.client.clone();
        async move { client.deliver(request).await }
    };
    let [one, other] = [
        Stranger::proven(&beta.keys, &alpha).await,
        Stranger::proven(&beta.keys, &alpha).await,
    ];
    brings(&one, 1).await.unwrap();
    let mut answers = FuturesUnordered::new();
    for number in 2..=6 {
        answers.push(brings(&one, number));
        answers.push(brings(&other, number + 100));
    }
    // The clock stands still, so nothing is decided; what is too much is refused at once.
    for _ in BATCHES_MAX..10 {
        let refused = timeout(SOON, answers.next()).await.unwrap().unwrap();
        let refused = status::read(&refused.unwrap_err()).unwrap();
        assert_eq!(refused.code, RefusalCode::RateLimited);
    }
    let more = timeout(Duration::from_millis(50), answers.next()).await;
    assert!(more.is_err(), "{more:?}");
    let moving = async {
        loop {
            later(&alpha, SECOND);
            sleep(Duration::from_millis(5)).await;
        }
    };
    let decided = async {
        while let Some(answer) = answers.next().await {
            answer.unwrap();
        }
    };
    tokio::select! {
        () = decided => {}
        () = moving => {}
        () = sleep(SOON) => panic!("what waits is not decided"),
    }
    assert_eq!(alpha.local.taken().len(), 1 + BATCHES_MAX);
}

#[tokio::test]
async fn signals_that_are_too_many_are_forgotten_and_the_link_lives() {
    let (alpha, beta) = pair(|| with(|it| it.signals = rate(1, 3))).await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let signal = wire::Signal {
        user: user(alpha.domain()).to_string(),
        peer: user(beta.domain()).to_string(),
        what: "kp".to_owned(),
        ..wire::Signal::default()
    };
    let sends = |count| {
        let request = wire::SignalRequest {
            from: alpha.domain().to_string(),
            to: beta.domain().to_string(),
            signals: vec![signal.clone(); count],
        };
        let mut client = stranger.calls.client.clone();
        async move { client.signal(request).await }
    };
    sends(8).await.unwrap();
    assert_eq!(beta.local.signals.lock().len(), 3);
    sends(1).await.unwrap();
    assert_eq!(beta.local.signals.lock().len(), 3);
    later(&beta, SECOND);
    sends(8).await.unwrap();
    assert_eq!(beta.local.signals.lock().len(), 4);
}

#[tokio::test]
async fn questions_that_are_too_many_are_refused_151_and_answered_again_later() {
    let (alpha, beta) = pair(|| with(|it| it.questions = rate(1, 3))).await;
    let [stranger, another] = [
        Stranger::proven(&alpha.keys, &beta).await,
        Stranger::proven(&alpha.keys, &beta).await,
    ];
    let asks = |of: &Stranger| {
        let request = wire::FindRequest {
            from: alpha.domain().to_string(),
            to: beta.domain().to_string(),
            query: Some(wire::find_request::Query::LocalPart("bob".to_owned())),
        };
        let mut client = of.calls.client.clone();
        async move { client.find(request).await }
    };
    for _ in 0..3 {
        asks(&stranger).await.unwrap();
    }
    // A domain is one, however many connections it has.
    let refused = asks(&another).await.unwrap_err();
    assert_eq!(status::read(&refused).unwrap().code.number(), 151);
    let reading = wire::ReadGroupRequest {
        listed: false,
        from: alpha.domain().to_string(),
        to: beta.domain().to_string(),
        group: vec![7; 16].into(),
        what: Some(wire::read_group_request::What::EntriesAfter(0)),
        feed: false,
    };
    let refused = stranger.calls.client.clone().read_group(reading).await;
    let refused = status::read(&refused.unwrap_err()).unwrap();
    assert_eq!(refused.code, RefusalCode::RateLimited);
    later(&beta, SECOND);
    asks(&another).await.unwrap();
}

#[tokio::test]
async fn a_question_that_is_a_little_too_many_is_held_until_there_is_room() {
    let (alpha, beta) = pair(|| {
        with(|it| {
            it.questions = rate(1000, 1);
            it.patience_of_questions = PATIENT;
        })
    })
    .await;
    let finds = |name: &str| {
        let query = FindQuery::LocalPart(name.to_owned());
        alpha.federation.find(beta.domain(), query, PATIENT)
    };
    assert_eq!(finds("bob").await.unwrap(), None);
    let mut second = Box::pin(finds("bill"));
    let waits = timeout(Duration::from_millis(50), &mut second).await;
    assert!(waits.is_err(), "the clock stands still");
    later(&beta, SECOND);
    assert_eq!(second.await.unwrap(), None);
}

#[tokio::test]
async fn hellos_of_one_network_are_counted_until_a_domain_is_proven() {
    let (alpha, beta) = pair(|| with(|it| it.hellos = rate(1, 3))).await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    // On a connection that has proven a domain they cost nothing new.
    for _ in 0..5 {
        stranger.says(stranger.hello()).await.unwrap();
    }
    let wrong = |of: &Stranger| wire::HelloRequest {
        to: "else.test".to_owned(),
        ..of.hello()
    };
    let crowd = Stranger::connects(&alpha.keys, &alpha.keys, &beta).await;
    for _ in 0..2 {
        let refusal = crowd.says(wrong(&crowd)).await.unwrap_err();
        assert_eq!(refusal.code, RefusalCode::WrongAudience);
    }
    let refusal = crowd.says(crowd.hello()).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::RateLimited);
    stranger.says(stranger.hello()).await.unwrap();
    later(&beta, SECOND);
    crowd.says(crowd.hello()).await.unwrap();
}
