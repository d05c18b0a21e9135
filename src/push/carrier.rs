//! The task that sends: so many at once, again a few times where the node says "not now", then never.

use std::{collections::BTreeMap, convert::Infallible, future::pending, sync::Arc, time::Duration};

use freehold_config::PushContent;
use freehold_directory::{Directory, NodeAddress};
use freehold_proto::{AccessMode, UserId};
use freehold_store::{Tables, tables::rows::SubscriptionRow};
use futures_util::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{info, warn};

use super::{
    Push,
    device::Device,
    notification::{Notification, What},
    turns::Turns,
};
use crate::{accounts::access::State, server::Server};

/// Where a node takes pushes.
const PATH: &str = "/v1/push";
/// Notifications on their way at once, each to all devices of somebody.
const AT_ONCE: usize = 32;
/// Pushes that wait to be tried again.
const LATER_MAX: usize = 1024;
/// Of them those of one person.
const LATER_OF_ONE: usize = 16;
/// How long a push waits while another one is under way to its device.
const BEHIND: Duration = Duration::from_secs(1);
/// How long one waits at least before it is tried again. After that it is given up.
const REST: [Duration; 3] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];
/// How long one waits at most, whatever the node says.
const REST_MAX: Duration = Duration::from_secs(10 * 60);
/// How often the log says what was lost.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// How often the node is asked what it relays; and while it does not say.
const LEARN_EVERY: Duration = Duration::from_secs(60 * 60);
const LEARN_AGAIN: Duration = Duration::from_secs(30);

/// What a node relays.
#[derive(Clone, Debug, Deserialize)]
pub struct Offer {
    /// Host, and port unless it goes without saying, for which requests are to be signed.
    pub node: String,
    /// `web`, `fcm`, `apns`.
    pub kinds: Vec<String>,
    /// The key with which browsers subscribe.
    pub vapid: Option<String>,
}

impl Offer {
    /// What the node of this address says that it relays, or in words why nothing.
    pub async fn of(node: &NodeAddress, directory: &Directory) -> Result<Self, String> {
        let offer: Self = match directory.read_from_node(node, PATH).await? {
            (200, body) => serde_json::from_slice(&body).map_err(|it| it.to_string())?,
            (404, _) => return Err("it relays none".to_owned()),
            (status, _) => return Err(format!("it answers {status}")),
        };
        match offer.node == node.authority() {
            true => Ok(offer),
            false => Err(format!("it goes by the name {}", offer.node)),
        }
    }
}

/// A notification for one device.
#[derive(Debug)]
struct Job {
    notification: Arc<Notification>,
    token: String,
    tries: usize,
}

/// What became of one.
enum Outcome {
    Done,
    Again(Job, Duration),
    Lost(String),
}

/// What was lost since the log said so last, and why the last of it was.
#[derive(Default)]
struct Losses {
    count: u64,
    why: String,
}

/// Asks the node now and then what it relays. Does not return.
pub(super) async fn learn(push: &Push, directory: &Directory) -> Infallible {
    let mut silent = false;
    loop {
        let rest = match Offer::of(&push.node, directory).await {
            Ok(offer) => {
                silent = false;
                *push.offer.write() = Some(Arc::new(offer));
                LEARN_EVERY
            }
            Err(error) => {
                let node = push.node.authority();
                if !std::mem::replace(&mut silent, true) {
                    warn!(
                        node,
                        error, "the node that is to relay pushes cannot be used"
                    );
                }
                LEARN_AGAIN
            }
        };
        sleep(rest).await;
    }
}

/// Reads who has devices, again after a while where the store cannot be read. Does not return.
pub(super) async fn know(push: &Push, server: &Server) -> Infallible {
    while let Err(fault) = push.reachable.load(server).await {
        warn!(%fault, "who has devices cannot be read");
        sleep(LEARN_AGAIN).await;
    }
    pending().await
}

/// Sends what is put into the queue. Does not return.
pub(super) async fn carry(push: &Push, server: &Server, directory: &Directory) -> Infallible {
    let turns = Turns::default();
    let work = Work {
        push,
        server,
        directory,
        turns: &turns,
    };
    let (mut later, mut losses) = (Later::default(), Losses::default());
    let mut running = FuturesUnordered::new();
    let mut ticks = interval(TOLD_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let room = running.len() < AT_ONCE;
        tokio::select! {
            new = push.waiting.next(|it| turns.are_left(it)), if room => running.push(work.all(new)),
            held = push.held.next(|it| turns.are_left(it)), if room => running.push(work.overdue(held)),
            job = later.next(&turns), if room => running.push(work.again(job)),
            Some(outcomes) = running.next() => later.settle(outcomes, &mut losses),
            _ = ticks.tick() => {
                // What is looked at no second time was told once.
                let _unseen = push.held.take_lost();
                losses.say(push.waiting.take_lost());
            }
        }
    }
}

/// Pushes that wait to be tried again, by when.
#[derive(Default)]
struct Later {
    jobs: BTreeMap<(Instant, u64), Job>,
    number: u64,
}

impl Later {
    /// Waits for the first to be due of those whose turn it may be, and takes it.
    async fn next(&mut self, turns: &Turns) -> Job {
        let mut jobs = self.jobs.iter();
        let first = jobs.find(|(_, job)| turns.are_left(&job.notification));
        let first = first.map(|(at, _)| *at);
        if let Some(at) = first {
            sleep_until(at.0).await;
            if let Some(job) = self.jobs.remove(&at) {
                return job;
            }
        }
        pending().await
    }

    fn has_room(&self, user: &UserId) -> bool {
        let theirs = self
            .jobs
            .values()
            .filter(|it| it.notification.user == *user);
        self.jobs.len() < LATER_MAX && theirs.count() < LATER_OF_ONE
    }

    fn settle(&mut self, outcomes: Vec<Outcome>, losses: &mut Losses) {
        for outcome in outcomes {
            match outcome {
                Outcome::Done => {}
                Outcome::Lost(why) => losses.add(why),
                Outcome::Again(job, _) if !self.has_room(&job.notification.user) => {
                    losses.add("too many wait to be tried again".to_owned());
                }
                Outcome::Again(job, rest) => {
                    self.number += 1;
                    self.jobs.insert((Instant::now() + rest, self.number), job);
                }
            }
        }
    }
}

impl Losses {
    fn add(&mut self, why: String) {
        self.count += 1;
        self.why = why;
    }

    fn say(&mut self, without_room: u64) {
        let Self { count, why } = std::mem::take(self);
        if count + without_room > 0 {
            warn!(count, without_room, why, "pushes were lost; no message was");
        }
    }
}

/// What sending takes.
#[derive(Clone, Copy)]
struct Work<'a> {
    push: &'a Push,
    server: &'a Server,
    directory: &'a Directory,
    turns: &'a Turns,
}

type Outcomes<'a> = std::pin::Pin<Box<dyn Future<Output = Vec<Outcome>> + Send + 'a>>;

impl<'a> Work<'a> {
    /// Sends a notification to all devices of its person that are not in use.
    fn all(self, notification: Notification) -> Outcomes<'a> {
        let turn = self.turns.take(&notification.user);
        Box::pin(async move {
            let _turn = turn;
            let (idle, used) = match self.devices(&notification.user).await {
                Ok(devices) => devices,
                Err(why) => return vec![Outcome::Lost(why)],
            };
            if !used.is_empty() {
                self.push.look_again(Notification {
                    only: Some(used),
                    ..notification.clone()
                });
            }
            self.to(idle, notification).await
        })
    }

    /// Sends what was told to a session only, if that is gone and nobody has received it.
    fn overdue(self, notification: Notification) -> Outcomes<'a> {
        let turn = self.turns.take(&notification.user);
        Box::pin(async move {
            let _turn = turn;
            let (user, seq) = (&notification.user, notification.seq);
            if self.server.sessions.is_looking(user, notification.key) {
                return Vec::new();
            }
            match self.marks(&notification).await {
                Ok(Some((_, received))) if received < seq && !self.push.is_late(&notification) => {}
                Ok(_) => return Vec::new(),
                Err(why) => return vec![Outcome::Lost(why)],
            }
            match self.devices(&notification.user).await {
                Ok((mut idle, _)) => {
                    if let Some(only) = &notification.only {
                        idle.retain(|it| only.contains(it));
                    }
                    self.to(idle, notification).await
                }
                Err(why) => vec![Outcome::Lost(why)],
            }
        })
    }

    async fn to(self, devices: Vec<String>, notification: Notification) -> Vec<Outcome> {
        let notification = Arc::new(notification);
        let jobs = devices.into_iter().map(|token| {
            self.one(Job {
                notification: Arc::clone(&notification),
                token,
                tries: 0,
            })
        });
        join_all(jobs).await
    }

    fn again(self, job: Job) -> Outcomes<'a> {
        let turn = self.turns.take(&job.notification.user);
        Box::pin(async move {
            let _turn = turn;
            let notification = &job.notification;
            let is_message = notification.what == What::Message;
            match self.marks(notification).await {
                // It was read meanwhile, or something later has been told.
                Ok(Some((read, _))) if is_message && read >= notification.seq => return Vec::new(),
                Ok(None) => return Vec::new(),
                _ if self.push.is_late(notification) => return Vec::new(),
                _ => {}
            }
            // It may have come to be in use, or to be somebody else's.
            match self.devices(&notification.user).await {
                Ok((idle, _)) if idle.contains(&job.token) => vec![self.one(job).await],
                Ok(_) => Vec::new(),
                Err(why) => vec![Outcome::Lost(why)],
            }
        })
    }

    /// How far somebody has read, and received, what is told; nothing for whoever is not there any more, may not
    /// read it or has muted it, and when it was deleted.
    async fn marks(self, notification: &Notification) -> Result<Option<(u32, u32)>, String> {
        let (user, topic) = (notification.user.clone(), notification.key);
        let (what, seq) = (notification.what, notification.seq);
        if what == What::Read {
            return Ok(Some((seq, seq)));
        }
        let read = move |tables: &Tables| {
            let row = tables.subscription(&user, topic)?;
            let Some(row) = row.filter(|it| it.deleted == 0) else {
                return Ok(None);
            };
            let is_there = match what {
                What::Invitation | What::Read => true,
                What::Message | What::Call => {
                    let place = (seq, seq.saturating_add(1));
                    is_told(&row) && tables.last_visible(topic, &user, place)?.is_some()
                }
            };
            Ok(is_there.then(|| (row.read, row.received.max(row.read))))
        };
        let marks = self.server.tables.read(read).await;
        marks.map_err(|it| it.to_string())
    }

    /// The devices of somebody with an account in use: those that they do not use right now, and those that they
    /// do.
    async fn devices(self, user: &UserId) -> Result<(Vec<String>, Vec<String>), String> {
        let whose = user.clone();
        let read = move |tables: &Tables| {
            let row = tables.account(&whose)?;
            match row.is_some_and(|it| State::of(&it) == State::Ok) {
                true => tables.devices(&whose),
                false => Ok(Vec::new()),
            }
        };
        let devices = self.server.tables.read(read).await;
        let devices = devices.map_err(|it| it.to_string())?;
        if devices.is_empty() {
            let noted = self.server.note_without_device(user).await;
            noted.map_err(|it| it.to_string())?;
        }
        let used = self.server.sessions.devices_in_use(user);
        let tokens = devices.into_iter().map(|it| it.token);
        Ok(tokens.partition(|it| !used.contains(it)))
    }

    async fn one(self, mut job: Job) -> Outcome {
        let Some(device) = Device::read(&job.token) else {
            return Outcome::Lost("a device cannot be read".to_owned());
        };
        if job.notification.rest() == Some(Duration::ZERO) {
            // Nobody is to run for a call that is over.
            return Outcome::Done;
        }
        let offer = self.push.offer.read().clone();
        if offer.is_some_and(|it| !it.kinds.iter().any(|it| it == device.kind())) {
            return Outcome::Lost(format!("the node does not relay {}", device.kind()));
        }
        let under_way = self.turns.to_device(&job.token);
        if under_way.is_none() && job.notification.what != What::Call {
            return Outcome::Again(job, BEHIND);
        }
        let Some(signed) = self.signed(&job.notification, &device) else {
            return Outcome::Lost("it cannot be encrypted".to_owned());
        };
        let node = &self.push.node;
        let answer = self.directory.hand_to_node(node, PATH, signed.into()).await;
        let (wait, why) = match answer {
            Ok((201, ..)) => {
                self.push.has_shown(&job.notification);
                return Outcome::Done;
            }
            Ok((410, ..)) => return self.gone(&job).await,
            Ok((429 | 503, wait, body)) => (wait.unwrap_or(0), said(&body)),
            Ok((_, _, body)) => return Outcome::Lost(said(&body)),
            Err(error) => (0, format!("the node: {error}")),
        };
        let Some(rest) = REST.get(job.tries) else {
            return Outcome::Lost(why);
        };
        job.tries += 1;
        let rest = Duration::from_secs(wait).clamp(*rest, REST_MAX);
        Outcome::Again(job, rest)
    }

    fn signed(self, notification: &Notification, device: &Device) -> Option<Vec<u8>> {
        let content: PushContent = self.push.content;
        let node = self.push.node.authority();
        let mut draft = device.draft(notification, content, (&node, &self.push.salt))?;
        if let Some(rest) = notification.rest() {
            // At least a second: with none a push service tries once, now.
            draft.ttl = draft.ttl.min(rest.max(Duration::from_secs(1)));
        }
        let now = self.server.clock.now();
        Some(self.server.signer.ask_for_push(draft, now).to_bytes())
    }

    /// Its service knows the device no more.
    async fn gone(self, job: &Job) -> Outcome {
        let user = &job.notification.user;
        match self.server.forget_device(user, &job.token).await {
            Ok(()) => {
                info!(%user, "a device is gone, and forgotten");
                Outcome::Done
            }
            Err(fault) => Outcome::Lost(fault.to_string()),
        }
    }
}

/// Whether somebody reads a conversation, and is told of news there.
fn is_told(row: &SubscriptionRow) -> bool {
    let [want, given] = [&row.want, &row.given].map(|it| it.parse().unwrap_or(AccessMode::NONE));
    let mode = want.and(given);
    mode.has(AccessMode::READ.or(AccessMode::PRESENCE))
}

/// What a node says is wrong, cut to a length that can be logged.
fn said(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refused {
        error: String,
    }
    let read = serde_json::from_slice::<Refused>(body);
    let words = read.map_or_else(|_| "no words".to_owned(), |it| it.error);
    let words: String = words
        .chars()
        .filter(|it| !it.is_control())
        .take(200)
        .collect();
    format!("the node says: {words}")
}
