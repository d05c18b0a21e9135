//! The sections `[[plugins]]`.

use std::time::Duration;

use crate::{
    Change, Plugin, TopicKind,
    authentication::place,
    check::{Checker, not_empty},
    file,
    given::Given,
};

/// Requests that a plugin may be asked about: none of those that carry passwords.
const REQUESTS: [&str; 7] = ["sub", "leave", "pub", "get", "set", "del", "note"];
/// Stock clients give up after 5 seconds.
const TIMEOUT_MS_MAX: u64 = 4000;

impl Checker<'_> {
    pub(crate) fn plugins(
        &mut self,
        given: Given<Vec<Given<file::Plugin>>>,
    ) -> Option<Vec<Plugin>> {
        let rows = self.value("plugins", given, Vec::new())?;
        let mut plugins: Vec<Plugin> = Vec::new();
        for (row, number) in rows.into_iter().zip(1..) {
            let name = format!("plugins (number {number})");
            let row = self.section(&name, row);
            let Some(plugin) = row.and_then(|it| self.plugin(&name, it)) else {
                continue;
            };
            if plugins.iter().any(|it| it.name == plugin.name) {
                let why = format!("is called {:?}, as one before it is", plugin.name);
                self.mistake::<()>(&name, &why);
            }
            plugins.push(plugin);
        }
        Some(plugins)
    }

    fn plugin(&mut self, name: &str, row: file::Plugin) -> Option<Plugin> {
        let key = |key: &str| format!("{name}.{key}");
        self.refuse_unknown(&key(""), &row.unknown);
        let called = self.required(&key("name"), row.name, not_empty);
        let place = self.required(&key("address"), row.address, |text| match place(text)? {
            it if it.path.is_empty() => Ok(it),
            _ => Err("must be an address without a path, such as http://127.0.0.1:40051"),
        });
        let authority = self.optional(&key("authority_file"), row.authority_file, not_empty);
        let accounts = self.list(&key("accounts"), row.accounts, change);
        let topics = self.list(&key("topics"), row.topics, change);
        let subscriptions = self.list(&key("subscriptions"), row.subscriptions, change);
        let messages = self.list(&key("messages"), row.messages, message_place);
        let requests = self.list(&key("requests"), row.requests, request);
        let usual = ["me", "fnd", "new", "p2p", "grp", "sys"].map(str::to_owned);
        let places = self.value(&key("request_topics"), row.request_topics, usual.to_vec());
        let places =
            places.and_then(|it| self.list(&key("request_topics"), Given::Value(it), topic_kind));
        let searches = self.value(&key("searches"), row.searches, false);
        let bounds = (10, TIMEOUT_MS_MAX);
        let timeout = self.number(&key("timeout_ms"), row.timeout_ms, 1000, bounds);
        let code = self.number(&key("failure_code"), row.failure_code, 0, (0, 599));
        let text = self.value(
            &key("failure_text"),
            row.failure_text,
            "service unavailable".to_owned(),
        );
        let code = code.and_then(|it| match it {
            0 | 400.. => u16::try_from(it).ok(),
            _ => self.mistake(&key("failure_code"), "must be 0, or from 400 to 599"),
        });
        let (place, code, text) = (place?, code?, text?);
        Some(Plugin {
            name: called?,
            tls: place.tls,
            host: place.host,
            port: place.port,
            authority_file: authority?.map(|it: String| self.base_dir.join(it)),
            accounts: accounts?,
            topics: topics?,
            subscriptions: subscriptions?,
            messages: messages?,
            requests: requests?,
            request_topics: places?,
            searches: searches?,
            timeout: Duration::from_millis(timeout?),
            failure: (code > 0).then_some((code, text)),
        })
    }
}

fn change(text: &str) -> Result<Change, &'static str> {
    match text {
        "create" => Ok(Change::Create),
        "update" => Ok(Change::Update),
        "delete" => Ok(Change::Delete),
        _ => Err("must be \"create\", \"update\" or \"delete\""),
    }
}

fn request(text: &str) -> Result<&'static str, &'static str> {
    let known = REQUESTS.into_iter().find(|it| *it == text);
    known.ok_or("must be \"sub\", \"leave\", \"pub\", \"get\", \"set\", \"del\" or \"note\"")
}

fn topic_kind(text: &str) -> Result<TopicKind, &'static str> {
    match text {
        "me" => Ok(TopicKind::Me),
        "fnd" => Ok(TopicKind::Find),
        "new" => Ok(TopicKind::New),
        text => message_place(text)
            .map_err(|_| "must be \"me\", \"fnd\", \"new\", \"p2p\", \"grp\", \"sys\" or \"slf\""),
    }
}

/// Where messages are written.
fn message_place(text: &str) -> Result<TopicKind, &'static str> {
    match text {
        "p2p" => Ok(TopicKind::OneToOne),
        "grp" => Ok(TopicKind::Group),
        "sys" => Ok(TopicKind::Reports),
        "slf" => Ok(TopicKind::Saved),
        _ => Err("must be \"p2p\", \"grp\", \"sys\" or \"slf\""),
    }
}
