//! Asking plugins while a client waits. The first that says anything else than "go on" has said it
//! for all.

use std::time::Duration;

use bytes::Bytes;
use freehold_config::TopicKind;
use freehold_proto::pbx::{self, RespCode, server_msg};
use parking_lot::Mutex;
use prost::Message;
use tokio::{sync::Semaphore, time::Instant};
use tonic::Status;
use tracing::{info, warn};

use super::{Plugin, Plugins, line::Line};

/// Questions to one plugin at once; more are not asked.
const AT_ONCE: usize = 64;
/// A plugin that failed is not asked again before so long.
const REST: Duration = Duration::from_secs(2);
/// How long a client waits for all plugins together: stock clients give up after 5 seconds.
const ALL_WITHIN: Duration = Duration::from_secs(4);

const FIRE_HOSE: &str = "/pbx.Plugin/FireHose";
const FIND: &str = "/pbx.Plugin/Find";

/// What is to become of a request.
#[derive(Debug)]
pub(crate) enum Ruling {
    /// It is done as it is.
    GoOn,
    /// It is forgotten.
    Drop,
    /// It is answered so.
    Answer(pbx::ServerCtrl),
    /// Another is done in its place.
    Replace(Box<pbx::ClientMsg>),
    /// A plugin without which nothing is done does not answer: code and text.
    Refuse(u16, String),
}

/// What is to become of a search.
#[derive(Debug)]
pub(crate) enum Found {
    /// It finds what the domain finds.
    GoOn,
    /// It finds these, which may be none.
    These(Vec<pbx::TopicSub>),
    /// It searches for this instead.
    Instead(String),
    /// As for requests.
    Refuse(u16, String),
}

/// Whether a plugin answers.
#[derive(Debug)]
pub(super) struct Health {
    turns: Semaphore,
    /// It failed, and is left alone until then.
    rests_until: Mutex<Option<Instant>>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            rests_until: Mutex::default(),
        }
    }
}

impl Plugins {
    /// Whether somebody is asked about requests of this kind in such topics.
    pub(crate) fn judge(&self, request: &str, topic: TopicKind) -> bool {
        self.0.iter().any(|it| it.judges(request, topic))
    }

    /// What is to become of a request.
    pub(crate) async fn rule(
        &self,
        kind: &str,
        topic: TopicKind,
        request: pbx::ClientReq,
    ) -> Ruling {
        let (until, message) = (
            Instant::now() + ALL_WITHIN,
            Bytes::from(request.encode_to_vec()),
        );
        for plugin in self.0.iter().filter(|it| it.judges(kind, topic)) {
            let asked = plugin.ask(FIRE_HOSE, message.clone(), until, ruling);
            match asked.await {
                Ok(Ruling::GoOn) => {}
                Ok(other) => return other,
                Err(()) => {
                    if let Some((code, text)) = plugin.config.failure.clone() {
                        return Ruling::Refuse(code, text);
                    }
                }
            }
        }
        Ruling::GoOn
    }

    /// Whether somebody is asked what searches are to find.
    pub(crate) fn search(&self) -> bool {
        self.0.iter().any(|it| it.config.searches)
    }

    /// What a search is to find.
    pub(crate) async fn find(&self, query: pbx::SearchQuery) -> Found {
        let (until, message) = (
            Instant::now() + ALL_WITHIN,
            Bytes::from(query.encode_to_vec()),
        );
        for plugin in self.0.iter().filter(|it| it.config.searches) {
            match plugin.ask(FIND, message.clone(), until, found).await {
                Ok(Found::GoOn) => {}
                Ok(other) => return other,
                Err(()) => {
                    if let Some((code, text)) = plugin.config.failure.clone() {
                        return Found::Refuse(code, text);
                    }
                }
            }
        }
        Found::GoOn
    }
}

impl Plugin {
    fn judges(&self, request: &str, topic: TopicKind) -> bool {
        self.config.requests.contains(&request) && self.config.request_topics.contains(&topic)
    }

    /// Asks, for a bounded time. What fails is logged when it begins and when it ends.
    async fn ask<A: Message + Default, T>(
        &self,
        path: &'static str,
        message: Bytes,
        until: Instant,
        read: impl Fn(A) -> Result<T, &'static str>,
    ) -> Result<T, ()> {
        let now = Instant::now();
        if self.health.rests(now) {
            return Err(());
        }
        let Ok(_turn) = self.health.turns.try_acquire() else {
            return Err(());
        };
        let within = self
            .config
            .timeout
            .min(until.saturating_duration_since(now));
        let answer = self.line.call(path, message, within).await;
        let answer = answer.and_then(|bytes| {
            let answer = A::decode(bytes).map_err(|it| Status::internal(it.to_string()))?;
            read(answer).map_err(Status::internal)
        });
        match answer {
            Ok(answer) => {
                self.health.answered(&self.line);
                Ok(answer)
            }
            Err(fault) => {
                self.health.failed(&self.line, &fault);
                Err(())
            }
        }
    }
}

impl Health {
    fn rests(&self, now: Instant) -> bool {
        self.rests_until.lock().is_some_and(|it| now < it)
    }

    fn answered(&self, line: &Line) {
        if self.rests_until.lock().take().is_some() {
            info!(plugin = %line.name, "a plugin answers again");
        }
    }

    fn failed(&self, line: &Line, fault: &Status) {
        let before = self.rests_until.lock().replace(Instant::now() + REST);
        if before.is_none() {
            let (code, fault) = (fault.code(), fault.message());
            warn!(plugin = %line.name, ?code, fault, "a plugin does not answer as it should");
        }
    }
}

fn ruling(answer: pbx::ServerResp) -> Result<Ruling, &'static str> {
    let status = RespCode::try_from(answer.status).map_err(|_| "an unknown status")?;
    Ok(match status {
        RespCode::Continue => Ruling::GoOn,
        RespCode::Drop => Ruling::Drop,
        RespCode::Respond => match answer.srvmsg.and_then(|it| it.message) {
            Some(server_msg::Message::Ctrl(ctrl)) => Ruling::Answer(ctrl),
            _ => return Err("an answer that is no ctrl"),
        },
        RespCode::Replace => {
            let request = answer.clmsg.ok_or("a request that is none")?;
            Ruling::Replace(Box::new(request))
        }
    })
}

fn found(answer: pbx::SearchFound) -> Result<Found, &'static str> {
    let status = RespCode::try_from(answer.status).map_err(|_| "an unknown status")?;
    Ok(match status {
        RespCode::Continue => Found::GoOn,
        RespCode::Drop => Found::These(Vec::new()),
        RespCode::Respond => Found::These(answer.result),
        RespCode::Replace => Found::Instead(answer.query),
    })
}
