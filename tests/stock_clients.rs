//! Stock clients against a demonstration of two domains, and against one strict domain: the Tinode SDK
//! in Node, the Tinode web app in Chromium, and the Tinode stubs for Python over gRPC. What they do and
//! expect is in `tests/clients/`; pictures of the web app go to `target/screenshots`.

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

use freehold_interop::{Network, Timeline};
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
fn the_stock_sdk_sends_and_fetches_files() {
    play("files.mjs", &[]);
}

#[test]
fn the_stock_web_app_talks_across_two_domains() {
    need("/usr/bin/chromium", "make debian");
    play("web.mjs", &["--shots", plain(&shots())]);
}

#[test]
fn the_stock_web_app_has_a_group_with_members_of_three_domains_of_which_one_is_killed() {
    need("/usr/bin/chromium", "make debian");
    need("tests/clients/node_modules/tinode-sdk", "make test");
    need("web/dist/index.html", "make web");
    let _turn = STAGE.lock();
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let mut network = runtime.block_on(three_domains());
    let stage = tempfile::tempdir().expect("there is room for a folder");
    let told = stage.path().join("network");
    fs::write(&told, told_of(&mut network)).expect("the folder is ours");
    let shots = shots();
    thread::scope(|scope| {
        let (folder, told) = (stage.path(), &told);
        let options = [
            "--shots",
            plain(&shots),
            "--stage",
            plain(folder),
            plain(told),
        ];
        let playing = scope.spawn(move || run("node", "web_abroad.mjs", &options));
        let gamma = network.domain(2).expect("there are three");
        // The driver asks by files, and is answered by files.
        while !playing.is_finished() {
            if fs::remove_file(folder.join("kill")).is_ok() {
                gamma.kill().expect("it runs");
                fs::write(folder.join("killed"), "").expect("the folder is ours");
            }
            if fs::remove_file(folder.join("start")).is_ok() {
                runtime.block_on(gamma.start()).expect("it starts again");
                fs::write(folder.join("started"), "").expect("the folder is ours");
            }
            thread::sleep(Duration::from_millis(20));
        }
        playing.join().expect("the app does as it should");
    });
}

/// Three domains, each a process of its own that serves the web app.
async fn three_domains() -> Network {
    let names = ["alpha.test", "beta.test", "gamma.test"];
    let network = Network::set_up(&names, 0, Timeline::default()).await;
    let mut network = network.expect("domains can be set up");
    let app = format!("web_root = {:?}", root().join("web/dist"));
    for index in 0..names.len() {
        let domain = network.domain(index).expect("there are three");
        domain.config.clients_lines.push(app.clone());
        domain.start().await.expect("it starts");
    }
    network
}

/// The network as the demonstration tells of its own.
fn told_of(network: &mut Network) -> String {
    let domains: Vec<_> = (0..network.len())
        .filter_map(|index| network.endpoint(index).ok())
        .map(|it| serde_json::json!({"domain": it.domain.to_string(), "client": format!("http://{}", it.client), "users": []}))
        .collect();
    serde_json::json!({ "domains": domains }).to_string() + "\n"
}

#[test]
fn the_stock_web_app_has_groups_channels_files_and_settings() {
    need("/usr/bin/chromium", "make debian");
    play_alone("web_groups.mjs", &["--shots", plain(&shots())]);
}

#[test]
fn a_group_of_another_domain_is_found_by_a_word_in_the_stock_web_app_and_joined() {
    need("/usr/bin/chromium", "make debian");
    need("tests/clients/node_modules/tinode-sdk", "make test");
    need("web/dist/index.html", "make web");
    let _turn = STAGE.lock();
    let mut demo = Demo::start_with(&["--directory", "--domains", "3"]);
    let network = demo.network.clone();
    let shots = shots();
    let arguments = ["--shots", plain(&shots), plain(&network)];
    run("node", "web_directory.mjs", &arguments);
    demo.stop();
}

#[test]
fn the_stock_stubs_for_python_make_a_bot_that_answers() {
    let python = target().join("grpc-venv/bin/python");
    need(plain(&python), "make grpc-venv");
    let _turn = STAGE.lock();
    let mut demo = Demo::start();
    let network = demo.network.clone();
    run(plain(&python), "grpc_bot.py", &[plain(&network)]);
    demo.stop();
}

#[test]
fn a_bot_that_hosts_the_stock_plugin_service_greets_whoever_is_new() {
    let python = target().join("grpc-venv/bin/python");
    need(plain(&python), "make grpc-venv");
    let _turn = STAGE.lock();
    let domain = Domain::init(&format!("{OPEN}grpc_listen = \"127.0.0.1:0\"\n"), "");
    let (plugin, address) = (domain.data.join("plugin"), domain.data.join("address"));
    thread::scope(|scope| {
        // The two learn of each other by files: what each listens on, once it listens.
        let arguments = [plain(&plugin), plain(&address)];
        let playing = scope.spawn(move || run(plain(&python), "grpc_greeter.py", &arguments));
        let deadline = Instant::now() + READY_WITHIN;
        while !plugin.exists() && !playing.is_finished() {
            assert!(Instant::now() < deadline, "the plugin does not begin");
            thread::sleep(Duration::from_millis(20));
        }
        let section = fs::read_to_string(&plugin).unwrap_or_default();
        let settings = fs::read_to_string(&domain.config).expect("it is ours");
        fs::write(&domain.config, settings + &section).expect("it is ours");
        let (mut served, grpc) = serve_and_tell(&domain.config, "grpc");
        fs::write(address.with_extension("new"), grpc).expect("the folder is ours");
        fs::rename(address.with_extension("new"), &address).expect("the folder is ours");
        playing.join().expect("the bot does as it should");
        terminate(&mut served);
    });
}

#[test]
fn stock_clients_make_and_keep_accounts_where_invitation_and_address_are_asked_for() {
    need("/usr/bin/chromium", "make debian");
    need("tests/clients/node_modules/tinode-sdk", "make test");
    need("web/dist/index.html", "make web");
    let _turn = STAGE.lock();
    let asks = "registration = \"invite\"\nrequired_credentials = [\"email\"]\n";
    let domain = Domain::init(asks, "[mail]\nfolder = \"mail\"\n");
    let config = plain(&domain.config);
    let said = freehold(&["invite", "new", "--uses", "9", "--config", config]);
    let invitation = said.split([' ', ',']).nth(1).expect("it says the code");
    let (mut served, url) = serve(&domain.config);
    let mails = domain.data.join("mail");
    run(
        "node",
        "accounts.mjs",
        &[&url, "alpha.test", plain(&mails), invitation],
    );
    terminate(&mut served);
}

#[test]
fn the_stock_sdk_has_all_that_it_can_ask_for() {
    play_alone("parity.mjs", &[]);
}

#[test]
fn the_stock_sdk_talks_over_tls_by_websocket_and_long_polling() {
    need("tests/clients/node_modules/tinode-sdk", "make test");
    let _turn = STAGE.lock();
    let shown = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
    let shown = shown.expect("a certificate is made");
    let domain = Domain::init(
        &format!("{OPEN}tls_certificate = \"chain.pem\"\ntls_key = \"tls.pem\"\n"),
        "",
    );
    let chain = domain.data.join("chain.pem");
    fs::write(&chain, shown.cert.pem()).expect("the folder is ours");
    let key = shown.signing_key.serialize_pem();
    fs::write(domain.data.join("tls.pem"), key).expect("the folder is ours");
    let (mut served, address) = serve_and_tell(&domain.config, "clients");
    let url = format!("https://{address}/");
    let believes = [("NODE_EXTRA_CA_CERTS", plain(&chain))];
    run_where("node", "secure.mjs", &[&url, "alpha.test"], &believes);
    terminate(&mut served);
}

/// Runs a driver on one domain that is open to everybody and has calls.
fn play_alone(driver: &str, options: &[&str]) {
    need("tests/clients/node_modules/tinode-sdk", "make test");
    need("web/dist/index.html", "make web");
    let _turn = STAGE.lock();
    let domain = Domain::init(OPEN, CALLS);
    let (mut served, url) = serve(&domain.config);
    run("node", driver, &[options, &[&url, "alpha.test"]].concat());
    terminate(&mut served);
}

fn shots() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let target = target.expect("it lies in the target folder");
    target.join("screenshots")
}

const OPEN: &str = "registration = \"open\"\n";
const CALLS: &str = "[calls]\nice_urls = [\"stun:127.0.0.1:3478\"]\n";

/// A domain of its own, in a folder of its own.
struct Domain {
    data: PathBuf,
    config: PathBuf,
    _folder: TempDir,
}

impl Domain {
    /// With these lines about clients, and these sections.
    fn init(clients: &str, sections: &str) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let data = folder.path().join("alpha");
        freehold(&["init", "--domain", "alpha.test", "--data", plain(&data)]);
        let config = data.join("freehold.toml");
        let web = root().join("web/dist");
        let settings = format!(
            "domain = \"alpha.test\"\n[clients]\nlisten = \"127.0.0.1:0\"\nweb_root = {web:?}\n\
             {clients}[federation]\nlisten = \"127.0.0.1:0\"\n{sections}"
        );
        fs::write(&config, settings).expect("the folder is ours");
        Self {
            data,
            config,
            _folder: folder,
        }
    }
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Runs a command to its end; what it said.
fn freehold(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    let output = command.args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it says text")
}

/// Serves one domain; the process, and where clients connect.
fn serve(config: &Path) -> (Process, String) {
    let (process, address) = serve_and_tell(config, "clients");
    (process, format!("http://{address}/"))
}

/// Serves one domain; the process, and the address that its log tells under this name.
fn serve_and_tell(config: &Path, name: &'static str) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command
        .args(["serve", "--json-logs", "--config", plain(config)])
        .stderr(Stdio::piped());
    let mut process = Process(command.spawn().expect("it starts"));
    let log = process.0.stderr.take().expect("it is piped");
    let (told, address) = mpsc::sync_channel(1);
    // Reads to the end, so that the server never waits for somebody to read its log.
    thread::spawn(move || {
        for line in BufReader::new(log).lines().map_while(Result::ok) {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = line["fields"][name].as_str() {
                // Told once; nobody listens any more afterwards.
                let _told = told.try_send(address.to_owned());
            }
        }
    });
    let url = address
        .recv_timeout(READY_WITHIN)
        .expect("it serves in time");
    (process, url)
}

/// Runs a driver in Node on a fresh network.
fn play(driver: &str, options: &[&str]) {
    need("tests/clients/node_modules/tinode-sdk", "make test");
    need("web/dist/index.html", "make web");
    let _turn = STAGE.lock();
    let mut demo = Demo::start();
    let network = demo.network.clone();
    run("node", driver, &[options, &[plain(&network)]].concat());
    demo.stop();
}

/// Runs a driver and shows what it said when a scene failed.
fn run(program: &str, driver: &str, arguments: &[&str]) {
    run_where(program, driver, arguments, &[]);
}

/// The same with variables of the environment.
fn run_where(program: &str, driver: &str, arguments: &[&str], variables: &[(&str, &str)]) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let said = folder.path().join("said");
    let output = File::create(&said).expect("the folder is ours");
    let mut command = Command::new(program);
    command
        .arg(root().join("tests/clients").join(driver))
        .args(arguments)
        .envs(variables.iter().copied())
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
}

/// SIGTERM ends a process of ours in good order.
fn terminate(process: &mut Process) {
    let pid = process.0.id().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(told.expect("kill runs").success());
    let status = process.wait(ENDED_WITHIN);
    assert!(status.is_some_and(|it| it.success()), "SIGTERM: {status:?}");
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
    _folder: TempDir,
}

impl Demo {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
        command
            .args(["demo", "--json", "--port", "0", "--dir"])
            .arg(folder.path().join("demo"))
            .arg("--web-root")
            .arg(root().join("web/dist"))
            .args(options)
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
            _folder: folder,
        }
    }

    fn stop(&mut self) {
        terminate(&mut self.process);
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
