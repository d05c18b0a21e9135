//! What others try, and that it changes nothing.

use std::{sync::Arc, time::Duration};

use freehold_directory::{AnchorLevel, Life, MemoryPins, Pin, Pins as _};
use freehold_proto::{Refusal, limits, wire};
use rustls::{
    ClientConfig,
    crypto::aws_lc_rs,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    stranger::{Stranger, client_config, connect},
    support::{House, Keys, SOON, Site, config, eventually, name, pair, start_time, user},
};
use crate::{Config, Policy, status, tls::Tls};

fn code<T>(outcome: Result<T, Refusal>) -> u32 {
    outcome.err().map_or(0, |it| it.code.number())
}

/// Beta, and the keys of an alpha that beta knows and that serves its record.
async fn beta_and_alpha() -> (House, House) {
    let (alpha, beta) = pair(config).await;
    (beta, alpha)
}

#[tokio::test]
async fn a_tls_1_2_client_is_refused() {
    let (beta, alpha) = beta_and_alpha().await;
    let mut config = ClientConfig::clone(&client_config(&alpha.keys, &beta));
    assert!(connect(config.clone().into(), beta.address).await.is_ok());
    let verifier = Arc::new(AnyServer);
    config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![limits::ALPN_PEER.to_vec()];
    let error = connect(config.into(), beta.address).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn without_a_certificate_the_record_is_served_and_calls_are_not() {
    let (beta, _alpha) = beta_and_alpha().await;
    let connect = async |alpn: &[u8]| {
        let mut config = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer))
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let mut stream = connect(config.into(), beta.address).await.unwrap();
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        drop(timeout(SOON, read).await.expect("the connection is closed"));
        bytes
    };
    assert_eq!(
        connect(limits::ALPN_RECORD).await,
        beta.keys.ring.fresh_record(start_time()).to_bytes()
    );
    assert!(connect(limits::ALPN_PEER).await.is_empty());
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn the_certificate_of_another_domain_is_refused_113() {
    let (beta, alpha) = beta_and_alpha().await;
    let gamma = Keys::new("gamma.test");
    let stranger = Stranger::connects(&gamma, &alpha.keys, &beta).await;
    assert_eq!(code(stranger.says(stranger.hello()).await), 113);
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn a_hello_replayed_on_another_connection_is_refused_112() {
    let (beta, alpha) = beta_and_alpha().await;
    let first = Stranger::proven(&alpha.keys, &beta).await;
    let second = Stranger::connects(&alpha.keys, &alpha.keys, &beta).await;
    assert_eq!(code(second.says(first.hello()).await), 112);
    let batch = second.batch(vec![alpha.keys.seal(beta.domain(), 1)]);
    assert_eq!(code(second.delivers(batch).await), 110);
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn an_unknown_domain_is_refused_114() {
    let (beta, _alpha) = beta_and_alpha().await;
    let gamma = Keys::new("gamma.test");
    let stranger = Stranger::connects(&gamma, &gamma, &beta).await;
    assert_eq!(code(stranger.says(stranger.hello()).await), 114);
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn a_call_before_hello_is_refused_110_and_closes_the_connection() {
    let (beta, alpha) = beta_and_alpha().await;
    let stranger = Stranger::connects(&alpha.keys, &alpha.keys, &beta).await;
    let batch = stranger.batch(vec![alpha.keys.seal(beta.domain(), 1)]);
    // A true hello right behind it comes too late, though nobody has heard yet that the connection ends.
    let mut client = stranger.calls.client.clone();
    let (delivered, late) = tokio::join!(stranger.delivers(batch), client.hello(stranger.hello()));
    assert_eq!(code(delivered), 110);
    assert!(late.is_err(), "{late:?}");
    eventually("closed", || stranger.calls.is_closed()).await;
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn hellos_that_cannot_be_meant_for_us_are_refused_by_number() {
    let (beta, alpha) = beta_and_alpha().await;
    let stranger = Stranger::connects(&alpha.keys, &alpha.keys, &beta).await;
    let refused = async |change: &dyn Fn(&mut wire::HelloRequest)| {
        let mut hello = stranger.hello();
        change(&mut hello);
        code(stranger.says(hello).await)
    };
    assert_eq!(refused(&|it| it.to = "gamma.test".to_owned()).await, 111);
    assert_eq!(refused(&|it| it.from = "Alpha.test".to_owned()).await, 103);
    assert_eq!(refused(&|it| it.version = 9).await, 101);
    assert_eq!(
        refused(&|it| it.record_hash = vec![0; 32].into()).await,
        112
    );
    assert_eq!(refused(&|_| ()).await, 0);
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn a_hello_that_is_too_long_is_refused_102() {
    let (beta, alpha) = beta_and_alpha().await;
    let stranger = Stranger::connects(&alpha.keys, &alpha.keys, &beta).await;
    let mut hello = stranger.hello();
    hello.signature = vec![0; limits::HELLO_BYTES_MAX].into();
    let status = stranger.calls.client.clone().hello(hello).await;
    assert_eq!(
        code(Err::<(), _>(status::read(&status.unwrap_err()).unwrap())),
        102
    );
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_102() {
    let (beta, alpha) = beta_and_alpha().await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let mut envelope = alpha.keys.seal(beta.domain(), 1);
    envelope.payload = vec![0; limits::FRAME_BYTES_MAX].into();
    let batch = stranger.batch(vec![envelope]);
    assert_eq!(code(stranger.delivers(batch).await), 102);
    let many = (0..=limits::BATCH_ITEMS_MAX).map(|_| alpha.keys.seal(beta.domain(), 1));
    let batch = stranger.batch(many.collect());
    assert_eq!(code(stranger.delivers(batch).await), 102);
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn a_bad_item_is_refused_by_number_and_the_good_ones_pass() {
    let (beta, alpha) = beta_and_alpha().await;
    let (gamma, to) = (Keys::new("gamma.test"), beta.domain());
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let good = |number| alpha.keys.seal(to, number);
    let mut signature = good(2);
    signature.signature[5] ^= 1;
    let mut payload = good(3);
    payload.payload = [&*payload.payload, b"!"].concat().into();
    let mut large = good(4);
    large.payload = vec![0; limits::PAYLOAD_BYTES_MAX + 1].into();
    let mut header = good(5);
    header.header = header.header.slice(1..);
    let impostor = Keys::new("alpha.test");
    let batch = stranger.batch(vec![
        good(1),
        signature,
        payload,
        large,
        header,
        gamma.seal(to, 6),
        impostor.seal(to, 7),
        alpha.keys.seal(&name("gamma.test"), 8),
        good(9),
    ]);
    let codes = stranger.delivers(batch).await.unwrap();
    assert_eq!(codes, [0, 123, 124, 102, 100, 120, 122, 121, 0]);
    assert_eq!(beta.local.taken(), [1, 9]);
}

#[tokio::test]
async fn a_batch_in_anothers_name_or_to_another_is_refused() {
    let (beta, alpha) = beta_and_alpha().await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let refused = async |change: &dyn Fn(&mut wire::DeliverRequest)| {
        let mut batch = stranger.batch(vec![
            alpha.keys.seal(beta.domain(), 1),
            alpha.keys.seal(beta.domain(), 2),
        ]);
        change(&mut batch);
        code(stranger.delivers(batch).await)
    };
    assert_eq!(refused(&|it| it.from = "gamma.test".to_owned()).await, 120);
    assert_eq!(refused(&|it| it.from = "ALPHA.test".to_owned()).await, 103);
    assert_eq!(refused(&|it| it.to = "gamma.test".to_owned()).await, 121);
    assert_eq!(refused(&|it| it.items.reverse()).await, 100);
    assert_eq!(refused(&|it| it.items.clear()).await, 100);
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn signals_and_questions_about_others_people_are_refused() {
    let (beta, alpha) = beta_and_alpha().await;
    let stranger = Stranger::proven(&alpha.keys, &beta).await;
    let mut client = stranger.calls.client.clone();
    let (ann, ben, zoe) = (
        user(alpha.domain()).to_string(),
        user(beta.domain()).to_string(),
        user(&name("gamma.test")).to_string(),
    );
    for (user, peer, expected) in [(&zoe, &ben, 127), (&ann, &zoe, 128)] {
        let request = wire::SignalRequest {
            from: alpha.domain().to_string(),
            to: beta.domain().to_string(),
            signals: vec![wire::Signal {
                user: user.clone(),
                peer: peer.clone(),
                what: "kp".to_owned(),
                ..wire::Signal::default()
            }],
        };
        let refusal = status::read(&client.signal(request).await.unwrap_err()).unwrap();
        assert_eq!(refusal.code.number(), expected);
    }
    let request = wire::FindRequest {
        from: alpha.domain().to_string(),
        to: beta.domain().to_string(),
        query: Some(wire::find_request::Query::User(zoe)),
    };
    let refusal = status::read(&client.find(request).await.unwrap_err()).unwrap();
    assert_eq!(refusal.code.number(), 128);
    assert!(beta.local.is_untouched());
}

#[tokio::test]
async fn a_server_with_another_key_gets_nothing_from_us() {
    let (beta, gamma) = (Keys::new("beta.test"), Keys::new("gamma.test"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pins = Arc::new(MemoryPins::default());
    pins.save(Pin {
        domain: beta.domain().clone(),
        record: beta.ring.fresh_record(start_time()).to_bytes(),
        root_fingerprint: beta.ring.record().root_fingerprint(),
        anchor: AnchorLevel::Admin,
        pinned_at: start_time(),
        life: Life::first(start_time()),
        hold: None,
    })
    .await
    .unwrap();
    let row = beta.row(listener.local_addr().unwrap());
    let site = Site::new("alpha.test", config()).await;
    let alpha = site.start_with(vec![row], &["127.0.0.0/8"], pins, Arc::default());

    alpha.writes(beta.domain(), [1]);

    let tls = Tls::new(gamma.ring.tls_identity().unwrap()).unwrap();
    let (stream, _) = timeout(SOON, listener.accept()).await.unwrap().unwrap();
    let outcome = timeout(SOON, TlsAcceptor::from(tls.server()).accept(stream)).await;
    let error = outcome.unwrap().unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
    drop(listener);
    eventually("the reason is told", || {
        alpha
            .last_error(beta.domain())
            .contains("TLS key is not in")
    })
    .await;
    assert!(!alpha.outbox.is_empty());
    alpha.stops().await;
}

#[tokio::test]
async fn an_address_outside_the_allowed_ranges_is_not_connected() {
    let (alpha, beta) = (
        Site::new("alpha.test", config()).await,
        Keys::new("beta.test"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let row = beta.row(listener.local_addr().unwrap());
    let alpha = alpha.start_with(vec![row], &["127.7.0.0/16"], Arc::default(), Arc::default());
    alpha.writes(beta.domain(), [1]);
    eventually("the reason is told", || {
        let error = alpha.last_error(beta.domain());
        error.contains("127.0.0.1 is loopback, where we may not connect")
    })
    .await;
    assert!(
        timeout(Duration::from_millis(100), listener.accept())
            .await
            .is_err()
    );
    alpha.stops().await;
}

#[tokio::test]
async fn a_denied_domain_is_refused_115_and_not_written_to() {
    let site = Site::new("alpha.test", config()).await;
    let denying = Config {
        policy: Policy::open([name("alpha.test")]),
        ..config()
    };
    let beta = Site::new("beta.test", denying).await;
    let (to_alpha, to_beta) = (site.row(), beta.row());
    let (alpha, beta) = (site.start(vec![to_beta]), beta.start(vec![to_alpha]));
    alpha.writes(beta.domain(), [1]);
    eventually("alpha hears why", || {
        alpha.last_error(beta.domain()).contains("115")
    })
    .await;
    beta.writes(alpha.domain(), [2]);
    assert!(beta.federation.links().iter().all(|it| it.failures == 0));
    assert!(beta.local.is_untouched() && alpha.local.is_untouched());
}

#[tokio::test]
async fn strangers_that_stay_silent_or_come_in_crowds_are_sent_away() {
    let short = || Config {
        hello_timeout: Duration::from_millis(150),
        tls_timeout: Duration::from_millis(150),
        strangers_per_prefix_max: 2,
        ..config()
    };
    let (alpha, beta) = pair(short).await;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(beta.address).await.unwrap());
    }
    for stream in &mut silent {
        stream.write_all(b"").await.unwrap();
        let read = timeout(SOON, stream.read(&mut [0; 8])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)));
    }
    assert!(begun.elapsed() < SOON);
    let stranger = Stranger::connects(&alpha.keys, &alpha.keys, &beta).await;
    eventually("closed without a hello", || stranger.calls.is_closed()).await;
    alpha.writes(beta.domain(), [1]);
    eventually("others are served again", || beta.local.taken() == [1]).await;
}

/// Believes any server: some tests are not about the server.
#[derive(Debug)]
struct AnyServer;

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}
