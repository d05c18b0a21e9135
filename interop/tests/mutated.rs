//! Bytes that a hostile peer might send: good ones, changed a little, for as long as
//! `FREEHOLD_MUTATION_SECONDS` says (5 without it, 60 in `make test`). Nothing panics, and what is still
//! believed is what was signed. The seed is printed; `FREEHOLD_MUTATION_SEED` repeats it. What is found is
//! kept as a vector.

#![expect(clippy::unwrap_used, reason = "what cannot be made fails its test")]

use std::time::Duration;

use freehold_interop::Random;
use freehold_keys::{
    KeyRing, SignedClientDocument, VerifiedRecord, open, open_entry, open_of_any_age,
    open_position, prove, verify_proof,
};
use freehold_proto::{
    ClientDocument, Destination, Entrance, Envelope, Freshness, GroupId, GroupRecord, Header,
    IdentityRecord, KeyId, MessageId, Placed, Position, Registration, Timestamp,
    hello::{Hello, Role},
    wire,
};
use prost::Message as _;
use tokio::time::Instant;

fn now() -> Timestamp {
    Timestamp::from_millis(1_767_323_045_678).unwrap()
}

struct Site {
    ring: KeyRing,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let (ring, _) = KeyRing::create(&keys, &name.parse().unwrap(), now()).unwrap();
        Self {
            ring,
            _folder: folder,
        }
    }

    fn record(&self) -> &IdentityRecord {
        self.ring.record().record()
    }

    fn sealed(&self, to: Destination) -> Envelope {
        let words = wire::payload::Kind::GroupMessage(wire::GroupMessage {
            content: "\"hi\"".into(),
            ..Default::default()
        });
        let id = MessageId::from_bytes([1; 16]);
        self.ring.signer().seal(to, id, now(), words).unwrap()
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.and_then(|it| it.parse().ok()).unwrap_or(usual)
}

/// Shows `judge` changed bytes until the time is up.
#[expect(clippy::print_stderr, reason = "the seed repeats a failure")]
fn for_a_while(what: &str, good: &[u8], mut judge: impl FnMut(&[u8])) {
    let time = Duration::from_secs(setting("FREEHOLD_MUTATION_SECONDS", 5));
    let chance = u64::from(std::process::id()) << 20;
    let seed = setting("FREEHOLD_MUTATION_SEED", chance);
    eprintln!("{what}: seed {seed}");
    let (mut random, begun, mut count) = (Random::new(seed), Instant::now(), 0_u64);
    judge(good);
    // Seeds repeat the sequence; how far it goes depends on the machine.
    while count < 1000 || begun.elapsed() < time {
        let mut bytes = good.to_vec();
        for _ in 0..=random.index(4) {
            change(&mut bytes, &mut random);
        }
        judge(&bytes);
        count += 1;
    }
    eprintln!("{what}: {count} changed");
}

/// One change of the kinds that break parsers.
fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let byte = u8::try_from(random.below(256)).unwrap();
    let at = random.index(bytes.len() + 1);
    let end = (at + random.index(16)).min(bytes.len());
    match random.below(7) {
        0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        1 if at < bytes.len() => bytes[at] = byte,
        2 => bytes.insert(at, byte),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.truncate(at),
        5 => {
            let part = bytes[at..end].to_vec();
            let to = random.index(bytes.len() + 1);
            bytes.splice(to..to, part);
        }
        // A length or number that is far too large.
        _ => drop(bytes.splice(at..end, [0xff, 0xff, 0xff, 0xff, 0x0f])),
    }
}

#[test]
fn a_changed_record_is_the_one_that_was_signed_or_none() {
    let site = Site::new("alpha.test");
    let record = site.ring.fresh_record(now());
    let (root, good) = (record.root_fingerprint(), record.to_bytes());
    let statement = record.freshness().unwrap().statement().clone();
    for_a_while("records", &good, |bytes| {
        let _any = VerifiedRecord::root_in(bytes);
        let _any = IdentityRecord::decode(bytes);
        let _any = Freshness::decode(bytes);
        let read = VerifiedRecord::verify(bytes, &site.record().domain, &root, now());
        if let Ok(read) = read {
            assert_eq!(read.hash(), record.hash());
            assert_eq!(*read.freshness().unwrap().statement(), statement);
        }
    });
}

#[test]
fn a_changed_client_document_says_what_was_signed_or_nothing() {
    let site = Site::new("alpha.test");
    let entrance = Entrance {
        websocket: "wss://chat.alpha.test/v0/channels".parse().unwrap(),
        long_polling: "https://chat.alpha.test/v0/channels/lp".parse().unwrap(),
        web_app: Some("https://[2001:db8::7]:8443/".parse().unwrap()),
        grpc: Some("chat.alpha.test:443".to_owned()),
        protocol_version: "0.25".to_owned(),
        api_key: "K".to_owned(),
        registration: Registration::Open,
        anonymous: true,
        calls: true,
        file_bytes_max: 1 << 30,
        message_bytes_max: 1 << 17,
    };
    let good = site.ring.signer().direct_clients(entrance, now());
    for_a_while("client documents", &good.to_bytes(), |bytes| {
        let _any = ClientDocument::decode(bytes);
        if let Ok(read) = SignedClientDocument::verify(bytes, site.ring.record(), now()) {
            assert_eq!(read.document(), good.document());
        }
    });
}

#[test]
fn a_changed_hello_proves_nothing() {
    let (alpha, beta) = (Site::new("alpha.test"), Site::new("beta.test"));
    let hello = Hello {
        role: Role::Initiator,
        from: alpha.ring.domain(),
        to: beta.ring.domain(),
        key_id: alpha.ring.signer().key_id(),
        record_hash: alpha.ring.record().hash(),
        exporter: [7; 32],
    };
    let good = wire::HelloRequest {
        version: 1,
        from: hello.from.to_string(),
        to: hello.to.to_string(),
        key_id: hello.key_id.as_bytes().to_vec().into(),
        record_hash: hello.record_hash.to_vec().into(),
        signature: prove(&hello, &alpha.ring.signer()).to_vec().into(),
        received: None,
    };
    let tls = alpha.record().tls_key_hashes[0];
    for_a_while("hellos", &good.encode_to_vec(), |bytes| {
        let Ok(read) = wire::HelloRequest::decode(bytes) else {
            return;
        };
        let (Ok(from), Ok(to)) = (read.from.parse(), read.to.parse()) else {
            return;
        };
        let (Ok(key_id), Ok(record_hash)) = (
            KeyId::from_slice(&read.key_id),
            (&*read.record_hash).try_into(),
        ) else {
            return;
        };
        let claim = Hello {
            role: Role::Initiator,
            from: &from,
            to: &to,
            key_id,
            record_hash,
            exporter: [7; 32],
        };
        if verify_proof(&claim, &read.signature, alpha.record(), &tls, now()).is_ok() {
            assert_eq!((read.from, read.to), (good.from.clone(), good.to.clone()));
            assert_eq!(read.signature, good.signature);
        }
    });
}

#[test]
fn a_changed_envelope_says_what_was_signed_or_nothing() {
    let (alpha, beta) = (Site::new("alpha.test"), Site::new("beta.test"));
    let good = alpha.sealed(Destination::Domain(beta.ring.domain().clone()));
    let bytes = wire::Envelope::from(good.clone()).encode_to_vec();
    for_a_while("envelopes", &bytes, |bytes| {
        let _any = Header::decode(bytes);
        let _any = wire::Payload::decode(bytes);
        let Ok(read) = wire::Envelope::decode(bytes) else {
            return;
        };
        let Ok(read) = Envelope::try_from(read) else {
            return;
        };
        let _any = open_of_any_age(read.clone(), alpha.record());
        if let Ok(opened) = open(read, alpha.record(), now()) {
            assert_eq!(opened.envelope, good);
        }
    });
}

#[test]
fn a_changed_entry_of_a_log_stands_where_it_was_placed_or_nowhere() {
    let site = Site::new("alpha.test");
    let (record, _) = site.ring.signer().found_group().unwrap();
    let group = GroupId::of_record(&record);
    let envelope = site.sealed(Destination::Group(group));
    let position = Position {
        home: site.ring.domain().clone(),
        key_id: site.ring.signer().key_id(),
        group,
        epoch: 1,
        index: 1,
        order: 1,
        previous: [0; 32],
        envelope: envelope.header_hash(),
        placed_at: now(),
        feed: false,
    };
    let placed = site.ring.signer().place(position);
    let good = wire::LogEntry {
        placed: Some(placed.clone().into()),
        envelope: Some(envelope.clone().into()),
    };
    for_a_while("entries", &good.encode_to_vec(), |bytes| {
        let _any = GroupRecord::decode(bytes);
        let _any = Position::decode(bytes);
        let Ok(read) = wire::LogEntry::decode(bytes) else {
            return;
        };
        let (Some(placed_read), Some(envelope_read)) = (read.placed, read.envelope) else {
            return;
        };
        let (Ok(placed_read), Ok(envelope_read)) = (
            Placed::try_from(placed_read),
            Envelope::try_from(envelope_read),
        ) else {
            return;
        };
        let Ok(place) = open_position(placed_read, site.record(), true) else {
            return;
        };
        assert_eq!(place.placed, placed);
        if let Ok(entry) = open_entry(place, envelope_read, site.record()) {
            assert_eq!(entry.envelope.header, envelope.header);
            assert!(entry.envelope.is_erased() || entry.envelope == envelope);
        }
    });
}

#[test]
fn changed_frames_of_peers_are_read_or_refused() {
    let (alpha, beta) = (Site::new("alpha.test"), Site::new("beta.test"));
    let envelope = alpha.sealed(Destination::Domain(beta.ring.domain().clone()));
    let item = wire::Item {
        position: 7,
        envelope: Some(envelope.into()),
        placed: None,
    };
    let batch = wire::DeliverRequest {
        from: "alpha.test".to_owned(),
        to: "beta.test".to_owned(),
        epoch: 3,
        items: vec![item.clone(), item],
    };
    for_a_while("frames", &batch.encode_to_vec(), |bytes| {
        let _any = wire::DeliverResponse::decode(bytes);
        let _any = wire::HelloResponse::decode(bytes);
        let _any = wire::SignalRequest::decode(bytes);
        let _any = wire::FindRequest::decode(bytes);
        let _any = wire::FindResponse::decode(bytes);
        let _any = wire::ReadGroupRequest::decode(bytes);
        let _any = wire::ReadGroupResponse::decode(bytes);
        let _any = wire::ReadFileRequest::decode(bytes);
        let _any = wire::ReadFileResponse::decode(bytes);
        let Ok(batch) = wire::DeliverRequest::decode(bytes) else {
            return;
        };
        for item in batch.items {
            let placed = item.placed.map(Placed::try_from);
            if let Some(Ok(placed)) = placed {
                let _any = open_position(placed, alpha.record(), false);
            }
            if let Some(Ok(envelope)) = item.envelope.map(Envelope::try_from) {
                let _any = open(envelope, alpha.record(), now());
            }
        }
    });
}
