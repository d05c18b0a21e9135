//! Who may be the home of a group: what its owner wishes, who succeeds a home that is away, and whether
//! an entry that names another home is right (PROTOCOL.md section 7.10; rules.md 9 and 21). Pure.

use std::collections::BTreeSet;

use bytes::Bytes;
use freehold_keys::{Consent, Entry};
use freehold_proto::{DomainName, GroupId, wire, wire::payload::Kind};
use serde_json::Value;

use freehold_store::tables::rows::LogRow;

use super::{
    log::{Admission, Claim, Log},
    room::Room,
};
use crate::edge::reply::{self, Status};

/// Of what is attached to a group: the domain that its owner wants as home.
const HOME: &str = "fh-home";
/// The domains that may name another home, most of them together, when the home is away for long.
const SUCCESSORS: &str = "fh-successors";
/// Fewer could be overruled by one that lies.
const SUCCESSORS_MIN: usize = 3;
const SUCCESSORS_MAX: usize = 16;
/// How often a group may have another home.
pub(super) const MOVES_MAX: usize = 64;
/// Entries kept that say how a home came to be it: for each move one, and one that named successors.
pub(super) const STEPS_MAX: usize = 2 * MOVES_MAX;
/// How many of the last namings of successors are remembered.
const NAMINGS_MAX: usize = 8;
/// A ballot is for the next takeover, or one of so many after it: others may have failed that we have not
/// heard of.
const AHEAD_MAX: u64 = 16 << 32;

/// What the owner of a group has said of its home.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Wishes {
    /// Which domain should be it.
    pub(super) home: Option<DomainName>,
    /// Which domains may name another one.
    pub(super) successors: Vec<DomainName>,
}

/// Reads what is attached to a group. What makes no sense was never wished.
pub(super) fn wishes(aux: &Bytes) -> Wishes {
    let value = serde_json::from_slice::<Value>(aux).unwrap_or_default();
    let domain = |it: &Value| it.as_str().and_then(|it| it.parse().ok());
    let successors = value.get(SUCCESSORS).and_then(Value::as_array);
    let successors: BTreeSet<_> = successors.into_iter().flatten().map(domain).collect();
    let few = successors.len() < SUCCESSORS_MIN || successors.len() > SUCCESSORS_MAX;
    let sense = !few && successors.iter().all(Option::is_some);
    let order = value.get(SUCCESSORS).and_then(Value::as_array);
    let order = order.into_iter().flatten().filter_map(domain);
    let mut unique = Vec::new();
    for domain in order.filter(|_| sense) {
        if !unique.contains(&domain) {
            unique.push(domain);
        }
    }
    Wishes {
        home: value.get(HOME).and_then(domain),
        successors: unique,
    }
}

/// Of what is attached to a group, who succeeds its home, as it is written there.
pub(super) fn only_successors(aux: &Bytes) -> Bytes {
    let value = serde_json::from_slice::<Value>(aux).unwrap_or_default();
    match value.get(SUCCESSORS).filter(|it| !it.is_null()) {
        Some(named) => Bytes::from(serde_json::json!({ SUCCESSORS: named }).to_string()),
        None => Bytes::new(),
    }
}

/// Whether the owner of a group has named a domain as successor of its home.
pub(crate) fn is_successor(aux: &Bytes, domain: &DomainName) -> bool {
    wishes(aux).successors.contains(domain)
}

/// Whether what is attached to a group may change so, at its home: only the owner says where the group
/// lives, and only domains can be named of which an administrator takes part.
pub(super) fn check(
    room: &Room,
    us: &DomainName,
    after: &Bytes,
    by_owner: bool,
) -> Result<(), Status> {
    let part = |aux: &Bytes, key: &str| {
        let value = serde_json::from_slice::<Value>(aux).unwrap_or_default();
        value.get(key).cloned().unwrap_or_default()
    };
    let before = &room.description.aux;
    let moved = part(before, HOME) != part(after, HOME);
    let named = part(before, SUCCESSORS) != part(after, SUCCESSORS);
    if !moved && !named {
        return Ok(());
    }
    if !by_owner {
        return Err(reply::PERMISSION_DENIED);
    }
    let wished = wishes(after);
    let made_sense = |key: &str, read: bool| part(after, key).is_null() || read;
    let sense = made_sense(HOME, wished.home.is_some())
        && made_sense(SUCCESSORS, !wished.successors.is_empty());
    if !sense {
        return Err(reply::MALFORMED);
    }
    let able = |it: &DomainName| it == us || administers(room, it);
    let home = wished.home.iter().filter(|_| moved);
    let full = moved && room.succession.len() >= MOVES_MAX;
    let named = wished.successors.iter().filter(|_| named);
    match !full && home.chain(named).all(able) {
        true => Ok(()),
        false => Err(reply::POLICY),
    }
}

impl Room {
    /// Remembers an entry that says who the home is, or one by which its successors are known.
    pub(super) fn note_step(&mut self, entry: LogRow, moves: bool) {
        self.dirty = true;
        if !moves {
            self.charter = Some(entry);
            return;
        }
        let charter = self.charter.take();
        // More moves than anybody wants are not kept: who hears of the group then cannot follow them.
        if self.succession.len() < STEPS_MAX {
            self.succession.extend(charter);
            self.succession.push(entry);
        }
    }

    /// Remembers who succeed the home from an entry on.
    pub(super) fn note_successors(&mut self, index: u64, aux: &Bytes) {
        let names = wishes(aux).successors;
        if self.successors.last().map_or(&[][..], |it| &it.1) != names {
            self.successors.push((index, names));
            let many = self.successors.len().saturating_sub(NAMINGS_MAX);
            self.successors.drain(..many);
            self.dirty = true;
        }
    }

    /// Who succeeded the home when an entry was the last one: a takeover that begins behind it is judged by
    /// that, whatever a home said that nobody else has heard.
    pub(super) fn successors_at(&self, index: u64) -> Vec<DomainName> {
        let known = self.successors.iter().rev().find(|it| it.0 <= index);
        match (known, self.successors.is_empty()) {
            (Some((_, names)), _) => names.clone(),
            (None, true) => wishes(&self.description.aux).successors,
            (None, false) => Vec::new(),
        }
    }
}

/// Whether a domain has somebody in the group who rules on others: it takes the group only then.
pub(super) fn administers(room: &Room, domain: &DomainName) -> bool {
    let theirs = room.present().filter(|(user, _)| user.domain() == domain);
    theirs.into_iter().any(|(user, _)| room.is_admin(user))
}

/// What becomes of an entry, as far as the log tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    /// It is the next.
    Next,
    /// It came before, if the one that stands there is the same. Another one is a fork, unless a
    /// `former` home placed it.
    Known {
        /// A home that was.
        former: bool,
    },
    /// Others are missing before it.
    Missing,
    /// Its home has taken over by right, and what stands behind this entry does not count, if it is the
    /// one before.
    Fences(u64),
    /// It is of no home of this group.
    NotHome(&'static str),
    /// The home contradicts itself.
    Forked(&'static str),
}

/// Judges an entry where another domain, or this one, is taken for the `home`.
pub(crate) fn judge(
    home: &DomainName,
    log: &Log,
    successors_at: impl Fn(u64) -> Vec<DomainName>,
    entry: &Entry,
) -> Judgement {
    let place = &entry.position;
    match log.claim(home, place) {
        Claim::Present => match log.admit(place) {
            Admission::Message | Admission::Change => Judgement::Next,
            Admission::Known => Judgement::Known { former: false },
            Admission::Missing => Judgement::Missing,
            Admission::Forked(why) => Judgement::Forked(why),
        },
        Claim::Former if place.index <= log.index => Judgement::Known { former: true },
        Claim::Former => Judgement::NotHome("another domain is the home of this group"),
        // How it came to be the home stands further up in its log.
        Claim::Later if named_in(entry).is_none() || log.index + 1 < place.index => {
            Judgement::Missing
        }
        Claim::Later => match taken_over(log, &successors_at(place.index - 1), entry) {
            Ok(()) => Judgement::Fences(place.index - 1),
            Err(why) => Judgement::NotHome(why),
        },
    }
}

/// A stretch of a log that a home which took over by right shows, from behind an entry that we have too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Branch {
    /// The last entry that both have.
    pub(crate) base: u64,
    /// Which of the entries shown are new to us, up to the one that takes over.
    pub(crate) begin: usize,
    /// Behind that one.
    pub(crate) end: usize,
}

/// Finds in entries that a domain shows the way from our log to a takeover by right. Those that agreed to
/// it have agreed to all that stands before, by its hash: so whatever we had there instead is fenced.
/// `hash_at` says what stands in our log.
pub(crate) fn branch(
    log: &Log,
    successors_at: impl Fn(u64) -> Vec<DomainName>,
    shown: &[Entry],
    hash_at: impl Fn(u64) -> Option<[u8; 32]>,
) -> Option<Branch> {
    let last = shown
        .iter()
        .position(|it| named_in(it).is_some() && it.position.epoch > log.epoch)?;
    let way = shown.get(..=last)?;
    let linked = |pair: &[Entry]| {
        let [one, next] = pair else { return false };
        next.position.index == one.position.index + 1 && next.position.previous == one.placed.hash()
    };
    if !way.windows(2).all(linked) {
        return None;
    }
    let ours = |it: &Entry| hash_at(it.position.index) == Some(it.placed.hash());
    let begin = way.iter().position(|it| !ours(it))?;
    let first = &way.get(begin)?.position;
    let base = first.index.checked_sub(1)?;
    taken_over(log, &successors_at(base), shown.get(last)?).ok()?;
    (hash_at(base) == Some(first.previous)).then_some(Branch {
        base,
        begin,
        end: last + 1,
    })
}

/// What an entry says of another home, if it says anything.
pub(crate) fn named_in(entry: &Entry) -> Option<&wire::GroupSuccession> {
    match &entry.payload {
        Some(Kind::GroupChange(change)) => change.succession.as_ref(),
        _ => None,
    }
}

/// The last entry of a home names the next one, which has agreed: that home.
pub(crate) fn handed_over(log: &Log, entry: &Entry) -> Result<DomainName, &'static str> {
    let named = named_in(entry).ok_or("it names no home")?;
    let home: DomainName = named.home.parse().map_err(|_| "it names no domain")?;
    let agreed = |it: &Consent| {
        it.domain == home && it.words.home == named.home && it.words.epoch == named.epoch
    };
    match log.epoch.checked_add(1) == Some(named.epoch) && entry.consents.iter().any(agreed) {
        true => Ok(home),
        false => Err("the next home has not agreed"),
    }
}

/// The first entry of a home that takes over: most of the successors have agreed to exactly that, from
/// exactly there on.
pub(crate) fn taken_over(
    log: &Log,
    successors: &[DomainName],
    entry: &Entry,
) -> Result<(), &'static str> {
    let named = named_in(entry).ok_or("it does not say why")?;
    let place = &entry.position;
    if takeovers(place.epoch) <= takeovers(log.epoch) || named.epoch != place.epoch {
        return Err("its epoch is not a new one");
    }
    if named.home != place.home.to_string() || !successors.contains(&place.home) {
        return Err("its home is no successor");
    }
    let agreed = |it: &Consent| {
        it.words.home == named.home
            && it.words.epoch == place.epoch
            && it.words.index.checked_add(1) == Some(place.index)
            && *it.words.hash == place.previous
    };
    let consents = entry.consents.iter().filter(|it| agreed(it));
    match is_majority(successors, consents.map(|it| &it.domain)) {
        true => Ok(()),
        false => Err("most successors have not agreed"),
    }
}

/// How many takeovers there have been by an epoch: its upper half. The lower half counts how often the
/// home was handed over since, so that a takeover comes after all that it cannot have known of.
fn takeovers(epoch: u64) -> u64 {
    epoch >> 32
}

/// The epoch of the next home that takes over, where this one is the latest known.
pub(crate) fn next_takeover(epoch: u64) -> u64 {
    (takeovers(epoch).saturating_add(1) << 32).max(epoch)
}

/// Whether these are most of the successors.
pub(crate) fn is_majority<'a>(
    successors: &[DomainName],
    agreed: impl Iterator<Item = &'a DomainName>,
) -> bool {
    let agreed: BTreeSet<_> = agreed.filter(|it| successors.contains(it)).collect();
    successors.len() >= SUCCESSORS_MIN && agreed.len() > successors.len() / 2
}

/// For which epoch this domain asks. The one for which it has asked before, however often that was in
/// vain: whoever could not be reached or would not agree yet must not find it too far ahead one day. A
/// later one if it has agreed to somebody else, or if somebody else has asked meanwhile.
pub(crate) fn epoch_to_ask(
    log: &Log,
    consented: Option<&(u64, DomainName)>,
    us: &DomainName,
    rivalled: bool,
) -> u64 {
    match consented {
        Some((epoch, home)) if home == us && *epoch > log.epoch && !rivalled => *epoch,
        Some((epoch, _)) => next_takeover(log.epoch.max(*epoch)),
        None => next_takeover(log.epoch),
    }
}

/// Whether this domain agrees that a successor takes over. `log` and `consented` are ours.
pub(crate) fn agrees(
    log: &Log,
    consented: Option<&(u64, DomainName)>,
    successors: &[DomainName],
    (us, asked): (&DomainName, &wire::GroupConsent),
) -> Result<(), &'static str> {
    let candidate: DomainName = asked.home.parse().map_err(|_| "it names no domain")?;
    if !successors.contains(&candidate) || !successors.contains(us) {
        return Err("the owner did not name both of us as successors");
    }
    if takeovers(asked.epoch) <= takeovers(log.epoch) {
        return Err("the group has that epoch, or a later one");
    }
    let latest = consented.map_or(log.epoch, |it| it.0.max(log.epoch));
    if asked.epoch > next_takeover(latest).saturating_add(AHEAD_MAX) {
        return Err("that epoch is too far ahead");
    }
    let before = consented.filter(|(epoch, _)| *epoch >= asked.epoch);
    if before.is_some_and(|(epoch, home)| *epoch > asked.epoch || *home != candidate) {
        return Err("this domain has agreed to another one");
    }
    // We are going to sign these words: nothing of another size or sense may hide in them.
    if asked.hash.len() != log.hash.len() || asked.last_epoch >= asked.epoch {
        return Err("it names no entry of an earlier home");
    }
    // What a later home has said counts for more, however much a former one said that others never heard.
    let knows = (asked.last_epoch, asked.index);
    if knows < (log.epoch, log.index) {
        return Err("this domain knows more of the group");
    }
    match knows == (log.epoch, log.index) && *asked.hash != log.hash {
        true => Err("this domain knows another history of the group"),
        false => Ok(()),
    }
}

/// The home of a group that a domain hears of for the first time: the one in its create record, and then
/// each that followed by right. A step is an entry that names another home, or one in which the home of
/// then names its successors.
pub(super) fn home_after(
    first: &DomainName,
    group: GroupId,
    steps: &[Entry],
) -> Result<DomainName, &'static str> {
    let (mut home, mut log, mut successors) = (first.clone(), Log::opened(0), Vec::new());
    for entry in steps {
        let place = &entry.position;
        if place.group != group || place.feed || entry.header.from != place.home {
            return Err("a step is not of a home of this group");
        }
        match named_in(entry) {
            None if place.home != home => return Err("a step is not of the home of then"),
            None => successors = wishes(&aux_in(entry)).successors,
            Some(named) if place.home == home && place.epoch < named.epoch => {
                // A home that was restored has gone on in a later epoch.
                log.epoch = log.epoch.max(place.epoch);
                home = handed_over(&log, entry)?;
                log.epoch = named.epoch;
                successors.clear();
            }
            Some(_) => {
                taken_over(&log, &successors, entry)?;
                home = place.home.clone();
                log.epoch = place.epoch;
                successors = wishes(&aux_in(entry)).successors;
            }
        }
    }
    Ok(home)
}

/// Whether a change says who the successors are.
pub(super) fn names_successors(change: &wire::GroupChange) -> bool {
    let described = change.description.as_ref();
    described.is_some_and(|it| !wishes(&it.aux).successors.is_empty())
}

/// What an entry attaches to the group.
pub(super) fn aux_in(entry: &Entry) -> Bytes {
    match &entry.payload {
        Some(Kind::GroupChange(change)) => {
            let described = change.description.as_ref();
            described.map(|it| it.aux.clone()).unwrap_or_default()
        }
        _ => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use freehold_keys::Consent;
    use freehold_proto::{Envelope, Header, KeyId, MessageId, Placed, Position, Timestamp};
    use serde_json::json;

    use super::*;

    /// The epoch of the first takeover.
    const T: u64 = 1 << 32;

    fn domain(name: &str) -> DomainName {
        format!("{name}.test").parse().unwrap()
    }

    fn named() -> Vec<DomainName> {
        ["beta", "gamma", "delta"].map(domain).to_vec()
    }

    fn aux(value: &Value) -> Bytes {
        Bytes::from(value.to_string())
    }

    /// An entry of `home` in `epoch` at `index`, with a succession.
    fn entry(home: &str, (epoch, index): (u64, u64), named: Option<(&str, u64)>) -> Entry {
        let position = Position {
            home: domain(home),
            key_id: KeyId::of(&[2; 32]),
            group: GroupId::from_bytes([1; 16]),
            feed: false,
            epoch,
            index,
            order: 0,
            placed_at: Timestamp::EPOCH,
            previous: [9; 32],
            envelope: [0; 32],
        };
        let header = Header {
            from: domain(home),
            to: freehold_proto::Destination::Group(position.group),
            key_id: position.key_id,
            message_id: MessageId::from_bytes([3; 16]),
            issued_at: Timestamp::EPOCH,
            payload_hash: [0; 32],
        };
        let change = wire::GroupChange {
            succession: named.map(|(home, epoch)| wire::GroupSuccession {
                home: domain(home).to_string(),
                epoch,
                consents: Vec::new(),
            }),
            ..wire::GroupChange::default()
        };
        Entry {
            placed: Placed {
                position: position.encode().into(),
                signature: [0; 64],
            },
            position,
            envelope: Envelope {
                header: Bytes::new(),
                salt: [0; 16],
                payload: Bytes::new(),
                signature: [0; 64],
            },
            header,
            payload: Some(Kind::GroupChange(change)),
            consents: Vec::new(),
        }
    }

    fn consent(by: &str, home: &str, epoch: u64, index: u64) -> Consent {
        Consent {
            domain: domain(by),
            words: wire::GroupConsent {
                home: domain(home).to_string(),
                epoch,
                index,
                hash: vec![9; 32].into(),
                last_epoch: 1,
            },
        }
    }

    fn log(epoch: u64, index: u64) -> Log {
        Log {
            epoch,
            index,
            order: 0,
            hash: [9; 32],
        }
    }

    #[test]
    fn three_different_successors_are_the_fewest_that_count() {
        let read = |names: Value| wishes(&aux(&json!({ SUCCESSORS: names }))).successors;
        assert_eq!(
            read(json!(["beta.test", "gamma.test", "delta.test"])),
            named()
        );
        assert!(read(json!(["beta.test", "gamma.test"])).is_empty());
        assert!(read(json!(["beta.test", "gamma.test", "beta.test"])).is_empty());
        assert!(read(json!(["beta.test", "gamma.test", 5])).is_empty());
        assert_eq!(wishes(&Bytes::new()), Wishes::default());
        let wished = wishes(&aux(&json!({ HOME: "beta.test" })));
        assert_eq!(wished.home, Some(domain("beta")));
    }

    #[test]
    fn a_home_hands_over_only_to_one_that_agreed() {
        let mut last = entry("alpha", (1, 8), Some(("beta", 2)));
        assert!(handed_over(&log(1, 7), &last).is_err());
        last.consents = vec![consent("gamma", "beta", 2, 5)];
        assert!(handed_over(&log(1, 7), &last).is_err());
        last.consents = vec![consent("beta", "beta", 3, 5)];
        assert!(handed_over(&log(1, 7), &last).is_err());
        last.consents = vec![consent("beta", "beta", 2, 5)];
        assert_eq!(handed_over(&log(1, 7), &last), Ok(domain("beta")));
        assert!(handed_over(&log(2, 7), &last).is_err());
    }

    #[test]
    fn most_successors_together_name_another_home_from_exactly_there_on() {
        let mut first = entry("beta", (T, 8), Some(("beta", T)));
        let all = named();
        first.consents = vec![
            consent("beta", "beta", T, 7),
            consent("gamma", "beta", T, 7),
        ];
        assert_eq!(taken_over(&log(1, 7), &all, &first), Ok(()));
        // However often it was handed over meanwhile: those who agreed cannot have known.
        assert_eq!(taken_over(&log(9, 7), &all, &first), Ok(()));
        // Not in an epoch that was, not for a stranger, not with the voice of strangers or one twice.
        assert!(taken_over(&log(T, 7), &all, &first).is_err());
        assert!(taken_over(&log(1, 7), &all[1..], &first).is_err());
        for bad in [
            consent("beta", "beta", T, 7),
            consent("epsilon", "beta", T, 7),
            consent("gamma", "delta", T, 7),
            consent("gamma", "beta", T + 1, 7),
            consent("gamma", "beta", T, 6),
        ] {
            first.consents = vec![consent("beta", "beta", T, 7), bad.clone()];
            assert!(taken_over(&log(1, 7), &all, &first).is_err(), "{bad:?}");
        }
        first.consents = vec![
            consent("beta", "beta", T, 7),
            consent("gamma", "beta", T, 7),
        ];
        first.position.previous = [8; 32];
        assert!(taken_over(&log(1, 7), &all, &first).is_err());
    }

    #[test]
    fn one_domain_agrees_once_in_an_epoch_and_never_to_less_than_it_knows() {
        let all = named();
        let us = domain("gamma");
        let asked = |home: &str, epoch, index| wire::GroupConsent {
            home: domain(home).to_string(),
            epoch,
            index,
            hash: vec![9; 32].into(),
            last_epoch: 1,
        };
        let agrees = |before: Option<(u64, DomainName)>, asked: &wire::GroupConsent| {
            agrees(&log(1, 7), before.as_ref(), &all, (&us, asked))
        };
        assert_eq!(agrees(None, &asked("beta", T, 7)), Ok(()));
        assert_eq!(agrees(None, &asked("beta", T, 9)), Ok(()));
        assert!(agrees(None, &asked("beta", T, 6)).is_err());
        assert!(agrees(None, &asked("beta", 1, 7)).is_err());
        assert!(agrees(None, &asked("epsilon", T, 7)).is_err());
        assert_eq!(
            agrees(Some((T, domain("beta"))), &asked("beta", T, 7)),
            Ok(())
        );
        assert!(agrees(Some((T, domain("delta"))), &asked("beta", T, 7)).is_err());
        assert_eq!(
            agrees(Some((T, domain("delta"))), &asked("beta", 2 * T, 7)),
            Ok(())
        );
        let mut other = asked("beta", T, 7);
        other.hash = vec![8; 32].into();
        assert!(agrees(None, &other).is_err());
        // A long tail of a former home is less than one entry of the home that followed.
        let mut tail = asked("beta", T, 9);
        let later = |asked: &_| super::agrees(&log(2, 7), None, &all, (&us, asked));
        assert!(later(&tail).is_err());
        tail.last_epoch = 3;
        tail.index = 5;
        assert_eq!(later(&tail), Ok(()));
        // Nobody can use up the epochs there are.
        assert!(agrees(None, &asked("beta", u64::MAX, 9)).is_err());
        assert!(agrees(None, &asked("beta", 40 * T, 9)).is_err());
    }

    #[test]
    fn who_asks_in_vain_asks_for_the_same_epoch_until_somebody_else_asks_too() {
        let (us, other) = (domain("beta"), domain("gamma"));
        let ask = |consented: Option<(u64, DomainName)>, rivalled| {
            epoch_to_ask(&log(1, 7), consented.as_ref(), &us, rivalled)
        };
        assert_eq!(ask(None, false), T);
        assert_eq!(ask(Some((T, us.clone())), false), T);
        assert_eq!(ask(Some((T, us.clone())), true), 2 * T);
        assert_eq!(ask(Some((T, other)), false), 2 * T);
        // What was agreed to has come to pass, or somebody else has taken over.
        let later = epoch_to_ask(&log(T, 7), Some(&(T, us.clone())), &us, false);
        assert_eq!(later, 2 * T);
    }

    #[test]
    fn nothing_but_an_entry_of_an_earlier_home_is_agreed_to() {
        let (us, all) = (domain("gamma"), named());
        let asked = |hash: Vec<u8>, last_epoch| wire::GroupConsent {
            home: "beta.test".to_owned(),
            epoch: T,
            index: 9,
            hash: hash.into(),
            last_epoch,
        };
        let agrees = |asked: &_| agrees(&log(1, 7), None, &all, (&us, asked));
        assert_eq!(agrees(&asked(vec![8; 32], 1)), Ok(()));
        for size in [0, 31, 33, 100_000] {
            assert!(agrees(&asked(vec![8; size], 1)).is_err(), "{size} bytes");
        }
        assert!(agrees(&asked(vec![8; 32], T)).is_err());
        assert!(agrees(&asked(vec![8; 32], u64::MAX)).is_err());
    }

    #[test]
    fn whoever_hears_of_a_group_later_follows_its_homes_step_by_step() {
        let group = GroupId::from_bytes([1; 16]);
        let alpha = domain("alpha");
        assert_eq!(home_after(&alpha, group, &[]), Ok(domain("alpha")));
        let mut handed = entry("alpha", (1, 8), Some(("beta", 2)));
        handed.consents = vec![consent("beta", "beta", 2, 5)];
        let mut charter = entry("beta", (2, 12), None);
        charter.payload = Some(Kind::GroupChange(wire::GroupChange {
            description: Some(wire::GroupDescription {
                aux: aux(&json!({ SUCCESSORS: ["beta.test", "gamma.test", "delta.test"] })),
                ..wire::GroupDescription::default()
            }),
            ..wire::GroupChange::default()
        }));
        let mut taken = entry("delta", (T, 20), Some(("delta", T)));
        taken.consents = vec![
            consent("delta", "delta", T, 19),
            consent("gamma", "delta", T, 19),
        ];
        let mut again = entry("gamma", (2 * T, 30), Some(("gamma", 2 * T)));
        again.consents = vec![
            consent("beta", "gamma", 2 * T, 29),
            consent("gamma", "gamma", 2 * T, 29),
        ];
        // Who took over described the group, and so said who succeeds.
        if let (Some(Kind::GroupChange(change)), Some(Kind::GroupChange(named))) =
            (&mut taken.payload, &charter.payload)
        {
            change.description.clone_from(&named.description);
        }
        let steps = [handed, charter, taken, again];
        assert_eq!(home_after(&alpha, group, &steps), Ok(domain("gamma")));
        let steps = &steps[..3];
        assert_eq!(home_after(&alpha, group, steps), Ok(domain("delta")));
        assert_eq!(home_after(&alpha, group, &steps[..2]), Ok(domain("beta")));
        // Nobody names their own successors, and no step can be left out.
        assert!(home_after(&alpha, group, &steps[1..]).is_err());
        assert!(home_after(&alpha, group, &[steps[0].clone(), steps[2].clone()]).is_err());
        assert!(home_after(&domain("gamma"), group, steps).is_err());
    }
}
