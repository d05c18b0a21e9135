//! From the file as written to the parts as used, gathering every mistake on the way.
//!
//! Each function reads all of its keys before it gives up on any, so nothing stays untold.

use std::{
    mem::take,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use freehold_directory::{Dnssec, IpRange, NegativeCache, NodeAddress, StaticPeer, Trust};
use freehold_federation::{Backoff, Policy, Rates};
use freehold_keys::fingerprint_from_text;
use freehold_proto::{
    DomainName, WebUrl, client_document::check_grpc, limits::PAYLOAD_BYTES_MAX, web_url::WebHost,
};

use crate::{
    Audit, Calls, Clients, Config, Copies, FilePlace, Files, Listing, Public, Registration, S3,
    STOCK_API_KEY, Waiting, authentication,
    file::{self, File},
    given::{Expected, Given, Unknown},
};

/// How many times longer the longest wait is once a domain has been away for a day.
const LATER: u64 = 6;
const MIB: u64 = 1024 * 1024;
/// Connections of clients at once. Twice 100,000 people: when the network comes back they all connect anew,
/// and for as long as a silent client is waited for their old connections are there too.
const CLIENT_CONNECTIONS_MAX: u64 = 200_000;
/// Time to connect and finish TLS, and for the hello (PROTOCOL.md section 10).
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
const DISCOVERY_WAIT: Duration = Duration::from_secs(3);
/// A file is kept for an hour at least, so a minute more or less does not matter.
const COLLECT_EVERY: Duration = Duration::from_secs(60);
/// All are asked at once, by whoever makes us meet somebody.
const NODES_MAX: usize = 8;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Between two looks a trail may be longer than it is to be.
const TRIM_EVERY: Duration = Duration::from_secs(60 * 60);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Turns the file into a configuration, or into the list of all mistakes.
pub(crate) fn check(file: File, base_dir: &Path) -> Result<Config, Vec<String>> {
    checked(base_dir, |it| it.config(file))
}

/// The same for a file of another kind.
pub(crate) fn checked<T>(
    base_dir: &Path,
    read: impl FnOnce(&mut Checker<'_>) -> Option<T>,
) -> Result<T, Vec<String>> {
    let mut checker = Checker {
        base_dir,
        mistakes: Vec::new(),
    };
    match read(&mut checker) {
        Some(config) if checker.mistakes.is_empty() => Ok(config),
        _ => Err(checker.mistakes),
    }
}

pub(crate) struct Checker<'a> {
    pub(crate) base_dir: &'a Path,
    mistakes: Vec<String>,
}

impl Checker<'_> {
    fn config(&mut self, file: File) -> Option<Config> {
        self.refuse_unknown("", &file.unknown);
        let domain = self.required("domain", file.domain, DomainName::from_typed);
        let data_dir = self.path("data_dir", file.data_dir, self.base_dir, ".");
        let data = data_dir.clone().unwrap_or_default();
        let keys_dir = self.path("keys_dir", file.keys_dir, &data, "keys");
        let clients = self.section("clients", file.clients);
        let clients = clients.and_then(|it| self.clients(it));
        let calls = self.section("calls", file.calls);
        let calls = calls.and_then(|it| self.calls(it));
        let authentication = self.section("authentication", file.authentication);
        let authentication = authentication.and_then(|it| self.authentication(it));
        let mail = self.section("mail", file.mail);
        let mail = mail.and_then(|it| self.mail(it, domain.as_ref()));
        self.require_mail(clients.as_ref(), mail.as_ref());
        let mut links = self.section("federation", file.federation);
        let waiting = links.as_mut().and_then(|it| self.waiting(it));
        let limits = self.section("limits", file.limits);
        let limits = limits.and_then(|it| self.limits(it));
        let rates = limits.map(|it| it.1);
        let links = links.and_then(|it| self.federation(it, rates));
        let nodes = self.section("directory", file.directory);
        let nodes = nodes.and_then(|it| self.nodes(it));
        let listing = nodes.as_ref().map(|it| it.1);
        let push = self.section("push", file.push);
        let push = push.and_then(|it| self.push(it));
        let store = self.section("store", file.store);
        let store = store.and_then(|it| self.store(it, &data));
        let files = self.section("files", file.files);
        let floor = store.as_ref().map_or(0, |it| it.free_space_floor());
        let files = files.and_then(|it| self.files(it, &data, floor));
        let audit = self.section("audit", file.audit);
        let audit = audit.and_then(|it| self.audit(it));
        let plugins = self.plugins(file.plugins);
        let (federation, directory) = links?;
        Some(Config {
            domain: domain?,
            data_dir: data_dir?,
            keys_dir: keys_dir?,
            clients: clients?,
            calls: calls?,
            authentication: authentication?,
            mail: mail?,
            federation,
            waiting: waiting?,
            limits: limits?.0,
            directory: freehold_directory::Config {
                nodes: nodes?.0,
                ..directory
            },
            listing: listing?,
            push: push?,
            store: store?,
            files: files?,
            audit: audit?,
            plugins: plugins?,
        })
    }

    fn audit(&mut self, section: file::Audit) -> Option<Audit> {
        self.refuse_unknown("audit.", &section.unknown);
        let days = self.number("audit.keep_days", section.keep_days, 400, (1, 36_500));
        let entries_max = self.number(
            "audit.entries_max",
            section.entries_max,
            100_000,
            (100, 10_000_000),
        );
        Some(Audit {
            keep: DAY * u32::try_from(days?).ok()?,
            entries_max: usize::try_from(entries_max?).ok()?,
            trim_every: TRIM_EVERY,
        })
    }

    fn clients(&mut self, section: file::Clients) -> Option<Clients> {
        self.refuse_unknown("clients.", &section.unknown);
        let listen = self.listen("clients.listen", section.listen, "127.0.0.1:6060");
        let grpc_listen = self.optional("clients.grpc_listen", section.grpc_listen, socket_address);
        let tls = self.tls(section.tls_certificate, section.tls_key);
        let public = self.public(section.public_url, section.grpc_public, &grpc_listen);
        let hosts = self.list("clients.hosts", section.hosts, |text| {
            DomainName::from_typed(text).map(|it| it.to_string())
        });
        let web_root = self.optional("clients.web_root", section.web_root, not_empty);
        let registration = self.choice(
            "clients.registration",
            section.registration,
            &[
                ("closed", Registration::Closed),
                ("open", Registration::Open),
                ("invite", Registration::Invite),
                ("approval", Registration::Approval),
            ],
        );
        let findable = self.value("clients.findable", section.findable, true);
        let proxies = self.proxies("clients.proxies", section.proxies);
        let anonymous = self.value("clients.anonymous", section.anonymous, false);
        let required_credentials = self.list(
            "clients.required_credentials",
            section.required_credentials,
            |text| match text {
                "email" => Ok(text.to_owned()),
                _ => Err("must be \"email\", the only kind that can be confirmed"),
            },
        );
        let masked_tags = self.list("clients.masked_tags", section.masked_tags, tag_prefix);
        let api_keys = self.api_keys(section.api_keys);
        let message_bytes_max = self.number(
            "clients.message_bytes_max",
            section.message_bytes_max,
            131_072,
            (1024, PAYLOAD_BYTES_MAX as u64),
        );
        let group_members_max = self.number(
            "clients.group_members_max",
            section.group_members_max,
            1000,
            (2, 100_000),
        );
        let delete_for_both = self.value("clients.delete_for_both", section.delete_for_both, false);
        let delete_within = self.number(
            "clients.delete_within_seconds",
            section.delete_within_seconds,
            0,
            (0, 315_360_000),
        );
        let connections_max = self.number(
            "clients.connections_max",
            section.connections_max,
            CLIENT_CONNECTIONS_MAX,
            (10, 10_000_000),
        );
        let websocket_read_buffer = self.number(
            "clients.websocket_read_buffer",
            section.websocket_read_buffer,
            1024,
            (1024, MIB),
        );
        Some(Clients {
            listen: listen?,
            grpc_listen: grpc_listen?,
            tls: tls?,
            public: public?,
            hosts: hosts?,
            web_root: web_root?.map(|it: String| self.base_dir.join(it)),
            api_keys: api_keys?,
            message_bytes_max: usize::try_from(message_bytes_max?).ok()?,
            websocket_read_buffer: usize::try_from(websocket_read_buffer?).ok()?,
            connections_max: usize::try_from(connections_max?).ok()?,
            registration: registration?,
            findable: findable?,
            group_members_max: usize::try_from(group_members_max?).ok()?,
            delete_for_both: delete_for_both?,
            delete_within: delete_within.map(|it| (it > 0).then(|| Duration::from_secs(it)))?,
            proxies: proxies?,
            anonymous: anonymous?,
            required_credentials: required_credentials?,
            masked_tags: masked_tags?,
        })
    }

    /// Where the world reaches the listeners, if that is told.
    fn public(
        &mut self,
        url: Given<String>,
        grpc: Given<String>,
        grpc_listen: &Option<Option<SocketAddr>>,
    ) -> Option<Option<Public>> {
        const GRPC: &str = "clients.grpc_public";
        let url = self.optional("clients.public_url", url, public_url);
        let grpc = self.optional(GRPC, grpc, |text| match check_grpc(text) {
            Ok(()) => Ok(text.to_owned()),
            Err(_) => Err("must be a host and a port, such as chat.example.org:443"),
        });
        let (url, grpc) = (url?, grpc?);
        match (&url, &grpc) {
            (None, Some(_)) => self.mistake(GRPC, "counts only with public_url"),
            (_, Some(_)) if *grpc_listen == Some(None) => {
                self.mistake(GRPC, "counts only with grpc_listen")
            }
            _ => Some(url.map(|url| Public { url, grpc })),
        }
    }

    pub(crate) fn proxies(&mut self, key: &str, given: Given<Vec<String>>) -> Option<Vec<IpAddr>> {
        let usual = ["127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let texts = self.value(key, given, usual)?;
        self.list(key, Given::Value(texts), |text| {
            text.parse::<IpAddr>()
                .map_err(|_| "must be IP addresses, such as 127.0.0.1")
        })
    }

    fn calls(&mut self, section: file::Calls) -> Option<Option<Calls>> {
        self.refuse_unknown("calls.", &section.unknown);
        let ice_urls = self.list("calls.ice_urls", section.ice_urls, ice_url);
        let turn_secret = self.optional("calls.turn_secret", section.turn_secret, not_empty);
        let lifetime = self.number(
            "calls.turn_lifetime_seconds",
            section.turn_lifetime_seconds,
            86_400,
            (60, 2_592_000),
        );
        let ring = self.number("calls.ring_seconds", section.ring_seconds, 30, (1, 600));
        let (ice_urls, turn_secret) = (ice_urls?, turn_secret?);
        if ice_urls.is_empty() && turn_secret.is_some() {
            return self.mistake(
                "calls.turn_secret",
                "counts only with a TURN server in ice_urls",
            );
        }
        let calls = Calls {
            timeout: Duration::from_secs(ring?),
            turn_lifetime: Duration::from_secs(lifetime?),
            turn_secret,
            ice_urls,
        };
        Some((!calls.ice_urls.is_empty()).then_some(calls))
    }

    fn api_keys(&mut self, given: Given<Vec<String>>) -> Option<Vec<String>> {
        let usual = vec![STOCK_API_KEY.to_owned()];
        let keys = self.value("clients.api_keys", given, usual)?;
        if keys.is_empty() || keys.iter().any(String::is_empty) {
            return self.mistake("clients.api_keys", "must hold at least one key, none empty");
        }
        Some(keys)
    }

    fn waiting(&mut self, section: &mut file::Federation) -> Option<Waiting> {
        let days = take(&mut section.lifetime_days);
        let days = self.number("federation.lifetime_days", days, 7, (1, 30));
        let takeover = take(&mut section.takeover_after_seconds);
        let takeover = self.number(
            "federation.takeover_after_seconds",
            takeover,
            3 * 24 * 60 * 60,
            (0, 365 * 24 * 60 * 60),
        );
        let items = take(&mut section.waiting_items_max);
        let items = self.number(
            "federation.waiting_items_max",
            items,
            50_000,
            (10, 1_000_000),
        );
        let mib = take(&mut section.waiting_mib_max);
        let mib = self.number("federation.waiting_mib_max", mib, 64, (1, 4096));
        Some(Waiting {
            lifetime: Duration::from_secs(days? * 24 * 60 * 60),
            takeover_after: takeover.map(|it| (it > 0).then(|| Duration::from_secs(it)))?,
            items_max: usize::try_from(items?).ok()?,
            bytes_max: usize::try_from(mib? * 1024 * 1024).ok()?,
        })
    }

    fn federation(
        &mut self,
        mut section: file::Federation,
        rates: Option<Rates>,
    ) -> Option<(freehold_federation::Config, freehold_directory::Config)> {
        self.refuse_unknown("federation.", &section.unknown);
        let directory = self.directory("federation", &mut section);
        let listen = self.listen("federation.listen", section.listen, "0.0.0.0:6269");
        let policy = self.policy(section.policy, section.allow, section.deny);
        let connections_max = self.number(
            "federation.connections_max",
            section.connections_max,
            1024,
            (8, 65_536),
        );
        let idle = self.number(
            "federation.idle_seconds",
            section.idle_seconds,
            300,
            (5, 86_400),
        );
        let backoff = self.backoff(section.retry_first_seconds, section.retry_longest_seconds);
        let connections_max = usize::try_from(connections_max?).ok()?;
        let federation = freehold_federation::Config {
            listen: listen?,
            policy: policy?,
            backoff: backoff?,
            idle_timeout: Duration::from_secs(idle?),
            tls_timeout: TLS_TIMEOUT,
            hello_timeout: HELLO_TIMEOUT,
            discovery_wait: DISCOVERY_WAIT,
            call_timeout: CALL_TIMEOUT,
            connections_max,
            strangers_max: connections_max / 4,
            strangers_per_prefix_max: (connections_max / 16).max(1),
            rates: rates?,
        };
        Some((federation, directory?))
    }

    fn dnssec(&mut self, at: &str, section: &mut file::Federation) -> Option<Dnssec> {
        let wanted = take(&mut section.dnssec);
        let wanted = self.value(&format!("{at}.dnssec"), wanted, true);
        let keys = take(&mut section.dnssec_keys);
        let keys = self.optional(&format!("{at}.dnssec_keys"), keys, not_empty);
        let resolver = self.optional(
            &format!("{at}.dnssec_resolver"),
            take(&mut section.dnssec_resolver),
            |text| match socket_address(text) {
                Ok(address) if address.ip().is_loopback() => Ok(address),
                Ok(_) => Err("must be an address of this machine, such as 127.0.0.1:53: on the way from another one anybody can claim that DNSSEC vouches for an answer".to_owned()),
                Err(why) => Err(why.to_owned()),
            },
        );
        Some(match (wanted?, resolver?) {
            (false, _) => Dnssec::Off,
            (true, Some(resolver)) => Dnssec::Resolver(resolver),
            (true, None) => Dnssec::Validated(keys?.map(|it| self.base_dir.join(it))),
        })
    }

    /// How domains are found, from the section that is called `at`.
    pub(crate) fn directory(
        &mut self,
        at: &str,
        section: &mut file::Federation,
    ) -> Option<freehold_directory::Config> {
        let trust = self.choice(
            &format!("{at}.trust"),
            take(&mut section.trust),
            &[
                ("pinned", Trust::Pinned),
                ("verified", Trust::Verified),
                ("dns", Trust::Dns),
                ("lan", Trust::Lan),
            ],
        );
        let dnssec = self.dnssec(at, section);
        let port = take(&mut section.well_known_port);
        let port = self.number(&format!("{at}.well_known_port"), port, 443, (1, 65535));
        let ca = take(&mut section.well_known_ca);
        let ca = self.optional(&format!("{at}.well_known_ca"), ca, not_empty);
        let ca = ca.map(|it| it.map(|name| self.base_dir.join(name)));
        let nameserver = self.optional(
            &format!("{at}.nameserver"),
            take(&mut section.nameserver),
            socket_address,
        );
        let allowed_ranges = self.list(
            &format!("{at}.allowed_ranges"),
            take(&mut section.allowed_ranges),
            |text| {
                IpRange::from_str(text)
                    .map_err(|_| "must be address ranges such as 10.0.0.0/8".to_owned())
            },
        );
        let static_peers = self.peers(take(&mut section.peer));
        Some(freehold_directory::Config {
            nameserver: nameserver?,
            trust: trust?,
            allowed_ranges: allowed_ranges?,
            static_peers: static_peers?,
            negative_cache: NegativeCache::USUAL,
            dnssec: dnssec?,
            nodes: Vec::new(),
            well_known_port: u16::try_from(port?).unwrap_or(443),
            well_known_ca: ca?,
        })
    }

    fn nodes(&mut self, section: file::Directory) -> Option<(Vec<NodeAddress>, Listing)> {
        self.refuse_unknown("directory.", &section.unknown);
        let announce = self.value("directory.announce", section.announce, false);
        let search = self.value("directory.search", section.search, true);
        let nodes = self.list("directory.nodes", section.nodes, |text| {
            let wrong = "must be addresses such as https://directory.example.org";
            let place = authentication::place(text).map_err(|_| wrong)?;
            let node = NodeAddress {
                tls: place.tls,
                host: place.host,
                port: place.port,
            };
            if place.path.is_empty() {
                Ok(node)
            } else {
                Err(wrong)
            }
        })?;
        let twice = nodes
            .iter()
            .enumerate()
            .any(|(at, it)| nodes.iter().skip(at + 1).any(|other| other == it));
        match nodes.len() {
            _ if twice => self.mistake(
                "directory.nodes",
                "names one node twice: two have to be two",
            ),
            0 if announce == Some(true) => self.mistake(
                "directory.announce",
                "needs nodes to announce to: see directory.nodes",
            ),
            0..=NODES_MAX => {
                let listing = Listing {
                    announce: announce?,
                    search: search? && !nodes.is_empty(),
                };
                Some((nodes, listing))
            }
            _ => self.mistake("directory.nodes", "names more than 8 nodes"),
        }
    }

    fn peers(&mut self, given: Given<Vec<Given<file::Peer>>>) -> Option<Vec<StaticPeer>> {
        let rows = self.value("federation.peer", given, Vec::new())?;
        let mut peers: Vec<StaticPeer> = Vec::new();
        for (row, number) in rows.into_iter().zip(1..) {
            let name = format!("federation.peer (number {number})");
            let row = self.section(&name, row);
            let Some(peer) = row.and_then(|it| self.peer(&name, it)) else {
                continue;
            };
            if peers.iter().any(|it| it.domain == peer.domain) {
                let why = format!("names {}, as one before it does", peer.domain);
                self.mistake::<()>(&name, &why);
            }
            peers.push(peer);
        }
        Some(peers)
    }

    fn peer(&mut self, name: &str, row: file::Peer) -> Option<StaticPeer> {
        let name = |key: &str| format!("{name}.{key}");
        self.refuse_unknown(&name(""), &row.unknown);
        let domain = self.required(&name("domain"), row.domain, DomainName::from_typed);
        let root = self.required(&name("root"), row.root, |text| {
            fingerprint_from_text(text).ok_or("must be 43 characters of base64url")
        });
        let address = self.optional(&name("address"), row.address, host_and_port);
        Some(StaticPeer {
            domain: domain?,
            address: address?,
            root_fingerprint: root?,
        })
    }

    fn policy(
        &mut self,
        policy: Given<String>,
        allow: Given<Vec<String>>,
        deny: Given<Vec<String>>,
    ) -> Option<Policy> {
        let listed = self.choice(
            "federation.policy",
            policy,
            &[("open", false), ("listed", true)],
        );
        let allow = self.list("federation.allow", allow, DomainName::from_typed);
        let deny = self.list("federation.deny", deny, DomainName::from_typed);
        let (listed, allow, deny) = (listed?, allow?, deny?);
        if !listed && !allow.is_empty() {
            let why = "counts only with policy = \"listed\", and the policy is \"open\"";
            return self.mistake("federation.allow", why);
        }
        Some(if listed {
            Policy::only(allow, deny)
        } else {
            Policy::open(deny)
        })
    }

    fn backoff(&mut self, first: Given<u64>, longest: Given<u64>) -> Option<Backoff> {
        let key = "federation.retry_first_seconds";
        let first = self.number(key, first, 1, (1, 3600));
        let longest = self.number(
            "federation.retry_longest_seconds",
            longest,
            3600,
            (1, 21_600),
        );
        let (first, longest) = (first?, longest?);
        let seconds = Duration::from_secs;
        match Backoff::new(seconds(first), seconds(longest), seconds(longest * LATER)) {
            Ok(backoff) => Some(backoff),
            Err(_) => {
                let why = format!("must not be longer than retry_longest_seconds, {longest}");
                self.mistake(key, &why)
            }
        }
    }

    fn store(&mut self, section: file::Store, data_dir: &Path) -> Option<freehold_store::Config> {
        self.refuse_unknown("store.", &section.unknown);
        let cache = self.number("store.cache_mib", section.cache_mib, 64, (1, 65_536));
        let floor = self.number(
            "store.free_space_mib",
            section.free_space_mib,
            512,
            (256, 1_048_576),
        );
        let path = data_dir.join("store");
        match freehold_store::Config::new(path, cache? * MIB, floor? * MIB) {
            Ok(config) => Some(config),
            Err(error) => self.mistake("store", &format!("cannot be: {error}")),
        }
    }
}

/// What people upload.
impl Checker<'_> {
    fn files(&mut self, section: file::Files, data_dir: &Path, floor: u64) -> Option<Files> {
        self.refuse_unknown("files.", &section.unknown);
        let mut mib = |key: &str, given, usual, most| {
            let value = self.number(&format!("files.{key}"), given, usual, (1, most));
            value.map(|it| it * MIB)
        };
        let file = mib("file_mib_max", section.file_mib_max, 32, 65_536);
        // A terabyte of terabytes: no more than what a signed number of bytes holds.
        let person = mib("person_mib_max", section.person_mib_max, 2048, 1 << 40);
        let total = mib("total_mib_max", section.total_mib_max, 51_200, 1 << 40);
        let copies = mib("remote_cache_mib", section.remote_cache_mib, 2048, 1 << 40);
        let days = self.number("files.remote_days", section.remote_days, 30, (1, 3650));
        let folder = self.path("files.folder", section.folder, data_dir, "files");
        let bucket = self.optional("files.s3_bucket", section.s3_bucket, not_empty);
        let way = self.s3([
            section.s3_endpoint,
            section.s3_region,
            section.s3_access_key,
            section.s3_secret_file,
        ]);
        let (bucket, way) = (bucket?, way?);
        let place = match (bucket, way) {
            (None, None) => FilePlace::Folder(folder?),
            (Some(bucket), Some(way)) => FilePlace::S3(S3 { bucket, ..way }),
            (Some(_), None) => return self.mistake("files.s3_bucket", "needs files.s3_access_key"),
            (None, Some(_)) => return self.mistake("files.s3_access_key", "needs files.s3_bucket"),
        };
        Some(Files {
            place,
            file_bytes_max: file?,
            person_bytes_max: person?,
            total_bytes_max: total?,
            // Messages still go when files no longer do.
            free_bytes_min: floor.saturating_mul(2),
            collect_every: COLLECT_EVERY,
            copies: Copies {
                folder: data_dir.join("files_of_others"),
                bytes_max: copies?,
                keep: Duration::from_secs(days? * DAY.as_secs()),
            },
        })
    }

    /// The way to a bucket that is not named yet, if there is one.
    fn s3(
        &mut self,
        [endpoint, region, access_key, secret]: [Given<String>; 4],
    ) -> Option<Option<S3>> {
        let endpoint = self.optional("files.s3_endpoint", endpoint, |text| {
            let known = text.starts_with("https://") || text.starts_with("http://");
            let url = known.then(|| text.trim_end_matches('/').to_owned());
            url.ok_or("must be a URL, such as https://s3.example.org")
        });
        let region = self.value("files.s3_region", region, "us-east-1".to_owned());
        let access_key = self.optional("files.s3_access_key", access_key, not_empty);
        let secret = self.optional("files.s3_secret_file", secret, not_empty);
        let (endpoint, region, access_key, secret) = (endpoint?, region?, access_key?, secret?);
        Some(access_key.map(|access_key| S3 {
            bucket: String::new(),
            endpoint,
            region,
            access_key,
            secret_file: secret.map(|it| self.base_dir.join(it)),
        }))
    }
}

/// Reading one key. `None` means that a mistake has been noted.
impl Checker<'_> {
    pub(crate) fn mistake<T>(&mut self, key: &str, why: &str) -> Option<T> {
        self.mistakes.push(format!("{key} {why}."));
        None
    }

    pub(crate) fn refuse_unknown(&mut self, prefix: &str, unknown: &Unknown) {
        for key in unknown.keys() {
            self.mistake::<()>(
                &format!("{prefix}{key}"),
                "is not a key that Freehold knows",
            );
        }
    }

    /// The value if there is one.
    fn given<T: Expected>(&mut self, key: &str, given: Given<T>) -> Option<Option<T>> {
        match given {
            Given::Nothing => Some(None),
            Given::Value(value) => Some(Some(value)),
            Given::Wrong(found) => self.mistake(
                key,
                &format!("must be {}, not a value of type {found}", T::WORDS),
            ),
        }
    }

    pub(crate) fn value<T: Expected>(&mut self, key: &str, given: Given<T>, usual: T) -> Option<T> {
        Some(self.given(key, given)?.unwrap_or(usual))
    }

    /// A section, which is as good as there when it is not.
    pub(crate) fn section<T: Expected + Default>(
        &mut self,
        key: &str,
        given: Given<T>,
    ) -> Option<T> {
        self.value(key, given, T::default())
    }

    pub(crate) fn optional<T, E: ToString>(
        &mut self,
        key: &str,
        given: Given<String>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        match self.given(key, given)? {
            None => Some(None),
            Some(text) => self.parsed(key, &text, parse).map(Some),
        }
    }

    pub(crate) fn required<T, E: ToString>(
        &mut self,
        key: &str,
        given: Given<String>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match self.optional(key, given, parse)? {
            Some(value) => Some(value),
            None => self.mistake(key, "is missing"),
        }
    }

    fn parsed<T, E: ToString>(
        &mut self,
        key: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => self.mistake(key, &format!("= {text:?}: {}", why.to_string())),
        }
    }

    pub(crate) fn list<T, E: ToString>(
        &mut self,
        key: &str,
        given: Given<Vec<String>>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<T>> {
        let texts = self.value(key, given, Vec::new())?;
        // All are read before the first that failed decides.
        let values: Vec<_> = texts
            .iter()
            .map(|it| self.parsed(key, it, &parse))
            .collect();
        values.into_iter().collect()
    }

    /// One of some words; the first is the default.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        key: &str,
        given: Given<String>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let Some(text) = self.given(key, given)? else {
            return words.first().map(|&(_, value)| value);
        };
        match words.iter().find(|&&(word, _)| word == text) {
            Some(&(_, value)) => Some(value),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
                let words = words.join(" or ");
                self.mistake(key, &format!("must be {words}, not {text:?}"))
            }
        }
    }

    pub(crate) fn number(
        &mut self,
        key: &str,
        given: Given<u64>,
        usual: u64,
        (least, most): (u64, u64),
    ) -> Option<u64> {
        let value = self.value(key, given, usual)?;
        if (least..=most).contains(&value) {
            return Some(value);
        }
        let why = format!("must be from {least} to {most}, not {value}");
        self.mistake(key, &why)
    }

    pub(crate) fn listen(
        &mut self,
        key: &str,
        given: Given<String>,
        usual: &str,
    ) -> Option<SocketAddr> {
        let text = self.value(key, given, usual.to_owned())?;
        self.parsed(key, &text, socket_address)
    }

    fn path(
        &mut self,
        key: &str,
        given: Given<String>,
        base: &Path,
        usual: &str,
    ) -> Option<PathBuf> {
        let text = self.value(key, given, usual.to_owned())?;
        let text = self.parsed(key, &text, not_empty)?;
        // `components` drops the "." that stands for the folder itself.
        Some(base.join(text).components().collect())
    }
}

/// A URL that leads to the whole of our listener.
pub(crate) fn public_url(text: &str) -> Result<WebUrl, &'static str> {
    const WRONG: &str = "must be a URL without a path, such as https://chat.example.org";
    let url: Result<WebUrl, _> = format!("{}/", text.strip_suffix('/').unwrap_or(text)).parse();
    let url = url.ok().filter(|it| it.path() == "/").ok_or(WRONG)?;
    let here = matches!(url.host(), WebHost::Address(it) if it.is_loopback());
    match url.scheme() {
        "https" => Ok(url),
        "http" if here => Ok(url),
        "http" => Err("must be https: plain http is for addresses of this machine"),
        _ => Err(WRONG),
    }
}

fn ice_url(text: &str) -> Result<String, &'static str> {
    let known = ["stun:", "stuns:", "turn:", "turns:"];
    let rest = known.iter().find_map(|it| text.strip_prefix(it));
    match rest {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("must be URLs such as turn:turn.example.org:3478"),
    }
}

/// The part of a tag before the colon.
fn tag_prefix(text: &str) -> Result<String, &'static str> {
    let mut letters = text.chars();
    let fits = letters.next().is_some_and(|it| it.is_ascii_lowercase())
        && letters.all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_')
        && (2..=16).contains(&text.len());
    fits.then(|| text.to_owned())
        .ok_or("must be 2 to 16 small letters, digits or _, such as email")
}

pub(crate) fn not_empty(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("must not be empty"),
        text => Ok(text.to_owned()),
    }
}

fn socket_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse()
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:6060")
}

pub(crate) fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let wrong = "must be a host name or IP address and a port, such as 192.168.7.2:6269";
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    let (host, port) = text.rsplit_once(':').ok_or(wrong)?;
    let legal = |it: char| it.is_ascii_alphanumeric() || it == '.' || it == '-';
    if host.is_empty() || !host.chars().all(legal) {
        return Err(wrong);
    }
    let port = port.parse().map_err(|_| wrong)?;
    Ok((host.to_ascii_lowercase(), port))
}
