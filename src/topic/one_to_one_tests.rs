//! Scenes between Alice of this domain, Bob of this domain, and Carol of another one.

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_767_323_045_000 + second * 1000).unwrap()
}

fn user(number: u8, domain: &str) -> UserId {
    UserId::new([number; 8], domain.parse().unwrap())
}

fn alice() -> UserId {
    user(1, "here.test")
}

fn bob() -> UserId {
    user(2, "here.test")
}

fn carol() -> UserId {
    user(3, "there.test")
}

fn topic(with: UserId) -> OneToOne {
    OneToOne::new(alice(), with, &"here.test".parse().unwrap())
}

fn id(number: u8) -> MessageId {
    MessageId::from_bytes([number; 16])
}

fn mode(text: &str) -> AccessMode {
    text.parse().unwrap()
}

const ALL: AccessMode = AccessMode::ONE_TO_ONE;

fn from_carol(want_version: u64, given_version: u64) -> PeerRelation {
    PeerRelation {
        want: ALL,
        want_version,
        given: ALL,
        given_version,
    }
}

/// Alice has been invited by Carol.
fn invited() -> OneToOne {
    let mut topic = topic(carol());
    topic.relate(&carol(), &from_carol(1, 1), ALL, false, at(0));
    topic
}

#[test]
fn opening_a_topic_gives_both_a_standing_and_opening_it_again_changes_nothing() {
    let mut topic = topic(bob());
    let changes = topic.subscribe(&alice(), None, ALL, ALL, at(0)).unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|it| (it.user.clone(), it.fresh))
        .collect();
    assert_eq!(told, [(alice(), true), (bob(), true)]);
    assert_eq!(topic.person(&bob()).active().unwrap().mode(), ALL);
    assert!(
        topic
            .subscribe(&alice(), None, ALL, ALL, at(1))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn what_somebody_elsewhere_wants_is_not_for_us_to_say() {
    let mut topic = topic(carol());
    topic.subscribe(&alice(), None, ALL, ALL, at(0)).unwrap();
    assert_eq!(
        topic.person(&carol()).active().unwrap().want,
        AccessMode::NONE
    );
    let changes = topic.relate(&carol(), &from_carol(1, 1), ALL, false, at(1));
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(topic.person(&carol()).active().unwrap().want, ALL);
}

#[test]
fn a_writer_has_read_what_he_wrote() {
    let mut topic = topic(bob());
    topic.subscribe(&alice(), None, ALL, ALL, at(0)).unwrap();
    assert_eq!(topic.publish(&alice(), at(1)), Ok(1));
    assert_eq!(topic.publish(&bob(), at(2)), Ok(2));
    assert_eq!(topic.person(&alice()).active().unwrap().read, 1);
    assert_eq!(topic.person(&bob()).active().unwrap().read, 2);
}

#[test]
fn who_may_not_write_is_refused_and_nothing_changes() {
    let mut topic = topic(bob());
    assert_eq!(topic.publish(&alice(), at(0)), Err(reply::ATTACH_FIRST));
    topic.subscribe(&alice(), None, ALL, ALL, at(0)).unwrap();
    topic.grant(&bob(), "JRPA", at(1)).unwrap();
    assert_eq!(
        topic.publish(&alice(), at(2)),
        Err(reply::PERMISSION_DENIED)
    );
    assert_eq!(topic.head, 0);
}

#[test]
fn a_stranger_from_elsewhere_is_an_invitation_with_three_short_texts() {
    let mut topic = invited();
    let standing = topic.person(&alice()).active().unwrap();
    assert_eq!(
        (standing.given, standing.want),
        (mode("JRWPA"), mode("JRPA"))
    );
    for number in 1..=3 {
        let reception = topic.receive(&carol(), id(number), Some(280), at(1));
        assert_eq!(reception, Reception::Shown(number.into()));
    }
    assert_eq!(
        topic.receive(&carol(), id(4), Some(1), at(1)),
        Reception::AwaitingConsent
    );
}

#[test]
fn media_and_long_texts_wait_for_consent() {
    assert_eq!(
        invited().receive(&carol(), id(1), None, at(1)),
        Reception::AwaitingConsent
    );
    assert_eq!(
        invited().receive(&carol(), id(1), Some(281), at(1)),
        Reception::AwaitingConsent
    );
}

#[test]
fn a_message_that_waited_and_never_comes_again_holds_nothing_up() {
    let mut topic = invited();
    let waits = topic.receive(&carol(), id(1), Some(281), at(1));
    assert_eq!(waits, Reception::AwaitingConsent);
    topic.want(&alice(), "JRWPA", at(2)).unwrap();
    // It was refused on its way to the topic. What its author wrote behind it comes now.
    let later = at(1).plus(HELD_FOR);
    assert_eq!(
        topic.receive(&carol(), id(2), Some(1), later),
        Reception::Shown(1)
    );
}

#[test]
fn nothing_overtakes_a_message_that_waits_even_when_consent_comes_in_between() {
    let mut topic = invited();
    assert_eq!(
        topic.receive(&carol(), id(1), Some(281), at(1)),
        Reception::AwaitingConsent
    );
    assert_eq!(
        topic.receive(&carol(), id(2), Some(1), at(1)),
        Reception::AwaitingConsent
    );
    topic.want(&alice(), "JRWPA", at(2)).unwrap();
    assert_eq!(
        topic.receive(&carol(), id(3), Some(1), at(3)),
        Reception::AwaitingConsent
    );
    assert_eq!(
        topic.receive(&carol(), id(1), Some(281), at(4)),
        Reception::Shown(1)
    );
    assert_eq!(
        topic.receive(&carol(), id(2), Some(1), at(4)),
        Reception::Shown(2)
    );
}

#[test]
fn whoever_is_blocked_hears_nothing_of_it() {
    let mut topic = invited();
    topic.want(&alice(), "-JP", at(1)).unwrap();
    assert_eq!(
        topic.receive(&carol(), id(1), Some(1), at(2)),
        Reception::Silent
    );
    topic.relate(&carol(), &from_carol(2, 2), ALL, false, at(3));
    assert!(
        !topic
            .person(&alice())
            .active()
            .unwrap()
            .want
            .has(AccessMode::JOIN)
    );
}

/// Carol's domain hands over a message after the topic was left.
fn carol_writes_again(topic: &mut OneToOne, number: u8) -> Reception {
    topic.relate(&carol(), &from_carol(0, 0), ALL, true, at(9));
    topic.receive(&carol(), id(number), Some(1), at(9))
}

#[test]
fn who_had_agreed_and_left_is_invited_again_by_a_message_and_by_nothing_else() {
    let mut topic = invited();
    topic.want(&alice(), "JRWPA", at(1)).unwrap();
    topic.leave(&alice(), at(2)).unwrap();
    assert!(
        topic
            .relate(&carol(), &from_carol(2, 2), ALL, false, at(3))
            .is_empty()
    );
    assert!(topic.person(&alice()).active().is_none());
    assert_eq!(carol_writes_again(&mut topic, 1), Reception::Shown(1));
    let standing = topic.person(&alice()).active().unwrap();
    assert_eq!(standing.want, AccessMode::INVITED);
    assert!(
        standing.want_version > 2,
        "a newer word than the ones before"
    );
}

#[test]
fn an_invitation_thrown_away_stays_away_and_its_texts_stay_counted() {
    let mut topic = invited();
    assert_eq!(
        topic.receive(&carol(), id(1), Some(1), at(1)),
        Reception::Shown(1)
    );
    topic.leave(&alice(), at(2)).unwrap();
    assert_eq!(carol_writes_again(&mut topic, 2), Reception::Silent);
    assert_eq!(carol_writes_again(&mut topic, 3), Reception::Silent);
    assert_eq!(
        carol_writes_again(&mut topic, 4),
        Reception::AwaitingConsent
    );
    assert!(topic.person(&alice()).active().is_none());
}

#[test]
fn a_stranger_cannot_tell_being_blocked_from_not_being_looked_at() {
    let answers = |topic: &mut OneToOne| {
        let texts = [
            (1, Some(1)),
            (2, Some(1)),
            (3, Some(1)),
            (4, Some(1)),
            (4, None),
        ];
        texts.map(|(number, text)| {
            topic.held = None;
            matches!(
                topic.receive(&carol(), id(number), text, at(5)),
                Reception::AwaitingConsent
            )
        })
    };
    let (mut waiting, mut blocked) = (invited(), invited());
    blocked.want(&alice(), "-JP", at(1)).unwrap();
    assert_eq!(answers(&mut waiting), answers(&mut blocked));
}

#[test]
fn nothing_waits_for_a_message_that_its_author_has_deleted() {
    let mut topic = invited();
    let hears =
        |topic: &mut OneToOne, number, text| topic.receive(&carol(), id(number), text, at(1));
    assert_eq!(hears(&mut topic, 1, Some(281)), Reception::AwaitingConsent);
    assert_eq!(hears(&mut topic, 2, Some(5)), Reception::AwaitingConsent);
    topic.let_go(&[id(3)]);
    assert_eq!(hears(&mut topic, 2, Some(5)), Reception::AwaitingConsent);
    topic.let_go(&[id(3), id(1)]);
    assert_eq!(hears(&mut topic, 2, Some(5)), Reception::Shown(1));
}

#[test]
fn between_domains_each_says_for_its_own_people_whether_they_delete_for_both() {
    let mut topic = invited();
    let given = |topic: &OneToOne, user: &UserId| topic.person(user).active().unwrap().given;
    topic.allow_deletion(true);
    let with = ALL.or(AccessMode::DELETE);
    assert_eq!(given(&topic, &alice()), with);
    assert_eq!(given(&topic, &carol()), ALL);
    assert_eq!(topic.grant(&alice(), "JRWPAD", at(1)).unwrap(), None);
    assert_eq!(given(&topic, &carol()), ALL);
    // Another word of hers does not take it, unless she wants nothing of it any more.
    topic.relate(&carol(), &from_carol(2, 2), ALL, false, at(2));
    assert_eq!(given(&topic, &alice()), with);
    let out = PeerRelation {
        given: AccessMode::NONE,
        ..from_carol(3, 3)
    };
    topic.relate(&carol(), &out, ALL, false, at(3));
    assert_eq!(given(&topic, &alice()), AccessMode::NONE);
    topic.relate(&carol(), &from_carol(4, 4), ALL, false, at(4));
    topic.allow_deletion(false);
    assert_eq!(given(&topic, &alice()), ALL);
}

#[test]
fn an_older_word_from_elsewhere_changes_nothing() {
    let mut topic = invited();
    topic.relate(&carol(), &from_carol(5, 5), ALL, false, at(1));
    let old = PeerRelation {
        want: AccessMode::NONE,
        given: AccessMode::NONE,
        ..from_carol(4, 4)
    };
    assert!(topic.relate(&carol(), &old, ALL, false, at(2)).is_empty());
    assert_eq!(topic.person(&alice()).active().unwrap().given, ALL);
}

#[test]
fn cursors_only_go_forward_and_never_past_the_last_message() {
    let mut topic = topic(bob());
    topic.subscribe(&alice(), None, ALL, ALL, at(0)).unwrap();
    for second in 1..=3 {
        topic.publish(&bob(), at(second)).unwrap();
    }
    let moved = |topic: &mut OneToOne, read, received| topic.progress(&alice(), read, received);
    let received = CursorMove {
        read: None,
        received: Some(2),
    };
    assert_eq!(moved(&mut topic, 0, 2), Some(received));
    let read = CursorMove {
        read: Some(3),
        received: None,
    };
    assert_eq!(moved(&mut topic, 3, 0), Some(read));
    assert_eq!(moved(&mut topic, 2, 2), None);
    assert_eq!(moved(&mut topic, 4, 0), None);
    assert_eq!(topic.person(&alice()).active().unwrap().received, 3);
}

#[test]
fn reading_one_message_and_receiving_a_later_one_are_both_told() {
    let mut topic = topic(bob());
    topic.subscribe(&alice(), None, ALL, ALL, at(0)).unwrap();
    for second in 1..=4 {
        topic.publish(&bob(), at(second)).unwrap();
    }
    let both = CursorMove {
        read: Some(2),
        received: Some(4),
    };
    assert_eq!(topic.progress(&alice(), 2, 4), Some(both));
}
