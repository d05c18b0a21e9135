//! How fast a session may speak. Whoever goes on beyond a limit is not read for a moment each time, so a
//! flood costs its sender more than us.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    connection::Connection,
    reply::{Reply, Status},
    requests::Request,
};
use crate::limits::TooMuch;

/// How long a session is not read after something that was too much.
const REST: Duration = Duration::from_millis(100);

impl Connection {
    /// Counts a request, or a frame that is none: of the one who has logged in here, for whomever they
    /// speak; of the network, before that.
    pub(super) fn count(&self, request: Option<&Request>) -> Result<(), TooMuch> {
        let limits = &self.server.limits;
        match &self.caller {
            None => limits.stranger_request(self.session.origin()),
            Some(caller) if matches!(request, Some(Request::Pub(_))) => {
                limits.user_message(&caller.user)
            }
            Some(caller) => limits.user_request(&caller.user),
        }
    }

    /// Refuses a frame that is no request, with an answer if there is one to be given.
    pub(super) async fn refuse_unread(&self, id: Option<&str>, answer: Option<Status>) {
        let counted = self.count(None);
        if let Some(status) = answer {
            let much = counted.err().map(Reply::from);
            self.answer(id, None, much.unwrap_or_else(|| status.into()));
        }
        if counted.is_err() {
            self.rest().await;
        }
    }

    /// Lets a moment pass in which nothing is read.
    pub(super) async fn rest(&self) {
        tokio::select! {
            () = sleep(REST) => {}
            () = self.session.closed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        accounts::attempts::Origin,
        edge::{encoding::Encoding, session::Session},
        stage::Stage,
    };

    #[tokio::test]
    async fn whoever_goes_on_beyond_a_limit_is_not_read_for_a_moment_each_time() {
        let stage = Stage::with("[limits]\nprefix_requests = [1, 2]").await;
        // From here on time goes by at once, and only where somebody sleeps.
        tokio::time::pause();
        let (session, mut queue) = Session::new(Encoding::Json, CancellationToken::new());
        session.comes_from(Some(Origin::of([192, 0, 2, 1].into())));
        let mut connection = Connection::new(Arc::clone(&stage.server), session.clone());
        let begun = Instant::now();
        for _ in 0..12 {
            connection.handle(Bytes::from_static(b"nonsense")).await;
        }
        let rested = begun.elapsed();
        assert!((10 * REST..11 * REST).contains(&rested), "{rested:?}");
        let mut answers = 0;
        while queue.try_recv().is_ok() {
            answers += 1;
        }
        assert_eq!(answers, 12);
        session.close();
        connection.handle(Bytes::from_static(b"nonsense")).await;
        assert_eq!(begun.elapsed(), rested);
        tokio::time::resume();
        stage.close().await;
    }
}
