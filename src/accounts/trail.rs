//! Keeps the audit trail within its bounds: an age, and a number of entries.

use std::sync::Arc;

use freehold_store::{Batch, StoreError, Tables, tables::admin::trim_audit};
use tokio::time::sleep;
use tracing::warn;

use crate::server::Server;

/// Entries removed in one batch.
const AT_ONCE: usize = 500;

/// Shortens the trail at the start and then from time to time, until the domain stops.
pub(crate) async fn keep_short(server: Arc<Server>) {
    let stop = server.tasks.stop_token();
    while !stop.is_cancelled() {
        if let Err(fault) = shorten(&server).await {
            warn!(%fault, "the audit trail cannot be shortened now");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(server.audit.trim_every) => {}
        }
    }
}

/// Removes what is too old or too much.
async fn shorten(server: &Server) -> Result<(), StoreError> {
    let oldest = server.clock.now().minus(server.audit.keep).as_millis();
    let bounds = (oldest, server.audit.entries_max);
    loop {
        let find = move |tables: &Tables| {
            let mut batch = Batch::new();
            let more = trim_audit(tables, &mut batch, bounds, AT_ONCE)?;
            Ok((batch, more))
        };
        let (batch, more) = server.tables.read(find).await?;
        if !batch.is_empty() {
            // A batch without guards is applied.
            let _applied = server.tables.commit(batch).await?;
        }
        if !more {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{accounts::admin::OPERATOR, stage::Stage};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    async fn notes(server: &Server, what: &str) {
        let mut batch = Batch::new();
        server.audit(&mut batch, OPERATOR, None, what).unwrap();
        let _applied = server.tables.commit(batch).await.unwrap();
    }

    /// How many entries there are, and the newest of them.
    async fn trail(server: &Server) -> (usize, String) {
        let read = |tables: &Tables| tables.audit_trail(10_000);
        let rows = server.tables.read(read).await.unwrap();
        (rows.len(), rows[0].what.clone())
    }

    #[tokio::test]
    async fn the_oldest_entries_go_when_they_are_too_many_or_too_old() {
        let stage = Stage::with("[audit]\nkeep_days = 30\nentries_max = 1100").await;
        let server = &stage.server;
        for number in 0..1800 {
            notes(server, &number.to_string()).await;
        }
        shorten(server).await.unwrap();
        assert_eq!(trail(server).await, (1100, "1799".to_owned()));
        stage.clock.advance(DAY * 29);
        notes(server, "young").await;
        shorten(server).await.unwrap();
        assert_eq!(trail(server).await, (1100, "young".to_owned()));
        stage.clock.advance(DAY + Duration::from_secs(1));
        shorten(server).await.unwrap();
        assert_eq!(trail(server).await, (1, "young".to_owned()));
        stage.close().await;
    }
}
