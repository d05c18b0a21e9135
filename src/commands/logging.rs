//! Where log lines go: standard error, as much as `FREEHOLD_LOG` asks for.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

/// Environment variable with a filter such as `debug` or `info,freehold_federation=trace`.
const VARIABLE: &str = "FREEHOLD_LOG";

/// Starts logging; `usual` is the filter where the environment names none.
pub(crate) fn start(usual: &str, json: bool) {
    let filter = EnvFilter::try_from_env(VARIABLE).unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    if json {
        log.json().init();
    } else {
        log.with_ansi(io::stderr().is_terminal()).init();
    }
}
