//! How much people may do in a second, and networks before anybody there has logged in (decision 0049).
//! What is over a limit is told so by name, and takes nothing.

use std::{sync::Arc, time::Duration};

use freehold_federation::{Limiter, Over};
use freehold_proto::{Clock, UserId};
use freehold_store::TopicKey;
use serde_json::json;
use tokio::time::interval;
use tracing::warn;

use crate::{
    accounts::attempts::Origin,
    edge::reply::{self, Reply},
    server::Server,
};

/// How often it is looked who has to be remembered.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Something is over a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooMuch {
    /// Which limit, as the configuration calls it.
    pub limit: &'static str,
    /// After how long there is room, if nothing else comes.
    pub wait: Duration,
}

impl From<TooMuch> for Reply {
    fn from(it: TooMuch) -> Self {
        let wait = u64::try_from(it.wait.as_millis()).unwrap_or(u64::MAX);
        let params = json!({"what": "limit", "limit": it.limit, "retry_after_ms": wait.max(1)});
        Self::with(reply::UNAVAILABLE, params)
    }
}

/// What is counted.
#[derive(Debug)]
pub struct Limits {
    user_messages: Limiter<UserId>,
    user_requests: Limiter<UserId>,
    topic_messages: Limiter<TopicKey>,
    prefix_sessions: Limiter<Origin>,
    prefix_requests: Limiter<Origin>,
}

impl Limits {
    /// As configured, by this clock.
    #[must_use]
    pub fn new(rates: freehold_config::Limits, clock: &Arc<dyn Clock>) -> Self {
        Self {
            user_messages: Limiter::new(rates.user_messages, clock),
            user_requests: Limiter::new(rates.user_requests, clock),
            topic_messages: Limiter::new(rates.topic_messages, clock),
            prefix_sessions: Limiter::new(rates.prefix_sessions, clock),
            prefix_requests: Limiter::new(rates.prefix_requests, clock),
        }
    }

    /// Somebody, of this domain or another, writes a message.
    pub fn user_message(&self, user: &UserId) -> Result<(), TooMuch> {
        named("user_messages", self.user_messages.take(user))
    }

    /// Somebody asks for something else.
    pub fn user_request(&self, user: &UserId) -> Result<(), TooMuch> {
        named("user_requests", self.user_requests.take(user))
    }

    /// One of our people writes a message here, and may.
    pub fn topic_message(&self, topic: TopicKey) -> Result<(), TooMuch> {
        named("topic_messages", self.topic_messages.take(&topic))
    }

    /// Somebody opens a session. Where they come from may not be known.
    pub fn session(&self, origin: Option<Origin>) -> Result<(), TooMuch> {
        let taken = origin.map_or(Ok(()), |it| self.prefix_sessions.take(&it));
        named("prefix_sessions", taken)
    }

    /// Somebody who is not known asks for something.
    pub fn stranger_request(&self, origin: Option<Origin>) -> Result<(), TooMuch> {
        let taken = origin.map_or(Ok(()), |it| self.prefix_requests.take(&it));
        named("prefix_requests", taken)
    }

    fn sweep(&self) {
        self.user_messages.sweep();
        self.user_requests.sweep();
        self.topic_messages.sweep();
        self.prefix_sessions.sweep();
        self.prefix_requests.sweep();
        for (limit, times) in [
            ("user_messages", self.user_messages.take_held_back()),
            ("user_requests", self.user_requests.take_held_back()),
            ("topic_messages", self.topic_messages.take_held_back()),
            ("prefix_sessions", self.prefix_sessions.take_held_back()),
            ("prefix_requests", self.prefix_requests.take_held_back()),
        ] {
            if times > 0 {
                warn!(limit, times, "clients were held back");
            }
        }
    }
}

fn named(limit: &'static str, taken: Result<(), Over>) -> Result<(), TooMuch> {
    taken.map_err(|Over { wait }| TooMuch { limit, wait })
}

/// Forgets who has been quiet, and says in the log what was held back, until the domain stops.
pub(crate) async fn sweep(server: Arc<Server>) {
    let stop = server.tasks.stop_token();
    let mut ticks = interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                server.limits.sweep();
                server.search.sweep();
            }
            () = stop.cancelled() => return,
        }
    }
}
