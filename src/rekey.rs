//! Takes up what the operator does to the domain's keys while it serves: `freehold keys` writes files,
//! and here they are looked at.

use std::{sync::Arc, time::Duration};

use freehold_keys::{KeyError, KeyRing};
use freehold_proto::Timestamp;
use tokio::time::sleep;
use tracing::{error, info};

use crate::server::Server;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Follows the keys on disk until the domain stops, and renews the record in time.
pub(crate) async fn follow(server: Arc<Server>, mut keys: KeyRing) {
    let mut told = None;
    loop {
        tokio::select! {
            () = sleep(EVERY) => {}
            () = server.tasks.stopped() => return,
        }
        let (domain, clock) = (Arc::clone(&server), Arc::clone(&server.clock));
        let looked = tokio::task::spawn_blocking(move || {
            let changed = look(&mut keys, &domain, clock.now());
            (keys, changed)
        });
        let Ok((kept, changed)) = looked.await else {
            return;
        };
        keys = kept;
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

/// What is taken up is first shown to peers and then signed with. What cannot be shown is not taken up, and
/// is looked at again.
fn look(keys: &mut KeyRing, server: &Server, now: Timestamp) -> Result<bool, KeyError> {
    let Some(found) = keys.changed(now)? else {
        return Ok(false);
    };
    if let Some(federation) = server.federation.get() {
        federation.rekey(&found)?;
    }
    keys.take_up(found);
    Ok(true)
}
