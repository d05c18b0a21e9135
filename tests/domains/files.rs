//! Files, as the three stock clients send and fetch them, and as others try to.

use std::{fs, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_interop::STOCK_API_KEY;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    guest::{Guest, SOON},
    net::{House, Net},
    postman::{Answer, BOUNDARY, FILE, chunked, exchange, field, form, head, shown_by, upload},
    raw::Raw,
};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR and so on";
const MIB: usize = 1024 * 1024;
const HOUR: Duration = Duration::from_secs(60 * 60);

struct Scene {
    net: Net,
    alpha: House,
    ann: Guest,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With lines for the section `[files]`.
    async fn with(files: &str) -> Self {
        let net = Net::new().await;
        let files = format!("[files]\n{files}");
        let alpha = net.domain_with("alpha.test", &files).await;
        let ann = alpha.guest("ann").await;
        Self { net, alpha, ann }
    }

    async fn uploads(&self, bytes: &[u8]) -> Answer {
        self.ann.uploads(&self.alpha, bytes).await
    }

    async fn asks_for(&self, url: &str, headers: &[&str]) -> Answer {
        self.ann.asks_for(&self.alpha, url, headers).await
    }

    async fn sends(&self, headers: Vec<String>, form: &[u8]) -> Answer {
        exchange(&self.alpha, &upload(headers, form)).await
    }

    /// How many files there are on disk, whole or half, once those on their way out are gone.
    async fn settles_at(&self, files: usize) {
        let deadline = Instant::now() + SOON;
        loop {
            let names = names_below(&self.alpha.data().join("files"));
            if names.len() == files {
                return;
            }
            assert!(Instant::now() < deadline, "{names:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn names_below(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(names_below(&path));
        } else {
            names.push(path.display().to_string());
        }
    }
    names
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|it| (it % 251) as u8).collect()
}

#[tokio::test]
async fn a_client_is_told_how_large_a_file_may_be() {
    let scene = Scene::with("file_mib_max = 3").await;
    let mut raw = Raw::connect(&scene.alpha).await;
    raw.send_text(r#"{"hi":{"id":"1","ver":"0.25.3"}}"#).await;
    let hello = raw.frame().await;
    assert_eq!(hello["ctrl"]["params"]["maxFileUploadSize"], 3 * MIB);
}

#[tokio::test]
async fn the_web_app_gets_back_what_it_sent() {
    let scene = Scene::new().await;
    let picture = "Content-Disposition: form-data; name=\"file\"; filename=\"Прогулка (1).png\"\r\n\
                   Content-Type: image/png";
    let form = form(&[(picture, PNG), (&field("id"), b"81017")]);
    let answer = scene.sends(shown_by(&scene.ann), &form).await;
    let ctrl = answer.ctrl();
    assert_eq!(
        (&ctrl["id"], &ctrl["text"]),
        (&json!("81017"), &json!("ok"))
    );
    let expires = ctrl["params"]["expires"].as_str().unwrap();
    assert_eq!(expires, "2026-01-02T04:04:05.678Z");
    let url = answer.url();
    let key = url
        .strip_prefix("/v0/file/s/alpha.test/")
        .and_then(|it| it.strip_suffix(".png"))
        .unwrap();
    assert_eq!(key.len(), 22);
    let file = scene.asks_for(&url, &[]).await;
    assert_eq!((file.status, &*file.body), (200, PNG));
    assert_eq!(file.header("content-type"), Some("image/png"));
    let disposition = file.header("content-disposition").unwrap();
    assert!(
        disposition.starts_with("inline; filename=\""),
        "{disposition}"
    );
    assert!(
        disposition.ends_with("''%D0%9F%D1%80%D0%BE%D0%B3%D1%83%D0%BB%D0%BA%D0%B0%20%281%29.png")
    );
}

#[tokio::test]
async fn android_sends_in_chunks_and_names_in_one_form_only() {
    let scene = Scene::new().await;
    let sent = bytes(300_000);
    let file = "Content-Disposition: form-data; name=\"file\"; filename*=UTF-8''%D0%AF.pdf\r\n\
                Content-Type: application/pdf\r\nContent-Transfer-Encoding: binary";
    let form = form(&[(&field("id"), b"7"), (file, &sent)]);
    for size in [1000, 4096, 299_999] {
        let request = chunked(shown_by(&scene.ann), &form, size);
        let answer = exchange(&scene.alpha, &request).await;
        assert_eq!(answer.ctrl()["id"], "7");
        let url = answer.url();
        assert!(url.ends_with(".pdf"), "{url}");
        let file = scene.asks_for(&url, &[]).await;
        assert_eq!((file.status, &file.body), (200, &sent));
        let disposition = file.header("content-disposition").unwrap();
        assert!(disposition.starts_with("attachment; "), "{disposition}");
        assert!(disposition.ends_with("filename*=UTF-8''%D0%AF.pdf"));
    }
}

#[tokio::test]
async fn ios_asks_to_put_and_shows_its_log_in_in_the_url() {
    let scene = Scene::new().await;
    let sent = form(&[(FILE, &bytes(10)), (&field("topic"), b"grpAAAAAAAAAAA")]);
    let mut headers = shown_by(&scene.ann);
    headers.push(format!(
        "Content-Type: multipart/form-data; boundary=\"{BOUNDARY}\""
    ));
    headers.push(format!("Content-Length: {}", sent.len()));
    let mut request = head("PUT /v0/file/u", &headers).into_bytes();
    request.extend(sent);
    let url = exchange(&scene.alpha, &request).await.url();
    let secret = scene.ann.person.token.replace('+', "-").replace('/', "_");
    let query = format!("{url}?apikey={STOCK_API_KEY}&auth=token&secret={secret}");
    let file = exchange(&scene.alpha, head(&format!("GET {query}"), &[]).as_bytes()).await;
    assert_eq!((file.status, file.body), (200, bytes(10)));
}

#[tokio::test]
async fn a_log_in_counts_wherever_clients_put_it_and_nothing_is_taken_without() {
    let scene = Scene::new().await;
    let key = format!("X-Tinode-APIKey: {STOCK_API_KEY}");
    let token = &scene.ann.person.token;
    let plain = form(&[(FILE, b"x")]);
    let basic = STANDARD.encode("ann:ann-password");
    let escaped = token
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    for header in [
        format!("X-Tinode-Auth: Token {token}"),
        format!("x-tinode-auth: TOKEN {token}"),
        format!("Authorization: token {token}"),
        format!("Cookie: a=b; auth=token; secret={escaped}"),
    ] {
        let answer = scene.sends(vec![key.clone(), header.clone()], &plain).await;
        assert_eq!(answer.status, 200, "{header}");
    }
    let fields = [
        ("auth", "token"),
        ("secret", token),
        ("apikey", STOCK_API_KEY),
    ];
    let fields = fields.map(|(name, value)| (field(name), value.as_bytes()));
    let mut parts: Vec<_> = fields
        .iter()
        .map(|(name, value)| (&**name, *value))
        .collect();
    parts.push((FILE, b"x"));
    assert_eq!(scene.sends(vec![], &form(&parts)).await.status, 200);
    parts.reverse();
    assert_eq!(scene.sends(vec![], &form(&parts)).await.status, 200);
    scene.settles_at(6).await;

    let required = (401, "authentication required".to_owned());
    let failed = (401, "authentication failed".to_owned());
    let unknown = (401, "unknown authentication scheme".to_owned());
    let no_key = (403, "valid API key required".to_owned());
    let auth = format!("X-Tinode-Auth: Token {token}");
    for (headers, expected) in [
        (vec![], no_key.clone()),
        (vec![auth.clone()], no_key.clone()),
        (vec!["X-Tinode-APIKey: wrong".to_owned(), auth], no_key),
        (vec![key.clone()], required),
        (
            vec![key.clone(), "X-Tinode-Auth: Token".to_owned()],
            failed.clone(),
        ),
        (
            vec![key.clone(), "X-Tinode-Auth: Token ???".to_owned()],
            failed.clone(),
        ),
        (
            vec![key.clone(), format!("X-Tinode-Auth: Token {token}A")],
            failed.clone(),
        ),
        (
            vec![key.clone(), "X-Tinode-Auth: Token AAAA".to_owned()],
            failed.clone(),
        ),
        (
            vec![key.clone(), format!("Authorization: Basic {basic}x")],
            failed.clone(),
        ),
        (
            vec![key.clone(), "Authorization: Basic AAAA".to_owned()],
            failed,
        ),
        (
            vec![key.clone(), "Authorization: Bearer AAAA".to_owned()],
            unknown,
        ),
    ] {
        let answer = scene.sends(headers.clone(), &plain).await;
        assert_eq!(answer.refusal(), expected, "{headers:?}");
        let request = head(
            "GET /v0/file/s/alpha.test/AAAAAAAAAAAAAAAAAAAAAA.jpg",
            &headers,
        );
        let answer = exchange(&scene.alpha, request.as_bytes()).await;
        assert_eq!(answer.refusal(), expected, "{headers:?}");
        let request = head("HEAD /v0/file/u/", &headers);
        let answer = exchange(&scene.alpha, request.as_bytes()).await;
        assert_eq!(answer.status, expected.0, "{headers:?}");
    }
    scene.settles_at(6).await;
}

#[tokio::test]
async fn somebody_without_an_account_sends_one_small_picture_for_it_where_anybody_may_come() {
    let scene = Scene::new().await;
    let key = vec![format!("X-Tinode-APIKey: {STOCK_API_KEY}")];
    let newacc = field("topic");
    let picture = form(&[(FILE, PNG), (&newacc, b"newacc")]);
    let url = scene.sends(key.clone(), &picture).await.url();
    assert_eq!(scene.asks_for(&url, &[]).await.body, PNG);
    let large = form(&[(FILE, &bytes(MIB + 1)), (&newacc, b"newacc")]);
    let answer = scene.sends(key.clone(), &large).await;
    assert_eq!(answer.refusal(), (413, "too large".to_owned()));
    let other = form(&[(FILE, PNG), (&newacc, b"grpAAAAAAAAAAA")]);
    assert_eq!(scene.sends(key.clone(), &other).await.status, 401);
    scene.settles_at(1).await;
    for _ in 0..57 {
        assert_eq!(scene.sends(key.clone(), &picture).await.status, 200);
    }
    assert_eq!(scene.sends(key.clone(), &picture).await.status, 503);
    scene.net.clock.advance(HOUR);
    scene.settles_at(0).await;
    assert_eq!(scene.sends(key.clone(), &picture).await.status, 200);

    let mut closed = scene.net.domain("closed.test").await;
    closed.stop().await;
    closed.set("registration", "\"closed\"");
    closed.start().await;
    let answer = exchange(&closed, &upload(key, &picture)).await;
    assert_eq!(
        answer.refusal(),
        (401, "authentication required".to_owned())
    );
}

#[tokio::test]
async fn what_is_no_form_with_one_file_is_malformed_and_leaves_nothing() {
    let scene = Scene::new().await;
    let whole = form(&[(FILE, b"x")]);
    let malformed = (400, "malformed".to_owned());
    let cut = &whole[..whole.len() - 10];
    let long = vec![b'x'; 5000];
    let many = vec![(FILE, &b"x"[..]); 2];
    let fields: Vec<String> = (0..17).map(|it| field(&it.to_string())).collect();
    let fields: Vec<_> = fields.iter().map(|it| (&**it, &b"x"[..])).collect();
    let endless = format!(
        "Content-Disposition: form-data; name=\"file\"; x=\"{}\"",
        "x".repeat(200_000)
    );
    for (what, form) in [
        ("no bytes", Vec::new()),
        ("no form", b"hello".to_vec()),
        ("only its end", form(&[])),
        ("cut off", cut.to_vec()),
        ("cut off in the file", whole[..whole.len() - 30].to_vec()),
        ("no file", form(&[(&field("id"), b"1")])),
        ("two files", form(&many)),
        ("a long id", form(&[(&field("id"), &long), (FILE, b"x")])),
        (
            "an id that is no text",
            form(&[(&field("id"), b"\xff\xfe"), (FILE, b"x")]),
        ),
        ("many fields", form(&fields)),
        ("a head without end", form(&[(&endless, b"x")])),
        (
            "a preamble without end",
            [vec![b'x'; 200_000], whole.clone()].concat(),
        ),
        ("a field without a head", form(&[("", b"x")])),
    ] {
        let answer = scene.sends(shown_by(&scene.ann), &form).await;
        assert_eq!(answer.refusal(), malformed, "{what}");
    }
    for kind in [
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/mixed; boundary=x",
    ] {
        let mut headers = shown_by(&scene.ann);
        headers.push(format!("Content-Type: {kind}"));
        headers.push("Content-Length: 0".to_owned());
        let request = head("POST /v0/file/u/", &headers);
        let answer = exchange(&scene.alpha, request.as_bytes()).await;
        assert_eq!(answer.refusal(), malformed, "{kind}");
    }
    scene.settles_at(0).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_however_its_length_is_told() {
    let scene = Scene::with("file_mib_max = 1").await;
    let fits = scene.uploads(&bytes(MIB)).await.url();
    assert_eq!(scene.asks_for(&fits, &[]).await.body, bytes(MIB));
    let too_large = (413, "too large".to_owned());
    assert_eq!(scene.uploads(&bytes(MIB + 1)).await.refusal(), too_large);
    // Told in advance: refused before the first byte.
    assert_eq!(scene.uploads(&bytes(10 * MIB)).await.refusal(), too_large);
    let form = form(&[(FILE, &bytes(10 * MIB)), (&field("id"), b"1")]);
    let request = chunked(shown_by(&scene.ann), &form, 8192);
    assert_eq!(exchange(&scene.alpha, &request).await.refusal(), too_large);
    // One that asks first sends nothing at all.
    let mut headers = shown_by(&scene.ann);
    headers.push("Expect: 100-continue".to_owned());
    headers.push("Content-Length: 99999999".to_owned());
    headers.push(format!(
        "Content-Type: multipart/form-data; boundary={BOUNDARY}"
    ));
    let request = head("POST /v0/file/u/", &headers);
    let answer = exchange(&scene.alpha, request.as_bytes()).await;
    assert_eq!(answer.refusal(), too_large);
    scene.settles_at(1).await;
}

#[tokio::test]
async fn who_has_enough_gets_no_more_until_something_is_collected() {
    let scene = Scene::with("person_mib_max = 2\ntotal_mib_max = 3\nfile_mib_max = 2").await;
    let amy = scene.alpha.guest("amy").await;
    assert_eq!(scene.uploads(&bytes(MIB)).await.status, 200);
    let policy = (422, "policy violation".to_owned());
    assert_eq!(scene.uploads(&bytes(MIB + 1)).await.refusal(), policy);
    assert_eq!(scene.uploads(&bytes(MIB)).await.status, 200);
    assert_eq!(amy.uploads(&scene.alpha, &bytes(MIB)).await.status, 200);
    let full = (503, "service unavailable".to_owned());
    assert_eq!(amy.uploads(&scene.alpha, b"x").await.refusal(), full);
    scene.settles_at(3).await;
    scene.net.clock.advance(HOUR);
    scene.settles_at(0).await;
    assert_eq!(scene.uploads(&bytes(2 * MIB)).await.status, 200);
}

#[tokio::test]
async fn who_has_a_file_is_not_sent_it_again() {
    let scene = Scene::new().await;
    let url = scene.uploads(PNG).await.url();
    let file = scene.asks_for(&url, &[]).await;
    assert_eq!(file.header("cache-control"), Some("private, max-age=86400"));
    let etag = file.header("etag").unwrap().to_owned();
    let known = scene
        .asks_for(&url, &[&format!("If-None-Match: {etag}")])
        .await;
    assert_eq!((known.status, &*known.body), (304, &b""[..]));
    assert_eq!(known.header("etag"), Some(&*etag));
    let other = scene.asks_for(&url, &["If-None-Match: \"other\""]).await;
    assert_eq!((other.status, &*other.body), (200, PNG));
    let again = scene.uploads(PNG).await.url();
    assert_ne!(url, again);
    assert_eq!(
        scene.asks_for(&again, &[]).await.header("etag"),
        Some(&*etag)
    );
}

#[tokio::test]
async fn players_get_the_part_that_they_ask_for() {
    let scene = Scene::new().await;
    let sent = bytes(600_000);
    let url = scene.uploads(&sent).await.url();
    for (range, from, to) in [
        ("bytes=0-", 0, 600_000),
        ("bytes=0-0", 0, 1),
        ("bytes=262143-262145", 262_143, 262_146),
        ("bytes=599999-700000", 599_999, 600_000),
        ("bytes=-5", 599_995, 600_000),
    ] {
        let part = scene.asks_for(&url, &[&format!("Range: {range}")]).await;
        assert_eq!(
            (part.status, &*part.body),
            (206, &sent[from..to]),
            "{range}"
        );
        let said = format!("bytes {from}-{}/600000", to - 1);
        assert_eq!(part.header("content-range"), Some(&*said));
    }
    let beyond = scene.asks_for(&url, &["Range: bytes=600000-"]).await;
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), Some("bytes */600000"));
    for range in ["bytes=0-1,3-4", "bytes=9-1", "apples=1-2"] {
        let whole = scene.asks_for(&url, &[&format!("Range: {range}")]).await;
        assert_eq!((whole.status, whole.body.len()), (200, 600_000), "{range}");
    }
    let stale = ["Range: bytes=0-1", "If-Range: \"other\""];
    assert_eq!(scene.asks_for(&url, &stale).await.status, 200);

    let headers = shown_by(&scene.ann);
    let request = head(&format!("HEAD {url}"), &headers);
    let answer = exchange(&scene.alpha, request.as_bytes()).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("content-length"), Some("600000"));
    assert_eq!(answer.header("accept-ranges"), Some("bytes"));
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let scene = Scene::new().await;
    let url = scene.uploads(b"").await.url();
    let file = scene.asks_for(&url, &[]).await;
    assert_eq!((file.status, file.body.len()), (200, 0));
    assert_eq!(scene.asks_for(&url, &["Range: bytes=0-"]).await.status, 416);
}

#[tokio::test]
async fn what_could_run_in_a_browser_is_saved_and_nothing_runs() {
    let scene = Scene::new().await;
    for (declared, sent, mime, disposition) in [
        ("image/png", PNG, "image/png", "inline"),
        ("text/html", PNG, "image/png", "inline"),
        (
            "image/png",
            b"<!DOCTYPE html><p>",
            "text/html",
            "attachment",
        ),
        ("image/svg+xml", b"<svg>", "image/svg+xml", "attachment"),
        ("text/plain", b"words", "text/plain", "attachment"),
        ("application/pdf", b"words", "application/pdf", "attachment"),
        (
            "model/gltf",
            b"words",
            "application/octet-stream",
            "attachment",
        ),
        (
            "multipart/mixed",
            b"words",
            "application/octet-stream",
            "attachment",
        ),
        (
            "x\u{e9}",
            b"words",
            "application/octet-stream",
            "attachment",
        ),
    ] {
        let headers = format!(
            "Content-Disposition: form-data; name=\"file\"; filename=\"a\"\r\nContent-Type: {declared}"
        );
        let form = form(&[(&headers, sent)]);
        let url = scene.sends(shown_by(&scene.ann), &form).await.url();
        let file = scene.asks_for(&url, &[]).await;
        assert_eq!(file.header("content-type"), Some(mime), "{declared}");
        let said = file.header("content-disposition").unwrap();
        assert!(said.starts_with(disposition), "{declared}: {said}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        let policy = file.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("sandbox"));
        let saved = scene.asks_for(&format!("{url}?asatt=1"), &[]).await;
        let said = saved.header("content-disposition").unwrap();
        assert!(said.starts_with("attachment"), "{declared}: {said}");
    }
}

#[tokio::test]
async fn only_the_one_address_of_a_file_leads_to_it() {
    let scene = Scene::new().await;
    let url = scene.uploads(PNG).await.url();
    let key = url
        .rsplit('/')
        .next()
        .unwrap()
        .strip_suffix(".png")
        .unwrap();
    for path in [
        format!("/v0/file/s/alpha.test/{key}.jpg"),
        format!("/v0/file/s/alpha.test/{key}"),
        format!("/v0/file/s/{key}.png"),
        format!("/v0/file/s/beta.test/{key}.png"),
        format!("/v0/file/s/ALPHA.test/{key}.png"),
        format!("/v0/file/s/alpha.test/./{key}.png"),
        format!("/v0/file/s/alpha.test/../alpha.test/{key}.png"),
        format!("/v0/file/s/alpha%2etest/{key}.png"),
        format!("{url}/"),
        "/v0/file/s/alpha.test/AAAAAAAAAAAAAAAAAAAAAA.png".to_owned(),
        "/v0/file/s/alpha.test/..%2f..%2fkeys%2ftoken.key".to_owned(),
        "/v0/file/s/../../keys/token.key".to_owned(),
        "/v0/file/s/alpha.test/../../../keys/token.key".to_owned(),
    ] {
        let answer = scene.asks_for(&path, &[]).await;
        assert_eq!(answer.refusal(), (404, "not found".to_owned()), "{path}");
    }
    for line in [
        format!("DELETE {url}"),
        format!("POST {url}"),
        "GET /v0/file/u/".to_owned(),
        "DELETE /v0/file/u/".to_owned(),
    ] {
        let request = head(&line, &shown_by(&scene.ann));
        let answer = exchange(&scene.alpha, request.as_bytes()).await;
        assert_eq!(answer.status, 405, "{line}");
        answer.ctrl();
    }
    assert_eq!(scene.asks_for(&url, &[]).await.body, PNG);
}

#[tokio::test]
async fn pages_of_other_hosts_may_ask() {
    let scene = Scene::new().await;
    let url = scene.uploads(PNG).await.url();
    for path in ["/v0/file/u/", "/v0/file/u", &url] {
        let request = head(
            &format!("OPTIONS {path}"),
            &["Origin: https://app.test".to_owned()],
        );
        let answer = exchange(&scene.alpha, request.as_bytes()).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let allowed = answer.header("access-control-allow-headers").unwrap();
        assert!(allowed.contains("X-Tinode-APIKey") && allowed.contains("X-Tinode-Auth"));
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(
            methods.contains("POST") && methods.contains("PUT"),
            "{methods}"
        );
    }
    let file = scene.asks_for(&url, &["Origin: https://app.test"]).await;
    assert_eq!(file.header("access-control-allow-origin"), Some("*"));
    let refused = scene.asks_for("/v0/file/s/x", &[]).await;
    assert_eq!(refused.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let scene = Scene::new().await;
    let form = form(&[(FILE, &bytes(2 * MIB))]);
    let request = upload(shown_by(&scene.ann), &form);
    let mut stream = TcpStream::connect(scene.alpha.endpoint.client)
        .await
        .unwrap();
    stream.write_all(&request[..MIB]).await.unwrap();
    // Part of it is on disk by now.
    scene.settles_at(1).await;
    drop(stream);
    scene.settles_at(0).await;
    // What was on its way no longer counts.
    for _ in 0..9 {
        assert_eq!(scene.uploads(b"x").await.status, 200);
    }
}

#[tokio::test]
async fn one_person_uploads_eight_files_at_once_and_others_are_not_held_up() {
    let scene = Scene::new().await;
    let amy = scene.alpha.guest("amy").await;
    let request = upload(shown_by(&scene.ann), &form(&[(FILE, &bytes(2 * MIB))]));
    let mut streams = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(scene.alpha.endpoint.client)
            .await
            .unwrap();
        stream.write_all(&request[..MIB]).await.unwrap();
        streams.push(stream);
    }
    scene.settles_at(8).await;
    let busy = (503, "service unavailable".to_owned());
    assert_eq!(scene.uploads(b"x").await.refusal(), busy);
    assert_eq!(amy.uploads(&scene.alpha, b"x").await.status, 200);
    drop(streams);
    scene.settles_at(1).await;
    assert_eq!(scene.uploads(b"x").await.status, 200);
}

#[tokio::test]
async fn a_file_that_no_message_refers_to_goes_after_an_hour() {
    let scene = Scene::new().await;
    let url = scene.uploads(PNG).await.url();
    scene.net.clock.advance(HOUR - Duration::from_secs(60));
    let later = scene.uploads(PNG).await.url();
    assert_eq!(scene.asks_for(&url, &[]).await.status, 200);
    scene.net.clock.advance(Duration::from_secs(120));
    scene.settles_at(1).await;
    assert_eq!(scene.asks_for(&url, &[]).await.status, 404);
    assert_eq!(scene.asks_for(&later, &[]).await.status, 200);
}

#[tokio::test]
async fn files_survive_a_restart_and_what_was_half_there_does_not() {
    let mut scene = Scene::new().await;
    let sent = bytes(700_000);
    let url = scene.uploads(&sent).await.url();
    let gone = scene.uploads(PNG).await.url();
    scene.alpha.stop().await;
    let whole = names_below(&scene.alpha.data().join("files"));
    assert_eq!(whole.len(), 2);
    for (name, end) in [
        ("BBBBBBBBBBBBBBBBBBBBBA", ""),
        ("CCCCCCCCCCCCCCCCCCCCCA", "#1"),
    ] {
        let shelf = scene.alpha.data().join("files").join(&name[..2]);
        fs::create_dir_all(&shelf).unwrap();
        fs::write(shelf.join(format!("{name}{end}")), "left over").unwrap();
    }
    scene.alpha.start().await;
    scene.settles_at(2).await;
    assert_eq!(scene.asks_for(&url, &[]).await.body, sent);
    // Somebody removed the bytes by hand: our fault, not "not found".
    let key = gone
        .rsplit('/')
        .next()
        .unwrap()
        .strip_suffix(".png")
        .unwrap();
    let path = scene.alpha.data().join("files").join(&key[..2]).join(key);
    fs::remove_file(path).unwrap();
    assert_eq!(scene.asks_for(&gone, &[]).await.status, 503);
}

#[tokio::test]
async fn where_files_cannot_be_written_nothing_is_half_taken_and_it_goes_on_later() {
    let scene = Scene::new().await;
    let files = scene.alpha.data().join("files");
    let away = scene.alpha.data().join("away");
    fs::rename(&files, &away).unwrap();
    fs::write(&files, "not a folder").unwrap();
    for size in [1, MIB] {
        let answer = scene.uploads(&bytes(size)).await;
        assert_eq!(answer.refusal(), (503, "service unavailable".to_owned()));
    }
    fs::remove_file(&files).unwrap();
    fs::rename(&away, &files).unwrap();
    let url = scene.uploads(PNG).await.url();
    assert_eq!(scene.asks_for(&url, &[]).await.body, PNG);
    scene.settles_at(1).await;
}

#[tokio::test]
async fn a_file_stays_as_long_as_a_message_refers_to_it_and_goes_with_its_deletion() {
    let mut scene = Scene::new().await;
    let url = scene.uploads(PNG).await.url();
    scene.uploads(b"nobody refers to this").await;
    scene.ann.session.subscribe("slf").await.unwrap();
    let publish = json!({"pub": {
        "id": "p1", "topic": "slf", "noecho": true, "content": {"txt": " "},
    }, "extra": {"attachments": [url]}});
    let seq = scene.ann.session.send_whole(publish, "p1").await.unwrap();
    assert_eq!(seq.body["params"]["seq"], 1);
    for _ in 0..3 {
        scene.net.clock.advance(HOUR);
        scene.settles_at(1).await;
    }
    assert_eq!(scene.asks_for(&url, &[]).await.status, 200);
    let delete = json!({"topic": "slf", "what": "msg", "hard": true, "delseq": [{"low": 1}]});
    scene.ann.session.request("del", delete).await.unwrap();
    for _ in 0..3 {
        scene.net.clock.advance(HOUR);
        sleep(Duration::from_millis(200)).await;
    }
    scene.settles_at(0).await;
    assert_eq!(scene.asks_for(&url, &[]).await.status, 404);
}

#[tokio::test]
async fn a_picture_stays_as_long_as_it_is_shown() {
    let mut scene = Scene::new().await;
    let old = scene.uploads(PNG).await.url();
    let new = scene.uploads(b"another picture").await.url();
    let photo = |url: &str| json!({"topic": "me", "desc": {"public": {"photo": {"ref": url}}}});
    scene.ann.session.request("set", photo(&old)).await.unwrap();
    let group = json!({"topic": "new1", "set": {"desc": {"public": {"photo": {"ref": new}}}}});
    let made = scene.ann.session.request("sub", group).await.unwrap();
    let group = made.text("topic").to_owned();
    for _ in 0..3 {
        scene.net.clock.advance(HOUR);
        sleep(Duration::from_millis(100)).await;
    }
    scene.settles_at(2).await;
    scene.ann.session.request("set", photo(&new)).await.unwrap();
    for _ in 0..3 {
        scene.net.clock.advance(HOUR);
        sleep(Duration::from_millis(100)).await;
    }
    scene.settles_at(1).await;
    assert_eq!(scene.asks_for(&old, &[]).await.status, 404);
    let delete = json!({"topic": group, "what": "topic", "hard": true});
    scene.ann.session.request("del", delete).await.unwrap();
    scene.ann.session.request("set", photo("")).await.unwrap();
    for _ in 0..3 {
        scene.net.clock.advance(HOUR);
        sleep(Duration::from_millis(100)).await;
    }
    scene.settles_at(0).await;
}

#[tokio::test]
async fn of_pictures_that_change_faster_than_the_disk_writes_only_the_last_is_kept() {
    let mut scene = Scene::new().await;
    let mut urls = Vec::new();
    for number in 0..6 {
        urls.push(scene.uploads(&bytes(10 + number)).await.url());
    }
    let made = json!({"topic": "new1"});
    let made = scene.ann.session.request("sub", made).await.unwrap();
    for topic in [made.text("topic"), "me"] {
        let mut asked = Vec::new();
        for url in urls.iter().cycle().take(10 * urls.len()) {
            let public = json!({"photo": {"ref": url}});
            let set = json!({"topic": topic, "desc": {"public": public}});
            asked.push(scene.ann.session.send("set", set).await.unwrap());
        }
        for id in asked {
            let answers = |it: &freehold_interop::Frame| it.text("id") == id;
            let answer = scene.ann.session.wait_for("answer", SOON, answers).await;
            assert_eq!(answer.unwrap().code(), 200);
        }
    }
    scene.settles_at(6).await;
    scene.net.clock.advance(HOUR);
    scene.settles_at(1).await;
    assert_eq!(scene.asks_for(&urls[5], &[]).await.body, bytes(15));
}
