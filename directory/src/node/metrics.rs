//! What a node counts: nothing by which anybody who asked, or was asked about, could be told.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::listing::Figures;

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

/// What became of an announcement.
#[derive(Clone, Copy, Debug, EncodeLabelValue, Eq, Hash, PartialEq)]
enum Announcement {
    Listed,
    Refused,
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
struct AnnouncementLabels {
    outcome: Announcement,
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
    announcements: Family<AnnouncementLabels, Counter>,
    searches: Counter,
    domains: Gauge,
    cards: Gauge,
    listing_bytes: Gauge,
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
        let announcements = Family::<AnnouncementLabels, Counter>::default();
        registry.register(
            "announcements",
            "Announcements of domains: listed or refused",
            announcements.clone(),
        );
        let searches = Counter::default();
        registry.register("searches", "Questions by words", searches.clone());
        let mut gauge = |name, help| {
            let gauge = Gauge::default();
            registry.register(name, help, gauge.clone());
            gauge
        };
        Self {
            domains: gauge("listed_domains", "Domains that are listed now"),
            cards: gauge("listed_cards", "Groups and people that are listed now"),
            listing_bytes: gauge("listing_bytes", "What they weigh, estimated"),
            registry: Mutex::new(registry),
            answers,
            announcements,
            searches,
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

    pub(super) fn announced(&self, listed: bool) {
        let outcome = match listed {
            true => Announcement::Listed,
            false => Announcement::Refused,
        };
        let labels = AnnouncementLabels { outcome };
        self.announcements.get_or_create(&labels).inc();
    }

    pub(super) fn searched(&self) {
        self.searches.inc();
    }

    /// How much is listed now.
    pub(super) fn listed(&self, figures: Figures) {
        let set = |gauge: &Gauge, value| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.domains, figures.domains);
        set(&self.cards, figures.cards);
        set(&self.listing_bytes, figures.bytes);
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
