//! Proofs of a domain that belong to another connection, direction or domain (F09).

use std::time::Duration;

use freehold_proto::{
    hello::{Hello, Role},
    wire,
    wire::hello_response::Outcome,
};
use futures_util::FutureExt as _;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    Case,
    hostile::{Foe, Play, TAKEN, refusal, shows},
};
use crate::{
    Failure, Person, Result, ScriptedPeer, Session, Stage,
    failure::expect,
    peer::{Arrived, Pen, message},
    people::accept,
};

const WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const MALFORMED: u32 = 100;
const UNSUPPORTED: u32 = 101;
const NOT_CANONICAL: u32 = 103;
const HELLO_REQUIRED: u64 = 110;
const NOT_SERVED: u32 = 111;
const UNPROVEN: u32 = 112;
const NOT_IN_RECORD: u32 = 113;
const LIMITED: u32 = 151;

pub(super) const CASE: Case = Case {
    ids: "F09",
    name: "hello_binding",
    proves: "a hello counts on its own connection, in its own direction, between its own two domains and once it was asked for: relayed, reflected, replayed or volunteered proofs open nothing",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let foe = Foe::comes(stage, 0, "evil.test").await?;
        accepted_side(stage, &foe).await?;
        stage.line.held(
            "alpha.test",
            "believes no proof that is not of this connection",
        );
        relayed(stage, &foe).await?;
        stage
            .line
            .held("alpha.test", "believes no proof that somebody relays");
        before_hello(stage, &foe).await?;
        stage
            .line
            .held("alpha.test", "answers nothing before hello");
        dialing_side(stage).await
    }
    .boxed_local()
}

/// What a hello signs, to be changed.
fn signed<'a>(
    foe: &'a Foe,
    pen: &Pen,
    exporter: [u8; 32],
    change: impl FnOnce(&mut Hello<'a>),
) -> Result<Vec<u8>> {
    let proof = foe.line().proof();
    let mut hello = Hello {
        role: Role::Initiator,
        from: foe.peer.domain(),
        to: &foe.us,
        key_id: foe.peer.pen().id(),
        record_hash: (&*proof.record_hash).try_into().unwrap_or_default(),
        exporter,
    };
    change(&mut hello);
    Ok(pen.sign(b"", &hello.signed_bytes())?.to_vec())
}

async fn accepted_side(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    let beta = stage.network.domain(1)?.name().clone();
    let mut line = foe.peer.connect(&foe.us, at).await?;
    let (own, exporter, pen) = (line.proof(), line.exporter(), foe.peer.pen());
    let other = foe.line();
    let by = |signature: Vec<u8>| wire::HelloRequest {
        signature: signature.into(),
        ..own.clone()
    };
    let with = |change: &dyn Fn(&mut wire::HelloRequest)| {
        let mut request = own.clone();
        change(&mut request);
        request
    };
    let upper = "EVIL.TEST".to_owned();
    let trials = vec![
        ("of another connection", other.proof(), UNPROVEN),
        (
            "over the exporter of another connection",
            by(signed(foe, pen, other.exporter(), |_| {})?),
            UNPROVEN,
        ),
        (
            "over no exporter",
            by(signed(foe, pen, [0; 32], |_| {})?),
            UNPROVEN,
        ),
        (
            "in the role of the acceptor",
            by(signed(foe, pen, exporter, |it| it.role = Role::Acceptor)?),
            UNPROVEN,
        ),
        (
            "to another domain",
            by(signed(foe, pen, exporter, |it| it.to = &beta)?),
            UNPROVEN,
        ),
        (
            "turned round",
            by(signed(foe, pen, exporter, |it| {
                std::mem::swap(&mut it.from, &mut it.to)
            })?),
            UNPROVEN,
        ),
        (
            "over another record",
            by(signed(foe, pen, exporter, |it| it.record_hash = [1; 32])?),
            UNPROVEN,
        ),
        (
            "a record that is not there",
            with(&|it| it.record_hash = vec![1; 32].into()),
            UNPROVEN,
        ),
        (
            "for another domain",
            with(&|it| it.to = beta.to_string()),
            NOT_SERVED,
        ),
        (
            "for oneself",
            with(&|it| it.to = foe.peer.domain().to_string()),
            NOT_SERVED,
        ),
        (
            "in the acceptor's name",
            with(&|it| it.from = foe.us.to_string()),
            UNPROVEN,
        ),
        (
            "in another's name",
            with(&|it| it.from = beta.to_string()),
            NOT_IN_RECORD,
        ),
        (
            "in capitals",
            with(&|it| it.from.clone_from(&upper)),
            NOT_CANONICAL,
        ),
        ("in no name", with(&|it| it.from.clear()), NOT_CANONICAL),
        ("with a dot", with(&|it| it.to.push('.')), NOT_CANONICAL),
        (
            "of another version",
            with(&|it| it.version = 2),
            UNSUPPORTED,
        ),
        ("of version 0", with(&|it| it.version = 0), UNSUPPORTED),
        (
            "with half a hash",
            with(&|it| it.record_hash = vec![1; 16].into()),
            MALFORMED,
        ),
        ("without a key", with(&|it| it.key_id.clear()), MALFORMED),
        (
            "without a signature",
            with(&|it| it.signature.clear()),
            UNPROVEN,
        ),
    ];
    for (what, request, number) in trials {
        let outcome = line.greets(&request).await?;
        let answer = match &outcome {
            Outcome::Refused(it) => it.code,
            _ => 0,
        };
        expect(answer == number, || {
            format!("a hello {what} is answered by {outcome:?}, not {number}")
        })?;
    }
    // And then the true one, on the same connection.
    line.hello().await?;
    // Again and again, until it is too much.
    let proof = line.proof();
    for _ in 0..200 {
        match line.greets(&proof).await {
            Ok(Outcome::Accepted(_)) => {}
            Ok(Outcome::Refused(it)) if it.code == LIMITED => return Ok(()),
            Err(failure) if failure.is_disconnect() => return Ok(()),
            other => return Err(Failure::Broken(format!("a hello is answered by {other:?}"))),
        }
    }
    Err(Failure::Broken("there is no end to hellos".to_owned()))
}

/// Beta says hello to the foe, who says the same to alpha.
async fn relayed(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let (_carol, mut session) = Person::register(&stage.network.endpoint(1)?, "carol").await?;
    let beta = stage.network.domain(1)?.name().to_string();
    let topic = foe.peer.person(3).to_string();
    session.subscribe(&topic).await?;
    session.publish(&topic, "hello").await?;
    let deadline = Instant::now() + WITHIN;
    let said = loop {
        let said = foe.peer.last_hello().filter(|it| it.from == beta);
        if let Some(said) = said {
            break said;
        }
        expect(Instant::now() < deadline, || {
            "beta says no hello".to_owned()
        })?;
        sleep(POLL).await;
    };
    let at = stage.network.domain(0)?.federation();
    let mut line = foe.peer.connect(&foe.us, at).await?;
    let readdressed = wire::HelloRequest {
        to: foe.us.to_string(),
        ..said.clone()
    };
    for (request, number) in [(said, NOT_SERVED), (readdressed, NOT_IN_RECORD)] {
        let outcome = line.greets(&request).await?;
        let refused = matches!(&outcome, Outcome::Refused(it) if it.code == number);
        expect(refused, || {
            format!("a relayed hello is answered by {outcome:?}")
        })?;
    }
    // What beta could say is not said either: this connection proves nobody.
    let find = wire::FindRequest {
        from: beta,
        to: foe.us.to_string(),
        query: None,
    };
    let refused = refusal(line.call::<wire::FindResponse>("Find", &find).await);
    let closed = refused.as_ref().is_err_and(Failure::is_disconnect);
    expect(
        closed || refused.is_ok_and(|it| it == HELLO_REQUIRED),
        || "a call is answered on a connection that proves nobody".to_owned(),
    )
}

/// Every call but hello, on connections that have said none.
async fn before_hello(stage: &mut Stage, foe: &Foe) -> Result<()> {
    let at = stage.network.domain(0)?.federation();
    for method in [
        "Deliver",
        "Signal",
        "Find",
        "ReadGroup",
        "ReadFile",
        "Nothing",
    ] {
        let mut line = foe.peer.connect(&foe.us, at).await?;
        let request = wire::FindRequest {
            from: foe.peer.domain().to_string(),
            to: foe.us.to_string(),
            query: None,
        };
        let answer = line.call::<wire::FindResponse>(method, &request).await;
        // The end of the connection may be there before the answer.
        let refused = match refusal(answer) {
            Ok(number) => number == HELLO_REQUIRED,
            Err(failure) => failure.is_disconnect(),
        };
        expect(refused, || format!("{method} before hello is answered"))?;
        // The connection closes: a hello comes too late.
        let proof = line.proof();
        let late = line.greets(&proof).await;
        expect(late.is_err(), || {
            format!("after {method} a hello is answered by {late:?}")
        })?;
    }
    Ok(())
}

/// The foe is called, and answers hello by proofs that are not its own, here and now.
async fn dialing_side(stage: &mut Stage) -> Result<()> {
    let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
    let peer = stage.network.stranger("false.test").await?;
    let domain = stage.network.domain(0)?;
    let (us, at) = (domain.name().clone(), domain.federation());
    let line = peer.dial(&us, at).await?;
    let foe = Foe::with(peer, line, us);
    let (eve, topic) = (foe.eve(), foe.eve().to_string());
    let asks = foe.peer.consents(&eve, &bob.user_id()?, 1)?;
    let hello = foe.seals(message(&eve, &bob.user_id()?, &json!("hello")))?;
    let answers = foe.hands([asks, hello]).await?;
    expect(answers == [TAKEN; 2], || {
        format!("a greeting is answered by {answers:?}")
    })?;
    // From here on no link is made that is proven.
    let honest = stage.network.stranger("honest.test").await?;
    for (number, lie) in lies(&foe, &honest)?.into_iter().enumerate() {
        foe.peer.greets(Some(lie));
        tries(&foe, &bob, &mut session, number).await?;
    }
    let deadline = Instant::now() + WITHIN;
    foe.peer.greets(None);
    let came = |it: &[Arrived]| it.iter().any(|it| it.text().as_deref() == Some("a secret"));
    foe.peer
        .waits_for("the words, at last", WITHIN, came)
        .await?;
    expect(Instant::now() < deadline, || "too late".to_owned())?;
    shows(&mut session, &topic, &["hello", "a secret"]).await?;
    stage.line.held(
        "alpha.test",
        "says nothing to a server that does not prove itself",
    );
    Ok(())
}

/// The first lie keeps words waiting; with each there are more hellos, and never any words.
async fn tries(foe: &Foe, bob: &Person, session: &mut Session, number: usize) -> Result<()> {
    let topic = foe.eve().to_string();
    let before = foe.peer.hellos().len();
    if number == 0 {
        accept(session, &topic).await?;
        session.publish(&topic, "a secret").await?;
    }
    let deadline = Instant::now() + WITHIN;
    while foe.peer.hellos().len() < before + 2 {
        expect(Instant::now() < deadline, || {
            format!("{} is not called again", foe.peer.domain())
        })?;
        // To find somebody there a link is needed too.
        sleep(POLL).await;
    }
    let words = foe.peer.arrived().len();
    expect(words == 0, || {
        format!("by lie {number} {words} things of {} were told", bob.login)
    })
}

fn lies(foe: &Foe, honest: &ScriptedPeer) -> Result<Vec<crate::peer::Greeter>> {
    let own = foe.line().proof();
    let accepted = wire::HelloAccepted {
        version: 1,
        key_id: own.key_id.clone(),
        record_hash: own.record_hash.clone(),
        signature: own.signature.clone(),
        received: None,
    };
    let always = |it: wire::HelloAccepted| -> crate::peer::Greeter {
        Box::new(move |_, _| Some(Outcome::Accepted(it.clone())))
    };
    let reflected = accepted.clone();
    let in_role = accepted.clone();
    let pen = foe.peer.signing_copy()?;
    let (from, to) = (foe.peer.domain().clone(), foe.us.clone());
    let key_id = pen.id();
    Ok(vec![
        // Its own proof of another connection.
        always(accepted.clone()),
        // What it was told, given back.
        Box::new(move |said, _| {
            Some(Outcome::Accepted(wire::HelloAccepted {
                signature: said.signature.clone(),
                key_id: said.key_id.clone(),
                record_hash: said.record_hash.clone(),
                ..reflected.clone()
            }))
        }),
        // Of this connection, in the other role.
        Box::new(move |_, exporter| {
            let hello = Hello {
                role: Role::Initiator,
                from: &from,
                to: &to,
                key_id,
                record_hash: (&*in_role.record_hash).try_into().unwrap_or_default(),
                exporter,
            };
            let signature = pen.sign(b"", &hello.signed_bytes()).ok()?;
            Some(Outcome::Accepted(wire::HelloAccepted {
                signature: signature.to_vec().into(),
                ..in_role.clone()
            }))
        }),
        always(wire::HelloAccepted {
            version: 2,
            ..accepted.clone()
        }),
        always(wire::HelloAccepted {
            signature: vec![0; 64].into(),
            ..accepted.clone()
        }),
        always(wire::HelloAccepted::default()),
        always(wire::HelloAccepted {
            key_id: honest.pen().id().as_bytes().to_vec().into(),
            ..accepted
        }),
        // For ever later.
        Box::new(|_, _| Some(Outcome::Pending(wire::HelloPending { retry_after_ms: 0 }))),
    ])
}
