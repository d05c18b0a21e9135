//! The operator's word to a domain that serves: a socket in its data folder that only its owner can
//! open. One line of JSON asks, one answers.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tracing::{debug, warn};

use crate::{
    peers::operator::{PeerCommand, PeerDesk, PeerReport},
    server::Server,
};

/// Time for one question and its answer: a peer may have to be looked up for it.
const PATIENCE: Duration = Duration::from_secs(45);
/// Longest line, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What a domain answers its operator.
#[derive(Debug, Deserialize, Serialize)]
pub enum Answer {
    /// It is done, and this is how the peers concerned stand.
    Peers(Vec<PeerReport>),
    /// It is not done, and this is why.
    Refused(String),
}

/// Where the socket of a domain is.
#[must_use]
pub fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("control.sock")
}

/// Listens to the operator of a domain, if that can be.
pub(crate) fn open(data_dir: &Path) -> Option<UnixListener> {
    let path = socket_path(data_dir);
    listen(&path)
        .inspect_err(|fault| {
            warn!(path = %path.display(), %fault, fault = "ours", "no socket for the operator: `freehold peer` works only while the domain is stopped");
        })
        .ok()
}

/// Answers until the domain stops.
pub(crate) async fn serve(
    server: Arc<Server>,
    desk: Arc<PeerDesk>,
    listener: UnixListener,
    data_dir: PathBuf,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.tasks.stopped() => break,
        };
        // One operator at a time; whoever says nothing loses its turn.
        if let Ok((stream, _)) = accepted {
            let answered = timeout(PATIENCE, answer(&desk, stream)).await;
            debug!(?answered, "the operator was answered");
        }
    }
    // Left behind it does no harm: nobody answers there.
    drop(fs::remove_file(socket_path(&data_dir)));
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    // What is there was left by a process that was killed: the store's lock keeps two from running.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn answer(desk: &PeerDesk, stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut lines = BufReader::new(read.take(LINE_BYTES_MAX));
    lines.read_line(&mut line).await?;
    let answer = match serde_json::from_str::<PeerCommand>(&line) {
        Ok(command) => match desk.carry_out(command).await {
            Ok(reports) => Answer::Peers(reports),
            Err(fault) => Answer::Refused(fault.to_string()),
        },
        Err(fault) => Answer::Refused(format!("this server does not know that command: {fault}")),
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    write.write_all(text.as_bytes()).await
}

/// Asks the domain whose data is in `data_dir`, if it serves. `None`: it does not.
pub async fn ask(data_dir: &Path, command: &PeerCommand) -> io::Result<Option<Answer>> {
    let stream = match UnixStream::connect(socket_path(data_dir)).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let asked = async {
        let (read, mut write) = stream.into_split();
        let mut text = serde_json::to_string(command)?;
        text.push('\n');
        write.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        BufReader::new(read.take(LINE_BYTES_MAX))
            .read_line(&mut line)
            .await?;
        Ok(serde_json::from_str(&line)?)
    };
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map(Some),
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the server does not answer in time",
        )),
    }
}
