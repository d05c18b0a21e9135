//! What clients say over gRPC, as the requests that the rest of the edge knows.
//!
//! Every field is mapped by name, so a new one on either side does not go unnoticed. COMPAT: what is
//! JSON in JSON frames comes as JSON text in bytes; secrets come as they are.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use freehold_proto::{
    Timestamp,
    pbx::{self, client_msg::Message},
};
use prost::Message as _;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::edge::requests::{
    Acc, Credential, Del, Extra, Get, GetOptions, GetQuery, Hi, Leave, Login, Note, Pub, Range,
    Request, Set, SetDefaultAccess, SetDesc, SetQuery, SetSub, Sub, Unreadable,
};

/// Names the field that holds what it must not.
struct Wrong(&'static str);

/// Reads one message.
pub(crate) fn read(bytes: Bytes) -> Result<(Request, Extra), Unreadable> {
    read_message(pbx::ClientMsg::decode(bytes)?)
}

/// The same of a message that has been decoded.
pub(in crate::edge) fn read_message(
    message: pbx::ClientMsg,
) -> Result<(Request, Extra), Unreadable> {
    let request = message.message.ok_or(Unreadable::Keys)?;
    let id = id_of(&request);
    let parts = || Ok((read_request(request)?, read_extra(message.extra)?));
    parts().map_err(|Wrong(field)| Unreadable::Field { id, field })
}

fn id_of(request: &Message) -> Option<String> {
    let id = match request {
        Message::Hi(it) => &it.id,
        Message::Acc(it) => &it.id,
        Message::Login(it) => &it.id,
        Message::Sub(it) => &it.id,
        Message::Leave(it) => &it.id,
        Message::Pub(it) => &it.id,
        Message::Get(it) => &it.id,
        Message::Set(it) => &it.id,
        Message::Del(it) => &it.id,
        Message::Note(_) => return None,
    };
    given(id.clone())
}

fn read_request(request: Message) -> Result<Request, Wrong> {
    Ok(match request {
        Message::Hi(hi) => Request::Hi(read_hi(hi)),
        Message::Acc(acc) => Request::Acc(Box::new(read_acc(acc)?)),
        Message::Login(login) => Request::Login(read_login(login)),
        Message::Sub(sub) => Request::Sub(Box::new(read_sub(sub)?)),
        Message::Leave(leave) => Request::Leave(Leave {
            id: given(leave.id),
            topic: leave.topic,
            unsub: leave.unsub,
        }),
        Message::Pub(publish) => Request::Pub(read_pub(publish)?),
        Message::Get(get) => Request::Get(Box::new(Get {
            id: given(get.id),
            topic: get.topic,
            query: read_query(get.query.unwrap_or_default())?,
        })),
        Message::Set(set) => Request::Set(Box::new(Set {
            id: given(set.id),
            topic: set.topic,
            query: read_changes(set.query.unwrap_or_default())?,
        })),
        Message::Del(del) => Request::Del(read_del(del)?),
        Message::Note(note) => Request::Note(read_note(note)?),
    })
}

fn read_extra(extra: Option<pbx::ClientExtra>) -> Result<Extra, Wrong> {
    let extra = extra.unwrap_or_default();
    Ok(Extra {
        attachments: extra.attachments,
        obo: extra.on_behalf_of,
        authlevel: level(extra.auth_level)?.to_owned(),
    })
}

fn level(number: i32) -> Result<&'static str, Wrong> {
    let level = pbx::AuthLevel::try_from(number).map_err(|_| Wrong("auth_level"))?;
    Ok(match level {
        pbx::AuthLevel::None => "",
        pbx::AuthLevel::Anon => "anon",
        pbx::AuthLevel::Auth => "auth",
        pbx::AuthLevel::Root => "root",
    })
}

fn read_hi(hi: pbx::ClientHi) -> Hi {
    Hi {
        id: given(hi.id),
        ver: hi.ver,
        ua: hi.user_agent,
        lang: hi.lang,
        dev: hi.device_id,
        bkg: hi.background,
    }
}

fn read_acc(acc: pbx::ClientAcc) -> Result<Acc, Wrong> {
    Ok(Acc {
        id: given(acc.id),
        user: acc.user_id,
        scheme: acc.scheme,
        secret: STANDARD.encode(acc.secret),
        tmpscheme: acc.tmp_scheme,
        tmpsecret: STANDARD.encode(acc.tmp_secret),
        status: acc.state,
        authlevel: level(acc.auth_level)?.to_owned(),
        login: acc.login,
        tags: acc.tags,
        desc: acc.desc.map(read_desc).transpose()?,
        cred: acc.cred.into_iter().map(read_credential).collect(),
    })
}

fn read_credential(cred: pbx::ClientCred) -> Credential {
    Credential {
        meth: cred.method,
        val: cred.value,
        resp: cred.response,
    }
}

fn read_login(login: pbx::ClientLogin) -> Login {
    Login {
        id: given(login.id),
        scheme: login.scheme,
        secret: STANDARD.encode(login.secret),
        cred: login.cred.into_iter().map(read_credential).collect(),
    }
}

fn read_sub(sub: pbx::ClientSub) -> Result<Sub, Wrong> {
    Ok(Sub {
        id: given(sub.id),
        topic: sub.topic,
        set: sub.set_query.map(read_changes).transpose()?,
        get: sub.get_query.map(read_query).transpose()?,
    })
}

fn read_pub(publish: pbx::ClientPub) -> Result<Pub, Wrong> {
    Ok(Pub {
        id: given(publish.id),
        topic: publish.topic,
        noecho: publish.no_echo,
        head: object("head", publish.head)?,
        content: json("content", &publish.content)?,
    })
}

fn read_query(query: pbx::GetQuery) -> Result<GetQuery, Wrong> {
    let options = |given: Option<pbx::GetOpts>| read_options(given.unwrap_or_default());
    Ok(GetQuery {
        what: query.what,
        desc: options(query.desc)?,
        sub: options(query.sub)?,
        data: options(query.data)?,
        // The protocol has no place for it here.
        del: GetOptions::default(),
    })
}

fn read_options(options: pbx::GetOpts) -> Result<GetOptions, Wrong> {
    let positive = |field, number: i32| Ok((number != 0).then_some(unsigned(field, number)?));
    let since = Timestamp::from_millis(options.if_modified_since);
    let since = since.map_err(|_| Wrong("if_modified_since"))?;
    Ok(GetOptions {
        ims: (since != Timestamp::EPOCH).then(|| since.to_string()),
        user: given(options.user),
        topic: given(options.topic),
        since: positive("since_id", options.since_id)?,
        before: positive("before_id", options.before_id)?,
        limit: positive("limit", options.limit)?,
        ranges: read_ranges(options.ranges)?,
    })
}

fn read_ranges(ranges: Vec<pbx::SeqRange>) -> Result<Vec<Range>, Wrong> {
    let read = |it: pbx::SeqRange| {
        Ok(Range {
            low: unsigned("low", it.low)?,
            hi: unsigned("hi", it.hi)?,
        })
    };
    ranges.into_iter().map(read).collect()
}

fn read_changes(changes: pbx::SetQuery) -> Result<SetQuery, Wrong> {
    let read_sub = |it: pbx::SetSub| SetSub {
        user: given(it.user_id),
        mode: given(it.mode),
    };
    Ok(SetQuery {
        desc: changes.desc.map(read_desc).transpose()?,
        sub: changes.sub.map(read_sub),
        tags: (!changes.tags.is_empty()).then_some(changes.tags),
        cred: changes.cred.map(read_credential),
        aux: object("aux", changes.aux)?.map(Value::Object),
    })
}

fn read_desc(desc: pbx::SetDesc) -> Result<SetDesc, Wrong> {
    let access = |it: pbx::DefaultAcsMode| SetDefaultAccess {
        auth: given(it.auth),
        anon: given(it.anon),
    };
    Ok(SetDesc {
        defacs: desc.default_acs.map(access),
        public: json("public", &desc.public)?,
        trusted: json("trusted", &desc.trusted)?,
        private: json("private", &desc.private)?,
    })
}

fn read_del(del: pbx::ClientDel) -> Result<Del, Wrong> {
    use pbx::client_del::What;
    let what = match What::try_from(del.what).map_err(|_| Wrong("what"))? {
        What::X0 => "",
        What::Msg => "msg",
        What::Topic => "topic",
        What::Sub => "sub",
        What::User => "user",
        What::Cred => "cred",
    };
    Ok(Del {
        id: given(del.id),
        topic: del.topic,
        what: what.to_owned(),
        hard: del.hard,
        delseq: read_ranges(del.del_seq)?,
        user: del.user_id,
        cred: del.cred.map(read_credential),
    })
}

fn read_note(note: pbx::ClientNote) -> Result<Note, Wrong> {
    let what = match pbx::InfoNote::try_from(note.what).map_err(|_| Wrong("what"))? {
        pbx::InfoNote::X1 => "",
        pbx::InfoNote::Read => "read",
        pbx::InfoNote::Recv => "recv",
        pbx::InfoNote::Kp => "kp",
        pbx::InfoNote::Call => "call",
    };
    Ok(Note {
        topic: note.topic,
        what: what.to_owned(),
        seq: unsigned("seq_id", note.seq_id)?,
        event: event(note.event)?.to_owned(),
        payload: json("payload", &note.payload)?,
    })
}

fn event(number: i32) -> Result<&'static str, Wrong> {
    let event = pbx::CallEvent::try_from(number).map_err(|_| Wrong("event"))?;
    Ok(match event {
        pbx::CallEvent::X2 => "",
        pbx::CallEvent::Accept => "accept",
        pbx::CallEvent::Answer => "answer",
        pbx::CallEvent::HangUp => "hang-up",
        pbx::CallEvent::IceCandidate => "ice-candidate",
        pbx::CallEvent::Invite => "invite",
        pbx::CallEvent::Offer => "offer",
        pbx::CallEvent::Ringing => "ringing",
    })
}

/// A text, unless it is empty.
fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn unsigned(field: &'static str, number: i32) -> Result<u32, Wrong> {
    u32::try_from(number).map_err(|_| Wrong(field))
}

/// JSON text in bytes; `null` and nothing are no value.
fn json<T: DeserializeOwned>(field: &'static str, bytes: &Bytes) -> Result<Option<T>, Wrong> {
    if bytes.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(bytes).map_err(|_| Wrong(field))
}

/// An object of which each value is JSON text; an empty one is none.
fn object(
    field: &'static str,
    members: BTreeMap<String, Bytes>,
) -> Result<Option<Map<String, Value>>, Wrong> {
    let read = |(key, value): (String, Bytes)| {
        let value = serde_json::from_slice(&value).map_err(|_| Wrong(field))?;
        Ok((key, value))
    };
    let object = members
        .into_iter()
        .map(read)
        .collect::<Result<Map<_, _>, Wrong>>()?;
    Ok((!object.is_empty()).then_some(object))
}
