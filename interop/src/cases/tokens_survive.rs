//! A token from before a restart still opens the door, and nothing else does.

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{Case, Need};
use crate::{Failure, Person, Result, Session, Stage, failure::expect};

const STOP_WITHIN: Duration = Duration::from_secs(15);

pub(super) const CASE: Case = Case {
    ids: "",
    name: "tokens_survive",
    proves: "a token stays valid through kill -9 and through a clean stop; SIGTERM ends a server cleanly",
    domains: &["alpha.test"],
    needs: &[Need::Starting],
    within: Duration::from_secs(90),
    play,
};

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        stage.start_all().await?;
        let alpha = stage.network.domain(0)?;
        let endpoint = alpha.endpoint().clone();
        let (alice, _session) = Person::register(&endpoint, "alice").await?;

        alpha.kill()?;
        alpha.start().await?;
        alice.come_back().await?;

        let status = alpha.stop(STOP_WITHIN).await?;
        expect(status.success(), || {
            format!("SIGTERM ended the server with {status}")
        })?;
        alpha.start().await?;
        alice.come_back().await?;
        alice.log_in_by_password().await?;

        let mut stranger = Session::open(&endpoint, "stranger").await?;
        match stranger.login("token", &forged(&alice.token)).await {
            Err(Failure::Refused { code: 401, .. }) => Ok(()),
            other => Err(Failure::Broken(format!(
                "a forged token was answered by {other:?}"
            ))),
        }
    }
    .boxed_local()
}

/// The token with its first character changed: still base64, no longer signed.
fn forged(token: &str) -> String {
    let other = if token.starts_with('A') { 'B' } else { 'A' };
    std::iter::once(other)
        .chain(token.chars().skip(1))
        .collect()
}
