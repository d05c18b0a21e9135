//! Carries files to a domain and from it over plain HTTP, byte for byte as stock clients do.

use std::{net::SocketAddr, time::Duration};

use freehold_interop::STOCK_API_KEY;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{guest::Guest, net::House};

const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// COMPAT Android, iOS: theirs looks like this.
pub(crate) const BOUNDARY: &str = "*****1700000000000*****";

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The body of an answer in words, of the same code as the status.
    #[track_caller]
    pub(crate) fn ctrl(&self) -> Value {
        let body = std::str::from_utf8(&self.body).unwrap();
        assert!(body.starts_with("{\"ctrl\":{"), "{self:?}: {body}");
        let frame: Value = serde_json::from_str(body).unwrap();
        assert_eq!(frame["ctrl"]["code"], self.status, "{body}");
        assert_eq!(frame["ctrl"]["ts"].as_str().unwrap().len(), 24);
        frame["ctrl"].clone()
    }

    /// Status and text of a refusal.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        (
            self.status,
            self.ctrl()["text"].as_str().unwrap().to_owned(),
        )
    }

    /// Where an uploaded file is.
    #[track_caller]
    pub(crate) fn url(&self) -> String {
        assert_eq!(self.status, 200, "{}", self.ctrl());
        self.ctrl()["params"]["url"].as_str().unwrap().to_owned()
    }
}

/// Sends a request as it is given and reads the answer to its end.
pub(crate) async fn exchange(house: &House, request: &[u8]) -> Answer {
    exchange_at(house.endpoint.client, request).await
}

/// The same at an address.
pub(crate) async fn exchange_at(address: SocketAddr, request: &[u8]) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut incoming, mut outgoing) = stream.into_split();
    let sending = async {
        // The server may have had enough before the end.
        let _sent = outgoing.write_all(request).await;
        outgoing
    };
    let receiving = async {
        let mut answer = Vec::new();
        let _read = incoming.read_to_end(&mut answer).await;
        answer
    };
    let both = async { tokio::join!(sending, receiving).1 };
    let answer = timeout(ANSWER_WITHIN, both).await.expect("it answers");
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    let end =
        end.unwrap_or_else(|| panic!("no answer but {:?}", answer.escape_ascii().to_string()));
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: answer[end + 4..].to_vec(),
    }
}

/// The head of a request with these lines.
pub(crate) fn head(line: &str, headers: &[String]) -> String {
    let mut head = format!("{line} HTTP/1.1\r\nHost: alpha.test\r\nConnection: close\r\n");
    headers.iter().for_each(|it| head += &format!("{it}\r\n"));
    head + "\r\n"
}

/// What every stock client shows.
pub(crate) fn shown_by(guest: &Guest) -> Vec<String> {
    vec![
        format!("X-Tinode-APIKey: {STOCK_API_KEY}"),
        format!("X-Tinode-Auth: Token {}", guest.person.token),
    ]
}

/// A form of these fields, each with its headers.
pub(crate) fn form(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (headers, value) in fields {
        form.extend(format!("--{BOUNDARY}\r\n{headers}\r\n\r\n").into_bytes());
        form.extend_from_slice(value);
        form.extend(b"\r\n");
    }
    form.extend(format!("--{BOUNDARY}--\r\n").into_bytes());
    form
}

/// The field of a file.
pub(crate) const FILE: &str = "Content-Disposition: form-data; name=\"file\"; filename=\"x.bin\"\r\n\
                               Content-Type: application/octet-stream";

/// The headers of a field that is no file.
pub(crate) fn field(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"{name}\"")
}

/// An upload with these headers and this form, of known length.
pub(crate) fn upload(mut headers: Vec<String>, form: &[u8]) -> Vec<u8> {
    headers.push(format!(
        "Content-Type: multipart/form-data; boundary={BOUNDARY}"
    ));
    headers.push(format!("Content-Length: {}", form.len()));
    let mut request = head("POST /v0/file/u/", &headers).into_bytes();
    request.extend_from_slice(form);
    request
}

/// The same in chunks, of unknown length.
pub(crate) fn chunked(mut headers: Vec<String>, form: &[u8], size: usize) -> Vec<u8> {
    headers.push(format!(
        "Content-Type: multipart/form-data; boundary={BOUNDARY}"
    ));
    headers.push("Transfer-Encoding: chunked".to_owned());
    let mut request = head("POST /v0/file/u/", &headers).into_bytes();
    for chunk in form.chunks(size) {
        request.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        request.extend_from_slice(chunk);
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\n\r\n");
    request
}

impl Guest {
    /// Uploads bytes and returns what came back.
    pub(crate) async fn uploads(&self, house: &House, bytes: &[u8]) -> Answer {
        let form = form(&[(FILE, bytes), (&field("id"), b"81017")]);
        exchange(house, &upload(shown_by(self), &form)).await
    }

    /// Asks for a file, with more headers.
    pub(crate) async fn asks_for(&self, house: &House, url: &str, headers: &[&str]) -> Answer {
        let mut all = shown_by(self);
        all.extend(headers.iter().map(|it| (*it).to_owned()));
        exchange(house, head(&format!("GET {url}"), &all).as_bytes()).await
    }
}
