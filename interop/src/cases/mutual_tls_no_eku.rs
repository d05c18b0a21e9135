//! Certificates that say all kinds of things, of which only the key counts (F08).

use std::time::Duration;

use freehold_keys::TlsIdentity;
use freehold_proto::{wire, wire::hello_response::Outcome};
use futures_util::FutureExt as _;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;

use super::{
    Case,
    hostile::{Foe, Play, TAKEN, shows},
};
use crate::{
    Failure, Person, Result, ScriptedPeer, Session, Stage,
    failure::expect,
    peer::{Pen, message},
    people::accept,
};

const WITHIN: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(2);
const NOT_IN_RECORD: u32 = 113;

pub(super) const CASE: Case = Case {
    ids: "F08",
    name: "mutual_tls_no_eku",
    proves: "a certificate with any usages, names, dates or none of them is as good as any other, both ways, if its key stands in the identity record; and one with another key is not, whatever it says",
    domains: &["alpha.test"],
    needs: &[],
    within: Duration::from_secs(120),
    play,
};

fn play(stage: &mut Stage) -> Play<'_> {
    async move {
        stage.retry_quickly()?;
        stage.start_all().await?;
        let (bob, mut session) = Person::register(&stage.network.endpoint(0)?, "bob").await?;
        let us = bob.user_id()?;
        for (number, (what, says)) in certificates()?.into_iter().enumerate() {
            // Each a domain of its own: no link that was made with another certificate is there.
            let peer = stage
                .network
                .stranger(&format!("wears{number}.test"))
                .await?;
            peer.wears(peer.tls_pen().certifies(says)?)?;
            both_ways(stage, peer, &us, &mut session)
                .await
                .map_err(|failure| match failure {
                    Failure::Broken(why) => Failure::Broken(format!("a certificate {what}: {why}")),
                    other => other,
                })?;
            stage.line.held(
                "alpha.test",
                format!("talks with whoever shows a certificate {what}"),
            );
        }
        other_keys(stage, &us, &mut session).await
    }
    .boxed_local()
}

fn certificates() -> Result<Vec<(&'static str, CertificateParams)>> {
    let no = |error: rcgen::Error| Failure::harness("describe a certificate", error);
    let plain = || CertificateParams::new(["wears.test".to_owned()]).map_err(no);
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut says = plain()?;
        change(&mut says);
        Result::Ok(says)
    };
    Ok(vec![
        ("without usages", plain()?),
        (
            "for servers only",
            with(&|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth])?,
        ),
        (
            "for clients only",
            with(&|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth])?,
        ),
        (
            "for signing programs only",
            with(&|it| it.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning])?,
        ),
        (
            "that signs lists of revoked ones only",
            with(&|it| it.key_usages = vec![KeyUsagePurpose::CrlSign])?,
        ),
        (
            "that has expired",
            with(&|it| {
                it.not_before = date_time_ymd(2001, 1, 1);
                it.not_after = date_time_ymd(2002, 1, 1);
            })?,
        ),
        (
            "that is not valid yet",
            with(&|it| {
                it.not_before = date_time_ymd(2090, 1, 1);
                it.not_after = date_time_ymd(2091, 1, 1);
            })?,
        ),
        (
            "of an authority",
            with(&|it| it.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)))?,
        ),
        (
            "for another name",
            CertificateParams::new(["alpha.test".to_owned()]).map_err(no)?,
        ),
        ("for no name", CertificateParams::default()),
    ])
}

/// The peer calls and is called.
async fn both_ways(
    stage: &mut Stage,
    peer: ScriptedPeer,
    us: &freehold_proto::UserId,
    session: &mut Session,
) -> Result<()> {
    let domain = stage.network.domain(0)?;
    let name = domain.name().clone();
    let line = peer.dial(&name, domain.federation()).await?;
    let foe = Foe::with(peer, line, name);
    let topic = foe.eve().to_string();
    let asks = foe.peer.consents(&foe.eve(), us, 1)?;
    let hello = foe.seals(message(&foe.eve(), us, &json!("hello")))?;
    let answers = foe.hands([asks, hello]).await?;
    expect(answers == [TAKEN; 2], || {
        format!("its words are answered by {answers:?}")
    })?;
    accept(session, &topic).await?;
    session.publish(&topic, "hello yourself").await?;
    let came = |it: &[crate::peer::Arrived]| {
        it.iter()
            .any(|it| it.text().as_deref() == Some("hello yourself"))
    };
    foe.peer.waits_for("an answer", WITHIN, came).await?;
    shows(session, &topic, &["hello", "hello yourself"]).await
}

/// Keys that no record names, of the right kind and of another; and no certificate.
async fn other_keys(
    stage: &mut Stage,
    us: &freehold_proto::UserId,
    session: &mut Session,
) -> Result<()> {
    let peer = stage.network.stranger("other.test").await?;
    let domain = stage.network.domain(0)?;
    let (name, at) = (domain.name().clone(), domain.federation());
    let plain = || {
        let says = CertificateParams::new(["other.test".to_owned()]);
        says.map_err(|error| Failure::harness("describe a certificate", error))
    };
    // The signing and the root key stand in the record too, but not as keys for TLS.
    for pen in [&Pen::fresh()?, peer.pen(), peer.root_pen()] {
        peer.wears(pen.certifies(plain()?)?)?;
        let mut line = peer.connect(&name, at).await?;
        let proof = line.proof();
        let outcome = line.greets(&proof).await?;
        let refused = matches!(&outcome, Outcome::Refused(it) if it.code == NOT_IN_RECORD);
        expect(refused, || {
            format!("another key is answered by {outcome:?}")
        })?;
    }
    let find = wire::FindRequest::default();
    for way in ["another kind of key", "no certificate"] {
        match way {
            "no certificate" => peer.wears_none()?,
            _ => peer.wears(of_another_kind(plain()?)?)?,
        }
        let heard = match peer.connect(&name, at).await {
            Ok(mut line) => {
                let proof = line.proof();
                let answered = line.greets(&proof).await.is_ok();
                answered || line.call::<wire::FindResponse>("Find", &find).await.is_ok()
            }
            Err(_) => false,
        };
        expect(!heard, || format!("a connection with {way} is answered"))?;
    }
    stage.line.held(
        "alpha.test",
        "hears nobody whose TLS key is not in the record",
    );

    // Nor does it say anything to a server that shows another key.
    peer.wears(Pen::fresh()?.certifies(plain()?)?)?;
    let topic = peer.person(1).to_string();
    session
        .subscribe(&topic)
        .await
        .map(drop)
        .or_else(unless_unmet)?;
    let greeted = peer.hellos().len();
    let _kept = session.publish(&topic, "a secret").await;
    stage.pause(LINGER, "it may be tried").await;
    expect(
        peer.hellos().len() == greeted && peer.arrived().is_empty(),
        || "alpha says hello to a server that shows another key".to_owned(),
    )?;
    stage.line.held(
        us.to_string(),
        "is not betrayed to a server with another key",
    );
    Ok(())
}

/// Nobody can be met at a domain that cannot be reached.
fn unless_unmet(failure: Failure) -> Result<()> {
    match failure {
        Failure::Refused { .. } => Ok(()),
        other => Err(other),
    }
}

fn of_another_kind(says: CertificateParams) -> Result<TlsIdentity> {
    let no = |error: rcgen::Error| Failure::harness("make a certificate", error);
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(no)?;
    let certificate = says.self_signed(&pair).map_err(no)?;
    Ok(TlsIdentity {
        certificate: certificate.der().clone(),
        private_key: PrivateKeyDer::Pkcs8(pair.serialize_der().into()),
    })
}
