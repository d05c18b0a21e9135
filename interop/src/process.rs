//! One server process: started, killed, stopped, and its last words.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{Failure, Result};

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(10);
/// Lines of output shown when something failed.
const TAIL_LINES: usize = 30;

/// A running process. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`; everything it says is appended to the file `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let mut start = || {
            let file = OpenOptions::new().create(true).append(true).open(log)?;
            command
                .stdin(Stdio::null())
                .stdout(file.try_clone()?)
                .stderr(file)
                .spawn()
        };
        let child = start().map_err(|error| Failure::harness(format!("start {name}"), error))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; none while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let ended = self.child.try_wait();
        ended.map_err(|error| Failure::harness(format!("look after {}", self.name), error))
    }

    /// SIGKILL: the process gets no chance to do anything more.
    pub fn kill(&mut self) -> Result<()> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        match killed {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::harness(format!("kill {}", self.name), error)),
        }
    }

    /// SIGTERM, then waits for the end, at most for `within`.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        // The shell's own `kill`: sending a signal from Rust takes unsafe code or one more library.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -TERM {}", self.id())])
            .status();
        if let Err(error) = sent {
            return Err(Failure::harness(format!("stop {}", self.name), error));
        }
        self.wait(within).await
    }

    /// Waits for the end, at most for `within`.
    pub async fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                return Err(Failure::Late {
                    awaited: format!("the end of {}", self.name),
                    after: within,
                });
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that ends by itself and returns what it printed.
pub(crate) async fn output(
    name: &str,
    command: Command,
    log: &Path,
    within: Duration,
) -> Result<String> {
    let mut process = Process::start(name, command, log)?;
    let status = process.wait(within).await?;
    if status.success() {
        let text = fs::read_to_string(log);
        text.map_err(|error| Failure::harness(format!("read {}", log.display()), error))
    } else {
        Err(Failure::Broken(format!(
            "{name} ended with {status}:\n{}",
            tail(log)
        )))
    }
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    let text = match fs::read(log) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return format!("({}: {error})", log.display()),
    };
    let lines: Vec<_> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}
