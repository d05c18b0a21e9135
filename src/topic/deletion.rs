//! Deleting messages: for everybody, or from one's own view (fact sheet, sections 2.6 and 3.2).

use std::time::Duration;

use freehold_proto::{AccessMode, Timestamp, UserId, limits};
use freehold_store::{
    Batch, Outcome, StoreError, Tables, TopicKey,
    tables::{
        deletions,
        log::erase_from_feed,
        messages::erase_messages,
        packs,
        rows::{ClearedRow, DeletionRow, SpanRow},
    },
};
use serde_json::json;

use super::{
    actor::{Actor, Effect},
    asked::Asked,
    places,
    room::Room,
};
use crate::{
    edge::{
        frames::Deleted,
        reply::{self, Reply, Status},
        requests::{GetOptions, Range},
    },
    files::{self, Referrer},
};

/// Messages named one by one in one request.
const NAMED_MAX: u64 = 1024;
/// Stretches of messages that another domain deletes in one go (rules.md 16).
pub(super) const SPANS_MAX: usize = 1000;
/// Deletions told in one answer.
const TOLD_MAX: usize = 256;
/// Rows written and removed in one go while messages are erased.
const ERASED_OPS: usize = 500;
const ERASED_BYTES: usize = 256 * 1024;
/// Positions looked up in one go.
const SEQS_PAGE: usize = 50;

/// How far the deletions of a topic have come.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cleared {
    /// The last deletion, whoever it was for.
    pub last: u32,
    /// The last deletion for everybody.
    pub last_hard: u32,
    /// Up to here the content is gone from the disk too.
    pub erased: u32,
}

impl Cleared {
    pub(super) fn of(row: Option<ClearedRow>) -> Self {
        let row = row.unwrap_or_default();
        Self {
            last: row.last,
            last_hard: row.last_hard,
            erased: row.erased,
        }
    }

    pub(super) fn row(self) -> Option<ClearedRow> {
        (self != Self::default()).then_some(ClearedRow {
            last: self.last,
            last_hard: self.last_hard,
            erased: self.erased,
        })
    }
}

/// One deletion that has happened.
#[derive(Clone, Debug)]
pub(super) struct Deletion {
    pub(super) id: u32,
    pub(super) by: UserId,
    pub(super) hard: bool,
    pub(super) spans: Vec<SpanRow>,
    /// The same by their orders, for other domains.
    pub(super) orders: Vec<SpanRow>,
}

/// What a client wants deleted, within a log of `head` messages.
fn spans(ranges: &[Range], head: u32) -> Result<Vec<SpanRow>, Status> {
    let span = |range: &Range| {
        let backwards = range.hi != 0 && range.hi < range.low;
        if (range.low, range.hi) == (0, 0) || range.low.max(1) > head || backwards {
            return Err(reply::MALFORMED);
        }
        // COMPAT JavaScript SDK: a lower end of 0 is dropped, and means the beginning.
        let low = range.low.max(1);
        let high = range
            .hi
            .clamp(low.saturating_add(1), head.saturating_add(1).max(low + 1));
        Ok(SpanRow { low, high })
    };
    let spans = ranges.iter().map(span).collect::<Result<Vec<_>, _>>()?;
    let named: u64 = spans.iter().map(|it| u64::from(it.high - it.low)).sum();
    if spans.is_empty() || (spans.len() > 1 && named > NAMED_MAX) {
        return Err(reply::MALFORMED);
    }
    Ok(deletions::merged(spans))
}

impl Actor {
    /// Answers `{del what:"msg"}`.
    pub(super) async fn delete_messages(
        &mut self,
        asked: &Asked,
        ranges: &[Range],
        hard: bool,
    ) -> Result<(), Reply> {
        if !self.is_attached(&asked.session) {
            return Err(reply::ATTACH_FIRST.into());
        }
        let standing = self.topic.active(&asked.user).ok_or(reply::ATTACH_FIRST)?;
        if standing.reader {
            return Err(reply::NOT_ALLOWED.into());
        }
        let mode = standing.mode();
        let spans = spans(ranges, self.topic.head())?;
        let hard = hard && mode.has(AccessMode::DELETE);
        if !hard && !mode.has(AccessMode::READ) {
            return Err(reply::PERMISSION_DENIED.into());
        }
        // Holes are merged with those on disk, so nothing may be on its way there.
        self.finish_commits().await?;
        let done = if hard && self.home_abroad().is_some() {
            Some(self.delete_in_copy(asked, spans).await?)
        } else if hard {
            let (all, own) = self.deletable(&asked.user, spans).await?;
            let done = self.delete_spans(&asked.user, true, all).await?;
            self.delete_spans(&asked.user, false, own).await?.or(done)
        } else {
            self.delete_spans(&asked.user, false, spans).await?
        };
        let id = done.ok_or(reply::PERMISSION_DENIED)?;
        let answer = Reply::with(reply::OK, json!({ "del": id }));
        self.commit_all(Batch::new(), vec![asked.later(answer, self.now())]);
        Ok(())
    }

    /// Which of the messages one may take from everybody, and which only from one's own view.
    pub(super) async fn deletable(
        &self,
        user: &UserId,
        spans: Vec<SpanRow>,
    ) -> Result<(Vec<SpanRow>, Vec<SpanRow>), Reply> {
        let key = self.key();
        if self.topic.pair().is_some() {
            let author = user.to_string();
            let split = move |tables: &Tables| by_author(tables, key, &author, &spans);
            return Ok(self.server.tables.read(split).await?);
        }
        let owns = self.topic.may(user, AccessMode::OWNER);
        let Some(age) = self.server.rules.deletion_age.filter(|_| !owns) else {
            return Ok((spans, Vec::new()));
        };
        let (head, oldest) = (self.topic.head(), self.now().minus(age));
        let find = move |tables: &Tables| first_since(tables, key, head, oldest);
        let first = self.server.tables.read(find).await?;
        let young = |it: &SpanRow| SpanRow {
            low: it.low.max(first),
            ..*it
        };
        let young: Vec<_> = spans
            .iter()
            .map(young)
            .filter(|it| it.low < it.high)
            .collect();
        Ok((young, Vec::new()))
    }

    /// Writes deletions until all spans are gone; returns the id of the last one.
    pub(super) async fn delete_spans(
        &mut self,
        user: &UserId,
        hard: bool,
        mut spans: Vec<SpanRow>,
    ) -> Result<Option<u32>, Reply> {
        let mut last = None;
        let told = hard && self.tells_deletions_of(user);
        while !spans.is_empty() {
            let rest = match told {
                true => split_off(&mut spans, limits::DELETED_IDS_MAX),
                false => Vec::new(),
            };
            let (mut batch, deletion, left) = self.begin_deletion(user, hard, spans).await?;
            last = Some(deletion.id);
            let mut effects = Vec::new();
            if told {
                let spans = deletion.spans.clone();
                self.delete_abroad(&mut batch, &mut effects, user, spans)
                    .await?;
            }
            effects.push(Effect::Deleted(deletion));
            self.commit_all(batch, effects);
            self.finish_commits().await?;
            spans = [left, rest].concat();
        }
        Ok(last)
    }

    /// The rows of one deletion, and the spans for which there is no room in it. Nothing may be under
    /// way, and nothing else may begin before its batch is on its way.
    pub(super) async fn begin_deletion(
        &mut self,
        user: &UserId,
        hard: bool,
        spans: Vec<SpanRow>,
    ) -> Result<(Batch, Deletion, Vec<SpanRow>), Reply> {
        let id = self.topic.cleared().last + 1;
        let row = DeletionRow {
            spans: spans.clone(),
            at: self.now().as_millis(),
            by: user.to_string(),
        };
        let (key, whose) = (self.key(), (!hard).then(|| user.clone()));
        let write = move |tables: &Tables| {
            let mut batch = Batch::new();
            let scope = (key, whose.as_ref());
            let left = deletions::delete(tables, &mut batch, scope, id, row)?;
            Ok((batch, left))
        };
        let (mut batch, left) = self.server.tables.read(write).await?;
        if hard {
            deletions::put_half_erased(&mut batch, key, &self.name.to_text());
        }
        let end = left.last().map_or(0, |it| it.high);
        let done = spans.into_iter().filter_map(|it| {
            let low = it.low.max(end);
            (low < it.high).then_some(SpanRow { low, ..it })
        });
        let spans: Vec<_> = done.collect();
        let orders = match hard {
            true => self.orders_of(spans.clone()).await?,
            false => Vec::new(),
        };
        let deletion = Deletion {
            id,
            by: user.clone(),
            hard,
            spans,
            orders,
        };
        self.note_deletion(&deletion);
        Ok((batch, deletion, left))
    }

    /// What other domains call these messages, if we are to tell them.
    async fn orders_of(&self, spans: Vec<SpanRow>) -> Result<Vec<SpanRow>, Reply> {
        let told = |it: &&Room| it.home.is_none() && (it.log.is_some() || it.feed.is_some());
        let Some(room) = self.topic.room().filter(told) else {
            return Ok(Vec::new());
        };
        if !room.is_renumbered() {
            return Ok(spans);
        }
        let (key, opened) = (self.key(), room.opened);
        let read = move |tables: &Tables| places::orders_of(tables, key, &spans, opened);
        Ok(self.server.tables.read(read).await?)
    }

    /// The deletion of everything that was written here, for a topic that nobody is left in. Nobody
    /// is told of it.
    pub(super) async fn begin_emptying(
        &mut self,
        user: &UserId,
    ) -> Result<(Batch, Vec<SpanRow>), Reply> {
        if self.topic.head() == 0 {
            return Ok((Batch::new(), Vec::new()));
        }
        self.finish_commits().await?;
        let all = SpanRow {
            low: 1,
            high: self.topic.head().saturating_add(1),
        };
        let (batch, _, left) = self.begin_deletion(user, true, vec![all]).await?;
        Ok((batch, left))
    }

    fn note_deletion(&mut self, deletion: &Deletion) {
        let mut cleared = self.topic.cleared();
        cleared.last = deletion.id;
        if deletion.hard {
            cleared.last_hard = deletion.id;
        }
        self.topic.set_cleared(cleared);
        if !deletion.hard {
            self.topic.note_own_deletion(&deletion.by, deletion.id);
        }
    }

    /// Answers `{get del}`: what was deleted since, for everybody and from the asker's own view.
    pub(super) async fn deleted(
        &self,
        user: &UserId,
        options: &GetOptions,
    ) -> Result<Option<Deleted>, Reply> {
        let (key, me) = (self.key(), user.clone());
        let low = options.since.unwrap_or(0);
        let high = options.before.filter(|it| *it > 0).unwrap_or(u32::MAX);
        let limit = options
            .limit
            .filter(|it| *it > 0)
            .map_or(TOLD_MAX, |it| usize::try_from(it).unwrap_or(TOLD_MAX))
            .clamp(1, TOLD_MAX);
        let read = move |tables: &Tables| {
            let mut found = tables.deletions(key, None, (low, high), limit)?;
            found.extend(tables.deletions(key, Some(&me), (low, high), limit)?);
            Ok(found)
        };
        let mut found = self.server.tables.read(read).await?;
        found.sort_unstable_by_key(|(id, _)| *id);
        found.truncate(limit);
        let Some((clear, _)) = found.last() else {
            return Ok(None);
        };
        let clear = *clear;
        let spans = found.into_iter().flat_map(|(_, row)| row.spans).collect();
        Ok(Some(Deleted {
            clear,
            delseq: ranges(&deletions::merged(spans)),
        }))
    }

    /// True while content that was deleted for everybody is still on disk.
    pub(super) fn has_to_erase(&self) -> bool {
        let cleared = self.topic.cleared();
        cleared.erased < cleared.last_hard
    }

    /// Takes the content of deleted messages from the disk, some at a time. What was begun and not
    /// noted is done again after a restart, which changes nothing.
    pub(super) async fn erase_some(&mut self) {
        let (key, cleared) = (self.key(), self.topic.cleared());
        let from = (self.erasing, self.now());
        let find = move |tables: &Tables| erase(tables, key, cleared, from);
        match self.server.tables.read(find).await {
            Ok(Erased::Part(batch, next)) => match self.server.tables.commit(batch).await {
                Ok(Outcome::Applied) => self.erasing = next,
                // Some of it was packed at the same time: it is looked for again.
                Ok(Outcome::GuardFailed { .. }) => {}
                Err(fault) => {
                    tracing::error!(%fault, "deleted messages cannot be erased now");
                    self.erase_later();
                }
            },
            Ok(Erased::Whole(id)) => {
                self.erasing = 0;
                self.topic.set_cleared(Cleared {
                    erased: id,
                    ..self.topic.cleared()
                });
                let mut batch = Batch::new();
                if !self.has_to_erase() {
                    deletions::remove_half_erased(&mut batch, key);
                }
                self.commit_all(batch, Vec::new());
            }
            Err(fault) => {
                tracing::error!(%fault, "deleted messages cannot be erased now");
                self.erase_later();
            }
        }
    }
}

/// Spans as clients know them.
pub(super) fn ranges(spans: &[SpanRow]) -> Vec<Range> {
    let range = |it: &SpanRow| Range {
        low: it.low,
        hi: if it.high == it.low + 1 { 0 } else { it.high },
    };
    spans.iter().map(range).collect()
}

/// Leaves at most `max` positions in spans and returns the others.
fn split_off(spans: &mut Vec<SpanRow>, max: usize) -> Vec<SpanRow> {
    let mut room = u32::try_from(max).unwrap_or(u32::MAX);
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for span in spans.drain(..) {
        let cut = span.high.min(span.low.saturating_add(room));
        room -= cut - span.low;
        first.push(SpanRow { high: cut, ..span });
        rest.push(SpanRow { low: cut, ..span });
    }
    let filled = |it: &SpanRow| it.low < it.high;
    first.retain(filled);
    rest.retain(filled);
    *spans = first;
    rest
}

/// The positions in `spans` of messages by `author`, and the others. Blocks.
fn by_author(
    tables: &Tables,
    topic: TopicKey,
    author: &str,
    spans: &[SpanRow],
) -> Result<(Vec<SpanRow>, Vec<SpanRow>), StoreError> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for span in spans {
        let mut low = span.low;
        // What is not there counts as somebody else's.
        while low < span.high {
            let found = tables.seqs(topic, (low, span.high), SEQS_PAGE)?;
            let end = match found.last() {
                Some(last) if found.len() == SEQS_PAGE => last + 1,
                _ => span.high,
            };
            for seq in found {
                let row = tables.message(topic, seq)?;
                if row.is_some_and(|it| it.author == author) {
                    others.push(SpanRow { low, high: seq });
                    own.push(SpanRow {
                        low: seq,
                        high: seq + 1,
                    });
                    low = seq + 1;
                }
            }
            others.push(SpanRow { low, high: end });
            low = end;
        }
    }
    others.retain(|it| it.low < it.high);
    Ok((deletions::merged(own), deletions::merged(others)))
}

/// The first message that came since `moment`, of `head`; one behind the last if none did. Blocks.
fn first_since(
    tables: &Tables,
    topic: TopicKey,
    head: u32,
    moment: Timestamp,
) -> Result<u32, StoreError> {
    let (mut low, mut high) = (1, head.saturating_add(1));
    while low < high {
        let middle = low + (high - low) / 2;
        let row = tables.message(topic, middle)?;
        // Where a position was never filled, what is above decides.
        if row.is_some_and(|it| it.received < moment.as_millis()) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

enum Erased {
    /// Some messages; where to go on.
    Part(Batch, u32),
    /// Nothing is left of this deletion.
    Whole(u32),
}

/// The next messages to erase from `from` on. Blocks.
fn erase(
    tables: &Tables,
    topic: TopicKey,
    cleared: Cleared,
    (from, now): (u32, Timestamp),
) -> Result<Erased, StoreError> {
    let wanted = (cleared.erased + 1, cleared.last_hard + 1);
    let page = tables.deletions(topic, None, wanted, 1)?;
    let Some((id, row)) = page.into_iter().next() else {
        return Ok(Erased::Whole(cleared.last_hard));
    };
    let Some(span) = row.spans.iter().find(|it| it.high > from) else {
        return Ok(Erased::Whole(id));
    };
    let (mut batch, mut seq) = (Batch::new(), span.low.max(from));
    while seq < span.high && batch.ops() < ERASED_OPS && batch.bytes() < ERASED_BYTES {
        let mut found = tables.seqs(topic, (seq, span.high), SEQS_PAGE)?;
        // A topic that was restored has holes of any size. One batch rewrites a pack only once, and large
        // messages are many rows: no more than a stretch goes at once.
        seq = match found.first() {
            Some(first) => packs::stretch_end(*first).min(span.high),
            None => span.high,
        };
        found.retain(|it| *it < seq);
        erase_messages(tables, &mut batch, topic, &found, id)?;
        for seq in found {
            erase_from_feed(tables, &mut batch, topic.feed(), seq)?;
            let referrer = Referrer::Message(topic, seq);
            files::release(tables, &mut batch, &referrer, now)?;
        }
    }
    Ok(Erased::Part(batch, seq))
}

/// How long to wait before erasing is tried again.
pub(super) const ERASE_AGAIN: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use freehold_store::tables::{
        messages::put_message,
        rows::{MessageRow, TopicRow},
        topics::put_topic,
    };
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{
        stage::Stage,
        topic::{Command, TopicName, hub::Hub},
    };

    /// A conversation of two of whose one message was deleted that is still on the disk.
    async fn half_erased(stage: &Stage) -> TopicName {
        let server = &stage.server;
        let person = |number| UserId::new([number; 8], server.us.clone());
        let name = TopicName::one_to_one(&person(1), &person(2));
        let mut batch = Batch::new();
        let cleared = Cleared {
            last: 1,
            last_hard: 1,
            erased: 0,
        };
        let row = TopicRow {
            people: vec![person(1).to_string(), person(2).to_string()],
            cleared: cleared.row(),
            ..TopicRow::default()
        };
        put_topic(&mut batch, name.key(), &row);
        put_message(&mut batch, name.key(), 1, &MessageRow::default());
        let row = DeletionRow {
            spans: vec![SpanRow { low: 1, high: 2 }],
            ..DeletionRow::default()
        };
        let scope = (name.key(), None);
        let left = deletions::delete(&server.tables, &mut batch, scope, 1, row).unwrap();
        assert!(left.is_empty());
        deletions::put_half_erased(&mut batch, name.key(), &name.to_text());
        assert_eq!(server.tables.commit(batch).await.unwrap(), Outcome::Applied);
        name
    }

    /// Erasing begins on a disk that is full after so many batches.
    async fn erasing_waits_for_a_disk_that_is_full(after: usize) {
        const TRIES: u32 = 10;
        let stage = Stage::new().await;
        let server = Arc::clone(&stage.server);
        let name = half_erased(&stage).await;
        let mut refused = stage.engine.refused();
        stage.engine.take(Some(after));
        Hub::send(&server, &name, Command::Resume).await;
        let many = refused.wait_for(|it| *it > 2 * TRIES as usize);
        tokio::select! {
            _ = many => panic!("it is tried again and again"),
            () = sleep(ERASE_AGAIN * TRIES) => {}
        }
        let tries = *stage.engine.refused().borrow();
        assert!(tries > 1, "it is not tried again");

        stage.engine.take(None);
        let deadline = Instant::now() + ERASE_AGAIN * 2;
        let left = |tables: &Tables| tables.half_erased(None, 1);
        while !server.tables.read(left).await.unwrap().is_empty() {
            assert!(Instant::now() < deadline, "it does not go on");
            sleep(Duration::from_secs(1)).await;
        }
        server.tasks.drain(Duration::from_secs(10)).await;
        stage.close().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_does_not_make_erasing_spin() {
        erasing_waits_for_a_disk_that_is_full(0).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nor_does_one_that_is_full_when_all_is_erased_and_only_that_is_to_be_noted() {
        erasing_waits_for_a_disk_that_is_full(1).await;
    }

    fn range(low: u32, hi: u32) -> Range {
        Range { low, hi }
    }

    #[test]
    fn ranges_are_half_open_clipped_and_joined() {
        let span = |low, high| SpanRow { low, high };
        assert_eq!(spans(&[range(3, 0)], 10), Ok(vec![span(3, 4)]));
        assert_eq!(spans(&[range(3, 3)], 10), Ok(vec![span(3, 4)]));
        assert_eq!(spans(&[range(3, 4)], 10), Ok(vec![span(3, 4)]));
        assert_eq!(spans(&[range(3, 99)], 10), Ok(vec![span(3, 11)]));
        assert_eq!(spans(&[range(0, 5)], 10), Ok(vec![span(1, 5)]));
        assert_eq!(
            spans(&[range(5, 7), range(1, 3), range(3, 5)], 10),
            Ok(vec![span(1, 7)])
        );
    }

    #[test]
    fn what_is_told_in_one_go_is_cut_after_so_many_positions() {
        let span = |low, high| SpanRow { low, high };
        let mut spans = vec![span(1, 4), span(6, 10), span(12, 13)];
        assert_eq!(split_off(&mut spans, 5), [span(8, 10), span(12, 13)]);
        assert_eq!(spans, [span(1, 4), span(6, 8)]);
        assert_eq!(split_off(&mut spans, 5), []);
        assert_eq!(spans, [span(1, 4), span(6, 8)]);
    }

    #[test]
    fn impossible_ranges_are_malformed() {
        for ranges in [
            vec![],
            vec![range(0, 0)],
            vec![range(5001, 0)],
            vec![range(5, 4)],
            vec![range(1, 2), range(5001, 5002)],
            vec![range(1, 1000), range(2000, 2100)],
        ] {
            assert_eq!(spans(&ranges, 5000), Err(reply::MALFORMED), "{ranges:?}");
        }
        // Nothing can be deleted where nothing was written.
        assert_eq!(spans(&[range(0, 5)], 0), Err(reply::MALFORMED));
    }
}
