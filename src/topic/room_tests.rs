//! Scenes in a group of Ann, who owns it, Ben and Cat.

use super::*;

const LIMITS: RoomLimits = RoomLimits { members_max: 4 };
const WANTS: AccessMode = AccessMode::GROUP.or(AccessMode::APPROVE);

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_767_323_045_000 + second * 1000).unwrap()
}

fn user(number: u8) -> UserId {
    UserId::new([number; 8], "alpha.test".parse().unwrap())
}

fn ann() -> UserId {
    user(1)
}

fn ben() -> UserId {
    user(2)
}

fn cat() -> UserId {
    user(3)
}

fn dan() -> UserId {
    user(4)
}

fn group(kind: RoomKind) -> Room {
    let mut room = Room::new(kind, Some(GroupId::from_bytes([7; 16])), at(0));
    room.found(&ann(), AccessMode::NONE, at(0));
    for user in [ben(), cat()] {
        let change = room
            .grant(&ann(), &user, "", Some(WANTS), LIMITS, at(1))
            .unwrap();
        assert!(change.unwrap().fresh);
    }
    room
}

fn mode(room: &Room, user: &UserId) -> String {
    room.mode(user).to_string()
}

fn given(room: &mut Room, actor: &UserId, target: &UserId, mode: &str) -> Result<(), Status> {
    room.grant(actor, target, mode, Some(WANTS), LIMITS, at(2))
        .map(|_| ())
}

/// What a refused request did: nothing.
#[track_caller]
fn refused<T: std::fmt::Debug>(
    room: &mut Room,
    status: Status,
    request: impl FnOnce(&mut Room) -> Result<T, Status>,
) {
    room.changed.clear();
    let before = format!("{:?} {:?}", room.members, room.description);
    assert_eq!(request(room).unwrap_err(), status);
    assert_eq!(format!("{:?} {:?}", room.members, room.description), before);
    assert!(room.changed.is_empty());
}

#[test]
fn the_owner_has_every_right_and_the_invited_what_the_group_gives() {
    let room = group(RoomKind::Group);
    assert_eq!(mode(&room, &ann()), "JRWPASDO");
    assert_eq!(mode(&room, &ben()), "JRWPS");
    assert_eq!(room.owner(), Some(&ann()));
    assert_eq!(mode(&room, &dan()), "N");
}

#[test]
fn strangers_join_with_the_default_and_not_where_it_forbids_joining() {
    let mut room = group(RoomKind::Group);
    let level = Level::Authenticated;
    let changes = room.join(&dan(), level, "", LIMITS, at(2)).unwrap();
    assert!(changes[0].fresh);
    assert_eq!(mode(&room, &dan()), "JRWPS");
    let again = room.join(&dan(), level, "", LIMITS, at(3)).unwrap();
    assert_eq!(again, []);
    refused(&mut room, reply::POLICY, |room| {
        room.join(&user(5), level, "", LIMITS, at(3))
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.join(&user(5), Level::Anonymous, "", LIMITS, at(3))
    });
    let mut channel = group(RoomKind::Channel);
    refused(&mut channel, reply::PERMISSION_DENIED, |room| {
        room.join(&dan(), level, "", LIMITS, at(2))
    });
}

#[test]
fn nobody_takes_ownership_who_was_not_lent_it() {
    let mut room = group(RoomKind::Group);
    given(&mut room, &ann(), &ben(), "JRWPASD").unwrap();
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.want(&ben(), "JRWPASDO", at(3))
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        given(room, &ben(), &cat(), "JRWPSO")
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.join(&dan(), Level::Authenticated, "JRWPO", LIMITS, at(3))
    });
}

#[test]
fn ownership_passes_when_the_other_one_takes_it() {
    let mut room = group(RoomKind::Group);
    given(&mut room, &ann(), &ben(), "JRWPASDO").unwrap();
    assert_eq!(room.owner(), Some(&ann()));
    let changes = room.want(&ben(), "JRWPASDO", at(3)).unwrap();
    let users: Vec<_> = changes.iter().map(|it| it.user.clone()).collect();
    assert_eq!(users, [ann(), ben()]);
    assert_eq!(room.owner(), Some(&ben()));
    assert_eq!(mode(&room, &ann()), "JRWPASD");
    room.leave(&ann(), at(4)).unwrap();
}

#[test]
fn the_owner_cannot_drop_what_makes_an_owner() {
    let mut room = group(RoomKind::Group);
    given(&mut room, &ann(), &ben(), "JRWPASD").unwrap();
    for wanted in ["JRWPASD", "RWPASDO", "N"] {
        refused(&mut room, reply::PERMISSION_DENIED, |room| {
            room.want(&ann(), wanted, at(3))
        });
    }
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        given(room, &ben(), &ann(), "JRWP")
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.evict(&ben(), &ann(), at(3))
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.leave(&ann(), at(3))
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.close(&ben(), at(3))
    });
}

#[test]
fn an_admin_helps_himself_to_all_but_ownership_and_deletion() {
    let mut room = group(RoomKind::Group);
    given(&mut room, &ann(), &ben(), "JRWPA").unwrap();
    room.want(&ben(), "JRWPASD", at(3)).unwrap();
    assert_eq!(mode(&room, &ben()), "JRWPAS");
    let asked = room.want(&cat(), "JRWPASD", at(3)).unwrap();
    // A member asks for more than is given: a request to approve.
    assert_eq!(asked[0].want.1.to_string(), "JRWPASD");
    assert_eq!(mode(&room, &cat()), "JRWPS");
}

#[test]
fn a_ban_outlives_leaving_and_only_admins_lift_it() {
    let mut room = group(RoomKind::Group);
    given(&mut room, &ann(), &ben(), "RWPA").unwrap();
    assert_eq!(mode(&room, &ben()), "N");
    // Not even an administrator lifts his own.
    room.want(&ben(), "JRWPA", at(2)).unwrap();
    assert_eq!(mode(&room, &ben()), "N");
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.evict(&ann(), &ben(), at(3))
    });
    room.leave(&ben(), at(3)).unwrap();
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.join(&ben(), Level::Authenticated, "", LIMITS, at(4))
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        given(room, &cat(), &ben(), "")
    });
    given(&mut room, &ann(), &ben(), "JRWP").unwrap();
    assert_eq!(mode(&room, &ben()), "JRWP");
}

#[test]
fn whoever_banned_himself_wants_again_what_he_is_given_when_he_comes_back() {
    let mut room = group(RoomKind::Group);
    room.want(&ben(), "-J", at(3)).unwrap();
    assert_eq!(mode(&room, &ben()), "N");
    room.join(&ben(), Level::Authenticated, "", LIMITS, at(4))
        .unwrap();
    assert_eq!(mode(&room, &ben()), "JRWPS");
}

#[test]
fn rights_to_invite_and_to_rule_are_told_apart() {
    let mut room = group(RoomKind::Group);
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        given(room, &ben(), &cat(), "JRWP")
    });
    given(&mut room, &ben(), &dan(), "").unwrap();
    assert_eq!(mode(&room, &dan()), "JRWPS");
    given(&mut room, &ann(), &ben(), "JRWP").unwrap();
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.evict(&ben(), &cat(), at(3))
    });
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        given(room, &ben(), &user(5), "")
    });
    refused(&mut room, reply::MALFORMED, |room| {
        given(room, &ann(), &cat(), "XYZ")
    });
    refused(&mut room, reply::NOT_MODIFIED, |room| {
        room.evict(&ann(), &user(9), at(3))
    });
    refused(&mut room, reply::ATTACH_FIRST, |room| {
        given(room, &user(9), &cat(), "")
    });
}

#[test]
fn whoever_does_not_let_himself_be_invited_is_not() {
    let mut room = group(RoomKind::Group);
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        let nothing = AccessMode::NONE;
        room.grant(&ann(), &dan(), "", Some(nothing), LIMITS, at(3))
    });
}

#[test]
fn a_reader_holds_what_readers_hold_and_stops_being_one_when_invited() {
    let mut room = group(RoomKind::Channel);
    room.read_channel(&dan(), "JRWPASDO", at(3)).unwrap();
    assert_eq!(
        (mode(&room, &dan()).as_str(), room.readers_count),
        ("JRP", 1)
    );
    assert_eq!(room.may_publish(&dan()), Err(reply::PERMISSION_DENIED));
    assert_eq!(room.read_channel(&dan(), "", at(4)).unwrap(), None);
    assert_eq!(room.size(), 3);
    given(&mut room, &ann(), &dan(), "JRWPS").unwrap();
    assert_eq!(
        (mode(&room, &dan()).as_str(), room.readers_count),
        ("JRWPS", 0)
    );
    let mut plain = group(RoomKind::Group);
    refused(&mut plain, reply::TOPIC_NOT_FOUND, |room| {
        room.read_channel(&dan(), "", at(3))
    });
}

#[test]
fn a_ban_counts_for_the_channel_too() {
    let mut room = group(RoomKind::Channel);
    given(&mut room, &ann(), &ben(), "N").unwrap();
    room.leave(&ben(), at(3)).unwrap();
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.read_channel(&ben(), "", at(4))
    });
}

#[test]
fn a_restriction_outlives_leaving() {
    let mut room = group(RoomKind::Group);
    given(&mut room, &ann(), &ben(), "JR").unwrap();
    room.leave(&ben(), at(3)).unwrap();
    given(&mut room, &cat(), &ben(), "").unwrap();
    assert_eq!(mode(&room, &ben()), "JR");
}

#[test]
fn a_new_owner_is_the_only_one_who_can_pass_the_group_on() {
    let mut room = group(RoomKind::Group);
    for user in [ben(), cat()] {
        given(&mut room, &ann(), &user, "JRWPASDO").unwrap();
    }
    room.want(&ben(), "JRWPASDO", at(3)).unwrap();
    assert_eq!(room.owner(), Some(&ben()));
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.want(&cat(), "JRWPASDO", at(4))
    });
}

#[test]
fn an_administrator_who_is_one_no_more_reads_no_reports() {
    let mut room = Room::new(RoomKind::Reports, None, at(0));
    room.join(&ann(), Level::Root, "", LIMITS, at(1)).unwrap();
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.join(&ann(), Level::Authenticated, "", LIMITS, at(2))
    });
}

#[test]
fn cursors_only_go_forward_and_never_past_the_last_message() {
    let mut room = group(RoomKind::Group);
    assert_eq!(room.append(at(2)), 1);
    assert_eq!(room.append(at(3)), 2);
    assert_eq!(room.progress(&ben(), (3, 0), 2), None);
    let moved = room.progress(&ben(), (1, 2), 2).unwrap();
    assert_eq!((moved.read, moved.received), (Some(1), Some(2)));
    assert_eq!(room.progress(&ben(), (1, 1), 2), None);
    assert_eq!(room.progress(&dan(), (1, 1), 2), None);
}

#[test]
fn nothing_is_possible_in_a_group_that_ended() {
    let mut room = group(RoomKind::Group);
    room.close(&ann(), at(5)).unwrap();
    assert_eq!(room.deleted, Some(at(5)));
    assert_eq!(room.size(), 0);
    assert_eq!(room.may_publish(&ann()), Err(reply::ATTACH_FIRST));
}

#[test]
fn reports_are_written_by_all_and_joined_by_administrators() {
    let mut room = Room::new(RoomKind::Reports, None, at(0));
    assert_eq!(room.may_publish(&dan()), Ok(()));
    refused(&mut room, reply::PERMISSION_DENIED, |room| {
        room.join(&dan(), Level::Authenticated, "", LIMITS, at(1))
    });
    room.join(&ann(), Level::Root, "", LIMITS, at(1)).unwrap();
    assert_eq!(mode(&room, &ann()), "JRWPD");
}
