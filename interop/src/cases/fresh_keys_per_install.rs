//! Two installations of one name (F04).

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration,
};

use freehold_keys::KeyRing;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use tempfile::TempDir;

use super::{Case, Need};
use crate::{Failure, Result, Stage, failure::expect, load_keys, peer::now, phrase_in};

pub(super) const CASE: Case = Case {
    ids: "F04",
    name: "fresh_keys_per_install",
    proves: "two installations share no key, no secret and no recovery phrase, also of one name; secrets can be read by their owner only; an installation is not made over another, and does not start with another one's keys",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Starting, Need::Inside],
    within: Duration::from_secs(60),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let folder = TempDir::new().map_err(|error| Failure::harness("make a folder", error))?;
        let mut secrets = Secrets::default();
        for index in [0, 1] {
            let domain = stage.network.domain(index)?;
            let ring = load_keys(&domain.keys(), domain.name(), now())?;
            secrets.takes(&domain.keys(), &ring, domain.phrase()?)?;
        }
        let alpha = stage.network.domain(0)?;
        for number in 0..3 {
            let twin = folder.path().join(format!("twin{number}"));
            let said = alpha.installs(&twin).await?;
            expect(said.done, || said.said.clone())?;
            let keys = twin.join("keys");
            let none = || Failure::Broken(format!("no recovery phrase: {}", said.said));
            let phrase = phrase_in(&said.said).ok_or_else(none)?;
            let ring = load_keys(&keys, alpha.name(), now())?;
            secrets.takes(&keys, &ring, phrase)?;
            let again = alpha.installs(&twin).await?;
            let after = load_keys(&keys, alpha.name(), now())?;
            expect(
                !again.done && after.record().hash() == ring.record().hash(),
                || format!("an installation was made over another: {}", again.said),
            )?;
        }
        stage.line.held(
            "five installations",
            format!(
                "share none of their {} secrets and names of keys",
                secrets.seen.len()
            ),
        );
        with_anothers_keys(stage).await
    }
    .boxed_local()
}

/// Everything that no two may have.
#[derive(Default)]
struct Secrets {
    seen: BTreeSet<Vec<u8>>,
}

impl Secrets {
    fn takes(&mut self, keys: &Path, ring: &KeyRing, phrase: String) -> Result<()> {
        let no = |error| Failure::harness("read keys", error);
        let mut found = vec![phrase.into_bytes(), ring.record().hash().to_vec()];
        let record = ring.record().record();
        found.push(record.next_root_hash.to_vec());
        for file in ["root", "signing", "tls", "token"] {
            let path = keys.join(format!("{file}.key"));
            let mode = fs::metadata(&path).map_err(no)?.permissions().mode();
            expect(mode & 0o077 == 0, || {
                format!("{} can be read by others: {mode:o}", path.display())
            })?;
            found.push(fs::read(&path).map_err(no)?);
        }
        for secret in found {
            expect(secret.len() >= 32, || "a secret is short".to_owned())?;
            expect(self.seen.insert(secret), || {
                "two installations have a secret in common".to_owned()
            })?;
        }
        Ok(())
    }
}

/// Beta is given the keys of alpha: it does not start.
async fn with_anothers_keys(stage: &mut Stage) -> Result<()> {
    let keys = stage.network.domain(0)?.keys();
    let beta = stage.network.domain(1)?;
    fs::remove_dir_all(beta.keys()).map_err(|error| Failure::harness("remove keys", error))?;
    crate::copy_keys(&keys, &beta.keys())?;
    beta.start_only()?;
    let status = beta.ends(Duration::from_secs(15)).await?;
    expect(
        !status.success() && beta.said().contains("alpha.test"),
        || format!("beta ends with {status}: {}", beta.said()),
    )?;
    stage.line.held(
        "beta.test",
        "does not start with the keys of another domain",
    );
    Ok(())
}
