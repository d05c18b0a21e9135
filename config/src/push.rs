//! The sections `[push]`: of a domain, which has pushes relayed, and of a node, which relays them.

use freehold_directory::{NodeAddress, PushConfig, VapidConfig};

use crate::{
    Push, PushContent,
    authentication::place,
    check::{Checker, not_empty},
    file, node,
};

impl Checker<'_> {
    /// `Some(None)` when nobody relays for this domain.
    pub(crate) fn push(&mut self, section: file::Push) -> Option<Option<Push>> {
        self.refuse_unknown("push.", &section.unknown);
        let node = self.optional("push.node", section.node, node_address);
        let contents = [
            ("none", PushContent::None),
            ("preview", PushContent::Preview),
        ];
        let content = self.choice("push.content", section.content, &contents);
        let content = content?;
        Some(node?.map(|node| Push { node, content }))
    }

    /// `Some(None)` when nothing is relayed.
    pub(crate) fn relay(&mut self, push: node::Push) -> Option<Option<PushConfig>> {
        self.refuse_unknown("push.", &push.unknown);
        let place = self.optional("push.public_url", push.public_url, node_address);
        let key = self.optional("push.vapid_key", push.vapid_key, not_empty);
        let subject = self.optional("push.vapid_subject", push.vapid_subject, subject);
        let from_domain = self.rate("push.domain_pushes", push.domain_pushes, [50, 500]);
        let from_network = self.rate("push.network_pushes", push.network_pushes, [100, 1000]);
        let vapid = match (key?, subject?) {
            (Some(key), Some(subject)) => Some(VapidConfig {
                key: self.base_dir.join(key),
                subject,
            }),
            (None, None) => None,
            (Some(_), None) => {
                return self.mistake(
                    "push.vapid_key",
                    "is set, but not push.vapid_subject: a service must know whom to turn to",
                );
            }
            (None, Some(_)) => {
                return self.mistake("push.vapid_subject", "is set, but not push.vapid_key");
            }
        };
        let relays = vapid.is_some();
        let (from_domain, from_network) = (from_domain?, from_network?);
        match place? {
            Some(_) if !relays => self.mistake(
                "push.public_url",
                "is set, but no key with which anything could be relayed",
            ),
            None if relays => self.mistake(
                "push.public_url",
                "must be set where there are keys: requests are signed for it",
            ),
            place => Some(place.map(|it| PushConfig {
                name: it.authority(),
                vapid,
                from_network,
                from_domain,
            })),
        }
    }
}

fn subject(text: &str) -> Result<String, &'static str> {
    let rest = text
        .strip_prefix("mailto:")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest) if !rest.is_empty() && text.bytes().all(|it| it.is_ascii_graphic()) => {
            Ok(text.to_owned())
        }
        _ => Err("must begin with mailto: or https://"),
    }
}

/// A node of the public directory, which has no path.
fn node_address(text: &str) -> Result<NodeAddress, &'static str> {
    let wrong = "must be an address such as https://directory.example.org";
    let place = place(text).map_err(|_| wrong)?;
    match place.path.is_empty() {
        true => Ok(NodeAddress {
            tls: place.tls,
            host: place.host,
            port: place.port,
        }),
        false => Err(wrong),
    }
}
