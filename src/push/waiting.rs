//! Notifications that wait to be sent. A later one about the same takes the place of an earlier one; what finds no
//! room is counted, and lost.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use freehold_proto::UserId;
use freehold_store::TopicKey;
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::notification::{Notification, What};

/// Notifications that wait.
const WAITING_MAX: usize = 8192;
/// Calls that find room besides.
const CALLS_MAX: usize = 1024;
/// How long a notification waits for others that may take its place.
const GATHER: Duration = Duration::from_millis(500);

type Key = (UserId, TopicKey, What);

/// A bounded queue, by when each is due.
#[derive(Debug)]
pub(super) struct Waiting {
    /// How long each waits.
    wait: Duration,
    /// A later one waits as long as the first.
    slides: bool,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    notifications: HashMap<Key, (Instant, Notification)>,
    /// Calls come first.
    due: BTreeSet<(bool, Instant, Key)>,
    lost: u64,
}

impl Waiting {
    /// Where notifications gather for a moment before they are sent.
    pub(super) fn to_gather() -> Self {
        Self::new(GATHER, false)
    }

    /// Where each waits so long after the last about the same.
    pub(super) fn to_look_again(after: Duration) -> Self {
        Self::new(after, true)
    }

    fn new(wait: Duration, slides: bool) -> Self {
        Self {
            wait,
            slides,
            inner: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Queues a notification. Never waits.
    pub(super) fn put(&self, notification: Notification) {
        let key = (
            notification.user.clone(),
            notification.key,
            notification.what,
        );
        let now = Instant::now();
        let mut inner = self.inner.lock();
        let due = match inner.notifications.get(&key) {
            _ if notification.what == What::Call => now,
            Some((due, _)) if !self.slides => *due,
            _ => now + self.wait,
        };
        inner.remove(&key);
        let room = match notification.what {
            What::Call => WAITING_MAX + CALLS_MAX,
            What::Message | What::Invitation | What::Read => WAITING_MAX,
        };
        if inner.notifications.len() >= room {
            inner.lost += 1;
            return;
        }
        inner.due.insert((is_no_call(&key), due, key.clone()));
        inner.notifications.insert(key, (due, notification));
        drop(inner);
        self.changed.notify_one();
    }

    /// What waits about a message is not sent if that is gone, or was read.
    pub(super) fn forget(&self, user: &UserId, topic: TopicKey, gone: impl Fn(u32) -> bool) {
        let key = (user.clone(), topic, What::Message);
        let mut inner = self.inner.lock();
        if inner
            .notifications
            .get(&key)
            .is_some_and(|(_, it)| gone(it.seq))
        {
            inner.remove(&key);
        }
    }

    /// Waits until a notification is due of somebody whose turn it may be, and takes it. Turns that come back are
    /// not noticed: then this is asked again.
    pub(super) async fn next(&self, may_go: impl Fn(&Notification) -> bool) -> Notification {
        loop {
            let changed = self.changed.notified();
            let (found, later) = self.inner.lock().take_first(&may_go);
            if let Some(notification) = found {
                return notification;
            }
            match later {
                Some(due) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    /// How many were lost since this was asked last.
    pub(super) fn take_lost(&self) -> u64 {
        std::mem::take(&mut self.inner.lock().lost)
    }
}

fn is_no_call((.., what): &Key) -> bool {
    *what != What::Call
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some((due, _)) = self.notifications.remove(key) {
            self.due.remove(&(is_no_call(key), due, key.clone()));
        }
    }

    /// The first that is due and may go; else when the next is due.
    fn take_first(
        &mut self,
        may_go: impl Fn(&Notification) -> bool,
    ) -> (Option<Notification>, Option<Instant>) {
        let (now, mut found, mut later) = (Instant::now(), None, None);
        for (_, due, key) in &self.due {
            if *due > now {
                later = Some(*due);
                break;
            }
            let waits = self.notifications.get(key);
            if waits.is_some_and(|(_, it)| may_go(it)) {
                found = Some(key.clone());
                break;
            }
        }
        let taken = found.and_then(|key| {
            let (due, notification) = self.notifications.remove(&key)?;
            self.due.remove(&(is_no_call(&key), due, key));
            Some(notification)
        });
        (taken, later)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::{super::notification::sample, *};

    #[tokio::test(start_paused = true)]
    async fn messages_of_one_moment_are_one_push_and_a_call_waits_for_none() {
        let (waiting, start) = (Waiting::to_gather(), Instant::now());
        for seq in 1..=3 {
            waiting.put(sample(1, What::Message, seq));
        }
        waiting.put(sample(2, What::Message, 9));
        waiting.put(sample(1, What::Call, 4));
        let call = waiting.next(|_| true).await;
        assert_eq!((call.what, start.elapsed()), (What::Call, Duration::ZERO));
        assert_eq!(waiting.next(|_| true).await.seq, 3);
        assert_eq!(start.elapsed(), GATHER);
        assert_eq!(waiting.next(|_| true).await.seq, 9);
        assert!(timeout(GATHER * 10, waiting.next(|_| true)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_looked_again_a_while_after_the_last_of_many() {
        let waiting = Waiting::to_look_again(GATHER);
        let start = Instant::now();
        for seq in 1..=4 {
            waiting.put(sample(1, What::Message, seq));
            tokio::time::sleep(GATHER / 2).await;
        }
        assert_eq!(waiting.next(|_| true).await.seq, 4);
        assert_eq!(start.elapsed(), GATHER / 2 * 3 + GATHER);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_meanwhile_is_not_sent() {
        let waiting = Waiting::to_gather();
        for (user, seq) in [(1, 5), (2, 6)] {
            waiting.put(sample(user, What::Message, seq));
            let it = sample(user, What::Message, seq);
            waiting.forget(&it.user, it.key, |seq| seq <= 5);
        }
        assert_eq!(waiting.next(|_| true).await.seq, 6);
        assert!(timeout(GATHER * 10, waiting.next(|_| true)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_finds_room_where_there_is_none_and_comes_before_what_is_overdue() {
        let waiting = Waiting::to_gather();
        for user in 0..u16::try_from(WAITING_MAX).unwrap() {
            waiting.put(sample(user, What::Message, 1));
        }
        tokio::time::sleep(GATHER * 2).await;
        waiting.put(sample(7, What::Call, 2));
        assert_eq!(waiting.next(|_| true).await.what, What::Call);
        assert_eq!(waiting.next(|_| true).await.what, What::Message);
        assert_eq!(waiting.take_lost(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_turn_keeps_nobody_waiting() {
        let waiting = Waiting::to_gather();
        waiting.put(sample(1, What::Message, 1));
        waiting.put(sample(2, What::Message, 2));
        let busy = sample(1, What::Message, 1).user;
        let next = waiting.next(|it| it.user != busy).await;
        assert_eq!(next.seq, 2);
        let none = waiting.next(|it| it.user != busy);
        assert!(timeout(GATHER * 10, none).await.is_err());
        assert_eq!(waiting.next(|_| true).await.seq, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_counted_and_what_waits_can_still_be_replaced() {
        let waiting = Waiting::to_gather();
        let full = u16::try_from(WAITING_MAX).unwrap();
        for user in 0..full + 3 {
            waiting.put(sample(user, What::Message, 1));
        }
        assert_eq!((waiting.take_lost(), waiting.take_lost()), (3, 0));
        waiting.put(sample(0, What::Message, 2));
        assert_eq!(waiting.take_lost(), 0);
        let mut seen = Vec::new();
        for _ in 0..full {
            seen.push(waiting.next(|_| true).await.seq);
        }
        assert!(seen.contains(&2));
    }
}
