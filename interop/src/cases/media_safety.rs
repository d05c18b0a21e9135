//! A domain whose files are not what it signed, that never ends, or says nothing; and names that lead
//! elsewhere (F58).

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_proto::{DomainName, UserId, wire, wire::payload::Kind, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{Case, Need};
use crate::{
    Endpoint, Failure, Person, Result, ScriptedPeer, Stage,
    failure::expect,
    peer::{Given, Line, items},
    people::accept,
};

const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How many bytes every file here is signed to have: no whole number of parts, so that what is more comes
/// with the last of them.
const SIZE: usize = 290_000;

pub(super) const CASE: Case = Case {
    ids: "F58",
    name: "media_safety",
    proves: "a file that is not the one that was signed reaches nobody whole and is not kept; nobody is asked for a file to which nothing refers; no domain passes on another's files",
    domains: &["beta.test"],
    needs: &[Need::Inside],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let peer = stage.network.stranger("lender.test").await?;
        let beta = stage.network.domain(0)?;
        let (bob, mut session) = Person::register(beta.endpoint(), "bob").await?;
        let (name, at) = (beta.name().clone(), beta.federation());
        let copies = beta.folder().to_owned();
        let mut scene = Scene {
            eve: peer.person(1),
            us: bob.user_id()?,
            line: peer.dial(&name, at).await?,
            bob,
            peer,
            next: 1,
        };
        let first = scene.peer.consents(&scene.eve, &scene.us, 1)?;
        scene.says(vec![first]).await?;
        session.subscribe(&scene.eve.to_string()).await?;
        accept(&mut session, &scene.eve.to_string()).await?;
        scene.the_right_one(stage).await?;
        scene.wrong_ones(stage).await?;
        scene.elsewhere(stage, &name).await?;
        let kept = count_copies(&copies);
        expect(kept == 1, || format!("{kept} copies are kept, not 1"))?;
        stage.line.held(
            "beta.test",
            "keeps the right file and nothing of the others",
        );
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Eve of a scripted peer, and Bob, who lets her write.
struct Scene {
    peer: ScriptedPeer,
    line: Line,
    eve: UserId,
    bob: Person,
    us: UserId,
    next: u64,
}

/// An answer over HTTP: its status and what came of its body.
pub(super) type Answer = (u16, Vec<u8>);

impl Scene {
    async fn says(&mut self, envelopes: Vec<wire::Envelope>) -> Result<()> {
        let batch = items(self.next, envelopes);
        self.next += u64::try_from(batch.len()).unwrap_or(0);
        let verdicts = self.line.deliver(1, batch).await?;
        expect(
            verdicts.iter().all(|it| matches!(it, Verdict::Ok(_))),
            || format!("eve was answered by {verdicts:?}"),
        )
    }

    /// Eve sends a message with a file; Bob's URL of it.
    async fn sends(&mut self, owner: &str, key: u8) -> Result<String> {
        let message = wire::DirectMessage {
            author: self.eve.to_string(),
            recipient: self.us.to_string(),
            content: "\"look\"".into(),
            attachments: vec![wire::Attachment {
                owner: owner.to_owned(),
                key: vec![key; 16].into(),
                size: SIZE as u64,
                sha256: Sha256::digest(signed()).to_vec().into(),
            }],
            ..wire::DirectMessage::default()
        };
        let to = self.us.domain().clone();
        let envelope = self.peer.seal(&to, Kind::DirectMessage(message))?;
        self.says(vec![envelope]).await?;
        Ok(url(owner, key))
    }

    fn times_asked(&self, key: u8) -> usize {
        let asked = self.peer.files_asked().into_iter();
        asked.filter(|it| *it.key == [key; 16]).count()
    }

    async fn the_right_one(&mut self, stage: &Stage) -> Result<()> {
        let url = self.sends("lender.test", 1).await?;
        self.peer.gives([1; 16], given(signed(), SIZE));
        for _ in 0..2 {
            let (status, body) = fetch(&self.bob, &url).await?;
            expect(status == 200 && body == signed(), || {
                format!("of the right file came {status} and {} bytes", body.len())
            })?;
        }
        let asked = self.times_asked(1);
        expect(asked == 1, || format!("it was asked for {asked} times"))?;
        stage.line.held(
            "bob@beta.test",
            "gets the file, and from the copy the next time",
        );
        Ok(())
    }

    async fn wrong_ones(&mut self, stage: &Stage) -> Result<()> {
        let wrong = [
            ("other bytes", given(vec![8; SIZE], SIZE)),
            ("another size", given(vec![7; SIZE + 1], SIZE + 1)),
            ("fewer bytes than it says", given(vec![7; SIZE - 1], SIZE)),
            ("more bytes than it says", given(vec![7; 2 * SIZE], SIZE)),
            (
                "bytes without end, and others",
                Given {
                    endless: true,
                    ..given(vec![8; SIZE / 3], SIZE)
                },
            ),
            (
                "no head",
                Given {
                    head: None,
                    ..given(signed(), SIZE)
                },
            ),
            ("nothing", Given::default()),
            (
                "a head and no more",
                Given {
                    chunks: Vec::new(),
                    hangs: true,
                    ..given(signed(), SIZE)
                },
            ),
        ];
        for (key, (what, given)) in (10_u8..).zip(wrong) {
            let url = self.sends("lender.test", key).await?;
            self.peer.gives([key; 16], given);
            let (status, body) = fetch(&self.bob, &url).await?;
            expect(status != 200 || body.len() < SIZE, || {
                format!("{what}: passed for the file")
            })?;
            let again = fetch(&self.bob, &url).await?;
            expect(again.0 != 200 || again.1.len() < SIZE, || {
                format!("{what}: passed for the file the second time")
            })?;
            let asked = self.times_asked(key);
            expect(asked == 1, || format!("{what}: asked for {asked} times"))?;
            stage
                .line
                .held("bob@beta.test", format!("does not get a file of {what}"));
        }
        Ok(())
    }

    /// Other domains' files, and names of none.
    async fn elsewhere(&mut self, stage: &Stage, beta: &DomainName) -> Result<()> {
        self.peer.gives([2; 16], given(signed(), SIZE));
        let before = self.peer.files_asked().len();
        // Nothing refers to it; it is of a third domain; it is said to be Bob's own domain's.
        let foreign = self.sends("third.test", 2).await?;
        let own = self.sends(beta.as_str(), 2).await?;
        let named = url("lender.test", 2);
        for odd in [
            named.clone(),
            foreign,
            own,
            named.replace("lender.test", "lender.test/../lender.test"),
            named.replace("lender.test", "%6cender.test"),
            named.replace("lender.test", "..%2f..%2fkeys"),
        ] {
            let (status, _) = fetch(&self.bob, &odd).await?;
            expect([404, 504].contains(&status), || format!("{odd}: {status}"))?;
        }
        let asked = self.peer.files_asked().len();
        expect(asked == before, || {
            "the lender was asked for what is not its own or nobody sent".to_owned()
        })?;
        let hash = Bytes::from(Sha256::digest(signed()).to_vec());
        let passed_on = self.line.is_given([1; 16], hash).await?;
        expect(!passed_on, || {
            "beta gives a copy to another domain".to_owned()
        })?;
        stage.line.held(
            "beta.test",
            "asks for nothing that was not sent, and passes nothing on",
        );
        Ok(())
    }
}

pub(super) fn signed() -> Vec<u8> {
    vec![7; SIZE]
}

/// These bytes, said to be so many.
pub(super) fn given(bytes: Vec<u8>, size: usize) -> Given {
    let chunks = bytes.chunks(100_000).map(Bytes::copy_from_slice);
    let sha256 = Sha256::digest(signed()).to_vec();
    Given {
        head: Some(wire::FileHead {
            size: size as u64,
            sha256: sha256.into(),
            mime: "image/png".to_owned(),
            name: "../../../etc/passwd".to_owned(),
        }),
        chunks: chunks.collect(),
        ..Given::default()
    }
}

pub(super) fn url(owner: &str, key: u8) -> String {
    let key = URL_SAFE_NO_PAD.encode([key; 16]);
    format!("/v0/file/s/{owner}/{key}.png")
}

pub(super) async fn fetch(person: &Person, url: &str) -> Result<Answer> {
    let asked = timeout(ANSWER_WITHIN, exchange(person, url));
    let answer = asked.await.map_err(|_| Failure::Late {
        awaited: format!("the answer to {url}"),
        after: ANSWER_WITHIN,
    })?;
    answer.map_err(|error| Failure::harness("fetch a file", error))
}

async fn exchange(person: &Person, url: &str) -> std::io::Result<Answer> {
    let request = format!(
        "GET {url} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         X-Tinode-APIKey: {}\r\nX-Tinode-Auth: Token {}\r\n\r\n",
        person.endpoint.domain, person.endpoint.api_key, person.token
    );
    let Endpoint { client, .. } = &person.endpoint;
    let mut stream = TcpStream::connect(client).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    // One that breaks off is an answer too.
    let _read = stream.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let body = end.map_or_else(Vec::new, |end| answer.split_off(end + 4));
    let status = String::from_utf8_lossy(&answer);
    let status = status.split(' ').nth(1).and_then(|it| it.parse().ok());
    Ok((status.unwrap_or(0), body))
}

/// How many copies of files of others lie below a folder, but for those on their way: the one of which
/// no more comes is given up later.
fn count_copies(folder: &std::path::Path) -> usize {
    let below = |it: &std::path::Path| {
        let entries = std::fs::read_dir(it).into_iter().flatten();
        entries.filter_map(|it| Some(it.ok()?.path()))
    };
    let mut count = 0;
    for path in below(folder).filter(|it| it.is_dir()) {
        count += match path.file_name() {
            Some(name) if name == "files_of_others" => {
                below(&path).filter(|it| it.extension().is_none()).count()
            }
            _ => count_copies(&path),
        };
    }
    count
}
