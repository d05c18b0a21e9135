//! Finding people, and not finding those who do not wish to be found.

use freehold_proto::UserId;
use serde_json::json;

use crate::{guest::Guest, net::Net};

/// How a stock client asks for a person by id, and what it is told.
async fn asks_by_id(guest: &mut Guest, user: &str) -> [(u64, String); 3] {
    let get = json!({"topic": user, "what": "desc"});
    let sub = json!({"topic": user, "get": {"what": "desc sub data"}});
    [
        guest.is_refused("get", get).await,
        guest.is_refused("sub", sub.clone()).await,
        // What was refused once is no way in.
        guest.is_refused("sub", sub).await,
    ]
}

#[tokio::test]
async fn who_does_not_wish_to_be_found_cannot_be_told_from_who_does_not_exist() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let quiet = net.domain_with("quiet.test", "findable = false").await;
    let mut ann = alpha.guest("ann").await;
    let hermit = quiet.guest("hermit").await;
    let hidden = hermit.person.global_id();
    let nobody = UserId::new([7; 8], "quiet.test".parse().unwrap()).to_string();

    for prefix in ["email:", "alias:", "basic:", ""] {
        for address in ["hermit@quiet.test", "nobody@quiet.test", &hidden, &nobody] {
            let rows = ann.finds(&format!("{prefix}{address}")).await;
            assert!(rows.is_empty(), "{prefix}{address} finds {rows:?}");
        }
    }
    let not_found = [(); 3].map(|()| (404, "user not found".to_owned()));
    assert_eq!(asks_by_id(&mut ann, &hidden).await, not_found);
    assert_eq!(asks_by_id(&mut ann, &nobody).await, not_found);

    let mut neighbour = quiet.guest("neighbour").await;
    for name in ["hermit", "nobody", "hermit@quiet.test", "nobody@quiet.test"] {
        let rows = neighbour.finds(&format!("alias:{name},{name}")).await;
        assert!(rows.is_empty(), "{name} finds {rows:?}");
    }
}

#[tokio::test]
async fn an_address_is_found_whatever_its_case_and_whatever_the_client_made_of_it() {
    let net = Net::new().await;
    let (alpha, beta) = (
        net.domain("alpha.test").await,
        net.domain("beta.test").await,
    );
    let (mut ann, bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    let id = bob.person.global_id();
    for typed in [
        "email:bob@beta.test",
        "email:Bob@BETA.Test",
        "alias:bob@beta.test,bob@beta.test",
        "alias:basic:bob@beta.test,basic:bob@beta.test",
        &format!("email:{id}"),
    ] {
        let rows = ann.finds(typed).await;
        assert_eq!(rows.len(), 1, "{typed} finds {rows:?}");
        assert_eq!(rows[0]["topic"], id, "{typed}");
        assert_eq!(rows[0]["public"], json!({"fn": "bob"}), "{typed}");
        assert!(rows[0].get("user").is_none() && rows[0]["private"].is_array());
    }
}

#[tokio::test]
async fn nobody_is_found_where_there_is_no_domain_or_no_sense() {
    let net = Net::new().await;
    let alpha = net.domain("alpha.test").await;
    let mut ann = alpha.guest("ann").await;
    for typed in [
        "email:bob@nowhere.test",
        "email:bob@127.0.0.1",
        "email:@alpha.test",
        "email:bob@",
        "email:bob@alpha.test:6269",
        "email:ann@alpha.test",
        "\"unclosed",
        "␡",
        &"a,".repeat(2000),
    ] {
        let rows = ann.finds(typed).await;
        assert!(rows.is_empty(), "{typed} finds {rows:?}");
    }
}
