//! What the demonstration says when it is ready.

use std::{net::SocketAddr, path::Path};

use freehold_proto::DomainName;
use serde::Serialize;

use super::{dns::Dns, node::DemoNode, people::Person};
use crate::commands::say;

/// What can be said of one domain.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) domain: DomainName,
    pub(super) client: SocketAddr,
    pub(super) grpc: Option<SocketAddr>,
    pub(super) federation: SocketAddr,
    pub(super) person: Person,
}

#[derive(Serialize)]
struct NetworkLine {
    ready: bool,
    dns: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    domains: Vec<DomainPart>,
}

#[derive(Serialize)]
struct DomainPart {
    domain: String,
    client: String,
    grpc: Option<SocketAddr>,
    federation: SocketAddr,
    users: [UserPart; 1],
}

#[derive(Serialize)]
struct UserPart {
    login: &'static str,
    password: String,
    address: String,
}

impl Shown {
    fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    fn part(&self) -> DomainPart {
        DomainPart {
            domain: self.domain.to_string(),
            client: self.url(),
            grpc: self.grpc,
            federation: self.federation,
            users: [UserPart {
                login: self.person.login,
                password: self.person.password.clone(),
                address: self.person.address(),
            }],
        }
    }
}

/// One line for a program.
pub(super) fn json(domains: &[Shown], dns: &Dns, node: Option<&DemoNode>) {
    let line = NetworkLine {
        ready: true,
        dns: dns.address(),
        directory: node.map(DemoNode::url),
        domains: domains.iter().map(Shown::part).collect(),
    };
    say::line(serde_json::to_string(&line).expect("these types are JSON"));
}

/// A line about the directory, if there is one.
pub(super) fn directory(node: Option<&DemoNode>) {
    if let Some(node) = node {
        say::line(format_args!(
            "{} is a node of the directory: look up alpha.test there.",
            node.url()
        ));
    }
}

/// A few lines for a person.
pub(super) fn text(domains: &[Shown], dns: &Dns, kept: Option<&Path>) {
    say::line(format_args!(
        "{} domains are running, with a DNS server of their own on {}.\n",
        domains.len(),
        dns.address()
    ));
    for it in domains {
        say::line(format_args!(
            "  {:<13} {}   log in as {:<6} password {}",
            it.domain.as_str(),
            it.url(),
            it.person.login,
            it.person.password
        ));
    }
    if let [here, there, ..] = domains {
        say::line(format_args!(
            "\nOpen {} and {} in two browser windows and log in.\n\
             In the first, press + and search for {}, open the chat and write.",
            here.url(),
            there.url(),
            there.person.address()
        ));
    }
    match kept {
        Some(dir) => say::line(format_args!("Everything is kept in {}.", dir.display())),
        None => say::line("Nothing is kept: --dir FOLDER would keep it for the next time."),
    }
    say::line("Ctrl-C stops it.");
}
