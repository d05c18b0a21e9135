//! A plugin: a small server of the service `pbx.Plugin` that notes what it is told and answers as a
//! scene wishes.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::http::{Request, Response};
use freehold_federation::Tasks;
use freehold_proto::pbx::{
    AccountEvent, ClientReq, MessageEvent, SearchFound, SearchQuery, ServerResp, SubscriptionEvent,
    TopicEvent, Unused,
};
use futures_util::future::BoxFuture;
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tonic::{
    Status,
    body::Body,
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;

use crate::guest::SOON;

/// What the plugin was told.
#[derive(Debug)]
pub(crate) enum Told {
    Account(AccountEvent),
    Topic(TopicEvent),
    Subscription(SubscriptionEvent),
    Message(MessageEvent),
}

/// How it answers; without an answer it keeps the asker waiting.
type Judge = dyn Fn(ClientReq) -> Option<ServerResp> + Send + Sync;
type Finder = dyn Fn(SearchQuery) -> SearchFound + Send + Sync;

pub(crate) struct Plugin {
    pub(crate) address: SocketAddr,
    told: mpsc::Receiver<Told>,
    mind: Arc<Mind>,
    tasks: Tasks,
}

struct Mind {
    told: mpsc::Sender<Told>,
    judge: Mutex<Arc<Judge>>,
    finder: Mutex<Arc<Finder>>,
}

#[derive(Clone)]
struct Calls(Arc<Mind>);

impl Plugin {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), None).await
    }

    pub(crate) async fn start_at(address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, told) = mpsc::channel(1024);
        let mind = Arc::new(Mind {
            told: sender,
            judge: Mutex::new(Arc::new(|_| Some(ServerResp::default()))),
            finder: Mutex::new(Arc::new(|_| SearchFound::default())),
        });
        let tasks = Tasks::default();
        tasks.spawn(
            "plugin",
            accept(listener, tls, Arc::clone(&mind), tasks.clone()),
        );
        Self {
            address,
            told,
            mind,
            tasks,
        }
    }

    /// The section of a domain's configuration.
    pub(crate) fn section(&self, more: &str) -> String {
        section(self.address, more)
    }

    pub(crate) fn judges(
        &self,
        judge: impl Fn(ClientReq) -> Option<ServerResp> + Send + Sync + 'static,
    ) {
        *self.mind.judge.lock() = Arc::new(judge);
    }

    pub(crate) fn finds(
        &self,
        finder: impl Fn(SearchQuery) -> SearchFound + Send + Sync + 'static,
    ) {
        *self.mind.finder.lock() = Arc::new(finder);
    }

    /// The next thing it is told.
    pub(crate) async fn hears(&mut self) -> Told {
        let told = timeout(SOON, self.told.recv()).await;
        told.expect("it is told in time").unwrap()
    }

    pub(crate) async fn hears_of_account(&mut self) -> AccountEvent {
        match self.hears().await {
            Told::Account(event) => event,
            other => panic!("not about an account: {other:?}"),
        }
    }

    pub(crate) async fn hears_of_topic(&mut self) -> TopicEvent {
        match self.hears().await {
            Told::Topic(event) => event,
            other => panic!("not about a topic: {other:?}"),
        }
    }

    pub(crate) async fn hears_of_subscription(&mut self) -> SubscriptionEvent {
        match self.hears().await {
            Told::Subscription(event) => event,
            other => panic!("not about a subscription: {other:?}"),
        }
    }

    pub(crate) async fn hears_of_message(&mut self) -> MessageEvent {
        match self.hears().await {
            Told::Message(event) => event,
            other => panic!("not about a message: {other:?}"),
        }
    }

    /// True when it has been told nothing more.
    pub(crate) fn has_heard_all(&mut self) -> bool {
        self.told.try_recv().is_err()
    }

    pub(crate) async fn stop(self) {
        self.tasks.drain(Duration::from_secs(5)).await;
    }
}

pub(crate) fn section(address: SocketAddr, more: &str) -> String {
    format!("[[plugins]]\nname = \"p\"\naddress = \"http://{address}\"\n{more}\n")
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, mind: Arc<Mind>, tasks: Tasks) {
    let stop = tasks.stop_token();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        let (stop, mind, tls) = (stop.clone(), Arc::clone(&mind), tls.clone());
        tasks.spawn("plugin connection", async move {
            let serving = async {
                match tls {
                    None => serve(stream, mind).await,
                    Some(tls) => {
                        // Whoever does not believe our certificate hangs up.
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, mind).await;
                        }
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = serving => {}
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, mind: Arc<Mind>) {
    let builder = http2::Builder::new(TokioExecutor::new());
    // However it ends.
    let _ended = builder
        .serve_connection(TokioIo::new(stream), Calls(mind))
        .await;
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mind = Arc::clone(&self.0);
        Box::pin(async move {
            let note = |told: Told| {
                mind.told.try_send(told).unwrap();
                Some(Unused::default())
            };
            Ok(match request.uri().path() {
                "/pbx.Plugin/FireHose" => {
                    let judge = Arc::clone(&mind.judge.lock());
                    unary(request, move |it| judge(it)).await
                }
                "/pbx.Plugin/Find" => {
                    let finder = Arc::clone(&mind.finder.lock());
                    unary(request, move |it| Some(finder(it))).await
                }
                "/pbx.Plugin/Account" => unary(request, |it| note(Told::Account(it))).await,
                "/pbx.Plugin/Topic" => unary(request, |it| note(Told::Topic(it))).await,
                "/pbx.Plugin/Subscription" => {
                    unary(request, |it| note(Told::Subscription(it))).await
                }
                "/pbx.Plugin/Message" => unary(request, |it| note(Told::Message(it))).await,
                path => Status::unimplemented(path).into_http(),
            })
        })
    }
}

struct Unary<F>(F);

impl<Q, A, F> UnaryService<Q> for Unary<F>
where
    A: Send + 'static,
    F: FnMut(Q) -> Option<A>,
{
    type Response = A;
    type Future = BoxFuture<'static, Result<tonic::Response<A>, Status>>;

    fn call(&mut self, request: tonic::Request<Q>) -> Self::Future {
        let answer = (self.0)(request.into_inner());
        Box::pin(async move {
            match answer {
                Some(answer) => Ok(tonic::Response::new(answer)),
                None => std::future::pending().await,
            }
        })
    }
}

async fn unary<Q, A>(
    request: Request<Incoming>,
    answer: impl FnMut(Q) -> Option<A>,
) -> Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + Default + 'static,
{
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
    grpc.unary(Unary(answer), request).await
}
