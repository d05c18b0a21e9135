//! The rules of a topic between two people, at most one of whom is of another domain.
//!
//! Decisions only: no socket, no clock, no store. A method changes the value and says what happened,
//! or refuses and changes nothing. Whoever calls makes it durable before anybody is told.

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{AccessMode, DomainName, MessageId, Timestamp, UserId, limits};

use super::{
    deletion::Cleared,
    standing::{AccessChange, CursorMove, Standing},
};
use crate::edge::reply::{self, Status};

/// One of the two.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who.
    pub id: UserId,
    /// Of this domain.
    pub local: bool,
    /// How they stand, once they do.
    pub standing: Option<Standing>,
    /// Changed since it was last written.
    pub dirty: bool,
}

impl Person {
    /// The standing while it counts.
    #[must_use]
    pub fn active(&self) -> Option<&Standing> {
        self.standing.as_ref().filter(|it| it.deleted.is_none())
    }
}

/// What to do with a message from another domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reception {
    /// It takes this position.
    Shown(u32),
    /// The recipient does not want it and the sender is not to know.
    Silent,
    /// Kept back until the recipient accepts.
    AwaitingConsent,
}

/// What a peer's domain says about its person's side.
#[derive(Clone, Debug)]
pub struct PeerRelation {
    /// What the person wants.
    pub want: AccessMode,
    /// Its version.
    pub want_version: u64,
    /// What our person may do.
    pub given: AccessMode,
    /// Its version.
    pub given_version: u64,
}

/// How long what follows a message that was answered *later* may be under way: twice the time of a call.
/// Then its sender has the answer and keeps what follows behind it; the message itself may never come
/// again, since it may be refused, or too old, when it is offered next.
const HELD_FOR: Duration = Duration::from_secs(60);

/// A topic between two people.
#[derive(Clone, Debug)]
pub struct OneToOne {
    /// The two, sorted by id.
    pub people: [Person; 2],
    /// Position of the last message.
    pub head: u32,
    /// When the topic was made here; `None` until it is.
    pub created: Option<Timestamp>,
    /// When the last message came.
    pub touched: Option<Timestamp>,
    /// A message from elsewhere that was answered *later*, and when. What is under way behind it is not
    /// taken, even if the recipient accepts in between, so that the author's order holds.
    pub held: Option<(MessageId, Timestamp)>,
    /// Our people may take their own messages from both.
    pub deletes: bool,
    /// What is attached to the topic (pins), JSON; empty for none.
    pub aux: Bytes,
    /// What was deleted so far.
    pub cleared: Cleared,
    /// The topic's own row changed since the last write.
    pub row_dirty: bool,
    /// More than cursors changed since the last write: it belongs into the next commit.
    pub urgent: bool,
}

impl OneToOne {
    /// A topic that nobody stands in yet.
    #[must_use]
    pub fn new(a: UserId, b: UserId, us: &DomainName) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let person = |id: UserId| Person {
            local: id.domain() == us,
            id,
            standing: None,
            dirty: false,
        };
        Self {
            people: [person(low), person(high)],
            head: 0,
            created: None,
            touched: None,
            held: None,
            deletes: false,
            aux: Bytes::new(),
            cleared: Cleared::default(),
            row_dirty: false,
            urgent: false,
        }
    }

    fn index(&self, user: &UserId) -> usize {
        usize::from(self.people[0].id != *user)
    }

    /// One of the two.
    #[must_use]
    pub fn person(&self, user: &UserId) -> &Person {
        &self.people[self.index(user)]
    }

    /// The other one.
    #[must_use]
    pub fn other(&self, user: &UserId) -> &Person {
        &self.people[1 - self.index(user)]
    }

    /// The one of another domain, if there is one.
    #[must_use]
    pub fn foreigner(&self) -> Option<&Person> {
        self.people.iter().find(|it| !it.local)
    }

    /// The operator lets our people take their own messages from both, or does not. Between two domains
    /// that is for each to say of its own people, so it goes with every load, not with what they granted.
    pub fn allow_deletion(&mut self, deletes: bool) {
        self.deletes = deletes;
        if self.foreigner().is_none() {
            return;
        }
        for person in &mut self.people {
            let allowed = deletes && person.local;
            if let Some(standing) = &mut person.standing {
                standing.given = given_to(standing.given, allowed);
            }
        }
    }

    fn pair_mut(&mut self, user: &UserId) -> (&mut Person, &mut Person) {
        let [low, high] = &mut self.people;
        if low.id == *user {
            (low, high)
        } else {
            (high, low)
        }
    }

    /// One of our people opens the topic, or comes back to it.
    ///
    /// `mode` is what they want, `grant` what they let the other one do, `theirs` what the other one
    /// lets strangers do (of a person elsewhere: what we presume until that domain says).
    pub fn subscribe(
        &mut self,
        user: &UserId,
        mode: Option<AccessMode>,
        grant: AccessMode,
        theirs: AccessMode,
        now: Timestamp,
    ) -> Result<Vec<AccessChange>, Status> {
        let deletes = self.deletes;
        let own = |mode| with_deletion(one_to_one(mode), deletes);
        let may = own(theirs);
        let (me, other) = self.pair_mut(user);
        if me.active().is_some() {
            return Ok(Vec::new());
        }
        let want = own(mode.unwrap_or(may)).or(AccessMode::JOIN);
        let given = me.standing.as_ref().map_or(may, |before| before.given);
        if !given.has(AccessMode::JOIN) {
            return Err(reply::PERMISSION_DENIED);
        }
        let mut changes = vec![renew(me, want, given, user, now)];
        if other.standing.is_none() {
            let their_want = if other.local { may } else { AccessMode::NONE };
            let granted = with_deletion(one_to_one(grant), deletes && other.local);
            let mut standing = Standing::new(their_want, granted, now);
            if !other.local {
                // That is for the other domain to count.
                standing.want_version = 0;
            }
            me.standing
                .iter_mut()
                .filter(|_| !other.local)
                .for_each(|it| it.given_version = 0);
            other.standing = Some(standing);
            other.dirty = true;
            changes.push(fresh_change(other, user));
        }
        self.created.get_or_insert(now);
        self.urgent = true;
        Ok(changes)
    }

    /// One of our people changes what they want.
    pub fn want(
        &mut self,
        user: &UserId,
        mode: &str,
        now: Timestamp,
    ) -> Result<Option<AccessChange>, Status> {
        let mask = with_deletion(AccessMode::ONE_TO_ONE, self.deletes);
        let (me, _) = self.pair_mut(user);
        let standing = active_mut(me)?;
        let before = standing.want;
        let after = before
            .changed_by(mode)
            .map_err(|_| reply::MALFORMED)?
            .and(mask)
            .or(AccessMode::APPROVE);
        if after == before {
            return Ok(None);
        }
        standing.want = after;
        standing.want_version += 1;
        standing.updated = now;
        let given = (standing.given, standing.given);
        me.dirty = true;
        self.urgent = true;
        Ok(Some(AccessChange {
            user: user.clone(),
            actor: user.clone(),
            fresh: false,
            gone: false,
            want: (before, after),
            given,
        }))
    }

    /// One of our people changes what the other one may do.
    pub fn grant(
        &mut self,
        actor: &UserId,
        mode: &str,
        now: Timestamp,
    ) -> Result<Option<AccessChange>, Status> {
        let deletes = self.deletes;
        let (me, other) = self.pair_mut(actor);
        let mask = with_deletion(AccessMode::ONE_TO_ONE, deletes && other.local);
        active_mut(me)?;
        let standing = other.standing.as_mut().ok_or(reply::NOT_FOUND)?;
        let before = standing.given;
        let after = before
            .changed_by(mode)
            .map_err(|_| reply::MALFORMED)?
            .and(mask)
            .or(AccessMode::APPROVE);
        if after == before {
            return Ok(None);
        }
        standing.given = after;
        standing.given_version += 1;
        standing.updated = now;
        let want = (standing.want, standing.want);
        let user = other.id.clone();
        other.dirty = true;
        self.urgent = true;
        Ok(Some(AccessChange {
            user,
            actor: actor.clone(),
            fresh: false,
            gone: false,
            want,
            given: (before, after),
        }))
    }

    /// One of our people replaces their private notes.
    pub fn annotate(
        &mut self,
        user: &UserId,
        private: Bytes,
        now: Timestamp,
    ) -> Result<(), Status> {
        let (me, _) = self.pair_mut(user);
        let standing = active_mut(me)?;
        standing.private = private;
        standing.updated = now;
        me.dirty = true;
        self.urgent = true;
        Ok(())
    }

    /// How one of the two stands, to change something that nobody else is told of.
    pub fn active_mut(&mut self, user: &UserId) -> Option<&mut Standing> {
        let (me, _) = self.pair_mut(user);
        me.dirty = true;
        active_mut(me).ok()
    }

    /// One of our people leaves for good; the other one keeps the topic.
    pub fn leave(&mut self, user: &UserId, now: Timestamp) -> Result<(), Status> {
        let (me, _) = self.pair_mut(user);
        let standing = active_mut(me)?;
        standing.deleted = Some(now);
        standing.updated = now;
        me.dirty = true;
        self.urgent = true;
        Ok(())
    }

    /// True when both are of this domain and have left.
    #[must_use]
    pub fn is_deserted(&self) -> bool {
        self.people
            .iter()
            .all(|it| it.local && it.active().is_none())
    }

    /// The account of one of our people is gone. Nothing is wanted and nothing given any more; at home
    /// the other one loses the topic too, elsewhere that is for the other domain.
    pub fn erase(&mut self, user: &UserId, now: Timestamp) {
        let (me, other) = self.pair_mut(user);
        if let Some(standing) = &mut me.standing {
            standing.want = AccessMode::NONE;
            standing.want_version += 1;
            standing.private = Bytes::new();
            standing.deleted.get_or_insert(now);
            standing.updated = now;
            me.dirty = true;
        }
        if let Some(standing) = &mut other.standing {
            standing.given = AccessMode::NONE;
            standing.given_version += 1;
            standing.updated = now;
            if other.local {
                standing.deleted.get_or_insert(now);
            }
            other.dirty = true;
        }
        self.urgent = true;
    }

    /// Whether one of our people may write.
    pub fn may_publish(&self, user: &UserId) -> Result<(), Status> {
        let standing = self.person(user).active().ok_or(reply::ATTACH_FIRST)?;
        if standing.mode().has(AccessMode::WRITE) {
            Ok(())
        } else {
            Err(reply::PERMISSION_DENIED)
        }
    }

    /// The other domain is being told of this person's side, and of changes from now on.
    pub fn mark_announced(&mut self, user: &UserId) {
        let (me, _) = self.pair_mut(user);
        if let Some(standing) = me.standing.as_mut().filter(|it| !it.announced) {
            standing.announced = true;
            me.dirty = true;
            self.urgent = true;
        }
    }

    /// One of our people writes; the message takes the position that is returned.
    pub fn publish(&mut self, user: &UserId, now: Timestamp) -> Result<u32, Status> {
        self.may_publish(user)?;
        let seq = self.append(now);
        let (me, _) = self.pair_mut(user);
        if let Some(standing) = &mut me.standing {
            standing.read = seq;
            standing.received = seq;
            me.dirty = true;
        }
        Ok(seq)
    }

    /// One of our people wrote to another one who had agreed to talk and left: they are invited again,
    /// as somebody elsewhere would be.
    pub fn call_back(&mut self, author: &UserId, now: Timestamp) -> Option<AccessChange> {
        let (_, other) = self.pair_mut(author);
        let left = other.standing.as_ref().filter(|it| {
            it.deleted.is_some() && it.want.has(AccessMode::JOIN.or(AccessMode::WRITE))
        });
        let given = left.filter(|_| other.local)?.given;
        let change = renew(other, AccessMode::INVITED, given, author, now);
        self.urgent = true;
        Some(change)
    }

    /// Gives the next position to a message.
    pub fn append(&mut self, now: Timestamp) -> u32 {
        self.head += 1;
        self.touched = Some(self.touched.map_or(now, |before| before.max(now)));
        self.head
    }

    /// Somebody of another domain wrote message `id`. `text` is its length in characters if it is plain
    /// text.
    pub fn receive(
        &mut self,
        author: &UserId,
        id: MessageId,
        text: Option<usize>,
        now: Timestamp,
    ) -> Reception {
        let under_way = |(_, since): &(_, Timestamp)| now < since.plus(HELD_FOR);
        if self.held.filter(under_way).is_some_and(|it| it.0 != id) {
            return Reception::AwaitingConsent;
        }
        self.held = None;
        let mut counted = false;
        let (sender, recipient) = self.pair_mut(author);
        let silenced = sender
            .active()
            .is_some_and(|it| !it.given.has(AccessMode::WRITE));
        let Some(standing) = &mut recipient.standing else {
            return Reception::Silent;
        };
        // The limits come before the answer to somebody who is not wanted: he must not be able to tell
        // that from an invitation that nobody has looked at (rules.md 17).
        if !standing.want.has(AccessMode::WRITE) {
            let shown = usize::try_from(standing.unaccepted_texts).unwrap_or(usize::MAX);
            let short = text.is_some_and(|chars| chars <= limits::FIRST_CONTACT_CHARS_MAX);
            if !short || shown >= limits::FIRST_CONTACT_TEXTS_MAX {
                self.held = Some((id, now));
                return Reception::AwaitingConsent;
            }
            standing.unaccepted_texts += 1;
            recipient.dirty = true;
            counted = true;
        }
        let wanted = recipient
            .active()
            .is_some_and(|it| it.want.has(AccessMode::JOIN));
        self.urgent |= counted;
        if silenced || !wanted {
            return Reception::Silent;
        }
        Reception::Shown(self.append(now))
    }

    /// The author has deleted messages: none of them is offered again, so nothing waits for one of them.
    pub fn let_go(&mut self, ids: &[MessageId]) {
        self.held.take_if(|it| ids.contains(&it.0));
    }

    /// The domain of `peer` says how its person stands. `ours` is what our person lets strangers do;
    /// `writes` says that a message comes with it, which may bring somebody back who had left.
    pub fn relate(
        &mut self,
        peer: &UserId,
        relation: &PeerRelation,
        ours: AccessMode,
        writes: bool,
        now: Timestamp,
    ) -> Vec<AccessChange> {
        let mut changes = Vec::new();
        let given = given_to(relation.given, self.deletes);
        let (them, me) = self.pair_mut(peer);
        let told = them.standing.is_some();
        let standing = them.standing.get_or_insert_with(|| {
            let mut standing = Standing::new(AccessMode::NONE, one_to_one(ours), now);
            standing.want_version = 0;
            standing
        });
        if relation.want_version > standing.want_version {
            let before = standing.want;
            standing.want = relation.want.and(AccessMode::ONE_TO_ONE);
            standing.want_version = relation.want_version;
            standing.updated = now;
            let change = AccessChange {
                user: peer.clone(),
                actor: peer.clone(),
                fresh: !told || before == AccessMode::NONE,
                gone: false,
                want: (before, standing.want),
                given: (standing.given, standing.given),
            };
            changes.extend((before != standing.want).then_some(change));
            them.dirty = true;
        }
        let silenced = !standing.given.has(AccessMode::WRITE);
        // Who had agreed to talk and left is invited again; who threw an invitation away or blocks is
        // left alone (rules.md 18).
        let invites = match &me.standing {
            None => true,
            Some(before) => {
                before.deleted.is_some()
                    && writes
                    && before.want.has(AccessMode::JOIN.or(AccessMode::WRITE))
            }
        };
        if me.active().is_none() && invites && !silenced {
            let mut invited = Standing::new(AccessMode::INVITED, given, now);
            invited.given_version = relation.given_version;
            if let Some(before) = &me.standing {
                invited.want_version = before.want_version + 1;
                invited.read = before.read;
                invited.received = before.received;
                invited.unaccepted_texts = before.unaccepted_texts;
            }
            me.standing = Some(invited);
            me.dirty = true;
            changes.push(fresh_change(me, peer));
        } else if let Some(standing) = &mut me.standing
            && relation.given_version > standing.given_version
        {
            let before = standing.given;
            standing.given = given;
            standing.given_version = relation.given_version;
            standing.updated = now;
            me.dirty = true;
            changes.extend((before != standing.given).then(|| AccessChange {
                user: me.id.clone(),
                actor: peer.clone(),
                fresh: false,
                gone: false,
                want: (standing.want, standing.want),
                given: (before, standing.given),
            }));
        }
        self.created.get_or_insert(now);
        self.urgent |= self.people.iter().any(|it| it.dirty);
        changes
    }

    /// Somebody reports how far they got. Stale and impossible reports change nothing.
    pub fn progress(&mut self, user: &UserId, read: u32, received: u32) -> Option<CursorMove> {
        let head = self.head;
        let (me, _) = self.pair_mut(user);
        let standing = me.standing.as_mut().filter(|it| it.deleted.is_none())?;
        if read > head || received > head {
            return None;
        }
        let moved = standing.advance(read, received)?;
        me.dirty = true;
        Some(moved)
    }
}

/// Adds the right to delete where both have it.
fn with_deletion(mode: AccessMode, deletes: bool) -> AccessMode {
    if deletes {
        mode.or(AccessMode::DELETE)
    } else {
        mode
    }
}

/// What somebody of ours is given by somebody elsewhere: the right to delete is not theirs to give.
fn given_to(mode: AccessMode, deletes: bool) -> AccessMode {
    let given = mode.and(AccessMode::ONE_TO_ONE);
    with_deletion(given, deletes && given.has(AccessMode::JOIN))
}

/// Masks a mode to what a one-to-one topic knows; approval is always part of it.
fn one_to_one(mode: AccessMode) -> AccessMode {
    mode.and(AccessMode::ONE_TO_ONE).or(AccessMode::APPROVE)
}

fn active_mut(person: &mut Person) -> Result<&mut Standing, Status> {
    person
        .standing
        .as_mut()
        .filter(|it| it.deleted.is_none())
        .ok_or(reply::ATTACH_FIRST)
}

/// Gives a person a new standing, keeping what outlives having left.
fn renew(
    me: &mut Person,
    want: AccessMode,
    given: AccessMode,
    actor: &UserId,
    now: Timestamp,
) -> AccessChange {
    let mut standing = Standing::new(want, given, now);
    if let Some(before) = me.standing.take() {
        standing.want_version = before.want_version + 1;
        standing.given_version = before.given_version;
        standing.read = before.read;
        standing.received = before.received;
        standing.announced = before.announced;
    }
    me.standing = Some(standing);
    me.dirty = true;
    fresh_change(me, actor)
}

fn fresh_change(person: &Person, actor: &UserId) -> AccessChange {
    let (want, given) = person
        .standing
        .as_ref()
        .map_or((AccessMode::NONE, AccessMode::NONE), |it| {
            (it.want, it.given)
        });
    AccessChange {
        user: person.id.clone(),
        actor: actor.clone(),
        fresh: true,
        gone: false,
        want: (AccessMode::NONE, want),
        given: (AccessMode::NONE, given),
    }
}

#[cfg(test)]
#[path = "one_to_one_tests.rs"]
mod tests;
