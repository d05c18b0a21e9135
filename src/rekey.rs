//! Takes up what the operator does to the domain's keys while it serves: `freehold keys` writes files,
//! and here they are looked at.

use std::{sync::Arc, time::Duration};

use freehold_keys::{KeyError, KeyRing};
use tokio::time::sleep;
use tracing::{error, info};

use crate::server::Server;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Follows the keys on disk until the domain stops, and renews the record in time.
pub(crate) async fn follow(server: Arc<Server>, mut keys: KeyRing) {
    let (mut told, mut behind) = (None, false);
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = server.tasks.stopped() => return,
        }
        let (domain, clock) = (Arc::clone(&server), Arc::clone(&server.clock));
        let looked = tokio::task::spawn_blocking(move || {
            let changed = look(&mut keys, &domain, behind, clock.now());
            (keys, changed)
        });
        let Ok((kept, changed)) = looked.await else {
            return;
        };
        keys = kept;
        // What could not be taken up whole is taken up again.
        behind = changed.is_err();
        match changed {
            Ok(false) => told = None,
            Ok(true) => {
                let serial = keys.record().record().serial;
                info!(domain = %server.us, serial, "the domain's keys have changed, and the new ones are in use");
            }
            Err(fault) if told.as_ref() == Some(&fault.to_string()) => {}
            Err(fault) => {
                error!(domain = %server.us, %fault, fault = "ours", "the keys on disk cannot be taken up; those from before stay in use");
                told = Some(fault.to_string());
            }
        }
    }
}

fn look(
    keys: &mut KeyRing,
    server: &Server,
    behind: bool,
    now: freehold_proto::Timestamp,
) -> Result<bool, KeyError> {
    let changed = keys.reload()? | keys.renew_if_due(now)? | behind;
    if changed && let Some(federation) = server.federation.get() {
        federation.rekey(keys)?;
    }
    Ok(changed)
}
