//! Weaker ways of doing the same (F10).

use std::{net::SocketAddr, time::Duration};

use freehold_proto::wire::hello_response::Outcome;
use futures_util::FutureExt as _;
use hickory_server::proto::rr::{RData, rdata::TXT};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{
    Case, Need,
    hostile::{Foe, Play, TAKEN},
};
use crate::{Failure, Person, Result, Stage, failure::expect, operator::row};

const WITHIN: Duration = Duration::from_secs(20);
const LOOKED_UP_AGAIN: Duration = Duration::from_secs(6);
const UNSUPPORTED: u32 = 101;
const ALARM: &str = "ALARM: the identity of a peer is disputed";
/// RFC 8446: the record type of an alert, that of a handshake message, the alert about the version.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const PROTOCOL_VERSION: u8 = 70;

pub(super) const CASE: Case = Case {
    ids: "F10",
    name: "downgrade_refused",
    proves: "another protocol version, TLS 1.2, another protocol below, and a weaker voice about a root key than the one relied on are refused or told, and nothing becomes weaker by them, also after a restart",
    domains: &["alpha.test"],
    needs: &[Need::Starting, Need::Operator],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let mut foe = Foe::comes(stage, 0, "stranger.test").await?;
        let at = stage.network.domain(0)?.federation();
        versions(&foe, at).await?;
        older_tls(at).await?;
        for alpn in [
            &b"h2"[..],
            b"http/1.1",
            b"freehold-peer/0",
            b"freehold-record/0",
        ] {
            let knocked = foe.peer.knocks(&foe.us, at, alpn).await;
            expect(knocked.is_err(), || {
                format!("{} speaks {}", foe.us, alpn.escape_ascii())
            })?;
        }
        stage.line.held(
            "alpha.test",
            "speaks this version over TLS 1.3, and nothing else",
        );
        anchors(stage, &mut foe).await
    }
    .boxed_local()
}

async fn versions(foe: &Foe, at: SocketAddr) -> Result<()> {
    for version in [0, 2, u32::MAX] {
        let mut line = foe.peer.connect(&foe.us, at).await?;
        let mut hello = line.proof();
        hello.version = version;
        let answer = line.greets(&hello).await?;
        expect(
            matches!(&answer, Outcome::Refused(it) if it.code == UNSUPPORTED),
            || format!("a hello of version {version} is answered by {answer:?}"),
        )?;
        // The same connection is good for the version that there is.
        line.hello().await?;
    }
    Ok(())
}

/// A ClientHello of TLS 1.2, as RFC 5246 has it, with the ciphers of its time.
fn client_hello() -> Vec<u8> {
    let name = b"alpha.test";
    let mut server_name = vec![0, 0];
    let entry = [&[0, 0, name.len() as u8][..], name].concat();
    let list = [&(entry.len() as u16).to_be_bytes()[..], &entry].concat();
    server_name.extend((list.len() as u16).to_be_bytes());
    server_name.extend(list);
    // Ed25519, ECDSA and RSA signatures; X25519 and P-256.
    let signatures = [0, 13, 0, 8, 0, 6, 8, 7, 4, 3, 8, 4];
    let groups = [0, 10, 0, 6, 0, 4, 0, 29, 0, 23];
    let extensions = [&server_name[..], &signatures, &groups].concat();
    let ciphers = [0xc0, 0x2b, 0xc0, 0x2f, 0xcc, 0xa9];
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, ciphers.len() as u8]);
    hello.extend(ciphers);
    hello.extend([1, 0]);
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    let mut message = vec![1, 0];
    message.extend((hello.len() as u16).to_be_bytes());
    message.extend(hello);
    let mut bytes = vec![HANDSHAKE, 3, 1];
    bytes.extend((message.len() as u16).to_be_bytes());
    bytes.extend(message);
    bytes
}

async fn older_tls(at: SocketAddr) -> Result<()> {
    let gone = |error: std::io::Error| Failure::harness("say hello in TLS 1.2", error);
    let mut stream = TcpStream::connect(at).await.map_err(gone)?;
    stream.write_all(&client_hello()).await.map_err(gone)?;
    let mut answer = Vec::new();
    let read = timeout(WITHIN, stream.read_to_end(&mut answer)).await;
    expect(read.is_ok(), || {
        "TLS 1.2 is left without an answer".to_owned()
    })?;
    let alert = matches!(&answer[..], [ALERT, _, _, 0, 2, 2, PROTOCOL_VERSION, ..]);
    expect(alert, || {
        format!("TLS 1.2 is answered by {}", answer.escape_ascii())
    })
}

/// First the anchor becomes the administrator's; then DNS names another key.
async fn anchors(stage: &mut Stage, foe: &mut Foe) -> Result<()> {
    let alpha = stage.network.domain(0)?;
    let (bob, _session) = Person::register(alpha.endpoint(), "bob").await?;
    let bob = bob.user_id()?;
    let known = alpha.knows("stranger.test").await?;
    expect(
        row(&known, "vouched for by") == Some("a DNS TXT record"),
        || known.clone(),
    )?;
    alpha
        .order("peer pin", &["stranger.test", &foe.peer.root()])
        .await?;
    let wrong = RData::TXT(TXT::new(vec![format!("v=fh1; root={}", "A".repeat(43))]));
    alpha.dns().set("_freehold.stranger.test", vec![wrong])?;
    for round in 0..2 {
        // Something unknown in a hello makes alpha ask again, and hear what DNS says now: its answer of
        // before is remembered for a second, and a domain that was met is asked for every 5 seconds at most.
        sleep(LOOKED_UP_AGAIN).await;
        let at = stage.network.domain(0)?.federation();
        let mut line = foe.peer.connect(&foe.us, at).await?;
        let mut other = line.proof();
        other.record_hash = vec![9; 32].into();
        let _refused = line.greets(&other).await?;
        let alpha = stage.network.domain(0)?;
        alpha.has_said(ALARM, 1, WITHIN).await?;
        let known = alpha.knows("stranger.test").await?;
        expect(
            row(&known, "vouched for by") == Some("the administrator"),
            || known.clone(),
        )?;
        foe.comes_back(stage, 0).await?;
        let text = foe.peer.text(&foe.eve(), &bob, &format!("round {round}"))?;
        let answers = foe.hands([text]).await?;
        expect(answers == [TAKEN], || {
            format!("a weaker voice stops a contact: {answers:?}")
        })?;
        if round == 0 {
            let alpha = stage.network.domain(0)?;
            alpha.stop(WITHIN).await?;
            alpha.start().await?;
        }
    }
    stage.line.held(
        "alpha.test",
        "is told of the weaker voice, and relies on the administrator's word",
    );
    Ok(())
}
