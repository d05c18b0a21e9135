//! The ring on disk, and what others make of what it signs.

use std::os::unix::fs::PermissionsExt as _;

use freehold_proto::{
    ClientDocument, Destination, Entrance, Envelope, MessageId, RefusalCode, Registration,
    hello::{Hello, Role},
    wire,
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{Lost, RecordFault, SignedClientDocument, open, prove, spki_hash, verify_proof};

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
    let bytes = ring.fresh_record(now()).to_bytes();
    let anchor = ring.record().root_fingerprint();
    let (alpha, beta) = ("alpha.test".parse().unwrap(), "beta.test".parse().unwrap());
    let verify =
        |bytes: &[u8], domain, anchor, at| VerifiedRecord::verify(bytes, domain, anchor, at);
    assert_eq!(
        verify(&bytes, &alpha, &anchor, now()).unwrap(),
        ring.fresh_record(now())
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

/// Believed by somebody who knows `known`, when it comes now.
fn follows(ring: &KeyRing, known: &VerifiedRecord, at: Timestamp) -> Result<(), RecordFault> {
    let bytes = ring.fresh_record(at).to_bytes();
    let record = VerifiedRecord::verify(&bytes, ring.domain(), &known.root_fingerprint(), at)?;
    record.may_follow(known)
}

#[test]
fn replaced_keys_count_on_for_what_they_signed_and_signers_take_up_the_new_one() {
    let (_dir, mut ring) = ring("alpha.test");
    let (before, signer, old) = (ring.record().clone(), ring.signer(), sealed(&ring));
    let old_tls = before.record().tls_key_hashes.clone();
    let (fixed, late) = (signer.fixed(), now().plus(Duration::from_secs(1000)));
    ring.rotate(late).unwrap();
    let record = ring.record().record().clone();
    assert_eq!((record.serial, record.signing_keys.len()), (2, 2));
    assert_eq!(follows(&ring, &before, late), Ok(()));
    assert_eq!(signer.key_id(), ring.signer().key_id());
    assert_ne!(fixed.key_id(), signer.key_id());
    assert!(open(old, &record, late).is_ok(), "signed in its time");
    assert!(
        record
            .signing_key(fixed.key_id(), late.plus(OVERLAP_AND_MORE))
            .is_none()
    );
    assert_eq!(record.tls_key_hashes.len(), 2);
    assert!(
        record.tls_key_hashes.contains(&old_tls[0]),
        "links made so far go on"
    );
    ring.rotate(late).unwrap();
    assert!(!ring.record().record().tls_key_hashes.contains(&old_tls[0]));
}

const OVERLAP_AND_MORE: Duration = Duration::from_secs(25 * 60 * 60);

#[test]
fn what_a_revoked_key_signed_is_not_believed_when_it_arrives_late() {
    let (_dir, mut ring) = ring("alpha.test");
    let (old, before) = (sealed(&ring), ring.record().clone());
    let stolen = now().plus(Duration::from_secs(60));
    let late = now().plus(Duration::from_secs(1000));
    let lost = Lost {
        signing: true,
        tls: true,
    };
    ring.revoke(lost, stolen, late).unwrap();
    check_refused(old, &ring, late, RefusalCode::UnknownKey);
    assert!(open(sealed(&ring), ring.record().record(), late).is_ok());
    assert_eq!(follows(&ring, &before, late), Ok(()));
    let tls = &before.record().tls_key_hashes[0];
    assert!(!ring.record().record().tls_key_hashes.contains(tls));
    let thief = before.clone();
    assert!(
        thief.may_follow(ring.record()).is_err(),
        "the serial never goes back"
    );
}

#[test]
fn a_change_that_was_cut_off_is_ended_or_undone_at_the_next_start() {
    let (dir, mut ring) = ring("alpha.test");
    let keys = dir.path().join("keys");
    let before = ring.signer().key_id();
    // Cut off before the record was written.
    let stray = SecretKey::generate().unwrap();
    write_secret(&keys.join("signing.next"), "signing", &stray.bytes()).unwrap();
    let again = KeyRing::load(&keys, ring.domain(), now()).unwrap();
    assert_eq!(again.signer().key_id(), before);
    assert!(!keys.join("signing.next").exists());
    // Cut off after it.
    ring.rotate(now()).unwrap();
    let secret = fs::read(keys.join("signing.key")).unwrap();
    fs::write(keys.join("signing.next"), &secret).unwrap();
    fs::set_permissions(keys.join("signing.next"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(keys.join("signing.key")).unwrap();
    let again = KeyRing::load(&keys, ring.domain(), now()).unwrap();
    assert_eq!(again.signer().key_id(), ring.signer().key_id());
}

#[test]
fn keys_that_root_changes_stay_those_of_the_server() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    const SERVER: u32 = 4711;
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let (mut ring, _) = KeyRing::create(&keys, &"alpha.test".parse().unwrap(), now()).unwrap();
    if fs::metadata(&keys).unwrap().uid() != 0 {
        // Only root can play root.
        assert!(chown(&keys, Some(SERVER), None).is_err());
        return;
    }
    for file in fs::read_dir(&keys).unwrap() {
        chown(file.unwrap().path(), Some(SERVER), Some(SERVER)).unwrap();
    }
    chown(&keys, Some(SERVER), Some(SERVER)).unwrap();
    // Traps of whoever has the server's account: nothing that they point to changes hands.
    let foreign = dir.path().join("foreign");
    fs::write(&foreign, "root's own").unwrap();
    for trap in ["identity.new", "signing.new", "lock"] {
        fs::remove_file(keys.join(trap)).ok();
        std::os::unix::fs::symlink(&foreign, keys.join(trap)).unwrap();
    }
    ring.rotate(now()).unwrap();
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "root's own");
    assert_eq!(fs::metadata(&foreign).unwrap().uid(), 0);
    fs::remove_file(keys.join("lock")).unwrap();
    ring.rotate(now()).unwrap();
    for file in fs::read_dir(&keys).unwrap() {
        let path = file.unwrap().path();
        let found = fs::symlink_metadata(&path).unwrap();
        assert_eq!((found.uid(), found.gid()), (SERVER, SERVER), "{path:?}");
    }
}

#[test]
fn the_key_on_paper_wins_over_a_thief_of_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let (keys, stolen) = (dir.path().join("keys"), dir.path().join("stolen"));
    let domain = "alpha.test".parse().unwrap();
    let (ring, phrase) = KeyRing::create(&keys, &domain, now()).unwrap();
    let first = ring.record().clone();
    // The thief has every file, and signs record upon record.
    fs::create_dir(&stolen).unwrap();
    for file in fs::read_dir(&keys).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, stolen.join(path.file_name().unwrap())).unwrap();
    }
    let mut thief = KeyRing::load(&stolen, &domain, now()).unwrap();
    for _ in 0..5 {
        thief.rotate(now()).unwrap();
    }
    let believed = thief.record().clone();
    assert_eq!(
        follows(&thief, &first, now()),
        Ok(()),
        "so far nobody knows better"
    );
    // What the thief cannot do: name a successor of its own.
    let own = RecoveryPhrase::generate().unwrap();
    let fault = KeyRing::recover(&stolen, &own, &believed, None, now()).unwrap_err();
    assert!(matches!(fault, KeyError::OtherPhrase), "{fault}");
    let mut next = thief.next_record(now());
    next.next_root_hash = own.commitment();
    thief.record = thief.signed(next);
    assert!(matches!(
        follows(&thief, &believed, now()),
        Err(RecordFault::Succession(_))
    ));
    // The owner has the paper and the record as it was before the theft.
    let (owner, next_phrase) =
        KeyRing::recover(&keys, &phrase, &first, Some(now()), now()).unwrap();
    assert_eq!(follows(&owner, &believed, now()), Ok(()));
    assert_eq!(follows(&owner, &first, now()), Ok(()));
    let back = believed.may_follow(owner.record());
    assert!(
        matches!(back, Err(RecordFault::OtherRoot { .. })),
        "{back:?}"
    );
    let ids: Vec<KeyId> = owner
        .record()
        .record()
        .revoked_keys
        .iter()
        .map(|it| it.key_id)
        .collect();
    assert!(ids.contains(&ring.signer().key_id()));
    // And the same once more, for somebody who missed the first time.
    let (again, _) = KeyRing::recover(&keys, &next_phrase, owner.record(), None, now()).unwrap();
    assert_eq!(follows(&again, &first, now()), Ok(()));
    assert!(again.record().has_root(&first.root_fingerprint()));
    let reloaded = KeyRing::load(&keys, &domain, now()).unwrap();
    assert_eq!(reloaded.record(), again.record());
}

#[test]
fn a_record_counts_only_while_somebody_says_that_it_is_the_latest() {
    let (_dir, ring) = ring("alpha.test");
    let (root, domain) = (ring.record().root_fingerprint(), ring.domain());
    let verify = |record: &VerifiedRecord, at| {
        VerifiedRecord::verify(&record.to_bytes(), domain, &root, at).map(drop)
    };
    let fresh = ring.fresh_record(now());
    let days = |days: u64| now().plus(Duration::from_secs(days * 24 * 60 * 60));
    assert_eq!(verify(&fresh, days(6)), Ok(()));
    for (record, at) in [(ring.record(), now()), (&fresh, days(7))] {
        assert!(matches!(verify(record, at), Err(RecordFault::NotFresh(_))));
    }
    let ahead = ring.fresh_record(now().plus(limits::CLOCK_SKEW_MAX * 2));
    assert!(matches!(
        verify(&ahead, now()),
        Err(RecordFault::NotFresh(_))
    ));
    // One for another record, and one by a stranger.
    let (_other, other) = self::ring("alpha.test");
    let word = fresh.freshness().unwrap().clone();
    let mixed = other.record().with_freshness(word);
    let fault = mixed.check_fresh(now());
    assert!(matches!(fault, Err(RecordFault::NotFresh(_))));
    let forged = other.signer().vouch(ring.record(), now());
    assert!(matches!(
        forged.check_fresh(now()),
        Err(RecordFault::NotFresh(_))
    ));
}

#[test]
fn a_root_that_nobody_has_named_before_is_not_believed() {
    let ((_a, alpha), (_b, other)) = (ring("alpha.test"), ring("alpha.test"));
    // Under its own name and root, with the other's record shown as the one before.
    let forged = VerifiedRecord::sign(
        other.record().record().clone(),
        &other.root,
        alpha.record().succeeded(),
    );
    let forged = other.signer().vouch(&forged, now());
    let root = alpha.record().root_fingerprint();
    let read = VerifiedRecord::verify(&forged.to_bytes(), alpha.domain(), &root, now());
    assert!(matches!(read, Err(RecordFault::Succession(_))), "{read:?}");
}

#[test]
fn keys_from_an_older_backup_go_on_behind_the_record_that_others_have() {
    let (dir, mut ring) = ring("alpha.test");
    let (keys, backup) = (dir.path().join("keys"), dir.path().join("backup"));
    fs::create_dir(&backup).unwrap();
    for file in fs::read_dir(&keys).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, backup.join(path.file_name().unwrap())).unwrap();
    }
    ring.rotate(now()).unwrap();
    ring.rotate(now()).unwrap();
    let known = ring.record().clone();
    let mut restored = KeyRing::load(&backup, ring.domain(), now()).unwrap();
    assert!(
        follows(&restored, &known, now()).is_err(),
        "others know a later one"
    );
    restored.rotate_behind(Some(&known), now()).unwrap();
    assert_eq!(follows(&restored, &known, now()), Ok(()));
    let reloaded = KeyRing::load(&backup, ring.domain(), now()).unwrap();
    assert_eq!(reloaded.record(), restored.record());
    let earlier = restored.rotate_behind(Some(&known), now());
    assert!(matches!(earlier, Err(KeyError::NotLater)));
    let (_other, other) = self::ring("alpha.test");
    let strange = restored.rotate_behind(Some(other.record()), now());
    assert!(matches!(strange, Err(KeyError::NotLater)));
}

fn entrance() -> Entrance {
    Entrance {
        websocket: "wss://chat.alpha.test/v0/channels".parse().unwrap(),
        long_polling: "https://chat.alpha.test/v0/channels/lp".parse().unwrap(),
        web_app: None,
        grpc: None,
        protocol_version: "0.25".to_owned(),
        api_key: "K".to_owned(),
        registration: Registration::Closed,
        anonymous: false,
        calls: false,
        file_bytes_max: 1,
        message_bytes_max: 1,
    }
}

#[track_caller]
fn check_not_good(signed: &[u8], ring: &KeyRing, at: Timestamp, word: &str) {
    let refused = SignedClientDocument::verify(signed, ring.record(), at).unwrap_err();
    assert!(refused.to_string().contains(word), "{refused}");
}

#[test]
fn a_client_document_counts_for_its_domain_and_its_week_only() {
    let ((_dir, ring), (_others_dir, other)) = (ring("alpha.test"), ring("beta.test"));
    let signed = ring.signer().direct_clients(entrance(), now());
    let bytes = signed.to_bytes();
    let days = |it: u64| now().plus(Duration::from_secs(it * 24 * 60 * 60));
    let read = SignedClientDocument::verify(&bytes, ring.record(), days(6)).unwrap();
    assert_eq!((&read, &read.document().entrance), (&signed, &entrance()));
    check_not_good(&bytes, &ring, days(7), "does not count now");
    let early = now().minus(limits::CLOCK_SKEW_MAX * 2);
    check_not_good(&bytes, &ring, early, "does not count now");
    check_not_good(&bytes, &other, now(), "of another domain");
    let too_long = vec![0; limits::CLIENT_DOCUMENT_BYTES_MAX + 1];
    check_not_good(&too_long, &ring, now(), "larger than");
}

#[test]
fn a_client_document_that_others_have_written_is_not_believed() {
    let ((_dir, ring), (_others_dir, other)) = (ring("alpha.test"), ring("beta.test"));
    let signed = ring.signer().direct_clients(entrance(), now());
    let words = wire::SignedClientDocument::decode(&*signed.to_bytes()).unwrap();
    // Under another key, in alpha's name.
    let thief = other.signer().pair();
    let mut claim = signed.document().clone();
    claim.key_id = thief.id;
    let sign = |claim: ClientDocument, context: &[u8], pair: &crate::signer::Pair| {
        SignedClientDocument::new(claim, |it| pair.key.sign(context, it)).to_bytes()
    };
    let context = freehold_proto::client_document::CONTEXT;
    check_not_good(
        &sign(claim, context, &thief),
        &ring,
        now(),
        "a key that did not count",
    );
    let stolen = sign(signed.document().clone(), context, &thief);
    check_not_good(&stolen, &ring, now(), "does not hold");
    // Under the right key, but for another purpose, for too long, or not at all.
    let own = ring.signer().pair();
    let purpose = sign(
        signed.document().clone(),
        freehold_proto::freshness::CONTEXT,
        &own,
    );
    check_not_good(&purpose, &ring, now(), "does not hold");
    let mut for_ever = signed.document().clone();
    for_ever.expires = for_ever.expires.plus(Duration::from_millis(1));
    check_not_good(
        &sign(for_ever, context, &own),
        &ring,
        now(),
        "more than 7 days",
    );
    let bare = wire::SignedClientDocument {
        signature: Default::default(),
        ..words
    };
    check_not_good(&bare.encode_to_vec(), &ring, now(), "is not signed");
}

#[test]
fn a_client_document_counts_on_when_its_key_is_replaced_and_ends_when_it_is_revoked() {
    let (_dir, mut ring) = ring("alpha.test");
    let signer = ring.signer();
    let before = signer.direct_clients(entrance(), now()).to_bytes();
    ring.rotate(now()).unwrap();
    SignedClientDocument::verify(&before, ring.record(), now()).unwrap();
    let after = signer.direct_clients(entrance(), now());
    SignedClientDocument::verify(&after.to_bytes(), ring.record(), now()).unwrap();
    assert_eq!(after.document().key_id, ring.signer().key_id());
    let lost = Lost {
        signing: true,
        tls: false,
    };
    ring.revoke(lost, now(), now()).unwrap();
    check_not_good(&after.to_bytes(), &ring, now(), "a key that did not count");
}

proptest! {
    // Each makes keys on disk.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is changed on the way, nothing is believed that was not signed.
    #[test]
    fn a_changed_client_document_is_refused_or_the_same(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (_dir, ring) = ring("alpha.test");
        let signed = ring.signer().direct_clients(entrance(), now());
        let mut bytes = signed.to_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(read) = SignedClientDocument::verify(&bytes, ring.record(), now()) {
            prop_assert_eq!(read.document(), signed.document());
        }
    }
}
