//! A domain without a part in a group that wants to read it (F23).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_proto::{GroupId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use wire::{
    group_request::What, read_group_request::What as Asked, read_group_response::What as Shown,
};

use super::{
    Case,
    hostile::{Foe, Play, TAKEN, all_show, asks},
};
use crate::{
    Club, Failure, Person, Result, Stage,
    failure::expect,
    peer::{Arrived, TAKEOVER},
};

const WITHIN: Duration = Duration::from_secs(20);
const LINGER: Duration = Duration::from_millis(1500);

pub(super) const CASE: Case = Case {
    ids: "F23",
    name: "non_member_reads",
    proves: "a domain without a part in a group is shown nothing of it, by the home or by a copy: the same answers as of a group that never was; who has left is shown its own time and nothing later",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let member = Foe::comes(stage, 0, "member.test").await?;
        let group = member.joins(&mut club).await?;
        let outsider = Foe::comes(stage, 0, "outside.test").await?;
        let at_copy = Foe::comes(stage, 1, "aside.test").await?;
        club.writes(0, 2).await?;
        all_show(&mut club, &["ann 1", "ann 2"]).await?;
        let file = shares_a_file(&mut club, &member).await?;
        for foe in [&outsider, &at_copy] {
            is_shown_nothing(foe, group).await?;
            is_given_nothing(foe, &file).await?;
        }
        // A member's domain asks a copy, which shows its log to its home only.
        let at = stage.network.domain(1)?;
        let (beta, at) = (at.name().clone(), at.federation());
        let mut aside = member.peer.dial(&beta, at).await?;
        for asked in questions(member.peer.domain().as_str()) {
            let answer = aside.read_group(group, asked).await?;
            expect(answer.what.is_none(), || format!("a copy shows {answer:?}"))?;
        }
        stage.line.held(
            "outside.test and aside.test",
            "are answered as about a group that never was",
        );
        leaves(stage, &mut club, &member, group).await?;
        stage.pause(LINGER, "nothing may come").await;
        for foe in [&outsider, &at_copy] {
            let (items, signals) = (foe.peer.arrived().len(), foe.peer.signals().len());
            expect(items == 0 && signals == 0, || {
                let who = foe.peer.domain();
                format!("{who} was told {items} things and {signals} signals")
            })?;
        }
        stage.line.held(
            "outside.test and aside.test",
            "were told nothing all the time",
        );
        Ok(())
    }
    .boxed_local()
}

/// Everything that one can ask about a group.
fn questions(asker: &str) -> Vec<Asked> {
    let ballot = wire::GroupConsent {
        home: asker.to_owned(),
        epoch: TAKEOVER,
        index: 1,
        hash: vec![0; 32].into(),
        last_epoch: 1,
    };
    vec![
        Asked::State(String::new()),
        Asked::State(format!("usrAAAAAAAAAAA@{asker}")),
        Asked::EntriesAfter(0),
        Asked::EntriesAfter(1),
        Asked::EntriesAfter(u64::MAX),
        Asked::MessagesBefore(0),
        Asked::MessagesBefore(2),
        Asked::MessagesBefore(u32::MAX),
        Asked::Ballot(ballot),
    ]
}

async fn is_shown_nothing(foe: &Foe, group: GroupId) -> Result<()> {
    let nobodys = GroupId::from_bytes([7; 16]);
    for asked in questions(foe.peer.domain().as_str()) {
        let about = foe.line().read_group(group, asked.clone()).await?;
        let nothing = foe.line().read_group(nobodys, asked.clone()).await?;
        expect(about.what.is_none() && about == nothing, || {
            format!("to {asked:?} a stranger is answered {about:?}, of nothing {nothing:?}")
        })?;
    }
    Ok(())
}

/// A file as an entry of the log names it.
struct Shared {
    key: [u8; 16],
    sha256: Bytes,
}

/// Ann uploads a file and writes about it in the group; the member's domain is told of it.
async fn shares_a_file(club: &mut Club, member: &Foe) -> Result<Shared> {
    let ann = club.members[0].person.clone();
    let url = upload(&ann, b"a file of the group").await?;
    let group = club.group.clone();
    let content = json!({"txt": " ", "fmt": [{"at": -1, "len": 0, "key": 0}], "ent": [
        {"tp": "EX", "data": {"mime": "text/plain", "name": "f.txt", "ref": url}}]});
    let frame = json!({
        "pub": {"id": "with file", "topic": group, "noecho": true, "content": content,
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
    member
        .peer
        .waits_for("a message with a file", WITHIN, came)
        .await?;
    let attachment = member
        .peer
        .arrived()
        .iter()
        .find_map(named)
        .unwrap_or_default();
    let key = (&*attachment.key).try_into();
    let shared = Shared {
        key: key.map_err(|_| Failure::Broken("a file's key has not 16 bytes".to_owned()))?,
        sha256: attachment.sha256,
    };
    let given = member
        .line()
        .is_given(shared.key, shared.sha256.clone())
        .await?;
    expect(given, || "a member's domain is not given a file".to_owned())?;
    Ok(shared)
}

/// Who does not know a file's hash knows nothing of it; nor of one that is not there.
async fn is_given_nothing(foe: &Foe, file: &Shared) -> Result<()> {
    for (key, sha256) in [
        (file.key, Bytes::new()),
        (file.key, vec![1; 32].into()),
        ([1; 16], file.sha256.clone()),
        ([1; 16], Bytes::new()),
    ] {
        let given = foe.line().is_given(key, sha256).await?;
        expect(!given, || {
            format!(
                "{} is given a file that it does not know",
                foe.peer.domain()
            )
        })?;
    }
    Ok(())
}

/// Uploads a file of a person's; its URL.
pub(super) async fn upload(person: &Person, bytes: &[u8]) -> Result<String> {
    let no = |error: &dyn std::fmt::Display| Failure::harness("upload a file", error);
    let mut body = b"--cut\r\ncontent-disposition: form-data; name=\"id\"\r\n\r\n1\r\n--cut\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\ncontent-type: text/plain\r\n\r\n".to_vec();
    body.extend_from_slice(bytes);
    body.extend_from_slice(b"\r\n--cut--\r\n");
    let head = format!(
        "POST /v0/file/u/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         X-Tinode-APIKey: {}\r\nX-Tinode-Auth: Token {}\r\n\
         Content-Type: multipart/form-data; boundary=cut\r\nContent-Length: {}\r\n\r\n",
        person.endpoint.domain,
        person.endpoint.api_key,
        person.token,
        body.len()
    );
    let mut stream = TcpStream::connect(person.endpoint.client)
        .await
        .map_err(|it| no(&it))?;
    stream
        .write_all(head.as_bytes())
        .await
        .map_err(|it| no(&it))?;
    stream.write_all(&body).await.map_err(|it| no(&it))?;
    let mut answer = Vec::new();
    let _read = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let json = answer.find('{').zip(answer.rfind('}'));
    let json = json.and_then(|(from, to)| answer.get(from..=to));
    let json: Value = json
        .and_then(|it| serde_json::from_str(it).ok())
        .unwrap_or_default();
    let url = json["ctrl"]["params"]["url"].as_str();
    let url = url.ok_or_else(|| Failure::Broken(format!("an upload was answered by {answer}")))?;
    let key = url
        .rsplit('/')
        .next()
        .and_then(|it| it.split('.').next())
        .unwrap_or_default();
    let _well_formed = URL_SAFE_NO_PAD.decode(key).map_err(|it| no(&it))?;
    Ok(url.to_owned())
}

/// The last person of a domain leaves: it is shown what was written in its time, and nothing after.
async fn leaves(stage: &Stage, club: &mut Club, member: &Foe, group: GroupId) -> Result<()> {
    let eve = member.eve();
    let gone = What::Want(wire::GroupWant {
        want: "N".to_owned(),
        want_version: 5,
        leaves: true,
        ..wire::GroupWant::default()
    });
    let leave = asks(&member.peer, group, &eve, gone)?;
    member.tries(&[("to leave", leave, TAKEN)]).await?;
    club.writes(0, 2).await?;
    all_last(club, "ann 4").await?;
    stage.pause(LINGER, "nothing may come").await;
    let after = |it: &wire::Envelope| {
        let payload = String::from_utf8_lossy(&it.payload).into_owned();
        payload.contains("ann 3") || payload.contains("ann 4")
    };
    let told = member.peer.arrived();
    expect(!told.iter().any(|it| after(&it.envelope)), || {
        "who has left is told what was written later".to_owned()
    })?;
    for asked in questions(member.peer.domain().as_str()) {
        let answer = member.line().read_group(group, asked.clone()).await?;
        let shows = match answer.what {
            None => false,
            Some(Shown::Page(it)) => {
                let of_past = matches!(asked, Asked::MessagesBefore(_));
                let entries = it.entries.iter().filter_map(|it| it.envelope.as_ref());
                of_past && !it.entries.is_empty() || entries.into_iter().any(after)
            }
            Some(Shown::State(it)) => it
                .members
                .iter()
                .any(|it| !it.user.ends_with(member.peer.domain().as_str())),
            Some(Shown::Consent(_)) => true,
        };
        expect(!shows, || {
            format!("to {asked:?} who has left is shown what is not theirs")
        })?;
    }
    stage
        .line
        .held("member.test", "has left, and is shown nothing of later");
    Ok(())
}

async fn all_last(club: &mut Club, text: &str) -> Result<()> {
    for index in 0..club.members.len() {
        let topic = club.group.clone();
        let session = club.session(index).await?;
        crate::club::eventually("to see the last words", session, async |it| {
            let history = it.history(&topic, 1).await?;
            Ok(history.last().is_some_and(|it| it.content == text))
        })
        .await?;
    }
    Ok(())
}
