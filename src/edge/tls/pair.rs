//! A certificate and its key, as they stand in two files.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use freehold_config::TlsFiles;
use freehold_proto::Timestamp;
use rustls::{
    CertificateError, InconsistentKeys, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject as _},
    },
    server::ParsedCertificate,
    sign::{CertifiedKey, SingleCertAndKey},
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Longest file, in bytes. A chain of three takes about 6 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Behind the end of every certificate: the last second of the year 9999, since 1970.
const NEVER: Duration = Duration::from_secs(253_402_300_799);
/// The keys of the configuration.
const CERTIFICATE: &str = "clients.tls_certificate";
const KEY: &str = "clients.tls_key";

/// Why clients cannot be served over TLS. The operator's to mend, but for the last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{} ({setting}) cannot be read: {source}", path.display())]
    Unread {
        /// Which.
        path: PathBuf,
        /// The key of the configuration that names it.
        setting: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} ({setting}) cannot be used: {why}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// The key of the configuration that names it.
        setting: &'static str,
        /// What is wrong.
        why: String,
    },
    /// They are not of each other.
    #[error(
        "the key in {} ({KEY}) is not that of the certificate in {} ({CERTIFICATE})",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The file with the key.
        key: PathBuf,
        /// The file with the certificate.
        certificate: PathBuf,
    },
    /// The library does not do what we ask of it.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// A certificate with those that lead to its authority, and its key; they fit.
pub struct Pair {
    leaf: CertificateDer<'static>,
    pub(super) shown: Arc<SingleCertAndKey>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair(..)")
    }
}

/// What stood in both files, to tell whether it has changed since.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// A hash of both.
    Text([u8; 32]),
    /// They could not be read.
    Fault(String),
}

impl Pair {
    /// Reads both files. Blocks.
    pub fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Self::look(files).0
    }

    /// The same, and what was seen. Blocks.
    pub(super) fn look(files: &TlsFiles) -> (Result<Self, TlsError>, Seen) {
        let texts = text(&files.certificate, CERTIFICATE)
            .and_then(|certificate| Ok((certificate, text(&files.key, KEY)?)));
        match texts {
            Ok((certificate, key)) => {
                let hash = Sha256::new()
                    .chain_update((certificate.len() as u64).to_be_bytes())
                    .chain_update(&certificate)
                    .chain_update(&key);
                let seen = Seen::Text(hash.finalize().into());
                (Self::of(files, &certificate, &key), seen)
            }
            Err(fault) => {
                let seen = Seen::Fault(fault.to_string());
                (Err(fault), seen)
            }
        }
    }

    fn of(files: &TlsFiles, certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let unusable = |path: &Path, setting, why: String| TlsError::Unusable {
            path: path.to_owned(),
            setting,
            why,
        };
        let wrong_chain = |why| unusable(&files.certificate, CERTIFICATE, why);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
        let chain = chain.map_err(|fault| wrong_chain(in_words(&fault, "certificate")))?;
        let Some(leaf) = chain.first().cloned() else {
            return Err(wrong_chain(in_words(
                &pem::Error::NoItemsFound,
                "certificate",
            )));
        };
        ParsedCertificate::try_from(&leaf).map_err(|fault| wrong_chain(fault.to_string()))?;
        let wrong_key = |why| unusable(&files.key, KEY, why);
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|fault| wrong_key(in_words(&fault, "private key")))?;
        let provider = aws_lc_rs::default_provider();
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|fault| wrong_key(fault.to_string()))?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                Err(TlsError::Mismatch {
                    key: files.key.clone(),
                    certificate: files.certificate.clone(),
                })
            }
            // Unknown: a kind of key that does not tell. The handshake will.
            Err(rustls::Error::InconsistentKeys(_)) | Ok(()) => Ok(Self {
                leaf,
                shown: Arc::new(SingleCertAndKey::from(pair)),
            }),
            Err(fault) => Err(wrong_chain(fault.to_string())),
        }
    }

    /// When the certificate ends. Nothing where it is not one that can tell.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        // The library tells it to those for whom it has ended.
        let leaf = ParsedCertificate::try_from(&self.leaf).ok()?;
        let judged = verify_server_cert_signed_by_trust_anchor(
            &leaf,
            &RootCertStore::empty(),
            &[],
            UnixTime::since_unix_epoch(NEVER),
            aws_lc_rs::default_provider()
                .signature_verification_algorithms
                .all,
        );
        match judged {
            Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after,
                ..
            })) => {
                let millis = i64::try_from(not_after.as_secs()).ok()?.checked_mul(1000)?;
                Timestamp::from_millis(millis).ok()
            }
            _ => None,
        }
    }

    /// Whether the certificate is for this host: a name or an IP address.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let leaf = ParsedCertificate::try_from(&self.leaf);
        let name = ServerName::try_from(host);
        leaf.is_ok_and(|leaf| name.is_ok_and(|it| verify_server_name(&leaf, &it).is_ok()))
    }
}

/// The permission bits of the file with the key, if everybody on this machine may read or change it. A
/// group may: that is how a server that is not root reads what another program renews.
#[must_use]
pub fn exposed(files: &TlsFiles) -> Option<u32> {
    let mode = fs::metadata(&files.key).ok()?.permissions().mode() & 0o777;
    (mode & 0o007 != 0).then_some(mode)
}

fn text(path: &Path, setting: &'static str) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let read = || {
        let mut text = Zeroizing::new(Vec::new());
        File::open(path)?
            .take(FILE_BYTES_MAX)
            .read_to_end(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| TlsError::Unread {
        path: path.to_owned(),
        setting,
        source,
    })
}

fn in_words(fault: &pem::Error, what: &str) -> String {
    match fault {
        pem::Error::NoItemsFound => format!("it holds no {what} in PEM form"),
        pem::Error::MissingSectionEnd { .. } => "it breaks off".to_owned(),
        // The library would show the line, which may be of the key.
        _ => "it is not in PEM form".to_owned(),
    }
}
