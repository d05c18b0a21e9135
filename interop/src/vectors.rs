//! Makes the test vectors that are made by this project: identity records, positions and entries of
//! groups' logs, signatures. Every byte is the same each time, so that a test can compare them with the
//! files; the keys are published here and good for nothing else.

mod directory;

use freehold_proto::{
    Destination, GroupId, Header, KeyId, MessageId, Position, Timestamp, envelope, position,
    record, wire, wire::payload::Kind,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::{
    Result,
    peer::{Pen, by_hand, forged},
};

/// When all vectors are judged.
const NOW: i64 = 1_767_323_045_678;
const DAY: i64 = 24 * 60 * 60 * 1000;
const HOUR: i64 = 60 * 60 * 1000;
/// The order of the group of Ed25519, little-endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// All files: name and content.
pub fn all() -> Result<Vec<(&'static str, Value)>> {
    Ok(vec![
        ("record.json", records()?),
        ("position.json", positions()?),
        ("entry.json", entries()?),
        ("signature.json", signatures()?),
        ("directory.json", directory::file()?),
    ])
}

/// The published keys: root, signing, TLS and next root of one domain, signing of another.
fn pen(number: u8) -> Result<Pen> {
    Pen::of_seed(&[number; 32])
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in bytes.as_ref() {
        write!(text, "{byte:02x}").expect("a string takes every text");
    }
    text
}

fn key(domain: &str, number: u8) -> Result<Value> {
    let pen = pen(number)?;
    Ok(json!({
        "domain": domain,
        "signing_key": {
            "public_key": hex(pen.public()),
            "key_id": hex(pen.id().as_bytes()),
            "valid_from_ms": NOW - 40 * DAY,
            "valid_until_ms": NOW + 300 * DAY,
            "secret_key": hex([number; 32]),
        },
    }))
}

/// The same signature with S in its next spelling, and with its upper bits set.
fn respelled(signature: &[u8; 64]) -> [Vec<u8>; 2] {
    let mut next = signature.to_vec();
    let mut carry = 0;
    for (to, add) in next.iter_mut().skip(32).zip(ORDER) {
        let sum = u16::from(*to) + u16::from(add) + carry;
        *to = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let mut high = signature.to_vec();
    high.last_mut().into_iter().for_each(|it| *it |= 0xe0);
    [next, high]
}

/// One with another bit.
fn turned(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.first_mut().into_iter().for_each(|it| *it ^= 1);
    bytes
}

// === Identity records ===

fn honest() -> Result<wire::IdentityRecord> {
    let digest = |of: &[u8]| freehold_proto::IdentityRecord::hash(of).to_vec().into();
    Ok(wire::IdentityRecord {
        domain: "alpha.test".to_owned(),
        serial: 3,
        previous_hash: digest(b"the record before"),
        root_key: pen(1)?.public().to_vec().into(),
        next_root_hash: digest(&pen(4)?.public()),
        signing_keys: vec![wire::SigningKey {
            public_key: pen(2)?.public().to_vec().into(),
            valid_from_ms: NOW - 40 * DAY,
            valid_until_ms: NOW + 300 * DAY,
        }],
        revoked_keys: vec![wire::RevokedKey {
            key_id: pen(3)?.id().as_bytes().to_vec().into(),
            invalid_from_ms: NOW - 50 * DAY,
        }],
        tls_key_hashes: vec![digest(b"a SubjectPublicKeyInfo")],
        endpoints: vec!["alpha.test:6269".to_owned()],
        version_min: 1,
        version_max: 1,
        issued_ms: NOW - DAY,
        expires_ms: NOW + DAY,
        incarnation: 1,
    })
}

/// A signed record as it is served: beside it the word that it is the latest, and former roots.
fn served(
    record: &[u8],
    signature: &[u8],
    freshness: Option<wire::SignedFreshness>,
    former: Vec<wire::FormerRecord>,
) -> Vec<u8> {
    wire::SignedRecord {
        record: record.to_vec().into(),
        signature: signature.to_vec().into(),
        former,
        freshness,
    }
    .encode_to_vec()
}

fn says_latest(record: &[u8]) -> wire::Freshness {
    let read = wire::IdentityRecord::decode(record).unwrap_or_default();
    wire::Freshness {
        domain: "alpha.test".to_owned(),
        serial: read.serial,
        record_hash: freehold_proto::IdentityRecord::hash(record).to_vec().into(),
        key_id: KeyId::of(&pen(2).map(|it| it.public()).unwrap_or_default())
            .as_bytes()
            .to_vec()
            .into(),
        issued_ms: NOW - HOUR,
        expires_ms: NOW + DAY,
    }
}

/// The same with an honest word.
fn signed(record: &[u8], signature: &[u8]) -> Result<Vec<u8>> {
    let freshness = pen(2)?.vouches(&says_latest(record))?;
    Ok(served(record, signature, Some(freshness), Vec::new()))
}

/// A change to a record, and what becomes of it.
type Change = (&'static str, &'static str, fn(&mut wire::IdentityRecord));

/// Records that are signed well.
const CHANGES: &[Change] = &[
    ("an honest record", "ok", |_| {}),
    ("the first of a domain", "ok", |it| {
        it.serial = 1;
        it.previous_hash.clear();
    }),
    ("issued as far ahead as clocks may differ", "ok", |it| {
        it.issued_ms = NOW + HOUR
    }),
    ("issued further ahead", "outside its life", |it| {
        it.issued_ms = NOW + HOUR + 1
    }),
    ("good for one millisecond more", "ok", |it| {
        it.expires_ms = NOW + 1
    }),
    ("expired now", "outside its life", |it| it.expires_ms = NOW),
    ("a time before 1970", "malformed", |it| it.issued_ms = -1),
    ("a time after the year 9999", "malformed", |it| {
        it.expires_ms = 253_402_300_800_000
    }),
    ("versions 1 to 7", "ok", |it| it.version_max = 7),
    ("versions 2 to 7", "no version", |it| {
        (it.version_min, it.version_max) = (2, 7)
    }),
    ("no versions", "no version", |it| {
        (it.version_min, it.version_max) = (0, 0)
    }),
    ("of another domain", "other domain", |it| {
        it.domain = "beta.test".to_owned()
    }),
    ("in capitals", "malformed", |it| {
        it.domain = "Alpha.test".to_owned()
    }),
    ("with a dot at the end", "malformed", |it| {
        it.domain.push('.')
    }),
    ("a root key of 31 bytes", "malformed", |it| {
        it.root_key = it.root_key.slice(1..)
    }),
    ("no hash of a next root", "malformed", |it| {
        it.next_root_hash.clear()
    }),
    ("a signing key of 33 bytes", "malformed", |it| {
        it.signing_keys[0].public_key = vec![2; 33].into();
    }),
    ("a revoked key id of 15 bytes", "malformed", |it| {
        it.revoked_keys[0].key_id = vec![2; 15].into();
    }),
    ("a hash of a TLS key of 20 bytes", "malformed", |it| {
        it.tls_key_hashes[0] = vec![2; 20].into();
    }),
    (
        "a hash of the record before of 16 bytes",
        "malformed",
        |it| {
            it.previous_hash = vec![2; 16].into();
        },
    ),
    (
        "the key that calls it the latest is listed and revoked",
        "not fresh",
        |it| {
            let key = <[u8; 32]>::try_from(&*it.signing_keys[0].public_key);
            let id = KeyId::of(&key.unwrap_or_default());
            it.revoked_keys[0].key_id = id.as_bytes().to_vec().into();
        },
    ),
    ("the same, revoked from tomorrow on", "not fresh", |it| {
        let key = <[u8; 32]>::try_from(&*it.signing_keys[0].public_key);
        let id = KeyId::of(&key.unwrap_or_default());
        it.revoked_keys[0].key_id = id.as_bytes().to_vec().into();
        it.revoked_keys[0].invalid_from_ms = NOW + DAY;
    }),
    ("another root key", "other root", |it| {
        it.root_key = vec![9; 32].into()
    }),
];

fn records() -> Result<Value> {
    let root = pen(1)?;
    let sign = |record: &[u8]| root.sign(record::CONTEXT, record);
    let mut list = Vec::new();
    let mut put = |comment: &str, expect: &str, signed: Vec<u8>| {
        list.push(json!({"comment": comment, "expect": expect, "signed": hex(signed)}));
    };
    for (comment, expect, change) in CHANGES {
        let mut record = honest()?;
        change(&mut record);
        let record = record.encode_to_vec();
        put(comment, expect, signed(&record, &sign(&record)?)?);
    }
    let record = honest()?.encode_to_vec();
    let signature = sign(&record)?;
    let unknown = [&*record, &by_hand::bytes(2000, "of a later version")].concat();
    put(
        "a field that nobody knows",
        "ok",
        signed(&unknown, &sign(&unknown)?)?,
    );
    let twice = [&*by_hand::number(2, 99), &record].concat();
    put(
        "two serials, of which the last counts",
        "ok",
        signed(&twice, &sign(&twice)?)?,
    );
    let outer = [signed(&record, &signature)?, by_hand::number(90, 1)].concat();
    put("an unknown field beside the record", "ok", outer);
    let again = [&*record, &by_hand::number(2, 3)].concat();
    let again = signed(&again, &signature)?;
    put(
        "the same record in other bytes than were signed",
        "bad signature",
        again,
    );
    let bad = "bad signature";
    put(
        "a signature with another bit",
        bad,
        signed(&record, &turned(&signature))?,
    );
    put("no signature", bad, signed(&record, &[])?);
    for other in respelled(&signature) {
        put("another spelling of S", bad, signed(&record, &other)?);
    }
    let by_other = pen(2)?.sign(record::CONTEXT, &record)?;
    put("by the signing key", bad, signed(&record, &by_other)?);
    let elsewhere = root.sign(envelope::CONTEXT, &record)?;
    put(
        "under the context of an envelope",
        bad,
        signed(&record, &elsewhere)?,
    );
    put(
        "half of it",
        "malformed",
        signed(&record, &signature)?[..100].to_vec(),
    );
    put("nothing", "malformed", Vec::new());
    words_on_it(&record, &signature, &mut put)?;
    roots(&mut put)?;
    let anchor = freehold_proto::IdentityRecord::hash(&root.public());
    Ok(json!({
        "comment": "Signed identity records as they are served (docs/PROTOCOL.md section 3), for who asks for `domain` at `now_ms` and has `anchor` as the fingerprint of its root key. `expect` is \"ok\" or why the record is not believed; a hello of whom it is of is then refused with 114.",
        "now_ms": NOW,
        "domain": "alpha.test",
        "anchor": hex(anchor),
        "root_secret_key": hex([1; 32]),
        "records": list,
    }))
}

/// What is said of an honest record being the latest.
fn words_on_it(
    record: &[u8],
    signature: &[u8],
    put: &mut impl FnMut(&str, &str, Vec<u8>),
) -> Result<()> {
    let (own, honest) = (pen(2)?, says_latest(record));
    put(
        "nobody says that it is the latest",
        "not fresh",
        served(record, signature, None, Vec::new()),
    );
    let mut says = |comment: &str, expect: &str, word: wire::SignedFreshness| {
        put(
            comment,
            expect,
            served(record, signature, Some(word), Vec::new()),
        );
    };
    let with = |change: &dyn Fn(&mut wire::Freshness)| {
        let mut word = honest.clone();
        change(&mut word);
        own.vouches(&word)
    };
    let week = 7 * DAY;
    let id = |number| Result::Ok(bytes::Bytes::copy_from_slice(pen(number)?.id().as_bytes()));
    let (revoked, root) = (id(3)?, id(1)?);
    says(
        "a word for 7 days",
        "ok",
        with(&|it| it.expires_ms = it.issued_ms + week)?,
    );
    says(
        "a word for longer",
        "not fresh",
        with(&|it| it.expires_ms = it.issued_ms + week + 1)?,
    );
    says(
        "a word that ends now",
        "not fresh",
        with(&|it| it.expires_ms = NOW)?,
    );
    says(
        "a word of as far ahead as clocks may differ",
        "ok",
        with(&|it| it.issued_ms = NOW + HOUR)?,
    );
    says(
        "a word of further ahead",
        "not fresh",
        with(&|it| it.issued_ms = NOW + HOUR + 1)?,
    );
    says(
        "a word on another serial",
        "not fresh",
        with(&|it| it.serial += 1)?,
    );
    says(
        "a word on another record",
        "not fresh",
        with(&|it| it.record_hash = vec![1; 32].into())?,
    );
    says(
        "a word on another domain",
        "not fresh",
        with(&|it| it.domain = "beta.test".to_owned())?,
    );
    says(
        "a word in the name of a revoked key",
        "not fresh",
        with(&|it| it.key_id = revoked.clone())?,
    );
    says(
        "a word in the name of the root key",
        "not fresh",
        with(&|it| it.key_id = root.clone())?,
    );
    says(
        "a word by another key",
        "not fresh",
        pen(3)?.vouches(&honest)?,
    );
    says(
        "a word with half a hash",
        "malformed",
        with(&|it| it.record_hash = vec![1; 16].into())?,
    );
    let more = [honest.encode_to_vec(), by_hand::bytes(2000, "new")].concat();
    says(
        "a word with a field that nobody knows",
        "ok",
        own.vouches_in(more)?,
    );
    let word = own.vouches(&honest)?;
    let signature = own
        .sign(envelope::CONTEXT, &word.statement)?
        .to_vec()
        .into();
    says(
        "a word under the context of an envelope",
        "not fresh",
        wire::SignedFreshness {
            signature,
            ..word.clone()
        },
    );
    let signature = bytes::Bytes::new();
    says(
        "a word without a signature",
        "not fresh",
        wire::SignedFreshness { signature, ..word },
    );
    Ok(())
}

/// Records under another root key, which the anchored one is followed by or not.
fn roots(put: &mut impl FnMut(&str, &str, Vec<u8>)) -> Result<()> {
    let under = |number: u8, next: u8| -> Result<wire::FormerRecord> {
        let pen = pen(number)?;
        let hash = freehold_proto::IdentityRecord::hash(&self::pen(next)?.public());
        let record = wire::IdentityRecord {
            root_key: pen.public().to_vec().into(),
            next_root_hash: hash.to_vec().into(),
            ..honest()?
        };
        let record = record.encode_to_vec();
        let signature = pen.sign(record::CONTEXT, &record)?.to_vec();
        Ok(wire::FormerRecord {
            signature: signature.into(),
            record: record.into(),
        })
    };
    let mut shows =
        |comment: &str, expect: &str, last: &wire::FormerRecord, former| -> Result<()> {
            let word = pen(2)?.vouches(&says_latest(&last.record))?;
            put(
                comment,
                expect,
                served(&last.record, &last.signature, Some(word), former),
            );
            Ok(())
        };
    let (first, second, third) = (under(1, 4)?, under(4, 6)?, under(6, 7)?);
    shows(
        "the root that the anchored one has named",
        "ok",
        &second,
        vec![first.clone()],
    )?;
    let two = vec![first.clone(), second.clone()];
    shows("the root after that", "ok", &third, two)?;
    shows(
        "the root after that, without the one between",
        "succession",
        &third,
        vec![first.clone()],
    )?;
    shows(
        "a root that nobody has named",
        "succession",
        &under(9, 4)?,
        vec![first.clone()],
    )?;
    shows(
        "a root without those before it",
        "other root",
        &second,
        Vec::new(),
    )?;
    let backwards = vec![second.clone(), first.clone()];
    shows(
        "former roots in another order",
        "succession",
        &third,
        backwards,
    )?;
    let mut unsigned = first.clone();
    unsigned.signature = turned(&unsigned.signature).into();
    shows(
        "a former root that has not signed",
        "bad signature",
        &second,
        vec![unsigned],
    )?;
    let circle = (0..17).map(|it| {
        if it % 2 == 0 {
            under(1, 4)
        } else {
            under(4, 1)
        }
    });
    let circle = circle.collect::<Result<Vec<_>>>()?;
    shows("17 former roots", "succession", &second, circle)
}

// === Positions ===

const GROUP: [u8; 16] = [7; 16];

fn place(envelope: &wire::Envelope) -> Result<Position> {
    Ok(Position {
        home: "alpha.test".parse().map_err(no)?,
        key_id: pen(2)?.id(),
        group: GroupId::from_bytes(GROUP),
        feed: false,
        epoch: 1,
        index: 9,
        order: 4,
        placed_at: Timestamp::from_millis(NOW).map_err(no)?,
        previous: [1; 32],
        envelope: freehold_proto::IdentityRecord::hash(&envelope.header),
    })
}

fn no(error: freehold_proto::Malformed) -> crate::Failure {
    crate::Failure::harness("make a vector", error)
}

/// What a home says itself counts whenever it placed it.
const WHENEVER: &str = "placed ";

fn positions() -> Result<Value> {
    let home = pen(2)?;
    let envelope = written(&home, "alpha.test", "words")?;
    let honest = place(&envelope)?;
    let mut list = Vec::new();
    let mut put = |comment: &str, expect: Value, position: &[u8], signature: &[u8]| {
        let mut vector = json!({
            "comment": comment, "expect": expect,
            "position": hex(position), "signature": hex(signature),
        });
        if comment.starts_with(WHENEVER) {
            vector["expect_from_home"] = json!("ok");
        }
        list.push(vector);
    };
    let moment = |millis| Timestamp::from_millis(millis).map_err(no);
    let with = |change: &dyn Fn(&mut Position)| {
        let mut position = honest.clone();
        change(&mut position);
        position
    };
    let (early, last) = (moment(NOW - 41 * DAY)?, moment(NOW + 300 * DAY)?);
    let other = "beta.test".parse().map_err(no)?;
    let unknown = pen(5)?.id();
    for (comment, expect, position) in [
        ("an honest position", json!("ok"), honest.clone()),
        (
            "the first of a log",
            json!("ok"),
            with(&|it| (it.index, it.order, it.previous) = (1, 0, [0; 32])),
        ),
        (
            "the furthest of a log",
            json!("ok"),
            with(&|it| (it.epoch, it.index, it.order) = (u64::MAX, u64::MAX, u32::MAX)),
        ),
        (
            "of the feed of a channel",
            json!("ok"),
            with(&|it| it.feed = true),
        ),
        ("epoch 0", json!(100), with(&|it| it.epoch = 0)),
        ("index 0", json!(100), with(&|it| it.index = 0)),
        (
            "by another home",
            json!(120),
            with(&|it| it.home = Clone::clone(&other)),
        ),
        (
            "by a key that is not in the record",
            json!(122),
            with(&|it| it.key_id = unknown),
        ),
        (
            "placed before the key was good",
            json!(122),
            with(&|it| it.placed_at = early),
        ),
        (
            "placed when the key is not good any more",
            json!(122),
            with(&|it| it.placed_at = last),
        ),
    ] {
        let bytes = position.encode();
        put(
            comment,
            expect,
            &bytes,
            &home.sign(position::CONTEXT, &bytes)?,
        );
    }
    let bytes = honest.encode();
    let signature = home.sign(position::CONTEXT, &bytes)?;
    put(
        "a signature with another bit",
        json!(123),
        &bytes,
        &turned(&signature),
    );
    for other in respelled(&signature) {
        put("another spelling of S", json!(123), &bytes, &other);
    }
    put(
        "a signature of 63 bytes",
        json!(100),
        &bytes,
        &signature[1..],
    );
    let elsewhere = home.sign(envelope::CONTEXT, &bytes)?;
    put(
        "under the context of an envelope",
        json!(123),
        &bytes,
        &elsewhere,
    );
    for (comment, expect, bytes) in [
        ("a byte after its end", 100, [&*bytes, &[0]].concat()),
        ("a byte too few", 100, bytes[..bytes.len() - 1].to_vec()),
        ("layout 3", 100, [&[3], &bytes[1..]].concat()),
        (
            "a home in capitals",
            103,
            [&bytes[..2], b"A", &bytes[3..]].concat(),
        ),
        ("nothing", 100, Vec::new()),
    ] {
        let signature = home.sign(position::CONTEXT, &bytes)?;
        put(comment, json!(expect), &bytes, &signature);
    }
    Ok(json!({
        "comment": "Positions in the log of a group (docs/PROTOCOL.md section 7.7), judged against the record of the home that is said to have signed them. `expect` is \"ok\" or the number of the refusal when another domain shows the position, `expect_from_home` when the home itself does and that differs. `envelope` is the one that each of them places.",
        "record": key("alpha.test", 2)?,
        "envelope": sealed(&envelope),
        "positions": list,
    }))
}

// === Entries ===

fn sealed(it: &wire::Envelope) -> Value {
    json!({
        "header": hex(&it.header), "signature": hex(&it.signature),
        "salt": hex(&it.salt), "payload": hex(&it.payload),
    })
}

fn header(pen: &Pen, domain: &str) -> Result<Header> {
    Ok(Header {
        from: domain.parse().map_err(no)?,
        to: Destination::Group(GroupId::from_bytes(GROUP)),
        key_id: pen.id(),
        message_id: MessageId::from_bytes([6; 16]),
        // Older than an envelope may be that comes by itself.
        issued_at: Timestamp::from_millis(NOW - 39 * DAY).map_err(no)?,
        payload_hash: [0; 32],
    })
}

fn said(domain: &str, text: &str) -> Vec<u8> {
    let words = wire::GroupMessage {
        author: format!("usrAAAAAAAAAAA@{domain}"),
        content: Value::from(text).to_string().into(),
        ..wire::GroupMessage::default()
    };
    wire::Payload {
        kind: Some(Kind::GroupMessage(words)),
    }
    .encode_to_vec()
}

fn written(pen: &Pen, domain: &str, text: &str) -> Result<wire::Envelope> {
    forged(
        pen,
        envelope::CONTEXT,
        header(pen, domain)?,
        said(domain, text),
    )
}

fn entries() -> Result<Value> {
    let (home, author) = (pen(2)?, pen(5)?);
    let honest = || written(&author, "beta.test", "words");
    let mut all: Vec<(&str, Value, wire::Envelope, Position)> = Vec::new();
    let mut put = |comment, expect: Value, envelope: wire::Envelope| -> Result<()> {
        let position = place(&envelope)?;
        all.push((comment, expect, envelope, position));
        Ok(())
    };
    put("an honest entry", json!("ok"), honest()?)?;
    let erase = |it: wire::Envelope| wire::Envelope {
        salt: vec![0; 16].into(),
        payload: bytes::Bytes::new(),
        ..it
    };
    put(
        "one whose words have been erased",
        json!("ok"),
        erase(honest()?),
    )?;
    let bad = |it: wire::Envelope| wire::Envelope {
        signature: turned(&it.signature).into(),
        ..it
    };
    put("a signature with another bit", json!(123), bad(honest()?))?;
    put(
        "erased, and a signature with another bit",
        json!(123),
        bad(erase(honest()?)),
    )?;
    let envelope = honest()?;
    let payload = said("beta.test", "other words").into();
    put(
        "other words",
        json!(124),
        wire::Envelope {
            payload,
            ..envelope
        },
    )?;
    let envelope = honest()?;
    put(
        "another salt",
        json!(124),
        wire::Envelope {
            salt: vec![9; 16].into(),
            ..envelope
        },
    )?;
    let envelope = honest()?;
    let no_words = wire::Envelope {
        payload: bytes::Bytes::new(),
        ..envelope
    };
    put("no words, and a salt", json!(124), no_words)?;
    let by_home = forged(
        &home,
        envelope::CONTEXT,
        header(&author, "beta.test")?,
        said("beta.test", "lie"),
    )?;
    put(
        "by the home's key under the name of the author's",
        json!(123),
        by_home,
    )?;
    let own_key = forged(
        &home,
        envelope::CONTEXT,
        header(&home, "beta.test")?,
        said("beta.test", "lie"),
    )?;
    put(
        "by the home's key in the author's domain's name",
        json!(122),
        own_key,
    )?;
    put(
        "sealed by the home itself",
        json!("ok"),
        written(&home, "alpha.test", "words")?,
    )?;
    let elsewhere = Header {
        to: Destination::Group(GroupId::from_bytes([8; 16])),
        ..header(&author, "beta.test")?
    };
    let elsewhere = forged(
        &author,
        envelope::CONTEXT,
        elsewhere,
        said("beta.test", "words"),
    )?;
    put("for another group", json!(121), elsewhere)?;
    let to_domain = Header {
        to: Destination::Domain("alpha.test".parse().map_err(no)?),
        ..header(&author, "beta.test")?
    };
    let to_domain = forged(
        &author,
        envelope::CONTEXT,
        to_domain,
        said("beta.test", "words"),
    )?;
    put("for a domain", json!(121), to_domain)?;
    let unknown = forged(
        &author,
        envelope::CONTEXT,
        header(&author, "beta.test")?,
        by_hand::bytes(77, "new"),
    )?;
    put("a kind that nobody knows", json!("ok"), unknown.clone())?;
    put(
        "a kind that nobody knows, and a signature with another bit",
        json!(123),
        bad(unknown.clone()),
    )?;
    let payload = by_hand::bytes(78, "newer").into();
    put(
        "a kind that nobody knows in the place of another",
        json!(124),
        wire::Envelope { payload, ..unknown },
    )?;
    let more = [
        by_hand::number(90, 1),
        said("beta.test", "words"),
        by_hand::bytes(2000, "new"),
    ];
    let more = forged(
        &author,
        envelope::CONTEXT,
        header(&author, "beta.test")?,
        more.concat(),
    )?;
    put("fields that nobody knows", json!("ok"), more)?;
    let garbage = forged(
        &author,
        envelope::CONTEXT,
        header(&author, "beta.test")?,
        vec![0xff; 9],
    )?;
    put("a payload that is not protobuf", json!(100), garbage)?;
    let mut mismatched = place(&honest()?)?;
    mismatched.envelope = [3; 32];
    all.push(("in the place of another", json!(124), honest()?, mismatched));
    let list = all.into_iter().map(|(comment, expect, it, position)| {
        let position = position.encode();
        Ok(json!({
            "comment": comment, "expect": expect,
            "position": hex(&position),
            "position_signature": hex(home.sign(position::CONTEXT, &position)?),
            "header": hex(it.header), "signature": hex(it.signature),
            "salt": hex(it.salt), "payload": hex(it.payload),
        }))
    });
    let list = list.collect::<Result<Vec<_>>>()?;
    Ok(json!({
        "comment": "Entries of the log of a group (docs/PROTOCOL.md section 7.7): an envelope of any age, and its position, which always holds by the record of the `home`. Judged against the record of the domain that is said to have sealed it, `author` or `home`. `expect` is \"ok\" or the number of the refusal.",
        "home": key("alpha.test", 2)?,
        "author": key("beta.test", 5)?,
        "entries": list,
    }))
}

// === Signatures ===

/// Points that eight times themselves lead to nothing, in all the spellings that decoders take for them.
#[must_use]
pub fn weak_keys() -> Vec<[u8; 32]> {
    let ends = |first: u8, rest: u8, last: u8| {
        let mut bytes = [rest; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let of_order_8: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ];
    let mut other_half = of_order_8;
    other_half[31] |= 0x80;
    vec![
        ends(1, 0, 0),          // the neutral element
        ends(1, 0, 0x80),       // the same with a sign
        ends(0, 0, 0),          // of order 4
        ends(0, 0, 0x80),       // of order 4
        ends(0xec, 0xff, 0x7f), // of order 2
        ends(0xec, 0xff, 0xff), // the same with a sign
        ends(0xee, 0xff, 0x7f), // the neutral element, not reduced
        ends(0xee, 0xff, 0xff), // the same with a sign
        ends(0xed, 0xff, 0x7f), // of order 4, not reduced
        ends(0xed, 0xff, 0xff), // of order 4, not reduced
        of_order_8,
        other_half,
    ]
}

fn signatures() -> Result<Value> {
    let pen = pen(2)?;
    let (context, bytes) = (envelope::CONTEXT, b"signed bytes".as_slice());
    let signature = pen.sign(context, bytes)?;
    let mut list = Vec::new();
    let mut put = |comment: &str, holds: bool, public: &[u8], context: &[u8], signature: &[u8]| {
        list.push(json!({
            "comment": comment, "expect": holds, "public_key": hex(public),
            "context": hex(context), "bytes": hex(bytes), "signature": hex(signature),
        }));
    };
    let public = pen.public();
    put("an honest signature", true, &public, context, &signature);
    put(
        "under another context",
        false,
        &public,
        position::CONTEXT,
        &signature,
    );
    put(
        "under a context without its zero",
        false,
        &public,
        &context[..context.len() - 1],
        &signature,
    );
    put(
        "with another bit in R",
        false,
        &public,
        context,
        &turned(&signature),
    );
    for other in respelled(&signature) {
        put(
            "with S in another spelling",
            false,
            &public,
            context,
            &other,
        );
    }
    put("of zeros", false, &public, context, &[0; 64]);
    for key in weak_keys() {
        for small in weak_keys() {
            let weak = [small, [0; 32]].concat();
            put("by a weak key", false, &key, context, &weak);
        }
    }
    for small in weak_keys() {
        let mut other = signature;
        other[..32].copy_from_slice(&small);
        put("with an R of small order", false, &public, context, &other);
    }
    Ok(json!({
        "comment": "Strict Ed25519 (docs/PROTOCOL.md section 4.2): whether `signature` holds by `public_key` over `context` followed by `bytes`.",
        "signatures": list,
    }))
}
