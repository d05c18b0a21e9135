//! Where the server's executable is.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{Failure, Result};

/// The name of the server that is built with test hooks.
const TESTED: &str = "freehold-tested";

/// The server to test: `FREEHOLD_BIN`, else `freehold-tested`, which is built into the target folder that
/// this program was built into, unless it is there and current.
pub fn freehold_binary() -> Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

/// Whether that server has test hooks: ours has, and one that is named counts as one that has none
/// unless `FREEHOLD_HOOKS` is set.
#[must_use]
pub fn has_hooks() -> bool {
    env::var_os("FREEHOLD_BIN").is_none() || env::var_os("FREEHOLD_HOOKS").is_some()
}

fn find() -> Result<PathBuf> {
    if let Some(path) = env::var_os("FREEHOLD_BIN") {
        let given = PathBuf::from(path);
        return fs::canonicalize(&given).map_err(|error| {
            let what = format!("use FREEHOLD_BIN={}", given.display());
            Failure::harness(what, error)
        });
    }
    let path = target_folder()?.join(format!("{TESTED}{}", env::consts::EXE_SUFFIX));
    build(&path)?;
    Ok(path)
}

/// `target/debug` or `target/release`.
fn target_folder() -> Result<PathBuf> {
    let no = |why: &str| Failure::harness("find the target folder", why);
    let this = env::current_exe().map_err(|error| no(&error.to_string()))?;
    let folder = this.parent().ok_or_else(|| no("this program has none"))?;
    match folder.parent() {
        Some(above) if folder.ends_with("deps") => Ok(above.to_owned()),
        _ => Ok(folder.to_owned()),
    }
}

fn build(path: &Path) -> Result<()> {
    let what = format!(
        "build the server at {} (or set FREEHOLD_BIN)",
        path.display()
    );
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--workspace",
            "--bin",
            TESTED,
        ])
        .args(["--features", "freehold/test-hooks"]);
    if path.parent().is_some_and(|it| it.ends_with("release")) {
        command.arg("--release");
    } else {
        // With a test among the targets, dependencies are built as `cargo test` builds them, once.
        command.args(["--test", "tidy"]);
    }
    let status = command
        .status()
        .map_err(|error| Failure::harness(&what, format!("cargo does not run: {error}")))?;
    if status.success() && path.exists() {
        Ok(())
    } else {
        Err(Failure::harness(
            what,
            format!("building it ended with {status}"),
        ))
    }
}
