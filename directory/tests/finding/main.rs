//! Finding domains through a real DNS server and fetching records over real TLS, all on loopback.

#[cfg(test)]
mod apple;
#[cfg(test)]
mod support;

#[cfg(test)]
mod announcing;
#[cfg(test)]
mod locating;
#[cfg(test)]
mod node;
#[cfg(test)]
mod over_time;
#[cfg(test)]
mod pushing;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod vendors;

#[cfg(test)]
mod scenes {
    use std::time::Duration;

    use freehold_directory::{AnchorLevel, Directory, Pins as _, ResolveError, StaticPeer, Trust};
    use freehold_proto::Clock as _;
    use hickory_server::proto::rr::RData;

    use crate::support::{World, anchor, cname, name, srv};

    #[tokio::test]
    async fn a_stranger_is_found_by_srv_believed_by_txt_and_pinned() {
        let world = World::new("beta.test");
        let port = world.serve_record().await;
        let rows = [
            ("_freehold._tcp.beta.test", srv(0, port, "host.beta.test")),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor(&world.ring)),
        ];
        let directory = world.directory(&rows, Trust::Dns, &["127.0.0.0/8"]).await;

        let record = directory.peer(&world.domain).await.unwrap();

        assert_eq!(record.hash(), world.ring.record().hash());
        let pin = world.pins.load(&world.domain).await.unwrap().unwrap();
        assert_eq!(pin.anchor, AnchorLevel::Dns);
        assert_eq!(pin.record, record.to_bytes());
        assert_eq!(world.served(), 1);
        directory.peer(&world.domain).await.unwrap();
        assert_eq!(world.served(), 1);
    }

    #[tokio::test]
    async fn many_who_ask_at_once_cause_one_look_up() {
        let world = World::new("beta.test");
        let port = world.serve_record().await;
        let rows = [
            ("_freehold._tcp.beta.test", srv(0, port, "host.beta.test")),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor(&world.ring)),
        ];
        let directory = world.directory(&rows, Trust::Dns, &["127.0.0.0/8"]).await;
        let hash = world.ring.record().hash();
        let (a, b, c) = tokio::join!(
            directory.peer(&world.domain),
            directory.claimed(&world.domain, &hash),
            directory.peer(&world.domain)
        );
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        assert_eq!(world.served(), 1);
    }

    #[tokio::test]
    async fn an_address_outside_the_allowed_ranges_is_never_connected() {
        let world = World::new("beta.test");
        let port = world.serve_record().await;
        let rows = [
            ("_freehold._tcp.beta.test", srv(0, port, "host.beta.test")),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor(&world.ring)),
        ];
        let directory = world.directory(&rows, Trust::Dns, &["127.9.0.0/16"]).await;
        let error = directory.peer(&world.domain).await.unwrap_err();
        assert!(
            matches!(error, ResolveError::AddressRefused { address, .. } if address.is_loopback()),
            "{error}"
        );
        assert_eq!(world.served(), 0);
    }

    #[tokio::test]
    async fn services_that_are_refused_or_aliased_are_not_used() {
        let world = World::new("beta.test");
        let no_service = [("_freehold._tcp.beta.test", srv(0, 0, "."))];
        let directory = world.directory(&no_service, Trust::Dns, &[]).await;
        let error = directory.targets(&world.domain).await.unwrap_err();
        assert!(matches!(error, ResolveError::ServiceRefused), "{error}");

        let aliased = [
            ("_freehold._tcp.beta.test", srv(0, 1, "alias.beta.test")),
            ("alias.beta.test", cname("host.beta.test")),
            ("host.beta.test", world.loopback()),
        ];
        let directory = world
            .directory(&aliased, Trust::Dns, &["127.0.0.0/8"])
            .await;
        let error = directory.targets(&world.domain).await.unwrap_err();
        assert!(matches!(error, ResolveError::Alias(_)), "{error}");
    }

    #[tokio::test]
    async fn targets_come_by_priority_and_without_srv_from_the_domain_itself() {
        let world = World::new("beta.test");
        let rows = [
            ("_freehold._tcp.beta.test", srv(20, 2, "host.beta.test")),
            ("_freehold._tcp.beta.test", srv(10, 1, "host.beta.test")),
            ("host.beta.test", world.loopback()),
        ];
        let directory = world.directory(&rows, Trust::Dns, &["127.0.0.0/8"]).await;
        let targets = directory.targets(&world.domain).await.unwrap();
        let ports: Vec<u16> = targets.iter().map(|it| it.address.port()).collect();
        assert_eq!(ports, [1, 2]);

        let rows: [(&str, RData); 1] = [("beta.test", world.loopback())];
        let directory = world.directory(&rows, Trust::Dns, &["127.0.0.0/8"]).await;
        let targets = directory.targets(&world.domain).await.unwrap();
        assert_eq!(targets.len(), 1);
        assert_eq!(targets[0].address.port(), 6269);
        assert_eq!(targets[0].host, "beta.test");
    }

    #[tokio::test]
    async fn dns_alone_convinces_only_where_the_config_says_so() {
        let world = World::new("beta.test");
        let port = world.serve_record().await;
        let rows = [
            ("_freehold._tcp.beta.test", srv(0, port, "host.beta.test")),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor(&world.ring)),
        ];
        let directory = world
            .directory(&rows, Trust::Pinned, &["127.0.0.0/8"])
            .await;
        let error = directory.peer(&world.domain).await.unwrap_err();
        assert!(matches!(error, ResolveError::NoAnchor(_)), "{error}");
        assert_eq!(world.served(), 0);
    }

    #[tokio::test]
    async fn a_record_under_another_root_than_the_anchored_one_is_refused_and_remembered() {
        let (world, other) = (World::new("beta.test"), World::new("beta.test"));
        let port = world.serve_record().await;
        let rows = [
            ("_freehold._tcp.beta.test", srv(0, port, "host.beta.test")),
            ("host.beta.test", world.loopback()),
            ("_freehold.beta.test", anchor(&other.ring)),
        ];
        let directory = world.directory(&rows, Trust::Dns, &["127.0.0.0/8"]).await;
        for _ in 0..2 {
            let error = directory.peer(&world.domain).await.unwrap_err();
            assert!(matches!(error, ResolveError::Record(_)), "{error}");
        }
        assert_eq!(world.served(), 1, "the failure was not remembered");
        assert!(world.pins.load(&world.domain).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_equal_voice_against_the_pin_stops_and_a_weaker_one_does_not() {
        let (world, other) = (World::new("beta.test"), World::new("beta.test"));
        let port = world.serve_record().await;
        let rows = |txt| {
            [
                ("_freehold._tcp.beta.test", srv(0, port, "host.beta.test")),
                ("host.beta.test", world.loopback()),
                ("_freehold.beta.test", txt),
            ]
        };
        let ranges = ["127.0.0.0/8"];
        let agreeing = rows(anchor(&world.ring));
        let directory = world.directory(&agreeing, Trust::Dns, &ranges).await;
        directory.peer(&world.domain).await.unwrap();

        let changed = rows(anchor(&other.ring));
        let directory = world.directory(&changed, Trust::Dns, &ranges).await;
        let error = directory.refresh(&world.domain).await.unwrap_err();
        assert!(
            matches!(error, ResolveError::AnchorsDisagree { .. }),
            "{error}"
        );
        assert!(directory.peer(&world.domain).await.is_ok(), "the pin stays");

        let row = StaticPeer {
            domain: world.domain.clone(),
            address: None,
            root_fingerprint: world.ring.record().root_fingerprint(),
        };
        let directory = world
            .directory_with(&changed, Trust::Dns, &ranges, vec![row])
            .await;
        assert!(directory.refresh(&world.domain).await.is_ok());
        let pin = world.pins.load(&world.domain).await.unwrap().unwrap();
        assert_eq!(pin.anchor, AnchorLevel::Admin);

        let wrong = StaticPeer {
            domain: world.domain.clone(),
            address: None,
            root_fingerprint: [9; 32],
        };
        let directory = world
            .directory_with(&changed, Trust::Dns, &ranges, vec![wrong])
            .await;
        assert!(directory.peer(&world.domain).await.is_err());
    }

    #[tokio::test]
    async fn a_static_row_needs_no_dns_and_a_newer_record_is_taken_up() {
        let mut world = World::new("beta.test");
        let port = world.serve_record().await;
        let row = StaticPeer {
            domain: world.domain.clone(),
            address: Some(("127.0.0.1".to_owned(), port)),
            root_fingerprint: world.ring.record().root_fingerprint(),
        };
        let directory = world
            .directory_with(&[], Trust::Pinned, &["127.0.0.1/32"], vec![row])
            .await;
        let first = directory.peer(&world.domain).await.unwrap();
        world.clock.advance(Duration::from_secs(330 * 24 * 60 * 60));
        world.renew();
        let hash = world.ring.record().hash();
        assert_ne!(hash, first.hash());

        let second = directory.claimed(&world.domain, &hash).await.unwrap();
        assert_eq!(second.hash(), hash);
        assert_eq!(second.record().serial, 2);

        world.serve_bytes(&world.ring.signer().vouch(&first, world.now()));
        assert!(directory.refresh(&world.domain).await.is_err());
        let kept = directory.peer(&world.domain).await.unwrap();
        assert_eq!(kept.record().serial, 2, "the serial never goes back");
    }

    #[tokio::test]
    async fn strangers_claims_cause_one_look_up_a_minute_and_never_unseat_a_pin() {
        let world = World::new("beta.test");
        let port = world.serve_record().await;
        let row = StaticPeer {
            domain: world.domain.clone(),
            address: Some(("127.0.0.1".to_owned(), port)),
            root_fingerprint: world.ring.record().root_fingerprint(),
        };
        let directory = world
            .directory_with(&[], Trust::Pinned, &["127.0.0.1/32"], vec![row])
            .await;
        for _ in 0..5 {
            let record = directory.claimed(&world.domain, &[7; 32]).await.unwrap();
            assert_eq!(record.hash(), world.ring.record().hash());
        }
        assert_eq!(world.served(), 1);
        let unknown = name("nobody.test");
        assert!(directory.claimed(&unknown, &[7; 32]).await.is_err());
    }

    #[tokio::test]
    async fn a_peer_that_makes_itself_known_is_looked_up_in_spite_of_a_failure_just_before() {
        let (world, other) = (World::new("beta.test"), World::new("beta.test"));
        let port = world.serve_record().await;
        let row = StaticPeer {
            domain: world.domain.clone(),
            address: Some(("127.0.0.1".to_owned(), port)),
            root_fingerprint: world.ring.record().root_fingerprint(),
        };
        let directory = world
            .directory_with(&[], Trust::Pinned, &["127.0.0.1/32"], vec![row])
            .await;
        world.serve_instead(&other.ring);
        assert!(directory.peer(&world.domain).await.is_err());
        world.serve_instead(&world.ring);
        assert!(directory.peer(&world.domain).await.is_err(), "remembered");
        let hash = world.ring.record().hash();
        assert!(directory.claimed(&world.domain, &hash).await.is_ok());
        assert!(directory.peer(&world.domain).await.is_ok());
    }

    #[tokio::test]
    async fn a_domain_stands_in_the_static_table_once() {
        let world = World::new("beta.test");
        let row = StaticPeer {
            domain: world.domain.clone(),
            address: None,
            root_fingerprint: [1; 32],
        };
        let config = freehold_directory::Config {
            static_peers: vec![row.clone(), row],
            ..freehold_directory::Config::default()
        };
        assert!(Directory::new(config, world.pins.clone(), world.clock.clone()).is_err());
        assert!(world.clock.now() > freehold_proto::Timestamp::EPOCH);
    }
}
