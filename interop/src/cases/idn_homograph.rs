//! Names that look like another domain's (F07).

use std::time::Duration;

use freehold_proto::{wire, wire::hello_response::Outcome, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::json;

use super::{
    Case, Need,
    hostile::{Foe, Play, TAKEN},
};
use crate::{
    Failure, Person, Result, Stage,
    failure::expect,
    peer::{items, message},
    people::meet,
};

const NOT_CANONICAL: u32 = 103;
const UNVERIFIED: u32 = 114;
const NOT_OF_ORIGIN: u32 = 127;
/// "alpha.test" with a Cyrillic letter for its first.
const TWIN: &str = "xn--lpha-43d.test";

pub(super) const CASE: Case = Case {
    ids: "F07",
    name: "idn_homograph",
    proves: "a name that looks like another domain's, or that some reader of punycode takes for it, is refused or is somebody else: it is never given the other's record, people, trust or denial",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Operator],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let (ann, mut anns) = Person::register(&stage.network.endpoint(0)?, "ann").await?;
        let (bob, mut bobs) = Person::register(&stage.network.endpoint(1)?, "bob").await?;
        meet((&ann, &mut anns), (&bob, &mut bobs)).await?;
        let twin = Foe::comes(stage, 1, TWIN).await?;
        names(stage, &twin).await?;
        stage.line.held(
            "beta.test",
            "takes no spelling of alpha.test for alpha.test",
        );
        // The twin speaks for itself, and not for the people of the domain that it looks like.
        let (ann_id, bob_id) = (ann.user_id()?, bob.user_id()?);
        let as_ann = twin.seals(message(&ann_id, &bob_id, &json!("it is me")))?;
        let own = twin.peer.text(&twin.eve(), &bob_id, "good day")?;
        let answers = twin.hands([as_ann, own]).await?;
        expect(answers == [NOT_OF_ORIGIN, TAKEN], || {
            format!("the twin's words are answered by {answers:?}")
        })?;
        // Its people have their own names, whatever they are shown as.
        let eve = twin.eve().to_string();
        bobs.subscribe(&eve).await?;
        let shown = bobs.history(&eve, 1).await?;
        expect(shown.iter().all(|it| it.from.ends_with(TWIN)), || {
            format!("{shown:?}")
        })?;
        let of_ann = bobs.history(&ann_id.to_string(), 1).await?;
        expect(
            of_ann.iter().all(|it| it.content != json!("it is me")),
            || format!("{of_ann:?}"),
        )?;
        denied(stage, &twin).await?;
        anns.publish(&bob_id.to_string(), "still here").await?;
        let heard = |it: &crate::Frame| it.body["content"] == "still here";
        bobs.wait_for("Ann", Duration::from_secs(20), heard).await?;
        stage
            .line
            .held("beta.test", "denies the one and hears the other");
        Ok(())
    }
    .boxed_local()
}

/// Hellos under names that are meant to be read as another.
async fn names(stage: &mut Stage, twin: &Foe) -> Result<()> {
    let at = stage.network.domain(1)?.federation();
    let beta = twin.us.clone();
    let before = stage.network.domain(1)?.knows("alpha.test").await?;
    for (name, code) in [
        // Not the one form: a letter of another script, capitals, a label that ends in a hyphen, a dot of
        // another script.
        ("\u{430}lpha.test", NOT_CANONICAL),
        ("XN--LPHA-43D.test", NOT_CANONICAL),
        ("xn--alpha-.test", NOT_CANONICAL),
        ("xn--.test", NOT_CANONICAL),
        ("alpha\u{3002}test", NOT_CANONICAL),
        ("alph\u{e0}.test", NOT_CANONICAL),
        // Well-formed names of domains that are not there: they are not what they decode to, or look like.
        ("xn--alpha.test", UNVERIFIED),
        ("xn--alpha-rr.test", UNVERIFIED),
        ("xn--lph-6cd9b.test", UNVERIFIED),
        ("a1pha.test", UNVERIFIED),
    ] {
        let mut line = twin.peer.connect(&beta, at).await?;
        let mut hello = line.proof();
        name.clone_into(&mut hello.from);
        let answer = line.greets(&hello).await?;
        expect(
            matches!(&answer, Outcome::Refused(it) if it.code == code),
            || format!("hello as {name} is answered by {answer:?}"),
        )?;
        // In words that it signs as itself they are nobody's either.
        let words = wire::DirectMessage {
            author: format!("usrAAAAAAAAAAA@{name}"),
            recipient: format!("usrAAAAAAAAAAA@{beta}"),
            content: "\"good day\"".into(),
            ..wire::DirectMessage::default()
        };
        let envelope = twin.seals(Kind::DirectMessage(words))?;
        let answers = twin.hands_items(items(0, [envelope])).await?;
        expect(answers != [TAKEN], || format!("words of {name} are taken"))?;
    }
    let after = stage.network.domain(1)?.knows("alpha.test").await?;
    let root = |said: &str| {
        said.lines()
            .find(|it| it.contains("root key"))
            .map(str::to_owned)
    };
    expect(root(&before) == root(&after), || {
        format!("alpha.test was {before} and is {after}")
    })
}

/// Who denies the twin has not denied the one that it looks like, nor the other way round.
async fn denied(stage: &mut Stage, twin: &Foe) -> Result<()> {
    let beta = stage.network.domain(1)?;
    beta.order("peer deny", &[TWIN]).await?;
    let alpha = beta.knows("alpha.test").await?;
    expect(alpha.contains("dealt with"), || alpha.clone())?;
    let refused = twin.peer.dial(&twin.us, beta.federation()).await;
    expect(
        matches!(&refused, Err(Failure::Broken(why)) if why.contains("115")),
        || format!("a denied twin is let in: {refused:?}"),
    )
}
