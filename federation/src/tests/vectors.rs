//! The shared vectors of `interop/vectors` by the ways on which peers come in: a hello, a batch, an entry
//! that somebody shows, a signal, a record that is fetched. `interop` runs `proto` and `keys` over the same files.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use freehold_directory::StaticPeer;
use freehold_proto::{
    Envelope, IdentityRecord, Placed, Position, Refusal, RefusalCode, Timestamp, freshness, record,
    record::SigningKey, wire,
};
use prost::Message as _;
use rustls::{
    SignatureScheme, crypto::aws_lc_rs::sign::any_eddsa_type, pki_types::PrivatePkcs8KeyDer,
};
use serde_json::Value;
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_rustls::TlsAcceptor;

use super::{
    stranger::Stranger,
    support::{House, Keys, Site, config, name, start_time, user},
};
use crate::{
    Policy, Tasks, Verdict,
    hello::{Channel, Claim},
    status,
    tls::Tls,
};

/// The secret root key of the domains of the vectors.
const ROOT: [u8; 32] = [42; 32];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn envelopes_of_a_batch_are_taken_or_refused_for_the_reason_named() {
    let file = json("envelope.json");
    let (alpha, tasks) = (Keys::new("alpha.test"), Tasks::default());
    let beta = house("beta.test", &[(&alpha, &file["record"])], &tasks).await;
    let stranger = Stranger::proven(&alpha, &beta).await;
    let envelopes = cases(&file["envelopes"]).iter().map(envelope);
    let batch = batch(&stranger, envelopes.map(|it| (it, None)).collect());
    check_all(cases(&file["envelopes"]), &answers(&stranger, batch).await);
    // Each alone, since a batch may be judged otherwise than its items.
    for case in cases(&file["envelopes"]) {
        let batch = self::batch(&stranger, vec![(envelope(case), None)]);
        check(case, "expect", answers(&stranger, batch).await[0]);
    }
}

#[tokio::test]
async fn entries_that_a_home_hands_on_are_taken_or_refused_for_the_reason_named() {
    let file = json("entry.json");
    let (alpha, beta) = (Keys::new("alpha.test"), Keys::new("beta.test"));
    let tasks = Tasks::default();
    let known = [(&alpha, &file["home"]), (&beta, &file["author"])];
    let gamma = house("gamma.test", &known, &tasks).await;
    let stranger = Stranger::proven(&alpha, &gamma).await;
    let entries = cases(&file["entries"]).iter().map(|case| {
        let placed = placed(&case["position"], &case["position_signature"]);
        (envelope(case), Some(placed))
    });
    let batch = batch(&stranger, entries.collect());
    check_all(cases(&file["entries"]), &answers(&stranger, batch).await);
}

#[tokio::test]
async fn positions_that_a_home_hands_on_are_taken_or_refused_for_the_reason_named() {
    let file = json("position.json");
    let (alpha, tasks) = (Keys::new("alpha.test"), Tasks::default());
    let gamma = house("gamma.test", &[(&alpha, &file["record"])], &tasks).await;
    let stranger = Stranger::proven(&alpha, &gamma).await;
    for case in cases(&file["positions"]) {
        let placed = placed(&case["position"], &case["signature"]);
        let batch = batch(&stranger, vec![(envelope(&file["envelope"]), Some(placed))]);
        let key = match case.get("expect_from_home") {
            Some(_) => "expect_from_home",
            None => "expect",
        };
        check(case, key, answers(&stranger, batch).await[0]);
    }
}

#[tokio::test]
async fn positions_that_somebody_else_shows_are_taken_or_refused_for_the_reason_named() {
    let file = json("position.json");
    let (alpha, delta) = (Keys::new("alpha.test"), Keys::new("delta.test"));
    let tasks = Tasks::default();
    let known = [(&alpha, &file["record"]), (&delta, &file["record"])];
    let gamma = house("gamma.test", &known, &tasks).await;
    for case in cases(&file["positions"]) {
        let placed = Placed::try_from(placed(&case["position"], &case["signature"]));
        let placed = match placed.map_err(Refusal::from) {
            Ok(placed) => placed,
            Err(refusal) => {
                check(case, "expect", refusal.code.number());
                continue;
            }
        };
        // Whoever shows it, it is judged by the record of the home that it names.
        let home = Position::decode(&placed.position).map(|it| it.home);
        if home.is_ok_and(|it| it != *alpha.domain()) {
            continue;
        }
        let envelope = Envelope::try_from(envelope(&file["envelope"])).unwrap();
        let opened = gamma
            .federation
            .open_entry(delta.domain(), placed, envelope);
        let answer = match opened.await {
            Ok(_) => 0,
            Err(Verdict::Refused(refusal)) => refusal.code.number(),
            Err(other) => unreachable!("{case}: {other:?}"),
        };
        check(case, "expect", answer);
    }
}

#[test]
fn hellos_are_believed_or_refused_for_the_reason_named() {
    let file = json("hello.json");
    let key = &file["record"]["signing_key"];
    let record = listing("alpha.test", &[], &file["record"]);
    for case in cases(&file["hellos"]) {
        let request = wire::HelloRequest {
            version: 1,
            from: text(&file["from"]),
            to: text(&file["to"]),
            key_id: hex(&key["key_id"]).into(),
            record_hash: hex(&file["record_hash"]).into(),
            signature: hex(&case["signature"]).into(),
            received: None,
        };
        let channel = Channel {
            exporter: array(&file["exporter"]),
            tls_key_hash: array(&case["tls_key_hash"]),
        };
        let now = moment(&file["now_ms"]);
        let outcome = Claim::read(&request).and_then(|claim| {
            claim.admit(&name(&request.to), &Policy::default())?;
            claim.verify(&record, &channel, now)
        });
        check(case, "expect", number(&outcome));
    }
}

#[tokio::test]
async fn names_in_a_hello_are_taken_or_refused_103() {
    let (alpha, tasks) = (Keys::new("alpha.test"), Tasks::default());
    let beta = house("beta.test", &[], &tasks).await;
    let stranger = Stranger::connects(&alpha, &alpha, &beta).await;
    let hello = stranger.hello();
    let answer = |from: String| {
        let hello = wire::HelloRequest {
            from,
            ..hello.clone()
        };
        number(&Claim::read(&hello))
    };
    for name in lines("domain_names_valid.txt") {
        assert_eq!(answer(name.clone()), 0, "{name:?}");
    }
    for name in lines("domain_names_invalid.txt") {
        assert_eq!(answer(name.clone()), 103, "{name:?}");
    }
    // The same by the connection.
    let spoken = wire::HelloRequest {
        from: lines("domain_names_invalid.txt").remove(0),
        ..hello
    };
    assert_eq!(number(&stranger.says(spoken).await), 103);
}

#[tokio::test]
async fn people_in_a_signal_are_taken_or_refused_as_listed() {
    let file = json("envelope.json");
    let (alpha, tasks) = (Keys::new("alpha.test"), Tasks::default());
    let beta = house("beta.test", &[(&alpha, &file["record"])], &tasks).await;
    let stranger = Stranger::proven(&alpha, &beta).await;
    let answer = async |about: String| {
        let signal = wire::Signal {
            user: about,
            peer: user(beta.domain()).to_string(),
            what: "kp".to_owned(),
            ..wire::Signal::default()
        };
        let request = wire::SignalRequest {
            from: alpha.domain().to_string(),
            to: beta.domain().to_string(),
            signals: vec![signal],
        };
        let said = stranger.calls.client.clone().signal(request).await;
        said.err()
            .map_or(0, |it| status::read(&it).unwrap().code.number())
    };
    for id in lines("user_ids_valid.txt") {
        let answer = answer(id.clone()).await;
        let elsewhere = RefusalCode::AuthorNotOfOrigin.number();
        assert!([0, elsewhere].contains(&answer), "{id:?}: {answer}");
    }
    for id in lines("user_ids_invalid.txt") {
        let answer = answer(id.clone()).await;
        assert!([100, 103].contains(&answer), "{id:?}: {answer}");
    }
}

/// Whoever says hello is looked up, and the record that is found is believed or not. None of them lists the
/// TLS key of this connection, which is looked at only in one that is believed.
#[tokio::test]
async fn records_of_who_says_hello_are_believed_or_refused_114() {
    let file = json("record.json");
    let (alpha, tasks) = (Keys::new("alpha.test"), Tasks::default());
    for case in cases(&file["records"]) {
        let address = shows(&alpha, hex(&case["signed"]), &tasks).await;
        let site = Site::new("beta.test", config()).await;
        let beta = site.start(vec![StaticPeer {
            root_fingerprint: array(&file["anchor"]),
            ..alpha.row(address)
        }]);
        let stranger = Stranger::connects(&alpha, &alpha, &beta).await;
        let expected = match text(&case["expect"]).as_str() {
            "ok" => RefusalCode::TlsKeyNotInRecord,
            _ => RefusalCode::IdentityUnverified,
        };
        let outcome = stranger.says(stranger.hello()).await;
        assert_eq!(
            number(&outcome),
            expected.number(),
            "{}: {outcome:?}",
            case["comment"]
        );
        assert!(beta.local.is_untouched());
    }
}

// === Domains of the vectors ===

/// A domain that can find others, by records that list the keys of the vectors and of their links.
async fn house(domain: &str, known: &[(&Keys, &Value)], tasks: &Tasks) -> House {
    let mut peers = Vec::new();
    for (keys, listed) in known {
        let own = keys.ring.record().record();
        let record = IdentityRecord {
            tls_key_hashes: own.tls_key_hashes.clone(),
            ..listing(keys.domain().as_str(), &own.signing_keys, listed)
        };
        let seed = array(&listed["signing_key"]["secret_key"]);
        peers.push(StaticPeer {
            root_fingerprint: IdentityRecord::hash(&record.root_key),
            ..keys.row(shows(keys, signed(&record, &seed), tasks).await)
        });
    }
    Site::new(domain, config()).await.start(peers)
}

/// A record with the signing key of a vector, and others.
fn listing(domain: &str, others: &[SigningKey], listed: &Value) -> IdentityRecord {
    let key = &listed["signing_key"];
    let key = SigningKey {
        public_key: array(&key["public_key"]),
        valid_from: moment(&key["valid_from_ms"]),
        valid_until: moment(&key["valid_until_ms"]),
    };
    let tls_key_hash = listed.get("tls_key_hash").map(array);
    IdentityRecord {
        domain: name(domain),
        serial: 1,
        previous_hash: None,
        root_key: sign(&ROOT, &[], &[]).1,
        next_root_hash: [0; 32],
        signing_keys: [others, &[key]].concat(),
        revoked_keys: Vec::new(),
        tls_key_hashes: tls_key_hash.into_iter().collect(),
        endpoints: Vec::new(),
        version_min: 1,
        version_max: 1,
        issued: start_time().minus(DAY),
        expires: start_time().plus(DAY),
        incarnation: 1,
    }
}

/// A record as it is served, said to be the latest by the key of this seed.
fn signed(record: &IdentityRecord, seed: &[u8; 32]) -> Vec<u8> {
    let bytes = record.encode();
    let says = wire::Freshness {
        domain: record.domain.to_string(),
        serial: record.serial,
        record_hash: IdentityRecord::hash(&bytes).to_vec().into(),
        key_id: freehold_proto::KeyId::of(&sign(seed, &[], &[]).1)
            .as_bytes()
            .to_vec()
            .into(),
        issued_ms: start_time().as_millis(),
        expires_ms: start_time().plus(DAY).as_millis(),
    };
    let statement = says.encode_to_vec();
    let freshness = wire::SignedFreshness {
        signature: sign(seed, freshness::CONTEXT, &statement).0.into(),
        statement: statement.into(),
    };
    wire::SignedRecord {
        signature: sign(&ROOT, record::CONTEXT, &bytes).0.into(),
        record: bytes.into(),
        former: Vec::new(),
        freshness: Some(freshness),
    }
    .encode_to_vec()
}

/// A signature by the key of a seed, and its other half.
fn sign(seed: &[u8; 32], context: &[u8], bytes: &[u8]) -> (Vec<u8>, [u8; 32]) {
    let before = [
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    let key = PrivatePkcs8KeyDer::from([&before[..], seed].concat());
    let key = any_eddsa_type(&key).unwrap();
    let signer = key.choose_scheme(&[SignatureScheme::ED25519]).unwrap();
    let signature = signer.sign(&[context, bytes].concat()).unwrap();
    let public = key.public_key().unwrap();
    (signature, *public.as_ref().last_chunk().unwrap())
}

/// Shows a record to everybody who connects, until `tasks` stop.
async fn shows(keys: &Keys, record: Vec<u8>, tasks: &Tasks) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls::new(keys.ring.tls_identity().unwrap()).unwrap();
    let showing = async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = TlsAcceptor::from(tls.server()).accept(stream).await {
                let _gone = (stream.write_all(&record).await, stream.shutdown().await);
            }
        }
    };
    let stopped = tasks.stopped();
    tasks.spawn("record", async move {
        tokio::select! {
            () = showing => {}
            () = stopped => {}
        }
    });
    address
}

// === What is in the files ===

fn batch(
    stranger: &Stranger,
    entries: Vec<(wire::Envelope, Option<wire::Placed>)>,
) -> wire::DeliverRequest {
    let mut request = stranger.batch(Vec::new());
    let items = (1..).zip(entries);
    request.items = items
        .map(|(position, (envelope, placed))| wire::Item {
            position,
            envelope: Some(envelope),
            placed,
        })
        .collect();
    request
}

/// The code of each answer; what came before under the same id is taken too.
async fn answers(stranger: &Stranger, batch: wire::DeliverRequest) -> Vec<u32> {
    let answers = stranger.delivers(batch).await.unwrap().into_iter();
    answers.map(|it| if it == 1 { 0 } else { it }).collect()
}

#[track_caller]
fn check_all(cases: &[Value], answers: &[u32]) {
    assert_eq!(cases.len(), answers.len());
    for (case, answer) in cases.iter().zip(answers) {
        check(case, "expect", *answer);
    }
}

#[track_caller]
fn check(case: &Value, key: &str, answer: u32) {
    let found = match answer {
        0 => Value::from("ok"),
        number => Value::from(number),
    };
    assert_eq!(found, case[key], "{}", case["comment"]);
}

fn number<T>(outcome: &Result<T, Refusal>) -> u32 {
    outcome.as_ref().err().map_or(0, |it| it.code.number())
}

fn envelope(of: &Value) -> wire::Envelope {
    wire::Envelope {
        header: hex(&of["header"]).into(),
        signature: hex(&of["signature"]).into(),
        salt: hex(&of["salt"]).into(),
        payload: hex(&of["payload"]).into(),
    }
}

fn placed(position: &Value, signature: &Value) -> wire::Placed {
    wire::Placed {
        position: hex(position).into(),
        signature: hex(signature).into(),
    }
}

fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/vectors");
    fs::read_to_string(folder.join(file)).unwrap()
}

/// Lines that are not empty and not comments, to the letter.
fn lines(file: &str) -> Vec<String> {
    let text = read(file);
    let lines = text
        .lines()
        .filter(|it| !it.is_empty() && !it.starts_with('#'));
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{file} lists nothing");
    lines
}

fn json(file: &str) -> Value {
    serde_json::from_str(&read(file)).unwrap()
}

fn cases(list: &Value) -> &[Value] {
    let cases = list.as_array().unwrap();
    assert!(!cases.is_empty());
    cases
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn moment(value: &Value) -> Timestamp {
    Timestamp::from_millis(value.as_i64().unwrap()).unwrap()
}

fn array(value: &Value) -> [u8; 32] {
    hex(value).try_into().unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    assert!(text.len().is_multiple_of(2) && text.is_ascii(), "{text:?}");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}
