//! Programs beside the server that are told of events and asked about requests: the service
//! `pbx.Plugin` of the protocol, of which the domain is the client (decisions/0031).
//!
//! `line` carries calls; `notices` tells, in order, what has become durable; `questions` asks, while a
//! client waits, for a bounded time. **Boundary:** nothing here knows sessions, topics or the store.
//! **Invariant:** a domain without plugins does nothing here but look at an empty list.

mod line;
mod notices;
mod questions;

use std::sync::Arc;

use bytes::Bytes;
use freehold_config::{Change, TopicKind};
use freehold_federation::Tasks;
use freehold_proto::pbx::{self, Crud};
use prost::Message;

use line::Line;
pub use line::PluginError;
use notices::Notices;
use questions::Health;
pub(crate) use questions::{Found, Ruling};

/// All plugins of a domain, in the order of its configuration.
#[derive(Debug)]
pub struct Plugins(Vec<Plugin>);

/// What a plugin is told of.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Account(pbx::AccountEvent),
    Topic(pbx::TopicEvent),
    Subscription(pbx::SubscriptionEvent),
    /// A message, and in what kind of topic.
    Message(pbx::MessageEvent, TopicKind),
}

#[derive(Debug)]
struct Plugin {
    config: freehold_config::Plugin,
    line: Arc<Line>,
    notices: Notices,
    health: Health,
}

impl Plugins {
    /// As configured. Nobody is called yet.
    pub fn new(configs: Vec<freehold_config::Plugin>, tasks: &Tasks) -> Result<Self, PluginError> {
        let plugin = |config: freehold_config::Plugin| {
            let line = Arc::new(Line::new(&config, tasks)?);
            let notices = Notices::new(Arc::clone(&line));
            Ok(Plugin {
                config,
                line,
                notices,
                health: Health::default(),
            })
        };
        let plugins: Result<Vec<_>, PluginError> = configs.into_iter().map(plugin).collect();
        Ok(Self(plugins?))
    }

    /// Begins to tell them.
    pub fn start(&self, tasks: &Tasks) {
        for plugin in &self.0 {
            plugin.notices.start(tasks);
        }
    }

    /// There are none, so nothing need be made for them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells those who wish to know. Never waits.
    pub(crate) fn tell(&self, event: &Event) {
        for plugin in self.0.iter().filter(|it| it.wants(event)) {
            let (path, message) = event.packed();
            plugin.notices.queue(path, message);
        }
    }

    /// Whether somebody is told of the messages in topics of this kind.
    pub(crate) fn reads(&self, kind: TopicKind) -> bool {
        let reads = |it: &Plugin| it.config.messages.contains(&kind);
        self.0.iter().any(reads)
    }
}

impl Plugin {
    fn wants(&self, event: &Event) -> bool {
        let among = |wanted: &[Change], action| wanted.iter().any(|it| crud(*it) == action);
        match event {
            Event::Account(it) => among(&self.config.accounts, it.action()),
            Event::Topic(it) => among(&self.config.topics, it.action()),
            Event::Subscription(it) => among(&self.config.subscriptions, it.action()),
            Event::Message(_, kind) => self.config.messages.contains(kind),
        }
    }
}

impl Event {
    fn packed(&self) -> (&'static str, Bytes) {
        let (path, bytes) = match self {
            Self::Account(it) => ("/pbx.Plugin/Account", it.encode_to_vec()),
            Self::Topic(it) => ("/pbx.Plugin/Topic", it.encode_to_vec()),
            Self::Subscription(it) => ("/pbx.Plugin/Subscription", it.encode_to_vec()),
            Self::Message(it, _) => ("/pbx.Plugin/Message", it.encode_to_vec()),
        };
        (path, bytes.into())
    }
}

/// A change as it stands on the wire.
pub(crate) fn crud(change: Change) -> Crud {
    match change {
        Change::Create => Crud::Create,
        Change::Update => Crud::Update,
        Change::Delete => Crud::Delete,
    }
}
