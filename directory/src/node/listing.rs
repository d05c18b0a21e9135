//! What domains have announced, and finding it by words. Soft state: it is gone with the node, and comes
//! again with the next announcement (PROTOCOL.md section 13.1).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem::size_of,
    ops::Bound,
    time::Duration,
};

use bytes::Bytes;
use freehold_keys::{SignedCard, VerifiedAnnouncement};
use freehold_proto::{
    DomainName, Timestamp,
    card::{CardWords, LIFETIME_MAX, Subject},
};

/// Cards in one answer.
pub(super) const FOUND_MAX: usize = 50;
/// Of these, cards of one domain: nobody fills the list alone.
const FOUND_OF_ONE_MAX: usize = 10;
/// Cards that are looked at for one question.
const CANDIDATES_MAX: usize = 5000;
/// Longest word that is kept, in characters; of a longer one, its beginning.
const WORD_CHARS_MAX: usize = 40;
/// Words of a question.
const ASKED_MAX: usize = 8;
/// Shortest word of a question, in bytes of UTF-8: two letters, or one of a script with thousands of them.
const ASKED_BYTES_MIN: usize = 2;
/// What a lease weighs beside its cards and names, and a card beside its bytes and words: rows of maps.
const LEASE_BYTES: usize = size_of::<(DomainName, Lease)>() + 32;
const ENTRY_BYTES: usize = size_of::<Option<Entry>>() + 48;
/// What a word weighs in the index for each card that has it, beside itself.
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
        }
    }

    /// Takes what a domain has announced in place of what it had announced before. Says until when.
    pub(super) fn take(
        &mut self,
        announced: &VerifiedAnnouncement,
        now: Now,
    ) -> Result<Timestamp, Unlisted> {
        let words = &announced.announcement;
        let known = self.leases.get(&words.domain).filter(|it| it.counts(now));
        if let Some(known) = known
            && known.issued >= words.issued
        {
            return match known.signature == announced.signature {
                true => Ok(known.until),
                false => Err(Unlisted::Older),
            };
        }
        let entries = entries(announced);
        let weight: usize = entries.iter().map(Entry::weight).sum::<usize>() + LEASE_BYTES;
        let before = self.weight_of(&words.domain);
        if self.bytes - before + weight > self.bytes_max {
            return Err(Unlisted::Full);
        }
        self.bytes = self.bytes - before + weight;
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
            },
        );
        Ok(until)
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
        let mut page = Page::default();
        for (_, entry) in found {
            let count = of_domain.entry(&entry.domain).or_default();
            if *count >= FOUND_OF_ONE_MAX || page.cards.len() >= FOUND_MAX {
                more = true;
                continue;
            }
            *count += 1;
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
            self.bytes -= self.weight_of(&domain);
            self.replace(&domain, Vec::new());
            self.leases.remove(&domain);
        }
    }

    /// How much there is.
    pub(super) fn figures(&self) -> Figures {
        Figures {
            domains: self.leases.len(),
            cards: self.entries.len() - self.free.len(),
            bytes: self.bytes,
        }
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        let slot = usize::try_from(slot).ok()?;
        self.entries.get(slot)?.as_ref()
    }

    /// What a domain weighs here now, in bytes.
    fn weight_of(&self, domain: &DomainName) -> usize {
        let Some(lease) = self.leases.get(domain) else {
            return 0;
        };
        let entries = lease.slots.iter().filter_map(|it| self.entry(*it));
        entries.map(Entry::weight).sum::<usize>() + LEASE_BYTES
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
                None => drop(self.index.insert(word.into(), BTreeSet::from([slot]))),
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
        // Each word stands here and, at worst, in the index.
        self.card.len() + 2 * self.words.len() + words * POSTING_BYTES + ENTRY_BYTES
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
        listing.take(&beta.announces(cards, now()), now()).unwrap();
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
        listing.take(&beta.announces(cards, now()), now()).unwrap();
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
        let until = listing.take(&first, now()).unwrap();
        assert_eq!(listing.take(&first, now()), Ok(until));
        listing.take(&second, later).unwrap();
        assert_eq!(listing.take(&first, later), Err(Unlisted::Older));
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
        listing.take(&first, now()).unwrap();
        listing
            .take(&beta.announces(Vec::new(), later), later)
            .unwrap();
        let end = after(LEASE);
        listing.sweep(after(LEASE - Duration::from_millis(1)));
        assert_eq!(listing.take(&first, later), Err(Unlisted::Older));
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
        listing.take(&announced, now()).unwrap();
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

    #[test]
    fn what_is_full_takes_no_more_and_keeps_what_it_has() {
        let (beta, gamma) = (Domain::new("beta.test"), Domain::new("gamma.test"));
        let cards = |count: u8| (0..count).map(|it| group(it, "Chess", 1)).collect();
        let mut listing = Listing::new(6 * 1024);
        listing
            .take(&beta.announces(cards(10), now()), now())
            .unwrap();
        let too_many = gamma.announces(cards(10), now());
        assert_eq!(listing.take(&too_many, now()), Err(Unlisted::Full));
        let later = after(Duration::from_millis(1));
        let more = beta.announces(cards(20), later);
        assert_eq!(listing.take(&more, later), Err(Unlisted::Full));
        assert_eq!(listing.figures().cards, 10);
        listing
            .take(&gamma.announces(cards(1), now()), now())
            .unwrap();
        listing
            .take(&beta.announces(cards(9), later), later)
            .unwrap();
        assert!(listing.figures().bytes <= 6 * 1024);
    }

    #[test]
    fn no_domain_fills_an_answer_alone() {
        let (beta, gamma) = (Domain::new("beta.test"), Domain::new("gamma.test"));
        let mut listing = listing();
        let many = (0..40).map(|it| group(it, "Chess", 1000)).collect();
        listing.take(&beta.announces(many, now()), now()).unwrap();
        let one = vec![group(99, "Chess for two", 2)];
        listing.take(&gamma.announces(one, now()), now()).unwrap();
        let found = titles(&listing, Kind::Groups, "chess", now());
        assert_eq!(found.len(), FOUND_OF_ONE_MAX + 1);
        assert!(found.contains(&"Chess for two".to_owned()));
        let question = Question::read("chess").unwrap();
        assert!(listing.find(Kind::Groups, &question, now()).more);
    }
}
