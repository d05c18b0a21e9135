//! Bytes that two readers might take for two different things (F12).

use std::time::Duration;

use freehold_proto::{Destination, wire};
use futures_util::FutureExt as _;
use prost::Message as _;

use super::{
    Case,
    hostile::{AGAIN, Foe, Play, TAKEN, all_show, group_of, judged, refusal, words},
};
use crate::{
    Club, Result, Stage,
    failure::expect,
    peer::{
        by_hand::{bytes, framed, number, overlong, tag},
        items,
    },
};

const MALFORMED: u32 = 100;
const OTHERS_ORIGIN: u64 = 120;
const OTHERS_DESTINATION: u64 = 121;
const WRONG_DESTINATION: u32 = 121;
const OTHERS_AUTHOR: u32 = 127;
const UNSUPPORTED: u32 = 129;

pub(super) const CASE: Case = Case {
    ids: "F12",
    name: "parser_differential",
    proves: "repeated fields, merged messages, needless bytes, wrong kinds and text that is none have one meaning, the same at the home, at a copy and after a restart: the last one counts, or all of it is refused",
    domains: &["alpha.test", "beta.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let mut foe = Foe::comes(stage, 0, "odd.test").await?;
        let group = foe.joins(&mut club).await?;
        let odd = odd(&foe, &club.members[0].person.global_id());
        let mut envelopes = Vec::new();
        for it in &odd {
            envelopes.push(foe.forges(Destination::Group(group), it.payload.clone())?);
        }
        let answers = foe.hands(envelopes.clone()).await?;
        judged(odd.iter().map(|it| (it.what, it.answer)), &answers)?;
        let shown: Vec<&str> = odd.iter().filter_map(|it| it.shows).collect();
        all_show(&mut club, &shown).await?;
        let (home, copy) = (club.history(0).await?, club.history(1).await?);
        let told = |it: &crate::Message| (it.content.clone(), it.head.clone());
        expect(home.iter().map(told).eq(copy.iter().map(told)), || {
            format!("the home shows {home:?}, a copy {copy:?}")
        })?;
        stage.line.held(
            "alpha.test and beta.test",
            format!(
                "take {} of {} odd payloads for the same",
                shown.len(),
                odd.len()
            ),
        );

        frames(&foe, &club).await?;
        stage
            .line
            .held("alpha.test", "reads requests of odd bytes in one way too");

        for index in 0..2 {
            stage.starts_again(index).await?;
            club.disconnect(index);
        }
        foe.comes_back(stage, 0).await?;
        let answers = foe.hands(envelopes).await?;
        let again = |it: u32| if it == TAKEN { AGAIN } else { it };
        judged(odd.iter().map(|it| (it.what, again(it.answer))), &answers)?;
        let shown: Vec<&str> = shown.into_iter().chain(["by hand"]).collect();
        all_show(&mut club, &shown).await?;
        stage
            .line
            .held("everybody", "sees and is answered the same after a restart");
        Ok(())
    }
    .boxed_local()
}

/// A payload, and what becomes of it.
struct Odd {
    what: &'static str,
    payload: Vec<u8>,
    answer: u32,
    shows: Option<&'static str>,
}

fn odd(foe: &Foe, foreign: &str) -> Vec<Odd> {
    let eve = foe.eve().to_string();
    let author = || bytes(1, &eve);
    let content = |text: &str| bytes(3, format!("{text:?}"));
    let message = |parts: &[Vec<u8>]| bytes(5, parts.concat());
    let relation = || bytes(2, bytes(1, &eve));
    let taken = |what, payload, shows| Odd {
        what,
        payload,
        answer: TAKEN,
        shows: Some(shows),
    };
    let refused = |what, payload, answer| Odd {
        what,
        payload,
        answer,
        shows: None,
    };
    let nested = |depth: usize| {
        let mut inner = Vec::new();
        for _ in 0..depth {
            inner = [tag(90, 3), inner, tag(90, 4)].concat();
        }
        inner
    };
    vec![
        taken(
            "the last author counts, who is honest",
            message(&[bytes(1, foreign), author(), content("last author")]),
            "last author",
        ),
        refused(
            "the last author counts, who is another's",
            message(&[author(), bytes(1, foreign), content("lie")]),
            OTHERS_AUTHOR,
        ),
        taken(
            "the last content counts",
            message(&[author(), content("first"), content("second")]),
            "second",
        ),
        taken(
            "one message in two parts is merged",
            [
                message(&[author(), content("first half")]),
                message(&[content("merged")]),
            ]
            .concat(),
            "merged",
        ),
        refused(
            "merged with the author of another",
            [
                message(&[author(), content("lie")]),
                message(&[bytes(1, foreign)]),
            ]
            .concat(),
            OTHERS_AUTHOR,
        ),
        taken(
            "the last kind counts, which is a message",
            [relation(), message(&[author(), content("last kind")])].concat(),
            "last kind",
        ),
        refused(
            "the last kind counts, which is none for a group",
            [message(&[author(), content("lie")]), relation()].concat(),
            WRONG_DESTINATION,
        ),
        taken(
            "a tag and a length in more bytes than they need",
            message(&[
                [
                    &*overlong(1 << 3 | 2, 2),
                    &*overlong(eve.len() as u64, 1),
                    eve.as_bytes(),
                ]
                .concat(),
                content("needless"),
            ]),
            "needless",
        ),
        refused(
            "a number of more than ten bytes",
            message(&[author(), content("lie"), tag(5, 0), overlong(1, 12)]),
            MALFORMED,
        ),
        refused(
            "a tag above all fields",
            message(&[author(), content("lie"), overlong(1 << 35, 0), vec![0]]),
            MALFORMED,
        ),
        refused(
            "field number zero",
            message(&[author(), content("lie"), vec![0, 0]]),
            MALFORMED,
        ),
        refused(
            "a text that is no text",
            message(&[bytes(1, [b'u', b's', b'r', 0xff, 0xfe]), content("lie")]),
            MALFORMED,
        ),
        refused(
            "an author as a number",
            message(&[number(1, 7), content("lie")]),
            MALFORMED,
        ),
        refused(
            "a length beyond the end",
            message(&[author(), content("lie"), tag(2, 2), overlong(1 << 40, 0)]),
            MALFORMED,
        ),
        refused(
            "a length beyond all numbers",
            message(&[author(), content("lie"), tag(2, 2), overlong(u64::MAX, 0)]),
            MALFORMED,
        ),
        refused(
            "an unknown group that ends as another",
            message(&[author(), content("lie"), tag(90, 3), tag(91, 4)]),
            MALFORMED,
        ),
        refused(
            "unknown groups a thousand deep",
            message(&[author(), content("lie"), nested(1000)]),
            MALFORMED,
        ),
        refused("no kind", Vec::new(), UNSUPPORTED),
        refused("a kind that nobody knows", bytes(77, "new"), UNSUPPORTED),
        refused(
            "bytes after the end",
            [message(&[author()]), vec![0x2a]].concat(),
            MALFORMED,
        ),
        refused(
            "content that repeats a key within an id",
            message(&[
                author(),
                bytes(
                    3,
                    r#"{"txt": "x", "ent": [{"tp": "MN", "tp": "XX", "data": {"val": "usrAAAAAAAAAAA"}, "tp": "MN"}]}"#,
                ),
            ]),
            130,
        ),
        taken(
            "an honest one",
            message(&[author(), content("honest")]),
            "honest",
        ),
    ]
}

/// Whole requests by hand: of two senders or receivers the last counts, and unknown fields do not.
async fn frames(foe: &Foe, club: &Club) -> Result<()> {
    let (from, to) = (foe.peer.domain().to_string(), foe.us.to_string());
    let group = group_of(club)?;
    let (eve, peer, line) = (foe.eve(), &foe.peer, &mut foe.line());
    let sealed = |text: &str| {
        let kind = wire::payload::Kind::GroupMessage(words(&eve, text));
        peer.seal_for_group(group, kind)
    };
    let item = |position: u64, text: &str| -> Result<Vec<u8>> {
        let item = items(position, [sealed(text)?]).pop().unwrap_or_default();
        Ok(bytes(4, item.encode_to_vec()))
    };
    let (ours, theirs) = (bytes(1, &from), bytes(1, "beta.test"));
    let (here, there) = (bytes(2, &to), bytes(2, "beta.test"));
    let good = [
        item(900_000, "by hand")?,
        number(3, 1),
        bytes(300, "unknown"),
        there.clone(),
        here.clone(),
        theirs.clone(),
        ours.clone(),
    ]
    .concat();
    let answer: wire::DeliverResponse = line.call_with("Deliver", framed(&good)).await?;
    expect(answer.decided == 900_000, || {
        format!("a request by hand was answered by {answer:?}")
    })?;
    let lies = [
        (
            "the sender last",
            vec![ours.clone(), theirs, here.clone()],
            OTHERS_ORIGIN,
        ),
        (
            "the receiver last",
            vec![ours.clone(), here.clone(), there],
            OTHERS_DESTINATION,
        ),
        (
            "a name that is no text",
            vec![bytes(1, [0xff]), here.clone()],
            100,
        ),
        (
            "not canonical",
            vec![bytes(1, from.to_uppercase()), here],
            103,
        ),
    ];
    for (what, parts, number) in lies {
        let request = [parts.concat(), item(900_001, "lie")?].concat();
        let answer = line.call_with::<wire::DeliverResponse>("Deliver", framed(&request));
        let refused = refusal(answer.await)?;
        expect(refused == number, || {
            format!("{what}: refused by {refused}, not {number}")
        })?;
    }
    Ok(())
}
