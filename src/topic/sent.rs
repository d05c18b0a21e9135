//! The last messages written to a topic, so that one that is sent again is found (rules.md 12).

use std::collections::VecDeque;

use freehold_proto::MessageId;

/// A request to publish. Some clients give every request the same name, so what it says counts too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Request {
    /// The session.
    pub(super) session: u64,
    /// Its name for the request.
    pub(super) id: String,
    /// SHA-256 of what it says.
    pub(super) words: [u8; 32],
}

/// Messages remembered.
const REMEMBERED: usize = 64;

#[derive(Debug)]
struct Entry {
    /// The request, if it had a name.
    request: Option<Request>,
    /// The id that the client gave.
    id: Option<MessageId>,
    seq: u32,
}

/// What was written last. Memory only: what must outlive it has a row.
#[derive(Debug, Default)]
pub(super) struct Sent {
    entries: VecDeque<Entry>,
}

impl Sent {
    pub(super) fn note(&mut self, request: Option<Request>, id: Option<MessageId>, seq: u32) {
        if self.entries.len() == REMEMBERED {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { request, id, seq });
    }

    pub(super) fn by_request(&self, request: &Request) -> Option<u32> {
        let is_it = |it: &&Entry| it.request.as_ref() == Some(request);
        self.entries.iter().find(is_it).map(|it| it.seq)
    }

    pub(super) fn by_id(&self, id: MessageId) -> Option<u32> {
        let found = self.entries.iter().find(|it| it.id == Some(id));
        found.map(|it| it.seq)
    }

    /// What was noted may not have happened.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_by_its_request_and_by_its_id_until_others_push_it_out() {
        let mut sent = Sent::default();
        let id = MessageId::from_bytes([1; 16]);
        let request = |session, id: &str, words| Request {
            session,
            id: id.to_owned(),
            words: [words; 32],
        };
        sent.note(Some(request(7, "a", 1)), Some(id), 1);
        assert_eq!(sent.by_request(&request(7, "a", 1)), Some(1));
        assert_eq!(sent.by_request(&request(8, "a", 1)), None);
        assert_eq!(sent.by_request(&request(7, "b", 1)), None);
        assert_eq!(sent.by_request(&request(7, "a", 2)), None);
        assert_eq!(sent.by_id(id), Some(1));
        for seq in 2..=65 {
            sent.note(None, None, seq);
        }
        assert_eq!(sent.by_id(id), None);
    }
}
