//! What the operator of a domain does with the command line: its own keys, and other domains.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use freehold_keys::{KeyRing, RecoveryPhrase};
use freehold_proto::{DomainName, Timestamp};
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use crate::{Domain, Failure, Result, failure::expect, freehold_binary};

const POLL: Duration = Duration::from_millis(200);

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Told {
    /// Whether it did what it was told.
    pub done: bool,
    /// Everything that it printed.
    pub said: String,
}

impl Domain {
    /// Runs a command, whether the server runs or not, and takes a no for an answer. `input` is typed in.
    pub async fn command(&self, command: &str, arguments: &[&str], input: &str) -> Result<Told> {
        let mut process = Command::new(freehold_binary()?);
        process
            .args(command.split_whitespace())
            .arg("--config")
            .arg(self.write_config()?)
            .args(arguments);
        let told = outcome(command, process, input).await?;
        let how = if told.done { "" } else { ", in vain" };
        let arguments = arguments.join(" ");
        let what = format!("its operator: freehold {command} {arguments}{how}");
        self.timeline().act(self.name(), what);
        Ok(told)
    }

    /// Makes an installation of the same name in another folder.
    pub async fn installs(&self, folder: &Path) -> Result<Told> {
        let mut process = Command::new(freehold_binary()?);
        process
            .args(["init", "--domain", self.name().as_str(), "--data"])
            .arg(folder);
        outcome("init", process, "").await
    }

    /// The same where it must be done; what was printed.
    pub async fn order(&self, command: &str, arguments: &[&str]) -> Result<String> {
        let told = self.command(command, arguments, "").await?;
        let name = self.name();
        expect(told.done, || {
            format!("`freehold {command}` failed at {name}: {}", told.said)
        })?;
        Ok(told.said)
    }

    /// What `freehold peer show` prints of another domain; empty if that is not known.
    pub async fn knows(&self, other: &str) -> Result<String> {
        let told = self.command("peer show", &[other], "").await?;
        Ok(if told.done { told.said } else { String::new() })
    }

    /// Waits until what is known of another domain fits, and returns it.
    pub async fn comes_to_know(
        &self,
        other: &str,
        awaited: &str,
        within: Duration,
        fits: impl Fn(&str) -> bool,
    ) -> Result<String> {
        let deadline = Instant::now() + within;
        loop {
            let told = self.command("peer show", &[other], "").await?;
            if told.done && fits(&told.said) {
                return Ok(told.said);
            }
            expect(Instant::now() < deadline, || {
                let name = self.name();
                format!(
                    "{name} should know of {other} {awaited}, but: {}",
                    told.said
                )
            })?;
            sleep(POLL).await;
        }
    }

    /// Waits until it has said this many times what contains `part`.
    pub async fn has_said(&self, part: &str, times: usize, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        while self.said().matches(part).count() < times {
            expect(Instant::now() < deadline, || {
                format!("{} never says \"{part}\"", self.name())
            })?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.folder().join("keys")
    }

    /// The keys as somebody holds them who has a copy of the folder.
    pub fn copy_of_keys(&self, to: &Path, now: Timestamp) -> Result<KeyRing> {
        copy_keys(&self.keys(), to)?;
        load_keys(to, self.name(), now)
    }

    /// The recovery phrase that `freehold init` has printed.
    pub fn phrase(&self) -> Result<String> {
        let said = fs::read_to_string(self.folder().join("init.log"));
        let said = said.map_err(|error| Failure::harness("read what init said", error))?;
        let none = || Failure::Broken(format!("init printed no recovery phrase:\n{said}"));
        phrase_in(&said).ok_or_else(none)
    }
}

/// Runs a command to its end.
async fn outcome(name: &str, mut process: Command, input: &str) -> Result<Told> {
    let what = format!("run `freehold {name}`");
    process
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let input = input.to_owned();
    let run = spawn_blocking(move || {
        let mut child = process.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who reads nothing may have gone already.
            let _gone = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    });
    let output = match run.await {
        Ok(output) => output.map_err(|error| Failure::harness(&what, error))?,
        Err(error) => return Err(Failure::harness(&what, error)),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Told {
        done: output.status.success(),
        said: text(&output.stdout) + &text(&output.stderr),
    })
}

/// What `freehold peer show` says in the row of this name.
#[must_use]
pub fn row<'a>(said: &'a str, name: &str) -> Option<&'a str> {
    let mut rows = said.lines().filter_map(|it| it.strip_prefix("  "));
    let found = rows.find_map(|it| {
        let (found, value) = it.split_at_checked(20)?;
        (found.trim_end() == name).then_some(value)
    });
    found.map(str::trim)
}

/// The 24 words among what was printed.
#[must_use]
pub fn phrase_in(said: &str) -> Option<String> {
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let pairs = lines.windows(2).map(|pair| pair.join(" "));
    let mut phrases = pairs.filter(|it| it.split_whitespace().count() == 24);
    phrases.find(|it| RecoveryPhrase::from_words(it).is_ok())
}

/// Copies a folder of keys.
pub fn copy_keys(from: &Path, to: &Path) -> Result<()> {
    let copied = fs::create_dir_all(to).and_then(|()| {
        for file in fs::read_dir(from)? {
            let path = file?.path();
            fs::copy(&path, to.join(path.file_name().unwrap_or_default()))?;
        }
        Ok(())
    });
    copied.map_err(|error| Failure::harness("copy keys", error))
}

/// The keys in a folder.
pub fn load_keys(folder: &Path, domain: &DomainName, now: Timestamp) -> Result<KeyRing> {
    KeyRing::load(folder, domain, now).map_err(|error| Failure::harness("read keys", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_by_its_name() {
        let said = "beta.test  dealt with\n  root key             abc\n  record               2\n  record counts until  t\n";
        assert_eq!(row(said, "record"), Some("2"));
        assert_eq!(row(said, "record counts until"), Some("t"));
        assert_eq!(row(said, "DISPUTED"), None);
    }
}
