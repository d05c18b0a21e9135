//! The ring on disk, and what others make of what it signs.

use std::os::unix::fs::PermissionsExt as _;

use freehold_proto::{
    RefusalCode,
    hello::{Hello, Role},
};

use super::*;
use crate::{open, prove, spki_hash, verify_proof};

fn now() -> Timestamp {
    Timestamp::from_millis(1_767_323_045_678).unwrap()
}

fn ring(name: &str) -> (tempfile::TempDir, KeyRing) {
    let dir = tempfile::tempdir().unwrap();
    let (ring, _) =
        KeyRing::create(&dir.path().join("keys"), &name.parse().unwrap(), now()).unwrap();
    (dir, ring)
}

fn sealed(ring: &KeyRing) -> Envelope {
    let payload = wire::payload::Kind::DirectMessage(wire::DirectMessage {
        content: "\"hi\"".into(),
        ..Default::default()
    });
    let to = Destination::Domain("beta.test".parse().unwrap());
    ring.signer()
        .seal(to, MessageId::from_bytes([1; 16]), now(), payload)
        .unwrap()
}

#[track_caller]
fn check_refused(envelope: Envelope, ring: &KeyRing, at: Timestamp, code: RefusalCode) {
    assert_eq!(
        open(envelope, ring.record().record(), at).unwrap_err().code,
        code
    );
}

#[test]
fn a_ring_is_the_same_after_a_restart_and_two_rings_share_nothing() {
    let (dir, ring) = ring("alpha.test");
    let again = KeyRing::load(&dir.path().join("keys"), ring.domain(), now()).unwrap();
    assert_eq!(again.record(), ring.record());
    assert_eq!(again.token_secret(), ring.token_secret());
    let (_other_dir, other) = self::ring("alpha.test");
    assert_ne!(
        other.record().root_fingerprint(),
        ring.record().root_fingerprint()
    );
    assert_ne!(other.signer().key_id(), ring.signer().key_id());
}

#[test]
fn keys_are_made_once() {
    let (dir, ring) = ring("alpha.test");
    let again = KeyRing::create(&dir.path().join("keys"), ring.domain(), now());
    assert!(matches!(again, Err(KeyError::Exists(_))));
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let (dir, ring) = ring("alpha.test");
    let path = dir.path().join("keys/signing.key");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let fault = KeyRing::load(&dir.path().join("keys"), ring.domain(), now()).unwrap_err();
    assert!(matches!(fault, KeyError::Exposed { .. }), "{fault}");
}

#[test]
fn keys_of_another_domain_are_refused_by_name() {
    let (dir, _ring) = ring("alpha.test");
    let fault = KeyRing::load(
        &dir.path().join("keys"),
        &"beta.test".parse().unwrap(),
        now(),
    )
    .unwrap_err();
    assert!(fault.to_string().contains("alpha.test"), "{fault}");
}

#[test]
fn a_record_near_its_end_is_renewed_with_the_next_serial() {
    let (dir, ring) = ring("alpha.test");
    let later = now().plus(RECORD_LIFETIME).minus(Duration::from_secs(1));
    let renewed = KeyRing::load(&dir.path().join("keys"), ring.domain(), later).unwrap();
    assert_eq!(renewed.record().record().serial, 2);
    assert_eq!(
        renewed.record().record().previous_hash,
        Some(ring.record().hash())
    );
    assert_eq!(renewed.record().may_follow(ring.record()), Ok(()));
    assert!(ring.record().may_follow(renewed.record()).is_err());
}

#[test]
fn a_record_is_believed_by_its_anchor_only() {
    let (_dir, ring) = ring("alpha.test");
    let bytes = ring.record().to_bytes();
    let anchor = ring.record().root_fingerprint();
    let (alpha, beta) = ("alpha.test".parse().unwrap(), "beta.test".parse().unwrap());
    let verify =
        |bytes: &[u8], domain, anchor, at| VerifiedRecord::verify(bytes, domain, anchor, at);
    assert_eq!(
        verify(&bytes, &alpha, &anchor, now()).unwrap(),
        *ring.record()
    );
    assert!(verify(&bytes, &alpha, &[0; 32], now()).is_err());
    assert!(verify(&bytes, &beta, &anchor, now()).is_err());
    assert!(verify(&bytes, &alpha, &anchor, now().plus(RECORD_LIFETIME)).is_err());
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        assert!(
            verify(&altered, &alpha, &anchor, now()).is_err(),
            "byte {at} may change"
        );
    }
}

#[test]
fn an_envelope_opens_with_its_own_domains_record_only() {
    let ((_a, alpha), (_b, beta)) = (ring("alpha.test"), ring("beta.test"));
    assert!(open(sealed(&alpha), alpha.record().record(), now()).is_ok());
    check_refused(
        sealed(&alpha),
        &beta,
        now(),
        RefusalCode::OriginNotAuthenticated,
    );
    let (_c, impostor) = ring("alpha.test");
    check_refused(sealed(&alpha), &impostor, now(), RefusalCode::UnknownKey);
}

#[test]
fn an_altered_envelope_is_refused_for_the_part_that_was_altered() {
    let (_dir, alpha) = ring("alpha.test");
    let mut envelope = sealed(&alpha);
    envelope.payload = [&*envelope.payload, &[0x42, 0]].concat().into();
    check_refused(envelope, &alpha, now(), RefusalCode::PayloadAltered);
    let mut envelope = sealed(&alpha);
    envelope.salt[0] ^= 1;
    check_refused(envelope, &alpha, now(), RefusalCode::PayloadAltered);
    let mut envelope = sealed(&alpha);
    envelope.signature[0] ^= 1;
    check_refused(envelope, &alpha, now(), RefusalCode::BadSignature);
}

#[test]
fn an_envelope_counts_only_near_its_time() {
    let (_dir, alpha) = ring("alpha.test");
    let too_late = now().plus(limits::ENVELOPE_LIFETIME_MAX + limits::CLOCK_SKEW_MAX * 2);
    check_refused(
        sealed(&alpha),
        &alpha,
        too_late,
        RefusalCode::OutsideLifetime,
    );
    let too_early = now().minus(limits::CLOCK_SKEW_MAX * 2);
    check_refused(
        sealed(&alpha),
        &alpha,
        too_early,
        RefusalCode::OutsideLifetime,
    );
}

#[test]
fn a_proof_holds_for_its_connection_role_and_key_only() {
    let ((_a, alpha), (_b, beta)) = (ring("alpha.test"), ring("beta.test"));
    let hello = Hello {
        role: Role::Initiator,
        from: alpha.domain(),
        to: beta.domain(),
        key_id: alpha.signer().key_id(),
        record_hash: alpha.record().hash(),
        exporter: [5; 32],
    };
    let signature = prove(&hello, &alpha.signer());
    let tls = spki_hash(&alpha.tls_identity().unwrap().certificate).unwrap();
    let record = alpha.record().record();
    let code = |hello: &Hello<'_>, tls: &[u8; 32]| {
        verify_proof(hello, &signature, record, tls, now()).map_err(|it| it.code)
    };
    assert_eq!(code(&hello, &tls), Ok(()));
    let elsewhere = Hello {
        exporter: [6; 32],
        ..hello.clone()
    };
    assert_eq!(code(&elsewhere, &tls), Err(RefusalCode::HelloUnproven));
    let answer = Hello {
        role: Role::Acceptor,
        ..hello.clone()
    };
    assert_eq!(code(&answer, &tls), Err(RefusalCode::HelloUnproven));
    assert_eq!(code(&hello, &[0; 32]), Err(RefusalCode::TlsKeyNotInRecord));
}
