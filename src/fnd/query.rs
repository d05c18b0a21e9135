//! The language of the search box (fact sheet, section 7): what a query asks for, without asking
//! anybody.

use freehold_proto::{Address, DomainName, GroupId, UserId};

use crate::accounts::tags;

/// Terms of one query that are looked at.
const TERMS_MAX: usize = 16;

/// What a query asks for: everything that carries all of `all` and, if there are any, one of `any`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Query {
    pub(super) all: Vec<Term>,
    pub(super) any: Vec<Term>,
}

/// One term, and all it may mean.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Term {
    /// As it was typed.
    pub(super) typed: String,
    /// Tags, any of which will do.
    pub(super) tags: Vec<String>,
    /// A person by address or id, or a channel by its address.
    pub(super) person: Option<Named>,
}

/// A person who is named, or a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Named {
    /// By an address of another domain.
    Address(Address),
    /// By id.
    User(UserId),
    /// A channel, by id and home.
    Channel(GroupId, DomainName),
}

/// The query breaks the grammar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Unreadable;

/// The asker may not search for tags of this kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Masked;

impl Query {
    /// Reads a query at the domain `us`.
    pub(super) fn parse(text: &str, us: &DomainName) -> Result<Self, Unreadable> {
        let mut query = Self::default();
        let mut rest = text;
        let mut comma = take_separators(&mut rest);
        while !rest.is_empty() {
            let word = take_word(&mut rest)?;
            let before = std::mem::replace(&mut comma, take_separators(&mut rest));
            let terms = if before || comma {
                &mut query.any
            } else {
                &mut query.all
            };
            let term = Term::read(word, us);
            let wanted = !word.is_empty() && terms.len() < TERMS_MAX;
            if wanted && !terms.contains(&term) {
                terms.push(term);
            }
        }
        Ok(query)
    }

    /// Takes out what may be searched for only by those who carry it themselves. Refuses a term that
    /// means nothing else.
    pub(super) fn mask(&mut self, masked: &[String], own: &[String]) -> Result<(), Masked> {
        let hidden = |tag: &String| {
            let prefix = tag.split_once(':').map(|(prefix, _)| prefix);
            let masks = prefix.is_some_and(|it| masked.iter().any(|masked| masked == it));
            masks && !own.contains(tag)
        };
        for term in self.all.iter_mut().chain(&mut self.any) {
            let before = term.tags.len();
            term.tags.retain(|it| !hidden(it));
            if term.tags.is_empty() && before > 0 && term.person.is_none() {
                return Err(Masked);
            }
        }
        Ok(())
    }
}

/// Skips what stands between words; true when there is a comma in it.
fn take_separators(rest: &mut &str) -> bool {
    let from = rest
        .find(|it: char| !it.is_whitespace() && it != ',')
        .unwrap_or(rest.len());
    let (skipped, left) = rest.split_at(from);
    *rest = left;
    skipped.contains(',')
}

fn take_word<'a>(rest: &mut &'a str) -> Result<&'a str, Unreadable> {
    let is_end = |it: char| it.is_whitespace() || it == ',';
    let (word, left) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').ok_or(Unreadable)?,
        None => rest.split_at(rest.find(is_end).unwrap_or(rest.len())),
    };
    if word.contains('"') || left.chars().next().is_some_and(|it| !is_end(it)) {
        return Err(Unreadable);
    }
    *rest = left;
    Ok(word)
}

impl Term {
    fn read(typed: &str, us: &DomainName) -> Self {
        let (prefix, word) = split(typed);
        // A person may type the @ of a mention before the address.
        let word = word.strip_prefix('@').unwrap_or(word);
        let small = word.to_lowercase();
        let mut tags = match prefix {
            Some(prefix) => vec![format!("{prefix}:{small}")],
            None => plain(&small),
        };
        let mut person = None;
        let named = prefix.is_none_or(|it| ["email", "alias", "basic", "tel"].contains(&it));
        if let Some(address) = word.parse::<Address>().ok().filter(|_| named) {
            let channel = address.local.strip_prefix("chn");
            let channel = channel.and_then(|it| format!("grp{it}").parse().ok());
            match UserId::from_bare(&address.local, &address.domain) {
                _ if channel.is_some() => {
                    person = channel.map(|it| Named::Channel(it, address.domain));
                }
                Ok(user) => person = Some(Named::User(user)),
                Err(_) if address.domain == *us => {
                    tags.push(format!("basic:{}", address.local.to_lowercase()));
                }
                Err(_) => person = Some(Named::Address(address)),
            }
        }
        tags.dedup();
        Self {
            typed: typed.to_owned(),
            tags,
            person,
        }
    }
}

/// Takes the prefix from a term. COMPAT Android: one that already has a prefix gets a second one.
fn split(typed: &str) -> (Option<&str>, &str) {
    let once = |text| {
        let (prefix, word): (&str, &str) = str::split_once(text, ':')?;
        tags::is_prefix(prefix).then_some((prefix, word))
    };
    match once(typed) {
        Some(("alias", word)) => match once(word) {
            Some((prefix, word)) => (Some(prefix), word),
            None => (Some("alias"), word),
        },
        Some((prefix, word)) => (Some(prefix), word),
        None => (None, typed),
    }
}

/// All that a plain word may mean.
fn plain(word: &str) -> Vec<String> {
    let mut tags = vec![
        word.to_owned(),
        format!("basic:{word}"),
        format!("alias:{word}"),
    ];
    if word.contains('@') {
        tags.push(format!("email:{word}"));
    }
    let digits: String = word.chars().filter(|it| !" -().".contains(*it)).collect();
    let number = digits.strip_prefix('+').unwrap_or(&digits);
    if number.len() >= 6 && number.bytes().all(|it| it.is_ascii_digit()) {
        tags.push(format!("tel:{digits}"));
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> DomainName {
        "alpha.test".parse().unwrap()
    }

    fn parse(text: &str) -> Query {
        Query::parse(text, &us()).unwrap()
    }

    #[track_caller]
    fn check_names(query: &str, expected: &[Named]) {
        let query_ = parse(query);
        let mut names: Vec<Named> = Vec::new();
        for name in query_
            .all
            .iter()
            .chain(&query_.any)
            .filter_map(|it| it.person.clone())
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        assert_eq!(names, expected, "{query}");
    }

    #[track_caller]
    fn check(query: &str, all: &[&str], any: &[&str]) {
        let query_ = parse(query);
        let typed =
            |terms: &[Term]| -> Vec<String> { terms.iter().map(|it| it.typed.clone()).collect() };
        assert_eq!(
            (typed(&query_.all), typed(&query_.any)),
            (
                all.iter().map(|it| (*it).to_owned()).collect(),
                any.iter().map(|it| (*it).to_owned()).collect(),
            ),
            "{query}"
        );
    }

    #[test]
    fn an_address_is_understood_in_every_form_that_stock_clients_send() {
        let bob = [Named::Address("bob@beta.test".parse().unwrap())];
        check_names("email:bob@beta.test", &bob);
        check_names("alias:bob@beta.test,bob@beta.test", &bob);
        check_names("alias:@bob@beta.test,@bob@beta.test", &bob);
        check_names("basic:bob@beta.test", &bob);
        check_names("alias:basic:bob@beta.test,basic:bob@beta.test", &bob);
        check_names("alias:alias:bob@beta.test,alias:bob@beta.test", &bob);
        check_names("email:bob@BETA.Test", &bob);
        check_names("bob@beta.test", &bob);
    }

    #[test]
    fn an_id_with_its_domain_means_a_person_and_a_plain_word_a_log_in_name() {
        let user = UserId::new([1; 8], "beta.test".parse().unwrap());
        check_names(&format!("email:{user}"), &[Named::User(user)]);
        let query = parse("alias:Alice,Alice");
        assert_eq!(query.any[0].tags, ["alias:alice"]);
        assert_eq!(query.any[1].tags, ["alice", "basic:alice", "alias:alice"]);
        let own = parse("Alice@alpha.test");
        assert!(own.all[0].tags.contains(&"basic:alice".to_owned()));
        assert_eq!(own.all[0].person, None);
    }

    #[test]
    fn spaces_ask_for_all_commas_for_one_and_quotes_keep_together() {
        check("a b\tc", &["a", "b", "c"], &[]);
        check("a,b c", &["c"], &["a", "b"]);
        check("a , b", &[], &["a", "b"]);
        check("a b,", &["a"], &["b"]);
        check("\"a, b\" c", &["a, b", "c"], &[]);
        check("  ", &[], &[]);
        check(",,", &[], &[]);
        for text in ["a\"b", "\"a", "\"a\"b", "a\"b\""] {
            assert_eq!(Query::parse(text, &us()), Err(Unreadable), "{text}");
        }
    }

    #[test]
    fn words_are_tried_as_what_they_look_like() {
        assert!(plain("ann@b.test").contains(&"email:ann@b.test".to_owned()));
        assert!(plain("+49-30-123456").contains(&"tel:+4930123456".to_owned()));
        assert_eq!(plain("travel").len(), 3);
        assert_eq!(parse("org:Example").all[0].tags, ["org:example"]);
    }

    #[test]
    fn what_is_masked_finds_only_those_who_are_alike() {
        let masked = ["email".to_owned(), "org".to_owned()];
        let own = ["org:mine".to_owned()];
        let mask = |text: &str| {
            let mut query = parse(text);
            query.mask(&masked, &own).map(|()| query)
        };
        assert_eq!(mask("org:theirs"), Err(Masked));
        assert_eq!(mask("travel org:theirs"), Err(Masked));
        assert!(mask("org:mine").is_ok());
        // An address means somebody elsewhere too.
        let address = mask("email:bob@beta.test").unwrap();
        assert!(address.all[0].tags.is_empty());
        assert!(
            !mask("bob@b").unwrap().all[0]
                .tags
                .contains(&"email:bob@b".to_owned())
        );
    }
}
