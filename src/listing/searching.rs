//! Asking the nodes what people search for.

use std::{fmt, sync::Arc, time::Duration};

use freehold_directory::{Limiter, Listed, Rate};
use freehold_keys::SignedCard;
use freehold_proto::{Clock, DomainName, UserId};
use futures_util::future::join_all;
use moka::future::Cache;
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use crate::server::Server;

/// How long an answer is kept: who searches again gets what came too late the first time.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Answers kept, of at most 50 cards each.
const KEPT_MAX: u64 = 500;
/// Questions that are asked at once.
const RUNNING_MAX: usize = 32;
/// Domains whose cards are checked at once.
const CHECKS_MAX: usize = 64;
/// What is shown is what came until then: less than a client waits.
const SHOWN_WITHIN: Duration = Duration::from_millis(2700);
/// Questions of one person, whatever they search: two for each search.
const QUESTIONS: (u32, u32) = (2, 40);
/// Longest question, in bytes.
const QUESTION_BYTES_MAX: usize = 200;
/// Digits that may be a telephone number.
const DIGITS_MIN: usize = 6;

/// Answers, and places for those who ask.
pub(crate) struct Search {
    kept: Cache<(Listed, String), Arc<Vec<SignedCard>>>,
    questions: Limiter<UserId>,
    places: Arc<Semaphore>,
    checks: Arc<Semaphore>,
}

impl Search {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let kept = Cache::builder();
        Self {
            kept: kept.max_capacity(KEPT_MAX).time_to_live(KEPT_FOR).build(),
            questions: Limiter::new(Rate::new(QUESTIONS.0, QUESTIONS.1), clock),
            places: Arc::new(Semaphore::new(RUNNING_MAX)),
            checks: Arc::new(Semaphore::new(CHECKS_MAX)),
        }
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search").finish_non_exhaustive()
    }
}

/// The words as nodes are asked them; nothing where they are too long, or nobody but us should see them.
pub(crate) fn question<'a>(words: impl Iterator<Item = &'a str>) -> Option<String> {
    let words: Vec<&str> = words.collect();
    let joined = words.join(" ").to_lowercase();
    // A mail address or a telephone number is somebody's secret, however it is spaced.
    let digits = joined.chars().filter(|it| it.is_numeric()).count();
    let private = joined.contains('@') || digits >= DIGITS_MIN;
    let said = joined.chars().any(char::is_alphanumeric);
    let short = joined.len() <= QUESTION_BYTES_MAX;
    (said && short && !private).then_some(joined)
}

impl Search {
    /// Cards that answer somebody's question, as far as nodes and domains have answered in time. What comes
    /// later is kept for whoever asks again.
    pub(crate) async fn ask(
        &self,
        server: &Arc<Server>,
        asker: &UserId,
        what: Listed,
        question: &str,
    ) -> Arc<Vec<SignedCard>> {
        let key = (what, question.to_owned());
        if let Some(kept) = self.kept.get(&key).await {
            return kept;
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Arc::default();
        };
        if self.questions.take(asker).is_err() {
            return Arc::default();
        }
        let (found, mut told) = mpsc::channel(CHECKS_MAX);
        let asked = Arc::clone(server);
        server.tasks.spawn("directory search", async move {
            look(&asked, (what, key.1), found).await;
            drop(place);
        });
        let until = Instant::now() + SHOWN_WITHIN;
        let mut cards = Vec::new();
        while let Ok(Some(more)) = timeout_at(until, told.recv()).await {
            cards.extend::<Vec<_>>(more);
        }
        Arc::new(cards)
    }

    /// Forgets who has asked nothing lately.
    pub(crate) fn sweep(&self) {
        self.questions.sweep();
    }
}

/// Asks the nodes, checks what each domain has announced, and keeps it; whoever waits hears of each domain
/// by itself.
async fn look(
    server: &Arc<Server>,
    (what, question): (Listed, String),
    found: mpsc::Sender<Vec<SignedCard>>,
) {
    let wanted = |it: &DomainName| *it != server.us && server.permits(it);
    let listed = server.directory.listed(what, &question, wanted).await;
    let checks = listed.into_iter().map(|(domain, cards)| {
        let (found, server) = (found.clone(), Arc::clone(server));
        async move {
            let Ok(_place) = server.search.checks.try_acquire() else {
                return Vec::new();
            };
            let cards = server.directory.believed(&domain, cards).await;
            // Nobody waits any more.
            let _late = found.send(cards.clone()).await;
            cards
        }
    });
    let cards = join_all(checks).await.concat();
    // That nothing was found proves nothing, and may be otherwise in a moment.
    if !cards.is_empty() {
        let key = (what, question);
        server.search.kept.insert(key, Arc::new(cards)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], expected: Option<&str>) {
        let asked = question(words.iter().copied());
        assert_eq!(asked.as_deref(), expected, "{words:?}");
    }

    #[test]
    fn nodes_hear_words_and_no_addresses_or_numbers() {
        check(&["Bicycle", "Shop"], Some("bicycle shop"));
        check(&["1984"], Some("1984"));
        for private in ["ann@mail.test", "+39 011 234567", "0112345678", "٠١١٢٣٤٥٦"] {
            check(&["ann", private], None);
        }
        check(&["011", "23", "45", "67"], None);
        check(&["--"], None);
        check(&[&"x".repeat(201)], None);
        check(&[], None);
    }
}
