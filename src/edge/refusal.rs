//! What clients are told when something about an account is refused: one table. Faults that pass are
//! 5xx, because stock clients take less for a lost log-in.

use serde_json::json;

use super::reply::{self, Reply, Status};
use crate::{
    accounts::{AccountError, tags::TagFault},
    mail::MailError,
};

impl From<AccountError> for Reply {
    fn from(fault: AccountError) -> Self {
        let what = |status: Status, what: &str| Self::with(status, json!({ "what": what }));
        let state = |status: Status, state: &str| {
            Self::with(status, json!({"what": "state", "state": state}))
        };
        match fault {
            AccountError::Login(_) | AccountError::Password => what(reply::POLICY, "auth"),
            AccountError::Taken(_) => what(reply::DUPLICATE_CREDENTIAL, "auth"),
            AccountError::Wrong => reply::AUTH_FAILED.into(),
            AccountError::TooOften => what(reply::UNAVAILABLE, "limit"),
            AccountError::Busy => reply::UNAVAILABLE.into(),
            AccountError::Closed => what(reply::PERMISSION_DENIED, "registration"),
            AccountError::Suspended => state(reply::PERMISSION_DENIED, "susp"),
            AccountError::Pending => state(reply::AWAITS_APPROVAL, "pending"),
            AccountError::NotFound => reply::USER_NOT_FOUND.into(),
            AccountError::NotAllowed => reply::PERMISSION_DENIED.into(),
            AccountError::Credential => what(reply::MALFORMED, "cred"),
            AccountError::Unsupported => what(reply::NOT_IMPLEMENTED, "cred"),
            AccountError::CredentialTaken => what(reply::DUPLICATE_CREDENTIAL, "cred"),
            AccountError::CredentialRequired(methods) => {
                Self::with(reply::POLICY, json!({ "creds": methods }))
            }
            AccountError::CredentialsTooMany => what(reply::POLICY, "cred"),
            AccountError::Code => reply::INVALID_RESPONSE.into(),
            AccountError::Tags(fault) => what(of_tags(fault), "tags"),
            AccountError::NoService => reply::UNKNOWN_SCHEME.into(),
            // It may answer the next time.
            AccountError::Service(fault) => {
                tracing::warn!(%fault, "a log-in cannot be judged");
                reply::UNAVAILABLE.into()
            }
            AccountError::Mail(MailError::Full) => reply::UNAVAILABLE.into(),
            AccountError::Store(fault) => fault.into(),
            AccountError::Mail(_) | AccountError::Internal(_) => {
                tracing::error!(%fault, "an account request failed");
                reply::INTERNAL.into()
            }
        }
    }
}

fn of_tags(fault: TagFault) -> Status {
    match fault {
        TagFault::Malformed | TagFault::Taken => reply::MALFORMED,
        TagFault::TooMany => reply::POLICY,
        TagFault::Reserved => reply::PERMISSION_DENIED,
    }
}
