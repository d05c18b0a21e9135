//! Whom a domain deals with and whose word counts for whom, and which of its peers somebody has to look at.

use std::path::Path;

use freehold::{
    control::{self, Answer},
    peers::operator::{PeerCommand, PeerReport},
};
use freehold_config::Config;
use freehold_directory::{Dnssec, Trust};

use super::findings::{Finding, Findings};

pub(super) fn trust(config: &Config, findings: &mut Findings) {
    let found = &config.directory;
    let by_hand = match found.static_peers.len() {
        0 => "with `freehold peer pin`, and so far none under [[federation.peer]]".to_owned(),
        rows => format!("with `freehold peer pin`, and the {rows} under [[federation.peer]]"),
    };
    match found.trust {
        Trust::Pinned => findings.right(format_args!(
            "Of domains never met only those are believed that you vouch for: {by_hand}."
        )),
        Trust::Verified => findings.right(format_args!(
            "Of domains never met those are believed that you vouch for, or DNSSEC, or their own web server; {}; {}.",
            dnssec(&found.dnssec),
            nodes(found.nodes.len())
        )),
        Trust::Dns => findings.note(
            "Domains never met are believed on the word of unsigned DNS: whoever can change answers on the way \
             here can pose as one. For closed networks only.",
        ),
        Trust::Lan => findings.note(
            "Whoever answers first for a domain never met is believed. For closed networks only.",
        ),
    }
}

fn dnssec(dnssec: &Dnssec) -> String {
    match dnssec {
        Dnssec::Off => "DNSSEC is not asked about".to_owned(),
        Dnssec::Resolver(address) => {
            format!("the resolver at {address} says what DNSSEC vouches for")
        }
        Dnssec::Validated(None) => "DNSSEC is validated here".to_owned(),
        Dnssec::Validated(Some(path)) => {
            format!(
                "DNSSEC is validated here, beginning with {}",
                path.display()
            )
        }
    }
}

fn nodes(count: usize) -> String {
    match count {
        0 => "no nodes of the directory are named that could confirm an unsigned TXT record"
            .to_owned(),
        count => {
            format!("two of {count} nodes of the directory can confirm an unsigned TXT record")
        }
    }
}

/// What the running server knows; a stopped one is not opened for this.
pub(super) async fn known(data_dir: &Path, findings: &mut Findings) {
    match control::ask(data_dir, &PeerCommand::List).await {
        Ok(Some(Answer::Peers(peers))) => judged(&peers).into_iter().for_each(|it| findings.say(it)),
        Ok(Some(Answer::Refused(why))) => {
            findings.wrong(format_args!("The server does not tell its peers: {why}."));
        }
        Ok(None) => findings.note(
            "The server is not running, so its peers are not judged; `freehold peer list` shows them.",
        ),
        Err(error) => findings.wrong(format_args!("The running server cannot be asked: {error}.")),
    }
}

fn judged(peers: &[PeerReport]) -> Vec<Finding> {
    let met = peers.iter().filter(|it| it.serial > 0).count();
    let refused = peers.iter().filter(|it| !it.permitted).count();
    let mut findings = vec![Finding::Right(format!(
        "Domains met: {met}; known and not dealt with: {refused}. `freehold peer list` shows them."
    ))];
    for peer in peers {
        let domain = &peer.domain;
        if !peer.hold.is_empty() {
            findings.push(Finding::Note(format!(
                "{domain} shows other keys than it had: {}. If you know whether they are its own, say so with \
                 `freehold peer pin` or `freehold peer deny`.",
                peer.hold
            )));
        } else if !peer.dispute.is_empty() {
            findings.push(Finding::Wrong(format!(
                "The identity of {domain} is disputed: {}. Ask its operator for the fingerprint of its root key on a \
                 way that you trust, then `freehold peer pin` or `freehold peer deny`.",
                peer.dispute
            )));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(domain: &str) -> PeerReport {
        PeerReport {
            domain: domain.to_owned(),
            serial: 1,
            permitted: true,
            ..PeerReport::default()
        }
    }

    #[test]
    fn a_disputed_peer_is_somebody_s_work_and_a_watched_one_may_be() {
        let disputed = PeerReport {
            dispute: "DNS names another root key".to_owned(),
            ..peer("beta.test")
        };
        let watched = PeerReport {
            hold: "watched until tomorrow".to_owned(),
            dispute: "all its keys are new".to_owned(),
            ..peer("gamma.test")
        };
        let denied = PeerReport {
            permitted: false,
            serial: 0,
            ..peer("delta.test")
        };
        let found = judged(&[peer("alpha.test"), disputed, watched, denied]);
        assert!(
            matches!(&found[0], Finding::Right(it) if it.starts_with("Domains met: 3; known and not dealt with: 1."))
        );
        assert!(
            matches!(&found[1], Finding::Wrong(it) if it.contains("beta.test is disputed: DNS names"))
        );
        assert!(
            matches!(&found[2], Finding::Note(it) if it.contains("gamma.test shows other keys"))
        );
        assert_eq!(found.len(), 3);
    }
}
