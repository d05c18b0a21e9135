//! A peer in Python that was written from `docs/PROTOCOL.md`, the schema and the vectors alone talks with a
//! server: the documents suffice, and the server keeps to them.

use std::{path::Path, process::Command};

use freehold_interop::freehold_binary;

#[test]
fn a_peer_written_from_the_documents_alone_talks_with_a_server() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("second-peer");
    let python = folder.join(".venv/bin/python");
    assert!(
        python.exists(),
        "{python:?} is missing: run `make interop/second-peer/.venv` first"
    );
    let output = Command::new(python)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(folder.join("test_peer.py"))
        .arg(freehold_binary().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{why}");
    // As many as there were when this was written: a check that falls away is noticed.
    let held = said.lines().filter(|it| it.starts_with("ok ")).count();
    assert!(held >= 64, "only {held} checks:\n{said}");
}
