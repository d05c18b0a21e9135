//! A peer that proves its domain properly and then fails in the way a test wants.

use std::{net::SocketAddr, sync::Arc};

use freehold_keys::spki_hash;
use freehold_proto::{wire, wire::read_file_response::Part};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::{Request, Response, Status};

use super::{stranger::ourselves, support::Keys};
use crate::{
    Tasks,
    hello::{Channel, Ourselves},
    link::Spawner,
    stubs::peer_server::{self, PeerServer},
    tls::{self, Tls},
};

/// How the peer fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failing {
    /// On every batch that holds the item at this position.
    On(u64),
    /// Answers hello with the proof of another connection.
    Proof,
    /// Answers with these parts of a file, whatever was asked for, and then ends or says no more.
    Files(fn() -> Vec<Part>, End),
}

/// How a file ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Ends,
    Hangs,
}

/// What the peer has decided, by position.
pub(super) type Decided = Arc<Mutex<Vec<u64>>>;

struct Fake {
    ours: Arc<Ourselves>,
    channel: Channel,
    failing: Failing,
    decided: Decided,
}

/// Serves such a peer until `tasks` stop.
pub(super) async fn serve(keys: &Keys, failing: Failing, tasks: &Tasks) -> (SocketAddr, Decided) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls::new(keys.ring.tls_identity().unwrap()).unwrap();
    let (ours, decided) = (Arc::new(ourselves(keys)), Decided::default());
    let (taken, spawner, stopped) = (decided.clone(), Spawner(tasks.clone()), tasks.stopped());
    let accept = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = TlsAcceptor::from(tls.server()).accept(stream).await else {
                continue;
            };
            let connection = stream.get_ref().1;
            let certificate = connection.peer_certificates().and_then(|it| it.first());
            let fake = Fake {
                ours: Arc::clone(&ours),
                channel: Channel {
                    exporter: tls::exporter(connection).unwrap(),
                    tls_key_hash: certificate.and_then(spki_hash).unwrap(),
                },
                failing,
                decided: taken.clone(),
            };
            let service = hyper_util::service::TowerToHyperService::new(PeerServer::new(fake));
            let serving = hyper::server::conn::http2::Builder::new(spawner.clone())
                .serve_connection(TokioIo::new(stream), service);
            spawner.0.spawn("fake", async move { drop(serving.await) });
        }
    };
    tasks.spawn("fakes", async move {
        tokio::select! {
            () = accept => {}
            () = stopped => {}
        }
    });
    (address, decided)
}

#[tonic::async_trait]
impl peer_server::Peer for Fake {
    async fn hello(
        &self,
        request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        let from = request.into_inner().from.parse().unwrap();
        let mut channel = self.channel;
        if let Failing::Proof = self.failing {
            channel.exporter[0] ^= 1;
        }
        let accepted = self.ours.answer(&from, &channel, Default::default());
        Ok(Response::new(wire::HelloResponse {
            outcome: Some(wire::hello_response::Outcome::Accepted(accepted)),
        }))
    }

    async fn deliver(
        &self,
        request: Request<wire::DeliverRequest>,
    ) -> Result<Response<wire::DeliverResponse>, Status> {
        let items = request.into_inner().items;
        let positions: Vec<u64> = items.iter().map(|it| it.position).collect();
        if let Failing::On(poison) = self.failing
            && positions.contains(&poison)
        {
            return Err(Status::internal("it hurts"));
        }
        let ok = wire::Result {
            verdict: Some(wire::result::Verdict::Ok(wire::Ok {})),
        };
        let results = positions.iter().map(|_| ok.clone()).collect();
        self.decided.lock().extend(&positions);
        Ok(Response::new(wire::DeliverResponse {
            decided: positions.last().copied().unwrap_or_default(),
            results,
        }))
    }

    async fn signal(
        &self,
        _: Request<wire::SignalRequest>,
    ) -> Result<Response<wire::SignalResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn find(
        &self,
        _: Request<wire::FindRequest>,
    ) -> Result<Response<wire::FindResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn read_group(
        &self,
        _: Request<wire::ReadGroupRequest>,
    ) -> Result<Response<wire::ReadGroupResponse>, Status> {
        Err(Status::unimplemented("not here"))
    }

    type ReadFileStream = BoxStream<'static, Result<wire::ReadFileResponse, Status>>;

    async fn read_file(
        &self,
        _: Request<wire::ReadFileRequest>,
    ) -> Result<Response<Self::ReadFileStream>, Status> {
        let Failing::Files(parts, end) = self.failing else {
            return Err(Status::unimplemented("not here"));
        };
        let parts = parts().into_iter();
        let parts = parts.map(|it| Ok(wire::ReadFileResponse { part: Some(it) }));
        let parts = stream::iter(parts);
        Ok(Response::new(match end {
            End::Ends => parts.boxed(),
            End::Hangs => parts.chain(stream::pending()).boxed(),
        }))
    }
}
