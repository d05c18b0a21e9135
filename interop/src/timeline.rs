//! Who did what when in one run of a case, for people who read its report.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Events kept; what comes after is only counted. For what is found there is room behind them.
const EVENTS_MAX: usize = 2000;
const FINDINGS_MAX: usize = 500;

/// The time line of one run. A handle: cheap to clone.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    begun: Instant,
    events: Mutex<Events>,
    /// How domains are called in a case, and in truth.
    names: Mutex<Vec<(String, String)>>,
}

#[derive(Debug, Default)]
struct Events {
    kept: Vec<Event>,
    left_out: usize,
}

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Somebody did something.
    Act,
    /// Something was broken on purpose.
    Fault,
    /// Something was found to be as it must be.
    Held,
    /// A figure, or another thing worth telling.
    Note,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// Since the run began.
    pub at: Duration,
    /// What kind.
    pub kind: Kind,
    /// Who or what did it, or to whom it was done.
    pub who: String,
    /// What.
    pub what: String,
}

impl Default for Timeline {
    fn default() -> Self {
        Self(Arc::new(Inner {
            begun: Instant::now(),
            events: Mutex::default(),
            names: Mutex::default(),
        }))
    }
}

impl Timeline {
    /// From now on a domain that cases call so is told of under its own name.
    pub(crate) fn calls(&self, known_as: &str, name: &str) {
        let pair = (known_as.to_owned(), name.to_owned());
        self.0.names.lock().push(pair);
    }

    /// `who` does something.
    pub fn act(&self, who: impl fmt::Display, what: impl Into<String>) {
        self.push(Kind::Act, who, what);
    }

    /// Something is broken on purpose.
    pub fn fault(&self, who: impl fmt::Display, what: impl Into<String>) {
        self.push(Kind::Fault, who, what);
    }

    /// Something is found to be as it must be.
    pub fn held(&self, who: impl fmt::Display, what: impl Into<String>) {
        self.push(Kind::Held, who, what);
    }

    /// Something worth telling.
    pub fn note(&self, what: impl Into<String>) {
        self.push(Kind::Note, "suite", what);
    }

    fn push(&self, kind: Kind, who: impl fmt::Display, what: impl Into<String>) {
        let mut events = self.0.events.lock();
        let is_deed = matches!(kind, Kind::Act | Kind::Fault);
        if events.kept.len() >= EVENTS_MAX + usize::from(!is_deed) * FINDINGS_MAX {
            events.left_out += 1;
            return;
        }
        let names = self.0.names.lock();
        let named = |text: String| {
            let names = names.iter();
            names.fold(text, |text, (known_as, name)| text.replace(known_as, name))
        };
        let event = Event {
            at: self.0.begun.elapsed(),
            kind,
            who: named(who.to_string()),
            what: named(what.into()),
        };
        events.kept.push(event);
    }

    /// What was found and noted, without who did what.
    #[must_use]
    pub fn figures(&self) -> Vec<String> {
        let (events, _) = self.events();
        let told = events
            .into_iter()
            .filter(|it| matches!(it.kind, Kind::Held | Kind::Note));
        told.map(|it| format!("{}: {}", it.who, it.what)).collect()
    }

    /// What happened so far, and how much of it was left out.
    #[must_use]
    pub fn events(&self) -> (Vec<Event>, usize) {
        let events = self.0.events.lock();
        (events.kept.clone(), events.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_line_has_an_end() {
        let line = Timeline::default();
        for number in 0..EVENTS_MAX + 3 {
            line.act("alice", number.to_string());
        }
        let (events, left_out) = line.events();
        assert_eq!((events.len(), left_out), (EVENTS_MAX, 3));
        assert!(events.is_sorted_by_key(|it| it.at));
    }
}
