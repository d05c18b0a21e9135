//! The key ring of one domain: its files, its current identity record, its signer.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use freehold_proto::{DomainName, IdentityRecord, KeyId, Timestamp, limits, record::SigningKey};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    KeyError, RecoveryPhrase, Signer, TlsIdentity, VerifiedRecord,
    files::{create_dir, file_error, read_secret, write_secret, write_whole},
    random, rotation,
    secret::SecretKey,
};

/// How long a record counts.
const RECORD_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A record with less life than this left is renewed at the next start.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// A domain's keys and its current identity record.
#[derive(Debug)]
pub struct KeyRing {
    pub(crate) dir: PathBuf,
    pub(crate) domain: DomainName,
    pub(crate) root: SecretKey,
    pub(crate) signer: Signer,
    pub(crate) tls: SecretKey,
    pub(crate) token: Zeroizing<[u8; 32]>,
    pub(crate) record: VerifiedRecord,
}

impl KeyRing {
    /// Makes all keys of a new domain in `dir` and its first record. The phrase is shown once and
    /// kept nowhere.
    pub fn create(
        dir: &Path,
        domain: &DomainName,
        now: Timestamp,
    ) -> Result<(Self, RecoveryPhrase), KeyError> {
        if Self::exists(dir) {
            return Err(KeyError::Exists(dir.to_owned()));
        }
        create_dir(dir)?;
        let phrase = RecoveryPhrase::generate()?;
        let (root, signing, tls) = (
            SecretKey::generate()?,
            SecretKey::generate()?,
            SecretKey::generate()?,
        );
        let token = Zeroizing::new(random()?);
        let first = first_record(domain, &root, &signing, &phrase, now);
        let mut ring = Self {
            record: VerifiedRecord::sign(first, &root, Vec::new()),
            dir: dir.to_owned(),
            domain: domain.clone(),
            root,
            signer: Signer::new(domain.clone(), signing),
            tls,
            token,
        };
        ring.record = ring.signed(ring.with_tls_key(ring.record.record().clone())?);
        let signing = ring.signer.pair().key.bytes();
        write_secret(&dir.join("signing.key"), "signing", &signing)?;
        write_secret(&dir.join("tls.key"), "tls", &ring.tls.bytes())?;
        write_secret(&dir.join("token.key"), "token", &ring.token)?;
        ring.store_record()?;
        // The root comes last: a ring with a root file is complete.
        write_secret(&dir.join("root.key"), "root", &ring.root.bytes())?;
        Ok((ring, phrase))
    }

    /// True when `dir` holds a complete ring.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        dir.join("root.key").exists()
    }

    /// Reads the ring of `domain`, ends a change of keys that was cut off, and renews the record when it
    /// is about to expire.
    pub fn load(dir: &Path, domain: &DomainName, now: Timestamp) -> Result<Self, KeyError> {
        let mut ring = Self::read(dir, domain)?;
        ring.renew_if_due(now)?;
        Ok(ring)
    }

    /// Reads the ring of `domain` to look at it: ends a change of keys that was cut off, and renews nothing.
    pub fn read(dir: &Path, domain: &DomainName) -> Result<Self, KeyError> {
        let _lock = rotation::lock(dir)?;
        rotation::complete(dir, domain)?;
        Self::read_locked(dir, domain)
    }

    fn read_locked(dir: &Path, domain: &DomainName) -> Result<Self, KeyError> {
        let secret = |name: &str| read_secret(&dir.join(format!("{name}.key")), name);
        let root = SecretKey::from_bytes(&*secret("root")?);
        let path = dir.join("identity.record");
        let bytes = fs::read(&path).map_err(|source| file_error(&path, source))?;
        let anchor = Sha256::digest(root.public()).into();
        let record = match VerifiedRecord::verify_stored(&bytes, domain, &anchor) {
            Ok(record) => record,
            Err(crate::RecordFault::OtherDomain { found, expected }) => {
                return Err(KeyError::OtherDomain {
                    dir: dir.to_owned(),
                    found: found.to_string(),
                    expected: expected.to_string(),
                });
            }
            Err(fault) => {
                return Err(KeyError::Damaged {
                    path,
                    why: fault.to_string(),
                });
            }
        };
        Ok(Self {
            dir: dir.to_owned(),
            domain: domain.clone(),
            root,
            signer: Signer::new(domain.clone(), SecretKey::from_bytes(&*secret("signing")?)),
            tls: SecretKey::from_bytes(&*secret("tls")?),
            token: secret("token")?,
            record,
        })
    }

    /// The ring as it is on disk now, renewed if it was due, where that is another than this one.
    pub fn changed(&self, now: Timestamp) -> Result<Option<Self>, KeyError> {
        let found = Self::load(&self.dir, &self.domain, now)?;
        Ok((found.record.hash() != self.record.hash()).then_some(found))
    }

    /// Goes over to another ring of the same domain. Signers that this one has handed out sign with its key
    /// from then on.
    pub fn take_up(&mut self, found: Self) {
        self.signer.take_over(&found.signer);
        let signer = self.signer.clone();
        *self = Self { signer, ..found };
    }

    /// Reads anew what the caller has locked.
    pub(crate) fn reload_locked(&mut self) -> Result<(), KeyError> {
        let found = Self::read_locked(&self.dir, &self.domain)?;
        self.take_up(found);
        Ok(())
    }

    /// The record with our word, given now, that it is the latest.
    #[must_use]
    pub fn fresh_record(&self, now: Timestamp) -> VerifiedRecord {
        self.signer.vouch(&self.record, now)
    }

    /// Whose keys these are.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// Signs envelopes and hellos.
    #[must_use]
    pub fn signer(&self) -> Signer {
        self.signer.clone()
    }

    /// The current identity record.
    #[must_use]
    pub fn record(&self) -> &VerifiedRecord {
        &self.record
    }

    /// The certificate for links.
    pub fn tls_identity(&self) -> Result<TlsIdentity, KeyError> {
        TlsIdentity::new(&self.domain, &self.tls)
    }

    /// The secret under which log-in tokens are made; it outlives restarts, as the tokens must.
    #[must_use]
    pub fn token_secret(&self) -> &[u8; 32] {
        &self.token
    }

    /// Gives the record another year of life when it is about to expire, or when it is from a time when our
    /// clock was far ahead: nobody believes that one.
    fn renew_if_due(&mut self, now: Timestamp) -> Result<(), KeyError> {
        let due = |ring: &Self| {
            let record = ring.record.record();
            record.expires <= now.plus(RENEW_BEFORE)
                || record.issued > now.plus(limits::CLOCK_SKEW_MAX)
        };
        if !due(self) {
            return Ok(());
        }
        // Somebody else may have changed something in the meantime.
        let _lock = rotation::lock(&self.dir)?;
        self.reload_locked()?;
        if !due(self) {
            return Ok(());
        }
        let current = self.signer.key_id();
        let mut next = self.next_record(now);
        for key in &mut next.signing_keys {
            if KeyId::of(&key.public_key) == current {
                key.valid_until = next.expires;
            }
        }
        self.record = self.signed(next);
        self.store_record()
    }

    /// What follows the present record.
    pub(crate) fn next_record(&self, now: Timestamp) -> IdentityRecord {
        let last = self.record.record();
        IdentityRecord {
            serial: last.serial + 1,
            previous_hash: Some(self.record.hash()),
            issued: now,
            expires: now.plus(RECORD_LIFETIME),
            ..last.clone()
        }
    }

    pub(crate) fn signed(&self, record: IdentityRecord) -> VerifiedRecord {
        VerifiedRecord::sign(record, &self.root, self.record.former())
    }

    fn with_tls_key(&self, mut record: IdentityRecord) -> Result<IdentityRecord, KeyError> {
        record.tls_key_hashes = vec![tls_hash(&self.domain, &self.tls)?];
        Ok(record)
    }

    pub(crate) fn store_record(&self) -> Result<(), KeyError> {
        write_whole(&self.dir.join("identity.record"), &self.record.to_bytes())
    }
}

/// How a TLS key stands in a record.
pub(crate) fn tls_hash(domain: &DomainName, key: &SecretKey) -> Result<[u8; 32], KeyError> {
    let identity = TlsIdentity::new(domain, key)?;
    crate::spki_hash(&identity.certificate)
        .ok_or_else(|| KeyError::Certificate("the certificate just made cannot be read".to_owned()))
}

/// A signing key as it begins to count. A peer's clock may be behind ours.
pub(crate) fn beginning(public_key: [u8; 32], now: Timestamp, until: Timestamp) -> SigningKey {
    SigningKey {
        public_key,
        valid_from: now.minus(limits::CLOCK_SKEW_MAX),
        valid_until: until,
    }
}

fn first_record(
    domain: &DomainName,
    root: &SecretKey,
    signing: &SecretKey,
    phrase: &RecoveryPhrase,
    now: Timestamp,
) -> IdentityRecord {
    let expires = now.plus(RECORD_LIFETIME);
    IdentityRecord {
        domain: domain.clone(),
        serial: 1,
        previous_hash: None,
        root_key: root.public(),
        next_root_hash: phrase.commitment(),
        signing_keys: vec![beginning(signing.public(), now, expires)],
        revoked_keys: Vec::new(),
        tls_key_hashes: Vec::new(),
        endpoints: Vec::new(),
        version_min: limits::VERSION,
        version_max: limits::VERSION,
        issued: now,
        expires,
        incarnation: 1,
    }
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
