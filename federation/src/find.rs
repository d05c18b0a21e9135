//! Questions for people, on their way to peers.
//!
//! Whoever asks may stop waiting; the question stays on its way. Its answer is kept for a minute for
//! whoever asks the same again, and goes with the first who hears it.

use std::{sync::Arc, time::Duration};

use freehold_proto::wire;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::{
    FindError, FindQuery, LinkError,
    engine::Engine,
    peer::{Peer, Urgency},
};

/// Questions to one peer at once.
const ASKED_MAX: usize = 4;
/// How long an answer nobody has heard yet is kept.
const KEPT: Duration = Duration::from_secs(60);

type Outcome = Result<Option<wire::Person>, LinkError>;

/// A question that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    asked: Instant,
    answer: Shared<BoxFuture<'static, Outcome>>,
}

impl Question {
    fn is_open(&self) -> bool {
        self.answer.peek().is_none()
    }

    fn is_worth_keeping(&self) -> bool {
        match self.answer.peek() {
            None => true,
            Some(Ok(_)) => self.asked.elapsed() < KEPT,
            Some(Err(_)) => false,
        }
    }
}

/// Asks `peer`, and waits for the answer at most for `within`.
pub(crate) async fn find(
    engine: &Arc<Engine>,
    peer: Arc<Peer>,
    query: FindQuery,
    within: Duration,
) -> Result<Option<wire::Person>, FindError> {
    let question = ask(engine, &peer, &query)?;
    let outcome = timeout(within, question.answer)
        .await
        .map_err(|_| FindError::NotYet)?;
    peer.questions.lock().remove(&query);
    Ok(outcome?)
}

fn ask(engine: &Arc<Engine>, peer: &Arc<Peer>, query: &FindQuery) -> Result<Question, FindError> {
    let mut questions = peer.questions.lock();
    questions.retain(|_, question| question.is_worth_keeping());
    if let Some(question) = questions.get(query) {
        return Ok(question.clone());
    }
    if questions.values().filter(|it| it.is_open()).count() >= ASKED_MAX {
        return Err(FindError::Busy);
    }
    let (answer, heard) = oneshot::channel();
    let gone = || Err(LinkError::Ours("shutting down".to_owned()));
    let question = Question {
        asked: Instant::now(),
        answer: heard
            .map(move |it| it.unwrap_or_else(|_| gone()))
            .boxed()
            .shared(),
    };
    questions.insert(query.clone(), question.clone());
    let (engine, peer, query) = (Arc::clone(engine), Arc::clone(peer), query.clone());
    let tasks = engine.tasks.clone();
    tasks.spawn("find", async move {
        let outcome = tokio::select! {
            outcome = carry(&engine, &peer, query) => outcome,
            () = engine.tasks.stopped() => return,
        };
        // Nobody may be waiting any more; the answer then stays with the question.
        drop(answer.send(outcome));
    });
    Ok(question)
}

async fn carry(engine: &Arc<Engine>, peer: &Arc<Peer>, query: FindQuery) -> Outcome {
    let link = engine.link(peer, Urgency::Person).await?;
    let query = match query {
        FindQuery::LocalPart(local) => wire::find_request::Query::LocalPart(local),
        FindQuery::User(user) => wire::find_request::Query::User(user.to_string()),
    };
    let request = wire::FindRequest {
        from: engine.domain().to_string(),
        to: peer.domain.to_string(),
        query: Some(query),
    };
    let person = link.find(request, engine.config.call_timeout).await?;
    check(peer, person)
}

/// A peer may speak for its own people only.
fn check(peer: &Peer, person: Option<wire::Person>) -> Outcome {
    let Some(person) = person else {
        return Ok(None);
    };
    let user = person.user.parse::<freehold_proto::UserId>();
    if user.is_ok_and(|user| *user.domain() == peer.domain) {
        return Ok(Some(person));
    }
    Err(LinkError::Misbehaved {
        peer: peer.domain.clone(),
        what: crate::PeerMisbehaved::BadAnswer("the person found is not its own"),
    })
}
