//! Changing a domain's keys: replaced in good time, revoked when stolen, the root followed by the one
//! on paper (PROTOCOL.md sections 3.2 and 4.1).
//!
//! A new secret is written beside the one in use, then the record that names it, then it takes its
//! place. Cut off in between, the next start goes back or forward: [`complete`].

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use freehold_proto::{DomainName, IdentityRecord, KeyId, Timestamp, limits, record::RevokedKey};
use sha2::{Digest, Sha256};

use crate::{
    KeyError, KeyRing, RecoveryPhrase, Signer, VerifiedRecord,
    files::{create_dir, file_error, new_file, read_secret, write_secret, write_whole},
    random,
    ring::{beginning, tls_hash},
    secret::SecretKey,
};

/// How long a key that was replaced still counts for what it signs: until every process of ours signs
/// with the new one.
const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// Signing keys that a record lists at most. The oldest go; what they signed cannot be checked any more
/// by those who have not stored it.
const SIGNING_KEYS_MAX: usize = 256;
/// Keys with a file each, in the order in which a change takes them up.
const LABELS: [&str; 3] = ["signing", "tls", "root"];

/// What a thief may have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lost {
    /// The signing key.
    pub signing: bool,
    /// The TLS key.
    pub tls: bool,
}

impl KeyRing {
    /// Gives the domain a new signing key and a new TLS key. What the old ones signed counts on.
    pub fn rotate(&mut self, now: Timestamp) -> Result<(), KeyError> {
        self.rotate_behind(None, now)
    }

    /// The same behind a later record of ours than the one on disk, as others have it: for keys that came
    /// back from a backup older than the last change. The root must be the same.
    pub fn rotate_behind(
        &mut self,
        later: Option<&VerifiedRecord>,
        now: Timestamp,
    ) -> Result<(), KeyError> {
        let _lock = lock(&self.dir)?;
        self.reload_locked()?;
        if let Some(later) = later {
            let same = later.record().root_key == self.root.public();
            if !same || later.record().serial < self.record.record().serial {
                return Err(KeyError::NotLater);
            }
            self.record = later.clone();
        }
        let (signing, tls) = (SecretKey::generate()?, SecretKey::generate()?);
        let mut next = self.next_record(now);
        retire(&mut next, now);
        let key = beginning(signing.public(), now, next.expires);
        next.signing_keys.push(key);
        // Links made so far go on; a key that was revoked does not come back.
        let so_far = self.tls_hash()?;
        next.tls_key_hashes.retain(|it| *it == so_far);
        next.tls_key_hashes.insert(0, tls_hash(&self.domain, &tls)?);
        self.change(next, Some(signing), Some(tls))
    }

    /// Replaces keys that somebody else may have. What arrives signed with the old signing key is not
    /// believed any more, whatever time it bears; what was stored before `since` stays.
    pub fn revoke(&mut self, lost: Lost, since: Timestamp, now: Timestamp) -> Result<(), KeyError> {
        let _lock = lock(&self.dir)?;
        self.reload_locked()?;
        let mut next = self.next_record(now);
        let (mut signing, mut tls) = (None, None);
        if lost.signing {
            let new = SecretKey::generate()?;
            revoke_all(&mut next, since, now);
            let key = beginning(new.public(), now, next.expires);
            next.signing_keys.push(key);
            signing = Some(new);
        }
        if lost.tls {
            let new = SecretKey::generate()?;
            next.tls_key_hashes = vec![tls_hash(&self.domain, &new)?];
            tls = Some(new);
        }
        self.change(next, signing, tls)
    }

    /// Makes the key on paper the root, and all other keys anew. `last` is the domain's last record, as
    /// this machine or any peer has it; a thief's record under the stolen root does no harm here. Keys
    /// are made in `dir`, which may be empty or hold the ring so far. With `stolen` all signing keys
    /// so far are revoked from that moment on. The new phrase is shown once and kept nowhere.
    pub fn recover(
        dir: &Path,
        phrase: &RecoveryPhrase,
        last: &VerifiedRecord,
        stolen: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(Self, RecoveryPhrase), KeyError> {
        if last.record().next_root_hash != phrase.commitment() {
            return Err(KeyError::OtherPhrase);
        }
        create_dir(dir)?;
        let _lock = lock(dir)?;
        let next_phrase = RecoveryPhrase::generate()?;
        let (signing, tls) = (SecretKey::generate()?, SecretKey::generate()?);
        let domain = last.record().domain.clone();
        let path = dir.join("token.key");
        let token = match path.exists() {
            true => read_secret(&path, "token")?,
            false => {
                let token = zeroize::Zeroizing::new(random()?);
                write_secret(&path, "token", &token)?;
                token
            }
        };
        let mut ring = Self {
            dir: dir.to_owned(),
            root: phrase.key(),
            signer: Signer::new(domain.clone(), SecretKey::from_bytes(&signing.bytes())),
            tls: SecretKey::from_bytes(&tls.bytes()),
            record: last.clone(),
            token,
            domain,
        };
        let mut next = ring.next_record(now);
        match stolen {
            Some(since) => revoke_all(&mut next, since, now),
            None => retire(&mut next, now),
        }
        next.root_key = ring.root.public();
        next.next_root_hash = next_phrase.commitment();
        let key = beginning(signing.public(), now, next.expires);
        next.signing_keys.push(key);
        next.tls_key_hashes = vec![ring.tls_hash()?];
        ring.record = fitting(VerifiedRecord::sign(next, &ring.root, last.succeeded()))?;
        let secrets = [&signing, &tls, &ring.root];
        for (label, secret) in LABELS.into_iter().zip(secrets) {
            write_secret(&dir.join(format!("{label}.next")), label, &secret.bytes())?;
        }
        ring.store_record()?;
        complete(dir, &ring.domain)?;
        Ok((ring, next_phrase))
    }

    fn tls_hash(&self) -> Result<[u8; 32], KeyError> {
        tls_hash(&self.domain, &self.tls)
    }

    /// Writes new secrets and the record that names them, and takes them up. The caller has locked the
    /// keys.
    fn change(
        &mut self,
        next: IdentityRecord,
        signing: Option<SecretKey>,
        tls: Option<SecretKey>,
    ) -> Result<(), KeyError> {
        let record = fitting(self.signed(next))?;
        for (label, secret) in [("signing", &signing), ("tls", &tls)] {
            if let Some(secret) = secret {
                let path = self.dir.join(format!("{label}.next"));
                write_secret(&path, label, &secret.bytes())?;
            }
        }
        write_whole(&self.dir.join("identity.record"), &record.to_bytes())?;
        complete(&self.dir, &self.domain)?;
        self.reload_locked()
    }
}

/// A record that others can read; there must be room for a freshness statement.
fn fitting(record: VerifiedRecord) -> Result<VerifiedRecord, KeyError> {
    const STATEMENT_BYTES: usize = 1024;
    match record.to_bytes().len() + STATEMENT_BYTES <= limits::RECORD_BYTES_MAX {
        true => Ok(record),
        false => Err(KeyError::RecordTooLarge),
    }
}

/// The signing keys so far count only a little longer for what they sign.
fn retire(record: &mut IdentityRecord, now: Timestamp) {
    for key in &mut record.signing_keys {
        key.valid_until = key.valid_until.min(now.plus(OVERLAP));
    }
    let surplus = (record.signing_keys.len() + 1).saturating_sub(SIGNING_KEYS_MAX);
    record.signing_keys.drain(..surplus);
}

/// The signing keys so far are not to be believed any more.
fn revoke_all(record: &mut IdentityRecord, since: Timestamp, now: Timestamp) {
    retire(record, now);
    for key in &mut record.signing_keys {
        key.valid_until = key.valid_until.min(now);
        let key_id = KeyId::of(&key.public_key);
        if record.revoked_keys.iter().all(|it| it.key_id != key_id) {
            record.revoked_keys.push(RevokedKey {
                key_id,
                invalid_from: since,
            });
        }
    }
    let surplus = record.revoked_keys.len().saturating_sub(SIGNING_KEYS_MAX);
    record.revoked_keys.drain(..surplus);
}

/// Keeps other processes from these keys until it is dropped.
pub(crate) fn lock(dir: &Path) -> Result<File, KeyError> {
    let path = dir.join("lock");
    let open = match new_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => File::open(&path),
        made => made,
    };
    let locked = open.and_then(|file| file.lock().map(|()| file));
    locked.map_err(|source| file_error(&path, source))
}

/// Ends a change of keys that was cut off: a new secret that the record names takes its place, one that
/// no record names goes.
pub(crate) fn complete(dir: &Path, domain: &DomainName) -> Result<(), KeyError> {
    for label in LABELS {
        let (beside, place) = (
            dir.join(format!("{label}.next")),
            dir.join(format!("{label}.key")),
        );
        if !beside.exists() {
            continue;
        }
        let secret = SecretKey::from_bytes(&*read_secret(&beside, label)?);
        let outcome = match is_named(dir, domain, label, &secret)? {
            true => fs::rename(&beside, &place),
            false => fs::remove_file(&beside),
        };
        outcome.map_err(|source| file_error(&beside, source))?;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| file_error(dir, source))?;
    }
    Ok(())
}

/// Does the record on disk, whoever signed it, name this key? Whether the record is good is judged when
/// the ring is read.
fn is_named(
    dir: &Path,
    domain: &DomainName,
    label: &str,
    secret: &SecretKey,
) -> Result<bool, KeyError> {
    use prost::Message as _;
    let path = dir.join("identity.record");
    let Ok(bytes) = fs::read(&path) else {
        return Ok(false);
    };
    let record = freehold_proto::wire::SignedRecord::decode(&*bytes)
        .ok()
        .and_then(|signed| IdentityRecord::decode(&signed.record).ok());
    let Some(record) = record else {
        return Ok(false);
    };
    let public = secret.public();
    Ok(match label {
        "signing" => record.signing_keys.iter().any(|it| it.public_key == public),
        "tls" => record.tls_key_hashes.contains(&tls_hash(domain, secret)?),
        _ => Sha256::digest(record.root_key) == Sha256::digest(public),
    })
}
