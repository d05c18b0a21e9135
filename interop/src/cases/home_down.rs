//! The home of a group is gone: what members of other domains can do meanwhile, and after (F46).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{
    Club, Failure, Frame, Person, Progress, Result, Stage, club::eventually, failure::expect,
};

const BOB: usize = 1;
const CAT: usize = 2;
const PACE: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_millis(200);
/// Time for a domain to notice that another is gone or back.
const NOTICE_WITHIN: Duration = Duration::from_secs(30);
const ARRIVE_WITHIN: Duration = Duration::from_secs(60);
/// How long servers are up and down while everybody writes.
const WHILE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1200));

pub(super) const CASE: Case = Case {
    ids: "F46",
    name: "home_down",
    proves: "while the home of a group is gone its members elsewhere read and write, nobody can change who is a member and is told why, and everything resumes in one order, also when servers are killed while all write",
    domains: &["alpha.test", "beta.test", "gamma.test"],
    needs: &[Need::Starting],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "bob"), (2, "cat")]).await?;
        let gamma = stage.network.endpoint(2)?;
        let (eve, mut eve_session) = Person::register(&gamma, "eve").await?;
        club.trusts(BOB).await?;
        for index in 0..3 {
            club.writes(index, 3).await?;
        }
        club.agree(ARRIVE_WITHIN).await?;

        club.disconnect(0);
        stage.network.domain(0)?.kill()?;
        club.writes(BOB, 5).await?;
        club.writes(CAT, 5).await?;
        reads_all(&mut club, BOB).await?;
        is_frozen(stage, &mut club, &eve).await?;
        club.disconnect(1);
        stage.network.domain(1)?.kill()?;
        stage.network.domain(1)?.start().await?;
        club.writes(BOB, 5).await?;
        reads_all(&mut club, BOB).await?;
        stage.network.domain(0)?.start().await?;
        club.agree(ARRIVE_WITHIN).await?;
        comes_in(&mut club, &eve, &mut eve_session).await?;

        let killed = async |_: &Progress| kill(stage).await;
        club.write_while(&[0, BOB, CAT], PACE, killed).await?;
        club.agree(ARRIVE_WITHIN).await?;
        club.marks_agree(ARRIVE_WITHIN).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Somebody sees all that they wrote, and of the others what came before.
async fn reads_all(club: &mut Club, index: usize) -> Result<()> {
    let history = club.history(index).await?;
    for (author, member) in club.members.iter().enumerate() {
        let entries = member.ledger.entries(&history);
        let expected = match author == index {
            true => usize::try_from(member.ledger.sent).unwrap_or(usize::MAX),
            false => 3,
        };
        let sender = &member.ledger.sender;
        expect(entries.len() >= expected, || {
            let seen = entries.len();
            format!("of {sender}'s messages {seen} are there without the home, not {expected}")
        })?;
    }
    Ok(())
}

/// Whoever wants to change the group is told who is away, once that is known.
async fn is_frozen(stage: &Stage, club: &mut Club, eve: &Person) -> Result<()> {
    let (group, cat) = (club.group.clone(), club.name(BOB, CAT));
    // Asks for nothing new, so that nothing is left of it if the home is thought to be there.
    let same = json!({"topic": group, "sub": {"user": cat, "mode": "JRWPS"}});
    let deadline = Instant::now() + NOTICE_WITHIN;
    while club.asks(BOB, "set", same.clone()).await?.code() != 503 {
        if Instant::now() > deadline {
            return Err(Failure::Late {
                awaited: "beta.test to say that alpha.test is away".to_owned(),
                after: NOTICE_WITHIN,
            });
        }
        sleep(POLL).await;
    }
    let eve = club.members[BOB].person.name_of(eve);
    let requests: [(&str, Value); 3] = [
        ("set", json!({"topic": group, "sub": {"user": eve}})),
        (
            "set",
            json!({"topic": group, "sub": {"user": cat, "mode": "-W"}}),
        ),
        ("del", json!({"topic": group, "what": "sub", "user": cat})),
    ];
    for (kind, body) in requests {
        let answer = club.asks(BOB, kind, body.clone()).await?;
        expect(is_away(&answer), || {
            format!(
                "{kind} {body} without the home was answered by {}",
                answer.body
            )
        })?;
    }
    for index in [BOB, CAT] {
        let session = club.session(index).await?;
        let members = session.get(&group, "sub").await?.unwrap_or_default();
        let count = members.as_array().map_or(0, Vec::len);
        expect(count == 3, || format!("the members are now {members}"))?;
    }
    stage.line.held(
        "the group",
        "has the members it had; who would change them is told that alpha.test is away",
    );
    Ok(())
}

fn is_away(answer: &Frame) -> bool {
    answer.code() == 503 && answer.body["params"]["away"] == "alpha.test"
}

/// With the home back, the group changes again.
async fn comes_in(club: &mut Club, eve: &Person, session: &mut crate::Session) -> Result<()> {
    let group = club.group.clone();
    let user = club.members[BOB].person.name_of(eve);
    let deadline = Instant::now() + NOTICE_WITHIN;
    loop {
        let body = json!({"topic": group, "sub": {"user": user}});
        let answer = club.asks(BOB, "set", body).await?;
        if answer.code() == 200 {
            break;
        }
        expect(is_away(&answer) && Instant::now() < deadline, || {
            format!(
                "with the home back an invitation was answered by {}",
                answer.body
            )
        })?;
        sleep(POLL).await;
    }
    eventually("to be asked into the group", session, async |it| {
        let rows = it.get("me", "sub").await?.unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        Ok(rows.any(|row| row["topic"] == group))
    })
    .await
}

/// Kills servers, the home more often than others.
async fn kill(stage: &mut Stage) -> Result<()> {
    for index in [0, 1, 0, 2, 0] {
        sleep(stage.random.pause(WHILE.0, WHILE.1)).await;
        stage.network.domain(index)?.kill()?;
        sleep(stage.random.pause(WHILE.0, WHILE.1)).await;
        stage.network.domain(index)?.start().await?;
    }
    Ok(())
}
