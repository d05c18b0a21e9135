//! A stranger who wants to write, to add, and to know who is there (F50).

use std::time::Duration;

use freehold_proto::{UserId, wire, wire::payload::Kind, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;

use super::Case;
use crate::{
    FrameKind, Person, Result, ScriptedPeer, Session, Stage,
    failure::expect,
    peer::{Line, items},
    people::accept,
};

/// The number of "waiting for the recipient's consent".
const AWAITING_CONSENT: u32 = 140;
/// Texts that a stranger may leave.
const TEXTS: usize = 3;
/// Time in which what must not come would.
const LINGER: Duration = Duration::from_millis(1500);
const WITHIN: Duration = Duration::from_secs(20);

pub(super) const CASE: Case = Case {
    ids: "F50",
    name: "consent_required",
    proves: "a stranger leaves three short texts and learns nothing: no read mark, no presence, no answer; consent opens the way for the rest; a block is silent and counts at once",
    domains: &["beta.test"],
    needs: &[],
    within: Duration::from_secs(90),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let peer = stage.network.stranger("pushy.test").await?;
        let beta = stage.network.domain(0)?;
        let (bob, mut session) = Person::register(beta.endpoint(), "bob").await?;
        let (name, at) = (beta.name().clone(), beta.federation());
        let mut scene = Scene {
            eve: peer.person(1),
            us: bob.user_id()?,
            line: peer.dial(&name, at).await?,
            peer,
            next: 1,
        };
        let kept = scene.knocks(stage).await?;
        scene.learns_nothing(stage, &mut session).await?;
        scene.is_let_in(stage, &mut session, kept).await?;
        scene.is_blocked(stage, &mut session).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Eve of a scripted peer, and Bob.
struct Scene {
    peer: ScriptedPeer,
    line: Line,
    eve: UserId,
    us: UserId,
    next: u64,
}

impl Scene {
    async fn says(&mut self, envelopes: Vec<wire::Envelope>) -> Result<Vec<Verdict>> {
        let batch = items(self.next, envelopes);
        self.next += u64::try_from(batch.len()).unwrap_or(0);
        self.line.deliver(1, batch).await
    }

    fn text(&self, text: &str) -> Result<wire::Envelope> {
        self.peer.text(&self.eve, &self.us, text)
    }

    async fn signals(&mut self) -> Result<()> {
        let signals = ["on", "kp"].map(|what| wire::Signal {
            user: self.eve.to_string(),
            peer: self.us.to_string(),
            what: what.to_owned(),
            ..wire::Signal::default()
        });
        self.line.signal(signals.into()).await
    }

    /// What came to the peer about its people: nothing may.
    fn heard(&self) -> Vec<String> {
        let arrived = self.peer.arrived().into_iter();
        let items = arrived.filter_map(|it| it.kind).map(|it| format!("{it:?}"));
        let signals = self.peer.signals().into_iter();
        items.chain(signals.map(|it| format!("{it:?}"))).collect()
    }

    /// Eve wants a contact and writes a lot; what is too much is kept waiting.
    async fn knocks(&mut self, stage: &Stage) -> Result<Vec<wire::Envelope>> {
        let mut said = vec![self.peer.consents(&self.eve, &self.us, 1)?];
        for text in ["one", "two", "three", "four", &"long ".repeat(100), "six"] {
            said.push(self.text(text)?);
        }
        let verdicts = self.says(said.clone()).await?;
        let (taken, rest) = verdicts.split_at((TEXTS + 1).min(verdicts.len()));
        let waits = |it: &Verdict| matches!(it, Verdict::Later(it) if it.code == AWAITING_CONSENT);
        let fits = taken.iter().all(|it| matches!(it, Verdict::Ok(_)));
        expect(fits && rest.len() == 3 && rest.iter().all(waits), || {
            format!("a stranger's words were answered by {verdicts:?}")
        })?;
        stage.line.act(
            "eve@pushy.test",
            "wants a contact and writes six times; three are taken, the rest waits",
        );
        Ok(said.split_off(TEXTS + 1))
    }

    /// Bob looks, reads and types; eve types and says that she is there. Neither hears of the other.
    async fn learns_nothing(&mut self, stage: &Stage, session: &mut Session) -> Result<()> {
        let topic = self.eve.to_string();
        session.subscribe(&topic).await?;
        let history = session.history(&topic, 1).await?;
        let texts: Vec<_> = history
            .iter()
            .filter_map(|it| it.content.as_str())
            .collect();
        expect(texts == ["one", "two", "three"], || {
            format!("bob sees {texts:?} of a stranger")
        })?;
        notices(session, &topic).await?;
        session.note(&topic, "read", 3).await?;
        session.note(&topic, "kp", 0).await?;
        self.signals().await?;
        stage.pause(LINGER, "nothing may come").await;
        let heard = self.heard();
        expect(heard.is_empty(), || {
            format!("a stranger has heard {heard:?}")
        })?;
        let told = notices(session, &topic).await?;
        expect(told.is_empty(), || {
            format!("bob is told of a stranger: {told:?}")
        })?;
        stage
            .line
            .held("eve and bob", "know nothing of each other but three texts");
        Ok(())
    }

    async fn is_let_in(
        &mut self,
        stage: &Stage,
        session: &mut Session,
        kept: Vec<wire::Envelope>,
    ) -> Result<()> {
        let topic = self.eve.to_string();
        accept(session, &topic).await?;
        self.peer
            .waits_for("news of the consent", WITHIN, |it| {
                it.iter()
                    .any(|it| matches!(&it.kind, Some(Kind::Relation(it)) if it.want.contains('W')))
            })
            .await?;
        let verdicts = self.says(kept).await?;
        expect(
            verdicts.iter().all(|it| matches!(it, Verdict::Ok(_))),
            || format!("after consent the rest was answered by {verdicts:?}"),
        )?;
        let seen = session.history(&topic, 1).await?.len();
        expect(seen == 6, || format!("after consent bob sees {seen} of 6"))?;
        stage.line.held(
            "eve@pushy.test",
            "is let in, and all of her words are there",
        );
        Ok(())
    }

    /// From the moment of the block on nothing of eve's is shown, and nothing tells her.
    async fn is_blocked(&mut self, stage: &Stage, session: &mut Session) -> Result<()> {
        let topic = self.eve.to_string();
        let before = (session.history(&topic, 1).await?, self.heard().len());
        let mode = json!({"topic": topic, "sub": {"mode": "-JP"}});
        session.request("set", mode).await?;
        stage.line.act("bob@beta.test", "blocks her");
        let said = vec![self.text("are you there?")?, self.text("hello?")?];
        let verdicts = self.says(said).await?;
        expect(
            verdicts.iter().all(|it| matches!(it, Verdict::Ok(_))),
            || format!("who is blocked was answered by {verdicts:?}"),
        )?;
        notices(session, &topic).await?;
        self.signals().await?;
        stage.pause(LINGER, "nothing may come").await;
        let told = notices(session, &topic).await?;
        let history = session.history(&topic, 1).await?;
        expect(told.is_empty() && history == before.0, || {
            format!("of somebody blocked bob is shown {told:?}")
        })?;
        let heard = self.heard();
        let betrays = |it: &&String| {
            let tells = it.contains("want: \"N\"") || it.contains("what: \"off\"");
            tells || !(it.starts_with("Relation") || it.starts_with("Signal"))
        };
        let betrayed: Vec<_> = heard.iter().skip(before.1).filter(betrays).collect();
        expect(betrayed.is_empty(), || {
            format!("who is blocked hears {betrayed:?}")
        })?;
        stage
            .line
            .held("eve@pushy.test", "is not told, and not shown any more");
        Ok(())
    }
}

/// What a session has been told of somebody's coming, going and typing.
async fn notices(session: &mut Session, topic: &str) -> Result<Vec<String>> {
    let mut told = Vec::new();
    while let Some(frame) = session.next(tokio::time::Instant::now()).await? {
        let about = frame.text("src") == topic || frame.text("topic") == topic;
        let what = frame.text("what");
        let presence = frame.kind == FrameKind::Pres && ["on", "msg"].contains(&what);
        if about && (presence || frame.kind == FrameKind::Info || frame.kind == FrameKind::Data) {
            told.push(frame.body.to_string());
        }
    }
    Ok(told)
}
