//! Requests about a person elsewhere of whom nothing is known yet: their domain is asked beside the
//! session's queue, and what is requested of the same topic meanwhile waits its turn (rules.md 13).

use std::sync::Arc;

use freehold_proto::UserId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::reply::Reply;
use crate::{
    me,
    server::Server,
    topic::{Command, TopicName, hub::Hub},
};

/// Requests that may wait for one person; whoever sends more waits.
const WAITING_MAX: usize = 64;

/// A look-up under way.
#[derive(Debug)]
pub(super) struct Meeting {
    waiting: mpsc::Sender<Command>,
    over: CancellationToken,
}

impl Meeting {
    /// Asks for a person; the task hands on the request that needs them, then those that came after.
    pub(super) fn new(
        server: Arc<Server>,
        name: TopicName,
        other: UserId,
        first: Command,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let over = CancellationToken::new();
        let task = meet(server, name, other, (first, queue), over.clone());
        (Self { waiting, over }, task)
    }

    /// Puts a request behind those that wait. Gives it back when nothing waits any more: then it is
    /// the next.
    pub(super) async fn pass(&self, command: Command) -> Result<(), Command> {
        let Err(refused) = self.waiting.send(command).await else {
            return Ok(());
        };
        self.over.cancelled().await;
        Err(refused.0)
    }

    /// True once nothing waits any more.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }
}

async fn meet(
    server: Arc<Server>,
    name: TopicName,
    other: UserId,
    (first, mut queue): (Command, mpsc::Receiver<Command>),
    over: CancellationToken,
) {
    let met = me::meet(&server, &other).await;
    hand_on(&server, &name, first, &met).await;
    queue.close();
    while let Some(command) = queue.recv().await {
        hand_on(&server, &name, command, &met).await;
    }
    over.cancel();
}

async fn hand_on(
    server: &Arc<Server>,
    name: &TopicName,
    command: Command,
    met: &Result<(), Reply>,
) {
    let Err(refusal) = met else {
        return Hub::send(server, name, command).await;
    };
    if let Command::Request {
        session,
        id,
        name: shown,
        ..
    } = command
    {
        // Nobody was there to attach to. Notes have no id and get no answer.
        session.detach(name.key());
        if id.is_some() {
            let now = server.clock.now();
            session.send(&refusal.clone().into_frame(id, Some(shown), now));
        }
    }
}
