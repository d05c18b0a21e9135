//! A client that polls, well or badly.

use std::time::Duration;

use freehold_interop::{Endpoint, STOCK_API_KEY, faults_of_frame};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// Less than a poll may wait.
const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// The answer to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The one frame in it, in good form.
    pub(crate) fn frame(&self, domain: &str) -> Value {
        let frame = serde_json::from_str(&self.body).unwrap();
        let faults = faults_of_frame(&frame, domain);
        assert!(faults.is_empty(), "{}: {faults:?}", self.body);
        frame
    }
}

/// Sends one request to where polls are answered; `query` begins with `?`.
pub(crate) async fn request(at: &Endpoint, method: &str, query: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(at.client).await.unwrap();
    let request = format!(
        "{method} /v0/channels/lp{query} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{body}",
        at.domain,
        body.len()
    );
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut answer).await
    };
    let read = timeout(REPLY_WITHIN, exchange).await;
    read.expect("it is answered in time").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: body.to_owned(),
    }
}

/// A session.
#[derive(Clone)]
pub(crate) struct Poller {
    query: String,
    domain: String,
}

impl Poller {
    pub(crate) async fn connect(at: &Endpoint) -> Self {
        let query = format!("?apikey={STOCK_API_KEY}");
        let opened = request(at, "GET", &query, "").await;
        assert_eq!(opened.status, 201, "{opened:?}");
        let ctrl = &opened.frame(at.domain.as_str())["ctrl"];
        assert_eq!(
            (&ctrl["code"], &ctrl["text"]),
            (&201.into(), &"created".into())
        );
        let sid = ctrl["params"]["sid"].as_str().unwrap();
        assert_eq!(sid.len(), 22, "128 bits in base64url");
        Self {
            query: format!("{query}&sid={sid}"),
            domain: at.domain.to_string(),
        }
    }

    /// Says one thing, which is taken without a word.
    pub(crate) async fn says(&self, at: &Endpoint, frame: &str) {
        let taken = self.posts(at, frame).await;
        assert_eq!((taken.status, &*taken.body), (200, ""), "{frame}");
    }

    pub(crate) async fn posts(&self, at: &Endpoint, body: &str) -> Answer {
        request(at, "POST", &self.query, body).await
    }

    pub(crate) async fn polls(&self, at: &Endpoint) -> Answer {
        request(at, "GET", &self.query, "").await
    }

    /// The next frame.
    pub(crate) async fn frame(&self, at: &Endpoint) -> Value {
        let answer = self.polls(at).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.frame(&self.domain)
    }

    /// Says one thing and takes the next answer for its own: code and text.
    pub(crate) async fn asks(&self, at: &Endpoint, frame: &str) -> (u64, String) {
        self.says(at, frame).await;
        loop {
            let heard = self.frame(at).await;
            if let Some(code) = heard["ctrl"]["code"].as_u64() {
                let text = heard["ctrl"]["text"].as_str().unwrap().to_owned();
                return (code, text);
            }
        }
    }
}
