//! Between the meaning of a group and what its domains tell each other of it (PROTOCOL.md section
//! 7.7).

use bytes::Bytes;
use freehold_proto::{AccessMode, Envelope, Refusal, Timestamp, UserId, wire};
use freehold_store::{StoreError, Tables, TopicKey, tables::rows::LogRow};
use serde_json::Value;

use super::{
    message, places,
    room::{Description, Room, RoomKind},
    standing::Standing,
    succession,
};

/// Longest public description of a member that goes along with how they stand, in bytes. Of a longer
/// one only the name does.
const PUBLIC_MAX: usize = 32 * 1024;
/// Pins of one group that are looked up.
const PINS_READ_MAX: usize = 64;
/// Longest title of an invitation, in characters.
pub(super) const TITLE_CHARS: usize = 280;

/// How the home says that a member stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ruling {
    pub(super) user: UserId,
    pub(super) want: AccessMode,
    pub(super) want_version: u64,
    pub(super) given: AccessMode,
    pub(super) given_version: u64,
    pub(super) gone: bool,
    pub(super) since: Timestamp,
}

/// How a member stands, to be told. `public` is their description and when it changed, as far as that
/// is to be told too.
pub(super) fn member(
    user: &UserId,
    standing: &Standing,
    public: Option<(Bytes, Timestamp)>,
) -> wire::Member {
    let (public, changed) = public.unwrap_or_default();
    wire::Member {
        user: user.to_string(),
        want: standing.want.to_string(),
        want_version: standing.want_version,
        given: standing.given.to_string(),
        given_version: standing.given_version,
        gone: standing.deleted.is_some(),
        since_ms: standing.created.as_millis(),
        public: modest(public),
        public_changed_ms: changed.as_millis(),
    }
}

/// A public description that is not too long to go along with others.
pub(super) fn modest(public: Bytes) -> Bytes {
    if public.len() <= PUBLIC_MAX {
        return public;
    }
    let name = serde_json::from_slice::<Value>(&public).ok();
    let name = name.and_then(|it| it.get("fn").cloned());
    let name = name.map(|it| serde_json::json!({ "fn": it }).to_string());
    name.filter(|it| it.len() <= PUBLIC_MAX)
        .map_or_else(Bytes::new, Bytes::from)
}

/// Reads how a member stands.
pub(super) fn ruling(member: &wire::Member) -> Result<Ruling, Refusal> {
    Ok(Ruling {
        user: member.user.parse()?,
        want: AccessMode::from_peer(&member.want)?,
        want_version: member.want_version,
        given: AccessMode::from_peer(&member.given)?,
        given_version: member.given_version,
        gone: member.gone,
        since: Timestamp::from_millis(member.since_ms)?,
    })
}

/// What everybody sees of a group.
pub(super) fn description(room: &Room, aux: Bytes) -> wire::GroupDescription {
    let seen = &room.description;
    wire::GroupDescription {
        public: seen.public.clone(),
        trusted: seen.trusted.clone(),
        access_auth: seen.access_auth.to_string(),
        access_anon: seen.access_anon.to_string(),
        tags: seen.tags.clone(),
        updated_ms: room.updated.as_millis(),
        aux,
        channel: room.kind == RoomKind::Channel,
        created_ms: room.created.as_millis(),
    }
}

/// What everybody sees of a group, with pins by their orders. Blocks.
pub(crate) fn described(
    tables: &Tables,
    topic: TopicKey,
    room: &Room,
) -> Result<wire::GroupDescription, StoreError> {
    let aux = &room.description.aux;
    if !room.is_renumbered() {
        return Ok(description(room, aux.clone()));
    }
    let mut orders = Vec::new();
    for seq in pins(aux).into_iter().take(PINS_READ_MAX) {
        let order = places::order_of(tables, topic, room.opened, seq)?;
        orders.extend(order.map(|order| (seq, order)));
    }
    let order = |seq| orders.iter().find(|it| it.0 == seq).map(|it| it.1);
    Ok(description(room, renumbered(aux, order)))
}

/// How the home came to be it, for a domain that hears of the group for the first time.
pub(crate) fn steps(rows: &[LogRow]) -> Vec<wire::LogEntry> {
    let step = |row: &LogRow| {
        let envelope = row.envelope.clone().and_then(message::envelope_of)?;
        Some(wire::LogEntry {
            placed: Some(wire::Placed {
                position: row.position.clone(),
                signature: row.signature.clone(),
            }),
            envelope: Some(envelope.into()),
        })
    };
    rows.iter().filter_map(step).collect()
}

/// The same as it is stored.
pub(super) fn step_rows(steps: &[wire::LogEntry]) -> Vec<LogRow> {
    let row = |step: &wire::LogEntry| {
        let placed = step.placed.clone()?;
        let envelope = Envelope::try_from(step.envelope.clone()?).ok()?;
        Some(LogRow {
            position: placed.position,
            signature: placed.signature,
            envelope: Some(message::envelope_row(&envelope)),
            ..LogRow::default()
        })
    };
    steps
        .iter()
        .filter_map(row)
        .take(succession::STEPS_MAX)
        .collect()
}

/// Reads what everybody sees of a group. Pins are still orders.
pub(super) fn read_description(seen: &wire::GroupDescription) -> Result<Description, Refusal> {
    let json = |bytes: &Bytes| match serde_json::from_slice::<Value>(bytes) {
        Ok(_) => bytes.clone(),
        // A description that makes no sense does not make or break a group.
        Err(_) => Bytes::new(),
    };
    Ok(Description {
        public: json(&seen.public),
        trusted: json(&seen.trusted),
        access_auth: AccessMode::from_peer(&seen.access_auth)?,
        access_anon: AccessMode::from_peer(&seen.access_anon)?,
        tags: seen.tags.clone(),
        aux: json(&seen.aux),
    })
}

/// What an invitation calls the group: its name, as plain text.
pub(crate) fn title(public: &Bytes) -> String {
    let public = serde_json::from_slice::<Value>(public).unwrap_or_default();
    let name = public.get("fn").and_then(Value::as_str).unwrap_or_default();
    name.chars().take(TITLE_CHARS).collect()
}

/// What is attached to a group, with each pinned message under another number; those without one are
/// left out.
pub(super) fn renumbered(aux: &Bytes, number: impl Fn(u32) -> Option<u32>) -> Bytes {
    let Ok(mut value) = serde_json::from_slice::<Value>(aux) else {
        return aux.clone();
    };
    let Some(pins) = value.get_mut("pins").and_then(Value::as_array_mut) else {
        return aux.clone();
    };
    let numbered = |it: &Value| number(u32::try_from(it.as_u64()?).ok()?);
    *pins = pins
        .iter()
        .filter_map(numbered)
        .map(Value::from)
        .collect::<Vec<_>>();
    value.to_string().into()
}

/// The numbers of pinned messages.
pub(super) fn pins(aux: &Bytes) -> Vec<u32> {
    let value = serde_json::from_slice::<Value>(aux).unwrap_or_default();
    let pins = value.get("pins").and_then(Value::as_array);
    let number = |it: &Value| u32::try_from(it.as_u64()?).ok();
    pins.into_iter().flatten().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pins_take_other_numbers_and_the_rest_stays() {
        let aux = Bytes::from(json!({"pins": [3, 9, 4], "note": "x"}).to_string());
        let shifted = renumbered(&aux, |it| (it != 9).then_some(it + 10));
        assert_eq!(pins(&shifted), [13, 14]);
        let value: Value = serde_json::from_slice(&shifted).unwrap();
        assert_eq!(value["note"], "x");
        assert_eq!(renumbered(&Bytes::new(), Some), Bytes::new());
    }

    #[test]
    fn a_long_description_shrinks_to_the_name() {
        let long = json!({"fn": "Ann", "photo": {"data": "x".repeat(PUBLIC_MAX)}});
        let modest = modest(Bytes::from(long.to_string()));
        assert_eq!(*modest, *json!({"fn": "Ann"}).to_string().as_bytes());
        let endless = json!({"fn": "x".repeat(PUBLIC_MAX)}).to_string();
        assert!(super::modest(Bytes::from(endless)).is_empty());
        assert_eq!(
            title(&Bytes::from(json!({"fn": "Club"}).to_string())),
            "Club"
        );
    }
}
