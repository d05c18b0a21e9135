//! A domain with which the operator will have nothing to do (F52).

use std::time::Duration;

use freehold_proto::{
    UserId, wire, wire::find_request::Query, wire::payload::Kind, wire::result::Verdict,
};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{
    Case, Need,
    home_integrity::{joins_others, numbered, reads},
    media_safety::{fetch, given, signed, url},
};
use crate::{
    Chat, Failure, Person, Result, ScriptedPeer, Session, Stage,
    club::eventually,
    failure::expect,
    peer::{HomedGroup, Line, items},
    people::accept,
};

const WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const DENIED: &str = "115";

pub(super) const CASE: Case = Case {
    ids: "F52",
    name: "deny_list_everywhere",
    proves: "a denied domain and those below it are refused at hello and on links that there are, are not asked for anything, and what others relay of them is not shown; all others go on; allowed again, it is as before",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Operator],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let mut others = Chat::begin(stage, (0, "alice"), (1, "carl")).await?;
        let mut scene = Scene::set_up(stage).await?;
        scene.is_dealt_with(1).await?;
        scene.relayed("before it is denied", true).await?;
        scene.has_file(1).await?;

        let said = stage
            .network
            .domain(0)?
            .order("peer deny", &["evil.test"])
            .await?;
        expect(said.contains("evil.test is not dealt with"), || {
            said.clone()
        })?;
        scene.is_refused(stage).await?;
        scene.is_not_asked(stage).await?;
        scene.relayed("while it is denied", false).await?;
        stage.line.held(
            "alpha.test",
            "shows nothing of it in a group of a third domain, whose log goes on",
        );
        others.writes(0, 2).await?;
        others.writes(1, 2).await?;
        others.agree(WITHIN).await?;
        over_a_restart(stage, &mut scene, &mut others).await?;

        let alpha = stage.network.domain(0)?;
        let said = alpha.order("peer allow", &["evil.test"]).await?;
        expect(said.contains("evil.test is dealt with"), || said.clone())?;
        scene.line = scene.dial(&scene.evil).await?;
        scene.is_dealt_with(2).await?;
        scene.relayed("when it is allowed again", true).await?;
        let (status, body) = fetch(&scene.bob, &url("evil.test", 9)).await?;
        expect(status == 200 && body == signed(), || {
            format!("its file is answered by {status} now")
        })?;
        stage
            .line
            .held("alpha.test", "deals with it again once that is allowed");
        others.writes(0, 1).await?;
        others.agree(WITHIN).await
    }
    .boxed_local()
}

/// Bob of alpha, whom Eve of a scripted domain may write to, and a group of a third domain.
struct Scene {
    evil: ScriptedPeer,
    below: ScriptedPeer,
    beside: ScriptedPeer,
    home: ScriptedPeer,
    line: Line,
    to_home: Line,
    group: HomedGroup,
    bob: Person,
    session: Session,
    id: UserId,
    at: std::net::SocketAddr,
    shown: Vec<String>,
    next: u64,
}

impl Scene {
    async fn set_up(stage: &mut Stage) -> Result<Self> {
        let network = &mut stage.network;
        let evil = network.stranger("evil.test").await?;
        let below = network.stranger("sub.evil.test").await?;
        let beside = network.stranger("notevil.test").await?;
        let home = network.stranger("home.test").await?;
        let (bob, mut session) = Person::register(&network.endpoint(0)?, "bob").await?;
        let (id, at) = (bob.user_id()?, network.domain(0)?.federation());
        let mut line = evil.dial(id.domain(), at).await?;
        let consent = evil.consents(&evil.person(1), &id, 1)?;
        line.deliver(1, items(1, [consent])).await?;
        let eve = evil.person(1).to_string();
        session.subscribe(&eve).await?;
        accept(&mut session, &eve).await?;
        let mut to_home = home.dial(id.domain(), at).await?;
        let others = [evil.person(1)];
        let ends = (&mut to_home, &mut session);
        let group = joins_others(&home, &id, &others, ends).await?;
        Ok(Self {
            evil,
            below,
            beside,
            home,
            line,
            to_home,
            group,
            bob,
            session,
            id,
            at,
            shown: vec!["one".to_owned()],
            next: 10,
        })
    }

    async fn dial(&self, peer: &ScriptedPeer) -> Result<Line> {
        peer.dial(self.id.domain(), self.at).await
    }

    fn eve(&self) -> UserId {
        self.evil.person(1)
    }

    /// Words cross, both ways, and so do signals.
    async fn is_dealt_with(&mut self, number: u64) -> Result<()> {
        let (eve, there, back) = (
            self.eve(),
            format!("there {number}"),
            format!("back {number}"),
        );
        self.next += 1;
        let text = self.evil.text(&eve, &self.id, &there)?;
        let verdicts = self.line.deliver(1, items(self.next, [text])).await?;
        expect(matches!(verdicts[..], [Verdict::Ok(_)]), || {
            format!("eve's words are answered by {verdicts:?}")
        })?;
        let topic = eve.to_string();
        eventually("to read eve's words", &mut self.session, async |it| {
            let history = it.history(&topic, 1).await?;
            Ok(history.iter().any(|it| it.content == *there))
        })
        .await?;
        self.session.publish(&topic, &back).await?;
        let arrived =
            |it: &[crate::peer::Arrived]| it.iter().any(|it| it.text().as_ref() == Some(&back));
        self.evil.waits_for("bob's words", WITHIN, arrived).await?;
        Ok(())
    }

    /// The home of the group relays words of the domain, and then its own.
    async fn relayed(&mut self, when: &str, is_shown: bool) -> Result<()> {
        let texts = [format!("relayed {when}"), format!("of the home {when}")];
        let relayed = self.evil.says(&self.group, &texts[0])?;
        let relayed = self.home.places(&mut self.group, relayed, true);
        let own = self.home.says(&self.group, &texts[1])?;
        let own = self.home.places(&mut self.group, own, true);
        self.next += 10;
        let batch = numbered(self.next, vec![relayed, own]);
        let verdicts = self.to_home.deliver(1, batch).await?;
        expect(
            verdicts.iter().all(|it| matches!(it, Verdict::Ok(_))),
            || format!("{when} the home's log is answered by {verdicts:?}"),
        )?;
        let seen = texts.into_iter().skip(usize::from(!is_shown));
        self.shown.extend(seen);
        let shown: Vec<&str> = self.shown.iter().map(String::as_str).collect();
        reads(&mut self.session, &self.group, &shown).await
    }

    /// Eve sends bob a file, which he does not look at yet.
    async fn has_file(&mut self, key: u8) -> Result<()> {
        let key = key + 8;
        let message = wire::DirectMessage {
            author: self.eve().to_string(),
            recipient: self.id.to_string(),
            content: "\"look\"".into(),
            attachments: vec![wire::Attachment {
                owner: "evil.test".to_owned(),
                key: vec![key; 16].into(),
                size: signed().len() as u64,
                sha256: Sha256::digest(signed()).to_vec().into(),
            }],
            ..wire::DirectMessage::default()
        };
        self.evil.gives([key; 16], given(signed(), signed().len()));
        let envelope = self
            .evil
            .seal(self.id.domain(), Kind::DirectMessage(message))?;
        self.next += 1;
        let verdicts = self.line.deliver(1, items(self.next, [envelope])).await?;
        expect(matches!(verdicts[..], [Verdict::Ok(_)]), || {
            format!("eve's file is answered by {verdicts:?}")
        })
    }

    /// The link that there was is of no use, and there is no other; for a domain beside it there is.
    async fn is_refused(&mut self, stage: &mut Stage) -> Result<()> {
        let text = self.evil.text(&self.eve(), &self.id, "still there?")?;
        let delivered = self.line.deliver(1, items(1000, [text])).await;
        let found = self.line.find(Query::User(self.id.to_string())).await;
        let typing = self.line.signal(Vec::new()).await;
        expect(
            delivered.is_err() && found.is_err() && typing.is_err(),
            || format!("the link goes on: {delivered:?}, {found:?}, {typing:?}"),
        )?;
        for peer in [&self.evil, &self.below] {
            let name = peer.domain();
            match self.dial(peer).await {
                Err(Failure::Broken(why)) if why.contains(DENIED) => {}
                other => expect(false, || {
                    format!("{name} should be refused by {DENIED}: {other:?}")
                })?,
            }
        }
        self.dial(&self.beside).await?;
        let known = stage.network.domain(0)?.knows("evil.test").await?;
        expect(known.contains("denied by hand"), || known.clone())?;
        stage.line.held(
            "alpha.test",
            "refuses it and what is below it by their number, and not what is beside it",
        );
        Ok(())
    }

    /// Nothing that bob does leads there.
    async fn is_not_asked(&mut self, stage: &Stage) -> Result<()> {
        let before = self.contacts();
        let topic = self.eve().to_string();
        let body = json!({"topic": topic, "content": "anybody?"});
        let refused = self.session.request("pub", body).await;
        expect(
            matches!(refused, Err(Failure::Refused { code: 403, .. })),
            || format!("bob's words are answered by {refused:?}"),
        )?;
        let note = json!({"topic": topic, "what": "kp"});
        self.session.send_note(note).await?;
        self.session.subscribe("fnd").await?;
        let people = [&self.evil, &self.below].map(|it| it.person(7).to_string());
        for address in ["somebody@evil.test", "somebody@sub.evil.test"] {
            let query = json!({"topic": "fnd", "desc": {"public": format!("email:{address}")}});
            self.session.request("set", query).await?;
            let rows = self.session.get("fnd", "sub").await?;
            let rows = rows.unwrap_or_default();
            expect(rows.as_array().is_none_or(Vec::is_empty), || {
                format!("{address} is found: {rows}")
            })?;
        }
        for stranger in people {
            let _no = self
                .session
                .request("sub", json!({"topic": stranger}))
                .await;
        }
        let (status, _) = fetch(&self.bob, &url("evil.test", 9)).await?;
        expect(status != 200, || "its file is given".to_owned())?;
        stage
            .pause(Duration::from_secs(3), "somebody is asked, or not")
            .await;
        let after = self.contacts();
        expect(before == after, || {
            format!("hellos, items, signals and files asked for: {before:?}, then {after:?}")
        })?;
        stage.line.held(
            "alpha.test",
            "asks it for nobody and nothing, and sends nothing there",
        );
        Ok(())
    }

    /// Hellos, items, signals and questions for files that came to the denied.
    fn contacts(&self) -> Vec<[usize; 4]> {
        let of = |it: &ScriptedPeer| {
            [
                it.hellos().len(),
                it.arrived().len(),
                it.signals().len(),
                it.files_asked().len(),
            ]
        };
        [&self.evil, &self.below].map(of).to_vec()
    }
}

async fn over_a_restart(stage: &mut Stage, scene: &mut Scene, others: &mut Chat) -> Result<()> {
    others.disconnect(0);
    let alpha = stage.network.domain(0)?;
    alpha.stop(STOP_WITHIN).await?;
    alpha.start().await?;
    let refused = scene.dial(&scene.evil).await;
    expect(refused.is_err(), || {
        "a restart lets the denied in".to_owned()
    })?;
    scene.session = scene.bob.come_back().await?;
    let (eve, group) = (scene.eve().to_string(), scene.group.id.to_string());
    scene.session.subscribe(&eve).await?;
    scene.session.subscribe(&group).await?;
    scene.to_home = scene.dial(&scene.home).await?;
    stage
        .line
        .held("alpha.test", "has not forgotten it over a restart");
    Ok(())
}
