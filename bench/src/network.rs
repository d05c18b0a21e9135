//! Where to measure: the line of JSON that `freehold demo --json` prints.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::Path,
};

use serde::Deserialize;

use crate::Result;

/// Domains that are up.
#[derive(Debug, Deserialize)]
pub(crate) struct Network {
    pub(crate) domains: Vec<Domain>,
}

/// One of them.
#[derive(Debug, Deserialize)]
pub(crate) struct Domain {
    pub(crate) domain: String,
    /// `http://127.0.0.1:6060`
    pub(crate) client: String,
    pub(crate) users: Vec<User>,
}

/// Somebody with an account there.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct User {
    pub(crate) login: String,
    pub(crate) password: String,
}

impl Network {
    /// Reads the first line of a file, or of standard input for `-`.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        // Not to the end of it: the demo that writes it keeps running.
        let mut line = String::new();
        let read = if file.as_os_str() == "-" {
            io::stdin().lock().read_line(&mut line)
        } else {
            fs::File::open(file).and_then(|it| BufReader::new(it).read_line(&mut line))
        };
        read.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        Self::parse(&line)
    }

    pub(crate) fn parse(line: &str) -> Result<Self> {
        serde_json::from_str(line)
            .map_err(|error| format!("this is not a network: {error}: {line}"))
    }

    pub(crate) fn first_two(&self) -> Result<[&Domain; 2]> {
        match &*self.domains {
            [alpha, beta, ..] => Ok([alpha, beta]),
            _ => Err("the network needs at least two domains".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_demo_is_understood() {
        let network = Network::parse(
            r#"{"ready":true,"dns":"127.0.0.1:5","domains":[{"domain":"alpha.test",
            "client":"http://127.0.0.1:1","federation":"127.0.0.1:2","users":[{"login":"alice",
            "password":"p","address":"alice@alpha.test"}]}]}"#,
        )
        .unwrap();
        assert_eq!(network.domains[0].users[0].login, "alice");
        assert!(network.first_two().is_err());
    }
}
