//! Peers of a later version of the protocol, and of an earlier one: what they say that is not known here,
//! and what they do not know.

use std::time::Duration;

use freehold_proto::{
    Destination, UserId,
    hello::{Hello, Role},
    record, wire,
    wire::{hello_response::Outcome, payload::Kind, result::Verdict},
};
use futures_util::FutureExt as _;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wire::{read_group_request::What as Asked, read_group_response::What as Shown};

use super::{
    Case,
    home_integrity::{joins, numbered},
    hostile::{
        Foe, Play, TAKEN, all_show, asks, group_of, id_of, judged, number, payload, shows, wants,
        words,
    },
};
use crate::{
    Club, Failure, FrameKind, Person, Result, ScriptedPeer, Session, Stage,
    failure::expect,
    peer::{Arrived, Greeter, Reply, by_hand, message},
    people::accept,
};

const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const MALFORMED: u32 = 100;
const UNSUPPORTED: u32 = 101;
const UNVERIFIED: u32 = 114;
const UNKNOWN_KIND: u32 = 129;
/// Numbers that no version of today gives.
const LATER_REFUSAL: u32 = 777;
const LATER_DELAY: u32 = 888;

pub(super) const CASE: Case = Case {
    ids: "",
    name: "version_skew",
    proves: "a peer of a later version, with fields, kinds, letters, signals, calls and refusals that nobody knows, and one of an earlier version, without all that can be left out, are talked with; who speaks no common version is told which there is, and tried now and then",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let newer = newer_comes(stage).await?;
        newer_writes(stage, &newer).await?;
        newer_is_home(stage, &newer).await?;
        newer_is_member(stage, &newer).await?;
        newer_answers(stage, &newer).await?;
        no_common_version(stage).await?;
        older(stage).await
    }
    .boxed_local()
}

/// Fields of every kind of protobuf with numbers that nobody uses.
fn later() -> Vec<u8> {
    [
        by_hand::number(90, 7),
        by_hand::bytes(2000, "of a later version"),
        by_hand::tag(91, 5),
        vec![1, 2, 3, 4],
        by_hand::tag(92, 1),
        vec![0; 8],
    ]
    .concat()
}

/// The peer's record, changed, with fields behind it, signed.
fn publishes(
    peer: &ScriptedPeer,
    fields: Vec<u8>,
    change: impl FnOnce(&mut wire::IdentityRecord),
) -> Result<()> {
    let mut record = peer.record();
    change(&mut record);
    let record = [record.encode_to_vec(), fields].concat();
    let signature = peer.root_pen().sign(record::CONTEXT, &record)?;
    peer.publishes_bytes(record, signature.to_vec())
}

/// It speaks this version and six more, and begins with one that is not spoken here.
async fn newer_comes(stage: &mut Stage) -> Result<Foe> {
    let peer = stage.network.stranger("newer.test").await?;
    peer.adds(later());
    publishes(&peer, later(), |it| it.version_max = 7)?;
    let domain = stage.network.domain(0)?;
    let (us, at) = (domain.name().clone(), domain.federation());
    let mut line = peer.connect(&us, at).await?;
    let mut hello = line.proof();
    hello.version = 7;
    refused(line.greets(&hello).await?, UNSUPPORTED, "version 1")?;
    let proof = line.proof();
    let outcome = line.greets(&proof).await?;
    let agreed = matches!(&outcome, Outcome::Accepted(it) if it.version == 1);
    expect(agreed, || {
        format!("the version that both speak is answered by {outcome:?}")
    })?;
    stage.line.held(
        &us,
        "names the version it speaks, and speaks it with who knows later ones",
    );
    Ok(Foe::with(peer, line, us))
}

fn refused(outcome: Outcome, number: u32, names: &str) -> Result<()> {
    let fits =
        matches!(&outcome, Outcome::Refused(it) if it.code == number && it.text.contains(names));
    expect(fits, || {
        format!("a hello is answered by {outcome:?}, not {number} with \"{names}\"")
    })
}

/// A message between two people as somebody writes it who has more to say.
fn more(
    foe: &Foe,
    to: &UserId,
    text: &str,
    references: &[wire::Reference],
) -> Result<wire::Envelope> {
    let references = references
        .iter()
        .flat_map(|it| by_hand::bytes(5, [it.encode_to_vec(), later()].concat()));
    let said = [
        by_hand::bytes(1, foe.eve().to_string()),
        later(),
        by_hand::bytes(2, to.to_string()),
        by_hand::bytes(4, Value::from(text).to_string()),
        references.collect(),
        later(),
    ];
    let payload = [later(), by_hand::bytes(1, said.concat()), later()].concat();
    foe.forges(Destination::Domain(foe.us.clone()), payload)
}

/// Hands over a batch whose every part has fields that nobody knows.
async fn hands(foe: &Foe, first: u64, envelopes: Vec<wire::Envelope>) -> Result<Vec<u32>> {
    let mut request = [
        by_hand::bytes(1, foe.peer.domain().as_str()),
        by_hand::bytes(2, foe.us.as_str()),
        by_hand::number(3, 1),
    ]
    .concat();
    for (position, envelope) in (first..).zip(envelopes) {
        let envelope = [envelope.encode_to_vec(), later()].concat();
        let item = [
            by_hand::number(1, position),
            later(),
            by_hand::bytes(2, envelope),
        ];
        request.extend(by_hand::bytes(4, item.concat()));
    }
    request.extend(later());
    let answer: wire::DeliverResponse = foe
        .line()
        .call_with("Deliver", by_hand::framed(&request))
        .await?;
    let verdicts = answer.results.into_iter().filter_map(|it| it.verdict);
    Ok(verdicts.map(|it| number(&it)).collect())
}

async fn newer_writes(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let (us, topic) = (bob.user_id()?, foe.eve().to_string());
    let relation = wire::Relation {
        user: topic.clone(),
        peer: us.to_string(),
        want: "JRWPAX".to_owned(),
        want_version: 1,
        given: "JYRWPA".to_owned(),
        given_version: 1,
        ..wire::Relation::default()
    };
    let relation = [relation.encode_to_vec(), later()].concat();
    let relation = [by_hand::bytes(2, relation), later()].concat();
    let relation = foe.forges(Destination::Domain(foe.us.clone()), relation)?;
    let answers = hands(foe, 1, vec![relation, more(foe, &us, "hello", &[])?]).await?;
    judged([("a relation", TAKEN), ("a greeting", TAKEN)], &answers)?;
    accept(&mut session, &topic).await?;

    let one = more(foe, &us, "one", &[])?;
    let refers = |key: &str| {
        Result::Ok(wire::Reference {
            key: key.to_owned(),
            author_domain: foe.peer.domain().to_string(),
            message_id: id_of(&one)?.to_vec().into(),
        })
    };
    let references = [
        refers("echo")?,
        refers("mirror")?,
        refers("shadow")?,
        refers("reply")?,
    ];
    let unknown = [by_hand::bytes(900, "of a later kind"), later()].concat();
    let unknown = foe.forges(Destination::Domain(foe.us.clone()), unknown)?;
    let two = more(foe, &us, "two", &references)?;
    let batch = vec![one.clone(), unknown.clone(), two, unknown];
    let answers = hands(foe, 10, batch).await?;
    let expected = [
        ("a message", TAKEN),
        ("a kind that nobody knows", UNKNOWN_KIND),
        ("what follows it", TAKEN),
        ("the same kind again", UNKNOWN_KIND),
    ];
    judged(expected, &answers)?;
    shows(&mut session, &topic, &["hello", "one", "two"]).await?;
    refers_to_one(&mut session, &topic).await?;
    signals(foe, &us, &mut session).await?;
    unknown_call(foe, &us).await?;
    stage.line.held(
        &foe.us,
        "takes what it knows of a later version, in order, and says of what it does not",
    );
    Ok(())
}

async fn refers_to_one(session: &mut Session, topic: &str) -> Result<()> {
    let history = session.history(topic, 1).await?;
    let seq = |text: &str| history.iter().find(|it| it.content == *text);
    let (one, two) = (seq("one"), seq("two"));
    let reply = two.and_then(|it| it.head["reply"].as_str());
    expect(reply == one.map(|it| it.seq.to_string()).as_deref(), || {
        format!("references of a later kind hide one that is known: {history:?}")
    })
}

/// Signals that nobody knows do nothing, and do not stop those beside them.
async fn signals(foe: &Foe, bob: &UserId, session: &mut Session) -> Result<()> {
    session.subscribe(&foe.eve().to_string()).await?;
    let signal = |what: &str| wire::Signal {
        user: foe.eve().to_string(),
        peer: bob.to_string(),
        what: what.to_owned(),
        ..wire::Signal::default()
    };
    let mut call = signal("call");
    call.call = Some(wire::CallSignal {
        caller_domain: foe.us.to_string(),
        message_id: vec![1; 16].into(),
        event: "hologram".to_owned(),
        payload: "{}".into(),
    });
    let all = vec![signal("waves"), call, signal(""), signal("kp")];
    foe.line().signal(all).await?;
    let heard = session
        .wait_for("somebody typing", WITHIN, |it| it.kind == FrameKind::Info)
        .await?;
    expect(heard.text("what") == "kp", || {
        format!("a signal that nobody knows is shown as {}", heard.body)
    })
}

/// A call that there is not yet is refused without a number, and the connection goes on.
async fn unknown_call(foe: &Foe, bob: &UserId) -> Result<()> {
    let mut line = foe.line();
    let request = wire::SignalRequest {
        from: foe.peer.domain().to_string(),
        to: foe.us.to_string(),
        signals: Vec::new(),
    };
    let answer = line
        .call::<wire::SignalResponse>("Foretell", &request)
        .await;
    let unknown = matches!(&answer, Err(Failure::Refused { code: 0, .. }));
    expect(unknown, || {
        format!("a call that there is not is answered by {answer:?}")
    })?;
    let query = wire::find_request::Query::User(bob.to_string());
    line.find(query).await.map(drop)
}

/// Entries of a kind that is not known here stand in a copy's log, and the log goes on.
async fn newer_is_home(stage: &mut Stage, home: &Foe) -> Result<()> {
    let (carl, mut session) = Person::register(&stage.network.endpoint(0)?, "carl").await?;
    let carl = carl.user_id()?;
    let mut group = joins(&home.peer, &carl, (&mut home.line(), &mut session)).await?;
    let second = home.peer.person(2);
    let to = Destination::Group(group.id);
    let said = |author: &UserId, text: &str| {
        let words = [words(author, text).encode_to_vec(), later()].concat();
        let payload = [later(), by_hand::bytes(5, words)].concat();
        home.forges(to.clone(), payload)
    };
    let unknown = || home.forges(to.clone(), by_hand::bytes(901, "of a later kind"));
    let member = wire::Member {
        user: second.to_string(),
        want: "JRWPSX".to_owned(),
        want_version: 1,
        given: "YJRWPS".to_owned(),
        given_version: 1,
        ..wire::Member::default()
    };
    let member = [member.encode_to_vec(), later()].concat();
    let change = [by_hand::bytes(2, member), later()].concat();
    let change = home.forges(to.clone(), [by_hand::bytes(6, change), later()].concat())?;
    let sealed = [
        (said(&home.eve(), "two")?, true),
        (unknown()?, false),
        (change, false),
        (unknown()?, true),
        (said(&second, "three")?, true),
    ];
    let entries = sealed
        .clone()
        .map(|(envelope, is_message)| home.peer.places(&mut group, envelope, is_message));
    let answers = home.hands_items(numbered(0, entries.into())).await?;
    judged(
        ["words", "a later kind", "a change", "a later kind", "words"].map(|it| (it, TAKEN)),
        &answers,
    )?;
    let name = group.id.to_string();
    shows(&mut session, &name, &["one", "two", "three"]).await?;
    let page = home
        .line()
        .read_group(group.id, Asked::EntriesAfter(group.index() - 5))
        .await?;
    let Some(Shown::Page(page)) = page.what else {
        return Err(Failure::Broken(format!("a page of a log is {page:?}")));
    };
    let kept: Vec<_> = page
        .entries
        .into_iter()
        .filter_map(|it| it.envelope)
        .collect();
    expect(kept.iter().eq(sealed.iter().map(|it| &it.0)), || {
        format!(
            "a copy hands on {} of 5 entries of a later version",
            kept.len()
        )
    })?;
    stage.line.held(
        &home.us,
        "keeps entries of a kind it does not know, hands them on, and follows the log behind them",
    );
    Ok(())
}

/// Letters of a kind that is not known here are refused, and those behind them count.
async fn newer_is_member(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let mut club = Club::begin(stage, &[(0, "ann"), (0, "abe")]).await?;
    let group = foe.joins(&mut club).await?;
    let to = Destination::Group(group_of(&club)?);
    let unknown = foe.forges(to.clone(), by_hand::bytes(902, "of a later kind"))?;
    let asked = [
        by_hand::bytes(1, foe.eve().to_string()),
        by_hand::bytes(300, "please"),
    ];
    let asked = foe.forges(to, by_hand::bytes(7, asked.concat()))?;
    let want = wire::GroupWant {
        want: "JRWPSX".to_owned(),
        want_version: 2,
        ..wire::GroupWant::default()
    };
    let want = asks(
        &foe.peer,
        group,
        &foe.eve(),
        wire::group_request::What::Want(want),
    )?;
    let says = |text: &str| {
        let words = [words(&foe.eve(), text).encode_to_vec(), later()].concat();
        foe.forges(Destination::Group(group), by_hand::bytes(5, words))
    };
    foe.tries(&[
        ("words", says("before")?, TAKEN),
        ("a letter of a later kind", unknown, UNKNOWN_KIND),
        ("a request for what nobody knows", asked, MALFORMED),
        ("a wish with a later letter", want, TAKEN),
        ("words behind them", says("behind")?, TAKEN),
    ])
    .await?;
    all_show(&mut club, &["before", "behind"]).await?;
    stage.line.held(
        &foe.us,
        "refuses what it cannot rule on as the home, and takes what stands behind it",
    );
    Ok(())
}

/// What a message of ours is answered by, for its text.
fn later_answers(heard: &[Arrived], delayed: &mut bool) -> Reply {
    let mut behind = false;
    let verdicts = heard.iter().map(|it| match it.text().as_deref() {
        Some("refused") => Verdict::Refused(wire::Refused {
            code: LATER_REFUSAL,
            text: "for a reason of a later version".to_owned(),
        }),
        Some("delayed" | "behind") if !*delayed || behind => {
            (*delayed, behind) = (true, true);
            Verdict::Later(wire::Later {
                code: LATER_DELAY,
                retry_after_ms: 0,
            })
        }
        _ => Verdict::Ok(wire::Ok {}),
    });
    Reply::Verdicts(verdicts.collect())
}

async fn newer_answers(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let (_dora, mut session) = Person::register(&stage.network.endpoint(0)?, "dora").await?;
    let topic = foe.peer.person(4).to_string();
    let mut delayed = false;
    foe.peer
        .answers(move |heard| later_answers(heard, &mut delayed));
    session.subscribe(&topic).await?;
    for text in ["refused", "delayed", "behind"] {
        session.publish(&topic, text).await?;
    }
    arrives(&foe.peer, "delayed", 2).await?;
    let last = |it: &[Arrived], text| it.iter().rposition(|it| it.text().as_deref() == Some(text));
    let in_order = |it: &[Arrived]| last(it, "delayed") < last(it, "behind");
    let awaited = "what waits behind delayed words";
    foe.peer.waits_for(awaited, WITHIN, in_order).await?;
    is_told(&mut session, &topic).await?;
    // The whole call, once.
    let mut asked = false;
    foe.peer
        .answers(move |_| match std::mem::replace(&mut asked, true) {
            false => Reply::Refused(LATER_REFUSAL),
            true => Reply::Taken,
        });
    session.publish(&topic, "once more").await?;
    arrives(&foe.peer, "once more", 2).await?;
    let times = foe
        .peer
        .texts()
        .iter()
        .filter(|it| *it == "refused")
        .count();
    expect(times == 1, || {
        format!("what was refused was offered {times} times")
    })?;
    stage.line.held(
        &foe.us,
        "takes refusals that nobody knows for what they are: no, not now, not so",
    );
    Ok(())
}

async fn arrives(peer: &ScriptedPeer, text: &str, times: usize) -> Result<()> {
    let is_it = |it: &&Arrived| it.text().as_deref() == Some(text);
    let there = |it: &[Arrived]| it.iter().filter(is_it).count() >= times;
    peer.waits_for(&format!("\"{text}\" to arrive"), WITHIN, there)
        .await
}

/// The author sees which message was refused, though not for which reason.
async fn is_told(session: &mut Session, topic: &str) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let history = session.history(topic, 1).await?;
        let refused = history.iter().find(|it| it.content == "refused");
        let seq = refused.map(|it| it.seq.to_string()).unwrap_or_default();
        let note = history.iter().find(|it| it.head["reply"] == *seq);
        let text = note.and_then(|it| it.content.as_str()).unwrap_or_default();
        if text.starts_with("Not delivered") {
            return Ok(());
        }
        expect(Instant::now() < deadline, || {
            format!("nobody tells {} of a refusal: {history:?}", session.who())
        })?;
        sleep(POLL).await;
    }
}

/// How somebody answers hello who does not speak our version.
fn strangenesses(peer: &ScriptedPeer, own: &wire::HelloRequest) -> Vec<Greeter> {
    let accepted = wire::HelloAccepted {
        version: 2,
        key_id: own.key_id.clone(),
        record_hash: own.record_hash.clone(),
        signature: own.signature.clone(),
        received: None,
    };
    let refused = |code, text: String| -> Greeter {
        let refused = wire::Refused { code, text };
        Box::new(move |_, _| Some(Outcome::Refused(refused.clone())))
    };
    let only = format!("{} speaks versions 2 to 7", peer.domain());
    vec![
        refused(UNSUPPORTED, only),
        refused(LATER_REFUSAL, "for a reason of a later version".to_owned()),
        Box::new(move |_, _| Some(Outcome::Accepted(accepted.clone()))),
    ]
}

async fn no_common_version(stage: &mut Stage) -> Result<()> {
    let beyond = stage.network.stranger("beyond.test").await?;
    publishes(&beyond, later(), |it| {
        (it.version_min, it.version_max) = (2, 7)
    })?;
    let domain = stage.network.domain(0)?;
    let (us, at) = (domain.name().clone(), domain.federation());
    let mut line = beyond.connect(&us, at).await?;
    for (version, number, names) in [(2, UNSUPPORTED, "version 1"), (1, UNVERIFIED, "2 to 7")] {
        let mut hello = line.proof();
        hello.version = version;
        refused(line.greets(&hello).await?, number, names)?;
    }

    let other = stage.network.stranger("other.test").await?;
    let line = other.dial(&us, at).await?;
    let (_emma, mut session) = Person::register(&stage.network.endpoint(0)?, "emma").await?;
    let topic = other.person(1).to_string();
    session.subscribe(&topic).await?;
    let mut strangenesses = strangenesses(&other, &line.proof()).into_iter();
    other.greets(strangenesses.next());
    // The link that finding somebody took is the last one for now.
    other.answers(|_| Reply::Break);
    let before = other.hellos().len();
    session.publish(&topic, "in vain").await?;
    arrives(&other, "in vain", 1).await?;
    tried_twice(&other).await?;
    for greeting in strangenesses {
        other.greets(Some(greeting));
        tried_twice(&other).await?;
    }
    tried_rarely(&other.hellos()[before..])?;
    let texts = other.texts();
    expect(texts == ["in vain"], || {
        format!("who does not speak our version is told {texts:?}")
    })?;
    other.answers(|_| Reply::Taken);
    other.greets(None);
    arrives(&other, "in vain", 2).await?;
    shows(&mut session, &topic, &["in vain"]).await?;
    stage.line.held(
        &us,
        "keeps what it has for who speaks another version, and tells it when that changes",
    );
    Ok(())
}

/// It is called again.
async fn tried_twice(peer: &ScriptedPeer) -> Result<()> {
    let (before, deadline) = (peer.hellos().len(), Instant::now() + WITHIN);
    while peer.hellos().len() < before + 2 {
        expect(Instant::now() < deadline, || {
            format!("{} is not called again", peer.domain())
        })?;
        sleep(POLL).await;
    }
    Ok(())
}

/// The shortest wait is a second. Some of these waits may seem shorter, as hellos take their time.
fn tried_rarely(hellos: &[Instant]) -> Result<()> {
    let (first, last) = (hellos.first(), hellos.last());
    let time = first.zip(last).map(|(first, last)| *last - *first);
    let most = time.unwrap_or_default().as_secs() + 2;
    expect(hellos.len() as u64 <= most, || {
        format!(
            "who speaks another version is called {} times in {time:?}",
            hellos.len()
        )
    })
}

/// It says nothing that may be left out, and knows no call that can be done without.
async fn older(stage: &mut Stage) -> Result<()> {
    let peer = stage.network.stranger("older.test").await?;
    peer.lacks(&["Signal", "Find", "ReadGroup", "ReadFile"]);
    publishes(&peer, Vec::new(), |it| {
        it.endpoints.clear();
        it.revoked_keys.clear();
        it.incarnation = 0;
    })?;
    let domain = stage.network.domain(0)?;
    let (us, at) = (domain.name().clone(), domain.federation());
    let mut line = peer.connect(&us, at).await?;
    let mut hello = line.proof();
    hello.received = None;
    let outcome = line.greets(&hello).await?;
    expect(matches!(outcome, Outcome::Accepted(_)), || {
        format!("a hello without a position is answered by {outcome:?}")
    })?;
    peer.greets(Some(says_little(&peer, hello)?));
    let foe = Foe::with(peer, line, us);
    let (fred, mut session) = Person::register(&stage.network.endpoint(0)?, "fred").await?;
    let (fred, topic) = (fred.user_id()?, foe.eve().to_string());
    let relation = foe.seals(Kind::Relation(wire::Relation {
        user: topic.clone(),
        peer: fred.to_string(),
        want: "JRWPA".to_owned(),
        want_version: 1,
        given: "JRWPA".to_owned(),
        given_version: 1,
        ..wire::Relation::default()
    }))?;
    let greeting = foe.seals(message(&foe.eve(), &fred, &json!("hello")))?;
    foe.tries(&[
        ("a relation", relation, TAKEN),
        ("a greeting", greeting, TAKEN),
    ])
    .await?;
    accept(&mut session, &topic).await?;
    session.publish(&topic, "one").await?;
    arrives(&foe.peer, "one", 1).await?;
    let hellos = foe.peer.hellos().len();
    // It does not know this, which is no reason to let go of it.
    session.note(&topic, "kp", 0).await?;
    session.publish(&topic, "two").await?;
    arrives(&foe.peer, "two", 1).await?;
    session.note(&topic, "kp", 0).await?;
    session.publish(&topic, "three").await?;
    arrives(&foe.peer, "three", 1).await?;
    expect(foe.peer.hellos().len() == hellos, || {
        "a call that a peer does not know costs the link".to_owned()
    })?;
    shows(&mut session, &topic, &["hello", "one", "two", "three"]).await?;
    older_member(stage, &foe).await?;
    stage.line.held(
        &foe.us,
        "talks with who leaves out all that can be left out, on one link",
    );
    Ok(())
}

/// A proof without what may be left out beside it.
fn says_little(peer: &ScriptedPeer, own: wire::HelloRequest) -> Result<Greeter> {
    let (pen, from) = (peer.signing_copy()?, peer.domain().clone());
    let record_hash = (&*own.record_hash).try_into().unwrap_or_default();
    Ok(Box::new(move |said, exporter| {
        let to = said.from.parse().ok()?;
        let hello = Hello {
            role: Role::Acceptor,
            from: &from,
            to: &to,
            key_id: pen.id(),
            record_hash,
            exporter,
        };
        let signature = pen.sign(b"", &hello.signed_bytes()).ok()?;
        Some(Outcome::Accepted(wire::HelloAccepted {
            version: 1,
            key_id: own.key_id.clone(),
            record_hash: own.record_hash.clone(),
            signature: signature.to_vec().into(),
            received: None,
        }))
    }))
}

/// A member whose domain says what it must and no more.
async fn older_member(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let mut club = Club::begin(stage, &[(0, "gus"), (0, "gil")]).await?;
    let group = foe.joins(&mut club).await?;
    let again = wants(&foe.peer, group, &foe.eve(), 1)?;
    let inside = payload(Kind::GroupMessage(words(&foe.eve(), "from before")));
    let inside = foe.forges(Destination::Group(group), inside)?;
    foe.tries(&[("the same wish", again, TAKEN), ("words", inside, TAKEN)])
        .await?;
    all_show(&mut club, &["from before"]).await
}
