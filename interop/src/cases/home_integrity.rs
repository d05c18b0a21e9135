//! A home that contradicts itself, or claims what nobody said (F45).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{UserId, wire, wire::payload::Kind, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::Case;
use crate::{
    Person, Result, ScriptedPeer, Session, Stage,
    club::eventually,
    failure::expect,
    peer::{Arrived, HomedGroup, Line, TAKEOVER},
};

const WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
const BAD_SIGNATURE: u32 = 123;
const PAYLOAD_ALTERED: u32 = 124;
const NOT_HOME: u32 = 132;
const LOG_FORKED: u32 = 133;
const ENTRIES_MISSING: u32 = 141;
/// What a server says of the operator of such a home.
const ALARM: &str = "contradicts itself";

pub(super) const CASE: Case = Case {
    ids: "F45",
    name: "home_integrity",
    proves: "entries by which the home of a group forks its log, breaks its chain, skips an order or forges an author, and a successor that nobody else agrees to, are refused by their numbers and have no effect, and the rest of the batch is unharmed",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(90),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let home = stage.network.stranger("home.test").await?;
        let author = stage.network.stranger("author.test").await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let at = stage.network.domain(0)?.federation();
        let bob_id = bob.user_id()?;
        let mut line = home.dial(bob_id.domain(), at).await?;
        let mut group = joins(&home, &bob_id, (&mut line, &mut session)).await?;

        let items = batch(&home, &author, &mut group)?;
        let (items, expected): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let items = numbered(100, items);
        let verdicts = line.deliver(1, items).await?;
        let answered: Vec<_> = verdicts.iter().map(number).collect();
        expect(answered == expected, || {
            format!("the entries were answered by {answered:?}, not {expected:?}")
        })?;
        let many = answered.iter().filter(|it| **it > 0).count();
        stage.line.held(
            "alpha.test",
            format!("refuses {many} entries by their numbers"),
        );

        let texts = ["one", "two", "three"];
        reads(&mut session, &group, &texts).await?;
        claims_alone(
            &author,
            &mut author.dial(bob_id.domain(), at).await?,
            &group,
        )
        .await?;
        stage.line.held(
            "alpha.test",
            "takes no successor for the home to which only itself agrees",
        );
        let next = home.says(&group, "four")?;
        let next = home.places(&mut group, next, true);
        let verdicts = line.deliver(1, numbered(200, vec![next])).await?;
        expect(matches!(verdicts[..], [Verdict::Ok(_)]), || {
            format!("the true log goes on with {verdicts:?}")
        })?;
        reads(&mut session, &group, &["one", "two", "three", "four"]).await?;
        stage.line.held("alpha.test", "has the true log only");
        let domain = stage.network.domain(0)?;
        if !domain.is_ours() {
            return Ok(());
        }
        let alarms = domain.said().matches(ALARM).count();
        let forks = expected.iter().filter(|it| **it == LOG_FORKED).count();
        expect(alarms == forks, || {
            format!("{alarms} alarms for {forks} forks")
        })?;
        stage
            .line
            .held("alpha.test", "tells its operator of each fork");
        Ok(())
    }
    .boxed_local()
}

/// Bob of alpha is asked into a group of the scripted home, says yes, and has a copy that begins.
pub(super) async fn joins(
    home: &ScriptedPeer,
    bob: &UserId,
    ends: (&mut Line, &mut Session),
) -> Result<HomedGroup> {
    joins_others(home, bob, &[], ends).await
}

/// The same where others are in the group.
pub(super) async fn joins_others(
    home: &ScriptedPeer,
    bob: &UserId,
    others: &[UserId],
    (line, session): (&mut Line, &mut Session),
) -> Result<HomedGroup> {
    let mut group = home.founds()?;
    group.others = others.to_vec();
    let name = group.id.to_string();
    let invitation = home.invites(&group, bob)?;
    line.deliver(1, crate::peer::items(1, [invitation])).await?;
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
    home.waits_for("a yes", WITHIN, |it| it.iter().any(wants))
        .await?;
    home.shows(&mut group, bob)?;
    let first = home.says(&group, "one")?;
    let first = home.places(&mut group, first, true);
    // The copy has no log yet, and asks how the group stands.
    let deadline = Instant::now() + WITHIN;
    for position in 2.. {
        let verdicts = line
            .deliver(1, numbered(position, vec![first.clone()]))
            .await?;
        match verdicts[..] {
            [Verdict::Ok(_)] => break,
            [Verdict::Later(_)] if Instant::now() < deadline => sleep(POLL).await,
            _ => expect(false, || {
                format!("the first entry was answered by {verdicts:?}")
            })?,
        }
    }
    Ok(group)
}

/// True entries and false ones in one batch, each with the number of its refusal; 0 for none.
fn batch(
    home: &ScriptedPeer,
    author: &ScriptedPeer,
    group: &mut HomedGroup,
) -> Result<Vec<(wire::Item, u32)>> {
    let mut items = Vec::new();
    let before = group.clone();
    let two = home.says(group, "two")?;
    let two = home.places(group, two, true);
    items.push((two.clone(), 0));
    let other = home.says(group, "another two")?;
    items.push((home.misplaces(&before, other, |_| {}), LOG_FORKED));
    let lie = home.says(group, "after another entry")?;
    items.push((
        home.misplaces(group, lie, |it| it.previous[0] ^= 1),
        LOG_FORKED,
    ));
    let lie = home.says(group, "an order too far")?;
    items.push((home.misplaces(group, lie, |it| it.order += 1), LOG_FORKED));
    let lie = home.says(group, "an order back")?;
    items.push((home.misplaces(group, lie, |it| it.order -= 2), LOG_FORKED));
    // Behind what nobody has said: it would have to be another home's.
    let lie = home.says(group, "of another epoch")?;
    let later = |it: &mut freehold_proto::Position| {
        it.epoch = 2;
        it.previous[0] ^= 1;
    };
    items.push((home.misplaces(group, lie, later), ENTRIES_MISSING));
    // The home relays words of a third domain, which that domain never sealed so.
    let mut forged = author.says(group, "forged")?;
    forged.signature = altered(&forged.signature);
    items.push((home.misplaces(group, forged, |_| {}), BAD_SIGNATURE));
    let mut turned = author.says(group, "turned round")?;
    turned.payload = altered(&turned.payload);
    items.push((home.misplaces(group, turned, |_| {}), PAYLOAD_ALTERED));
    let lie = home.says(group, "in the place of another")?;
    items.push((
        home.misplaces(group, lie, |it| it.envelope[0] ^= 1),
        PAYLOAD_ALTERED,
    ));
    let lie = home.says(group, "placed by nobody")?;
    let mut unsigned = home.misplaces(group, lie, |_| {});
    if let Some(placed) = &mut unsigned.placed {
        placed.signature = altered(&placed.signature);
    }
    items.push((unsigned, BAD_SIGNATURE));
    items.push((two, 0));
    let three = home.says(group, "three")?;
    items.push((home.places(group, three, true), 0));
    Ok(items)
}

/// One of three successors says that it is the home, with its own consent three times.
async fn claims_alone(author: &ScriptedPeer, line: &mut Line, group: &HomedGroup) -> Result<()> {
    let claim = author.claims(group)?;
    let second = |it: &mut freehold_proto::Position| {
        it.epoch = TAKEOVER;
        it.order -= 1;
    };
    let claim = author.misplaces(group, claim, second);
    let verdicts = line.deliver(1, numbered(1, vec![claim])).await?;
    let answered: Vec<_> = verdicts.iter().map(number).collect();
    expect(answered == [NOT_HOME], || {
        format!("a takeover without consents was answered by {answered:?}, not [{NOT_HOME}]")
    })
}

/// The same with one bit turned, in the last byte.
pub(super) fn altered(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes.last_mut().into_iter().for_each(|it| *it ^= 1);
    bytes.into()
}

pub(super) fn numbered(first: u64, items: Vec<wire::Item>) -> Vec<wire::Item> {
    let numbered = (first..).zip(items);
    let numbered = numbered.map(|(position, it)| wire::Item { position, ..it });
    numbered.collect()
}

/// The number of a refusal; 0 for what is taken or was.
fn number(verdict: &Verdict) -> u32 {
    match verdict {
        Verdict::Ok(_) | Verdict::Duplicate(_) => 0,
        Verdict::Refused(it) => it.code,
        Verdict::Later(it) => it.code,
    }
}

/// Waits until these are the texts of the group.
pub(super) async fn reads(session: &mut Session, group: &HomedGroup, texts: &[&str]) -> Result<()> {
    let (name, deadline) = (group.id.to_string(), Instant::now() + WITHIN);
    loop {
        let history = session.history(&name, 1).await?;
        let seen: Vec<_> = history
            .iter()
            .filter_map(|it| it.content.as_str())
            .collect();
        if seen == texts {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            format!("the group reads {seen:?}, not {texts:?}")
        })?;
        sleep(POLL).await;
    }
}
