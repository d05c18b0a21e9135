//! Several domains of one host speak on one connection, as a hosting company may have it: each proves
//! itself, and each is judged by itself.

use freehold_proto::wire;
use futures_util::FutureExt as _;
use serde_json::json;
use wire::hello_response::Outcome;

use super::{
    Case,
    hostile::{Foe, Play, TAKEN, number, refusal},
};
use crate::{
    Person, Result, Stage,
    failure::expect,
    peer::{Line, ScriptedPeer, items, message},
};

const UNPROVEN: u32 = 112;
const NOT_IN_RECORD: u32 = 113;
const OTHER_ORIGIN: u64 = 120;
const OTHER_ORIGIN_OF_ITEM: u32 = 120;

pub(super) const CASE: Case = Case {
    ids: "",
    name: "domains_on_one_line",
    proves: "on one connection several domains prove themselves, each by a hello of its own and a TLS key in its own record; what one has proven is believed of no other, and each is answered for itself",
    domains: &["alpha.test"],
    needs: &[],
    within: std::time::Duration::from_secs(60),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let (bob, _session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let one = Foe::comes(stage, 0, "one.test").await?;
        let two = with_the_tls_key_of(stage, &one.peer, "two.test").await?;
        let three = stage.network.stranger("three.test").await?;
        let mut second = one.line().also_for(&two);
        let mut third = one.line().also_for(&three);

        let greets = |from: &ScriptedPeer, text: &str| {
            let us = bob.user_id()?;
            let said = message(&from.person(1), &us, &json!(text));
            from.seal(&one.us, said)
        };
        let code = refusal(
            second
                .deliver(1, items(1, [greets(&two, "too early")?]))
                .await,
        )?;
        expect(code == OTHER_ORIGIN, || {
            format!("two.test before its hello is answered by {code}")
        })?;
        refused(&mut third, NOT_IN_RECORD).await?;
        second.hello().await?;
        // Each for itself, in streams of their own.
        for (line, peer) in [(&mut one.line(), &one.peer), (&mut second, &two)] {
            let both = [greets(&one.peer, "of one")?, greets(&two, "of two")?];
            let verdicts = line.deliver(1, items(1, both)).await?;
            let codes: Vec<u32> = verdicts.iter().map(number).collect();
            let expected = match peer.domain() == one.peer.domain() {
                true => [TAKEN, OTHER_ORIGIN_OF_ITEM],
                false => [OTHER_ORIGIN_OF_ITEM, TAKEN],
            };
            expect(codes == expected, || {
                format!("a batch of {} is answered by {codes:?}", peer.domain())
            })?;
        }
        let code = refusal(third.deliver(1, items(1, [greets(&three, "never")?])).await)?;
        expect(code == OTHER_ORIGIN, || {
            format!("three.test, which has proven nothing, is answered by {code}")
        })?;
        // A hello that one has said is not one that another has said.
        let mut borrowed = one.line().proof();
        borrowed.from = two.domain().to_string();
        let outcome = one.line().greets(&borrowed).await?;
        expect(code_of(&outcome) == Some(UNPROVEN), || {
            format!("a borrowed hello is answered by {outcome:?}")
        })?;
        stage.line.held(
            "alpha.test",
            "takes each domain's words from that domain only",
        );
        Ok(())
    }
    .boxed_local()
}

/// A domain whose record lists the TLS key of another, too.
async fn with_the_tls_key_of(
    stage: &mut Stage,
    host: &ScriptedPeer,
    name: &str,
) -> Result<ScriptedPeer> {
    let peer = stage.network.stranger(name).await?;
    let mut shown = peer.record();
    shown.tls_key_hashes.extend(host.record().tls_key_hashes);
    peer.publishes(&shown)?;
    Ok(peer)
}

async fn refused(line: &mut Line, code: u32) -> Result<()> {
    let hello = line.proof();
    let outcome = line.greets(&hello).await?;
    expect(code_of(&outcome) == Some(code), || {
        format!("a hello by a strange TLS key is answered by {outcome:?}")
    })
}

fn code_of(outcome: &Outcome) -> Option<u32> {
    match outcome {
        Outcome::Refused(refused) => Some(refused.code),
        _ => None,
    }
}
