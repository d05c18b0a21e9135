//! Who has devices at all. Of most people nothing need be queued: one message in a large group would take the room
//! of everybody else's notifications.

use std::collections::HashSet;

use freehold_proto::UserId;
use freehold_store::{
    StoreError,
    tables::devices::{DEVICES_MAX, following},
};
use parking_lot::Mutex;

use crate::server::Server;

/// People with devices that are remembered. When there are more, everybody counts as one of them.
const PEOPLE_MAX: usize = 1_000_000;
/// People read at once.
const PAGE: usize = 16 * DEVICES_MAX;

/// The people with devices, as far as that is known.
#[derive(Debug, Default)]
pub(super) struct Reachable(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    people: HashSet<[u8; 8]>,
    /// How far it goes.
    extent: Extent,
}

#[derive(Debug, Default, Eq, PartialEq)]
enum Extent {
    /// The store has not been read to its end.
    #[default]
    Some,
    All,
    TooMany,
}

impl Reachable {
    /// Whether somebody may have a device.
    pub(super) fn has(&self, user: &UserId) -> bool {
        let known = self.0.lock();
        known.extent != Extent::All || known.people.contains(&user.local_bytes())
    }

    /// Somebody has one.
    pub(super) fn add(&self, local: [u8; 8]) {
        let mut known = self.0.lock();
        if known.extent == Extent::TooMany {
            return;
        }
        known.people.insert(local);
        if known.people.len() > PEOPLE_MAX {
            *known = Known {
                people: HashSet::new(),
                extent: Extent::TooMany,
            };
        }
    }

    /// Somebody has none any more.
    pub(super) fn remove(&self, user: &UserId) {
        self.0.lock().people.remove(&user.local_bytes());
    }

    /// Reads who has devices.
    pub(super) async fn load(&self, server: &Server) -> Result<(), StoreError> {
        let mut first = Some([0; 8]);
        while let Some(from) = first {
            let us = server.us.clone();
            let read =
                move |tables: &freehold_store::Tables| tables.people_with_devices(&us, from, PAGE);
            let page = server.tables.read(read).await?;
            first = page.last().copied().and_then(following);
            if page.len() < PAGE {
                first = None;
            }
            page.into_iter().for_each(|local| self.add(local));
        }
        let mut known = self.0.lock();
        if known.extent == Extent::Some {
            known.extent = Extent::All;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use freehold_store::{
        Batch,
        tables::{devices::put_device, rows::DeviceRow},
    };

    use super::super::notification::{What, sample};
    use crate::stage::Stage;

    #[tokio::test]
    async fn nothing_is_queued_for_whoever_has_no_device() {
        let stage = Stage::with("[push]\nnode = \"http://127.0.0.1:9\"").await;
        let server = &stage.server;
        let push = server.push.as_ref().unwrap();
        let [ann, bob] = [1, 2].map(|number| sample(number, What::Invitation, 0).user);
        assert!(push.reaches(&bob), "nothing is known yet");
        let row = DeviceRow {
            token: "phone".to_owned(),
            seen: 1,
        };
        let mut batch = Batch::new();
        put_device(&server.tables, &mut batch, &ann, &row).unwrap();
        let _applied = server.tables.commit(batch).await.unwrap();
        push.reachable.load(server).await.unwrap();
        assert!(push.reaches(&ann) && !push.reaches(&bob));
        push.reachable.add(bob.local_bytes());
        for user in [&ann, &bob] {
            server.note_without_device(user).await.unwrap();
        }
        assert!(push.reaches(&ann) && !push.reaches(&bob));
        stage.close().await;
    }
}
