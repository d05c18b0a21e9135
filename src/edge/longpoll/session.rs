//! One session of long polling: what is said is handled in turn, and each poll takes one frame.

use std::{collections::VecDeque, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    accounts::attempts::Origin,
    edge::{
        behind::keep_up,
        connection::Connection,
        encoding::{Encoded, Encoding},
        reply::{self, Reply},
        session::Session,
    },
    server::Server,
};

/// How long a poll waits for a frame. COMPAT fact sheet, section 1.2.
const POLL_MAX: Duration = Duration::from_secs(49);
/// A session for which nobody polls for so long has ended.
const SILENT_MAX: Duration = Duration::from_secs(70);
/// Time to fetch what was ready when the session ended.
const FAREWELL: Duration = Duration::from_secs(5);
/// What a client may say ahead of what is being handled.
const SAID_MAX: usize = 16;
/// Polls on their way to the session.
const POLLS_MAX: usize = 4;

/// The way to a session. Clones are the same session.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    said: mpsc::Sender<Said>,
    polls: mpsc::Sender<Poll>,
}

/// What a client says, and whom to tell that it has been handled.
type Said = (Bytes, oneshot::Sender<()>);
/// Where a poll waits for a frame.
type Poll = oneshot::Sender<Bytes>;

impl Handle {
    /// Hands over one message; completes when it has been handled, and gives nothing when the session
    /// has ended.
    pub(super) async fn say(&self, message: Bytes) -> Option<()> {
        let (done, handled) = oneshot::channel();
        self.said.send((message, done)).await.ok()?;
        handled.await.ok()
    }

    /// Waits for a frame; an empty one when there is none in time, or another poll came. Gives nothing
    /// when the session has ended.
    pub(super) async fn poll(&self) -> Option<Bytes> {
        let (to, frame) = oneshot::channel();
        self.polls.send(to).await.ok()?;
        Some(frame.await.unwrap_or_default())
    }
}

/// A session, and the task in which it lives.
pub(super) fn begin(
    server: &Arc<Server>,
    origin: Option<Origin>,
) -> (Handle, impl Future<Output = ()> + use<>) {
    let (said, to_handle) = mpsc::channel(SAID_MAX);
    let (polls, to_answer) = mpsc::channel(POLLS_MAX);
    let live = live(Arc::clone(server), origin, to_handle, to_answer);
    (Handle { said, polls }, live)
}

async fn live(
    server: Arc<Server>,
    origin: Option<Origin>,
    said: mpsc::Receiver<Said>,
    polls: mpsc::Receiver<Poll>,
) {
    let closed = CancellationToken::new();
    let (session, queue) = Session::new(Encoding::Json, closed.clone());
    session.comes_from(origin);
    let mut connection = Connection::new(Arc::clone(&server), session.clone());
    // COMPAT: the session was there before the client said hello.
    connection.welcome = reply::OK;
    let keeping_up = keep_up(Arc::clone(&server), session.clone());
    let mailbox = Mailbox::new(session.clone(), queue, polls);
    let end = async {
        tokio::select! {
            () = server.tasks.stopped() => {}
            () = closed.cancelled() => {}
        }
        closed.cancel();
    };
    let handling = handle(connection, session, said, closed.clone());
    let bye = || {
        let bye = Reply::from(reply::SHUTDOWN).into_frame(None, None, server.clock.now());
        bye.to_text().into()
    };
    let answering = mailbox.work(closed.clone(), server.tasks.stop_token(), bye);
    tokio::join!(handling, answering, keeping_up, end);
}

/// Handles what is said, one after the other, until the session ends.
async fn handle(
    mut connection: Connection,
    session: Session,
    mut said: mpsc::Receiver<Said>,
    closed: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            () = closed.cancelled() => break,
            next = said.recv() => next,
        };
        let Some((message, done)) = next else { break };
        session.has_room().await;
        connection.handle(message).await;
        // The client need not have waited.
        let _heard = done.send(());
    }
    // Who still waits to be handled learns that the session has ended.
    drop(said);
    closed.cancel();
    connection.end().await;
}

/// Where frames wait for polls, and a poll for frames.
struct Mailbox {
    session: Session,
    queue: mpsc::Receiver<Vec<Encoded>>,
    polls: mpsc::Receiver<Poll>,
    /// Taken from the queue, not sent yet.
    ready: VecDeque<Encoded>,
    /// The latest poll; one that came before has been sent home.
    waiting: Option<Poll>,
    /// When a poll last came or ended.
    heard: Instant,
}

impl Mailbox {
    fn new(
        session: Session,
        queue: mpsc::Receiver<Vec<Encoded>>,
        polls: mpsc::Receiver<Poll>,
    ) -> Self {
        Self {
            session,
            queue,
            polls,
            ready: VecDeque::new(),
            waiting: None,
            heard: Instant::now(),
        }
    }

    /// Brings frames and polls together until the session ends; `bye` is said when that is because the
    /// domain stops.
    async fn work(
        mut self,
        closed: CancellationToken,
        stop: CancellationToken,
        bye: impl FnOnce() -> Bytes,
    ) {
        loop {
            let patience = match self.waiting {
                Some(_) => POLL_MAX,
                None => SILENT_MAX,
            };
            tokio::select! {
                biased;
                () = closed.cancelled() => break,
                Some(poll) = self.polls.recv() => self.take(poll),
                Some(frames) = self.queue.recv(), if self.ready.is_empty() => {
                    self.ready.extend(frames);
                }
                () = hung_up(&mut self.waiting) => self.rest(),
                () = sleep_until(self.heard + patience) => {
                    if self.waiting.is_none() {
                        debug!(session = self.session.id(), "a client does not poll any more");
                        break;
                    }
                    self.give(Bytes::new());
                }
            }
            self.pass_on();
        }
        closed.cancel();
        if stop.is_cancelled() {
            // Who does not poll now will find out.
            self.give(bye());
        } else {
            self.empty(&stop).await;
        }
    }

    fn take(&mut self, poll: Poll) {
        self.waiting = Some(poll);
        self.heard = Instant::now();
    }

    /// No poll waits any more.
    fn rest(&mut self) {
        self.waiting = None;
        self.heard = Instant::now();
    }

    /// Answers the poll that waits; false when there is none any more.
    fn give(&mut self, frame: Bytes) -> bool {
        let poll = self.waiting.take();
        self.heard = Instant::now();
        poll.is_some_and(|it| it.send(frame).is_ok())
    }

    /// Gives the first frame to the poll that waits.
    fn pass_on(&mut self) {
        let waits = self.waiting.as_ref().is_some_and(|it| !it.is_closed());
        if waits && let Some(frame) = self.ready.pop_front() {
            if self.give(frame.clone().into()) {
                self.session.sent(&[frame]);
            } else {
                self.ready.push_front(frame);
            }
        }
    }

    /// Frames that were ready when the session ended are still there for a moment.
    async fn empty(mut self, stop: &CancellationToken) {
        self.queue.close();
        while let Ok(frames) = self.queue.try_recv() {
            self.ready.extend(frames);
        }
        let end = Instant::now() + FAREWELL;
        self.pass_on();
        while !self.ready.is_empty() {
            let next = tokio::select! {
                next = timeout_at(end, self.polls.recv()) => next,
                () = stop.cancelled() => return,
            };
            let Ok(Some(poll)) = next else { return };
            self.take(poll);
            self.pass_on();
        }
    }
}

/// Completes when the client has given up the poll that waits.
async fn hung_up(waiting: &mut Option<Poll>) {
    match waiting {
        Some(poll) => poll.closed().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::edge::frames::ServerFrame;

    /// A mailbox at work, and both ends of it.
    struct Scene {
        session: Session,
        polls: mpsc::Sender<Poll>,
        stop: CancellationToken,
        tasks: TaskTracker,
    }

    impl Scene {
        fn new() -> Self {
            let (closed, stop) = (CancellationToken::new(), CancellationToken::new());
            let (session, queue) = Session::new(Encoding::Json, closed.clone());
            let (polls, to_answer) = mpsc::channel(POLLS_MAX);
            let mailbox = Mailbox::new(session.clone(), queue, to_answer);
            let tasks = TaskTracker::new();
            let bye = || Bytes::from_static(b"bye");
            tasks.spawn(mailbox.work(closed, stop.clone(), bye));
            Self {
                session,
                polls,
                stop,
                tasks,
            }
        }

        /// A poll that has reached the mailbox.
        async fn polls(&self) -> oneshot::Receiver<Bytes> {
            let (to, frame) = oneshot::channel();
            self.polls.send(to).await.unwrap();
            tokio::task::yield_now().await;
            frame
        }

        fn says(&self, text: &str) {
            self.session.send(&frame(text));
        }
    }

    fn frame(id: &str) -> ServerFrame {
        let now = freehold_proto::Timestamp::EPOCH;
        Reply::from(reply::OK).into_frame(Some(id.to_owned()), None, now)
    }

    fn bytes(id: &str) -> Bytes {
        frame(id).to_text().into()
    }

    #[tokio::test(start_paused = true)]
    async fn each_poll_takes_one_frame_in_order() {
        let scene = Scene::new();
        let first = scene.polls().await;
        scene.says("1");
        scene.session.send_all(&[frame("2"), frame("3")]);
        scene.says("4");
        assert_eq!(first.await.unwrap(), bytes("1"));
        for id in ["2", "3", "4"] {
            assert_eq!(scene.polls().await.await.unwrap(), bytes(id));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_poll_ends_empty_in_time_and_the_session_lives_on() {
        let scene = Scene::new();
        for _ in 0..10 {
            let began = Instant::now();
            assert_eq!(scene.polls().await.await.unwrap(), Bytes::new());
            assert_eq!(began.elapsed().as_secs(), POLL_MAX.as_secs());
            tokio::time::sleep(SILENT_MAX - Duration::from_secs(1)).await;
        }
        assert!(!scene.session.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_for_which_nobody_polls_ends() {
        let scene = Scene::new();
        drop(scene.polls().await);
        tokio::time::sleep(SILENT_MAX - Duration::from_secs(1)).await;
        assert!(!scene.session.is_closed());
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(scene.session.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_poll_takes_the_place_of_one_that_waits() {
        let scene = Scene::new();
        let (older, newer) = (scene.polls().await, scene.polls().await);
        assert!(older.await.is_err(), "it is sent home without a frame");
        scene.says("1");
        assert_eq!(newer.await.unwrap(), bytes("1"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_frame_goes_to_a_poll_that_was_given_up() {
        let scene = Scene::new();
        drop(scene.polls().await);
        scene.says("1");
        assert_eq!(scene.polls().await.await.unwrap(), bytes("1"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_ready_at_the_end_can_be_fetched_for_a_moment() {
        let scene = Scene::new();
        scene.says("1");
        scene.says("2");
        scene.session.close();
        assert_eq!(scene.polls().await.await.unwrap(), bytes("1"));
        assert_eq!(scene.polls().await.await.unwrap(), bytes("2"));
        scene.tasks.close();
        scene.tasks.wait().await;

        let forgotten = Scene::new();
        forgotten.says("1");
        forgotten.session.close();
        forgotten.tasks.close();
        let ended = timeout(FAREWELL * 2, forgotten.tasks.wait()).await;
        ended.expect("it does not wait for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn a_domain_that_stops_says_so_to_the_poll_that_waits() {
        let scene = Scene::new();
        let poll = scene.polls().await;
        scene.stop.cancel();
        scene.session.close();
        assert_eq!(poll.await.unwrap(), "bye");
    }
}
