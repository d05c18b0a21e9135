//! Files over gRPC.

use std::{fs, path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use freehold_proto::pbx::{Auth, FileDownReq, FileDownResp, FileMeta, FileUpReq, FileUpResp};
use futures_util::{Stream, stream};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tonic::{Status, client::Grpc, codegen::http::uri::PathAndQuery, transport::Channel};
use tonic_prost::ProstCodec;

use crate::{
    bot::channel,
    guest::{Guest, SOON},
    net::{House, Net},
};

const UPLOAD: &str = "/pbx.Node/LargeFileReceive";
const DOWNLOAD: &str = "/pbx.Node/LargeFileServe";
const KIB: usize = 1024;

struct Scene {
    _net: Net,
    alpha: House,
    ann: Guest,
}

impl Scene {
    /// With lines for the section `[clients]` and those after it.
    async fn with(more: &str) -> Self {
        let net = Net::new().await;
        let config = format!("grpc_listen = \"127.0.0.1:0\"\n{more}");
        let alpha = net.domain_with("alpha.test", &config).await;
        let ann = alpha.guest("ann").await;
        Self {
            _net: net,
            alpha,
            ann,
        }
    }

    async fn new() -> Self {
        Self::with("[files]\nfile_mib_max = 2").await
    }

    fn token(&self) -> Option<Auth> {
        auth("token", &self.ann.person.token)
    }

    fn first(&self) -> FileUpReq {
        FileUpReq {
            id: "up".to_owned(),
            auth: self.token(),
            meta: meta("walk.bin", "application/octet-stream"),
            ..Default::default()
        }
    }

    async fn sends(&self, pieces: Vec<FileUpReq>) -> FileUpResp {
        uploads(channel(&self.alpha).await, stream::iter(pieces))
            .await
            .unwrap()
    }

    async fn sends_whole(&self, bytes: &[u8]) -> FileUpResp {
        let pieces = bytes.chunks(300 * KIB).map(content);
        let pieces = [self.first()].into_iter().chain(pieces).collect();
        self.sends(pieces).await
    }

    fn question(&self, uri: &str) -> FileDownReq {
        FileDownReq {
            id: "down".to_owned(),
            auth: self.token(),
            uri: uri.to_owned(),
            ..Default::default()
        }
    }

    async fn asks(&self, question: FileDownReq) -> (FileDownResp, Vec<u8>) {
        downloads(&self.alpha, vec![question]).await.unwrap()
    }

    /// How many files there are on disk, whole or half, once those on their way out are gone.
    async fn settles_at(&self, files: usize) {
        let deadline = Instant::now() + SOON;
        loop {
            let found = files_below(&self.alpha.data().join("files"));
            if found == files {
                return;
            }
            assert!(Instant::now() < deadline, "{found} files");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn files_below(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap();
    let paths = entries.map(|it| it.unwrap().path());
    paths
        .map(|it| if it.is_dir() { files_below(&it) } else { 1 })
        .sum()
}

fn auth(scheme: &str, secret: &str) -> Option<Auth> {
    Some(Auth {
        scheme: scheme.to_owned(),
        secret: secret.to_owned(),
    })
}

fn meta(name: &str, mime: &str) -> Option<FileMeta> {
    Some(FileMeta {
        name: name.to_owned(),
        mime_type: mime.to_owned(),
        ..Default::default()
    })
}

fn content(bytes: &[u8]) -> FileUpReq {
    FileUpReq {
        content: bytes.to_vec().into(),
        ..Default::default()
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|it| (it % 251) as u8).collect()
}

async fn uploads(
    channel: Channel,
    pieces: impl Stream<Item = FileUpReq> + Send + 'static,
) -> Result<FileUpResp, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<FileUpReq, FileUpResp>::default();
    let path = PathAndQuery::from_static(UPLOAD);
    let call = grpc.client_streaming(tonic::Request::new(pieces), path, codec);
    let answer = timeout(SOON * 2, call).await.expect("it answers");
    answer.map(tonic::Response::into_inner)
}

/// The first message of the answer, and the content of those after it.
async fn downloads(
    house: &House,
    questions: Vec<FileDownReq>,
) -> Result<(FileDownResp, Vec<u8>), Status> {
    let mut grpc = Grpc::new(channel(house).await);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<FileDownReq, FileDownResp>::default();
    let path = PathAndQuery::from_static(DOWNLOAD);
    let questions = tonic::Request::new(stream::iter(questions));
    let mut heard = grpc.streaming(questions, path, codec).await?.into_inner();
    let first = heard.message().await?.expect("an answer");
    assert!(first.content.is_empty());
    let mut content = Vec::new();
    while let Some(piece) = heard.message().await? {
        assert_eq!((piece.code, piece.meta), (0, None));
        content.extend_from_slice(&piece.content);
    }
    Ok((first, content))
}

fn told(answer: &FileUpResp) -> (i32, &str) {
    (answer.code, &answer.text)
}

#[tokio::test]
async fn a_bot_gets_back_what_it_sent() {
    let scene = Scene::new().await;
    let sent = bytes(1500 * KIB);
    let answer = scene.sends_whole(&sent).await;
    assert_eq!(
        (told(&answer), &*answer.id, &*answer.redir_url),
        ((200, "ok"), "up", "")
    );
    let stored = answer.meta.unwrap();
    assert!(stored.name.starts_with("/v0/file/s/alpha.test/"));
    assert_eq!(
        (stored.size, &*stored.mime_type, stored.etag.len()),
        (1500 * KIB as i64, "application/octet-stream", 32)
    );
    let (first, content) = scene.asks(scene.question(&stored.name)).await;
    assert_eq!((first.code, &*first.text, &*first.id), (200, "ok", "down"));
    let name = "walk.bin".to_owned();
    assert_eq!(
        first.meta,
        Some(FileMeta {
            name,
            ..stored.clone()
        })
    );
    assert_eq!(content, sent);
    // It is the same file over HTTP.
    let over_http = scene.ann.asks_for(&scene.alpha, &stored.name, &[]).await;
    assert_eq!((over_http.status, over_http.body), (200, sent));
    let quoted = format!("\"{}\"", stored.etag);
    for known in [stored.etag, quoted] {
        let question = FileDownReq {
            if_modified: known,
            ..scene.question(&stored.name)
        };
        let (first, content) = scene.asks(question).await;
        assert_eq!((first.code, &*first.text), (304, "not modified"));
        assert!(content.is_empty());
    }
    let question = FileDownReq {
        if_modified: "another".to_owned(),
        ..scene.question(&stored.name)
    };
    assert_eq!(scene.asks(question).await.0.code, 200);
}

#[tokio::test]
async fn an_empty_file_is_a_file_over_grpc_too() {
    let scene = Scene::new().await;
    let stored = scene.sends_whole(&[]).await.meta.unwrap();
    assert_eq!(stored.size, 0);
    let (first, content) = scene.asks(scene.question(&stored.name)).await;
    assert_eq!((first.code, content), (200, vec![]));
}

#[tokio::test]
async fn over_grpc_nothing_is_taken_or_given_without_a_log_in() {
    let scene = Scene::new().await;
    let uri = scene.sends_whole(b"hello").await.meta.unwrap().name;
    let wrong = STANDARD.encode("ann:not the password");
    let failed = "authentication failed";
    let required = "authentication required";
    for (auth, text) in [
        (None, required),
        (auth("", ""), required),
        (auth("token", ""), failed),
        (auth("token", "!?"), failed),
        (auth("basic", &wrong), failed),
        (auth("basic", "ann:not base64"), failed),
        (auth("smoke", "signals"), "unknown authentication scheme"),
    ] {
        let up = FileUpReq {
            auth: auth.clone(),
            ..scene.first()
        };
        let answer = scene.sends(vec![up, content(b"x")]).await;
        assert_eq!((told(&answer), &*answer.id), ((401, text), "up"));
        let down = FileDownReq {
            auth,
            ..scene.question(&uri)
        };
        let (first, content) = scene.asks(down).await;
        assert_eq!((first.code, &*first.text), (401, text));
        assert_eq!((first.meta, content), (None, vec![]));
    }
    scene.settles_at(1).await;
}

#[tokio::test]
async fn over_grpc_too_a_stranger_sends_a_small_picture_for_an_account_in_the_making() {
    let scene = Scene::new().await;
    let newacc = FileUpReq {
        auth: None,
        topic: "newacc".to_owned(),
        ..scene.first()
    };
    let answer = scene.sends(vec![newacc.clone(), content(b"face")]).await;
    assert_eq!(told(&answer), (200, "ok"));
    let large = content(&bytes(600 * KIB));
    let answer = scene.sends(vec![newacc, large.clone(), large]).await;
    assert_eq!(told(&answer), (413, "too large"));
    scene.settles_at(1).await;
}

#[tokio::test]
async fn a_file_that_is_too_large_is_refused_over_grpc_and_leaves_nothing() {
    let scene = Scene::new().await;
    let answer = scene.sends_whole(&bytes(2048 * KIB + 1)).await;
    assert_eq!(told(&answer), (413, "too large"));
    assert_eq!(answer.meta, None);
    let mut first = scene.first();
    first.meta.as_mut().unwrap().size = 2048 * KIB as i64 + 1;
    let answer = scene.sends(vec![first]).await;
    assert_eq!(told(&answer), (413, "too large"));
    // One piece has a bound of its own.
    let answer = scene
        .sends(vec![scene.first(), content(&bytes(1200 * KIB))])
        .await;
    assert_eq!(told(&answer), (413, "too large"));
    scene.settles_at(0).await;
}

#[tokio::test]
async fn who_has_enough_gets_no_more_over_grpc() {
    let scene = Scene::with("[files]\nfile_mib_max = 1\nperson_mib_max = 1").await;
    assert_eq!(scene.sends_whole(&bytes(700 * KIB)).await.code, 200);
    let answer = scene.sends_whole(&bytes(700 * KIB)).await;
    assert_eq!(told(&answer), (422, "policy violation"));
    scene.settles_at(1).await;
}

#[tokio::test]
async fn an_upload_that_does_not_begin_with_its_description_is_malformed() {
    let scene = Scene::new().await;
    let undescribed = FileUpReq {
        meta: None,
        content: "x".into(),
        ..scene.first()
    };
    for pieces in [vec![], vec![undescribed]] {
        let answer = scene.sends(pieces).await;
        assert_eq!(told(&answer), (400, "malformed"));
    }
    // Content before everything else comes from nobody.
    assert_eq!(scene.sends(vec![content(b"x")]).await.code, 401);
    let nothing = downloads(&scene.alpha, vec![]).await.unwrap();
    assert_eq!(nothing.0.code, 400);
    scene.settles_at(0).await;
}

#[tokio::test]
async fn only_the_one_address_of_a_file_leads_to_it_over_grpc() {
    let scene = Scene::new().await;
    let uri = scene.sends_whole(b"hello").await.meta.unwrap().name;
    let elsewhere = uri.replace("alpha.test", "beta.test");
    let dotted = uri.replace("/s/", "/s/../s/");
    let asked = format!("{uri}?asatt=1");
    let absolute = format!("http://alpha.test{uri}");
    for bad in [
        "",
        "/",
        "/etc/passwd",
        &elsewhere,
        &dotted,
        &asked,
        &absolute,
    ] {
        let (first, content) = scene.asks(scene.question(bad)).await;
        assert_eq!((first.code, &*first.text), (404, "not found"), "{bad}");
        assert_eq!((first.meta, content), (None, vec![]));
    }
}

/// An upload that has come half way, and what holds it there.
async fn half_way(scene: &Scene) -> (JoinSet<Result<FileUpResp, Status>>, mpsc::Sender<FileUpReq>) {
    let (out, mut queue) = mpsc::channel(4);
    let pieces = stream::poll_fn(move |context| queue.poll_recv(context));
    let mut call = JoinSet::new();
    call.spawn(uploads(channel(&scene.alpha).await, pieces));
    out.send(scene.first()).await.unwrap();
    out.send(content(&bytes(500 * KIB))).await.unwrap();
    scene.settles_at(1).await;
    (call, out)
}

#[tokio::test]
async fn a_bot_that_leaves_in_the_middle_leaves_nothing_behind() {
    let scene = Scene::new().await;
    for _ in 0..5 {
        let (mut call, _out) = half_way(&scene).await;
        call.shutdown().await;
        scene.settles_at(0).await;
    }
    assert_eq!(scene.sends_whole(b"hello").await.code, 200);
}

#[tokio::test]
async fn a_domain_that_stops_ends_files_under_way() {
    let mut scene = Scene::new().await;
    let (mut call, _out) = half_way(&scene).await;
    let started = Instant::now();
    scene.alpha.stop().await;
    let answer = call.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(told(&answer), (503, "service unavailable"));
    assert!(started.elapsed() < Duration::from_secs(5));
    scene.settles_at(0).await;
}
