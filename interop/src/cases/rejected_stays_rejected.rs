//! What was refused once, offered again and again, spoken of later, and offered to a server that was
//! started anew (F20).

use std::time::Duration;

use bytes::Bytes;
use freehold_proto::{Destination, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::json;

use super::{
    Case,
    home_integrity::altered,
    hostile::{AGAIN, Foe, Play, TAKEN, Trial, all_show, group_of, id_of, payload, shows, words},
};
use crate::{Club, Person, Result, Session, Stage, failure::expect, peer::message, people::accept};

const MALFORMED: u32 = 100;
const BAD_SIGNATURE: u32 = 123;
const PAYLOAD_ALTERED: u32 = 124;
const CONFLICT: u32 = 125;
const OTHERS_AUTHOR: u32 = 127;
const NOT_HERE: u32 = 128;
const BARE_ID: u32 = 130;
const NOT_PERMITTED: u32 = 131;

pub(super) const CASE: Case = Case {
    ids: "F20",
    name: "rejected_stays_rejected",
    proves: "what was refused is refused by the same number for ever: replayed, referred to, after its author was let in, after a restart; and a forgery does not stand in the way of the true words of the same name",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut foe = Foe::comes(stage, 0, "evil.test").await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        let mut club = Club::begin(stage, &[(0, "ann"), (0, "abe")]).await?;
        let topic = foe.eve().to_string();
        let greeting = foe.seals(message(&foe.eve(), &us, &json!("hello")))?;
        foe.tries(&[("a greeting", greeting, TAKEN)]).await?;
        let refused = refused(&foe, &us, &club)?;
        foe.tries(&refused).await?;
        foe.tries(&refused).await?;
        one_by_one(&foe, &refused).await?;

        accept(&mut session, &topic).await?;
        foe.joins(&mut club).await?;
        one_by_one(&foe, &refused).await?;
        speaks_of(&foe, &us, &refused).await?;
        shows(
            &mut session,
            &topic,
            &["hello", "reply", "replace", "thread"],
        )
        .await?;
        stage
            .line
            .held("bob", "is shown none of it after he has let her in");

        stage.falls(0).await?;
        club.disconnect(0);
        foe.comes_back(stage, 0).await?;
        let mut session = bob.come_back().await?;
        session.subscribe(&topic).await?;
        foe.tries(&refused).await?;
        other_words(&foe, &us, &refused).await?;
        ends(stage, &foe, (&mut session, &us), &mut club).await
    }
    .boxed_local()
}

/// Each by itself, since a batch may be judged otherwise than its items.
async fn one_by_one(foe: &Foe, refused: &[Trial]) -> Result<()> {
    for trial in refused {
        foe.tries(std::slice::from_ref(trial)).await?;
    }
    Ok(())
}

fn refused(foe: &Foe, us: &UserId, club: &Club) -> Result<Vec<Trial>> {
    let (eve, nobody) = (foe.eve(), foe.peer.person(9));
    let group = group_of(club)?;
    let says = |content: &str| {
        foe.seals(Kind::DirectMessage(wire::DirectMessage {
            author: eve.to_string(),
            recipient: us.to_string(),
            content: Bytes::from(content.to_owned()),
            ..wire::DirectMessage::default()
        }))
    };
    let bare = r#"{"txt": "x", "ent": [{"tp": "MN", "data": {"val": "usrAAAAAAAAAAA"}}]}"#;
    let mut unsigned = says("\"unsigned\"")?;
    unsigned.signature = altered(&unsigned.signature);
    let mut turned = says("\"turned round\"")?;
    turned.payload = altered(&turned.payload);
    let outside = Kind::GroupMessage(words(&eve, "from outside"));
    Ok(vec![
        (
            "of another domain's person",
            foe.seals(message(us, us, &json!("lie")))?,
            OTHERS_AUTHOR,
        ),
        (
            "to another domain's person",
            foe.seals(message(&eve, &nobody, &json!("lie")))?,
            NOT_HERE,
        ),
        ("no JSON", says("{")?, MALFORMED),
        ("with a bare id", says(bare)?, BARE_ID),
        ("badly signed", unsigned, BAD_SIGNATURE),
        ("altered", turned, PAYLOAD_ALTERED),
        (
            "in a group from outside",
            foe.peer.seal_for_group(group, outside)?,
            NOT_PERMITTED,
        ),
    ])
}

/// Later words that refer to what was refused: they are shown, and refer to nothing.
async fn speaks_of(foe: &Foe, us: &UserId, refused: &[Trial]) -> Result<()> {
    let mut batch = Vec::new();
    for key in ["reply", "replace", "thread"] {
        let mut references = Vec::new();
        for trial in refused {
            references.push(wire::Reference {
                key: key.to_owned(),
                author_domain: foe.peer.domain().to_string(),
                message_id: id_of(&trial.1)?.to_vec().into(),
            });
        }
        let kind = match message(&foe.eve(), us, &json!(key)) {
            Kind::DirectMessage(it) => {
                Kind::DirectMessage(wire::DirectMessage { references, ..it })
            }
            other => other,
        };
        batch.push(("words about refused ones", foe.seals(kind)?, TAKEN));
    }
    foe.tries(&batch).await
}

/// Other words under the same ids: those that were judged are taken for another's, those that never
/// held together are not.
async fn other_words(foe: &Foe, us: &UserId, refused: &[Trial]) -> Result<()> {
    let mut batch: Vec<Trial> = Vec::new();
    for (what, envelope, number) in refused {
        let to = Destination::Domain(foe.us.clone());
        let mut header = foe.peer.header(to)?;
        header.message_id = freehold_proto::MessageId::from_bytes(id_of(envelope)?);
        let spoken = payload(message(&foe.eve(), us, &json!(*what)));
        let never_held = [BAD_SIGNATURE, PAYLOAD_ALTERED].contains(number);
        let expected = if never_held { TAKEN } else { CONFLICT };
        batch.push((*what, foe.peer.forges(header, spoken)?, expected));
    }
    foe.tries(&batch).await?;
    for trial in &mut batch {
        if trial.2 == TAKEN {
            trial.2 = AGAIN;
        }
    }
    foe.tries(&batch).await
}

async fn ends(
    stage: &mut Stage,
    foe: &Foe,
    (session, us): (&mut Session, &UserId),
    club: &mut Club,
) -> Result<()> {
    let group = group_of(club)?;
    let inside = foe
        .peer
        .seal_for_group(group, Kind::GroupMessage(words(&foe.eve(), "from inside")))?;
    foe.tries(&[("from inside", inside, TAKEN)]).await?;
    all_show(club, &["from inside"]).await?;
    let texts = [
        "hello",
        "reply",
        "replace",
        "thread",
        "badly signed",
        "altered",
    ];
    let topic = foe.eve().to_string();
    shows(session, &topic, &texts).await?;
    let history = session.history(&topic, 1).await?;
    expect(
        history
            .iter()
            .all(|it| it.head["reply"].is_null() && it.head["replace"].is_null()),
        || format!("{us} is shown {history:?}"),
    )?;
    stage.line.held(
        "everybody",
        "sees what was true, and nothing that was refused, after a kill too",
    );
    stage.starts_again(0).await
}
