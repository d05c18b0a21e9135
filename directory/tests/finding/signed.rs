//! What DNSSEC vouches for, as we ourselves validate it: with the key of a zone in hand, since no scene
//! can have those of the root.

use std::{fs, path::PathBuf, time::Duration};

use freehold_directory::{AnchorLevel, Config, Dnssec, Pins as _, ResolveError, Trust};
use freehold_keys::fingerprint_to_text;
use hickory_server::proto::{
    dnssec::{DnssecSigner, SigningKey as _, crypto::Ed25519SigningKey, rdata::DNSKEY},
    rr::RData,
};
use tokio::net::UdpSocket;

use crate::support::{World, anchor, host, srv};

/// How long its signatures hold.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

struct Zone {
    world: World,
    rows: Vec<(&'static str, RData)>,
    keys: PathBuf,
    nameserver: std::net::SocketAddr,
}

impl Zone {
    /// A domain whose zone is signed, and a file with the key.
    async fn signed() -> Self {
        let world = World::new("beta.test");
        let rows = vec![
            (
                "_freehold._tcp.beta.test",
                srv(0, world.serve_record().await, "host.beta.test"),
            ),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor(&world.ring)),
        ];
        let key = Ed25519SigningKey::generate_pkcs8().unwrap();
        let key = Ed25519SigningKey::from_pkcs8(&key).unwrap();
        let dnskey = DNSKEY::from_key(&key.to_public_key().unwrap());
        let keys = world.keys().join("zone.key");
        fs::write(&keys, format!("beta.test. IN DNSKEY {dnskey}\n")).unwrap();
        let signer = DnssecSigner::new(dnskey, Box::new(key), host("beta.test"), WEEK);
        let mut zone = world.zone(&rows);
        zone.add_zone_signing_key_mut(signer).unwrap();
        zone.secure_zone_mut().unwrap();
        let nameserver = world.serve_zone(zone).await;
        Self {
            world,
            rows,
            keys,
            nameserver,
        }
    }

    fn validates(&self, trust: Trust) -> impl Fn(&mut Config) {
        let keys = self.keys.clone();
        move |config| {
            config.trust = trust;
            config.dnssec = Dnssec::Validated(Some(keys.clone()));
        }
    }

    async fn level(&self) -> AnchorLevel {
        let pin = self.world.pins.load(&self.world.domain).await.unwrap();
        pin.unwrap().anchor
    }

    /// On the way from the DNS server every `from` is made a `to`.
    async fn altered(&self, from: String, to: String) -> std::net::SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = self.nameserver;
        self.world.spawn(async move {
            let mut bytes = [0; 4096];
            while let Ok((length, from_whom)) = socket.recv_from(&mut bytes).await {
                let onward = UdpSocket::bind("127.0.0.1:0").await.unwrap();
                onward.send_to(&bytes[..length], server).await.unwrap();
                let length = onward.recv(&mut bytes).await.unwrap();
                let mut answer = bytes[..length].to_vec();
                let found = answer
                    .windows(from.len())
                    .position(|it| it == from.as_bytes());
                if let Some(at) = found {
                    answer[at..at + to.len()].copy_from_slice(to.as_bytes());
                }
                socket.send_to(&answer, from_whom).await.unwrap();
            }
        });
        address
    }
}

#[tokio::test]
async fn a_signed_record_vouches_for_a_domain_without_a_validating_resolver() {
    let zone = Zone::signed().await;
    let directory = zone
        .world
        .directory_asking(zone.nameserver, zone.validates(Trust::Verified));
    let found = directory.peer(&zone.world.domain).await.unwrap();
    assert_eq!(found.hash(), zone.world.ring.record().hash());
    assert_eq!(zone.level().await, AnchorLevel::Dnssec);
}

#[tokio::test]
async fn without_the_keys_it_begins_with_a_signature_vouches_for_nothing() {
    let zone = Zone::signed().await;
    // Those of the real root, which has not signed this zone.
    let directory = zone.world.directory_asking(zone.nameserver, |it| {
        (it.trust, it.dnssec) = (Trust::Verified, Dnssec::Validated(None));
    });
    let error = directory.peer(&zone.world.domain).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoAnchor(_)), "{error}");
}

#[tokio::test]
async fn a_record_that_was_changed_on_the_way_is_an_unsigned_one() {
    let zone = Zone::signed().await;
    let other = World::new("beta.test");
    let root = |world: &World| fingerprint_to_text(&world.ring.record().root_fingerprint());
    let liar = zone.altered(root(&zone.world), root(&other)).await;
    let directory = zone
        .world
        .directory_asking(liar, zone.validates(Trust::Verified));
    let error = directory.peer(&zone.world.domain).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoAnchor(_)), "{error}");
    let gullible = zone
        .world
        .directory_asking(liar, zone.validates(Trust::Dns));
    let error = gullible.peer(&zone.world.domain).await.unwrap_err();
    assert!(matches!(error, ResolveError::Record(_)), "{error}");

    // Against what DNSSEC has vouched for once the lie is only a reason for an alarm.
    let honest = zone
        .world
        .directory_asking(zone.nameserver, zone.validates(Trust::Dns));
    honest.peer(&zone.world.domain).await.unwrap();
    assert_eq!(zone.level().await, AnchorLevel::Dnssec);
    let directory = zone
        .world
        .directory_asking(liar, zone.validates(Trust::Dns));
    directory.refresh(&zone.world.domain).await.unwrap();
    assert!(directory.dispute(&zone.world.domain).is_some());
    assert_eq!(zone.level().await, AnchorLevel::Dnssec);
}

#[tokio::test]
async fn a_domain_that_is_not_signed_is_found_all_the_same_where_dns_is_believed() {
    let zone = Zone::signed().await;
    let directory = zone
        .world
        .directory_set(&zone.rows, zone.validates(Trust::Dns))
        .await;
    directory.peer(&zone.world.domain).await.unwrap();
    assert_eq!(zone.level().await, AnchorLevel::Dns);
}
