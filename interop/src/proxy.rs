//! The way from one domain to another: a TCP proxy that can be cut, slowed, truncated, or go silent.
//!
//! One proxy stands for one direction of contact, so that `alpha` may reach `beta` while `beta` does
//! not reach `alpha`. TCP keeps the bytes of one connection and direction in order; what can be
//! reordered is one direction against the other and one connection against another, by delays.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{Failure, Random, Result};

/// Connections through one proxy at once; more are not accepted.
const CONNECTIONS_MAX: usize = 256;
/// Connections whose time is remembered.
const CONTACTS_MAX: usize = 10_000;
/// Bytes carried at once.
const CHUNK: usize = 16 * 1024;

/// How the way is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Way {
    /// As it should be.
    #[default]
    Open,
    /// Connections break at once, those that there are and new ones.
    Cut,
    /// New connections are accepted and nobody answers; those that there are carry nothing any more and
    /// stay open.
    Silent,
    /// What is asked goes through; no answer comes back.
    Deaf,
    /// Each chunk waits for a time of its own, up to this long, in each direction and connection by
    /// itself.
    Slow(Duration),
    /// Each connection breaks after it has carried so many bytes towards the target.
    Truncated(u64),
}

/// A proxy that runs. Ends with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    way: watch::Sender<Way>,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

/// What went through.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    bytes: AtomicU64,
    contacts: Mutex<Vec<Instant>>,
}

impl Proxy {
    /// Starts a proxy on a free port of `ip` that leads to `target`.
    pub async fn start(ip: IpAddr, target: SocketAddr, random: Random) -> Result<Self> {
        let no = |error: io::Error| Failure::harness("start a proxy", error);
        let listener = TcpListener::bind((ip, 0)).await.map_err(no)?;
        let address = listener.local_addr().map_err(no)?;
        let (way, seen) = watch::channel(Way::Open);
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        let hub = Hub {
            target,
            way: seen,
            counts: Arc::clone(&counts),
            random: Arc::new(Mutex::new(random)),
        };
        tasks.spawn(hub.run(listener));
        Ok(Self {
            address,
            way,
            counts,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the way so, from now on.
    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// How the way is.
    #[must_use]
    pub fn way(&self) -> Way {
        *self.way.borrow()
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::Relaxed)
    }

    /// When connections came, the first ones of them.
    #[must_use]
    pub fn contacts(&self) -> Vec<Instant> {
        self.counts.contacts.lock().clone()
    }

    /// Bytes carried towards the target so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }
}

/// What the connections of one proxy share.
#[derive(Clone)]
struct Hub {
    target: SocketAddr,
    way: watch::Receiver<Way>,
    counts: Arc<Counts>,
    random: Arc<Mutex<Random>>,
}

/// Which way bytes go.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Direction {
    There,
    Back,
}

impl Hub {
    async fn run(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            self.counts.connections.fetch_add(1, Ordering::Relaxed);
            let mut contacts = self.counts.contacts.lock();
            if contacts.len() < CONTACTS_MAX {
                contacts.push(Instant::now());
            }
            drop(contacts);
            let way = *self.way.borrow();
            if way == Way::Cut || connections.len() >= CONNECTIONS_MAX {
                drop(reset(&stream));
                continue;
            }
            connections.spawn(self.clone().carry(stream));
        }
    }

    /// One connection, until it breaks or is broken. The watch is looked at before the first byte, so
    /// a connection made in silence stays silent.
    async fn carry(self, mut client: TcpStream) {
        let mut way = self.way.clone();
        // Nobody is asked while the way is silent: that may last.
        let opened = way.wait_for(|it| *it != Way::Silent).await.map(|it| *it);
        if !matches!(opened, Ok(way) if way != Way::Cut) {
            drop(reset(&client));
            return;
        }
        let Ok(mut server) = TcpStream::connect(self.target).await else {
            return;
        };
        let _fast = (client.set_nodelay(true), server.set_nodelay(true));
        let _abrupt = (reset(&client), reset(&server));
        // Not owned halves: those say goodbye when they are dropped.
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let carrying = async {
            tokio::select! {
                () = self.pump(from_client, to_server, Direction::There) => {}
                () = self.pump(from_server, to_client, Direction::Back) => {}
            }
        };
        tokio::select! {
            () = carrying => {}
            _ = way.wait_for(|it| *it == Way::Cut) => {}
        }
    }

    async fn pump(&self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, direction: Direction) {
        let mut way = self.way.clone();
        let (mut buffer, mut carried) = (vec![0; CHUNK], 0);
        loop {
            let read = match from.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(read) => read,
            };
            let silent = |way: &Way| match way {
                Way::Silent => true,
                Way::Deaf => direction == Direction::Back,
                _ => false,
            };
            let Ok(way) = way.wait_for(|it| !silent(it)).await.map(|it| *it) else {
                return;
            };
            let mut chunk = buffer.get(..read).unwrap_or_default();
            if let Way::Slow(longest) = way {
                let pause = self.random.lock().pause(Duration::ZERO, longest);
                sleep(pause).await;
            }
            if direction == Direction::There {
                if let Way::Truncated(most) = way {
                    let left = usize::try_from(most.saturating_sub(carried)).unwrap_or(usize::MAX);
                    chunk = chunk.get(..left).unwrap_or(chunk);
                }
                carried += u64::try_from(chunk.len()).unwrap_or(0);
                let length = u64::try_from(chunk.len()).unwrap_or(0);
                self.counts.bytes.fetch_add(length, Ordering::Relaxed);
            }
            if to.write_all(chunk).await.is_err() || chunk.len() < read {
                return;
            }
        }
    }
}

/// Has the connection end without a goodbye when it is dropped.
fn reset(stream: &TcpStream) -> io::Result<()> {
    stream.set_zero_linger()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);
    const WHILE: Duration = Duration::from_millis(100);

    /// A proxy to a server that says everything again, and a connection through it.
    async fn echo() -> (Proxy, TcpStream, JoinSet<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let target = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut echoes = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (mut from, mut to) = stream.into_split();
                echoes.spawn(async move { drop(tokio::io::copy(&mut from, &mut to).await) });
            }
        });
        let ip = IpAddr::from([127, 0, 0, 9]);
        let proxy = Proxy::start(ip, target, Random::new(1)).await.unwrap();
        let stream = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, stream, tasks)
    }

    async fn says(stream: &mut TcpStream, text: &[u8]) {
        stream.write_all(text).await.unwrap();
    }

    /// What comes back within a while: bytes, an end, or nothing.
    async fn hears(stream: &mut TcpStream) -> Option<io::Result<Vec<u8>>> {
        let mut buffer = [0; 64];
        let heard = timeout(WHILE, stream.read(&mut buffer)).await.ok()?;
        Some(heard.map(|read| buffer[..read].to_vec()))
    }

    #[tokio::test]
    async fn a_cut_breaks_what_there_is_and_what_comes() {
        let (proxy, mut stream, _tasks) = echo().await;
        says(&mut stream, b"one").await;
        assert_eq!(hears(&mut stream).await.unwrap().unwrap(), b"one");
        proxy.set(Way::Cut);
        assert!(hears(&mut stream).await.unwrap().is_err());
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        let mut buffer = [0; 8];
        let heard = timeout(SOON, next.read(&mut buffer)).await.unwrap();
        assert!(heard.is_err() || heard.is_ok_and(|it| it == 0));
        assert_eq!((proxy.connections(), proxy.bytes()), (2, 3));
    }

    #[tokio::test]
    async fn silence_keeps_everything_open_and_loses_nothing() {
        let (proxy, mut stream, _tasks) = echo().await;
        proxy.set(Way::Silent);
        says(&mut stream, b"one").await;
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        says(&mut next, b"two").await;
        assert!(hears(&mut stream).await.is_none());
        assert!(hears(&mut next).await.is_none());
        proxy.set(Way::Open);
        assert_eq!(hears(&mut stream).await.unwrap().unwrap(), b"one");
        assert_eq!(hears(&mut next).await.unwrap().unwrap(), b"two");
    }

    #[tokio::test]
    async fn the_deaf_are_heard_and_hear_nothing() {
        let (proxy, mut stream, _tasks) = echo().await;
        proxy.set(Way::Deaf);
        says(&mut stream, b"one").await;
        assert!(hears(&mut stream).await.is_none());
        assert_eq!(proxy.bytes(), 3);
        proxy.set(Way::Open);
        assert_eq!(hears(&mut stream).await.unwrap().unwrap(), b"one");
    }

    #[tokio::test]
    async fn a_truncated_connection_carries_so_much_and_breaks() {
        let (proxy, mut stream, _tasks) = echo().await;
        proxy.set(Way::Truncated(5));
        says(&mut stream, b"one").await;
        assert_eq!(hears(&mut stream).await.unwrap().unwrap(), b"one");
        says(&mut stream, b"two").await;
        let mut ended = Vec::new();
        let _broken = timeout(SOON, stream.read_to_end(&mut ended)).await.unwrap();
        assert!(ended.len() <= 2, "{ended:?}");
        assert_eq!(proxy.bytes(), 5);
    }
}
