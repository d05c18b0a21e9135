//! Several domains in one process behind shared listeners: each is found by its name, and none has to do
//! with another but over the links that all domains have.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use freehold::{Domain, Front, Running, Shared};
use freehold_federation::{Reception, SharedListener, Tasks};
use freehold_interop::Endpoint;
use freehold_keys::{KeyRing, SignedClientDocument, fingerprint_to_text};
use freehold_proto::{Clock as _, DomainName, limits::ALPN_CLIENT};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

use crate::{
    guest::Guest,
    net::{House, Net},
    postman,
    tls_client::{Caller, Hand, Shown, lines},
};

/// A hosting company with shared listeners.
struct Company {
    net: Net,
    tasks: Tasks,
    shared: Shared,
    reception: Reception,
    front: Front,
}

/// One of its customers.
struct Customer {
    name: DomainName,
    running: Running,
    hosts: Vec<String>,
}

impl Company {
    async fn new() -> Self {
        let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (clients, tasks) = (TcpListener::bind(here).await.unwrap(), Tasks::default());
        let peers = SharedListener::bind(here).await.unwrap();
        let (front, reception) = (Front::default(), peers.reception());
        let shared = Shared {
            clients: clients.local_addr().unwrap(),
            federation: peers.local_addr(),
        };
        tasks.spawn("reception", peers.run(tasks.clone()));
        tasks.spawn("front", front.clone().serve(clients, tasks.clone()));
        Self {
            net: Net::new().await,
            tasks,
            shared,
            reception,
            front,
        }
    }

    async fn takes(&self, name: &str, more: &str) -> Customer {
        let name: DomainName = name.parse().unwrap();
        let folder = self.net.folder().join(name.as_str());
        let keys = folder.join("keys");
        let clock = Arc::clone(&self.net.clock);
        if !KeyRing::exists(&keys) {
            std::fs::create_dir(&folder).unwrap();
            KeyRing::create(&keys, &name, clock.now()).unwrap();
        }
        let config = self.net.config_of(&name, &folder, more);
        let ring = KeyRing::load(&keys, &name, clock.now()).unwrap();
        let root = fingerprint_to_text(&ring.record().root_fingerprint());
        self.net.publish(&name, self.shared.federation, &root);
        let building = Domain::build_behind(self.shared, config, ring, clock);
        let domain = Box::pin(building).await.unwrap();
        let (running, hosts) = domain.start_behind(&self.reception, &self.front);
        Customer {
            name,
            running,
            hosts,
        }
    }

    async fn loses(&self, customer: Customer) {
        self.reception.leave(&customer.name);
        self.front.leave(&customer.hosts);
        customer.running.stop(Duration::from_secs(5)).await;
    }

    fn endpoint(&self, customer: &Customer) -> Endpoint {
        Endpoint::new(customer.name.clone(), self.shared.clients)
    }

    async fn guest(&self, customer: &Customer, name: &str) -> Guest {
        Guest::at(self.endpoint(customer), name).await
    }

    /// Status of an answer to a request for this host.
    async fn asks(&self, host: &str) -> u16 {
        let line = format!("GET {}", freehold_directory::WELL_KNOWN_PATH);
        let request = postman::head(&line, &[]).replace("alpha.test", host);
        postman::exchange_at(self.shared.clients, request.as_bytes())
            .await
            .status
    }
}

#[tokio::test]
async fn customers_of_one_process_meet_each_other_and_the_world_by_their_names() {
    let company = Company::new().await;
    let alpha = company
        .takes("alpha.test", "hosts = [\"chat.alpha.test\"]")
        .await;
    let beta = company.takes("beta.test", "").await;
    let gamma: House = company.net.domain("gamma.test").await;
    let mut ann = company.guest(&alpha, "ann").await;
    let mut bob = company.guest(&beta, "bob").await;
    let mut cat = gamma.guest("cat").await;
    ann.meets(&mut bob).await;
    bob.meets(&mut cat).await;
    ann.says(&bob, "next door").await;
    bob.hears(&ann, "next door").await;
    cat.says(&bob, "from far away").await;
    bob.hears(&cat, "from far away").await;

    for host in [
        "alpha.test",
        "beta.test:6060",
        "CHAT.alpha.test",
        "beta.test.",
    ] {
        assert_eq!(company.asks(host).await, 200, "{host}");
    }
    for host in ["gamma.test", "", "chat.beta.test", "alpha.test:x"] {
        assert_eq!(company.asks(host).await, 421, "{host}");
    }

    // One goes and comes back; the others do not notice.
    company.loses(beta).await;
    assert_eq!(company.asks("beta.test").await, 421);
    assert_eq!(company.asks("alpha.test").await, 200);
    ann.says(&bob, "are you moving?").await;
    cat.says(&bob, "nobody home?").await;
    let beta = company.takes("beta.test", "").await;
    bob.person.endpoint = company.endpoint(&beta);
    bob.session = bob.person.come_back().await.unwrap();
    bob.opens(&ann).await;
    bob.opens(&cat).await;
    bob.has(&ann, "are you moving?").await;
    bob.has(&cat, "nobody home?").await;
    company.loses(alpha).await;
    company.loses(beta).await;
    company.tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_name_that_is_taken_stays_where_it_is() {
    let company = Company::new().await;
    let alpha = company.takes("alpha.test", "").await;
    let beta = company
        .takes("beta.test", "hosts = [\"alpha.test\", \"b.test\"]")
        .await;
    assert_eq!(beta.hosts, ["beta.test", "b.test"]);
    company.loses(beta).await;
    assert_eq!(company.asks("alpha.test").await, 200);
    company.loses(alpha).await;
    company.tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn each_domain_of_a_process_tells_where_its_own_clients_connect() {
    let company = Company::new().await;
    let told = "public_url = \"https://chat.alpha.test\"";
    let alpha = company.takes("alpha.test", told).await;
    let beta = company.takes("beta.test", "").await;
    let asker = company.net.stranger("asker.test").await;
    let handed = async |customer: &Customer| {
        let at = company.shared.federation;
        let knocked = asker.knocks(&customer.name, at, ALPN_CLIENT).await;
        let mut bytes = Vec::new();
        knocked.unwrap().read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let document = SignedClientDocument::read(&handed(&alpha).await).unwrap();
    assert_eq!(document.document().domain, alpha.name);
    let server = document.document().entrance.websocket.authority();
    assert_eq!(server, "chat.alpha.test");
    assert_eq!(handed(&beta).await, b"");
    company.loses(alpha).await;
    company.loses(beta).await;
    company.tasks.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn each_domain_of_a_process_shows_its_own_certificate() {
    let company = Company::new().await;
    let at = company.shared.clients;
    let folders = ["one", "two"].map(|it| company.net.folder().join(it));
    let (first, second) = (Shown::new("alpha.test"), Shown::new("beta.test"));
    for (folder, shown) in folders.iter().zip([&first, &second]) {
        std::fs::create_dir(folder).unwrap();
        shown.write(folder);
    }
    assert_eq!(company.front.admits(true), Ok(()));
    let alpha = company.takes("alpha.test", &lines(&folders[0])).await;
    let to_alpha = Hand::new(at, &first, "alpha.test");
    let nameless = Hand {
        name: None,
        ..to_alpha
    };
    // Alone it is shown to everybody.
    assert_eq!(nameless.asks("alpha.test").await, 404);
    let beta = company.takes("beta.test", &lines(&folders[1])).await;
    let to_beta = Hand::new(at, &second, "beta.test");
    assert_eq!(to_alpha.asks("alpha.test").await, 404);
    assert_eq!(to_beta.asks("beta.test:443").await, 404);
    assert_eq!(to_alpha.asks("beta.test").await, 421);
    let stranger = Hand::new(at, &first, "gamma.test");
    for hand in [nameless, stranger] {
        let fault = hand.shake().await.unwrap_err().to_string();
        assert!(fault.contains("UnrecognisedName"), "{fault}");
    }
    let mut ann = Caller::new(to_alpha, "ann").await;
    assert_eq!(company.front.admits(true), Ok(()));
    let why = company.front.admits(false).unwrap_err().to_string();
    assert!(why.starts_with("it has no certificate (clients.tls_certificate)"));

    company.loses(beta).await;
    assert_eq!(nameless.asks("alpha.test").await, 404);
    ann.asks("sub", serde_json::json!({"topic": "me"})).await;
    company.loses(alpha).await;
    let plain = company.takes("plain.test", "").await;
    assert_eq!(company.asks("plain.test").await, 200);
    let why = company.front.admits(true).unwrap_err().to_string();
    assert!(why.starts_with("it has a certificate (clients.tls_certificate)"));
    company.loses(plain).await;
    company.tasks.drain(Duration::from_secs(5)).await;
}
