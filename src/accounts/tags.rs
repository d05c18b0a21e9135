//! Tags, by which accounts and groups are found: what one may look like, and who may set it (fact
//! sheet, section 6.5).

use freehold_store::tables::{rows::AccountRow, tags::UNIQUE_PREFIX};

/// Tags of one account or group, those of the server not counted.
pub const COUNT_MAX: usize = 16;
/// Characters of one tag.
pub const CHARS_MIN: usize = 2;
/// Characters of one tag.
pub const CHARS_MAX: usize = 96;

/// Whoever carries this wishes to be found by everybody, at other domains too.
pub const DISCOVERABLE: &str = "discoverable:yes";

/// Tags that begin so are set by the server.
const SERVERS: [&str; 3] = ["basic", "email", "tel"];
/// The one tag of a list that says: none at all.
const CLEAR: &str = "\u{2421}";

/// What carries tags.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// An account: every tag has a prefix.
    Account,
    /// A group: bare words are tags too.
    Group,
}

/// Why a list of tags is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TagFault {
    /// A tag breaks the grammar, or there are two aliases.
    #[error("a tag is not well formed")]
    Malformed,
    /// More than an object may have.
    #[error("there are too many tags")]
    TooMany,
    /// The server sets tags of this kind.
    #[error("tags of this kind are set by the server")]
    Reserved,
    /// Somebody else has the alias.
    #[error("the alias is taken")]
    Taken,
}

/// Brings a list of tags into its one form, or refuses it. Reserved ones are refused too: whoever
/// lets clients repeat those takes them out before.
pub fn checked(typed: &[String], kind: Kind) -> Result<Vec<String>, TagFault> {
    if typed.len() == 1 && typed.first().is_some_and(|it| it == CLEAR) {
        return Ok(Vec::new());
    }
    let mut tags: Vec<String> = Vec::new();
    for text in typed.iter().take(COUNT_MAX + 1) {
        let tag = text.trim().to_lowercase();
        check(&tag, kind)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if typed.len() > COUNT_MAX {
        return Err(TagFault::TooMany);
    }
    let aliases = tags.iter().filter(|it| it.starts_with(UNIQUE_PREFIX));
    if aliases.count() > 1 {
        return Err(TagFault::Malformed);
    }
    Ok(tags)
}

fn check(tag: &str, kind: Kind) -> Result<(), TagFault> {
    let chars = tag.chars().count();
    if !(CHARS_MIN..=CHARS_MAX).contains(&chars) {
        return Err(TagFault::Malformed);
    }
    let (prefix, body) = match tag.split_once(':') {
        Some((prefix, body)) => (Some(prefix), body),
        None => (None, tag),
    };
    if prefix.is_none() && kind == Kind::Account {
        return Err(TagFault::Malformed);
    }
    if prefix.is_some_and(|it| !is_prefix(it)) || !is_body(body) {
        return Err(TagFault::Malformed);
    }
    if prefix.is_some_and(|it| SERVERS.contains(&it)) {
        return Err(TagFault::Reserved);
    }
    Ok(())
}

/// Whether this can stand before the colon.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    let mut letters = text.chars();
    letters.next().is_some_and(|it| it.is_ascii_lowercase())
        && (2..=16).contains(&text.len())
        && letters.all(|it| it.is_ascii_alphanumeric() || it == '_')
}

fn is_body(text: &str) -> bool {
    let legal = |it: char| it.is_alphanumeric() || "-_+.!?#@".contains(it);
    text.chars().next().is_some_and(char::is_alphanumeric) && text.chars().all(legal)
}

/// The tags of an account that the server sets.
#[must_use]
pub fn of_server(row: &AccountRow) -> Vec<String> {
    let login = (!row.login.is_empty()).then(|| format!("basic:{}", row.login));
    let confirmed = row.credentials.iter().filter(|it| it.done);
    let confirmed = confirmed.map(|it| format!("{}:{}", it.method, it.value));
    login.into_iter().chain(confirmed).collect()
}

/// All tags of an account.
#[must_use]
pub fn of_account(row: &AccountRow) -> Vec<String> {
    let mut tags = of_server(row);
    tags.extend(row.tags.iter().cloned());
    tags
}

/// The owner's own tags after a client has sent its whole list. Tags of the server must be in it
/// unchanged; a list that clears everything clears what is the owner's.
pub fn changed(row: &AccountRow, typed: &[String]) -> Result<Vec<String>, TagFault> {
    let servers = of_server(row);
    let own: Vec<String> = typed
        .iter()
        .filter(|it| !servers.contains(&it.trim().to_lowercase()))
        .cloned()
        .collect();
    let tags = checked(&own, Kind::Account)?;
    let clears = tags.is_empty() && !own.is_empty();
    let repeated = typed.len() - own.len();
    if !clears && repeated < servers.len() {
        return Err(TagFault::Reserved);
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|it| (*it).to_owned()).collect()
    }

    #[track_caller]
    fn check(typed: &[&str], kind: Kind, expected: Result<&[&str], TagFault>) {
        assert_eq!(
            checked(&texts(typed), kind),
            expected.map(texts),
            "{typed:?}"
        );
    }

    #[test]
    fn tags_have_one_form_and_an_account_s_need_a_prefix() {
        check(
            &["Alias:Ann_B", " org:example.org ", "alias:ann_b"],
            Kind::Account,
            Ok(&["alias:ann_b", "org:example.org"]),
        );
        check(&["travel", "città"], Kind::Group, Ok(&["travel", "città"]));
        check(&["travel"], Kind::Account, Err(TagFault::Malformed));
        check(&["␡"], Kind::Account, Ok(&[]));
    }

    #[test]
    fn tags_that_break_the_grammar_are_refused() {
        let long = format!("org:{}", "x".repeat(93));
        for tag in [
            "", "x", ":x", "x:", "o:x", "1x:y", "org:a b", "org:a:b", "org:-a", "org:a/b", "␡",
            "or-g:x", &long,
        ] {
            check(&[tag, "org:ok"], Kind::Account, Err(TagFault::Malformed));
        }
        check(
            &["alias:a1", "alias:b1"],
            Kind::Group,
            Err(TagFault::Malformed),
        );
        for tag in ["basic:ann", "email:ann@b.test", "tel:123", "EMAIL:x"] {
            check(&[tag], Kind::Account, Err(TagFault::Reserved));
        }
        let many: Vec<String> = (0..17).map(|it| format!("org:x{it}")).collect();
        assert_eq!(checked(&many, Kind::Account), Err(TagFault::TooMany));
    }

    #[test]
    fn an_owner_repeats_the_server_s_tags_and_changes_the_rest() {
        let row = AccountRow {
            login: "ann".to_owned(),
            tags: texts(&["org:old"]),
            ..AccountRow::default()
        };
        let after = |typed: &[&str]| changed(&row, &texts(typed));
        assert_eq!(after(&["basic:ann", "org:new"]), Ok(texts(&["org:new"])));
        assert_eq!(after(&["org:new"]), Err(TagFault::Reserved));
        assert_eq!(after(&["basic:ann", "basic:amy"]), Err(TagFault::Reserved));
        assert_eq!(after(&["␡"]), Ok(Vec::new()));
        assert_eq!(after(&["basic:ann"]), Ok(Vec::new()));
    }
}
