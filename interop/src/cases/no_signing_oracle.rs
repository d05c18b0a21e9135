//! A peer that wants another domain to sign what the peer has composed (F16).

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use freehold_keys::verify;
use freehold_proto::{
    Destination, GroupId, Header, MessageId, Position, envelope, group, hello, position, record,
    wire, wire::hello_response::Outcome,
};
use futures_util::FutureExt as _;
use prost::Message as _;
use serde_json::json;
use tokio::{
    io::AsyncReadExt as _,
    time::{Instant, sleep, timeout},
};
use wire::{payload::Kind, read_group_request::What as Asked, read_group_response::What as Shown};

use super::{
    Case, Need,
    home_integrity::joins,
    hostile::{Foe, Play, TAKEN, payload, words},
};
use crate::{
    Club, Failure, Person, Proxy, Result, Stage, Way,
    failure::expect,
    peer::{Arrived, HomedGroup, TAKEOVER, forged, message},
    people::accept,
};

const WITHIN: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(200);
/// For how long a home must be away before others may agree to another one.
const AWAY: Duration = Duration::from_secs(4);
/// What stands in everything that the peer composes.
const MARK: &str = "composed by evil.test";

pub(super) const CASE: Case = Case {
    ids: "F16",
    name: "no_signing_oracle",
    proves: "whatever a peer puts into invitations, requests, hellos, questions and letters, a domain signs only what it made itself of values that it checked: for whom it says, under an id of its own, in the one context",
    domains: &["alpha.test"],
    needs: &[Need::Starting],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        let lines = &mut stage.network.domain(0)?.config.federation_lines;
        lines.push(format!("takeover_after_seconds = {}", AWAY.as_secs()));
        lines.push("retry_longest_seconds = 1".to_owned());
        stage.start_all().await?;
        let foe = Foe::comes(stage, 0, "evil.test").await?;
        let key = signing_key(stage, &foe).await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        let group = joins(&foe.peer, &us, (&mut foe.line(), &mut session)).await?;
        let other = odd_invitations(&foe, &us, &mut session).await?;
        writes(&foe, &bob, &mut session, &group).await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (0, "abe")]).await?;
        let own = foe.joins(&mut club).await?;
        odd_letters(&foe, own).await?;
        hellos(stage, &foe).await?;
        stage.pause(LINGER, "all that is signed may come").await;
        let groups = BTreeSet::from([group.id, other, own].map(|it| *it.as_bytes()));
        let count = judged(&foe, &key, &groups)?;
        stage.line.held(
            "evil.test",
            format!("holds {count} signatures of alpha.test, and none over its own words"),
        );
        ballots(stage, &foe, (&us, &mut session), &key).await
    }
    .boxed_local()
}

/// The signing key in a domain's record.
async fn signing_key(stage: &mut Stage, foe: &Foe) -> Result<[u8; 32]> {
    let no = |error: &dyn std::fmt::Display| Failure::harness("fetch a record", error);
    let at = stage.network.domain(0)?.federation();
    let alpn = freehold_proto::limits::ALPN_RECORD;
    let mut stream = foe.peer.knocks(&foe.us, at, alpn).await?;
    let mut bytes = Vec::new();
    let read = timeout(WITHIN, stream.read_to_end(&mut bytes)).await;
    read.map_err(|error| no(&error))?
        .map_err(|error| no(&error))?;
    let signed = wire::SignedRecord::decode(&*bytes).map_err(|error| no(&error))?;
    let record = wire::IdentityRecord::decode(signed.record).map_err(|error| no(&error))?;
    let key = record.signing_keys.first().map(|it| &*it.public_key);
    let key = key.and_then(|it| it.try_into().ok());
    key.ok_or_else(|| no(&"it lists no key"))
}

/// Everything in an invitation that is not checked at once is made of the mark.
async fn odd_invitations(
    foe: &Foe,
    us: &freehold_proto::UserId,
    session: &mut crate::Session,
) -> Result<GroupId> {
    let group = foe.peer.founds()?;
    let invitation = foe.peer.invites(&group, us)?;
    let read = wire::Payload::decode(invitation.payload);
    let Some(Kind::GroupInvitation(honest)) = read.ok().and_then(|it| it.kind) else {
        return Err(Failure::harness("read an invitation", "it is none"));
    };
    let odd = Kind::GroupInvitation(wire::GroupInvitation {
        signature: MARK.repeat(4).into_bytes()[..64].to_vec().into(),
        title: MARK.repeat(1000),
        want_version: u64::MAX >> 1,
        ..honest
    });
    // And a field that nobody knows.
    let unknown = [payload(odd), crate::peer::by_hand::bytes(2000, MARK)].concat();
    let odd = foe.forges(Destination::Domain(foe.us.clone()), unknown)?;
    foe.tries(&[("an odd invitation", odd, TAKEN)]).await?;
    let name = group.id.to_string();
    session.subscribe(&name).await?;
    let yes = json!({"topic": name, "sub": {"mode": "JRWPS"}});
    session.request("set", yes).await?;
    let answers = |it: &[Arrived]| it.iter().any(|it| is_for(it, group.id));
    foe.peer.waits_for("a yes", WITHIN, answers).await?;
    let no = json!({"topic": name, "what": "topic"});
    session.request("del", no).await?;
    Ok(group.id)
}

fn is_for(arrived: &Arrived, group: GroupId) -> bool {
    let header = Header::decode(&arrived.envelope.header);
    header.is_ok_and(|it| it.to == Destination::Group(group))
}

/// Bob writes and answers, to a person and in a group of theirs.
async fn writes(
    foe: &Foe,
    bob: &Person,
    session: &mut crate::Session,
    group: &HomedGroup,
) -> Result<()> {
    let (eve, us) = (foe.eve(), bob.user_id()?);
    let relation = foe.peer.consents(&eve, &us, 1)?;
    let marked = foe.seals(message(&eve, &us, &json!(MARK)))?;
    foe.hands([relation, marked]).await?;
    accept(session, &eve.to_string()).await?;
    session.publish(&eve.to_string(), "an answer").await?;
    session
        .publish(&group.id.to_string(), "in the group")
        .await?;
    session.note(&eve.to_string(), "read", 1).await?;
    let told = |it: &[Arrived]| {
        let of = |it: &Arrived| matches!(&it.kind, Some(Kind::GroupMessage(_)));
        it.iter().any(of)
            && it
                .iter()
                .any(|it| it.text().as_deref() == Some("an answer"))
    };
    foe.peer.waits_for("bob's words", WITHIN, told).await
}

/// Letters to a home, which it places: what it signs is their place, and not what they say.
async fn odd_letters(foe: &Foe, group: GroupId) -> Result<()> {
    let mut header = foe.peer.header(Destination::Group(group))?;
    header.message_id = MessageId::from_bytes(*b"composed by evil");
    let said = payload(Kind::GroupMessage(words(&foe.eve(), MARK)));
    let letter = foe.peer.forges(header, said)?;
    foe.tries(&[("an odd letter", letter, TAKEN)]).await
}

/// A hello that is not proven is not answered by a proof.
async fn hellos(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    let mut line = foe.peer.connect(&foe.us, at).await?;
    let honest = line.proof();
    for odd in [
        wire::HelloRequest {
            signature: vec![1; 64].into(),
            ..honest.clone()
        },
        wire::HelloRequest {
            from: "beta.test".to_owned(),
            ..honest.clone()
        },
        wire::HelloRequest {
            from: foe.us.to_string(),
            ..honest.clone()
        },
        wire::HelloRequest {
            to: foe.peer.domain().to_string(),
            ..honest.clone()
        },
        wire::HelloRequest {
            record_hash: vec![7; 32].into(),
            ..honest.clone()
        },
    ] {
        let outcome = line.greets(&odd).await?;
        expect(matches!(outcome, Outcome::Refused(_)), || {
            format!("a hello without proof is answered by {outcome:?}")
        })?;
    }
    line.hello().await
}

/// All that the domain has signed for the peer: how many signatures.
fn judged(foe: &Foe, key: &[u8; 32], groups: &BTreeSet<[u8; 16]>) -> Result<usize> {
    let mut ids = BTreeSet::new();
    let arrived = foe.peer.arrived();
    let own: Vec<_> = arrived
        .iter()
        .filter(|it| it.is_of(foe.us.as_str()))
        .collect();
    for item in &own {
        let header = Header::decode(&item.envelope.header);
        let header = header.map_err(|error| Failure::Broken(format!("a header: {error}")))?;
        let meant = match &header.to {
            Destination::Domain(it) => it == foe.peer.domain(),
            Destination::Group(it) => groups.contains(it.as_bytes()),
        };
        expect(meant && header.from == foe.us, || {
            format!(
                "alpha has signed for {:?} in the name of {}",
                header.to, header.from
            )
        })?;
        ids.insert(*header.message_id.as_bytes());
        expect(header.message_id.as_bytes() != b"composed by evil", || {
            "alpha has signed under an id of the peer's".to_owned()
        })?;
        only(
            key,
            &item.envelope.header,
            &item.envelope.signature,
            envelope::CONTEXT,
        )?;
        let read = wire::Payload::decode(item.envelope.payload.clone());
        let again = read.map(|it| it.encode_to_vec()).unwrap_or_default();
        let hidden = String::from_utf8_lossy(&item.envelope.payload).contains(MARK);
        expect(again == item.envelope.payload && !hidden, || {
            format!("alpha has signed the peer's words in {:?}", item.kind)
        })?;
    }
    expect(ids.len() > 3, || {
        format!("only {} things were signed", ids.len())
    })?;
    Ok(ids.len() + places(foe, key, groups, &arrived)?)
}

/// What the domain has signed as a home.
fn places(
    foe: &Foe,
    key: &[u8; 32],
    groups: &BTreeSet<[u8; 16]>,
    arrived: &[Arrived],
) -> Result<usize> {
    let placed: Vec<_> = arrived
        .iter()
        .filter_map(|it| it.signed_place.clone())
        .collect();
    expect(!placed.is_empty(), || "no place was signed".to_owned())?;
    for placed in &placed {
        let place = Position::decode(&placed.position);
        let place = place.map_err(|error| Failure::Broken(format!("a position: {error}")))?;
        let own = place.home == foe.us && groups.contains(place.group.as_bytes());
        expect(own, || format!("alpha has signed the place {place:?}"))?;
        only(key, &placed.position, &placed.signature, position::CONTEXT)?;
    }
    Ok(placed.len())
}

/// A signature holds in one context and in no other.
fn only(key: &[u8; 32], bytes: &[u8], signature: &[u8], context: &[u8]) -> Result<()> {
    let signature: [u8; 64] = signature.try_into().unwrap_or([0; 64]);
    let contexts = [
        envelope::CONTEXT,
        position::CONTEXT,
        hello::CONTEXT,
        record::CONTEXT,
        group::CONTEXT,
        b"",
    ];
    let held = contexts
        .into_iter()
        .filter(|it| verify(key, it, bytes, &signature));
    let held: Vec<_> = held.collect();
    expect(held == [context], || {
        format!("a signature holds in {} contexts", held.len())
    })
}

/// A successor asks others to agree to it: they sign the very words, so these must be what they can only
/// be. First the home of a group goes away for as long as it takes.
async fn ballots(
    stage: &mut Stage,
    foe: &Foe,
    (us, session): (&freehold_proto::UserId, &mut crate::Session),
    key: &[u8; 32],
) -> Result<()> {
    let (peer, way): (_, Proxy) = stage.network.stranger_behind("home.test").await?;
    let line = peer
        .dial(&foe.us, stage.network.domain(0)?.federation())
        .await?;
    let home = Foe::with(peer, line, foe.us.clone());
    home.peer
        .names_successors(&["evil.test", "third.test", "alpha.test"]);
    let group = joins(&home.peer, us, (&mut home.line(), session)).await?;
    let honest = wire::GroupConsent {
        home: foe.peer.domain().to_string(),
        epoch: TAKEOVER,
        index: group.index() + 1,
        hash: vec![3; 32].into(),
        last_epoch: 1,
    };
    let odd = [
        wire::GroupConsent {
            home: "third.test".to_owned(),
            ..honest.clone()
        },
        wire::GroupConsent {
            home: foe.us.to_string(),
            ..honest.clone()
        },
        wire::GroupConsent {
            home: format!("evil.test {MARK}"),
            ..honest.clone()
        },
        wire::GroupConsent {
            home: "EVIL.test".to_owned(),
            ..honest.clone()
        },
        wire::GroupConsent {
            home: String::new(),
            ..honest.clone()
        },
        wire::GroupConsent {
            hash: Bytes::from_static(MARK.as_bytes()),
            ..honest.clone()
        },
        wire::GroupConsent {
            hash: MARK.repeat(10_000).into(),
            ..honest.clone()
        },
        wire::GroupConsent {
            hash: Bytes::new(),
            ..honest.clone()
        },
        wire::GroupConsent {
            epoch: 2,
            ..honest.clone()
        },
        wire::GroupConsent {
            epoch: u64::MAX,
            ..honest.clone()
        },
        wire::GroupConsent {
            last_epoch: TAKEOVER,
            ..honest.clone()
        },
        wire::GroupConsent {
            last_epoch: u64::MAX,
            ..honest.clone()
        },
        wire::GroupConsent {
            index: 1,
            ..honest.clone()
        },
    ];
    way.set(Way::Cut);
    // The home is found to be away when something is wanted of it.
    session
        .publish(&group.id.to_string(), "is anybody there?")
        .await?;
    let third = Foe::comes(stage, 0, "aside.test").await?;
    let deadline = Instant::now() + WITHIN;
    let agreed = loop {
        for asked in &odd {
            let asked = Asked::Ballot(asked.clone());
            let answer = foe.line().read_group(group.id, asked).await?;
            expect(answer.what.is_none(), || {
                format!("alpha has signed a composed ballot: {answer:?}")
            })?;
        }
        // Not named by anybody.
        let aside = wire::GroupConsent {
            home: "aside.test".to_owned(),
            ..honest.clone()
        };
        let answer = third
            .line()
            .read_group(group.id, Asked::Ballot(aside))
            .await?;
        expect(answer.what.is_none(), || {
            "alpha agrees to a stranger".to_owned()
        })?;
        let asked = Asked::Ballot(honest.clone());
        let answer = foe.line().read_group(group.id, asked).await?;
        if let Some(Shown::Consent(agreed)) = answer.what {
            break agreed;
        }
        expect(Instant::now() < deadline, || {
            "an honest ballot is not agreed to".to_owned()
        })?;
        sleep(POLL).await;
    };
    only(key, &agreed.header, &agreed.signature, envelope::CONTEXT)?;
    let expected = payload(Kind::GroupConsent(honest));
    let header = Header::decode(&agreed.header);
    let fits = header.is_ok_and(|it| it.to == Destination::Group(group.id) && it.from == foe.us);
    expect(fits && agreed.payload == expected, || {
        "alpha agrees to other words than were asked".to_owned()
    })?;
    stage.line.held(
        "alpha.test",
        "agrees to one exact takeover, and to nothing else",
    );
    // What was agreed to is good for nothing but that.
    let mut header = foe.peer.header(Destination::Group(group.id))?;
    header.from = foe.us.clone();
    let replayed = forged(foe.peer.pen(), envelope::CONTEXT, header, expected)?;
    let answers = foe.hands([agreed, replayed]).await?;
    expect(answers == [120, 120], || {
        format!("the domain's own words come back and are answered by {answers:?}")
    })
}
