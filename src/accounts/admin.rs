//! What administrators do to accounts and for others, and the trail of it: durable rows, and a line
//! each in the log under the target `audit`.

use std::sync::atomic::{AtomicU32, Ordering};

use freehold_config::Change;
use freehold_proto::UserId;
use freehold_store::{
    Batch,
    tables::{admin::put_audit, rows::AuditRow},
};

use super::{AccountError, Level, access::State, put_changed};
use crate::server::Server;

/// How the trail names whoever uses the command line.
pub const OPERATOR: &str = "operator";
/// Longest text of one entry, in characters.
const WHAT_MAX: usize = 200;

impl Server {
    /// Adds an entry of the audit trail to a batch, and to the log.
    pub(crate) fn audit(
        &self,
        batch: &mut Batch,
        by: &str,
        about: Option<&UserId>,
        what: &str,
    ) -> Result<(), AccountError> {
        let row = AuditRow {
            at: self.clock.now().as_millis(),
            by: by.to_owned(),
            about: about.map(ToString::to_string).unwrap_or_default(),
            what: what.chars().take(WHAT_MAX).collect(),
        };
        tracing::info!(target: "audit", by = row.by, about = row.about, what = row.what, "an administrator acts");
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        put_audit(batch, &row, number, freehold_keys::random()?);
        Ok(())
    }

    /// Notes durably what an administrator is about to do for somebody else.
    pub(crate) async fn audit_now(
        &self,
        by: &UserId,
        about: &UserId,
        what: &str,
    ) -> Result<(), AccountError> {
        let mut batch = Batch::new();
        self.audit(&mut batch, &by.to_string(), Some(about), what)?;
        self.commit_or(batch, AccountError::Busy).await
    }

    /// Takes an account out of use, or back; false when it was so already.
    pub(crate) async fn set_state(
        &self,
        by: &str,
        user: &UserId,
        state: State,
    ) -> Result<bool, AccountError> {
        let _turn = self.account_turn(user).await;
        let before = self.account(user).await?;
        if State::of(&before) == state {
            return Ok(false);
        }
        let mut after = before.clone();
        after.state = state.to_number();
        after.state_at = self.clock.now().as_millis();
        let mut batch = Batch::new();
        put_changed(&mut batch, user, &before, &after);
        let what = format!("state {}", state.as_str());
        self.audit(&mut batch, by, Some(user), &what)?;
        self.commit_or(batch, AccountError::Busy).await?;
        if state != State::Ok {
            self.sessions.evict(user, None, self.clock.now());
        }
        if State::of(&before) == State::Pending {
            self.tell_plugins_account(Change::Create, user, &after);
        }
        Ok(true)
    }

    /// Gives an account authority, or takes it; false when it was so already. Log-ins with another
    /// authority end.
    pub(crate) async fn set_level(
        &self,
        by: &str,
        user: &UserId,
        level: Level,
    ) -> Result<bool, AccountError> {
        let _turn = self.account_turn(user).await;
        let before = self.account(user).await?;
        if super::access::level_of(&before) == level {
            return Ok(false);
        }
        let mut after = before.clone();
        after.level = level.to_number().into();
        after.generation = before.generation.wrapping_add(1);
        after.spared = bytes::Bytes::new();
        let mut batch = Batch::new();
        put_changed(&mut batch, user, &before, &after);
        let what = format!("level {}", level.as_str());
        self.audit(&mut batch, by, Some(user), &what)?;
        self.commit_or(batch, AccountError::Busy).await?;
        self.sessions.evict(user, None, self.clock.now());
        Ok(true)
    }
}
