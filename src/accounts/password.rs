//! Passwords: Argon2id, away from the async workers, a few at a time.

use std::sync::{Arc, OnceLock};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};
use parking_lot::Mutex;
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
    memory: Memory,
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
                let made = hash(&Memory::default(), "no account has this")?.into();
                Arc::clone(DECOY.get_or_init(|| made))
            }
        };
        Ok(Self {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(AT_ONCE + WAITING_MAX)),
            memory: Memory::default(),
            decoy,
        })
    }

    /// The hash to store of a new password.
    pub async fn hash(&self, password: String) -> Result<String, AccountError> {
        if !(BYTES_MIN..=BYTES_MAX).contains(&password.len()) {
            return Err(AccountError::Password);
        }
        let memory = self.memory.clone();
        self.work(move || hash(&memory, &password)).await
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
        let (decoy, memory) = (Arc::clone(&self.decoy), self.memory.clone());
        self.work(move || {
            let text = stored.as_deref().unwrap_or(&decoy);
            let hash = PasswordHash::new(text).map_err(internal)?;
            let derived = memory.derive(&password, &hash).map_err(internal)?;
            // Compares in constant time.
            Ok(hash.hash == Some(derived) && stored.is_some())
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

/// Memory to hash in, used again and again: as much as was ever needed at once, which `AT_ONCE` bounds.
/// Given back each time, it stays with the allocator's arena of that thread, and there are many threads.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<Vec<Vec<Block>>>>);

impl Memory {
    /// What a password is with the algorithm, the cost and the salt of a hash.
    fn derive(&self, password: &str, like: &PasswordHash) -> password_hash::Result<Output> {
        let algorithm = Algorithm::try_from(like.algorithm.as_str())?;
        let version = like
            .version
            .map_or(Ok(Version::default()), Version::try_from)?;
        let params = Params::try_from(like)?;
        let salt = like.salt.ok_or(password_hash::Error::SaltInvalid)?;
        let mut buffer = [0; Output::MAX_LENGTH];
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let out = buffer.get_mut(..length);
        let out = out.ok_or(password_hash::Error::OutputSize)?;
        let mut blocks = self.0.lock().pop().unwrap_or_default();
        blocks.resize(params.block_count(), Block::default());
        let argon2 = Argon2::new(algorithm, version, params);
        let done =
            argon2.hash_password_into_with_memory(password.as_bytes(), &salt, out, &mut *blocks);
        self.0.lock().push(blocks);
        done?;
        Ok(Output::new(out)?)
    }
}

fn hash(memory: &Memory, password: &str) -> Result<String, AccountError> {
    let salt: [u8; 16] = freehold_keys::random().map_err(internal)?;
    let argon2 = Argon2::default();
    let mut hash = PasswordHash {
        algorithm: Algorithm::default().ident(),
        version: Some(Version::default().into()),
        params: ParamsString::try_from(argon2.params()).map_err(internal)?,
        salt: Some(Salt::new(&salt).map_err(internal)?),
        hash: None,
    };
    hash.hash = Some(memory.derive(password, &hash).map_err(internal)?);
    Ok(hash.to_string())
}

fn internal(fault: impl ToString) -> AccountError {
    AccountError::Internal(fault.to_string())
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
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

    /// Hashes are kept for years: those made by the library alone fit, and ours fit there.
    #[test]
    fn memory_that_was_used_before_makes_no_difference() {
        let memory = Memory::default();
        for password in ["correct horse", "battery staple"] {
            let ours = hash(&memory, password).unwrap();
            let fits = Argon2::default().verify_password(password.as_bytes(), ours.as_str());
            assert!(fits.is_ok(), "{ours}");
            let theirs =
                Argon2::default().hash_password_with_salt(password.as_bytes(), b"saltsaltsalt");
            let theirs = theirs.unwrap();
            let derived = memory.derive(password, &theirs).unwrap();
            assert_eq!(Some(derived), theirs.hash);
            assert_ne!(memory.derive("another", &theirs).unwrap(), derived);
        }
        assert_eq!(memory.0.lock().len(), 1);
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
