//! One chat between each two domains, in which both write without pause.

use std::{cell::Cell, time::Duration};

use futures_util::future::try_join_all;
use tokio::time::sleep;

use crate::{Chat, Failure, Progress, Result, Stage, Writer, failure::expect};

/// Between two messages of one person.
const PACE: Duration = Duration::from_millis(150);
const POLL: Duration = Duration::from_millis(50);
/// Time for what waits to arrive after the last trouble.
const ARRIVE_WITHIN: Duration = Duration::from_secs(120);

/// All of them.
pub(super) struct Chats {
    chats: Vec<Chat>,
    writers: Vec<Writer>,
}

impl Chats {
    pub(super) async fn begin(stage: &mut Stage) -> Result<Self> {
        let count = stage.network.len();
        let (mut chats, mut writers) = (Vec::new(), Vec::new());
        for one in 0..count {
            for other in one + 1..count {
                let names = [format!("ann{one}{other}"), format!("bob{one}{other}")];
                let [first, second] = &names;
                let mut chat = Chat::begin(stage, (one, first), (other, second)).await?;
                for side in 0..2 {
                    chat.disconnect(side);
                    let person = chat.people[side].clone();
                    writers.push(Writer::new(person, chat.topic(side)).paced(PACE));
                }
                chats.push(chat);
            }
        }
        Ok(Self { chats, writers })
    }

    /// Everybody writes until it is enough.
    pub(super) async fn go_on(&mut self, enough: &Cell<bool>) -> Result<()> {
        let progress = Progress::default();
        let told = async {
            while !enough.get() {
                sleep(POLL).await;
            }
            progress.enough.set(true);
            Ok(())
        };
        let writing = try_join_all(self.writers.iter_mut().map(|it| it.write(&progress)));
        tokio::try_join!(told, writing).map(drop)
    }

    /// Both see the same, all that was acknowledged, once and in order; and both know it when all was
    /// read.
    pub(super) async fn judge(&mut self, stage: &Stage) -> Result<()> {
        for (index, chat) in self.chats.iter_mut().enumerate() {
            for side in 0..2 {
                let writer = self.writers.get(2 * index + side);
                let writer = writer.ok_or_else(|| Failure::harness("find a writer", "none"))?;
                chat.ledgers[side] = writer.ledger().clone();
            }
        }
        try_join_all(self.chats.iter_mut().map(|it| it.agree(ARRIVE_WITHIN))).await?;
        try_join_all(self.chats.iter_mut().map(receipts_agree)).await?;
        let (sent, acknowledged) = (self.messages(), self.acknowledged());
        stage.line.held(
            "all chats",
            format!("{sent} messages sent, {acknowledged} acknowledged and present once, in order, at both domains; read marks agree"),
        );
        Ok(())
    }

    /// Messages sent.
    pub(super) fn messages(&self) -> u64 {
        self.writers.iter().map(|it| it.ledger().sent).sum()
    }

    fn acknowledged(&self) -> usize {
        let ledgers = self.writers.iter().map(Writer::ledger);
        ledgers.map(|it| it.acknowledged.len()).sum()
    }
}

/// Each reads everything; each then learns that the other one has read its last message.
async fn receipts_agree(chat: &mut Chat) -> Result<()> {
    for side in 0..2 {
        chat.reads(side).await?;
    }
    for side in 0..2 {
        let history = chat.history(side).await?;
        let last = chat.ledgers[side]
            .entries(&history)
            .last()
            .map_or(0, |it| it.seq);
        let mut known = 0;
        for _ in 0..600 {
            known = chat.known_to_be_read(side).await?;
            if known >= last {
                break;
            }
            sleep(POLL).await;
        }
        let who = chat.people[side].address();
        expect(known >= last, || {
            format!("{who} knows of {known} to be read, and all up to {last} was")
        })?;
    }
    Ok(())
}
