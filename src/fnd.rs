//! The topic `fnd`: finding people by what somebody typed into a search box (fact sheet, section 7).

use std::sync::Arc;

use freehold_federation::FindQuery;
use freehold_proto::{AccessMode, Address, UserId};
use freehold_store::Tables;
use futures_util::future::join_all;
use serde_json::{json, value::to_raw_value};

use crate::{
    edge::{
        frames::{Access, Sub, raw},
        reply::Reply,
    },
    server::Server,
};

/// Terms of one query that are looked at.
const TERMS_MAX: usize = 16;
/// Other domains asked by one query.
const REMOTE_MAX: usize = 4;

/// Whom a term means.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
enum Term {
    /// A log-in name of this domain.
    Login(String),
    /// A person by address.
    Address(Address),
    /// A person by id.
    User(UserId),
}

/// The terms of a query, each with the text that was typed.
fn terms(query: &str) -> Vec<(Term, String)> {
    let mut found: Vec<(Term, String)> = Vec::new();
    for text in query
        .split([' ', '\t', ',', '"'])
        .filter(|it| !it.is_empty())
        .take(TERMS_MAX)
    {
        // COMPAT Android: an alias that already has a prefix gets a second one.
        let bare = without_prefix(without_prefix(text));
        let term = term(bare);
        if !found.iter().any(|(known, _)| *known == term) {
            found.push((term, text.to_owned()));
        }
    }
    found
}

fn without_prefix(text: &str) -> &str {
    let prefixes = ["email:", "alias:", "basic:", "tel:"];
    prefixes
        .iter()
        .find_map(|it| text.strip_prefix(it))
        .unwrap_or(text)
}

fn term(text: &str) -> Term {
    // A person may type the @ of a mention before the address.
    let text = text.strip_prefix('@').unwrap_or(text);
    match text.parse::<Address>() {
        Ok(address) => match UserId::from_bare(&address.local, &address.domain) {
            Ok(user) => Term::User(user),
            Err(_) => Term::Address(address),
        },
        Err(_) => Term::Login(text.to_lowercase()),
    }
}

/// The people a query finds. Asks other domains for addresses of theirs, each for a bounded time.
pub(crate) async fn search(
    server: &Arc<Server>,
    asker: &UserId,
    query: &str,
) -> Result<Vec<Sub>, Reply> {
    let mut searches = Vec::new();
    let mut remote = 0;
    for (term, typed) in terms(query) {
        let is_remote = match &term {
            Term::Login(_) => false,
            Term::Address(address) => address.domain != server.us,
            Term::User(user) => !server.ids.is_ours(user),
        };
        remote += usize::from(is_remote);
        if !is_remote || remote <= REMOTE_MAX {
            searches.push(find(server, term, typed));
        }
    }
    let mut found: Vec<(UserId, Sub)> = Vec::new();
    for result in join_all(searches).await {
        let Some((user, row)) = result? else {
            continue;
        };
        if user != *asker && !found.iter().any(|(known, _)| *known == user) {
            found.push((user, row));
        }
    }
    Ok(found.into_iter().map(|(_, row)| row).collect())
}

async fn find(
    server: &Arc<Server>,
    term: Term,
    typed: String,
) -> Result<Option<(UserId, Sub)>, Reply> {
    let user = match term {
        Term::Login(name) => by_login(server, &name).await?,
        Term::Address(address) if address.domain == server.us => {
            by_login(server, &address.local.to_lowercase()).await?
        }
        Term::Address(address) => {
            abroad(
                server,
                &address.domain,
                FindQuery::LocalPart(address.local.clone()),
            )
            .await
        }
        Term::User(user) if server.ids.is_ours(&user) => Some(user),
        Term::User(user) => {
            let domain = user.domain().clone();
            abroad(server, &domain, FindQuery::User(user)).await
        }
    };
    let Some(user) = user.filter(|it| server.rules.findable || !server.ids.is_ours(it)) else {
        return Ok(None);
    };
    let Some(profile) = server.profile(&user).await? else {
        return Ok(None);
    };
    let row = Sub {
        topic: Some(server.ids.shown(&user)),
        updated: Some(profile.updated),
        acs: Some(Access {
            want: None,
            given: None,
            mode: profile.access.and(AccessMode::ONE_TO_ONE).to_string(),
        }),
        public: raw(&profile.public),
        // COMPAT iOS: on fnd this is a list of the terms that matched.
        private: to_raw_value(&json!([typed])).ok(),
        ..Sub::default()
    };
    Ok(Some((user, row)))
}

async fn by_login(server: &Arc<Server>, name: &str) -> Result<Option<UserId>, Reply> {
    let name = name.to_owned();
    let row = server
        .tables
        .read(move |tables: &Tables| tables.login(&name))
        .await?;
    let local = row.and_then(|it| <[u8; 8]>::try_from(&*it.user).ok());
    Ok(local.map(|local| UserId::new(local, server.us.clone())))
}

/// Nobody, too, when the other domain does not answer in time: it may the next time.
async fn abroad(
    server: &Arc<Server>,
    domain: &freehold_proto::DomainName,
    query: FindQuery,
) -> Option<UserId> {
    match server.find_abroad(domain, query).await {
        Ok(found) => found,
        Err(fault) => {
            tracing::info!(peer = %domain, %fault, "a search at another domain has no answer");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &[Term]) {
        let found: Vec<Term> = terms(query).into_iter().map(|(term, _)| term).collect();
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn an_address_is_understood_in_every_form_that_stock_clients_send() {
        let bob = [Term::Address("bob@beta.test".parse().unwrap())];
        check("email:bob@beta.test", &bob);
        check("alias:bob@beta.test,bob@beta.test", &bob);
        check("alias:@bob@beta.test,@bob@beta.test", &bob);
        check("basic:bob@beta.test", &bob);
        check("alias:basic:bob@beta.test,basic:bob@beta.test", &bob);
        check("alias:alias:bob@beta.test,alias:bob@beta.test", &bob);
        check("email:bob@BETA.Test", &bob);
        check("bob@beta.test", &bob);
    }

    #[test]
    fn an_id_with_its_domain_means_a_person_and_a_plain_word_a_log_in_name() {
        let user = UserId::new([1; 8], "beta.test".parse().unwrap());
        check(&format!("email:{user}"), &[Term::User(user)]);
        check("alias:Alice,Alice", &[Term::Login("alice".to_owned())]);
    }
}
