//! Whose turn it is: nobody's notifications, and no dead device, take the turns of all others.

use std::collections::{HashMap, HashSet};

use freehold_proto::UserId;
use parking_lot::Mutex;

use super::notification::{Notification, What};

/// Notifications of one person on their way at once, and how many calls besides.
const OF_ONE: usize = 2;
const CALLS_OF_ONE: usize = 2;

/// What is on its way: as much as there are turns.
#[derive(Debug, Default)]
pub(super) struct Turns {
    people: Mutex<HashMap<UserId, usize>>,
    devices: Mutex<HashSet<String>>,
}

/// A turn of somebody; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns, UserId);

/// That a push is under way to a device; ends when dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'a>(&'a Turns, String);

impl Turns {
    /// Whether a notification may be on its way now beside what is already.
    pub(super) fn are_left(&self, notification: &Notification) -> bool {
        let most = match notification.what {
            What::Call => OF_ONE + CALLS_OF_ONE,
            What::Message | What::Invitation | What::Read => OF_ONE,
        };
        let people = self.people.lock();
        people.get(&notification.user).is_none_or(|it| *it < most)
    }

    pub(super) fn take(&self, user: &UserId) -> Turn<'_> {
        *self.people.lock().entry(user.clone()).or_default() += 1;
        Turn(self, user.clone())
    }

    /// `None` while another push is under way there.
    pub(super) fn to_device(&self, token: &str) -> Option<UnderWay<'_>> {
        let first = self.devices.lock().insert(token.to_owned());
        first.then(|| UnderWay(self, token.to_owned()))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut people = self.0.people.lock();
        if let Some(count) = people.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                people.remove(&self.1);
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.devices.lock().remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::{super::notification::sample, *};

    #[test]
    fn one_person_has_two_turns_and_more_for_calls_and_a_device_one_push() {
        let turns = Turns::default();
        let (message, call) = (sample(1, What::Message, 1), sample(1, What::Call, 2));
        let mut taken = Vec::new();
        for _ in 0..OF_ONE {
            assert!(turns.are_left(&message));
            taken.push(turns.take(&message.user));
        }
        assert!(!turns.are_left(&message) && turns.are_left(&call));
        assert!(turns.are_left(&sample(2, What::Message, 1)));
        taken.clear();
        assert!(turns.are_left(&message) && turns.people.lock().is_empty());
        let under_way = turns.to_device("phone");
        assert!(under_way.is_some() && turns.to_device("phone").is_none());
        drop(under_way);
        assert!(turns.to_device("phone").is_some());
    }
}
