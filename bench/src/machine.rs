//! What a server costs: processes started here, their memory, their start-up time, their size.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::Serialize;
use tempfile::TempDir;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use crate::{Result, client::Session, network::Network};

const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);
/// Before the memory of an idle server is read.
const SETTLE: Duration = Duration::from_secs(3);
/// Start-ups measured; the middle one counts.
const STARTS: usize = 5;

/// A single domain without peers or clients.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Alone {
    /// From starting the process to the answer to the first `{hi}`.
    pub(crate) start_ms: f64,
    /// A while later.
    pub(crate) rss_kib: u64,
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running `freehold demo`.
pub(crate) struct Demo {
    process: Running,
    _folder: TempDir,
    pub(crate) network: Network,
}

impl Demo {
    /// Starts it in a folder of its own and waits until every domain is ready.
    pub(crate) async fn start(binary: &Path) -> Result<Self> {
        let folder = folder()?;
        let mut command = Command::new(binary);
        command
            .args(["demo", "--json", "--port", "0", "--dir"])
            .arg(folder.path());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = spawn(&mut command)?;
        let output = child.0.stdout.take().ok_or("the demo has no output")?;
        let line = spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let line = timeout(READY_WITHIN, line).await;
        let line = line.map_err(|_| "the demo does not become ready".to_owned())?;
        let line = line.map_err(|error| error.to_string())?;
        let line = line.map_err(|error| format!("the demo's output: {error}"))?;
        Ok(Self {
            process: child,
            network: Network::parse(&line)?,
            _folder: folder,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.0.id()
    }
}

/// Sets up one domain and measures it several times.
pub(crate) async fn measure_alone(binary: &Path) -> Result<Alone> {
    let folder = folder()?;
    let (config, client) = set_up(binary, folder.path())?;
    let mut starts = Vec::new();
    let mut rss_kib = 0;
    for _ in 0..STARTS {
        let begun = Instant::now();
        let process = serve(binary, &config)?;
        answers(client).await?;
        starts.push(begun.elapsed().as_secs_f64() * 1000.0);
        if starts.len() == STARTS {
            sleep(SETTLE).await;
            rss_kib = resident_kib(process.0.id())?;
        }
    }
    starts.sort_by(f64::total_cmp);
    let start_ms = starts.get(STARTS / 2).copied().unwrap_or_default();
    Ok(Alone { start_ms, rss_kib })
}

/// Makes keys and a configuration; returns the latter's path and where clients will connect to.
fn set_up(binary: &Path, folder: &Path) -> Result<(PathBuf, SocketAddr)> {
    let mut command = Command::new(binary);
    command
        .args(["init", "--domain", "alone.test", "--data"])
        .arg(folder);
    let output = command
        .output()
        .map_err(|error| format!("freehold init: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "freehold init ended with {}: {said}",
            output.status
        ));
    }
    let free = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let client = free.map_err(|error| format!("no free port: {error}"))?;
    let config = folder.join("bench.toml");
    let text = format!(
        "domain = \"alone.test\"\n[clients]\nlisten = \"{client}\"\n\
         [federation]\nlisten = \"127.0.0.1:0\"\nnameserver = \"127.0.0.1:9\"\n"
    );
    fs::write(&config, text).map_err(|error| format!("{}: {error}", config.display()))?;
    Ok((config, client))
}

fn serve(binary: &Path, config: &Path) -> Result<Running> {
    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(config);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    spawn(&mut command)
}

/// Waits until a `{hi}` is answered.
async fn answers(client: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match Session::open(&format!("http://{client}")).await {
            Ok(_) => return Ok(()),
            Err(why) if Instant::now() > deadline => return Err(why),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// Resident memory of a process.
pub(crate) fn resident_kib(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = rss.and_then(|it| it.split_whitespace().next()?.parse().ok());
    number.ok_or_else(|| format!("{path} does not tell VmRSS"))
}

/// Size of a file.
pub(crate) fn size(file: &Path) -> Result<u64> {
    let metadata = fs::metadata(file);
    let metadata = metadata.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(metadata.len())
}

fn spawn(command: &mut Command) -> Result<Running> {
    let started = command.spawn().map(Running);
    started.map_err(|error| {
        format!(
            "{} does not start: {error}",
            command.get_program().display()
        )
    })
}

fn folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("freehold-bench-").tempdir();
    folder.map_err(|error| format!("no folder to work in: {error}"))
}
