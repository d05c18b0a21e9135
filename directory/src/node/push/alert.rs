//! What a device of Apple's shows of a push. It shows nothing without being told what.

use freehold_proto::Token;
use serde_json::{Value, json};

/// The part of a push that the system reads, and whether anything is shown. Without words of the domain's people
/// it says what has come in few of its own; the app may put better ones in their place.
pub(super) fn aps(token: &Token) -> (Value, bool) {
    let field = |name: &str| {
        let mut fields = token.fields.iter();
        fields.find(|it| it.0 == name).map(|it| it.1.as_str())
    };
    let title = match (field("what"), field("webrtc")) {
        (_, Some("started")) => Some("Call"),
        // A call that is over, and what was read elsewhere.
        (_, Some(_)) | (Some("read"), _) => None,
        (Some("sub"), _) => Some("Invitation"),
        _ => Some("New message"),
    };
    match (title, field("content")) {
        (None, _) => (json!({"content-available": 1}), false),
        (Some(title), body) => {
            let alert = match body {
                Some(body) => json!({"title": title, "body": body}),
                None => json!({ "title": title }),
            };
            let aps = json!({
                "alert": alert,
                "sound": "default",
                "mutable-content": 1,
                "content-available": 1,
            });
            (aps, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_or_read_is_not_shown_and_words_are_only_if_they_came() {
        let told = |fields: &[(&str, &str)]| {
            let fields = fields
                .iter()
                .map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
            aps(&Token {
                token: "a".to_owned(),
                fields: fields.collect(),
            })
        };
        let alert = |fields: &[(&str, &str)]| {
            let (aps, shown) = told(fields);
            assert!(shown, "{aps}");
            aps.pointer("/alert").unwrap().clone()
        };
        assert_eq!(alert(&[("what", "msg")]), json!({"title": "New message"}));
        assert_eq!(
            alert(&[("what", "msg"), ("content", "hello")]),
            json!({"title": "New message", "body": "hello"})
        );
        let call = [("what", "msg"), ("webrtc", "started")];
        assert_eq!(alert(&call), json!({"title": "Call"}));
        for over in [("webrtc", "missed"), ("what", "read")] {
            assert_eq!(told(&[over]), (json!({"content-available": 1}), false));
        }
    }
}
