//! Keys that are replaced while everybody talks (F41).

use std::{path::Path, time::Duration};

use freehold_keys::{KeyError, KeyRing};
use freehold_proto::{Destination, DomainName, MessageId, Timestamp, wire, wire::result::Verdict};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::{Case, Need};
use crate::{
    Chat, Club, Failure, Person, Result, Stage, copy_keys,
    failure::expect,
    load_keys,
    peer::{items, now},
    row,
};

const WITHIN: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(50);
const POLL: Duration = Duration::from_millis(200);
const HOUR: Duration = Duration::from_secs(3600);
const UNKNOWN_KEY: u32 = 122;

pub(super) const CASE: Case = Case {
    ids: "F41",
    name: "signing_key_rotation",
    proves: "domains that change their keys while a chat and a group go on lose nothing; who comes later reads what the old keys signed; a key that does not count yet signs nothing",
    domains: &["alpha.test", "beta.test", "gamma.test"],
    needs: &[Need::Operator, Need::Inside],
    within: Duration::from_secs(180),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let mut chat = Chat::begin(stage, (0, "alice"), (1, "bob")).await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        chat.writes(0, 3).await?;
        chat.writes(1, 3).await?;
        club.writes(1, 2).await?;
        let (network, talk) = (&mut stage.network, &mut chat);
        club.write_while(&[0, 1], PACE, async |_| {
            for (changes, other, serial) in [(0, 1, "2"), (1, 0, "2"), (0, 1, "3")] {
                network.domain(changes)?.order("keys rotate", &[]).await?;
                for side in [0, 1] {
                    talk.writes(side, 3).await?;
                }
                let name = network.domain(changes)?.name().to_string();
                let other = network.domain(other)?;
                let is = |said: &str| row(said, "record") == Some(serial);
                let known = other.comes_to_know(&name, serial, WITHIN, is).await?;
                expect(row(&known, "DISPUTED").is_none(), || known.clone())?;
            }
            Ok(())
        })
        .await?;
        chat.agree(WITHIN).await?;
        club.agree(WITHIN).await?;
        let shown = stage.network.domain(0)?.order("keys show", &[]).await?;
        let [now, before] = ["signs messages", "replaced"].map(|it| shown.matches(it).count());
        expect((now, before) == (1, 2), || {
            format!("of three signing keys {now} sign and {before} are replaced:\n{shown}")
        })?;
        comes_later(stage, &mut club).await?;
        too_early(stage).await?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}

/// Somebody of a domain that has never seen the old keys in use reads what they signed.
async fn comes_later(stage: &mut Stage, club: &mut Club) -> Result<()> {
    let before = club.history(0).await?.len();
    club.joined_by(stage, (2, "gus")).await?;
    let deadline = Instant::now() + WITHIN;
    loop {
        let seen = club.history(2).await?.len();
        if seen == before {
            break;
        }
        expect(Instant::now() < deadline, || {
            format!("gus sees {seen} messages from before he came, not {before}")
        })?;
        sleep(POLL).await;
    }
    stage.line.held(
        "gamma.test",
        format!("shows all {before} messages that were signed with keys replaced since"),
    );
    club.writes(2, 2).await?;
    club.writes(0, 2).await?;
    club.agree(WITHIN).await
}

/// A key stands in a record that is believed, and counts from later on.
async fn too_early(stage: &mut Stage) -> Result<()> {
    let aside = TempDir::new().map_err(|error| Failure::harness("make a folder", error))?;
    let early = |dir: &Path, domain: &DomainName| -> std::result::Result<KeyRing, KeyError> {
        let mut ring = KeyRing::create(dir, domain, now())?.0;
        // A key counts from an hour before it was made.
        ring.rotate(now().plus(3 * HOUR))?;
        let _copied = copy_keys(dir, aside.path());
        ring.rotate(now())?;
        Ok(ring)
    };
    let peer = stage.network.stranger_with("early.test", early).await?;
    let to = stage.network.domain(0)?;
    let (name, at) = (to.name().clone(), to.federation());
    let (bob, _session) = Person::register(to.endpoint(), "brian").await?;
    let signer = load_keys(aside.path(), peer.domain(), now())?.signer();
    let honest = peer.consents(&peer.person(1), &bob.user_id()?, 1)?;
    let early = resealed(&signer, &name, &honest, now())?;
    let mut line = peer.dial(&name, at).await?;
    let verdicts = line.deliver(1, items(1, [early, honest])).await?;
    expect(
        matches!(&verdicts[..], [Verdict::Refused(it), Verdict::Ok(_)] if it.code == UNKNOWN_KEY),
        || {
            format!(
                "words under a key that does not count yet and under one that does: {verdicts:?}"
            )
        },
    )?;
    stage.line.held(
        "alpha.test",
        "refuses what is signed with a key that does not count yet",
    );
    Ok(())
}

/// The same words under a new id, signed by another key.
pub(super) fn resealed(
    signer: &freehold_keys::Signer,
    to: &DomainName,
    envelope: &wire::Envelope,
    at: Timestamp,
) -> Result<wire::Envelope> {
    use prost::Message as _;
    let no = |error: &dyn std::fmt::Display| Failure::harness("seal words", error);
    let payload = wire::Payload::decode(&*envelope.payload).map_err(|error| no(&error))?;
    let kind = payload.kind.ok_or_else(|| no(&"they are none"))?;
    let id = freehold_keys::random().map_err(|error| no(&error))?;
    let to = Destination::Domain(to.clone());
    let sealed = signer.seal(to, MessageId::mint(at, &id), at, kind);
    Ok(sealed.map_err(|error| no(&error))?.into())
}
