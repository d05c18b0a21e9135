//! The program from outside: what its commands leave behind, say, and exit with.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
};

use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A demonstration that does not outlive its test.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended already where the test succeeds.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments);
    command
}

#[track_caller]
fn check(arguments: &[&str], exit_code: i32, said: &str) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command(arguments).output().expect("the program runs");
    let output = String::from_utf8_lossy(&stdout).into_owned();
    let all = format!("{output}{}", String::from_utf8_lossy(&stderr));
    assert_eq!(status.code(), Some(exit_code), "{arguments:?} says {all}");
    assert!(
        all.contains(said),
        "{arguments:?} does not say {said:?} but {all}"
    );
    output
}

fn path(folder: &Path, name: &str) -> String {
    folder
        .join(name)
        .to_str()
        .expect("temporary folders have plain names")
        .to_owned()
}

#[test]
fn init_makes_a_domain_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made");
    let init = ["init", "--domain", "Example.ORG", "--data", &data];
    let output = check(&init, 0, "The domain example.org is made.");
    assert!(output.contains("_freehold._tcp.example.org. IN SRV 0 0 6269 example.org."));
    assert!(output.contains("_freehold.example.org. IN TXT \"v=fh1; root="));
    assert!(output.contains("Recovery phrase."));
    for key in ["root", "signing", "tls", "token"] {
        let file = fs::metadata(format!("{data}/keys/{key}.key")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{key}");
    }
    let root = fs::read(format!("{data}/keys/root.key")).unwrap();
    check(&init, 1, "there are keys");
    assert_eq!(fs::read(format!("{data}/keys/root.key")).unwrap(), root);

    // The configuration is never overwritten either, and no keys are left without one.
    fs::remove_dir_all(format!("{data}/keys")).unwrap();
    check(&init, 1, "freehold.toml cannot be made");
    assert!(!Path::new(&data).join("keys").exists());
}

#[test]
fn init_refuses_what_is_not_a_domain_name() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made");
    check(
        &["init", "--domain", "192.0.2.1", "--data", &data],
        64,
        "IP address",
    );
    assert!(!Path::new(&data).exists());
}

#[test]
fn a_wrong_configuration_is_refused_with_all_its_mistakes_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let config = path(folder.path(), "freehold.toml");
    fs::write(
        &config,
        "domain = \"a.test\"\nport = 1\n[clients]\nlisten = 6060\n",
    )
    .unwrap();
    check(&["serve", "--config", &config], 64, "port is not a key");
    check(
        &["serve", "--config", &config],
        64,
        "clients.listen must be a text in quotes",
    );
    check(
        &["check", "--config", &config],
        1,
        "clients.listen must be a text in quotes",
    );
    check(
        &["serve", "--config", "/nowhere/freehold.toml"],
        64,
        "cannot be read",
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_account_is_made_once_and_only_for_this_domain() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made");
    check(
        &["init", "--domain", "a.test", "--data", &data],
        0,
        "a.test",
    );
    let config = format!("{data}/freehold.toml");
    let add = |address| ["user", "add", address, "--config", &config];
    check(&add("alice@b.test"), 64, "b.test is another domain");
    check(&add("alice@A.test"), 0, "Password: ");
    check(&add("alice@a.test"), 1, "taken");
}

#[test]
fn accounts_and_invitations_are_managed_and_the_trail_tells_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made");
    check(
        &["init", "--domain", "a.test", "--data", &data],
        0,
        "a.test",
    );
    let config = format!("{data}/freehold.toml");
    let on = |words: &[&str], code, said: &str| {
        let arguments = [words, &["--config", &config]].concat();
        check(&arguments, code, said)
    };
    on(
        &["user", "add", "ann@a.test", "--root"],
        0,
        "has an account",
    );
    on(&["user", "add", "bob@a.test"], 0, "has an account");
    on(&["user", "suspend", "bob@a.test"], 0, "is suspended.");
    on(
        &["user", "suspend", "bob@a.test"],
        0,
        "is suspended, as before.",
    );
    on(&["user", "resume", "bob@a.test"], 0, "may log in.");
    on(&["user", "grant", "bob@a.test"], 0, "is an administrator.");
    on(&["user", "revoke", "bob@a.test"], 0, "is no administrator.");
    on(&["user", "password", "bob@a.test"], 0, "Password: ");
    on(&["user", "delete", "bob@a.test"], 0, "is deleted.");
    on(
        &["user", "suspend", "bob@a.test"],
        1,
        "there is no such account",
    );
    on(
        &["user", "approve", "bob@b.test"],
        64,
        "b.test is another domain",
    );

    let said = on(
        &["invite", "new", "--uses", "3", "--note", "family"],
        0,
        "NAME+",
    );
    let code = said.split([' ', ',']).nth(1).unwrap();
    on(&["invite", "list"], 0, "left 3  family");
    on(&["invite", "revoke", code], 0, "is taken back.");
    on(&["invite", "revoke", code], 64, "There is no invitation");
    on(
        &["invite", "new", "--uses", "0"],
        2,
        "0 is not in 1..=10000",
    );

    let trail = on(&["audit"], 0, "operator");
    let acts: Vec<&str> = trail
        .lines()
        .map(|it| it.rsplit("  ").next().unwrap())
        .collect();
    let newest_first = [
        "invitation revoked",
        "invitation made",
        "delete",
        "secret",
        "level auth",
        "level root",
        "state ok",
        "state susp",
        "create root",
    ];
    assert_eq!(acts, newest_first);
    assert_eq!(
        on(&["audit", "--limit", "1"], 0, "revoked").lines().count(),
        1
    );
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_says_one_line_keeps_its_passwords_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let dir = path(folder.path(), "demo");
    let first = demo_once(&dir);
    assert_eq!(first["ready"], true);
    let domains = first["domains"].as_array().unwrap();
    let names: Vec<_> = domains
        .iter()
        .map(|it| it["domain"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["alpha.test", "beta.test", "gamma.test"]);
    assert!(
        domains[0]["client"]
            .as_str()
            .unwrap()
            .starts_with("http://127.0.0.1:")
    );
    assert_eq!(domains[2]["users"][0]["address"], "carol@gamma.test");
    let mode = fs::metadata(format!("{dir}/passwords"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let second = demo_once(&dir);
    assert_eq!(second["domains"][1]["users"], first["domains"][1]["users"]);
}

/// The answer of a web server on this machine.
fn get(server: &str, path: &str) -> String {
    let address = server.strip_prefix("http://").unwrap_or(server);
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("it answers");
    answer
}

/// Starts a demonstration, reads its line, checks what can be seen while it runs, and stops it.
#[cfg(feature = "demo")]
fn demo_once(dir: &str) -> serde_json::Value {
    let arguments = [
        "demo",
        "--json",
        "--port",
        "0",
        "--domains",
        "3",
        "--directory",
        "--dir",
        dir,
    ];
    let mut demo = Demo(
        command(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts"),
    );
    let mut output = BufReader::new(demo.0.stdout.take().expect("it is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("it says a line");

    let told: serde_json::Value = serde_json::from_str(&line).expect("the line is JSON");
    let node = told["directory"]
        .as_str()
        .expect("it says where the directory is");
    let found = get(node, "/v1/domains/gamma.test");
    assert!(
        found.contains("\"found\":true") && found.contains("\"agrees\":true"),
        "{found}"
    );

    let config = format!("{dir}/alpha.test/freehold.toml");
    check(&["check", "--config", &config], 0, "names our root key");
    check(
        &["user", "add", "zoe@alpha.test", "--config", &config],
        1,
        "Stop it first",
    );

    let pid = demo.0.id().to_string();
    let killed = Command::new("kill")
        .args(["-TERM", &pid])
        .status()
        .expect("kill runs");
    assert!(killed.success());
    assert!(demo.0.wait().expect("it ends").success());
    let mut rest = String::new();
    output.read_line(&mut rest).expect("its output ends");
    assert_eq!(rest, "", "it says one line only");
    told
}

/// Two domains whose ports are known before they run: the first, and the process. It takes four ports that lie
/// apart, of which others may have one; then it is tried elsewhere.
fn demo_somewhere(dir: &str) -> (String, Demo) {
    for _ in 0..10 {
        let port = free_port().to_string();
        let arguments = [
            "demo",
            "--json",
            "--port",
            &port,
            "--domains",
            "2",
            "--dir",
            dir,
        ];
        let demo = command(&arguments).stdout(Stdio::piped()).spawn();
        let mut demo = Demo(demo.expect("it starts"));
        let output = demo.0.stdout.take().expect("it is piped");
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        if read.is_ok_and(|it| it > 0) {
            return (port, demo);
        }
    }
    panic!("no ports were free for the demonstration");
}

#[test]
fn check_says_whether_clients_are_led_to_the_domain_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = path(folder.path(), "demo");
    let (port, mut demo) = demo_somewhere(&dir);
    let config = |name: &str| format!("{dir}/{name}/freehold.toml");
    let (alpha, beta) = (config("alpha.test"), config("beta.test"));
    let told = "leads here, and clients are told so";
    check(&["check", "--config", &alpha], 0, told);
    // Beta says that its people are where alpha is.
    let text = fs::read_to_string(&beta).unwrap();
    let number: u16 = port.parse().unwrap();
    let (theirs, alphas) = (number + 1, number);
    let of = |port: u16| format!("public_url = \"http://127.0.0.1:{port}\"");
    assert!(text.contains(&of(theirs)), "{text}");
    fs::write(&beta, text.replace(&of(theirs), &of(alphas))).unwrap();
    check(
        &["check", "--config", &beta],
        1,
        "its client document is of another domain",
    );
    // And then that nobody is told.
    fs::write(&beta, text.replace(&of(theirs), "")).unwrap();
    let note = "does not tell where its people's clients connect";
    check(&["check", "--config", &beta], 0, note);
    // Behind a web server with a certificate, which has to be one that is believed.
    let authority = path(folder.path(), "authority.pem");
    let (web, _runtime) = web_server_before(alphas, Path::new(&authority));
    let text = fs::read_to_string(&alpha).unwrap();
    let url = format!("public_url = \"https://127.0.0.1:{web}\"");
    let text = text.replace(&of(alphas), &url);
    fs::write(&alpha, &text).unwrap();
    check(
        &["check", "--config", &alpha],
        1,
        "invalid peer certificate: UnknownIssuer",
    );
    let believed = format!("[federation]\nwell_known_ca = \"{authority}\"\n");
    fs::write(&alpha, text.replace("[federation]\n", &believed)).unwrap();
    // It answers; but the server still says what it was started with.
    let stale = format!("not below https://127.0.0.1:{web}/: start the server anew");
    check(&["check", "--config", &alpha], 1, &stale);
    let pid = demo.0.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert!(demo.0.wait().unwrap().success());
    let note = "can be told while the server is running";
    check(&["check", "--config", &alpha], 1, note);
}

/// A web server that ends TLS before a port of this machine, as long as the runtime is kept. Its port; the
/// certificate of its authority goes to a file.
fn web_server_before(port: u16, authority: &Path) -> (u16, tokio::runtime::Runtime) {
    let key = rcgen::KeyPair::generate().expect("a key is made");
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .and_then(|it| it.self_signed(&key))
        .expect("a certificate is made");
    fs::write(authority, leaf.pem()).expect("it is written");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("it is a key");
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("they belong together");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a port is free");
    let own = listener.local_addr().expect("it is bound").port();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let inside = TcpStream::connect(("127.0.0.1", port)).await;
            if let (Ok(mut outside), Ok(mut inside)) = (acceptor.accept(stream).await, inside) {
                let _carried = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
            }
        }
    });
    (own, runtime)
}

/// Types lines into a command; what it says.
#[track_caller]
fn typed(arguments: &[&str], lines: &str, exit_code: i32) -> String {
    let mut child = command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut input = child.stdin.take().expect("it is piped");
    // Whoever has read enough may not want the rest.
    let _sent = input.write_all(lines.as_bytes());
    drop(input);
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().expect("the program ends");
    let all = String::from_utf8([stdout, stderr].concat()).expect("it speaks UTF-8");
    assert_eq!(status.code(), Some(exit_code), "{arguments:?} says {all}");
    all
}

/// The 24 words that a command showed.
fn phrase_in(output: &str) -> String {
    let rows = output.lines().map(str::trim);
    let rows = rows.filter(|it| it.split(' ').count() == 12 && !it.contains('.'));
    rows.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_node_of_the_directory_runs_where_nothing_can_be_written_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    let config = path(folder.path(), "node.toml");
    let key = path(folder.path(), "vapid.pem");
    let make = ["directory", "--make-vapid-key", &key];
    let made = check(&make, 0, "browsers know it as ");
    check(&make, 1, "cannot be written");
    let mode = fs::metadata(&key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let settings = "listen = \"127.0.0.1:0\"\n[push]\npublic_url = \"https://node.test\"\n\
                    vapid_key = \"vapid.pem\"\nvapid_subject = \"mailto:a@node.test\"\n";
    fs::write(&config, settings).unwrap();
    check(
        &["directory", "--example"],
        0,
        "#listen = \"127.0.0.1:6080\"",
    );
    fs::write(folder.path().join("wrong.toml"), "domain = \"a.test\"\n").unwrap();
    let wrong = path(folder.path(), "wrong.toml");
    check(
        &["directory", "--config", &wrong],
        64,
        "domain is not a key that Freehold knows.",
    );

    // Everything that is mounted can only be read there; that this is so is tried first.
    let script = format!(
        "for at in $(cut -d' ' -f2 /proc/mounts | grep -vE '^/(proc|sys|dev)'); do \
           mount -o remount,ro,bind \"$at\" || mount --bind -o ro \"$at\" \"$at\"; \
         done 2>/dev/null; \
         if touch {folder}/written 2>/dev/null || touch /tmp/freehold-written 2>/dev/null; then exit 99; fi; \
         exec {program} directory --config {config}",
        folder = folder.path().display(),
        program = env!("CARGO_BIN_EXE_freehold"),
    );
    let node = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", &script])
        .stderr(Stdio::piped())
        .spawn();
    let mut node = Demo(node.unwrap());
    let mut log = BufReader::new(node.0.stderr.take().unwrap()).lines();
    let serving = log
        .by_ref()
        .map_while(Result::ok)
        .find(|it| it.contains("address="));
    let address = serving.expect("it says where it listens");
    let address = address.split("address=").nth(1).unwrap().trim().to_owned();
    let page = get(&address, "/");
    assert!(
        page.starts_with("HTTP/1.0 200") && page.contains("Freehold directory"),
        "{page}"
    );
    let known = made.trim().rsplit(' ').next().unwrap();
    let relayed = get(&address, "/v1/push");
    assert!(
        relayed.contains(known) && relayed.contains("node.test"),
        "{relayed}"
    );
    // A domain that names it by another name than its own has nothing relayed.
    let data = path(folder.path(), "made");
    let domain = format!("{data}/freehold.toml");
    check(
        &["init", "--domain", "a.test", "--data", &data],
        0,
        "is made",
    );
    let settings = fs::read_to_string(&domain).unwrap();
    let settings = settings.replace("#node = \"https://directory.example.org\"", "");
    let settings = settings.replace(
        "\n[push]\n",
        &format!("\n[push]\nnode = \"http://{address}\"\n"),
    );
    fs::write(&domain, settings).unwrap();
    let told = "relays nothing for this domain: it goes by the name node.test.";
    check(&["check", "--config", &domain], 1, told);
    let pid = node.0.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(node.0.wait().unwrap().code(), Some(0));
}

#[test]
fn keys_are_shown_replaced_revoked_and_brought_back_from_paper() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made");
    let config = format!("{data}/freehold.toml");
    let made = check(
        &["init", "--domain", "a.test", "--data", &data],
        0,
        "is made",
    );
    let phrase = phrase_in(&made);
    let keys = |what: &'static str| ["keys", what, "--config", &config].map(str::to_owned);
    let run = |arguments: &[String], code, said| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        check(&arguments, code, said)
    };
    let first = run(&keys("show"), 0, "identity record number 1");
    run(&keys("rotate"), 0, "Identity record number 2 is written.");
    let second = run(&keys("show"), 0, "replaced; what it signed counts");
    assert_eq!(second.matches("signing key").count(), 2);

    run(&keys("revoke"), 2, "required");
    fn revoke<'a>(config: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["keys", "revoke", "--config", config], more].concat()
    }
    let revoke = |more: &[&'static str]| revoke(&config, more);
    check(
        &revoke(&["--signing", "--since", "soon"]),
        64,
        "is not a time",
    );
    check(
        &revoke(&["--signing", "--since", "9000-01-01T00:00:00Z"]),
        64,
        "is in the future",
    );
    check(&revoke(&["--signing", "--tls"]), 0, "number 3 is written");
    let third = run(&keys("show"), 0, "revoked");
    assert_eq!(third.matches("revoked").count(), 2);
    assert_eq!(third.matches("TLS key").count(), 1);

    let recover = ["keys", "recover", "--config", &config];
    let wrong = typed(&recover, &phrase.replacen(' ', " abandon ", 1), 1);
    assert!(wrong.contains("not a recovery phrase"), "{wrong}");
    let other = path(folder.path(), "other");
    let strange = check(
        &["init", "--domain", "b.test", "--data", &other],
        0,
        "is made",
    );
    let wrong = typed(&recover, &phrase_in(&strange), 1);
    assert!(
        wrong.contains("not the one that the domain's last record commits to"),
        "{wrong}"
    );
    let theirs = format!("{other}/keys/identity.record");
    let wrong = typed(
        &[&recover[..], &["--record", &theirs]].concat(),
        &phrase,
        64,
    );
    assert!(
        wrong.contains("is not the identity record of a.test"),
        "{wrong}"
    );

    let recovered = typed(&recover, &phrase, 0);
    assert!(recovered.contains("number 4 is written"), "{recovered}");
    let fourth = run(&keys("show"), 0, "identity record number 4");
    let root = |shown: &str| shown.lines().nth(1).unwrap().to_owned();
    assert_eq!(root(&first), root(&third));
    assert_ne!(root(&first), root(&fourth));
    let used_up = typed(&recover, &phrase, 1);
    assert!(
        used_up.contains("it may be that of an earlier key"),
        "{used_up}"
    );
    typed(&recover, &phrase_in(&recovered), 0);
}

#[test]
fn peers_are_vouched_for_denied_and_forgotten_while_the_server_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made");
    let config = format!("{data}/freehold.toml");
    check(
        &["init", "--domain", "a.test", "--data", &data],
        0,
        "is made",
    );
    let peer = |words: &[&str], code, said: &str| {
        check(
            &[&["peer"], words, &["--config", &config]].concat(),
            code,
            said,
        )
    };
    assert_eq!(peer(&["list"], 0, ""), "");
    peer(&["show", "b.test"], 1, "b.test has never been met");
    peer(&["deny", "no name"], 1, "That cannot be done");
    peer(&["pin", "b.test", "abc"], 1, "43 characters of base64url");
    let root = "A".repeat(43);
    peer(&["pin", "b.test", &root], 0, "the administrator");
    peer(&["deny", "b.test"], 0, "b.test is not dealt with.");
    peer(&["list"], 0, "b.test  never met  denied by hand");
    peer(&["allow", "b.test"], 0, "b.test is dealt with.");
    peer(
        &["show", "b.test", "--record", "nowhere"],
        1,
        "there is no record of it",
    );
    peer(&["forget", "b.test"], 0, "b.test is forgotten.");
    check(&["audit", "--config", &config], 0, "peer denied: b.test");
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a port");
    listener.local_addr().expect("it is bound").port()
}

/// The status of the answer to a request for a host's identity record; 0 while nobody answers.
fn status_of(port: u16, host: &str) -> u16 {
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return 0;
    };
    let request = format!(
        "GET /.well-known/freehold/identity HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    );
    if stream.write_all(request.as_bytes()).is_err() {
        return 0;
    }
    let mut line = String::new();
    let _read = BufReader::new(stream).read_line(&mut line);
    let status = line.split(' ').nth(1).and_then(|it| it.parse().ok());
    status.unwrap_or(0)
}

#[track_caller]
fn becomes(port: u16, host: &str, status: u16) {
    for _ in 0..300 {
        if status_of(port, host) == status {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{host} answers {}, not {status}", status_of(port, host));
}

#[test]
fn one_process_serves_the_domains_of_a_folder_as_they_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let domains = path(folder.path(), "domains");
    fs::create_dir(&domains).unwrap();
    let init = |name: &str| {
        let data = format!("{domains}/{name}");
        check(&["init", "--domain", name, "--data", &data], 0, "is made");
    };
    init("a.test");
    init("b.test");
    fs::create_dir(format!("{domains}/broken")).unwrap();
    fs::write(format!("{domains}/broken/freehold.toml"), "nonsense = 1").unwrap();
    let (clients, peers) = (free_port(), free_port());
    let [here, there] = [clients, peers].map(|port| format!("127.0.0.1:{port}"));
    let arguments = [
        "host",
        "--domains",
        &domains,
        "--clients",
        &here,
        "--federation",
        &there,
    ];
    let mut host = Demo(
        command(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts"),
    );
    becomes(clients, "a.test", 200);
    becomes(clients, "b.test", 200);
    assert_eq!(status_of(clients, "c.test"), 421);
    init("c.test");
    becomes(clients, "c.test", 200);
    fs::rename(format!("{domains}/a.test"), path(folder.path(), "gone")).unwrap();
    becomes(clients, "a.test", 421);
    assert_eq!(status_of(clients, "b.test"), 200);
    // Its data is free for whoever serves it next.
    let moved = format!("{}/freehold.toml", path(folder.path(), "gone"));
    check(&["peer", "list", "--config", &moved], 0, "");
    // One that is served is asked through its own socket.
    let config = format!("{domains}/b.test/freehold.toml");
    check(
        &["peer", "deny", "x.test", "--config", &config],
        0,
        "x.test is not dealt with.",
    );
    let pid = i32::try_from(host.0.id()).unwrap();
    let ended = Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status();
    assert!(ended.unwrap().success());
    assert!(host.0.wait().unwrap().success());
}

#[test]
fn a_certificate_that_cannot_be_shown_is_told_before_clients_see_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made");
    check(
        &["init", "--domain", "a.test", "--data", &data],
        0,
        "is made",
    );
    let pair = || rcgen::generate_simple_self_signed(["chat.a.test".to_owned()]).unwrap();
    let (one, other) = (pair(), pair());
    let (chain, key) = (format!("{data}/chain.pem"), format!("{data}/key.pem"));
    fs::write(&chain, one.cert.pem()).unwrap();
    fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let config = format!("{data}/other.toml");
    let text = "domain = \"a.test\"\n[clients]\nlisten = \"127.0.0.1:0\"\ntls_certificate = \"chain.pem\"\n\
                tls_key = \"key.pem\"\npublic_url = \"https://a.test\"\n[federation]\n\
                listen = \"127.0.0.1:0\"\nnameserver = \"127.0.0.1:9\"\n";
    fs::write(&config, text).unwrap();
    let wrong =
        format!("the key in {key} (clients.tls_key) is not that of the certificate in {chain}");
    check(&["serve", "--config", &config], 1, &wrong);
    check(&["check", "--config", &config], 1, &wrong);

    fs::write(&key, one.signing_key.serialize_pem()).unwrap();
    let said = check(&["check", "--config", &config], 1, "can be read and fit");
    for sentence in [
        "The certificate is not for a.test (clients.public_url)",
        "(permissions 644): chmod it to 600 or 640",
        "ok     The certificate ends at 4096-01-01T00:00:00.000Z",
    ] {
        assert!(said.contains(sentence), "{said}");
    }
    // Nobody connects to a domain that is in the operator's hand.
    fs::remove_file(&key).unwrap();
    check(&["peers", "--config", &config], 0, "");
}
