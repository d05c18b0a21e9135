//! Times as clients write them.

use freehold_proto::Timestamp;

/// Reads `2026-01-02T03:04:05.678Z`; anything else, and nothing, is the beginning of time, which asks
/// for everything.
#[must_use]
pub fn parse(text: Option<&str>) -> Timestamp {
    text.and_then(read).unwrap_or(Timestamp::EPOCH)
}

fn read(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let (date, clock) = text.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|it| it.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut clock = clock.splitn(3, ':').map(|it| it.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..61).contains(&second);
    if !in_range {
        return None;
    }
    let seconds =
        (days_before(year, month) + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second;
    Timestamp::from_millis(seconds * 1000 + millis).ok()
}

/// Days from 1970 to the first of a month, in the Gregorian calendar.
fn days_before(year: i64, month: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last of the year.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 - 719_468
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
