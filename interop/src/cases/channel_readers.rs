//! A channel whose readers are at other domains: what they see, and what crosses to them.

use std::time::Duration;

use freehold_proto::{GroupId, wire, wire::payload::Kind, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{
    Club, Failure, Ledger, Message, Person, Progress, Result, ScriptedPeer, Session, Stage, Way,
    failure::expect, judge, peer::Arrived, peer::items,
};

const ANN: usize = 0;
const PACE: Duration = Duration::from_millis(10);
const POLL: Duration = Duration::from_millis(200);
const WITHIN: Duration = Duration::from_secs(60);
/// Time in which a late duplicate would still show up.
const LINGER: Duration = Duration::from_millis(1500);
/// How long servers are up and down while the author writes.
const WHILE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(1200));
/// The author's name, which nobody may see who only reads.
const AUTHOR: &str = "ann";

pub(super) const CASE: Case = Case {
    ids: "",
    name: "channel_readers",
    proves: "readers of a channel at two other domains see every message once and in order, whatever is cut and killed meanwhile, and nothing that crosses to a domain of readers leads to an author or a member",
    domains: &["alpha.test", "beta.test", "gamma.test"],
    needs: &[Need::Starting, Need::Ways],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut club = Club::begin_channel(stage, &[(0, AUTHOR)]).await?;
        club.writes(ANN, 3).await?;
        let mut readers = Vec::new();
        for (at, name) in [(1, "bob"), (2, "cat")] {
            readers.push(Reader::comes(stage, &club, (at, name)).await?);
        }
        let watcher = stage.network.stranger("one.test").await?;
        reads(stage, &club, &watcher).await?;

        let happens = async |_: &Progress| cuts_and_kills(stage).await;
        club.write_while(&[ANN], PACE, happens).await?;
        club.writes(ANN, 1).await?;
        agree(stage, &club, &mut readers).await?;
        tells_nobody(stage, &mut club, &watcher).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Somebody who reads the channel at another domain.
struct Reader {
    person: Person,
    session: Option<Session>,
    channel: String,
}

impl Reader {
    /// Opens the channel by its whole address, and is led to its name there.
    async fn comes(stage: &mut Stage, club: &Club, (at, name): (usize, &str)) -> Result<Self> {
        let (person, mut session) = Person::register(&stage.network.endpoint(at)?, name).await?;
        let channel = club.group.replacen("grp", "chn", 1);
        let address = json!({"topic": format!("{channel}@alpha.test")});
        let led = session.request("sub", address).await?;
        expect(
            led.code() == 303 && led.body["params"]["topic"] == *channel,
            || format!("the address was answered by {}", led.body),
        )?;
        session.subscribe(&channel).await?;
        Ok(Self {
            person,
            session: Some(session),
            channel,
        })
    }

    /// All that is in the channel here, over a new connection if the last one broke.
    async fn history(&mut self) -> Result<Vec<Message>> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let mut session = self.person.come_back().await?;
                session.subscribe(&self.channel).await?;
                session
            }
        };
        let history = session.history(&self.channel, 1).await?;
        self.session = Some(session);
        Ok(history)
    }

    /// What is wrong with what is here; none of it while the author's last message is missing.
    async fn faults(&mut self, ledger: &Ledger) -> Result<Vec<String>> {
        let history = match self.history().await {
            Ok(history) => history,
            Err(failure) => return Ok(vec![failure.to_string()]),
        };
        let mut faults = judge(ledger, &ledger.entries(&history));
        let named = history.iter().filter(|it| !it.from.is_empty());
        faults.extend(named.map(|it| format!("{} is shown as an author", it.from)));
        Ok(faults)
    }
}

/// A scripted domain says that somebody of it reads, and is told.
async fn reads(stage: &mut Stage, club: &Club, watcher: &ScriptedPeer) -> Result<()> {
    let home = stage.network.domain(0)?;
    let (name, at) = (home.name().clone(), home.federation());
    let mut line = watcher.dial(&name, at).await?;
    let words = Kind::GroupCursors(wire::GroupCursors {
        group: id(club)?.as_bytes().to_vec().into(),
        cursors: Vec::new(),
        readers: Some(1),
    });
    let verdicts = line
        .deliver(1, items(1, [watcher.seal(&name, words)?]))
        .await?;
    expect(matches!(verdicts[..], [Verdict::Ok(_)]), || {
        format!("the home answered {verdicts:?}")
    })?;
    watcher
        .waits_for("an item of the feed", WITHIN, |it| !it.is_empty())
        .await
}

fn id(club: &Club) -> Result<GroupId> {
    let read = club.group.parse();
    read.map_err(|error| Failure::harness("read the id of a group", error))
}

/// Ways are cut, and every server is killed at least once.
async fn cuts_and_kills(stage: &mut Stage) -> Result<()> {
    stage.network.set_ways(0, 1, Way::Cut)?;
    sleep(stage.random.pause(WHILE.0, WHILE.1)).await;
    for index in [2, 0, 1, 0] {
        stage.network.domain(index)?.kill()?;
        sleep(stage.random.pause(WHILE.0, WHILE.1)).await;
        stage.network.domain(index)?.start().await?;
        sleep(stage.random.pause(WHILE.0, WHILE.1)).await;
    }
    stage.network.set_ways(0, 1, Way::Open)
}

/// Waits until both readers have everything, then a little longer, and judges.
async fn agree(stage: &Stage, club: &Club, readers: &mut [Reader]) -> Result<()> {
    let ledger = &club.members[ANN].ledger;
    let deadline = Instant::now() + WITHIN;
    loop {
        // All of them each time: a client that is silent for a minute is cut off.
        let mut agreed = true;
        for reader in &mut *readers {
            agreed &= reader.faults(ledger).await?.is_empty();
        }
        if agreed || Instant::now() > deadline {
            break;
        }
        sleep(POLL).await;
    }
    sleep(LINGER).await;
    for reader in readers {
        let faults = reader.faults(ledger).await?;
        let who = reader.person.address();
        expect(faults.is_empty(), || {
            format!("{who} sees: {}", faults.join("\n"))
        })?;
        let count = ledger.acknowledged.len();
        stage.line.held(
            who,
            format!("sees all {count} acknowledged messages, once and in order, and no author"),
        );
    }
    Ok(())
}

/// What the scripted domain was sent, and is shown when it asks, names nobody.
async fn tells_nobody(stage: &mut Stage, club: &mut Club, watcher: &ScriptedPeer) -> Result<()> {
    let ledger = &club.members[ANN].ledger;
    let last = json!(ledger.text(ledger.sent)).to_string();
    let has_last = move |it: &[Arrived]| {
        it.iter().any(|it| match &it.kind {
            Some(Kind::FeedItem(item)) => item.content == last.as_bytes(),
            _ => false,
        })
    };
    watcher
        .waits_for("the author's last message", WITHIN, has_last)
        .await?;
    let author = club.members[ANN].person.user_id()?;
    let secret = author.to_string();
    let secret = secret.split('@').next().unwrap_or_default().as_bytes();
    let names = |bytes: &[u8]| bytes.windows(secret.len()).any(|it| it == secret);
    for arrived in watcher.arrived() {
        let is_feed = matches!(arrived.kind, Some(Kind::FeedItem(_)))
            && arrived.placed.as_ref().is_some_and(|it| it.feed);
        expect(is_feed, || {
            format!("{:?} came to a domain of readers", arrived.kind)
        })?;
        expect(!names(&arrived.envelope.payload), || {
            format!("{:?} names the author", arrived.kind)
        })?;
    }
    let home = stage.network.domain(0)?;
    let (name, at) = (home.name().clone(), home.federation());
    let mut line = watcher.dial(&name, at).await?;
    for what in asked() {
        let shown = line.read_feed(id(club)?, what.clone()).await?;
        let bytes = prost::Message::encode_to_vec(&shown);
        expect(shown.what.is_some() && !names(&bytes), || {
            format!("{what:?} of the feed is answered by {shown:?}")
        })?;
        let log = line.read_group(id(club)?, what.clone()).await?;
        expect(log.what.is_none(), || {
            format!("{what:?} of the log is answered by {log:?}")
        })?;
    }
    let count = watcher.arrived().len();
    stage.line.held(
        watcher.domain(),
        format!(
            "was told {count} items of the feed and nothing else, none of which names an author"
        ),
    );
    Ok(())
}

/// Everything that a domain of readers may ask.
fn asked() -> [wire::read_group_request::What; 3] {
    use wire::read_group_request::What;
    [
        What::State(String::new()),
        What::EntriesAfter(0),
        What::MessagesBefore(u32::MAX),
    ]
}
