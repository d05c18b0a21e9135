//! The configuration of a node of the public directory tier: the file as it is written, and its check.
//!
//! `directory-example.toml` is made from this file, as `example.toml` is from `file.rs`.

use std::mem::take;

use freehold_directory::{NodeConfig, Trust};
use serde::Deserialize;

use crate::{
    check::Checker,
    file,
    given::{Expected, Given, Unknown},
};

/// Memory for what was found, in MiB.
const CACHE_MIB: u64 = 64;
/// Memory for what is announced, in MiB.
const LISTING_MIB: u64 = 64;

/// A node of the Freehold directory: `freehold directory --config FILE`. A line that begins with # and
/// a key shows what holds without it. Relative paths start at the folder that this file lies in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Node {
    /// Address and port for everybody who asks. It speaks plain HTTP: for the world outside this
    /// machine, let a web server with a certificate (nginx, Caddy) pass https on to it.
    ///
    /// Default: `"127.0.0.1:6080"`
    pub(crate) listen: Given<String>,

    /// Addresses of web servers in front, which say in `X-Forwarded-For` who asks. Whoever asks from
    /// another address is counted by that address.
    ///
    /// Default: `["127.0.0.1", "::1"]`
    pub(crate) proxies: Given<Vec<String>>,

    /// How much memory, in MiB, may hold what was found lately.
    ///
    /// Default: `64`
    pub(crate) cache_mib: Given<u64>,

    /// Questions from one network (256 IPv4 addresses, a /56 of IPv6): how many in a second, and how many
    /// at once after a rest; [0, 0] means no limit.
    ///
    /// Default: `[20, 200]`
    pub(crate) questions: Given<Vec<u64>>,

    /// How many of these may be about domains that the node has to look for first.
    ///
    /// Default: `[1, 30]`
    pub(crate) looks: Given<Vec<u64>>,

    /// Announcements from one network: how many in a second, and how many at once after a rest; [0, 0] means
    /// no limit.
    ///
    /// Default: `[10, 100]`
    pub(crate) announcements: Given<Vec<u64>>,

    /// How much memory, in MiB, may hold what domains announce, so that groups and people are found by words.
    ///
    /// Default: `64`
    pub(crate) listing_mib: Given<u64>,

    pub(crate) discovery: Given<Discovery>,
    pub(crate) push: Given<Push>,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[discovery]` How domains are looked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Discovery {
    /// The DNS server to ask, as address and port. Without it, those of the system.
    ///
    /// Example: `"127.0.0.1:53"`
    pub(crate) nameserver: Given<String>,

    /// Whether to find out if DNSSEC vouches for TXT records. The node checks the signatures itself,
    /// unless `dnssec_resolver` is set.
    ///
    /// Default: `true`
    pub(crate) dnssec: Given<bool>,

    /// A file of DNSKEY records to begin with in place of the keys of the root of the DNS: for a closed
    /// network with a root of its own. Not used with `dnssec_resolver`.
    ///
    /// Example: `"root.key"`
    pub(crate) dnssec_keys: Given<String>,

    /// A DNS resolver on this machine that validates DNSSEC, such as unbound, whose word on that is
    /// believed in place of our own checks.
    ///
    /// Example: `"127.0.0.1:53"`
    pub(crate) dnssec_resolver: Given<String>,

    /// On which port the web servers of domains are asked for `/.well-known/freehold/identity`. Another
    /// one is for tests.
    ///
    /// Default: `443`
    pub(crate) well_known_port: Given<u64>,

    /// A file of certificates, in PEM form, of authorities that are believed beside those of the web when
    /// web servers of domains are asked: for a closed network with an authority of its own.
    ///
    /// Example: `"authority.pem"`
    pub(crate) well_known_ca: Given<String>,

    /// Address ranges to connect to although they are private, local or otherwise special: for domains in
    /// the same network.
    ///
    /// Default: `[]`
    pub(crate) allowed_ranges: Given<Vec<String>>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[push]` Relaying notifications to the devices of domains' people. A domain signs what it wants relayed; the
/// node has the credentials of the services that reach devices.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Push {
    /// Where domains reach this node. Requests are signed for it, so that nobody can repeat them elsewhere.
    /// Without it nothing is relayed. Plain http is taken for addresses of this machine only.
    ///
    /// Example: `"https://directory.example.org"`
    pub(crate) public_url: Given<String>,

    /// The file with the key by which Web Push services, and those of UnifiedPush, know this node:
    /// `freehold directory --make-vapid-key FILE` makes one. Keep it: browsers subscribe for this key, and with
    /// another one none of them can be reached. Several nodes behind one name share one.
    ///
    /// Example: `"vapid.pem"`
    pub(crate) vapid_key: Given<String>,

    /// Whom these services turn to when something is wrong.
    ///
    /// Example: `"mailto:admin@example.org"`
    pub(crate) vapid_subject: Given<String>,

    /// The file with a service account of Google's, as its console writes it (JSON), for devices with Google's
    /// service: phones with the stock Android app. Whose app it is, that one's account it must be.
    ///
    /// Example: `"service-account.json"`
    pub(crate) fcm_service_account: Given<String>,

    /// Where Google's service is. Another address is for tests and for closed networks.
    ///
    /// Default: `"https://fcm.googleapis.com"`
    pub(crate) fcm_url: Given<String>,

    /// The file with a key for Apple's service (`.p8`), for apps that say of their device `apns:` and a token.
    ///
    /// Example: `"AuthKey.p8"`
    pub(crate) apns_key: Given<String>,

    /// What Apple calls this key.
    ///
    /// Example: `"ABC123DEFG"`
    pub(crate) apns_key_id: Given<String>,

    /// The team whose key it is.
    ///
    /// Example: `"DEF123GHIJ"`
    pub(crate) apns_team_id: Given<String>,

    /// The app, by its bundle id.
    ///
    /// Example: `"org.example.chat"`
    pub(crate) apns_topic: Given<String>,

    /// Where Apple's service is: for apps in development `https://api.sandbox.push.apple.com`.
    ///
    /// Default: `"https://api.push.apple.com"`
    pub(crate) apns_url: Given<String>,

    /// Pushes that one domain may have relayed: how many in a second, and how many at once after a rest; [0, 0]
    /// means no limit.
    ///
    /// Default: `[50, 500]`
    pub(crate) domain_pushes: Given<Vec<u64>>,

    /// The same for one network (256 IPv4 addresses, a /56 of IPv6), whoever is named.
    ///
    /// Default: `[100, 1000]`
    pub(crate) network_pushes: Given<Vec<u64>>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

impl Expected for Push {
    const WORDS: &str = "a section";
}

impl Expected for Discovery {
    const WORDS: &str = "a section";
}

impl Checker<'_> {
    pub(crate) fn node(&mut self, node: Node) -> Option<NodeConfig> {
        self.refuse_unknown("", &node.unknown);
        let listen = self.listen("listen", node.listen, "127.0.0.1:6080");
        let proxies = self.proxies("proxies", node.proxies);
        let cache = self.number("cache_mib", node.cache_mib, CACHE_MIB, (1, 65_536));
        let questions = self.rate("questions", node.questions, [20, 200]);
        let looks = self.rate("looks", node.looks, [1, 30]);
        let announcements = self.rate("announcements", node.announcements, [10, 100]);
        let listing = self.number("listing_mib", node.listing_mib, LISTING_MIB, (1, 65_536));
        let discovery = self.section("discovery", node.discovery);
        let discovery = discovery.and_then(|mut it| {
            self.refuse_unknown("discovery.", &it.unknown);
            let mut section = file::Federation {
                nameserver: take(&mut it.nameserver),
                dnssec: take(&mut it.dnssec),
                dnssec_keys: take(&mut it.dnssec_keys),
                dnssec_resolver: take(&mut it.dnssec_resolver),
                well_known_port: take(&mut it.well_known_port),
                well_known_ca: take(&mut it.well_known_ca),
                allowed_ranges: take(&mut it.allowed_ranges),
                ..file::Federation::default()
            };
            self.directory("discovery", &mut section)
        });
        let push = self.section("push", node.push);
        let push = push.and_then(|it| self.relay(it));
        Some(NodeConfig {
            push: push?,
            listen: listen?,
            proxies: proxies?,
            cache_bytes: cache? * 1024 * 1024,
            questions: questions?,
            looks: looks?,
            announcements: announcements?,
            listing_bytes: listing? * 1024 * 1024,
            discovery: freehold_directory::Config {
                trust: Trust::Dns,
                ..discovery?
            },
        })
    }
}
