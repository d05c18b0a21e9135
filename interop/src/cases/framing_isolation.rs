//! Frames that are cut short, mixed up or out of place, and answers that belong to somebody else (F59).

use std::time::Duration;

use freehold_proto::{UserId, wire, wire::result::Verdict};
use futures_util::{FutureExt as _, future::try_join_all};
use prost::Message as _;
use serde_json::json;
use wire::{find_request::Query, payload::Kind};

use super::{
    Case,
    hostile::{Foe, Play, shows},
};
use crate::{
    Failure, Person, Result, Session, Stage,
    failure::expect,
    peer::{
        Arrived, Reply,
        by_hand::framed,
        http2::{CONTINUATION, DATA, END, Frames, GOAWAY, HEAD_ENDS, HEADERS, RESET, frame, head},
        items, message,
    },
    people::accept,
};

const WITHIN: Duration = Duration::from_secs(30);
/// People who are looked up, each many times, at once.
const PEOPLE: usize = 6;
const TIMES: usize = 40;
/// Bytes of a call in one frame, where calls stand between each other.
const PIECE: usize = 64;

pub(super) const CASE: Case = Case {
    ids: "F59",
    name: "framing_isolation",
    proves: "frames that are truncated, interleaved, misplaced or endless harm nobody but their own connection; every answer reaches the request and the domain it is for, and a wrong number of answers settles nothing",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.network.domain(0)?.hooks.haste = Some(20);
        stage.start_all().await?;
        let foe = Foe::comes(stage, 0, "evil.test").await?;
        let honest = Foe::comes(stage, 0, "honest.test").await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        let topic = foe.eve().to_string();
        let greeting = foe.seals(message(&foe.eve(), &us, &json!("hello")))?;
        let relation = foe.peer.consents(&foe.eve(), &us, 1)?;
        foe.hands([relation, greeting]).await?;
        accept(&mut session, &topic).await?;
        for (what, bytes) in broken(&foe, &us)? {
            let at = stage.network.domain(0)?.federation();
            let mut frames = Frames::proven(&foe.peer, &foe.us, at).await?;
            // It may end before all has been sent.
            let _sent = frames.send(&bytes).await;
            let mut honest_line = honest.line();
            let found = honest_line.find(Query::User(us.to_string())).await?;
            expect(found.is_some_and(|it| it.user == us.to_string()), || {
                format!("with {what} on another connection nobody is served")
            })?;
            drop(frames);
            shows(&mut session, &topic, &["hello"]).await?;
            stage
                .line
                .held("alpha.test", format!("takes nothing of {what}"));
        }
        interleaved(stage, &foe, (&us, &mut session)).await?;
        misplaced(stage, &foe, (&us, &mut session)).await?;
        own_answers(stage, [&foe, &honest]).await?;
        wrong_counts(&foe, &mut session).await?;
        stage
            .line
            .held("alpha.test", "settles nothing by a wrong number of answers");
        Ok(())
    }
    .boxed_local()
}

/// A batch with one message, as a gRPC call carries it.
fn batch(foe: &Foe, us: &UserId, text: &str) -> Result<Vec<u8>> {
    let said = foe.seals(message(&foe.eve(), us, &json!(text)))?;
    let request = wire::DeliverRequest {
        from: foe.peer.domain().to_string(),
        to: foe.us.to_string(),
        epoch: 1,
        items: items(800_000, [said]),
    };
    Ok(request.encode_to_vec())
}

/// What never is a whole call, after a hello on stream 1.
fn broken(foe: &Foe, us: &UserId) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let call = |stream: u32, more: &[(&str, &str)]| {
        frame(HEADERS, HEAD_ENDS, stream, &head(&foe.us, "Deliver", more))
    };
    let lie = batch(foe, us, "lie")?;
    let body = framed(&lie);
    let half = &body[..body.len() / 2];
    let data = |stream: u32, flags: u8, content: &[u8]| frame(DATA, flags, stream, content);
    let mut compressed = body.to_vec();
    compressed[0] = 1;
    let mut longer = body.to_vec();
    longer[4] = longer[4].wrapping_add(9);
    let mut endless = body.to_vec();
    endless[1..5].fill(0xff);
    let cut = |bytes: Vec<u8>, count: usize| bytes[..count].to_vec();
    let resets = (3..2003_u32).step_by(2);
    let resets = resets.flat_map(|it| [call(it, &[]), frame(RESET, 0, it, &[0; 4])].concat());
    Ok(vec![
        ("half a frame", cut(call(3, &[]), 20)),
        (
            "half a call that ends",
            [call(3, &[]), data(3, END, half)].concat(),
        ),
        (
            "half a call that does not",
            [call(3, &[]), data(3, 0, half)].concat(),
        ),
        (
            "a call and a reset",
            [call(3, &[]), data(3, 0, half), frame(RESET, 0, 3, &[0; 4])].concat(),
        ),
        (
            "a call that is said to be compressed",
            [call(3, &[]), data(3, END, &compressed)].concat(),
        ),
        (
            "a call that is longer than its body",
            [call(3, &[]), data(3, END, &longer)].concat(),
        ),
        (
            "a call of four gigabytes",
            [call(3, &[]), data(3, 0, &endless)].concat(),
        ),
        (
            "a body of another length",
            [call(3, &[("content-length", "3")]), data(3, END, &body)].concat(),
        ),
        ("data on the stream of hello", data(1, END, &body)),
        ("data on a stream that is not there", data(7, END, &body)),
        ("data on stream 0", data(0, END, &body)),
        (
            "a call on an even stream",
            [call(4, &[]), data(4, END, &body)].concat(),
        ),
        (
            "a call on the stream of hello",
            [call(1, &[]), data(1, END, &body)].concat(),
        ),
        (
            "a head without its end, and data",
            [
                frame(HEADERS, 0, 3, &head(&foe.us, "Deliver", &[])),
                data(3, END, &body),
            ]
            .concat(),
        ),
        (
            "the end of a head on another stream",
            [
                frame(HEADERS, 0, 3, &head(&foe.us, "Deliver", &[])),
                frame(CONTINUATION, HEAD_ENDS, 5, &[]),
                data(3, END, &body),
            ]
            .concat(),
        ),
        (
            "a frame of 16 megabytes",
            [
                vec![0xff, 0xff, 0xff],
                vec![DATA, 0, 0, 0, 0, 3],
                vec![0; 65536],
            ]
            .concat(),
        ),
        ("heads of 60 kilobytes", {
            let long = "x".repeat(3000);
            let many = vec![("x-long", &*long); 20];
            let head = head(&foe.us, "Deliver", &many);
            let mut bytes = frame(HEADERS, 0, 3, &head[..16_000]);
            for part in head[16_000..].chunks(16_000) {
                bytes.extend(frame(CONTINUATION, 0, 3, part));
            }
            bytes.extend(frame(CONTINUATION, HEAD_ENDS, 3, &[]));
            bytes.extend(data(3, END, &body));
            bytes
        }),
        ("a thousand calls that are reset", resets.collect()),
        (
            "an unknown compression of heads",
            frame(HEADERS, HEAD_ENDS | END, 3, &[0xff; 64]),
        ),
        (
            "the end of the connection, and a call on a closed stream",
            { [frame(GOAWAY, 0, 0, &[0; 8]), data(1, END, &body)].concat() },
        ),
        ("bytes that are no frames", vec![0xa5; 100_000]),
    ])
}

/// Calls whose frames stand between each other's are each taken as they are, in the order they end.
async fn interleaved(
    stage: &mut Stage,
    foe: &Foe,
    (us, session): (&UserId, &mut Session),
) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    let mut frames = Frames::proven(&foe.peer, &foe.us, at).await?;
    let bodies = [batch(foe, us, "first")?, batch(foe, us, "second")?].map(|it| framed(&it));
    let mut bytes = Vec::new();
    for stream in [3, 5] {
        bytes.extend(frame(
            HEADERS,
            HEAD_ENDS,
            stream,
            &head(&foe.us, "Deliver", &[]),
        ));
    }
    // Smaller pieces than these are taken for an attack, and end the connection.
    let mut parts = bodies.each_ref().map(|it| it.chunks(PIECE).peekable());
    while parts.iter_mut().any(|it| it.peek().is_some()) {
        for (stream, parts) in [3, 5].into_iter().zip(&mut parts) {
            if let Some(part) = parts.next() {
                let flags = if parts.peek().is_none() { END } else { 0 };
                bytes.extend(frame(DATA, flags, stream, part));
            }
        }
    }
    frames.send(&bytes).await?;
    let mut answered = 0;
    while answered < 2 {
        let came = frames.next().await;
        let came = came.ok_or_else(|| Failure::Broken("two calls have no answers".to_owned()))?;
        if came.kind == DATA && !came.content.is_empty() {
            let answer = wire::DeliverResponse::decode(came.content.slice(5..));
            let results = answer.map(|it| it.results).unwrap_or_default();
            let taken = matches!(
                results.first().and_then(|it| it.verdict.as_ref()),
                Some(Verdict::Ok(_))
            );
            expect(taken && results.len() == 1, || {
                format!("a call between the frames of another is answered by {results:?}")
            })?;
            answered += 1;
        }
    }
    let topic = foe.eve().to_string();
    crate::club::eventually("to see both", session, async |it| {
        let texts = super::hostile::texts(it, &topic).await?;
        let both = ["first", "second"]
            .iter()
            .all(|it| texts.contains(&(*it).to_owned()));
        Ok(both && texts.len() == 3)
    })
    .await?;
    stage.line.held(
        "alpha.test",
        "keeps calls apart whose frames stand between each other's",
    );
    Ok(())
}

/// Two messages where one is called for: at most the first one counts.
async fn misplaced(
    stage: &mut Stage,
    foe: &Foe,
    (us, session): (&UserId, &mut Session),
) -> Result<()> {
    let two = [
        framed(&batch(foe, us, "third")?),
        framed(&batch(foe, us, "stowaway")?),
    ]
    .concat();
    let answer = foe
        .line()
        .call_with::<wire::DeliverResponse>("Deliver", two.into())
        .await;
    let taken = answer.is_ok_and(|it| it.results.len() == 1);
    let topic = foe.eve().to_string();
    let texts = super::hostile::texts(session, &topic).await?;
    let count = if taken { 4 } else { 3 };
    let stowed = texts.iter().any(|it| it == "stowaway");
    expect(!stowed && texts.len() == count, || {
        format!("of two messages in one call bob sees {texts:?}")
    })?;
    stage
        .line
        .held("alpha.test", "takes one request from one call");
    Ok(())
}

/// Many questions at once on two connections: each gets its own answer.
async fn own_answers(stage: &mut Stage, foes: [&Foe; 2]) -> Result<()> {
    let endpoint = stage.network.endpoint(0)?;
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        let name = format!("person{number}");
        let (person, _session) = Person::register(&endpoint, &name).await?;
        people.push((person.login.clone(), person.user_id()?));
    }
    let mut asking = Vec::new();
    for number in 0..PEOPLE * TIMES {
        let (name, id) = &people[number % PEOPLE];
        let mut line = foes[number % 2].line();
        asking.push(async move {
            let query = match number % 3 {
                0 => Query::User(id.to_string()),
                1 => Query::LocalPart(name.clone()),
                _ => Query::LocalPart(format!("nobody{number}")),
            };
            let nobody = number % 3 == 2;
            let found = line.find(query).await?;
            let fits = match &found {
                Some(it) => !nobody && it.user == id.to_string(),
                None => nobody,
            };
            expect(fits, || {
                format!("who asked for {name} is answered {found:?}")
            })
        });
    }
    let count = asking.len();
    try_join_all(asking).await?;
    stage.line.held(
        "alpha.test",
        format!("gives each of {count} questions its own answer"),
    );
    Ok(())
}

/// The peer answers a batch by too few or too many verdicts.
async fn wrong_counts(foe: &Foe, session: &mut Session) -> Result<()> {
    let taken = || Verdict::Ok(wire::Ok {});
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&tries);
    foe.peer.answers(move |batch| {
        let count = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let many = match count {
            0 => 0,
            1 => batch.len() + 1,
            2 => batch.len() + 1000,
            _ => return Reply::Taken,
        };
        Reply::Verdicts((0..many).map(|_| taken()).collect())
    });
    let topic = foe.eve().to_string();
    let before = foe.peer.arrived().len();
    session.publish(&topic, "counted").await?;
    let came = |it: &[Arrived]| {
        let said = |it: &&Arrived| matches!(&it.kind, Some(Kind::DirectMessage(_)));
        it[before..].iter().filter(said).count() >= 4
    };
    foe.peer
        .waits_for("words that were not settled", WITHIN, came)
        .await?;
    let ids: std::collections::BTreeSet<_> = foe.peer.arrived()[before..]
        .iter()
        .filter(|it| it.text().as_deref() == Some("counted"))
        .filter_map(|it| it.id.map(|it| *it.as_bytes()))
        .collect();
    expect(ids.len() == 1, || "one message has several ids".to_owned())?;
    Ok(())
}
