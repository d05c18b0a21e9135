//! What a file means, and what is said about a wrong one.

use super::*;
use crate::example::{Kind, sections};

fn read(text: &str) -> Config {
    from_toml(text, Path::new("/etc/freehold")).unwrap()
}

#[track_caller]
fn check(text: &str, mistakes: &[&str]) {
    let error = from_toml(text, Path::new("/etc/freehold")).unwrap_err();
    assert_eq!(error.mistakes(), mistakes);
}

#[test]
fn a_domain_name_is_all_that_is_needed() {
    let config = read("domain = \"Example.ORG\"");
    assert_eq!(config.domain.as_str(), "example.org");
    assert_eq!(config.data_dir, Path::new("/etc/freehold"));
    assert_eq!(config.keys_dir, Path::new("/etc/freehold/keys"));
    assert_eq!(config.clients.registration, Registration::Closed);
    assert_eq!(config.federation.listen.port(), 6269);
}

#[test]
fn relative_paths_start_at_the_folder_of_the_file() {
    let config = read("domain = \"a.test\"\ndata_dir = \"state\"\n[clients]\nweb_root = \"web\"\n");
    assert_eq!(config.data_dir, Path::new("/etc/freehold/state"));
    assert_eq!(config.keys_dir, Path::new("/etc/freehold/state/keys"));
    assert_eq!(
        config.clients.web_root.as_deref(),
        Some(Path::new("/etc/freehold/web"))
    );
    let config = read("domain = \"a.test\"\ndata_dir = \"/srv/a\"\nkeys_dir = \"/run/keys\"");
    assert_eq!(config.data_dir, Path::new("/srv/a"));
    assert_eq!(config.keys_dir, Path::new("/run/keys"));
}

#[test]
fn every_mistake_is_told_at_once() {
    check(
        r#"
        colour = "blue"
        [clients]
        listen = "localhost"
        grpc_listen = "16060"
        findable = "yes"
        message_bytes_max = 1
        registration = "perhaps"
        api_keys = []
        [federation]
        listn = "0.0.0.0:6269"
        trust = 5
        allowed_ranges = ["10.0.0.0/8", "ten"]
        allow = ["a.test"]
        retry_first_seconds = 9
        retry_longest_seconds = 3
        [[federation.peer]]
        domain = "b.test"
        root = "short"
        address = "b.test"
        [store]
        free_space_mib = -1
        "#,
        &[
            "colour is not a key that Freehold knows.",
            "domain is missing.",
            "clients.listen = \"localhost\": must be an IP address and a port, such as 127.0.0.1:6060.",
            "clients.grpc_listen = \"16060\": must be an IP address and a port, such as 127.0.0.1:6060.",
            "clients.registration must be \"closed\" or \"open\", not \"perhaps\".",
            "clients.findable must be true or false, not a value of type string.",
            "clients.api_keys must hold at least one key, none empty.",
            "clients.message_bytes_max must be from 1024 to 262144, not 1.",
            "federation.listn is not a key that Freehold knows.",
            "federation.trust must be a text in quotes, not a value of type integer.",
            "federation.allowed_ranges = \"ten\": must be address ranges such as 10.0.0.0/8.",
            "federation.peer (number 1).root = \"short\": must be 43 characters of base64url.",
            "federation.peer (number 1).address = \"b.test\": must be a host name or IP address and a port, such as 192.168.7.2:6269.",
            "federation.allow counts only with policy = \"listed\", and the policy is \"open\".",
            "federation.retry_first_seconds must not be longer than retry_longest_seconds, 3.",
            "store.free_space_mib must be a whole number, 0 or greater, not a value of type integer.",
        ],
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let error = from_toml("domain = \"a.test\"\n[clients\n", Path::new("/")).unwrap_err();
    assert!(
        error.to_string().starts_with("line 2 is not TOML: "),
        "{error}"
    );
    let error = from_toml("domain = \"a.test\"\nclients = 5", Path::new("/")).unwrap_err();
    assert_eq!(
        error.mistakes(),
        ["clients must be a section, not a value of type integer."]
    );
}

#[test]
fn the_example_is_a_configuration_and_names_the_domain() {
    let config = read(&example("example.org"));
    assert_eq!(config.domain.as_str(), "example.org");
    assert_eq!(
        format!("{config:?}"),
        format!("{:?}", read("domain = \"example.org\""))
    );
}

#[test]
fn the_defaults_told_are_the_defaults_used() {
    let told = written_out(|kind| kind != Kind::Example);
    let used = read("domain = \"example.org\"");
    assert_eq!(format!("{:?}", read(&told)), format!("{used:?}"));
}

#[test]
fn every_key_told_can_be_set() {
    read(&written_out(|_| true));
}

/// The example with nothing commented out, and with keys of these kinds only.
fn written_out(wanted: impl Fn(Kind) -> bool) -> String {
    let mut text = String::new();
    for section in sections() {
        let pattern = section.heading.is_some_and(|it| it.starts_with("[["));
        if pattern && !wanted(Kind::Example) {
            continue;
        }
        text += &format!("{}\n", section.heading.unwrap_or_default());
        let keys = section.keys.iter().filter(|it| wanted(it.kind));
        keys.for_each(|it| text += &format!("{}\n", it.line()));
    }
    text
}

#[test]
fn every_key_of_the_file_is_told() {
    let fields = include_str!("file.rs").lines().filter(|line| {
        let line = line.trim();
        line.starts_with("pub(crate) ") && line.contains("Given<") && !line.contains("fn ")
    });
    let sections = sections();
    let told = sections.iter().map(|it| it.keys.len()).sum::<usize>();
    // The four fields that are sections themselves are told by their own structs.
    assert_eq!(told, fields.count() - 4);
    assert_eq!(sections.len(), 5);
}
