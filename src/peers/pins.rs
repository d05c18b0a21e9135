//! Peers' identities in the store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use freehold_directory::{AnchorLevel, Hold, Life, Pin, PinError, Pins};
use freehold_proto::{DomainName, Timestamp};
use freehold_store::{
    Batch, Outcome, StoreError, Tables,
    tables::{peers::put_pin, rows::PinRow},
};

use crate::peers::lives::{Lives, end_parts};

/// Attempts to end what a domain follows while that changes.
const ATTEMPTS: usize = 20;

/// Pins as rows, and which lives domains are in.
#[derive(Debug)]
pub struct StoredPins {
    tables: Tables,
    lives: Arc<Lives>,
}

impl StoredPins {
    /// Pins in these tables; another life of a domain is told to `lives`.
    #[must_use]
    pub fn new(tables: Tables, lives: Arc<Lives>) -> Self {
        Self { tables, lives }
    }
}

fn fault(fault: StoreError) -> PinError {
    PinError(fault.to_string())
}

#[async_trait]
impl Pins for StoredPins {
    async fn load(&self, domain: &DomainName) -> Result<Option<Pin>, PinError> {
        let wanted = domain.clone();
        let row = self
            .tables
            .read(move |tables| tables.pin(&wanted))
            .await
            .map_err(fault)?;
        let Some(row) = row else {
            return Ok(None);
        };
        read(domain.clone(), row).map(Some)
    }

    async fn save(&self, pin: Pin) -> Result<(), PinError> {
        let row = PinRow {
            record: pin.record.into(),
            root_fingerprint: Bytes::copy_from_slice(&pin.root_fingerprint),
            anchor: pin.anchor.number().into(),
            pinned: pin.pinned_at.as_millis(),
            incarnation: pin.life.incarnation,
            began: pin.life.began.as_millis(),
            hold_fingerprint: pin
                .hold
                .map_or(Bytes::new(), |it| Bytes::copy_from_slice(&it.fingerprint)),
            hold_since: pin.hold.map_or(0, |it| it.since.as_millis()),
            hold_seen: pin.hold.map_or(0, |it| it.seen.as_millis()),
        };
        let (domain, life) = (pin.domain.clone(), pin.life.incarnation);
        let prepare = move |tables: &Tables| {
            let mut batch = Batch::new();
            let before = tables.pin(&domain)?.map_or(0, |it| it.incarnation.max(1));
            if before > 0 && before < life {
                end_parts(tables, &mut batch, &domain)?;
            }
            put_pin(&mut batch, &domain, &row);
            Ok(batch)
        };
        // Somebody may be about to follow one more log, or one less: then it is looked at again.
        let mut applied = false;
        for _ in 0..ATTEMPTS {
            let batch = self.tables.read(prepare.clone()).await.map_err(fault)?;
            let outcome = self.tables.commit(batch).await.map_err(fault)?;
            applied = outcome == Outcome::Applied;
            if applied {
                break;
            }
        }
        if !applied {
            return Err(PinError("what it follows changes all the time".to_owned()));
        }
        self.lives.note(&pin.domain, pin.life);
        Ok(())
    }

    async fn list(&self, after: Option<&DomainName>, limit: usize) -> Result<Vec<Pin>, PinError> {
        let after = after.cloned();
        let rows = self
            .tables
            .read(move |tables| tables.pins(after.as_ref(), limit))
            .await
            .map_err(fault)?;
        rows.into_iter()
            .map(|(peer, row)| read(peer, row))
            .collect()
    }
}

fn read(domain: DomainName, row: PinRow) -> Result<Pin, PinError> {
    let damaged = || PinError(format!("the pin of {domain} is damaged"));
    let hold = match row.hold_fingerprint.is_empty() {
        true => None,
        false => Some(Hold {
            fingerprint: (&*row.hold_fingerprint).try_into().map_err(|_| damaged())?,
            since: Timestamp::from_stored(row.hold_since),
            seen: Timestamp::from_stored(row.hold_seen),
        }),
    };
    Ok(Pin {
        record: row.record.to_vec(),
        root_fingerprint: (&*row.root_fingerprint).try_into().map_err(|_| damaged())?,
        anchor: u8::try_from(row.anchor)
            .ok()
            .and_then(AnchorLevel::from_number)
            .ok_or_else(damaged)?,
        pinned_at: Timestamp::from_millis(row.pinned).map_err(|_| damaged())?,
        life: Life {
            incarnation: row.incarnation.max(1),
            began: Timestamp::from_stored(row.began),
        },
        hold,
        domain,
    })
}
