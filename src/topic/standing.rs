//! How one person stands in a topic, and what may change about it.

use bytes::Bytes;
use freehold_proto::{AccessMode, Timestamp, UserId};

/// One person's standing in the topic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// What the person wants.
    pub want: AccessMode,
    /// Counted by the person's domain.
    pub want_version: u64,
    /// What the other one lets the person do.
    pub given: AccessMode,
    /// Counted by the other one's domain.
    pub given_version: u64,
    /// Private notes, JSON.
    pub private: Bytes,
    /// Last message read.
    pub read: u32,
    /// Last message received.
    pub received: u32,
    /// Since when.
    pub created: Timestamp,
    /// When something but cursors changed.
    pub updated: Timestamp,
    /// When the person left.
    pub deleted: Option<Timestamp>,
    /// Texts of a stranger shown before acceptance.
    pub unaccepted_texts: u32,
    /// The other one's domain has been told.
    pub announced: bool,
    /// A reader of a channel, who is not a member.
    pub reader: bool,
    /// The person's last deletion for themselves.
    pub cleared: u32,
    /// In a group that spans domains: the entry with which the rights last changed, and what they were
    /// before.
    pub changed: (u64, AccessMode),
}

impl Standing {
    /// A new standing; versions start at one for the side that decides here.
    #[must_use]
    pub fn new(want: AccessMode, given: AccessMode, now: Timestamp) -> Self {
        Self {
            want,
            want_version: 1,
            given,
            given_version: 1,
            private: Bytes::new(),
            read: 0,
            received: 0,
            created: now,
            updated: now,
            deleted: None,
            unaccepted_texts: 0,
            announced: false,
            reader: false,
            cleared: 0,
            changed: (0, AccessMode::NONE),
        }
    }

    /// What the person may do.
    #[must_use]
    pub fn mode(&self) -> AccessMode {
        self.want.and(self.given)
    }

    /// The same, and nothing for whoever may not join: banned, or gone by their own wish.
    #[must_use]
    pub fn rights(&self) -> AccessMode {
        let mode = self.mode();
        if mode.has(AccessMode::JOIN) {
            mode
        } else {
            AccessMode::NONE
        }
    }

    /// The person has said yes to the conversation, by opening it or by accepting.
    #[must_use]
    pub fn consents(&self) -> bool {
        self.deleted.is_none() && self.want.has(AccessMode::JOIN.or(AccessMode::WRITE))
    }

    /// The person got further: how far, if that is news. The caller has checked that there are so
    /// many messages.
    pub fn advance(&mut self, read: u32, received: u32) -> Option<CursorMove> {
        let mut moved = CursorMove::default();
        if read > self.read {
            self.read = read;
            moved.read = Some(read);
        }
        let received = received.max(self.read);
        if received > self.received {
            self.received = received;
            // Whoever reads has received; what the stronger news says already is not told twice.
            moved.received = (received > self.read).then_some(received);
        }
        (moved != CursorMove::default()).then_some(moved)
    }
}

/// How somebody's access changed, for those who are told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccessChange {
    /// Whose access.
    pub user: UserId,
    /// Who changed it.
    pub actor: UserId,
    /// The standing is new, so that absolute values are shown.
    pub fresh: bool,
    /// The standing ended.
    pub gone: bool,
    /// Wanted before and after.
    pub want: (AccessMode, AccessMode),
    /// Given before and after.
    pub given: (AccessMode, AccessMode),
}

/// Somebody got further.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CursorMove {
    /// The new last message read, if that moved.
    pub read: Option<u32>,
    /// The new last message received, if that moved.
    pub received: Option<u32>,
}
