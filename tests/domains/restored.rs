//! What people of a domain see after its store was brought back from an older copy.

use std::{fs, path::Path, time::Duration};

use freehold::Without;
use serde_json::json;

use crate::{guest::Guest, net::Net};

/// Copies a store, which is a folder of files.
pub(crate) fn copy(from: &Path, to: &Path) {
    let _none_yet = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Last message, last one read and last deletion, as somebody's list of chats has them.
async fn counts(guest: &mut Guest, other: &Guest) -> [u64; 3] {
    let rows = guest.session.get("me", "sub").await.unwrap().unwrap();
    let name = guest.name_of(other);
    let row = rows
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["topic"] == name);
    let row = row.unwrap();
    ["seq", "read", "clear"].map(|key| row[key].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn a_restored_domain_goes_on_behind_all_that_its_people_know() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let (mut ann, mut amy) = (alpha.guest("ann").await, alpha.guest("amy").await);
    ann.opens(&amy).await;
    amy.opens(&ann).await;
    for text in ["one", "two", "three"] {
        ann.says(&amy, text).await;
    }
    amy.notes(&ann, "read", 2).await;
    ann.sees_mark(&amy, "read", 2).await;

    alpha.stop().await;
    let (store, backup) = (alpha.data().join("store"), net.folder().join("backup"));
    copy(&store, &backup);
    alpha.start().await;
    alpha.welcomes_back(&mut ann).await;
    ann.opens(&amy).await;
    let last = ann.says(&amy, "forgotten").await;
    let deletes = json!({"topic": ann.name_of(&amy), "what": "msg", "delseq": [{"low": 1}]});
    ann.session.request("del", deletes).await.unwrap();

    alpha.stop().await;
    copy(&backup, &store);
    let nobody = Without::These(Vec::new());
    let restoring = alpha.in_hand().await;
    let restored = restoring.restore(Duration::ZERO, &nobody, |_, _| ());
    assert!(restored.await.unwrap().topics >= 1);
    alpha.start().await;
    alpha.welcomes_back(&mut ann).await;
    alpha.welcomes_back(&mut amy).await;
    let [seq, read, clear] = counts(&mut amy, &ann).await;
    assert!(seq > last && clear > 1, "{seq} {clear}");
    assert_eq!(seq - read, 1, "as many are unread as in the copy");

    ann.opens(&amy).await;
    amy.opens(&ann).await;
    ann.reads(&amy, &["one", "two", "three"]).await;
    assert_eq!(ann.says(&amy, "new").await, seq + 1);
    amy.hears(&ann, "new").await;
    // A client that knew the forgotten message is told that it is gone, once and for all.
    let since = json!({"topic": ann.name_of(&amy), "what": "del", "del": {"since": 2}});
    let told = ann.session.request("get", since).await.unwrap();
    let gone = json!([{"low": last, "hi": seq + 1}]);
    assert_eq!(told.body["del"]["delseq"], gone);
    // What is deleted now goes over the whole gap.
    let all =
        json!({"topic": ann.name_of(&amy), "what": "msg", "delseq": [{"low": 1, "hi": seq + 2}]});
    ann.session.request("del", all).await.unwrap();
    ann.reads(&amy, &[]).await;
}

#[tokio::test]
async fn nothing_is_changed_while_a_domain_has_not_answered() {
    let net = Net::new().await;
    let mut alpha = net.domain("alpha.test").await;
    let mut beta = net.domain("beta.test").await;
    let (mut ann, mut bob) = (alpha.guest("ann").await, beta.guest("bob").await);
    ann.meets(&mut bob).await;
    let before = ann.says(&bob, "before").await;
    bob.hears(&ann, "before").await;
    alpha.stop().await;
    beta.stop().await;

    let nobody = Without::These(Vec::new());
    let restoring = alpha.in_hand().await;
    let restored = restoring.restore(Duration::ZERO, &nobody, |_, _| ());
    let restored = restored.await.unwrap();
    let missing: Vec<_> = restored.missing(&nobody).collect();
    assert_eq!((missing, restored.topics), (vec![&beta.name], 0));
    alpha.start().await;
    alpha.welcomes_back(&mut ann).await;
    assert_eq!(counts(&mut ann, &bob).await[0], before);

    alpha.stop().await;
    let silent = Without::These(vec![beta.name.clone()]);
    let restoring = alpha.in_hand().await;
    let restored = restoring.restore(Duration::ZERO, &silent, |_, _| ());
    assert!(restored.await.unwrap().missing(&silent).next().is_none());
    beta.start().await;
    alpha.start().await;
    alpha.welcomes_back(&mut ann).await;
    beta.welcomes_back(&mut bob).await;
    ann.opens(&bob).await;
    bob.opens(&ann).await;
    assert!(ann.says(&bob, "after").await > before + 1);
    bob.hears(&ann, "after").await;
}
