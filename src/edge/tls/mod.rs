//! TLS to clients: which certificate is shown, taken up anew when its files change, and the handshake.

mod pair;
mod secure;

use std::{fmt, io, sync::Arc, time::Duration};

use freehold_config::TlsFiles;
use freehold_federation::Tasks;
use freehold_proto::Clock;
use parking_lot::{Mutex, RwLock};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, Ticketer},
    server::{Acceptor, NoServerSessionStorage, ProducesTickets},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::LazyConfigAcceptor;
use tracing::{error, info, warn};

pub(crate) use secure::Secure;

pub use pair::{Pair, TlsError, exposed};

/// Time for a handshake, from the first byte on.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How often the files are looked at, while clients connect.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Bytes that wait to be sent to a client, encrypted; more wait where they come from.
const UNSENT_MAX: usize = 64 * 1024;
/// The first byte of a client that speaks TLS.
const HANDSHAKE_RECORD: u8 = 22;
/// A fatal alert: `unrecognized_name` (RFC 6066).
const UNRECOGNISED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// What somebody is told who speaks plain HTTP.
const SPEAK_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 47\r\n\
    Connection: close\r\n\r\nThis port speaks HTTPS: use https:// or wss://\n";
/// Bytes of a request in clear that are read before it is answered.
const CLEAR_BYTES_MAX: usize = 4096;

/// What is spoken under TLS.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speaks {
    /// HTTP/1.1, and WebSockets.
    Web,
    /// HTTP/2.
    Grpc,
}

/// The certificate that a domain shows its clients, as it stands in its files.
pub struct Certificate {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    /// Sessions are resumed from what clients keep; nothing is kept of them here.
    tickets: Arc<dyn ProducesTickets>,
    shown: RwLock<Shown>,
    /// When the files were last looked at, as the clock's `elapsed`.
    looked: Mutex<Duration>,
    seen: Mutex<pair::Seen>,
}

#[derive(Clone)]
struct Shown {
    web: Arc<ServerConfig>,
    grpc: Arc<ServerConfig>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.files.certificate.display())
    }
}

impl Certificate {
    /// Reads it, and warns of what need not keep a domain from starting. Blocks.
    pub(crate) fn open(files: TlsFiles, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let (pair, seen) = Pair::look(&files);
        let pair = pair?;
        if let Some(mode) = exposed(&files) {
            let (file, mode) = (files.key.display(), format!("{mode:o}"));
            warn!(%file, mode, "everybody on this machine may read the TLS key: chmod it to 600 or 640");
        }
        let now = clock.now();
        if let Some(end) = pair.ends().filter(|it| *it <= now) {
            let file = files.certificate.display();
            warn!(%file, %end, "the certificate for clients has expired: they will not connect");
        }
        let tickets = Ticketer::new()?;
        Ok(Self {
            shown: RwLock::new(Shown::new(&pair.shown, &tickets)?),
            looked: Mutex::new(clock.elapsed()),
            seen: Mutex::new(seen),
            files,
            clock,
            tickets,
        })
    }

    fn config(&self, speaks: Speaks) -> Arc<ServerConfig> {
        let shown = self.shown.read();
        match speaks {
            Speaks::Web => Arc::clone(&shown.web),
            Speaks::Grpc => Arc::clone(&shown.grpc),
        }
    }

    /// Looks at the files beside everything else, if the last look is over a minute ago.
    fn follow(self: &Arc<Self>, tasks: &Tasks) {
        let elapsed = self.clock.elapsed();
        {
            let mut looked = self.looked.lock();
            if elapsed.saturating_sub(*looked) < LOOK_EVERY {
                return;
            }
            *looked = elapsed;
        }
        let this = Arc::clone(self);
        tasks.spawn("certificate", async move {
            let looking = tokio::task::spawn_blocking(move || this.look_again());
            if let Err(fault) = looking.await {
                error!(%fault, "the files of the certificate were not looked at");
            }
        });
    }

    /// Shows what stands in the files, if that is another pair which can be shown. Blocks.
    fn look_again(&self) {
        // A look that stands still, at files of another machine, holds up no more than itself.
        let Some(mut seen) = self.seen.try_lock() else {
            return;
        };
        let (pair, now) = Pair::look(&self.files);
        if *seen == now {
            return;
        }
        *seen = now;
        let shown = pair.and_then(|it| {
            let shown = Shown::new(&it.shown, &self.tickets)?;
            Ok((shown, it.ends()))
        });
        match shown {
            Ok((shown, end)) => {
                *self.shown.write() = shown;
                let (file, end) = (
                    self.files.certificate.display(),
                    end.map(|it| it.to_string()),
                );
                info!(%file, end, "new clients are shown the new certificate");
            }
            Err(fault) => error!(
                %fault,
                "the certificate for clients cannot be renewed, the old one is shown on; the files are looked at again when they change"
            ),
        }
    }
}

impl Shown {
    fn new(
        pair: &Arc<SingleCertAndKey>,
        tickets: &Arc<dyn ProducesTickets>,
    ) -> Result<Self, TlsError> {
        let with = |protocol: &[u8]| -> Result<_, rustls::Error> {
            let provider = Arc::new(aws_lc_rs::default_provider());
            let mut config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&TLS13, &TLS12])?
                .with_no_client_auth()
                .with_cert_resolver(pair.clone());
            config.alpn_protocols = vec![protocol.to_vec()];
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.ticketer = Arc::clone(tickets);
            config.send_tls13_tickets = 1;
            config.max_early_data_size = 0;
            Ok(Arc::new(config))
        };
        Ok(Self {
            web: with(b"http/1.1")?,
            grpc: with(b"h2")?,
        })
    }
}

/// Shakes hands, with the certificate that `choose` has for the name which the client asks for.
pub(super) async fn accept(
    stream: TcpStream,
    speaks: Speaks,
    tasks: &Tasks,
    choose: impl FnOnce(Option<&str>) -> Option<Arc<Certificate>>,
) -> io::Result<(Secure, Arc<Certificate>)> {
    // Of its own: it is large, and gone when the connection becomes idle.
    let shaking = Box::pin(shake(stream, speaks, tasks, choose));
    tokio::select! {
        done = timeout(HANDSHAKE_MAX, shaking) => {
            done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        }
        () = tasks.stopped() => Err(io::ErrorKind::Interrupted.into()),
    }
}

async fn shake(
    mut stream: TcpStream,
    speaks: Speaks,
    tasks: &Tasks,
    choose: impl FnOnce(Option<&str>) -> Option<Arc<Certificate>>,
) -> io::Result<(Secure, Arc<Certificate>)> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE_RECORD] {
        if matches!(speaks, Speaks::Web) && first[0].is_ascii_uppercase() {
            say_so(&mut stream).await?;
        }
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it does not speak TLS",
        ));
    }
    let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let chosen = choose(start.client_hello().server_name());
    let Some(certificate) = chosen else {
        start.io.write_all(&UNRECOGNISED_NAME).await?;
        start.io.shutdown().await?;
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "nobody of that name is served here",
        ));
    };
    certificate.follow(tasks);
    let config = certificate.config(speaks);
    let stream = start
        .into_stream_with(config, |session| session.set_buffer_limit(Some(UNSENT_MAX)))
        .await?;
    Ok((Secure(stream), certificate))
}

/// Tells somebody who speaks plain HTTP what is spoken here.
async fn say_so(stream: &mut TcpStream) -> io::Result<()> {
    // What is left unread when the connection closes would take the answer with it.
    let mut request = Vec::with_capacity(CLEAR_BYTES_MAX);
    stream.read_buf(&mut request).await?;
    stream.write_all(SPEAK_TLS).await?;
    stream.shutdown().await
}
