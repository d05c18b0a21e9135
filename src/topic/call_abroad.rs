//! Calls between people of two domains (rules.md 24; PROTOCOL.md section 7.8). The caller's domain writes
//! and times how a call stands, in messages like all others; that somebody takes it or ends it goes
//! the same durable way; what the two clients agree on is worth nothing a minute later.

use std::time::Duration;

use freehold_federation::Verdict;
use freehold_proto::{DomainName, MessageId, UserId, wire};
use freehold_store::{
    Batch,
    tables::{
        log::put_request,
        rows::{MessageRow, RequestRow},
    },
};
use prost::Message as _;

use super::{
    actor::{Actor, Effect},
    call::{CallEvent, End, Reaction, Ringing},
    command::Decision,
    message,
};
use crate::edge::{frames::Raw, ids::Head};

/// A call that comes from elsewhere is forgotten so long after it should have been missed there.
const GRACE: Duration = Duration::from_secs(30);
/// What two clients tell each other at once, in bytes of JSON.
const PAYLOAD_MAX: usize = 64 * 1024;

impl Actor {
    /// Tells the other domain what one of our clients says about a call.
    pub(super) fn call_out(&mut self, from: &UserId, event: CallEvent, payload: Option<Raw>) {
        let Some(ringing) = &self.call else { return };
        let (id, caller) = (ringing.id, ringing.call.caller.domain().clone());
        if matches!(event, CallEvent::Accept | CallEvent::HangUp) {
            return self.call_durably(from, event, (id, &caller));
        }
        let payload = payload.map(|it| bytes::Bytes::copy_from_slice(it.get().as_bytes()));
        let payload = payload.unwrap_or_default();
        if payload.len() > PAYLOAD_MAX {
            return;
        }
        let to = self.pair().other(from).id.clone();
        let signal = wire::Signal {
            user: from.to_string(),
            peer: to.to_string(),
            what: "call".to_owned(),
            call: Some(wire::CallSignal {
                caller_domain: caller.to_string(),
                message_id: bytes::Bytes::copy_from_slice(id.as_bytes()),
                event: event.as_str().to_owned(),
                payload,
            }),
            ..wire::Signal::default()
        };
        self.server.signal(to.domain(), signal);
    }

    /// The same where it must arrive, also when the link is down for a moment.
    fn call_durably(
        &mut self,
        from: &UserId,
        event: CallEvent,
        (began, caller): (MessageId, &DomainName),
    ) {
        let (key, now) = (self.key(), self.now());
        let to = self.pair().other(from).id.clone();
        let words = wire::payload::Kind::CallEvent(wire::CallEvent {
            user: from.to_string(),
            peer: to.to_string(),
            caller_domain: caller.to_string(),
            message_id: bytes::Bytes::copy_from_slice(began.as_bytes()),
            event: event.as_str().to_owned(),
        });
        let destination = freehold_proto::Destination::Domain(to.domain().clone());
        let sealed = message::mint(now)
            .and_then(|id| Ok((id, self.server.signer.seal(destination, id, now, words)?)));
        let Ok((id, envelope)) = sealed else {
            return tracing::error!("what is said about a call cannot be signed");
        };
        let row = RequestRow {
            envelope: Some(message::envelope_row(&envelope)),
        };
        let mut batch = Batch::new();
        put_request(&mut batch, key, id.as_bytes(), &row);
        let outbox = &self.server.outbox;
        outbox.put_call(&mut batch, to.domain(), (key, from), id, now);
        self.commit(batch, vec![Effect::Wake]);
    }

    /// The other domain's client says something about a call.
    pub(super) fn called(
        &mut self,
        from: &UserId,
        began: MessageId,
        (event, payload): (CallEvent, Option<Raw>),
        decision: Option<Decision>,
    ) {
        self.hear_from_abroad(from, began, event, payload);
        if let Some(decision) = decision {
            let decided = Effect::Decided(decision, Verdict::Ok);
            self.commit(Batch::new(), vec![decided]);
        }
    }

    fn hear_from_abroad(
        &mut self,
        from: &UserId,
        began: MessageId,
        event: CallEvent,
        payload: Option<Raw>,
    ) {
        let now = self.now();
        let Some(ringing) = self.call.as_mut().filter(|it| it.id == began) else {
            return;
        };
        let seq = ringing.call.seq;
        match ringing.call.hear(from, &End::There, event, now) {
            Reaction::Nothing | Reaction::Relay(End::There) => {}
            Reaction::Relay(to) => self.relay(&to, from, (seq, event), payload),
            Reaction::Accepted => {
                ringing.until = None;
                let caller = ringing.call.caller_session.clone();
                self.write_state("accepted", Duration::ZERO);
                self.relay(&caller, from, (seq, event), payload);
            }
            Reaction::Ended(how, length) => self.end_call(how, length, from, None),
        }
    }

    /// A message of the other domain's person may begin a call, or say how one stands.
    pub(super) fn call_arrives(
        &mut self,
        author: &UserId,
        id: MessageId,
        seq: u32,
        row: &MessageRow,
    ) {
        let Some(words) = direct(row) else { return };
        let head: Head = serde_json::from_slice(&words.head).unwrap_or_default();
        let Some(state) = head.get("webrtc").and_then(|it| it.as_str()) else {
            return;
        };
        match state {
            "started" => self.rings_here(author, id, seq),
            "accepted" => {}
            _ => {
                let of = |it: &Ringing| {
                    let id = it.id.as_bytes().as_slice();
                    words.references.iter().any(|it| *it.message_id == *id)
                };
                let ended = self.call.take_if(|it| of(it) && it.call.caller == *author);
                if let Some(ended) = ended {
                    let told = self.pair().other(author).id.clone();
                    let event = (ended.call.seq, CallEvent::HangUp);
                    self.tell_call(&told, author, event, None);
                }
            }
        }
    }

    fn rings_here(&mut self, caller: &UserId, id: MessageId, seq: u32) {
        let Some(rules) = &self.server.rules.calls else {
            return;
        };
        let patience = rules.timeout + GRACE;
        let callee = self.pair().other(caller).id.clone();
        if self.call.is_some() {
            // Who is in a call declines another one.
            return self.call_durably(&callee, CallEvent::HangUp, (id, caller.domain()));
        }
        self.call = Some(Ringing::from_abroad((id, seq), caller.clone(), patience));
    }
}

fn direct(row: &MessageRow) -> Option<wire::DirectMessage> {
    let envelope = row.envelope.as_ref()?;
    match wire::Payload::decode(envelope.payload.clone()).ok()?.kind? {
        wire::payload::Kind::DirectMessage(words) => Some(words),
        _ => None,
    }
}
