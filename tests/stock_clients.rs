//! Stock clients against a demonstration of two domains: the Tinode SDK in Node, the Tinode web app in
//! Chromium, and the Tinode stubs for Python over gRPC. What they do and expect is in `tests/clients/`;
//! pictures of the web app go to `target/screenshots`.

#![cfg(feature = "demo")]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::time::Instant;

/// Time for both domains to be ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longer than the drivers give themselves.
const PLAYED_WITHIN: Duration = Duration::from_secs(180);
const ENDED_WITHIN: Duration = Duration::from_secs(30);

/// The drivers judge what people see in time; they take turns at the processors.
static STAGE: Mutex<()> = Mutex::new(());

#[test]
fn the_stock_sdk_talks_across_two_domains() {
    play("sdk.mjs", &[]);
}

#[test]
fn the_stock_sdk_talks_by_long_polling() {
    play("polling.mjs", &[]);
}

#[test]
fn the_stock_web_app_talks_across_two_domains() {
    need("/usr/bin/chromium", "make chromium");
    let shots = target().join("screenshots");
    play(
        "web.mjs",
        &["--shots", shots.to_str().expect("a plain path")],
    );
}

#[test]
fn the_stock_stubs_for_python_make_a_bot_that_answers() {
    let python = target().join("grpc-venv/bin/python");
    let python = python.to_str().expect("a plain path");
    need(python, "make grpc-venv");
    run(python, "grpc_bot.py", &[]);
}

/// Runs a driver in Node.
fn play(driver: &str, options: &[&str]) {
    need("tests/clients/node_modules/tinode-sdk", "make test");
    need("web/dist/index.html", "make web");
    run("node", driver, options);
}

/// Runs a driver on a fresh network and shows what it said when a scene failed.
fn run(program: &str, driver: &str, options: &[&str]) {
    let _turn = STAGE.lock();
    let mut demo = Demo::start();
    let said = demo.folder.path().join("said");
    let output = File::create(&said).expect("the folder is ours");
    let mut command = Command::new(program);
    command
        .arg(root().join("tests/clients").join(driver))
        .args(options)
        .arg(&demo.network)
        .stdout(output.try_clone().expect("a file can be shared"))
        .stderr(output);
    let player = command.spawn().expect("it is installed and on the path");
    let status = Process(player).wait(PLAYED_WITHIN);
    let said = fs::read_to_string(said).expect("a driver says text");
    let good = status.is_some_and(|it| it.success());
    assert!(
        good,
        "{driver} ended with {status:?} after it said:\n{said}"
    );
    demo.stop();
}

fn target() -> &'static Path {
    let within = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    within.expect("it lies in the target folder")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn need(path: &str, command: &str) {
    let there = root().join(path).exists();
    assert!(
        there,
        "{path} is missing: run `{command}` in the checkout first"
    );
}

/// A demonstration of two domains.
struct Demo {
    process: Process,
    /// The file with the line that it said when it was ready.
    network: PathBuf,
    folder: TempDir,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
        command
            .args(["demo", "--json", "--port", "0", "--dir"])
            .arg(folder.path().join("demo"))
            .arg("--web-root")
            .arg(root().join("web/dist"))
            .stdout(Stdio::piped());
        let mut process = Process(command.spawn().expect("it starts"));
        let output = process.0.stdout.take().expect("it is piped");
        let (told, line) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            told.send(read.map(|_| line))
        });
        let line = line
            .recv_timeout(READY_WITHIN)
            .expect("it is ready in time");
        let network = folder.path().join("network");
        fs::write(&network, line.expect("it says text")).expect("the folder is ours");
        Self {
            process,
            network,
            folder,
        }
    }

    /// SIGTERM ends it in good order.
    fn stop(&mut self) {
        let pid = self.process.0.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.expect("kill runs").success());
        let status = self.process.wait(ENDED_WITHIN);
        assert!(status.is_some_and(|it| it.success()), "SIGTERM: {status:?}");
    }
}

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    /// How it ended, if it did in time.
    fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            let ended = self.0.try_wait().expect("it is our child");
            if ended.is_some() || Instant::now() > deadline {
                return ended;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already where the test succeeds.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}
