//! The relay for pushes: a domain signs what a device of its people is to have, the node holds the
//! credentials of the services that reach devices. It keeps nothing, and reads nothing of what is encrypted
//! (PROTOCOL.md section 13.3).

mod alert;
mod apns;
mod fcm;
pub(super) mod http;
mod jwt;
mod places;
mod replays;
mod web;

use std::{
    convert::Infallible, future::pending, net::Ipv6Addr, path::PathBuf, sync::Arc, time::Duration,
};

use freehold_keys::{PushFault, SignedPush};
use freehold_proto::{Clock, DomainName, PushTarget, WebUrl};
use rustls::ClientConfig;
use tokio::time::timeout;

use self::{
    apns::Apns,
    fcm::Fcm,
    places::Places,
    replays::{Replays, Taken},
    web::Web,
};
use super::{
    Node,
    answers::{self, Located},
    metrics::PushKind,
};
use crate::{Directory, DirectoryError, Limiter, Over, Rate, well_known};

/// Time for a service to take one.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// When to ask again if this node is busy; pushes are on their way for no longer than twice that.
const BUSY_REST: Duration = Duration::from_secs(5);
/// When to ask again if nobody says when.
const REST: Duration = Duration::from_secs(30);
/// The longest wait that is passed on: who asked keeps the push no longer.
const REST_MAX: Duration = Duration::from_secs(60 * 60);
/// Longest answer of a service, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// What an operator decides about relaying pushes. Values are checked before they come here.
#[derive(Clone, Debug)]
pub struct PushConfig {
    /// Host, and port unless it goes without saying, under which domains reach the node.
    pub name: String,
    /// What it takes for Web Push and UnifiedPush.
    pub vapid: Option<VapidConfig>,
    /// What it takes for Google's service.
    pub fcm: Option<FcmConfig>,
    /// What it takes for Apple's service.
    pub apns: Option<ApnsConfig>,
    /// How many pushes may come from one network; without it, any number.
    pub from_network: Option<Rate>,
    /// How many one domain may send.
    pub from_domain: Option<Rate>,
}

/// How push services know a node.
#[derive(Clone, Debug)]
pub struct VapidConfig {
    /// The file with its key.
    pub key: PathBuf,
    /// Whom they turn to when something is wrong: `mailto:` or `https:`.
    pub subject: String,
}

/// How Google's service knows a node.
#[derive(Clone, Debug)]
pub struct FcmConfig {
    /// The file with the service account.
    pub account: PathBuf,
    /// Where the service is.
    pub url: WebUrl,
}

/// How Apple's service knows a node.
#[derive(Clone, Debug)]
pub struct ApnsConfig {
    /// The file with its key.
    pub key: PathBuf,
    /// The name of the key.
    pub key_id: String,
    /// Whose it is.
    pub team_id: String,
    /// The app.
    pub topic: String,
    /// Where the service is.
    pub url: WebUrl,
}

/// A relay.
pub(super) struct Push {
    name: String,
    web: Option<Web>,
    fcm: Option<Fcm>,
    apns: Option<Apns>,
    tls: Arc<ClientConfig>,
    networks: Limiter<Ipv6Addr>,
    domains: Limiter<DomainName>,
    replays: Replays,
    places: Places,
}

/// Why a push was not handed on.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
enum Unsent {
    /// It can never be: whoever made it is at fault.
    #[error("{0}")]
    Unacceptable(String),
    /// Nobody knows that this domain asks for it.
    #[error("{0}")]
    NotBelieved(String),
    /// There is no such device any more.
    #[error("there is no such device any more")]
    Gone,
    /// More than may come.
    #[error("too many pushes at once")]
    TooMuch(Over),
    /// The service of the device does not take it, and will not.
    #[error("{0}")]
    Refused(String),
    /// More than this node can do now.
    #[error("{0}")]
    Busy(&'static str),
    /// It cannot be handed on now.
    #[error("{why}")]
    Later {
        /// For how long not.
        wait: Duration,
        /// What is in the way.
        why: String,
    },
}

impl Unsent {
    fn later(why: String, wait: Option<Duration>) -> Self {
        let wait = wait.unwrap_or(REST).min(REST_MAX);
        Self::Later { wait, why }
    }
}

impl Push {
    pub(super) fn new(
        config: &PushConfig,
        discovery: &crate::Config,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, DirectoryError> {
        let web = config.vapid.as_ref().map(Web::new).transpose()?;
        Ok(Self {
            name: config.name.clone(),
            web,
            fcm: config.fcm.as_ref().map(Fcm::new).transpose()?,
            apns: config.apns.as_ref().map(Apns::new).transpose()?,
            tls: tls(discovery)?,
            networks: Limiter::new(config.from_network, clock),
            domains: Limiter::new(config.from_domain, clock),
            replays: Replays::default(),
            places: Places::default(),
        })
    }

    fn kinds(&self) -> Vec<&'static str> {
        let kinds = [
            ("web", self.web.is_some()),
            ("fcm", self.fcm.is_some()),
            ("apns", self.apns.is_some()),
        ];
        let kinds = kinds.into_iter().filter(|it| it.1);
        kinds.map(|it| it.0).collect()
    }

    fn vapid(&self) -> Option<String> {
        self.web.as_ref().map(Web::public_key)
    }

    /// Has a connection to the service that wants one kept. Does not return.
    pub(super) async fn work(&self, directory: &Directory) -> Infallible {
        match &self.apns {
            Some(apns) => apns.work(directory, &self.tls).await,
            None => pending().await,
        }
    }

    /// Forgets what does not count any more.
    pub(super) fn sweep(&self, now: Duration) {
        self.networks.sweep();
        self.domains.sweep();
        self.replays.sweep(now);
    }
}

/// A new key for Web Push: the text of its file, and what browsers know it by. `None` without randomness.
#[must_use]
pub fn new_vapid_key() -> Option<(String, String)> {
    jwt::new_key()
}

/// Push services are older than TLS 1.3.
fn tls(discovery: &crate::Config) -> Result<Arc<ClientConfig>, DirectoryError> {
    let roots = well_known::authorities(discovery.well_known_ca.as_deref())?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| DirectoryError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Hands on what is asked for, if the domain that is named has asked for it.
async fn relay(node: &Node, push: &Push, asker: Ipv6Addr, body: &[u8]) -> Result<(), Unsent> {
    let signed = SignedPush::read(body).map_err(|it| Unsent::Unacceptable(it.to_string()))?;
    let kind = kind_of(&signed.request().draft.target);
    let sent = match admit(node, push, asker, &signed).await {
        Ok(()) => send(node, push, &signed).await,
        Err(unsent) => Err(unsent),
    };
    node.metrics.pushed(kind, outcome(&sent));
    sent
}

/// What costs least is looked at first; nothing is remembered of what the domain has not signed.
async fn admit(
    node: &Node,
    push: &Push,
    asker: Ipv6Addr,
    signed: &SignedPush,
) -> Result<(), Unsent> {
    let (request, now) = (signed.request(), node.clock.now());
    let not_believed = |fault: PushFault| Unsent::NotBelieved(fault.to_string());
    signed.is_for(&push.name, now).map_err(not_believed)?;
    let look = node.look(&request.domain, asker).await;
    let look = look.map_err(Unsent::TooMuch)?;
    if answers::is_busy(&look) {
        return Err(Unsent::Busy("this node looks up too many domains now"));
    }
    let Ok(record) = &look.seen.record else {
        let why = format!("no record of {} can be seen from here", request.domain);
        return Err(Unsent::later(why, None));
    };
    if !answers::is_vouched_for(&Located::of(&look).anchors) {
        return Err(Unsent::NotBelieved(format!(
            "as seen from here, neither DNS nor a web server vouches for the record of {}, or one of them names another key",
            request.domain
        )));
    }
    signed.is_from(record).map_err(|fault| match fault {
        // The domain may have changed its keys since this node has looked.
        PushFault::UnknownKey if now < look.until => {
            let wait = look.until.since(now);
            let why = format!("{fault} in the record that this node knows; it looks again then");
            Unsent::later(why, Some(wait))
        }
        fault => not_believed(fault),
    })?;
    let domains = &push.domains;
    domains.take(&request.domain).map_err(Unsent::TooMuch)?;
    let until = node.clock.elapsed() + request.expires.since(now);
    match push
        .replays
        .take(&request.domain, request.draft.nonce, until)
    {
        Taken::New => Ok(()),
        Taken::Before => Err(Unsent::NotBelieved("the request came before".to_owned())),
        Taken::Full => Err(Unsent::Busy("this node remembers too many requests now")),
    }
}

async fn send(node: &Node, push: &Push, signed: &SignedPush) -> Result<(), Unsent> {
    let request = signed.request();
    let Some(_place) = push.places.take(&request.domain, &request.draft.target) else {
        return Err(Unsent::Busy("too many pushes are on their way now"));
    };
    let draft = &request.draft;
    let sent = async {
        match &draft.target {
            PushTarget::Web {
                endpoint,
                body,
                encrypted,
            } => {
                let web = push.web.as_ref().ok_or_else(|| not_relayed("Web Push"))?;
                let (directory, what) = (&node.directory, (endpoint, body, *encrypted));
                web.send(directory, &push.tls, draft, what, node.clock.now())
                    .await
            }
            PushTarget::Fcm(token) => {
                let fcm = push.fcm.as_ref();
                let fcm = fcm.ok_or_else(|| not_relayed("pushes to Google's service"))?;
                let directory = &node.directory;
                fcm.send(directory, &push.tls, draft, token, &*node.clock)
                    .await
            }
            PushTarget::Apns(token) => {
                let apns = push.apns.as_ref();
                let apns = apns.ok_or_else(|| not_relayed("pushes to Apple's service"))?;
                apns.send(draft, token, &*node.clock).await
            }
        }
    };
    match timeout(SENT_WITHIN, sent).await {
        Ok(sent) => sent,
        Err(_) => Err(Unsent::later(
            "the push service takes too long".to_owned(),
            None,
        )),
    }
}

fn not_relayed(what: &str) -> Unsent {
    Unsent::Unacceptable(format!("this node does not relay {what}"))
}

fn kind_of(target: &PushTarget) -> PushKind {
    match target {
        PushTarget::Web { .. } => PushKind::Web,
        PushTarget::Fcm(_) => PushKind::Fcm,
        PushTarget::Apns(_) => PushKind::Apns,
    }
}

fn outcome(sent: &Result<(), Unsent>) -> super::metrics::PushOutcome {
    use super::metrics::PushOutcome;
    match sent {
        Ok(()) => PushOutcome::Sent,
        Err(Unsent::Gone) => PushOutcome::Gone,
        Err(Unsent::Unacceptable(_) | Unsent::NotBelieved(_)) => PushOutcome::NotTaken,
        Err(Unsent::TooMuch(_) | Unsent::Busy(_)) => PushOutcome::HeldBack,
        Err(Unsent::Later { .. }) => PushOutcome::Later,
        Err(Unsent::Refused(_)) => PushOutcome::Refused,
    }
}
