//! The peer API as served on one connection. Each call is checked against what the connection has
//! proven, and then handed on.

use std::{sync::Arc, time::Duration};

use freehold_directory::{Fault, ResolveError, prefix_of};
use freehold_keys::VerifiedRecord;
use freehold_proto::{DomainName, Refusal, RefusalCode, UserId, wire};
use futures_util::FutureExt as _;
use tokio::{
    sync::{OwnedMutexGuard, oneshot},
    time::timeout,
};
use tonic::{Request, Response, Status};

use crate::{
    FindQuery,
    accept::{Connection, Discovery, log_refusal},
    engine::Engine,
    file, group,
    hello::{Claim, write_refusal},
    inbox::{self, BatchFault},
    signals::CALL_SIGNALS_MAX,
    status,
    stubs::peer_server,
};

/// After how long a hello that waits for discovery is to be repeated.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Longest local part that is looked up.
const LOCAL_PART_MAX: usize = freehold_proto::Address::LOCAL_BYTES_MAX;

/// Serves one connection.
#[derive(Clone, Debug)]
pub(crate) struct PeerService {
    engine: Arc<Engine>,
    connection: Arc<Connection>,
}

/// Why a hello has no outcome yet, or a bad one.
enum Hesitation {
    Pending,
    Refused(Refusal),
    Unavailable(Status),
}

impl From<Refusal> for Hesitation {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

#[tonic::async_trait]
impl peer_server::Peer for PeerService {
    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        use wire::hello_response::Outcome;
        let outcome = match self.accept(&request.into_inner()).await {
            Ok(accepted) => Outcome::Accepted(accepted),
            Err(Hesitation::Pending) => Outcome::Pending(wire::HelloPending {
                retry_after_ms: u32::try_from(RETRY_AFTER.as_millis()).unwrap_or(u32::MAX),
            }),
            Err(Hesitation::Refused(refusal)) => {
                log_refusal(&self.connection.remote, &refusal);
                Outcome::Refused(write_refusal(refusal))
            }
            Err(Hesitation::Unavailable(status)) => return Err(status),
        };
        Ok(Response::new(wire::HelloResponse {
            outcome: Some(outcome),
        }))
    }

    async fn deliver(
        &self,
        request: Request<wire::DeliverRequest>,
    ) -> Result<Response<wire::DeliverResponse>, Status> {
        let request = request.into_inner();
        let origin = self.parties(&request.from, &request.to)?;
        let peer = self.engine.peer(&origin);
        let Ok(_place) = peer.batches.try_acquire() else {
            let refusal = Refusal::new(RefusalCode::RateLimited, "too many batches at once");
            return Err(self.refuse(&origin, refusal));
        };
        let turn = Arc::clone(&peer.inbox).lock_owned().await;
        match self.decide(turn, origin.clone(), request).await {
            Ok(response) => Ok(Response::new(response)),
            Err(BatchFault::Refused(refusal)) => Err(self.refuse(&origin, refusal)),
            Err(BatchFault::Unavailable(error)) => Err(error.into()),
        }
    }

    async fn signal(
        &self,
        request: Request<wire::SignalRequest>,
    ) -> Result<Response<wire::SignalResponse>, Status> {
        let request = request.into_inner();
        let origin = self.parties(&request.from, &request.to)?;
        if request.signals.len() > CALL_SIGNALS_MAX {
            let detail = format!("{} signals at once", request.signals.len());
            return Err(self.refuse(&origin, Refusal::new(RefusalCode::TooLarge, detail)));
        }
        for signal in &request.signals {
            self.check_signal(&origin, signal)
                .map_err(|refusal| self.refuse(&origin, refusal))?;
        }
        let mut signals = request.signals;
        // They are worth nothing later, so there is nobody to tell.
        signals.retain(|_| self.engine.counted.takes_signal(&origin));
        self.engine.local.signals(&origin, signals).await;
        Ok(Response::new(wire::SignalResponse {}))
    }

    async fn find(
        &self,
        request: Request<wire::FindRequest>,
    ) -> Result<Response<wire::FindResponse>, Status> {
        let request = request.into_inner();
        let origin = self.parties(&request.from, &request.to)?;
        let query = self
            .read_query(request.query)
            .map_err(|refusal| self.refuse(&origin, refusal))?;
        self.may_ask(&origin).await?;
        let person = self.engine.local.find(&origin, query).await?;
        Ok(Response::new(wire::FindResponse { person }))
    }

    async fn read_group(
        &self,
        request: Request<wire::ReadGroupRequest>,
    ) -> Result<Response<wire::ReadGroupResponse>, Status> {
        let request = request.into_inner();
        let origin = self.parties(&request.from, &request.to)?;
        let (group, query) =
            group::read_query(&request).map_err(|refusal| self.refuse(&origin, refusal))?;
        self.may_ask(&origin).await?;
        let what = self.engine.local.read_group(&origin, group, query).await?;
        Ok(Response::new(wire::ReadGroupResponse { what }))
    }

    type ReadFileStream = file::Parts;

    async fn read_file(
        &self,
        request: Request<wire::ReadFileRequest>,
    ) -> Result<Response<file::Parts>, Status> {
        let request = request.into_inner();
        let origin = self.parties(&request.from, &request.to)?;
        let query = file::read_query(&request).map_err(|refusal| self.refuse(&origin, refusal))?;
        self.may_ask(&origin).await?;
        let Some(seat) = file::seat(&self.engine, &origin) else {
            let refusal = Refusal::new(RefusalCode::RateLimited, "too many files at once");
            return Err(self.refuse(&origin, refusal));
        };
        let offer = self.engine.local.read_file(&origin, query).await?;
        Ok(Response::new(file::give(&self.engine, offer, seat)))
    }
}

impl PeerService {
    pub(crate) fn new(engine: Arc<Engine>, connection: &Arc<Connection>) -> Self {
        Self {
            engine,
            connection: Arc::clone(connection),
        }
    }

    /// Hello, from claim to proof (PROTOCOL.md section 5).
    async fn accept(
        &self,
        request: &wire::HelloRequest,
    ) -> Result<wire::HelloAccepted, Hesitation> {
        let (engine, connection) = (&self.engine, &self.connection);
        if !connection.may_say_hello() {
            connection.close();
            let detail = "too many hellos on one connection";
            return Err(Refusal::new(RefusalCode::RateLimited, detail).into());
        }
        if connection.is_strange() {
            engine.counted.greet(prefix_of(connection.remote.ip()))?;
        }
        let claim = Claim::read(request)?;
        let us = engine.domain();
        claim.admit(us, &engine.config.policy)?;
        let record = self.discover(&claim).await?;
        claim.verify(record.record(), &connection.channel, engine.clock.now())?;
        let received = engine.local.received(&claim.from).await;
        let received = received.map_err(|error| Hesitation::Unavailable(error.into()))?;
        let peer = engine.peer(&claim.from);
        connection.prove(&peer)?;
        tracing::debug!(peer = %claim.from, remote = %connection.remote, "a peer has said hello");
        peer.contacted();
        let word = request.received.map(Into::into);
        if let Some(word) = word
            && engine
                .outbox
                .has_lost(&claim.from, word)
                .await
                .unwrap_or(false)
        {
            engine.begin_anew(&peer);
        }
        engine.wake(&claim.from);
        let identity = engine.identity.get();
        Ok(identity
            .ours
            .answer(&claim.from, &connection.channel, received))
    }

    /// The record of whom the claim names. A look-up that takes long goes on while the initiator is
    /// told to come back.
    async fn discover(&self, claim: &Claim) -> Result<Arc<VerifiedRecord>, Hesitation> {
        let key = (claim.from.clone(), claim.record_hash);
        let discovery = self
            .connection
            .discovery(key.clone(), || self.start_discovery(claim));
        let found = timeout(self.engine.config.discovery_wait, discovery)
            .await
            .map_err(|_| Hesitation::Pending)?;
        self.connection.discovered(&key);
        found.map_err(|error| match error {
            ResolveError::Busy => {
                Refusal::new(RefusalCode::RateLimited, "too many look-ups").into()
            }
            error if error.fault() == Fault::Ours => {
                Hesitation::Unavailable(crate::Unavailable(error.to_string()).into())
            }
            error => {
                let detail = format!("{}: {error}", claim.from);
                Refusal::new(RefusalCode::IdentityUnverified, detail).into()
            }
        })
    }

    /// Decides a batch on a task of its own: once begun it comes to its end, also when the peer hangs
    /// up, and the next batch of the same origin waits for that.
    async fn decide(
        &self,
        turn: OwnedMutexGuard<()>,
        origin: DomainName,
        request: wire::DeliverRequest,
    ) -> Result<wire::DeliverResponse, BatchFault> {
        let (answer, heard) = oneshot::channel();
        let engine = Arc::clone(&self.engine);
        self.engine.tasks.spawn("inbox", async move {
            let decided = inbox::decide(&engine, &origin, request.epoch, request.items).await;
            drop(turn);
            // Nobody hears it when the peer has hung up; it will ask again.
            drop(answer.send(decided));
        });
        heard.await.unwrap_or_else(|_| {
            let why = "shutting down".to_owned();
            Err(BatchFault::Unavailable(crate::Unavailable(why)))
        })
    }

    fn start_discovery(&self, claim: &Claim) -> Discovery {
        let (answer, heard) = oneshot::channel();
        let directory = Arc::clone(&self.engine.directory);
        let (domain, hash) = (claim.from.clone(), claim.record_hash);
        let stopped = self.engine.tasks.stopped();
        self.engine.tasks.spawn("discovery", async move {
            tokio::select! {
                // The connection may be gone by then; what was found is in the directory.
                found = directory.claimed(&domain, &hash) => drop(answer.send(found)),
                () = stopped => {}
            }
        });
        let heard = heard.map(|it| it.unwrap_or(Err(ResolveError::Busy)));
        heard.boxed().shared()
    }

    /// From whom and to whom a call is: the one proven on this connection, the other us.
    fn parties(&self, from: &str, to: &str) -> Result<DomainName, Status> {
        let check = || -> Result<DomainName, Refusal> {
            let (from, to): (DomainName, DomainName) = (from.parse()?, to.parse()?);
            if !self.connection.is_proven(&from) {
                let detail = format!("{from} has not said hello here");
                return Err(Refusal::new(RefusalCode::OriginNotAuthenticated, detail));
            }
            if !self.engine.config.policy.permits(&from) {
                self.connection.close();
                return Err(Refusal::new(RefusalCode::Denied, "by policy"));
            }
            if !self.engine.still_proves(&from, &self.connection.channel) {
                self.connection.close();
                let detail = format!("the key is not {from}'s any more");
                return Err(Refusal::new(RefusalCode::TlsKeyNotInRecord, detail));
            }
            if to != *self.engine.domain() {
                let detail = format!("{to} is not served here");
                return Err(Refusal::new(RefusalCode::WrongDestination, detail));
            }
            Ok(from)
        };
        check().map_err(|refusal| {
            log_refusal(&self.connection.remote, &refusal);
            status::refused(&refusal)
        })
    }

    /// Waits until a question of a peer may be answered.
    async fn may_ask(&self, peer: &DomainName) -> Result<(), Status> {
        // The peer does nothing wrong by asking much, so it is not said in the log each time.
        let asked = self.engine.counted.ask(peer).await;
        asked.map_err(|refusal| status::refused(&refusal))
    }

    fn refuse(&self, peer: &DomainName, refusal: Refusal) -> Status {
        let code = refusal.code.number();
        tracing::warn!(%peer, code, fault = "peer", "peer {peer} misbehaved: {refusal}");
        status::refused(&refusal)
    }

    fn check_signal(&self, origin: &DomainName, signal: &wire::Signal) -> Result<(), Refusal> {
        if !signal.group.is_empty() {
            // For whom a domain may speak there is known further in.
            let _user: UserId = signal.user.parse()?;
            let sized = signal.group.len() == 16 && signal.peer.is_empty();
            let malformed = || Refusal::new(RefusalCode::Malformed, "a signal to a group");
            return sized.then_some(()).ok_or_else(malformed);
        }
        let (user, peer): (UserId, UserId) = (signal.user.parse()?, signal.peer.parse()?);
        if user.domain() != origin {
            let detail = format!("a signal of {user}");
            return Err(Refusal::new(RefusalCode::AuthorNotOfOrigin, detail));
        }
        if peer.domain() != self.engine.domain() {
            let detail = format!("a signal for {peer}");
            return Err(Refusal::new(RefusalCode::RecipientNotHere, detail));
        }
        Ok(())
    }

    fn read_query(&self, query: Option<wire::find_request::Query>) -> Result<FindQuery, Refusal> {
        use wire::find_request::Query;
        match query {
            Some(Query::LocalPart(local)) if local.len() <= LOCAL_PART_MAX => {
                Ok(FindQuery::LocalPart(local))
            }
            Some(Query::LocalPart(_)) => Err(Refusal::new(
                RefusalCode::TooLarge,
                "the local part is too long",
            )),
            Some(Query::User(user)) => {
                let user: UserId = user.parse()?;
                if user.domain() == self.engine.domain() {
                    Ok(FindQuery::User(user))
                } else {
                    let detail = format!("{user} is not of this domain");
                    Err(Refusal::new(RefusalCode::RecipientNotHere, detail))
                }
            }
            None => Err(Refusal::new(RefusalCode::Malformed, "no query")),
        }
    }
}
