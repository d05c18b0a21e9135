//! What one plugin is told: in order, one after the other, from a bounded queue in memory. While the
//! plugin is away they wait; what finds no room is counted, and lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use freehold_federation::Tasks;
use parking_lot::Mutex;
use tokio::{sync::mpsc, time::sleep};
use tonic::{Code, Status};
use tracing::{info, warn};

use super::line::Line;

/// Notices that wait for one plugin.
const QUEUE_MAX: usize = 1024;
/// Time for a plugin to take one.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// How long it is left alone while it is away; twice as long each time.
const REST: Duration = Duration::from_secs(1);
/// But no longer than this.
const REST_MAX: Duration = Duration::from_secs(30);

type Notice = (&'static str, Bytes);

#[derive(Debug)]
pub(super) struct Notices {
    out: mpsc::Sender<Notice>,
    /// Until somebody begins to empty it.
    queue: Mutex<Option<mpsc::Receiver<Notice>>>,
    worker: Worker,
}

#[derive(Clone, Debug)]
struct Worker {
    line: Arc<Line>,
    /// Notices that found no room since the plugin last took one.
    lost: Arc<AtomicU64>,
}

impl Notices {
    pub(super) fn new(line: Arc<Line>) -> Self {
        let (out, queue) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::default();
        Self {
            out,
            queue: Mutex::new(Some(queue)),
            worker: Worker { line, lost },
        }
    }

    /// Begins to tell.
    pub(super) fn start(&self, tasks: &Tasks) {
        let (worker, stop) = (self.worker.clone(), tasks.stop_token());
        let Some(mut queue) = self.queue.lock().take() else {
            return;
        };
        tasks.spawn("plugin", async move {
            let work = async {
                while let Some(notice) = queue.recv().await {
                    worker.tell(notice).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Queues a notice, if there is room.
    pub(super) fn queue(&self, path: &'static str, message: Bytes) {
        if self.out.try_send((path, message)).is_err() {
            self.worker.lose("its queue is full");
        }
    }
}

impl Worker {
    /// Tells one thing: again and again while the plugin is away, once if it is there and fails.
    async fn tell(&self, (path, message): Notice) {
        let mut rest = REST;
        loop {
            match self.line.call(path, message.clone(), TAKEN_WITHIN).await {
                Ok(_) => return self.has_taken(rest > REST),
                Err(status) if is_away(&status) => {
                    if rest == REST {
                        let plugin = &self.line.name;
                        warn!(%plugin, fault = %status, "a plugin cannot be reached; notices wait");
                    }
                }
                Err(status) => return self.lose(status.message()),
            }
            sleep(rest).await;
            rest = (rest * 2).min(REST_MAX);
        }
    }

    fn has_taken(&self, was_away: bool) {
        let (plugin, lost) = (&self.line.name, self.lost.swap(0, Ordering::Relaxed));
        if lost > 0 {
            warn!(%plugin, lost, "a plugin takes notices again, and has missed some");
        } else if was_away {
            info!(%plugin, "a plugin takes notices again");
        }
    }

    /// Counts it; the first of a row is logged.
    fn lose(&self, why: &str) {
        if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            warn!(plugin = %self.line.name, why, "a plugin misses notices");
        }
    }
}

fn is_away(status: &Status) -> bool {
    status.code() == Code::Unavailable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_finds_no_room_is_counted() {
        let text =
            "domain = \"a.test\"\n[[plugins]]\nname = \"p\"\naddress = \"http://127.0.0.1:9\"\n";
        let config = freehold_config::from_toml(text, "/".as_ref()).unwrap();
        let line = Line::new(&config.plugins[0], &Tasks::default()).unwrap();
        let notices = Notices::new(Arc::new(line));
        for _ in 0..QUEUE_MAX + 3 {
            notices.queue("/pbx.Plugin/Account", Bytes::new());
        }
        assert_eq!(notices.worker.lost.load(Ordering::Relaxed), 3);
    }
}
