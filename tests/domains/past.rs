//! A long conversation, whose older messages are packed many to a row.

use std::{sync::Arc, time::Duration};

use freehold_interop::Message;
use freehold_store::{Config, Engine, KeyRange, Order, SledEngine};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    guest::Guest,
    net::{House, Net},
};

/// Long enough for any machine; it is over as soon as there is what is waited for.
const LONG: Duration = Duration::from_secs(60);
const MESSAGES: u64 = 300;
/// Rows of messages that were not packed yet, and packs.
const ROWS: &[u8] = b"M";
const PACKS: &[u8] = b"c";

fn text(number: u64) -> String {
    format!("the {number:04}th word")
}

impl House {
    /// What its stopped store has in one table, or in all.
    fn rows(&self, table: &[u8]) -> Vec<Vec<u8>> {
        let config = Config::new(self.data().join("store"), 8 << 20, 256 << 20).unwrap();
        let engine: Arc<dyn Engine> = Arc::new(SledEngine::open(config).unwrap());
        let all = KeyRange::prefix(table);
        let rows = engine.page(&all, Order::Ascending, usize::MAX).unwrap();
        engine.close().unwrap();
        rows.into_iter().map(|(_, value)| value.to_vec()).collect()
    }

    /// Texts of the conversation that stand in any row.
    fn told(&self) -> Vec<u64> {
        let rows = self.rows(b"");
        let has = |number: &u64| {
            let text = text(*number);
            let holds = |row: &Vec<u8>| row.windows(text.len()).any(|it| it == text.as_bytes());
            rows.iter().any(holds)
        };
        (1..=MESSAGES).filter(has).collect()
    }

    /// Stops it, and starts it again for a moment until its disk is as it should be.
    async fn stops_when(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LONG;
        self.stop().await;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what} in vain");
            self.start().await;
            sleep(Duration::from_millis(200)).await;
            self.stop().await;
        }
    }
}

impl Guest {
    async fn remembers(&mut self, other: &Self) -> Vec<(u64, serde_json::Value)> {
        let topic = self.name_of(other);
        let history = self.session.history(&topic, 1).await.unwrap();
        let said = |it: Message| (it.seq, it.content);
        history.into_iter().map(said).collect()
    }
}

#[tokio::test]
async fn a_long_conversation_reads_the_same_once_it_is_packed_and_what_is_erased_is_nowhere() {
    let net = Net::new().await;
    let mut house = net
        .domain_with("alpha.test", "delete_for_both = true")
        .await;
    let (mut ann, mut ben) = (house.guest("ann").await, house.guest("ben").await);
    ann.opens(&ben).await;
    for number in 1..=MESSAGES {
        assert_eq!(ann.says(&ben, &text(number)).await, number);
    }
    ben.opens(&ann).await;
    let before = ben.remembers(&ann).await;
    assert_eq!(before.len() as u64, MESSAGES);

    let packed = |it: &House| it.rows(ROWS).len() < 60 && it.rows(PACKS).len() > 6;
    house.stops_when("packed", packed).await;
    assert_eq!(house.told().len() as u64, MESSAGES);

    house.start().await;
    house.welcomes_back(&mut ann).await;
    house.welcomes_back(&mut ben).await;
    ann.opens(&ben).await;
    ben.opens(&ann).await;
    assert_eq!(ben.remembers(&ann).await, before);
    assert_eq!(ann.says(&ben, "and on").await, MESSAGES + 1);
    let spans = json!([{"low": 10, "hi": 200}, {"low": 290, "hi": 295}]);
    let gone = |seq: u64| (10..200).contains(&seq) || (290..295).contains(&seq);
    let delete = json!({"topic": ann.name_of(&ben), "what": "msg", "delseq": spans, "hard": true});
    ann.session.request("del", delete).await.unwrap();

    let erased = |it: &House| it.told().into_iter().all(|number| !gone(number));
    house.stops_when("erased", erased).await;
    let kept: Vec<u64> = (1..=MESSAGES).filter(|it| !gone(*it)).collect();
    assert_eq!(house.told(), kept);
    house.start().await;
    house.welcomes_back(&mut ben).await;
    ben.opens(&ann).await;
    let after = ben.remembers(&ann).await;
    let left = before.into_iter().filter(|it| !gone(it.0));
    let last = (MESSAGES + 1, json!("and on"));
    assert_eq!(after, left.chain([last]).collect::<Vec<_>>());
}
