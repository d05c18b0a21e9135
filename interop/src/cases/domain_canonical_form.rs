//! Names of domains that are not in their one form (F06).

use std::time::Duration;

use freehold_proto::{
    wire,
    wire::{hello_response::Outcome, payload::Kind, result::Verdict},
};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;

use super::{Case, Need};
use crate::{Failure, Person, Result, Stage, failure::expect, peer::items};

const MALFORMED: u32 = 100;
const NOT_CANONICAL: u32 = 103;

pub(super) const CASE: Case = Case {
    ids: "F06",
    name: "domain_canonical_form",
    proves: "a name of a domain in any form but its one is refused at hello, in messages, from clients and from the operator, is never put right, and is never looked up",
    domains: &["alpha.test"],
    needs: &[Need::Operator],
    within: Duration::from_secs(120),
    play,
};

/// Names that are none. A person may type capitals; nothing else may say them.
fn forms() -> Vec<String> {
    let mut forms: Vec<String> = [
        "ALPHA.test",
        "alpha.test.",
        ".alpha.test",
        "alpha..test",
        "alpha",
        "alpha.test/x",
        "alpha.test:6269",
        "127.0.0.1",
        "[::1]",
        "alpha.1",
        "-alpha.test",
        "alpha-.test",
        "al_pha.test",
        "al pha.test",
        "älpha.test",
        "",
    ]
    .map(str::to_owned)
    .into();
    forms.push(format!("{}.test", "a".repeat(64)));
    forms.push(format!("{}test", "abcdefg.".repeat(32)));
    forms
}

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let peer = stage.network.stranger("stranger.test").await?;
        let alpha = stage.network.domain(0)?;
        let (bob, mut session) = Person::register(alpha.endpoint(), "bob").await?;
        let id = bob.user_id()?;
        let (name, at) = (alpha.name().clone(), alpha.federation());
        let mut line = peer.dial(&name, at).await?;
        let before = alpha.dns().questions();
        for form in forms() {
            for is_to in [true, false] {
                let mut hello = line.proof();
                let field = if is_to { &mut hello.to } else { &mut hello.from };
                form.clone_into(field);
                let answer = line.greets(&hello).await?;
                expect(
                    matches!(&answer, Outcome::Refused(it) if it.code == NOT_CANONICAL),
                    || format!("hello with \"{form}\" is answered by {answer:?}"),
                )?;
            }
            let odd = format!("usrAAAAAAAAAAA@{form}");
            let message = wire::DirectMessage {
                author: peer.person(1).to_string(),
                recipient: odd.clone(),
                content: "\"good day\"".into(),
                ..wire::DirectMessage::default()
            };
            let envelope = peer.seal(id.domain(), Kind::DirectMessage(message))?;
            let verdicts = line.deliver(1, items(1, [envelope])).await?;
            expect(
                matches!(&verdicts[..], [Verdict::Refused(it)] if [MALFORMED, NOT_CANONICAL].contains(&it.code)),
                || format!("words to {odd} are answered by {verdicts:?}"),
            )?;
            let asked = session.request("sub", json!({"topic": odd})).await;
            expect(
                matches!(asked, Err(Failure::Refused { code: 400..500, .. })),
                || format!("a client that asks for {odd} is answered by {asked:?}"),
            )?;
            // A person may type capitals.
            if !form.is_empty() && !form.starts_with('-') && form != "ALPHA.test" {
                for command in ["peer show", "peer deny", "peer allow"] {
                    let told = alpha.command(command, &[&form], "").await?;
                    expect(!told.done, || format!("{command} \"{form}\": {}", told.said))?;
                }
            }
        }
        let asked = alpha.dns().questions() - before;
        expect(asked == 0, || {
            format!("{asked} questions to DNS about names that are none")
        })?;
        stage.line.held(
            "alpha.test",
            format!("refuses {} forms of names everywhere, and looks none up", forms().len()),
        );
        Ok(())
    }
    .boxed_local()
}
