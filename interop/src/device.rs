//! What a stock client keeps of one topic, and how it catches up: it asks for messages above the last
//! one it knows and for deletions since the last it has heard of, and looks at nothing else again.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{Message, Result, Session, failure::expect};

/// The messages of one topic, as somebody's device has them.
#[derive(Debug)]
pub struct Device {
    topic: String,
    messages: BTreeMap<u64, Message>,
    cleared: u64,
}

impl Device {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            messages: BTreeMap::new(),
            cleared: 0,
        }
    }

    /// Catches up. Fails when a position that it knows is another message now.
    pub async fn catch_up(&mut self, session: &mut Session) -> Result<()> {
        let asked = json!({"topic": self.topic, "what": "del", "del": {"since": self.cleared + 1}});
        let answer = session.request("get", asked).await?;
        let deleted = &answer.body["del"];
        if let Some(clear) = deleted["clear"].as_u64() {
            self.cleared = clear;
            let ranges = deleted["delseq"].as_array().into_iter().flatten();
            for range in ranges {
                let (low, high) = span(range);
                self.messages.retain(|seq, _| *seq < low || *seq >= high);
            }
        }
        let since = self.messages.keys().next_back().map_or(1, |last| last + 1);
        for message in session.history(&self.topic, since).await? {
            self.messages.insert(message.seq, message);
        }
        Ok(())
    }

    /// Compares with what the server has.
    pub async fn is_true(&self, session: &mut Session) -> Result<()> {
        let there = session.history(&self.topic, 1).await?;
        let here: Vec<_> = self.messages.values().cloned().collect();
        expect(here == there, || {
            format!(
                "the device of {} shows {:?}, the server has {:?}",
                session.who(),
                texts(&here),
                texts(&there)
            )
        })
    }
}

/// A range of the protocol: from `low` to before `hi`, or one message.
fn span(range: &Value) -> (u64, u64) {
    let low = range["low"].as_u64().unwrap_or(0);
    (low, range["hi"].as_u64().unwrap_or(low + 1))
}

fn texts(messages: &[Message]) -> Vec<String> {
    let text = |it: &Message| format!("{}: {}", it.seq, it.content);
    messages.iter().map(text).collect()
}
