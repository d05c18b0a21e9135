//! What plugins are told of accounts, once it is durable (decisions/0031).

use freehold_config::Change;
use freehold_proto::{UserId, pbx};
use freehold_store::tables::rows::AccountRow;

use super::{access::State, tags};
use crate::{
    plugins::{Event, crud},
    server::Server,
};

impl Server {
    /// Tells plugins what became of an account. One that waits for approval is not there yet.
    pub(crate) fn tell_plugins_account(&self, change: Change, user: &UserId, row: &AccountRow) {
        if self.plugins.is_empty() || State::of(row) == State::Pending {
            return;
        }
        let gone = change == Change::Delete;
        let event = pbx::AccountEvent {
            action: crud(change).into(),
            user_id: self.ids.shown(user),
            default_acs: (!gone).then(|| pbx::DefaultAcsMode {
                auth: row.access_auth.clone(),
                anon: row.access_anon.clone(),
            }),
            public: if gone {
                Default::default()
            } else {
                row.public.clone()
            },
            tags: if gone {
                Vec::new()
            } else {
                tags::of_account(row)
            },
        };
        self.plugins.tell(&Event::Account(event));
    }
}
