//! What becomes of a domain from look-up to look-up: met, met again, or started anew with other keys.

use std::sync::Arc;

use freehold_keys::{RecordFault, VerifiedRecord};
use freehold_proto::DomainName;

use super::{Directory, memory::Known};
use crate::{
    AnchorLevel, Hold, Life, Pin, PinError, ResolveError,
    anchor::{self, Reset, Voices, judge_reset},
};

impl Directory {
    pub(super) async fn look_up(
        &self,
        domain: &DomainName,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.alarms.begin(domain);
        match self.known(domain).await? {
            Some(known) => self.look_again(domain, &known).await,
            None => self.meet(domain).await,
        }
    }

    /// A domain never met, or forgotten.
    async fn meet(&self, domain: &DomainName) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let before = self.pins.load(domain).await?;
        let anchor = self.first_anchor(domain, before.as_ref()).await?;
        let record = match anchor {
            Some(anchor) => self.fetch(domain, Some(&anchor.fingerprint)).await?,
            None => self.fetch(domain, None).await?,
        };
        let now = self.clock.now();
        let life = before.map_or(Life::first(now), |it| {
            it.life.or_next(record.has_root(&it.root_fingerprint), now)
        });
        let level = anchor.map_or(AnchorLevel::FirstUse, |it| it.level);
        self.keep(domain, record, level, life).await
    }

    /// A domain met before: a newer record under the same root, or one that follows from it.
    async fn look_again(
        &self,
        domain: &DomainName,
        known: &Known,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        let root = known.record.root_fingerprint();
        let fetched = self.fetch(domain, Some(&root)).await;
        let fetched = fetched.and_then(|record| {
            record.may_follow(&known.record)?;
            Ok(record)
        });
        let agrees = |it: &[u8; 32]| {
            known.record.has_root(it) || fetched.as_ref().is_ok_and(|record| record.has_root(it))
        };
        let mut voices = Voices::default();
        let heard = self.hear(domain, known.level, &mut voices, agrees).await;
        let fetched = match (fetched, heard) {
            (Ok(record), Ok(level)) => Ok((record, level)),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        match fetched {
            Ok((record, level)) => self.keep(domain, record, level, known.life).await,
            Err(error) => {
                if let ResolveError::Record(fault) = &error {
                    self.alarms.raise(domain, &fault.to_string());
                }
                match may_be_a_reset(&error) {
                    true => self.consider_reset(domain, known, voices, error).await,
                    false => Err(error),
                }
            }
        }
    }

    /// Keeps a record that was found good.
    async fn keep(
        &self,
        domain: &DomainName,
        record: VerifiedRecord,
        level: AnchorLevel,
        life: Life,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        self.pins
            .save(Pin {
                domain: domain.clone(),
                record: record.to_bytes(),
                root_fingerprint: record.root_fingerprint(),
                anchor: level,
                pinned_at: self.clock.now(),
                life,
                hold: None,
            })
            .await?;
        let serial = record.record().serial;
        tracing::info!(peer = %domain, serial, anchor = %level, life = life.incarnation, "identity record pinned");
        let record = Arc::new(record);
        let known = Known {
            record: Arc::clone(&record),
            level,
            life,
            hold: None,
        };
        self.known.put(domain, known);
        self.alarms.settle(domain);
        Ok(record)
    }

    /// What becomes of a domain whose keys, as it seems, are all new. `error` is why it is not simply
    /// believed.
    async fn consider_reset(
        &self,
        domain: &DomainName,
        known: &Known,
        mut voices: Voices,
        error: ResolveError,
    ) -> Result<Arc<VerifiedRecord>, ResolveError> {
        if voices.txt.is_none() || known.level == AnchorLevel::Admin {
            return Err(error);
        }
        voices.well_known = self.well_known(domain).await.ok();
        match judge_reset(known.level, known.hold, &voices, self.clock.now()) {
            Reset::No => {
                // Whoever wants to start anew must not be contradicted meanwhile. Silence is not that.
                if known
                    .hold
                    .is_some_and(|it| voices.contradict(&it.fingerprint))
                {
                    self.hold(domain, known, None).await?;
                }
                Err(error)
            }
            Reset::Hold(hold) => {
                self.hold(domain, known, Some(hold)).await?;
                let until = hold.since.plus(anchor::HOLD);
                Err(ResolveError::OnHold { until })
            }
            Reset::Accept(root) => {
                let record = self.fetch(domain, Some(&root)).await?;
                let strongest = voices.anchors().first().map(|it| it.level);
                let level = strongest.unwrap_or(AnchorLevel::Dns);
                tracing::warn!(peer = %domain, "a peer has started anew with other keys, as DNS and its web server have said for a week: whoever it spoke for before is nobody now");
                let life = known.life.or_next(false, self.clock.now());
                self.keep(domain, record, level, life).await
            }
        }
    }

    async fn hold(
        &self,
        domain: &DomainName,
        known: &Known,
        hold: Option<Hold>,
    ) -> Result<(), PinError> {
        if known.hold == hold {
            return Ok(());
        }
        if let Some(mut pin) = self.pins.load(domain).await? {
            pin.hold = hold;
            self.pins.save(pin).await?;
        }
        let known = Known {
            record: Arc::clone(&known.record),
            hold,
            ..*known
        };
        self.known.put(domain, known);
        let Some(hold) = hold else {
            return Ok(());
        };
        let until = hold.since.plus(anchor::HOLD);
        self.alarms.raise(
            domain,
            &format!("all its keys are new, and DNS and its web server say so: watched until {until}; if you know better, use `freehold peer pin` or `freehold peer deny`"),
        );
        Ok(())
    }
}

/// Could the domain have lost all its keys, so that others stand where they stood?
fn may_be_a_reset(error: &ResolveError) -> bool {
    matches!(
        error,
        ResolveError::AnchorsDisagree { .. } | ResolveError::Record(RecordFault::OtherRoot { .. })
    )
}
