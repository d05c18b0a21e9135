//! The suite against servers that it did not start: two of ours that play somebody else's, each told once what
//! the suite prints, and left alone.

#![expect(
    clippy::unwrap_used,
    reason = "a step that cannot be taken fails its test"
)]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Output},
    thread::sleep,
    time::Duration,
};

use freehold_interop::{Process, freehold_binary};
use tempfile::TempDir;
use tokio::time::Instant;

const UP_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Cases that are quick, and need each a thing of its own: a second server, a hello by hand, odd frames.
const PLAYED: [&str; 7] = [
    "store_what_you_serve",
    "home_integrity",
    "raw_bytes_verified",
    "strict_ed25519",
    "mutual_tls_no_eku",
    "framing_isolation",
    "auth_vectors",
];
/// Cases of which each needs something else of the server, and how that is said.
const NOT_PLAYED: [(&str, &str); 5] = [
    ("tokens_survive", "to configure, stop and start the server"),
    (
        "kill_before_ack",
        "to tell the server by test hooks what to do",
    ),
    ("srv_failover", "to give commands as the server's operator"),
    (
        "gap_repair",
        "to look into the server's log, files or memory",
    ),
    ("exactly_once", "to cut the ways between servers"),
];

/// A server that somebody else runs. Killed when dropped.
struct Elsewhere {
    domain: &'static str,
    federation: SocketAddr,
    client: SocketAddr,
    process: Process,
}

impl Elsewhere {
    fn starts(domain: &'static str, dns: SocketAddr, folder: &Path) -> Self {
        let folder = folder.join(domain);
        fs::create_dir(&folder).unwrap();
        let (federation, client) = (free(), free());
        let config = format!(
            "domain = \"{domain}\"\ndata_dir = \".\"\nkeys_dir = \"keys\"\n\
             [clients]\nlisten = \"{client}\"\nregistration = \"open\"\n\
             [federation]\nlisten = \"{federation}\"\nnameserver = \"{dns}\"\ntrust = \"dns\"\n\
             allowed_ranges = [\"127.0.0.1/32\"]\nretry_longest_seconds = 2\n"
        );
        fs::write(folder.join("their.toml"), config).unwrap();
        let server = freehold_binary().unwrap();
        let init = Command::new(&server)
            .args(["init", "--domain", domain, "--data"])
            .arg(&folder)
            .output();
        assert!(init.unwrap().status.success());
        let mut serve = Command::new(server);
        serve
            .arg("serve")
            .arg("--config")
            .arg(folder.join("their.toml"));
        Self {
            domain,
            federation,
            client,
            process: Process::start(domain, serve, &folder.join("log")).unwrap(),
        }
    }

    fn is_up(&self) {
        let deadline = Instant::now() + UP_WITHIN;
        for at in [self.federation, self.client] {
            while std::net::TcpStream::connect(at).is_err() {
                assert!(
                    Instant::now() < deadline,
                    "{} does not come up",
                    self.domain
                );
                sleep(POLL);
            }
        }
    }

    fn target(&self) -> String {
        format!("{}={},client={}", self.domain, self.federation, self.client)
    }
}

/// Of this machine, below the ports of outgoing connections.
fn free() -> SocketAddr {
    loop {
        let chosen = u16::from_le_bytes(freehold_keys::random::<2>().unwrap());
        let at = SocketAddr::from(([127, 0, 0, 1], 10_000 + chosen % 20_000));
        if TcpListener::bind(at).is_ok() {
            return at;
        }
    }
}

fn suite(dns: SocketAddr, targets: &[String], more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold-interop"));
    command.args(["run", "--dns-port", &dns.port().to_string()]);
    for target in targets {
        command.args(["--target", target]);
    }
    command.args(more).output().unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_suite_is_pointed_at_servers_that_it_did_not_start() {
    let folder = TempDir::new().unwrap();
    let dns = free();
    let mut servers =
        ["one.example", "two.example"].map(|it| Elsewhere::starts(it, dns, folder.path()));
    servers.iter().for_each(Elsewhere::is_up);
    let targets = servers.each_ref().map(Elsewhere::target);
    let report = folder.path().join("report");
    let mut more = vec!["--report", report.to_str().unwrap()];
    more.extend(PLAYED);
    more.extend(NOT_PLAYED.map(|it| it.0));

    let played = suite(dns, &targets, &more);

    let said = words(&played);
    assert!(played.status.success(), "{said}");
    // What the targets must be told, plainly.
    for part in [
        format!("ask the DNS server {dns}"),
        format!("nameserver = \"{dns}\""),
        "trust = \"dns\"".to_owned(),
        "allowed_ranges = [\"127.0.0.1/32\"]".to_owned(),
        "one.example shows its record, root=".to_owned(),
    ] {
        assert!(said.contains(&part), "{part:?} is not in {said}");
    }
    let junit = fs::read_to_string(report.join("junit.xml")).unwrap();
    let page = fs::read_to_string(report.join("index.html")).unwrap();
    let totals = format!(
        "tests=\"{}\" failures=\"0\" skipped=\"{}\"",
        PLAYED.len() + NOT_PLAYED.len(),
        NOT_PLAYED.len()
    );
    assert!(junit.contains(&totals), "{junit}");
    for name in PLAYED {
        let row = junit
            .split("<testcase")
            .find(|it| it.contains(&format!("name=\"{name}\"")));
        assert!(
            row.is_some_and(|it| !it.contains("<skipped")),
            "{name}: {row:?}"
        );
    }
    for (name, why) in NOT_PLAYED {
        let row = junit
            .split("<testcase")
            .find(|it| it.contains(&format!("name=\"{name}\"")));
        assert!(
            row.is_some_and(|it| it.contains("not played: needs") && it.contains(why)),
            "{name}: {row:?}"
        );
        assert!(page.contains(why) && said.contains(why), "{why}");
    }
    // The page tells of the servers by their own names.
    assert!(page.contains("one.example") && !page.contains("alpha.test"));
    for server in &mut servers {
        assert_eq!(server.process.ended().unwrap(), None, "{}", server.domain);
    }

    // One of them alone, without its clients.
    let alone = format!("{}={}", servers[0].domain, servers[0].federation);
    let played = suite(dns, &[alone], &["strict_ed25519", "raw_bytes_verified"]);
    let said = words(&played);
    assert!(played.status.success(), "{said}");
    for why in [
        "not played: needs people at one.example, whose address for clients was not given",
        "not played: needs 2 servers, and there is 1",
    ] {
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_target_that_is_not_there_is_said_at_once() {
    let nobody = free();
    let played = suite(
        free(),
        &[format!("nobody.example={nobody}")],
        &["strict_ed25519"],
    );
    let said = words(&played);
    assert!(!played.status.success());
    assert!(said.contains("nobody.example"), "{said}");
    assert!(!said.contains("strict_ed25519"), "{said}");
}
