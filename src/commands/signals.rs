//! The operator's wish to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CommandError, while_doing};

/// SIGTERM and SIGINT, heard from the moment this is made.
#[derive(Debug)]
pub(crate) struct StopSignal {
    term: Signal,
    interrupt: Signal,
}

impl StopSignal {
    /// Begins to listen.
    pub(crate) fn new() -> Result<Self, CommandError> {
        let listen = || -> io::Result<Self> {
            Ok(Self {
                term: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        };
        listen().map_err(while_doing("Signals cannot be heard"))
    }

    /// Waits for the first of them.
    pub(crate) async fn heard(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
