//! Runs `proto` and `keys` over the shared vectors in `interop/vectors`, which another implementation
//! can run too. The kind of refusal is part of a vector, not only that there is one. Compares the
//! tables of `docs/PROTOCOL.md` with the code too.

#![expect(
    clippy::unwrap_used,
    reason = "a vector that cannot be read fails its test"
)]

use std::{fs, path::Path, str::FromStr};

use freehold_keys::{
    CardFault, DocumentFault, RecordFault, SignedCard, SignedClientDocument, VerifiedAnnouncement,
    VerifiedRecord, open, open_entry, open_position, verify, verify_proof,
};
use freehold_proto::{
    Address, DomainName, Envelope, Header, IdentityRecord, KeyId, Placed, Refusal, RefusalCode,
    Timestamp, UserId,
    hello::{Hello, Role},
    limits,
    record::SigningKey,
    wire,
};
use serde_json::Value;

#[test]
fn text_forms_are_taken_or_refused_as_listed() {
    check_texts::<DomainName>("domain_names");
    check_texts::<UserId>("user_ids");
    check_texts::<Address>("addresses");
}

#[test]
fn what_is_not_a_canonical_name_is_refused_with_103() {
    for name in lines("domain_names_invalid.txt") {
        let refusal = Refusal::from(name.parse::<DomainName>().unwrap_err());
        assert_eq!(refusal.code, RefusalCode::NameNotCanonical, "{name:?}");
    }
}

#[test]
fn envelopes_are_opened_or_refused_for_the_reason_named() {
    let file = json("envelope.json");
    let (record, now) = (record(&file["record"]), moment(&file["now_ms"]));
    for case in cases(&file["envelopes"]) {
        let envelope = wire::Envelope {
            header: hex(&case["header"]).into(),
            signature: hex(&case["signature"]).into(),
            salt: hex(&case["salt"]).into(),
            payload: hex(&case["payload"]).into(),
        };
        let opened = Envelope::try_from(envelope.clone())
            .map_err(Refusal::from)
            .and_then(|it| open(it, &record, now));
        check(case, opened.as_ref().map(drop));
        if let Ok(opened) = opened {
            assert_eq!(opened.header.encode(), *envelope.header, "{case}");
            assert_eq!(wire::Envelope::from(opened.envelope), envelope, "{case}");
        }
    }
}

#[test]
fn hellos_are_believed_or_refused_for_the_reason_named() {
    let file = json("hello.json");
    let (record, now) = (record(&file["record"]), moment(&file["now_ms"]));
    let (from, to) = (name(&file["from"]), name(&file["to"]));
    let by = |role| Hello {
        role,
        from: &from,
        to: &to,
        key_id: KeyId::from_slice(&hex(&file["record"]["signing_key"]["key_id"])).unwrap(),
        record_hash: array(&file["record_hash"]),
        exporter: array(&file["exporter"]),
    };
    assert_eq!(by(Role::Initiator).signed_bytes(), hex(&file["signed"]));
    for (list, role) in [("hellos", Role::Initiator), ("answers", Role::Acceptor)] {
        for case in cases(&file[list]) {
            let tls_key_hash = array(&case["tls_key_hash"]);
            let signature = hex(&case["signature"]);
            let proven = verify_proof(&by(role), &signature, &record, &tls_key_hash, now);
            check(case, proven.as_ref().map(drop));
        }
    }
}

/// With `FREEHOLD_WRITE_VECTORS` set they are written anew first.
#[test]
fn the_vectors_that_are_made_here_are_in_their_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    for (name, value) in freehold_interop::vectors::all().unwrap() {
        if std::env::var_os("FREEHOLD_WRITE_VECTORS").is_some() {
            fs::write(folder.join(name), format!("{value:#}\n")).unwrap();
        }
        assert!(json(name) == value, "{name} is out of date");
    }
}

#[test]
fn identity_records_are_believed_or_not_for_the_reason_named() {
    let file = json("record.json");
    let (domain, now) = (name(&file["domain"]), moment(&file["now_ms"]));
    for case in cases(&file["records"]) {
        let signed = hex(&case["signed"]);
        let verified = VerifiedRecord::verify(&signed, &domain, &array(&file["anchor"]), now);
        let found = match &verified {
            Ok(_) => "ok",
            Err(RecordFault::Malformed(_)) => "malformed",
            Err(RecordFault::OtherDomain { .. }) => "other domain",
            Err(RecordFault::OtherRoot { .. }) => "other root",
            Err(RecordFault::BadSignature) => "bad signature",
            Err(RecordFault::OutsideLifetime { .. }) => "outside its life",
            Err(RecordFault::Version { .. }) => "no version",
            Err(RecordFault::NotFresh(_)) => "not fresh",
            Err(RecordFault::Succession(_)) => "succession",
            Err(_) => "another reason",
        };
        assert_eq!(case["expect"], found, "{}: {verified:?}", case["comment"]);
    }
}

#[test]
fn positions_are_taken_or_refused_for_the_reason_named() {
    let file = json("position.json");
    let home = record(&file["record"]);
    for case in cases(&file["positions"]) {
        let placed = wire::Placed {
            position: hex(&case["position"]).into(),
            signature: hex(&case["signature"]).into(),
        };
        let open = |from_home| {
            Placed::try_from(placed.clone())
                .map_err(Refusal::from)
                .and_then(|it| open_position(it, &home, from_home))
        };
        let opened = open(false);
        check(case, opened.as_ref().map(drop));
        let mut from_home = case.clone();
        if let Some(expected) = case.get("expect_from_home") {
            from_home["expect"] = expected.clone();
        }
        check(&from_home, open(true).as_ref().map(drop));
        if let Ok(opened) = opened {
            assert_eq!(opened.position.encode(), hex(&case["position"]), "{case}");
        }
    }
}

#[test]
fn entries_are_opened_or_refused_for_the_reason_named() {
    let file = json("entry.json");
    let (home, author) = (record(&file["home"]), record(&file["author"]));
    for case in cases(&file["entries"]) {
        let placed = wire::Placed {
            position: hex(&case["position"]).into(),
            signature: hex(&case["position_signature"]).into(),
        };
        let place = open_position(placed.try_into().unwrap(), &home, false).unwrap();
        let envelope = wire::Envelope {
            header: hex(&case["header"]).into(),
            signature: hex(&case["signature"]).into(),
            salt: hex(&case["salt"]).into(),
            payload: hex(&case["payload"]).into(),
        };
        let envelope: Envelope = envelope.try_into().unwrap();
        let from = Header::decode(&envelope.header).unwrap().from;
        let sealed_by = if from == home.domain { &home } else { &author };
        let opened = open_entry(place, envelope, sealed_by);
        check(case, opened.as_ref().map(drop));
    }
}

#[test]
fn what_a_domain_says_by_way_of_the_directory_is_believed_or_not_as_listed() {
    let file = json("directory.json");
    let (domain, now) = (name(&file["domain"]), moment(&file["now_ms"]));
    let record = hex(&file["record"]);
    let record = VerifiedRecord::verify(&record, &domain, &array(&file["anchor"]), now).unwrap();
    let compare = |case: &Value, found: Result<(), bool>| {
        let found = match found {
            Ok(()) => "ok",
            Err(true) => "malformed",
            Err(false) => "not good",
        };
        assert_eq!(case["expect"], found, "{}", case["comment"]);
    };
    for case in cases(&file["client_documents"]) {
        let read = SignedClientDocument::verify(&hex(&case["signed"]), &record, now);
        let malformed = |it| matches!(it, DocumentFault::Malformed(_));
        compare(case, read.map(drop).map_err(malformed));
    }
    let malformed = |it| matches!(it, CardFault::Malformed(_));
    for case in cases(&file["cards"]) {
        let read = SignedCard::read(&hex(&case["signed"])).map_err(CardFault::from);
        let read = read.and_then(|it| it.check(&record, now));
        compare(case, read.map_err(malformed));
    }
    for case in cases(&file["announcements"]) {
        let read = VerifiedAnnouncement::verify(&hex(&case["signed"]), &record, now);
        compare(case, read.map(drop).map_err(malformed));
    }
}

#[test]
fn signatures_hold_or_do_not_as_listed() {
    let (lax, rules) = (json("signature.json"), json("signature_rules.json"));
    for case in cases(&lax["signatures"])
        .iter()
        .chain(cases(&rules["signatures"]))
    {
        let (context, bytes) = (hex(&case["context"]), hex(&case["bytes"]));
        let signature = hex(&case["signature"]).try_into().unwrap();
        let holds = verify(&array(&case["public_key"]), &context, &bytes, &signature);
        assert_eq!(case["expect"], holds, "{case}");
    }
}

#[test]
fn the_document_lists_every_refusal_and_the_limits() {
    let document =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md"))
            .unwrap();
    let is_number = |it: &&str| it.len() == 3 && it.bytes().all(|byte| byte.is_ascii_digit());
    let section = document.split("\n## 9. Refusals").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.split(" | ").collect();
        let number = cells.first().filter(|it| is_number(it))?;
        Some(format!("{number} {} {}", cells.get(1)?, cells.get(2)?))
    });
    let code = |it: &RefusalCode| format!("{} {it:?} {}", it.number(), it.text());
    let codes: Vec<_> = RefusalCode::ALL.iter().map(code).collect();
    assert_eq!(rows.collect::<Vec<_>>(), codes);
    for limit in [
        format!(
            "| payload of an envelope | {} bytes",
            limits::PAYLOAD_BYTES_MAX
        ),
        format!(
            "| signed identity record | {} bytes",
            limits::RECORD_BYTES_MAX
        ),
        format!("| hello | {} bytes", limits::HELLO_BYTES_MAX),
        format!(
            "| {} bytes (256 KiB); {}; {} bytes",
            limits::ANNOUNCEMENT_BYTES_MAX,
            limits::CARDS_MAX,
            limits::CARD_BYTES_MAX
        ),
        format!("response | {} bytes", limits::FRAME_BYTES_MAX),
        format!("| envelopes in a batch | {} bytes", limits::BATCH_BYTES_MAX),
        format!("64 KiB), {} items", limits::BATCH_ITEMS_MAX),
        format!("{} texts of", limits::FIRST_CONTACT_TEXTS_MAX),
        format!("of {} characters", limits::FIRST_CONTACT_CHARS_MAX),
        format!("| default port | {} |", limits::DEFAULT_PORT),
    ] {
        assert!(document.contains(&limit), "{limit:?} is not in PROTOCOL.md");
    }
}

#[track_caller]
fn check_texts<T: FromStr>(what: &str) {
    for text in lines(&format!("{what}_valid.txt")) {
        assert!(text.parse::<T>().is_ok(), "{what}: {text:?} was refused");
    }
    for text in lines(&format!("{what}_invalid.txt")) {
        assert!(text.parse::<T>().is_err(), "{what}: {text:?} passed");
    }
}

#[track_caller]
fn check(case: &Value, outcome: Result<(), &Refusal>) {
    let found = match outcome {
        Ok(()) => Value::from("ok"),
        Err(refusal) => Value::from(refusal.code.number()),
    };
    assert_eq!(found, case["expect"], "{}: {outcome:?}", case["comment"]);
}

fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
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

fn record(of: &Value) -> IdentityRecord {
    let key = &of["signing_key"];
    let public_key = array(&key["public_key"]);
    assert_eq!(KeyId::of(&public_key).as_bytes(), &*hex(&key["key_id"]));
    let tls_key_hashes = match &of["tls_key_hash"] {
        Value::Null => Vec::new(),
        hash => vec![array(hash)],
    };
    IdentityRecord {
        domain: name(&of["domain"]),
        serial: 1,
        previous_hash: None,
        root_key: [0; 32],
        next_root_hash: [0; 32],
        signing_keys: vec![SigningKey {
            public_key,
            valid_from: moment(&key["valid_from_ms"]),
            valid_until: moment(&key["valid_until_ms"]),
        }],
        revoked_keys: Vec::new(),
        tls_key_hashes,
        endpoints: Vec::new(),
        version_min: limits::VERSION,
        version_max: limits::VERSION,
        issued: moment(&key["valid_from_ms"]),
        expires: moment(&key["valid_until_ms"]),
        incarnation: 1,
    }
}

fn name(value: &Value) -> DomainName {
    value.as_str().unwrap().parse().unwrap()
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
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
