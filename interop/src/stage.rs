//! What cases do again and again on their stage.

use std::time::Duration;

use tokio::time::sleep;

use crate::{Network, Random, Result, Timeline, Way, failure::expect};

/// Time for a server to stop in good order.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Time for every connection to break.
const BREAK: Duration = Duration::from_millis(200);

/// What a case has to work with.
#[derive(Debug)]
pub struct Stage {
    /// The domains.
    pub network: Network,
    /// Chance.
    pub random: Random,
    /// What happens.
    pub line: Timeline,
    /// Time that the case may take.
    pub within: Duration,
}

impl Stage {
    /// Starts every domain.
    pub async fn start_all(&mut self) -> Result<()> {
        for index in 0..self.network.len() {
            self.network.domain(index)?.start().await?;
        }
        Ok(())
    }

    /// Lets what waits for an unreachable peer be tried often, as cases with short outages want it.
    pub fn retry_quickly(&mut self) -> Result<()> {
        for index in 0..self.network.len() {
            let domain = self.network.domain(index)?;
            let lines = &mut domain.config.federation_lines;
            lines.push("retry_longest_seconds = 2".to_owned());
        }
        Ok(())
    }

    /// Stops a domain in good order and starts it again. One that the suite did not start runs on: what
    /// follows then holds of a server that was not started again, and the time line says so.
    pub async fn starts_again(&mut self, index: usize) -> Result<()> {
        let domain = self.network.domain(index)?;
        if domain.is_ours() {
            domain.stop(STOP_WITHIN).await?;
            return domain.start().await;
        }
        self.is_left(index)
    }

    /// The same without a warning.
    pub async fn falls(&mut self, index: usize) -> Result<()> {
        let domain = self.network.domain(index)?;
        if domain.is_ours() {
            domain.kill()?;
            return domain.start().await;
        }
        self.is_left(index)
    }

    fn is_left(&mut self, index: usize) -> Result<()> {
        let name = self.network.domain(index)?.name();
        let what = format!("{name} runs on: it is not the suite's to stop");
        self.line.note(what);
        Ok(())
    }

    /// Stops every domain in good order and looks that at none of them anything waits for another,
    /// if the suite started them.
    pub async fn nothing_is_left(&mut self) -> Result<()> {
        if !self.network.is_ours() {
            self.line
                .note("whether anything waits is not to be seen from outside");
            return Ok(());
        }
        for index in 0..self.network.len() {
            let domain = self.network.domain(index)?;
            let status = domain.stop(STOP_WITHIN).await?;
            let name = domain.name().clone();
            expect(status.success(), || {
                format!("SIGTERM ended the server of {name} with {status}")
            })?;
        }
        for index in 0..self.network.len() {
            let domain = self.network.domain(index)?;
            for queue in domain.waiting().await? {
                expect(queue.waiting == 0 && queue.parked == 0, || {
                    format!("something is left at {}: {queue:?}", domain.name())
                })?;
            }
            self.line.held(
                domain.name(),
                "has stopped in good order and nothing waits there",
            );
        }
        Ok(())
    }

    /// Breaks the connections of one domain to another; new ones are made as before.
    pub async fn breaks(&self, from: usize, to: usize) -> Result<()> {
        self.network.set_way(from, to, Way::Cut)?;
        sleep(BREAK).await;
        self.network.set_way(from, to, Way::Open)
    }

    /// Lets time pass, and says so.
    pub async fn pause(&self, time: Duration, why: &str) {
        self.line
            .note(format!("{} ms pass: {why}", time.as_millis()));
        sleep(time).await;
    }
}
