//! The sessions of long polling, each under its name.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use freehold_federation::Strangers;
use freehold_keys::random;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::error;

use super::session::{self, Handle};
use crate::{
    accounts::attempts::Origin,
    edge::reply::{self, Reply},
    server::Server,
};

/// Sessions at once.
const SESSIONS_MAX: usize = 10_000;
/// Sessions from one prefix of addresses.
const SESSIONS_PER_PREFIX_MAX: usize = 256;

/// All sessions. Whoever knows the name of one may speak and listen in it.
#[derive(Debug)]
pub(super) struct Polls {
    pub(super) server: Arc<Server>,
    sessions: Mutex<HashMap<String, Handle>>,
    places: Arc<Semaphore>,
    crowds: Strangers,
}

impl Polls {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            server,
            sessions: Mutex::default(),
            places: Arc::new(Semaphore::new(SESSIONS_MAX)),
            crowds: Strangers::new(SESSIONS_MAX, SESSIONS_PER_PREFIX_MAX),
        }
    }

    /// Opens a session for a client at this address, if that is known; gives its name.
    pub(super) fn open(self: &Arc<Self>, address: Option<IpAddr>) -> Result<String, Reply> {
        let origin = address.map(Origin::of);
        self.server.limits.session(origin)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| reply::UNAVAILABLE)?;
        let ticket = match address {
            Some(address) => Some(self.crowds.admit(address).ok_or(reply::UNAVAILABLE)?),
            None => None,
        };
        let name: [u8; 16] = random().map_err(|fault| {
            error!(%fault, "a session cannot be named");
            reply::INTERNAL
        })?;
        let name = URL_SAFE_NO_PAD.encode(name);
        let (handle, ends) = session::begin(&self.server, origin);
        self.sessions.lock().insert(name.clone(), handle);
        let (polls, own) = (Arc::clone(self), name.clone());
        self.server.tasks.spawn("long polling", async move {
            ends.await;
            polls.sessions.lock().remove(&own);
            drop((place, ticket));
        });
        Ok(name)
    }

    pub(super) fn find(&self, name: &str) -> Option<Handle> {
        self.sessions.lock().get(name).cloned()
    }
}
