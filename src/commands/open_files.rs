//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// Fewer than this are hardly meant for a server.
const FEW: u64 = 4096;

/// Allows this process as many as the system grants it when asked. Systems grant few without being asked, for the
/// sake of old programs.
pub(crate) fn allow_all() {
    let granted = getrlimit(Resource::Nofile);
    let Some(files) = granted.maximum else {
        return;
    };
    let raised = Rlimit {
        current: Some(files),
        ..granted
    };
    if let Err(fault) = setrlimit(Resource::Nofile, raised) {
        let files = granted.current;
        warn!(%fault, ?files, "the system does not allow more open files, of which each client is one");
    } else if files < FEW {
        warn!(
            files,
            "the system allows few open files, of which each client is one: raise the limit (LimitNOFILE of systemd)"
        );
    } else {
        info!(files, "open files allowed, of which each client is one");
    }
}
