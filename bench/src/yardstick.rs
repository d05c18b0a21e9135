//! What the disk and the store do without a server around them, so that figures are ratios.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use freehold_proto::UserId;
use freehold_store::{
    Batch, Config, Engine as _, Outcome, SledEngine, TopicKey,
    tables::{messages::put_message, rows::MessageRow},
};
use serde::Serialize;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Duration, Instant},
};

use crate::{
    Result,
    frame::filler,
    place::Where,
    tally::{Spread, Times, now},
};

/// What a server keeps in memory of its store by default.
const CACHE: u64 = 64 << 20;
const FREE: u64 = 512 << 20;
/// The file that is synced stays as long as it is: only data reach the disk, which is the least a sync can
/// cost.
const FILE: u64 = 8 << 20;
const WRITE: usize = 4096;

/// Measures what the disk and the store do by themselves.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Options {
    /// Writers that each wait for one commit.
    #[arg(long, default_value_t = 256)]
    producers: usize,
    /// Bytes of content.
    #[arg(long, default_value_t = 200)]
    bytes: usize,
    /// Seconds for each of the two.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

/// What was found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Yardstick {
    /// Batches of one message each that the store makes durable in a second.
    pub(crate) engine_per_s: f64,
    /// Writes of 4 KiB over an existing file that reach the disk in a second, one after the other.
    pub(crate) syncs_per_s: f64,
    pub(crate) sync_ms: Spread,
}

impl Options {
    pub(crate) fn new(producers: usize, bytes: usize, seconds: u64) -> Self {
        Self {
            producers,
            bytes,
            seconds,
        }
    }

    pub(crate) async fn measure(self, place: &Where) -> Result<Yardstick> {
        let folder = place.new_folder()?;
        let length = Duration::from_secs(self.seconds);
        let file = folder.path().join("synced");
        let syncs = spawn_blocking(move || sync_loop(&file, length)).await;
        let syncs = syncs.map_err(|it| it.to_string())?;
        let (syncs_per_s, sync_ms) = syncs.map_err(|it| format!("the bare disk: {it}"))?;
        let engine_per_s = self.engine(&folder.path().join("store")).await?;
        Ok(Yardstick {
            engine_per_s,
            syncs_per_s,
            sync_ms,
        })
    }

    async fn engine(self, folder: &Path) -> Result<f64> {
        let config = Config::new(folder, CACHE, FREE).map_err(|it| it.to_string())?;
        let engine = spawn_blocking(|| SledEngine::open(config)).await;
        let engine = engine
            .map_err(|it| it.to_string())?
            .map_err(|it| it.to_string())?;
        let (engine, done) = (Arc::new(engine), Arc::new(AtomicU64::new(0)));
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let mut producers = JoinSet::new();
        for number in 0..self.producers {
            let producer = produce(
                Arc::clone(&engine),
                number,
                self.bytes,
                until,
                Arc::clone(&done),
            );
            producers.spawn(producer);
        }
        let begun = Instant::now();
        while let Some(ended) = producers.join_next().await {
            ended.map_err(|it| it.to_string())??;
        }
        let rate = rate(done.load(Relaxed), begun.elapsed());
        let closed = spawn_blocking(move || engine.close()).await;
        closed
            .map_err(|it| it.to_string())?
            .map_err(|it| it.to_string())?;
        Ok(rate)
    }
}

/// Commits what one message between two people of the domain is in the store, one after the other.
async fn produce(
    engine: Arc<SledEngine>,
    number: usize,
    bytes: usize,
    until: Instant,
    done: Arc<AtomicU64>,
) -> Result<()> {
    let domain = "alpha.test".parse().map_err(|_| "a domain name")?;
    let number = u64::try_from(number).unwrap_or_default();
    let [author, reader] = [number * 2, number * 2 + 1].map(|it| it.to_be_bytes());
    let author = UserId::new(author, domain);
    let reader = UserId::new(reader, author.domain().clone());
    let topic = TopicKey::one_to_one(&author, &reader);
    let content = Bytes::from(format!("\"bench 1234567890 {}\"", filler(bytes)));
    let mut seq = 0_u32;
    while Instant::now() < until {
        seq += 1;
        let row = MessageRow {
            author: author.to_string(),
            message_id: Bytes::from_static(&[7; 16]),
            issued: 1_800_000_000_000,
            received: 1_800_000_000_000,
            content: content.clone(),
            ..MessageRow::default()
        };
        let mut batch = Batch::new();
        put_message(&mut batch, topic, seq, &row);
        match engine.commit(batch).await {
            Ok(Outcome::Applied) => done.fetch_add(1, Relaxed),
            other => return Err(format!("the store answered {other:?}")),
        };
    }
    Ok(())
}

fn sync_loop(path: &Path, length: Duration) -> std::io::Result<(f64, Spread)> {
    let mut file = File::create(path)?;
    let block = [7; WRITE];
    for _ in 0..FILE / WRITE as u64 {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let (times, begun) = (Times::default(), Instant::now());
    let mut at = 0;
    while begun.elapsed() < length {
        let before = now();
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&block)?;
        file.sync_data()?;
        times.note(now() - before);
        at = (at + WRITE as u64) % FILE;
    }
    let spread = times.spread().ok_or(std::io::ErrorKind::TimedOut)?;
    Ok((rate(spread.count, begun.elapsed()), spread))
}

/// So many in such a time, in a second.
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / time.as_secs_f64()
}
