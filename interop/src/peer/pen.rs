//! Signing by hand: whatever a case likes, with a library other than the one that the server checks
//! signatures with.

use std::{fs, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_keys::{TlsIdentity, random};
use freehold_proto::{
    Destination, Envelope, Header, IdentityRecord, KeyId, MessageId, Placed, Position, Timestamp,
    envelope, freshness, position, wire,
};
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::{
    SignatureScheme,
    crypto::aws_lc_rs::sign::any_eddsa_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::{Signer, SigningKey},
};

use super::{ScriptedPeer, broken, now};
use crate::{Failure, Result};

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

/// A secret key that signs anything.
#[derive(Debug)]
pub struct Pen {
    key: Arc<dyn SigningKey>,
    public: [u8; 32],
    pkcs8: PrivatePkcs8KeyDer<'static>,
}

/// All keys of a domain that are used while it runs.
#[derive(Debug)]
pub(super) struct Pens {
    pub(super) root: Pen,
    pub(super) signing: Pen,
    pub(super) tls: Pen,
}

impl Pens {
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let pen = |name: &str| Pen::read(&folder.join(format!("{name}.key")));
        Ok(Self {
            root: pen("root")?,
            signing: pen("signing")?,
            tls: pen("tls")?,
        })
    }
}

impl Pen {
    /// The key in a file that a key ring has written.
    fn read(path: &Path) -> Result<Self> {
        let no = broken("read a key");
        let text = fs::read_to_string(path).map_err(|error| no(&error))?;
        let encoded = text.trim_end().rsplit(' ').next().unwrap_or_default();
        let seed = URL_SAFE_NO_PAD.decode(encoded);
        let seed = seed.map_err(|error| no(&error))?;
        let seed: [u8; 32] = seed.try_into().map_err(|_| no(&"it has not 32 bytes"))?;
        Self::of_seed(&seed)
    }

    /// A key that nobody has published.
    pub fn fresh() -> Result<Self> {
        let seed = random().map_err(|error| broken("make a key")(&error))?;
        Self::of_seed(&seed)
    }

    /// The key with this seed.
    pub fn of_seed(seed: &[u8; 32]) -> Result<Self> {
        Self::of_pkcs8(PrivatePkcs8KeyDer::from([&PKCS8[..], seed].concat()))
    }

    fn of_pkcs8(pkcs8: PrivatePkcs8KeyDer<'static>) -> Result<Self> {
        let no = broken("use a key");
        let key = any_eddsa_type(&pkcs8).map_err(|error| no(&error))?;
        let spki = key
            .public_key()
            .ok_or_else(|| no(&"it has no other half"))?;
        let public = spki.as_ref().last_chunk().copied();
        Ok(Self {
            public: public.ok_or_else(|| no(&"its other half is short"))?,
            key,
            pkcs8,
        })
    }

    /// A certificate with this key that says whatever is put into it.
    pub fn certifies(&self, says: CertificateParams) -> Result<TlsIdentity> {
        let no = broken("make a certificate");
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&self.pkcs8, &PKCS_ED25519);
        let pair = pair.map_err(|error| no(&error))?;
        let certificate = says.self_signed(&pair).map_err(|error| no(&error))?;
        Ok(TlsIdentity {
            certificate: certificate.der().clone(),
            private_key: PrivateKeyDer::Pkcs8(self.pkcs8.clone_key()),
        })
    }

    /// The other half.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// How it is named in headers.
    #[must_use]
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.public)
    }

    /// Gives a word that a record is the latest.
    pub fn vouches(&self, says: &wire::Freshness) -> Result<wire::SignedFreshness> {
        self.vouches_in(says.encode_to_vec())
    }

    /// The same in any bytes.
    pub fn vouches_in(&self, statement: Vec<u8>) -> Result<wire::SignedFreshness> {
        Ok(wire::SignedFreshness {
            signature: self.sign(freshness::CONTEXT, &statement)?.to_vec().into(),
            statement: statement.into(),
        })
    }

    /// A signature over a context and bytes.
    pub fn sign(&self, context: &[u8], bytes: &[u8]) -> Result<[u8; 64]> {
        let no = broken("sign");
        let signer: Option<Box<dyn Signer>> = self.key.choose_scheme(&[SignatureScheme::ED25519]);
        let signer = signer.ok_or_else(|| no(&"the key is of another kind"))?;
        let signature = signer.sign(&[context, bytes].concat());
        let signature = signature.map_err(|error| no(&error))?;
        signature
            .try_into()
            .map_err(|_| Failure::harness("sign", "a signature has 64 bytes"))
    }
}

impl ScriptedPeer {
    /// What signs its envelopes.
    #[must_use]
    pub fn pen(&self) -> &Pen {
        &self.this.pens.signing
    }

    /// The same, to be kept.
    pub fn signing_copy(&self) -> Result<Pen> {
        Pen::of_pkcs8(self.pen().pkcs8.clone_key())
    }

    /// What signs its records only.
    #[must_use]
    pub fn root_pen(&self) -> &Pen {
        &self.this.pens.root
    }

    /// What stands in its certificate only.
    #[must_use]
    pub fn tls_pen(&self) -> &Pen {
        &self.this.pens.tls
    }

    /// The header of an envelope as an honest peer would begin it.
    pub fn header(&self, to: Destination) -> Result<Header> {
        let id = random().map_err(|error| broken("make an id")(&error))?;
        Ok(Header {
            from: self.domain().clone(),
            to,
            key_id: self.pen().id(),
            message_id: MessageId::mint(now(), &id),
            issued_at: now(),
            payload_hash: [0; 32],
        })
    }

    /// Seals a payload of any bytes under any header: its hash is put in.
    pub fn forges(&self, header: Header, payload: Vec<u8>) -> Result<wire::Envelope> {
        forged(self.pen(), envelope::CONTEXT, header, payload)
    }

    /// Places an envelope of any bytes at a position that says anything, of its home and key too.
    pub fn places_at(&self, position: &Position, envelope: wire::Envelope) -> Result<wire::Item> {
        let bytes = position.encode();
        let placed = Placed {
            signature: self.pen().sign(position::CONTEXT, &bytes)?,
            position: bytes.into(),
        };
        Ok(wire::Item {
            position: 0,
            envelope: Some(envelope),
            placed: Some(placed.into()),
        })
    }

    /// From now on shows this record to whoever asks, and names it in its hellos.
    pub fn publishes(&self, record: &wire::IdentityRecord) -> Result<()> {
        let record = record.encode_to_vec();
        let signature = self
            .root_pen()
            .sign(freehold_proto::record::CONTEXT, &record)?;
        self.publishes_bytes(record, signature.to_vec())
    }

    /// The same with any signature. It is said to be the latest as it should be.
    pub fn publishes_bytes(&self, record: Vec<u8>, signature: Vec<u8>) -> Result<()> {
        let serial = wire::IdentityRecord::decode(&*record).map_or(0, |it| it.serial);
        let day = Duration::from_secs(24 * 60 * 60);
        let says = wire::Freshness {
            domain: self.domain().to_string(),
            serial,
            record_hash: IdentityRecord::hash(&record).to_vec().into(),
            key_id: self.pen().id().as_bytes().to_vec().into(),
            issued_ms: now().as_millis(),
            expires_ms: now().plus(day).as_millis(),
        };
        let statement = [says.encode_to_vec(), self.this.beside.lock().clone()].concat();
        *self.this.record.lock() = Some(wire::SignedRecord {
            record: record.into(),
            signature: signature.into(),
            former: Vec::new(),
            freshness: Some(self.pen().vouches_in(statement)?),
        });
        Ok(())
    }

    /// Its own record, to be changed.
    #[must_use]
    pub fn record(&self) -> wire::IdentityRecord {
        self.this.ring.record().record().into()
    }
}

/// An envelope signed by any key for any purpose.
pub fn forged(
    pen: &Pen,
    context: &[u8],
    header: Header,
    payload: Vec<u8>,
) -> Result<wire::Envelope> {
    let salt = [5; 16];
    let header = Header {
        payload_hash: Envelope::payload_hash(&salt, &payload),
        ..header
    };
    let header = header.encode();
    Ok(wire::Envelope {
        signature: pen.sign(context, &header)?.to_vec().into(),
        header: header.into(),
        salt: Bytes::copy_from_slice(&salt),
        payload: payload.into(),
    })
}

/// The time as everybody has it.
#[must_use]
pub fn this_moment() -> Timestamp {
    now()
}
