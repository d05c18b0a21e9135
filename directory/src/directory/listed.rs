//! Announcing to nodes of the public directory, and finding by words what other domains announced there
//! (PROTOCOL.md sections 13.1 and 13.2). No node is believed: cards are checked against the records of their
//! domains, and what is not found may be there all the same.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use freehold_keys::SignedCard;
use freehold_proto::{DomainName, card::Subject};
use hyper::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::{task::JoinSet, time::timeout};

use super::Directory;
use crate::nodes::{self, NodeAddress};

/// Time for a node to take an announcement; it may have to look at us first.
const ANNOUNCED_WITHIN: Duration = Duration::from_secs(15);
/// Addresses behind the name of a node to which is announced: each may be another node.
const ADDRESSES_MAX: usize = 8;
/// Time for a node to answer a question by words.
const ANSWERED_WITHIN: Duration = Duration::from_millis(1500);
/// Nodes that are asked by words.
const ASKED_MAX: usize = 3;
/// Cards of one answer that are looked at.
const CARDS_MAX: usize = 50;
/// An answer of a node: cards, in words and in base64url.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Domains named in answers whose records are looked at; each node has its part of them.
const DOMAINS_MAX: usize = 32;

/// What is looked for by words.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Listed {
    /// Groups and channels.
    Groups,
    /// People.
    People,
}

/// What one node, or one of several behind its name, said to an announcement.
#[derive(Debug)]
pub struct Heard {
    /// The node and the address.
    pub node: String,
    /// Why it is not listed there.
    pub outcome: Result<(), String>,
}

#[derive(Deserialize)]
struct Found {
    cards: Vec<FoundCard>,
}

#[derive(Deserialize)]
struct FoundCard {
    card: String,
}

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(default)]
    error: String,
}

impl Directory {
    /// Whether there are nodes to talk to.
    #[must_use]
    pub fn has_nodes(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Hands our announcement, an encoded `SignedAnnouncement`, to each address of each node.
    pub async fn announce(&self, signed: Bytes) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut told = JoinSet::new();
        for node in &self.nodes {
            let addresses = nodes::addresses(node, &self.dns).await;
            if addresses.is_empty() {
                heard.push(Heard {
                    node: node.host.clone(),
                    outcome: Err("no address is known for it".to_owned()),
                });
            }
            for address in addresses.into_iter().take(ADDRESSES_MAX) {
                let (node, tls, signed) = (node.clone(), self.web_tls.clone(), signed.clone());
                told.spawn(async move {
                    let posted = nodes::post(
                        &node,
                        address,
                        &tls,
                        "/v1/announce",
                        signed,
                        ANSWER_BYTES_MAX,
                    );
                    let answer = timeout(ANNOUNCED_WITHIN, posted).await;
                    let answer = answer.unwrap_or_else(|_| Err("it takes too long".to_owned()));
                    Heard {
                        node: format!("{} at {address}", node.host),
                        outcome: answer.and_then(|(status, body)| taken(status, &body)),
                    }
                });
            }
        }
        heard.extend(told.join_all().await);
        heard
    }

    /// Cards that nodes give for these words, of domains that are `wanted`. Nobody has checked them:
    /// [`Directory::believed`] does.
    pub async fn listed(
        &self,
        what: Listed,
        words: &str,
        wanted: impl Fn(&DomainName) -> bool,
    ) -> BTreeMap<DomainName, Vec<SignedCard>> {
        let mut asked = JoinSet::new();
        let nodes = self.nodes.len().clamp(1, ASKED_MAX);
        for node in self.nodes.iter().take(nodes) {
            let path = format!(
                "/v1/{}?q={}",
                what.path(),
                utf8_percent_encode(words, NON_ALPHANUMERIC)
            );
            let (node, dns, tls) = (node.clone(), self.dns.clone(), self.web_tls.clone());
            asked.spawn(async move {
                let got = nodes::get(&node, &dns, &tls, &path, ANSWER_BYTES_MAX);
                let answer = timeout(ANSWERED_WITHIN, got).await;
                let answer = answer.unwrap_or_else(|_| Err("it takes too long".to_owned()));
                let cards = answer.and_then(|(status, body)| cards(status, &body));
                cards.unwrap_or_else(|error| {
                    tells_nothing(&node, &error);
                    Vec::new()
                })
            });
        }
        let mut of_domain: BTreeMap<DomainName, Vec<SignedCard>> = BTreeMap::new();
        for cards in asked.join_all().await {
            // What a node makes up takes no place of what others know.
            let mut named = HashSet::new();
            for card in cards {
                let domain = &card.card().domain;
                let fits = what.is_of(&card.card().words.subject) && wanted(domain);
                let room = named.len() < DOMAINS_MAX / nodes || named.contains(domain);
                if fits && room {
                    named.insert(domain.clone());
                    of_domain.entry(domain.clone()).or_default().push(card);
                }
            }
        }
        of_domain
    }

    /// Those of the cards that their domain has signed, each subject once, the latest. The look-up of a domain
    /// that was never met is rationed, and takes 30 s at most.
    pub async fn believed(&self, domain: &DomainName, cards: Vec<SignedCard>) -> Vec<SignedCard> {
        let record = match self.searched(domain).await {
            Ok(record) => record,
            Err(error) => {
                tracing::info!(peer = %domain, %error, "what it announces cannot be checked");
                return Vec::new();
            }
        };
        let mut latest: HashMap<String, SignedCard> = HashMap::new();
        for card in cards {
            if let Err(fault) = card.check(&record, self.clock.now()) {
                tracing::info!(peer = %domain, %fault, "a card is not believed");
                continue;
            }
            let name = card.card().topic();
            let known = latest.get(&name);
            if known.is_none_or(|it| it.card().issued < card.card().issued) {
                latest.insert(name, card);
            }
        }
        latest.into_values().collect()
    }
}

impl Listed {
    fn path(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::People => "people",
        }
    }

    fn is_of(self, subject: &Subject) -> bool {
        matches!(
            (self, subject),
            (Self::Groups, Subject::Group { .. }) | (Self::People, Subject::Person(_))
        )
    }
}

fn tells_nothing(node: &NodeAddress, error: &str) {
    tracing::info!(
        node = node.host,
        error,
        "a node of the directory does not answer a search"
    );
}

/// What a node says to an announcement.
fn taken(status: StatusCode, body: &[u8]) -> Result<(), String> {
    if status == StatusCode::OK {
        return Ok(());
    }
    let refused: Refused = serde_json::from_slice(body).unwrap_or_default();
    let why: String = refused
        .error
        .chars()
        .take(300)
        .filter(|it| !it.is_control())
        .collect();
    Err(format!("it answers {status}: {why}"))
}

/// The cards in an answer. What is none is passed over: it may be of a later version.
fn cards(status: StatusCode, body: &[u8]) -> Result<Vec<SignedCard>, String> {
    if status != StatusCode::OK {
        return taken(status, body).map(|()| Vec::new());
    }
    let found: Found = serde_json::from_slice(body).map_err(|it| it.to_string())?;
    let read = |it: FoundCard| {
        let bytes = URL_SAFE_NO_PAD.decode(it.card).ok()?;
        SignedCard::read(&bytes).ok()
    };
    Ok(found
        .cards
        .into_iter()
        .take(CARDS_MAX)
        .filter_map(read)
        .collect())
}
