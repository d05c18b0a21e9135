//! Rules about the repository itself. `cargo test` runs them, so no other tool is needed.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its subject fails"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Every crate, and the crates of ours that it may depend on. The root package may use all but the
/// last three: two know a server only from outside, and one is above it.
const LAYERS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("keys", &["proto"]),
    // Not a line more than it takes: the one place where code may be unsafe.
    ("real-sync", &[]),
    ("store", &["proto", "real-sync"]),
    ("directory", &["proto", "keys"]),
    ("federation", &["proto", "keys", "store", "directory"]),
    (
        "config",
        &["proto", "keys", "store", "directory", "federation"],
    ),
    (
        ".",
        &[
            "proto",
            "keys",
            "store",
            "directory",
            "federation",
            "config",
        ],
    ),
    // They must be able to test and measure servers that this project did not write.
    ("interop", &["proto", "keys"]),
    // The store is its yardstick; servers it meets as clients do.
    ("bench", &["proto", "store"]),
    // Measures parts of the server by themselves, so it stands above the root package.
    ("bench/inner", &["proto", "keys"]),
];

/// Whose tests may use what the crate itself may not: the root package's speak to their domains
/// through the client of `interop`.
const FOR_TESTS: &[(&str, &str)] = &[(".", "interop")];

#[test]
fn dependencies_point_down() {
    let mut upward = BTreeMap::<_, Vec<_>>::new();
    for &(krate, allowed) in LAYERS {
        let found = our_dependencies(&read(&format!("{krate}/Cargo.toml")));
        let wrong = found.into_iter().filter(|(section, name)| {
            let for_tests = section == "dev-dependencies" && FOR_TESTS.contains(&(krate, name));
            !allowed.contains(&name.as_str()) && !for_tests
        });
        let wrong: Vec<_> = wrong.collect();
        if !wrong.is_empty() {
            upward.insert(krate, wrong);
        }
    }
    assert!(
        upward.is_empty(),
        "crates that look where they must not: {upward:?}"
    );
}

#[test]
fn every_crate_is_a_member_and_tested_by_default() {
    let manifest = read("Cargo.toml");
    let crates: Vec<_> = LAYERS.iter().map(|&(krate, _)| krate.to_owned()).collect();
    let mut members = list(&manifest, "members");
    members.push(".".to_owned());
    assert_eq!(
        sorted(members),
        sorted(crates.clone()),
        "members and LAYERS differ"
    );
    let tested = list(&manifest, "default-members");
    assert_eq!(
        sorted(tested),
        sorted(crates),
        "default-members and LAYERS differ"
    );
}

#[test]
fn every_module_says_what_it_is_for() {
    let silent: Vec<_> = all_rust_files()
        .filter(|path| !fs::read_to_string(path).unwrap().starts_with("//! "))
        .collect();
    assert!(
        silent.is_empty(),
        "files whose first line does not say what for: {silent:#?}"
    );
}

#[test]
fn the_example_configuration_is_current() {
    let current = freehold_config::example("example.org");
    assert!(
        read("config/example.toml") == current,
        "config/example.toml is stale: run `make example`"
    );
    assert!(
        read("config/directory-example.toml") == freehold_config::node_example(),
        "config/directory-example.toml is stale: run `make example`"
    );
}

#[test]
fn every_test_that_a_document_names_exists() {
    let sources: String = all_rust_files()
        .map(|it| fs::read_to_string(it).unwrap())
        .collect();
    let part = |path: &str, from: &str, to: &str| {
        let document = read(path);
        let (_, promises) = document.split_once(from).unwrap();
        promises.split_once(to).unwrap().0.to_owned()
    };
    let architecture = part("docs/ARCHITECTURE.md", "## What always holds", "## Planned");
    let clients = part(
        "docs/CLIENTS.md",
        "## What clients rely on",
        "Every refusal",
    );
    let security = part(
        "docs/SECURITY.md",
        "## What goes wrong elsewhere",
        "## Bounds",
    );
    for (promises, least) in [(architecture, 30), (clients, 40), (security, 30)] {
        let named = names_of_tests(&promises);
        assert!(named.len() > least, "the names are no longer found");
        let missing: Vec<_> = named
            .into_iter()
            // Cases of the interop suite are modules.
            .filter(|it| {
                !sources.contains(&format!("fn {it}(")) && !sources.contains(&format!("mod {it};"))
            })
            .collect();
        assert!(missing.is_empty(), "named, but not there: {missing:?}");
    }
}

#[test]
fn unsafe_code_is_forbidden_everywhere_but_in_one_small_crate() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    let free = LAYERS.iter().map(|&(krate, _)| krate);
    let free: Vec<_> = free
        .filter(|krate| !read(&format!("{krate}/Cargo.toml")).contains("[lints]\nworkspace = true"))
        .collect();
    assert_eq!(free, ["real-sync"]);
    let lines = read("real-sync/src/lib.rs").lines().count();
    assert!(lines < 70, "{lines} lines are too many to be sure of");
}

/// With hooks a server ends itself and lies about the time: no build but the interop suite's has them.
#[test]
fn no_production_build_has_test_hooks() {
    let features = |manifest: &str| {
        let text = read(manifest);
        let (_, rest) = text.split_once("[features]").unwrap();
        let section = rest.split("\n[").next().unwrap().to_owned();
        let default = section.lines().find(|it| it.starts_with("default"));
        default.unwrap_or_default().to_owned()
    };
    assert_eq!(features("Cargo.toml"), "default = [\"demo\"]");
    assert_eq!(features("federation/Cargo.toml"), "");
    let manifest = read("Cargo.toml");
    assert!(manifest.contains("required-features = [\"test-hooks\"]"));
    let dependencies = LAYERS
        .iter()
        .map(|(krate, _)| read(&format!("{krate}/Cargo.toml")));
    let turned_on = dependencies.flat_map(|it| it.lines().map(str::to_owned).collect::<Vec<_>>());
    let turned_on: Vec<_> = turned_on
        .filter(|it| {
            it.contains("test-hooks") && it.contains("features = [") && !it.contains("required")
        })
        .collect();
    assert!(turned_on.is_empty(), "{turned_on:?}");
}

/// What stands between backticks and is spelt like a function.
fn names_of_tests(text: &str) -> Vec<&str> {
    let plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|it| it.contains('_') && it.chars().all(plain))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Our crates in the dependency sections of a manifest: section and name without the prefix.
fn our_dependencies(manifest: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut section = String::new();
    for line in manifest.lines().map(str::trim) {
        let header = line.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
        section = header.map_or(section, str::to_owned);
        if section.starts_with("workspace") || !section.contains("dependencies") {
            continue;
        }
        // Either `freehold-x = …` or `[dependencies.freehold-x]`.
        let name = header.and_then(|it| it.rsplit('.').next()).unwrap_or(line);
        let name = name.split(['.', ' ', '=']).next().unwrap();
        let ours = name.strip_prefix("freehold-");
        found.extend(ours.map(|name| (section.clone(), name.to_owned())));
    }
    found
}

/// The texts in `key = ["…", …]`, which stands on one line.
fn list(manifest: &str, key: &str) -> Vec<String> {
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(" = ["));
    let texts = line.unwrap().split('"').skip(1).step_by(2);
    texts.map(str::to_owned).collect()
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// All source and test files of our crates.
fn all_rust_files() -> impl Iterator<Item = PathBuf> {
    let parts = ["src", "tests", "examples", "benches", "build.rs"];
    let folders = LAYERS
        .iter()
        .flat_map(move |&(krate, _)| parts.map(|part| root().join(krate).join(part)));
    folders.flat_map(rust_files)
}

fn rust_files(start: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut pending = vec![start];
    while let Some(path) = pending.pop() {
        if path.is_dir() && !path.ends_with("node_modules") {
            pending.extend(fs::read_dir(path).unwrap().map(|it| it.unwrap().path()));
        } else if path.extension().is_some_and(|it| it == "rs") && path.is_file() {
            files.push(path);
        }
    }
    files
}
