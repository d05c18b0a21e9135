//! The configuration file as it is written.
//!
//! `example.toml` is made from this file (see `example.rs`): the comments are written for the operator,
//! and each key's comment ends with a line `Default:`, `Example:` (there is no default) or `Required:`.
//! A test compares the defaults told here with those in `check.rs`.

use serde::Deserialize;

use crate::given::{Expected, Given, Unknown};

/// Freehold's configuration. A line that begins with # and a key shows what holds without it.
/// Relative paths start at the folder that this file lies in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct File {
    /// The DNS name of this domain: people here are called somebody@name. It is part of every id
    /// and signature, so it cannot be changed later.
    ///
    /// Required: `"example.org"`
    pub(crate) domain: Given<String>,

    /// Where the domain keeps its state.
    ///
    /// Default: `"."`
    pub(crate) data_dir: Given<String>,

    /// The folder with the domain's keys, made by `freehold init`. A relative path starts at the data
    /// folder. Only the server's user may be able to read what is in it.
    ///
    /// Default: `"keys"`
    pub(crate) keys_dir: Given<String>,

    pub(crate) clients: Given<Clients>,
    pub(crate) calls: Given<Calls>,
    pub(crate) authentication: Given<Authentication>,
    pub(crate) mail: Given<Mail>,
    pub(crate) federation: Given<Federation>,
    pub(crate) directory: Given<Directory>,
    pub(crate) push: Given<Push>,
    pub(crate) limits: Given<Limits>,
    pub(crate) store: Given<Store>,
    pub(crate) files: Given<Files>,
    pub(crate) audit: Given<Audit>,
    pub(crate) plugins: Given<Vec<Given<Plugin>>>,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[clients]` What people's clients connect to.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Clients {
    /// Address and port for clients and browsers. It speaks https and secure WebSockets if there is a
    /// certificate (`tls_certificate`). Otherwise it speaks plain HTTP: for the world outside this machine,
    /// let a web server with a certificate (nginx, Caddy) pass https on to it.
    ///
    /// Default: `"127.0.0.1:6060"`
    pub(crate) listen: Given<String>,

    /// Address and port for clients and bots that speak gRPC; without it nobody can. It speaks HTTP/2 with
    /// TLS if there is a certificate (`tls_certificate`). Otherwise without: for the world outside this
    /// machine, let a web server with a certificate pass it on.
    ///
    /// Example: `"127.0.0.1:16060"`
    pub(crate) grpc_listen: Given<String>,

    /// The file with the certificate for `listen` and `grpc_listen`, in PEM form, and behind it those that
    /// lead to its authority (`fullchain.pem` of certbot). When the file is replaced, new connections get
    /// the new one within a minute or two, without a restart. With `freehold host` all domains have one, or
    /// none has.
    ///
    /// Example: `"/etc/letsencrypt/live/chat.example.org/fullchain.pem"`
    pub(crate) tls_certificate: Given<String>,

    /// The file with its key, in PEM form. Keep it from everybody on this machine but the server's user or group.
    ///
    /// Example: `"/etc/letsencrypt/live/chat.example.org/privkey.pem"`
    pub(crate) tls_key: Given<String>,

    /// Where the world reaches `listen`, by itself or through the web server in front. From it the domain tells where its
    /// people's clients connect, at `/.well-known/freehold/client` and to directories; without it the domain
    /// does not tell. Plain http is taken for addresses of this machine only.
    ///
    /// Example: `"https://chat.example.org"`
    pub(crate) public_url: Given<String>,

    /// Where the world reaches `grpc_listen`, with TLS: host and port. It is told together with
    /// `public_url`.
    ///
    /// Example: `"chat.example.org:443"`
    pub(crate) grpc_public: Given<String>,

    /// More names by which people's clients reach the domain, beside its own. They count where several
    /// domains are served by one process (`freehold host`), which finds the domain by them.
    ///
    /// Default: `[]`
    pub(crate) hosts: Given<Vec<String>>,

    /// The folder with the web app, served at /. Without it the page is one sentence.
    ///
    /// Example: `"/usr/share/freehold/web"`
    pub(crate) web_root: Given<String>,

    /// Who may make an account: "open" for everybody who reaches the listener, "invite" for those with
    /// a code made with `freehold invite`, "approval" for everybody, who then wait for an administrator
    /// to say yes, "closed" for those added with `freehold user add`.
    ///
    /// Default: `"closed"`
    pub(crate) registration: Given<String>,

    /// Addresses of web servers in front whose header X-Forwarded-For says where a client comes from,
    /// for the limits on wrong passwords, on new accounts and on sessions that poll.
    ///
    /// Default: `["127.0.0.1", "::1"]`
    pub(crate) proxies: Given<Vec<String>>,

    /// Whether people may come in without name and password, for as long as their device remembers
    /// them. Counts only where registration is open.
    ///
    /// Default: `false`
    pub(crate) anonymous: Given<bool>,

    /// What an account must confirm before it can be used: nothing, or "email", which needs the
    /// section `[mail]`.
    ///
    /// Default: `[]`
    pub(crate) required_credentials: Given<Vec<String>>,

    /// Kinds of tags, such as "email", by which only those can search who have the same tag.
    ///
    /// Default: `[]`
    pub(crate) masked_tags: Given<Vec<String>>,

    /// Whether people can be found by those who know their exact address.
    ///
    /// Default: `true`
    pub(crate) findable: Given<bool>,

    /// What a client shows as its API key. Not a secret: this one is in every stock client.
    ///
    /// Default: `["AQEAAAABAAD_rAp4DJh05a1HAwFT3A6K"]`
    pub(crate) api_keys: Given<Vec<String>>,

    /// Longest message from a client, in bytes; at most 262144, which every domain accepts.
    ///
    /// Default: `131072`
    pub(crate) message_bytes_max: Given<u64>,

    /// How many members a group may have; at most 100000.
    ///
    /// Default: `1000`
    pub(crate) group_members_max: Given<u64>,

    /// Whether in a chat between two people those of this domain may delete their own messages for
    /// both; if the other one is of another domain, they are deleted there too. It counts for chats
    /// begun from then on; in others the two, or with somebody elsewhere one alone, may take the right.
    ///
    /// Default: `false`
    pub(crate) delete_for_both: Given<bool>,

    /// For how many seconds after it came a message may be deleted for everybody by those who may
    /// delete in a group but do not own it. 0 is for ever.
    ///
    /// Default: `0`
    pub(crate) delete_within_seconds: Given<u64>,

    /// Read buffer of each connected client, in bytes. Idle clients cost this much memory.
    ///
    /// Default: `1024`
    pub(crate) websocket_read_buffer: Given<u64>,

    /// Connections of clients at once, WebSockets among them. More are not accepted until one ends. The
    /// system's limit of open files counts too.
    ///
    /// Default: `200000`
    pub(crate) connections_max: Given<u64>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[calls]` Voice and video calls between two people. What they say and show goes from client to
/// client; the server only helps them to find each other.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Calls {
    /// Servers that help clients to find a way through networks, as stun:, turn: or turns: URLs.
    /// Without any there are no calls.
    ///
    /// Example: `["stun:turn.example.org:3478", "turn:turn.example.org:3478"]`
    pub(crate) ice_urls: Given<Vec<String>>,

    /// The secret that the TURN server knows too (`static-auth-secret` of coturn). Clients get passwords
    /// made from it that end by themselves.
    ///
    /// Example: `"a long random text"`
    pub(crate) turn_secret: Given<String>,

    /// For how many seconds such a password counts.
    ///
    /// Default: `86400`
    pub(crate) turn_lifetime_seconds: Given<u64>,

    /// For how many seconds a call rings.
    ///
    /// Default: `30`
    pub(crate) ring_seconds: Given<u64>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[authentication]` A service of your own that knows people and their secrets, asked over HTTPS when
/// somebody logs in with the scheme "rest" (docs/authentication.openapi.yaml says how).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Authentication {
    /// Where it is. Without it there is none. Plain http is taken for addresses of this machine only.
    ///
    /// Example: `"https://accounts.example.org/freehold"`
    pub(crate) url: Given<String>,

    /// The file with the secret that we show to it, in its first line.
    ///
    /// Example: `"/etc/freehold/authentication-secret"`
    pub(crate) secret_file: Given<String>,

    /// Whether it is asked for name and password too, where no password is known here. With this, stock
    /// clients log in through it.
    ///
    /// Default: `false`
    pub(crate) passwords: Given<bool>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[mail]` E-mail to the people of this domain: codes to confirm an address or to set a new password.
/// Without `smtp` and `folder` none is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Mail {
    /// Host and port of the server that takes mail from us.
    ///
    /// Example: `"mail.example.org:587"`
    pub(crate) smtp: Given<String>,

    /// How the connection to it is protected: "starttls" (usually port 587), "tls" (usually port 465),
    /// or "none", for a server on this machine.
    ///
    /// Default: `"starttls"`
    pub(crate) tls: Given<String>,

    /// The name to log in with there. Without it nobody logs in.
    ///
    /// Example: `"freehold"`
    pub(crate) user: Given<String>,

    /// The file with the password to that name, in its first line.
    ///
    /// Example: `"/etc/freehold/mail-password"`
    pub(crate) password_file: Given<String>,

    /// The environment variable with that password, if it stands in no file.
    ///
    /// Example: `"FREEHOLD_MAIL_PASSWORD"`
    pub(crate) password_env: Given<String>,

    /// Whom mail comes from. Without it, noreply@ and the name of the domain.
    ///
    /// Example: `"Freehold <noreply@example.org>"`
    pub(crate) from: Given<String>,

    /// Where people find the web app, for links in mails. Without it mails hold the code only.
    ///
    /// Example: `"https://chat.example.org/"`
    pub(crate) app_url: Given<String>,

    /// For trying things out: nothing is sent, each mail becomes a file in this folder, and its code is
    /// told in the log.
    ///
    /// Example: `"mail"`
    pub(crate) folder: Given<String>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[federation]` Links with other domains.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Federation {
    /// Address and port for other domains. Publish the port in the SRV record. Behind a proxy, pass
    /// TLS through untouched.
    ///
    /// Default: `"0.0.0.0:6269"`
    pub(crate) listen: Given<String>,

    /// Whose word counts for the root key of a domain never met before: "pinned" for the rows
    /// `[[federation.peer]]` below and for `freehold peer pin` only; "verified" also for the domain's
    /// TXT record if DNSSEC vouches for it (see `dnssec`) or two directory nodes confirm it, and for the domain's web server, under
    /// a certificate that browsers would believe; "dns" also for an unsigned TXT record; "lan" also for
    /// whoever answers first. "dns" and "lan" are for demonstrations and closed networks: whoever can
    /// change DNS answers or packets on the way can pose as a domain that you have not met yet.
    ///
    /// Default: `"pinned"`
    pub(crate) trust: Given<String>,

    /// The DNS server to ask, as address and port. Without it, those of the system.
    ///
    /// Example: `"127.0.0.1:53"`
    pub(crate) nameserver: Given<String>,

    /// Whether to find out if DNSSEC vouches for TXT records. This server checks the signatures itself,
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
    /// Example: `"ca.pem"`
    pub(crate) well_known_ca: Given<String>,

    /// Ranges of private, local or otherwise special addresses that may be connected to. Public
    /// addresses always may.
    ///
    /// Default: `[]`
    pub(crate) allowed_ranges: Given<Vec<String>>,

    /// Which domains to talk with: "open" for all but those in `deny`, "listed" for those in `allow`
    /// that are not in `deny`. A name in `deny` stands for its sub-domains too, one in `allow` does not.
    ///
    /// Default: `"open"`
    pub(crate) policy: Given<String>,

    /// See `policy`.
    ///
    /// Default: `[]`
    pub(crate) allow: Given<Vec<String>>,

    /// See `policy`.
    ///
    /// Default: `[]`
    pub(crate) deny: Given<Vec<String>>,

    /// How many connections from other domains may be open at once.
    ///
    /// Default: `1024`
    pub(crate) connections_max: Given<u64>,

    /// After how many seconds without traffic a link is closed. It is opened again when needed.
    ///
    /// Default: `300`
    pub(crate) idle_seconds: Given<u64>,

    /// A domain that cannot be reached is tried again after about this many seconds, then after twice
    /// as many, and so on.
    ///
    /// Default: `1`
    pub(crate) retry_first_seconds: Given<u64>,

    /// Until the wait is this many seconds long; six times as long once it has been away for a day.
    ///
    /// Default: `3600`
    pub(crate) retry_longest_seconds: Given<u64>,

    /// For how many days a message waits for a domain that cannot be reached. Then its author is told
    /// that it did not arrive.
    ///
    /// Default: `7`
    pub(crate) lifetime_days: Given<u64>,

    /// After how many seconds without its home a group may get another one, if its owner has named
    /// successors and most of them agree. 0 means never, as far as this domain is asked.
    ///
    /// Default: `259200`
    pub(crate) takeover_after_seconds: Given<u64>,

    /// How many items may wait for one domain. Then messages to it are refused with an error.
    ///
    /// Default: `50000`
    pub(crate) waiting_items_max: Given<u64>,

    /// How many mebibytes of messages may wait for one domain; see `waiting_items_max`.
    ///
    /// Default: `64`
    pub(crate) waiting_mib_max: Given<u64>,

    pub(crate) peer: Given<Vec<Given<Peer>>>,
    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[[federation.peer]]` A domain whose root key you vouch for; repeat the block for each.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Peer {
    /// Its DNS name.
    ///
    /// Required: `"peer.example"`
    pub(crate) domain: Given<String>,

    /// SHA-256 of its root key, as its operator tells you (`freehold check` prints it there).
    ///
    /// Required: `"qrWIDXBJXz0YF5Z0ikVQJqYW2aLLD2vFZHzKPnEsNyo"`
    pub(crate) root: Given<String>,

    /// Host and port of its server. Without it, DNS says where.
    ///
    /// Example: `"192.168.7.2:6269"`
    pub(crate) address: Given<String>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[directory]` Nodes of the public directory. None is trusted, and none is needed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Directory {
    /// Nodes, run by different people at best. They are asked when `trust` is "verified" and only an unsigned
    /// TXT record names the root key of a domain never met: if two see the same there and none sees another,
    /// it counts; one node alone confirms nothing.
    ///
    /// Example: `["https://directory.example.org", "https://nodes.example.net"]`
    pub(crate) nodes: Given<Vec<String>>,

    /// Tells the nodes which people and groups of this domain carry the tag `discoverable:yes`, so that
    /// people of other domains find them by words. Without such people or groups nothing is told.
    ///
    /// Default: `false`
    pub(crate) announce: Given<bool>,

    /// What people type into the search box, addresses aside, is asked of the nodes too (of three at most),
    /// which see the words and which domain asks, not who.
    ///
    /// Default: `true`
    pub(crate) search: Given<bool>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[push]` Notifications to the devices of people who are not here: browsers (Web Push), phones without a
/// vendor's service (UnifiedPush), and those of Google and Apple.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Push {
    /// A node of the directory that relays them (`freehold directory`): it has the credentials, this domain signs
    /// what it asks for. The node learns to which devices something goes, and when. Without it nothing is sent,
    /// and no device is remembered.
    ///
    /// Example: `"https://directory.example.org"`
    pub(crate) node: Given<String>,

    /// What the services of Google and Apple, UnifiedPush without keys, and the node may read: "none" for the name
    /// of the conversation and the number of the message, by which the device fetches it from here; "preview" for
    /// who wrote it and how it begins, too. To devices with keys of their own, such as browsers, all of it goes
    /// encrypted in any case.
    ///
    /// Default: `"none"`
    pub(crate) content: Given<String>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[limits]` How much may come in a second. Each limit is two numbers: how many in a second, and how many
/// at once after a rest; [0, 0] means no limit. People and programs at a usual pace do not meet them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    /// Messages that one person writes, from all their devices together. More are answered with an error.
    /// A person of another domain is held to the same; what they write beyond it arrives later.
    ///
    /// Default: `[500, 1000]`
    pub(crate) user_messages: Given<Vec<u64>>,

    /// Everything else that one person asks for or says. More is answered with an error; notes, such as
    /// that somebody types, are dropped.
    ///
    /// Default: `[500, 2000]`
    pub(crate) user_requests: Given<Vec<u64>>,

    /// Messages that people of this domain write in one conversation, all together. More are answered
    /// with an error.
    ///
    /// Default: `[2000, 4000]`
    pub(crate) topic_messages: Given<Vec<u64>>,

    /// Sessions that clients open from one IPv4 address or one /64 of IPv6. A web server in front (see
    /// `proxies` in `[clients]`) must say where they come from; if it does not, they are not limited.
    ///
    /// Default: `[500, 5000]`
    pub(crate) prefix_sessions: Given<Vec<u64>>,

    /// Requests from there before a log-in, and requests for files.
    ///
    /// Default: `[1000, 10000]`
    pub(crate) prefix_requests: Given<Vec<u64>>,

    /// Messages and whatever else must arrive, from one other domain. More waits there, and is not lost.
    ///
    /// Default: `[10000, 20000]`
    pub(crate) peer_items: Given<Vec<u64>>,

    /// What one other domain says of who is here and who types. More is dropped.
    ///
    /// Default: `[2000, 10000]`
    pub(crate) peer_signals: Given<Vec<u64>>,

    /// Questions of one other domain for people, groups and files. More is answered later.
    ///
    /// Default: `[200, 1000]`
    pub(crate) peer_questions: Given<Vec<u64>>,

    /// Hellos of servers that have not proven their domain, from one /24 of IPv4 or one /56 of IPv6. More
    /// are refused for now.
    ///
    /// Default: `[50, 500]`
    pub(crate) stranger_hellos: Given<Vec<u64>>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[store]` The embedded database in the data folder.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Store {
    /// Cache in MiB. The process takes two to three times as much.
    ///
    /// Default: `64`
    pub(crate) cache_mib: Given<u64>,

    /// Free disk space in MiB that is left to others: below it nothing is written any more, and below
    /// twice as much no file is taken. At least 256.
    ///
    /// Default: `512`
    pub(crate) free_space_mib: Given<u64>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[files]` Pictures, recordings and other files that people send.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Files {
    /// The folder that holds them. A relative path starts at the data folder. Not used with `s3_bucket`.
    ///
    /// Default: `"files"`
    pub(crate) folder: Given<String>,

    /// Largest file, in MiB. Let the web server in front pass on as much.
    ///
    /// Default: `32`
    pub(crate) file_mib_max: Given<u64>,

    /// How much all files of one person may take, in MiB.
    ///
    /// Default: `2048`
    pub(crate) person_mib_max: Given<u64>,

    /// How much all files of the domain may take, in MiB.
    ///
    /// Default: `51200`
    pub(crate) total_mib_max: Given<u64>,

    /// How much copies of files of other domains may take, in MiB. The copy that was not asked for for
    /// longest makes room; a file that is larger than this cannot be had from elsewhere.
    ///
    /// Default: `2048`
    pub(crate) remote_cache_mib: Given<u64>,

    /// For how many days such a copy is kept after it was last asked for.
    ///
    /// Default: `30`
    pub(crate) remote_days: Given<u64>,

    /// Keeps the files in this bucket of an S3-compatible service, below the name of the domain.
    ///
    /// Example: `"freehold"`
    pub(crate) s3_bucket: Given<String>,

    /// Where that service is, when it is not Amazon's.
    ///
    /// Example: `"https://s3.example.org"`
    pub(crate) s3_endpoint: Given<String>,

    /// In which region.
    ///
    /// Default: `"us-east-1"`
    pub(crate) s3_region: Given<String>,

    /// The access key to it. Goes with a secret.
    ///
    /// Example: `"AKIAIOSFODNN7EXAMPLE"`
    pub(crate) s3_access_key: Given<String>,

    /// A file that holds the secret of the access key and nothing else. A relative path starts at the
    /// folder of this file. Without it, the secret is taken from the environment variable
    /// FREEHOLD_S3_SECRET.
    ///
    /// Example: `"/etc/freehold/s3.secret"`
    pub(crate) s3_secret_file: Given<String>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[audit]` The trail of what administrators did. What is taken from it here still stands in the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Audit {
    /// For how many days an entry is kept.
    ///
    /// Default: `400`
    pub(crate) keep_days: Given<u64>,

    /// How many entries are kept at most; the oldest go first.
    ///
    /// Default: `100000`
    pub(crate) entries_max: Given<u64>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// `[[plugins]]` A program beside the server that speaks the plugin calls of the protocol over gRPC, such as
/// a bot that greets newcomers; repeat the block for each. It learns what is listed here, and nothing
/// else; passwords and log-ins never.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Plugin {
    /// What it is called in the log.
    ///
    /// Required: `"greeter"`
    pub(crate) name: Given<String>,

    /// Where it listens: http on this machine, https elsewhere.
    ///
    /// Required: `"http://127.0.0.1:40051"`
    pub(crate) address: Given<String>,

    /// The certificate (PEM) by which a plugin elsewhere is known. Without it, one of the web counts.
    ///
    /// Example: `"plugin.pem"`
    pub(crate) authority_file: Given<String>,

    /// Which changes to accounts it is told: "create", "update", "delete".
    ///
    /// Default: `[]`
    pub(crate) accounts: Given<Vec<String>>,

    /// Which changes to groups it is told, in the same words.
    ///
    /// Default: `[]`
    pub(crate) topics: Given<Vec<String>>,

    /// Of which changes to who belongs where and may do what it is told, in the same words.
    ///
    /// Default: `[]`
    pub(crate) subscriptions: Given<Vec<String>>,

    /// Where it is told every message: "p2p" for chats of two, "grp" for groups, "sys" for reports,
    /// "slf" for notes to self.
    ///
    /// Default: `[]`
    pub(crate) messages: Given<Vec<String>>,

    /// About which requests it is asked before they are done: "sub", "leave", "pub", "get", "set",
    /// "del", "note". Their clients wait for it.
    ///
    /// Default: `[]`
    pub(crate) requests: Given<Vec<String>>,

    /// And in which topics: "me", "fnd", "new" for groups in the making, and those above.
    ///
    /// Default: `["me", "fnd", "new", "p2p", "grp", "sys"]`
    pub(crate) request_topics: Given<Vec<String>>,

    /// Whether it is asked what a search is to find.
    ///
    /// Default: `false`
    pub(crate) searches: Given<bool>,

    /// How long a client waits for its answer, in milliseconds.
    ///
    /// Default: `1000`
    pub(crate) timeout_ms: Given<u64>,

    /// The code from 400 to 599 that a request is refused with while there is no answer. 0 lets it
    /// pass. Stock clients forget who they are at codes below 500.
    ///
    /// Default: `0`
    pub(crate) failure_code: Given<u64>,

    /// The text beside that code.
    ///
    /// Default: `"service unavailable"`
    pub(crate) failure_text: Given<String>,

    #[serde(flatten)]
    pub(crate) unknown: Unknown,
}

/// Reads the text of a file, or says in which line it is no TOML.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |it| it.matches('\n').count() + 1);
        format!("line {line} is not TOML: {}", error.message())
    })
}

impl Expected for Clients {
    const WORDS: &str = "a section";
}

impl Expected for Calls {
    const WORDS: &str = "a section";
}

impl Expected for Authentication {
    const WORDS: &str = "a section";
}

impl Expected for Mail {
    const WORDS: &str = "a section";
}

impl Expected for Federation {
    const WORDS: &str = "a section";
}

impl Expected for Directory {
    const WORDS: &str = "a section";
}

impl Expected for Push {
    const WORDS: &str = "a section";
}

impl Expected for Limits {
    const WORDS: &str = "a section";
}

impl Expected for Store {
    const WORDS: &str = "a section";
}

impl Expected for Files {
    const WORDS: &str = "a section";
}

impl Expected for Audit {
    const WORDS: &str = "a section";
}

impl Expected for Peer {
    const WORDS: &str = "a section";
}

impl Expected for Vec<Given<Peer>> {
    const WORDS: &str = "a list of sections [[federation.peer]]";
}

impl Expected for Plugin {
    const WORDS: &str = "a section";
}

impl Expected for Vec<Given<Plugin>> {
    const WORDS: &str = "a list of sections [[plugins]]";
}
