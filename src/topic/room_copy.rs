//! The rules of a copy: a group whose home is another domain. The home says who stands how; what our
//! own people want, we say (rules.md 19). Pure.

use freehold_proto::{AccessMode, DomainName, Timestamp, UserId};

use super::{
    group_wire::Ruling,
    room::Room,
    standing::{AccessChange, Standing},
};
use crate::edge::reply::{self, Status};

/// What somebody wants who is asked into a group and has not answered: to see that they are asked.
pub(super) const ASKED: AccessMode = AccessMode::JOIN.or(AccessMode::PRESENCE);

impl Room {
    /// The home says how somebody stands.
    pub(super) fn rule(
        &mut self,
        actor: &UserId,
        ruling: &Ruling,
        us: &DomainName,
        now: Timestamp,
    ) -> Option<AccessChange> {
        let ours = ruling.user.domain() == us;
        // What the home has not placed yet comes behind whoever comes now.
        let head = self.unplaced.first().map_or(self.head, |it| it - 1);
        let before = self.members.get(&ruling.user).cloned();
        let mut after = before.clone().unwrap_or_else(|| Standing {
            want_version: 0,
            given_version: 0,
            created: ruling.since,
            read: head,
            received: head,
            ..Standing::new(AccessMode::NONE, AccessMode::NONE, now)
        });
        // What one of our people said last may not have reached the home yet.
        let ahead = ours && after.want_version > ruling.want_version;
        if !ahead {
            let answers = ruling.want != AccessMode::NONE;
            after.want = match answers || !ours || ruling.gone {
                true => ruling.want,
                false => ASKED,
            };
            after.want_version = ruling.want_version;
        }
        after.given = ruling.given;
        after.given_version = ruling.given_version;
        after.deleted = match (ruling.gone, after.deleted) {
            (true, known) => known.or(Some(now)),
            (false, Some(left)) if ahead => Some(left),
            (false, _) => None,
        };
        self.put(&ruling.user, actor, before, after, now)
    }

    /// The home does not name somebody among the members: they are none.
    pub(super) fn rule_out(
        &mut self,
        actor: &UserId,
        user: &UserId,
        now: Timestamp,
    ) -> Option<AccessChange> {
        let before = self.members.get(user).cloned();
        let mut after = before.clone().filter(|it| it.deleted.is_none())?;
        after.deleted = Some(now);
        self.put(user, actor, before, after, now)
    }

    fn put(
        &mut self,
        user: &UserId,
        actor: &UserId,
        before: Option<Standing>,
        mut after: Standing,
        now: Timestamp,
    ) -> Option<AccessChange> {
        let next = self.log.map_or(0, |it| it.index + 1);
        let was = before.as_ref().filter(|it| it.deleted.is_none());
        let modes = |it: &Standing| (it.want, it.given);
        let old = was.map_or((AccessMode::NONE, AccessMode::NONE), modes);
        let is = after.deleted.is_none();
        let new = if is {
            modes(&after)
        } else {
            (AccessMode::NONE, AccessMode::NONE)
        };
        let changed = was.is_some() != is || old != new;
        if changed {
            after.changed = (next, was.map_or(AccessMode::NONE, Standing::rights));
            after.updated = now;
        }
        if before.as_ref() != Some(&after) {
            self.members.insert(user.clone(), after);
            self.changed.insert(user.clone());
            // How many there are stands in its row.
            self.dirty = true;
        }
        changed.then(|| AccessChange {
            user: user.clone(),
            actor: actor.clone(),
            fresh: was.is_none(),
            gone: !is,
            want: (old.0, new.0),
            given: (old.1, new.1),
        })
    }

    /// What was written before a copy begins is no news to those who were asked before.
    pub(super) fn begin_reading(&mut self) {
        let head = self.head;
        for (user, standing) in &mut self.members {
            if standing.advance(head, head).is_some() {
                self.changed.insert(user.clone());
            }
        }
    }

    /// One of our people says what they want, which is for them to say. Ownership is not: the home
    /// passes it on.
    pub(super) fn want_in_copy(
        &mut self,
        user: &UserId,
        mode: &str,
        now: Timestamp,
    ) -> Result<Option<AccessChange>, Status> {
        let before = self.members.get(user).cloned();
        let standing = before.clone().filter(|it| it.deleted.is_none());
        let mut after = standing.ok_or(reply::ATTACH_FIRST)?;
        let asked = after.want.changed_by(mode).map_err(|_| reply::MALFORMED)?;
        let owns = after.rights().has(AccessMode::OWNER);
        let kept = AccessMode::OWNER.or(AccessMode::JOIN);
        let takes = asked.has(AccessMode::OWNER) && !after.given.has(AccessMode::OWNER);
        if takes || (owns && !asked.has(kept)) {
            return Err(reply::PERMISSION_DENIED);
        }
        if asked == after.want {
            return Ok(None);
        }
        after.want = asked;
        after.want_version += 1;
        Ok(self.put(user, user, before, after, now))
    }

    /// One of our people leaves.
    pub(super) fn leave_copy(
        &mut self,
        user: &UserId,
        now: Timestamp,
    ) -> Result<Option<AccessChange>, Status> {
        let standing = self.active(user).ok_or(reply::ATTACH_FIRST)?;
        if standing.rights().has(AccessMode::OWNER) {
            return Err(reply::PERMISSION_DENIED);
        }
        Ok(self.abandon_copy(user, now))
    }

    /// One of our people is gone, whatever they were.
    pub(super) fn abandon_copy(&mut self, user: &UserId, now: Timestamp) -> Option<AccessChange> {
        let before = self.members.get(user).cloned();
        let mut after = before.clone().filter(|it| it.deleted.is_none())?;
        after.want_version += 1;
        after.deleted = Some(now);
        self.put(user, user, before, after, now)
    }
}

#[cfg(test)]
mod tests {
    use freehold_proto::GroupId;

    use super::{super::room::RoomKind, *};

    fn us() -> DomainName {
        "beta.test".parse().unwrap()
    }

    fn user(domain: &str, number: u8) -> UserId {
        UserId::new([number; 8], domain.parse().unwrap())
    }

    fn bob() -> UserId {
        user("beta.test", 1)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_767_323_045_000 + second * 1000).unwrap()
    }

    fn ruling(user: UserId, want: (&str, u64), given: (&str, u64)) -> Ruling {
        Ruling {
            user,
            want: want.0.parse().unwrap(),
            want_version: want.1,
            given: given.0.parse().unwrap(),
            given_version: given.1,
            gone: false,
            since: at(0),
        }
    }

    fn copy() -> Room {
        let mut room = Room::new(RoomKind::Group, Some(GroupId::from_bytes([1; 16])), at(0));
        room.home = Some("alpha.test".parse().unwrap());
        room
    }

    fn rule(room: &mut Room, ruling: &Ruling) -> Option<AccessChange> {
        room.rule(&user("alpha.test", 9), ruling, &us(), at(1))
    }

    #[test]
    fn whoever_is_asked_sees_the_question_and_answers_for_themselves() {
        let mut room = copy();
        let asked = rule(&mut room, &ruling(bob(), ("N", 1), ("JRWPS", 1))).unwrap();
        assert!(asked.fresh);
        assert_eq!(asked.want.1, ASKED);
        let answer = room.want_in_copy(&bob(), "JRWPS", at(2)).unwrap().unwrap();
        assert_eq!(answer.want.1, "JRWPS".parse().unwrap());
        // What the home said before it knew changes what is given only.
        let muted = rule(&mut room, &ruling(bob(), ("N", 1), ("JRPS", 2))).unwrap();
        assert_eq!(
            (muted.want.1, muted.given.1.to_string()),
            (answer.want.1, "JRPS".to_owned())
        );
        assert_eq!(room.mode(&bob()).to_string(), "JRPS");
    }

    #[test]
    fn leaving_holds_whatever_was_on_its_way() {
        let mut room = copy();
        rule(&mut room, &ruling(bob(), ("JRWPS", 1), ("JRWPS", 1)));
        assert!(room.leave_copy(&bob(), at(2)).unwrap().unwrap().gone);
        assert_eq!(
            rule(&mut room, &ruling(bob(), ("JRWPS", 1), ("JRWP", 2))),
            None
        );
        assert!(room.active(&bob()).is_none());
        // Asked again later, the question is a new one.
        let again = rule(&mut room, &ruling(bob(), ("N", 3), ("JRWPS", 3))).unwrap();
        assert_eq!((again.fresh, again.want.1), (true, ASKED));
    }

    #[test]
    fn the_home_evicts_and_bans_whatever_somebody_wants() {
        let mut room = copy();
        rule(&mut room, &ruling(bob(), ("JRWPS", 1), ("JRWPS", 1)));
        room.want_in_copy(&bob(), "-P", at(2)).unwrap().unwrap();
        let banned = rule(&mut room, &ruling(bob(), ("JRWPS", 1), ("N", 2))).unwrap();
        assert!(!banned.gone && room.mode(&bob()) == AccessMode::NONE);
        let evicted = Ruling {
            gone: true,
            ..ruling(bob(), ("JRWPS", 1), ("N", 3))
        };
        assert!(rule(&mut room, &evicted).unwrap().gone);
        assert_eq!(rule(&mut room, &evicted), None);
    }

    #[test]
    fn nobody_makes_themselves_the_owner_and_an_owner_stays() {
        let mut room = copy();
        rule(&mut room, &ruling(bob(), ("JRWPS", 1), ("JRWPS", 1)));
        assert_eq!(
            room.want_in_copy(&bob(), "+O", at(2)),
            Err(reply::PERMISSION_DENIED)
        );
        rule(&mut room, &ruling(bob(), ("JRWPASDO", 2), ("JRWPASDO", 2)));
        for mode in ["-O", "-J"] {
            assert_eq!(
                room.want_in_copy(&bob(), mode, at(2)),
                Err(reply::PERMISSION_DENIED)
            );
        }
        assert_eq!(
            room.leave_copy(&bob(), at(2)),
            Err(reply::PERMISSION_DENIED)
        );
    }
}
