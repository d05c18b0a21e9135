//! Requests as messages of gRPC: what `reading` does, backwards, for those who are asked about them.
//!
//! COMPAT: what the protocol has no place for (options of `get del`, notes of a recording) is left out.

use std::collections::BTreeMap;

use bytes::Bytes;
use freehold_proto::pbx::{self, CallEvent, InfoNote, client_del::What, client_msg::Message};
use serde_json::{Map, Value};

use crate::edge::{
    requests::{
        Credential, Del, Extra, Get, GetOptions, GetQuery, Leave, Note, Pub, Range, Request, Set,
        SetDesc, SetQuery, Sub,
    },
    times,
};

/// The message for a request; none for those that carry log-ins, which go to nobody.
#[must_use]
pub(in crate::edge) fn message_for(request: &Request, extra: &Extra) -> Option<pbx::ClientMsg> {
    let message = match request {
        Request::Hi(_) | Request::Acc(_) | Request::Login(_) => return None,
        Request::Sub(sub) => Message::Sub(sub_of(sub)),
        Request::Leave(leave) => Message::Leave(leave_of(leave)),
        Request::Pub(publish) => Message::Pub(pub_of(publish)),
        Request::Get(get) => Message::Get(get_of(get)),
        Request::Set(set) => Message::Set(set_of(set)),
        Request::Del(del) => Message::Del(del_of(del)),
        Request::Note(note) => Message::Note(note_of(note)),
    };
    Some(pbx::ClientMsg {
        message: Some(message),
        extra: Some(extra_of(extra)),
    })
}

fn extra_of(extra: &Extra) -> pbx::ClientExtra {
    pbx::ClientExtra {
        attachments: extra.attachments.clone(),
        on_behalf_of: extra.obo.clone(),
        auth_level: level(&extra.authlevel).into(),
    }
}

/// An authority as clients name it.
#[must_use]
pub(in crate::edge) fn level(text: &str) -> pbx::AuthLevel {
    match text {
        "anon" => pbx::AuthLevel::Anon,
        "auth" => pbx::AuthLevel::Auth,
        "root" => pbx::AuthLevel::Root,
        _ => pbx::AuthLevel::None,
    }
}

fn sub_of(sub: &Sub) -> pbx::ClientSub {
    pbx::ClientSub {
        id: text(sub.id.as_ref()),
        topic: sub.topic.clone(),
        set_query: sub.set.as_ref().map(changes_of),
        get_query: sub.get.as_ref().map(query_of),
    }
}

fn leave_of(leave: &Leave) -> pbx::ClientLeave {
    pbx::ClientLeave {
        id: text(leave.id.as_ref()),
        topic: leave.topic.clone(),
        unsub: leave.unsub,
    }
}

fn pub_of(publish: &Pub) -> pbx::ClientPub {
    let content = publish.content.as_ref();
    pbx::ClientPub {
        id: text(publish.id.as_ref()),
        topic: publish.topic.clone(),
        no_echo: publish.noecho,
        head: publish.head.as_ref().map(members).unwrap_or_default(),
        content: content.map_or_else(Bytes::new, |it| it.get().to_owned().into()),
    }
}

fn get_of(get: &Get) -> pbx::ClientGet {
    pbx::ClientGet {
        id: text(get.id.as_ref()),
        topic: get.topic.clone(),
        query: Some(query_of(&get.query)),
    }
}

fn set_of(set: &Set) -> pbx::ClientSet {
    pbx::ClientSet {
        id: text(set.id.as_ref()),
        topic: set.topic.clone(),
        query: Some(changes_of(&set.query)),
    }
}

fn del_of(del: &Del) -> pbx::ClientDel {
    let what = match del.what.as_str() {
        "msg" => What::Msg,
        "topic" => What::Topic,
        "sub" => What::Sub,
        "user" => What::User,
        "cred" => What::Cred,
        _ => What::X0,
    };
    pbx::ClientDel {
        id: text(del.id.as_ref()),
        topic: del.topic.clone(),
        what: what.into(),
        del_seq: ranges_of(&del.delseq),
        user_id: del.user.clone(),
        cred: del.cred.as_ref().map(credential_of),
        hard: del.hard,
    }
}

fn note_of(note: &Note) -> pbx::ClientNote {
    let what = match note.what.as_str() {
        "read" => InfoNote::Read,
        "recv" => InfoNote::Recv,
        "kp" | "kpa" | "kpv" => InfoNote::Kp,
        "call" => InfoNote::Call,
        _ => InfoNote::X1,
    };
    let payload = note.payload.as_ref();
    pbx::ClientNote {
        topic: note.topic.clone(),
        what: what.into(),
        seq_id: number(note.seq),
        unread: 0,
        event: event(&note.event).into(),
        payload: payload.map_or_else(Bytes::new, |it| it.get().to_owned().into()),
    }
}

fn event(word: &str) -> CallEvent {
    match word {
        "accept" => CallEvent::Accept,
        "answer" => CallEvent::Answer,
        "hang-up" => CallEvent::HangUp,
        "ice-candidate" => CallEvent::IceCandidate,
        "invite" => CallEvent::Invite,
        "offer" => CallEvent::Offer,
        "ringing" => CallEvent::Ringing,
        _ => CallEvent::X2,
    }
}

fn query_of(query: &GetQuery) -> pbx::GetQuery {
    pbx::GetQuery {
        what: query.what.clone(),
        desc: Some(options_of(&query.desc)),
        sub: Some(options_of(&query.sub)),
        data: Some(options_of(&query.data)),
    }
}

fn options_of(options: &GetOptions) -> pbx::GetOpts {
    let limit = |value: Option<u32>| value.map_or(0, number);
    pbx::GetOpts {
        if_modified_since: times::parse(options.ims.as_deref()).as_millis(),
        user: text(options.user.as_ref()),
        topic: text(options.topic.as_ref()),
        since_id: limit(options.since),
        before_id: limit(options.before),
        limit: limit(options.limit),
        ranges: ranges_of(&options.ranges),
    }
}

fn changes_of(changes: &SetQuery) -> pbx::SetQuery {
    let aux = changes.aux.as_ref().and_then(Value::as_object);
    pbx::SetQuery {
        desc: changes.desc.as_ref().map(desc_of),
        sub: changes.sub.as_ref().map(|it| pbx::SetSub {
            user_id: text(it.user.as_ref()),
            mode: text(it.mode.as_ref()),
        }),
        tags: changes.tags.clone().unwrap_or_default(),
        cred: changes.cred.as_ref().map(credential_of),
        aux: aux.map(members).unwrap_or_default(),
    }
}

fn desc_of(desc: &SetDesc) -> pbx::SetDesc {
    let json = |value: &Option<Value>| {
        let value = value.as_ref();
        value.map_or_else(Bytes::new, |it| it.to_string().into())
    };
    pbx::SetDesc {
        default_acs: desc.defacs.as_ref().map(|it| pbx::DefaultAcsMode {
            auth: text(it.auth.as_ref()),
            anon: text(it.anon.as_ref()),
        }),
        public: json(&desc.public),
        private: json(&desc.private),
        trusted: json(&desc.trusted),
    }
}

fn credential_of(cred: &Credential) -> pbx::ClientCred {
    pbx::ClientCred {
        method: cred.meth.clone(),
        value: cred.val.clone(),
        response: cred.resp.clone(),
        params: BTreeMap::new(),
    }
}

fn ranges_of(ranges: &[Range]) -> Vec<pbx::SeqRange> {
    let range = |it: &Range| pbx::SeqRange {
        low: number(it.low),
        hi: number(it.hi),
    };
    ranges.iter().map(range).collect()
}

fn members(object: &Map<String, Value>) -> BTreeMap<String, Bytes> {
    let member = |(key, value): (&String, &Value)| (key.clone(), value.to_string().into());
    object.iter().map(member).collect()
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

/// COMPAT: positions have 31 bits on the wire. No topic has as many messages.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
