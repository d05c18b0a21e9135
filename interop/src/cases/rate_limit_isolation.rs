//! A domain that uses up every limit that is set for it, and one beside it that does not (F53).

use std::{collections::BTreeSet, time::Duration};

use freehold_proto::{UserId, wire, wire::hello_response::Outcome, wire::result::Verdict};
use futures_util::FutureExt as _;
use prost::Message as _;
use serde_json::json;
use tokio::time::{Instant, sleep};
use wire::{find_request::Query, payload::Kind};

use super::{
    Case, floods,
    hostile::{Foe, Play, refusal, shows},
    non_member_reads::upload,
};
use crate::{
    Club, Failure, Person, Result, Session, Stage,
    failure::expect,
    peer::{
        Arrived, Line,
        by_hand::framed,
        http2::{DATA, END, Frames, HEAD_ENDS, HEADERS, frame, head},
        items, message,
    },
};

const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
const LIMITED: u32 = 151;
const AWAITS_CONSENT: u32 = 140;
/// Connections that one domain may have, and files that it may be given at once.
const CONNECTIONS_MAX: usize = 8;
const FILES_MAX: u32 = 4;
/// More than the window of a connection.
const FILE_BYTES: usize = 1024 * 1024;
/// Look-ups that strangers may cause in a minute, and hellos on one connection.
const LOOKUPS_MAX: usize = 120;
const HELLOS: usize = 90;
const HOUR_MS: u32 = 60 * 60 * 1000;
/// After this strangers may make a server look somebody up again.
const USED_UP: Duration = Duration::from_secs(60);

pub(super) const CASE: Case = Case {
    ids: "F53",
    name: "rate_limit_isolation",
    proves: "a domain or person that has used up its connections, files, first words, look-ups or what may come in a second is told so by number and time, comes in again when there is room, and takes nothing from any other domain or person",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        let lines = &mut stage.network.domain(0)?.config.clients_lines;
        lines.push(floods::LIMITS.to_owned());
        stage.start_all().await?;
        let foe = Foe::comes(stage, 0, "greedy.test").await?;
        let honest = Foe::comes(stage, 0, "honest.test").await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        first_words(&foe, &honest, (&us, &mut session)).await?;
        stage.line.held("honest.test", "has its own first words");
        if stage.network.is_ours() {
            // By limits that it was told.
            floods::of_a_person(stage).await?;
            floods::of_a_domain(&foe, &honest, &us).await?;
            stage.line.held(
                "honest.test",
                "is answered while greedy.test sends more than is let in, and that comes in later",
            );
        }
        files(stage, &foe, &honest).await?;
        stage.line.held(
            "honest.test",
            "is given files while greedy.test has all it may",
        );
        connections(stage, &foe, &honest).await?;
        stage.line.held(
            "greedy.test",
            "has eight connections, and another when one ends",
        );
        look_ups(stage, (&foe, &honest), &bob.login).await?;
        stage
            .line
            .held("honest.test", "says hello while nobody more is looked up");
        shows(
            &mut session,
            &honest.eve().to_string(),
            &["one", "two", "three"],
        )
        .await?;
        if !stage.network.is_ours() {
            // The server goes on, and so do other cases.
            let why = "strangers have used up what they may cause";
            stage.pause(USED_UP, why).await;
        }
        Ok(())
    }
    .boxed_local()
}

/// Three for each pair; the fourth is to come again after the hour that is said.
async fn first_words(
    foe: &Foe,
    honest: &Foe,
    (us, session): (&UserId, &mut Session),
) -> Result<()> {
    let texts = ["one", "two", "three", "four", "five"];
    for (peer, number, count) in [(foe, 1, 5), (foe, 2, 5), (honest, 1, 3)] {
        let user = peer.peer.person(number);
        let mut said = vec![peer.peer.consents(&user, us, 1)?];
        for text in &texts[..count] {
            said.push(peer.seals(message(&user, us, &json!(text)))?);
        }
        let offset = 600_000 + u64::from(number) * 100;
        let verdicts = peer.line().deliver(1, items(offset, said)).await?;
        for (place, verdict) in verdicts.iter().enumerate() {
            let fits = match verdict {
                Verdict::Ok(_) => place <= 3,
                Verdict::Later(it) => {
                    place > 3 && it.code == AWAITS_CONSENT && it.retry_after_ms == HOUR_MS
                }
                _ => false,
            };
            expect(fits, || {
                format!("word {place} of {user} is answered by {verdict:?}")
            })?;
        }
        session.subscribe(&user.to_string()).await?;
        shows(session, &user.to_string(), &texts[..3]).await?;
    }
    Ok(())
}

/// A file that a member's domain is told of: its key and hash.
async fn shared(stage: &mut Stage, member: &Foe) -> Result<wire::Attachment> {
    let mut club = Club::begin(stage, &[(0, "ann"), (0, "abe")]).await?;
    member.joins(&mut club).await?;
    let ann = club.members[0].person.clone();
    let url = upload(&ann, &vec![b'x'; FILE_BYTES]).await?;
    let content = json!({"txt": " ", "fmt": [{"at": -1, "len": 0, "key": 0}], "ent": [
        {"tp": "EX", "data": {"mime": "text/plain", "name": "f.txt", "ref": url}}]});
    let frame = json!({
        "pub": {"id": "with file", "topic": club.group, "noecho": true, "content": content,
            "head": {"mime": "text/x-drafty"}},
        "extra": {"attachments": [url]},
    });
    club.session(0)
        .await?
        .send_whole(frame, "with file")
        .await?;
    let named = |it: &Arrived| match &it.kind {
        Some(Kind::GroupMessage(it)) => it.attachments.first().cloned(),
        _ => None,
    };
    let came = |it: &[Arrived]| it.iter().any(|it| named(it).is_some());
    let awaited = "a message with a file";
    member.peer.waits_for(awaited, WITHIN, came).await?;
    let found = member.peer.arrived().iter().find_map(named);
    found.ok_or_else(|| Failure::Broken("a file is not named".to_owned()))
}

/// Four files that are asked for and not taken; a fifth is too many for this domain, and not for others.
async fn files(stage: &mut Stage, foe: &Foe, honest: &Foe) -> Result<()> {
    let file = shared(stage, foe).await?;
    let at = stage.network.domain(0)?.federation();
    let mut frames = Frames::proven(&foe.peer, &foe.us, at).await?;
    let request = |peer: &Foe| wire::ReadFileRequest {
        from: peer.peer.domain().to_string(),
        to: foe.us.to_string(),
        key: file.key.clone(),
        sha256: file.sha256.clone(),
        offset: 0,
    };
    for stream in (3..3 + 2 * FILES_MAX).step_by(2) {
        let call = [
            frame(HEADERS, HEAD_ENDS, stream, &head(&foe.us, "ReadFile", &[])),
            frame(DATA, END, stream, &framed(&request(foe).encode_to_vec())),
        ];
        frames.send(&call.concat()).await?;
    }
    let mut begun = BTreeSet::new();
    while begun.len() < FILES_MAX as usize {
        let came = frames.next().await;
        let came = came.ok_or_else(|| Failure::Broken("a file does not begin".to_owned()))?;
        if came.kind == HEADERS {
            begun.insert(came.stream);
        }
    }
    let answer = asks(&mut foe.line(), &request(foe)).await?;
    expect(answer == u64::from(LIMITED), || {
        format!("a file too many for one domain is answered by {answer}")
    })?;
    for _ in 0..3 {
        let answer = asks(&mut honest.line(), &request(honest)).await?;
        expect(answer == 0, || {
            format!("another domain is answered {answer} when it wants a file")
        })?;
    }
    drop(frames);
    let deadline = Instant::now() + WITHIN;
    while asks(&mut foe.line(), &request(foe)).await? != 0 {
        expect(Instant::now() < deadline, || {
            "files that nobody takes any more still count".to_owned()
        })?;
        sleep(POLL).await;
    }
    Ok(())
}

/// The number by which a file is refused; 0 when it is given.
async fn asks(line: &mut Line, request: &wire::ReadFileRequest) -> Result<u64> {
    refusal(
        line.call::<wire::ReadFileResponse>("ReadFile", request)
            .await,
    )
}

/// As many as one domain may have; one more is too many, for this domain.
async fn connections(stage: &mut Stage, foe: &Foe, honest: &Foe) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    let mut lines = Vec::new();
    let refused = loop {
        let mut line = foe.peer.connect(&foe.us, at).await?;
        let proof = line.proof();
        match line.greets(&proof).await? {
            Outcome::Accepted(_) if lines.len() <= CONNECTIONS_MAX => lines.push(line),
            other => break (line, other),
        }
    };
    let (mut line, outcome) = refused;
    let limited = matches!(&outcome, Outcome::Refused(it) if it.code == LIMITED);
    expect(limited && lines.len() == CONNECTIONS_MAX - 1, || {
        format!("connection {} is answered by {outcome:?}", lines.len() + 2)
    })?;
    let _another = honest.peer.dial(&honest.us, at).await?;
    lines.pop();
    let deadline = Instant::now() + WITHIN;
    loop {
        let proof = line.proof();
        if let Ok(Outcome::Accepted(_)) = line.greets(&proof).await {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            "a connection that has ended still counts".to_owned()
        })?;
        sleep(POLL).await;
        line = foe.peer.connect(&foe.us, at).await?;
    }
}

/// Hellos in the names of domains that nobody knows, until no more are looked up.
async fn look_ups(stage: &mut Stage, (foe, honest): (&Foe, &Foe), bob: &str) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    let mut limited = 0;
    for connection in 0..=LOOKUPS_MAX / HELLOS {
        let mut line = foe.peer.connect(&foe.us, at).await?;
        for number in 0..HELLOS {
            let mut request = line.proof();
            request.from = format!("n{number}.c{connection}.nowhere.test");
            let outcome = match line.greets(&request).await {
                Ok(outcome) => outcome,
                // It has had its time.
                Err(failure) if failure.is_disconnect() => break,
                Err(other) => return Err(other),
            };
            match outcome {
                Outcome::Refused(it) if it.code == LIMITED => limited += 1,
                Outcome::Refused(_) => {}
                other => return Err(Failure::Broken(format!("nobody is answered {other:?}"))),
            }
        }
    }
    expect(limited > 0, || {
        "there is no end to look-ups by the word of strangers".to_owned()
    })?;
    let mut line = honest.peer.dial(&honest.us, at).await?;
    let found = line.find(Query::LocalPart(bob.to_owned())).await?;
    expect(found.is_some(), || "a known peer is not served".to_owned())?;
    Ok(())
}
