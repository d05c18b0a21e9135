//! Asking the nodes what people search for.

use std::{fmt, sync::Arc, time::Duration};

use freehold_directory::Listed;
use freehold_keys::SignedCard;
use moka::future::Cache;
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};

use crate::server::{REMOTE_WAIT, Server};

/// How long an answer is kept: who searches again gets what came too late the first time.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Answers kept, of at most 50 cards each.
const KEPT_MAX: u64 = 500;
/// Searches that run at once.
const RUNNING_MAX: usize = 32;
/// Longest question, in bytes.
const QUESTION_BYTES_MAX: usize = 200;

/// Answers, and places for those who ask.
pub(crate) struct Search {
    kept: Cache<(Listed, String), Arc<Vec<SignedCard>>>,
    places: Arc<Semaphore>,
}

impl Default for Search {
    fn default() -> Self {
        let kept = Cache::builder();
        Self {
            kept: kept.max_capacity(KEPT_MAX).time_to_live(KEPT_FOR).build(),
            places: Arc::new(Semaphore::new(RUNNING_MAX)),
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
    let digits = |it: &str| it.chars().filter(char::is_ascii_digit).count();
    // A mail address or a telephone number is somebody's secret.
    let private = |it: &&str| it.contains('@') || digits(it) >= 6;
    let said = joined.chars().any(char::is_alphanumeric);
    let short = joined.len() <= QUESTION_BYTES_MAX;
    (said && short && !words.iter().any(private)).then_some(joined)
}

impl Search {
    /// Cards that answer a question, as far as nodes and domains have answered in time. What comes later is
    /// kept for whoever asks again.
    pub(crate) async fn ask(
        &self,
        server: &Arc<Server>,
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
        let (done, told) = oneshot::channel();
        let (asked, kept) = (Arc::clone(server), self.kept.clone());
        server.tasks.spawn("directory search", async move {
            let found = asked.directory.search(key.0, &key.1).await;
            let found = Arc::new(found);
            // That nothing was found proves nothing, and may be otherwise in a moment.
            if !found.is_empty() {
                kept.insert(key, Arc::clone(&found)).await;
            }
            drop(place);
            let _gone = done.send(found);
        });
        let told = timeout(REMOTE_WAIT, told).await;
        told.ok().and_then(Result::ok).unwrap_or_default()
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
        for private in ["ann@mail.test", "+39 011 234567", "0112345678", "--"] {
            check(&["ann", private], (private == "--").then_some("ann --"));
        }
        check(&["--"], None);
        check(&[&"x".repeat(201)], None);
        check(&[], None);
    }
}
