//! One listener for the clients of several domains. Whom a request is for says its `Host`.

use std::{
    collections::HashMap, convert::Infallible, net::SocketAddr, path::PathBuf, pin::pin, sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    http::{Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use freehold_federation::Tasks;
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
use parking_lot::RwLock;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{Instrument as _, Span, debug, warn};

use super::{
    http::{ClientAddress, FAREWELL, Place, http1, router},
    websocket,
};
use crate::server::Server;

/// Client connections at once, of all domains together; as many as one domain by itself has by default.
const CONNECTIONS_MAX: usize = 200_000;
/// Pause after the system refused us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The domains behind a front, by the host names that lead to them. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Front(Arc<RwLock<HashMap<String, (Router, Span)>>>);

impl Front {
    /// Requests for these names go to a domain from now on. What another domain has already stays there,
    /// and comes back.
    pub(crate) fn join(
        &self,
        server: &Arc<Server>,
        web_root: Option<PathBuf>,
        names: &[String],
    ) -> Vec<String> {
        let app = router(Arc::clone(server), web_root);
        let mut all = self.0.write();
        let (taken, free): (Vec<_>, Vec<_>) = names
            .iter()
            .map(|it| it.to_ascii_lowercase())
            .partition(|it| all.contains_key(it));
        // What is said in the log of a request says of which domain.
        let span = Span::current();
        all.extend(free.into_iter().map(|it| (it, (app.clone(), span.clone()))));
        taken
    }

    /// Requests for these names go nowhere any more.
    pub fn leave(&self, names: &[String]) {
        let mut all = self.0.write();
        for name in names {
            all.remove(&name.to_ascii_lowercase());
        }
    }

    fn of(&self, request: &Request<Incoming>) -> Option<(Router, Span)> {
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            let number = !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
            if number { name } else { host }
        });
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        self.0.read().get(&name).cloned()
    }

    /// Serves clients until `tasks` stop.
    pub async fn serve(self, listener: TcpListener, tasks: Tasks) {
        let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                () = tasks.stopped() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    let from = (address, Place::new(permit));
                    let connection = connection(self.clone(), tasks.clone(), stream, from);
                    tasks.spawn("client", connection);
                }
                Err(fault) => {
                    warn!(%fault, "cannot accept a client");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn connection(
    front: Front,
    tasks: Tasks,
    stream: TcpStream,
    (address, place): (SocketAddr, Place),
) {
    if let Err(fault) = stream.set_nodelay(true) {
        debug!(%fault, %address, "a client left at once");
        return;
    }
    let mut http = auto::Builder::new(websocket::Spawner(tasks.clone())).http1_only();
    http1(&mut http);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ClientAddress(address.ip()));
        request.extensions_mut().insert(place.clone());
        let app = front.of(&request);
        async move {
            Ok::<Response, Infallible>(match app {
                Some((app, span)) => {
                    let answer = TowerToHyperService::new(app).call(request);
                    answer.instrument(span).await?
                }
                None => nobody(),
            })
        }
    });
    let mut serving = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = tasks.stopped() => {
            serving.as_mut().graceful_shutdown();
            timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
        }
    };
    if let Err(fault) = result {
        debug!(%fault, %address, "a client connection ended badly");
    }
}

fn nobody() -> Response {
    let text = "No domain of that name is served here.\n";
    (StatusCode::MISDIRECTED_REQUEST, text).into_response()
}
