//! Load and trouble for as long as one likes, and then the question whether anything was lost, shown
//! twice, out of order, left over, or has grown.
//!
//! What people do is in `chats`, `groups` and `repeater`; something else that they do belongs beside
//! them, with the same three steps: begin, go on until it is enough, be judged. `trouble` is what
//! happens to the network meanwhile.

mod chats;
mod groups;
mod repeater;
mod trouble;

use std::{cell::Cell, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use self::{chats::Chats, groups::Groups, repeater::Repeater, trouble::Trouble};
use crate::{Case, Need, Result, Stage, growth::Growth};

/// Names of the domains; a soak takes the first ones.
const NAMES: &[&str] = &[
    "alpha.test",
    "beta.test",
    "gamma.test",
    "delta.test",
    "epsilon.test",
    "zeta.test",
    "eta.test",
    "theta.test",
];
/// Time to begin, and to arrive and be judged in the end.
const AROUND: Duration = Duration::from_secs(300);

/// A soak of two to eight domains for so long.
#[must_use]
pub fn soak(domains: usize, time: Duration) -> Case {
    let count = domains.clamp(2, NAMES.len());
    Case {
        ids: "soak",
        name: "soak",
        proves: "after cuts, kills, restarts, duplicates, shuffled batches and clock jumps under load, each acknowledged message is at every domain once, in its author's order, and in a group in the home's; receipts agree, nothing waits, nothing has grown",
        domains: NAMES.get(..count).unwrap_or(NAMES),
        needs: &[Need::Hooks, Need::Starting, Need::Inside, Need::Ways],
        within: time + AROUND,
        play,
    }
}

/// The command that plays such a soak again; none for another case.
pub(crate) fn repeated_by(case: &Case) -> Option<String> {
    let minutes = case.within.checked_sub(AROUND)?.as_secs() / 60;
    let domains = case.domains.len();
    (case.name == "soak").then(|| format!("soak --domains {domains} --minutes {minutes}"))
}

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let time = stage.within.saturating_sub(AROUND);
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut chats = Chats::begin(stage).await?;
        let mut groups = Groups::begin(stage).await?;
        let mut repeater = Repeater::begin(stage).await?;
        let mut growth = Growth::default();
        let mut trouble = Trouble::new(&mut stage.random);
        let enough = Cell::new(false);
        let disturbing = async {
            let outcome = trouble.make(stage, &mut growth, time).await;
            enough.set(true);
            outcome
        };
        tokio::try_join!(
            disturbing,
            chats.go_on(&enough),
            groups.go_on(&enough),
            repeater.go_on(&enough)
        )?;
        stage.line.note(trouble.summary());
        chats.judge(stage).await?;
        groups.judge(stage).await?;
        repeater.judge(stage).await?;
        let messages = chats.messages() + groups.messages() + repeater.messages();
        growth.judge(stage, messages)?;
        stage.nothing_is_left().await
    }
    .boxed_local()
}
