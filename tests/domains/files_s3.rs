//! Files in a bucket: the same promises over an S3-compatible service, moto, which comes from PyPI
//! (`tests/s3/requirements.txt`) and serves no other purpose.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    guest::SOON,
    net::{House, Net},
    postman::{FILE, chunked, exchange, form, shown_by},
};

const MIB: usize = 1024 * 1024;
const READY_WITHIN: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// The service, with a bucket that is empty at first.
struct Bucket {
    process: Child,
    port: u16,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _ended = self.process.wait();
    }
}

impl Bucket {
    async fn start() -> Self {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/.venv/bin/python");
        let there = python.exists();
        assert!(
            there,
            "{python:?} is missing: run `make tests/s3/.venv` first"
        );
        // Nobody else gets a port that was just let go.
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let process = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p"])
            .arg(port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bucket = Self { process, port };
        let deadline = Instant::now() + READY_WITHIN;
        while bucket.ask("PUT /freehold").await.is_none() {
            assert!(Instant::now() < deadline, "moto does not start");
            sleep(Duration::from_millis(100)).await;
        }
        bucket
    }

    /// The body of its answer, when it answers well.
    async fn ask(&self, line: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let signed = "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                      SignedHeaders=host, Signature=test";
        let request = format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{signed}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        timeout(SOON, reading).await.ok()?.ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    async fn settles_at(&self, objects: usize) {
        let deadline = Instant::now() + SOON;
        loop {
            let list = self.ask("GET /freehold?list-type=2").await.unwrap();
            if list.matches("<Key>alpha.test/").count() == objects {
                return;
            }
            assert!(Instant::now() < deadline, "{list}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn uploads_under_way(&self) -> usize {
        let list = self.ask("GET /freehold?uploads").await.unwrap();
        list.matches("<UploadId>").count()
    }

    /// A domain that keeps its files here.
    async fn house(&self, net: &Net, secret: &Path) -> House {
        fs::write(secret, "secret\n").unwrap();
        let files = format!(
            "[files]\ns3_bucket = \"freehold\"\ns3_endpoint = \"http://127.0.0.1:{}\"\n\
             s3_access_key = \"test\"\ns3_secret_file = {secret:?}",
            self.port
        );
        net.domain_with("alpha.test", &files).await
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|it| (it % 251) as u8).collect()
}

#[tokio::test]
async fn files_in_a_bucket_come_back_in_whole_and_in_part_and_are_collected() {
    let (net, bucket) = (Net::new().await, Bucket::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mut alpha = bucket.house(&net, &folder.path().join("s3.secret")).await;
    let mut ann = alpha.guest("ann").await;
    let mut urls = Vec::new();
    // Below, at and above one part of an upload.
    for size in [0, 1, 5 * MIB, 5 * MIB + 1, 12 * MIB] {
        urls.push((size, ann.uploads(&alpha, &bytes(size)).await.url()));
    }
    bucket.settles_at(urls.len()).await;
    alpha.stop().await;
    alpha.start().await;
    alpha.welcomes_back(&mut ann).await;
    for (size, url) in &urls {
        let file = ann.asks_for(&alpha, url, &[]).await;
        assert_eq!((file.status, file.body), (200, bytes(*size)));
    }
    let (_, url) = &urls[4];
    let range = ["Range: bytes=6000000-6000009"];
    let part = ann.asks_for(&alpha, url, &range).await;
    assert_eq!(
        (part.status, &*part.body),
        (206, &bytes(7 * MIB)[6_000_000..6_000_010])
    );
    net.clock.advance(HOUR);
    bucket.settles_at(0).await;
    assert_eq!(ann.asks_for(&alpha, url, &[]).await.status, 404);
}

#[tokio::test]
async fn a_bucket_keeps_nothing_of_uploads_that_came_to_nothing() {
    let (net, bucket) = (Net::new().await, Bucket::start().await);
    let folder = tempfile::tempdir().unwrap();
    let alpha = bucket.house(&net, &folder.path().join("s3.secret")).await;
    let ann = alpha.guest("ann").await;
    let form = form(&[(FILE, &bytes(33 * MIB))]);
    let request = chunked(shown_by(&ann), &form, 65_536);
    assert_eq!(exchange(&alpha, &request).await.status, 413);
    let mut stream = TcpStream::connect(alpha.endpoint.client).await.unwrap();
    stream.write_all(&request[..12 * MIB]).await.unwrap();
    drop(stream);
    let deadline = Instant::now() + SOON;
    while bucket.uploads_under_way().await > 0 {
        assert!(Instant::now() < deadline, "an upload is left in the bucket");
        sleep(Duration::from_millis(50)).await;
    }
    bucket.settles_at(0).await;
}

#[tokio::test]
async fn a_bucket_that_is_away_is_a_fault_that_passes() {
    let (net, mut bucket) = (Net::new().await, Bucket::start().await);
    let folder = tempfile::tempdir().unwrap();
    let alpha = bucket.house(&net, &folder.path().join("s3.secret")).await;
    let ann = alpha.guest("ann").await;
    let url = ann.uploads(&alpha, b"x").await.url();
    bucket.process.kill().unwrap();
    bucket.process.wait().unwrap();
    let unavailable = (503, "service unavailable".to_owned());
    assert_eq!(ann.uploads(&alpha, b"x").await.refusal(), unavailable);
    let file = ann.asks_for(&alpha, &url, &[]).await;
    assert_eq!(file.refusal(), unavailable);
}
