//! A group with people of several domains, what each of them was promised, and what all see in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    Failure, Frame, FrameKind, Ledger, Message, Person, Progress, Result, Session, Stage, Timeline,
    Writer, failure::expect, judge,
};

/// A client's answer never waits for another domain.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(1);
/// Time for a server that was started to know its people again.
const COME_BACK_WITHIN: Duration = Duration::from_secs(30);
/// Time for an invitation, or an answer to it, to cross.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Time in which a late duplicate would still show up.
const LINGER: Duration = Duration::from_millis(1500);
const POLL: Duration = Duration::from_millis(200);

/// Somebody in a club.
#[derive(Debug)]
pub struct Member {
    /// Who.
    pub person: Person,
    /// The domain they are of.
    pub at: usize,
    /// What they sent and were promised.
    pub ledger: Ledger,
    session: Option<Session>,
}

/// A group, and its members in the order they came. The domain of the first is its home.
#[derive(Debug)]
pub struct Club {
    /// The group as every domain names it.
    pub group: String,
    /// Everybody in it.
    pub members: Vec<Member>,
    /// It has had more than one home, so that nobody shows all of it in the order of the log.
    pub moved: bool,
    line: Timeline,
}

impl Club {
    /// Makes accounts at domains, which must be up; the first person makes a group and brings in the
    /// others. Log-in names must differ in the first word of what people write: they are that word.
    pub async fn begin(stage: &mut Stage, people: &[(usize, &str)]) -> Result<Self> {
        Self::found(stage, people, "newClub").await
    }

    /// The same with a channel that others may read.
    pub async fn begin_channel(stage: &mut Stage, people: &[(usize, &str)]) -> Result<Self> {
        Self::found(stage, people, "nchClub").await
    }

    async fn found(stage: &mut Stage, people: &[(usize, &str)], temporary: &str) -> Result<Self> {
        let (group, line) = (String::new(), stage.line.clone());
        let members = Vec::new();
        let mut club = Self {
            group,
            members,
            moved: false,
            line,
        };
        for &(at, name) in people {
            let endpoint = stage.network.endpoint(at)?;
            let (person, session) = Person::register(&endpoint, name).await?;
            let (ledger, session) = (Ledger::new(name), Some(session));
            club.members.push(Member {
                person,
                at,
                ledger,
                session,
            });
        }
        let founded = json!({"topic": temporary, "set": {"desc": {"public": {"fn": "Club"}}}});
        let answer = club.session_of(0)?.request("sub", founded).await?;
        answer.text("topic").clone_into(&mut club.group);
        for index in 1..club.members.len() {
            club.brings_in(index).await?;
        }
        let names: Vec<_> = people.iter().map(|it| it.1).collect();
        club.line.act(names.join(", "), "are in a group together");
        Ok(club)
    }

    /// The first member asks somebody in, who says yes as the web app does.
    async fn brings_in(&mut self, index: usize) -> Result<()> {
        let group = self.group.clone();
        let founder = self.members[0].person.clone();
        let user = founder.name_of(&self.members[index].person);
        let invitation = json!({"topic": group, "sub": {"user": user}});
        self.session_of(0)?.request("set", invitation).await?;
        let session = self.session_of(index)?;
        eventually(
            "to find the group among the contacts",
            session,
            async |it| {
                let rows = it.get("me", "sub").await?.unwrap_or_default();
                let mut rows = rows.as_array().into_iter().flatten();
                Ok(rows.any(|row| row["topic"] == group))
            },
        )
        .await?;
        session.subscribe(&group).await?;
        let desc = session.get(&group, "desc").await?.unwrap_or_default();
        let yes = json!({"topic": group, "sub": {"mode": desc["acs"]["given"]}});
        session.request("set", yes).await?;
        eventually("to see who is in the group", session, async |it| {
            let members = it.get(&group, "sub").await?.unwrap_or_default();
            Ok(members.as_array().is_some_and(|it| it.len() > 1))
        })
        .await?;
        let founder = self.session_of(0)?;
        eventually(&format!("to see {user} come"), founder, async |it| {
            let members = it.get(&group, "sub").await?.unwrap_or_default();
            let mut members = members.as_array().into_iter().flatten();
            let row = members.find(|it| it["user"] == user);
            let mode = row.and_then(|it| it["acs"]["mode"].as_str());
            Ok(mode.is_some_and(|it| it.contains("JRW")))
        })
        .await
    }

    /// Somebody more, who has no account yet, comes in later.
    pub async fn joined_by(&mut self, stage: &mut Stage, (at, name): (usize, &str)) -> Result<()> {
        let endpoint = stage.network.endpoint(at)?;
        let (person, session) = Person::register(&endpoint, name).await?;
        let (ledger, session) = (Ledger::new(name), Some(session));
        self.members.push(Member {
            person,
            at,
            ledger,
            session,
        });
        self.session(0).await?;
        self.brings_in(self.members.len() - 1).await?;
        self.line.act(name, "comes into the group");
        Ok(())
    }

    fn session_of(&mut self, index: usize) -> Result<&mut Session> {
        let session = self.members[index].session.as_mut();
        session.ok_or_else(|| Failure::harness("find a session", "there is none"))
    }

    /// The session of a member, made anew if there is none.
    pub async fn session(&mut self, index: usize) -> Result<&mut Session> {
        if self.members[index].session.is_none() {
            let session = self.connect(index).await?;
            self.members[index].session = Some(session);
        }
        self.session_of(index)
    }

    async fn connect(&self, index: usize) -> Result<Session> {
        let deadline = Instant::now() + COME_BACK_WITHIN;
        loop {
            let back = async {
                let mut session = self.members[index].person.come_back().await?;
                session.subscribe(&self.group).await?;
                Result::Ok(session)
            };
            match back.await {
                Ok(session) => return Ok(session),
                Err(failure) if !failure.is_passing() || Instant::now() > deadline => {
                    return Err(failure);
                }
                Err(_) => sleep(POLL).await,
            }
        }
    }

    /// Forgets the sessions of everybody at a domain, whose server has gone or will go.
    pub fn disconnect(&mut self, at: usize) {
        for member in self.members.iter_mut().filter(|it| it.at == at) {
            member.session = None;
        }
    }

    /// Some members write without pause while something happens, through any number of lost
    /// connections, and until all is acknowledged.
    pub async fn write_while(
        &mut self,
        who: &[usize],
        pace: Duration,
        happens: impl AsyncFnOnce(&Progress) -> Result<()>,
    ) -> Result<()> {
        let writers = who.iter().map(|it| self.writer(*it).paced(pace));
        let mut writers: Vec<Writer> = writers.collect();
        let progress = Progress::default();
        let until = async {
            let outcome = happens(&progress).await;
            progress.enough.set(true);
            outcome
        };
        let writing = try_join_all(writers.iter_mut().map(|it| it.write(&progress)));
        tokio::try_join!(until, writing)?;
        for (index, writer) in who.iter().zip(&writers) {
            self.members[*index].ledger = writer.ledger().clone();
        }
        let acknowledged = progress.acknowledged.get();
        let what = format!("wrote without pause: {acknowledged} were acknowledged");
        self.line.act("the group", what);
        Ok(())
    }

    /// Somebody who writes for a member without pause.
    #[must_use]
    pub fn writer(&mut self, index: usize) -> Writer {
        let member = &mut self.members[index];
        member.session = None;
        Writer::new(member.person.clone(), self.group.clone()).continuing(member.ledger.clone())
    }

    /// A member writes so many messages, each acknowledged within a second.
    pub async fn writes(&mut self, index: usize, count: u64) -> Result<()> {
        let group = self.group.clone();
        for _ in 0..count {
            self.session(index).await?;
            let ledger = &mut self.members[index].ledger;
            ledger.sent += 1;
            let (number, text) = (ledger.sent, ledger.text(ledger.sent));
            let asked = Instant::now();
            self.session_of(index)?.publish(&group, &text).await?;
            let took = asked.elapsed();
            self.members[index].ledger.acknowledged.insert(number);
            expect(took < ACKNOWLEDGE_WITHIN, || {
                let took = took.as_millis();
                format!("\"{text}\" was acknowledged only after {took} ms")
            })?;
        }
        let ledger = &self.members[index].ledger;
        let what = format!("writes {count}, up to {}, all acknowledged", ledger.sent);
        self.line.act(&ledger.sender, what);
        Ok(())
    }

    /// A member asks for something; the answer is whatever it is.
    pub async fn asks(&mut self, index: usize, kind: &str, body: Value) -> Result<Frame> {
        let awaited = format!("the answer to {kind} {body}");
        let session = self.session(index).await?;
        let id = session.send(kind, body).await?;
        let fits = |it: &Frame| it.kind == FrameKind::Ctrl && it.text("id") == id;
        session.wait_for(&awaited, ANSWER_WITHIN, fits).await
    }

    /// All that a member sees of the group.
    pub async fn history(&mut self, index: usize) -> Result<Vec<Message>> {
        let group = self.group.clone();
        let read = self.session(index).await?.history(&group, 1).await;
        if let Err(failure) = &read
            && failure.is_disconnect()
        {
            self.members[index].session = None;
            return self.session(index).await?.history(&group, 1).await;
        }
        read
    }

    /// Waits until everybody sees all that was acknowledged, then a little longer, and judges: each
    /// message once at every domain, each author's in order, and all in the order of the home. Only
    /// what people of a domain wrote themselves may stand earlier there.
    pub async fn agree(&mut self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline && !self.faults().await?.is_empty() {
            sleep(POLL).await;
        }
        sleep(LINGER).await;
        let faults = self.faults().await?;
        expect(faults.is_empty(), || faults.join("\n"))?;
        let ledgers = self.members.iter().map(|it| &it.ledger);
        let (mut sent, mut acknowledged) = (0, 0);
        for ledger in ledgers {
            sent += ledger.sent;
            acknowledged += ledger.acknowledged.len();
        }
        let said = format!(
            "of {sent} sent all {acknowledged} acknowledged are with all {} members, once, in the home's order",
            self.members.len()
        );
        self.line.held("the group", said);
        Ok(())
    }

    /// Everything wrong with what the members see, one sentence each.
    pub async fn faults(&mut self) -> Result<Vec<String>> {
        let mut histories = Vec::new();
        for index in 0..self.members.len() {
            histories.push(self.history(index).await?);
        }
        let mut faults = Vec::new();
        for (viewer, history) in self.members.iter().zip(&histories) {
            let who = viewer.person.address();
            for author in &self.members {
                let found = judge(&author.ledger, &author.ledger.entries(history));
                faults.extend(found.into_iter().map(|it| format!("{who} sees: {it}")));
            }
            if self.moved {
                faults.extend(self.contradiction(viewer, history, &histories));
                continue;
            }
            let home = histories.first().map_or(&[][..], Vec::as_slice);
            let other = self.difference(viewer.at, home, history);
            faults.extend(other.map(|it| format!("{who} sees {it}")));
        }
        Ok(faults)
    }

    /// Where two domains show in another order what people of neither wrote, or not the same messages.
    fn contradiction(
        &self,
        viewer: &Member,
        here: &[Message],
        histories: &[Vec<Message>],
    ) -> Option<String> {
        let known = |history: &[Message]| -> BTreeSet<String> {
            let texts = history.iter().filter_map(|it| it.content.as_str());
            texts.map(str::to_owned).collect()
        };
        for (other, there) in self.members.iter().zip(histories) {
            let strange = |history: &[Message]| {
                let others = self.by_domain(history, viewer.at).0;
                let theirs = self.by_domain(history, other.at).1;
                let others = others.into_iter().filter(|it| !theirs.contains(it));
                others.collect::<Vec<_>>()
            };
            let (mine, theirs) = (strange(here), strange(there));
            let (who, other) = (viewer.person.address(), other.person.address());
            let mut both = mine.iter().zip(&theirs);
            if let Some((seen, shown)) = both.find(|(seen, shown)| seen != shown) {
                return Some(format!(
                    "{who} sees \"{seen}\" where {other} sees \"{shown}\""
                ));
            }
            if let Some(text) = known(here).symmetric_difference(&known(there)).next() {
                return Some(format!("only one of {who} and {other} sees \"{text}\""));
            }
        }
        None
    }

    /// Somebody may rule on others in the group, and says yes to it.
    pub async fn trusts(&mut self, index: usize) -> Result<()> {
        let group = self.group.clone();
        let user = self.name(0, index);
        let raised = json!({"topic": group, "sub": {"user": user, "mode": "+A"}});
        self.asks(0, "set", raised).await?;
        let session = self.session(index).await?;
        eventually("to be raised", session, async |it| {
            let desc = it.get(&group, "desc").await?.unwrap_or_default();
            let given = desc["acs"]["given"].as_str();
            Ok(given.is_some_and(|it| it.contains('A')))
        })
        .await?;
        let yes = json!({"topic": group, "sub": {"mode": "+A"}});
        session.request("set", yes).await?;
        let session = self.session(0).await?;
        eventually("to know who rules", session, async |it| {
            let members = it.get(&group, "sub").await?.unwrap_or_default();
            let mut members = members.as_array().into_iter().flatten();
            let row = members.find(|it| it["user"] == user);
            let mode = row.and_then(|it| it["acs"]["mode"].as_str());
            Ok(mode.is_some_and(|it| it.contains('A')))
        })
        .await
    }

    /// A member as the domain of another names them.
    #[must_use]
    pub fn name(&self, viewer: usize, other: usize) -> String {
        let [viewer, other] = [viewer, other].map(|it| &self.members[it].person);
        viewer.name_of(other)
    }

    /// Asks, as a member who may, for something small, until the answer says that this domain decides:
    /// `None` the member's own.
    pub async fn is_decided_by(
        &mut self,
        index: usize,
        home: Option<&str>,
        within: Duration,
    ) -> Result<()> {
        let group = self.group.clone();
        let deadline = Instant::now() + within;
        for count in 0.. {
            let body = json!({"topic": group, "aux": {"asked": format!("{index} {count}")}});
            let answer = self.asks(index, "set", body).await?;
            let pending = answer.body["params"]["pending"].as_str();
            if answer.code() == 200 && pending == home {
                break;
            }
            expect(Instant::now() < deadline, || {
                let who = self.members[index].person.address();
                let answer = &answer.body;
                format!("{who} is not told that {home:?} decides, but {answer}")
            })?;
            sleep(POLL).await;
        }
        let who = self.members[index].person.address();
        let home = home.unwrap_or("their own domain");
        self.line
            .held(who, format!("finds that {home} is the home"));
        Ok(())
    }

    /// Where a domain shows what others wrote in another order than the home does, or not the same of
    /// its own people's.
    fn difference(&self, at: usize, home: &[Message], here: &[Message]) -> Option<String> {
        let [home, here] = [home, here].map(|it| self.by_domain(it, at));
        let mut both = home.0.iter().zip(&here.0);
        if let Some((there, seen)) = both.find(|(there, seen)| there != seen) {
            return Some(format!("\"{seen}\" where the home shows \"{there}\""));
        }
        let counts = |(others, own): &(Vec<String>, BTreeSet<String>)| (others.len(), own.len());
        let (there, seen) = (counts(&home), counts(&here));
        if there != seen {
            return Some(format!(
                "{seen:?} messages of others and of its own, the home {there:?}"
            ));
        }
        let mut missing = home.1.symmetric_difference(&here.1);
        missing.next().map(|it| format!("\"{it}\" otherwise"))
    }

    /// Texts of a history: what people of other domains wrote, in order, and what people of this one
    /// did.
    fn by_domain(&self, history: &[Message], at: usize) -> (Vec<String>, BTreeSet<String>) {
        let homes: BTreeMap<&str, usize> = self
            .members
            .iter()
            .map(|it| (&*it.ledger.sender, it.at))
            .collect();
        let (mut others, mut own) = (Vec::new(), BTreeSet::new());
        for text in history.iter().filter_map(|it| it.content.as_str()) {
            let author = text.rsplit_once(' ').and_then(|it| homes.get(it.0));
            match author {
                Some(home) if *home == at => drop(own.insert(text.to_owned())),
                Some(_) => others.push(text.to_owned()),
                None => {}
            }
        }
        (others, own)
    }

    /// Everybody reads all there is; then every domain knows it of everybody.
    pub async fn marks_agree(&mut self, within: Duration) -> Result<()> {
        let group = self.group.clone();
        let mut last = Vec::new();
        for index in 0..self.members.len() {
            let seq = self.history(index).await?.last().map_or(0, |it| it.seq);
            let session = self.session(index).await?;
            session.note(&group, "read", seq).await?;
            last.push(seq);
        }
        let names: Vec<Vec<String>> = self
            .members
            .iter()
            .map(|viewer| {
                let others = self.members.iter();
                let name = |it: &Member| viewer.person.name_of(&it.person);
                others.map(name).collect()
            })
            .collect();
        let views = self.members.iter_mut().zip(names).zip(last);
        try_join_all(views.map(async |((viewer, names), last)| {
            let who = viewer.person.address();
            let no = || Failure::harness("find a session", "there is none");
            let session = viewer.session.as_mut().ok_or_else(no)?;
            let deadline = Instant::now() + within;
            loop {
                let rows = session.get(&group, "sub").await?.unwrap_or_default();
                let rows = rows.as_array().cloned().unwrap_or_default();
                let has_read = |name: &String| {
                    let row = rows.iter().find(|it| it["user"] == **name);
                    row.and_then(|it| it["read"].as_u64()).unwrap_or(0)
                };
                let Some(behind) = names.iter().find(|it| has_read(it) < last) else {
                    return Ok(());
                };
                expect(Instant::now() < deadline, || {
                    let read = has_read(behind);
                    format!("{who} knows {behind} to have read {read}, who has read {last}")
                })?;
                sleep(POLL).await;
            }
        }))
        .await?;
        let what = "has read everything, and every domain knows it of everybody";
        self.line.held("everybody in the group", what);
        Ok(())
    }
}

/// Asks again until it is so.
pub(crate) async fn eventually(
    awaited: &str,
    session: &mut Session,
    is_so: impl AsyncFn(&mut Session) -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + JOIN_WITHIN;
    while !is_so(session).await? {
        if Instant::now() > deadline {
            let awaited = format!("{} {awaited}", session.who());
            return Err(Failure::Late {
                awaited,
                after: JOIN_WITHIN,
            });
        }
        sleep(POLL).await;
    }
    Ok(())
}
