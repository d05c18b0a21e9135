//! The sections `[push]`: of a domain, which has pushes relayed, and of a node, which relays them.

use std::{mem::take, time::Duration};

use freehold_directory::{ApnsConfig, FcmConfig, NodeAddress, PushConfig, VapidConfig};
use freehold_proto::WebUrl;

use crate::{
    Push, PushContent,
    authentication::place,
    check::{Checker, not_empty, public_url},
    file,
    given::Given,
    node,
};

/// Longer than it takes to find a connection dead.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(75);
const FCM: &str = "https://fcm.googleapis.com";
const APNS: &str = "https://api.push.apple.com";

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
        Some(node?.map(|node| Push {
            node,
            content,
            look_again_after: LOOK_AGAIN_AFTER,
        }))
    }

    /// `Some(None)` when nothing is relayed.
    pub(crate) fn relay(&mut self, mut push: node::Push) -> Option<Option<PushConfig>> {
        self.refuse_unknown("push.", &push.unknown);
        let place = self.optional("push.public_url", take(&mut push.public_url), node_address);
        let vapid = self.vapid(&mut push);
        let fcm = self.fcm(&mut push);
        let apns = self.apns(&mut push);
        let from_domain = self.rate("push.domain_pushes", push.domain_pushes, [50, 500]);
        let from_network = self.rate("push.network_pushes", push.network_pushes, [100, 1000]);
        let (vapid, fcm, apns) = (vapid?, fcm?, apns?);
        let relays = vapid.is_some() || fcm.is_some() || apns.is_some();
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
                fcm,
                apns,
                from_network,
                from_domain,
            })),
        }
    }

    fn vapid(&mut self, push: &mut node::Push) -> Option<Option<VapidConfig>> {
        let key = self.optional("push.vapid_key", take(&mut push.vapid_key), not_empty);
        let whom = take(&mut push.vapid_subject);
        let subject = self.optional("push.vapid_subject", whom, subject);
        match (key?, subject?) {
            (Some(key), Some(subject)) => Some(Some(VapidConfig {
                key: self.base_dir.join(key),
                subject,
            })),
            (None, None) => Some(None),
            (Some(_), None) => self.mistake(
                "push.vapid_key",
                "is set, but not push.vapid_subject: a service must know whom to turn to",
            ),
            (None, Some(_)) => self.mistake("push.vapid_subject", "is set, but not push.vapid_key"),
        }
    }

    fn fcm(&mut self, push: &mut node::Push) -> Option<Option<FcmConfig>> {
        let account = take(&mut push.fcm_service_account);
        let account = self.optional("push.fcm_service_account", account, not_empty);
        let url = self.service("push.fcm_url", take(&mut push.fcm_url), FCM);
        let (account, url) = (account?, url?);
        Some(account.map(|account| FcmConfig {
            account: self.base_dir.join(account),
            url,
        }))
    }

    fn apns(&mut self, push: &mut node::Push) -> Option<Option<ApnsConfig>> {
        let key = self.optional("push.apns_key", take(&mut push.apns_key), not_empty);
        let key_id = self.optional("push.apns_key_id", take(&mut push.apns_key_id), word);
        let team_id = self.optional("push.apns_team_id", take(&mut push.apns_team_id), word);
        let topic = self.optional("push.apns_topic", take(&mut push.apns_topic), word);
        let url = self.service("push.apns_url", take(&mut push.apns_url), APNS);
        match (key?, key_id?, team_id?, topic?) {
            (None, None, None, None) => Some(None),
            (Some(key), Some(key_id), Some(team_id), Some(topic)) => Some(Some(ApnsConfig {
                key: self.base_dir.join(key),
                key_id,
                team_id,
                topic,
                url: url?,
            })),
            _ => self.mistake(
                "push.apns_key",
                "counts only with push.apns_key_id, push.apns_team_id and push.apns_topic, and they with it",
            ),
        }
    }

    fn service(&mut self, key: &str, given: Given<String>, usual: &str) -> Option<WebUrl> {
        let text = self.value(key, given, usual.to_owned())?;
        self.required(key, Given::Value(text), public_url)
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

/// What goes into a header.
fn word(text: &str) -> Result<String, &'static str> {
    match !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("must be a word of letters, digits and signs"),
    }
}
