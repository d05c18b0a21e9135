//! What a domain has to do with lists of groups and people at nodes of the public directory: telling them
//! who and what here wishes to be found, and asking them what people search for (PROTOCOL.md sections 13.1
//! and 13.2).

mod announcing;
mod cards;
mod searching;

pub(crate) use announcing::announce;
pub(crate) use searching::{Search, question};
