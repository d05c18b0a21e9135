//! What a node counts: nothing by which anybody who asked, or was asked about, could be told.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// How an answer about a domain came about.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
enum Outcome {
    Memory,
    Found,
    Missed,
    Refused,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    outcome: Outcome,
}

/// By whose service a push goes.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(super) enum PushKind {
    Web,
    Fcm,
    Apns,
}

/// What became of a push.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
pub(super) enum PushOutcome {
    Sent,
    Gone,
    NotTaken,
    HeldBack,
    Later,
    Refused,
}

#[derive(Clone, Copy, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct PushLabels {
    kind: PushKind,
    outcome: PushOutcome,
}

/// Counters since the node was started.
pub(super) struct Metrics {
    registry: Mutex<Registry>,
    answers: Family<Labels, Counter>,
    pushes: Family<PushLabels, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("freehold_directory");
        let answers = Family::<Labels, Counter>::default();
        registry.register(
            "answers",
            "Questions about domains: answered from memory, by a look that found or missed, or refused",
            answers.clone(),
        );
        let pushes = Family::<PushLabels, Counter>::default();
        registry.register(
            "pushes",
            "Pushes by kind: sent, to a device that is gone, not taken from whoever asked, held back by a limit, to be sent later, or refused by the service",
            pushes.clone(),
        );
        Self {
            registry: Mutex::new(registry),
            answers,
            pushes,
        }
    }
}

impl Metrics {
    pub(super) fn answered_from_memory(&self) {
        self.count(Outcome::Memory);
    }

    pub(super) fn looked(&self, found: bool) {
        self.count(if found {
            Outcome::Found
        } else {
            Outcome::Missed
        });
    }

    pub(super) fn refused(&self) {
        self.count(Outcome::Refused);
    }

    pub(super) fn pushed(&self, kind: PushKind, outcome: PushOutcome) {
        let labels = PushLabels { kind, outcome };
        self.pushes.get_or_create(&labels).inc();
    }

    fn count(&self, outcome: Outcome) {
        self.answers.get_or_create(&Labels { outcome }).inc();
    }

    /// In the OpenMetrics text format.
    pub(super) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}
