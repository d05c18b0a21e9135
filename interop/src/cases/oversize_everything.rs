//! Everything a little, and everything much too large (F55).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{Destination, UserId, limits, wire, wire::hello_response::Outcome};
use futures_util::FutureExt as _;
use prost::Message as _;
use serde_json::json;
use wire::{find_request::Query, payload::Kind, read_group_request::What as Asked};

use super::{
    Case,
    hostile::{Foe, Play, TAKEN, Trial, all_show, asks, payload, refusal},
};
use crate::{
    Club, Failure, Person, Result, Stage,
    failure::expect,
    growth::memory_kib,
    peer::{
        by_hand::{bytes, framed, number, tag},
        items, message,
    },
    people::accept,
};

const MALFORMED: u32 = 100;
const TOO_LARGE: u32 = 102;
const NOT_CANONICAL: u32 = 103;
const UNVERIFIED: u32 = 114;
const BARE_OR_LARGE: [u64; 2] = [100, 102];
/// What all of it may cost, in KiB.
const MEMORY_KIB_MAX: u64 = 96 * 1024;
const TIMES: usize = 20;

pub(super) const CASE: Case = Case {
    ids: "F55",
    name: "oversize_everything",
    proves: "hellos, frames, batches, payloads, records, names, lists and nestings above their bounds are refused by their numbers, harm nothing beside them, and cost little memory; what is just as large as may be is taken",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let foe = Foe::comes(stage, 0, "large.test").await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        let mut club = Club::begin(stage, &[(0, "ann"), (0, "abe")]).await?;
        foe.joins(&mut club).await?;
        let relation = foe.peer.consents(&foe.eve(), &us, 1)?;
        let hello = foe.seals(message(&foe.eve(), &us, &json!("hello")))?;
        foe.hands([relation, hello]).await?;
        let topic = foe.eve().to_string();
        accept(&mut session, &topic).await?;

        let before = memory(stage)?;
        for trial in sealed(&foe, &us, &club)? {
            foe.tries(&[trial]).await?;
        }
        let largest = said_in(&foe, &us, limits::PAYLOAD_BYTES_MAX)?;
        foe.tries(&[("words as long as may be", largest, TAKEN)])
            .await?;
        stage
            .line
            .held("alpha.test", "refuses items that are too large");
        calls(&foe, &us).await?;
        stage
            .line
            .held("alpha.test", "refuses calls that are too large");
        hellos(stage, &foe).await?;
        records(stage).await?;
        stage.line.held(
            "alpha.test",
            "refuses hellos and records that are too large",
        );
        let history = session.history(&topic, 1).await?;
        expect(history.len() == 2, || {
            format!("bob sees {} messages, not 2", history.len())
        })?;
        all_show(&mut club, &[]).await?;
        let last = foe.seals(message(&foe.eve(), &us, &json!("last")))?;
        foe.tries(&[("a last word", last, TAKEN)]).await?;
        if !stage.network.is_ours() {
            return Ok(());
        }
        let grown = memory(stage)?.saturating_sub(before);
        expect(grown <= MEMORY_KIB_MAX, || {
            format!("what is too large has cost {grown} KiB")
        })?;
        stage.line.held(
            "alpha.test",
            format!("has grown by {grown} KiB over all of it"),
        );
        Ok(())
    }
    .boxed_local()
}

/// In KiB; nothing of a server that runs elsewhere.
fn memory(stage: &mut Stage) -> Result<u64> {
    if !stage.network.is_ours() {
        return Ok(0);
    }
    let process = stage.network.domain(0)?.process().map(|it| it.id());
    let memory = process.and_then(memory_kib);
    memory.ok_or_else(|| Failure::harness("measure alpha.test", "it does not run"))
}

/// A message whose payload has exactly so many bytes.
fn said_in(foe: &Foe, us: &UserId, size: usize) -> Result<wire::Envelope> {
    let kind = |length: usize| message(&foe.eve(), us, &json!("x".repeat(length)));
    let mut length = size - payload(kind(1)).len() - 16;
    while payload(kind(length)).len() < size {
        length += 1;
    }
    foe.seals(kind(length))
}

fn sealed(foe: &Foe, us: &UserId, club: &Club) -> Result<Vec<Trial>> {
    let (eve, group) = (foe.eve(), super::hostile::group_of(club)?);
    let to = || Destination::Domain(foe.us.clone());
    let direct = |change: &dyn Fn(&mut wire::DirectMessage)| {
        let mut said = wire::DirectMessage {
            author: eve.to_string(),
            recipient: us.to_string(),
            content: "\"lie\"".into(),
            ..wire::DirectMessage::default()
        };
        change(&mut said);
        foe.seals(Kind::DirectMessage(said))
    };
    let attachment = || wire::Attachment {
        owner: foe.peer.domain().to_string(),
        key: vec![1; 16].into(),
        size: 1,
        sha256: vec![1; 32].into(),
    };
    let deletion = |count: usize| {
        foe.seals(Kind::DirectDeletion(wire::DirectDeletion {
            author: eve.to_string(),
            recipient: us.to_string(),
            message_ids: vec![Bytes::from_static(&[1; 16]); count],
        }))
    };
    let invitation = |record: Vec<u8>| {
        foe.seals(Kind::GroupInvitation(wire::GroupInvitation {
            record: record.into(),
            signature: vec![0; 64].into(),
            invitee: us.to_string(),
            inviter: eve.to_string(),
            given: "JRW".to_owned(),
            ..wire::GroupInvitation::default()
        }))
    };
    let mut deep = Vec::new();
    for _ in 0..20_000 {
        deep = [tag(90, 3), deep].concat();
        if deep.len() > 100_000 {
            break;
        }
    }
    let long_name = format!("usrAAAAAAAAAAA@{}.test", "x".repeat(260));
    let many_labels = format!("usrAAAAAAAAAAA@{}test", "a.".repeat(130));
    let describe = wire::group_request::What::Describe(wire::GroupDescribe {
        public: Some(json!({"fn": "x".repeat(200_000)}).to_string().into()),
        ..wire::GroupDescribe::default()
    });
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    Ok(vec![
        (
            "a payload of a byte too many",
            said_in(foe, us, limits::PAYLOAD_BYTES_MAX + 1)?,
            TOO_LARGE,
        ),
        (
            "a payload of 900 kilobytes",
            said_in(foe, us, 900_000)?,
            TOO_LARGE,
        ),
        (
            "129 files",
            direct(&|it| it.attachments = vec![attachment(); limits::ATTACHMENTS_MAX + 1])?,
            MALFORMED,
        ),
        (
            "a deletion of 1001",
            deletion(limits::DELETED_IDS_MAX + 1)?,
            MALFORMED,
        ),
        ("a deletion of 14000", deletion(14_000)?, MALFORMED),
        (
            "an author of a long domain",
            direct(&|it| it.author.clone_from(&long_name))?,
            NOT_CANONICAL,
        ),
        (
            "an author of many labels",
            direct(&|it| it.author.clone_from(&many_labels))?,
            NOT_CANONICAL,
        ),
        (
            "an author of 200 kilobytes",
            direct(&|it| it.author = "x".repeat(200_000))?,
            MALFORMED,
        ),
        (
            "content of 100000 levels",
            direct(&|it| it.content = nested.clone().into())?,
            MALFORMED,
        ),
        (
            "a head of 100000 levels",
            direct(&|it| it.head = format!("{{\"a\": {nested}}}").into())?,
            MALFORMED,
        ),
        (
            "fields of 100 kilobytes of levels",
            foe.forges(to(), deep)?,
            MALFORMED,
        ),
        (
            "a create record of 100 kilobytes",
            invitation(vec![1; 100_000])?,
            MALFORMED,
        ),
        (
            "a description of 200 kilobytes by who may not",
            asks(&foe.peer, group, &eve, describe)?,
            131,
        ),
    ])
}

/// Whole calls, many times each.
async fn calls(foe: &Foe, us: &UserId) -> Result<()> {
    let (from, to) = (foe.peer.domain().to_string(), foe.us.to_string());
    let parties = [bytes(1, &from), bytes(2, &to)].concat();
    let item = bytes(
        4,
        items(1, [foe.seals(message(&foe.eve(), us, &json!("lie")))?])[0].encode_to_vec(),
    );
    let signal = bytes(
        3,
        wire::Signal {
            user: foe.eve().to_string(),
            peer: us.to_string(),
            what: "kp".to_owned(),
            ..wire::Signal::default()
        }
        .encode_to_vec(),
    );
    let empty = |count: u64| {
        let items = (1..=count).map(|it| bytes(4, number(1, it)));
        items.collect::<Vec<_>>().concat()
    };
    let long = "x".repeat(limits::FRAME_BYTES_MAX + 1);
    let trials: Vec<(&str, &str, Vec<u8>, Vec<u64>)> = vec![
        (
            "1001 items",
            "Deliver",
            [&*parties, &empty(1001)].concat(),
            vec![102],
        ),
        (
            "100000 items",
            "Deliver",
            [&*parties, &empty(100_000)].concat(),
            vec![102],
        ),
        ("no items", "Deliver", parties.clone(), vec![100]),
        (
            "a frame of more than a megabyte",
            "Deliver",
            [&*parties, &item, &bytes(90, &long)].concat(),
            vec![102],
        ),
        (
            "a frame of 3 megabytes",
            "Deliver",
            [&*parties, &bytes(90, long.repeat(3))].concat(),
            vec![102],
        ),
        (
            "129 signals",
            "Signal",
            [&*parties, &signal.repeat(129)].concat(),
            vec![102],
        ),
        (
            "5000 signals",
            "Signal",
            [&*parties, &signal.repeat(5000)].concat(),
            vec![102],
        ),
        (
            "a long local part",
            "Find",
            [&*parties, &bytes(3, "x".repeat(97))].concat(),
            vec![102],
        ),
        (
            "a longer local part",
            "Find",
            [&*parties, &bytes(3, "x".repeat(900_000))].concat(),
            vec![102],
        ),
        (
            "a long id",
            "Find",
            [&*parties, &bytes(4, "x".repeat(900_000))].concat(),
            BARE_OR_LARGE.to_vec(),
        ),
        (
            "a long group",
            "ReadGroup",
            [&*parties, &bytes(3, vec![1; 900_000])].concat(),
            vec![100],
        ),
        (
            "a long file key",
            "ReadFile",
            [&*parties, &bytes(3, vec![1; 900_000])].concat(),
            vec![100],
        ),
        (
            "a long sender",
            "Find",
            [bytes(1, "x".repeat(900_000)), bytes(2, &to)].concat(),
            vec![103],
        ),
    ];
    for (what, method, request, numbers) in &trials {
        for _ in 0..TIMES {
            let answer = foe
                .line()
                .call_with::<wire::DeliverResponse>(method, framed(request))
                .await;
            let answer = refusal(answer)?;
            expect(numbers.contains(&answer), || {
                format!("{what}: answered by {answer}, not {numbers:?}")
            })?;
        }
    }
    // What is said to be four gigabytes, of which little comes.
    let mut endless = framed(&parties).to_vec();
    endless[1..5].fill(0xff);
    let answer = foe
        .line()
        .call_with::<wire::DeliverResponse>("Deliver", endless.into())
        .await;
    let answer = refusal(answer)?;
    expect(answer == u64::from(TOO_LARGE), || {
        format!("a call of four gigabytes is answered by {answer}")
    })?;
    let long_after = "usrAAAAAAAAAAA@x".to_owned() + &"x".repeat(900_000);
    let mut line = foe.line();
    let asked = line.read_group(
        freehold_proto::GroupId::from_bytes([1; 16]),
        Asked::State(long_after),
    );
    expect(refusal(asked.await)? >= 100, || {
        "a long page is shown".to_owned()
    })?;
    let found = foe.line().find(Query::User(us.to_string())).await?;
    expect(found.is_some(), || {
        "the line does not serve any more".to_owned()
    })
}

async fn hellos(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    for size in [limits::HELLO_BYTES_MAX, 900_000, 3_000_000] {
        let mut line = foe.peer.connect(&foe.us, at).await?;
        let mut request = line.proof().encode_to_vec();
        request.extend(bytes(90, vec![1; size]));
        let answer = line
            .call_with::<wire::HelloResponse>("Hello", framed(&request))
            .await;
        let refused = match refusal(answer) {
            Ok(number) => number == u64::from(TOO_LARGE),
            Err(failure) => failure.is_disconnect(),
        };
        expect(refused, || {
            format!("a hello of {size} bytes more is answered")
        })?;
    }
    let mut line = foe.peer.connect(&foe.us, at).await?;
    let mut request = line.proof();
    request.from = format!("{}.test", "x".repeat(10_000));
    let outcome = line.greets(&request).await?;
    let refused = matches!(&outcome, Outcome::Refused(it) if it.code == NOT_CANONICAL);
    expect(refused, || {
        format!("a long name is answered by {outcome:?}")
    })
}

/// Identity records, of domains that nobody has met.
async fn records(stage: &mut Stage) -> Result<()> {
    for (name, extra, taken) in [
        ("fits.test", 40_000, true),
        ("longer.test", limits::RECORD_BYTES_MAX, false),
        ("endless.test", 8 * 1024 * 1024, false),
    ] {
        let peer = stage.network.stranger(name).await?;
        let mut record = peer.record();
        record.endpoints = vec!["x".repeat(extra)];
        peer.publishes(&record)?;
        let domain = stage.network.domain(0)?;
        let (us, at) = (domain.name().clone(), domain.federation());
        let mut line = peer.connect(&us, at).await?;
        let proof = line.proof();
        let outcome = line.greets(&proof).await?;
        let fits = match &outcome {
            Outcome::Accepted(_) => taken,
            Outcome::Refused(it) => !taken && it.code == UNVERIFIED,
            Outcome::Pending(_) => false,
        };
        expect(fits, || {
            format!("a record of {extra} bytes more is answered by {outcome:?}")
        })?;
    }
    Ok(())
}
