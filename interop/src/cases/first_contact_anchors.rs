//! Who is believed about a domain that nobody here has met (F01).

use std::time::Duration;

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use hickory_server::proto::rr::{RData, rdata::TXT};
use tempfile::TempDir;

use super::{Case, Need};
use crate::{Authority, DnsServer, Failure, Result, ScriptedPeer, Shown, Stage, failure::expect};

const STOP_WITHIN: Duration = Duration::from_secs(15);
/// A port on which nobody listens.
const NOBODY: u16 = 1;
const ALARM: &str = "ALARM: the identity of a peer is disputed";
const CLOSED: &str = "nobody else is trusted here";
const UNSIGNED: &str = "only an unsigned TXT record names it";
const NO_TXT: &str = "it has no _freehold TXT record";
const OTHER_ROOT: &str = "the root key's fingerprint is";
const DISAGREE: &str = "name";

pub(super) const CASE: Case = Case {
    ids: "F01",
    name: "first_contact_anchors",
    proves: "a domain never met is believed by the word of the administrator, DNSSEC, its web server, a TXT record or the first contact, each where the configuration lets it count; without a voice that counts, or where it names another key, it is refused, when it calls and when it is called",
    domains: &["alpha.test"],
    needs: &[Need::Starting, Need::Operator],
    within: Duration::from_secs(300),
    play,
};

/// Which root key somebody names.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Names {
    #[default]
    None,
    Right,
    Wrong,
    Both,
}
use Names::{Both, Right, Wrong};

/// What is said of the domain, and what must come of it.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    trust: &'static str,
    /// A row of the configuration.
    table: Names,
    /// `freehold peer pin`.
    by_hand: Names,
    /// What a validating resolver says, and whether it vouches for it.
    dnssec: Names,
    vouches: bool,
    txt: Names,
    web: Names,
    /// The web server's authority is not known here.
    unknown_authority: bool,
    /// Whose word counts, or why nobody's does.
    outcome: Outcome,
    alarmed: bool,
}

#[derive(Clone, Copy, Debug)]
enum Outcome {
    By(&'static str),
    Refused(&'static str),
}
use Outcome::{By, Refused};

impl Default for Outcome {
    fn default() -> Self {
        Refused("")
    }
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let pinned = Row { trust: "pinned", ..Row::default() };
    let verified = Row { trust: "verified", ..Row::default() };
    let dns = Row { trust: "dns", ..Row::default() };
    let lan = Row { trust: "lan", ..Row::default() };
    vec![
        Row { txt: Right, dnssec: Right, vouches: true, web: Right, outcome: Refused(CLOSED), ..pinned },
        Row { table: Right, txt: Wrong, outcome: By("the administrator"), ..pinned },
        Row { table: Wrong, outcome: Refused(OTHER_ROOT), ..pinned },
        Row { by_hand: Right, outcome: By("the administrator"), ..pinned },
        Row { by_hand: Wrong, txt: Right, outcome: Refused(OTHER_ROOT), ..dns },
        Row { txt: Right, outcome: Refused(UNSIGNED), ..verified },
        Row { outcome: Refused(NO_TXT), ..verified },
        Row { dnssec: Right, vouches: true, outcome: By("DNSSEC"), ..verified },
        Row { dnssec: Right, vouches: true, txt: Wrong, outcome: By("DNSSEC"), ..verified },
        Row { dnssec: Right, outcome: Refused(NO_TXT), ..verified },
        Row { dnssec: Wrong, vouches: true, web: Right, txt: Right, outcome: Refused(OTHER_ROOT), ..verified },
        Row { web: Right, outcome: By("its web server"), ..verified },
        Row { web: Right, unknown_authority: true, outcome: Refused(NO_TXT), ..verified },
        Row { web: Right, txt: Wrong, outcome: By("its web server"), alarmed: true, ..verified },
        Row { web: Wrong, txt: Right, outcome: Refused(OTHER_ROOT), ..verified },
        Row { txt: Right, outcome: By("a DNS TXT record"), ..dns },
        Row { txt: Wrong, outcome: Refused(OTHER_ROOT), ..dns },
        Row { txt: Both, outcome: Refused(DISAGREE), ..dns },
        Row { outcome: Refused(NO_TXT), ..dns },
        Row { dnssec: Wrong, vouches: true, txt: Right, outcome: Refused(OTHER_ROOT), ..dns },
        Row { outcome: By("the first contact"), ..lan },
        Row { txt: Right, outcome: By("a DNS TXT record"), ..lan },
        Row { txt: Wrong, outcome: Refused(OTHER_ROOT), ..lan },
    ]
}

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let folder = TempDir::new().map_err(|error| Failure::harness("make a folder", error))?;
        let peer = stage.network.stranger("stranger.test").await?;
        let other = ScriptedPeer::start("stranger.test", stage.network.free_ip()).await?;
        let authority = Authority::make(folder.path())?;
        let web = (peer.address().ip(), 0).into();
        let scene = Scene {
            web: Shown::web(web, peer.domain(), &authority, Vec::new()).await?,
            resolver: DnsServer::start().await?,
            peer,
            other,
            authority,
        };
        let rows = rows();
        let (mut believed, mut refused) = (0, 0);
        for row in &rows {
            match row.outcome {
                By(_) => believed += 1,
                Refused(_) => refused += 1,
            }
            scene.meets(stage, *row).await?;
        }
        stage.line.held(
            "alpha.test",
            format!("believes a stranger in {believed} settings, and refuses it in {refused}"),
        );
        Ok(())
    }
    .boxed_local()
}

/// A domain that nobody has met, another that would like to be it, and who speaks of them.
struct Scene {
    peer: ScriptedPeer,
    other: ScriptedPeer,
    resolver: DnsServer,
    web: Shown,
    authority: Authority,
}

impl Scene {
    /// The root keys somebody names.
    fn roots(&self, names: Names) -> Vec<String> {
        match names {
            Names::None => Vec::new(),
            Right => vec![self.peer.root()],
            Wrong => vec![self.other.root()],
            Both => vec![self.peer.root(), self.other.root()],
        }
    }

    fn names(&self, dns: &DnsServer, names: Names) -> Result<()> {
        let at = format!("_freehold.{}", self.peer.domain());
        dns.remove(&at)?;
        let texts = self.roots(names).into_iter();
        let texts = texts.map(|root| RData::TXT(TXT::new(vec![format!("v=fh1; root={root}")])));
        let texts: Vec<_> = texts.collect();
        if texts.is_empty() {
            return Ok(());
        }
        dns.set(&at, texts)
    }

    fn prepare(&self, stage: &mut Stage, row: Row) -> Result<()> {
        let alpha = stage.network.domain(0)?;
        self.names(alpha.dns(), row.txt)?;
        self.names(&self.resolver, row.dnssec)?;
        self.resolver.vouches(row.vouches);
        let shown = if row.web == Wrong {
            &self.other
        } else {
            &self.peer
        };
        self.web.shows(shown.fresh_record());
        row.trust.clone_into(&mut alpha.config.trust);
        let mut lines = Vec::new();
        if row.dnssec != Names::None {
            lines.push(format!("dnssec_resolver = \"{}\"", self.resolver.address()));
        }
        let port = match row.web {
            Names::None => NOBODY,
            _ => self.web.address().port(),
        };
        lines.push(format!("well_known_port = {port}"));
        if !row.unknown_authority {
            lines.push(format!("well_known_ca = {:?}", self.authority.file()));
        }
        for root in self.roots(row.table) {
            let name = self.peer.domain();
            lines.push(format!(
                "[[federation.peer]]\ndomain = \"{name}\"\nroot = \"{root}\""
            ));
        }
        alpha.config.federation_lines = lines;
        Ok(())
    }

    /// Alpha calls the stranger, and the stranger alpha.
    async fn meets(&self, stage: &mut Stage, row: Row) -> Result<()> {
        self.prepare(stage, row)?;
        let alpha = stage.network.domain(0)?;
        let already = alpha.said().len();
        alpha.start().await?;
        let name = self.peer.domain().to_string();
        for root in self.roots(row.by_hand) {
            alpha.order("peer pin", &[&name, &root]).await?;
        }
        let told = alpha.command("peer show", &[&name], "").await?;
        let called = self.peer.dial(alpha.name(), alpha.federation()).await;
        let known = alpha.knows(&name).await?;
        let told_by = crate::row(&known, "vouched for by").map(str::to_owned);
        let has_record = crate::row(&known, "record").is_some();
        let fits = match row.outcome {
            By(who) => told.done && called.is_ok() && told_by.as_deref() == Some(who),
            Refused(why) => {
                let said_so = told.said.contains(why) || row.by_hand != Names::None;
                said_so && called.is_err() && !has_record
            }
        };
        expect(fits, || {
            let called = called.map(drop);
            format!("{row:?}: {}; called: {called:?}; known: {known}", told.said)
        })?;
        let said = alpha.said();
        let alarms = said
            .get(already..)
            .unwrap_or_default()
            .matches(ALARM)
            .count();
        expect(!row.alarmed || alarms > 0, || {
            format!("{row:?}: the operator is not told that a weaker voice disagrees")
        })?;
        alpha.stop(STOP_WITHIN).await?;
        alpha.command("peer forget", &[&name], "").await?;
        Ok(())
    }
}
