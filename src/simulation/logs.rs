//! The log of a group: the home places entries, its outbox tells them, copies at other domains take them. What a home
//! signs next and what an entry is to a copy are the decisions of `topic::log`; rows and telling are those of the
//! server. Copies ask for what is missing, and a home that shows two logs is found out by whoever sees both.
//!
//! Here the group keeps its home; `homes` and `takeovers` are about those that follow one another.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use freehold_federation::{Outbox as _, Outgoing, Verdict};
use freehold_keys::Signer;
use freehold_proto::{
    Destination, DomainName, Envelope, GroupId, MessageId, Placed, Position, Refusal, RefusalCode,
    wire,
};
use freehold_store::{
    Batch, Engine, MemoryEngine, Outcome, Tables, TopicKey,
    tables::{
        log::{extend_log, put_follower, put_log_entry},
        rows::{FollowerRow, LogRow},
    },
};

use super::{Random, keys, play, start};
use crate::{
    peers::{groups::log_page, outbox::Outbox},
    topic::{
        log::{Admission, Log},
        message,
    },
};

const COPIES: [&str; 3] = ["beta.test", "gamma.test", "delta.test"];
const STEPS: u64 = 80;
const ITEMS_MAX: usize = 5;
const LATE_MAX: usize = 6;
const CALM: usize = 400;
/// Longer than any item is held back.
const PAUSE: Duration = Duration::from_secs(2 * 60 * 60);

#[test]
fn all_copies_of_a_log_become_the_homes_whatever_happens_on_the_way() {
    play(300, |random| async {
        let mut world = World::new(random, None).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.calm().await;
        world.judge();
    });
}

#[test]
fn a_home_that_shows_two_logs_is_found_out_and_nothing_is_mixed() {
    play(150, |mut random| async {
        let deceived = random.index(COPIES.len());
        let mut world = World::new(random, Some(deceived)).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.place().await;
        world.deceive().await;
        world.place().await;
        world.calm().await;
        world.judge();
    });
}

fn group() -> GroupId {
    GroupId::from_bytes([7; 16])
}

fn topic() -> TopicKey {
    TopicKey::group(&group())
}

async fn tables() -> Tables {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let opening = tokio::task::spawn_blocking(|| Tables::open(engine));
    opening.await.unwrap().unwrap()
}

/// The log as rows tell it.
fn log_of(tables: &Tables) -> Log {
    let mut log = Log::opened(0);
    if let Some((_, row)) = tables.log_head(topic()).unwrap() {
        let placed = Placed {
            position: row.position.clone(),
            signature: (&*row.signature).try_into().unwrap(),
        };
        log.advance(&Position::decode(&row.position).unwrap(), &placed);
    }
    log
}

async fn keep(tables: &Tables, position: &Position, placed: &Placed, envelope: &Envelope) {
    let row = LogRow {
        position: placed.position.clone(),
        signature: placed.signature.to_vec().into(),
        envelope: Some(message::envelope_row(envelope)),
        ..LogRow::default()
    };
    let mut batch = Batch::new();
    put_log_entry(&mut batch, topic(), position.index, &row);
    extend_log(&mut batch, topic(), position.index - 1, position.index);
    assert_eq!(tables.commit(batch).await.unwrap(), Outcome::Applied);
}

/// A domain with a copy.
struct Copy {
    name: DomainName,
    tables: Tables,
    log: Log,
    /// The home has contradicted itself.
    knows_of_fork: bool,
}

impl Copy {
    /// Takes an entry of the home, or says why not; true with it when others are missing before it.
    async fn take(&mut self, placed: &Placed, envelope: &Envelope) -> (Verdict, bool) {
        let position = Position::decode(&placed.position).unwrap();
        match self.log.admit(&position) {
            Admission::Message | Admission::Change => {
                keep(&self.tables, &position, placed, envelope).await;
                self.log.advance(&position, placed);
                (Verdict::Ok, false)
            }
            Admission::Known => {
                let stored = self.tables.log_entry(topic(), position.index).unwrap();
                match stored.unwrap().position == placed.position {
                    true => (Verdict::Duplicate, false),
                    false => (self.refuses("another entry stood there"), false),
                }
            }
            Admission::Missing => {
                let later = Verdict::Later {
                    code: RefusalCode::EntriesMissing,
                    retry_after: Duration::from_millis(200),
                };
                (later, true)
            }
            Admission::Forked(why) => (self.refuses(why), false),
        }
    }

    fn refuses(&mut self, why: &str) -> Verdict {
        self.knows_of_fork = true;
        Verdict::Refused(Refusal::new(RefusalCode::LogForked, why))
    }
}

struct World {
    random: Random,
    signer: Signer,
    home: Tables,
    outbox: Outbox,
    log: Log,
    copies: Vec<Copy>,
    late: BTreeMap<usize, Vec<Vec<Outgoing>>>,
    deceived: Option<usize>,
    mended: bool,
}

impl World {
    async fn new(random: Random, deceived: Option<usize>) -> Self {
        let signer = keys(&"alpha.test".parse().unwrap()).signer();
        let home = tables().await;
        let mut copies = Vec::new();
        let mut batch = Batch::new();
        for name in COPIES {
            let name: DomainName = name.parse().unwrap();
            put_follower(&mut batch, &name, topic(), &FollowerRow::default());
            copies.push(Copy {
                name,
                tables: tables().await,
                log: Log::opened(0),
                knows_of_fork: false,
            });
        }
        assert_eq!(home.commit(batch).await.unwrap(), Outcome::Applied);
        let mut world = Self {
            random,
            outbox: Outbox::new(home.clone(), signer.clone()),
            signer,
            home,
            log: Log::opened(0),
            copies,
            late: BTreeMap::new(),
            deceived,
            mended: false,
        };
        world.restart_home().await;
        world
    }

    async fn restart_home(&mut self) {
        self.outbox = Outbox::new(self.home.clone(), self.signer.clone());
        for copy in &self.copies {
            self.outbox.prepare(&copy.name).await.unwrap();
        }
        assert_eq!(log_of(&self.home), self.log);
    }

    fn restart_copy(&mut self) {
        let which = self.random.index(self.copies.len());
        let copy = &mut self.copies[which];
        let before = std::mem::replace(&mut copy.log, log_of(&copy.tables));
        assert_eq!(copy.log, before);
    }

    async fn step(&mut self) {
        let which = self.random.index(self.copies.len());
        match self.random.within(0..=11) {
            0..=3 => self.place().await,
            4..=7 => self.tell(which).await,
            8 => self.bring_late(which).await,
            9 => self.restart_copy(),
            10 => self.restart_home().await,
            _ => tokio::time::advance(Duration::from_secs(self.random.within(0..=4000))).await,
        }
    }

    /// The next entry as the home signs it: a message or something else.
    fn sign(&mut self, log: Log) -> (Position, Placed, Envelope) {
        let random: [u8; 16] = std::array::from_fn(|_| self.random.within(0..=255) as u8);
        let is_message = self.random.one_in(2);
        let payload = match is_message {
            true => wire::payload::Kind::GroupMessage(wire::GroupMessage::default()),
            false => wire::payload::Kind::GroupChange(wire::GroupChange::default()),
        };
        let to = Destination::Group(group());
        let id = MessageId::from_bytes(random);
        let envelope = self.signer.seal(to, id, start(), payload).unwrap();
        let ours = (self.signer.domain(), self.signer.key_id());
        let hash = envelope.header_hash();
        let position = log.next(group(), hash, is_message, ours, start());
        let placed = self.signer.place(position.clone());
        (position, placed, envelope)
    }

    async fn place(&mut self) {
        let (position, placed, envelope) = self.sign(self.log);
        keep(&self.home, &position, &placed, &envelope).await;
        self.log.advance(&position, &placed);
        for copy in &self.copies {
            self.outbox.moved(&copy.name, topic());
        }
    }

    /// One copy is shown another entry where the others are shown the home's.
    async fn deceive(&mut self) {
        let which = self.deceived.unwrap();
        let mut log = self.copies[which].log;
        // All that the home has said so far holds for this one too: it lags, or is up to date.
        let (position, placed, envelope) = self.sign(log);
        let copy = &mut self.copies[which];
        let taken = copy.log.admit(&position);
        assert!(matches!(taken, Admission::Message | Admission::Change));
        keep(&copy.tables, &position, &placed, &envelope).await;
        log.advance(&position, &placed);
        copy.log = log;
    }

    /// The home's worker tells a copy, with whatever the network does to it.
    async fn tell(&mut self, which: usize) {
        let name = self.copies[which].name.clone();
        let batch = self.outbox.next(&name, start(), ITEMS_MAX, usize::MAX);
        let batch = batch.await.unwrap();
        if batch.is_empty() {
            return;
        }
        let trouble = if self.mended {
            9
        } else {
            self.random.within(0..=9)
        };
        // Of what is lost some part may come late.
        self.keep_late(which, &batch);
        match trouble {
            0 => return,
            1 => drop(self.deliver(which, &batch).await),
            _ => {}
        }
        let verdicts = self.deliver(which, &batch).await;
        if trouble != 2 {
            let positions = batch.iter().map(|it| it.position);
            let verdicts = positions.zip(verdicts).collect();
            self.outbox.settle(&name, start(), verdicts).await.unwrap();
        }
    }

    async fn deliver(&mut self, which: usize, batch: &[Outgoing]) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for item in batch {
            let placed = item.placed.as_ref().unwrap();
            let (verdict, misses) = self.copies[which].take(placed, &item.envelope).await;
            verdicts.push(verdict);
            if misses && (self.mended || self.random.one_in(2)) {
                self.pull(which).await;
            }
        }
        verdicts
    }

    /// A copy asks for what is missing; the page may come short.
    async fn pull(&mut self, which: usize) {
        let after = self.copies[which].log.index;
        let page = log_page(&self.home, topic(), (after, u64::MAX)).unwrap();
        let short = self.random.one_in(3);
        let entries = page.entries.into_iter();
        for entry in entries.take(if short { 1 } else { usize::MAX }) {
            let placed = entry.placed.unwrap().try_into().unwrap();
            let envelope = entry.envelope.unwrap().try_into().unwrap();
            let _told = self.copies[which].take(&placed, &envelope).await;
        }
    }

    fn keep_late(&mut self, which: usize, batch: &[Outgoing]) {
        let late = self.late.entry(which).or_default();
        late.push(batch.to_vec());
        if late.len() > LATE_MAX {
            late.remove(0);
        }
    }

    /// Something that the home has signed comes late, or before its time: entries of a batch for this copy or
    /// another one, from anywhere in it.
    async fn bring_late(&mut self, which: usize) {
        let from = self.random.index(self.copies.len());
        let Some(late) = self.late.get(&from).filter(|it| !it.is_empty()) else {
            return;
        };
        let batch = late[self.random.index(late.len())].clone();
        let first = self.random.index(batch.len());
        let _unheard = self.deliver(which, &batch[first..]).await;
    }

    async fn calm(&mut self) {
        self.mended = true;
        for _ in 0..CALM {
            for which in 0..self.copies.len() {
                self.tell(which).await;
            }
            let behind = |it: &Copy| it.log.index < self.log.index && !it.knows_of_fork;
            let unaware = |it: &Copy| it.log != self.log && !it.knows_of_fork;
            if !self.copies.iter().any(|it| behind(it) || unaware(it)) {
                return;
            }
            tokio::time::advance(PAUSE).await;
        }
        panic!("a copy stays behind for ever");
    }

    fn judge(&self) {
        let positions = |tables: &Tables| {
            let rows = tables.log_after(topic(), 0, 10_000).unwrap();
            let positions = rows.into_iter().map(|(_, row)| row.position);
            positions.collect::<Vec<_>>()
        };
        let home = positions(&self.home);
        for (which, copy) in self.copies.iter().enumerate() {
            let own = positions(&copy.tables);
            if self.deceived != Some(which) {
                assert!(!copy.knows_of_fork, "{} accuses an honest home", copy.name);
                assert_eq!(own, home, "{}", copy.name);
                continue;
            }
            assert!(
                copy.knows_of_fork,
                "{} was not told the other log",
                copy.name
            );
            let (last, before) = own.split_last().unwrap();
            assert_eq!(before, &home[..before.len()]);
            assert_ne!(*last, home[before.len()], "nothing comes behind the fork");
        }
        let chain: Vec<_> = home
            .iter()
            .map(|it| Position::decode(it).unwrap())
            .collect();
        let mut messages = 0;
        for (index, position) in (1..).zip(&chain) {
            assert_eq!(position.index, index);
            messages = messages.max(position.order);
        }
        assert_eq!(messages, self.log.order);
    }
}
