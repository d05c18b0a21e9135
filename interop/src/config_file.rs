//! The configuration of one domain under test. The only file that knows the server's config keys.

use std::{fmt::Write as _, net::SocketAddr};

use freehold_proto::DomainName;

/// What a case decides about a domain. Everything else has the server's defaults.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    /// Which domain.
    pub domain: DomainName,
    /// Where clients connect to.
    pub client: SocketAddr,
    /// Where other domains connect to.
    pub federation: SocketAddr,
    /// The DNS server to ask.
    pub nameserver: SocketAddr,
    /// Special address ranges that may be connected to.
    pub allowed_ranges: Vec<String>,
    /// Whose word counts for a domain never met: `dns` or `pinned`.
    pub trust: String,
    /// More lines of `[clients]`, as in the file.
    pub clients_lines: Vec<String>,
    /// More lines of `[federation]`, as in the file.
    pub federation_lines: Vec<String>,
    /// Lines of `[store]`, as in the file.
    pub store_lines: Vec<String>,
}

impl ConfigFile {
    /// A domain of a test network on loopback, open to everybody.
    #[must_use]
    pub fn of_test_domain(
        domain: DomainName,
        client: SocketAddr,
        federation: SocketAddr,
        nameserver: SocketAddr,
    ) -> Self {
        Self {
            domain,
            client,
            federation,
            nameserver,
            allowed_ranges: vec!["127.0.0.0/8".to_owned()],
            trust: "dns".to_owned(),
            clients_lines: Vec::new(),
            federation_lines: Vec::new(),
            store_lines: Vec::new(),
        }
    }

    /// The text of the file. Relative paths start at the folder it lies in.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut line = |content: String| {
            writeln!(text, "{content}").expect("a string takes every text");
        };
        line(format!("domain = \"{}\"", self.domain));
        line("data_dir = \".\"".to_owned());
        line("keys_dir = \"keys\"".to_owned());
        line("[clients]".to_owned());
        line(format!("listen = \"{}\"", self.client));
        line("registration = \"open\"".to_owned());
        self.clients_lines.iter().cloned().for_each(&mut line);
        line("[federation]".to_owned());
        line(format!("listen = \"{}\"", self.federation));
        line(format!("trust = \"{}\"", self.trust));
        line(format!("nameserver = \"{}\"", self.nameserver));
        line(format!("allowed_ranges = {:?}", self.allowed_ranges));
        self.federation_lines.iter().cloned().for_each(&mut line);
        if !self.store_lines.is_empty() {
            line("[store]".to_owned());
            self.store_lines.iter().cloned().for_each(&mut line);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_as_expected() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let file = ConfigFile::of_test_domain("alpha.test".parse().unwrap(), at(1), at(2), at(3));
        assert_eq!(
            file.to_toml(),
            "domain = \"alpha.test\"\ndata_dir = \".\"\nkeys_dir = \"keys\"\n\
             [clients]\nlisten = \"127.0.0.1:1\"\nregistration = \"open\"\n\
             [federation]\nlisten = \"127.0.0.1:2\"\ntrust = \"dns\"\nnameserver = \"127.0.0.1:3\"\n\
             allowed_ranges = [\"127.0.0.0/8\"]\n"
        );
    }
}
