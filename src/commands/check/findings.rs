//! What a check finds, said as soon as it is found.

use std::fmt::Display;

use crate::commands::say;

/// Says each finding and remembers whether one was bad.
#[derive(Debug, Default)]
pub(super) struct Findings {
    wrong: bool,
}

impl Findings {
    /// As it should be.
    pub(super) fn right(&mut self, sentence: impl Display) {
        say::line(format_args!("ok     {sentence}"));
    }

    /// Right or wrong depending on something we cannot see.
    pub(super) fn note(&mut self, sentence: impl Display) {
        say::line(format_args!("note   {sentence}"));
    }

    /// Something to be changed.
    pub(super) fn wrong(&mut self, sentence: impl Display) {
        self.wrong = true;
        say::line(format_args!("WRONG  {sentence}"));
    }

    pub(super) fn say(&mut self, finding: Finding) {
        match finding {
            Finding::Right(sentence) => self.right(sentence),
            Finding::Note(sentence) => self.note(sentence),
            Finding::Wrong(sentence) => self.wrong(sentence),
        }
    }

    pub(super) fn any_wrong(&self) -> bool {
        self.wrong
    }
}

/// One sentence and its weight, for judgements that are made apart from saying them.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Finding {
    Right(String),
    Note(String),
    Wrong(String),
}
