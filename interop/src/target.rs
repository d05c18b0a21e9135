//! Servers that the suite did not start: where they are, and what they must be told so that they meet the
//! suite's peers.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use freehold_keys::{VerifiedRecord, fingerprint_to_text};
use freehold_proto::{DomainName, limits};
use tokio::{io::AsyncReadExt as _, runtime::Builder, time::timeout};

use crate::{Case, Failure, Result, STOCK_API_KEY, ScriptedPeer};

/// Time for a server to show its record.
const SHOWN_WITHIN: Duration = Duration::from_secs(10);

/// A server that the suite did not start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its domain.
    pub domain: DomainName,
    /// Where other domains connect to.
    pub federation: SocketAddr,
    /// Where clients connect to, without TLS; without it, nothing is played that takes people.
    pub client: Option<SocketAddr>,
    /// What clients name themselves by.
    pub api_key: String,
}

/// Some of them, and where their peers are.
#[derive(Clone, Debug)]
pub struct Outside {
    /// In the order in which cases use them.
    pub targets: Vec<Target>,
    /// The address of the peers and of the DNS server, which the targets must reach.
    pub ip: Ipv4Addr,
    /// Where the DNS server answers.
    pub dns_port: u16,
    /// Behind the name of every peer.
    pub zone: String,
}

impl FromStr for Target {
    type Err = String;

    /// `DOMAIN=IP:PORT[,client=IP:PORT][,key=API_KEY]`
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (domain, rest) = text
            .split_once('=')
            .ok_or_else(|| "write DOMAIN=IP:PORT".to_owned())?;
        let mut parts = rest.split(',');
        let mut target = Self {
            domain: domain.parse().map_err(said)?,
            federation: parts.next().unwrap_or_default().parse().map_err(said)?,
            client: None,
            api_key: STOCK_API_KEY.to_owned(),
        };
        for part in parts {
            match part.split_once('=') {
                Some(("client", at)) => target.client = Some(at.parse().map_err(said)?),
                Some(("key", key)) => key.clone_into(&mut target.api_key),
                _ => {
                    return Err(format!(
                        "{part:?} is neither client=IP:PORT nor key=API_KEY"
                    ));
                }
            }
        }
        let addresses = [Some(target.federation), target.client];
        if addresses.iter().flatten().any(|it| !it.is_ipv4()) {
            return Err("the suite connects by IPv4 only".to_owned());
        }
        Ok(target)
    }
}

fn said(error: impl fmt::Display) -> String {
    error.to_string()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.domain, self.federation)?;
        if let Some(client) = self.client {
            write!(f, ",client={client}")?;
        }
        if self.api_key != STOCK_API_KEY {
            write!(f, ",key={}", self.api_key)?;
        }
        Ok(())
    }
}

impl Outside {
    /// What the operators of the targets must have done, in plain words.
    #[must_use]
    pub fn asks(&self) -> String {
        let (ip, zone) = (self.ip, &self.zone);
        let names: Vec<_> = self.targets.iter().map(|it| it.domain.as_str()).collect();
        format!(
            "Peers are played against {names}, which the suite did not start. Each of them must\n\
             \x20 * ask the DNS server {ip}:{port} (UDP and TCP), which knows the peers under {zone} and these domains;\n\
             \x20   it answers while a case is played\n\
             \x20 * believe a domain never met by its TXT record alone, without DNSSEC\n\
             \x20 * be allowed to connect to {ip}, at any port\n\
             \x20 * let anybody make an account with a name and a password at the address for clients\n\
             \x20 * try a peer again within 2 seconds, or some cases take longer than they may\n\
             and should be made for this: accounts, chats and groups with peers that lie are left there.\n\
             For Freehold, in its configuration:\n\n\
             \x20   [clients]\n\
             \x20   registration = \"open\"\n\
             \x20   [federation]\n\
             \x20   nameserver = \"{ip}:{port}\"\n\
             \x20   trust = \"dns\"\n\
             \x20   allowed_ranges = [\"{ip}/32\"]\n\
             \x20   retry_longest_seconds = 2\n",
            names = names.join(" and "),
            port = self.dns_port,
        )
    }

    /// The same on the command line.
    #[must_use]
    pub fn arguments(&self) -> String {
        let targets = self.targets.iter().map(|it| format!("--target {it} "));
        let (ip, port, zone) = (self.ip, self.dns_port, &self.zone);
        let targets: String = targets.collect();
        format!("{targets}--listen {ip} --dns-port {port} --zone {zone}")
    }

    /// Why a case is not played against them; `None` if it is.
    #[must_use]
    pub fn leaves_out(&self, case: &Case) -> Option<String> {
        if !case.needs.is_empty() {
            let needs: Vec<_> = case.needs.iter().map(|it| it.words()).collect();
            return Some(format!("not played: needs {}", needs.join(", ")));
        }
        let (needed, given) = (case.domains.len(), self.targets.len());
        (given < needed)
            .then(|| format!("not played: needs {needed} servers, and there is {given}"))
    }

    /// Looks that every target shows its record, and says under which root key.
    pub fn look(&self) -> Result<Vec<String>> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::harness("begin", error))?;
        runtime.block_on(async {
            let mut shown = Vec::new();
            for target in &self.targets {
                let root = self.root_of(target).await?;
                shown.push(format!("{} shows its record, root={root}", target.domain));
            }
            Ok(shown)
        })
    }

    /// The fingerprint of the root key in the record that a target shows.
    pub(crate) async fn root_of(&self, target: &Target) -> Result<String> {
        let asker = ScriptedPeer::start(&format!("asker.{}", self.zone), self.ip.into()).await?;
        let (domain, at) = (&target.domain, target.federation);
        let broken = |why: String| Failure::Broken(format!("{domain} at {at}: {why}"));
        let shown = async {
            let mut stream = asker.knocks(domain, at, limits::ALPN_RECORD).await?;
            let mut bytes = Vec::new();
            let limit = u64::try_from(limits::RECORD_BYTES_MAX).unwrap_or(u64::MAX);
            // A server may end TLS without a goodbye; the record says itself whether it is whole.
            let _end = (&mut stream).take(limit + 1).read_to_end(&mut bytes).await;
            Result::Ok(bytes)
        };
        let late = || Failure::Late {
            awaited: format!("the identity record of {domain} at {at}"),
            after: SHOWN_WITHIN,
        };
        let record = timeout(SHOWN_WITHIN, shown).await.map_err(|_| late())??;
        let root = VerifiedRecord::root_in(&record).map_err(|error| broken(error.to_string()))?;
        let verified = VerifiedRecord::verify_stored(&record, domain, &root);
        verified.map_err(|error| broken(error.to_string()))?;
        Ok(fingerprint_to_text(&root))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_as_it_is_written() {
        for text in [
            "a.example=192.0.2.1:6269",
            "a.example=192.0.2.1:6269,client=192.0.2.1:6060",
            "a.example=192.0.2.1:6269,client=192.0.2.1:6060,key=AQ",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "a.example",
            "A.example=192.0.2.1:6269",
            "a.example=b.example:6269",
            "a.example=192.0.2.1:6269,client",
            "a.example=192.0.2.1:6269,port=1",
            "a.example=[2001:db8::1]:6269",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
