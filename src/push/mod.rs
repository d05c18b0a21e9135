//! Pushes: what the devices of people who are not here are told, by way of a node of the directory, which has
//! the credentials for it. Whoever has something to tell puts it into a bounded queue and never waits; a task of
//! its own encrypts, signs and sends. What is lost on the way is a notification, never a message.

mod carrier;
mod device;
mod encryption;
mod notification;
mod reachable;
mod turns;
mod waiting;

use std::{collections::HashMap, sync::Arc};

use freehold_config::PushContent;
use freehold_directory::{Directory, NodeAddress};
use freehold_keys::KeyError;
use freehold_proto::UserId;
use freehold_store::{
    Batch, StoreError, Tables, TopicKey,
    tables::{
        devices::{drop_device, drop_devices, put_device},
        rows::DeviceRow,
    },
};
use parking_lot::{Mutex, RwLock};

pub use self::carrier::Offer;
use self::{device::Device, reachable::Reachable, waiting::Waiting};
pub(crate) use self::{
    device::spelled,
    notification::{Notification, What, Words},
};
use crate::{
    accounts::{Caller, access::holds},
    edge::session::Session,
    server::Server,
};

/// What a client says when its device is to have no pushes any more.
pub(crate) const NONE: &str = "\u{2421}";
/// Conversations with a notification that may stand on a device still. When there are more, all are forgotten:
/// then some notifications stay until somebody wipes them away.
const SHOWN_MAX: usize = 100_000;
/// How long a device is not written down anew, ms.
const SEEN_FOR: i64 = 24 * 60 * 60 * 1000;

/// Positions in conversations of people; at most [`SHOWN_MAX`].
type Seqs = Mutex<HashMap<(UserId, TopicKey), u32>>;

/// Where notifications are handed in.
#[derive(Debug)]
pub struct Push {
    node: NodeAddress,
    content: PushContent,
    waiting: Waiting,
    /// What was told to sessions only, which may have been dead already.
    held: Waiting,
    /// Who has devices.
    reachable: Reachable,
    /// What the node relays, as far as it has said so.
    offer: RwLock<Option<Arc<Offer>>>,
    /// Who was told of new messages where, and of which last.
    shown: Seqs,
    /// How far people have read of late.
    read: Seqs,
    /// The last that was said of calls.
    calls: Seqs,
    /// Goes into collapse keys, so that they say nothing.
    salt: [u8; 32],
}

impl Push {
    /// As configured. Fails without randomness.
    pub fn new(config: freehold_config::Push) -> Result<Self, KeyError> {
        Ok(Self {
            node: config.node,
            content: config.content,
            waiting: Waiting::to_gather(),
            held: Waiting::to_look_again(config.look_again_after),
            reachable: Reachable::default(),
            offer: RwLock::default(),
            shown: Seqs::default(),
            read: Seqs::default(),
            calls: Seqs::default(),
            salt: freehold_keys::random()?,
        })
    }

    /// Begins to send; ends with the domain.
    pub(crate) fn start(self: &Arc<Self>, server: &Arc<Server>, directory: &Arc<Directory>) {
        let (push, stop) = (Arc::clone(self), server.tasks.stop_token());
        let (server, directory) = (Arc::clone(server), Arc::clone(directory));
        let tasks = server.tasks.clone();
        tasks.spawn("push", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                never = carrier::know(&push, &server) => match never {},
                never = carrier::learn(&push, &directory) => match never {},
                never = carrier::carry(&push, &server, &directory) => match never {},
            }
        });
    }

    /// The key with which browsers subscribe, if the node has said it.
    pub(crate) fn vapid(&self) -> Option<String> {
        self.offer.read().as_ref()?.vapid.clone()
    }

    /// Something is to be told.
    pub(crate) fn tell(&self, notification: Notification) {
        if self.reaches(&notification.user) {
            if notification.what == What::Call {
                let place = (notification.user.clone(), notification.key);
                raise(&self.calls, place, notification.seq);
            }
            self.waiting.put(notification);
        }
    }

    /// Whether somebody may have devices.
    pub(crate) fn reaches(&self, user: &UserId) -> bool {
        self.reachable.has(user)
    }

    /// Something was told to a session. If that turns out to have been dead, and nobody has received it, it is
    /// told to the devices after all.
    pub(crate) fn look_again(&self, notification: Notification) {
        // A call is over by then, and what was read is no news.
        if notification.what == What::Message && self.reaches(&notification.user) {
            self.held.put(notification);
        }
    }

    /// Whether somebody who has read so far has a notification of it on a device, perhaps. What waits about it
    /// is not sent.
    pub(crate) fn was_read(&self, user: &UserId, topic: TopicKey, seq: u32) -> bool {
        self.forget(user, topic, |told| told <= seq);
        if self.reaches(user) {
            raise(&self.read, (user.clone(), topic), seq);
        }
        let (mut shown, place) = (self.shown.lock(), (user.clone(), topic));
        // Of what is read in part something is still to be read.
        let all = shown.get(&place).is_some_and(|last| *last <= seq);
        all && shown.remove(&place).is_some()
    }

    /// What waits about messages that are gone, or were read, is not sent.
    pub(crate) fn forget(&self, user: &UserId, topic: TopicKey, gone: impl Fn(u32) -> bool) {
        self.waiting.forget(user, topic, &gone);
        self.held.forget(user, topic, gone);
    }

    /// Whether somebody was told of a later message in the same place already, has read it, or the call stands
    /// differently by now. The store learns a few seconds later what was read.
    fn is_late(&self, it: &Notification) -> bool {
        let place = (it.user.clone(), it.key);
        let last = |of: &Seqs| of.lock().get(&place).copied().unwrap_or_default();
        match it.what {
            What::Message => last(&self.shown) > it.seq || last(&self.read) >= it.seq,
            What::Call => last(&self.calls) > it.seq,
            What::Invitation | What::Read => false,
        }
    }

    fn has_shown(&self, notification: &Notification) {
        if notification.what != What::Message {
            return;
        }
        let place = (notification.user.clone(), notification.key);
        raise(&self.shown, place, notification.seq);
    }
}

/// Notes how far somebody has come in a conversation.
fn raise(seqs: &Seqs, place: (UserId, TopicKey), seq: u32) {
    let mut seqs = seqs.lock();
    if seqs.len() >= SHOWN_MAX {
        seqs.clear();
    }
    let last = seqs.entry(place).or_default();
    *last = seq.max(*last);
}

impl Server {
    /// Keeps the device of a session for pushes to whoever has logged in with it, whosever it was, unless it can
    /// never be reached or the log-in has ended.
    pub(crate) async fn keep_device(
        &self,
        caller: &Caller,
        session: &Session,
    ) -> Result<(), StoreError> {
        let device = session.device();
        let device = device.filter(|it| Device::read(it).is_some());
        let (Some(token), true) = (device, self.push.is_some()) else {
            return Ok(());
        };
        let row = DeviceRow {
            token,
            seen: self.clock.now().as_millis(),
        };
        let (_turn, local) = (
            self.account_turn(&caller.user).await,
            caller.user.local_bytes(),
        );
        // Whoever ended its log-in meanwhile has forgotten all devices, and none comes after that.
        if session.is_closed() {
            return Ok(());
        }
        let caller = caller.clone();
        let gather = move |tables: &Tables| {
            let (mut batch, user) = (Batch::new(), &caller.user);
            let known = tables.devices(user)?;
            let known = known.iter().find(|it| it.token == row.token);
            let fresh = known.is_some_and(|it| row.seen - it.seen < SEEN_FOR);
            // An account that was deleted meanwhile leaves nothing behind.
            if !fresh && tables.account(user)?.is_some_and(|it| holds(&it, &caller)) {
                put_device(tables, &mut batch, user, &row)?;
            }
            Ok(batch)
        };
        self.write(gather).await?;
        // After it is written and within the turn, so that nobody takes it back who saw nothing written.
        if let Some(push) = &self.push {
            push.reachable.add(local);
        }
        Ok(())
    }

    /// Somebody had no device a moment ago: unless one has come, nothing is queued for them any more.
    pub(crate) async fn note_without_device(&self, user: &UserId) -> Result<(), StoreError> {
        let _turn = self.account_turn(user).await;
        let whose = user.clone();
        let devices = self.tables.read(move |it| it.devices(&whose)).await?;
        if let Some(push) = self.push.as_ref().filter(|_| devices.is_empty()) {
            push.reachable.remove(user);
        }
        Ok(())
    }

    /// Forgets a device of somebody.
    pub(crate) async fn forget_device(&self, user: &UserId, token: &str) -> Result<(), StoreError> {
        let _turn = self.account_turn(user).await;
        let (user, token) = (user.clone(), token.to_owned());
        self.write(move |tables| {
            let mut batch = Batch::new();
            drop_device(tables, &mut batch, &user, &token)?;
            Ok(batch)
        })
        .await
    }

    /// What forgets all devices of somebody whose log-ins end.
    pub(crate) async fn without_devices(&self, user: &UserId) -> Result<Batch, StoreError> {
        let user = user.clone();
        let gather = move |tables: &Tables| {
            let mut batch = Batch::new();
            drop_devices(tables, &mut batch, &user)?;
            Ok(batch)
        };
        self.tables.read(gather).await
    }

    async fn write(
        &self,
        gather: impl FnOnce(&Tables) -> Result<Batch, StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let batch = self.tables.read(gather).await?;
        if !batch.is_empty() {
            // A batch without guards is applied.
            let _applied = self.tables.commit(batch).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{notification::sample, *};

    #[test]
    fn what_was_told_is_remembered_until_it_is_read_and_nothing_older_comes_behind_it() {
        let text = "domain = \"a.test\"\n[push]\nnode = \"http://127.0.0.1:9\"\n";
        let config = freehold_config::from_toml(text, "/".as_ref()).unwrap();
        let push = Push::new(config.push.unwrap()).unwrap();
        let message = |seq| sample(1, What::Message, seq);
        let (user, topic) = (message(7).user, message(7).key);
        assert!(!push.was_read(&user, topic, 5), "nothing was told yet");
        push.has_shown(&message(7));
        push.has_shown(&message(6));
        assert!(push.is_late(&message(6)) && !push.is_late(&message(7)));
        assert!(!push.is_late(&sample(1, What::Invitation, 0)));
        assert!(!push.is_late(&sample(2, What::Message, 6)));
        push.has_shown(&sample(2, What::Call, 7));
        assert!(!push.was_read(&sample(2, What::Call, 7).user, topic, 7));
        assert!(!push.was_read(&user, topic, 6), "one is still unread");
        assert!(push.is_late(&message(6)));
        assert!(!push.is_late(&message(7)));
        assert!(push.was_read(&user, topic, 7));
        assert!(!push.was_read(&user, topic, 7), "it is cleared once");
        assert!(push.is_late(&message(7)), "it was read");
        push.tell(sample(2, What::Call, 9));
        assert!(
            push.is_late(&sample(2, What::Call, 7)),
            "it stands differently"
        );
        assert!(!push.is_late(&sample(2, What::Call, 9)));
    }
}
