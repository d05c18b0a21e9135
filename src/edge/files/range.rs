//! Which part of a file a request wants, and whether it has it already. Plain decisions over headers
//! (RFC 9110, sections 13 and 14).

use std::ops::Range;

use axum::http::{HeaderMap, header};

use super::text;

/// What to send of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// Some bytes; never none.
    Bytes(Range<u64>),
    /// Nothing: what was asked for is beyond its end.
    Beyond,
    /// Nothing: the asker has it.
    Known,
}

/// Decides for a file of `size` bytes that is known by `etag`.
pub(super) fn wanted(headers: &HeaderMap, size: u64, etag: &str) -> Part {
    if text(headers, header::IF_NONE_MATCH).is_some_and(|it| names(it, etag)) {
        return Part::Known;
    }
    // A part of another state of the file is worth nothing.
    let same = text(headers, header::IF_RANGE).is_none_or(|it| it.trim() == etag);
    match text(headers, header::RANGE) {
        Some(range) if same => part(range, size),
        _ => Part::Whole,
    }
}

/// Whether a list of tags has this one. Weak ones do as well: a file never changes.
fn names(list: &str, etag: &str) -> bool {
    let mut tags = list.split(',').map(str::trim);
    tags.any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == etag)
}

/// What cannot be read, and more ranges than one, count as not asked for.
fn part(range: &str, size: u64) -> Part {
    let Some((first, last)) = range
        .trim()
        .strip_prefix("bytes=")
        .and_then(|it| it.split_once('-'))
    else {
        return Part::Whole;
    };
    let number = |text: &str| {
        let text = text.trim();
        let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        // More than a number can hold is beyond every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.trim().is_empty() => first..size,
        (None, Some(count)) if first.trim().is_empty() => size.saturating_sub(count)..size,
        _ => return Part::Whole,
    };
    if range.is_empty() {
        Part::Beyond
    } else {
        Part::Bytes(range)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const TAG: &str = "\"tag\"";

    fn ask(headers: &[(HeaderName, &'static str)], size: u64) -> Part {
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        wanted(&headers.collect(), size, TAG)
    }

    #[test]
    fn a_range_is_cut_to_the_file_and_nonsense_asks_for_all() {
        for (asked, expected) in [
            ("bytes=0-0", Part::Bytes(0..1)),
            ("bytes=2-5", Part::Bytes(2..6)),
            ("bytes=2-", Part::Bytes(2..10)),
            ("bytes=2-99", Part::Bytes(2..10)),
            ("bytes=2-99999999999999999999999", Part::Bytes(2..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-99", Part::Bytes(0..10)),
            ("bytes=10-", Part::Beyond),
            ("bytes=99-100", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            ("bytes=5-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(ask(&[(header::RANGE, asked)], 10), expected, "{asked}");
        }
        assert_eq!(ask(&[(header::RANGE, "bytes=0-")], 0), Part::Beyond);
        assert_eq!(ask(&[(header::RANGE, "bytes=-5")], 0), Part::Beyond);
    }

    #[test]
    fn who_has_the_file_gets_nothing() {
        for tags in ["\"tag\"", "W/\"tag\"", "*", "\"a\", \"tag\""] {
            assert_eq!(ask(&[(header::IF_NONE_MATCH, tags)], 10), Part::Known);
        }
        for tags in ["\"ta\"", "tag", ""] {
            assert_eq!(ask(&[(header::IF_NONE_MATCH, tags)], 10), Part::Whole);
        }
    }

    #[test]
    fn a_part_is_sent_only_of_the_state_that_was_meant() {
        let range = (header::RANGE, "bytes=1-1");
        let with = |tag| ask(&[range.clone(), (header::IF_RANGE, tag)], 10);
        assert_eq!(with("\"tag\""), Part::Bytes(1..2));
        assert_eq!(with("\"other\""), Part::Whole);
        assert_eq!(with("W/\"tag\""), Part::Whole);
    }
}
