//! Names that lead to addresses that are nobody else's business (F05).

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use hickory_server::proto::rr::{
    Name, RData,
    rdata::{SRV, TXT},
};
use tokio::{net::TcpListener, task::JoinSet, time::sleep};

use super::{Case, Need};
use crate::{Failure, Result, ScriptedPeer, Stage, failure::expect};

/// Time for a packet to come that must not.
const WHILE: Duration = Duration::from_secs(1);
const STOP_WITHIN: Duration = Duration::from_secs(15);

pub(super) const CASE: Case = Case {
    ids: "F05",
    name: "ssrf_targets",
    proves: "an address that is local, private or otherwise special, in any form, is never connected to, by SRV, without it, for a web server, on the word of who calls, or when DNS changes its mind; what the operator allows is",
    domains: &["alpha.test"],
    needs: &[Need::Starting, Need::Operator],
    within: Duration::from_secs(180),
    play,
};

/// Where names of strangers lead.
const FORBIDDEN: [&str; 24] = [
    "127.9.9.9",
    "127.1.0.1",
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.0.1",
    "198.18.0.1",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.9.9.9",
    "::ffff:127.0.1.1",
    "::127.0.1.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f09:909",
    "64:ff9b::a00:1",
    "2002:7f09:909::1",
    "fc00::1",
    "fe80::1",
    "ff02::1",
];

fn play(stage: &mut Stage) -> LocalBoxFuture<'_, Result<()>> {
    async move {
        let trap = Trap::set().await?;
        let alpha = stage.network.domain(0)?;
        alpha.config.allowed_ranges = vec!["127.0.0.0/16".to_owned()];
        alpha.start().await?;
        // The trap works: what is allowed leads into it.
        leads(
            stage,
            "allowed.test",
            "127.0.77.1".parse().unwrap_or(IpAddr::from([127, 0, 0, 1])),
            trap.port,
        )?;
        stage
            .network
            .domain(0)?
            .command("peer show", &["allowed.test"], "")
            .await?;
        expect(trap.sprung() > 0, || {
            "the allowed address is not connected to: this case shows nothing".to_owned()
        })?;
        let allowed = trap.sprung();
        for (number, text) in FORBIDDEN.iter().enumerate() {
            let ip: IpAddr = text
                .parse()
                .map_err(|error| Failure::harness("read an address", error))?;
            for (how, port) in [("srv", trap.port), ("bare", 0)] {
                let name = format!("{how}{number}.evil.test");
                leads(stage, &name, ip, port)?;
                let told = stage
                    .network
                    .domain(0)?
                    .command("peer show", &[&name], "")
                    .await?;
                expect(
                    !told.done && told.said.contains("where we may not connect"),
                    || format!("{text} ({how}): {}", told.said),
                )?;
            }
        }
        untouched(&trap, allowed, "SRV or its own address").await?;
        let held = format!("connects to none of {} special addresses", FORBIDDEN.len());
        stage.line.held("alpha.test", held);

        let allowed = changes_its_mind(stage, &trap, allowed).await?;
        on_its_word(stage, &trap, allowed).await?;
        by_the_web(stage, &trap, allowed).await
    }
    .boxed_local()
}

/// Listens everywhere on this machine, and counts who comes.
struct Trap {
    port: u16,
    count: Arc<AtomicU64>,
    /// Of those, at addresses that are allowed.
    allowed: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl Trap {
    async fn set() -> Result<Self> {
        let no = |error| Failure::harness("set a trap", error);
        let four = TcpListener::bind("0.0.0.0:0").await.map_err(no)?;
        let port = four.local_addr().map_err(no)?.port();
        let (count, mut tasks) = (Arc::<AtomicU64>::default(), JoinSet::new());
        let allowed = Arc::<AtomicU64>::default();
        // Without IPv6 nobody can come that way.
        let six = TcpListener::bind(("::1", port)).await.ok();
        for listener in [Some(four), six].into_iter().flatten() {
            let (count, allowed) = (Arc::clone(&count), Arc::clone(&allowed));
            tasks.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    count.fetch_add(1, Ordering::Relaxed);
                    let at = stream.local_addr().map(|it| it.ip());
                    if matches!(at, Ok(IpAddr::V4(it)) if it.octets().starts_with(&[127, 0])) {
                        allowed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        Ok(Self {
            port,
            count,
            allowed,
            _tasks: tasks,
        })
    }

    fn sprung(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

async fn untouched(trap: &Trap, before: u64, how: &str) -> Result<()> {
    sleep(WHILE).await;
    let now = trap.sprung();
    expect(now == before, || {
        format!("{} connections where none may be, by {how}", now - before)
    })
}

fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(ip.into()),
        IpAddr::V6(ip) => RData::AAAA(ip.into()),
    }
}

/// A domain with a root key that is found at an address: at a port by SRV, or without one at the usual.
fn leads(stage: &mut Stage, name: &str, ip: IpAddr, port: u16) -> Result<()> {
    let root = stage.network.domain(0)?.root().to_owned();
    let dns = stage.network.domain(0)?.dns();
    let anchor = RData::TXT(TXT::new(vec![format!("v=fh1; root={root}")]));
    dns.set(&format!("_freehold.{name}"), vec![anchor])?;
    let host = match port {
        0 => name.to_owned(),
        _ => format!("host.{name}"),
    };
    if port > 0 {
        let target = Name::from_ascii(format!("{host}."));
        let target = target.map_err(|error| Failure::harness("name a host", error))?;
        let row = RData::SRV(SRV::new(0, 0, port, target));
        dns.set(&format!("_freehold._tcp.{name}"), vec![row])?;
    }
    dns.set(&host, vec![address(ip)])
}

/// The first answer is an address that is allowed, and all others are not.
async fn changes_its_mind(stage: &mut Stage, trap: &Trap, before: u64) -> Result<u64> {
    let harmless = stage.network.stranger("harmless.test").await?;
    let (ip, forbidden) = (harmless.address().ip(), IpAddr::from([127, 9, 9, 9]));
    leads(stage, "fickle.test", forbidden, trap.port)?;
    let alpha = stage.network.domain(0)?;
    alpha.dns().once("host.fickle.test", address(ip))?;
    let told = alpha.command("peer show", &["fickle.test"], "").await?;
    expect(!told.done, || format!("fickle.test: {}", told.said))?;
    sleep(WHILE).await;
    let (all, allowed) = (trap.sprung(), trap.allowed.load(Ordering::Relaxed));
    expect(all == allowed && all > before, || {
        format!(
            "of {all} connections {allowed} were at allowed addresses; {before} were there before"
        )
    })?;
    stage
        .line
        .held("alpha.test", "connects to the address that it has checked");
    Ok(all)
}

/// Somebody calls and says who it is; DNS says that its server is in here.
async fn on_its_word(stage: &mut Stage, trap: &Trap, before: u64) -> Result<()> {
    let caller = ScriptedPeer::start("caller.test", stage.network.free_ip()).await?;
    leads(
        stage,
        "caller.test",
        IpAddr::from([127, 9, 9, 9]),
        trap.port,
    )?;
    let alpha = stage.network.domain(0)?;
    let at: SocketAddr = alpha.federation();
    let called = caller.dial(alpha.name(), at).await;
    expect(called.is_err(), || {
        "who cannot be looked up is believed".to_owned()
    })?;
    untouched(trap, before, "the word of who calls").await?;
    stage
        .line
        .held("alpha.test", "looks nobody up in here on a caller's word");
    Ok(())
}

/// The web server of a domain is in here too.
async fn by_the_web(stage: &mut Stage, trap: &Trap, before: u64) -> Result<()> {
    let alpha = stage.network.domain(0)?;
    alpha.stop(STOP_WITHIN).await?;
    "verified".clone_into(&mut alpha.config.trust);
    let line = format!("well_known_port = {}", trap.port);
    alpha.config.federation_lines.push(line);
    alpha.start().await?;
    for (number, text) in FORBIDDEN.iter().enumerate() {
        let name = format!("web{number}.evil.test");
        let ip = text
            .parse()
            .map_err(|error| Failure::harness("read an address", error))?;
        let alpha = stage.network.domain(0)?;
        alpha.dns().set(&name, vec![address(ip)])?;
        let told = alpha.command("peer show", &[&name], "").await?;
        expect(!told.done, || format!("{text}: {}", told.said))?;
    }
    untouched(trap, before, "a web server").await?;
    stage
        .line
        .held("alpha.test", "asks no web server at a special address");
    Ok(())
}
