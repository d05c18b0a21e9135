//! Entries of groups' logs: written by anybody, handed on by the home.

use std::{sync::atomic::Ordering, time::Duration};

use freehold_proto::{Destination, Envelope, GroupId, KeyId, Placed, Position, RefusalCode, wire};

use super::{
    stranger::Stranger,
    support::{House, Keys, Site, config, later, message, start_time, user},
};
use crate::{GroupAnswer, GroupQuery, LinkError};

fn group() -> GroupId {
    GroupId::from_bytes([7; 16])
}

impl Keys {
    /// Something that a person of this domain wrote in the group.
    fn writes(&self, number: u8) -> Envelope {
        let payload = wire::payload::Kind::GroupMessage(wire::GroupMessage {
            author: user(self.domain()).to_string(),
            content: format!("{number}").into(),
            ..Default::default()
        });
        let (to, id) = (Destination::Group(group()), message(number));
        let signer = self.ring.signer();
        signer.seal(to, id, start_time(), payload).unwrap()
    }

    /// Gives an envelope a place in the group's log.
    fn places(&self, index: u64, envelope: &Envelope) -> Placed {
        let signer = self.ring.signer();
        signer.place(Position {
            home: self.domain().clone(),
            key_id: KeyId::of(&[0; 32]),
            group: group(),
            feed: false,
            epoch: 1,
            index,
            order: u32::try_from(index).unwrap(),
            placed_at: start_time(),
            previous: [0; 32],
            envelope: envelope.header_hash(),
        })
    }
}

/// Beta, with alpha and gamma, all of whom know each other.
async fn three() -> [House; 3] {
    let mut sites = Vec::new();
    for domain in ["alpha.test", "beta.test", "gamma.test"] {
        sites.push(Site::new(domain, config()).await);
    }
    let rows: Vec<_> = sites.iter().map(Site::row).collect();
    let started: Vec<_> = sites.into_iter().map(|it| it.start(rows.clone())).collect();
    started.try_into().ok().unwrap()
}

#[tokio::test]
async fn an_entry_is_taken_whoever_wrote_it_and_only_with_both_signatures() {
    let [alpha, beta, gamma] = three().await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let entry = |index, author: &Keys, number| {
        let envelope = author.writes(number);
        let placed = alpha.keys.places(index, &envelope);
        (envelope, Some(placed))
    };
    let mut altered = entry(4, &gamma.keys, 4);
    altered.0.payload = [&*altered.0.payload, b"!"].concat().into();
    let mut forged = entry(5, &gamma.keys, 5);
    forged.0.signature[3] ^= 1;
    let mut moved = entry(6, &gamma.keys, 6);
    if let Some(placed) = &mut moved.1 {
        placed.signature[3] ^= 1;
    }
    // The place of another envelope, a place that another domain gave, and no place at all.
    let swapped = (gamma.keys.writes(7), entry(7, &gamma.keys, 8).1);
    let foreign = gamma.keys.writes(9);
    let foreign = (foreign.clone(), Some(gamma.keys.places(8, &foreign)));
    let unplaced = (gamma.keys.writes(10), None);
    let elsewhere = gamma.keys.seal(beta.domain(), 11);
    let elsewhere = (elsewhere.clone(), Some(alpha.keys.places(9, &elsewhere)));
    let nobody = entry(10, &Keys::new("delta.test"), 12);
    let codes = stranger.delivers(stranger.handing_on(vec![
        entry(1, &gamma.keys, 1),
        entry(2, &alpha.keys, 2),
        entry(3, &beta.keys, 3),
        altered,
        forged,
        moved,
        swapped,
        foreign,
        unplaced,
        elsewhere,
        nobody,
    ]));
    let codes = codes.await.unwrap();
    let later = RefusalCode::IdentityUnverified.number();
    let expected = [0, 0, 0, 124, 123, 123, 124, 120, 120, 121, later];
    assert_eq!(codes, expected);
    assert_eq!(beta.local.taken(), [1, 2, 3]);
}

#[tokio::test]
async fn words_that_have_been_erased_do_not_break_the_log() {
    let [alpha, beta, gamma] = three().await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let envelope = gamma.keys.writes(1);
    let placed = alpha.keys.places(1, &envelope);
    let batch = stranger.handing_on(vec![(envelope.erased(), Some(placed))]);
    assert_eq!(stranger.delivers(batch).await.unwrap(), [0]);
    // Without a place nothing comes without its words.
    let erased = alpha.keys.writes(2).erased();
    let batch = stranger.handing_on(vec![(erased, None)]);
    assert_eq!(stranger.delivers(batch).await.unwrap(), [124]);
}

#[tokio::test]
async fn an_author_s_domain_that_is_gone_does_not_hold_up_a_group_for_ever() {
    let [alpha, beta, _] = three().await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let envelope = Keys::new("delta.test").writes(1);
    let placed = alpha.keys.places(1, &envelope);
    let batch = || stranger.handing_on(vec![(envelope.clone(), Some(placed.clone()))]);
    let unverified = RefusalCode::IdentityUnverified.number();
    assert_eq!(stranger.delivers(batch()).await.unwrap(), [unverified]);
    // An hour after it was asked for in vain it counts, and says nothing.
    later(&beta, Duration::from_secs(61 * 60));
    assert_eq!(stranger.delivers(batch()).await.unwrap(), [0]);
    assert_eq!(beta.local.unshown.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn words_by_a_key_that_their_domain_does_not_list_hold_up_a_group_for_an_hour() {
    let [alpha, beta, gamma] = three().await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let listed = gamma.keys.writes(1);
    let unlisted = Keys::new("gamma.test").writes(2);
    let entries = || {
        let placed = |index, it: &Envelope| (it.clone(), Some(alpha.keys.places(index, it)));
        vec![placed(1, &unlisted), placed(2, &listed)]
    };
    let batch = || stranger.handing_on(entries());
    let unknown = RefusalCode::UnknownKey.number();
    // It may have been placed long ago: the hour is ours, from when we first asked for the key.
    later(&beta, Duration::from_secs(61 * 60));
    assert_eq!(stranger.delivers(batch()).await.unwrap(), [unknown, 0]);
    later(&beta, Duration::from_secs(59 * 60));
    assert_eq!(stranger.delivers(batch()).await.unwrap(), [unknown, 1]);
    later(&beta, Duration::from_secs(2 * 60));
    assert_eq!(stranger.delivers(batch()).await.unwrap(), [0, 1]);
    assert_eq!(beta.local.unshown.load(Ordering::SeqCst), 1);
}

/// What alpha shows of its group.
fn shows(alpha: &House, what: wire::read_group_response::What) {
    alpha.local.groups.lock().insert(group(), what);
}

#[tokio::test]
async fn words_of_the_past_by_a_key_that_is_gone_keep_their_place_and_are_not_shown() {
    let [alpha, beta, _] = three().await;
    let message = |order, by: &Keys| wire::PastMessage {
        order,
        envelope: Some(by.writes(1).into()),
    };
    let page = wire::LogPage {
        past: vec![
            message(7, &alpha.keys),
            message(4, &Keys::new("gamma.test")),
        ],
        ..Default::default()
    };
    shows(&alpha, wire::read_group_response::What::Page(page));
    let ask = || {
        let query = GroupQuery::MessagesBefore(8);
        beta.federation.read_group(alpha.domain(), group(), query)
    };
    assert!(ask().await.is_err(), "the key may still come");
    later(&beta, Duration::from_secs(61 * 60));
    let Some(GroupAnswer::Page(_, past, _)) = ask().await.unwrap() else {
        unreachable!("a page is shown");
    };
    let seen: Vec<_> = past
        .iter()
        .map(|it| (it.order, it.envelope.is_some()))
        .collect();
    assert_eq!(seen, [(7, true), (4, false)]);
}

#[tokio::test]
async fn a_group_is_read_from_its_home_and_every_signature_is_checked() {
    let [alpha, beta, gamma] = three().await;
    let ask = || {
        let query = GroupQuery::EntriesAfter(0);
        beta.federation.read_group(alpha.domain(), group(), query)
    };
    assert!(ask().await.unwrap().is_none(), "there is no such group");
    let entry = |author: &Keys, home: &Keys| {
        let envelope = author.writes(1);
        wire::LogEntry {
            placed: Some(home.places(1, &envelope).into()),
            envelope: Some(envelope.into()),
        }
    };
    let page = |entry| {
        wire::read_group_response::What::Page(wire::LogPage {
            entries: vec![entry],
            ..Default::default()
        })
    };
    shows(&alpha, page(entry(&gamma.keys, &alpha.keys)));
    let answer = ask().await.unwrap();
    let author = match &answer {
        Some(GroupAnswer::Page(entries, _, false)) => entries.first().map(|it| &it.header.from),
        _ => None,
    };
    assert_eq!(author, Some(gamma.domain()));
    // What a former home placed holds by that home's signature, and by no other.
    shows(&alpha, page(entry(&gamma.keys, &gamma.keys)));
    let home = match ask().await.unwrap() {
        Some(GroupAnswer::Page(entries, ..)) => entries.first().map(|it| it.position.home.clone()),
        _ => None,
    };
    assert_eq!(home.as_ref(), Some(gamma.domain()));
    let mut stolen = entry(&gamma.keys, &gamma.keys);
    let forger = alpha.keys.places(1, &gamma.keys.writes(1)).signature;
    if let Some(placed) = &mut stolen.placed {
        placed.signature = forger.to_vec().into();
    }
    shows(&alpha, page(stolen));
    assert!(matches!(ask().await, Err(LinkError::Misbehaved { .. })));
    let head = alpha.keys.places(3, &alpha.keys.writes(3));
    let state = |head: Placed| {
        wire::read_group_response::What::State(wire::GroupState {
            head: Some(head.into()),
            ..Default::default()
        })
    };
    shows(&alpha, state(head.clone()));
    let index = match ask().await.unwrap() {
        Some(GroupAnswer::State { head, .. }) => Some(head.position.index),
        _ => None,
    };
    assert_eq!(index, Some(3));
    let mut forged = head;
    forged.signature[0] ^= 1;
    shows(&alpha, state(forged));
    assert!(matches!(ask().await, Err(LinkError::Misbehaved { .. })));
}

#[tokio::test]
async fn entries_that_wait_in_the_outbox_go_with_their_places() {
    let [alpha, beta, gamma] = three().await;
    let envelope = gamma.keys.writes(5);
    let placed = alpha.keys.places(1, &envelope);
    alpha
        .outbox
        .push_entry(beta.domain(), envelope, Some(placed));
    alpha.federation.wake(beta.domain());
    super::support::eventually("the entry at beta", || beta.local.taken() == [5]).await;
    super::support::eventually("nothing waits", || alpha.outbox.is_empty()).await;
    for house in [&alpha, &beta, &gamma] {
        house.stops().await;
    }
}
