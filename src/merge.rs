//! How a change to a description joins what is there (fact sheet, section 3.3): maps merge deeply,
//! everything else is replaced, `"␡"` removes, `null` changes nothing.

use bytes::Bytes;
use serde_json::Value;

/// The mark that removes a value: U+2421.
const REMOVE: &str = "\u{2421}";
/// Deeper maps are replaced rather than merged.
const DEPTH_MAX: usize = 16;

/// Merges a change into stored JSON; empty bytes are no value.
pub(crate) fn into_stored(stored: &Bytes, change: &Value) -> Bytes {
    let before = serde_json::from_slice(stored).unwrap_or(Value::Null);
    match merged(before, change, 0) {
        Value::Null => Bytes::new(),
        after => after.to_string().into(),
    }
}

fn merged(before: Value, change: &Value, depth: usize) -> Value {
    match (before, change) {
        (before, Value::Null) => before,
        (_, Value::String(text)) if text == REMOVE => Value::Null,
        (Value::Object(mut map), Value::Object(changes)) if depth < DEPTH_MAX => {
            for (key, change) in changes {
                let before = map.remove(key).unwrap_or(Value::Null);
                let left = left_of(&before);
                let after = match merged(before, change, depth + 1) {
                    Value::Null => left,
                    after => after,
                };
                if !after.is_null() {
                    map.insert(key.clone(), after);
                }
            }
            Value::Object(map)
        }
        // A new map may still carry marks of removal.
        (_, Value::Object(changes)) if depth < DEPTH_MAX && !changes.is_empty() => {
            merged(Value::Object(serde_json::Map::new()), change, depth)
        }
        (_, change) => change.clone(),
    }
}

/// What stays of a value that is removed from a map.
///
/// COMPAT stock clients: they merge what they are told into what they know, so a flag or a list that is
/// just not there any more would stay as it was on a person's other devices: a chat archived, a message
/// pinned.
fn left_of(value: &Value) -> Value {
    match value {
        Value::Bool(_) => Value::Bool(false),
        Value::Array(_) => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(before: Value, change: Value, after: Value) {
        let stored = if before.is_null() {
            Bytes::new()
        } else {
            before.to_string().into()
        };
        let expected = if after.is_null() {
            Bytes::new()
        } else {
            after.to_string().into()
        };
        assert_eq!(into_stored(&stored, &change), expected);
    }

    #[test]
    fn maps_merge_and_other_values_replace() {
        check(
            json!({"fn": "A", "x": {"y": 1}}),
            json!({"x": {"z": 2}}),
            json!({"fn": "A", "x": {"y": 1, "z": 2}}),
        );
        check(json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]}));
        check(json!("text"), json!({"fn": "A"}), json!({"fn": "A"}));
        check(Value::Null, json!("query"), json!("query"));
    }

    #[test]
    fn a_flag_or_a_list_that_is_removed_is_empty() {
        check(
            json!({"arch": true, "tpin": ["grpA"], "note": "n"}),
            json!({"arch": "␡", "tpin": "␡", "note": "␡"}),
            json!({"arch": false, "tpin": []}),
        );
        check(json!({}), json!({"arch": "␡"}), json!({}));
    }

    #[test]
    fn the_mark_removes_and_null_changes_nothing() {
        check(
            json!({"fn": "A", "note": "n"}),
            json!({"note": "␡"}),
            json!({"fn": "A"}),
        );
        check(json!({"fn": "A"}), json!("␡"), Value::Null);
        check(json!({"fn": "A"}), Value::Null, json!({"fn": "A"}));
        check(
            Value::Null,
            json!({"fn": "A", "note": "␡"}),
            json!({"fn": "A"}),
        );
    }
}
