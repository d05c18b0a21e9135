//! Letters from alpha.test to beta.test: alpha's outbox, beta's door with the topics behind it, and a worker without
//! a link between them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use freehold_federation::{
    Arrived, Batching, Blame, Incoming, Local as _, Outbox as _, Outgoing, Verdict,
};
use freehold_keys::Signer;
use freehold_proto::{
    AccessMode, Clock as _, Destination, DomainName, ManualClock, MessageId, RefusalCode, UserId,
    wire,
};
use freehold_store::{
    Batch, TopicKey,
    tables::{
        accounts::put_account,
        messages::put_message,
        outbox::put_stream_out,
        rows::{AccountRow, MessageRow, StreamRow},
        topics::put_subscription,
    },
};

use super::{Random, Side, play, start};
use crate::{peers::local::Door, topic::message};

const PEOPLE: u8 = 2;
const STEPS: u64 = 60;
const ITEMS_MAX: usize = 8;
/// Old batches that the network may still bring.
const LATE_MAX: usize = 4;
/// How long an item that the peer fails on is set aside, as the worker does.
const POISON_PAUSE: Duration = Duration::from_secs(60 * 60);
/// Exchanges after which everything must have been decided once nothing fails any more.
const CALM: usize = 200;

/// What a letter is, and so what must become of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Letter {
    Short,
    /// Nothing for a stranger: it waits until the recipient has accepted.
    Long,
    /// Refused.
    Nonsense,
    /// As short, but beta fails on any batch that has it, until it has been mended.
    Poison,
}

#[test]
fn letters_arrive_once_and_in_order_whatever_happens_on_the_way() {
    play(100, |random| async {
        let mut world = World::new(random).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        world.calm().await;
        world.judge();
        world.end().await;
    });
}

struct World {
    random: Random,
    clock: Arc<ManualClock>,
    alpha: Side,
    beta: Side,
    signer: Signer,
    batching: Batching,
    /// In the order in which they were written.
    written: BTreeMap<(UserId, UserId), Vec<(MessageId, Letter)>>,
    late: Vec<(u64, Vec<Outgoing>)>,
    mended: bool,
}

fn user(number: u8, domain: &DomainName) -> UserId {
    UserId::new([number; 8], domain.clone())
}

impl World {
    async fn new(random: Random) -> Self {
        let clock = Arc::new(ManualClock::new(start()));
        let alpha = Side::new("alpha.test", &clock).await;
        let beta = Side::new("beta.test", &clock).await;
        let mut batch = Batch::new();
        for number in 1..=PEOPLE {
            put_account(
                &mut batch,
                &user(number, &beta.name),
                &AccountRow::default(),
            );
        }
        beta.commit(batch).await;
        let world = Self {
            random,
            clock,
            signer: alpha.keys().signer(),
            alpha,
            beta,
            batching: Batching::default(),
            written: BTreeMap::new(),
            late: Vec::new(),
            mended: false,
        };
        world.prepare().await;
        world
    }

    async fn prepare(&self) {
        let outbox = &self.alpha.server().outbox;
        outbox.prepare(&self.beta.name).await.unwrap();
    }

    async fn step(&mut self) {
        match self.random.within(0..=15) {
            0..=4 => self.write().await,
            5..=9 => drop(self.exchange().await),
            10 => self.bring_late().await,
            11 => self.accept().await,
            12 => self.restart_alpha().await,
            13 => self.beta.restart().await,
            14 => self
                .clock
                .advance(Duration::from_secs(self.random.within(1..=7200))),
            _ => self.forget_stream().await,
        }
    }

    /// Somebody at alpha writes to somebody at beta, as a topic does: message and outbox row in one commit.
    async fn write(&mut self) {
        let mut anybody = |domain| user(self.random.within(1..=PEOPLE.into()) as u8, domain);
        let (author, recipient) = (anybody(&self.alpha.name), anybody(&self.beta.name));
        let letter = match self.random.within(0..=9) {
            0..=5 => Letter::Short,
            6..=7 => Letter::Long,
            8 => Letter::Nonsense,
            _ => Letter::Poison,
        };
        let content = match letter {
            Letter::Short | Letter::Poison => "\"hello\"".to_owned(),
            Letter::Long => format!("\"{}\"", "long ".repeat(100)),
            Letter::Nonsense => "{".to_owned(),
        };
        let now = self.clock.now();
        let random: [u8; 16] = std::array::from_fn(|_| self.random.within(0..=255) as u8);
        let id = MessageId::from_bytes(random);
        let payload = wire::payload::Kind::DirectMessage(wire::DirectMessage {
            author: author.to_string(),
            recipient: recipient.to_string(),
            content: content.into(),
            ..Default::default()
        });
        let to = Destination::Domain(self.beta.name.clone());
        let envelope = self.signer.seal(to, id, now, payload).unwrap();
        let people = (author.clone(), recipient.clone());
        let written = self.written.entry(people).or_default();
        written.push((id, letter));
        let row = MessageRow {
            author: author.to_string(),
            message_id: id.as_bytes().to_vec().into(),
            envelope: Some(message::envelope_row(&envelope)),
            ..MessageRow::default()
        };
        let (topic, seq) = (
            TopicKey::one_to_one(&author, &recipient),
            written.len() as u32,
        );
        let mut batch = Batch::new();
        put_message(&mut batch, topic, seq, &row);
        let server = self.alpha.server();
        let whose = (topic, &author);
        server
            .outbox
            .put_message(&mut batch, &self.beta.name, whose, seq, now);
        self.alpha.commit(batch).await;
    }

    /// One step of alpha's worker, with whatever the network and the disks do to it.
    async fn exchange(&mut self) -> bool {
        let peer = self.beta.name.clone();
        let items = self.batching.items_max().min(ITEMS_MAX);
        let outbox = &self.alpha.server().outbox;
        let batch = outbox.next(&peer, self.clock.now(), items, usize::MAX);
        let batch = batch.await.unwrap();
        let Some(last) = batch.last() else {
            return false;
        };
        let epoch = outbox.offering(&peer, last.position).await.unwrap();
        if self.fails_on(&batch) {
            self.blame(&batch).await;
            return true;
        }
        let trouble = if self.mended {
            9
        } else {
            self.random.within(0..=9)
        };
        match trouble {
            // It never came.
            0 => return true,
            // Beta's disk dies while it decides.
            1 => self.beta.dies_after(self.random.within(0..=6)),
            // The network doubles it.
            2 => drop(self.deliver(epoch, &batch).await),
            _ => {}
        }
        self.keep(epoch, &batch);
        let verdicts = self.deliver(epoch, &batch).await;
        if trouble == 1 {
            self.beta.restart().await;
        }
        match verdicts {
            // The answer is lost.
            Some(_) if trouble == 3 => {}
            Some(verdicts) => {
                self.batching.succeeded();
                self.settle(&batch, verdicts, trouble == 4).await;
            }
            None => {}
        }
        true
    }

    async fn deliver(&self, epoch: u64, batch: &[Outgoing]) -> Option<Vec<Verdict>> {
        let keys = self.alpha.keys();
        let opened = |item: &Outgoing| Incoming {
            position: item.position,
            item: Arrived::Envelope(Box::new(
                freehold_keys::open(
                    item.envelope.clone(),
                    keys.record().record(),
                    self.clock.now(),
                )
                .unwrap(),
            )),
        };
        let items = batch.iter().map(opened).collect();
        let decided = batch.last().unwrap().position;
        let door = Door::new(Arc::clone(self.beta.server()));
        let verdicts = door.deliver(&self.alpha.name, epoch, items, decided).await;
        let verdicts = verdicts.ok()?;
        assert_eq!(verdicts.len(), batch.len());
        Some(verdicts)
    }

    /// Alpha takes the answer; perhaps its disk dies meanwhile, and it has to start again.
    async fn settle(&mut self, batch: &[Outgoing], verdicts: Vec<Verdict>, dies: bool) {
        let verdicts = batch.iter().map(|it| it.position).zip(verdicts);
        if dies {
            self.alpha.dies_after(self.random.within(0..=3));
        }
        let outbox = &self.alpha.server().outbox;
        let now = self.clock.now();
        let settled = outbox
            .settle(&self.beta.name, now, verdicts.collect())
            .await;
        assert!(dies || settled.is_ok(), "{settled:?}");
        if dies {
            self.restart_alpha().await;
        }
    }

    fn fails_on(&self, batch: &[Outgoing]) -> bool {
        let poison = |it: &Outgoing| {
            let header = freehold_proto::Header::decode(&it.envelope.header).unwrap();
            let mut all = self.written.values().flatten();
            all.any(|known| *known == (header.message_id, Letter::Poison))
        };
        !self.mended && batch.iter().any(poison)
    }

    /// Less is offered until the one item is found, which is set aside: what the worker does.
    async fn blame(&mut self, batch: &[Outgoing]) {
        if self.batching.failed(batch.len()) != Blame::Poison {
            return;
        }
        let later = Verdict::Later {
            code: RefusalCode::Unavailable,
            retry_after: POISON_PAUSE,
        };
        self.settle(&batch[..1], vec![later], false).await;
    }

    fn keep(&mut self, epoch: u64, batch: &[Outgoing]) {
        self.late.push((epoch, batch.to_vec()));
        if self.late.len() > LATE_MAX {
            self.late.remove(0);
        }
    }

    /// A batch of long ago comes once more; nobody waits for the answer.
    async fn bring_late(&mut self) {
        if !self.late.is_empty() {
            let (epoch, batch) = self.late.swap_remove(self.random.index(self.late.len()));
            let _unheard = self.deliver(epoch, &batch).await;
        }
    }

    /// Somebody at beta accepts whoever has written.
    async fn accept(&mut self) {
        let pairs: Vec<_> = self.written.keys().cloned().collect();
        if !pairs.is_empty() {
            let one = self.random.index(pairs.len());
            self.accepts(&pairs[one..=one]).await;
        }
    }

    async fn accepts(&mut self, pairs: &[(UserId, UserId)]) {
        // The topics are asleep while their rows are changed.
        self.beta.restart().await;
        for (author, recipient) in pairs {
            let topic = TopicKey::one_to_one(author, recipient);
            let tables = &self.beta.server().tables;
            let Some(mut row) = tables.subscription(recipient, topic).unwrap() else {
                continue;
            };
            row.want = AccessMode::ONE_TO_ONE.to_string();
            row.want_version += 1;
            let mut batch = Batch::new();
            put_subscription(&mut batch, recipient, topic, &row);
            self.beta.commit(batch).await;
            // The news may be lost; then the letters wait out their time.
            if self.random.one_in(2) {
                let outbox = &self.alpha.server().outbox;
                outbox.release(&self.beta.name, topic, author);
            }
        }
    }

    async fn restart_alpha(&mut self) {
        self.alpha.restart().await;
        self.prepare().await;
    }

    /// Alpha's stream begins anew, under another epoch and with positions that were used before.
    async fn forget_stream(&mut self) {
        let outbox = &self.alpha.server().outbox;
        let epoch = outbox.offering(&self.beta.name, 0).await.unwrap() + 1;
        let mut batch = Batch::new();
        let row = StreamRow {
            epoch,
            ..StreamRow::default()
        };
        put_stream_out(&mut batch, &self.beta.name, &row);
        self.alpha.commit(batch).await;
        self.restart_alpha().await;
    }

    /// Nothing fails any more, everybody has accepted, and time passes.
    async fn calm(&mut self) {
        self.mended = true;
        let pairs: Vec<_> = self.written.keys().cloned().collect();
        for round in 0..CALM {
            let offered = self.exchange().await;
            if round % 10 == 0 {
                self.accepts(&pairs).await;
            }
            if !offered {
                let due = self.alpha.server().outbox.next_due(&self.beta.name).await;
                match due.unwrap() {
                    None => return,
                    Some(due) => self.clock.advance(due.since(self.clock.now())),
                }
            }
        }
        panic!("something waits for ever");
    }

    fn judge(&self) {
        for ((author, recipient), written) in &self.written {
            let topic = TopicKey::one_to_one(author, recipient);
            let tables = &self.beta.server().tables;
            let mut rows = tables
                .history(topic, 1, u32::MAX, 1000, usize::MAX)
                .unwrap();
            rows.reverse();
            let seqs: Vec<_> = rows.iter().map(|(seq, _)| *seq).collect();
            assert!(seqs.iter().copied().eq(1..=seqs.len() as u32), "{seqs:?}");
            let shown: Vec<_> = rows.iter().map(|(_, row)| &row.message_id[..]).collect();
            let meant = written.iter().filter(|(_, it)| *it != Letter::Nonsense);
            let meant: Vec<_> = meant.map(|(id, _)| &id.as_bytes()[..]).collect();
            assert_eq!(shown, meant, "{author} to {recipient}: {written:?}");
        }
        let left = self
            .alpha
            .server()
            .tables
            .outbox(&self.beta.name, 0, 10)
            .unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    async fn end(mut self) {
        for side in [&mut self.alpha, &mut self.beta] {
            side.domain.take().unwrap().close().await;
        }
    }
}
