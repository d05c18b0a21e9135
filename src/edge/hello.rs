//! The handshake with a client: versions, and what this server can do (fact sheet, section 1.5).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha1::Sha1;

use super::reply::{self, Status};
use crate::{
    accounts::tags,
    server::{CallRules, ClientRules},
};

/// The client protocol version spoken here.
pub(super) const VERSION: (u32, u32) = (0, 25);
/// The oldest that clients may speak.
const OLDEST: (u32, u32) = (0, 20);

/// Reads `v0.25.3`, `0.25-rc1` and the like, and refuses what is too old.
pub(super) fn check_version(text: &str) -> Result<(u32, u32), Status> {
    let numbers = text.strip_prefix('v').unwrap_or(text);
    let mut parts = numbers.split(['.', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
        return Err(reply::MALFORMED);
    };
    if (major, minor) < OLDEST {
        Err(reply::VERSION)
    } else {
        Ok((major, minor))
    }
}

/// What the server says of itself. COMPAT web app: without these it reconnects in a tight loop.
pub(super) fn params(rules: &ClientRules, now: Timestamp) -> Value {
    let mut params = json!({
        "ver": format!("{}.{}", VERSION.0, VERSION.1),
        "build": concat!("freehold:v", env!("CARGO_PKG_VERSION")),
        "maxMessageSize": rules.message_bytes_max,
        "maxSubscriberCount": rules.group_members_max,
        "minTagLength": tags::CHARS_MIN,
        "maxTagLength": tags::CHARS_MAX,
        "maxTagCount": tags::COUNT_MAX,
        "maxFileUploadSize": rules.file_bytes_max,
        "reqCred": required(rules),
    });
    if let Some(age) = rules.deletion_age {
        params["msgDelAge"] = age.as_secs().into();
    }
    if let Some(calls) = &rules.calls {
        params["iceServers"] = ice_servers(calls, now);
        params["callTimeout"] = calls.timeout.as_secs().into();
    }
    params
}

/// Servers for calls. With a secret shared with the TURN server each client gets a name that says when
/// it ends, and a password that the server can check (the REST scheme of coturn).
fn ice_servers(calls: &CallRules, now: Timestamp) -> Value {
    let (turn, stun): (Vec<_>, Vec<_>) =
        calls.ice_urls.iter().partition(|it| it.starts_with("turn"));
    let mut servers = Vec::new();
    if !stun.is_empty() {
        servers.push(json!({ "urls": stun }));
    }
    if turn.is_empty() {
        return servers.into();
    }
    let mut server = json!({ "urls": turn });
    if let Some(secret) = &calls.turn_secret {
        let name = (now.plus(calls.turn_lifetime).as_millis() / 1000).to_string();
        server["credential"] = turn_password(secret, &name).into();
        server["credential_type"] = "password".into();
        server["username"] = name.into();
    }
    servers.push(server);
    servers.into()
}

fn turn_password(secret: &str, name: &str) -> String {
    let mut mac =
        Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(name.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// COMPAT web app: levels with no requirement are left out.
fn required(rules: &ClientRules) -> Value {
    match rules.required_credentials.as_slice() {
        [] => json!({}),
        methods => json!({ "auth": methods }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_password_is_what_the_turn_server_computes() {
        // printf 1767409445 | openssl dgst -sha1 -hmac secret -binary | base64
        assert_eq!(
            turn_password("secret", "1767409445"),
            "Nv34Til6PZ5bRgIkFCQdPaRi1ag="
        );
    }

    #[test]
    fn versions_read_in_every_form_and_old_ones_are_refused() {
        for text in ["0.25.3", "0.25", "v0.25-rc1", "0.23", "0.22.3"] {
            assert!(check_version(text).is_ok(), "{text}");
        }
        assert_eq!(check_version("0.19"), Err(reply::VERSION));
        for text in ["", "x", "25", "0.x"] {
            assert_eq!(check_version(text), Err(reply::MALFORMED), "{text}");
        }
    }
}
