//! The program from outside: what its commands leave behind, say, and exit with.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

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
    serde_json::from_str(&line).expect("the line is JSON")
}
