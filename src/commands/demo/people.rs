//! Who lives in the demonstration's domains, and the passwords they keep from start to start.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use super::CAST;
use crate::commands::{CommandError, password, while_doing};

/// One person at one domain.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) login: &'static str,
    pub(super) domain: &'static str,
    pub(super) password: String,
}

impl Person {
    /// What others type to find them.
    pub(super) fn address(&self) -> String {
        format!("{}@{}", self.login, self.domain)
    }
}

/// The file of passwords: an address and a password on each line.
#[derive(Debug)]
pub(super) struct People {
    path: PathBuf,
    passwords: BTreeMap<String, String>,
}

impl People {
    pub(super) fn load(path: PathBuf) -> Result<Self, CommandError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(while_doing(format!("{} cannot be read", path.display()))(
                    error,
                ));
            }
        };
        let rows = text.lines().filter_map(|line| line.split_once(' '));
        let passwords = rows.map(|(address, password)| (address.to_owned(), password.to_owned()));
        Ok(Self {
            passwords: passwords.collect(),
            path,
        })
    }

    /// Who lives at domain `number`. A new password is kept before it is used.
    pub(super) fn resident(&mut self, number: u8) -> Result<Person, CommandError> {
        let (domain, login, name) = CAST[usize::from(number)];
        let mut person = Person {
            name,
            login,
            domain,
            password: String::new(),
        };
        let address = person.address();
        if !self.passwords.contains_key(&address) {
            self.passwords
                .insert(address.clone(), password::generate()?);
            self.keep()
                .map_err(while_doing("The passwords cannot be kept"))?;
        }
        person.password.clone_from(&self.passwords[&address]);
        Ok(person)
    }

    fn keep(&self) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        for (address, password) in &self.passwords {
            writeln!(file, "{address} {password}")?;
        }
        file.sync_all()?;
        fs::rename(beside, &self.path)
    }
}
