//! What the operator does about other domains: how they stand, who vouches for them, whether they are
//! dealt with at all.

use std::{collections::BTreeMap, sync::Arc};

use freehold_directory::{AnchorLevel, Directory, Pin, PinError, Pins as _, ResolveError};
use freehold_federation::{LinkReport, Policy};
use freehold_keys::{VerifiedRecord, fingerprint_from_text, fingerprint_to_text};
use freehold_proto::{DomainName, KeyId};
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{
        peers::{drop_peer_policy, put_peer_policy},
        rows::PeerPolicyRow,
    },
};
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::{
    accounts::{AccountError, admin::OPERATOR},
    peers::pins::StoredPins,
    server::Server,
};

/// Rows read in one go.
const PAGE: usize = 500;
/// Domains that the operator can allow or deny by hand.
const POLICIES_MAX: usize = 100_000;

/// What the operator wants.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub enum PeerCommand {
    /// How all domains stand that were ever met, vouched for, allowed or denied.
    List,
    /// How one stands; it is looked up if it has not been met.
    Show(String),
    /// The operator vouches for a root key by its fingerprint.
    Pin(String, String),
    /// It is dealt with, where only listed domains are.
    Allow(String),
    /// It is not dealt with, and no domain below it.
    Deny(String),
    /// It is as if it had never been met, and neither allowed nor denied by hand.
    Forget(String),
}

/// How a peer stands.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PeerReport {
    /// Which.
    pub domain: String,
    /// Fingerprint of its root key, and who vouches for it; empty if it has not been met.
    pub root: String,
    /// In words.
    pub anchor: String,
    /// Which life of its name it is in.
    pub incarnation: u32,
    /// Number of its identity record; 0 without one.
    pub serial: u64,
    /// Until when the record counts without being confirmed again; empty without one.
    pub fresh_until: String,
    /// Its keys for messages and connections, in words.
    pub keys: Vec<String>,
    /// The record, as it came; empty without one.
    pub record: Vec<u8>,
    /// Another root key that is being watched, in words; empty without one.
    pub hold: String,
    /// Why its identity is disputed; empty if it is not.
    pub dispute: String,
    /// Whether it is dealt with.
    pub permitted: bool,
    /// By hand: "allowed", "denied", or empty.
    pub by_hand: String,
    /// The link to it, in words; empty while the domain does not serve.
    pub link: String,
}

/// Why a command about peers was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerFault {
    /// The operator's to mend.
    #[error("{0}")]
    Typed(String),
    /// Nothing is known of it.
    #[error("{0} has never been met, and nothing was decided about it")]
    Unknown(DomainName),
    /// The peer cannot be found or believed.
    #[error("{0}")]
    Resolve(#[from] ResolveError),
    /// Our store.
    #[error("the store cannot be used: {0}")]
    Store(#[from] StoreError),
    /// Our store.
    #[error(transparent)]
    Pins(#[from] PinError),
    /// It cannot be noted who did it.
    #[error(transparent)]
    Trail(#[from] AccountError),
}

/// Where the operator's word about peers is carried out.
#[derive(Debug)]
pub struct PeerDesk {
    server: Arc<Server>,
    directory: Arc<Directory>,
    /// As the configuration says.
    configured: Policy,
}

impl PeerDesk {
    /// A desk in a domain.
    pub(crate) fn new(server: Arc<Server>, directory: Arc<Directory>, configured: Policy) -> Self {
        Self {
            server,
            directory,
            configured,
        }
    }

    /// Carries a command out; says how the peers concerned stand then.
    pub async fn carry_out(&self, command: PeerCommand) -> Result<Vec<PeerReport>, PeerFault> {
        match command {
            PeerCommand::List => self.list().await,
            PeerCommand::Show(name) => self.show(&typed(&name)?).await,
            PeerCommand::Pin(name, root) => self.pin(&typed(&name)?, &root).await,
            PeerCommand::Allow(name) => {
                let row = PeerPolicyRow {
                    allowed: true,
                    denied: false,
                };
                self.decide(&typed(&name)?, Some(row), "peer allowed").await
            }
            PeerCommand::Deny(name) => {
                let row = PeerPolicyRow {
                    allowed: false,
                    denied: true,
                };
                self.decide(&typed(&name)?, Some(row), "peer denied").await
            }
            PeerCommand::Forget(name) => {
                let name = typed(&name)?;
                self.directory.forget(&name).await?;
                if let Some(federation) = self.server.federation.get() {
                    federation.drop_link(&name);
                }
                self.decide(&name, None, "peer forgotten").await
            }
        }
    }

    /// The policy that holds: what the configuration says, and what was decided by hand.
    pub(crate) async fn policy(&self) -> Result<Policy, StoreError> {
        let decided = self.decided().await?;
        let named = |which: fn(&PeerPolicyRow) -> bool| -> Vec<DomainName> {
            let rows = decided.iter().filter(|(_, row)| which(row));
            rows.map(|(peer, _)| peer.clone()).collect()
        };
        let (allowed, denied) = (named(|it| it.allowed), named(|it| it.denied));
        Ok(self.configured.with(&allowed, &denied))
    }

    async fn decided(&self) -> Result<BTreeMap<DomainName, PeerPolicyRow>, StoreError> {
        let read = |tables: &Tables| tables.peer_policies(None, POLICIES_MAX);
        Ok(self.server.tables.read(read).await?.into_iter().collect())
    }

    async fn decide(
        &self,
        peer: &DomainName,
        row: Option<PeerPolicyRow>,
        what: &str,
    ) -> Result<Vec<PeerReport>, PeerFault> {
        let mut batch = Batch::new();
        match row {
            Some(row) => put_peer_policy(&mut batch, peer, &row),
            None => drop_peer_policy(&mut batch, peer),
        }
        let trail = format!("{what}: {peer}");
        self.server.audit(&mut batch, OPERATOR, None, &trail)?;
        // A batch without guards is applied.
        let _applied = self.server.tables.commit(batch).await?;
        let policy = self.policy().await?;
        if let Some(federation) = self.server.federation.get() {
            federation.set_policy(&policy);
            federation.wake(peer);
        }
        info!(%peer, "{what}, by the operator");
        self.reports(vec![peer.clone()]).await
    }

    async fn pin(&self, peer: &DomainName, root: &str) -> Result<Vec<PeerReport>, PeerFault> {
        let wrong =
            "a fingerprint is 43 characters of base64url, as `freehold keys show` prints it";
        let root =
            fingerprint_from_text(root.trim()).ok_or_else(|| PeerFault::Typed(wrong.to_owned()))?;
        let mut batch = Batch::new();
        let trail = format!("peer pinned: {peer}");
        self.server.audit(&mut batch, OPERATOR, None, &trail)?;
        let _applied = self.server.tables.commit(batch).await?;
        if self.directory.disagrees_with_table(peer, &root) {
            let why = "the configuration has a row [[federation.peer]] for it that names another key: change that row and start the server anew";
            return Err(PeerFault::Typed(why.to_owned()));
        }
        self.directory.vouch(peer, root).await?;
        if let Some(federation) = self.server.federation.get() {
            federation.drop_link(peer);
        }
        info!(%peer, "the operator vouches for a root key");
        self.reports(vec![peer.clone()]).await
    }

    async fn show(&self, peer: &DomainName) -> Result<Vec<PeerReport>, PeerFault> {
        let reports = self.reports(vec![peer.clone()]).await?;
        let known = reports.iter().any(|it| it.serial > 0);
        if known || self.server.federation.get().is_none() {
            let unknown = || PeerFault::Unknown(peer.clone());
            return (!reports.is_empty()).then_some(reports).ok_or_else(unknown);
        }
        self.directory.peer(peer).await?;
        self.reports(vec![peer.clone()]).await
    }

    async fn list(&self) -> Result<Vec<PeerReport>, PeerFault> {
        let mut names: Vec<DomainName> = self.decided().await?.into_keys().collect();
        let pins = StoredPins::new(self.server.tables.clone(), Arc::clone(&self.server.lives));
        let mut after = None;
        loop {
            let page = pins.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                break;
            };
            after = Some(last.domain.clone());
            names.extend(page.into_iter().map(|it| it.domain));
        }
        names.sort();
        names.dedup();
        let mut reports = self.reports(names).await?;
        // A list is for reading; with all records in it, it would be too long for one line.
        for report in &mut reports {
            report.record.clear();
        }
        Ok(reports)
    }

    async fn reports(&self, names: Vec<DomainName>) -> Result<Vec<PeerReport>, PeerFault> {
        let (decided, policy) = (self.decided().await?, self.policy().await?);
        let pins = StoredPins::new(self.server.tables.clone(), Arc::clone(&self.server.lives));
        let links = self.server.federation.get().map(|it| it.links());
        let mut reports = Vec::new();
        for name in names {
            let (pin, row) = (pins.load(&name).await?, decided.get(&name));
            if pin.is_none() && row.is_none() {
                continue;
            }
            let mut report = pin.map(described).unwrap_or_default();
            report.permitted = policy.permits(&name);
            report.by_hand = by_hand(row).to_owned();
            report.dispute = self.directory.dispute(&name).unwrap_or_default();
            if let Some(links) = &links {
                let link = links.iter().find(|it| it.peer == name);
                report.link = link.map_or("none is needed now".to_owned(), in_words);
            }
            report.domain = name.to_string();
            reports.push(report);
        }
        Ok(reports)
    }
}

fn typed(name: &str) -> Result<DomainName, PeerFault> {
    DomainName::from_typed(name).map_err(|fault| PeerFault::Typed(fault.to_string()))
}

fn by_hand(row: Option<&PeerPolicyRow>) -> &'static str {
    match row {
        Some(row) if row.denied => "denied",
        Some(row) if row.allowed => "allowed",
        _ => "",
    }
}

fn in_words(link: &LinkReport) -> String {
    match (&link.last_error, link.failing_for) {
        (Some(error), Some(time)) => {
            format!("has failed for {} s: {error}", time.as_secs())
        }
        _ => format!("{:?}", link.state).to_lowercase(),
    }
}

/// What a pin says.
fn described(pin: Pin) -> PeerReport {
    let mut report = PeerReport {
        incarnation: pin.life.incarnation,
        ..PeerReport::default()
    };
    if let Some(hold) = pin.hold {
        let other = fingerprint_to_text(&hold.fingerprint);
        report.hold = format!("{other}, since {}, last seen {}", hold.since, hold.seen);
    }
    if pin.record.is_empty() && pin.anchor == AnchorLevel::FirstUse {
        return report;
    }
    report.root = fingerprint_to_text(&pin.root_fingerprint);
    report.anchor = pin.anchor.to_string();
    let read = VerifiedRecord::verify_stored(&pin.record, &pin.domain, &pin.root_fingerprint);
    if let Ok(found) = read {
        let record = found.record();
        report.serial = record.serial;
        let fresh = found.freshness().map(|it| it.statement().expires);
        report.fresh_until = fresh.map(|it| it.to_string()).unwrap_or_default();
        let signing = record.signing_keys.iter().map(|key| {
            let id = KeyId::of(&key.public_key);
            let state = if record.is_revoked(id) {
                ", revoked"
            } else {
                ""
            };
            format!(
                "signing {id}, {} to {}{state}",
                key.valid_from, key.valid_until
            )
        });
        let tls = record.tls_key_hashes.iter();
        let tls = tls.map(|hash| format!("TLS {}", fingerprint_to_text(hash)));
        report.keys = signing.chain(tls).collect();
        report.record = pin.record;
    }
    report
}
