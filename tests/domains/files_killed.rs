//! Kill -9 while files come in and go: a process of its own, and what the next one finds.

use std::{fs, path::Path, time::Duration};

use freehold_interop::{Endpoint, Network, Person, STOCK_API_KEY};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::postman::{BOUNDARY, FILE, form, head};

const KILLS: u64 = 5;
const UPLOADERS: u8 = 4;

/// Sends a request; the answer, if there was a whole one.
async fn ask(endpoint: &Endpoint, request: &[u8]) -> Option<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect(endpoint.client).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    timeout(Duration::from_secs(20), reading).await.ok()?.ok()?;
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).ok()?;
    Some((head, answer[end + 4..].to_vec()))
}

fn shown(person: &Person) -> Vec<String> {
    vec![
        format!("X-Tinode-APIKey: {STOCK_API_KEY}"),
        format!("X-Tinode-Auth: Token {}", person.token),
    ]
}

/// Uploads until the server is gone; the files that were acknowledged.
async fn uploader(person: Person, number: u8) -> Vec<(String, Vec<u8>)> {
    let mut acknowledged = Vec::new();
    for count in 0_usize.. {
        let bytes = vec![number; 1 + (count * 70_001) % 900_000];
        let form = form(&[(FILE, &bytes)]);
        let mut headers = shown(&person);
        headers.push(format!(
            "Content-Type: multipart/form-data; boundary={BOUNDARY}"
        ));
        headers.push(format!("Content-Length: {}", form.len()));
        let mut request = head("POST /v0/file/u/", &headers).into_bytes();
        request.extend(form);
        let Some((_, body)) = ask(&person.endpoint, &request).await else {
            break;
        };
        let Ok(answer) = serde_json::from_slice::<serde_json::Value>(&body) else {
            break;
        };
        let url = answer["ctrl"]["params"]["url"].as_str().unwrap();
        acknowledged.push((url.to_owned(), bytes));
    }
    acknowledged
}

fn count(folder: &Path) -> usize {
    let shelves = fs::read_dir(folder).unwrap();
    shelves
        .map(|it| fs::read_dir(it.unwrap().path()).unwrap().count())
        .sum()
}

#[tokio::test]
async fn no_file_that_was_acknowledged_is_lost_when_the_server_is_killed() {
    let mut network = Network::start(&["alpha.test"]).await.unwrap();
    let endpoint = network.endpoint(0).unwrap();
    let (person, session) = Person::register(&endpoint, "ann").await.unwrap();
    drop(session);
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let mut uploaders = JoinSet::new();
        for number in 0..UPLOADERS {
            uploaders.spawn(uploader(person.clone(), number));
        }
        sleep(Duration::from_millis(300 + 177 * round)).await;
        let alpha = network.domain(0).unwrap();
        alpha.kill().unwrap();
        for files in uploaders.join_all().await {
            acknowledged.extend(files);
        }
        alpha.start().await.unwrap();
    }
    assert!(acknowledged.len() > 20, "only {}", acknowledged.len());
    for (url, bytes) in &acknowledged {
        let request = head(&format!("GET {url}"), &shown(&person));
        let (answer, body) = ask(&endpoint, request.as_bytes()).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{url}: {answer}");
        assert_eq!(body, *bytes, "{url}");
    }
    // Nothing is left of the others but what the last moment before each kill made known.
    let alpha = network.domain(0).unwrap();
    let folder = alpha.folder().join("files");
    let unheard = usize::from(UPLOADERS) * usize::try_from(KILLS).unwrap();
    for _ in 0..100 {
        if count(&folder) <= acknowledged.len() + unheard {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("{} files for {}", count(&folder), acknowledged.len());
}
