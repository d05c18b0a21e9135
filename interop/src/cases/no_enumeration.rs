//! Somebody who wants to know who has an account (F51).

use std::{collections::BTreeMap, time::Duration};

use freehold_proto::{UserId, wire, wire::find_request::Query, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::Instant;

use super::{Case, Need};
use crate::{
    Person, Result, ScriptedPeer, Stage,
    failure::expect,
    peer::{Line, items},
};

/// Questions of each kind, to see how long they take.
const QUESTIONS: u8 = 40;
const STOP_WITHIN: Duration = Duration::from_secs(15);

pub(super) const CASE: Case = Case {
    ids: "F51",
    name: "no_enumeration",
    proves: "somebody who is there, who is not, who has blocked the asker, who is suspended or deleted: the same answers to look-ups and to words, one by one",
    domains: &["quiet.test"],
    needs: &[Need::Starting, Need::Operator],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let quiet = stage.network.domain(0)?;
        quiet
            .config
            .clients_lines
            .push("findable = false".to_owned());
        stage.start_all().await?;
        let peer = stage.network.stranger("nosy.test").await?;
        let quiet = stage.network.domain(0)?;
        let mut people = BTreeMap::new();
        for name in ["there", "blocks", "suspended", "deleted"] {
            let (person, mut session) = Person::register(quiet.endpoint(), name).await?;
            if name == "blocks" {
                let topic = peer.person(1).to_string();
                session.subscribe(&topic).await?;
                let mode = json!({"topic": topic, "sub": {"mode": "N"}});
                session.request("set", mode).await?;
            }
            people.insert(name, person.user_id()?);
        }
        people.insert("nobody", UserId::new([9; 8], quiet.name().clone()));
        quiet.stop(STOP_WITHIN).await?;
        quiet
            .tell("user suspend", &["suspended@quiet.test"])
            .await?;
        quiet.tell("user delete", &["deleted@quiet.test"]).await?;
        quiet.start().await?;
        let (name, at) = (quiet.name().clone(), quiet.federation());
        let mut line = peer.dial(&name, at).await?;
        look_ups(stage, &mut line, &people).await?;
        words(stage, &peer, &mut line, &people).await?;
        times(stage, &peer, &mut line, &people).await
    }
    .boxed_local()
}

type People = BTreeMap<&'static str, UserId>;

async fn look_ups(stage: &Stage, line: &mut Line, people: &People) -> Result<()> {
    for (name, id) in people {
        for query in [
            Query::LocalPart((*name).to_owned()),
            Query::User(id.to_string()),
        ] {
            let found = line.find(query.clone()).await?;
            expect(found.is_none(), || format!("{query:?} finds {found:?}"))?;
        }
    }
    stage
        .line
        .held("nosy.test", "finds nobody, by name or by id");
    Ok(())
}

/// The verdicts on the same words to each.
async fn words(stage: &Stage, peer: &ScriptedPeer, line: &mut Line, people: &People) -> Result<()> {
    let mut answers = BTreeMap::new();
    for (name, id) in people {
        let eve = peer.person(1);
        let mut said = vec![peer.consents(&eve, id, 1)?];
        for text in ["one", "two", &"long ".repeat(100), "three", "four"] {
            said.push(peer.text(&eve, id, text)?);
        }
        let cursor = wire::Cursor {
            reader: eve.to_string(),
            author: id.to_string(),
            ..wire::Cursor::default()
        };
        said.push(peer.seal(id.domain(), wire::payload::Kind::Cursor(cursor))?);
        let mut verdicts = Vec::new();
        // All at once, again, and then each by itself.
        for batch in [said.clone(), said.clone()] {
            verdicts.extend(line.deliver(1, items(1, batch)).await?);
        }
        for one in said {
            verdicts.extend(line.deliver(1, items(100, [one])).await?);
        }
        answers.insert(*name, verdicts);
    }
    let usual = answers.get("there").cloned().unwrap_or_default();
    for (name, verdicts) in &answers {
        expect(same(verdicts, &usual), || {
            format!("\"{name}\" answers {verdicts:?}, and \"there\" {usual:?}")
        })?;
    }
    stage.line.held(
        "nosy.test",
        format!("gets the same {} answers from everybody", usual.len()),
    );
    Ok(())
}

fn same(one: &[Verdict], other: &[Verdict]) -> bool {
    let told = |it: &Verdict| format!("{it:?}");
    one.iter().map(told).eq(other.iter().map(told))
}

/// How long answers take, for whoever reads the report: a machine that is busy proves nothing.
async fn times(stage: &Stage, peer: &ScriptedPeer, line: &mut Line, people: &People) -> Result<()> {
    for (name, id) in people {
        let (mut finds, mut texts) = (Vec::new(), Vec::new());
        for number in 0..QUESTIONS {
            let asked = Instant::now();
            line.find(Query::User(id.to_string())).await?;
            finds.push(asked.elapsed());
            let text = peer.text(&peer.person(number + 2), id, "hello")?;
            let asked = Instant::now();
            line.deliver(1, items(1, [text])).await?;
            texts.push(asked.elapsed());
        }
        stage.line.note(format!(
            "\"{name}\": half of the look-ups are answered within {} us, half of first texts within {} us",
            median(finds), median(texts)
        ));
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> u128 {
    times.sort();
    times.get(times.len() / 2).map_or(0, Duration::as_micros)
}
