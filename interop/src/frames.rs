//! The form of every frame that a server sends to a client: what stock clients rely on, though most
//! faults break only one of them (the JavaScript SDK on dates, iOS on ctrl, Android on numbers).

use serde_json::{Map, Value};

/// The five kinds of frames from a server.
const KINDS: [&str; 5] = ["ctrl", "data", "meta", "pres", "info"];
/// Keys whose values are moments, of exactly 24 characters.
const TIME_KEYS: [&str; 7] = [
    "ts", "created", "updated", "touched", "when", "deleted", "expires",
];
/// Written by people and their clients; a server passes them on as they are.
const OPAQUE_KEYS: [&str; 7] = [
    "content", "head", "public", "private", "trusted", "aux", "payload",
];
/// Where a frame names a person or a topic.
const ID_KEYS: [&str; 6] = ["topic", "user", "src", "from", "act", "tgt"];

/// Everything wrong with a frame that a client of `domain` received, one sentence each.
#[must_use]
pub fn faults_of_frame(frame: &Value, domain: &str) -> Vec<String> {
    let Some(frame) = frame.as_object() else {
        return vec!["the frame is not an object".to_owned()];
    };
    let mut faults = Vec::new();
    match frame.iter().next() {
        Some((kind, Value::Object(body))) if frame.len() == 1 && KINDS.contains(&&**kind) => {
            check_required(kind, body, &mut faults);
            check_object(body, kind, domain, &mut faults);
        }
        _ => {
            let keys: Vec<_> = frame.keys().collect();
            faults.push(format!(
                "the frame has the keys {keys:?} instead of one of {KINDS:?}"
            ));
        }
    }
    faults
}

fn check_required(kind: &str, body: &Map<String, Value>, faults: &mut Vec<String>) {
    let text = |value: &Value| value.as_str().is_some_and(|it| !it.is_empty());
    let whole = |value: &Value| value.as_u64().is_some();
    let mut need = |key: &str, fits: &dyn Fn(&Value) -> bool| {
        if !body.get(key).is_some_and(fits) {
            faults.push(format!("{kind} without a proper \"{key}\""));
        }
    };
    match kind {
        "ctrl" => {
            need("code", &whole);
            need("text", &text);
            need("ts", &text);
        }
        "data" => {
            need("topic", &text);
            need("seq", &whole);
            need("ts", &text);
            need("content", &|value| !value.is_null());
        }
        "meta" => {
            need("topic", &text);
            need("ts", &text);
        }
        _ => {
            need("topic", &text);
            need("what", &text);
        }
    }
    let accepted = body.get("code").and_then(Value::as_u64) == Some(202);
    if accepted
        && body
            .get("params")
            .and_then(|it| it["seq"].as_u64())
            .is_none()
    {
        faults.push("ctrl 202 without a number params.seq".to_owned());
    }
}

fn check_object(object: &Map<String, Value>, path: &str, domain: &str, faults: &mut Vec<String>) {
    for (key, value) in object {
        let path = format!("{path}.{key}");
        if OPAQUE_KEYS.contains(&&**key) {
            continue;
        }
        if TIME_KEYS.contains(&&**key) {
            if !value.as_str().is_some_and(is_moment) {
                faults.push(format!("{path} is {value}, not a moment of 24 characters"));
            }
        } else if ID_KEYS.contains(&&**key) {
            check_id(value, &path, domain, faults);
        } else {
            check_value(value, &path, domain, faults);
        }
    }
}

fn check_value(value: &Value, path: &str, domain: &str, faults: &mut Vec<String>) {
    match value {
        Value::Null => faults.push(format!("{path} is null")),
        Value::Number(number) if !number.is_i64() && !number.is_u64() => {
            faults.push(format!("{path} is {number}, not a whole number"));
        }
        Value::Array(items) => {
            for item in items {
                check_value(item, path, domain, faults);
            }
        }
        Value::Object(object) => check_object(object, path, domain, faults),
        Value::Number(_) | Value::Bool(_) | Value::String(_) => {}
    }
}

fn check_id(value: &Value, path: &str, domain: &str, faults: &mut Vec<String>) {
    let Some(id) = value.as_str().filter(|it| !it.is_empty()) else {
        faults.push(format!("{path} is {value}, not an id"));
        return;
    };
    if id.strip_suffix(domain).is_some_and(|it| it.ends_with('@')) {
        faults.push(format!(
            "{path} is {id}, an id of the own domain that is not bare"
        ));
    }
    if id.starts_with("p2p") {
        faults.push(format!("{path} is {id}, an internal name"));
    }
}

/// `2026-01-02T03:04:05.678Z`
fn is_moment(text: &str) -> bool {
    let pattern = b"dddd-dd-ddTdd:dd:dd.dddZ";
    text.len() == pattern.len()
        && text.bytes().zip(pattern).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            _ => byte == *form,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TS: &str = "2026-01-02T03:04:05.678Z";

    #[track_caller]
    fn check(frame: Value, faults: &[&str]) {
        assert_eq!(faults_of_frame(&frame, "alpha.test"), faults);
    }

    #[test]
    fn good_frames_pass() {
        check(
            json!({"ctrl": {"id": "1", "code": 200, "text": "ok", "ts": TS}}),
            &[],
        );
        check(
            json!({"ctrl": {"code": 202, "text": "accepted", "ts": TS, "params": {"seq": 3}}}),
            &[],
        );
        check(
            json!({"data": {"topic": "usrB@beta.test", "from": "usrA", "seq": 1, "ts": TS,
                "content": {"ts": null, "half": 0.5}}}),
            &[],
        );
        check(
            json!({"pres": {"topic": "me", "src": "usrB@beta.test", "what": "msg", "seq": 1}}),
            &[],
        );
    }

    #[test]
    fn every_time_takes_24_characters() {
        check(
            json!({"meta": {"topic": "me", "ts": TS, "sub": [{"topic": "usrB",
                "touched": "2026-01-02T03:04:05.678901Z"}]}}),
            &["meta.sub.touched is \"2026-01-02T03:04:05.678901Z\", not a moment of 24 characters"],
        );
    }

    #[test]
    fn a_ctrl_needs_code_text_and_ts() {
        check(
            json!({"ctrl": {"id": "1"}}),
            &[
                "ctrl without a proper \"code\"",
                "ctrl without a proper \"text\"",
                "ctrl without a proper \"ts\"",
            ],
        );
        check(
            json!({"ctrl": {"code": 202, "text": "accepted", "ts": TS, "params": {"seq": "3"}}}),
            &["ctrl 202 without a number params.seq"],
        );
    }

    #[test]
    fn a_frame_is_of_one_kind() {
        assert_eq!(
            faults_of_frame(&json!({"ctrl": {}, "data": {}}), "alpha.test").len(),
            1
        );
        assert_eq!(faults_of_frame(&json!([]), "alpha.test").len(), 1);
    }

    #[test]
    fn ids_of_the_own_domain_are_bare_and_nulls_are_absent() {
        check(
            json!({"info": {"topic": "usrB@beta.test", "from": "usrA@alpha.test", "what": "kp", "seq": null}}),
            &[
                "info.from is usrA@alpha.test, an id of the own domain that is not bare",
                "info.seq is null",
            ],
        );
    }
}
