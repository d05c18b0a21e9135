//! The calls of the service `pbx.Node` on one connection.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use axum::http::{Request, Response};
use bytes::Bytes;
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

use super::{codec::BytesCodec, conversation};
use crate::{edge::origin::origin, server::Server};

const MESSAGE_LOOP: &str = "/pbx.Node/MessageLoop";

/// Answers the calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) server: Arc<Server>,
    /// Places for sessions, those of all connections together.
    pub(super) places: Arc<Semaphore>,
    /// The other end of the connection.
    pub(super) address: IpAddr,
    /// Counts the sessions of this connection.
    pub(super) open: TaskTracker,
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if request.uri().path() != MESSAGE_LOOP {
            let path = request.uri().path();
            let refusal = Status::unimplemented(format!("{path} is not served here"));
            return ready(Ok(refusal.into_http())).boxed();
        }
        let calls = self.clone();
        // What is a little too long gets an answer; what is much too long ends the stream.
        let longest = self.server.rules.message_bytes_max.saturating_mul(2);
        let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(longest);
        async move { Ok(grpc.streaming(calls, request).await) }.boxed()
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
