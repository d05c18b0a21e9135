//! How keys are built. One byte for the table, then parts that sort as they should: names end with a
//! zero byte, numbers are big-endian.

use freehold_proto::{DomainName, GroupId, MessageId, Timestamp, UserId};
use sha2::{Digest, Sha256};

use super::files::{CopyKey, FileKey, Referrer, Stock};
use crate::KeyRange;

/// Names a topic in keys: 16 bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct TopicKey([u8; 16]);

impl TopicKey {
    /// The topic between two people, whichever comes first.
    #[must_use]
    pub fn one_to_one(a: &UserId, b: &UserId) -> Self {
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"freehold/one-to-one/v1\0")
            .chain_update(low.to_string())
            .chain_update(b"\0")
            .chain_update(high.to_string())
            .finalize()
            .into();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }

    /// A group.
    #[must_use]
    pub fn group(group: &GroupId) -> Self {
        Self(*group.as_bytes())
    }

    /// The feed of a group's channel: a log beside that of the group, under a key of its own.
    #[must_use]
    pub fn feed(self) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(b"freehold/feed/v1\0")
            .chain_update(self.0)
            .finalize()
            .into();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }

    /// A person's notes to self.
    #[must_use]
    pub fn saved(user: &UserId) -> Self {
        Self::of(b"freehold/saved/v1\0", &user.to_string())
    }

    /// The reports to a domain's administrators.
    #[must_use]
    pub fn reports(domain: &DomainName) -> Self {
        Self::of(b"freehold/reports/v1\0", domain.as_str())
    }

    fn of(context: &[u8], name: &str) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(context)
            .chain_update(name)
            .finalize()
            .into();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Self(key)
    }

    /// Takes bytes that were stored; `None` if they are not 16.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

pub(crate) fn schema() -> Vec<u8> {
    b"V".to_vec()
}

pub(crate) fn account(user: &UserId) -> Vec<u8> {
    [b"A".as_slice(), &user.local_bytes()].concat()
}

pub(crate) fn login(login: &str) -> Vec<u8> {
    [b"L", login.as_bytes()].concat()
}

/// Remembers that an id was given and must not be given again.
pub(crate) fn tombstone(user: &UserId) -> Vec<u8> {
    [b"WT".as_slice(), &user.local_bytes()].concat()
}

pub(crate) fn erasures() -> Vec<u8> {
    b"WE".to_vec()
}

/// Stands while a deleted account's conversations are still to be ended.
pub(crate) fn erasure(user: &UserId) -> Vec<u8> {
    [b"WE".as_slice(), &user.local_bytes()].concat()
}

/// Stands for a text of any length and any characters.
fn text_tag(parts: &[&str]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash: [u8; 32] = hash.finalize().into();
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash[..16]);
    tag
}

/// Whose a name at an outside service is.
pub(crate) fn external(name: &str) -> Vec<u8> {
    [b"WX".as_slice(), &text_tag(&[name])].concat()
}

/// Whose a confirmed credential is.
pub(crate) fn credential(method: &str, value: &str) -> Vec<u8> {
    [b"WC".as_slice(), &text_tag(&[method, value])].concat()
}

pub(crate) fn codes(user: &UserId) -> Vec<u8> {
    [b"WK".as_slice(), &user.local_bytes()].concat()
}

/// A code that was sent to somebody and may still be used.
pub(crate) fn code(user: &UserId, purpose: u8, method: &str) -> Vec<u8> {
    [codes(user).as_slice(), &[purpose], &text_tag(&[method])].concat()
}

pub(crate) fn invitations() -> Vec<u8> {
    b"WI".to_vec()
}

pub(crate) fn invitation(code: &str) -> Vec<u8> {
    [invitations().as_slice(), &text_tag(&[code])].concat()
}

pub(crate) fn audit_trail() -> Vec<u8> {
    b"WA".to_vec()
}

pub(crate) fn audit(at: i64, number: u32, random: [u8; 4]) -> Vec<u8> {
    let at = u64::try_from(at).unwrap_or(0).to_be_bytes();
    [b"WA".as_slice(), &at, &number.to_be_bytes(), &random].concat()
}

pub(crate) fn devices(user: &UserId) -> Vec<u8> {
    [b"d".as_slice(), &user.local_bytes()].concat()
}

pub(crate) fn device(user: &UserId, token: &str) -> Vec<u8> {
    device_of(&user.local_bytes(), token)
}

/// A device of whoever has this local part in their id.
pub(crate) fn device_of(local: &[u8], token: &str) -> Vec<u8> {
    [b"d", local, &text_tag(&[token])].concat()
}

/// Whose a device is.
pub(crate) fn device_owner(token: &str) -> Vec<u8> {
    [b"f".as_slice(), &text_tag(&[token])].concat()
}

/// Everybody who carries a tag.
pub(crate) fn tagged(tag: &str) -> Vec<u8> {
    [b"Q".as_slice(), &text_tag(&[tag])].concat()
}

pub(crate) fn tag_of(tag: &str, owner: &[u8]) -> Vec<u8> {
    [tagged(tag).as_slice(), owner].concat()
}

/// The one owner of a tag that only one may have.
pub(crate) fn unique_tag(tag: &str) -> Vec<u8> {
    [b"WU".as_slice(), &text_tag(&[tag])].concat()
}

pub(crate) fn accounts() -> Vec<u8> {
    b"A".to_vec()
}

pub(crate) fn topics() -> Vec<u8> {
    b"T".to_vec()
}

pub(crate) fn rooms() -> Vec<u8> {
    b"R".to_vec()
}

/// The topic at the end of a key.
pub(crate) fn last_topic(key: &[u8]) -> Option<TopicKey> {
    key.last_chunk().copied().map(TopicKey)
}

pub(crate) fn topic(topic: TopicKey) -> Vec<u8> {
    [b"T".as_slice(), &topic.0].concat()
}

pub(crate) fn subscriptions(user: &UserId) -> Vec<u8> {
    [b"S", user.to_string().as_bytes(), b"\0"].concat()
}

pub(crate) fn subscription(user: &UserId, topic: TopicKey) -> Vec<u8> {
    [subscriptions(user).as_slice(), &topic.0].concat()
}

pub(crate) fn room(topic: TopicKey) -> Vec<u8> {
    [rooms().as_slice(), &topic.0].concat()
}

pub(crate) fn members(topic: TopicKey) -> Vec<u8> {
    [b"G".as_slice(), &topic.0].concat()
}

pub(crate) fn member(topic: TopicKey, user: &UserId) -> Vec<u8> {
    [members(topic).as_slice(), user.to_string().as_bytes()].concat()
}

/// Whose view of a topic: one person's, or everybody's.
fn scope(user: Option<&UserId>) -> [u8; 16] {
    let Some(user) = user else {
        return [0; 16];
    };
    let hash: [u8; 32] = Sha256::digest(user.to_string()).into();
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash[..16]);
    tag
}

fn in_scope(prefix: u8, topic: TopicKey, user: Option<&UserId>) -> Vec<u8> {
    [&[prefix], topic.0.as_slice(), &scope(user)].concat()
}

pub(crate) fn deletion(topic: TopicKey, user: Option<&UserId>, id: u32) -> Vec<u8> {
    [in_scope(b'E', topic, user).as_slice(), &id.to_be_bytes()].concat()
}

/// Deletions with `low <= id < high`.
pub(crate) fn deletions(topic: TopicKey, user: Option<&UserId>, low: u32, high: u32) -> KeyRange {
    KeyRange::new(deletion(topic, user, low), deletion(topic, user, high))
}

pub(crate) fn half_erased_all() -> Vec<u8> {
    b"e".to_vec()
}

pub(crate) fn half_erased(topic: TopicKey) -> Vec<u8> {
    [b"e".as_slice(), &topic.0].concat()
}

pub(crate) fn hole(topic: TopicKey, user: Option<&UserId>, low: u32) -> Vec<u8> {
    [in_scope(b'X', topic, user).as_slice(), &low.to_be_bytes()].concat()
}

/// Holes that begin below `high`.
pub(crate) fn holes(topic: TopicKey, user: Option<&UserId>, high: u32) -> KeyRange {
    KeyRange::new(hole(topic, user, 0), hole(topic, user, high))
}

pub(crate) fn message(topic: TopicKey, seq: u32) -> Vec<u8> {
    [b"M".as_slice(), &topic.0, &seq.to_be_bytes()].concat()
}

/// Messages with `low <= seq < high`.
pub(crate) fn messages(topic: TopicKey, low: u32, high: u32) -> KeyRange {
    KeyRange::new(message(topic, low), message(topic, high))
}

pub(crate) fn all_messages() -> Vec<u8> {
    b"M".to_vec()
}

/// The topic and the position in the key of a message.
pub(crate) fn message_place(key: &[u8]) -> Option<(TopicKey, u32)> {
    Some((TopicKey::from_slice(key.get(1..17)?)?, message_seq(key)?))
}

/// Messages of a topic whose positions lie in one stretch, packed into one row.
pub(crate) fn pack(topic: TopicKey, stretch: u32, number: u8) -> Vec<u8> {
    [b"c".as_slice(), &topic.0, &stretch.to_be_bytes(), &[number]].concat()
}

/// Packs with `low <= stretch < high`.
pub(crate) fn packs(topic: TopicKey, (low, high): (u32, u32)) -> KeyRange {
    KeyRange::new(pack(topic, low, 0), pack(topic, high, 0))
}

pub(crate) fn pack_stretch(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(17..21)?.try_into().ok()?))
}

/// Stretches that may be packed now, those first that were noted first.
pub(crate) fn all_ripe() -> Vec<u8> {
    b"s".to_vec()
}

pub(crate) fn ripe(at: u64, topic: TopicKey, stretch: u32) -> Vec<u8> {
    let (at, stretch) = (at.to_be_bytes(), stretch.to_be_bytes());
    [b"s".as_slice(), &at, &topic.0, &stretch].concat()
}

/// The topic and the stretch in such a key.
pub(crate) fn ripe_place(key: &[u8]) -> Option<(TopicKey, u32)> {
    Some((TopicKey::from_slice(key.get(9..25)?)?, last_short(key)?))
}

/// How far the messages have been packed that are older than packs.
pub(crate) fn unpacked() -> Vec<u8> {
    b"v".to_vec()
}

pub(crate) fn message_seq(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(17..)?.try_into().ok()?))
}

/// The 32-bit number at the end of a key.
pub(crate) fn last_short(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*key.last_chunk()?))
}

/// Where the rest of a value goes that is too long for one row.
pub(crate) fn blob_part(key: &[u8], part: u16) -> Vec<u8> {
    [b"B", key, &part.to_be_bytes()].concat()
}

pub(crate) fn blob_parts(key: &[u8]) -> KeyRange {
    KeyRange::new(blob_part(key, 0), blob_part(key, u16::MAX))
}

pub(crate) fn log(topic: TopicKey) -> Vec<u8> {
    [b"W".as_slice(), &topic.0].concat()
}

pub(crate) fn log_entry(topic: TopicKey, index: u64) -> Vec<u8> {
    [log(topic).as_slice(), &index.to_be_bytes()].concat()
}

/// The index of a log's last entry.
pub(crate) fn log_tip(topic: TopicKey) -> Vec<u8> {
    [b"w".as_slice(), &topic.0].concat()
}

/// From a message's order to its position.
pub(crate) fn order(topic: TopicKey, order: u32) -> Vec<u8> {
    [b"j".as_slice(), &topic.0, &order.to_be_bytes()].concat()
}

/// Messages with `low <= order < high`.
pub(crate) fn orders(topic: TopicKey, low: u32, high: u32) -> KeyRange {
    KeyRange::new(order(topic, low), order(topic, high))
}

/// From a message's position to its order.
pub(crate) fn place(topic: TopicKey, seq: u32) -> Vec<u8> {
    [b"k".as_slice(), &topic.0, &seq.to_be_bytes()].concat()
}

/// Messages with `low <= seq < high` that have an order.
pub(crate) fn places(topic: TopicKey, low: u32, high: u32) -> KeyRange {
    KeyRange::new(place(topic, low), place(topic, high))
}

pub(crate) fn followed_by(peer: &DomainName) -> Vec<u8> {
    [b"l".as_slice(), &peer_tag(peer)].concat()
}

pub(crate) fn follower(peer: &DomainName, topic: TopicKey) -> Vec<u8> {
    [followed_by(peer).as_slice(), &topic.0].concat()
}

pub(crate) fn told(peer: &DomainName, topic: TopicKey) -> Vec<u8> {
    [b"m".as_slice(), &peer_tag(peer), &topic.0].concat()
}

/// Domains whose people read a channel of ours.
pub(crate) fn reading_domains(topic: TopicKey) -> Vec<u8> {
    [b"r".as_slice(), &topic.0].concat()
}

pub(crate) fn reading_domain(topic: TopicKey, peer: &DomainName) -> Vec<u8> {
    [b"r".as_slice(), &topic.0, peer.as_str().as_bytes()].concat()
}

/// The domain at the end of such a key.
pub(crate) fn last_reading_domain(key: &[u8]) -> Option<DomainName> {
    std::str::from_utf8(key.get(17..)?).ok()?.parse().ok()
}

pub(crate) fn request(topic: TopicKey, id: &[u8]) -> Vec<u8> {
    [b"q".as_slice(), &topic.0, id].concat()
}

pub(crate) fn foreign_person(user: &UserId) -> Vec<u8> {
    [b"F", user.to_string().as_bytes()].concat()
}

pub(crate) fn seen(origin: &DomainName, id: MessageId) -> Vec<u8> {
    [b"D", origin.as_str().as_bytes(), b"\0", id.as_bytes()].concat()
}

/// Stands for a peer where the whole name would make the key too long for the engine.
fn peer_tag(peer: &DomainName) -> [u8; 16] {
    let hash: [u8; 32] = Sha256::digest(peer.as_str()).into();
    let mut tag = [0; 16];
    tag.copy_from_slice(&hash[..16]);
    tag
}

pub(crate) fn outbox_of(peer: &DomainName) -> Vec<u8> {
    [b"O".as_slice(), &peer_tag(peer)].concat()
}

pub(crate) fn outbox(peer: &DomainName, position: u64) -> Vec<u8> {
    [outbox_of(peer).as_slice(), &position.to_be_bytes()].concat()
}

/// The number at the end of an outbox or parked key.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}

pub(crate) fn parked_of(peer: &DomainName) -> Vec<u8> {
    [b"K".as_slice(), &peer_tag(peer)].concat()
}

/// Parked messages of one author in one topic.
pub(crate) fn parked_pair(peer: &DomainName, topic: TopicKey, author: &UserId) -> Vec<u8> {
    [
        parked_of(peer).as_slice(),
        &topic.0,
        author.to_string().as_bytes(),
        b"\0",
    ]
    .concat()
}

pub(crate) fn parked(
    peer: &DomainName,
    topic: TopicKey,
    author: &UserId,
    position: u64,
) -> Vec<u8> {
    [
        parked_pair(peer, topic, author).as_slice(),
        &position.to_be_bytes(),
    ]
    .concat()
}

pub(crate) fn cell(peer: &DomainName, kind: u8, topic: TopicKey, user: &UserId) -> Vec<u8> {
    let user = user.to_string();
    [
        b"C".as_slice(),
        &peer_tag(peer),
        &[kind],
        &topic.0,
        user.as_bytes(),
    ]
    .concat()
}

/// What a peer has decided and would be offered again if it lost it.
pub(crate) fn kept_of(peer: &DomainName) -> Vec<u8> {
    [b"o".as_slice(), &peer_tag(peer)].concat()
}

pub(crate) fn kept(peer: &DomainName, position: u64) -> Vec<u8> {
    [kept_of(peer).as_slice(), &position.to_be_bytes()].concat()
}

/// Relations and cursors that a peer has decided.
pub(crate) fn told_cells(peer: &DomainName) -> Vec<u8> {
    [b"t".as_slice(), &peer_tag(peer)].concat()
}

pub(crate) fn told_cell(peer: &DomainName, kind: u8, topic: TopicKey, user: &UserId) -> Vec<u8> {
    let user = user.to_string();
    [
        told_cells(peer).as_slice(),
        &[kind],
        &topic.0,
        user.as_bytes(),
    ]
    .concat()
}

pub(crate) fn streams_out() -> Vec<u8> {
    b"P".to_vec()
}

pub(crate) fn stream_out(peer: &DomainName) -> Vec<u8> {
    [b"P", peer.as_str().as_bytes()].concat()
}

pub(crate) fn stream_in(peer: &DomainName) -> Vec<u8> {
    [b"I", peer.as_str().as_bytes()].concat()
}

pub(crate) fn pin(peer: &DomainName) -> Vec<u8> {
    [b"N", peer.as_str().as_bytes()].concat()
}

pub(crate) fn pins() -> Vec<u8> {
    b"N".to_vec()
}

pub(crate) fn peer_policies() -> Vec<u8> {
    b"p".to_vec()
}

pub(crate) fn peer_policy(peer: &DomainName) -> Vec<u8> {
    [b"p", peer.as_str().as_bytes()].concat()
}

pub(crate) fn file(file: FileKey) -> Vec<u8> {
    [b"H".as_slice(), file.as_bytes()].concat()
}

/// When a file came or last lost a reference.
pub(crate) fn idle_since(file: FileKey) -> Vec<u8> {
    [b"Zi".as_slice(), file.as_bytes()].concat()
}

pub(crate) fn references_to(file: FileKey) -> Vec<u8> {
    [b"Zf".as_slice(), file.as_bytes()].concat()
}

pub(crate) fn reference_to(file: FileKey, referrer: &Referrer) -> Vec<u8> {
    [references_to(file), named(referrer)].concat()
}

pub(crate) fn references_by(referrer: &Referrer) -> Vec<u8> {
    [b"Zr".to_vec(), named(referrer)].concat()
}

pub(crate) fn reference_by(referrer: &Referrer, file: FileKey) -> Vec<u8> {
    [references_by(referrer).as_slice(), file.as_bytes()].concat()
}

/// None is the beginning of another one.
fn named(referrer: &Referrer) -> Vec<u8> {
    match referrer {
        Referrer::Message(topic, seq) => [b"m".as_slice(), &topic.0, &seq.to_be_bytes()].concat(),
        Referrer::Account(user) => [b"a", user.to_string().as_bytes(), b"\0"].concat(),
        Referrer::Topic(topic) => [b"t".as_slice(), &topic.0].concat(),
    }
}

/// References to a file by descriptions of people, and by those of topics.
pub(crate) fn pictures_of(file: FileKey) -> [Vec<u8>; 2] {
    [b"a", b"t"].map(|it| [references_to(file).as_slice(), it].concat())
}

/// References to a file by messages.
pub(crate) fn messages_with(file: FileKey) -> Vec<u8> {
    [references_to(file).as_slice(), b"m"].concat()
}

/// The message in the key of a reference to a file.
pub(crate) fn referring_message(key: &[u8]) -> Option<(TopicKey, u32)> {
    let topic = TopicKey::from_slice(key.get(19..35)?)?;
    let seq = u32::from_be_bytes(key.get(35..)?.try_into().ok()?);
    Some((topic, seq))
}

pub(crate) fn copies_of(file: FileKey) -> Vec<u8> {
    [b"Xc".as_slice(), file.as_bytes()].concat()
}

pub(crate) fn copy(copy: CopyKey) -> Vec<u8> {
    [b"Xc".as_slice(), copy.as_bytes()].concat()
}

/// The copy at the end of a key.
pub(crate) fn last_copy(key: &[u8]) -> Option<CopyKey> {
    key.last_chunk().copied().map(CopyKey::from_bytes)
}

/// When copies were last used.
pub(crate) fn uses() -> Vec<u8> {
    b"Xa".to_vec()
}

pub(crate) fn used(moment: Timestamp, copy: CopyKey) -> Vec<u8> {
    let millis = moment.as_millis().to_be_bytes();
    [b"Xa".as_slice(), &millis, copy.as_bytes()].concat()
}

/// The `seq` in the key of a reference by a message.
pub(crate) fn referring_seq(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(19..23)?.try_into().ok()?))
}

/// The file at the end of a key.
pub(crate) fn last_file(key: &[u8]) -> Option<FileKey> {
    key.last_chunk().copied().map(FileKey::from_bytes)
}

pub(crate) fn due_at(moment: Timestamp) -> Vec<u8> {
    [b"Y".as_slice(), &moment.as_millis().to_be_bytes()].concat()
}

/// Behind all that is due at a moment.
pub(crate) fn due_after(moment: Timestamp) -> Vec<u8> {
    [due_at(moment).as_slice(), &[0xff; 17]].concat()
}

pub(crate) fn due(moment: Timestamp, file: FileKey) -> Vec<u8> {
    [due_at(moment).as_slice(), file.as_bytes()].concat()
}

pub(crate) fn due_parts(key: &[u8]) -> Option<(Timestamp, FileKey)> {
    let millis = i64::from_be_bytes(key.get(1..9)?.try_into().ok()?);
    let file = FileKey::from_slice(key.get(9..)?)?;
    Some((Timestamp::from_stored(millis), file))
}

pub(crate) fn usage(stock: &Stock) -> Vec<u8> {
    match stock {
        Stock::Domain => b"Ud".to_vec(),
        Stock::Copies => b"Ua".to_vec(),
        Stock::Person(user) => [b"Up".as_slice(), &user.local_bytes()].concat(),
    }
}

pub(crate) fn files_by(owner: &UserId) -> Vec<u8> {
    [b"Uf".as_slice(), &owner.local_bytes()].concat()
}

pub(crate) fn file_by(owner: &UserId, file: FileKey) -> Vec<u8> {
    [files_by(owner).as_slice(), file.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KEY_MAX;

    #[test]
    fn the_longest_names_make_keys_that_the_engine_takes() {
        let label = "a".repeat(61);
        let domain: DomainName = [label.as_str(); 4].join(".").parse().unwrap();
        let user = UserId::new([0; 8], domain.clone());
        let topic = TopicKey::one_to_one(&user, &user);
        for key in [
            blob_part(&subscription(&user, topic), 0),
            member(topic, &user),
            deletion(topic, Some(&user), 0),
            blob_part(&foreign_person(&user), 0),
            blob_part(&pin(&domain), 0),
            seen(&domain, MessageId::from_bytes([0; 16])),
            parked(&domain, topic, &user, 0),
            cell(&domain, 0, topic, &user),
            told_cell(&domain, 0, topic, &user),
            stream_out(&domain),
            follower(&domain, topic),
            reading_domain(topic, &domain),
            told(&domain, topic),
            blob_part(&log_entry(topic, 0), 0),
            blob_part(&request(topic, &[0; 16]), 0),
            reference_by(
                &Referrer::Account(user.clone()),
                FileKey::from_bytes([0; 16]),
            ),
        ] {
            assert!(
                key.len() <= KEY_MAX,
                "{} bytes: {}",
                key.len(),
                key.escape_ascii()
            );
        }
    }
}
