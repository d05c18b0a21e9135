//! A group whose home is a scripted peer: its log, true or not.

use bytes::Bytes;
use freehold_proto::{Envelope, GroupId, Placed, Position, UserId, wire, wire::payload::Kind};
use serde_json::{Value, json};
use wire::{read_group_request::What as Asked, read_group_response::What as Shown};

use super::{ScriptedPeer, broken, now};
use crate::Result;

/// A group, and where its log has got to.
#[derive(Clone, Debug)]
pub struct HomedGroup {
    /// Its id.
    pub id: GroupId,
    record: (Bytes, Bytes),
    index: u64,
    order: u32,
    hash: [u8; 32],
    /// Members beside one of its home's people and whoever it is shown to.
    pub others: Vec<UserId>,
    /// How it stands, once it is shown.
    pub state: wire::GroupState,
}

impl ScriptedPeer {
    /// Makes a group with an empty log.
    pub fn founds(&self) -> Result<HomedGroup> {
        let founded = self.this.ring.signer().found_group();
        let (record, signature) = founded.map_err(|error| broken("found a group")(&error))?;
        Ok(HomedGroup {
            id: GroupId::of_record(&record),
            record: (record.into(), Bytes::copy_from_slice(&signature)),
            index: 0,
            order: 0,
            hash: [0; 32],
            others: Vec::new(),
            state: wire::GroupState::default(),
        })
    }

    /// Asks somebody of another domain into a group.
    pub fn invites(&self, group: &HomedGroup, invitee: &UserId) -> Result<wire::Envelope> {
        let (record, signature) = group.record.clone();
        let invitation = wire::GroupInvitation {
            record,
            signature,
            invitee: invitee.to_string(),
            inviter: self.person(1).to_string(),
            given: MODE.to_owned(),
            given_version: 1,
            title: "Scripted".to_owned(),
            ..wire::GroupInvitation::default()
        };
        self.seal(invitee.domain(), Kind::GroupInvitation(invitation))
    }

    /// Begins the log with an entry that changes nothing, and shows whoever asks that one of our people
    /// and `member` are in the group.
    pub fn shows(&self, group: &mut HomedGroup, member: &UserId) -> Result<()> {
        let change = Kind::GroupChange(wire::GroupChange::default());
        let envelope = self.seal_for_group(group.id, change)?;
        let first = self.places(group, envelope, false);
        let (record, signature) = group.record.clone();
        let stands = |user: &UserId| wire::Member {
            user: user.to_string(),
            want: MODE.to_owned(),
            want_version: 1,
            given: MODE.to_owned(),
            given_version: 1,
            since_ms: now().as_millis(),
            public: json!({"fn": "somebody"}).to_string().into(),
            public_changed_ms: 1,
            ..wire::Member::default()
        };
        let state = wire::GroupState {
            succession: Vec::new(),
            charter: None,
            record,
            signature,
            head: first.placed,
            description: Some(wire::GroupDescription {
                public: json!({"fn": "Scripted"}).to_string().into(),
                aux: json!({ "fh-successors": *self.this.successors.lock() })
                    .to_string()
                    .into(),
                access_auth: "N".to_owned(),
                access_anon: "N".to_owned(),
                updated_ms: now().as_millis(),
                created_ms: now().as_millis(),
                ..wire::GroupDescription::default()
            }),
            members: [&self.person(1), member]
                .into_iter()
                .chain(&group.others)
                .map(stands)
                .collect(),
            more: false,
            readers: 0,
        };
        group.state = state.clone();
        *self.this.shows.lock() = Box::new(move |asked| wire::ReadGroupResponse {
            what: Some(match asked.what {
                Some(Asked::State(_)) => Shown::State(state.clone()),
                _ => Shown::Page(wire::LogPage::default()),
            }),
        });
        Ok(())
    }

    /// A message of one of our people for a group.
    pub fn says(&self, group: &HomedGroup, text: &str) -> Result<wire::Envelope> {
        let message = wire::GroupMessage {
            author: self.person(1).to_string(),
            content: Value::from(text).to_string().into(),
            known_index: group.index,
            ..wire::GroupMessage::default()
        };
        self.seal_for_group(group.id, Kind::GroupMessage(message))
    }

    /// Says that we have taken over a group, as only we agree.
    pub fn claims(&self, group: &HomedGroup) -> Result<wire::Envelope> {
        let home = self.signed_by().domain().to_string();
        let consent = wire::GroupConsent {
            home: home.clone(),
            epoch: TAKEOVER,
            index: group.index,
            hash: Bytes::copy_from_slice(&group.hash),
            last_epoch: 1,
        };
        let consent = self.seal_for_group(group.id, Kind::GroupConsent(consent))?;
        let change = wire::GroupChange {
            succession: Some(wire::GroupSuccession {
                home,
                epoch: TAKEOVER,
                consents: vec![consent.clone(), consent.clone(), consent],
            }),
            ..wire::GroupChange::default()
        };
        self.seal_for_group(group.id, Kind::GroupChange(change))
    }

    /// Gives an envelope the next place of the log.
    pub fn places(
        &self,
        group: &mut HomedGroup,
        envelope: wire::Envelope,
        is_message: bool,
    ) -> wire::Item {
        let position = group.next(&self.signed_by(), &envelope, is_message);
        group.index = position.index;
        group.order = position.order;
        let placed = self.signed_by().place(position);
        group.hash = placed.hash();
        item(placed, envelope)
    }

    /// Gives an envelope the next place and changes what is signed of it; the log stays as it is.
    pub fn misplaces(
        &self,
        group: &HomedGroup,
        envelope: wire::Envelope,
        change: impl FnOnce(&mut Position),
    ) -> wire::Item {
        let mut position = group.next(&self.signed_by(), &envelope, true);
        change(&mut position);
        item(self.signed_by().place(position), envelope)
    }

    fn signed_by(&self) -> freehold_keys::Signer {
        self.this.ring.signer()
    }
}

/// An entry as it travels; where in the stream is for the sender to say.
fn item(placed: Placed, envelope: wire::Envelope) -> wire::Item {
    wire::Item {
        position: 0,
        envelope: Some(envelope),
        placed: Some(placed.into()),
    }
}

impl HomedGroup {
    /// How many entries its log has.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The hash of the last one's position.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    fn next(
        &self,
        home: &freehold_keys::Signer,
        envelope: &wire::Envelope,
        is_message: bool,
    ) -> Position {
        let header = Envelope::try_from(envelope.clone());
        Position {
            home: home.domain().clone(),
            key_id: home.key_id(),
            group: self.id,
            feed: false,
            epoch: 1,
            index: self.index + 1,
            order: self.order + u32::from(is_message),
            placed_at: now(),
            previous: self.hash,
            envelope: header.map(|it| it.header_hash()).unwrap_or_default(),
        }
    }
}

/// The epoch of the first home that takes over.
pub const TAKEOVER: u64 = 1 << 32;
/// Whom a scripted home names to follow it: one of them may be scripted too.
pub(crate) const SUCCESSORS: [&str; 3] = ["author.test", "third.test", "fourth.test"];
/// What members may do.
const MODE: &str = "JRWPS";
