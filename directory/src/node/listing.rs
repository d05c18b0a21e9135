//! What domains have announced, and finding it by words. Soft state: it is gone with the node, and comes
//! again with the next announcement (PROTOCOL.md section 13.1).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem::size_of,
    net::Ipv6Addr,
    ops::Bound,
    time::Duration,
};

use bytes::Bytes;
use freehold_keys::{SignedCard, VerifiedAnnouncement};
use freehold_proto::{
    DomainName, Timestamp,
    card::{CardWords, LIFETIME_MAX, Subject},
};

use super::family::family;

/// Cards in one answer.
pub(super) const FOUND_MAX: usize = 50;
/// Of these, cards of one domain: nobody fills the list alone.
const FOUND_OF_ONE_MAX: usize = 10;
/// The same of all domains below one name of two labels: names cost nothing to who has one.
const FOUND_OF_FAMILY_MAX: usize = 20;
/// Of all memory, what one such family may have, and what may come from one network.
const FAMILY_PART: usize = 8;
const NETWORK_PART: usize = 16;
/// Cards that are looked at for one question.
const CANDIDATES_MAX: usize = 1000;
/// Words by which one card is found; more are passed over.
const WORDS_MAX: usize = 64;
/// Longest word that is kept, in characters; of a longer one, its beginning.
const WORD_CHARS_MAX: usize = 40;
/// Words of a question.
const ASKED_MAX: usize = 8;
/// Shortest word of a question, in bytes of UTF-8: two letters, or one of a script with thousands of them.
const ASKED_BYTES_MIN: usize = 2;
/// What a lease weighs beside its cards and names, and a card beside its bytes and words: rows of maps.
const LEASE_BYTES: usize = size_of::<(DomainName, Lease)>() + 32;
const ENTRY_BYTES: usize = size_of::<Option<Entry>>() + 48;
/// What a word weighs in the index beside itself, and what each card that has it adds.
const WORD_BYTES: usize = 128;
const POSTING_BYTES: usize = 16;

/// Groups or people.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    Groups,
    People,
}

/// Why an announcement has no effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unlisted {
    /// The domain has announced something since.
    #[error("the domain has announced something later than this")]
    Older,
    /// There is no room.
    #[error("this node has no room for more cards; ask another node")]
    Full,
    /// Others of its family or network have taken its part of it.
    #[error(
        "this node has no room for more cards of domains with this ending or from this network"
    )]
    Crowded,
}

/// Words somebody looks for: each has to begin a word of what is found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Question(Vec<String>);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Cards, those that fit best first.
    pub(super) cards: Vec<SignedCard>,
    /// There are more.
    pub(super) more: bool,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Figures {
    pub(super) domains: usize,
    pub(super) cards: usize,
    /// In bytes, estimated.
    pub(super) bytes: usize,
}

/// Now, by both clocks: one may be set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) time: Timestamp,
    pub(super) elapsed: Duration,
}

/// What one domain has announced last.
#[derive(Debug)]
struct Lease {
    issued: Timestamp,
    signature: Bytes,
    until: Timestamp,
    over: Duration,
    slots: Vec<u32>,
    family: String,
    network: Ipv6Addr,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    domain: DomainName,
    subject: (Kind, [u8; 16]),
    /// An encoded `SignedCard`.
    card: Bytes,
    /// In order, each followed by a line feed.
    words: Box<str>,
    members: u32,
}

/// All that is announced now.
#[derive(Debug)]
pub(super) struct Listing {
    bytes_max: usize,
    bytes: usize,
    leases: HashMap<DomainName, Lease>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    index: BTreeMap<Box<str>, BTreeSet<u32>>,
    /// What the words in it weigh.
    index_bytes: usize,
    families: HashMap<String, usize>,
    networks: HashMap<Ipv6Addr, usize>,
}

impl Listing {
    /// An empty one that may take so much memory.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            bytes: 0,
            leases: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            index: BTreeMap::new(),
            index_bytes: 0,
            families: HashMap::new(),
            networks: HashMap::new(),
        }
    }

    /// Judges an announcement by what is known of its domain, before anybody has checked it: that it is the
    /// last one again, and until when, or that it is older.
    pub(super) fn known(
        &self,
        domain: &DomainName,
        issued: Timestamp,
        signature: &[u8],
        now: Now,
    ) -> Result<Option<Timestamp>, Unlisted> {
        let known = self.leases.get(domain).filter(|it| it.counts(now));
        match known.filter(|it| it.issued >= issued) {
            None => Ok(None),
            Some(known) if *known.signature == *signature => Ok(Some(known.until)),
            Some(_) => Err(Unlisted::Older),
        }
    }

    /// Takes what a domain has announced, from a network, in place of what it had announced before. Says
    /// until when.
    pub(super) fn take(
        &mut self,
        announced: &VerifiedAnnouncement,
        network: Ipv6Addr,
        now: Now,
    ) -> Result<Timestamp, Unlisted> {
        let words = &announced.announcement;
        let known = self.known(&words.domain, words.issued, &announced.signature, now)?;
        if let Some(until) = known {
            return Ok(until);
        }
        let entries = entries(announced);
        let weight: usize = entries.iter().map(Entry::weight).sum::<usize>() + LEASE_BYTES;
        let family = family(&words.domain);
        self.check_room((&words.domain, &family, network), &entries, weight)?;
        self.uncount(&words.domain);
        self.bytes += weight;
        *self.families.entry(family.clone()).or_default() += weight;
        *self.networks.entry(network).or_default() += weight;
        let until = words.expires.min(now.time.plus(LIFETIME_MAX));
        let slots = self.replace(&words.domain, entries);
        self.leases.insert(
            words.domain.clone(),
            Lease {
                issued: words.issued,
                signature: announced.signature.clone(),
                over: now.elapsed + until.since(now.time),
                until,
                slots,
                family,
                network,
                bytes: weight,
            },
        );
        Ok(until)
    }

    fn check_room(
        &self,
        (domain, family, network): (&DomainName, &str, Ipv6Addr),
        entries: &[Entry],
        weight: usize,
    ) -> Result<(), Unlisted> {
        let before = self.leases.get(domain);
        let of_before = |same: bool| before.filter(|_| same).map_or(0, |it| it.bytes);
        let new_words = entries
            .iter()
            .flat_map(|it| it.words.split_terminator('\n'));
        let new_words = new_words.filter(|it| !self.index.contains_key(*it));
        let new_words: usize = new_words.map(|it| it.len() + WORD_BYTES).sum();
        let bytes = self.bytes - of_before(true) + self.index_bytes;
        if bytes + weight + new_words > self.bytes_max {
            return Err(Unlisted::Full);
        }
        let part = |of: Option<&usize>, same| of.copied().unwrap_or(0) - of_before(same) + weight;
        let of_family = part(
            self.families.get(family),
            before.is_some_and(|it| it.family == family),
        );
        let of_network = part(
            self.networks.get(&network),
            before.is_some_and(|it| it.network == network),
        );
        match of_family > self.bytes_max / FAMILY_PART || of_network > self.bytes_max / NETWORK_PART
        {
            true => Err(Unlisted::Crowded),
            false => Ok(()),
        }
    }

    /// Takes what a domain weighs out of all sums.
    fn uncount(&mut self, domain: &DomainName) {
        let Some(lease) = self.leases.get(domain) else {
            return;
        };
        self.bytes -= lease.bytes;
        if let Some(sum) = self.families.get_mut(&lease.family) {
            *sum -= lease.bytes;
        }
        if let Some(sum) = self.networks.get_mut(&lease.network) {
            *sum -= lease.bytes;
        }
    }

    /// Cards that answer a question.
    pub(super) fn find(&self, kind: Kind, question: &Question, now: Now) -> Page {
        let (candidates, mut more) = self.candidates(question);
        let mut found: Vec<(usize, &Entry)> = Vec::new();
        for slot in candidates {
            let entry = self.entry(slot).filter(|it| it.subject.0 == kind);
            let Some(entry) = entry else { continue };
            let counts = |it: &Lease| it.counts(now);
            let Some(whole) = question.answered_by(&entry.words) else {
                continue;
            };
            if self.leases.get(&entry.domain).is_some_and(counts) {
                found.push((whole, entry));
            }
        }
        found.sort_by(|(whole, one), (other_whole, other)| {
            let better = (other_whole, other.members).cmp(&(whole, one.members));
            better.then_with(|| (&one.domain, one.subject).cmp(&(&other.domain, other.subject)))
        });
        let mut of_domain: HashMap<&DomainName, usize> = HashMap::new();
        let mut of_family: HashMap<&str, usize> = HashMap::new();
        let mut page = Page::default();
        for (_, entry) in found {
            let family = self.leases.get(&entry.domain).map_or("", |it| &*it.family);
            let count = of_domain.entry(&entry.domain).or_default();
            let count_all = of_family.entry(family).or_default();
            let one = *count >= FOUND_OF_ONE_MAX || *count_all >= FOUND_OF_FAMILY_MAX;
            if one || page.cards.len() >= FOUND_MAX {
                more = true;
                continue;
            }
            *count += 1;
            *count_all += 1;
            page.cards.extend(SignedCard::read(&entry.card));
        }
        page.more = more;
        page
    }

    /// Forgets leases that have ended.
    pub(super) fn sweep(&mut self, now: Now) {
        let ended: Vec<DomainName> = self
            .leases
            .iter()
            .filter(|(_, it)| !it.counts(now))
            .map(|(domain, _)| domain.clone())
            .collect();
        for domain in ended {
            self.uncount(&domain);
            self.replace(&domain, Vec::new());
            self.leases.remove(&domain);
        }
        self.families.retain(|_, sum| *sum > 0);
        self.networks.retain(|_, sum| *sum > 0);
    }

    /// How much there is.
    pub(super) fn figures(&self) -> Figures {
        Figures {
            domains: self.leases.len(),
            cards: self.entries.len() - self.free.len(),
            bytes: self.bytes + self.index_bytes,
        }
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        let slot = usize::try_from(slot).ok()?;
        self.entries.get(slot)?.as_ref()
    }

    /// Puts cards in the place of those that a domain has here. A card whose words are the same stays where
    /// it is: most are announced again as they were.
    fn replace(&mut self, domain: &DomainName, entries: Vec<Entry>) -> Vec<u32> {
        let slots = self.leases.get(domain).map(|it| it.slots.clone());
        let mut before: HashMap<(Kind, [u8; 16]), u32> = HashMap::new();
        for slot in slots.unwrap_or_default() {
            if let Some(entry) = self.entry(slot) {
                before.insert(entry.subject, slot);
            }
        }
        let mut after = Vec::with_capacity(entries.len());
        let mut new = Vec::new();
        for entry in entries {
            let same = |it: &u32| self.entry(*it).is_some_and(|it| it.words == entry.words);
            match before.get(&entry.subject).copied().filter(same) {
                Some(slot) => {
                    before.remove(&entry.subject);
                    self.put(slot, entry);
                    after.push(slot);
                }
                None => new.push(entry),
            }
        }
        for slot in before.into_values() {
            self.remove(slot);
        }
        after.extend(new.into_iter().filter_map(|it| self.add(it)));
        after
    }

    fn put(&mut self, slot: u32, entry: Entry) {
        let index = usize::try_from(slot).ok();
        if let Some(place) = index.and_then(|it| self.entries.get_mut(it)) {
            *place = Some(entry);
        }
    }

    fn add(&mut self, entry: Entry) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.entries.len()).ok()?;
                self.entries.push(None);
                slot
            }
        };
        for word in entry.words.split_terminator('\n') {
            match self.index.get_mut(word) {
                Some(slots) => drop(slots.insert(slot)),
                None => {
                    self.index_bytes += word.len() + WORD_BYTES;
                    drop(self.index.insert(word.into(), BTreeSet::from([slot])));
                }
            }
        }
        self.put(slot, entry);
        Some(slot)
    }

    fn remove(&mut self, slot: u32) {
        let index = usize::try_from(slot).ok();
        let entry = index.and_then(|it| self.entries.get_mut(it)?.take());
        let Some(entry) = entry else { return };
        self.free.push(slot);
        for word in entry.words.split_terminator('\n') {
            let ends = self.index.get_mut(word).is_some_and(|slots| {
                slots.remove(&slot);
                slots.is_empty()
            });
            if ends {
                self.index_bytes -= word.len() + WORD_BYTES;
                self.index.remove(word);
            }
        }
    }

    /// Cards with a word that begins with the longest word asked for, up to a number, and whether there are
    /// others. What they hold beside it is for the caller to see.
    fn candidates(&self, question: &Question) -> (BTreeSet<u32>, bool) {
        let mut slots = BTreeSet::new();
        let Some(longest) = question.0.iter().max_by_key(|it| it.chars().count()) else {
            return (slots, false);
        };
        let bounds = (Bound::Included(longest.as_str()), Bound::Unbounded);
        let from = self.index.range::<str, _>(bounds);
        for (_, found) in from.take_while(|(word, _)| word.starts_with(longest)) {
            for slot in found {
                if slots.len() >= CANDIDATES_MAX {
                    return (slots, true);
                }
                slots.insert(*slot);
            }
        }
        (slots, false)
    }
}

impl Lease {
    fn counts(&self, now: Now) -> bool {
        now.time < self.until && now.elapsed < self.over
    }
}

impl Entry {
    /// In bytes.
    fn weight(&self) -> usize {
        let words = self.words.split_terminator('\n').count();
        self.card.len() + self.words.len() + words * POSTING_BYTES + ENTRY_BYTES
    }
}

impl Question {
    /// Reads what somebody typed; nothing where no word is long enough.
    pub(super) fn read(text: &str) -> Option<Self> {
        let long = |it: &String| it.len() >= ASKED_BYTES_MIN;
        let asked: Vec<String> = words(text).filter(long).take(ASKED_MAX).collect();
        (!asked.is_empty()).then_some(Self(asked))
    }

    /// Whether every word begins one of these, and how many are one of these.
    fn answered_by(&self, words: &str) -> Option<usize> {
        let mut whole = 0;
        for asked in &self.0 {
            let mut found = words.split_terminator('\n');
            let mut begins = found.by_ref().filter(|it| it.starts_with(asked));
            // They stand in order: a word stands before those that it begins.
            whole += usize::from(begins.next()? == asked);
        }
        Some(whole)
    }
}

/// The cards of an announcement, one for each subject.
fn entries(announced: &VerifiedAnnouncement) -> Vec<Entry> {
    let mut seen = HashSet::new();
    let mut entries = Vec::with_capacity(announced.cards.len());
    for signed in &announced.cards {
        let said = &signed.card().words;
        let (subject, members) = subject(&said.subject);
        if seen.insert(subject) {
            entries.push(Entry {
                domain: signed.card().domain.clone(),
                subject,
                card: signed.to_bytes().into(),
                words: words_of(said),
                members,
            });
        }
    }
    entries
}

fn subject(subject: &Subject) -> ((Kind, [u8; 16]), u32) {
    match subject {
        Subject::Group { group, members, .. } => ((Kind::Groups, *group.as_bytes()), *members),
        Subject::Person(user) => {
            let mut id = [0; 16];
            for (to, from) in id.iter_mut().zip(user.local_bytes()) {
                *to = from;
            }
            ((Kind::People, id), 0)
        }
    }
}

/// The words by which a card is found, in order, each once.
fn words_of(card: &CardWords) -> Box<str> {
    let tags = card.tags.iter().flat_map(|it| words(it));
    let all: BTreeSet<String> = words(&card.title)
        .chain(words(&card.note))
        .chain(tags)
        .collect();
    all.into_iter()
        .take(WORDS_MAX)
        .map(|it| it + "\n")
        .collect::<String>()
        .into()
}

/// The words of a text, in small letters.
fn words(text: &str) -> impl Iterator<Item = String> {
    let parts = text.split(|it: char| !it.is_alphanumeric());
    let parts = parts.filter(|it| !it.is_empty());
    parts.map(|it| it.to_lowercase().chars().take(WORD_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use freehold_keys::{KeyRing, VerifiedRecord};
    use freehold_proto::{AccessMode, GroupId, UserId};

    use super::*;

    const LEASE: Duration = Duration::from_secs(600);
    const NET: Ipv6Addr = Ipv6Addr::LOCALHOST;

    fn now() -> Now {
        Now {
            time: Timestamp::from_millis(1_767_323_045_678).unwrap(),
            elapsed: Duration::from_secs(1),
        }
    }

    fn after(time: Duration) -> Now {
        Now {
            time: now().time.plus(time),
            elapsed: now().elapsed + time,
        }
    }

    /// A domain that announces.
    struct Domain {
        ring: KeyRing,
        record: VerifiedRecord,
    }

    impl Domain {
        fn new(name: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let created =
                KeyRing::create(&dir.path().join("k"), &name.parse().unwrap(), now().time);
            let ring = created.unwrap().0;
            let record = ring.fresh_record(now().time);
            Self { ring, record }
        }

        fn announces(&self, cards: Vec<CardWords>, now: Now) -> VerifiedAnnouncement {
            let signed = self.ring.signer().announce(cards, LEASE, now.time);
            VerifiedAnnouncement::verify(&signed, &self.record, now.time).unwrap()
        }
    }

    fn group(number: u8, title: &str, members: u32) -> CardWords {
        CardWords {
            subject: Subject::Group {
                group: GroupId::from_bytes([number; 16]),
                channel: false,
                access: AccessMode::GROUP,
                members,
            },
            title: title.to_owned(),
            note: String::new(),
            tags: Vec::new(),
        }
    }

    fn person(domain: &str, title: &str) -> CardWords {
        CardWords {
            subject: Subject::Person(UserId::new([1; 8], domain.parse().unwrap())),
            note: "Gardens, and Bees".to_owned(),
            tags: vec!["city:turin".to_owned()],
            ..group(0, title, 0)
        }
    }

    fn listing() -> Listing {
        Listing::new(1024 * 1024)
    }

    fn titles(listing: &Listing, kind: Kind, asked: &str, now: Now) -> Vec<String> {
        let question = Question::read(asked).unwrap();
        let page = listing.find(kind, &question, now);
        let titles = page.cards.iter().map(|it| it.card().words.title.clone());
        titles.collect()
    }

    #[track_caller]
    fn check_found(listing: &Listing, asked: &str, expected: &[&str]) {
        assert_eq!(
            titles(listing, Kind::Groups, asked, now()),
            expected,
            "{asked}"
        );
    }

    #[test]
    fn groups_are_found_by_the_beginnings_of_words_and_whole_words_come_first() {
        let beta = Domain::new("beta.test");
        let mut listing = listing();
        let cards = vec![
            group(1, "Bicycle workshop", 3),
            group(2, "Bicycles and trains", 30),
            group(3, "Träume", 1),
            group(4, "図書館の友", 1),
        ];
        listing
            .take(&beta.announces(cards, now()), NET, now())
            .unwrap();
        check_found(
            &listing,
            "bicycle",
            &["Bicycle workshop", "Bicycles and trains"],
        );
        check_found(&listing, "BICY tra", &["Bicycles and trains"]);
        check_found(&listing, "work", &["Bicycle workshop"]);
        check_found(&listing, "TRÄU", &["Träume"]);
        check_found(&listing, "図書", &["図書館の友"]);
        for nothing in ["cycle", "bicycle boat", "bicycless"] {
            check_found(&listing, nothing, &[]);
        }
        assert_eq!(Question::read("a - !"), None);
    }

    #[test]
    fn people_are_found_by_name_note_and_tags_and_not_among_groups() {
        let beta = Domain::new("beta.test");
        let mut listing = listing();
        let cards = vec![person("beta.test", "Bob Bee")];
        listing
            .take(&beta.announces(cards, now()), NET, now())
            .unwrap();
        for asked in ["bob", "garden", "turin bees"] {
            assert_eq!(titles(&listing, Kind::People, asked, now()), ["Bob Bee"]);
            check_found(&listing, asked, &[]);
        }
    }

    #[test]
    fn a_later_announcement_takes_the_place_of_the_one_before_and_an_older_one_changes_nothing() {
        let beta = Domain::new("beta.test");
        let mut listing = listing();
        let first = beta.announces(vec![group(1, "Chess", 1), group(2, "Go", 1)], now());
        let later = after(Duration::from_millis(1));
        let second = beta.announces(vec![group(2, "Go club", 1)], later);
        let until = listing.take(&first, NET, now()).unwrap();
        assert_eq!(listing.take(&first, NET, now()), Ok(until));
        listing.take(&second, NET, later).unwrap();
        assert_eq!(listing.take(&first, NET, later), Err(Unlisted::Older));
        check_found(&listing, "chess", &[]);
        check_found(&listing, "go", &["Go club"]);
        assert_eq!(listing.figures().cards, 1);
    }

    #[test]
    fn what_is_withdrawn_stays_withdrawn_when_somebody_repeats_what_was_announced() {
        let beta = Domain::new("beta.test");
        let mut listing = listing();
        let first = beta.announces(vec![group(1, "Chess", 1)], now());
        let later = after(Duration::from_millis(1));
        listing.take(&first, NET, now()).unwrap();
        listing
            .take(&beta.announces(Vec::new(), later), NET, later)
            .unwrap();
        let end = after(LEASE);
        listing.sweep(after(LEASE - Duration::from_millis(1)));
        assert_eq!(listing.take(&first, NET, later), Err(Unlisted::Older));
        check_found(&listing, "chess", &[]);
        listing.sweep(after(LEASE + Duration::from_millis(1)));
        assert_eq!(listing.figures(), Figures::default());
        // By then nobody believes what was repeated either.
        let signed = beta.ring.signer().announce(Vec::new(), LEASE, now().time);
        assert!(VerifiedAnnouncement::verify(&signed, &beta.record, end.time).is_err());
    }

    #[test]
    fn a_lease_ends_by_either_clock_and_leaves_nothing() {
        let beta = Domain::new("beta.test");
        let mut listing = listing();
        let announced = beta.announces(vec![group(1, "Chess", 1)], now());
        listing.take(&announced, NET, now()).unwrap();
        let put_back = Now {
            elapsed: after(LEASE).elapsed,
            ..now()
        };
        for ended in [after(LEASE), put_back] {
            assert!(titles(&listing, Kind::Groups, "chess", ended).is_empty());
        }
        listing.sweep(put_back);
        assert_eq!(listing.figures(), Figures::default());
        assert!(listing.index.is_empty());
    }

    /// Announces two groups of each of these domains, each from a network of its own, until one is refused;
    /// how many were taken, and why the last was not.
    fn fill(
        listing: &mut Listing,
        domains: impl Iterator<Item = String>,
    ) -> Option<(u32, Unlisted)> {
        for (name, number) in domains.zip(0..) {
            let cards = vec![group(1, "Chess", 1), group(2, "Chess club", 1)];
            let announced = Domain::new(&name).announces(cards, now());
            let network = Ipv6Addr::from(u128::from(number));
            if let Err(refusal) = listing.take(&announced, network, now()) {
                return Some((number, refusal));
            }
        }
        None
    }

    #[test]
    fn what_is_full_takes_no_more_and_keeps_what_it_has() {
        let mut listing = Listing::new(32 * 1024);
        let (taken, refusal) =
            fill(&mut listing, (0..200).map(|it| format!("d{it}.test"))).unwrap();
        assert_eq!(refusal, Unlisted::Full);
        let figures = listing.figures();
        assert_eq!(figures.domains, usize::try_from(taken).unwrap());
        assert_eq!(figures.cards, 2 * figures.domains);
        assert!(figures.bytes <= 32 * 1024, "{figures:?}");
        listing.sweep(after(LEASE));
        assert_eq!(listing.figures(), Figures::default());
        assert!(listing.families.is_empty() && listing.networks.is_empty());
    }

    #[test]
    fn who_has_a_name_or_a_network_fills_no_more_than_a_part_with_names_below_it() {
        let mut listing = Listing::new(64 * 1024);
        let (below, refusal) =
            fill(&mut listing, (0..200).map(|it| format!("d{it}.evil.test"))).unwrap();
        assert_eq!(refusal, Unlisted::Crowded);
        assert!(below > 2, "{below}");
        // They fill no answer either.
        let beta = Domain::new("beta.test");
        let network = Ipv6Addr::from(9999);
        let mut taken = 0;
        for number in 0..200 {
            let domain = Domain::new(&format!("e{number}.test"));
            let announced = domain.announces(vec![group(1, "Chess", 1)], now());
            match listing.take(&announced, network, now()) {
                Ok(_) => taken += 1,
                Err(refusal) => {
                    assert_eq!(refusal, Unlisted::Crowded);
                    break;
                }
            }
        }
        assert!((1..199).contains(&taken), "{taken}");
        let honest = beta.announces(vec![group(1, "Chess", 1)], now());
        listing.take(&honest, NET, now()).unwrap();
    }

    #[test]
    fn no_domain_fills_an_answer_alone() {
        let (beta, gamma) = (Domain::new("beta.test"), Domain::new("gamma.test"));
        let mut listing = listing();
        let many = (0..40).map(|it| group(it, "Chess", 1000)).collect();
        listing
            .take(&beta.announces(many, now()), NET, now())
            .unwrap();
        let one = vec![group(99, "Chess for two", 2)];
        listing
            .take(&gamma.announces(one, now()), NET, now())
            .unwrap();
        let found = titles(&listing, Kind::Groups, "chess", now());
        assert_eq!(found.len(), FOUND_OF_ONE_MAX + 1);
        assert!(found.contains(&"Chess for two".to_owned()));
        let question = Question::read("chess").unwrap();
        assert!(listing.find(Kind::Groups, &question, now()).more);
    }
}
