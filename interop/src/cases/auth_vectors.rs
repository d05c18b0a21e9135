//! The table of who may do what, played against a server (F21).

use std::{collections::BTreeMap, time::Duration};

use freehold_proto::{GroupId, UserId, wire, wire::payload::Kind};
use futures_util::FutureExt as _;
use serde_json::{Value, json};
use wire::group_request::What;

use super::{
    Case,
    hostile::{AGAIN, Foe, Play, TAKEN, all_show, asks, shut, words},
};
use crate::{Club, Failure, Result, Stage, club::eventually, failure::expect};

/// The table; other makes of server can be held against it too.
const TABLE: &str = include_str!("../../vectors/authority.json");
/// An index that no log here reaches.
const KNOWS_ALL: u64 = 1 << 32;
/// Those of another domain, by what they may do.
const PEOPLE: [(&str, &str); 5] = [
    ("member", "JRWPS"),
    ("victim", "JRWPS"),
    ("ruler", "JRWPASD"),
    ("muted", "JRPS"),
    ("banned", "N"),
];
const OTHERS: [&str; 2] = ["outsider", "guest"];

pub(super) const CASE: Case = Case {
    ids: "F21",
    name: "auth_vectors",
    proves: "a home answers every letter of a published table of who may do what as the table says, and shows at every domain exactly what was allowed, after a restart too",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let foe = Foe::comes(stage, 0, "table.test").await?;
        shut(&mut club).await?;
        let people = people(&foe, &mut club).await?;
        let group = super::hostile::group_of(&club)?;
        club.writes(0, 2).await?;
        all_show(&mut club, &["ann 1", "ann 2"]).await?;

        let table: Value = serde_json::from_str(TABLE)
            .map_err(|error| Failure::harness("read authority.json", error))?;
        let cases = table["cases"].as_array().cloned().unwrap_or_default();
        let mut texts = vec!["ann 1".to_owned(), "ann 2".to_owned()];
        let mut wrong = Vec::new();
        for case in &cases {
            let answer = plays(&foe, group, &people, case).await?;
            if answer != case["expect"] {
                wrong.push(format!("{case} is answered by {answer}"));
            } else if answer == "ok" {
                let said = ["message", "message_before"].map(|it| case["asks"][it].as_str());
                texts.extend(said.into_iter().flatten().map(str::to_owned));
            }
        }
        expect(wrong.is_empty() && cases.len() > 40, || wrong.join("\n"))?;
        stage.line.held(
            "alpha.test",
            format!("answers {} letters as the table says", cases.len()),
        );

        // The ruler has deleted the second message.
        texts.remove(1);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        stands(&mut club, &people, &texts).await?;
        for index in [0, 1] {
            stage.starts_again(index).await?;
            club.disconnect(index);
        }
        stands(&mut club, &people, &texts).await?;
        stage
            .line
            .held("ann and ben", "see what was allowed, and nothing else");
        Ok(())
    }
    .boxed_local()
}

type People = BTreeMap<&'static str, UserId>;

/// Everybody of the table, with what they may do.
async fn people(foe: &Foe, club: &mut Club) -> Result<People> {
    let group = foe.joins(club).await?;
    let mut people = People::new();
    people.insert("owner", club.members[0].person.user_id()?);
    let topic = club.group.clone();
    for (number, (name, mode)) in (1..).zip(PEOPLE) {
        let user = foe.peer.person(number);
        let asked_in = json!({"topic": topic, "sub": {"user": user.to_string(), "mode": "JRWPS"}});
        let session = club.session(0).await?;
        if number > 1 {
            session.request("set", asked_in).await?;
        }
        // All want all they may be given.
        let want = What::Want(wire::GroupWant {
            want: "JRWPASD".to_owned(),
            want_version: 2,
            ..wire::GroupWant::default()
        });
        foe.tries(&[("a yes", asks(&foe.peer, group, &user, want)?, TAKEN)])
            .await?;
        let given = json!({"topic": topic, "sub": {"user": user.to_string(), "mode": mode}});
        session.request("set", given).await?;
        people.insert(name, user);
    }
    for (number, name) in (20..).zip(OTHERS) {
        people.insert(name, foe.peer.person(number));
    }
    Ok(people)
}

/// What is answered to one letter, as the table writes it.
async fn plays(foe: &Foe, group: GroupId, people: &People, case: &Value) -> Result<Value> {
    let bad = || Failure::harness("read authority.json", case);
    let person = |name: &Value| {
        let found = name.as_str().and_then(|it| people.get(it));
        found.cloned().ok_or_else(bad)
    };
    let actor = person(&case["who"])?;
    let (kind, body) = case["asks"]
        .as_object()
        .and_then(|it| it.iter().next())
        .ok_or_else(bad)?;
    let envelope = if kind.starts_with("message") {
        let words = wire::GroupMessage {
            known_index: if kind == "message" { KNOWS_ALL } else { 0 },
            ..words(&actor, body.as_str().ok_or_else(bad)?)
        };
        foe.peer.seal_for_group(group, Kind::GroupMessage(words))?
    } else {
        let request = wire::GroupRequest {
            actor: actor.to_string(),
            what: asked(kind, body, &person)?,
        };
        foe.peer
            .seal_for_group(group, Kind::GroupRequest(request))?
    };
    let answers = foe.hands([envelope]).await?;
    Ok(match answers[..] {
        [TAKEN | AGAIN] => json!("ok"),
        [number] => json!(number),
        _ => json!(answers),
    })
}

fn asked(
    kind: &str,
    body: &Value,
    person: &dyn Fn(&Value) -> Result<UserId>,
) -> Result<Option<What>> {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let number = |it: &Value| it.as_u64().and_then(|it| it.try_into().ok()).unwrap_or(0);
    let part = |key: &str| (!body[key].is_null()).then(|| body[key].to_string().into());
    // Above all versions before.
    let want = |want: String, leaves| wire::GroupWant {
        want,
        want_version: 1000,
        leaves,
        ..wire::GroupWant::default()
    };
    Ok(Some(match kind {
        "want" => What::Want(want(text(body), false)),
        "leave" => What::Want(want("N".to_owned(), true)),
        "grant" => What::Grant(wire::GroupGrant {
            user: person(&body[0])?.to_string(),
            mode: text(&body[1]),
        }),
        "evict" => What::Evict(person(body)?.to_string()),
        "describe" => What::Describe(wire::GroupDescribe {
            public: part("public"),
            aux: part("aux"),
            access_auth: body["access_auth"].as_str().map(str::to_owned),
            access_anon: None,
        }),
        "delete" => What::Delete(wire::GroupDelete {
            orders: vec![wire::Orders {
                low: number(&body[0]),
                high: number(&body[1]),
            }],
        }),
        "close" => What::Close(true),
        "profile" => What::Profile(wire::GroupProfile {
            public: body.to_string().into(),
            public_changed_ms: 1,
        }),
        "erase" => What::Erase(true),
        "nothing" => return Ok(None),
        _ => return Err(Failure::harness("read authority.json", kind)),
    }))
}

/// Every domain shows these texts, and of the people of the table those who are left, as they may.
async fn stands(club: &mut Club, people: &People, texts: &[&str]) -> Result<()> {
    all_show(club, texts).await?;
    let group = club.group.clone();
    for index in 0..club.members.len() {
        let session = club.session(index).await?;
        eventually("to see who is left", session, async |it| {
            let rows = it.get(&group, "sub").await?.unwrap_or_default();
            let rows = rows.as_array().cloned().unwrap_or_default();
            let mode = |name: &str| -> Option<String> {
                let user = people.get(name)?.to_string();
                let row = rows.iter().find(|it| it["user"] == *user)?;
                row["acs"]["mode"].as_str().map(str::to_owned)
            };
            let gone = ["member", "victim", "outsider"]
                .iter()
                .all(|it| mode(it).is_none());
            let ruler = mode("ruler").is_some_and(|it| it.contains('A') && !it.contains('O'));
            let muted = mode("muted").is_some_and(|it| !it.contains('W') && !it.contains('A'));
            let banned = mode("banned").is_none_or(|it| !it.contains('J'));
            Ok(gone && ruler && muted && banned)
        })
        .await?;
    }
    Ok(())
}
