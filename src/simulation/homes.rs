//! A group whose home changes: handed over as its owner wishes, or taken over by successors, while links are cut,
//! entries come late, twice and in any order, and everybody writes. What an entry is to a log, who may be the home and
//! who agrees to it are the decisions of `topic::succession` and `topic::log`; the network, the letters and the rows
//! are few lines here. In the end there is one home, all logs are the same, and each message is in them once; in the
//! order of its author, unless a takeover has torn it.
//!
//! A takeover is tried only when those who are asked know of the last one: the waiting time of a server is long
//! against what it takes a new home to say its first word (decisions/0042).

use std::collections::BTreeSet;

use freehold_keys::{Consent, Entry, Signer};
use freehold_proto::{
    Destination, DomainName, GroupId, Header, MessageId, Placed, wire, wire::payload::Kind,
};

use super::{Random, keys, play, start};
use crate::topic::{
    log::Log,
    succession::{self, Judgement},
};

const DOMAINS: [&str; 5] = [
    "alpha.test",
    "beta.test",
    "gamma.test",
    "delta.test",
    "epsilon.test",
];
/// The first is the home; the next three succeed it.
const SUCCESSORS: std::ops::Range<usize> = 1..4;
const STEPS: u64 = 120;
const CALM: usize = 200;

#[test]
fn whichever_homes_a_group_has_all_logs_become_one_with_every_message_once() {
    play(400, |random| async {
        let mut world = World::new(random, true);
        world.live();
        world.judge();
    });
}

#[test]
fn where_homes_are_handed_over_each_author_keeps_the_order() {
    play(400, |random| async {
        let mut world = World::new(random, false);
        world.live();
        world.judge();
        for site in &world.sites {
            let theirs = |it: &&Entry| site.written.contains(&it.header.message_id);
            let placed = site.entries.iter().filter(theirs);
            let placed: Vec<MessageId> = placed.map(|it| it.header.message_id).collect();
            assert_eq!(placed, site.written, "{}", site.name);
        }
    });
}

/// A domain with the group.
struct Site {
    name: DomainName,
    signer: Signer,
    /// What it takes for the home.
    home: DomainName,
    log: Log,
    entries: Vec<Entry>,
    consented: Option<(u64, DomainName)>,
    /// What its people wrote, in order.
    written: Vec<MessageId>,
}

impl Site {
    fn is_home(&self) -> bool {
        self.home == self.name
    }

    fn has(&self, id: MessageId) -> bool {
        self.entries.iter().any(|it| it.header.message_id == id)
    }

    /// What the home has not placed, in order.
    fn unplaced(&self) -> Vec<MessageId> {
        let waits = self.written.iter().filter(|it| !self.has(**it));
        waits.copied().collect()
    }

    /// Places something: a message of somebody's, or what the home says itself.
    fn place(&mut self, author: &Signer, id: MessageId, kind: Kind, consents: Vec<Consent>) {
        let is_message = matches!(kind, Kind::GroupMessage(_));
        let to = Destination::Group(group());
        let envelope = author.seal(to, id, start(), kind.clone()).unwrap();
        let ours = (self.signer.domain(), self.signer.key_id());
        let hash = envelope.header_hash();
        let position = self.log.next(group(), hash, is_message, ours, start());
        let placed: Placed = self.signer.place(position.clone());
        self.log.advance(&position, &placed);
        self.entries.push(Entry {
            header: Header::decode(&envelope.header).unwrap(),
            placed,
            position,
            envelope,
            payload: Some(kind),
            consents,
        });
    }

    /// Takes an entry, or not; true when others are missing before it.
    fn take(&mut self, entry: &Entry, successors: &[DomainName]) -> bool {
        let successors_at = |_| successors.to_vec();
        match succession::judge(&self.home, &self.log, successors_at, entry) {
            Judgement::Next => self.apply(entry),
            Judgement::Missing => return true,
            Judgement::Fences(base) => {
                let at = usize::try_from(base).unwrap();
                if self.hash_at(base) != Some(entry.position.previous) {
                    return true;
                }
                self.fence(at);
                self.apply(entry);
            }
            Judgement::Known { former } => {
                let at = usize::try_from(entry.position.index - 1).unwrap();
                let same = self.entries[at].placed == entry.placed;
                assert!(same || former, "an honest home looks like a liar");
            }
            Judgement::NotHome(_) => {}
            Judgement::Forked(why) => panic!("{} accuses an honest home: {why}", self.name),
        }
        false
    }

    fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        let at = usize::try_from(index).unwrap().checked_sub(1)?;
        self.entries.get(at).map(|it| it.placed.hash())
    }

    fn fence(&mut self, entries: usize) {
        self.entries.truncate(entries);
        let last = self.entries.last().unwrap();
        let mut log = Log::opened(0);
        log.advance(&last.position, &last.placed);
        self.log = log;
    }

    /// Takes what another shows that says it is the home.
    fn take_page(&mut self, page: &[Entry], successors: &[DomainName]) {
        let successors_at = |_| successors.to_vec();
        let hash_at = |it| self.hash_at(it);
        let branch = succession::branch(&self.log, successors_at, page, hash_at);
        let behind = match branch {
            Some(branch) => {
                self.fence(usize::try_from(branch.base).unwrap());
                for entry in &page[branch.begin..branch.end] {
                    self.apply(entry);
                }
                branch.end
            }
            None => 0,
        };
        for entry in &page[behind..] {
            let _missing = self.take(entry, successors);
        }
    }

    fn apply(&mut self, entry: &Entry) {
        let named = succession::named_in(entry);
        let next = match named {
            Some(_) if entry.position.epoch > self.log.epoch => {
                Some((entry.position.home.clone(), entry.position.epoch))
            }
            Some(named) => {
                let home = succession::handed_over(&self.log, entry).unwrap();
                Some((home, named.epoch))
            }
            None => None,
        };
        self.log.advance(&entry.position, &entry.placed);
        self.entries.push(entry.clone());
        if let Some((home, epoch)) = next {
            self.home = home;
            self.log.epoch = self.log.epoch.max(epoch);
        }
    }
}

struct World {
    random: Random,
    sites: Vec<Site>,
    successors: Vec<DomainName>,
    cut: BTreeSet<(usize, usize)>,
    /// Homes are taken over, too.
    takes_over: bool,
}

fn group() -> GroupId {
    GroupId::from_bytes([8; 16])
}

impl World {
    fn new(random: Random, takes_over: bool) -> Self {
        let names: Vec<DomainName> = DOMAINS.iter().map(|it| it.parse().unwrap()).collect();
        let site = |name: &DomainName| Site {
            name: name.clone(),
            signer: keys(name).signer(),
            home: names[0].clone(),
            log: Log::opened(0),
            entries: Vec::new(),
            consented: None,
            written: Vec::new(),
        };
        let mut world = Self {
            random,
            sites: names.iter().map(site).collect(),
            successors: names[SUCCESSORS].to_vec(),
            cut: BTreeSet::new(),
            takes_over,
        };
        // A copy begins behind some first entry.
        world.write(0);
        let first = world.sites[0].entries[0].clone();
        for site in &mut world.sites[1..] {
            assert!(!site.take(&first, &world.successors));
        }
        world
    }

    fn live(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.calm();
    }

    fn step(&mut self) {
        let (one, other) = (
            self.random.index(DOMAINS.len()),
            self.random.index(DOMAINS.len()),
        );
        match self.random.within(0..=19) {
            0..=5 => self.write(one),
            6..=9 => self.send(one),
            10..=15 => self.tell(one, other),
            16 => drop(self.cut.insert((one.min(other), one.max(other)))),
            17 => self.cut.clear(),
            18 => self.hand_over(one, other),
            _ if self.takes_over => self.take_over(one),
            _ => {}
        }
    }

    fn reaches(&self, one: usize, other: usize) -> bool {
        one == other || !self.cut.contains(&(one.min(other), one.max(other)))
    }

    fn mint(&mut self) -> MessageId {
        MessageId::from_bytes(std::array::from_fn(|_| self.random.within(0..=255) as u8))
    }

    fn write(&mut self, who: usize) {
        let id = self.mint();
        self.sites[who].written.push(id);
        self.place_own(who);
    }

    /// A home places what its own people wrote.
    fn place_own(&mut self, who: usize) {
        let site = &mut self.sites[who];
        if site.is_home() {
            for id in site.unplaced() {
                let author = site.signer.clone();
                site.place(
                    &author,
                    id,
                    Kind::GroupMessage(wire::GroupMessage::default()),
                    vec![],
                );
            }
        }
    }

    fn at(&self, name: &DomainName) -> usize {
        self.sites.iter().position(|it| it.name == *name).unwrap()
    }

    /// What waits for the home goes there, or the beginning of it; who is no home does not decide it.
    fn send(&mut self, from: usize) {
        let to = self.at(&self.sites[from].home);
        if from == to || !self.reaches(from, to) || !self.sites[to].is_home() {
            return;
        }
        let author = self.sites[from].signer.clone();
        let waiting = self.sites[from].unplaced();
        let count = match self.random.one_in(3) {
            true => 1,
            false => waiting.len(),
        };
        for id in waiting.into_iter().take(count) {
            let home = &mut self.sites[to];
            if !home.has(id) {
                home.place(
                    &author,
                    id,
                    Kind::GroupMessage(wire::GroupMessage::default()),
                    vec![],
                );
            }
        }
    }

    /// A domain tells another what it placed itself while it was the home: some of it, in any order. What
    /// is missing is read from it.
    fn tell(&mut self, from: usize, to: usize) {
        if from == to || !self.reaches(from, to) {
            return;
        }
        let placed = |it: &&Entry| it.position.home == self.sites[from].name;
        let own: Vec<Entry> = self.sites[from]
            .entries
            .iter()
            .filter(placed)
            .cloned()
            .collect();
        if own.is_empty() {
            return;
        }
        let begin = self.random.index(own.len());
        let mut page: Vec<Entry> = own[begin..].to_vec();
        if self.random.one_in(3) {
            let turn = self.random.index(page.len());
            page.rotate_left(turn);
        }
        for entry in page {
            if self.sites[to].take(&entry, &self.successors) && self.sites[from].is_home() {
                self.pull(from, to);
            }
        }
        self.place_own(to);
    }

    fn pull(&mut self, from: usize, to: usize) {
        let known = self.sites[to].home == self.sites[from].name;
        let back = if known { 0 } else { self.random.within(0..=60) };
        let after = self.sites[to].log.index.saturating_sub(back);
        let behind = |it: &&Entry| it.position.index > after;
        let page = self.sites[from].entries.iter().filter(behind);
        let mut page: Vec<Entry> = page.cloned().collect();
        if self.random.one_in(3) {
            page.truncate(1);
        }
        self.sites[to].take_page(&page, &self.successors);
    }

    /// The owner wishes another home, which has agreed.
    fn hand_over(&mut self, from: usize, to: usize) {
        let (home, next) = (&self.sites[from], &self.sites[to]);
        let fits = from != to && home.is_home() && next.home == home.name;
        if !fits || !self.reaches(from, to) {
            return;
        }
        let words = wire::GroupConsent {
            home: next.name.to_string(),
            epoch: home.log.epoch + 1,
            index: next.log.index,
            hash: next.log.hash.to_vec().into(),
            last_epoch: next.log.epoch,
        };
        let consent = Consent {
            domain: next.name.clone(),
            words: words.clone(),
        };
        let named = next.name.clone();
        let id = self.mint();
        let site = &mut self.sites[from];
        let author = site.signer.clone();
        site.place(&author, id, succeeds(&words), vec![consent]);
        site.log.epoch = words.epoch;
        site.home = named;
    }

    /// A successor asks the others whether it may take over; those that hear it answer.
    fn take_over(&mut self, who: usize) {
        let newest = self.sites.iter().map(|it| it.log.epoch).max().unwrap();
        let site = &self.sites[who];
        if !SUCCESSORS.contains(&who) || site.is_home() || site.log.epoch < newest {
            return;
        }
        let agreed = site.consented.as_ref().map_or(0, |it| it.0);
        let words = wire::GroupConsent {
            home: site.name.to_string(),
            epoch: succession::next_takeover(site.log.epoch.max(agreed)),
            index: site.log.index,
            hash: site.log.hash.to_vec().into(),
            last_epoch: site.log.epoch,
        };
        let mut consents = Vec::new();
        for voter in SUCCESSORS {
            let asked = &self.sites[voter];
            // Who is the home itself has not been away.
            if !self.reaches(who, voter) || asked.is_home() || asked.log.epoch < newest {
                continue;
            }
            let whom = (&asked.name, &words);
            let before = asked.consented.as_ref();
            if succession::agrees(&asked.log, before, &self.successors, whom).is_ok() {
                let asked = &mut self.sites[voter];
                asked.consented = Some((words.epoch, words.home.parse().unwrap()));
                consents.push(Consent {
                    domain: asked.name.clone(),
                    words: words.clone(),
                });
            }
        }
        let agreed = consents.iter().map(|it| &it.domain);
        if !succession::is_majority(&self.successors, agreed) {
            return;
        }
        let id = self.mint();
        let site = &mut self.sites[who];
        site.log.epoch = words.epoch;
        site.home = site.name.clone();
        let author = site.signer.clone();
        site.place(&author, id, succeeds(&words), consents);
        self.place_own(who);
    }

    /// Nothing fails any more, and nobody wants another home.
    fn calm(&mut self) {
        self.cut.clear();
        for _ in 0..CALM {
            for from in 0..DOMAINS.len() {
                for to in 0..DOMAINS.len() {
                    self.tell(from, to);
                }
                self.send(from);
            }
            let first = &self.sites[0];
            let same = |it: &Site| it.log == first.log && it.home == first.home;
            if self
                .sites
                .iter()
                .all(|it| same(it) && it.unplaced().is_empty())
            {
                return;
            }
        }
        let views = self.sites.iter().map(|it| {
            let (name, home, log) = (&it.name, &it.home, &it.log);
            format!("{name} takes {home} for the home: {log:?}")
        });
        panic!(
            "the logs do not become one: {:#?}",
            views.collect::<Vec<_>>()
        );
    }

    fn judge(&self) {
        let first = &self.sites[0];
        for site in &self.sites {
            let same = site.entries.iter().zip(&first.entries);
            assert!(
                same.into_iter()
                    .all(|(one, other)| one.placed == other.placed)
            );
            assert_eq!(site.entries.len(), first.entries.len());
            for id in &site.written {
                let placed = first
                    .entries
                    .iter()
                    .filter(|it| it.header.message_id == *id);
                assert_eq!(placed.count(), 1, "a message of {}", site.name);
            }
        }
        for (index, entry) in (1..).zip(&first.entries) {
            assert_eq!(entry.position.index, index);
        }
    }
}

/// What says that a home follows another.
fn succeeds(words: &wire::GroupConsent) -> Kind {
    Kind::GroupChange(wire::GroupChange {
        succession: Some(wire::GroupSuccession {
            home: words.home.clone(),
            epoch: words.epoch,
            consents: Vec::new(),
        }),
        ..wire::GroupChange::default()
    })
}
