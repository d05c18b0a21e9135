//! Keys whose time is over, and keys that somebody else may have (F42).

use std::{fs, path::Path, time::Duration};

use freehold_keys::{KeyError, KeyRing, Lost};
use freehold_proto::{DomainName, Timestamp, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tempfile::TempDir;

use super::{Case, Need, signing_key_rotation::resealed};
use crate::{
    Chat, Failure, Person, Result, Stage, copy_keys,
    failure::expect,
    load_keys,
    peer::{items, now},
    row,
};

const WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const UNKNOWN_KEY: u32 = 122;
const WAIT: [&str; 2] = ["are you there?", "hello?"];
const COPIED: &str = "signed with keys from a copy";

pub(super) const CASE: Case = Case {
    ids: "F42",
    name: "expired_or_revoked_key",
    proves: "nothing new is taken under a key that has expired or was revoked, whatever time it bears, nor from a server that runs on a copy of revoked keys; what was taken before stays, and authors of what is lost are told",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Operator, Need::Inside],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        by_its_time(stage).await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        chat.writes(0, 3).await?;
        chat.writes(1, 2).await?;
        chat.agree(WITHIN).await?;
        let copy = TempDir::new().map_err(|error| Failure::harness("make a folder", error))?;
        copy_keys(&stage.network.domain(0)?.keys(), copy.path())?;
        revoked_while_words_wait(stage, &mut chat).await?;
        on_a_copy(stage, &mut chat, copy.path()).await?;
        let seen = chat.history(1).await?;
        let lost = |text: &str| WAIT.contains(&text) || text == COPIED;
        expect(
            seen.iter().all(|it| !it.content.as_str().is_some_and(lost)),
            || "bob is shown words under a revoked key".to_owned(),
        )?;
        chat.writes(1, 2).await?;
        chat.agree(WITHIN).await?;
        stage.line.held(
            "both",
            "still show what was signed before the key was revoked",
        );
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Of one domain a key has expired, of another one was revoked.
async fn by_its_time(stage: &mut Stage) -> Result<()> {
    let expired = |ring: &mut KeyRing| ring.rotate(now().minus(5 * DAY));
    let moments = [now(), now().minus(3 * DAY), now().minus(5 * DAY)];
    let no = UNKNOWN_KEY;
    // The last is from within its time, and was on the way since.
    under_an_old_key(stage, "older.test", expired, &moments, [no, no, 0, 0]).await?;
    let lost = Lost {
        signing: true,
        tls: false,
    };
    let revoked = |ring: &mut KeyRing| ring.revoke(lost, now().minus(HOUR), now());
    let moments = [now(), now().minus(2 * HOUR), now().minus(3 * DAY)];
    // Whatever time they bear: a thief writes what he likes.
    under_an_old_key(stage, "robbed.test", revoked, &moments, [no, no, no, 0]).await?;
    stage.line.held(
        "beta.test",
        "takes what an expired key signed in its time, and nothing else of it or of a revoked one",
    );
    Ok(())
}

/// Words under the first key of a domain, from these moments, and at last under its present one; by
/// which numbers they are answered.
async fn under_an_old_key(
    stage: &mut Stage,
    name: &str,
    change: impl FnOnce(&mut KeyRing) -> std::result::Result<(), KeyError>,
    moments: &[Timestamp],
    expected: [u32; 4],
) -> Result<()> {
    let aside = TempDir::new().map_err(|error| Failure::harness("make a folder", error))?;
    let begun = now().minus(10 * DAY);
    let make = |dir: &Path, domain: &DomainName| -> std::result::Result<KeyRing, KeyError> {
        let mut ring = KeyRing::create(dir, domain, begun)?.0;
        let _copied = copy_keys(dir, aside.path());
        change(&mut ring)?;
        Ok(ring)
    };
    let peer = stage.network.stranger_with(name, make).await?;
    let to = stage.network.domain(1)?;
    let (at, login) = (to.federation(), name.replace(".test", ""));
    let (person, _session) = Person::register(to.endpoint(), &login).await?;
    let good = peer.consents(&peer.person(1), &person.user_id()?, 1)?;
    let old = load_keys(aside.path(), peer.domain(), begun)?.signer();
    let under = |at: &Timestamp| resealed(&old, to.name(), &good, *at);
    let mut batch = moments.iter().map(under).collect::<Result<Vec<_>>>()?;
    batch.push(good.clone());
    let mut line = peer.dial(to.name(), at).await?;
    let verdicts = line.deliver(1, items(1, batch)).await?;
    let number = |it: &Verdict| match it {
        Verdict::Refused(it) => it.code,
        Verdict::Later(it) => it.code,
        Verdict::Ok(_) | Verdict::Duplicate(_) => 0,
    };
    let answered: Vec<u32> = verdicts.iter().map(number).collect();
    expect(answered == expected, || {
        format!("words of {name} are answered by {answered:?}, not {expected:?}")
    })
}

/// Alpha revokes its keys while words under them wait for beta.
async fn revoked_while_words_wait(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    chat.disconnect(1);
    stage.network.domain(1)?.stop(STOP_WITHIN).await?;
    let topic = chat.topic(0);
    for text in WAIT {
        chat.session(0).await?.publish(&topic, text).await?;
    }
    let alpha = stage.network.domain(0)?;
    let both = ["--signing", "--tls"];
    alpha.order("keys revoke", &both).await?;
    alpha.has_said("the new ones are in use", 1, WITHIN).await?;
    let beta = stage.network.domain(1)?;
    beta.start().await?;
    let second = |said: &str| row(said, "record") == Some("2");
    beta.comes_to_know("alpha.test", "record 2", WITHIN, second)
        .await?;
    told_of_loss(chat, WAIT.len()).await?;
    chat.writes(0, 2).await?;
    chat.agree(WITHIN).await
}

/// Waits until alice has been told so many times that something did not arrive.
async fn told_of_loss(chat: &mut Chat, times: usize) -> Result<()> {
    let deadline = tokio::time::Instant::now() + WITHIN;
    loop {
        let history = chat.history(0).await?;
        let notes = history.iter().filter(|it| {
            let text = it.content.to_string();
            text.contains("Not delivered")
        });
        let told = notes.count();
        if told == times {
            return Ok(());
        }
        expect(
            told < times && tokio::time::Instant::now() < deadline,
            || format!("alice was told {told} times, not {times}"),
        )?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Alpha runs on a copy of its keys from before, as a thief would; then on the right ones again.
async fn on_a_copy(stage: &mut Stage, chat: &mut Chat, copy: &Path) -> Result<()> {
    let no = |error| Failure::harness("change a folder of keys", error);
    chat.disconnect(0);
    let alpha = stage.network.domain(0)?;
    alpha.stop(STOP_WITHIN).await?;
    let (keys, right) = (alpha.keys(), alpha.folder().join("keys.right"));
    fs::rename(&keys, &right).map_err(no)?;
    copy_keys(copy, &keys)?;
    alpha.start().await?;
    let topic = chat.topic(0);
    chat.session(0).await?.publish(&topic, COPIED).await?;
    let before = chat.history(1).await?.len();
    stage
        .pause(Duration::from_secs(6), "the copy is used in vain")
        .await;
    let after = chat.history(1).await?.len();
    expect(before == after, || {
        format!(
            "{} messages come from a copy of revoked keys",
            after - before
        )
    })?;
    let known = stage.network.domain(1)?.knows("alpha.test").await?;
    expect(row(&known, "record") == Some("2"), || known.clone())?;
    stage.line.held(
        "beta.test",
        "takes nothing from a server that runs on a copy of revoked keys",
    );
    chat.disconnect(0);
    let alpha = stage.network.domain(0)?;
    alpha.stop(STOP_WITHIN).await?;
    fs::remove_dir_all(&keys).map_err(no)?;
    fs::rename(&right, &keys).map_err(no)?;
    alpha.start().await?;
    told_of_loss(chat, WAIT.len() + 1).await?;
    chat.writes(0, 2).await
}
