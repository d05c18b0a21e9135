//! Who vouches for a domain, and what becomes of that over the years.

use std::time::Duration;

use freehold_directory::{AnchorLevel, Directory, Dnssec, Pins as _, ResolveError, Trust};
use freehold_keys::{KeyRing, Lost, RecordFault, VerifiedRecord};
use hickory_server::proto::rr::RData;

use crate::support::{World, anchor, srv};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn found_by_srv(world: &World, port: u16) -> Vec<(&'static str, RData)> {
    vec![
        ("_freehold._tcp.beta.test", srv(0, port, "host.beta.test")),
        ("host.beta.test", world.loopback()),
        ("beta.test", world.loopback()),
    ]
}

async fn level(world: &World) -> AnchorLevel {
    let pin = world.pins.load(&world.domain).await.unwrap();
    pin.unwrap().anchor
}

async fn incarnation(world: &World) -> u32 {
    let pin = world.pins.load(&world.domain).await.unwrap();
    pin.unwrap().life.incarnation
}

#[tokio::test]
async fn the_web_server_of_a_domain_vouches_for_it_where_an_unsigned_record_does_not() {
    let world = World::new("beta.test");
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&world.ring)));
    let alone = world
        .directory_set(&rows, |it| it.trust = Trust::Verified)
        .await;
    let error = alone.peer(&world.domain).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoAnchor(_)), "{error}");

    let (port, ca) = world.serve_web(&world.ring).await;
    let with_web = world
        .directory_set(&rows, |it| {
            (it.trust, it.well_known_port) = (Trust::Verified, port);
            it.well_known_ca = Some(ca);
        })
        .await;
    assert!(with_web.peer(&world.domain).await.is_ok());
    assert_eq!(level(&world).await, AnchorLevel::WellKnown);
    assert_eq!(with_web.dispute(&world.domain), None);
}

#[tokio::test]
async fn a_web_server_without_a_believed_certificate_vouches_for_nobody() {
    let world = World::new("beta.test");
    let rows = found_by_srv(&world, world.serve_record().await);
    let (port, _) = world.serve_web(&world.ring).await;
    let directory = world
        .directory_set(&rows, |it| {
            (it.trust, it.well_known_port) = (Trust::Verified, port);
        })
        .await;
    let error = directory.peer(&world.domain).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoAnchor(_)), "{error}");
    assert_eq!(world.served(), 0);
}

#[tokio::test]
async fn dnssec_vouches_by_the_word_of_the_resolver_here_and_is_stronger_than_the_web() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&other.ring)));
    let silent = world.validating_resolver(anchor(&world.ring), false).await;
    let directory = world
        .directory_set(&rows, |it| {
            (it.trust, it.dnssec) = (Trust::Verified, Dnssec::Resolver(silent));
        })
        .await;
    assert!(directory.peer(&world.domain).await.is_err());

    let vouching = world.validating_resolver(anchor(&world.ring), true).await;
    let directory = world
        .directory_set(&rows, |it| {
            (it.trust, it.dnssec) = (Trust::Verified, Dnssec::Resolver(vouching));
        })
        .await;
    assert!(directory.peer(&world.domain).await.is_ok());
    assert_eq!(level(&world).await, AnchorLevel::Dnssec);
}

#[tokio::test]
async fn a_weaker_voice_that_disagrees_at_the_first_contact_is_told_and_does_not_stop() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&other.ring)));
    let (port, ca) = world.serve_web(&world.ring).await;
    let directory = world
        .directory_set(&rows, |it| {
            (it.trust, it.well_known_port) = (Trust::Verified, port);
            it.well_known_ca = Some(ca);
        })
        .await;
    assert!(directory.peer(&world.domain).await.is_ok());
}

#[tokio::test]
async fn in_a_lan_whoever_answers_first_is_believed_from_then_on() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let rows = found_by_srv(&world, world.serve_record().await);
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Lan).await;
    assert!(directory.peer(&world.domain).await.is_ok());
    assert_eq!(level(&world).await, AnchorLevel::FirstUse);
    world.serve_instead(&other.ring);
    assert!(directory.refresh(&world.domain).await.is_err());
    let kept = directory.peer(&world.domain).await.unwrap();
    assert_eq!(kept.hash(), world.ring.record().hash());
}

#[tokio::test]
async fn a_pin_rises_with_a_stronger_voice_and_never_falls() {
    let world = World::new("beta.test");
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&world.ring)));
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Dns).await;
    directory.peer(&world.domain).await.unwrap();
    assert_eq!(level(&world).await, AnchorLevel::Dns);
    let vouching = world.validating_resolver(anchor(&world.ring), true).await;
    let directory = world
        .directory_set(&rows, |it| {
            (it.trust, it.dnssec) = (Trust::Verified, Dnssec::Resolver(vouching));
        })
        .await;
    directory.refresh(&world.domain).await.unwrap();
    assert_eq!(level(&world).await, AnchorLevel::Dnssec);
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Dns).await;
    directory.refresh(&world.domain).await.unwrap();
    assert_eq!(level(&world).await, AnchorLevel::Dnssec);
}

#[tokio::test]
async fn a_record_is_asked_for_anew_each_day_and_a_silent_domain_counts_for_a_week() {
    let world = World::new("beta.test");
    let row = world.row(world.serve_record().await);
    let directory = world
        .directory_set(&[], |it| it.static_peers = vec![row])
        .await;
    for _ in 0..3 {
        directory.peer(&world.domain).await.unwrap();
    }
    assert_eq!(world.served(), 1);
    world.clock.advance(DAY);
    world.serve_instead(&world.ring);
    directory.peer(&world.domain).await.unwrap();
    assert_eq!(world.served(), 2);
    // From now on the same old word is served, as by somebody who keeps newer ones back.
    world.clock.advance(DAY * 6);
    assert!(directory.peer(&world.domain).await.is_ok());
    assert!(directory.proven(&world.domain).await.is_ok());
    world.clock.advance(DAY);
    let error = directory.peer(&world.domain).await.unwrap_err();
    let frozen = matches!(error, ResolveError::Record(RecordFault::NotFresh(_)));
    assert!(frozen, "{error}");
    assert!(directory.proven(&world.domain).await.is_err());
    assert!(directory.dispute(&world.domain).is_some(), "nobody is told");
    world.serve_instead(&world.ring);
    let hash = world.ring.record().hash();
    assert!(directory.claimed(&world.domain, &hash).await.is_ok());
    assert_eq!(directory.dispute(&world.domain), None);
}

#[tokio::test]
async fn two_records_of_one_number_and_a_lower_number_are_refused_and_told() {
    let mut world = World::new("beta.test");
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(world.keys()).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let mut twin = KeyRing::load(copy.path(), &world.domain, world.now()).unwrap();
    let row = world.row(world.serve_record().await);
    let directory = world
        .directory_set(&[], |it| it.static_peers = vec![row])
        .await;
    let first = directory.peer(&world.domain).await.unwrap();
    world.ring.rotate(world.now()).unwrap();
    world.serve_instead(&world.ring);
    directory.refresh(&world.domain).await.unwrap();

    let lost = Lost {
        signing: true,
        tls: false,
    };
    twin.revoke(lost, world.now(), world.now()).unwrap();
    let other_second = twin.fresh_record(world.now());
    let again_the_first = world.ring.signer().vouch(&first, world.now());
    for record in [other_second, again_the_first] {
        world.serve_bytes(&record);
        world.clock.advance(Duration::from_secs(61));
        let error = directory.refresh(&world.domain).await.unwrap_err();
        assert!(matches!(error, ResolveError::Record(_)), "{error}");
        assert!(directory.dispute(&world.domain).is_some());
        let kept = directory.peer(&world.domain).await.unwrap();
        assert_eq!(kept.hash(), world.ring.record().hash());
        // A failure is remembered for a moment.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn the_key_on_paper_follows_the_root_also_for_a_newcomer_with_an_old_fingerprint() {
    let world = World::new("beta.test");
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let (mut ring, phrase) = KeyRing::create(&keys, &world.domain, world.now()).unwrap();
    world.serve_instead(&ring);
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&ring)));
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Dns).await;
    directory.peer(&world.domain).await.unwrap();
    // A thief signs on; the owner takes the paper, and the record from before.
    let last = ring.record().clone();
    ring.rotate(world.now()).unwrap();
    world.serve_instead(&ring);
    directory.refresh(&world.domain).await.unwrap();
    let (owner, _) =
        KeyRing::recover(&keys, &phrase, &last, Some(world.now()), world.now()).unwrap();
    world.serve_instead(&owner);
    let found = directory.refresh(&world.domain).await.unwrap();
    assert_eq!(found.hash(), owner.record().hash());
    assert_eq!(incarnation(&world).await, 1, "it is the same domain");
    world.serve_instead(&ring);
    assert!(
        directory.refresh(&world.domain).await.is_err(),
        "the thief is out"
    );
    // DNS still names the first root: what follows from it will do.
    world.serve_instead(&owner);
    let newcomer = World::new("beta.test");
    let directory = Directory::new(
        freehold_directory::Config {
            static_peers: vec![freehold_directory::StaticPeer {
                domain: world.domain.clone(),
                address: Some(("127.0.0.1".to_owned(), world.serve_record().await)),
                root_fingerprint: last.root_fingerprint(),
            }],
            allowed_ranges: vec!["127.0.0.0/8".parse().unwrap()],
            ..Default::default()
        },
        newcomer.pins.clone(),
        world.clock.clone(),
    );
    let found = directory.unwrap().peer(&world.domain).await.unwrap();
    assert_eq!(found.hash(), owner.record().hash());
}

/// Serves, names in DNS and shows on the web what a domain has that lost everything.
async fn starting_anew(world: &World, anew: &KeyRing, web: bool) -> Directory {
    world.serve_instead(anew);
    let mut rows = found_by_srv(world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(anew)));
    let (port, ca) = world.serve_web(anew).await;
    world
        .directory_set(&rows, |it| {
            it.trust = Trust::Dns;
            if web {
                (it.well_known_port, it.well_known_ca) = (port, Some(ca));
            }
        })
        .await
}

#[tokio::test]
async fn a_domain_that_lost_all_its_keys_starts_anew_after_a_week_in_which_all_say_so() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&world.ring)));
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Dns).await;
    directory.peer(&world.domain).await.unwrap();
    assert_eq!(incarnation(&world).await, 1);

    let directory = starting_anew(&world, &other.ring, true).await;
    let error = directory.refresh(&world.domain).await.unwrap_err();
    assert!(matches!(error, ResolveError::OnHold { .. }), "{error}");
    assert!(directory.dispute(&world.domain).is_some());
    // The week is not begun anew by a restart, and not shortened by asking often.
    for _ in 0..6 {
        world.clock.advance(DAY);
        let directory = starting_anew(&world, &other.ring, true).await;
        let error = directory.refresh(&world.domain).await.unwrap_err();
        assert!(matches!(error, ResolveError::OnHold { .. }), "{error}");
    }
    world.clock.advance(DAY);
    let directory = starting_anew(&world, &other.ring, true).await;
    let found = directory.refresh(&world.domain).await.unwrap();
    assert_eq!(found.hash(), other.ring.record().hash());
    assert_eq!(incarnation(&world).await, 2);
}

#[tokio::test]
async fn without_the_web_saying_so_too_a_domain_does_not_start_anew() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&world.ring)));
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Dns).await;
    directory.peer(&world.domain).await.unwrap();
    for _ in 0..2 {
        let directory = starting_anew(&world, &other.ring, false).await;
        let error = directory.refresh(&world.domain).await.unwrap_err();
        assert!(!matches!(error, ResolveError::OnHold { .. }), "{error}");
        world.clock.advance(DAY * 8);
    }
}

#[tokio::test]
async fn an_administrator_may_vouch_for_a_domain_and_forget_it() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let rows = found_by_srv(&world, world.serve_record().await);
    let directory = world.directory_set(&rows, |_| {}).await;
    assert!(directory.peer(&world.domain).await.is_err());
    let root = |world: &World| world.ring.record().root_fingerprint();
    directory.vouch(&world.domain, root(&world)).await.unwrap();
    assert!(directory.peer(&world.domain).await.is_ok());
    assert_eq!(level(&world).await, AnchorLevel::Admin);
    assert_eq!(incarnation(&world).await, 1);

    world.serve_instead(&other.ring);
    directory.vouch(&world.domain, root(&other)).await.unwrap();
    let found: std::sync::Arc<VerifiedRecord> = directory.peer(&world.domain).await.unwrap();
    assert_eq!(found.hash(), other.ring.record().hash());
    assert_eq!(incarnation(&world).await, 2, "another key, another life");

    assert!(directory.forget(&world.domain).await.unwrap());
    assert!(directory.peer(&world.domain).await.is_err());
    directory.vouch(&world.domain, root(&other)).await.unwrap();
    directory.peer(&world.domain).await.unwrap();
    assert_eq!(
        incarnation(&world).await,
        2,
        "forgetting gives no third life"
    );
}

#[tokio::test]
async fn two_moments_a_week_apart_are_not_a_week() {
    let (world, other) = (World::new("beta.test"), World::new("beta.test"));
    let mut rows = found_by_srv(&world, world.serve_record().await);
    rows.push(("_freehold.beta.test", anchor(&world.ring)));
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Dns).await;
    directory.peer(&world.domain).await.unwrap();
    for _ in 0..3 {
        let directory = starting_anew(&world, &other.ring, true).await;
        let error = directory.refresh(&world.domain).await.unwrap_err();
        assert!(matches!(error, ResolveError::OnHold { .. }), "{error}");
        world.clock.advance(DAY * 8);
    }
}

#[tokio::test]
async fn to_vouch_for_the_root_that_a_domain_has_named_begins_no_life() {
    let world = World::new("beta.test");
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("keys");
    let (ring, phrase) = KeyRing::create(&keys, &world.domain, world.now()).unwrap();
    world.serve_instead(&ring);
    let rows = found_by_srv(&world, world.serve_record().await);
    let directory = world.directory_set(&rows, |it| it.trust = Trust::Lan).await;
    directory.peer(&world.domain).await.unwrap();
    let last = ring.record().clone();
    let (owner, _) = KeyRing::recover(&keys, &phrase, &last, None, world.now()).unwrap();
    // The operator is told of the new key before the server has looked.
    let root = owner.record().root_fingerprint();
    directory.vouch(&world.domain, root).await.unwrap();
    world.serve_instead(&owner);
    let found = directory.peer(&world.domain).await.unwrap();
    assert_eq!(found.hash(), owner.record().hash());
    assert_eq!(incarnation(&world).await, 1);
    assert_eq!(level(&world).await, AnchorLevel::Admin);
}
