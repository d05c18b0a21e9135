//! Passwords: Argon2id, away from the async workers, a few at a time.

use std::sync::{Arc, OnceLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::{Semaphore, TryAcquireError};

use super::AccountError;

/// Shortest password, in bytes.
pub const BYTES_MIN: usize = 6;
/// Longest password, in bytes: a bound on what strangers make us hash.
pub const BYTES_MAX: usize = 256;
/// Hashes made at once. Each takes 19 MiB of memory.
const AT_ONCE: usize = 4;
/// Hashes that may wait for their turn; whoever comes then is sent away for now.
const WAITING_MAX: usize = 64;

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Checked when there is no such account, so that the answer takes as long.
    decoy: Arc<str>,
}

impl Passwords {
    /// Ready to work. Takes one hash's time, once in a process.
    pub fn new() -> Result<Self, AccountError> {
        static DECOY: OnceLock<Arc<str>> = OnceLock::new();
        let decoy = match DECOY.get() {
            Some(decoy) => Arc::clone(decoy),
            None => {
                let made = hash("no account has this")?.into();
                Arc::clone(DECOY.get_or_init(|| made))
            }
        };
        Ok(Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(AT_ONCE + WAITING_MAX)),
            decoy,
        })
    }

    /// The hash to store of a new password.
    pub async fn hash(&self, password: String) -> Result<String, AccountError> {
        if !(BYTES_MIN..=BYTES_MAX).contains(&password.len()) {
            return Err(AccountError::Password);
        }
        self.work(move || hash(&password)).await
    }

    /// True when the password fits the stored hash; `None` is an account that does not exist.
    pub async fn verify(
        &self,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, AccountError> {
        if password.len() > BYTES_MAX {
            return Ok(false);
        }
        let decoy = Arc::clone(&self.decoy);
        self.work(move || {
            let text = stored.as_deref().unwrap_or(&decoy);
            let hash =
                PasswordHash::new(text).map_err(|it| AccountError::Internal(it.to_string()))?;
            let fits = Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok();
            Ok(fits && stored.is_some())
        })
        .await
    }

    async fn work<T, F>(&self, work: F) -> Result<T, AccountError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, AccountError> + Send + 'static,
    {
        let fault = |what: &str| AccountError::Internal(format!("password work: {what}"));
        let _place = self.waiting.try_acquire().map_err(|full| match full {
            TryAcquireError::NoPermits => AccountError::Busy,
            TryAcquireError::Closed => fault("closed"),
        })?;
        let _turn = self.turns.acquire().await.map_err(|_| fault("closed"))?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| fault("stopped"))?
    }
}

fn hash(password: &str) -> Result<String, AccountError> {
    let fault = |what: String| AccountError::Internal(what);
    let salt: [u8; 16] = freehold_keys::random().map_err(|it| fault(it.to_string()))?;
    let hash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|it| fault(it.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn a_crowd_is_sent_away_rather_than_kept_waiting() {
        let passwords = Passwords::new().unwrap();
        let _all = passwords.turns.acquire_many(AT_ONCE as u32).await.unwrap();
        let _places = passwords
            .waiting
            .acquire_many((AT_ONCE + WAITING_MAX) as u32)
            .await
            .unwrap();
        let crowd = (0..3).map(|_| passwords.verify("a long secret".to_owned(), None));
        for answer in join_all(crowd).await {
            assert!(matches!(answer, Err(AccountError::Busy)));
        }
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_only() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(
            passwords
                .verify("correct horse".to_owned(), Some(hash.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("wrong horse".to_owned(), Some(hash))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .verify("no account has this".to_owned(), None)
                .await
                .unwrap()
        );
        assert!(passwords.hash("short".to_owned()).await.is_err());
    }
}
