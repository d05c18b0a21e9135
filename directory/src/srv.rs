//! The order in which SRV targets are tried (RFC 2782). Pure: the caller brings the random numbers.

/// One SRV record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SrvRow {
    /// Lower is tried first.
    pub(crate) priority: u16,
    /// Share of the load among those of one priority.
    pub(crate) weight: u16,
    /// Where on the target.
    pub(crate) port: u16,
    /// Host name without the trailing dot; empty when the service is not offered.
    pub(crate) target: String,
}

/// Orders rows by priority, and within a priority by weighted chance. `random(n)` gives a number
/// from 0 to n inclusive.
pub(crate) fn order(mut rows: Vec<SrvRow>, mut random: impl FnMut(u32) -> u32) -> Vec<SrvRow> {
    // Rows without weight come first in each draw, as the RFC asks, so that they have a small chance.
    rows.sort_by_key(|row| (row.priority, row.weight > 0));
    let mut ordered = Vec::with_capacity(rows.len());
    while let Some(priority) = rows.first().map(|row| row.priority) {
        let group = rows.iter().take_while(|row| row.priority == priority);
        let sum = group.clone().map(|row| u32::from(row.weight)).sum();
        let drawn = random(sum);
        let mut running = 0;
        let chosen = group
            .map(|row| {
                running += u32::from(row.weight);
                running
            })
            .position(|running| running >= drawn)
            .unwrap_or(0);
        ordered.push(rows.remove(chosen));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(priority: u16, weight: u16, target: &str) -> SrvRow {
        SrvRow {
            priority,
            weight,
            port: 6269,
            target: target.to_owned(),
        }
    }

    #[track_caller]
    fn check(rows: &[SrvRow], draws: &[u32], expected: &[&str]) {
        let mut draws = draws.iter();
        let ordered = order(rows.to_vec(), |max| *draws.next().unwrap().min(&max));
        let targets: Vec<&str> = ordered.iter().map(|row| &*row.target).collect();
        assert_eq!(targets, expected);
    }

    #[test]
    fn lower_priorities_come_first_and_weights_decide_within_one() {
        let rows = [
            row(20, 0, "backup"),
            row(10, 1, "small"),
            row(10, 9, "large"),
        ];
        check(&rows, &[1, 9, 0], &["small", "large", "backup"]);
        check(&rows, &[2, 1, 0], &["large", "small", "backup"]);
        check(&rows, &[10, 1, 0], &["large", "small", "backup"]);
    }

    #[test]
    fn a_row_without_weight_is_chosen_only_by_the_lowest_draw() {
        let rows = [row(0, 5, "heavy"), row(0, 0, "light")];
        check(&rows, &[0, 5], &["light", "heavy"]);
        check(&rows, &[1, 0], &["heavy", "light"]);
    }

    proptest! {
        #[test]
        fn every_row_stays_and_priorities_never_fall(
            parts in prop::collection::vec((0u16..4, any::<u16>()), 0..12),
            seed: u32,
        ) {
            let rows: Vec<_> = parts.iter().map(|&(p, w)| row(p, w, "t")).collect();
            let ordered = order(rows.clone(), |max| seed % (max + 1));
            prop_assert_eq!(ordered.len(), rows.len());
            prop_assert!(ordered.is_sorted_by_key(|row| row.priority));
        }
    }
}
