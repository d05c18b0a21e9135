//! The section `[limits]`.

use std::time::Duration;

use freehold_federation::{Rate, Rates};

use crate::{Limits, check::Checker, file, given::Given};

/// How long a batch of a peer is held at most. Its sender waits 30 s for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a question is held at most: less than the 3 s that people wait for the answer.
const PATIENCE_OF_QUESTIONS: Duration = Duration::from_secs(2);
/// The most that can be counted, in a second and at once.
const MOST: u64 = 10_000_000;

impl Checker<'_> {
    /// Limits on clients, and on peers.
    pub(crate) fn limits(&mut self, section: file::Limits) -> Option<(Limits, Rates)> {
        self.refuse_unknown("limits.", &section.unknown);
        let mut rate = |key: &str, given, usual| self.rate(&format!("limits.{key}"), given, usual);
        let user_messages = rate("user_messages", section.user_messages, [500, 1000]);
        let user_requests = rate("user_requests", section.user_requests, [500, 2000]);
        let topic_messages = rate("topic_messages", section.topic_messages, [2000, 4000]);
        let prefix_sessions = rate("prefix_sessions", section.prefix_sessions, [500, 5000]);
        let prefix_requests = rate("prefix_requests", section.prefix_requests, [1000, 10_000]);
        let peer_items = rate("peer_items", section.peer_items, [10_000, 20_000]);
        let peer_signals = rate("peer_signals", section.peer_signals, [2000, 10_000]);
        let peer_questions = rate("peer_questions", section.peer_questions, [200, 1000]);
        let stranger_hellos = rate("stranger_hellos", section.stranger_hellos, [50, 500]);
        let limits = Limits {
            user_messages: user_messages?,
            user_requests: user_requests?,
            topic_messages: topic_messages?,
            prefix_sessions: prefix_sessions?,
            prefix_requests: prefix_requests?,
        };
        let rates = Rates {
            items: peer_items?,
            signals: peer_signals?,
            questions: peer_questions?,
            hellos: stranger_hellos?,
            patience: PATIENCE,
            patience_of_questions: PATIENCE_OF_QUESTIONS,
        };
        Some((limits, rates))
    }

    /// How many in a second and how many at once; `Some(None)` for no limit.
    pub(crate) fn rate(
        &mut self,
        key: &str,
        given: Given<Vec<u64>>,
        usual: [u64; 2],
    ) -> Option<Option<Rate>> {
        let numbers = self.value(key, given, usual.to_vec())?;
        let number = |it: u64| u32::try_from(it).ok().filter(|_| it <= MOST);
        if let [per_second, burst] = *numbers
            && let (Some(per_second), Some(burst)) = (number(per_second), number(burst))
            && (per_second == 0) == (burst == 0)
        {
            return Some(Rate::new(per_second, burst));
        }
        let why = "must be two numbers, how many in a second and how many at once, such as \
                   [100, 500], or [0, 0] for no limit";
        self.mistake(key, why)
    }
}
