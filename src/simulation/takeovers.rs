//! Takeovers of a group by its successors, several at once, while links come and go: who agrees and who has taken
//! over are the decisions of `topic::succession`, what an entry is to a copy those of `topic::log`. Signatures are not
//! made: here nobody forges.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use freehold_keys::{Consent, Entry};
use freehold_proto::{
    Destination, DomainName, Envelope, GroupId, Header, KeyId, MessageId, Placed, Position, wire,
};

use super::{Random, play, start};
use crate::topic::{
    log::{Admission, Claim, Log},
    succession::{agrees, named_in, next_takeover, taken_over},
};

const STEPS: u64 = 60;

#[test]
fn one_takes_over_in_an_epoch_and_loses_nothing_that_most_successors_had() {
    play(1500, |random| async {
        let mut world = World::new(random);
        for _ in 0..STEPS {
            world.step();
        }
    });
}

fn group() -> GroupId {
    GroupId::from_bytes([7; 16])
}

struct Member {
    name: DomainName,
    home: DomainName,
    log: Log,
    chain: Vec<Entry>,
    consented: Option<(u64, DomainName)>,
    alarmed: bool,
}

impl Member {
    fn log_at(&self, index: u64) -> Option<Log> {
        let mut log = Log::opened(0);
        if index > 0 {
            let entry = self.chain.get(index as usize - 1)?;
            log.advance(&entry.position, &entry.placed);
        }
        Some(log)
    }

    fn add(&mut self, entry: Entry) {
        self.log.advance(&entry.position, &entry.placed);
        self.chain.push(entry);
    }

    /// As `Actor::judge` does.
    fn take(&mut self, successors: &[DomainName], entry: &Entry) {
        let place = &entry.position;
        match self.log.claim(&self.home, place) {
            Claim::Present => match self.log.admit(place) {
                Admission::Message | Admission::Change => self.add(entry.clone()),
                Admission::Known => {
                    let known = &self.chain[place.index as usize - 1];
                    self.alarmed |= known.position != *place;
                }
                Admission::Missing => {}
                Admission::Forked(_) => self.alarmed = true,
            },
            Claim::Former => {}
            Claim::Later => {
                if named_in(entry).is_none() || self.log.index + 1 < place.index {
                    return;
                }
                taken_over(&self.log, successors, entry).expect("nobody forges");
                let base = self.log_at(place.index - 1).unwrap();
                if base.hash != place.previous {
                    self.alarmed = true;
                    return;
                }
                self.chain.truncate(base.index as usize);
                self.log = base;
                self.home = place.home.clone();
                self.add(entry.clone());
            }
        }
    }
}

struct World {
    random: Random,
    members: Vec<Member>,
    successors: Vec<DomainName>,
    /// Who has taken over in which epoch.
    winners: BTreeMap<u64, DomainName>,
    /// What the last of them has placed since.
    placed: BTreeSet<Vec<u8>>,
}

impl World {
    fn new(mut random: Random) -> Self {
        let all = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];
        let count = if random.one_in(2) { 4 } else { 6 };
        let names = all
            .iter()
            .take(count)
            .map(|it| format!("{it}.test").parse().unwrap());
        let names: Vec<DomainName> = names.collect();
        let member = |name: &DomainName| Member {
            name: name.clone(),
            home: names[0].clone(),
            log: Log::opened(0),
            chain: Vec::new(),
            consented: None,
            alarmed: false,
        };
        Self {
            random,
            members: names.iter().map(member).collect(),
            successors: names[1..].to_vec(),
            winners: BTreeMap::new(),
            placed: BTreeSet::new(),
        }
    }

    fn step(&mut self) {
        let (a, b) = (
            self.random.index(self.members.len()),
            self.random.index(self.members.len()),
        );
        match self.random.within(0..=9) {
            0..=2 => self.place(a),
            3..=7 => self.tell(a, b),
            _ => self.take_over(a),
        }
    }

    fn is_home(&self, which: usize) -> bool {
        self.members[which].home == self.members[which].name
    }

    fn entry(
        &mut self,
        position: Position,
        named: Option<wire::GroupSuccession>,
        consents: Vec<Consent>,
    ) -> Entry {
        let header = Header {
            from: position.home.clone(),
            to: Destination::Group(group()),
            key_id: position.key_id,
            message_id: MessageId::from_bytes([3; 16]),
            issued_at: start(),
            payload_hash: [0; 32],
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
            payload: Some(wire::payload::Kind::GroupChange(wire::GroupChange {
                succession: named,
                ..wire::GroupChange::default()
            })),
            consents,
        }
    }

    fn next(&mut self, log: Log, home: &DomainName, is_message: bool) -> Position {
        let hash = std::array::from_fn(|_| self.random.within(0..=255) as u8);
        log.next(
            group(),
            hash,
            is_message,
            (home, KeyId::of(&[2; 32])),
            start(),
        )
    }

    fn place(&mut self, which: usize) {
        if !self.is_home(which) {
            return;
        }
        let (log, home) = (self.members[which].log, self.members[which].name.clone());
        let position = self.next(log, &home, true);
        let entry = self.entry(position, None, Vec::new());
        let first = &self.members[0].name;
        let last = self.winners.last_key_value().map_or(first, |it| it.1);
        if *last == home {
            self.placed.insert(entry.placed.position.to_vec());
        }
        self.members[which].add(entry);
    }

    /// A domain that takes itself for the home tells another what it has.
    fn tell(&mut self, from: usize, to: usize) {
        if !self.is_home(from) || from == to {
            return;
        }
        let chain = self.members[from].chain.clone();
        let many = self.random.index(chain.len() + 1);
        let part = if self.random.one_in(2) {
            many
        } else {
            chain.len()
        };
        for entry in &chain[..part] {
            self.members[to].take(&self.successors, entry);
        }
    }

    fn take_over(&mut self, which: usize) {
        let candidate = self.members[which].name.clone();
        if self.is_home(which) || !self.successors.contains(&candidate) {
            return;
        }
        let log = self.members[which].log;
        let agreed = self.members[which].consented.as_ref().map_or(0, |it| it.0);
        let asked = wire::GroupConsent {
            home: candidate.to_string(),
            epoch: next_takeover(log.epoch.max(agreed)),
            index: log.index,
            hash: log.hash.to_vec().into(),
            last_epoch: log.epoch,
        };
        let mut consents = Vec::new();
        for voter in 0..self.members.len() {
            if voter != which && self.random.one_in(3) {
                continue;
            }
            let voter = &mut self.members[voter];
            let words = (&voter.name, &asked);
            if agrees(
                &voter.log,
                voter.consented.as_ref(),
                &self.successors,
                words,
            )
            .is_ok()
            {
                voter.consented = Some((asked.epoch, candidate.clone()));
                // The answer may be lost.
                if !self.random.one_in(5) {
                    let (domain, words) = (voter.name.clone(), asked.clone());
                    consents.push(Consent { domain, words });
                }
            }
        }
        let mut later = log;
        later.epoch = asked.epoch;
        let position = self.next(later, &candidate, false);
        let named = wire::GroupSuccession {
            home: asked.home.clone(),
            epoch: asked.epoch,
            consents: Vec::new(),
        };
        let entry = self.entry(position, Some(named), consents);
        if taken_over(&log, &self.successors, &entry).is_ok() {
            let former = self.winners.insert(asked.epoch, candidate.clone());
            assert_eq!(former, None, "two took over in one epoch");
            let chain = self.members[which].chain.iter();
            let has: BTreeSet<_> = chain.map(|it| it.placed.position.to_vec()).collect();
            let lost = self.safe().difference(&has).count();
            assert_eq!(lost, 0, "most successors had it");
            self.placed = BTreeSet::from([entry.placed.position.to_vec()]);
            self.members[which].home = candidate;
            self.members[which].add(entry);
        }
    }

    /// Entries placed by the last home that most successors have. What a former one said can still be lost with it,
    /// whoever has it, as long as most have nothing of the home that followed.
    fn safe(&self) -> BTreeSet<Vec<u8>> {
        let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let successors = self
            .members
            .iter()
            .filter(|it| self.successors.contains(&it.name));
        for entry in successors.flat_map(|it| &it.chain) {
            *counts.entry(entry.placed.position.to_vec()).or_default() += 1;
        }
        let most = self.successors.len() / 2;
        let counts = counts.into_iter().filter(|it| it.1 > most);
        let counts = counts.filter(|it| self.placed.contains(&it.0));
        counts.map(|it| it.0).collect()
    }
}
