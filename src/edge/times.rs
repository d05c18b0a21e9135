//! Times as clients write them.

use freehold_proto::Timestamp;

/// Reads `2026-01-02T03:04:05.678Z`; anything else, and nothing, is the beginning of time, which asks
/// for everything.
#[must_use]
pub fn parse(text: Option<&str>) -> Timestamp {
    text.and_then(Timestamp::from_text)
        .unwrap_or(Timestamp::EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_reads_back() {
        for millis in [0, 951_782_400_123, 1_767_323_045_678, 4_102_444_799_999] {
            let moment = Timestamp::from_millis(millis).unwrap();
            assert_eq!(parse(Some(&moment.to_string())), moment);
        }
    }

    #[test]
    fn nonsense_asks_for_everything() {
        for text in [
            None,
            Some(""),
            Some("yesterday"),
            Some("2026-13-01T00:00:00.000Z"),
        ] {
            assert_eq!(parse(text), Timestamp::EPOCH);
        }
    }
}
