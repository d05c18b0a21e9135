//! Tampered words by every way in: handed over, asked for behind a gap, from before one came, with how a
//! group stands, in an invitation, in an identity record (F15). Files are F58's.

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{Destination, UserId, envelope, wire, wire::hello_response::Outcome};
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::time::{Instant, sleep};
use wire::{payload::Kind, read_group_request::What as Asked, read_group_response::What as Shown};

use super::{
    Case,
    home_integrity::altered,
    hostile::{Foe, Play, TAKEN, judged, payload, shows, texts, words},
};
use crate::{
    Failure, Person, Result, Session, Stage,
    club::eventually,
    failure::expect,
    peer::{Arrived, HomedGroup, forged},
};

const WITHIN: Duration = Duration::from_secs(20);
const LINGER: Duration = Duration::from_millis(800);
const POLL: Duration = Duration::from_millis(100);
const UNVERIFIED: u32 = 114;
const NOT_OURS: u32 = 120;
const UNKNOWN_KEY: u32 = 122;
const BAD_SIGNATURE: u32 = 123;
const PAYLOAD_ALTERED: u32 = 124;
const MISSING: u32 = 141;

pub(super) const CASE: Case = Case {
    ids: "F15",
    name: "every_ingress_verifies",
    proves: "words whose signature or payload does not hold are shown by no way in: live, relayed by a home, read behind a gap, from the past, with the state of a group, in an invitation or in an identity record; and the true ones are, by the same way",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let home = Foe::comes(stage, 0, "home.test").await?;
        let author = Foe::comes(stage, 0, "author.test").await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        let mut scene = Scene {
            home,
            author,
            us,
            name: String::new(),
            past: Vec::new(),
            before_third: None,
        };
        let mut group = scene.with_a_past(&mut session).await?;
        scene.state(stage, &mut group, &mut session).await?;
        scene.past(stage, &group, &mut session).await?;
        scene.live(&mut group, &mut session).await?;
        scene.gap(stage, &mut group, &mut session).await?;
        scene.invitations(&mut session).await?;
        records(stage).await
    }
    .boxed_local()
}

struct Scene {
    home: Foe,
    author: Foe,
    us: UserId,
    /// The group.
    name: String,
    /// What was written before bob came in.
    past: Vec<wire::Item>,
    /// Where the log was before the last of that.
    before_third: Option<HomedGroup>,
}

/// What of an entry is not as it was signed.
type Lie = (&'static str, wire::Item, u32);

impl Scene {
    /// Three messages are in the log before bob comes in.
    async fn with_a_past(&mut self, session: &mut Session) -> Result<HomedGroup> {
        let mut group = self.home.peer.founds()?;
        self.name = group.id.to_string();
        for text in ["early one", "early two", "early three"] {
            self.before_third = Some(group.clone());
            let words = self.home.peer.says(&group, text)?;
            let item = self.home.peer.places(&mut group, words, true);
            self.past.push(item);
        }
        let invitation = self.home.peer.invites(&group, &self.us)?;
        self.home
            .tries(&[("an invitation", invitation, TAKEN)])
            .await?;
        let name = self.name.clone();
        eventually("to be asked into the group", session, async |it| {
            let rows = it.get("me", "sub").await?.unwrap_or_default();
            let mut rows = rows.as_array().into_iter().flatten();
            Ok(rows.any(|row| row["topic"] == *name))
        })
        .await?;
        session.subscribe(&name).await?;
        let yes = json!({"topic": name, "sub": {"mode": "JRWPS"}});
        session.request("set", yes).await?;
        let wants = |it: &Arrived| matches!(it.kind, Some(Kind::GroupRequest(_)));
        let home = &self.home.peer;
        home.waits_for("a yes", WITHIN, |it| it.iter().any(wants))
            .await?;
        Ok(group)
    }

    /// The copy asks how the group stands, and is shown heads and records that do not hold.
    async fn state(
        &self,
        stage: &Stage,
        group: &mut HomedGroup,
        session: &mut Session,
    ) -> Result<()> {
        let home = &self.home.peer;
        home.shows(group, &self.us)?;
        let honest = group.state.clone();
        let member = wire::GroupChange {
            members: vec![wire::Member {
                user: self.author.eve().to_string(),
                want: "JRWPS".to_owned(),
                want_version: 1,
                given: "JRWPS".to_owned(),
                given_version: 1,
                ..wire::Member::default()
            }],
            ..wire::GroupChange::default()
        };
        let first = home.seal_for_group(group.id, Kind::GroupChange(member))?;
        let first = home.places(group, first, false);
        let mut bad_head = honest.clone();
        if let Some(head) = &mut bad_head.head {
            head.signature = altered(&head.signature);
        }
        let mut of_author = honest.clone();
        of_author.head = self.placed_by_author(group)?.placed;
        let mut moved = honest.clone();
        if let Some(head) = &mut moved.head {
            head.position = altered(&head.position);
        }
        let headless = wire::GroupState {
            head: None,
            ..honest
        };
        for state in [bad_head, of_author, moved, headless] {
            home.twists(Some(Box::new(move |asked| match asked.what {
                Some(Asked::State(_) | Asked::EntriesAfter(_)) => {
                    Some(answer(Shown::State(state.clone())))
                }
                _ => Some(wire::ReadGroupResponse::default()),
            })));
            let answers = self.home.hands_items(vec![first.clone()]).await?;
            expect(answers == [MISSING], || {
                format!("with a false state an entry is answered by {answers:?}")
            })?;
            stage.pause(LINGER, "the state is asked for").await;
            let seen = texts(session, &self.name).await?;
            expect(seen.is_empty(), || {
                format!("of a false state bob sees {seen:?}")
            })?;
        }
        // Honest but for the past, which is shown further down.
        home.twists(Some(Box::new(|asked| match asked.what {
            Some(Asked::MessagesBefore(_)) => Some(answer(Shown::Page(wire::LogPage {
                entries: vec![wire::LogEntry::default()],
                ..wire::LogPage::default()
            }))),
            _ => None,
        })));
        self.until_taken(&first).await?;
        stage
            .line
            .held("alpha.test", "believes no state that is not signed");
        Ok(())
    }

    /// The same words at a place that another domain gives.
    fn placed_by_author(&self, group: &HomedGroup) -> Result<wire::Item> {
        let lie = self.home.peer.says(group, "lie")?;
        Ok(self.author.peer.misplaces(group, lie, |_| {}))
    }

    async fn until_taken(&self, entry: &wire::Item) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            match self.home.hands_items(vec![entry.clone()]).await?[..] {
                [TAKEN | super::hostile::AGAIN] => return Ok(()),
                [MISSING] if Instant::now() < deadline => sleep(POLL).await,
                ref other => {
                    return Err(Failure::Broken(format!(
                        "a true entry is answered by {other:?}"
                    )));
                }
            }
        }
    }

    /// Everything that may be wrong with an entry at the end of a log.
    fn lies(&self, group: &HomedGroup) -> Result<Vec<Lie>> {
        let (home, author) = (&self.home.peer, &self.author.peer);
        let of_author = |text: &str| {
            let said = Kind::GroupMessage(words(&self.author.eve(), text));
            author.seal_for_group(group.id, said)
        };
        let place = |it: wire::Envelope| home.misplaces(group, it, |_| {});
        let with = |change: &dyn Fn(&mut wire::Envelope)| -> Result<wire::Envelope> {
            let mut envelope = of_author("lie")?;
            change(&mut envelope);
            Ok(envelope)
        };
        let mut unsigned = place(of_author("lie")?);
        if let Some(placed) = &mut unsigned.placed {
            placed.signature = altered(&placed.signature);
        }
        // In the name of another domain, by one's own key, under that domain's key's name or one's own.
        let mut header = author.header(Destination::Group(group.id))?;
        let said = payload(Kind::GroupMessage(words(&self.author.eve(), "lie")));
        let forged_name = forged(home.pen(), envelope::CONTEXT, header.clone(), said.clone())?;
        header.key_id = home.pen().id();
        let own_key = forged(home.pen(), envelope::CONTEXT, header, said)?;
        Ok(vec![
            (
                "a signature with another bit",
                place(with(&|it| it.signature = altered(&it.signature))?),
                BAD_SIGNATURE,
            ),
            (
                "words with another bit",
                place(with(&|it| it.payload = altered(&it.payload))?),
                PAYLOAD_ALTERED,
            ),
            (
                "another salt",
                place(with(&|it| it.salt = altered(&it.salt))?),
                PAYLOAD_ALTERED,
            ),
            (
                "no words, and a salt",
                place(with(&|it| it.payload = Bytes::new())?),
                PAYLOAD_ALTERED,
            ),
            ("a place with another bit", unsigned, BAD_SIGNATURE),
            (
                "a place by another domain",
                self.placed_by_author(group)?,
                NOT_OURS,
            ),
            (
                "sealed by the home in another's name",
                place(forged_name),
                BAD_SIGNATURE,
            ),
            (
                "the same by the home's own key",
                place(own_key),
                UNKNOWN_KEY,
            ),
        ])
    }

    /// Handed over by the home, which relays words of a third domain.
    async fn live(&self, group: &mut HomedGroup, session: &mut Session) -> Result<()> {
        let before = texts(session, &self.name).await?;
        let lies = self.lies(group)?;
        let items = lies.iter().map(|it| it.1.clone()).collect();
        let answers = self.home.hands_items(items).await?;
        judged(lies.iter().map(|it| (it.0, it.2)), &answers)?;
        let said = Kind::GroupMessage(words(&self.author.eve(), "true words"));
        let said = self.author.peer.seal_for_group(group.id, said)?;
        let entry = self.home.peer.places(group, said, true);
        self.until_taken(&entry).await?;
        let mut all: Vec<&str> = before.iter().map(String::as_str).collect();
        all.push("true words");
        shows(session, &self.name, &all).await
    }

    /// Asked for, since one behind it came first.
    async fn gap(
        &self,
        stage: &Stage,
        group: &mut HomedGroup,
        session: &mut Session,
    ) -> Result<()> {
        let before = texts(session, &self.name).await?;
        let lies = self.lies(group)?;
        let missing = self.home.peer.says(group, "missing")?;
        let missing = self.home.peer.places(group, missing, true);
        let behind = self.home.peer.says(group, "behind")?;
        let behind = self.home.peer.places(group, behind, true);
        for (what, lie, _) in lies {
            let asked = self.home.peer.reads().len();
            let page = answer(Shown::Page(page([&lie, &behind])));
            self.home
                .peer
                .twists(Some(Box::new(move |_| Some(page.clone()))));
            let answers = self.home.hands_items(vec![behind.clone()]).await?;
            judged([(what, MISSING)], &answers)?;
            self.is_asked(asked, what).await?;
            stage.pause(LINGER / 2, "a false answer comes").await;
            let seen = texts(session, &self.name).await?;
            expect(seen == before, || {
                format!("read behind a gap, {what}: {seen:?}")
            })?;
        }
        let page = answer(Shown::Page(page([&missing, &behind])));
        self.home
            .peer
            .twists(Some(Box::new(move |_| Some(page.clone()))));
        self.until_taken(&behind).await?;
        let all = before.iter().map(String::as_str);
        let all: Vec<&str> = all.chain(["missing", "behind"]).collect();
        shows(session, &self.name, &all).await?;
        stage.line.held(
            "bob",
            "sees no lie that was read behind a gap, and then the truth",
        );
        Ok(())
    }

    async fn is_asked(&self, before: usize, what: &str) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        while self.home.peer.reads().len() == before {
            expect(Instant::now() < deadline, || {
                format!("{what}: nobody asks for what is missing")
            })?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// From before the copy began, by whoever looks for it.
    async fn past(&self, stage: &Stage, group: &HomedGroup, session: &mut Session) -> Result<()> {
        let home = &self.home.peer;
        let third = self.before_third.as_ref().unwrap_or(group);
        // A former home may have placed it: who that was the present one says, and could have placed it too.
        let lies = self.lies(third)?.into_iter().filter(|it| it.2 != NOT_OURS);
        let lies = lies.map(|(what, it, _)| (what, page([&it])));
        let mut pages: Vec<(&str, wire::LogPage)> = lies.collect();
        let vouched = self.home.peer.says(group, "lie")?;
        let mut unsigned = vouched.clone();
        unsigned.signature = altered(&unsigned.signature);
        let mut turned = vouched.clone();
        turned.payload = altered(&turned.payload);
        let elsewhere = home.founds()?;
        let elsewhere = home.says(&elsewhere, "lie")?;
        for (what, lie) in [
            ("the past without a signature", unsigned),
            ("the past with other words", turned),
            ("the past of another group", elsewhere),
        ] {
            pages.push((what, past_page(lie)));
        }
        for (what, lie) in pages {
            let asked = home.reads().len();
            home.twists(Some(Box::new(move |asked| match asked.what {
                Some(Asked::MessagesBefore(_)) => Some(answer(Shown::Page(lie.clone()))),
                _ => None,
            })));
            // Whoever comes in asks for what is not there.
            comes_in(session, &self.name).await?;
            self.is_asked(asked, what).await?;
            stage.pause(LINGER / 2, "a false answer comes").await;
            let seen = texts(session, &self.name).await?;
            expect(seen.is_empty(), || format!("{what}: bob sees {seen:?}"))?;
        }
        // Honest, and among it words of bob's own and of the author's, by the home's word only.
        let mut honest = page(self.past.iter().rev());
        for user in [&self.us, &self.author.eve()] {
            let lie = Kind::GroupMessage(words(user, "lie"));
            honest
                .past
                .extend(past_page(home.seal_for_group(group.id, lie)?).past);
        }
        home.twists(Some(Box::new(move |asked| match asked.what {
            Some(Asked::MessagesBefore(_)) => Some(answer(Shown::Page(honest.clone()))),
            _ => None,
        })));
        comes_in(session, &self.name).await?;
        shows(
            session,
            &self.name,
            &["early one", "early two", "early three"],
        )
        .await?;
        stage
            .line
            .held("bob", "sees no lie of the past, and then the truth");
        Ok(())
    }

    /// How a home came to be it, in entries that do not hold.
    async fn invitations(&self, session: &mut Session) -> Result<()> {
        let group = self.home.peer.founds()?;
        let invitation = self.home.peer.invites(&group, &self.us)?;
        let read = <wire::Payload as prost::Message>::decode(invitation.payload);
        let Some(Kind::GroupInvitation(honest)) = read.ok().and_then(|it| it.kind) else {
            return Err(Failure::harness("read an invitation", "it is none"));
        };
        let rows = session.get("me", "sub").await?;
        let handed = Kind::GroupChange(wire::GroupChange {
            succession: Some(wire::GroupSuccession {
                home: self.author.peer.domain().to_string(),
                epoch: 2,
                consents: Vec::new(),
            }),
            ..wire::GroupChange::default()
        });
        let step = self.home.peer.seal_for_group(group.id, handed)?;
        let step = self.home.peer.misplaces(&group, step, |_| {});
        let mut lies = vec![step.clone(), step.clone(), step.clone()];
        if let Some(placed) = &mut lies[0].placed {
            placed.signature = altered(&placed.signature);
        }
        if let Some(envelope) = &mut lies[1].envelope {
            envelope.signature = altered(&envelope.signature);
        }
        if let Some(envelope) = &mut lies[2].envelope {
            envelope.payload = altered(&envelope.payload);
        }
        // The last is signed, but its consent is not there.
        lies.push(step);
        for lie in lies {
            let odd = Kind::GroupInvitation(wire::GroupInvitation {
                succession: page([&lie]).entries,
                ..honest.clone()
            });
            let odd = self.author.seals(odd)?;
            let answers = self.author.hands([odd]).await?;
            expect(answers.first().is_some_and(|it| *it >= 100), || {
                format!("a false succession is answered by {answers:?}")
            })?;
        }
        expect(session.get("me", "sub").await? == rows, || {
            "bob is asked in by a home that followed by no right".to_owned()
        })
    }
}

/// What is done to a record and its signature.
type Change = fn(&mut Vec<u8>, &mut Vec<u8>);

/// The record of a domain that nobody has met yet does not hold.
async fn records(stage: &mut Stage) -> Result<()> {
    let lies: [Change; 5] = [
        |_, signature| signature[0] ^= 1,
        |_, signature| signature.clear(),
        |record, _| record.push(0),
        |record, _| record.truncate(record.len() - 1),
        // The same record with an unknown field: the signature is over bytes.
        |record, _| record.extend_from_slice(&[0xf8, 0x07, 1]),
    ];
    for (index, lie) in lies.into_iter().enumerate() {
        let peer = stage.network.stranger(&format!("liar{index}.test")).await?;
        let mut record = prost::Message::encode_to_vec(&peer.record());
        let mut signature = peer
            .root_pen()
            .sign(freehold_proto::record::CONTEXT, &record)?
            .to_vec();
        lie(&mut record, &mut signature);
        peer.publishes_bytes(record, signature)?;
        let domain = stage.network.domain(0)?;
        let (us, at) = (domain.name().clone(), domain.federation());
        let mut line = peer.connect(&us, at).await?;
        let proof = line.proof();
        let outcome = line.greets(&proof).await?;
        let refused = matches!(&outcome, Outcome::Refused(it) if it.code == UNVERIFIED);
        expect(refused, || {
            format!("record {index} that does not hold is answered by {outcome:?}")
        })?;
    }
    stage.line.held(
        "alpha.test",
        "believes no identity record that does not hold",
    );
    Ok(())
}

/// Detaches from a topic, and attaches to it again.
async fn comes_in(session: &mut Session, topic: &str) -> Result<()> {
    session.request("leave", json!({"topic": topic})).await?;
    session.subscribe(topic).await.map(drop)
}

fn answer(what: Shown) -> wire::ReadGroupResponse {
    wire::ReadGroupResponse { what: Some(what) }
}

fn page<'a>(entries: impl IntoIterator<Item = &'a wire::Item>) -> wire::LogPage {
    let entries = entries.into_iter().map(|it| wire::LogEntry {
        placed: it.placed.clone(),
        envelope: it.envelope.clone(),
    });
    wire::LogPage {
        entries: entries.collect(),
        ..wire::LogPage::default()
    }
}

fn past_page(envelope: wire::Envelope) -> wire::LogPage {
    wire::LogPage {
        past: vec![wire::PastMessage {
            order: 1,
            envelope: Some(envelope),
        }],
        ..wire::LogPage::default()
    }
}
