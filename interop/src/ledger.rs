//! What was sent, what was promised, and whether a history keeps the promises. Pure.

use std::collections::BTreeSet;

use crate::Message;

/// Faults listed in full; more are only counted.
const SHOWN_MAX: usize = 10;

/// What one person sent: texts `"<sender> 1"`, `"<sender> 2"`, …
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The first word of each text.
    pub sender: String,
    /// The highest number sent.
    pub sent: u64,
    /// The numbers acknowledged.
    pub acknowledged: BTreeSet<u64>,
}

/// A message of a sender as found in a history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Position in that history.
    pub seq: u64,
    /// The sender's number.
    pub number: u64,
}

impl Ledger {
    /// Nothing sent yet.
    #[must_use]
    pub fn new(sender: &str) -> Self {
        Self {
            sender: sender.to_owned(),
            sent: 0,
            acknowledged: BTreeSet::new(),
        }
    }

    /// The text with this number.
    #[must_use]
    pub fn text(&self, number: u64) -> String {
        format!("{} {number}", self.sender)
    }

    /// The sender's messages in a history; anything else in it is left out.
    #[must_use]
    pub fn entries(&self, history: &[Message]) -> Vec<Entry> {
        let number = |message: &Message| {
            let text = message.content.as_str()?;
            let rest = text.strip_prefix(&self.sender)?.strip_prefix(' ')?;
            rest.parse().ok()
        };
        let entries = history.iter().filter_map(|message| {
            Some(Entry {
                seq: message.seq,
                number: number(message)?,
            })
        });
        entries.collect()
    }

    /// True when every acknowledged message is among `entries`.
    #[must_use]
    pub fn is_complete(&self, entries: &[Entry]) -> bool {
        let present: BTreeSet<_> = entries.iter().map(|it| it.number).collect();
        self.acknowledged.is_subset(&present)
    }
}

/// Everything wrong with a sender's messages in one history, one sentence each: each acknowledged
/// message must be there, none twice, all in the order they were sent.
#[must_use]
pub fn judge(ledger: &Ledger, entries: &[Entry]) -> Vec<String> {
    let mut present = BTreeSet::new();
    let mut faults = Vec::new();
    let mut newest = 0;
    for entry in entries {
        let text = ledger.text(entry.number);
        if !present.insert(entry.number) {
            faults.push(format!("\"{text}\" is there again, at seq {}", entry.seq));
        } else if entry.number < newest {
            let after = ledger.text(newest);
            faults.push(format!(
                "\"{text}\" comes after \"{after}\", at seq {}",
                entry.seq
            ));
        }
        if entry.number == 0 || entry.number > ledger.sent {
            faults.push(format!("\"{text}\" was never sent, at seq {}", entry.seq));
        }
        newest = newest.max(entry.number);
    }
    let lost = ledger.acknowledged.difference(&present);
    faults.extend(lost.map(|it| format!("\"{}\" was acknowledged and is lost", ledger.text(*it))));
    shorten(faults)
}

fn shorten(mut faults: Vec<String>) -> Vec<String> {
    let more = faults.len().saturating_sub(SHOWN_MAX);
    if more > 0 {
        faults.truncate(SHOWN_MAX);
        faults.push(format!("and {more} more"));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ledger(sent: u64, acknowledged: &[u64]) -> Ledger {
        Ledger {
            sender: "ann".to_owned(),
            sent,
            acknowledged: acknowledged.iter().copied().collect(),
        }
    }

    #[track_caller]
    fn check(ledger: &Ledger, numbers: &[u64], faults: &[&str]) {
        let entries: Vec<_> = (1..)
            .zip(numbers)
            .map(|(seq, &number)| Entry { seq, number })
            .collect();
        assert_eq!(judge(ledger, &entries), faults);
    }

    #[test]
    fn an_unacknowledged_message_may_be_there_or_not() {
        check(&ledger(3, &[1, 3]), &[1, 2, 3], &[]);
        check(&ledger(3, &[1, 3]), &[1, 3], &[]);
    }

    #[test]
    fn losses_doubles_and_disorder_are_told() {
        check(
            &ledger(3, &[1, 3]),
            &[1],
            &["\"ann 3\" was acknowledged and is lost"],
        );
        check(
            &ledger(2, &[1]),
            &[1, 2, 1],
            &["\"ann 1\" is there again, at seq 3"],
        );
        check(
            &ledger(2, &[1]),
            &[2, 1],
            &["\"ann 1\" comes after \"ann 2\", at seq 2"],
        );
        check(
            &ledger(1, &[1]),
            &[1, 2],
            &["\"ann 2\" was never sent, at seq 2"],
        );
    }

    #[test]
    fn only_the_senders_texts_count() {
        let message = |seq, content| Message {
            seq,
            from: "usrA".to_owned(),
            content,
            head: serde_json::Value::Null,
        };
        let history = [
            message(1, json!("hello")),
            message(2, json!("ann 1")),
            message(3, json!("anna 2")),
            message(4, json!({"txt": "ann 3"})),
        ];
        assert_eq!(
            ledger(1, &[]).entries(&history),
            [Entry { seq: 2, number: 1 }]
        );
    }
}
