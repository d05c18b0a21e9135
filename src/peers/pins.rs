//! Peers' identities in the store.

use async_trait::async_trait;
use bytes::Bytes;
use freehold_directory::{AnchorLevel, Hold, Pin, PinError, Pins};
use freehold_proto::{DomainName, Timestamp};
use freehold_store::{
    Batch, StoreError, Tables,
    tables::{peers::put_pin, rows::PinRow},
};

/// Pins as rows.
#[derive(Debug)]
pub struct StoredPins(pub Tables);

fn fault(fault: StoreError) -> PinError {
    PinError(fault.to_string())
}

#[async_trait]
impl Pins for StoredPins {
    async fn load(&self, domain: &DomainName) -> Result<Option<Pin>, PinError> {
        let wanted = domain.clone();
        let row = self
            .0
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
            incarnation: pin.incarnation,
            hold_fingerprint: pin
                .hold
                .map_or(Bytes::new(), |it| Bytes::copy_from_slice(&it.fingerprint)),
            hold_since: pin.hold.map_or(0, |it| it.since.as_millis()),
        };
        let mut batch = Batch::new();
        put_pin(&mut batch, &pin.domain, &row);
        self.0.commit(batch).await.map(drop).map_err(fault)
    }

    async fn list(&self, after: Option<&DomainName>, limit: usize) -> Result<Vec<Pin>, PinError> {
        let after = after.cloned();
        let rows = self
            .0
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
        incarnation: row.incarnation.max(1),
        hold,
        domain,
    })
}
