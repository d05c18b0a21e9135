//! One line for each case.

use crate::{Run, Verdict};

/// A run as a line of the table, and below it what there is to say.
#[must_use]
pub fn row(run: &Run) -> String {
    let (word, more) = match &run.verdict {
        Verdict::Passed => ("ok", None),
        Verdict::Failed(report) => ("FAILED", Some(report)),
        Verdict::Skipped(why) => ("skipped", Some(why)),
    };
    let (case, seconds) = (run.case, run.took.as_secs_f64());
    let mut row = format!(
        "{:<10} {:<28} {word:<8} {seconds:>6.1} s  {}",
        case.ids, case.name, case.proves
    );
    if let Some(more) = more {
        row.push_str("\n    ");
        row.push_str(&more.replace('\n', "\n    "));
    }
    row
}
