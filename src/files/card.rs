//! The files that a public description shows: the picture of a person or a group.

use serde::Deserialize;

/// As much of a description as speaks of files (fact sheet, section 3.3).
#[derive(Deserialize)]
struct Card {
    photo: Option<Photo>,
}

#[derive(Deserialize)]
struct Photo {
    #[serde(rename = "ref")]
    url: Option<String>,
}

/// The URLs in a description. What is no description shows none. A client may name files beside its
/// request too; what the description shows is what has to stay.
#[must_use]
pub fn files_of_card(public: &[u8]) -> Vec<String> {
    let card = serde_json::from_slice::<Card>(public).ok();
    let photo = card.and_then(|it| it.photo).and_then(|it| it.url);
    photo.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_of_a_card_is_found_and_anything_else_is_none() {
        let card = br#"{"fn": "Ann", "photo": {"type": "png", "ref": "/v0/file/s/a.test/x.png"}}"#;
        assert_eq!(files_of_card(card), ["/v0/file/s/a.test/x.png"]);
        for other in [
            &b""[..],
            b"1",
            b"{}",
            br#"{"photo": 1}"#,
            br#"{"photo": {"ref": 1}}"#,
        ] {
            assert!(files_of_card(other).is_empty(), "{}", other.escape_ascii());
        }
    }
}
