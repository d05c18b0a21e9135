//! A call between two people: who rings whom, who has accepted, how it ends (fact sheet, section 5.4).
//! The sound and the picture never come here; only the words with which two clients agree on a way.
//!
//! [`Call::hear`] decides; the rest of the file acts on it. `call_abroad` has the way to another domain.

use std::time::Duration;

use freehold_proto::{Destination, MessageId, Timestamp, UserId, wire};
use freehold_store::{
    Batch,
    tables::{
        messages::put_message,
        rows::{EnvelopeRow, MessageRow},
    },
};
use tokio::time::Instant;

use super::{
    actor::{Actor, Effect},
    asked::Asked,
    message::{self, Draft},
    one_to_one::Person,
    standing::Standing,
};
use crate::edge::{
    frames::{Info, Raw, ServerFrame},
    ids::Head,
    reply::{self, Status},
    session::Session,
};

/// Head key that makes a message a call, and says how it stands.
const WEBRTC: &str = "webrtc";
/// Head key with the length of a call, in milliseconds.
const DURATION: &str = "webrtc-duration";

/// What a client says about a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CallEvent {
    /// The other side's client rings.
    Ringing,
    /// Somebody took the call.
    Accept,
    /// The caller's description of what it can do.
    Offer,
    /// The callee's.
    Answer,
    /// A way to reach one side.
    IceCandidate,
    /// The end.
    HangUp,
}

impl CallEvent {
    /// Reads what clients say; `None` for what they never say.
    #[must_use]
    pub fn from_client(text: &str) -> Option<Self> {
        Some(match text {
            "ringing" => Self::Ringing,
            "accept" => Self::Accept,
            "offer" => Self::Offer,
            "answer" => Self::Answer,
            "ice-candidate" => Self::IceCandidate,
            "hang-up" => Self::HangUp,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ringing => "ringing",
            Self::Accept => "accept",
            Self::Offer => "offer",
            Self::Answer => "answer",
            Self::IceCandidate => "ice-candidate",
            Self::HangUp => "hang-up",
        }
    }

    /// Whether a client may say it without having the topic open.
    #[must_use]
    pub fn works_from_afar(self) -> bool {
        matches!(self, Self::Ringing | Self::Accept | Self::HangUp)
    }
}

/// One end of a call: a client connection of ours, or the other domain.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    Here(Session),
    There,
}

/// A call that rings or goes on. `S` is one of its ends.
#[derive(Clone, Debug)]
pub(super) struct Call<S = End> {
    /// Position of the message that began it.
    pub(super) seq: u32,
    pub(super) caller: UserId,
    pub(super) caller_session: S,
    /// The connection that took the call, and when.
    taken: Option<(S, Timestamp)>,
}

/// What follows from what a client said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reaction<S> {
    /// It is not theirs to say, or not now.
    Nothing,
    /// The other party's connection is to hear it.
    Relay(S),
    /// The call goes on from here.
    Accepted,
    /// The call ended, in this way, after so long.
    Ended(&'static str, Duration),
}

impl<S: Clone + PartialEq> Call<S> {
    pub(super) fn hear(
        &mut self,
        from: &UserId,
        session: &S,
        event: CallEvent,
        now: Timestamp,
    ) -> Reaction<S> {
        let is_caller = *from == self.caller;
        match event {
            CallEvent::Ringing if !is_caller && self.taken.is_none() => {
                Reaction::Relay(self.caller_session.clone())
            }
            CallEvent::Accept if !is_caller && self.taken.is_none() => {
                self.taken = Some((session.clone(), now));
                Reaction::Accepted
            }
            CallEvent::Offer | CallEvent::Answer | CallEvent::IceCandidate => {
                self.relay(session, event)
            }
            CallEvent::HangUp => self.hang_up(is_caller, session, now),
            _ => Reaction::Nothing,
        }
    }

    /// Only the two connections that talk hear each other; the caller offers, the callee answers.
    fn relay(&self, session: &S, event: CallEvent) -> Reaction<S> {
        let Some((taken, _)) = &self.taken else {
            return Reaction::Nothing;
        };
        match event {
            CallEvent::Answer if *session == self.caller_session => Reaction::Nothing,
            CallEvent::Offer if *session == *taken => Reaction::Nothing,
            _ if *session == self.caller_session => Reaction::Relay(taken.clone()),
            _ if *session == *taken => Reaction::Relay(self.caller_session.clone()),
            _ => Reaction::Nothing,
        }
    }

    fn hang_up(&self, is_caller: bool, session: &S, now: Timestamp) -> Reaction<S> {
        match &self.taken {
            Some((taken, since)) if *session == *taken || *session == self.caller_session => {
                Reaction::Ended("finished", now.since(*since))
            }
            None if is_caller && *session == self.caller_session => {
                Reaction::Ended("missed", Duration::ZERO)
            }
            None if !is_caller => Reaction::Ended("declined", Duration::ZERO),
            _ => Reaction::Nothing,
        }
    }

    /// A connection is gone: how the call ends with it.
    fn lose(&self, session: &S, now: Timestamp) -> Reaction<S> {
        match &self.taken {
            Some((taken, since)) if *session == *taken || *session == self.caller_session => {
                Reaction::Ended("disconnected", now.since(*since))
            }
            None if *session == self.caller_session => {
                Reaction::Ended("disconnected", Duration::ZERO)
            }
            _ => Reaction::Nothing,
        }
    }
}

/// A call, and what its messages are made from.
#[derive(Debug)]
pub(super) struct Ringing {
    pub(super) call: Call,
    /// The message that began it.
    pub(super) id: MessageId,
    head: Head,
    content: Raw,
    /// When nobody has taken it until then, it was missed.
    pub(super) until: Option<Instant>,
}

impl Ringing {
    /// A call that comes from another domain, which says how it stands.
    pub(super) fn from_abroad(
        (id, seq): (MessageId, u32),
        caller: UserId,
        patience: Duration,
    ) -> Self {
        Self {
            call: Call {
                seq,
                caller,
                caller_session: End::There,
                taken: None,
            },
            id,
            head: Head::new(),
            content: Raw::default(),
            until: Some(Instant::now() + patience),
        }
    }

    /// Position of the message that began it.
    pub(super) fn began_at(&self) -> u32 {
        self.call.seq
    }
}

/// True for a draft that begins a call.
pub(super) fn begins(draft: &Draft) -> bool {
    draft.head.contains_key(WEBRTC)
}

impl Actor {
    /// Whether somebody may begin a call here now.
    pub(super) fn may_call(&self, draft: &Draft) -> Result<(), Status> {
        let Some(pair) = self.topic.pair() else {
            return Err(reply::PERMISSION_DENIED);
        };
        // How a call stands is for the server to say; clients only begin one.
        if draft.head.get(WEBRTC).and_then(|it| it.as_str()) != Some("started") {
            return Err(reply::MALFORMED);
        }
        if self.server.rules.calls.is_none() {
            return Err(reply::NOT_IMPLEMENTED);
        }
        // Before somebody elsewhere has agreed to talk nobody would hear it ring.
        let agrees = |it: &Person| it.standing.as_ref().is_some_and(Standing::consents);
        if pair.foreigner().is_some_and(|it| !agrees(it)) {
            return Err(reply::PERMISSION_DENIED);
        }
        if self.call.is_some() {
            return Err(reply::BUSY);
        }
        Ok(())
    }

    /// A call begins with the message at `seq`.
    pub(super) fn ring(&mut self, asked: &Asked, (id, seq): (MessageId, u32), draft: &Draft) {
        let patience = self.server.rules.calls.as_ref().map(|it| it.timeout);
        self.call = Some(Ringing {
            call: Call {
                seq,
                caller: asked.user.clone(),
                caller_session: End::Here(asked.session.clone()),
                taken: None,
            },
            id,
            head: draft.head.clone(),
            content: draft.content.clone(),
            until: patience.map(|it| Instant::now() + it),
        });
    }

    /// The message that began a call rings at the other one's clients that do not have the topic open
    /// too. COMPAT web app: it rings for `{data}` only.
    pub(super) fn ring_elsewhere(&self, seq: u32, author: &UserId, data: &ServerFrame) {
        if let Some(pair) = self.topic.pair().filter(|_| self.rings_at(seq)) {
            self.tell_elsewhere(&pair.other(author).id, data, None);
        }
    }

    /// Whether the message at `seq` began the call that there is.
    pub(super) fn rings_at(&self, seq: u32) -> bool {
        self.call.as_ref().is_some_and(|it| it.call.seq == seq)
    }

    /// Until when the call rings that the message at `seq` began.
    pub(super) fn rings_until(&self, seq: u32) -> Option<Instant> {
        self.call.as_ref().filter(|it| it.call.seq == seq)?.until
    }

    /// A client says something about the call.
    pub(super) fn call_event(
        &mut self,
        asked: &Asked,
        seq: u32,
        event: CallEvent,
        payload: Option<Raw>,
    ) {
        let now = self.now();
        let allowed = event.works_from_afar() || self.is_attached(&asked.session);
        let member = self.topic.active(&asked.user).is_some();
        let Some(ringing) = self.call.as_mut().filter(|it| it.call.seq == seq) else {
            return;
        };
        if !allowed || !member {
            return;
        }
        let end = End::Here(asked.session.clone());
        match ringing.call.hear(&asked.user, &end, event, now) {
            Reaction::Nothing => {}
            Reaction::Relay(to) => self.relay(&to, &asked.user, (seq, event), payload),
            Reaction::Accepted => {
                ringing.until = None;
                // So that its end is told here, although it may not have the topic open.
                asked.session.keep(&self.name);
                let caller = ringing.call.caller_session.clone();
                if caller != End::There {
                    self.write_state("accepted", Duration::ZERO);
                }
                self.relay(&caller, &asked.user, (seq, event), payload.clone());
                // The callee's other clients stop ringing.
                self.tell_call(&asked.user, &asked.user, (seq, event), Some(&asked.session));
            }
            Reaction::Ended(how, length) => {
                self.end_call(how, length, &asked.user, Some(&asked.session));
            }
        }
    }

    pub(super) fn relay(
        &mut self,
        to: &End,
        from: &UserId,
        (seq, event): (u32, CallEvent),
        payload: Option<Raw>,
    ) {
        let End::Here(to) = to else {
            return self.call_out(from, event, payload);
        };
        let told = self.pair().other(from).id.clone();
        let on_me = !self.is_attached(to);
        let frame = self.call_info((&told, from), (seq, event), payload, on_me);
        to.send(&frame);
    }

    fn call_info(
        &self,
        (told, from): (&UserId, &UserId),
        (seq, event): (u32, CallEvent),
        payload: Option<Raw>,
        on_me: bool,
    ) -> ServerFrame {
        let view = self.view(told);
        ServerFrame::Info(Info {
            topic: if on_me { "me".to_owned() } else { view.clone() },
            src: on_me.then_some(view),
            from: self.server.ids.shown(from),
            what: "call",
            seq,
            event: Some(event.as_str()),
            payload,
        })
    }

    /// All of a person's clients but one hear of the call.
    pub(super) fn tell_call(
        &self,
        told: &UserId,
        from: &UserId,
        event: (u32, CallEvent),
        except: Option<&Session>,
    ) {
        let inside = self.call_info((told, from), event, None, false);
        self.tell_attached(told, &inside, except);
        let on_me = self.call_info((told, from), event, None, true);
        self.tell_elsewhere(told, &on_me, except);
    }

    /// The call ended: the message says how, and everybody's clients stop.
    pub(super) fn end_call(
        &mut self,
        how: &'static str,
        length: Duration,
        from: &UserId,
        except: Option<&Session>,
    ) {
        let (ours, theirs) = match self.call.as_ref().map(|it| &it.call) {
            Some(call) => (
                self.server.ids.is_ours(&call.caller),
                self.server.ids.is_ours(from) && call.caller_session == End::There,
            ),
            None => return,
        };
        // The caller's domain says how it ended; the callee's says that it did.
        if ours {
            self.write_state(how, length);
        }
        if theirs {
            self.call_out(from, CallEvent::HangUp, None);
        }
        let Some(Ringing { call, .. }) = self.call.take() else {
            return;
        };
        let people = [
            call.caller.clone(),
            self.pair().other(&call.caller).id.clone(),
        ];
        for told in people {
            let event = (call.seq, CallEvent::HangUp);
            self.tell_call(&told, from, event, except.filter(|_| told == *from));
        }
    }

    /// Nobody took the call in time.
    pub(super) fn miss_call(&mut self) {
        self.call.take_if(|it| it.call.caller_session == End::There);
        if let Some(caller) = self.call.as_ref().map(|it| it.call.caller.clone()) {
            self.end_call("missed", Duration::ZERO, &caller, None);
        }
    }

    /// A client is gone, and with it the call that it was part of.
    pub(super) fn lose_call(&mut self, session: &Session) {
        let now = self.now();
        let Some(call) = self.call.as_ref().map(|it| &it.call) else {
            return;
        };
        let end = End::Here(session.clone());
        let user = match call.caller_session == end {
            true => call.caller.clone(),
            false => self.pair().other(&call.caller).id.clone(),
        };
        if let Reaction::Ended(how, length) = call.lose(&end, now) {
            self.end_call(how, length, &user, Some(session));
        }
    }

    /// The domain stops: whoever reads later sees that the call was cut off.
    pub(super) fn cut_call(&mut self) {
        let now = self.now();
        let Some(call) = self.call.as_ref().map(|it| &it.call) else {
            return;
        };
        let length = call.taken.as_ref().map(|(_, since)| now.since(*since));
        let other = self.pair().other(&call.caller).id.clone();
        let ours = match self.server.ids.is_ours(&call.caller) {
            true => call.caller.clone(),
            false => other,
        };
        self.end_call("disconnected", length.unwrap_or_default(), &ours, None);
    }

    /// Publishes how the call stands in place of the message that began it, in the caller's name.
    pub(super) fn write_state(&mut self, state: &str, length: Duration) {
        let Some(ringing) = &self.call else {
            return;
        };
        let mut head = ringing.head.clone();
        head.insert(WEBRTC.to_owned(), state.into());
        let millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            head.insert(DURATION.to_owned(), millis.into());
        }
        let (author, now) = (ringing.call.caller.clone(), self.now());
        let content = bytes::Bytes::copy_from_slice(ringing.content.get().as_bytes());
        let Ok(id) = message::mint(now) else {
            return tracing::error!("no random bytes for the message about a call");
        };
        let mut row = MessageRow {
            author: author.to_string(),
            message_id: bytes::Bytes::copy_from_slice(id.as_bytes()),
            issued: now.as_millis(),
            received: now.as_millis(),
            ..MessageRow::default()
        };
        if self.pair().foreigner().is_some() {
            row.envelope = self.seal_state(&author, (id, ringing.id), head, content, now);
        } else {
            let began = format!(":{}", ringing.call.seq);
            head.insert("replace".to_owned(), began.into());
            row.head = message::head_bytes(&head);
            row.content = content;
        }
        let (mut batch, mut effects) = (Batch::new(), Vec::new());
        let seq = self.topic.append(now);
        // The caller has read what is written in their name.
        self.topic.progress(&author, seq, seq);
        put_message(&mut batch, self.key(), seq, &row);
        if row.envelope.is_some() {
            let queued = self.queue_message(&mut batch, &mut effects, &author, (id, seq), &row);
            if queued.is_err() {
                return tracing::error!("how a call stands cannot be sent");
            }
        }
        effects.push(Effect::Appended {
            seq,
            row: Box::new(row),
            author,
            except: None,
        });
        self.commit(batch, effects);
    }

    /// The same for the other domain, which knows the first message by its id.
    fn seal_state(
        &self,
        author: &UserId,
        (id, began): (MessageId, MessageId),
        head: Head,
        content: bytes::Bytes,
        now: Timestamp,
    ) -> Option<EnvelopeRow> {
        let recipient = &self.pair().other(author).id;
        let reference = wire::Reference {
            key: "replace".to_owned(),
            author_domain: author.domain().to_string(),
            message_id: bytes::Bytes::copy_from_slice(began.as_bytes()),
        };
        let words = wire::payload::Kind::DirectMessage(wire::DirectMessage {
            author: author.to_string(),
            recipient: recipient.to_string(),
            head: message::head_bytes(&head),
            content,
            references: vec![reference],
            ..wire::DirectMessage::default()
        });
        let to = Destination::Domain(recipient.domain().clone());
        let sealed = self.server.signer.seal(to, id, now, words);
        sealed.ok().map(|it| message::envelope_row(&it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_767_323_045_000 + second * 1000).unwrap()
    }

    fn ann() -> UserId {
        UserId::new([1; 8], "alpha.test".parse().unwrap())
    }

    fn ben() -> UserId {
        UserId::new([2; 8], "alpha.test".parse().unwrap())
    }

    /// Ann calls with connection 1; Ben has 2 and 3.
    fn call() -> Call<u8> {
        Call {
            seq: 7,
            caller: ann(),
            caller_session: 1,
            taken: None,
        }
    }

    #[test]
    fn a_call_rings_is_taken_once_and_ends_with_its_length() {
        let mut call = call();
        let (ring, take) = (CallEvent::Ringing, CallEvent::Accept);
        assert_eq!(call.hear(&ben(), &2, ring, at(1)), Reaction::Relay(1));
        assert_eq!(call.hear(&ann(), &1, take, at(1)), Reaction::Nothing);
        assert_eq!(call.hear(&ben(), &2, take, at(2)), Reaction::Accepted);
        assert_eq!(call.hear(&ben(), &3, take, at(2)), Reaction::Nothing);
        let ended = Reaction::Ended("finished", Duration::from_secs(60));
        assert_eq!(call.hear(&ann(), &1, CallEvent::HangUp, at(62)), ended);
    }

    #[test]
    fn only_the_two_connections_that_talk_hear_each_other() {
        let mut call = call();
        let candidate = CallEvent::IceCandidate;
        assert_eq!(call.hear(&ann(), &1, candidate, at(1)), Reaction::Nothing);
        call.hear(&ben(), &2, CallEvent::Accept, at(2));
        assert_eq!(
            call.hear(&ann(), &1, CallEvent::Offer, at(3)),
            Reaction::Relay(2)
        );
        assert_eq!(
            call.hear(&ben(), &2, CallEvent::Answer, at(3)),
            Reaction::Relay(1)
        );
        assert_eq!(call.hear(&ben(), &2, candidate, at(3)), Reaction::Relay(1));
        assert_eq!(call.hear(&ben(), &3, candidate, at(3)), Reaction::Nothing);
        assert_eq!(
            call.hear(&ann(), &1, CallEvent::Answer, at(3)),
            Reaction::Nothing
        );
        assert_eq!(
            call.hear(&ben(), &3, CallEvent::HangUp, at(4)),
            Reaction::Nothing
        );
    }

    #[test]
    fn before_it_is_taken_a_call_is_missed_or_declined() {
        let none = Duration::ZERO;
        let hang_up = CallEvent::HangUp;
        let missed = Reaction::Ended("missed", none);
        assert_eq!(call().hear(&ann(), &1, hang_up, at(1)), missed);
        let declined = Reaction::Ended("declined", none);
        assert_eq!(call().hear(&ben(), &3, hang_up, at(1)), declined);
        assert_eq!(call().hear(&ann(), &9, hang_up, at(1)), Reaction::Nothing);
        let lost = Reaction::Ended("disconnected", none);
        assert_eq!(call().lose(&1, at(1)), lost);
        assert_eq!(call().lose(&2, at(1)), Reaction::Nothing);
    }
}
