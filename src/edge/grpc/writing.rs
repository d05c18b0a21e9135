//! Our frames as messages of gRPC.
//!
//! COMPAT: `ctrl` has no time here; what is JSON in JSON frames goes as JSON text in bytes; what the
//! protocol has no place for (`subcnt`) is left out.

use std::collections::BTreeMap;

use bytes::Bytes;
use freehold_proto::{
    Timestamp,
    pbx::{self, CallEvent, InfoNote, server_msg::Message, server_pres::What},
};
use serde_json::{Value, value::RawValue};

use crate::edge::{
    frames::{
        Access, AccessDelta, Cred, Ctrl, Data, DefaultAccess, Deleted, Desc, Info, Meta, Pres, Raw,
        Seen, ServerFrame, Sub,
    },
    requests::Range,
};

/// The message for a frame.
#[must_use]
pub(in crate::edge) fn message_of(frame: &ServerFrame) -> pbx::ServerMsg {
    let message = match frame {
        ServerFrame::Ctrl(ctrl) => Message::Ctrl(ctrl_of(ctrl)),
        ServerFrame::Data(data) => Message::Data(data_of(data)),
        ServerFrame::Meta(meta) => Message::Meta(meta_of(meta)),
        ServerFrame::Pres(pres) => Message::Pres(pres_of(pres)),
        ServerFrame::Info(info) => Message::Info(info_of(info)),
    };
    pbx::ServerMsg {
        message: Some(message),
    }
}

fn ctrl_of(ctrl: &Ctrl) -> pbx::ServerCtrl {
    let params = ctrl.params.as_ref().and_then(Value::as_object);
    let member = |(key, value): (&String, &Value)| (key.clone(), value.to_string().into());
    pbx::ServerCtrl {
        id: text(ctrl.id.as_ref()),
        topic: text(ctrl.topic.as_ref()),
        code: ctrl.code.into(),
        text: ctrl.text.clone().into_owned(),
        params: params.into_iter().flatten().map(member).collect(),
    }
}

/// A message of a topic.
pub(crate) fn data_of(data: &Data) -> pbx::ServerData {
    pbx::ServerData {
        topic: data.topic.clone(),
        from_user_id: data.from.clone(),
        deleted_at: 0,
        seq_id: number(data.seq),
        head: members(data.head.as_ref()),
        content: json(data.content.as_ref()),
        timestamp: data.ts.as_millis(),
    }
}

fn meta_of(meta: &Meta) -> pbx::ServerMeta {
    let subs = meta.sub.iter().flatten();
    let credentials = meta.cred.iter().flatten();
    pbx::ServerMeta {
        id: text(meta.id.as_ref()),
        topic: meta.topic.clone(),
        desc: meta.desc.as_ref().map(desc_of),
        sub: subs.map(sub_of).collect(),
        del: meta.del.as_ref().map(deleted_of),
        tags: meta.tags.clone().unwrap_or_default(),
        cred: credentials.map(credential_of).collect(),
        aux: members(meta.aux.as_ref()),
    }
}

fn desc_of(desc: &Desc) -> pbx::TopicDesc {
    let (last_seen_time, last_seen_user_agent) = seen_of(desc.seen.as_ref());
    pbx::TopicDesc {
        created_at: millis(desc.created),
        updated_at: millis(desc.updated),
        touched_at: millis(desc.touched),
        defacs: desc.defacs.as_ref().map(default_access_of),
        acs: desc.acs.as_ref().map(access_of),
        seq_id: number(desc.seq),
        read_id: number(desc.read),
        recv_id: number(desc.recv),
        del_id: number(desc.clear),
        public: json(desc.public.as_ref()),
        private: json(desc.private.as_ref()),
        state: desc.state.unwrap_or_default().to_owned(),
        state_at: 0,
        trusted: json(desc.trusted.as_ref()),
        last_seen_time,
        last_seen_user_agent,
        is_chan: desc.chan,
        online: desc.online,
    }
}

fn sub_of(sub: &Sub) -> pbx::TopicSub {
    let (last_seen_time, last_seen_user_agent) = seen_of(sub.seen.as_ref());
    pbx::TopicSub {
        updated_at: millis(sub.updated),
        deleted_at: millis(sub.deleted),
        online: sub.online,
        acs: sub.acs.as_ref().map(access_of),
        read_id: number(sub.read),
        recv_id: number(sub.recv),
        public: json(sub.public.as_ref()),
        private: json(sub.private.as_ref()),
        user_id: text(sub.user.as_ref()),
        topic: text(sub.topic.as_ref()),
        touched_at: millis(sub.touched),
        seq_id: number(sub.seq),
        del_id: number(sub.clear),
        last_seen_time,
        last_seen_user_agent,
        trusted: json(sub.trusted.as_ref()),
    }
}

fn deleted_of(deleted: &Deleted) -> pbx::DelValues {
    pbx::DelValues {
        del_id: number(deleted.clear),
        del_seq: ranges_of(&deleted.delseq),
    }
}

fn credential_of(cred: &Cred) -> pbx::ServerCred {
    pbx::ServerCred {
        method: cred.meth.clone(),
        value: cred.val.clone(),
        done: cred.done,
    }
}

fn pres_of(pres: &Pres) -> pbx::ServerPres {
    pbx::ServerPres {
        topic: pres.topic.clone(),
        src: text(pres.src.as_ref()),
        what: happening(pres.what).into(),
        user_agent: text(pres.ua.as_ref()),
        seq_id: number(pres.seq),
        del_id: number(pres.clear),
        del_seq: ranges_of(&pres.delseq),
        target_user_id: text(pres.tgt.as_ref()),
        actor_user_id: text(pres.act.as_ref()),
        acs: pres.dacs.as_ref().map(change_of),
    }
}

fn happening(what: &str) -> What {
    match what {
        "on" => What::On,
        "off" => What::Off,
        "ua" => What::Ua,
        "upd" => What::Upd,
        "gone" => What::Gone,
        "acs" => What::Acs,
        "term" => What::Term,
        "msg" => What::Msg,
        "read" => What::Read,
        "recv" => What::Recv,
        "del" => What::Del,
        "tags" => What::Tags,
        "aux" => What::Aux,
        _ => What::X3,
    }
}

fn info_of(info: &Info) -> pbx::ServerInfo {
    let what = match info.what {
        "read" => InfoNote::Read,
        "recv" => InfoNote::Recv,
        // Recording has no number of its own: somebody is about to say something.
        "kp" | "kpa" | "kpv" => InfoNote::Kp,
        "call" => InfoNote::Call,
        _ => InfoNote::X1,
    };
    pbx::ServerInfo {
        topic: info.topic.clone(),
        from_user_id: info.from.clone(),
        what: what.into(),
        seq_id: number(info.seq),
        src: text(info.src.as_ref()),
        event: info.event.map_or(CallEvent::X2, event).into(),
        payload: json(info.payload.as_ref()),
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

fn default_access_of(access: &DefaultAccess) -> pbx::DefaultAcsMode {
    pbx::DefaultAcsMode {
        auth: access.auth.clone(),
        anon: access.anon.clone(),
    }
}

/// COMPAT: without `want` and `given`, as on search results, clients take what is in both, so the mode
/// that is known stands in both.
fn access_of(access: &Access) -> pbx::AccessMode {
    let known = |part: &Option<String>| part.clone().unwrap_or_else(|| access.mode.clone());
    pbx::AccessMode {
        want: known(&access.want),
        given: known(&access.given),
    }
}

fn change_of(change: &AccessDelta) -> pbx::AccessMode {
    pbx::AccessMode {
        want: change.want.clone(),
        given: change.given.clone(),
    }
}

fn seen_of(seen: Option<&Seen>) -> (i64, String) {
    seen.map(|it| (it.when.as_millis(), it.ua.clone()))
        .unwrap_or_default()
}

fn ranges_of(ranges: &[Range]) -> Vec<pbx::SeqRange> {
    let range = |it: &Range| pbx::SeqRange {
        low: number(it.low),
        hi: number(it.hi),
    };
    ranges.iter().map(range).collect()
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

fn millis(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_millis)
}

/// COMPAT: positions have 31 bits on the wire. No topic has as many messages.
fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn json(value: Option<&Raw>) -> Bytes {
    value.map_or_else(Bytes::new, |it| bytes_of(it))
}

fn bytes_of(value: &RawValue) -> Bytes {
    Bytes::copy_from_slice(value.get().as_bytes())
}

/// The members of an object, each as JSON text. What is no object has none.
fn members(value: Option<&Raw>) -> BTreeMap<String, Bytes> {
    let read = |it: &Raw| serde_json::from_str::<BTreeMap<String, Raw>>(it.get()).ok();
    let members = value.and_then(read).unwrap_or_default();
    let members = members.into_iter();
    members.map(|(key, it)| (key, bytes_of(&it))).collect()
}
