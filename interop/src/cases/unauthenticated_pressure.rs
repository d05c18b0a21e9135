//! Strangers that take connections and prove nothing (F54).

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use freehold_proto::limits::{ALPN_PEER, ALPN_RECORD};
use futures_util::FutureExt as _;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use super::{
    Case, Need,
    hostile::{Foe, Play},
};
use crate::{
    Club, Failure, Result, ScriptedPeer, Stage,
    failure::expect,
    growth::memory_kib,
    peer::{connect, http2},
};

/// Places for strangers: a quarter of all connections, and a sixteenth from one prefix.
const STRANGERS_MAX: usize = 256;
const PREFIX_MAX: usize = 64;
/// Other things that a server opens while it runs.
const SLACK: usize = 40;
/// 64 KiB for each stranger, and what a busy server takes by itself.
const MEMORY_KIB_MAX: u64 = 64 * STRANGERS_MAX as u64 + 48 * 1024;
const FROM_ONE: usize = 1000;
const FROM_MANY: usize = 3000;
const AT_ONCE: usize = 128;
const TRIED_WITHIN: Duration = Duration::from_secs(3);
const WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// For how long strangers come again and again.
const PRESSURE: Duration = Duration::from_secs(12);

pub(super) const CASE: Case = Case {
    ids: "F54",
    name: "unauthenticated_pressure",
    proves: "thousands of connections that say nothing, half of something or something slow take a bounded number of places and little memory; peers from elsewhere come in meanwhile, and links that stand go on",
    domains: &["alpha.test", "beta.test"],
    needs: &[Need::Inside],
    within: Duration::from_secs(240),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.start_all().await?;
        let mut club = Club::begin(stage, &[(0, "ann"), (1, "ben")]).await?;
        let peer = stage.network.stranger("crowd.test").await?;
        let before = taken(stage)?;
        let at = stage.network.domain(0)?.federation();

        let one = |_: usize| IpAddr::from([127, 9, 9, 9]);
        let (crowd, most) = crowd(stage, &peer, at, FROM_ONE, one).await?;
        is_few(before.0, most, PREFIX_MAX)?;
        is_bounded(stage, before, PREFIX_MAX, "one prefix").await?;
        let _new = Foe::comes(stage, 0, "new.test").await?;
        stage
            .line
            .held("new.test", "comes in while one network takes all it can");
        club.writes(0, 10).await?;
        club.writes(1, 10).await?;
        drop(crowd);

        let many = |number: usize| {
            let [.., high, low] = u32::try_from(number).unwrap_or(0).to_be_bytes();
            IpAddr::from([127, 20 + high, low, 9])
        };
        pressed(stage, &peer, at, (&mut club, before), many).await?;
        club.agree(WITHIN).await?;

        // Once they have gone, whoever comes is served.
        let deadline = Instant::now() + WITHIN;
        let late = stage.network.stranger("late.test").await?;
        let us = stage.network.domain(0)?.name().clone();
        while late.dial(&us, at).await.is_err() {
            expect(Instant::now() < deadline, || {
                "nobody comes in after the crowd has gone".to_owned()
            })?;
            sleep(POLL).await;
        }
        is_bounded(stage, before, SLACK, "nobody any more").await?;
        stage
            .line
            .held("late.test", "comes in once the crowd has gone");
        Ok(())
    }
    .boxed_local()
}

/// Files that a server has open, and memory in KiB.
fn taken(stage: &mut Stage) -> Result<(usize, u64)> {
    let no = || Failure::harness("measure alpha.test", "it does not run");
    let process = stage.network.domain(0)?.process().map(|it| it.id());
    let process = process.ok_or_else(no)?;
    let files = fs::read_dir(format!("/proc/{process}/fd")).map(Iterator::count);
    Ok((
        files.map_err(|_| no())?,
        memory_kib(process).ok_or_else(no)?,
    ))
}

/// Waits until not more than so many connections are left of those that came.
async fn is_bounded(
    stage: &mut Stage,
    before: (usize, u64),
    places: usize,
    who: &str,
) -> Result<()> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let now = taken(stage)?;
        let files = now.0.saturating_sub(before.0);
        let memory = now.1.saturating_sub(before.1);
        expect(memory <= MEMORY_KIB_MAX, || {
            format!("strangers from {who} cost {memory} KiB")
        })?;
        if files <= places + SLACK {
            let what = format!("{files} more files and {memory} KiB for strangers from {who}");
            stage.line.held("alpha.test", what);
            return Ok(());
        }
        // What was dropped may be counted for a moment.
        expect(Instant::now() < deadline, || {
            format!("strangers from {who} take {files} places")
        })?;
        sleep(POLL).await;
    }
}

/// What a stranger holds.
enum Held {
    Nothing,
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Held {
    /// One byte more, for those that are slow.
    async fn drips(&mut self) {
        let _gone = match self {
            Self::Nothing => return,
            Self::Tcp(it) => it.write_all(&[1]).await,
            Self::Tls(it) => it.write_all(&[0]).await,
        };
    }
}

/// While strangers came there never were more of them than there are places.
fn is_few(before: usize, most: usize, places: usize) -> Result<()> {
    let files = most.saturating_sub(before);
    expect(files <= places + SLACK, || {
        format!("while they came, strangers took {files} places of {places}")
    })
}

/// So many strangers, each in a way of its own; what they hold, and the most files that the server had
/// open while they came.
async fn crowd(
    stage: &mut Stage,
    peer: &ScriptedPeer,
    at: SocketAddr,
    count: usize,
    from: impl Fn(usize) -> IpAddr,
) -> Result<(Vec<Held>, usize)> {
    let (mut held, mut most) = (Vec::new(), 0);
    let mut number = 0;
    while number < count {
        let some = (number..count).take(AT_ONCE);
        let some = some.map(|it| timeout(TRIED_WITHIN, comes(peer, at, from(it), it)));
        let came = futures_util::future::join_all(some).await;
        number += came.len();
        held.extend(came.into_iter().filter_map(std::result::Result::ok));
        most = most.max(taken(stage)?.0);
    }
    Ok((held, most))
}

async fn comes(peer: &ScriptedPeer, at: SocketAddr, from: IpAddr, number: usize) -> Held {
    let Ok(us) = "alpha.test".parse() else {
        return Held::Nothing;
    };
    let alpn = match number % 5 {
        // Nothing, or the head of a long record of TLS and no more.
        0 | 1 => {
            let Ok(mut stream) = connect(Some(from), at).await else {
                return Held::Nothing;
            };
            if number % 5 == 1 {
                let _gone = stream.write_all(&[22, 3, 1, 0x3f, 0xff, 1]).await;
            }
            return Held::Tcp(stream);
        }
        // The record, which is never read.
        2 => ALPN_RECORD,
        _ => ALPN_PEER,
    };
    let Ok(mut stream) = peer.knocks_from(from, &us, at, alpn).await else {
        return Held::Nothing;
    };
    if number % 5 == 4 {
        // A hello that is begun: a frame of 16 KiB of which little comes.
        let begun = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            http2::frame(http2::SETTINGS, 0, 0, &[]),
            http2::frame(
                http2::HEADERS,
                http2::HEAD_ENDS,
                1,
                &http2::head(&us, "Hello", &[]),
            ),
            vec![
                0,
                0x3f,
                0xff,
                http2::DATA,
                0,
                0,
                0,
                0,
                1,
                0,
                0,
                0,
                0x3f,
                0xf0,
            ],
        ];
        let _gone = stream.write_all(&begun.concat()).await;
    }
    Held::Tls(Box::new(stream))
}

/// Strangers from everywhere, who come again as they are sent away, while the group writes.
async fn pressed(
    stage: &mut Stage,
    peer: &ScriptedPeer,
    at: SocketAddr,
    (club, before): (&mut Club, (usize, u64)),
    from: impl Fn(usize) -> IpAddr + Copy,
) -> Result<()> {
    let (mut held, most) = crowd(stage, peer, at, FROM_MANY, from).await?;
    is_few(before.0, most, STRANGERS_MAX)?;
    is_bounded(stage, before, STRANGERS_MAX, "everywhere").await?;
    let until = Instant::now() + PRESSURE;
    let mut rounds = 0;
    while Instant::now() < until {
        for it in held.iter_mut().take(STRANGERS_MAX) {
            let _slow = timeout(Duration::from_millis(5), it.drips()).await;
        }
        let come = crowd(stage, peer, at, STRANGERS_MAX, |it| from(it + rounds));
        let most;
        (held, most) = come.await?;
        is_few(before.0, most, STRANGERS_MAX)?;
        club.writes(0, 2).await?;
        club.writes(1, 2).await?;
        rounds += 1;
    }
    is_bounded(stage, before, STRANGERS_MAX, "everywhere, again and again").await?;
    stage.line.held(
        "ann and ben",
        format!("wrote through {rounds} rounds of pressure"),
    );
    Ok(())
}
