//! What nodes of the public directory know beside what is here (PROTOCOL.md section 13.2): groups and people
//! of other domains, found by words.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use freehold_directory::Listed;
use freehold_keys::SignedCard;
use freehold_proto::{AccessMode, DomainName, card::Subject};
use futures_util::future::join_all;
use serde_json::json;

use super::{
    Found, found_row,
    query::{Query, Term},
};
use crate::{
    accounts::{Caller, Level},
    edge::frames::Sub,
    listing::question,
    server::Server,
};

/// Questions that one search makes.
const QUESTIONS_MAX: usize = 4;

/// A card, and what of the query it answers.
pub(super) struct Answer {
    card: SignedCard,
    matched: BTreeSet<String>,
}

/// What the nodes find for a query; nothing where the domain does not ask them.
pub(super) async fn find(server: &Arc<Server>, asker: &Caller, query: &Query) -> Vec<Answer> {
    if !server.listing.search || asker.level == Level::Anonymous {
        return Vec::new();
    }
    let questions = questions(query);
    let asked = questions.iter().flat_map(|(question, typed)| {
        [Listed::Groups, Listed::People].map(|what| async move {
            let cards = server.search.ask(server, &asker.user, what, question).await;
            (cards, typed)
        })
    });
    let mut answers: BTreeMap<String, Answer> = BTreeMap::new();
    for (cards, typed) in join_all(asked).await {
        for card in cards.iter() {
            let said = card.card();
            if said.expires <= server.clock.now() {
                continue;
            }
            let answer = answers.entry(said.topic()).or_insert_with(|| Answer {
                card: card.clone(),
                matched: BTreeSet::new(),
            });
            answer.matched.extend(typed.iter().cloned());
        }
    }
    answers.into_values().collect()
}

/// The questions that a query makes, each with the terms behind it.
fn questions(query: &Query) -> Vec<(String, Vec<String>)> {
    // What is to have a tag, or an address, nodes cannot tell.
    if !query.all.iter().all(is_plain) {
        return Vec::new();
    }
    let all: Vec<&Term> = query.all.iter().collect();
    let any = query.any.iter().filter(|it| is_plain(it));
    let terms: Vec<Vec<&Term>> = match query.any.is_empty() {
        true => vec![all],
        false => any.map(|it| [&all[..], &[it]].concat()).collect(),
    };
    let asked = terms.into_iter().filter_map(|terms| {
        let question = question(terms.iter().map(|it| &*it.typed))?;
        Some((question, terms.iter().map(|it| it.typed.clone()).collect()))
    });
    asked.take(QUESTIONS_MAX).collect()
}

fn is_plain(term: &Term) -> bool {
    term.person.is_none() && !term.typed.contains(':')
}

impl Answer {
    /// Who or what it is of, as something found here; a group at home elsewhere is shown by its card.
    pub(super) fn here(&self) -> Found {
        match &self.card.card().words.subject {
            Subject::Group { group, .. } => Found::Group(*group),
            Subject::Person(user) => Found::Person(user.clone()),
        }
    }

    /// The domain that says so.
    pub(super) fn home(&self) -> &DomainName {
        &self.card.card().domain
    }

    pub(super) fn matched(&self) -> &BTreeSet<String> {
        &self.matched
    }

    /// The card as a row of a search. Whoever opens it is led on. Beside what matched stands the domain:
    /// anybody can give a group any name.
    pub(super) fn row(&self) -> Sub {
        let card = self.card.card();
        let mut public = json!({ "fn": card.words.title });
        if !card.words.note.is_empty() {
            public["note"] = json!(card.words.note);
        }
        let public = public.to_string();
        let (access, count) = match &card.words.subject {
            Subject::Group {
                access, members, ..
            } => (*access, *members),
            Subject::Person(_) => (AccessMode::ONE_TO_ONE, 0),
        };
        let row = (card.issued, access, public.as_bytes(), &[][..]);
        let mut shown = self.matched.clone();
        shown.insert(card.domain.to_string());
        Sub {
            subcnt: count,
            ..found_row(card.topic(), row, &shown)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &[&str]) {
        let us = "alpha.test".parse().unwrap();
        let query_ = Query::parse(query, &us).unwrap();
        let asked: Vec<_> = questions(&query_).into_iter().map(|it| it.0).collect();
        assert_eq!(asked, expected, "{query}");
    }

    #[test]
    fn words_are_asked_of_nodes_and_tags_and_addresses_are_not() {
        check("bicycle shop", &["bicycle shop"]);
        check("alias:Bicycle,Bicycle", &["bicycle"]);
        check("chess,go board", &["board chess", "board go"]);
        check("\"bicycle shop\"", &["bicycle shop"]);
        for nothing in [
            "alias:ann",
            "email:ann@beta.test",
            "ann@beta.test",
            "alias:ann@beta.test,ann@beta.test",
            "bicycle org:example",
            "alias:0112345678,0112345678",
        ] {
            check(nothing, &[]);
        }
    }
}
