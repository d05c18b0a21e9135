//! A soak of two minutes. `FREEHOLD_SEED` repeats one.

use std::time::Duration;

use freehold_interop::{Verdict, play, seed_from_environment, soak};

const TIME: Duration = Duration::from_secs(120);
const DOMAINS: usize = 5;

#[test]
#[expect(
    clippy::print_stderr,
    reason = "the seed must be known when a run hangs or fails"
)]
fn two_minutes_of_trouble_leave_no_trace() {
    let seed = seed_from_environment().unwrap_or_else(|failure| panic!("{failure}"));
    eprintln!("soak: FREEHOLD_SEED={seed}");
    match play(&soak(DOMAINS, TIME), seed).verdict {
        Verdict::Passed => {}
        Verdict::Skipped(why) => eprintln!("the soak is not played: {why}"),
        Verdict::Failed(report) => panic!("{report}"),
    }
}
