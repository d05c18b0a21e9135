//! What this machine can say by itself: data folder, ports, keys, clock.

use std::{
    fs::{self, File, TryLockError},
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use freehold_config::Config;
use freehold_keys::{KeyRing, fingerprint_to_text, spki_hash};
use freehold_proto::{KeyId, Timestamp};

use super::findings::Findings;

/// A record with less life than this is renewed when the server starts.
const RENEWED_BEFORE: Duration = Duration::from_secs(60 * 24 * 60 * 60);

pub(super) fn data_dir(config: &Config, findings: &mut Findings) {
    let dir = config.data_dir.display();
    let probe = config.data_dir.join(".freehold-check");
    let written =
        fs::write(&probe, b"written by freehold check").and_then(|()| fs::remove_file(&probe));
    match written {
        Ok(()) => findings.right(format_args!("The data folder {dir} can be written.")),
        Err(error) => {
            findings.wrong(format_args!(
                "The data folder {dir} cannot be written: {error}."
            ));
        }
    }
    free_space(config, findings);
    let Some(web_root) = &config.clients.web_root else {
        return;
    };
    if !web_root.join("index.html").is_file() {
        let web_root = web_root.display();
        findings.wrong(format_args!(
            "clients.web_root {web_root} holds no web app (no index.html)."
        ));
    }
}

fn free_space(config: &Config, findings: &mut Findings) {
    const MIB: u64 = 1024 * 1024;
    match config.store.free_space() {
        Ok((available, floor)) if available > floor => findings.right(format_args!(
            "{} MiB are free for data; the server stops writing below {} MiB.",
            available / MIB,
            floor / MIB
        )),
        Ok((available, floor)) => findings.wrong(format_args!(
            "Only {} MiB are free for data, and the server stops writing below {} MiB.",
            available / MIB,
            floor / MIB
        )),
        Err(error) => findings.wrong(format_args!("The free space cannot be told: {error}.")),
    }
}

pub(super) fn ports(config: &Config, findings: &mut Findings) {
    let running = is_running(config);
    if running {
        findings.note("A server is running on this data folder.");
    }
    port("clients.listen", config.clients.listen, running, findings);
    port(
        "federation.listen",
        config.federation.listen,
        running,
        findings,
    );
}

fn port(key: &str, address: SocketAddr, running: bool, findings: &mut Findings) {
    if address.port() == 0 {
        findings.note(format_args!(
            "{key} {address} takes another port at each start."
        ));
        return;
    }
    match TcpListener::bind(address) {
        Ok(_) if running => {
            findings.wrong(format_args!(
                "{key} {address} is free although a server is running: it uses other settings."
            ));
        }
        Ok(_) => findings.right(format_args!("{key} {address} is free.")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && running => {
            findings.right(format_args!(
                "{key} {address} is in use, while the server is running."
            ));
        }
        Err(error) => {
            findings.wrong(format_args!(
                "{key} {address} cannot be listened on: {error}."
            ));
        }
    }
}

/// A running server holds the lock of its store.
pub(super) fn is_running(config: &Config) -> bool {
    let lock = File::open(config.data_dir.join("store").join("LOCK"));
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

pub(super) fn keys(keys: &KeyRing, now: Timestamp, findings: &mut Findings) {
    let record = keys.record().record();
    if now < record.issued {
        findings.wrong(format_args!(
            "The clock says {now}, but the identity record was made later, at {}: set the clock.",
            record.issued
        ));
        return;
    }
    findings.right(format_args!("The clock says {now}, which can be."));
    if record.expires <= now.plus(RENEWED_BEFORE) {
        findings.note(format_args!(
            "The identity record expires at {}: the server renews it while it runs.",
            record.expires
        ));
    }
    let certificate = keys
        .tls_identity()
        .ok()
        .and_then(|it| spki_hash(&it.certificate));
    if !certificate.is_some_and(|it| record.tls_key_hashes.contains(&it)) {
        findings.wrong("The TLS key is not the one in the identity record.");
    } else if record
        .signing_key(keys.signer().key_id(), record.issued)
        .is_none()
    {
        findings.wrong("The signing key is not the one in the identity record.");
    } else {
        let (serial, expires) = (record.serial, record.expires);
        findings.right(format_args!(
            "The keys fit the identity record, number {serial}, valid until {expires}."
        ));
        remedies(keys, findings);
    }
}

/// What the operator can do about keys, when it may be needed.
fn remedies(keys: &KeyRing, findings: &mut Findings) {
    let record = keys.record().record();
    let current = keys.signer().key_id();
    if let Some(key) = record
        .signing_keys
        .iter()
        .find(|it| KeyId::of(&it.public_key) == current)
    {
        findings.right(format_args!(
            "Messages are signed with {current} since {}. `freehold keys rotate` replaces it without loss; if \
             somebody else may have it, `freehold keys revoke`.",
            key.valid_from
        ));
    }
    findings.right(format_args!(
        "If all keys are lost or the root key is stolen, the recovery phrase on paper and `freehold keys recover` \
         bring the domain back; its key is {}.",
        fingerprint_to_text(&record.next_root_hash)
    ));
}
