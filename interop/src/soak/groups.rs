//! Groups over all domains, each with another home and a writer at every domain.

use std::{cell::Cell, time::Duration};

use futures_util::future::try_join_all;
use tokio::time::sleep;

use crate::{Club, Failure, Progress, Result, Stage, Writer};

/// Groups; the first domains are their homes.
const GROUPS: usize = 3;
/// Between two messages of one person. Each goes to every domain.
const PACE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(50);
/// Time for what waits to arrive after the last trouble.
const ARRIVE_WITHIN: Duration = Duration::from_secs(120);

/// All of them.
pub(super) struct Groups {
    clubs: Vec<Club>,
    // By group, one for each member.
    writers: Vec<Vec<Writer>>,
}

impl Groups {
    pub(super) async fn begin(stage: &mut Stage) -> Result<Self> {
        let count = stage.network.len();
        let (mut clubs, mut writers) = (Vec::new(), Vec::new());
        for home in 0..GROUPS.min(count) {
            let at = (0..count).map(|it| (home + it) % count);
            let names: Vec<_> = at.map(|at| (at, format!("club{home}at{at}"))).collect();
            let people: Vec<_> = names.iter().map(|(at, name)| (*at, &**name)).collect();
            let mut club = Club::begin(stage, &people).await?;
            let all = (0..count).map(|it| club.writer(it).paced(PACE));
            writers.push(all.collect());
            clubs.push(club);
        }
        Ok(Self { clubs, writers })
    }

    /// Everybody writes until it is enough.
    pub(super) async fn go_on(&mut self, enough: &Cell<bool>) -> Result<()> {
        let progress = Progress::default();
        let told = async {
            while !enough.get() {
                sleep(POLL).await;
            }
            progress.enough.set(true);
            Ok(())
        };
        let writers = self.writers.iter_mut().flatten();
        let writing = try_join_all(writers.map(|it| it.write(&progress)));
        tokio::try_join!(told, writing).map(drop)
    }

    /// Every domain shows all that was acknowledged, once, in the order of the home; and all know it
    /// when everybody has read it.
    pub(super) async fn judge(&mut self, stage: &Stage) -> Result<()> {
        for (club, writers) in self.clubs.iter_mut().zip(&self.writers) {
            for (member, writer) in club.members.iter_mut().zip(writers) {
                member.ledger = writer.ledger().clone();
            }
        }
        try_join_all(self.clubs.iter_mut().map(|it| it.agree(ARRIVE_WITHIN))).await?;
        for club in &mut self.clubs {
            club.marks_agree(ARRIVE_WITHIN).await?;
        }
        let sent = self.messages();
        let acknowledged = self.writers.iter().flatten();
        let acknowledged: usize = acknowledged.map(|it| it.ledger().acknowledged.len()).sum();
        if acknowledged == 0 {
            return Err(Failure::Broken("nobody wrote in any group".to_owned()));
        }
        stage.line.held(
            "all groups",
            format!("{sent} messages sent, {acknowledged} acknowledged and present once at every domain, in the home's order; read marks agree"),
        );
        Ok(())
    }

    /// Messages sent.
    pub(super) fn messages(&self) -> u64 {
        let writers = self.writers.iter().flatten();
        writers.map(|it| it.ledger().sent).sum()
    }
}
