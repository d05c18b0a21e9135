//! One listener for the clients of several domains. Whom a request is for says its `Host`;
//! where there is TLS, the name that the client asked for (SNI) has said it before.

use std::{
    collections::HashMap, convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    http::{Request, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use freehold_federation::Tasks;
use futures_util::future::BoxFuture;
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tracing::{Instrument as _, Span, debug, warn};

use super::{
    http::{ClientAddress, Place, router, speak},
    tls::{self, Certificate, Speaks},
};
use crate::server::Server;

/// Client connections at once, of all domains together; as many as one domain by itself has by default.
const CONNECTIONS_MAX: usize = 200_000;
/// Pause after the system refused us a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The domains behind a front, by the host names that lead to them. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Front(Arc<RwLock<HashMap<String, Led>>>);

/// Where a name leads.
#[derive(Clone, Debug)]
struct Led {
    app: Router,
    span: Span,
    certificate: Option<Arc<Certificate>>,
}

/// A domain and those that are behind a front already cannot share it. The operator's to mend.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Disagreement {
    /// It has no certificate.
    #[error(
        "it has no certificate (clients.tls_certificate), and the other domains here do: with them its clients connect over TLS"
    )]
    NoCertificate,
    /// It alone has one.
    #[error(
        "it has a certificate (clients.tls_certificate), and the other domains here do not: with them its clients connect without TLS"
    )]
    Certificate,
}

impl Front {
    /// Requests for these names go to a domain from now on. What another domain has already stays there,
    /// and comes back.
    pub(crate) fn join(
        &self,
        server: &Arc<Server>,
        web_root: Option<PathBuf>,
        names: &[String],
    ) -> Vec<String> {
        let certificate = server.certificate.clone();
        let app = router(Arc::clone(server), web_root);
        let mut all = self.0.write();
        let (taken, free): (Vec<_>, Vec<_>) = names
            .iter()
            .map(|it| it.to_ascii_lowercase())
            .partition(|it| all.contains_key(it));
        let led = Led {
            app,
            // What is said in the log of a request says of which domain.
            span: Span::current(),
            certificate,
        };
        all.extend(free.into_iter().map(|it| (it, led.clone())));
        taken
    }

    /// Requests for these names go nowhere any more.
    pub fn leave(&self, names: &[String]) {
        let mut all = self.0.write();
        for name in names {
            all.remove(&name.to_ascii_lowercase());
        }
    }

    /// Whether a domain can come behind it: all have a certificate, or none has.
    pub fn admits(&self, secure: bool) -> Result<(), Disagreement> {
        let all = self.0.read();
        let others = all.values().next().map(|it| it.certificate.is_some());
        match (secure, others) {
            (false, Some(true)) => Err(Disagreement::NoCertificate),
            (true, Some(false)) => Err(Disagreement::Certificate),
            _ => Ok(()),
        }
    }

    fn is_secure(&self) -> bool {
        self.0.read().values().any(|it| it.certificate.is_some())
    }

    /// What is shown to a client that asks for this name: its domain's certificate. Where there is one
    /// domain only, it is that one's whatever the client asks for.
    fn certificate(&self, name: Option<&str>) -> Option<Arc<Certificate>> {
        let all = self.0.read();
        if let Some(led) = name.and_then(|it| all.get(&it.to_ascii_lowercase())) {
            return led.certificate.clone();
        }
        let mut certificates = all.values().map(|it| it.certificate.as_ref());
        let first = certificates.next()??;
        let alone = certificates.all(|it| it.is_some_and(|it| Arc::ptr_eq(it, first)));
        alone.then(|| Arc::clone(first))
    }

    /// Where a request leads. Not to another domain than that whose certificate the client has seen.
    fn of(&self, request: &Request<Incoming>, shown: Option<&Arc<Certificate>>) -> Option<Led> {
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        let name = host.rsplit_once(':').map_or(host, |(name, port)| {
            let number = !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit());
            if number { name } else { host }
        });
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let led = self.0.read().get(&name).cloned()?;
        let same = match (shown, &led.certificate) {
            (Some(shown), Some(its)) => Arc::ptr_eq(shown, its),
            (None, None) => true,
            _ => false,
        };
        same.then_some(led)
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
    if !front.is_secure() {
        let service = service(front, None, (address, place));
        return speak(stream, &tasks, address, service_fn(service)).await;
    }
    let choose = |name: Option<&str>| front.certificate(name);
    match tls::accept(stream, Speaks::Web, &tasks, choose).await {
        Ok((stream, shown)) => {
            let service = service(front, Some(shown), (address, place));
            Box::pin(speak(stream, &tasks, address, service_fn(service))).await;
        }
        Err(fault) => debug!(%fault, %address, "a client did not shake hands"),
    }
}

/// Answers requests for the domains behind a front; where a certificate was shown, for its domain only.
fn service(
    front: Front,
    shown: Option<Arc<Certificate>>,
    (address, place): (SocketAddr, Place),
) -> impl Fn(Request<Incoming>) -> BoxFuture<'static, Result<Response, Infallible>> {
    move |mut request| {
        request.extensions_mut().insert(ClientAddress(address.ip()));
        request.extensions_mut().insert(place.clone());
        let led = front.of(&request, shown.as_ref());
        Box::pin(async move {
            Ok(match led {
                Some(Led { app, span, .. }) => {
                    let answer = TowerToHyperService::new(app).call(request);
                    answer.instrument(span).await?
                }
                None => nobody(),
            })
        })
    }
}

fn nobody() -> Response {
    let text = "No domain of that name is served here.\n";
    // A connection from before the domain was served anew finds it on a new one.
    let close = [(header::CONNECTION, "close")];
    (StatusCode::MISDIRECTED_REQUEST, close, text).into_response()
}
