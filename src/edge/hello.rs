//! The handshake with a client: versions, and what this server can do (fact sheet, section 1.5).

use serde_json::{Value, json};

use super::reply::{self, Status};
use crate::{accounts::tags, server::ClientRules};

/// The client protocol version spoken here.
const VERSION: (u32, u32) = (0, 25);
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
pub(super) fn params(rules: &ClientRules) -> Value {
    json!({
        "ver": format!("{}.{}", VERSION.0, VERSION.1),
        "build": concat!("freehold:v", env!("CARGO_PKG_VERSION")),
        "maxMessageSize": rules.message_bytes_max,
        "maxSubscriberCount": 2,
        "minTagLength": tags::CHARS_MIN,
        "maxTagLength": tags::CHARS_MAX,
        "maxTagCount": tags::COUNT_MAX,
        "maxFileUploadSize": 0,
        "reqCred": required(rules),
    })
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
