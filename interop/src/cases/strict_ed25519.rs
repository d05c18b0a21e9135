//! Signatures that a lax verifier takes: by weak keys, in other spellings, over another context, by a key
//! that is for something else (F24).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{
    Destination, Header, KeyId, UserId, envelope, hello, position, record, wire,
    wire::hello_response::Outcome,
};
use futures_util::FutureExt as _;
use serde_json::json;

use super::{
    Case,
    home_integrity::joins,
    hostile::{Foe, Play, TAKEN, Trial, judged, payload, shows},
};
use crate::{
    Failure, Person, Result, Stage,
    failure::expect,
    peer::{Pen, forged, message, this_moment},
    vectors::weak_keys,
};

const MALFORMED: u32 = 100;
const UNPROVEN: u32 = 112;
const UNKNOWN_KEY: u32 = 122;
const BAD_SIGNATURE: u32 = 123;
const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

pub(super) const CASE: Case = Case {
    ids: "F24",
    name: "strict_ed25519",
    proves: "weak keys, R or S in another spelling, another context and keys that are for something else are refused in envelopes, positions and hellos, also where the identity record lists the key",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

/// The order of the group, little-endian: adding it to S gives another spelling of the same number.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        // Its record lists the weak keys too, and the keys that are for something else.
        let foe = listed(stage, "evil.test").await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        let topic = foe.eve().to_string();
        session.subscribe(&topic).await?;
        foe.tries(&envelopes(&foe, &us)?).await?;
        shows(&mut session, &topic, &["honest", "honest too"]).await?;
        stage
            .line
            .held("bob", "is shown what was signed strictly, and nothing else");
        positions(&foe, (&mut session, &us)).await?;
        stage
            .line
            .held("alpha.test", "takes no entry under a lax position");
        hellos(stage, &foe).await?;
        stage
            .line
            .held("alpha.test", "believes no hello that is proven laxly");
        weak_roots(stage).await
    }
    .boxed_local()
}

async fn listed(stage: &mut Stage, name: &str) -> Result<Foe> {
    let peer = stage.network.stranger(name).await?;
    let mut shown = peer.record();
    let key = |public: [u8; 32], from: i64, until: i64| wire::SigningKey {
        public_key: Bytes::copy_from_slice(&public),
        valid_from_ms: from,
        valid_until_ms: until,
    };
    let now = this_moment().as_millis();
    for public in weak_keys() {
        shown
            .signing_keys
            .push(key(public, now - DAY_MS, now + DAY_MS));
    }
    shown.signing_keys.push(key(
        early(peer.root_pen())?.public(),
        now + HOUR_MS,
        now + DAY_MS,
    ));
    peer.publishes(&shown)?;
    let domain = stage.network.domain(0)?;
    let us = domain.name().clone();
    let line = peer.dial(&us, domain.federation()).await?;
    Ok(Foe::with(peer, line, us))
}

/// A key that will be good in an hour.
fn early(root: &Pen) -> Result<Pen> {
    Pen::of_seed(&root.public())
}

fn added(left: [u8; 32], right: [u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    let mut sum = [0; 32];
    for ((to, one), other) in sum.iter_mut().zip(left).zip(right) {
        let all = u16::from(one) + u16::from(other) + carry;
        *to = all.to_le_bytes()[0];
        carry = all >> 8;
    }
    sum
}

/// The same signature with S in its next spelling.
fn respelled(signature: &Bytes) -> Bytes {
    let (r, s) = signature.split_at(32);
    let s = s.try_into().map_or([0; 32], |it| added(it, ORDER));
    [r, &s].concat().into()
}

fn envelopes(foe: &Foe, us: &UserId) -> Result<Vec<Trial>> {
    let to = || Destination::Domain(foe.us.clone());
    let says = |text: &str| payload(message(&foe.eve(), us, &json!(text)));
    let lie = |pen: &Pen, context: &[u8]| -> Result<wire::Envelope> {
        let header = Header {
            key_id: foe.peer.pen().id(),
            ..foe.peer.header(to())?
        };
        forged(pen, context, header, says("lie"))
    };
    let by = |pen: &Pen| -> Result<wire::Envelope> {
        let header = Header {
            key_id: pen.id(),
            ..foe.peer.header(to())?
        };
        forged(pen, envelope::CONTEXT, header, says("lie"))
    };
    let signed = |signature: Vec<u8>| -> Result<wire::Envelope> {
        Ok(wire::Envelope {
            signature: signature.into(),
            ..lie(foe.peer.pen(), envelope::CONTEXT)?
        })
    };
    let own = foe.peer.pen();
    let mut trials: Vec<Trial> = vec![
        ("honest", foe.forges(to(), says("honest"))?, TAKEN),
        ("no signature", signed(Vec::new())?, MALFORMED),
        ("zeros", signed(vec![0; 64])?, BAD_SIGNATURE),
        ("a signature and a byte", signed(vec![0; 65])?, MALFORMED),
    ];
    let mut other_s = lie(own, envelope::CONTEXT)?;
    other_s.signature = respelled(&other_s.signature);
    trials.push(("another spelling of S", other_s, BAD_SIGNATURE));
    let mut high = lie(own, envelope::CONTEXT)?;
    let mut bits = high.signature.to_vec();
    bits.last_mut().into_iter().for_each(|it| *it |= 0xe0);
    high.signature = bits.into();
    trials.push(("the upper bits of S", high, BAD_SIGNATURE));
    for context in [
        hello::CONTEXT,
        record::CONTEXT,
        position::CONTEXT,
        b"",
        b"freehold/envelope/v1",
    ] {
        trials.push(("another context", lie(own, context)?, BAD_SIGNATURE));
    }
    for pen in [foe.peer.tls_pen(), foe.peer.root_pen(), &Pen::fresh()?] {
        trials.push((
            "another key under the name of this",
            lie(pen, envelope::CONTEXT)?,
            BAD_SIGNATURE,
        ));
        trials.push(("a key that signs no envelopes", by(pen)?, UNKNOWN_KEY));
    }
    let early = early(foe.peer.root_pen())?;
    trials.push(("a key that is not good yet", by(&early)?, UNKNOWN_KEY));
    for key in weak_keys() {
        for small in weak_keys() {
            let header = Header {
                key_id: KeyId::of(&key),
                ..foe.peer.header(to())?
            };
            let mut weak = forged(own, envelope::CONTEXT, header, says("lie"))?;
            weak.signature = [small, [0; 32]].concat().into();
            trials.push(("a weak key", weak, BAD_SIGNATURE));
        }
    }
    trials.push(("honest too", foe.forges(to(), says("honest too"))?, TAKEN));
    Ok(trials)
}

/// The same for what the home of a group signs.
async fn positions(foe: &Foe, (session, us): (&mut crate::Session, &UserId)) -> Result<()> {
    let mut group = joins(&foe.peer, us, (&mut foe.line(), session)).await?;
    let lie = || foe.peer.says(&group, "lie");
    let honest = foe.peer.misplaces(&group, lie()?, |_| {});
    let place = honest.placed.clone().unwrap_or_default();
    let signed = |signature: Bytes| wire::Item {
        placed: Some(wire::Placed {
            signature,
            position: place.position.clone(),
        }),
        ..honest.clone()
    };
    let by = |pen: &Pen, context: &[u8]| -> Result<wire::Item> {
        Ok(signed(pen.sign(context, &place.position)?.to_vec().into()))
    };
    let mut trials = vec![
        (
            "another spelling of S",
            signed(respelled(&place.signature)),
            BAD_SIGNATURE,
        ),
        (
            "the context of an envelope",
            by(foe.peer.pen(), envelope::CONTEXT)?,
            BAD_SIGNATURE,
        ),
        (
            "the root key",
            by(foe.peer.root_pen(), position::CONTEXT)?,
            BAD_SIGNATURE,
        ),
        (
            "the TLS key",
            by(foe.peer.tls_pen(), position::CONTEXT)?,
            BAD_SIGNATURE,
        ),
    ];
    let read = freehold_proto::Position::decode(&place.position);
    let read = read.map_err(|error| Failure::harness("read a position", error))?;
    for key in weak_keys() {
        let weak = freehold_proto::Position {
            key_id: KeyId::of(&key),
            ..read.clone()
        };
        let mut item = foe.peer.places_at(&weak, lie()?)?;
        let envelope = item.envelope.clone().unwrap_or_default();
        let envelope = freehold_proto::Envelope::try_from(envelope);
        let hash = envelope.map(|it| it.header_hash()).unwrap_or_default();
        let bound = freehold_proto::Position {
            envelope: hash,
            ..weak
        };
        if let Some(placed) = &mut item.placed {
            placed.position = bound.encode().into();
            placed.signature = [[1; 1].to_vec(), vec![0; 63]].concat().into();
        }
        trials.push(("a weak key", item, BAD_SIGNATURE));
    }
    let answers = foe
        .hands_items(trials.iter().map(|it| it.1.clone()).collect())
        .await?;
    judged(trials.iter().map(|it| (it.0, it.2)), &answers)?;
    let two = foe.peer.says(&group, "two")?;
    let two = foe.peer.places(&mut group, two, true);
    let answers = foe.hands_items(vec![two]).await?;
    judged([("honest", TAKEN)], &answers)?;
    shows(session, &group.id.to_string(), &["one", "two"]).await
}

/// The same for what proves a domain on a connection.
async fn hellos(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    let mut line = foe.peer.connect(&foe.us, at).await?;
    let honest = line.proof();
    let signed = hello::Hello {
        role: hello::Role::Initiator,
        from: foe.peer.domain(),
        to: &foe.us,
        key_id: foe.peer.pen().id(),
        record_hash: (&*honest.record_hash).try_into().unwrap_or_default(),
        exporter: line.exporter(),
    }
    .signed_bytes();
    let with = |key_id: KeyId, signature: Vec<u8>| wire::HelloRequest {
        key_id: Bytes::copy_from_slice(key_id.as_bytes()),
        signature: signature.into(),
        ..honest.clone()
    };
    let own = foe.peer.pen();
    let bare = signed.get(hello::CONTEXT.len()..).unwrap_or_default();
    let mut wrong = vec![
        with(own.id(), respelled(&honest.signature).to_vec()),
        with(own.id(), own.sign(envelope::CONTEXT, bare)?.to_vec()),
        with(own.id(), own.sign(b"", bare)?.to_vec()),
        with(own.id(), foe.peer.tls_pen().sign(b"", &signed)?.to_vec()),
        with(
            foe.peer.tls_pen().id(),
            foe.peer.tls_pen().sign(b"", &signed)?.to_vec(),
        ),
        with(
            foe.peer.root_pen().id(),
            foe.peer.root_pen().sign(b"", &signed)?.to_vec(),
        ),
        with(own.id(), Vec::new()),
        with(own.id(), vec![0; 64]),
    ];
    let early = early(foe.peer.root_pen())?;
    wrong.push(with(early.id(), early.sign(b"", &signed)?.to_vec()));
    for key in weak_keys() {
        wrong.push(with(KeyId::of(&key), [vec![1], vec![0; 63]].concat()));
    }
    for request in wrong {
        let outcome = line.greets(&request).await?;
        let refused = matches!(&outcome, Outcome::Refused(it) if it.code == UNPROVEN);
        expect(refused, || {
            format!("a lax hello is answered by {outcome:?}")
        })?;
    }
    line.hello().await
}

/// A record whose root key is weak, as DNS names it: nobody holds that key, so anybody could sign.
async fn weak_roots(stage: &mut Stage) -> Result<()> {
    for (number, root) in weak_keys().into_iter().enumerate() {
        let name = format!("weak{number}.test");
        let peer = stage.network.stranger(&name).await?;
        let mut shown = peer.record();
        shown.root_key = Bytes::copy_from_slice(&root);
        let bytes = prost::Message::encode_to_vec(&shown);
        peer.publishes_bytes(bytes, [vec![1], vec![0; 63]].concat())?;
        let fingerprint: [u8; 32] = sha2::Digest::finalize(sha2::Digest::chain_update(
            <sha2::Sha256 as sha2::Digest>::new(),
            root,
        ))
        .into();
        let named = freehold_keys::fingerprint_to_text(&fingerprint);
        stage
            .network
            .publish_stranger(peer.domain(), peer.address(), &named)?;
        let domain = stage.network.domain(0)?;
        let (us, at) = (domain.name().clone(), domain.federation());
        let mut line = peer.connect(&us, at).await?;
        let proof = line.proof();
        let outcome = line.greets(&proof).await?;
        let refused = matches!(&outcome, Outcome::Refused(it) if it.code == 114);
        expect(refused, || {
            format!("a record with a weak root key is answered by {outcome:?}")
        })?;
    }
    stage
        .line
        .held("alpha.test", "believes no record whose root key is weak");
    Ok(())
}
