//! The one place where ids change between global (`usrX@domain`, inside and between domains) and
//! local (`usrX`, towards our own clients).
//!
//! Ids stand in names of topics and people, and in a few fields of what people write: mentions in the
//! head and in Drafty entities. Everything else in content is opaque and passes untouched.

use freehold_proto::{DomainName, Malformed, UserId};
use serde_json::{Map, Value};

use super::frames::Raw;

/// A message's head.
pub type Head = Map<String, Value>;

/// Translates for the clients of one domain.
#[derive(Clone, Debug)]
pub struct Ids {
    us: DomainName,
}

impl Ids {
    /// For the clients of `us`.
    #[must_use]
    pub fn new(us: DomainName) -> Self {
        Self { us }
    }

    /// A person as our clients name them.
    #[must_use]
    pub fn shown(&self, user: &UserId) -> String {
        if *user.domain() == self.us {
            user.bare()
        } else {
            user.to_string()
        }
    }

    /// The person whom a client named.
    pub fn read(&self, text: &str) -> Result<UserId, Malformed> {
        if text.contains('@') {
            text.parse()
        } else {
            UserId::from_bare(text, &self.us)
        }
    }

    /// True for one of our own people.
    #[must_use]
    pub fn is_ours(&self, user: &UserId) -> bool {
        *user.domain() == self.us
    }

    /// Makes ids global in what one of our people wrote.
    pub fn globalise(&self, head: &mut Head, content: Raw) -> Raw {
        translate(head, content, &|id| match UserId::from_bare(id, &self.us) {
            Ok(user) => Some(user.to_string()),
            Err(_) => None,
        })
    }

    /// Shortens ids of our own people in what goes to one of our clients.
    pub fn localise(&self, head: &mut Head, content: Raw) -> Raw {
        translate(head, content, &|id| match id.parse::<UserId>() {
            Ok(user) if self.is_ours(&user) => Some(user.bare()),
            _ => None,
        })
    }
}

/// The first id without its domain in content from elsewhere, if there is one (rules.md 6).
#[must_use]
pub fn bare_id(head: &Head, content: &Raw) -> Option<String> {
    let found = std::cell::RefCell::new(None);
    let mut head = head.clone();
    translate(&mut head, content.clone(), &|id| {
        if id.starts_with("usr") && !id.contains('@') {
            found.borrow_mut().get_or_insert_with(|| id.to_owned());
        }
        None
    });
    found.into_inner()
}

/// Replaces each id in the translated fields for which `change` has another form.
fn translate(head: &mut Head, content: Raw, change: &dyn Fn(&str) -> Option<String>) -> Raw {
    if let Some(Value::Array(mentions)) = head.get_mut("mentions") {
        mentions.iter_mut().for_each(|id| {
            replace(id, change);
        });
    }
    // Parsing costs; most messages mention nobody. What is escaped may say anything.
    if !content.get().contains("\"MN\"") && !content.get().contains('\\') {
        return content;
    }
    let Ok(mut drafty) = serde_json::from_str::<Value>(content.get()) else {
        return content;
    };
    let mut changed = false;
    if let Some(Value::Array(entities)) = drafty.get_mut("ent") {
        for entity in entities.iter_mut().filter(|it| it["tp"] == "MN") {
            if let Some(id) = entity.pointer_mut("/data/val") {
                changed |= replace(id, change);
            }
        }
    }
    if !changed {
        return content;
    }
    serde_json::value::to_raw_value(&drafty).unwrap_or(content)
}

/// True when the id has another form now.
fn replace(id: &mut Value, change: &dyn Fn(&str) -> Option<String>) -> bool {
    match id.as_str().and_then(change) {
        Some(other) => {
            *id = Value::String(other);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ids() -> Ids {
        Ids::new("alpha.test".parse().unwrap())
    }

    fn raw(value: &Value) -> Raw {
        serde_json::value::to_raw_value(value).unwrap()
    }

    fn drafty(id: &str) -> Raw {
        raw(
            &json!({"txt": "hi @alice", "fmt": [{"at": 3, "len": 6}], "ent": [{"tp": "MN", "data": {"val": id}}]}),
        )
    }

    #[test]
    fn our_own_people_are_bare_towards_clients_and_others_are_not() {
        let ours = UserId::new([1; 8], "alpha.test".parse().unwrap());
        let other = UserId::new([1; 8], "beta.test".parse().unwrap());
        assert_eq!(ids().shown(&ours), ours.bare());
        assert_eq!(ids().shown(&other), other.to_string());
        assert_eq!(ids().read(&ours.bare()).unwrap(), ours);
        assert_eq!(ids().read(&ours.to_string()).unwrap(), ours);
        assert_eq!(ids().read(&other.to_string()).unwrap(), other);
    }

    #[test]
    fn mentions_cross_the_border_and_come_back() {
        let ours = UserId::new([1; 8], "alpha.test".parse().unwrap());
        let mut head = Head::from_iter([("mentions".to_owned(), json!([ours.bare()]))]);
        let content = ids().globalise(&mut head, drafty(&ours.bare()));
        assert_eq!(head["mentions"], json!([ours.to_string()]));
        assert_eq!(content.get(), drafty(&ours.to_string()).get());
        assert_eq!(bare_id(&head, &content), None);
        let content = ids().localise(&mut head, content);
        assert_eq!(head["mentions"], json!([ours.bare()]));
        assert_eq!(content.get(), drafty(&ours.bare()).get());
        assert_eq!(bare_id(&head, &content), Some(ours.bare()));
    }

    #[test]
    fn an_id_cannot_hide_behind_an_escape() {
        let hidden = r#"{"txt":"x","ent":[{"tp":"M\u004e","data":{"val":"usrAAAAAAAAAAA"}}]}"#;
        let content = serde_json::from_str::<Raw>(hidden).unwrap();
        assert_eq!(
            bare_id(&Head::new(), &content).as_deref(),
            Some("usrAAAAAAAAAAA")
        );
    }

    #[test]
    fn other_text_passes_to_the_letter() {
        let odd = serde_json::from_str::<Raw>(r#"{"txt":"usrAAAAAAAAAAA",  "n":1.50}"#).unwrap();
        let mut head = Head::new();
        assert_eq!(ids().globalise(&mut head, odd.clone()).get(), odd.get());
    }
}
