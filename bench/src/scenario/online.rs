//! Many people who are here and say nothing.

use std::{net::Ipv4Addr, pin::pin};

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::time::{Duration, Instant, sleep};

use crate::{
    Result,
    client::Session,
    machine::{Usage, allow_connections},
    people,
    place::{Place, Where},
    report::{Report, progress},
    scenario::float,
    talker::{Crowd, Habits},
    tally::{Times, now},
    yardstick::rate,
};

/// Connections from one address; there are fewer ports than connections.
const PER_ADDRESS: usize = 20_000;
/// Before memory is read.
const SETTLE: Duration = Duration::from_secs(3);
/// Memory is read at so many stages.
const STAGES: usize = 4;

/// Idle people, each with an account and a connection of their own, attached to `me`.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// How many in the end.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// Seconds that they stay, during which the server's processor time is counted.
    #[arg(long, default_value_t = 10)]
    hold: u64,
}

impl Options {
    pub(crate) async fn run(&self, place: &Where) -> Result<Report> {
        let mut report = Report::new("online");
        report.set("connections", self.connections);
        report.set("hold", self.hold);
        report.set("tls", place.tls());
        allow_connections(self.connections)?;
        let domain = place.place().await?;
        // Before memory is read for the first time: a server may keep some of what it stored at hand.
        let tokens = people::many(self.connections, |_| async {
            let person = people::arrive(&domain).await?;
            Ok(person.token)
        });
        let tokens = tokens.await?;
        progress(&format!("{} accounts are there", tokens.len()));
        sleep(SETTLE).await;
        let resident = || {
            domain
                .meter
                .map_or(Ok(0.0), crate::machine::Meter::resident_kib)
        };
        let mut stages = vec![(0, resident()?)];
        let (mut crowd, times, begun) = (Crowd::new(), Times::default(), Instant::now());
        for stage in 1..=STAGES {
            let to = self.connections * stage / STAGES;
            let from = stages.last().map_or(0, |it| it.0);
            let coming = tokens.iter().enumerate().take(to).skip(from);
            come(&domain, &mut crowd, coming, &times).await?;
            sleep(SETTLE).await;
            stages.push((to, resident()?));
            progress(&format!(
                "{to} people are online, {:.0} MiB",
                resident()? / 1024.0
            ));
        }
        let ramp = begun.elapsed() - SETTLE * u32::try_from(STAGES).unwrap_or_default();
        report
            .figures
            .insert("arrivals_per_s", rate(self.connections as u64, ramp));
        if domain.meter.is_some() {
            per_connection(&stages, &mut report);
        }
        let usage = Usage::begin([domain.meter])?;
        sleep(Duration::from_secs(self.hold)).await;
        usage.end(0.0, &mut report.figures)?;
        report.figures.insert("left", float(crowd.len()));
        report
            .times_ms
            .extend(times.spread().map(|it| ("arrival", it)));
        let tally = crowd.end().await;
        report.take(&tally);
        Ok(report)
    }
}

async fn come<'a>(
    domain: &Place,
    crowd: &mut Crowd,
    coming: impl Iterator<Item = (usize, &'a String)>,
    times: &Times,
) -> Result<()> {
    let arrivals = stream::iter(coming).map(|(number, token)| one(domain, number, token, times));
    let mut arrivals = pin!(arrivals.buffer_unordered(people::AT_ONCE));
    // Whoever has come is listened to at once: a server cuts off who does not answer its pings.
    while let Some(session) = arrivals.next().await {
        crowd.add(session?, Vec::new(), Habits::silent());
    }
    Ok(())
}

async fn one(domain: &Place, number: usize, token: &str, times: &Times) -> Result<Session> {
    let begun = now();
    let local = domain.door.address.ip().is_loopback();
    let from = local.then(|| source(number));
    let mut person = people::come_in(domain, from, "token", token).await?;
    person
        .session
        .request("sub", json!({"topic": "me"}))
        .await?;
    times.note(now() - begun);
    Ok(person.session)
}

/// Memory over connections, from each stage to the next.
fn per_connection(stages: &[(usize, f64)], report: &mut Report) {
    let names = [
        "kib_per_connection_stage_1",
        "kib_per_connection_stage_2",
        "kib_per_connection_stage_3",
        "kib_per_connection_stage_4",
    ];
    let slope =
        |(a, low): (usize, f64), (b, high): (usize, f64)| (high - low) / float(b - a).max(1.0);
    for (name, pair) in names.into_iter().zip(stages.windows(2)) {
        if let [before, after] = pair {
            report.figures.insert(name, slope(*before, *after));
        }
    }
    if let (Some(first), Some(last)) = (stages.first(), stages.last()) {
        report
            .figures
            .insert("kib_per_connection", slope(*first, *last));
    }
}

/// One of this machine's own addresses: there are fewer ports than connections.
fn source(number: usize) -> Ipv4Addr {
    let block = number / PER_ADDRESS;
    let host = u8::try_from(block % 250 + 1).unwrap_or(1);
    Ipv4Addr::new(127, 0, 1, host)
}
