//! Who may read a file of another domain here.

use freehold_proto::{AccessMode, UserId};
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::{files::FileKey, rows::ReferenceRow},
};

use crate::topic;

/// Messages looked at for one that refers to a file and that the asker can read.
const MESSAGES_MAX: usize = 1024;
/// Different things that are said of one file.
const SAID_MAX: usize = 8;

/// What is said of a file where the person can read it: in messages, or where it is shown as a picture,
/// which everybody may see. Nothing for whoever has no business with it. Blocks.
pub(in crate::files) fn said_to(
    tables: &Tables,
    user: &UserId,
    file: FileKey,
) -> Result<Vec<ReferenceRow>, StoreError> {
    let mut said: Vec<ReferenceRow> = tables.as_picture(file)?.into_iter().collect();
    for (message, row) in tables.messages_with(file, MESSAGES_MAX)? {
        if said.len() >= SAID_MAX {
            break;
        }
        if !said.contains(&row) && can_read(tables, user, message)? {
            said.push(row);
        }
    }
    Ok(said)
}

fn can_read(
    tables: &Tables,
    user: &UserId,
    (topic, seq): (TopicKey, u32),
) -> Result<bool, StoreError> {
    let Some(row) = tables.subscription(user, topic)? else {
        return Ok(false);
    };
    let standing = topic::storage::standing(&row);
    if standing.deleted.is_some() || !standing.rights().has(AccessMode::READ) {
        return Ok(false);
    }
    let span = (seq, seq.saturating_add(1));
    Ok(tables.last_visible(topic, user, span)?.is_some())
}
