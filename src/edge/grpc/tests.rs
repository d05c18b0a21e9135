//! Every kind of message: what comes over gRPC is what the same message in JSON is, and what goes out
//! stands where clients look for it.

use bytes::Bytes;
use freehold_proto::{
    Timestamp,
    pbx::{self, client_msg::Message, server_msg},
};
use prost::Message as _;
use serde_json::json;

use super::{message_for, message_of, read};
use crate::edge::{
    frames::{
        Access, AccessDelta, Cred, Ctrl, Data, DefaultAccess, Deleted, Desc, Info, Meta, Pres, Raw,
        Seen, ServerFrame, Sub, raw,
    },
    requests::{Range, Request, Unreadable},
};

fn message(message: Message) -> pbx::ClientMsg {
    pbx::ClientMsg {
        message: Some(message),
        extra: None,
    }
}

fn encoded(message: &pbx::ClientMsg) -> Bytes {
    message.encode_to_vec().into()
}

/// The message means the same as the frame.
#[track_caller]
fn means(message: &pbx::ClientMsg, frame: serde_json::Value) {
    let in_json = Request::parse(frame.to_string().as_bytes()).unwrap();
    let in_protobuf = read(encoded(message)).unwrap();
    assert_eq!(format!("{in_protobuf:?}"), format!("{in_json:?}"));
    // And so it does for a plugin that is asked about it.
    if let Some(told) = message_for(&in_json.0, &in_json.1) {
        let told = read(encoded(&told)).unwrap();
        assert_eq!(format!("{told:?}"), format!("{in_json:?}"));
    }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn seq_range(low: i32, hi: i32) -> pbx::SeqRange {
    pbx::SeqRange { low, hi }
}

#[test]
fn hello_and_log_in_read_as_in_json() {
    let hi = pbx::ClientHi {
        id: text("1"),
        user_agent: text("bot/1"),
        ver: text("0.22.3"),
        lang: text("en"),
        background: true,
        ..Default::default()
    };
    means(
        &message(Message::Hi(hi)),
        json!({"hi": {"id": "1", "ua": "bot/1", "ver": "0.22.3", "lang": "en", "bkg": true}}),
    );
    let login = pbx::ClientLogin {
        id: text("2"),
        scheme: text("basic"),
        secret: bytes("bot:a secret"),
        cred: vec![credential()],
    };
    means(
        &message(Message::Login(login)),
        json!({"login": {
            "id": "2", "scheme": "basic", "secret": "Ym90OmEgc2VjcmV0",
            "cred": [credential_in_json()],
        }}),
    );
}

#[test]
fn an_account_reads_as_in_json() {
    let acc = pbx::ClientAcc {
        id: text("1"),
        user_id: text("newX"),
        scheme: text("basic"),
        secret: bytes("bot:a secret"),
        login: true,
        tags: vec![text("robots")],
        desc: Some(set_desc()),
        cred: vec![credential()],
        tmp_scheme: text("code"),
        tmp_secret: bytes("bot:a secret"),
        state: text("susp"),
        auth_level: pbx::AuthLevel::Anon.into(),
        ..Default::default()
    };
    means(
        &message(Message::Acc(acc)),
        json!({"acc": {
            "id": "1", "user": "newX", "scheme": "basic", "secret": "Ym90OmEgc2VjcmV0",
            "login": true, "tags": ["robots"], "desc": set_desc_in_json(),
            "cred": [credential_in_json()], "tmpscheme": "code",
            "tmpsecret": "Ym90OmEgc2VjcmV0", "status": "susp", "authlevel": "anon",
        }}),
    );
}

fn set_desc() -> pbx::SetDesc {
    pbx::SetDesc {
        default_acs: Some(pbx::DefaultAcsMode {
            auth: text("JRWP"),
            anon: text("N"),
        }),
        public: bytes(r#"{"fn":"Bot"}"#),
        private: bytes(r#""␡""#),
        trusted: bytes("null"),
    }
}

fn set_desc_in_json() -> serde_json::Value {
    json!({"defacs": {"auth": "JRWP", "anon": "N"}, "public": {"fn": "Bot"}, "private": "␡"})
}

fn credential() -> pbx::ClientCred {
    pbx::ClientCred {
        method: text("email"),
        value: text("bot@example.org"),
        response: text("123456"),
        ..Default::default()
    }
}

fn credential_in_json() -> serde_json::Value {
    json!({"meth": "email", "val": "bot@example.org", "resp": "123456"})
}

fn set_query() -> pbx::SetQuery {
    pbx::SetQuery {
        desc: Some(set_desc()),
        sub: Some(pbx::SetSub {
            user_id: text("usrX"),
            mode: text("JRW"),
        }),
        tags: vec![text("a"), text("b")],
        cred: Some(credential()),
        aux: [(text("pins"), bytes("[1,2]"))].into(),
    }
}

fn set_query_in_json() -> serde_json::Value {
    json!({
        "desc": set_desc_in_json(), "sub": {"user": "usrX", "mode": "JRW"},
        "tags": ["a", "b"], "cred": credential_in_json(), "aux": {"pins": [1, 2]},
    })
}

fn get_query() -> pbx::GetQuery {
    pbx::GetQuery {
        what: text("desc sub data"),
        desc: Some(pbx::GetOpts {
            if_modified_since: 1_767_323_045_678,
            ..Default::default()
        }),
        sub: Some(pbx::GetOpts {
            user: text("usrX"),
            topic: text("grpX"),
            ..Default::default()
        }),
        data: Some(pbx::GetOpts {
            since_id: 3,
            before_id: 9,
            limit: 20,
            ranges: vec![seq_range(1, 4), seq_range(7, 0)],
            ..Default::default()
        }),
    }
}

fn get_query_in_json() -> serde_json::Value {
    json!({
        "what": "desc sub data", "desc": {"ims": "2026-01-02T03:04:05.678Z"},
        "sub": {"user": "usrX", "topic": "grpX"},
        "data": {"since": 3, "before": 9, "limit": 20, "ranges": [{"low": 1, "hi": 4}, {"low": 7}]},
    })
}

fn with(mut object: serde_json::Value, more: serde_json::Value) -> serde_json::Value {
    let fields = object.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    object
}

#[test]
fn what_is_asked_of_a_topic_reads_as_in_json() {
    let about = json!({"id": "1", "topic": "grpX"});
    let (id, topic) = (text("1"), text("grpX"));
    let sub = pbx::ClientSub {
        id: id.clone(),
        topic: topic.clone(),
        set_query: Some(set_query()),
        get_query: Some(get_query()),
    };
    let frame = with(
        about.clone(),
        json!({"set": set_query_in_json(), "get": get_query_in_json()}),
    );
    means(&message(Message::Sub(sub)), json!({ "sub": frame }));
    let get = pbx::ClientGet {
        id: id.clone(),
        topic: topic.clone(),
        query: Some(get_query()),
    };
    let frame = with(about.clone(), get_query_in_json());
    means(&message(Message::Get(get)), json!({ "get": frame }));
    let set = pbx::ClientSet {
        id: id.clone(),
        topic: topic.clone(),
        query: Some(set_query()),
    };
    let frame = with(about.clone(), set_query_in_json());
    means(&message(Message::Set(set)), json!({ "set": frame }));
    let leave = pbx::ClientLeave {
        id,
        topic,
        unsub: true,
    };
    let frame = with(about, json!({"unsub": true}));
    means(&message(Message::Leave(leave)), json!({ "leave": frame }));
}

#[test]
fn a_message_and_what_goes_beside_it_read_as_in_json() {
    let publish = pbx::ClientPub {
        id: text("1"),
        topic: text("usrX"),
        no_echo: true,
        head: [
            (text("mime"), bytes(r#""text/x-drafty""#)),
            (text("n"), bytes("1")),
        ]
        .into(),
        content: bytes(r#"{"txt":"hello"}"#),
    };
    let mut message = message(Message::Pub(publish));
    message.extra = Some(pbx::ClientExtra {
        attachments: vec![text("/v0/file/s/x")],
        on_behalf_of: text("usrY"),
        auth_level: pbx::AuthLevel::Root.into(),
    });
    means(
        &message,
        json!({
            "pub": {
                "id": "1", "topic": "usrX", "noecho": true,
                "head": {"mime": "text/x-drafty", "n": 1}, "content": {"txt": "hello"},
            },
            "extra": {"attachments": ["/v0/file/s/x"], "obo": "usrY", "authlevel": "root"},
        }),
    );
}

const EVENTS: [&str; 8] = [
    "",
    "accept",
    "answer",
    "hang-up",
    "ice-candidate",
    "invite",
    "offer",
    "ringing",
];

#[test]
fn deletions_and_notes_read_as_in_json() {
    let kinds = ["", "msg", "topic", "sub", "user", "cred"];
    for (what, word) in kinds.into_iter().enumerate() {
        let del = pbx::ClientDel {
            id: text("1"),
            topic: text("usrX"),
            what: i32::try_from(what).unwrap(),
            del_seq: vec![seq_range(2, 5), seq_range(9, 0)],
            user_id: text("usrY"),
            cred: Some(credential()),
            hard: true,
        };
        means(
            &message(Message::Del(del)),
            json!({"del": {
                "id": "1", "topic": "usrX", "what": word, "delseq": [{"low": 2, "hi": 5}, {"low": 9}],
                "user": "usrY", "cred": credential_in_json(), "hard": true,
            }}),
        );
    }
    for (what, word) in ["", "read", "recv", "kp", "call"].into_iter().enumerate() {
        let note = pbx::ClientNote {
            topic: text("usrX"),
            what: i32::try_from(what).unwrap(),
            seq_id: 7,
            ..Default::default()
        };
        means(
            &message(Message::Note(note)),
            json!({"note": {"topic": "usrX", "what": word, "seq": 7}}),
        );
    }
    for (event, word) in EVENTS.into_iter().enumerate() {
        let note = pbx::ClientNote {
            topic: text("usrX"),
            what: pbx::InfoNote::Call.into(),
            seq_id: 7,
            event: i32::try_from(event).unwrap(),
            payload: bytes(r#"{"sdp":"x"}"#),
            ..Default::default()
        };
        means(
            &message(Message::Note(note)),
            json!({"note": {
                "topic": "usrX", "what": "call", "seq": 7, "event": word, "payload": {"sdp": "x"},
            }}),
        );
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_the_id_of_the_request() {
    let (id, topic) = (text("7"), text("usrX"));
    let publish = |head: &str, content: &'static [u8]| {
        Message::Pub(pbx::ClientPub {
            id: id.clone(),
            topic: topic.clone(),
            head: [(text("x"), Bytes::copy_from_slice(head.as_bytes()))].into(),
            content: Bytes::from_static(content),
            ..Default::default()
        })
    };
    let get = |options: pbx::GetOpts| {
        Message::Get(pbx::ClientGet {
            id: id.clone(),
            query: Some(pbx::GetQuery {
                data: Some(options),
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    let options = pbx::GetOpts::default;
    for bad in [
        publish("1", b"not JSON"),
        publish("1", b"\"\xff\""),
        publish("1", b"1 2"),
        publish("", b"1"),
        publish("{", b"1"),
        get(pbx::GetOpts {
            limit: -1,
            ..options()
        }),
        get(pbx::GetOpts {
            if_modified_since: -1,
            ..options()
        }),
        get(pbx::GetOpts {
            if_modified_since: i64::MAX,
            ..options()
        }),
        get(pbx::GetOpts {
            ranges: vec![seq_range(-3, 1)],
            ..options()
        }),
        Message::Del(pbx::ClientDel {
            id: id.clone(),
            what: 77,
            ..Default::default()
        }),
    ] {
        let shown = format!("{bad:?}");
        let fault = read(encoded(&message(bad))).unwrap_err();
        assert!(matches!(fault, Unreadable::Field { .. }), "{shown}");
        assert_eq!(fault.id(), Some("7"), "{shown}");
    }
    let mut level = message(Message::Hi(pbx::ClientHi::default()));
    level.extra = Some(pbx::ClientExtra {
        auth_level: 5,
        ..Default::default()
    });
    assert!(read(encoded(&level)).is_err());
    let note = pbx::ClientNote {
        seq_id: -1,
        ..Default::default()
    };
    assert!(read(encoded(&message(Message::Note(note)))).is_err());
    assert!(matches!(read(Bytes::new()), Err(Unreadable::Keys)));
    assert!(matches!(
        read(bytes("nonsense")),
        Err(Unreadable::Protobuf(_))
    ));
}

proptest::proptest! {
    #[test]
    fn whatever_arrives_is_read_or_refused(
        changes in proptest::collection::vec((proptest::num::usize::ANY, proptest::num::u8::ANY), 0..8),
        cut in proptest::num::usize::ANY,
    ) {
        let sub = pbx::ClientSub {
            id: text("1"),
            topic: text("grpX"),
            set_query: Some(set_query()),
            get_query: Some(get_query()),
        };
        let mut bytes = message(Message::Sub(sub)).encode_to_vec();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        bytes.truncate(cut % (bytes.len() * 2));
        // Neither outcome is wrong; a panic is.
        drop(read(bytes.into()));
    }
}

fn json_text(text: &str) -> Option<Raw> {
    raw(text.as_bytes())
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// What a client decodes.
fn sent(frame: &ServerFrame) -> server_msg::Message {
    let encoded = message_of(frame).encode_to_vec();
    let decoded = pbx::ServerMsg::decode(encoded.as_slice()).unwrap();
    decoded.message.unwrap()
}

#[test]
fn answers_and_messages_stand_where_clients_look_for_them() {
    let ctrl = Ctrl {
        id: Some(text("1")),
        topic: Some(text("me")),
        params: Some(json!({"seq": 5, "user": "usrX"})),
        code: 202,
        text: "accepted".into(),
        ts: at(1),
    };
    let params = [(text("seq"), bytes("5")), (text("user"), bytes("\"usrX\""))];
    assert_eq!(
        sent(&ServerFrame::Ctrl(ctrl)),
        server_msg::Message::Ctrl(pbx::ServerCtrl {
            id: text("1"),
            topic: text("me"),
            code: 202,
            text: text("accepted"),
            params: params.into(),
        })
    );
    let data = Data {
        topic: text("usrX"),
        from: text("usrY"),
        ts: at(1000),
        seq: 4,
        head: json_text(r#"{"mime":"x","n":{"a":1}}"#),
        content: json_text(r#""hello""#),
    };
    let head = [
        (text("mime"), bytes("\"x\"")),
        (text("n"), bytes("{\"a\":1}")),
    ];
    assert_eq!(
        sent(&ServerFrame::Data(data)),
        server_msg::Message::Data(pbx::ServerData {
            topic: text("usrX"),
            from_user_id: text("usrY"),
            deleted_at: 0,
            seq_id: 4,
            head: head.into(),
            content: bytes("\"hello\""),
            timestamp: 1000,
        })
    );
}

#[test]
fn news_and_notes_stand_where_clients_look_for_them() {
    let pres = Pres {
        topic: text("me"),
        src: Some(text("grpX")),
        what: "acs",
        ua: Some(text("bot/1")),
        seq: 3,
        clear: 2,
        delseq: vec![Range { low: 1, hi: 3 }],
        act: Some(text("usrA")),
        tgt: Some(text("usrT")),
        dacs: Some(AccessDelta {
            want: text("+W"),
            given: String::new(),
        }),
    };
    assert_eq!(
        sent(&ServerFrame::Pres(pres)),
        server_msg::Message::Pres(pbx::ServerPres {
            topic: text("me"),
            src: text("grpX"),
            what: 6,
            user_agent: text("bot/1"),
            seq_id: 3,
            del_id: 2,
            del_seq: vec![seq_range(1, 3)],
            target_user_id: text("usrT"),
            actor_user_id: text("usrA"),
            acs: Some(pbx::AccessMode {
                want: text("+W"),
                given: String::new(),
            }),
        })
    );
    for (what, number) in [("read", 1), ("recv", 2), ("kp", 3), ("kpa", 3), ("kpv", 3)] {
        let info = Info {
            topic: text("me"),
            src: Some(text("usrX")),
            from: text("usrX"),
            what,
            seq: 9,
            event: None,
            payload: None,
        };
        assert_eq!(
            sent(&ServerFrame::Info(info)),
            server_msg::Message::Info(pbx::ServerInfo {
                topic: text("me"),
                from_user_id: text("usrX"),
                what: number,
                seq_id: 9,
                src: text("usrX"),
                event: 0,
                payload: Bytes::new(),
            })
        );
    }
    for (event, number) in EVENTS.into_iter().zip(0..) {
        let info = Info {
            topic: text("usrX"),
            src: None,
            from: text("usrX"),
            what: "call",
            seq: 9,
            event: Some(event),
            payload: json_text("{}"),
        };
        let server_msg::Message::Info(info) = sent(&ServerFrame::Info(info)) else {
            panic!("{event} became something else");
        };
        assert_eq!((info.what, info.event), (4, number), "{event}");
        assert_eq!(info.payload, "{}");
    }
}

#[test]
fn every_kind_of_news_has_its_number() {
    let words = [
        "on", "off", "ua", "upd", "gone", "acs", "term", "msg", "read", "recv", "del", "tags",
        "aux",
    ];
    for (what, number) in words.into_iter().zip(1..) {
        let pres = Pres {
            what,
            ..Pres::default()
        };
        let server_msg::Message::Pres(pres) = sent(&ServerFrame::Pres(pres)) else {
            panic!("{what} became something else");
        };
        assert_eq!(pres.what, number, "{what}");
    }
}

fn full_desc() -> Desc {
    Desc {
        created: Some(at(1)),
        updated: Some(at(2)),
        touched: Some(at(3)),
        defacs: Some(DefaultAccess {
            auth: text("JRW"),
            anon: text("N"),
        }),
        acs: Some(Access::new("JRW".parse().unwrap(), "JRWP".parse().unwrap())),
        seq: 4,
        read: 5,
        recv: 6,
        clear: 7,
        subcnt: 8,
        chan: true,
        away: None,
        waiting: 0,
        online: true,
        trusted: json_text("1"),
        public: json_text("2"),
        private: json_text("3"),
        state: Some("ok"),
        seen: Some(Seen {
            when: at(9),
            ua: text("bot/1"),
        }),
    }
}

fn full_row() -> Sub {
    Sub {
        topic: Some(text("grpX")),
        user: Some(text("usrX")),
        updated: Some(at(1)),
        deleted: Some(at(2)),
        touched: Some(at(3)),
        online: true,
        acs: Some(Access {
            want: None,
            given: None,
            mode: text("JRW"),
        }),
        seq: 4,
        read: 5,
        recv: 6,
        clear: 7,
        subcnt: 8,
        trusted: json_text("1"),
        public: json_text("2"),
        private: json_text("3"),
        seen: Some(Seen {
            when: at(9),
            ua: text("bot/1"),
        }),
    }
}

fn access(want: &str, given: &str) -> Option<pbx::AccessMode> {
    Some(pbx::AccessMode {
        want: text(want),
        given: text(given),
    })
}

fn desc_sent() -> pbx::TopicDesc {
    pbx::TopicDesc {
        created_at: 1,
        updated_at: 2,
        touched_at: 3,
        defacs: Some(pbx::DefaultAcsMode {
            auth: text("JRW"),
            anon: text("N"),
        }),
        acs: access("JRW", "JRWP"),
        seq_id: 4,
        read_id: 5,
        recv_id: 6,
        del_id: 7,
        public: bytes("2"),
        private: bytes("3"),
        trusted: bytes("1"),
        state: text("ok"),
        last_seen_time: 9,
        last_seen_user_agent: text("bot/1"),
        is_chan: true,
        online: true,
        ..Default::default()
    }
}

fn row_sent() -> pbx::TopicSub {
    pbx::TopicSub {
        updated_at: 1,
        deleted_at: 2,
        online: true,
        acs: access("JRW", "JRW"),
        read_id: 5,
        recv_id: 6,
        public: bytes("2"),
        private: bytes("3"),
        user_id: text("usrX"),
        topic: text("grpX"),
        touched_at: 3,
        seq_id: 4,
        del_id: 7,
        last_seen_time: 9,
        last_seen_user_agent: text("bot/1"),
        trusted: bytes("1"),
    }
}

#[test]
fn descriptions_and_lists_stand_where_clients_look_for_them() {
    let mut meta = Meta::new(Some(text("1")), text("me"), at(1));
    meta.desc = Some(full_desc());
    meta.sub = Some(vec![full_row()]);
    meta.tags = Some(vec![text("a")]);
    meta.cred = Some(vec![Cred {
        meth: text("email"),
        val: text("a@b.c"),
        done: true,
    }]);
    meta.del = Some(Deleted {
        clear: 2,
        delseq: vec![Range { low: 3, hi: 0 }],
    });
    meta.aux = json_text(r#"{"pins":[1]}"#);
    assert_eq!(
        sent(&ServerFrame::Meta(Box::new(meta))),
        server_msg::Message::Meta(pbx::ServerMeta {
            id: text("1"),
            topic: text("me"),
            desc: Some(desc_sent()),
            sub: vec![row_sent()],
            del: Some(pbx::DelValues {
                del_id: 2,
                del_seq: vec![seq_range(3, 0)],
            }),
            tags: vec![text("a")],
            cred: vec![pbx::ServerCred {
                method: text("email"),
                value: text("a@b.c"),
                done: true,
            }],
            aux: [(text("pins"), bytes("[1]"))].into(),
        })
    );
}
