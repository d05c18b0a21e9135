//! A root key in the hands of a thief, and one that is lost altogether (F44).

use std::{fs, path::Path, time::Duration};

use freehold_keys::{KeyRing, RecoveryPhrase, fingerprint_to_text};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{
    Authority, Chat, Failure, Person, Result, Shown, Stage, Way, copy_keys, failure::expect,
    peer::now, row,
};

const WITHIN: Duration = Duration::from_secs(90);
const STOP_WITHIN: Duration = Duration::from_secs(15);
const DAY: i64 = 24 * 3600;
const BETRAYED: &str = "are you there?";
const STOLEN: &str = "I am of beta, believe me";

pub(super) const CASE: Case = Case {
    ids: "F44",
    name: "root_recovery",
    proves: "who steals all keys of a domain cannot name a successor, and loses to the recovery phrase; a domain that has lost that too is believed after seven days in which DNS and its web server say so, and then begins anew: old chats are frozen, nobody inherits them",
    domains: &["alpha.test", "beta.test", "thief.test"],
    needs: &[Need::Hooks, Need::Starting, Need::Operator],
    within: Duration::from_secs(420),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.retry_quickly()?;
        let scene = Scene::set_up(stage)?;
        for index in [0, 1] {
            stage.network.domain(index)?.start().await?;
        }
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        // With the first text and the one that the thief gets these are three. A fourth would wait for the
        // consent that the thief's server knows nothing of: at the author's domain, for up to an hour.
        chat.writes(0, 1).await?;
        chat.writes(1, 2).await?;
        chat.agree(WITHIN).await?;
        let known = stage.network.domain(0)?.knows("beta.test").await?;
        let first = row(&known, "root key").unwrap_or_default().to_owned();
        stolen(stage, &mut chat, &first).await?;
        recovered(stage, &mut chat, &first).await?;
        scene.lost_for_good(stage, &mut chat).await
    }
    .boxed_local()
}

/// What is between the domains.
struct Scene {
    authority: Authority,
    port: u16,
    _folder: TempDir,
}

impl Scene {
    fn set_up(stage: &mut Stage) -> Result<Self> {
        let folder = TempDir::new().map_err(|error| Failure::harness("make a folder", error))?;
        let authority = Authority::make(folder.path())?;
        let alpha = stage.network.domain(0)?;
        let port = alpha.config.client.port();
        let lines = &mut alpha.config.federation_lines;
        lines.push(format!("well_known_port = {port}"));
        lines.push(format!("well_known_ca = {:?}", authority.file()));
        Ok(Self {
            authority,
            port,
            _folder: folder,
        })
    }

    /// Beta has neither keys nor paper any more.
    async fn lost_for_good(&self, stage: &mut Stage, chat: &mut Chat) -> Result<()> {
        chat.disconnect(1);
        let beta = stage.network.domain(1)?;
        beta.stop(STOP_WITHIN).await?;
        let ring = begins_anew(&beta.keys(), beta.name())?;
        let root = fingerprint_to_text(&ring.record().root_fingerprint());
        beta.start().await?;
        let name = beta.name().clone();
        let at = stage.network.way(0, 1)?.address();
        let web = (at.ip(), self.port).into();
        let shown = |days: u64| ring.fresh_record(now().plus(Duration::from_secs(days * 86_400)));
        let web = Shown::web(web, &name, &self.authority, shown(0).to_bytes()).await?;
        let alpha = stage.network.domain(0)?;
        let before = alpha.knows("beta.test").await?;
        let old = row(&before, "root key").unwrap_or_default().to_owned();
        alpha.dns().publish(&name, at, &root)?;
        chat_by_a_new_bob(stage, "bert").await?;
        let alpha = stage.network.domain(0)?;
        let watched = |said: &str| row(said, "watched").is_some_and(|it| it.contains(&root));
        let known = alpha
            .comes_to_know("beta.test", "that it is watched", WITHIN, watched)
            .await?;
        expect(row(&known, "root key") == Some(&*old), || known.clone())?;
        stage.line.held(
            "alpha.test",
            "watches the new root key, tells its operator and believes it not",
        );
        let mut seen = row(&known, "watched").unwrap_or_default().to_owned();
        // The theft before took a day.
        for days in 2..8_u64 {
            on_day(stage, days)?;
            web.shows(shown(days).to_bytes());
            chat_by_a_new_bob(stage, &format!("bert{days}")).await?;
            let again = |said: &str| row(said, "watched").is_some_and(|it| it != seen);
            let known = stage
                .network
                .domain(0)?
                .comes_to_know("beta.test", "that it is seen again", WITHIN, again)
                .await?;
            expect(row(&known, "root key") == Some(&*old), || {
                format!("on day {days}: {known}")
            })?;
            seen = row(&known, "watched").unwrap_or_default().to_owned();
        }
        on_day(stage, 8)?;
        web.shows(shown(8).to_bytes());
        chat_by_a_new_bob(stage, "bert8").await?;
        let anew = |said: &str| row(said, "root key") == Some(&root);
        let alpha = stage.network.domain(0)?;
        let known = alpha
            .comes_to_know("beta.test", "its new root key", WITHIN, anew)
            .await?;
        expect(
            row(&known, "life").is_some_and(|it| it.starts_with('2')),
            || format!("no life of its own: {known}"),
        )?;
        expect(web.asked() > 0, || "the web was not asked".to_owned())?;
        frozen(stage, chat).await?;
        let mut new = Chat::begin(stage, (0, "anna"), (1, "ben")).await?;
        new.writes(0, 2).await?;
        new.writes(1, 2).await?;
        new.agree(WITHIN).await?;
        stage
            .line
            .held("beta.test", "is met anew by people who never met before");
        Ok(())
    }
}

/// Makes all keys anew; what signs log-ins of its own people stays.
fn begins_anew(keys: &Path, name: &freehold_proto::DomainName) -> Result<KeyRing> {
    let no = |error: &dyn std::fmt::Display| Failure::harness("make keys anew", error);
    let token = fs::read(keys.join("token.key")).map_err(|error| no(&error))?;
    fs::remove_dir_all(keys).map_err(|error| no(&error))?;
    let made = KeyRing::create(keys, name, now()).map_err(|error| no(&error))?;
    fs::write(keys.join("token.key"), token).map_err(|error| no(&error))?;
    Ok(made.0)
}

fn on_day(stage: &mut Stage, day: u64) -> Result<()> {
    for index in [0, 1] {
        let domain = stage.network.domain(index)?;
        domain.set_clock(i64::try_from(day).unwrap_or(0) * DAY)?;
    }
    Ok(())
}

/// Somebody new at beta writes to alice, so that beta says hello to alpha.
async fn chat_by_a_new_bob(stage: &mut Stage, login: &str) -> Result<()> {
    // Whom alpha has met is looked up at most once in five seconds on its own word.
    stage
        .pause(Duration::from_secs(6), "the last look-up is over")
        .await;
    let alice = stage.network.endpoint(0)?;
    let (bert, mut session) = Person::register(&stage.network.endpoint(1)?, login).await?;
    let (other, _) = Person::register(&alice, &format!("to{login}")).await?;
    let topic = bert.name_of(&other);
    let subscribed = session.subscribe(&topic).await;
    if subscribed.is_ok() {
        session.publish(&topic, "good day").await?;
    }
    Ok(())
}

/// Alice cannot write to who was bob, and the new bob does not reach her.
async fn frozen(stage: &mut Stage, chat: &mut Chat) -> Result<()> {
    let topic = chat.topic(0);
    let before = chat.history(0).await?;
    let body = json!({"topic": topic, "content": "bob?"});
    let refused = chat.session(0).await?.request("pub", body).await;
    expect(
        matches!(refused, Err(Failure::Refused { code: 403, .. })),
        || format!("alice writes to who was bob: {refused:?}"),
    )?;
    let back = chat.topic(1);
    let wrote = chat.session(1).await?.publish(&back, "it is me").await;
    stage
        .pause(Duration::from_secs(5), "bob's words cross, or not")
        .await;
    let after = chat.history(0).await?;
    expect(before.len() == after.len(), || {
        format!("alice is shown more than before: {after:?} ({wrote:?})")
    })?;
    stage
        .line
        .held("alice and bob", "have a chat that is frozen at both ends");
    Ok(())
}

/// A thief runs a server on a copy of all keys of beta, and signs records.
async fn stolen(stage: &mut Stage, chat: &mut Chat, first: &str) -> Result<()> {
    let beta = stage.network.domain(1)?;
    let (from, name, root) = (beta.keys(), beta.name().clone(), beta.root().to_owned());
    let thief = stage.network.domain(2)?;
    let keys = thief.keys();
    fs::remove_dir_all(&keys).map_err(|error| Failure::harness("remove keys", error))?;
    copy_keys(&from, &keys)?;
    thief.config.domain = name.clone();
    thief.order("keys rotate", &[]).await?;
    let guess = RecoveryPhrase::generate().map_err(|it| Failure::harness("guess", it))?;
    let told = thief.command("keys recover", &[], &guess.words()).await?;
    expect(!told.done, || {
        format!("the thief names a successor: {}", told.said)
    })?;
    let at = thief.federation();
    thief.start_only()?;
    // Nothing says when it is ready but that somebody is let in.
    is_up(at).await?;
    let alpha = stage.network.domain(0)?;
    alpha.dns().publish(&name, at, &root)?;
    stage.network.set_way(0, 1, Way::Cut)?;
    // The thief's server says hello with the thief's record, and is believed: it has the root key.
    let second = |said: &str| row(said, "record") == Some("2");
    let topic = chat.topic(0);
    // It goes to the thief, as everything does that alice writes now.
    chat.session(0).await?.publish(&topic, BETRAYED).await?;
    on_day(stage, 1)?;
    stage.network.domain(2)?.set_clock(DAY)?;
    stage.breaks(1, 0).await?;
    let alpha = stage.network.domain(0)?;
    let known = alpha
        .comes_to_know("beta.test", "the thief's record", WITHIN, second)
        .await?;
    expect(row(&known, "root key") == Some(first), || known.clone())?;
    expect(accepted(stage, "early", WITHIN).await?, || {
        "the thief has all keys of beta, and is not beta: this case shows nothing".to_owned()
    })?;
    stage.line.fault(
        "thief",
        "is beta.test to alpha.test, with a record that the stolen root has signed",
    );
    Ok(())
}

async fn is_up(at: std::net::SocketAddr) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    while tokio::net::TcpStream::connect(at).await.is_err() {
        expect(Instant::now() < deadline, || {
            "the thief's server does not start".to_owned()
        })?;
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The owner of beta takes the paper, and is beta again.
async fn recovered(stage: &mut Stage, chat: &mut Chat, first: &str) -> Result<()> {
    chat.disconnect(1);
    let beta = stage.network.domain(1)?;
    beta.stop(STOP_WITHIN).await?;
    let phrase = beta.phrase()?;
    let told = beta
        .command(
            "keys recover",
            &["--stolen-since", "2026-01-01T00:00:00Z"],
            &phrase,
        )
        .await?;
    expect(told.done, || told.said.clone())?;
    beta.start().await?;
    let (name, root) = (beta.name().clone(), beta.root().to_owned());
    let at = stage.network.way(0, 1)?.address();
    stage.network.set_way(0, 1, Way::Open)?;
    // DNS still names the first root: what follows from it will do.
    stage.network.domain(0)?.dns().publish(&name, at, &root)?;
    stage
        .pause(Duration::from_secs(6), "the last look-up is over")
        .await;
    chat.writes(1, 1).await?;
    chat.agree(WITHIN).await?;
    let alpha = stage.network.domain(0)?;
    let other = |said: &str| row(said, "root key").is_some_and(|it| it != first);
    let known = alpha
        .comes_to_know("beta.test", "its new root key", WITHIN, other)
        .await?;
    expect(row(&known, "life").is_none(), || {
        format!("beta is another one: {known}")
    })?;
    let new = row(&known, "root key").unwrap_or_default().to_owned();
    the_thief_is_out(stage, chat, &new).await
}

/// Where the thief's server stands in beta's place, nothing is exchanged, either way.
async fn the_thief_is_out(stage: &mut Stage, chat: &mut Chat, root: &str) -> Result<()> {
    let (name, first) = {
        let beta = stage.network.domain(1)?;
        (beta.name().clone(), beta.root().to_owned())
    };
    let thief = stage.network.domain(2)?;
    let (at, said) = (thief.federation(), thief.said().len());
    stage.network.domain(0)?.dns().publish(&name, at, &first)?;
    stage.network.set_way(0, 1, Way::Cut)?;
    chat.writes(0, 1).await?;
    expect(
        !accepted(stage, "late", Duration::from_secs(10)).await?,
        || "alpha takes the words of the thief's people".to_owned(),
    )?;
    let thief = stage.network.domain(2)?;
    let since = thief.said().get(said..).unwrap_or_default().to_owned();
    stage.line.note(format!(
        "the thief's server says: {}",
        since.lines().last().unwrap_or_default()
    ));
    let known = stage.network.domain(0)?.knows("beta.test").await?;
    expect(row(&known, "root key") == Some(root), || {
        format!("the thief is back: {known}")
    })?;
    let at = stage.network.way(0, 1)?.address();
    stage.network.set_way(0, 1, Way::Open)?;
    stage.network.domain(0)?.dns().publish(&name, at, &first)?;
    chat.agree(WITHIN).await?;
    stage.line.held(
        "alpha.test",
        "follows the key on paper, and no record of the thief any more",
    );
    stage.network.domain(2)?.kill()
}

/// Does somebody new at alpha get what somebody new at the thief's server writes?
async fn accepted(stage: &mut Stage, login: &str, within: Duration) -> Result<bool> {
    let (anna, mut hers) =
        Person::register(&stage.network.endpoint(0)?, &format!("anna{login}")).await?;
    let (eve, mut session) =
        Person::register(&stage.network.endpoint(2)?, &format!("eve{login}")).await?;
    let topic = eve.name_of(&anna);
    // What cannot be looked up cannot be written to: that is a no as well.
    if session.subscribe(&topic).await.is_ok() {
        let _no = session.publish(&topic, STOLEN).await;
    }
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        let rows = hers.get("me", "sub").await?.unwrap_or_default();
        let mut rows = rows.as_array().into_iter().flatten();
        if rows.any(|it| {
            it["topic"]
                .as_str()
                .is_some_and(|it| it.contains("@beta.test"))
        }) {
            return Ok(true);
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(false)
}
