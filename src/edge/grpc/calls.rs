//! The calls of the service `pbx.Node` on one connection.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use axum::http::{Request, Response};
use bytes::Bytes;
use freehold_proto::{UserId, pbx::Auth};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
    stream::BoxStream,
};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
};

use super::{
    codec::BytesCodec,
    conversation,
    download::{self, Downloads},
    upload::{self, Uploads},
};
use crate::{
    edge::{files::Claim, origin::origin, reply::Reply},
    limits::TooMuch,
    server::Server,
};

const MESSAGE_LOOP: &str = "/pbx.Node/MessageLoop";
const UPLOAD: &str = "/pbx.Node/LargeFileReceive";
const DOWNLOAD: &str = "/pbx.Node/LargeFileServe";

/// Answers the calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) server: Arc<Server>,
    /// Places for sessions and for files going out, those of all connections together.
    pub(super) places: Arc<Semaphore>,
    /// Places for files coming in.
    pub(super) uploads: Arc<Semaphore>,
    /// The other end of the connection.
    pub(super) address: IpAddr,
    /// Counts the sessions and files of this connection.
    pub(super) open: TaskTracker,
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if let Err(much) = self.count(&request) {
            let refusal = Status::resource_exhausted(format!("over the limit {}", much.limit));
            return ready(Ok(refusal.into_http())).boxed();
        }
        let calls = self.clone();
        let grpc = |longest| Grpc::new(BytesCodec).max_decoding_message_size(longest);
        match request.uri().path() {
            MESSAGE_LOOP => {
                // What is a little too long gets an answer; what is much too long ends the stream.
                let mut grpc = grpc(self.server.rules.message_bytes_max.saturating_mul(2));
                async move { Ok(grpc.streaming(calls, request).await) }.boxed()
            }
            UPLOAD => {
                let mut grpc = grpc(upload::PIECE_MAX);
                let request = request.map(upload::Whole);
                async move { Ok(grpc.client_streaming(Uploads(calls), request).await) }.boxed()
            }
            // A stream as well, so that we read the question ourselves, in bounded time.
            DOWNLOAD => {
                let mut grpc = grpc(download::QUESTION_MAX);
                async move { Ok(grpc.streaming(Downloads(calls), request).await) }.boxed()
            }
            path => {
                let refusal = Status::unimplemented(format!("{path} is not served here"));
                ready(Ok(refusal.into_http())).boxed()
            }
        }
    }
}

impl Calls {
    /// Counts a call of whom nothing is known yet but where they come from.
    fn count(&self, request: &Request<Incoming>) -> Result<(), TooMuch> {
        let origin = origin(&self.server.rules.proxies, self.address, request.headers());
        match request.uri().path() {
            MESSAGE_LOOP => self.server.limits.session(origin),
            _ => self.server.limits.stranger_request(origin),
        }
    }

    /// Who says who they are in a message; nobody when it says nothing.
    pub(super) async fn owner(&self, auth: Option<Auth>) -> Result<Option<UserId>, Reply> {
        match auth.filter(|it| !(it.scheme.is_empty() && it.secret.is_empty())) {
            Some(auth) => {
                let claim = Claim::new(&auth.scheme, &auth.secret);
                Ok(Some(claim.check(&self.server).await?))
            }
            None => Ok(None),
        }
    }
}

impl StreamingService<Bytes> for Calls {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = BoxFuture<'static, Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let opened = place
            .map_err(|_| Status::resource_exhausted("too many sessions"))
            .map(|place| {
                let proxies = &self.server.rules.proxies;
                let headers = request.metadata().clone().into_headers();
                let origin = origin(proxies, self.address, &headers);
                let held = (place, self.open.token());
                let incoming = request.into_inner();
                let frames = conversation::begin(&self.server, origin, incoming, held);
                tonic::Response::new(frames)
            });
        ready(opened).boxed()
    }
}
