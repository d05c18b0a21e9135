//! Programs beside a domain that are told of events and asked about requests.

use std::{cell::RefCell, sync::Arc};

use freehold::accounts::Level;
use freehold_interop::{Frame, FrameKind};
use freehold_proto::pbx::{
    ClientMsg, ClientReq, Crud, RespCode, SearchFound, ServerCtrl, ServerMsg, ServerResp, TopicSub,
    client_msg::Message as Said, server_msg::Message as Heard,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;

use crate::{
    desk::Desk,
    guest::{Guest, SOON},
    net::{House, Net},
    plugin::{Plugin, section},
};

const ALL: &str = "[\"create\", \"update\", \"delete\"]";

async fn alpha(net: &Net, plugin: &Plugin, more: &str) -> House {
    net.domain_with("alpha.test", &plugin.section(more)).await
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

#[tokio::test]
async fn a_plugin_is_told_of_accounts_that_come_change_and_go() {
    let net = Net::new().await;
    let mut plugin = Plugin::start().await;
    let alpha = alpha(&net, &plugin, &format!("accounts = {ALL}")).await;
    let mut ann = Desk::at(&alpha).await;
    let public = json!({"fn": "Ann"});
    let made = ann
        .signs_up("ann", json!({"desc": {"public": public}}))
        .await;
    let id = made.params["user"].as_str().unwrap().to_owned();
    let told = plugin.hears_of_account().await;
    assert_eq!((told.action(), &told.user_id), (Crud::Create, &id));
    assert_eq!(told.public, bytes(&public));
    assert_eq!(told.tags, ["basic:ann"]);
    assert_eq!(told.default_acs.unwrap().auth, "JRWPAS");

    let public = json!({"fn": "Ann B."});
    ann.asks("sub", json!({"topic": "me"})).await;
    ann.sets_me(json!({"desc": {"public": public}})).await;
    let told = plugin.hears_of_account().await;
    assert_eq!((told.action(), &told.user_id), (Crud::Update, &id));
    assert_eq!(told.public, bytes(&public));
    ann.sets_me(json!({"tags": ["basic:ann", "alias:star"]}))
        .await;
    let told = plugin.hears_of_account().await;
    assert_eq!((told.action(), told.tags.len()), (Crud::Update, 2));

    let gone = ann
        .asks("del", json!({"what": "user", "user": id, "hard": true}))
        .await;
    assert_eq!(gone.code, 200);
    let told = plugin.hears_of_account().await;
    assert_eq!((told.action(), &told.user_id), (Crud::Delete, &id));
    assert_eq!((told.public.len(), told.tags.len()), (0, 0));
    plugin.stop().await;
}

#[tokio::test]
async fn an_account_that_waits_for_approval_is_new_when_it_is_approved() {
    let net = Net::new().await;
    let mut plugin = Plugin::start().await;
    let mut alpha = alpha(&net, &plugin, "accounts = [\"create\"]").await;
    alpha.stop().await;
    alpha.set("registration", "\"approval\"");
    let domain = alpha.in_hand().await;
    let root = domain.add_user("root", "secret of root", "Root", Level::Root);
    root.await.unwrap();
    domain.close().await;
    alpha.start().await;
    let (mut root, mut eve) = (Desk::at(&alpha).await, Desk::at(&alpha).await);
    root.logs_in("root", "secret of root").await;
    eve.signs_up("eve", json!({"login": false})).await;
    let made = json!({"user": "new", "scheme": "basic", "secret": crate::desk::secret("bob:secret of bob")});
    let made = Desk::at(&alpha).await.asks("acc", made).await;
    let bob = made.params["user"].clone();
    let approve = json!({"user": bob, "status": "ok"});
    assert_eq!(root.asks("acc", approve).await.code, 200);
    let told = plugin.hears_of_account().await;
    assert_eq!((told.action(), json!(told.user_id)), (Crud::Create, bob));
    plugin.stop().await;
}

#[tokio::test]
async fn a_plugin_is_told_of_groups_and_who_belongs_to_them() {
    let net = Net::new().await;
    let mut plugin = Plugin::start().await;
    let more = format!("topics = {ALL}\nsubscriptions = {ALL}");
    let alpha = alpha(&net, &plugin, &more).await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    let public = json!({"fn": "Club"});
    let group = ann
        .founds("new1", json!({"desc": {"public": public}}))
        .await;
    let told = plugin.hears_of_topic().await;
    assert_eq!((told.action(), &told.name), (Crud::Create, &group));
    assert_eq!(told.desc.unwrap().public, bytes(&public));
    let told = plugin.hears_of_subscription().await;
    assert_eq!((told.action(), &told.topic), (Crud::Create, &group));
    assert_eq!(
        (&told.user_id, told.mode.unwrap().given.contains('O')),
        (&ann.person.id, true)
    );

    ann.gives(&group, &ben, "JRWPS").await;
    let told = plugin.hears_of_subscription().await;
    assert_eq!(
        (told.action(), &told.user_id),
        (Crud::Create, &ben.person.id)
    );
    ann.gives(&group, &ben, "JR").await;
    let told = plugin.hears_of_subscription().await;
    assert_eq!(
        (told.action(), told.mode.unwrap().given),
        (Crud::Update, "JR".to_owned())
    );
    let club = json!({"topic": group, "desc": {"public": {"fn": "The club"}}});
    ann.session.request("set", club).await.unwrap();
    assert_eq!(plugin.hears_of_topic().await.action(), Crud::Update);
    ben.session.subscribe(&group).await.unwrap();
    let leave = json!({"topic": group, "unsub": true});
    ben.session.request("leave", leave).await.unwrap();
    let told = loop {
        let told = plugin.hears_of_subscription().await;
        if told.action() != Crud::Update {
            break told;
        }
    };
    assert_eq!(
        (told.action(), &told.user_id),
        (Crud::Delete, &ben.person.id)
    );
    let end = json!({"topic": group, "what": "topic", "hard": true});
    ann.session.request("del", end).await.unwrap();
    let told = plugin.hears_of_topic().await;
    assert_eq!((told.action(), &told.name), (Crud::Delete, &group));
    plugin.stop().await;
}

#[tokio::test]
async fn a_plugin_is_told_of_messages_where_it_may_read_and_nowhere_else() {
    let net = Net::new().await;
    let mut plugin = Plugin::start().await;
    let alpha = alpha(&net, &plugin, "messages = [\"p2p\", \"grp\"]").await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    ann.session.subscribe("slf").await.unwrap();
    ann.session.publish("slf", "to myself").await.unwrap();
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    ann.says(&ben, "hello").await;
    let told = plugin.hears_of_message().await;
    let data = told.msg.clone().unwrap();
    assert_eq!((told.action(), data.seq_id), (Crud::Create, 1));
    assert_eq!(
        (&data.from_user_id, &data.topic),
        (&ann.person.id, &ben.person.id)
    );
    assert_eq!(data.content, "\"hello\"");
    let group = ann.founds("new1", json!({})).await;
    ann.session.publish(&group, "to all").await.unwrap();
    let data = plugin.hears_of_message().await.msg.unwrap();
    assert_eq!((&data.from_user_id, &data.topic), (&ann.person.id, &group));
    assert!(plugin.has_heard_all());
    plugin.stop().await;
}

fn rules(request: ClientReq) -> Option<ServerResp> {
    let message = request.msg.unwrap();
    let Some(Said::Pub(publish)) = &message.message else {
        panic!("asked about {message:?}");
    };
    let respond = |status: RespCode| ServerResp {
        status: status.into(),
        ..Default::default()
    };
    Some(match &publish.content[..] {
        b"\"forget\"" => respond(RespCode::Drop),
        b"\"rude\"" => {
            let ctrl = ServerCtrl {
                code: 422,
                text: "be polite".to_owned(),
                params: [("why".to_owned(), "\"rude\"".into())].into(),
                ..Default::default()
            };
            let message = Some(Heard::Ctrl(ctrl));
            ServerResp {
                srvmsg: Some(ServerMsg { message }),
                ..respond(RespCode::Respond)
            }
        }
        b"\"LOUD\"" => {
            let mut publish = publish.clone();
            publish.content = "\"loud\"".into();
            ServerResp {
                clmsg: Some(ClientMsg {
                    message: Some(Said::Pub(publish)),
                    extra: None,
                }),
                ..respond(RespCode::Replace)
            }
        }
        _ => respond(RespCode::Continue),
    })
}

fn words(guest: &Guest, other: &Guest, text: &str) -> Value {
    json!({"topic": guest.name_of(other), "noecho": true, "content": text})
}

#[tokio::test]
async fn a_plugin_lets_requests_pass_forgets_answers_and_replaces_them() {
    let net = Net::new().await;
    let plugin = Plugin::start().await;
    let alpha = alpha(
        &net,
        &plugin,
        "requests = [\"pub\"]\nrequest_topics = [\"p2p\"]",
    )
    .await;
    let (mut ann, mut ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    let id = ann.person.id.clone();
    plugin.judges(move |it| {
        let session = it.sess.clone().unwrap();
        assert_eq!(session.user_id, id);
        // A proxy on this machine did not say where the client comes from.
        assert_eq!((session.auth_level, &*session.remote_addr), (20, ""));
        rules(it)
    });
    // Not in a topic that it is asked about.
    let group = ann.founds("new1", json!({})).await;
    ann.session.publish(&group, "rude").await.unwrap();

    assert_eq!(ann.says(&ben, "hello").await, 1);
    let forgotten = ann
        .session
        .send("pub", words(&ann, &ben, "forget"))
        .await
        .unwrap();
    let polite = (422, "be polite".to_owned());
    let rude = words(&ann, &ben, "rude");
    assert_eq!(ann.is_refused("pub", rude.clone()).await, polite);
    let id = ann.session.send("pub", rude).await.unwrap();
    let answers = |it: &Frame| it.kind == FrameKind::Ctrl && it.text("id") == id;
    let answer = ann.session.wait_for("answer", SOON, answers).await.unwrap();
    assert_eq!(answer.body["params"], json!({"why": "rude"}));
    assert_eq!(answer.text("topic"), ben.person.id);
    assert_eq!(ann.says(&ben, "LOUD").await, 2);
    ben.reads(&ann, &["hello", "loud"]).await;
    let heard = ann.has_heard(&ben).await;
    assert!(
        heard.iter().all(|it| it.text("id") != forgotten),
        "{heard:?}"
    );
    plugin.stop().await;
}

#[tokio::test]
async fn a_plugin_can_change_no_request_into_a_log_in() {
    let net = Net::new().await;
    let plugin = Plugin::start().await;
    let alpha = alpha(&net, &plugin, "requests = [\"leave\"]").await;
    let mut ann = alpha.guest("ann").await;
    plugin.judges(|_| {
        Some(ServerResp {
            status: RespCode::Replace.into(),
            clmsg: Some(ClientMsg {
                message: Some(Said::Login(Default::default())),
                extra: None,
            }),
            ..Default::default()
        })
    });
    ann.session.subscribe("me").await.unwrap();
    let forgotten = ann
        .session
        .send("leave", json!({"topic": "me"}))
        .await
        .unwrap();
    // What follows is answered, and that is not.
    let get = json!({"topic": "me", "what": "desc"});
    let id = ann.session.send("get", get).await.unwrap();
    let answered = RefCell::new(Vec::new());
    let fits = |it: &Frame| {
        answered.borrow_mut().push(it.text("id").to_owned());
        it.text("id") == id
    };
    ann.session.wait_for("answer", SOON, fits).await.unwrap();
    let answered = answered.into_inner();
    assert!(!answered.contains(&forgotten), "{answered:?}");
    plugin.stop().await;
}

#[tokio::test]
async fn a_search_finds_what_a_plugin_says() {
    let net = Net::new().await;
    let plugin = Plugin::start().await;
    let alpha = alpha(&net, &plugin, "searches = true").await;
    let (mut ann, ben) = (alpha.guest("ann").await, alpha.guest("ben").await);
    let own = ann.finds("basic:ben").await;
    assert_eq!(own[0]["topic"], ben.person.id);

    let (asker, found) = (ann.person.id.clone(), ben.person.id.clone());
    plugin.finds(move |query| {
        assert_eq!(query.user_id, asker);
        let respond = |status: RespCode| SearchFound {
            status: status.into(),
            ..Default::default()
        };
        match &*query.query {
            "nobody" => respond(RespCode::Drop),
            "boss" => SearchFound {
                query: "basic:ben".to_owned(),
                ..respond(RespCode::Replace)
            },
            "staff" => SearchFound {
                result: vec![
                    TopicSub {
                        user_id: found.clone(),
                        public: "{\"fn\":\"Ben of the staff\"}".into(),
                        ..Default::default()
                    },
                    TopicSub {
                        topic: "nonsense".to_owned(),
                        ..Default::default()
                    },
                ],
                ..respond(RespCode::Respond)
            },
            _ => respond(RespCode::Continue),
        }
    });
    assert_eq!(ann.finds("nobody").await, [] as [Value; 0]);
    assert_eq!(ann.finds("boss").await[0]["topic"], ben.person.id);
    let staff = ann.finds("staff").await;
    assert_eq!(staff.len(), 1, "{staff:?}");
    assert_eq!(staff[0]["topic"], ben.person.id);
    assert_eq!(staff[0]["public"]["fn"], "Ben of the staff");
    assert_eq!(ann.finds("basic:ben").await.len(), 1);
    plugin.stop().await;
}

#[tokio::test]
async fn requests_pass_or_are_refused_while_a_plugin_is_silent_or_away() {
    let net = Net::new().await;
    let silent = Plugin::start().await;
    silent.judges(|_| None);
    let away = Plugin::start().await;
    let address = away.address;
    away.stop().await;
    let asks = "requests = [\"pub\"]\nsearches = true\ntimeout_ms = 50";
    let strict = "failure_code = 503\nfailure_text = \"no judge\"";
    let refused = (503, "no judge".to_owned());
    for (name, place, more, passes) in [
        ("alpha.test", silent.address, "", true),
        ("beta.test", silent.address, strict, false),
        ("gamma.test", address, "", true),
        ("delta.test", address, strict, false),
    ] {
        let settings = section(place, &format!("{asks}\n{more}"));
        let house = net.domain_with(name, &settings).await;
        let (mut ann, ben) = (house.guest("ann").await, house.guest("ben").await);
        ann.opens(&ben).await;
        let words = words(&ann, &ben, "hello");
        for seq in 1..=3 {
            if passes {
                assert_eq!(ann.says(&ben, "hello").await, seq, "{name}");
            } else {
                assert_eq!(
                    ann.is_refused("pub", words.clone()).await,
                    refused,
                    "{name}"
                );
            }
        }
        if name == "gamma.test" {
            assert_eq!(ann.finds("basic:ben").await.len(), 1);
        }
    }
    silent.stop().await;
}

#[tokio::test]
async fn what_happens_while_a_plugin_is_away_it_is_told_when_it_is_back() {
    let net = Net::new().await;
    let mut plugin = Plugin::start().await;
    let alpha = alpha(&net, &plugin, "accounts = [\"create\"]").await;
    let ann = alpha.guest("ann").await;
    assert_eq!(plugin.hears_of_account().await.user_id, ann.person.id);
    let address = plugin.address;
    plugin.stop().await;
    let (ben, cat) = (alpha.guest("ben").await, alpha.guest("cat").await);
    let mut plugin = Plugin::start_at(address, None).await;
    for guest in [&ben, &cat] {
        assert_eq!(plugin.hears_of_account().await.user_id, guest.person.id);
    }
    plugin.stop().await;
}

fn tls(certificate: &rcgen::CertifiedKey<rcgen::KeyPair>) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.cert.der().clone()],
            PrivateKeyDer::Pkcs8(key),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn a_plugin_elsewhere_is_known_by_its_certificate() {
    let net = Net::new().await;
    let certificate = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (own, other) = (certificate(), certificate());
    let nowhere = "127.0.0.1:0".parse().unwrap();
    let mut plugin = Plugin::start_at(nowhere, Some(tls(&own))).await;
    let mut forged = Plugin::start_at(nowhere, Some(tls(&other))).await;
    let file = net.folder().join("plugin.pem");
    std::fs::write(&file, own.cert.pem()).unwrap();
    let section = |name: &str, port: u16| {
        format!(
            "[[plugins]]\nname = {name:?}\naddress = \"https://localhost:{port}\"\n\
             authority_file = {file:?}\naccounts = [\"create\"]\n"
        )
    };
    let both = [
        section("own", plugin.address.port()),
        section("forged", forged.address.port()),
    ];
    let alpha = net.domain_with("alpha.test", &both.concat()).await;
    let ann = alpha.guest("ann").await;
    assert_eq!(plugin.hears_of_account().await.user_id, ann.person.id);
    assert!(forged.has_heard_all());
    plugin.stop().await;
    forged.stop().await;
}
