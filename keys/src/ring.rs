//! The key ring of one domain: its files, its current identity record, its signer.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use freehold_proto::{
    Destination, DomainName, Envelope, GroupRecord, Header, IdentityRecord, KeyId, MessageId,
    Placed, Position, Timestamp, envelope, group, limits, position, record::SigningKey, wire,
};
use prost::Message as _;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    KeyError, RecoveryPhrase, TlsIdentity, VerifiedRecord,
    files::{create_dir, file_error, read_secret, write_secret, write_whole},
    random,
    secret::SecretKey,
};

/// How long a record counts.
const RECORD_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A record with less life than this left is renewed at the next start.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// Signs envelopes and hellos for one domain. Clones share the key.
#[derive(Clone, Debug)]
pub struct Signer {
    domain: DomainName,
    key: Arc<SecretKey>,
    key_id: KeyId,
}

impl Signer {
    fn new(domain: DomainName, key: SecretKey) -> Self {
        Self {
            domain,
            key_id: KeyId::of(&key.public()),
            key: Arc::new(key),
        }
    }

    /// For whom it signs.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// The name of the key.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Seals a payload that *we* composed: gives it a salt, a header and a signature.
    pub fn seal(
        &self,
        to: Destination,
        message_id: MessageId,
        issued_at: Timestamp,
        payload: wire::payload::Kind,
    ) -> Result<Envelope, KeyError> {
        let payload = wire::Payload {
            kind: Some(payload),
        }
        .encode_to_vec();
        let salt = random()?;
        let header = Header {
            from: self.domain.clone(),
            to,
            key_id: self.key_id,
            message_id,
            issued_at,
            payload_hash: Envelope::payload_hash(&salt, &payload),
        }
        .encode();
        Ok(Envelope {
            signature: self.key.sign(envelope::CONTEXT, &header),
            header: header.into(),
            salt,
            payload: payload.into(),
        })
    }

    /// Makes the create record of a new group: its bytes, and our signature on them.
    pub fn found_group(&self) -> Result<(Vec<u8>, [u8; 64]), KeyError> {
        let record = GroupRecord {
            home: self.domain.clone(),
            key_id: self.key_id,
            nonce: random()?,
        }
        .encode();
        let signature = self.key.sign(group::CONTEXT, &record);
        Ok((record, signature))
    }

    /// Gives an entry its place in the log of a group whose home we are. `position` is signed under our
    /// name and key, whatever it says of them.
    #[must_use]
    pub fn place(&self, position: Position) -> Placed {
        let bytes = Position {
            home: self.domain.clone(),
            key_id: self.key_id,
            ..position
        }
        .encode();
        Placed {
            signature: self.key.sign(position::CONTEXT, &bytes),
            position: bytes.into(),
        }
    }

    /// Signs bytes that carry their own context.
    pub(crate) fn sign_raw(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(b"", bytes)
    }
}

/// A domain's keys and its current identity record.
#[derive(Debug)]
pub struct KeyRing {
    dir: PathBuf,
    domain: DomainName,
    root: SecretKey,
    signer: Signer,
    tls: SecretKey,
    token: Zeroizing<[u8; 32]>,
    record: VerifiedRecord,
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
            record: VerifiedRecord::sign(first, &root),
            dir: dir.to_owned(),
            domain: domain.clone(),
            root,
            signer: Signer::new(domain.clone(), signing),
            tls,
            token,
        };
        ring.record = ring.signed(ring.with_tls_key(ring.record.record().clone())?);
        write_secret(
            &dir.join("signing.key"),
            "signing",
            &ring.signer.key.bytes(),
        )?;
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

    /// Reads the ring of `domain` and renews its record when it is about to expire.
    pub fn load(dir: &Path, domain: &DomainName, now: Timestamp) -> Result<Self, KeyError> {
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
        let mut ring = Self {
            dir: dir.to_owned(),
            domain: domain.clone(),
            root,
            signer: Signer::new(domain.clone(), SecretKey::from_bytes(&*secret("signing")?)),
            tls: SecretKey::from_bytes(&*secret("tls")?),
            token: secret("token")?,
            record,
        };
        ring.renew_if_due(now)?;
        Ok(ring)
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

    fn renew_if_due(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if self.record.record().expires > now.plus(RENEW_BEFORE) {
            return Ok(());
        }
        let mut next = self.record.record().clone();
        next.serial += 1;
        next.previous_hash = Some(self.record.hash());
        next.issued = now;
        next.expires = now.plus(RECORD_LIFETIME);
        for key in &mut next.signing_keys {
            key.valid_until = next.expires;
        }
        self.record = self.signed(next);
        self.store_record()
    }

    fn signed(&self, record: IdentityRecord) -> VerifiedRecord {
        VerifiedRecord::sign(record, &self.root)
    }

    fn with_tls_key(&self, mut record: IdentityRecord) -> Result<IdentityRecord, KeyError> {
        let identity = self.tls_identity()?;
        let hash = crate::spki_hash(&identity.certificate).ok_or_else(|| {
            KeyError::Certificate("the certificate just made cannot be read".to_owned())
        })?;
        record.tls_key_hashes = vec![hash];
        Ok(record)
    }

    fn store_record(&self) -> Result<(), KeyError> {
        write_whole(&self.dir.join("identity.record"), &self.record.to_bytes())
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
        signing_keys: vec![SigningKey {
            public_key: signing.public(),
            // A peer's clock may be behind ours.
            valid_from: now.minus(limits::CLOCK_SKEW_MAX),
            valid_until: expires,
        }],
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
