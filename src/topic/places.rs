//! Between positions here and orders, which is what domains call messages by: rows lead from one to
//! the other, but for messages up to `opened`, where both are the same (PROTOCOL.md section 7.7).

use freehold_proto::wire;
use freehold_store::{
    StoreError, Tables, TopicKey,
    tables::{deletions::merged, rows::SpanRow},
};

/// Rows looked at in one go.
const PAGE: usize = 1000;
/// Messages of our own people that stand elsewhere than in the home's order lie within so many others.
const OUT_OF_ORDER_MAX: usize = 64;

/// The order of the message at `seq`; `None` while it has none. Blocks.
pub(super) fn order_of(
    tables: &Tables,
    topic: TopicKey,
    opened: u32,
    seq: u32,
) -> Result<Option<u32>, StoreError> {
    if seq <= opened {
        return Ok(Some(seq));
    }
    let found = tables.order_at(topic, seq)?;
    Ok(found.filter(|it| it.0 == seq).map(|it| it.1))
}

/// Where the message with an order stands here. Blocks.
pub(super) fn seq_of(
    tables: &Tables,
    topic: TopicKey,
    opened: u32,
    order: u32,
) -> Result<Option<u32>, StoreError> {
    if order <= opened {
        return Ok(Some(order));
    }
    let found = tables.seq_at(topic, order)?;
    Ok(found.filter(|it| it.0 == order).map(|it| it.1))
}

/// Where messages with these orders stand here, or will stand when the past has been fetched. Blocks.
pub(super) fn spans_of(
    tables: &Tables,
    topic: TopicKey,
    orders: &[wire::Orders],
    opened: u32,
) -> Result<Vec<SpanRow>, StoreError> {
    let mut spans = Vec::new();
    for range in orders {
        spans.extend(up_to(range.low, range.high, opened));
        let mut low = range.low.max(opened.saturating_add(1));
        while low < range.high {
            let page = tables.seqs_between(topic, (low, range.high), PAGE)?;
            spans.extend(page.iter().map(|&(_, seq)| one(seq)));
            match page.last() {
                Some(&(last, _)) if page.len() == PAGE => low = last.saturating_add(1),
                _ => break,
            }
        }
    }
    Ok(merged(spans))
}

/// The orders of messages that stand here, as far as they have one. Blocks.
pub(super) fn orders_of(
    tables: &Tables,
    topic: TopicKey,
    spans: &[SpanRow],
    opened: u32,
) -> Result<Vec<SpanRow>, StoreError> {
    let mut orders = Vec::new();
    for span in spans {
        orders.extend(up_to(span.low, span.high, opened));
        let mut behind = span.low.saturating_sub(1).max(opened);
        loop {
            let page = tables.places_after(topic, behind, PAGE)?;
            let inside = page.iter().take_while(|(seq, _)| *seq < span.high);
            let before = orders.len();
            orders.extend(inside.map(|&(_, order)| one(order)));
            match page.last() {
                Some(&(last, _)) if orders.len() - before == PAGE => behind = last,
                _ => break,
            }
        }
    }
    Ok(merged(orders))
}

fn one(number: u32) -> SpanRow {
    SpanRow {
        low: number,
        high: number.saturating_add(1),
    }
}

/// The part of a stretch up to `last`.
fn up_to(low: u32, high: u32, last: u32) -> Option<SpanRow> {
    let part = SpanRow {
        low: low.max(1),
        high: high.min(last.saturating_add(1)),
    };
    (part.low < part.high).then_some(part)
}

/// The largest order such that everything shown at or below it stands at or below `seq` here (rules.md
/// 10). Blocks.
pub(crate) fn marked_order(
    tables: &Tables,
    topic: TopicKey,
    opened: u32,
    seq: u32,
) -> Result<u32, StoreError> {
    if seq < opened {
        return Ok(seq);
    }
    let behind = tables.places_after(topic, seq, OUT_OF_ORDER_MAX)?;
    match behind.iter().map(|(_, order)| *order).min() {
        Some(next) => Ok(next.saturating_sub(1)),
        None => {
            let last = tables.seq_at(topic, u32::MAX - 1)?;
            Ok(last.map_or(opened, |it| it.0.max(opened)))
        }
    }
}

/// The largest position here such that everything shown at or below it has at most this order; `head`
/// when that is everything. Blocks.
pub(super) fn marked_seq(
    tables: &Tables,
    topic: TopicKey,
    (opened, head): (u32, u32),
    order: u32,
) -> Result<u32, StoreError> {
    if order < opened {
        return Ok(order);
    }
    let behind = (order.saturating_add(1), u32::MAX);
    let behind = tables.seqs_between(topic, behind, OUT_OF_ORDER_MAX)?;
    let next = behind.iter().map(|(_, seq)| *seq).min();
    Ok(next.map_or(head, |it| it.saturating_sub(1)))
}
