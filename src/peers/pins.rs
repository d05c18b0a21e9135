//! Peers' identities in the store.

use async_trait::async_trait;
use bytes::Bytes;
use freehold_directory::{AnchorLevel, Pin, PinError, Pins};
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
        let damaged = || PinError(format!("the pin of {domain} is damaged"));
        Ok(Some(Pin {
            domain: domain.clone(),
            record: row.record.to_vec(),
            root_fingerprint: (&*row.root_fingerprint).try_into().map_err(|_| damaged())?,
            anchor: u8::try_from(row.anchor)
                .ok()
                .and_then(AnchorLevel::from_number)
                .ok_or_else(damaged)?,
            pinned_at: Timestamp::from_millis(row.pinned).map_err(|_| damaged())?,
        }))
    }

    async fn save(&self, pin: Pin) -> Result<(), PinError> {
        let row = PinRow {
            record: pin.record.into(),
            root_fingerprint: Bytes::copy_from_slice(&pin.root_fingerprint),
            anchor: pin.anchor.number().into(),
            pinned: pin.pinned_at.as_millis(),
        };
        let mut batch = Batch::new();
        put_pin(&mut batch, &pin.domain, &row);
        self.0.commit(batch).await.map(drop).map_err(fault)
    }
}
