//! The client protocol over gRPC.

use std::{collections::BTreeMap, time::Duration};

use freehold::accounts::Level;
use freehold_interop::{Frame, FrameKind};
use freehold_proto::pbx::{
    ClientDel, ClientExtra, ClientGet, ClientLeave, ClientLogin, ClientMsg, ClientNote, ClientPub,
    ClientSet, ClientSub, GetOpts, GetQuery, InfoNote, SeqRange, SetDesc, SetQuery,
    client_del::What, client_msg::Message as Said, server_msg::Message as Heard, server_pres,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tonic::Code;

use crate::{
    bot::{Bot, calls, channel},
    guest::SOON,
    net::{House, Net},
};

const GRPC: &str = "grpc_listen = \"127.0.0.1:0\"\nmessage_bytes_max = 4096";

async fn alpha(net: &Net) -> House {
    net.domain_with("alpha.test", GRPC).await
}

fn publish(topic: &str, content: &str) -> Said {
    Said::Pub(ClientPub {
        id: "pub".to_owned(),
        topic: topic.to_owned(),
        content: content.to_owned().into(),
        ..Default::default()
    })
}

#[tokio::test]
async fn a_bot_and_a_person_talk() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    let mut bot = Bot::of(&alpha, &amy.person).await;
    let name = ann.person.id.clone();
    assert_eq!(bot.attaches("me").await.code, 200);
    assert_eq!(bot.attaches(&name).await.code, 200);
    ann.opens(&amy).await;

    let told = bot.asks(publish(&name, "\"hello\"")).await;
    assert_eq!(
        (told.code, &*told.text, &*told.id),
        (202, "accepted", "pub")
    );
    assert_eq!(told.params["seq"], "1");
    ann.hears(&amy, "hello").await;
    ann.says(&amy, "hello yourself").await;
    let data = bot.waits(|it| match it {
        Heard::Data(data) if data.seq_id == 2 => Some(data),
        _ => None,
    });
    let data = data.await;
    assert_eq!((&*data.topic, &*data.from_user_id), (&*name, &*name));
    assert_eq!(data.content, "\"hello yourself\"");
    assert!(data.timestamp > 1_767_000_000_000, "{data:?}");

    let read = ClientNote {
        topic: name.clone(),
        what: InfoNote::Read.into(),
        seq_id: 2,
        ..Default::default()
    };
    bot.sends(ClientMsg {
        message: Some(Said::Note(read)),
        extra: None,
    })
    .await;
    ann.sees_mark(&amy, "read", 2).await;
    ann.notes(&amy, "kp", 0).await;
    let typing = bot.waits(|it| match it {
        Heard::Info(info) => Some(info),
        _ => None,
    });
    let typing = typing.await;
    assert_eq!(typing.what, i32::from(InfoNote::Kp));
}

#[tokio::test]
async fn pages_descriptions_and_deletions_come_over_grpc() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    for text in ["one", "two", "three"] {
        ann.says(&amy, text).await;
    }
    let mut bot = Bot::of(&alpha, &ann.person).await;
    let name = ann.name_of(&amy);
    bot.attaches(&name).await;
    let get = ClientGet {
        id: "get".to_owned(),
        topic: name.clone(),
        query: Some(GetQuery {
            what: "desc data".to_owned(),
            data: Some(GetOpts {
                since_id: 2,
                ..Default::default()
            }),
            ..Default::default()
        }),
    };
    bot.sends(ClientMsg {
        message: Some(Said::Get(get)),
        extra: None,
    })
    .await;
    let desc = bot.waits(|it| match it {
        Heard::Meta(meta) => meta.desc,
        _ => None,
    });
    let desc = desc.await;
    assert_eq!((desc.seq_id, &*desc.public), (3, &br#"{"fn":"amy"}"#[..]));
    let mut page = Vec::new();
    let end = loop {
        match bot.next().await.unwrap().unwrap() {
            Heard::Data(data) => page.push(data.seq_id),
            Heard::Ctrl(ctrl) => break ctrl,
            _ => {}
        }
    };
    assert_eq!((page, end.code), (vec![3, 2], 208));
    assert_eq!(end.params["count"], "2");

    let del = Said::Del(ClientDel {
        id: "del".to_owned(),
        topic: name.clone(),
        what: What::Msg.into(),
        del_seq: vec![SeqRange { low: 1, hi: 0 }],
        ..Default::default()
    });
    let deleted = bot.asks(del).await;
    assert_eq!((deleted.code, &*deleted.params["del"]), (200, &b"1"[..]));
    let leave = Said::Leave(ClientLeave {
        id: "leave".to_owned(),
        topic: name.clone(),
        unsub: false,
    });
    assert_eq!(bot.asks(leave).await.code, 200);
    assert_eq!(bot.asks(publish(&name, "1")).await.code, 409);
}

#[tokio::test]
async fn a_bot_is_seen_on_line_until_it_hangs_up() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    drop(amy.session);
    let mut bot = Bot::of(&alpha, &amy.person).await;
    let about = |what: &'static str| {
        move |it: &Frame| it.kind == FrameKind::Pres && it.text("what") == what
    };
    bot.attaches("me").await;
    bot.attaches(&ann.person.id).await;
    ann.session.wait_for("on", SOON, about("on")).await.unwrap();
    bot.hangs_up().await;
    ann.session
        .wait_for("off", SOON, about("off"))
        .await
        .unwrap();
    // A call that is dropped in the middle ends as well.
    let mut bot = Bot::of(&alpha, &amy.person).await;
    bot.attaches("me").await;
    drop(bot);
    ann.session
        .wait_for("off again", SOON, about("off"))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_bot_may_not_say_is_refused_and_the_session_goes_on() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let mut bot = Bot::registered(&alpha, "bot").await;
    let amy = alpha.guest("amy").await;
    let name = amy.person.id.clone();
    bot.attaches(&name).await;
    for content in ["not JSON", "{", "null", ""] {
        let told = bot.asks(publish(&name, content)).await;
        assert_eq!((told.code, &*told.id), (400, "pub"), "{content:?}");
    }
    let negative = GetQuery {
        what: "data".to_owned(),
        data: Some(GetOpts {
            limit: -1,
            ..Default::default()
        }),
        ..Default::default()
    };
    let get = Said::Get(ClientGet {
        id: "get".to_owned(),
        topic: name.clone(),
        query: Some(negative),
    });
    let told = bot.asks(get).await;
    assert_eq!((told.code, &*told.id), (400, "get"));
    let del = Said::Del(ClientDel {
        id: "del".to_owned(),
        topic: name.clone(),
        what: 99,
        ..Default::default()
    });
    assert_eq!(bot.asks(del).await.code, 400);
    bot.sends(ClientMsg::default()).await;
    assert_eq!(bot.answer().await.code, 400);
    let long = format!("\"{}\"", "x".repeat(5000));
    assert_eq!(bot.asks(publish(&name, &long)).await.code, 413);
    let for_another = ClientMsg {
        message: Some(publish(&name, "1")),
        extra: Some(ClientExtra {
            on_behalf_of: name.clone(),
            ..Default::default()
        }),
    };
    bot.sends(for_another).await;
    assert_eq!(bot.answer().await.code, 403);
    let told = bot.asks(publish(&name, "\"fine\"")).await;
    assert_eq!((told.code, &*told.params["seq"]), (202, &b"1"[..]));
}

#[tokio::test]
async fn what_is_no_protobuf_is_malformed_and_what_is_much_too_long_ends_the_stream() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    // As a field this becomes a `hi` that is none.
    let mut bot = Bot::<bytes::Bytes>::connect(&alpha).await;
    for _ in 0..3 {
        bot.sends(bytes::Bytes::from_static(b"\xff\xff")).await;
        assert_eq!(bot.answer().await.code, 400);
    }
    bot.sends(vec![0; 10_000].into()).await;
    let end = bot.next().await.unwrap_err();
    assert_eq!(end.code(), Code::OutOfRange);
}

#[tokio::test]
async fn nothing_is_served_over_grpc_before_hello_and_log_in() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let mut bot = Bot::connect(&alpha).await;
    assert_eq!(bot.attaches("me").await.code, 409);
    bot.greets().await;
    assert_eq!(bot.attaches("me").await.code, 401);
}

#[tokio::test]
async fn an_administrator_writes_for_somebody_over_grpc_and_nobody_else_does() {
    let net = Net::new().await;
    let mut alpha = alpha(&net).await;
    alpha.stop().await;
    let domain = alpha.in_hand().await;
    let added = domain.add_user("root", "secret of root", "Root", Level::Root);
    added.await.unwrap();
    domain.close().await;
    alpha.start().await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    amy.opens(&ann).await;
    let for_ann = |said: Said| ClientMsg {
        message: Some(said),
        extra: Some(ClientExtra {
            on_behalf_of: ann.person.id.clone(),
            ..Default::default()
        }),
    };
    let sub = Said::Sub(ClientSub {
        id: "sub".to_owned(),
        topic: amy.person.id.clone(),
        ..Default::default()
    });
    let mut root = Bot::connect(&alpha).await;
    root.greets().await;
    let login = Said::Login(ClientLogin {
        scheme: "basic".to_owned(),
        secret: "root:secret of root".into(),
        ..Default::default()
    });
    let params = root.asks(login).await.params;
    assert_eq!(params["authlvl"], "\"root\"");
    for (said, code) in [
        (sub.clone(), 200),
        (publish(&amy.person.id, "\"from above\""), 202),
    ] {
        root.sends(for_ann(said)).await;
        assert_eq!(root.answer().await.code, code);
    }
    let message = amy.hears(&ann, "from above").await;
    assert_eq!(message.from, ann.person.id);
    let mut other = Bot::registered(&alpha, "other").await;
    other.sends(for_ann(sub)).await;
    assert_eq!(other.answer().await.code, 403);
}

#[tokio::test]
async fn a_bot_that_does_not_listen_is_not_heard_until_it_does() {
    let net = Net::new().await;
    let lines = format!("{GRPC}\n[limits]\nuser_requests = [0, 0]\n");
    let alpha = net.domain_with("alpha.test", &lines).await;
    let mut bot = Bot::registered(&alpha, "bot").await;
    bot.attaches("me").await;
    // A long answer: of too many short ones the bot's own library has enough.
    let words = format!("\"{}\"", "x".repeat(3500));
    let described = SetDesc {
        public: words.into(),
        ..Default::default()
    };
    let set = ClientSet {
        topic: "me".to_owned(),
        query: Some(SetQuery {
            desc: Some(described),
            ..Default::default()
        }),
        ..Default::default()
    };
    assert_eq!(bot.asks(Said::Set(set)).await.code, 200);
    let get = ClientGet {
        topic: "me".to_owned(),
        query: Some(GetQuery {
            what: "desc".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut asked = 0;
    while bot.tries_to_send(Said::Get(get.clone())).await {
        asked += 1;
        assert!(asked < 1_000_000, "all of it is heard");
    }
    // Nothing is lost of what was.
    for _ in 0..asked {
        bot.waits(|it| matches!(it, Heard::Meta(_)).then_some(()))
            .await;
    }
    bot.tries_to_send(Said::Get(get)).await;
    bot.waits(|it| matches!(it, Heard::Meta(_)).then_some(()))
        .await;
    Bot::registered(&alpha, "another").await;
}

#[tokio::test]
async fn other_calls_are_not_served() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    for path in ["/pbx.Node/Nothing", "/pbx.Plugin/FireHose", "/x.Y/Z"] {
        assert_eq!(calls(&alpha, path).await, Code::Unimplemented, "{path}");
    }
}

#[tokio::test]
async fn a_domain_that_stops_says_so_over_grpc() {
    let net = Net::new().await;
    let mut alpha = alpha(&net).await;
    let mut bot = Bot::registered(&alpha, "bot").await;
    let started = Instant::now();
    alpha.stop().await;
    let bye = bot.answer().await;
    assert_eq!((bye.code, &*bye.text), (205, "server shutdown"));
    assert_eq!(bot.next().await.unwrap(), None);
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn many_sessions_share_a_connection_and_keep_apart() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let channel = channel(&alpha).await;
    let mut bots = BTreeMap::new();
    for number in 0..20 {
        let mut bot = Bot::open(channel.clone()).await.unwrap();
        bot.greets().await;
        bots.insert(number, bot);
    }
    for bot in bots.values_mut() {
        assert_eq!(bot.attaches("me").await.code, 401);
    }
}

#[tokio::test]
async fn a_bot_is_told_of_messages_elsewhere_by_number() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let (mut ann, amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    let mut bot = Bot::of(&alpha, &amy.person).await;
    bot.attaches("me").await;
    ann.opens(&amy).await;
    ann.says(&amy, "hello").await;
    let pres = bot.waits(|it| match it {
        Heard::Pres(pres) if pres.what == i32::from(server_pres::What::Msg) => Some(pres),
        _ => None,
    });
    let pres = pres.await;
    assert_eq!((&*pres.topic, &*pres.src), ("me", &*ann.person.id));
    assert_eq!(pres.seq_id, 1);
}

#[tokio::test]
async fn what_is_no_http_2_is_hung_up_on_and_others_are_served() {
    let net = Net::new().await;
    let alpha = alpha(&net).await;
    let mut stream = TcpStream::connect(alpha.grpc.unwrap()).await.unwrap();
    let nonsense = stream.write_all(b"GET / HTTP/1.1\r\nHost: alpha.test\r\n\r\n");
    nonsense.await.unwrap();
    let mut answer = Vec::new();
    let reading = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
    // Whether it resets or closes is up to the library.
    let _end = reading.await.expect("it hangs up");
    sleep(Duration::from_millis(10)).await;
    Bot::registered(&alpha, "bot").await;
}

#[tokio::test]
async fn without_the_setting_nobody_listens_for_grpc() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    assert_eq!(alpha.grpc, None);
}
