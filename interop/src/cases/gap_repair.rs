//! A home that does not give what is missing of a group's log, or gives something else without end, and a
//! member's domain that never has enough (F30).

use std::time::Duration;

use freehold_proto::{GroupId, wire, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::{Instant, sleep};
use wire::{payload::Kind, read_group_request::What as Asked, read_group_response::What as Shown};

use super::{
    Case, Need,
    home_integrity::{altered, joins, numbered, reads},
};
use crate::{
    Club, Failure, Person, Result, ScriptedPeer, Session, Stage,
    club::eventually,
    failure::expect,
    growth::memory_kib,
    peer::{Arrived, HomedGroup, Line, Reply, Twists},
};

const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// How often the same gap is shown for each wrong answer.
const SHOWN: u64 = 5;
/// Questions that one look at a gap may cause.
const ASKED_MAX: u64 = 3;
/// Memory that all of it may cost, in KiB.
const MEMORY_KIB_MAX: u64 = 64 * 1024;
const ENTRIES_MISSING: u32 = 141;
/// How often a server may offer what a member's domain wants later, in a second.
const OFFERED_A_SECOND: usize = 3;

pub(super) const CASE: Case = Case {
    ids: "F30",
    name: "gap_repair",
    proves: "a home that gives nothing, too much, something else or no end of what is missing costs few questions and little memory, harms no other group, and the log is whole once it gives it; a member's domain that never has enough harms nobody",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Inside],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        hostile_home(stage).await?;
        hostile_member(stage).await
    }
    .boxed_local()
}

/// A group of ours at a scripted home, and the line by which it speaks.
struct Homed {
    home: ScriptedPeer,
    line: Line,
    group: HomedGroup,
    /// The next position of the stream.
    next: u64,
}

impl Homed {
    async fn begin(
        stage: &mut Stage,
        name: &str,
        (bob, session): (&Person, &mut Session),
    ) -> Result<Self> {
        let home = stage.network.stranger(name).await?;
        let at = stage.network.domain(0)?.federation();
        let bob = bob.user_id()?;
        let mut line = home.dial(bob.domain(), at).await?;
        let group = joins(&home, &bob, (&mut line, session)).await?;
        Ok(Self {
            home,
            line,
            group,
            next: 100_000,
        })
    }

    fn entry(&mut self, text: &str) -> Result<wire::Item> {
        let words = self.home.says(&self.group, text)?;
        Ok(self.home.places(&mut self.group, words, true))
    }

    async fn deliver(&mut self, entry: &wire::Item) -> Result<Verdict> {
        self.next += 1;
        let items = numbered(self.next, vec![entry.clone()]);
        let verdict = self.line.deliver(1, items).await?.pop();
        verdict.ok_or_else(|| Failure::Broken("a batch without a verdict".to_owned()))
    }
}

async fn hostile_home(stage: &mut Stage) -> Result<()> {
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let mut hostile = Homed::begin(stage, "home.test", (&bob, &mut session)).await?;
    let mut honest = Homed::begin(stage, "honest.test", (&bob, &mut session)).await?;
    let elsewhere = hostile.home.founds()?;
    let missing = [
        hostile.entry("two")?,
        hostile.entry("three")?,
        hostile.entry("four")?,
    ];
    let five = hostile.entry("five")?;
    let foreign = hostile.home.says(&elsewhere, "of another group")?;
    let foreign = hostile.home.misplaces(&elsewhere, foreign, |_| {});
    let (before, stands) = (memory(stage)?, hostile.group.state.clone());
    let mut texts = vec!["one".to_owned()];
    for (what, twist) in wrong_answers(&missing, &five, &foreign, &stands) {
        hostile.home.twists(Some(twist));
        let asked = hostile.home.reads().len();
        for _ in 0..SHOWN {
            let verdict = hostile.deliver(&five).await?;
            expect(is_missing(&verdict), || {
                format!("behind a gap, with {what}, the answer is {verdict:?}")
            })?;
            sleep(POLL).await;
        }
        // Another group goes on meanwhile.
        let text = format!("beside {what}");
        let entry = honest.entry(&text)?;
        let verdict = honest.deliver(&entry).await?;
        expect(matches!(verdict, Verdict::Ok(_)), || {
            format!("with {what}, another group gets {verdict:?}")
        })?;
        texts.push(text);
        sleep(Duration::from_secs(1)).await;
        let asked = (hostile.home.reads().len() - asked) as u64;
        expect((1..=SHOWN * ASKED_MAX).contains(&asked), || {
            format!("with {what}, {SHOWN} looks at a gap caused {asked} questions")
        })?;
        stage.line.held(
            "alpha.test",
            format!("asks {asked} times when it gets {what}"),
        );
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    reads(&mut session, &honest.group, &texts).await?;
    reads(&mut session, &hostile.group, &["one"]).await?;
    let grown = memory(stage)?.saturating_sub(before);
    expect(grown <= MEMORY_KIB_MAX, || {
        format!("wrong answers cost {grown} KiB of memory")
    })?;

    let all = page(missing.iter().chain([&five]), false);
    hostile.home.twists(Some(Box::new(move |asked| {
        after(asked).and(Some(all.clone()))
    })));
    let deadline = Instant::now() + WITHIN;
    while is_missing(&hostile.deliver(&five).await?) {
        expect(Instant::now() < deadline, || {
            "what is missing has come, and is not taken".to_owned()
        })?;
        sleep(POLL).await;
    }
    reads(
        &mut session,
        &hostile.group,
        &["one", "two", "three", "four", "five"],
    )
    .await?;
    stage
        .line
        .held("alpha.test", "has the whole log once it is given");
    Ok(())
}

fn is_missing(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Later(it) if it.code == ENTRIES_MISSING)
}

fn memory(stage: &mut Stage) -> Result<u64> {
    let process = stage.network.domain(0)?.process().map(|it| it.id());
    let memory = process.and_then(memory_kib);
    memory.ok_or_else(|| Failure::harness("measure alpha.test", "it does not run"))
}

/// Some if entries are asked for.
fn after(asked: &wire::ReadGroupRequest) -> Option<u64> {
    match asked.what {
        Some(Asked::EntriesAfter(index)) => Some(index),
        _ => None,
    }
}

fn page<'a>(
    entries: impl IntoIterator<Item = &'a wire::Item>,
    more: bool,
) -> wire::ReadGroupResponse {
    let entry = |it: &wire::Item| wire::LogEntry {
        placed: it.placed.clone(),
        envelope: it.envelope.clone(),
    };
    let entries = entries.into_iter().map(entry).collect();
    wire::ReadGroupResponse {
        what: Some(Shown::Page(wire::LogPage {
            entries,
            more,
            ..wire::LogPage::default()
        })),
    }
}

/// What a home may say that does not want the gap to be filled.
fn wrong_answers(
    missing: &[wire::Item; 3],
    five: &wire::Item,
    foreign: &wire::Item,
    stands: &wire::GroupState,
) -> Vec<(&'static str, Twists)> {
    let always = |answer: wire::ReadGroupResponse| -> Twists {
        Box::new(move |asked| after(asked).and(Some(answer.clone())))
    };
    let mut forged = missing[0].clone();
    if let Some(placed) = &mut forged.placed {
        placed.signature = altered(&placed.signature);
    }
    let headless = wire::GroupState {
        more: true,
        ..wire::GroupState::default()
    };
    let large = std::iter::repeat_n(&missing[0], 12_000);
    vec![
        (
            "no part in the group",
            always(wire::ReadGroupResponse::default()),
        ),
        ("no more", always(page([], false))),
        ("nothing, and always more", always(page([], true))),
        ("what is beyond the gap", always(page([five], true))),
        (
            "the end of the gap",
            always(page([&missing[2], &missing[1]], true)),
        ),
        (
            "an entry without a signature",
            always(page([&forged], false)),
        ),
        ("an entry of another group", always(page([foreign], false))),
        (
            "more entries than fit into a page",
            always(page(std::iter::repeat_n(five, 1001), true)),
        ),
        ("megabytes", always(page(large, true))),
        ("how it stands, without a head", {
            let what = Some(Shown::State(headless));
            always(wire::ReadGroupResponse { what })
        }),
        ("members without end", {
            let what = Some(Shown::State(wire::GroupState {
                more: true,
                ..stands.clone()
            }));
            // To every question, so that there is always another page.
            Box::new(move |_| Some(wire::ReadGroupResponse { what: what.clone() }))
        }),
    ]
}

/// A member's domain that answers every entry by "others are missing", and reads the log from all ends.
async fn hostile_member(stage: &mut Stage) -> Result<()> {
    let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
    let member = stage.network.stranger("member.test").await?;
    let (name, user) = (club.group.clone(), member.person(1));
    let group: GroupId = name
        .parse()
        .map_err(|error| Failure::harness(format!("read {name}"), error))?;
    member.answers(|batch| Reply::Verdicts(batch.iter().map(wants_more).collect()));
    let invites = json!({"topic": name, "sub": {"user": user.to_string()}});
    club.session(0).await?.request("set", invites).await?;
    let invited = |it: &Arrived| matches!(it.kind, Some(Kind::GroupInvitation(_)));
    member
        .waits_for("an invitation", WITHIN, |it| it.iter().any(invited))
        .await?;
    let (alpha, at) = {
        let domain = stage.network.domain(0)?;
        (domain.name().clone(), domain.federation())
    };
    let mut line = member.dial(&alpha, at).await?;
    let wants = Kind::GroupRequest(wire::GroupRequest {
        actor: user.to_string(),
        what: Some(wire::group_request::What::Want(wire::GroupWant {
            want: "JRWPS".to_owned(),
            want_version: 1,
            ..wire::GroupWant::default()
        })),
    });
    let wants = member.seal_for_group(group, wants)?;
    let verdicts = line.deliver(1, crate::peer::items(1, [wants])).await?;
    expect(matches!(verdicts[..], [Verdict::Ok(_)]), || {
        format!("the member's yes was answered by {verdicts:?}")
    })?;
    eventually("to see the member", club.session(0).await?, async |it| {
        let rows = it.get(&name, "sub").await?.unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        Ok(rows.any(|row| row["user"] == *user.to_string()))
    })
    .await?;

    let (before, began) = (member.arrived().len(), Instant::now());
    for _ in 0..20 {
        club.writes(0, 10).await?;
        club.writes(1, 5).await?;
    }
    club.agree(WITHIN).await?;
    let batches = batches(&member.arrived()[before..]);
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap_or(usize::MAX) + 1;
    expect((1..=seconds * OFFERED_A_SECOND).contains(&batches), || {
        format!("in {seconds} s it was offered {batches} batches")
    })?;
    let held =
        format!("{batches} batches in {seconds} s go to the domain that wants all of them later");
    stage.line.held("alpha.test", held);
    reads_from_all_ends(&mut line, group).await
}

fn wants_more(item: &Arrived) -> Verdict {
    match item.placed {
        None => Verdict::Ok(wire::Ok {}),
        Some(_) => Verdict::Later(wire::Later {
            code: ENTRIES_MISSING,
            retry_after_ms: 0,
        }),
    }
}

/// Batches come with rising positions: the first entry of the log comes once in each.
fn batches(arrived: &[Arrived]) -> usize {
    let indices = arrived.iter().filter_map(|it| it.placed.as_ref());
    let indices: Vec<u64> = indices.map(|it| it.index).collect();
    let first = indices.iter().min().copied();
    indices.iter().filter(|it| Some(**it) == first).count()
}

async fn reads_from_all_ends(line: &mut Line, group: GroupId) -> Result<()> {
    for odd in [
        Asked::EntriesAfter(u64::MAX),
        Asked::EntriesAfter(u64::MAX - 1),
        Asked::MessagesBefore(0),
        Asked::MessagesBefore(u32::MAX),
    ] {
        let answer = line.read_group(group, odd.clone()).await?;
        let Some(Shown::Page(page)) = answer.what else {
            return Err(Failure::Broken(format!(
                "{odd:?} was answered by {answer:?}"
            )));
        };
        let bounded = page.entries.len() <= 1000;
        let over = matches!(odd, Asked::EntriesAfter(_)) && (page.more || !page.entries.is_empty());
        expect(bounded && !over, || {
            format!("{odd:?} was answered by {} entries", page.entries.len())
        })?;
    }
    Ok(())
}
