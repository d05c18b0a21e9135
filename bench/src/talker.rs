//! One client under load: writes when it is due, reads what comes, in one task with bounded memory.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    thread,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Duration, sleep, timeout},
};

use crate::{
    Result,
    client::Session,
    frame::{self, Frame},
    tally::{Tally, now},
};

/// Requests of one client that may wait for their answers. What is due beyond that waits, and is late.
const WAITING_MAX: usize = 4096;
/// How long what is under way may take to come to its end.
const GRACE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Messages on a page of history, as stock clients ask for them.
pub(crate) const PAGE: u32 = 24;

/// When a client writes.
#[derive(Debug)]
pub(crate) enum Pace {
    /// Never.
    Never,
    /// Whenever there is a place. Places come back as `Credit` has it.
    Closed(Arc<Semaphore>),
    /// When a `Clockwork` says so, whatever has become of what was written before.
    Timed(mpsc::Receiver<u64>),
}

impl Pace {
    /// Waits until something is due; returns when it was.
    async fn turn(&mut self) -> u64 {
        let due = match self {
            Self::Never => None,
            Self::Closed(places) => places.acquire().await.ok().map(|place| {
                place.forget();
                now()
            }),
            Self::Timed(due) => due.recv().await,
        };
        match due {
            Some(due) => due,
            // The clockwork has run down.
            None => std::future::pending().await,
        }
    }
}

/// Says at fixed times, to one client after the other, that something is due. A thread of its own: timers
/// of tokio are up to two milliseconds late.
#[derive(Debug)]
pub(crate) struct Clockwork {
    every: f64,
    clients: Vec<mpsc::Sender<u64>>,
}

impl Clockwork {
    /// So many in a second.
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            every: 1_000_000.0 / f64::from(rate.max(1)),
            clients: Vec::new(),
        }
    }

    /// The pace of one more client.
    pub(crate) fn pace(&mut self) -> Pace {
        let (client, due) = mpsc::channel(WAITING_MAX);
        self.clients.push(client);
        Pace::Timed(due)
    }

    /// Ends when a client is gone, or so far behind that it will never come round.
    fn run(self) {
        let begun = now();
        let due = |tick: u32| Duration::from_micros(1).mul_f64(self.every * f64::from(tick));
        for (tick, client) in (0..u32::MAX).zip(self.clients.iter().cycle()) {
            let due = begun + u64::try_from(due(tick).as_micros()).unwrap_or(u64::MAX);
            thread::sleep(Duration::from_micros(due.saturating_sub(now())));
            if client.try_send(due).is_err() {
                return;
            }
        }
    }
}

/// Who gives a place back.
#[derive(Clone, Debug, Default)]
pub(crate) enum Credit {
    /// Nobody.
    #[default]
    None,
    /// The answer to our own message.
    Answer(Arc<Semaphore>),
    /// Arrival of the other one's message gives the other one a place.
    Arrival(Arc<Semaphore>),
}

/// What a client does when it is its turn; one after the other, over and over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Writes to the topic of this number.
    Say(usize),
    /// Says that somebody types there.
    Type(usize),
    /// Reads the page before the last message that came there.
    Page(usize),
    /// Reads a page from anywhere in so long a history.
    Search(usize, u32),
}

/// How a client behaves.
#[derive(Debug)]
pub(crate) struct Habits {
    pub(crate) pace: Pace,
    pub(crate) credit: Credit,
    pub(crate) actions: Vec<Action>,
    /// Says of each message that it came and that it was read, as stock clients do.
    pub(crate) receipts: bool,
    /// Counts what comes.
    pub(crate) counts: bool,
    pub(crate) filler: Arc<str>,
}

impl Habits {
    /// Reads and never says anything.
    pub(crate) fn silent() -> Self {
        Self {
            pace: Pace::Never,
            credit: Credit::None,
            actions: Vec::new(),
            receipts: false,
            counts: true,
            filler: Arc::from(""),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Write,
    Read,
    End,
}

/// All clients of a run.
pub(crate) struct Crowd {
    pub(crate) tally: Arc<Tally>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Self {
            tally: Arc::default(),
            phase: watch::Sender::new(Phase::Write),
            tasks: JoinSet::new(),
        }
    }

    /// Lets one more client loose.
    pub(crate) fn add(&mut self, session: Session, topics: Vec<String>, habits: Habits) {
        let talker = Talker {
            session,
            heads: vec![0; topics.len()],
            numbers: topics
                .iter()
                .cloned()
                .zip(0..)
                .filter(|_| habits.counts)
                .collect(),
            topics,
            waiting: VecDeque::new(),
            next: 0,
            credit: habits.credit,
            actions: habits.actions,
            receipts: habits.receipts,
            filler: habits.filler,
            tally: Arc::clone(&self.tally),
        };
        let (tally, phase) = (Arc::clone(&self.tally), self.phase.subscribe());
        self.tasks.spawn(async move {
            if let Err(why) = talker.run(habits.pace, phase).await {
                tally.fail(why);
            }
        });
    }

    /// Lets a clockwork run, for as long as its clients write.
    pub(crate) fn wind_up(&mut self, clockwork: Clockwork) {
        self.tasks.spawn_blocking(|| clockwork.run());
    }

    /// How many are left.
    pub(crate) fn len(&mut self) -> usize {
        while self.tasks.try_join_next().is_some() {}
        self.tasks.len()
    }

    /// Stops all writing and waits until each acknowledged message has come to so many clients.
    pub(crate) async fn hush(&self, copies: u64) {
        self.phase.send_replace(Phase::Read);
        let settled = async {
            while self.tally.unanswered() > 0 || self.tally.missing(copies) > 0 {
                sleep(LOOK_EVERY).await;
            }
            // Where nobody knows how often a message arrives.
            sleep(LOOK_EVERY * 10).await;
        };
        if timeout(GRACE, settled).await.is_err() {
            for (what, count) in [
                ("without an answer", self.tally.unanswered()),
                ("acknowledged and not delivered", self.tally.missing(copies)),
            ] {
                (0..count).for_each(|_| self.tally.fail(what.to_owned()));
            }
        }
    }

    /// Ends all clients.
    pub(crate) async fn end(mut self) -> Arc<Tally> {
        self.phase.send_replace(Phase::End);
        while self.tasks.join_next().await.is_some() {}
        self.tally
    }
}

struct Waiting {
    id: u64,
    due: u64,
    is_page: bool,
}

struct Talker {
    session: Session,
    topics: Vec<String>,
    numbers: HashMap<String, usize>,
    /// The last message that came in each.
    heads: Vec<u32>,
    waiting: VecDeque<Waiting>,
    next: usize,
    credit: Credit,
    actions: Vec<Action>,
    receipts: bool,
    filler: Arc<str>,
    tally: Arc<Tally>,
}

impl Talker {
    async fn run(mut self, mut pace: Pace, mut phase: watch::Receiver<Phase>) -> Result<()> {
        loop {
            let now_is = *phase.borrow_and_update();
            match now_is {
                Phase::Write => {}
                // A clockwork sees that nobody listens.
                Phase::Read => pace = Pace::Never,
                Phase::End => return Ok(()),
            }
            let writes = self.waiting.len() < WAITING_MAX;
            tokio::select! {
                _ = phase.changed() => {}
                text = self.session.next() => self.hear(&text?).await?,
                due = pace.turn(), if writes => self.act(due).await?,
            }
        }
    }

    async fn act(&mut self, due: u64) -> Result<()> {
        let Some(action) = self.actions.get(self.next).copied() else {
            return Ok(());
        };
        self.next = (self.next + 1) % self.actions.len();
        let id = self.session.id();
        let (topic, text) = match action {
            Action::Say(topic) => {
                let text = frame::publish(id, self.topic(topic), due, &self.filler);
                self.tally.send(due);
                self.wait_for(id, due, false);
                (topic, text)
            }
            Action::Type(topic) => (topic, frame::note(self.topic(topic), "kp", 0)),
            Action::Page(topic) => {
                let before = self.heads.get(topic).copied().unwrap_or_default().max(1);
                self.wait_for(id, due, true);
                (topic, frame::page(id, self.topic(topic), before, PAGE))
            }
            Action::Search(topic, length) => {
                self.wait_for(id, due, true);
                let before = anywhere(due ^ id, length);
                (topic, frame::page(id, self.topic(topic), before, PAGE))
            }
        };
        debug_assert!(
            topic < self.topics.len(),
            "an action in a topic that is not there"
        );
        self.session.send(text).await
    }

    fn topic(&self, number: usize) -> &str {
        self.topics.get(number).map_or("", String::as_str)
    }

    fn wait_for(&mut self, id: u64, due: u64, is_page: bool) {
        self.waiting.push_back(Waiting { id, due, is_page });
    }

    async fn hear(&mut self, text: &str) -> Result<()> {
        let frame = Frame::read(text)?;
        if let Some(ctrl) = &frame.ctrl {
            self.answered(ctrl);
        }
        let Some(data) = &frame.data else {
            return Ok(());
        };
        let (Some(due), Some(&number)) = (data.due(), self.numbers.get(data.topic)) else {
            return Ok(());
        };
        let Some(head) = self.heads.get_mut(number) else {
            return Ok(());
        };
        // A page of history brings again what came before.
        if data.seq <= *head {
            return Ok(());
        }
        *head = data.seq;
        self.tally.deliver(due);
        if let Credit::Arrival(places) = &self.credit {
            places.add_permits(1);
        }
        if self.receipts {
            for what in ["recv", "read"] {
                self.session
                    .send(frame::note(data.topic, what, data.seq))
                    .await?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, ctrl: &frame::Ctrl<'_>) {
        let Some(id) = ctrl.id.and_then(|it| it.parse::<u64>().ok()) else {
            return;
        };
        let Some(place) = self.waiting.iter().position(|it| it.id == id) else {
            return;
        };
        let Some(asked) = self.waiting.remove(place) else {
            return;
        };
        match (ctrl.fault(), asked.is_page) {
            (None, true) => self.tally.page(asked.due),
            (None, false) => self.tally.acknowledge(asked.due),
            (Some(why), true) => self.tally.fail(why),
            (Some(why), false) => self.tally.refuse(why),
        }
        if let Credit::Answer(places) = &self.credit {
            places.add_permits(1);
        }
    }
}

/// A position in a history of `length` messages that has a whole page before it, where there is one.
fn anywhere(seed: u64, length: u32) -> u32 {
    let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
    let span = u64::from(length.saturating_sub(PAGE)).max(1);
    PAGE + 1 + u32::try_from(mixed % span).unwrap_or_default()
}
