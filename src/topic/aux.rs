//! What is attached to a topic for everybody to see: pinned messages (fact sheet, section 3.3).

use freehold_proto::AccessMode;
use freehold_store::Batch;
use serde_json::Value;

use super::{
    actor::{Actor, Effect},
    asked::Asked,
    succession,
};
use crate::{
    edge::reply::{self, Reply, Status},
    merge,
};

/// Pins of one topic. COMPAT stock clients show no more.
const PINS_MAX: usize = 5;
/// All that is attached to one topic, in bytes of JSON.
const BYTES_MAX: usize = 4096;

impl Actor {
    pub(super) async fn set_aux(
        &mut self,
        asked: &Asked,
        change: &Value,
        batch: &mut Batch,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Reply> {
        if !self.is_attached(&asked.session) {
            return Err(reply::ATTACH_FIRST.into());
        }
        let rights = AccessMode::APPROVE.or(AccessMode::OWNER);
        if self.topic.mode(&asked.user).and(rights) == AccessMode::NONE {
            return Err(reply::PERMISSION_DENIED.into());
        }
        if !matches!(change, Value::Object(_)) && change.as_str() != Some("\u{2421}") {
            return Err(reply::MALFORMED.into());
        }
        let before = self.topic.aux().clone();
        let mut after = merge::into_stored(&before, change);
        if *after == *b"{}" {
            after.clear();
        }
        check(&after)?;
        let changed = after != before;
        if let Some(room) = self.topic.room() {
            let owns = room.mode(&asked.user).has(AccessMode::OWNER);
            succession::check(room, &self.server.us, &after, owns)?;
        }
        if changed && self.home_abroad().is_some() {
            self.attach_in_copy(asked, change, batch, effects).await?;
            effects.push(asked.later(self.pending(), self.now()));
            return Ok(());
        }
        if changed {
            self.topic.set_aux(after);
        }
        let status = if changed {
            reply::OK
        } else {
            reply::NOT_MODIFIED
        };
        effects.push(asked.later(status, self.now()));
        effects.extend(changed.then(|| Effect::Pinned(Some(asked.session.clone()))));
        Ok(())
    }
}

/// Clients trust the form of what they know.
pub(super) fn check(aux: &[u8]) -> Result<(), Status> {
    if aux.len() > BYTES_MAX {
        return Err(reply::TOO_LARGE);
    }
    let aux: Value = serde_json::from_slice(aux).unwrap_or_default();
    let Some(pins) = aux.get("pins") else {
        return Ok(());
    };
    let pins = pins.as_array().ok_or(reply::MALFORMED)?;
    let position = |it: &Value| {
        it.as_u64()
            .is_some_and(|it| (1..=u64::from(u32::MAX)).contains(&it))
    };
    if !pins.iter().all(position) {
        return Err(reply::MALFORMED);
    }
    if pins.len() > PINS_MAX {
        return Err(reply::POLICY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pins_are_a_few_positions() {
        let check = |aux: Value| check(aux.to_string().as_bytes());
        assert_eq!(
            check(json!({"pins": [1, 2, 3, 4, 5], "other": "x"})),
            Ok(())
        );
        assert_eq!(check(json!({"other": 1})), Ok(()));
        assert_eq!(
            check(json!({"pins": [1, 2, 3, 4, 5, 6]})),
            Err(reply::POLICY)
        );
        for pins in [
            json!("1"),
            json!([0]),
            json!([-1]),
            json!(["1"]),
            json!([1.5]),
        ] {
            assert_eq!(
                check(json!({"pins": pins})),
                Err(reply::MALFORMED),
                "{pins}"
            );
        }
        assert_eq!(
            check(json!({"other": "x".repeat(BYTES_MAX)})),
            Err(reply::TOO_LARGE)
        );
    }
}
